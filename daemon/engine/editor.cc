#include "daemon/engine/editor.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "tools/cli/text.h"

namespace lineq::engine {
namespace {

constexpr u32 kLooksATurn = 8192;
constexpr u32 kRemovalLooks = 8;         // a removal costs as much as so many looks
constexpr SegmentMs kPatienceMs = 5000;  // with a HAProxy that takes nothing

bool is_theirs(const shm::TableInfo& table) {
  return table.role != shm::TableRole::kPart && table.role != shm::TableRole::kLedger;
}

// What the columns in `from` hold in `entry` (null: nothing), as ColumnMap takes it.
std::vector<u64> cells_of(const shm::TableDefinition& from, const shm::EntryView* entry, Tick now) {
  std::vector<u64> cells;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    for (u32 i = 0; from.has(bit) && i < from.elements[bit]; ++i) {
      if (shm::data_type(bit).kind != shm::ValueKind::kRate) {
        cells.push_back(entry == nullptr ? 0 : entry->value(bit, i));
        continue;
      }
      const shm::Rate rate = entry == nullptr ? shm::Rate{now, 0, 0} : entry->rate(bit, i);
      cells.insert(cells.end(), {now - rate.start, rate.curr, rate.prev});
    }
  }
  return cells;
}

// Index of an element's first cell.
std::size_t cell_at(const shm::TableDefinition& from, u32 bit, u32 element) {
  std::size_t at = 0;
  for (u32 b = 0; b < bit; ++b) {
    at += from.has(b) ? std::size_t{shm::wire_cells(shm::data_type(b).kind)} * from.elements[b] : 0;
  }
  return at + std::size_t{shm::wire_cells(shm::data_type(bit).kind)} * element;
}

}  // namespace

Result<shm::Table*> Editor::find(std::string_view name) const {
  shm::Writer& writer = store_.writer();
  std::vector<shm::Table*> found;
  const auto add = [&](std::string_view wire) {
    for (const u16 no : writer.tables()) {
      if (is_theirs(writer.table(no)->info()) && writer.table(no)->info().definition.name == wire) {
        found.push_back(writer.table(no));
      }
    }
    return !found.empty();
  };
  if (!add(name) && !add(fmt::format("/{}", name)) && name.find('/') != std::string_view::npos) {
    add(name.substr(name.rfind('/')));
  }
  if (found.empty()) {
    std::vector<std::string_view> names;
    for (const u16 no : writer.tables()) {
      if (is_theirs(writer.table(no)->info())) {
        names.emplace_back(writer.table(no)->info().definition.name);
      }
    }
    return Error{ErrorCode::kNotFound,
                 fmt::format("there is no table '{}'{}", cli::escaped(name),
                             names.empty() ? "; no HAProxy has announced one yet"
                                           : cli::suggestion(name, names))};
  }
  if (found.size() > 1) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("there are {} tables '{}' with different keys, as HAProxys disagree: "
                             "give them one definition",
                             found.size(), cli::escaped(name))};
  }
  if (const Status allowed = mode_.may_edit(found.front()->info()); !allowed) {
    return allowed.error();
  }
  return found.front();
}

Result<bool> Editor::set(shm::Table& table, std::span<const u8> key,
                         std::span<const CellValue> values, std::optional<u32> expire_ms,
                         SegmentMs now) {
  const shm::TableInfo& info = table.info();
  const u32 own_life = table.expire_ms();
  if (expire_ms && own_life == 0) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("expire: entries of table {} never expire", info.definition.name)};
  }
  if (expire_ms && *expire_ms > own_life) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("expire: table {} takes at most its own {} ms, HAProxys would cut {} "
                             "ms to that",
                             info.definition.name, own_life, *expire_ms)};
  }
  const Tick tick = tick_of(now);
  shm::TableDefinition from = info.definition;
  from.data_types = 0;
  for (const CellValue& value : values) {
    LINEQ_ASSERT(info.definition.has(value.bit) &&
                 value.element < info.definition.elements[value.bit]);
    from.data_types |= u64{1} << value.bit;
  }
  const std::optional<u32> slot = table.find(key);
  std::optional<shm::EntryView> old;
  if (slot && !table.at(*slot).expired(tick)) {
    old = table.at(*slot);
  }
  std::vector<u64> cells = cells_of(from, old ? &*old : nullptr, tick);
  for (const CellValue& value : values) {
    const std::size_t at = cell_at(from, value.bit, value.element);
    if (shm::data_type(value.bit).kind == shm::ValueKind::kRate) {
      // As HAProxy's `set table` does.
      cells[at] = 0;
      cells[at + 1] = value.value;
      cells[at + 2] = 0;
    } else {
      cells[at] = value.value;
    }
  }
  const shm::Change change{.key = key,
                           .cells = cells.data(),
                           .merge = shm::Merge::kOverwrite,
                           .timed = expire_ms.has_value(),
                           .expire_ms = expire_ms.value_or(0)};
  shm::Applied applied;
  store_.apply(table, shm::ColumnMap(from, info), {&change, 1}, kNoPeer, now, {&applied, 1});
  if (applied.outcome == shm::Outcome::kRefused) {
    return Error{ErrorCode::kExhausted,
                 fmt::format("table {}: no memory for one more entry", info.definition.name)};
  }
  if (expire_ms && tick_diff(applied.deadline, tick + *expire_ms) > 0) {
    // HAProxys never shorten a life here; an operator may.
    const Tick deadline = tick + *expire_ms;
    shm::Together shorter(store_.writer());
    shm::put_times(shorter.update(table, applied.slot, table.tag_of(key)), deadline, tick);
    shorter.land(kNoPeer, now);
    store_.arm(info.no, applied.slot, deadline);
  }
  return !old;
}

