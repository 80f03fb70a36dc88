#include "daemon/engine/store.h"

namespace lineq::engine {

Store::Store(shm::Writer& writer, shm::WhenFull when_full, SegmentMs now)
    : writer_(writer),
      when_full_(when_full),
      wheel_(tick_of(now)),
      room_shift_(tick_of(now) - writer.room_time(now)) {
  for (const u16 no : writer_.tables()) {
    arm_all(*writer_.table(no));
  }
}

void Store::arm_all(const shm::Table& table) {
  const u32 end = table.high_water();
  for (u32 slot = 0; slot < end; ++slot) {
    const shm::EntryView entry = table.at(slot);
    if (!entry.live()) {
      continue;
    }
    if (const std::optional<Tick> deadline = deadline_of(table, entry)) {
      wheel_.arm(table.info().no, slot, *deadline);
    }
  }
}

void Store::replaced(u16 old_no, const shm::Table& table) {
  wheel_.forget(old_no);
  arm_all(table);
}

void Store::apply(shm::Table& table, const shm::ColumnMap& columns,
                  std::span<const shm::Change> changes, PeerNo origin, SegmentMs now,
                  std::span<shm::Applied> results) {
  table.apply(columns, changes, origin, now, results);
  const u16 no = table.info().no;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    shm::Applied& applied = results[i];
    if (applied.outcome == shm::Outcome::kRefused) [[unlikely]] {
      if (make_room(table, origin, now)) {
        table.apply(columns, changes.subspan(i, 1), origin, now, results.subspan(i, 1));
      }
      if (applied.outcome == shm::Outcome::kRefused) {
        writer_.add_table_counter(no, shm::TableCounter::refused);
        say_full(table, "refusing new entries", now);
        continue;
      }
    }
    if (applied.arm) {
      wheel_.arm(no, applied.slot, applied.deadline);
    }
  }
}

bool Store::make_room(shm::Table& table, PeerNo origin, SegmentMs now) {
  if (when_full_ != shm::WhenFull::kEvict) {
    return false;
  }
  constexpr u32 kLooks = 256;
  const std::optional<u32> victim =
      wheel_.take_nearest(table.info().no, kLooks, [&](u32 slot) -> std::optional<Tick> {
        const shm::EntryView entry = table.at(slot);
        if (!entry.live() || entry.never_expires()) {
          return std::nullopt;
        }
        return entry.expire_tick();
      });
  if (!victim) {
    return false;
  }
  table.erase(*victim, shm::FeedKind::kErase, origin, now);
  writer_.add_table_counter(table.info().no, shm::TableCounter::evicted);
  say_full(table, "removing the entries nearest their expiry", now);
  return true;
}

void Store::say_full(const shm::Table& table, std::string_view what, SegmentMs now) {
  const std::string& name = table.info().definition.name;
  if (const auto hidden = limit_.admit(name, now)) {
    cli::log_warning("table {}: no memory for more than {} entries, {} ({} times before)", name,
                     table.live(), what, *hidden);
  }
}

}  // namespace lineq::engine
