// Counting the tickets of a line that wait: what Line and Reader share. Every load may race with
// the writer, and nothing that is read is trusted: sums may be nonsense on a damaged segment, no
// access is out of bounds. count_in and count_out are the writer's.
#pragma once

#include <span>

#include "shm/intent.h"
#include "shm/layout.h"
#include "shm/support/strong.h"
#include "shm/words.h"

namespace lineq::shm {

inline constexpr u64 kNotWaiting = ~u64{0};

constexpr u64 segment_of(u64 ticket) {
  return ticket / kSegmentTickets;
}
constexpr u32 place_of(u64 ticket) {
  return static_cast<u32>(ticket % kSegmentTickets);
}
constexpr u32 ring_of(u64 segment) {
  return static_cast<u32>(segment % kLineSegments);
}

namespace detail {
template <Word T>
void add(T& word, int by) {
  store_relaxed(word, static_cast<T>(word + static_cast<T>(by)));
  store_point();
}
}  // namespace detail

// The bit of a ticket at tail and the counts above it; then tail is to move on, with release.
inline void count_in(LineDir& dir, LineSegment& segment, u64 ticket) {
  const u32 place = place_of(ticket);
  const u32 ring = ring_of(segment_of(ticket));
  u64& bits = segment.bits[place / 64];
  store_relaxed(bits, bits | u64{1} << place % 64);
  store_point();
  detail::add(segment.per1k[place / 1024], 1);
  detail::add(segment.per16k[place / 16384], 1);
  detail::add(dir.count[ring], 1);
  detail::add(dir.group[ring / 16], 1);
}
// ... of one that waits.
inline void count_out(LineDir& dir, LineSegment& segment, u64 ticket) {
  const u32 place = place_of(ticket);
  const u32 ring = ring_of(segment_of(ticket));
  u64& bits = segment.bits[place / 64];
  store_relaxed(bits, bits & ~(u64{1} << place % 64));
  store_point();
  detail::add(segment.per1k[place / 1024], -1);
  detail::add(segment.per16k[place / 16384], -1);
  detail::add(dir.count[ring], -1);
  u32& group = dir.group[ring / 16];
  store_release(group, group - 1);  // pairs with the observe_fence in count_ranks
  store_point();
}

// Waiting in segments [from, to).
inline u64 count_segments(const LineDir& dir, u64 from, u64 to) {
  u64 sum = 0;
  while (from < to) {
    if (from % 16 == 0 && to - from >= 16) {
      sum += load_relaxed(dir.group[ring_of(from) / 16]);
      from += 16;
    } else {
      sum += load_relaxed(dir.count[ring_of(from)]);
      ++from;
    }
  }
  return sum;
}

// How far one segment is counted.
struct SegmentCursor {
  u32 word = 0;    // of bits
  u64 before = 0;  // waiting in the words before it
};
// Waiting in the segment before `place`, or kNotWaiting if that place does not wait itself. Moves
// the cursor to the word of `place`.
u64 count_to(const LineSegment& segment, SegmentCursor& cursor, u32 place);

// Ranks of tickets in ascending order. `at(s)` is the mapped segment s, or nullptr.
//
// Each position before a ticket is counted in exactly one word that is read, so each rank was the
// true one at some instant of the call (shm/line.h). What may go wrong is that a segment is used
// again for later tickets: the ticket's own, then head has passed the ticket; or one before it in
// the ring, then tail has come round. Both are looked at afterwards.
template <typename SegmentAt>
void count_ranks(const LineDir& dir, SegmentAt&& at, std::span<const Ticket> tickets,
                 std::span<u64> ranks) {
  constexpr int kTries = 8;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const u64 head = load_acquire(dir.head);
    const u64 tail = load_acquire(dir.tail);  // pairs with Line::join: the ticket's bit is there
    const u64 first = segment_of(head);
    u64 segment = first;
    u64 before = 0;
    const LineSegment* in = nullptr;
    SegmentCursor cursor;
    for (std::size_t i = 0; i < tickets.size(); ++i) {
      const u64 ticket = tickets[i].value;
      const u64 own = segment_of(ticket);
      ranks[i] = kNotWaiting;
      if (ticket < head || ticket >= tail || own - first >= kLineSegments) {
        continue;
      }
      if (in == nullptr || own != segment) {
        before += count_segments(dir, segment, own);
        segment = own;
        in = at(own);
        cursor = {};
        if (in == nullptr) {
          continue;
        }
      }
      const u64 inside = count_to(*in, cursor, place_of(ticket));
      ranks[i] = inside == kNotWaiting ? kNotWaiting : before + inside;
    }
    // Pairs with the publish_fence before a segment is used again; and with the release in
    // count_out: who saw a removal in a group sees it in the group's counts as well the next time,
    // so that a rank does not rise when head moves into the group.
    observe_fence();
    const u64 head_now = load_relaxed(dir.head);
    for (std::size_t i = 0; i < tickets.size() && tickets[i].value < head_now; ++i) {
      ranks[i] = kNotWaiting;
    }
    if (segment_of(load_relaxed(dir.tail)) - first < kLineSegments) {
      return;
    }
  }
  for (u64& rank : ranks) {
    rank = kNotWaiting;
  }
}

}  // namespace lineq::shm
