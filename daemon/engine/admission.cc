#include "daemon/engine/admission.h"

#include <algorithm>
#include <cmath>

#include "shm/support/assert.h"

namespace lineq::engine {
namespace {

// Seconds up to 30 days on a logarithmic scale: off by less than 0.02 %.
constexpr double kToldScale = 2048;

u16 code_of(double seconds) {
  return static_cast<u16>(std::lround(std::log2(1 + std::max(seconds, 0.0)) * kToldScale) + 1);
}

double seconds_of(u16 code) {
  return std::exp2((code - 1) / kToldScale) - 1;
}

}  // namespace

Flow flow_of(const shm::RoomSettings& room) {
  if (room.suspended) {
    return Flow::kAll;
  }
  if (room.queue_all || room.paused) {
    return Flow::kNobody;
  }
  switch (room.method) {
    case shm::QueueingMethod::kFifo:
    case shm::QueueingMethod::kRandom:
      return Flow::kPlaces;
    case shm::QueueingMethod::kPassthrough:
      return Flow::kAll;
    case shm::QueueingMethod::kReject:
      return Flow::kNobody;
  }
  return Flow::kNobody;
}

bool takes_newcomers(const shm::RoomSettings& room) {
  return room.method != shm::QueueingMethod::kReject || room.suspended || room.queue_all;
}

u64 advertised_places(const shm::RoomSettings& room, u64 taken, u64 waiting) {
  switch (flow_of(room)) {
    case Flow::kAll:
      return std::max(room.capacity, 1U);
    case Flow::kPlaces:
      // Nobody overtakes those who wait.
      return room.fast && waiting == 0 && taken < room.capacity ? room.capacity - taken : 0;
    case Flow::kNobody:
      return 0;
  }
  return 0;
}

u64 Dice::next() {
  // splitmix64
  state_ += 0x9e37'79b9'7f4a'7c15;
  u64 z = state_;
  z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
  return z ^ z >> 31;
}

u64 Dice::below(u64 n) {
  // What remains of 2^64 after whole multiples of n would favour the small ones.
  const u64 odd = (~n + 1) % n;
  for (;;) {
    if (const u64 number = next(); number >= odd) {
      return number % n;
    }
  }
}

// --- TicketBook ---

TicketBook::Told TicketBook::told(double low_s, double high_s) {
  return {code_of(low_s), code_of(high_s)};
}

bool TicketBook::held(Told told, double waited_s) {
  return waited_s > seconds_of(told.low) - 1 && waited_s < seconds_of(told.high) + 1;
}

TicketBook::Row* TicketBook::find(Ticket ticket) const {
  const u64 number = ticket.value >> kChunkLog2;
  if (number < base_ || number - base_ >= chunks_.size() || chunks_[number - base_] == nullptr) {
    return nullptr;
  }
  Row& row = chunks_[number - base_]->rows[ticket.value & ((1U << kChunkLog2) - 1)];
  return row.place_and_one == 0 ? nullptr : &row;
}

void TicketBook::put(Ticket ticket, Place place) {
  const u64 number = ticket.value >> kChunkLog2;
  if (chunks_.empty()) {
    base_ = number;
  }
  for (; number < base_; --base_) {
    chunks_.push_front(nullptr);
  }
  if (number - base_ >= chunks_.size()) {
    chunks_.resize(number - base_ + 1);
  }
  std::unique_ptr<Chunk>& chunk = chunks_[number - base_];
  if (chunk == nullptr) {
    chunk = std::make_unique<Chunk>();
  }
  Row& row = chunk->rows[ticket.value & ((1U << kChunkLog2) - 1)];
  chunk->used += row.place_and_one == 0 ? 1U : 0U;
  row.place_and_one = place.word + 1;
}

void TicketBook::tell(Ticket ticket, Told told) {
  Row* const row = find(ticket);
  LINEQ_ASSERT(row != nullptr);
  row->told = told;
}

bool TicketBook::has(Ticket ticket) const {
  return find(ticket) != nullptr;
}

Place TicketBook::place(Ticket ticket) const {
  const Row* const row = find(ticket);
  LINEQ_ASSERT(row != nullptr);
  Place place;
  place.word = row->place_and_one - 1;
  return place;
}

TicketBook::Told TicketBook::told_to(Ticket ticket) const {
  const Row* const row = find(ticket);
  LINEQ_ASSERT(row != nullptr);
  return row->told;
}

void TicketBook::take(Ticket ticket) {
  Row* const row = find(ticket);
  LINEQ_ASSERT(row != nullptr);
  *row = {};
  std::unique_ptr<Chunk>& chunk = chunks_[(ticket.value >> kChunkLog2) - base_];
  if (--chunk->used == 0) {
    chunk.reset();
    while (!chunks_.empty() && chunks_.front() == nullptr) {
      chunks_.pop_front();
      ++base_;
    }
  }
}

}  // namespace lineq::engine
