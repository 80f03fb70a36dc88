#include "webui/pages/waiting.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "shm/support/assert.h"
#include "shm/support/clock.h"
#include "webui/http/sse.h"
#include "webui/pages/accept.h"
#include "webui/pages/assets.h"
#include "webui/pages/cloudflare.h"
#include "webui/pages/csp_hash.h"
#include "webui/pages/visitor_key.h"

namespace lineq::pages {
namespace {

constexpr u32 kRetryMs = 5000;
constexpr std::string_view kOriginalPath = "/lineq";
// HAProxy sends a visitor back whom we have sent to it: after so many times in so long the page is
// shown, until its own HAProxy has heard, too.
constexpr u32 kMostRedirects = 3;
constexpr u64 kCircleMs = 5000;
constexpr std::size_t kRemembered = 4096;

std::string_view asset(std::string_view name) {
  const auto all = assets();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Asset& a) { return a.name == name; });
  LINEQ_ASSERT(found != all.end());
  return found->bytes;
}

std::string with_parts(std::string_view html, std::string_view css, std::string_view js) {
  std::string out(html);
  for (const auto& [mark, text] :
       {std::pair<std::string_view, std::string_view>("/*css*/", css), {"/*js*/", js}}) {
    const std::size_t at = out.find(mark);
    LINEQ_ASSERT(at != std::string::npos);
    out.replace(at, mark.size(), text);
  }
  return out;
}

// A relative reference that leads to the same place and nowhere else: a target that begins with two
// slashes would name another host, and browsers take a backslash for a slash.
std::string same_place(const http::Request& request) {
  std::string_view target = request.target;
  if (!request.origin_form) {
    return "/";
  }
  std::string out;
  if (target.size() > 1 && (target[1] == '/' || target[1] == '\\')) {
    out = "/.";
  }
  for (const char c : target) {
    const auto byte = static_cast<u8>(c);
    constexpr std::string_view kNever = "\"<>\\^`{|}";
    if (byte <= 0x20 || byte >= 0x7f || kNever.find(c) != std::string_view::npos) {
      out += fmt::format("%{:02X}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string_view site_of(const http::Request& request) {
  std::string_view host = request.field("Host").value_or("");
  const std::size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && !host.ends_with(']')) {
    host = host.substr(0, colon);
  }
  return host.substr(0, 255);
}

// A name on its way into a header.
std::string header_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c > 0x20 && c < 0x7f ? c : '_';
  }
  return out;
}

const Language& language_of(const std::string& accept_language, const shm::RoomInfo* room) {
  return languages()[choose_language(
      accept_language, room == nullptr ? std::string_view() : room->settings.language)];
}

std::string_view method_text(http::Method method) {
  return method == http::Method::kGet || method == http::Method::kHead ? "GET" : "other";
}

}  // namespace

// A visitor for whom there may be room any moment.
class WaitingRoom::Held final : public http::Later {
 public:
  Held(WaitingRoom& room, Caller caller) : room_(room), caller_(std::move(caller)) {}
  u64 patience_ms() const override { return kHoldMs; }
  bool decide(bool last, http::Reply& out) override { return room_.decide(caller_, last, out); }

 private:
  WaitingRoom& room_;
  Caller caller_;
};

