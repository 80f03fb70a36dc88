// Who is next, and how many may come (waiting-room 3). No clock, no segment but the line.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "shm/line.h"
#include "shm/room.h"

namespace lineq::engine {

// What a room does with its visitors under its present rules: suspended goes before queue_all and
// paused, these before the queueing method.
enum class Flow : u8 {
  kAll,     // everybody is called, whatever the capacity
  kPlaces,  // the next one for each free place
  kNobody,  // nobody is called
};
Flow flow_of(const shm::RoomSettings& room);
// Whether somebody new gets a place in the line.
bool takes_newcomers(const shm::RoomSettings& room);
// Free places as HAProxys are told: what they may let in on their own.
u64 advertised_places(const shm::RoomSettings& room, u64 taken, u64 waiting);

// Numbers for the random method: same seed, same numbers.
class Dice {
 public:
  explicit Dice(u64 seed) : state_(seed) {}
  u64 below(u64 n);  // uniform in [0, n), n > 0

 private:
  u64 next();
  u64 state_;
};

// Where an entry lies: number of its users table, and slot.
struct Place {
  static constexpr u32 kMaxTables = 16;
  static constexpr u32 kMaxSlots = 1U << 28;
  u32 word = 0;

  Place() = default;
  Place(u32 users, u32 slot) : word(users << 28 | slot) {}
  u32 users() const { return word >> 28; }
  u32 slot() const { return word & (kMaxSlots - 1); }
  friend bool operator==(Place, Place) = default;
};

// For each ticket that waits in the line of one room: whose it is, and what that visitor was told.
// 8 bytes a ticket.
class TicketBook {
 public:
  // The range of seconds a visitor was told to wait; unknown: neither.
  struct Told {
    u16 low = 0, high = 0;
  };
  static Told told(double low_s, double high_s);
  static bool was_told(Told told) { return told.high != 0; }
  // Whether `waited_s` lies within, give or take the second that pages round to.
  static bool held(Told told, double waited_s);

  // Tickets mostly grow; one that is there already gets a new place.
  void put(Ticket ticket, Place place);
  void tell(Ticket ticket, Told told);
  // `ticket` must be there.
  Place place(Ticket ticket) const;
  Told told_to(Ticket ticket) const;
  void take(Ticket ticket);
  bool has(Ticket ticket) const;

 private:
  static constexpr u32 kChunkLog2 = 8;
  struct Row {
    u32 place_and_one = 0;  // 0 = none; the last place of the last table cannot be
    Told told;
  };
  struct Chunk {
    u32 used = 0;
    Row rows[1U << kChunkLog2];
  };
  Row* find(Ticket ticket) const;

  u64 base_ = 0;  // chunk number of the first in chunks_
  std::deque<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace lineq::engine
