// A visitor: what a slot of a users table keeps in its two extra words (shm-design 6, 12).
//
//   ext[0]  state:4 | again:1 | told:1 | room:10 | ticket:48   (from the top bit down)
//   ext[1]  deadline:32 | since:32                             room time
//
// Room time is Tick minus the time during which no daemon ran (see visit_clock in layout.h): it
// stands still while lineqd is away or stopped, so that nobody's deadline passes because of that.
//
// Visitors that wait, are called or are inside never expire as entries (kMetaNeverExpires): their
// deadline decides, and the daemon ends them. Ended ones expire like any entry.
#pragma once

#include "shm/entry_view.h"
#include "shm/support/strong.h"

namespace lineq::shm {

enum class VisitorState : u8 {
  kNone,     // never belonged to a room: unknown name
  kWaiting,  // in the line, at `ticket`
  kFront,    // waits before the line: called once and did not come; position 1
  kGranted,  // called: gpc1 = 1 is on its way to the HAProxys
  kReady,    // ... and every connected HAProxy has acknowledged it
  kActive,   // inside
  // Over; a new request queues anew:
  kAbandoned,
  kLapsed,
  kExpired,
  kRevoked,
};
constexpr bool waits(VisitorState s) {
  return s == VisitorState::kWaiting || s == VisitorState::kFront;
}
constexpr bool called(VisitorState s) {
  return s == VisitorState::kGranted || s == VisitorState::kReady;
}
// Takes one of the room's places.
constexpr bool holds_place(VisitorState s) {
  return called(s) || s == VisitorState::kActive;
}
constexpr bool is_over(VisitorState s) {
  return s >= VisitorState::kAbandoned;
}

struct Visitor {
  VisitorState state = VisitorState::kNone;
  // Who waits or is called: was called before and did not come. Who is inside: only a lesson said
  // so, and it may have been the call; a fixed session begins with the next sign of the visitor.
  bool again = false;
  bool told = false;  // HAProxys were told gpc1 = 1 once: they have to know what becomes of it
  RoomNo room{0};
  Ticket ticket{0};
  Tick deadline = 0;  // room time: until when the present state lasts without news
  Tick since = 0;     // room time: waiting ones since they came, others since the state began

  u64 word0() const {
    return u64{static_cast<u8>(state)} << 60 | u64{again} << 59 | u64{told} << 58 |
           u64{room.value & 0x3ffU} << 48 | (ticket.value & ((u64{1} << 48) - 1));
  }
  u64 word1() const { return u64{deadline} << 32 | since; }
  static Visitor of(u64 word0, u64 word1) {
    return {static_cast<VisitorState>(word0 >> 60),
            (word0 >> 59 & 1) != 0,
            (word0 >> 58 & 1) != 0,
            RoomNo{static_cast<u16>(word0 >> 48 & 0x3ff)},
            Ticket{word0 & ((u64{1} << 48) - 1)},
            static_cast<Tick>(word1 >> 32),
            static_cast<Tick>(word1)};
  }
  // `entry` is of a table with role kUsers.
  static Visitor of(const EntryView& entry) { return of(entry.ext(0), entry.ext(1)); }
};

// "shop-4711@room": parts of a users key, split at the last '@'. Without one the room is empty.
struct UsersKey {
  std::string_view session;
  std::string_view room;
};
constexpr UsersKey split_users_key(std::string_view key) {
  const std::size_t at = key.rfind('@');
  return at == std::string_view::npos ? UsersKey{key, {}}
                                      : UsersKey{key.substr(0, at), key.substr(at + 1)};
}

}  // namespace lineq::shm
