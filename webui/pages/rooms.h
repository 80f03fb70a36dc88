// The room API: waiting rooms with Cloudflare's field names and envelope.
//
//   GET    /waiting_rooms                  all             POST   /waiting_rooms           a new
//   one GET    /waiting_rooms/{name}           one             PUT    /waiting_rooms/{name}    all
//   rules GET    /waiting_rooms/{name}/status    its numbers     PATCH  /waiting_rooms/{name} some
//   rules
//                                                          DELETE /waiting_rooms/{name}
//   POST   /waiting_rooms/{name}/actions   {"action": "pause" | "resume" | "admit" (n) |
//          "queue_all" (on) | "suspend" (on) | "revoke" (session) | "revoke_all" | "message" (text)
//          | "set" (fields of a room)}
//   {"success":true,"errors":[],"messages":[],"result":...}
//
// Whatever changes something takes the admin token. {name} is percent-decoded once.
#pragma once

#include <string>

#include "webui/http/router.h"
#include "webui/pages/ask.h"

namespace lineq::pages {

// `token_file`: see access.h.
http::Reply rooms_reply(const http::Request& request, const std::string& token_file,
                        const Ask& ask);

void add_rooms(http::Router& router, std::string token_file, Ask ask);

}  // namespace lineq::pages
