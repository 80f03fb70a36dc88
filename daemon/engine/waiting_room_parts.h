// What WaitingRoom consists of, for its own sources: waiting_room.cc (start, tables,
// acknowledgements, admission, numbers), _sightings.cc (what HAProxys tell), _visits.cc (changes of
// state), _control.cc (operators).
#pragma once

#include <cstring>

#include <fmt/format.h>

#include "daemon/engine/waiting_room.h"
#include "tools/view/wait_estimate.h"

namespace lineq::engine {

inline constexpr u32 kLeastOverMs = 60'000;  // what became of somebody is kept for so long at least
inline constexpr u32 kMaxLifeMs = 0x7fff'0000;  // ticks compare over at most 24.8 days

inline void put32(u64* image, u32 offset, u32 value) {
  std::memcpy(reinterpret_cast<u8*>(image) + offset, &value, sizeof value);
}

inline u32 life(u64 ms) {
  return static_cast<u32>(std::min<u64>(ms, kMaxLifeMs));
}

struct WaitingRoom::Room {
  RoomNo no{0};
  cli::RoomSettings settings;
  u64 active = 0;
  u64 called = 0;
  u64 leaving = 0;  // places that were taken away and are not free yet
  u64 front = 0;
  struct Front {
    Place place;
    Ticket ticket;
  };
  std::deque<Front> fronts;  // those who are not there any more are found out when it is their turn
  TicketBook book;
  Pacing pacing;
  EventRate admissions;
  EventRate arrivals;
  u64 stays = 0;
  double stay_ms = 0;  // sum
  SegmentMs last_admitted_ms = 0;
  std::optional<Ticket> called_high;  // of the line, since the method is fifo
  bool due = false;
  bool paced = false;
  SegmentMs paced_until = 0;
  bool changed = true;  // numbers
  SegmentMs published_ms = 0;
  u64 advertised = 0;
  SegmentMs advertised_ms = 0;
  bool shown_wrong = false;  // a HAProxy has another number
  bool closing = false;
  u32 sweep_users = 0;
  u32 sweep_slot = 0;

  u64 taken() const { return active + called + leaving; }
};

struct WaitingRoom::UsersTable {
  u16 table_no = 0;
  // By slot: through whom a visitor was seen last. In pieces, so that growth never
  // copies.
  static constexpr u32 kLog2 = 12;
  std::vector<std::unique_ptr<u16[]>> seen;

  PeerNo seen_by(u32 slot) const {
    const u32 piece = slot >> kLog2;
    return piece < seen.size() && seen[piece] != nullptr
               ? PeerNo{seen[piece][slot & ((1U << kLog2) - 1)]}
               : kNoPeer;
  }
  void see(u32 slot, PeerNo peer) {
    const u32 piece = slot >> kLog2;
    if (piece >= seen.size()) {
      if (peer == kNoPeer) {
        return;
      }
      seen.resize(piece + std::size_t{1});
    }
    if (seen[piece] == nullptr) {
      seen[piece] = std::make_unique<u16[]>(std::size_t{1} << kLog2);
      std::fill_n(seen[piece].get(), std::size_t{1} << kLog2, kNoPeer.value);
    }
    seen[piece][slot & ((1U << kLog2) - 1)] = peer.value;
  }
};

struct WaitingRoom::PeerState {
  bool up = false;
  bool was_up = false;
  bool taught = false;
  SegmentMs down_ms = 0;
  u64 bit = 0;  // in Pending::bits while it is up; 0: there are more than 64, it is not waited for
  struct Sent {
    u32 id;
    Place place;
  };
  std::vector<std::deque<Sent>> sent;    // by users table: not acknowledged yet, in order
  std::unordered_map<u32, u32> unacked;  // Place::word -> last id it was sent under
};

// One update of a users table.
struct WaitingRoom::Sighting {
  Peer& peer;
  Room& room;
  u32 users;
  const shm::ColumnMap& columns;
  const peers::Update& update;
  SegmentMs now;
  bool let_in = false;            // gpc1 = 1
  bool sent_away = false;         // by the site: gpt0 = 1
  bool live = true;               // it happens now
  std::optional<u32> age_ms = 0;  // since the HAProxy touched it; nothing: it does not say

  u32 age() const { return age_ms.value_or(0); }
  bool repeat() const { return update.repeat; }
};

}  // namespace lineq::engine
