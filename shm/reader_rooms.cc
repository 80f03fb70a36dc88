// Rooms of the Reader. Nothing is trusted: see shm/line_count.h for the line.
#include <algorithm>
#include <cstring>

#include "shm/line_count.h"
#include "shm/reader_state.h"
#include "shm/room_words.h"
#include "shm/seqlock.h"

namespace lineq::shm {
namespace {

constexpr std::size_t kCutKey = 31;  // HAProxy cuts keys of its stick tables here at the earliest

// The record up to its numbers; false while the writer is inside.
bool copy_rules(const RoomDesc& from, RoomDesc& to) {
  constexpr u32 kWords = offsetof(RoomDesc, active) / 8;
  constexpr u32 kLineWord = offsetof(RoomDesc, line) / 8;  // not under the sequence
  const u64* words = reinterpret_cast<const u64*>(&from);
  std::array<u64, kWords> copy{};
  const bool whole = seqlock_read(from.seq, [&] {
    copy[0] = u64{load_relaxed(from.state)} << 32;
    for (u32 i = 1; i < kWords; ++i) {
      if (i != kLineWord) {
        copy[i] = load_relaxed(words[i]);
      }
    }
  });
  std::memcpy(&to, copy.data(), sizeof copy);
  return whole;
}

// Whether the record is still this room's.
bool same_room(const RoomDesc& desc, const RoomInfo& room) {
  const u64* words = reinterpret_cast<const u64*>(&desc);
  return static_cast<u32>(load_relaxed(words[offsetof(RoomDesc, id) / 8])) == room.id;
}
static_assert(offsetof(RoomDesc, id) % 8 == 0);

}  // namespace

void Reader::State::load_rooms() {
  rooms.clear();
  const u32 high = std::min(load_acquire(layout->header.rooms_high), kMaxRooms);
  for (u32 no = 0; no < high; ++no) {
    RoomDesc copy{};
    if (!copy_rules(layout->rooms[no], copy) || copy.state != static_cast<u32>(RoomState::kLive)) {
      continue;
    }
    rooms.push_back({RoomNo{static_cast<u16>(no)}, copy.id, settings_of(copy)});
  }
}

const LineDir* Reader::State::line(RoomNo room) {
  const RoomDesc& desc = layout->rooms[room.value];
  const Object* object = this->object(load_acquire(desc.line.object), sizeof(LineDir));
  return object == nullptr ? nullptr : reinterpret_cast<const LineDir*>(object->data());
}

const LineSegment* Reader::State::line_segment(const LineDir& dir, u64 no) {
  const ObjRef& ref = dir.segment[ring_of(no)];
  // A segment may have been left behind between reading its number and opening it.
  for (int attempt = 0; attempt < 3; ++attempt) {
    const u32 number = load_acquire(ref.object);  // pairs with Line::Parts::make_segment
    const Object* object = this->object(number, sizeof(LineSegment));
    if (object != nullptr) {
      return reinterpret_cast<const LineSegment*>(object->data());
    }
    if (load_acquire(ref.object) == number) {
      break;
    }
  }
  return nullptr;
}

const std::vector<RoomInfo>& Reader::rooms() const {
  return state_->rooms;
}

const RoomInfo* Reader::find_room(std::string_view name) const {
  const RoomInfo* found = nullptr;
  bool many = false;
  for (const RoomInfo& room : state_->rooms) {
    if (room.settings.name == name) {
      return &room;
    }
    if (name.size() >= kCutKey && room.settings.name.starts_with(name)) {
      many = found != nullptr;
      found = &room;
    }
  }
  return many ? nullptr : found;
}

RoomNumbers Reader::numbers(const RoomInfo& room) const {
  return numbers_of(state_->layout->rooms[room.no.value]);
}
RoomHistogram Reader::wait_histogram(const RoomInfo& room) const {
  return histogram_of(state_->layout->rooms[room.no.value].wait_histogram);
}
RoomHistogram Reader::stay_histogram(const RoomInfo& room) const {
  return histogram_of(state_->layout->rooms[room.no.value].stay_histogram);
}

std::optional<u64> Reader::rank_of(const RoomInfo& room, Ticket ticket) {
  u64 rank = kNoRank;
  ranks_of(room, {&ticket, 1}, {&rank, 1});
  return rank == kNoRank ? std::nullopt : std::optional(rank);
}

void Reader::ranks_of(const RoomInfo& room, std::span<const Ticket> tickets, std::span<u64> ranks) {
  static_assert(kNoRank == kNotWaiting);
  LINEQ_ASSERT(ranks.size() >= tickets.size());
  State& s = *state_;
  const LineDir* dir = s.line(room.no);
  if (dir == nullptr || !same_room(s.layout->rooms[room.no.value], room)) {
    std::fill_n(ranks.begin(), tickets.size(), kNoRank);
    return;
  }
  count_ranks(
      *dir, [&](u64 no) { return s.line_segment(*dir, no); }, tickets, ranks.first(tickets.size()));
}

Tick Reader::room_time() const {
  return tick_of(now()) - shift_of(load_acquire(state_->layout->header.visit_clock));
}

}  // namespace lineq::shm
