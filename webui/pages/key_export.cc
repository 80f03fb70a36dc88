#include "webui/pages/key_export.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/view/columns.h"
#include "webui/pages/named_tables.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

constexpr u32 kSlotsPerStep = 131072;  // of all tables together
// Looks at a key whose slot the writer is inside of; then the scrape goes without it.
constexpr int kLookups = 16;

bool is_number(const view::Column& column) {
  return column.kind != shm::ValueKind::kDictionary;
}

}  // namespace

Result<KeyExport> KeyExport::of(live::Segment& segment, std::vector<cli::MetricsTable> wanted) {
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    for (std::string& name : wanted[i].data) {
      Result<std::string> known = view::column_name(name);
      if (!known) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("metrics_tables[{}].data: {}", i, known.error().what)};
      }
      if (*known == shm::data_type(shm::kServerKey).name) {
        return Error{
            ErrorCode::kInvalid,
            fmt::format("metrics_tables[{}].data: '{}' is not a number", i, cli::escaped(name))};
      }
      name = known.take();
    }
  }
  return KeyExport(segment, std::move(wanted));
}

KeyExport::KeyExport(live::Segment& segment, std::vector<cli::MetricsTable> wanted)
    : segment_(&segment) {
  for (cli::MetricsTable& table : wanted) {
    walks_.emplace_back(std::move(table));
  }
}

std::vector<view::Column> KeyExport::columns(const Walk& walk, const shm::TableInfo& table) {
  std::vector<view::Column> found;
  if (walk.wanted.data.empty()) {
    found = view::columns_of(table.definition);
    std::erase_if(found, [](const view::Column& column) { return !is_number(column); });
  }
  for (const std::string& name : walk.wanted.data) {
    const auto column = view::find_column(table.definition, name);
    const bool again = column && std::any_of(found.begin(), found.end(), [&](const auto& other) {
                         return other.bit == column->bit && other.element == column->element;
                       });
    if (column && !again) {
      found.push_back(*column);
    }
  }
  return found;
}

void KeyExport::step() {
  shm::Reader* reader = segment_->reader();
  if (reader == nullptr || walks_.empty()) {
    return;
  }
  const std::vector<NamedTable> tables = named_tables(reader->tables());
  for (Walk& walk : walks_) {
    const NamedTable* table = find_table(tables, walk.wanted.table);
    if (table == nullptr) {
      walk = Walk(std::move(walk.wanted));
      continue;
    }
    step(walk, *reader, *table->info, kSlotsPerStep / static_cast<u32>(walks_.size()));
  }
}

void KeyExport::step(Walk& walk, shm::Reader& reader, const shm::TableInfo& table,
                     u32 slots) const {
  if (walk.segment != segment_->generation() || walk.table != table.id ||
      walk.generation != table.generation) {
    walk = Walk(std::move(walk.wanted));
    walk.segment = segment_->generation();
    walk.table = table.id;
    walk.generation = table.generation;
  }
  if (!walk.leaders) {
    const std::vector<view::Column> all = columns(walk, table);
    if (all.empty()) {
      return;  // it has none of them
    }
    walk.leaders.emplace(Order{Order::By::kColumn, all.front().name, true}, all.front(),
                         walk.wanted.limit, std::nullopt);
  }
  const SegmentMs now = reader.now();
  const auto no_text = [](u32 /*id*/) { return std::string_view(); };
  const u32 from = walk.scan.next;
  const bool whole = reader.scan(table, walk.scan, slots, [&](const shm::EntryView& entry) {
    walk.leaders->offer(entry, now, no_text);
    return true;
  });
  // Nothing left but slots that a daemon was killed in: the walk ends without them.
  if (!whole && walk.scan.next != from) {
    return;
  }
  walk.leaders->finish();
  walk.keys.clear();
  for (std::size_t i = 0; i < walk.leaders->size(); ++i) {
    walk.keys.emplace(walk.leaders->entry(i, table.definition, table.geometry).key_chars());
  }
  walk.leaders.reset();
  walk.scan = {};
}

void KeyExport::put(Exposition& out) const {
  shm::Reader* reader = segment_->reader();
  if (reader == nullptr || walks_.empty()) {
    return;
  }
  out.metric("lineq_table_key_value", "gauge",
             "a value of one entry; of the tables in metrics_tables, entries with high values");
  const std::vector<NamedTable> tables = named_tables(reader->tables());
  const Tick now = tick_of(reader->now());
  std::set<std::string_view> shown;  // a table may be wanted by two names
  for (const Walk& walk : walks_) {
    const NamedTable* table = find_table(tables, walk.wanted.table);
    if (table == nullptr || walk.segment != segment_->generation() ||
        walk.table != table->info->id || walk.generation != table->info->generation ||
        !shown.insert(table->name).second) {
      continue;
    }
    const std::vector<view::Column> all = columns(walk, *table->info);
    for (const std::string& key : walk.keys) {
      shm::SlotCopy copy;
      shm::EntryView entry;
      shm::Lookup found = shm::Lookup::kBusy;
      for (int i = 0; i < kLookups && found == shm::Lookup::kBusy; ++i) {
        found = reader->lookup(*table->info, {reinterpret_cast<const u8*>(key.data()), key.size()},
                               copy, entry);
      }
      if (found != shm::Lookup::kFound) {
        continue;  // it ended since
      }
      std::string scratch;
      const std::string_view text = key_view(entry.definition(), entry.key_chars(), scratch);
      for (const view::Column& column : all) {
        const Exposition::Labels labels{
            {"name", table->name}, {"key", text}, {"data", column.name}};
        const view::Number value = view::number_of(entry, column, now);
        if (value.high < 0) {
          out.sample(labels, static_cast<double>(static_cast<i64>(value.low)));
        } else {
          out.sample(labels, value.low);
        }
      }
    }
  }
}

}  // namespace lineq::pages