WaitingRoom::WaitingRoom(live::Segment& segment, live::Presence& presence)
    : segment_(segment),
      positions_(segment, presence,
                 [this](const live::View& view, u8 language, std::string& out) {
                   const shm::Reader* reader = segment_.reader();
                   const SegmentMs now = reader == nullptr ? 0 : reader->now();
                   out += page_json(wait_of(view, now), languages()[language]);
                 }),
      redirected_(kRemembered) {
  const std::string_view css = asset("waiting.css");
  const std::string_view js = asset("waiting.js");
  Result<Template> parsed =
      Template::parse(with_parts(asset("waiting.html"), css, js), wait_names());
  LINEQ_ASSERT(parsed.ok());
  own_ = parsed.take();
  own_policy_ = fmt::format(
      "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      csp_hash(js), csp_hash(css));
}

WaitingRoom::Found WaitingRoom::find(const Caller& caller) {
  Found best;
  shm::Reader* reader = segment_.reader();
  for (const std::string& key : caller.keys) {
    if (reader == nullptr) {
      break;
    }
    const live::Sight sight = live::look(*reader, key);
    if (best.key == nullptr || (sight.seen && !best.sight.seen) ||
        sight.standing > best.sight.standing) {
      best = {sight, &key};
    }
  }
  return best;
}

const shm::RoomInfo* WaitingRoom::room_of(const Caller& caller, const Found& found) const {
  const shm::Reader* reader = segment_.reader();
  if (reader == nullptr) {
    return nullptr;
  }
  if (found.sight.standing != live::Standing::kUnknown) {
    return live::room_of(*reader, found.sight.visitor.room);
  }
  return caller.has_room ? live::room_of(*reader, caller.room) : nullptr;
}

// There is something that could change within the time of a blink.
bool WaitingRoom::worth_waiting(const Caller& caller, const Found& found, const shm::RoomInfo* room,
                                u64 position) const {
  const shm::Reader* reader = segment_.reader();
  if (caller.keys.empty() || reader == nullptr || reader->liveness() != shm::Liveness::kAlive) {
    return false;
  }
  if (found.sight.standing == live::Standing::kCalled) {
    return true;
  }
  if (room == nullptr) {
    return found.sight.standing == live::Standing::kUnknown && !reader->rooms().empty();
  }
  const shm::RoomNumbers numbers = reader->numbers(*room);
  const u64 taken = numbers.active + numbers.ready;
  const u64 free = room->settings.capacity > taken ? room->settings.capacity - taken : 0;
  const bool closed = !room->settings.suspended && !room->settings.queue_all &&
                      room->settings.method == shm::QueueingMethod::kReject;
  if (found.sight.standing == live::Standing::kUnknown) {
    return !closed;  // at least its place will be known
  }
  const bool open = !closed && !room->settings.paused && !room->settings.queue_all;
  return room->settings.suspended || (open && (position == 0 || position <= free));
}

// HAProxy has sent it back here again and again although it may enter.
bool WaitingRoom::in_circles(std::string_view key) {
  const u64 hash = std::hash<std::string_view>{}(key);
  const u64 now = monotonic_ms();
  Redirected& r = redirected_[hash % redirected_.size()];
  if (r.hash != hash || now - r.since_ms > kCircleMs) {
    r = {hash, now, 0};
  }
  return ++r.times > kMostRedirects;
}

bool WaitingRoom::decide(const Caller& caller, bool last, http::Reply& out) {
  shm::Reader* reader = segment_.reader();
  const Found found = find(caller);
  const shm::RoomInfo* room = room_of(caller, found);
  if (live::may_enter(found.sight.standing) && !in_circles(*found.key)) {
    out = enter(caller);
    return true;
  }
  u64 position = 0;
  if (found.sight.standing == live::Standing::kFront) {
    position = 1;
  } else if (found.sight.standing == live::Standing::kWaiting && room != nullptr) {
    const auto rank = reader->rank_of(*room, found.sight.visitor.ticket);
    position = rank ? *rank + 1 : 0;
  }
  if (!last && !live::may_enter(found.sight.standing) &&
      worth_waiting(caller, found, room, position)) {
    return false;
  }
  if (reader == nullptr) {
    Wait wait;
    wait.away = true;
    wait.poll_s = 5;
    out = page(caller, wait);
    return true;
  }
  const shm::RoomNumbers numbers = room == nullptr ? shm::RoomNumbers{} : reader->numbers(*room);
  const live::View view =
      live::view_of(*reader, found.sight, position, room, room == nullptr ? nullptr : &numbers);
  out = page(caller, wait_of(view, reader->now()));
  return true;
}

http::Reply WaitingRoom::enter(const Caller& caller) const {
  const bool plain = caller.method == http::Method::kGet || caller.method == http::Method::kHead;
  http::Reply reply;
  reply.status = plain ? 303 : 307;
  reply.fields.emplace_back("Location", caller.target);
  reply.fields.emplace_back("X-Robots-Tag", "noindex, nofollow");
  reply.fields.emplace_back("Vary", "Accept, Accept-Language, Cookie");
  reply.fields.emplace_back("Referrer-Policy", "same-origin");
  reply.fields.emplace_back("LineQ-State", "ready");
  return reply;
}

void WaitingRoom::put_fields(http::Reply& reply, const Wait& wait, const Language& language) const {
  reply.fields.emplace_back("Retry-After", fmt::format_int(wait.poll_s).str());
  reply.fields.emplace_back("X-Robots-Tag", "noindex, nofollow");
  reply.fields.emplace_back("Vary", "Accept, Accept-Language, Cookie");
  reply.fields.emplace_back("Content-Language", std::string(language.tag));
  reply.fields.emplace_back("Referrer-Policy", "same-origin");
  reply.fields.emplace_back("LineQ-State", std::string(wait_state_name(wait.state)));
  if (wait.position > 0) {
    reply.fields.emplace_back("LineQ-Position", fmt::format_int(wait.position).str());
  }
  if (wait.room != nullptr) {
    reply.fields.emplace_back("LineQ-Room", header_text(wait.room->settings.name));
  }
}

http::Reply WaitingRoom::page(const Caller& caller, const Wait& wait) {
  const Language& language = language_of(caller.accept_language, wait.room);
  const u64 now = realtime_ms();
  http::Reply reply;
  if (wait.state == WaitState::kRejected || segment_.reader() == nullptr) {
    reply.status = 503;
  } else {
    reply.status = static_cast<u16>(wait.room == nullptr ? 200 : wait.room->settings.status_code);
  }
  put_fields(reply, wait, language);
  if (caller.wish == Wish::kJson) {
    reply.type = "application/json; charset=utf-8";
    reply.fields.emplace_back("Content-Security-Policy", "default-src 'none'");
    reply.body = wait_json(wait, language, now);
    return reply;
  }
  reply.type = "text/html; charset=utf-8";
  const std::string& path =
      wait.room == nullptr ? std::string() : wait.room->settings.template_path;
  const Dress* dress = path.empty() ? nullptr : templates_.get(path, monotonic_ms());
  Visit visit;
  visit.site = caller.site;
  visit.method = method_text(caller.method);
  visit.realtime_ms = now;
  const WaitValues values = wait_values(wait, language, visit);
  if (dress != nullptr && wait.state != WaitState::kRejected && !dress->reloads_itself) {
    reply.fields.emplace_back("Refresh", fmt::format_int(wait.refresh_s).str());
  }
  reply.fields.emplace_back("Content-Security-Policy",
                            dress == nullptr ? own_policy_ : dress->policy);
  (dress == nullptr ? own_ : dress->page).render(values, reply.body);
  return reply;
}

http::Reply WaitingRoom::events(const http::Request& request, const Caller& caller, bool original) {
  const Found found = find(caller);
  const shm::RoomInfo* room = room_of(caller, found);
  const Language& language = language_of(caller.accept_language, room);
  http::Reply reply;
  reply.type = "text/event-stream";
  reply.fields.emplace_back("X-Accel-Buffering", "no");
  reply.fields.emplace_back("X-Robots-Tag", "noindex, nofollow");
  reply.fields.emplace_back("Vary", "Accept, Accept-Language, Cookie");
  reply.fields.emplace_back("LineQ-State", "stream");
  if (request.method == http::Method::kHead) {
    return reply;
  }
  reply.body = http::sse_retry(kRetryMs);
  reply.events = positions_.seat(
      found.key != nullptr ? *found.key : (caller.keys.empty() ? std::string() : caller.keys[0]),
      static_cast<u8>(&language - languages().data()),
      original ? live::Positions::Dialect::kOriginal : live::Positions::Dialect::kOurs);
  return reply;
}

// lineqd runs in a mode without waiting rooms.
bool WaitingRoom::closed() const {
  const shm::Reader* reader = segment_.reader();
  return reader != nullptr && reader->rooms().empty() &&
         std::none_of(reader->tables().begin(), reader->tables().end(), [](const auto& table) {
           return table.role == shm::TableRole::kUsers || table.role == shm::TableRole::kRooms;
         });
}

http::Reply WaitingRoom::answer(const http::Request& request) {
  if (closed()) {
    return http::text_reply(404, "There is nothing here.");
  }
  const shm::Reader* reader = segment_.reader();
  Caller caller;
  caller.method = request.method;
  caller.wish = wish_of(request.field("Accept").value_or(""));
  caller.target = same_place(request);
  caller.site = site_of(request);
  caller.accept_language = request.field("Accept-Language").value_or("").substr(0, 256);
  const bool reads = request.method == http::Method::kGet || request.method == http::Method::kHead;
  const bool streams = caller.wish == Wish::kEvents && reads;
  const bool original = streams && request.path == kOriginalPath && !request.query.empty();
  caller.keys = original ? original_users_keys(request, reader) : users_keys(request, reader);
  if (reader != nullptr) {
    if (const shm::RoomInfo* room = room_for(request, caller.keys, *reader); room != nullptr) {
      caller.has_room = true;
      caller.room = room->no;
    }
  }
  if (streams) {
    return events(request, caller, original);
  }
  http::Reply reply;
  if (!decide(caller, false, reply)) {
    reply.later = std::make_unique<Held>(*this, std::move(caller));
  }
  return reply;
}

http::Reply WaitingRoom::preview(std::string_view room_name, const http::Request& request) {
  const shm::Reader* reader = segment_.reader();
  const shm::RoomInfo* room = reader == nullptr ? nullptr : reader->find_room(room_name);
  if (room == nullptr) {
    return http::text_reply(404, "There is no such waiting room.");
  }
  constexpr u64 kPosition = 12;
  constexpr u32 kWaited = 90;
  shm::RoomNumbers numbers = reader->numbers(*room);
  numbers.waiting = std::max<u64>(numbers.waiting, 2 * kPosition);
  live::View view;
  view.standing = live::Standing::kWaiting;
  view.room = room;
  view.numbers = &numbers;
  view.position = kPosition;
  view.waited_ms = kWaited * 1000;
  view.left_ms = room->settings.hold_ms;
  Wait wait = wait_of(view, reader->now());
  if (!wait.known) {
    // Something to look at, whatever goes on in the room.
    wait.known = true;
    wait.low_s = 3 * 60;
    wait.expected_s = 4 * 60;
    wait.high_s = 5 * 60;
    wait.progress = 27;
  }
  wait.stopped = wait.away = false;
  Caller caller;
  caller.site = room->settings.host.empty() ? site_of(request) : room->settings.host;
  caller.accept_language = request.field("Accept-Language").value_or("").substr(0, 256);
  if (!room->settings.template_path.empty()) {
    const Result<Dress> loaded = TemplateCache::load(room->settings.template_path);
    if (!loaded) {
      return http::text_reply(422, loaded.error().what);
    }
  }
  http::Reply reply = page(caller, wait);
  reply.status = 200;
  // Without the script: the page would look for its own place, which it does not have.
  const auto policy = std::find_if(reply.fields.begin(), reply.fields.end(), [](const auto& f) {
    return f.first == "Content-Security-Policy";
  });
  policy->second =
      "default-src 'none'; style-src 'unsafe-inline' https:; img-src https: data:; "
      "font-src https: data:; sandbox";
  std::erase_if(reply.fields, [](const auto& f) { return f.first == "Refresh"; });
  return reply;
}

}  // namespace lineq::pages
