#include "webui/http/router.h"

#include <algorithm>
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

bool plain(std::string_view segment) {
  return !segment.empty() && segment != "." && segment != ".." &&
         segment.find('/') == std::string_view::npos;
}

// One or two segments as they are meant: not "", "a//b", "../a", "a/b/c", "a/".
bool plain_segments(std::string_view rest) {
  const std::size_t slash = rest.find('/');
  return plain(rest.substr(0, slash)) &&
         (slash == std::string_view::npos || plain(rest.substr(slash + 1)));
}

}  // namespace

void Router::add(std::string_view path, Handler handler) {
  paths_.emplace(path, Entry{std::move(handler), false});
}

void Router::add_any(std::string_view path, Handler handler) {
  paths_.emplace(path, Entry{std::move(handler), true});
}

void Router::add_below(std::string_view prefix, Handler handler) {
  below_.emplace_back(prefix, Entry{std::move(handler), true});
}

void Router::add_between(std::string_view prefix, std::string_view middle, Handler handler) {
  between_.push_back({prefix, middle, Entry{std::move(handler), true}});
}

std::vector<std::string> Router::paths() const {
  std::vector<std::string> all;
  for (const auto& [path, entry] : paths_) {
    all.emplace_back(path);
  }
  for (const auto& [prefix, entry] : below_) {
    all.push_back(std::string(prefix) + "*");
    all.push_back(std::string(prefix) + "*/*");
  }
  for (const Between& between : between_) {
    all.push_back(std::string(between.prefix).append("*").append(between.middle).append("*"));
  }
  std::sort(all.begin(), all.end());
  return all;
}

const Router::Entry* Router::find(std::string_view path) const {
  if (const auto found = paths_.find(path); found != paths_.end()) {
    return &found->second;
  }
  for (const auto& [prefix, entry] : below_) {
    if (path.starts_with(prefix) && plain_segments(path.substr(prefix.size()))) {
      return &entry;
    }
  }
  for (const Between& between : between_) {
    if (!path.starts_with(between.prefix)) {
      continue;
    }
    const std::string_view rest = path.substr(between.prefix.size());
    const std::size_t slash = rest.find('/');
    if (slash != std::string_view::npos && rest.substr(slash).starts_with(between.middle) &&
        plain(rest.substr(0, slash)) && plain(rest.substr(slash + between.middle.size()))) {
      return &between.entry;
    }
  }
  return nullptr;
}

Reply Router::route(const Request& request) const {
  const Entry* found = request.origin_form ? find(request.path) : nullptr;
  if (found == nullptr || came_through_a_proxy(request)) {
    return visitors_ ? visitors_(request) : text_reply(404, "There is nothing here.");
  }
  if (!found->any_method && request.method != Method::kGet && request.method != Method::kHead) {
    Reply reply = text_reply(405, "Only GET and HEAD are answered here.");
    reply.fields.emplace_back("Allow", "GET, HEAD");
    return reply;
  }
  return found->handler(request);
}

bool came_through_a_proxy(const Request& request) {
  return request.field("X-Forwarded-For") || request.field("Forwarded") || request.field("Via") ||
         request.field("X-LineQ-Key");
}

std::string percent_decoded(std::string_view text, bool query) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (query && text[i] == '+') {
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
