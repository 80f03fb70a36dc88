// Whose request this is: users keys under which the segment may know the visitor. All of it is said
// by a stranger: a wrong key can do no more than wait.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"
#include "webui/http/request.h"

namespace lineq::pages {

// "<session>@<room>", the likeliest first, at most a handful, each at most kLongestKey bytes.
//  - X-LineQ-Key, which HAProxy sets in the generated configuration and takes from nobody;
//  - otherwise the cookie `sessionid` and the room of Host and path, by the rules of the rooms and
//    by name as the operator's HAProxy makes it (dots and slashes as underscores); a key without a
//    room belongs to the only one.
// `reader` may be null: names are then all there is to go by.
inline constexpr std::size_t kLongestKey = 512;
std::vector<std::string> users_keys(const http::Request& request, const shm::Reader* reader);
// The original page's stream, GET /lineq?info=&host=&path=: it tells host and path itself, and the
// session in `info` if there is no cookie.
std::vector<std::string> original_users_keys(const http::Request& request,
                                             const shm::Reader* reader);

// The room of a request: that of its first key, else by host and path, else the only one. Null:
// none of these.
const shm::RoomInfo* room_for(const http::Request& request, const std::vector<std::string>& keys,
                              const shm::Reader& reader);

// Value of a cookie, as sent; empty: there is none.
std::string_view cookie(const http::Request& request, std::string_view name);

}  // namespace lineq::pages
