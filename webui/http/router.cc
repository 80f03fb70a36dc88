#include "webui/http/router.h"

#include <utility>

namespace lineq::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

}  // namespace

void Router::add(std::string_view path, Handler handler) {
  paths_.emplace(path, std::move(handler));
}

Reply Router::route(const Request& request) const {
  const auto found = paths_.find(request.path);
  if (found == paths_.end() || !request.origin_form || came_through_a_proxy(request)) {
    return visitors_ ? visitors_(request) : text_reply(404, "There is nothing here.");
  }
  if (request.method != Method::kGet && request.method != Method::kHead) {
    Reply reply = text_reply(405, "Only GET and HEAD are answered here.");
    reply.fields.emplace_back("Allow", "GET, HEAD");
    return reply;
  }
  return found->second(request);
}

bool came_through_a_proxy(const Request& request) {
  return request.field("X-Forwarded-For") || request.field("Forwarded") || request.field("Via") ||
         request.field("X-LineQ-Key");
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
      continue;
    }
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low < 0) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> query_pairs(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view word = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (word.empty()) {
      continue;
    }
    const std::size_t equal = word.find('=');
    pairs.emplace_back(
        percent_decoded(word.substr(0, equal)),
        equal == std::string_view::npos ? std::string() : percent_decoded(word.substr(equal + 1)));
  }
  return pairs;
}

}  // namespace lineq::http
