// Change feed: an overwriting ring of 8-byte records. The feed says what changed, the slot says
// what it is now.
//
// Writer:  Feed::append, one thread. Readers: FeedCursor, any process, read-only; an overrun is
// detected, never misread (shm-design 14; the model is Aeron's broadcast buffer with its
// tail-intent counter).
#pragma once

#include <span>

#include "shm/layout.h"
#include "shm/support/strong.h"
#include "shm/words.h"

namespace lineq::shm {

enum class FeedKind : u8 { kUpdate, kInsert, kErase, kExpire, kTable, kRoom, kPeer, kResync };

struct FeedRecord {
  u32 slot = 0;
  u16 table = 0;                      // 12 bits
  FeedKind kind = FeedKind::kUpdate;  // 4 bits
  u16 origin = 0;  // PeerNo of the HAProxy that caused it, kNoPeer = lineqd itself

  u64 pack() const {
    return u64{slot} << 32 | u64{table} << 20 | u64{static_cast<u8>(kind)} << 16 | origin;
  }
  static FeedRecord unpack(u64 word) {
    return {static_cast<u32>(word >> 32), static_cast<u16>(word >> 20 & 0xfff),
            static_cast<FeedKind>(word >> 16 & 0xf), static_cast<u16>(word)};
  }
};

class Feed {
 public:
  Feed() = default;
  Feed(RootHeader* header, u64* ring, u32 log2)
      : header_(header), ring_(ring), mask_((u64{1} << log2) - 1) {}

  void append(FeedRecord record) {
    const u64 n = header_->feed_tail;  // the writer's own word
    store_relaxed(header_->feed_intent, n + 1);
    publish_fence();  // pairs with the observe_fence in follow(): the intent is seen before the
                      // overwritten record
    store_relaxed(ring_[n & mask_], record.pack());
    store_release(header_->feed_tail,
                  n + 1);  // pairs with load_acquire in feed_tail(): record and slot are there
  }
  u64 tail() const { return header_->feed_tail; }
  u64 capacity() const { return mask_ + 1; }
  // Writer's own reading: no race, no copy. `position` in [tail - capacity, tail).
  FeedRecord at(u64 position) const { return FeedRecord::unpack(ring_[position & mask_]); }

 private:
  RootHeader* header_ = nullptr;
  u64* ring_ = nullptr;
  u64 mask_ = 0;
};

// A reader's place in the feed. Positions count records since the segment was made.
struct FeedCursor {
  u64 position = 0;
};

struct Followed {
  u32 records = 0;  // copied to `out`
  bool overrun =
      false;  // the writer lapped the cursor: it now stands at the tail, rescan what is on display
};

// Copies the next records, at most out.size(). Any reader.
inline Followed follow(const RootHeader& header, const u64* ring, u32 log2, FeedCursor& cursor,
                       std::span<FeedRecord> out) {
  const u64 capacity = u64{1} << log2;
  const u64 tail = load_acquire(header.feed_tail);  // pairs with store_release in Feed::append
  const u64 behind = tail - cursor.position;
  if (behind == 0 || out.empty()) {
    return {};
  }
  const u64 n = behind < out.size() ? behind : out.size();
  if (behind <= capacity) {
    for (u64 i = 0; i < n; ++i) {
      out[i] = FeedRecord::unpack(load_relaxed(ring[(cursor.position + i) & (capacity - 1)]));
    }
    observe_fence();  // pairs with the publish_fence in Feed::append
    if (cursor.position + capacity >= load_relaxed(header.feed_intent)) {
      cursor.position += n;
      return {static_cast<u32>(n), false};
    }
  }
  cursor.position = tail;
  return {0, true};
}

}  // namespace lineq::shm
