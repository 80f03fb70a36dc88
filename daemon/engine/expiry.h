// When entries have to be looked at because their life may be over: a lazy timer wheel
// (shm-design 11). Knows numbers of tables and slots, no table; no clock.
//
// An update of an entry costs nothing here: the slot keeps the deadline, the wheel keeps one
// *counting* record for each armed slot that fires at or before it. When the record fires, the slot
// is asked again: over, or re-armed at its present deadline. A deadline that moves to an earlier
// time needs a second record; the old one is then stale and is dropped when it fires.
//
// Invariants:
//  E1  armed(slot) != none  =>  a record of the slot lies in the bucket that fires at armed(slot)
//  E2  armed(slot) <= the slot's deadline rounded up to 64 ms, if arm() was told of it
//  E3  every bucket that fires at or before position() is empty
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "shm/support/assert.h"
#include "shm/support/clock.h"
#include "shm/support/ints.h"

namespace lineq::engine {

class ExpiryWheel {
 public:
  explicit ExpiryWheel(Tick now) : position_(now & ~Tick{63}) {}

  // The slot is to be looked at when `deadline` has passed. Cheap when it is armed early enough
  // already.
  void arm(u16 table, u32 slot, Tick deadline);
  // The table is gone.
  void forget(u16 table);

  // Fires what is due at `now`. look(table, slot) -> std::optional<Tick>: the deadline, in the
  // future, to wait for; or nothing to wait for any more (it erased the entry, or there is none).
  // Stops after `budget` looks. True when nothing due is left.
  template <typename Look>
  bool advance(Tick now, u32 budget, Look&& look);

  // Takes the entry of `table` that is to be looked at first, to within the width of its bucket,
  // out of the wheel. deadline(slot) -> std::optional<Tick>, nothing for free slots. Gives up after
  // `budget` looks at entries whose deadline moved on.
  template <typename Deadline>
  std::optional<u32> take_nearest(u16 table, u32 budget, Deadline&& deadline);

  // Everything due at or before this has fired.
  Tick position() const { return position_; }
  u64 records() const { return records_; }  // stale ones included

 private:
  static constexpr u32 kLevels = 3;
  static constexpr u32 kBuckets = 1024;
  static constexpr std::array<u32, kLevels> kShift{6, 12, 18};  // 64 ms, 4 s, 4 min
  static constexpr u32 kArmedLog2 = 16;
  static constexpr u32 kPoolLog2 = 12;

  // Slots of one bucket, 14 at a time; `next` and heads are block numbers + 1, 0 = none.
  struct Block {
    u32 next;
    u32 count;
    u32 slot[14];
  };

  struct Place {
    u32 level;
    Tick fires;
  };

  struct TableWheel {
    u16 no = 0;
    std::array<std::array<u32, kBuckets>, kLevels> head{};
    // By slot: tick at which the counting record fires, | 1; 0 = none. In pieces, so that growth
    // never copies.
    std::vector<std::unique_ptr<u32[]>> armed;

    u32& armed_at(u32 slot) { return armed[slot >> kArmedLog2][slot & ((1U << kArmedLog2) - 1)]; }
  };

  static u32& head_of(TableWheel& wheel, Place place) {
    return wheel.head[place.level][place.fires >> kShift[place.level] & (kBuckets - 1)];
  }

  Place place_of(Tick deadline) const;
  TableWheel& wheel_of(u16 table);
  void insert(TableWheel& wheel, u32 slot, Place place);
  std::optional<u32> pop(u32& head);
  Block& block(u32 number) { return pool_[number >> kPoolLog2][number & ((1U << kPoolLog2) - 1)]; }
  u32 new_block();

  template <typename Look>
  bool drain(TableWheel& wheel, Place place, u32& budget, Look& look);

  Tick position_;
  u64 records_ = 0;
  std::vector<std::unique_ptr<TableWheel>> wheels_;  // by table number
  std::vector<TableWheel*> list_;                    // those that exist
  std::vector<std::unique_ptr<Block[]>> pool_;
  u32 pool_used_ = 0;
  u32 free_ = 0;  // first free block + 1
};

template <typename Look>
bool ExpiryWheel::drain(TableWheel& wheel, Place place, u32& budget, Look& look) {
  u32& head = head_of(wheel, place);
  while (head != 0) {
    if (budget == 0) {
      return false;
    }
    --budget;
    const u32 slot = *pop(head);
    if (wheel.armed_at(slot) != (place.fires | 1)) {
      continue;  // stale
    }
    wheel.armed_at(slot) = 0;
    if (const std::optional<Tick> deadline = look(wheel.no, slot)) {
      insert(wheel, slot, place_of(*deadline));
    }
  }
  return true;
}

template <typename Look>
bool ExpiryWheel::advance(Tick now, u32 budget, Look&& look) {
  while (tick_diff(now, position_) >= 64) {
    const Tick fires = position_ + 64;
    // Coarse levels first: what they re-arm for this very moment falls into level 0.
    for (u32 level = kLevels; level-- > 0;) {
      if ((fires & ((Tick{1} << kShift[level]) - 1)) != 0) {
        continue;
      }
      // By number: look() may arm slots of tables that are new here.
      // NOLINTNEXTLINE(modernize-loop-convert)
      for (std::size_t i = 0; i < list_.size(); ++i) {
        if (!drain(*list_[i], {level, fires}, budget, look)) {
          return false;
        }
      }
    }
    position_ = fires;
    if (budget == 0) {
      return tick_diff(now, position_) < 64;
    }
    --budget;  // empty buckets cost something too, after a long sleep
  }
  return true;
}

template <typename Deadline>
std::optional<u32> ExpiryWheel::take_nearest(u16 table, u32 budget, Deadline&& deadline) {
  if (table >= wheels_.size() || wheels_[table] == nullptr) {
    return std::nullopt;
  }
  TableWheel& wheel = *wheels_[table];
  for (u32 level = 0; level < kLevels; ++level) {
    const Tick width = Tick{1} << kShift[level];
    Place place{level, position_ & ~(width - 1)};
    for (u32 i = 0; i + 1 < kBuckets; ++i) {
      place.fires += width;
      u32& head = head_of(wheel, place);
      while (head != 0) {
        if (budget-- == 0) {
          return std::nullopt;
        }
        const u32 slot = *pop(head);
        if (wheel.armed_at(slot) != (place.fires | 1)) {
          continue;
        }
        wheel.armed_at(slot) = 0;
        const std::optional<Tick> due = deadline(slot);
        if (!due) {
          continue;
        }
        // Only entries that stay where they are count; the others go where they belong now.
        if (const Place now = place_of(*due);
            tick_diff(now.fires, place.fires) > static_cast<i32>(width)) {
          insert(wheel, slot, now);
          continue;
        }
        return slot;
      }
    }
  }
  return std::nullopt;
}

}  // namespace lineq::engine
