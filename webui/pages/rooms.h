// The room API: waiting rooms with Cloudflare's field names and envelope.
//
//   GET    /waiting_rooms                  all rooms
//   POST   /waiting_rooms                  a new one
//   GET    /waiting_rooms/{name}           one; PUT: all its rules, PATCH: some, DELETE
//   GET    /waiting_rooms/{name}/status    its numbers
//   GET    /waiting_rooms/{name}/preview   its page, as a visitor in the middle of the line sees it
//   POST   /waiting_rooms/{name}/actions   {"action": "pause" | "resume" | "admit" (n) |
//          "queue_all" (on) | "suspend" (on) | "revoke" (session) | "revoke_all" | "message" (text)
//          | "set" (fields of a room)}
//   {"success":true,"errors":[],"messages":[],"result":...}
//
// Whatever changes something takes the admin token. {name} is percent-decoded once.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "webui/http/router.h"
#include "webui/pages/ask.h"

namespace lineq::pages {

// `token_file`: see access.h.
http::Reply rooms_reply(const http::Request& request, const std::string& token_file,
                        const Ask& ask);

// The page of a room (WaitingRoom::preview).
using Preview = std::function<http::Reply(std::string_view name, const http::Request& request)>;

void add_rooms(http::Router& router, std::string token_file, Ask ask, Preview preview = {});

}  // namespace lineq::pages
