// Which handler answers a request.
//
// Admin paths match on the exact raw path only: not after dot-segments, doubled slashes or
// percent-escapes, which a proxy in front may read otherwise. A request that came through a proxy
// (X-Forwarded-For, Forwarded, Via, X-LineQ-Key) is a visitor's and never reaches an admin path.
// Everything that is not an admin path goes to the visitors' handler.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "webui/http/request.h"
#include "webui/http/response.h"

namespace lineq::http {

using Handler = std::function<Reply(const Request&)>;

class Router {
 public:
  // GET and HEAD; other methods get 405. `path` must outlive the router.
  void add(std::string_view path, Handler handler);
  // All methods; the handler tells which it takes.
  void add_any(std::string_view path, Handler handler);
  // Everything below `prefix`, which ends in a slash: one or two segments that are neither empty
  // nor dots. Raw: what a percent-escape in a segment means is the handler's business.
  void add_below(std::string_view prefix, Handler handler);
  // `prefix` SEGMENT `middle` SEGMENT, both in slashes: "/tables/" and "/keys/". Raw segments, as
  // above.
  void add_between(std::string_view prefix, std::string_view middle, Handler handler);
  // All paths that are answered, a segment that stands for others as `*`: "/tables/*/keys/*".
  std::vector<std::string> paths() const;
  void set_visitors(Handler handler) { visitors_ = std::move(handler); }

  Reply route(const Request& request) const;

 private:
  struct Entry {
    Handler handler;
    bool any_method = false;
  };
  const Entry* find(std::string_view path) const;

  std::unordered_map<std::string_view, Entry> paths_;
  std::vector<std::pair<std::string_view, Entry>> below_;
  struct Between {
    std::string_view prefix;
    std::string_view middle;
    Entry entry;
  };
  std::vector<Between> between_;
  Handler visitors_;
};

bool came_through_a_proxy(const Request& request);

// Percent-decoded, in a query with `+` as blank. A percent sign that begins no escape stays.
std::string percent_decoded(std::string_view text, bool query = true);

// name=value pairs of a query in order, decoded; a word without `=` has an empty value.
std::vector<std::pair<std::string, std::string>> query_pairs(std::string_view query);

}  // namespace lineq::http
