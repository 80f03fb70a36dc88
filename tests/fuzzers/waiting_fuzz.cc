// Arbitrary bytes as what a visitor's request says about itself, and as a room's own template.
// Checked, besides the sanitizers:
//  - users keys are few and short, a key that HAProxy set is the only one;
//  - wishes and languages are always one of ours;
//  - a template is refused with a line or rendered, and nothing of a value gets out unescaped.
//
// The first byte says which of the two, the rest is it.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "shm/support/assert.h"
#include "webui/http/request.h"
#include "webui/pages/accept.h"
#include "webui/pages/languages.h"
#include "webui/pages/template.h"
#include "webui/pages/visitor_key.h"

namespace lineq::pages {
namespace {

void check_keys(const std::vector<std::string>& keys, bool from_haproxy) {
  constexpr std::size_t kFew = 8;
  LINEQ_ASSERT(keys.size() <= kFew);
  LINEQ_ASSERT(!from_haproxy || keys.size() == 1);
  for (const std::string& key : keys) {
    LINEQ_ASSERT(!key.empty() && key.size() <= kLongestKey);
  }
}

void visit(std::string_view bytes) {
  http::RequestParser parser;
  std::string head = "GET /lineq?info=a&host=b&path=/c HTTP/1.1\r\nHost: shop.example\r\n";
  // The fuzzer's: fields, or the value of one.
  if (bytes.find(':') == std::string_view::npos) {
    head += "Cookie: sessionid=";
  }
  head.append(bytes).append("\r\n\r\n");
  parser.feed(head);
  if (parser.state() != http::RequestParser::State::kDone) {
    return;
  }
  const http::Request request = parser.take();
  const auto set = request.field("X-LineQ-Key");
  check_keys(users_keys(request, nullptr), set && !set->empty());
  check_keys(original_users_keys(request, nullptr), set && !set->empty());
  const u8 language = choose_language(request.field("Accept-Language").value_or(""), "de");
  LINEQ_ASSERT(language < languages().size());
  LINEQ_ASSERT(wish_of(request.field("Accept").value_or("")) <= Wish::kEvents);
}

void render(std::string_view bytes) {
  constexpr std::array<std::string_view, 3> kNames{"name", "number", "flag"};
  const Result<Template> parsed = Template::parse(std::string(bytes), kNames);
  if (!parsed) {
    LINEQ_ASSERT(parsed.error().what.find("line ") != std::string::npos ||
                 parsed.error().what.find("bytes") != std::string::npos);
    return;
  }
  const std::array<Template::Value, 3> values{std::string("\x01<\x01\"."), i64{7}, true};
  std::string out;
  parsed->render(values, out);
  // A template that has the mark itself tells nothing.
  if (bytes.find('\x01') == std::string_view::npos) {
    LINEQ_ASSERT(out.find("\x01<") == std::string::npos);
    LINEQ_ASSERT(out.find("\x01\"") == std::string::npos);
  }
}

}  // namespace
}  // namespace lineq::pages

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if ((data[0] & 1) == 0) {
    lineq::pages::visit(rest);
  } else {
    lineq::pages::render(rest);
  }
  return 0;
}