bool Editor::clear(shm::Table& table, std::span<const u8> key, SegmentMs now) {
  const std::optional<u32> slot = table.find(key);
  if (!slot) {
    return false;
  }
  const bool was_there = !table.at(*slot).expired(tick_of(now));
  if (const u32 untold = remove(table, *slot, now); untold != 0) {
    cli::log_warning("table {}: an entry was removed, and {} HAProxys take too little to be told",
                     table.info().definition.name, untold);
  }
  return was_there;
}

void Editor::clear(shm::Table& table, Matches matches, Done done) {
  Job& job = jobs_.emplace_back();
  job.table_no = table.info().no;
  job.table_id = table.info().id;
  job.name = table.info().definition.name;
  job.matches = std::move(matches);
  job.done = std::move(done);
  job.end = table.high_water();
}

void Editor::replaced(u16 old_no, const shm::Table& table) {
  for (Job& job : jobs_) {
    if (job.table_no == old_no) {
      job.table_no = table.info().no;
      job.table_id = table.info().id;
      job.slot = 0;
      job.end = table.high_water();
    }
  }
}

// Tells the HAProxys and takes it out of the segment. How many HAProxys could not be told.
u32 Editor::remove(shm::Table& table, u32 slot, SegmentMs now) {
  const u32 untold = relay_.retire(table, table.at(slot), now);
  table.erase(slot, shm::FeedKind::kErase, kNoPeer, now);
  for (const auto& peer : book_.all()) {
    if (peer->tracked()) {
      peer->set_holds(table.info().no, slot, false);  // the slot is somebody else's next
    }
  }
  return untold;
}

bool Editor::waits(Job& job, SegmentMs now) const {
  if (!relay_.crowded()) {
    job.stuck_ms = 0;
    return false;
  }
  if (job.stuck_ms == 0) {
    job.stuck_ms = std::max<SegmentMs>(now, 1);
  }
  return now - job.stuck_ms < kPatienceMs;
}

bool Editor::turn(SegmentMs now) {
  const Tick tick = tick_of(now);
  u32 budget = kLooksATurn;
  while (!jobs_.empty()) {
    Job& job = jobs_.front();
    shm::Table* const table = store_.writer().table(job.table_no);
    if (table == nullptr || table->info().id != job.table_id) {
      finish(Error{ErrorCode::kNotFound, fmt::format("table {} is gone, {} entries were cleared",
                                                     job.name, job.cleared)});
      continue;
    }
    for (; job.slot < job.end && budget != 0; ++job.slot) {
      --budget;
      const shm::EntryView entry = table->at(job.slot);
      if (!entry.live() || entry.expired(tick) || (job.matches && !job.matches(entry, tick))) {
        continue;
      }
      if (waits(job, now)) {
        return true;
      }
      job.untold += remove(*table, job.slot, now);
      ++job.cleared;
      budget -= std::min(budget, kRemovalLooks);
    }
    if (job.slot < job.end) {
      return false;
    }
    if (job.untold != 0) {
      cli::log_warning(
          "table {}: {} entries were removed; HAProxys that took too little for 5 s "
          "were not told {} times",
          job.name, job.cleared, job.untold);
    }
    finish(job.cleared);
  }
  return true;
}

void Editor::finish(const Result<u64>& result) {
  const Done done = std::move(jobs_.front().done);
  jobs_.pop_front();  // done() may bring the next one
  if (done) {
    done(result);
  }
}

}  // namespace lineq::engine
