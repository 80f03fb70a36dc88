// Bucket index over a table's slots: 64-byte buckets, linear probing by bucket, no tombstones,
// nothing ever moves (shm-design 7; the overflow counters are the idea of folly's F14).
//
// put, remove: writer only. find: anybody; the caller's `match` decides by comparing the key, a
// word is only a hint.
//
// Invariants (checked by verify()):
//  I1  a live entry has exactly one word in the current index (while it grows: in the old or the
//  new one) I2  every bucket between an entry's home and its word has passed >= 1 on its account
// Why a reader is right: while an entry lives its word does not move and I2 holds, so a probe that
// started after the insert reaches it, whatever else is inserted or erased meanwhile. A miss was
// true at some instant of the call. A kill may leave `passed` too high: one bucket more is looked
// at, the next doubling forgets it.
#pragma once

#include <optional>

#include "shm/intent.h"
#include "shm/layout.h"

namespace lineq::shm {

class BucketIndex {
 public:
  BucketIndex() = default;
  BucketIndex(Bucket* buckets, u32 log2)
      : buckets_(buckets), mask_(static_cast<u32>((u64{1} << log2) - 1)), log2_(log2) {}

  explicit operator bool() const { return buckets_ != nullptr; }
  u64 buckets() const { return u64{mask_} + 1; }
  u64 capacity() const { return buckets() * kBucketWords; }
  u32 log2() const { return log2_; }
  const Bucket& bucket(u64 i) const { return buckets_[i]; }
  void prefetch_home(u32 tag) const { prefetch_for_write(&buckets_[tag & mask_]); }

  static constexpr u64 word_of(u32 tag, u32 slot) { return u64{tag} << 32 | (u64{slot} + 1); }

  // First slot under `tag` for which match(slot) is true.
  template <typename Match>
  std::optional<u32> find(u32 tag, Match&& match) const {
    u32 b = tag & mask_;
    for (u64 seen = 0; seen <= mask_; ++seen, b = (b + 1) & mask_) {
      const Bucket& bucket = buckets_[b];
      for (const u64& place : bucket.word) {
        const u64 word =
            load_acquire(place);  // pairs with store_release in put: the slot is filled
        if (word != 0 && static_cast<u32>(word >> 32) == tag && match(static_cast<u32>(word) - 1)) {
          return static_cast<u32>(word) - 1;
        }
      }
      if (load_acquire(bucket.passed) == 0) {  // pairs with store_release of `passed` in put
        break;
      }
    }
    return std::nullopt;
  }

  bool has(u32 tag, u32 slot) const {
    return find(tag, [&](u32 s) { return s == slot; }).has_value();
  }

  // The caller has checked that there is room. Buckets without a free place count one more that
  // went past them.
  void put(u32 tag, u32 slot) {
    u32 b = tag & mask_;
    u64* place = free_place(b);
    for (; place == nullptr; b = (b + 1) & mask_, place = free_place(b)) {
      store_release(buckets_[b].passed, buckets_[b].passed + 1);
      crash_point();
    }
    store_release(*place, word_of(tag, slot));  // pairs with load_acquire in find
    crash_point();
  }

  // False when the word is not there.
  bool remove(u32 tag, u32 slot) {
    const u64 word = word_of(tag, slot);
    const u32 home = tag & mask_;
    u32 b = home;
    for (u64 seen = 0; seen <= mask_; ++seen, b = (b + 1) & mask_) {
      for (u64& place : buckets_[b].word) {
        if (place == word) {
          store_release(place, 0);
          crash_point();
          for (u32 walked = home; walked != b; walked = (walked + 1) & mask_) {
            if (buckets_[walked].passed != 0) {
              store_release(buckets_[walked].passed, buckets_[walked].passed - 1);
            }
            crash_point();
          }
          return true;
        }
      }
      if (buckets_[b].passed == 0) {
        break;
      }
    }
    return false;
  }

 private:
  u64* free_place(u32 b) {
    for (u64& place : buckets_[b].word) {
      if (place == 0) {
        return &place;
      }
    }
    return nullptr;
  }

  Bucket* buckets_ = nullptr;
  u32 mask_ = 0;
  u32 log2_ = 0;
};

}  // namespace lineq::shm
