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

#include "webui/http/request.h"
#include "webui/http/response.h"

namespace lineq::http {

using Handler = std::function<Reply(const Request&)>;

class Router {
 public:
  // GET and HEAD; other methods get 405. `path` must outlive the router.
  void add(std::string_view path, Handler handler);
  void set_visitors(Handler handler) { visitors_ = std::move(handler); }

  Reply route(const Request& request) const;

 private:
  std::unordered_map<std::string_view, Handler> paths_;
  Handler visitors_;
};

bool came_through_a_proxy(const Request& request);

// Value of `name` in a query, percent-decoded, `+` as blank. A percent sign that begins no escape
// stays.
std::string percent_decoded(std::string_view text);

// name=value pairs of a query in order, decoded; a word without `=` has an empty value.
std::vector<std::pair<std::string, std::string>> query_pairs(std::string_view query);

}  // namespace lineq::http
