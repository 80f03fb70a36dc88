#include "tools/lineq_top/width.h"

#include <langinfo.h>

#include <cstring>
#include <cwchar>

#include <fmt/format.h>

#include "tools/cli/text.h"

namespace lineq::top {
namespace {

constexpr unsigned kAscii = 0x80;

struct Character {
  std::size_t bytes = 1;
  int columns = 1;  // as wcwidth(): -1 cannot be shown, 0 adds to the one before
};

Character character(std::string_view text, std::size_t at) {
  if (static_cast<unsigned char>(text[at]) < kAscii) {
    return {1, text[at] < ' ' || text[at] == '\x7f' ? -1 : 1};
  }
  const cli::Utf8 one = cli::decode_utf8(text, at);
  return one.length == 0 ? Character{1, -1}
                         : Character{one.length, ::wcwidth(static_cast<wchar_t>(one.code))};
}

}  // namespace

bool utf8_locale() {
  return std::strcmp(::nl_langinfo(CODESET), "UTF-8") == 0;
}

std::size_t width_of(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character(text, at);
    columns += c.columns > 0 ? static_cast<std::size_t>(c.columns) : 0;
    at += c.bytes;
  }
  return columns;
}

std::string cut(std::string_view text, std::size_t columns) {
  if (width_of(text) <= columns) {
    return std::string(text);
  }
  if (columns == 0) {
    return {};
  }
  std::size_t used = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const Character c = character(text, at);
    const std::size_t more = c.columns > 0 ? static_cast<std::size_t>(c.columns) : 0;
    if (used + more > columns - 1) {
      break;
    }
    used += more;
    at += c.bytes;
  }
  return std::string(text.substr(0, at)) + "~";
}

std::string for_terminal(std::string_view text, bool utf8) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Character c = character(text, at);
    const bool ascii = static_cast<unsigned char>(text[at]) < kAscii;
    if (c.columns > 0 && (ascii || utf8)) {
      out += text.substr(at, c.bytes);
    } else {
      for (const char byte : text.substr(at, c.bytes)) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
      }
    }
    at += c.bytes;
  }
  return out;
}

}  // namespace lineq::top
