#include "tools/lineq_top/top_keys.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/lineq_dump/selection.h"

namespace lineq::top {
namespace {

constexpr u64 kPatienceMs = 100;

// server_key has no order that means anything.
bool rankable(const view::Column& column) {
  return column.kind != shm::ValueKind::kDictionary;
}

// What a list is mostly looked at for: how fast somebody is, then how much.
std::size_t best_column(const std::vector<view::Column>& columns) {
  const auto find = [&](auto&& wanted) {
    return static_cast<std::size_t>(std::find_if(columns.begin(), columns.end(), wanted) -
                                    columns.begin());
  };
  const std::size_t requests =
      find([](const view::Column& c) { return c.bit == shm::kHttpReqRate; });
  const std::size_t rate =
      find([](const view::Column& c) { return c.kind == shm::ValueKind::kRate; });
  const std::size_t counter = find([](const view::Column& c) {
    return rankable(c) && c.bit != shm::kServerId && c.bit != shm::kGpt0 && c.bit != shm::kGpt;
  });
  const std::size_t any = find(rankable);
  return requests < columns.size()  ? requests
         : rate < columns.size()    ? rate
         : counter < columns.size() ? counter
                                    : any;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text;
}

}  // namespace

void TopKeys::choose(const Choice& choice) {
  if (choice == choice_) {
    return;
  }
  const bool other_table = choice.table != choice_.table;
  choice_ = choice;
  running_ = false;
  percent_ = 100;
  if (other_table) {
    forget();
  }
  begin();
}

void TopKeys::forget() {
  running_ = false;
  percent_ = 100;
  any_ = false;
  grid_ = {};
  heap_.clear();
  shown_table_.clear();
  shown_column_.clear();
  rankable_.clear();
  trouble_.reset();
}

void TopKeys::begin() {
  if (running_ || choice_.table.empty()) {
    return;
  }
  running_ = true;
  percent_ = 0;
  scan_ = {};
  table_id_ = 0;
  heap_.clear();
}

void TopKeys::fail(Error error) {
  const std::vector<std::string> names = std::move(rankable_);
  forget();
  rankable_ = names;
  trouble_ = std::move(error);
}

const shm::TableInfo* TopKeys::bind(shm::Reader& reader) {
  if (table_id_ != 0) {  // under way: the same table, wherever it now is
    for (const shm::TableInfo& table : reader.tables()) {
      if (table.id == table_id_) {
        return &table;
      }
    }
  }
  std::vector<const shm::TableInfo*> named = dump::tables_named(reader, choice_.table);
  for (const shm::TableInfo& table : reader.tables()) {
    if (named.empty() && cli::escaped(table.definition.name) == choice_.table) {
      named.push_back(&table);  // a strange name, as the screen shows it
    }
  }
  if (named.empty()) {
    std::vector<std::string_view> names;
    for (const shm::TableInfo& table : reader.tables()) {
      names.emplace_back(table.definition.name);
    }
    rankable_.clear();
    fail({ErrorCode::kNotFound, fmt::format("no table '{}'{}", cli::escaped(choice_.table),
                                            cli::suggestion(choice_.table, names))});
    return nullptr;
  }
  const shm::TableInfo& table = *named.front();
  columns_ = view::columns_of(table.definition);
  rankable_.clear();
  std::vector<std::string_view> names;
  for (const view::Column& column : columns_) {
    if (rankable(column)) {
      rankable_.push_back(column.name);
    }
  }
  names.assign(rankable_.begin(), rankable_.end());
  const std::string name = cli::escaped(table.definition.name);
  if (choice_.column.empty()) {
    ranked_ = best_column(columns_);
  } else {
    const Result<std::string> canonical = view::column_name(choice_.column);  // gpc_rate[0]
    ranked_ = static_cast<std::size_t>(
        std::find_if(columns_.begin(), columns_.end(),
                     [&](const view::Column& c) {
                       return rankable(c) &&
                              (cli::equal_ignoring_case(c.name,
                                                        canonical ? *canonical : choice_.column) ||
                               cli::equal_ignoring_case(c.label, choice_.column));
                     }) -
        columns_.begin());
  }
  if (ranked_ == columns_.size()) {
    fail({ErrorCode::kNotFound,
          names.empty()
              ? fmt::format("table {} has nothing to rank its keys by", name)
              : fmt::format("table {} has no '{}'{}; it has {}", name, cli::escaped(choice_.column),
                            cli::suggestion(choice_.column, names), fmt::join(names, ", "))});
    return nullptr;
  }
  table_id_ = table.id;
  scan_ = {};
  heap_.clear();
  return &table;
}

u64 TopKeys::rank(const shm::EntryView& entry, Tick now) const {
  const view::Column& column = columns_[ranked_];
  u64 value = column.kind == shm::ValueKind::kRate ? entry.rate_now(column.bit, column.element, now)
                                                   : entry.value(column.bit, column.element);
  if (column.kind == shm::ValueKind::kS32) {
    value += u64{1} << 63;  // negative ones below
  }
  return choice_.reverse ? ~value : value;
}

void TopKeys::consider(shm::Reader& reader, const shm::EntryView& entry, Tick now) {
  const auto better = [](const Entry& a, const Entry& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.slot < b.slot;
  };
  Entry candidate{rank(entry, now), entry.slot(), {}};
  if (heap_.size() == choice_.limit && !better(candidate, heap_.front())) {
    return;
  }
  std::string key = cli::escaped(shm::key_text(entry.definition(), entry.key()));
  if (!choice_.filter.empty() && !contains_ignoring_case(key, choice_.filter)) {
    return;
  }
  candidate.row.emplace_back(std::move(key));
  for (const view::Column& column : columns_) {
    const u64 value = column.kind == shm::ValueKind::kRate
                          ? entry.rate_now(column.bit, column.element, now)
                          : entry.value(column.bit, column.element);
    if (column.kind == shm::ValueKind::kDictionary) {
      candidate.row.emplace_back(cli::escaped(reader.dictionary_text(static_cast<u32>(value))));
    } else if (column.kind == shm::ValueKind::kS32) {
      candidate.row.emplace_back(static_cast<i64>(value));
    } else {
      candidate.row.emplace_back(value);
    }
  }
  candidate.row.emplace_back();
  if (!entry.never_expires()) {
    candidate.row.back() = u64{entry.expire_left_ms(now)};
  }
  if (heap_.size() == choice_.limit) {
    std::pop_heap(heap_.begin(), heap_.end(), better);
    heap_.pop_back();
  }
  heap_.push_back(std::move(candidate));
  std::push_heap(heap_.begin(), heap_.end(), better);
}

void TopKeys::finish() {
  std::sort(heap_.begin(), heap_.end(), [](const Entry& a, const Entry& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.slot < b.slot;
  });
  grid_ = {};
  grid_.columns.push_back({"key", "KEY", Unit::kText});
  for (const view::Column& column : columns_) {
    grid_.columns.push_back(
        {column.name, upper(column.name),
         column.kind == shm::ValueKind::kDictionary ? Unit::kText : Unit::kCount});
  }
  grid_.columns.push_back({"expires_in_ms", "EXPIRES", Unit::kDuration});
  for (Entry& entry : heap_) {
    grid_.rows.push_back(std::move(entry.row));
  }
  heap_.clear();
  shown_column_ = columns_[ranked_].name;
  running_ = false;
  any_ = true;
  percent_ = 100;
}

bool TopKeys::step(shm::Reader& reader, u32 slots) {
  if (!running_) {
    return true;
  }
  const shm::TableInfo* table = bind(reader);
  if (table == nullptr) {
    return true;
  }
  trouble_.reset();
  shown_table_ = cli::escaped(table->definition.name);
  const Tick now = tick_of(reader.now());
  const u32 next = scan_.next;
  const std::size_t busy = scan_.busy.size();
  bool done = reader.scan(*table, scan_, slots, [&](const shm::EntryView& entry) {
    consider(reader, entry, now);
    return true;
  });
  if (done || scan_.next != next || scan_.busy.size() < busy) {
    moved_ms_ = monotonic_ms();
  } else {
    // Left are entries the writer is inside of. If it was killed there it never comes out.
    std::rotate(scan_.busy.begin(), scan_.busy.begin() + 1, scan_.busy.end());
    done = monotonic_ms() - moved_ms_ > kPatienceMs;
  }
  const u64 all = std::max<u64>(reader.stats(*table).high_water, 1);
  percent_ = static_cast<u32>(std::min<u64>(u64{scan_.next} * 100 / all, 99));
  if (done) {
    finish();
  }
  return !running_;
}

}  // namespace lineq::top
