#include "daemon/engine/expiry.h"

namespace lineq::engine {

// Level 0 fires just after the deadline. The others fire before it and hand on to a finer level, so
// that nothing is erased late by more than 64 ms.
ExpiryWheel::Place ExpiryWheel::place_of(Tick deadline) const {
  if (tick_diff(deadline, position_) <= 0) {
    return {0, position_ + 64};
  }
  const Tick up = (deadline + 63) & ~Tick{63};
  if (up - position_ <= (kBuckets - 1) << kShift[0]) {
    return {0, up};
  }
  for (u32 level = 1; level < kLevels; ++level) {
    const Tick mask = ~((Tick{1} << kShift[level]) - 1);
    const Tick base = position_ & mask;
    const Tick reach = (kBuckets - 1) << kShift[level];
    const Tick fires = deadline & mask;
    if (fires - base <= reach) {
      return {level, fires};
    }
    if (level + 1 == kLevels) {
      return {level, base + reach};
    }
  }
  return {0, up};
}

void ExpiryWheel::arm(u16 table, u32 slot, Tick deadline) {
  TableWheel& wheel = wheel_of(table);
  while (wheel.armed.size() <= slot >> kArmedLog2) {
    wheel.armed.push_back(std::make_unique<u32[]>(std::size_t{1} << kArmedLog2));
  }
  const Place place = place_of(deadline);
  const u32 armed = wheel.armed_at(slot);
  if (armed != 0 && tick_diff(armed & ~Tick{1}, place.fires) <= 0) {
    return;
  }
  insert(wheel, slot, place);
}

void ExpiryWheel::forget(u16 table) {
  if (table >= wheels_.size() || wheels_[table] == nullptr) {
    return;
  }
  TableWheel& wheel = *wheels_[table];
  for (auto& level : wheel.head) {
    for (u32& head : level) {
      while (pop(head)) {
      }
    }
  }
  std::erase(list_, &wheel);
  wheels_[table].reset();
}

ExpiryWheel::TableWheel& ExpiryWheel::wheel_of(u16 table) {
  if (wheels_.size() <= table) {
    wheels_.resize(table + std::size_t{1});
  }
  if (wheels_[table] == nullptr) {
    wheels_[table] = std::make_unique<TableWheel>();
    wheels_[table]->no = table;
    list_.push_back(wheels_[table].get());
  }
  return *wheels_[table];
}

void ExpiryWheel::insert(TableWheel& wheel, u32 slot, Place place) {
  u32& head = head_of(wheel, place);
  if (head == 0 || block(head - 1).count == std::size(Block{}.slot)) {
    const u32 fresh = new_block();
    block(fresh).next = head;
    block(fresh).count = 0;
    head = fresh + 1;
  }
  Block& into = block(head - 1);
  into.slot[into.count++] = slot;
  wheel.armed_at(slot) = place.fires | 1;
  ++records_;
}

std::optional<u32> ExpiryWheel::pop(u32& head) {
  if (head == 0) {
    return std::nullopt;
  }
  Block& from = block(head - 1);
  const u32 slot = from.slot[--from.count];
  --records_;
  if (from.count == 0) {
    const u32 number = head - 1;
    head = from.next;
    from.next = free_;
    free_ = number + 1;
  }
  return slot;
}

u32 ExpiryWheel::new_block() {
  if (free_ != 0) {
    const u32 number = free_ - 1;
    free_ = block(number).next;
    return number;
  }
  if (pool_used_ >> kPoolLog2 == pool_.size()) {
    pool_.push_back(std::make_unique<Block[]>(std::size_t{1} << kPoolLog2));
  }
  return pool_used_++;
}

}  // namespace lineq::engine
