// The segment's tables as the engine writes them: every change passes here, so that expiry and a
// full table are dealt with in one place. Writer thread only; no clock.
#pragma once

#include <optional>
#include <span>

#include "daemon/engine/expiry.h"
#include "shm/visitor.h"
#include "shm/writer.h"
#include "tools/cli/log.h"

namespace lineq::engine {

class Store {
 public:
  // Arms everything that an earlier process left in the segment.
  Store(shm::Writer& writer, shm::WhenFull when_full, SegmentMs now);

  shm::Writer& writer() { return writer_; }

  // Table::apply, and: deadlines are armed; when memory has run out the entry nearest its deadline
  // makes room, or the new one is refused, as configured. Allocates only when the wheel grows.
  void apply(shm::Table& table, const shm::ColumnMap& columns, std::span<const shm::Change> changes,
             PeerNo origin, SegmentMs now, std::span<shm::Applied> results);

  // Calls over(table, slot) -> std::optional<Tick> for entries whose time has come; it erases them,
  // or says when it wants to look again. At most `budget` looks. True when nothing due is left.
  template <typename Over>
  bool expire(SegmentMs now, u32 budget, Over&& over);

  // When the time of an entry has come; nothing: never. Visitors that wait or hold a place have a
  // deadline of their own (shm/visitor.h).
  std::optional<Tick> deadline_of(const shm::Table& table, const shm::EntryView& entry) const;
  // A tick of the segment less the same moment in room time.
  Tick room_shift() const { return room_shift_; }

  // Room time stood still. Deadlines move away, so what is armed fires early and is armed again.
  void resume(SegmentMs now) { room_shift_ = tick_of(now) - writer_.room_time(now); }

  // For entries that are not written by apply().
  void arm(u16 table_no, u32 slot, Tick deadline) { wheel_.arm(table_no, slot, deadline); }
  // The table is about to go.
  void forget(u16 table_no) { wheel_.forget(table_no); }
  // Entries of `old_no` have moved to `table`.
  void replaced(u16 old_no, const shm::Table& table);

 private:
  void arm_all(const shm::Table& table);
  bool make_room(shm::Table& table, PeerNo origin, SegmentMs now);
  void say_full(const shm::Table& table, std::string_view what, SegmentMs now);

  shm::Writer& writer_;
  shm::WhenFull when_full_;
  ExpiryWheel wheel_;
  Tick room_shift_;
  cli::LogLimit limit_;
};

inline std::optional<Tick> Store::deadline_of(const shm::Table& table,
                                              const shm::EntryView& entry) const {
  if (!entry.never_expires()) [[likely]] {
    return entry.expire_tick();
  }
  if (table.info().role == shm::TableRole::kUsers) {
    const shm::Visitor visitor = shm::Visitor::of(entry);
    if (shm::waits(visitor.state) || shm::holds_place(visitor.state)) {
      return visitor.deadline + room_shift_;
    }
  }
  return std::nullopt;
}

template <typename Over>
bool Store::expire(SegmentMs now, u32 budget, Over&& over) {
  const Tick tick = tick_of(now);
  return wheel_.advance(tick, budget, [&](u16 no, u32 slot) -> std::optional<Tick> {
    shm::Table* table = writer_.table(no);
    if (table == nullptr) {
      return std::nullopt;
    }
    const shm::EntryView entry = table->at(slot);
    if (!entry.live()) {
      return std::nullopt;
    }
    const std::optional<Tick> due = deadline_of(*table, entry);
    return due && tick_passed(*due, tick) ? over(*table, slot) : due;
  });
}

}  // namespace lineq::engine
