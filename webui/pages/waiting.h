// The visitors' side of lineq-web: whoever HAProxy does not let in yet comes here, with whatever
// request it was (waiting-room 5). No socket.
//
//  - may enter: 303 or 307 to the same place, at once or within kHoldMs
//  - `Accept: text/event-stream`: the stream of this visitor, on the same URL, so that it takes the
//    same way through HAProxy as the page
//  - `Accept: application/json`: Cloudflare's object
//  - otherwise the page, in the room's template or ours
// Never an error: an unknown visitor waits, and without lineqd the page says that the place is
// kept. Bounded: nothing is remembered about visitors but their open streams and a small table
// against redirects in circles.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/positions.h"
#include "webui/live/presence.h"
#include "webui/live/segment.h"
#include "webui/pages/accept.h"
#include "webui/pages/template_cache.h"
#include "webui/pages/wait_values.h"

namespace lineq::pages {

class WaitingRoom {
 public:
  static constexpr u64 kHoldMs = 250;

  // `segment` and `presence` outlive this, and this outlives its replies.
  WaitingRoom(live::Segment& segment, live::Presence& presence);

  http::Reply answer(const http::Request& request);
  live::Positions& positions() { return positions_; }

  // For operators: the page of a room as a visitor in the middle of the line would see it, with the
  // reason on top when its template cannot be used. 404 without such a room.
  http::Reply preview(std::string_view room, const http::Request& request);

 private:
  class Held;
  // What is left of a request when it is answered later.
  struct Caller {
    http::Method method = http::Method::kGet;
    Wish wish = Wish::kHtml;
    std::string target;  // to come back to
    std::string site;
    std::string accept_language;
    std::vector<std::string> keys;
    RoomNo room{0};
    bool has_room = false;
  };
  struct Found {
    live::Sight sight;
    const std::string* key = nullptr;
  };

  bool closed() const;
  Found find(const Caller& caller);
  const shm::RoomInfo* room_of(const Caller& caller, const Found& found) const;
  // The reply, or nothing: it is worth waiting for a moment.
  bool decide(const Caller& caller, bool last, http::Reply& out);
  bool worth_waiting(const Caller& caller, const Found& found, const shm::RoomInfo* room,
                     u64 position) const;
  bool in_circles(std::string_view key);
  http::Reply enter(const Caller& caller) const;
  http::Reply page(const Caller& caller, const Wait& wait);
  http::Reply events(const http::Request& request, const Caller& caller, bool original);
  void put_fields(http::Reply& reply, const Wait& wait, const Language& language) const;

  struct Redirected {
    u64 hash = 0;
    u64 since_ms = 0;
    u32 times = 0;
  };

  live::Segment& segment_;
  live::Positions positions_;
  TemplateCache templates_;
  Template own_;
  std::string own_policy_;
  std::vector<Redirected> redirected_;
};

}  // namespace lineq::pages
