#include "webui/pages/tables.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "webui/pages/entry_json.h"
#include "webui/pages/entry_text.h"
#include "webui/pages/json.h"
#include "webui/pages/named_tables.h"
#include "webui/pages/peer_parts.h"
#include "webui/pages/ranking.h"
#include "webui/pages/table_query.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

// Slots looked at in one step: a filter that matches nothing must not hold up other requests.
constexpr u32 kSlotsPerStep = 16384;
// How long a sorted page waits for others.
constexpr u64 kSortPatienceMs = 10000;
// Steps that find one slot busy before it is left out.
constexpr u32 kBusySteps = 256;

class TablesStream : public http::Stream {
 public:
  TablesStream(live::Segment& segment, TableQuery query, const std::vector<NamedTable>& tables,
               Sorts& sorts)
      : segment_(segment),
        generation_(segment.generation()),
        query_(std::move(query)),
        sorts_(sorts) {
    if (query_.sort) {
      ++sorts_.running;
    }
    for (const NamedTable& table : tables) {
      todo_.push_back({table.name, table.info->id, table.info->generation});
    }
    if (!query_.sort) {
      left_ = query_.limit;
    }
    if (query_.cursor) {
      scan_ = query_.cursor->scan;
    }
  }
  ~TablesStream() override {
    if (query_.sort) {
      --sorts_.running;
    }
  }
  TablesStream(const TablesStream&) = delete;
  TablesStream& operator=(const TablesStream&) = delete;
  TablesStream(TablesStream&&) = delete;
  TablesStream& operator=(TablesStream&&) = delete;

  Next next(std::string& out) override {
    shm::Reader* reader = segment_.reader();
    if (reader == nullptr || segment_.generation() != generation_) {
      return Next::kAborted;  // the rest would be of another segment
    }
    if (!begun_) {
      begin();
    }
    u32 slots = kSlotsPerStep;
    while (!ended_ && slots > 0 && json_.bytes() < kBlockBytes) {
      step(*reader, slots);
    }
    json_.take(out);
    return ended_ ? Next::kEnd : Next::kMore;
  }

 private:
  struct Table {
    std::string name;
    u32 id = 0;
    u64 generation = 0;
  };

  void begin() {
    begun_ = true;
    json_.object();
    json_.field("mode", query_.totals ? "acc" : "tables");
    if (query_.totals) {
      json_.key("tables");
      json_.object();
    } else if (query_.typed) {
      json_.field("format", u64{2});
      json_.key("tables");
      json_.array();
    }
  }

  void end() {
    ended_ = true;
    if (query_.totals) {
      json_.end_object();
    } else if (query_.typed) {
      json_.end_array();
      json_.key("next");
      if (next_.empty()) {
        json_.null();
      } else {
        json_.text(next_);
      }
    }
    json_.end_object();
  }

  // The table the scan is in, as of now: a TableInfo does not outlive a refresh.
  const shm::TableInfo* current(const shm::Reader& reader) const {
    const Table& table = todo_[at_];
    const auto& all = query_.totals ? reader.hidden_tables() : reader.tables();
    const auto found = std::find_if(all.begin(), all.end(), [&](const shm::TableInfo& info) {
      return info.id == table.id && info.generation == table.generation;
    });
    return found == all.end() ? nullptr : &*found;
  }

  void step(shm::Reader& reader, u32& slots) {
    if (at_ == todo_.size()) {
      return end();
    }
    const shm::TableInfo* table = current(reader);
    if (!in_table_) {
      if (table == nullptr) {  // it went away while another was shown
        ++at_;
        return;
      }
      begin_table(reader, *table);
    }
    const bool whole = table == nullptr || entries(reader, *table, slots);
    flush();
    const bool full = left_ && *left_ == 0 && *query_.limit != 0;
    if (!whole && !full) {
      return;
    }
    // A full page goes on behind its last entry, even if nothing follows there: that costs one
    // empty page, and knowing better would cost a look ahead.
    if (full && !(whole && at_ + 1 == todo_.size())) {
      next_ = cursor_text({todo_[at_].id, todo_[at_].generation, std::move(scan_)});
    } else if (ranking_ && ranking_->more()) {
      next_ = sorted_cursor_text(
          {todo_[at_].id, todo_[at_].generation, order_text(*query_.sort), ranking_->last()});
    }
    end_table();
    at_ = full ? todo_.size() : at_ + 1;
  }

  void begin_table(const shm::Reader& reader, const shm::TableInfo& table) {
    in_table_ = true;
    const shm::TableDefinition& d = table.definition;
    const shm::TableStats stats = reader.stats(table);
    columns_ = view::columns_of(d);
    text_ = EntryText(table, columns_);
    Result<view::Filter> filter = view::Filter::bind(query_.conditions, d);
    impossible_ = !filter;  // no such column, so no such entry
    filter_ = filter ? filter.take() : view::Filter();
    scanned_ = 0;
    matched_ = 0;
    if (query_.sort) {
      definition_ = d;
      geometry_ = table.geometry;
      ranking_.emplace(
          *query_.sort, view::find_column(d, query_.sort->column),
          query_.limit.value_or(kUsualSorted),
          query_.sorted_cursor ? std::optional(query_.sorted_cursor->place) : std::nullopt);
    }
    if (!query_.typed) {
      json_.key(todo_[at_].name);
    }
    json_.object();
    if (query_.typed) {
      json_.field("table", todo_[at_].name);
    }
    if (!query_.totals) {
      json_.field("expiry", stats.expire_ms);
    }
    if (query_.totals) {
      json_.field("type", shm::key_type_name(d.key_type));
      json_.key("counters");
      json_.array();
      for (const view::Column& column : columns_) {
        if (column.element == 0) {
          json_.text(shm::data_type(column.bit).name);
        }
      }
      json_.end_array();
    } else if (query_.typed) {
      json_.field("type", shm::key_type_name(d.key_type));
      json_.field("key_bytes", d.key_bytes);
      json_.field("used", stats.live);
      json_.key("columns");
      json_.array();
      for (const view::Column& column : columns_) {
        if (column.element == 0) {
          column_header(d, column);
        }
      }
      json_.end_array();
    } else {
      write_.vtypes(d, columns_);
    }
    json_.key("entries");
    json_.array();
  }

  void column_header(const shm::TableDefinition& d, const view::Column& column) {
    const shm::DataType& type = shm::data_type(column.bit);
    json_.object();
    json_.field("name", type.name);
    if (type.array) {
      json_.field("elements", d.elements[column.bit]);
    }
    if (type.kind == shm::ValueKind::kRate) {
      json_.field("period_ms", d.period_ms[column.bit]);
    }
    json_.end_object();
  }

  void end_table() {
    in_table_ = false;
    scan_ = {};
    json_.end_array();
    if (query_.typed) {
      json_.field("scanned", scanned_);
      json_.field("matched", matched_);
    } else if (!next_.empty()) {
      json_.field("next", next_);
    }
    json_.end_object();
  }

  // True when the table has been seen to its end.
  bool entries(shm::Reader& reader, const shm::TableInfo& table, u32& slots) {
    if (impossible_ || (left_ && *left_ == 0)) {
      return true;
    }
    now_ = reader.now();
    if (query_.peers) {
      parts_.find(reader, table);
    }
    if (query_.key || query_.id) {
      one_key(reader, table);
      return true;
    }
    if (ranked_) {
      return ranked_entries(reader);
    }
    const u32 from = scan_.next;
    const std::size_t waiting = scan_.busy.size();
    const bool all = !ranking_ && !query_.search && filter_.empty() && original();
    const Tick tick = tick_of(now_);
    const bool whole = reader.scan(table, scan_, slots, [&](const shm::EntryView& entry) {
      if (all && !left_ && text_.add(entry, tick)) {
        ++scanned_;
        ++matched_;
        if (!text_.full()) {
          return true;
        }
        flush();
      } else {
        show(reader, entry);
      }
      return json_.bytes() < kBlockBytes && !(left_ && *left_ == 0);
    });
    const u32 seen = scan_.next - from;
    slots = seen == 0 || seen >= slots ? 0 : slots - seen;
    // A daemon killed inside a slot leaves it like that until it is back: no reason to wait.
    if (!whole && seen == 0 && waiting == scan_.busy.size() && ++stuck_ == kBusySteps) {
      scan_.busy.pop_back();
      stuck_ = 0;
    }
    if (whole && ranking_) {
      ranking_->finish();
      ranked_ = true;
      return ranked_entries(reader);
    }
    return whole;
  }

  bool ranked_entries(shm::Reader& reader) {
    while (ranked_shown_ < ranking_->size() && json_.bytes() < kBlockBytes) {
      put(reader, ranking_->entry(ranked_shown_, definition_, geometry_),
          ranking_->seen(ranked_shown_));
      ++ranked_shown_;
    }
    return ranked_shown_ == ranking_->size();
  }

  void one_key(shm::Reader& reader, const shm::TableInfo& table) {
    if (std::exchange(scan_.next, 1) != 0) {
      return;  // a cursor that stands behind it
    }
    std::string bytes;
    if (query_.id) {
      bytes = *query_.id;
    } else {
      const Result<std::string> parsed = shm::key_from_text(table.definition, *query_.key);
      if (!parsed) {
        return;  // no key of this type reads like that
      }
      bytes = *parsed;
    }
    const std::span<const u8> key_bytes(reinterpret_cast<const u8*>(bytes.data()), bytes.size());
    shm::SlotCopy copy;
    shm::EntryView entry;
    if (patient_lookup(reader, table, key_bytes, copy, entry) == shm::Lookup::kFound) {
      show(reader, entry);
    }
  }

  void show(shm::Reader& reader, const shm::EntryView& entry) {
    ++scanned_;
    const auto text_of = [&](u32 id) { return reader.dictionary_text(id); };
    if (!filter_.matches(entry, tick_of(now_), text_of) || !found(entry)) {
      return;
    }
    ++matched_;
    if (ranking_) {
      return ranking_->offer(entry, now_, text_of);
    }
    if (left_) {
      --*left_;
    }
    put(reader, entry, tick_of(now_));
  }

  bool original() const { return !query_.totals && !query_.typed; }

  void flush() {
    if (const std::string_view objects = text_.take(); !objects.empty()) {
      json_.raw(objects);
    }
  }

  bool found(const shm::EntryView& entry) {
    return !query_.search ||
           key_view(entry.definition(), entry.key_chars(), scratch_).find(*query_.search) !=
               std::string_view::npos;
  }

  void put(shm::Reader& reader, const shm::EntryView& entry, Tick now) {
    if (original()) {
      const bool added = text_.add(entry, now);
      if (!added || text_.full()) {
        flush();
      }
      if (added) {
        return;
      }
    }
    json_.object();
    if (!query_.totals) {
      write_.id(entry.key());
    }
    write_.key(entry);
    if (query_.totals) {
      write_.values(reader, entry, columns_, now);
    } else if (query_.typed) {
      write_.typed(reader, entry, columns_, now);
      if (query_.peers) {
        parts_.put(json_, write_, reader, entry.key(), now);
      }
    } else {
      write_.value(reader, entry, columns_, now);
    }
    json_.end_object();
  }

  live::Segment& segment_;
  u64 generation_;
  TableQuery query_;
  Sorts& sorts_;
  Json json_;
  EntryJson write_{json_};

  std::vector<Table> todo_;
  std::size_t at_ = 0;
  bool begun_ = false;
  bool in_table_ = false;
  bool ended_ = false;
  std::optional<u64> left_;  // entries until the page is full
  std::string next_;

  // of the table under way
  shm::Scan scan_;
  EntryJson::Columns columns_;
  EntryText text_;
  PeerParts parts_;  // of one step: it does not outlive a refresh
  view::Filter filter_;
  bool impossible_ = false;
  u32 stuck_ = 0;
  SegmentMs now_ = 0;
  u64 scanned_ = 0;
  u64 matched_ = 0;

  // of a sorted page, which is of one table
  std::optional<Ranking> ranking_;
  shm::TableDefinition definition_;
  shm::Geometry geometry_;
  bool ranked_ = false;
  std::size_t ranked_shown_ = 0;

  std::string scratch_;
};

// A sorted page whose turn has not come yet.
class WaitsForASort : public http::Later {
 public:
  WaitsForASort(std::function<http::Reply()> make, Sorts& sorts)
      : make_(std::move(make)), sorts_(sorts) {}
  u64 patience_ms() const override { return kSortPatienceMs; }
  bool decide(bool last, http::Reply& out) override {
    if (sorts_.running < Sorts::kMost) {
      out = make_();
      return true;
    }
    if (last) {
      out = http::text_reply(
          503, fmt::format("{} sorted pages are made already; try again", Sorts::kMost));
      out.fields.emplace_back("Retry-After", "1");
    }
    return last;
  }

 private:
  std::function<http::Reply()> make_;
  Sorts& sorts_;
};

// Whether this table can be sorted like that; a sentence if not.
std::string unsortable(const shm::TableDefinition& definition, const Order& order, TablePage page) {
  if (order.by != Order::By::kColumn || view::find_column(definition, order.column)) {
    return {};
  }
  std::vector<std::string> names{"key"};
  if (page == TablePage::kTables) {
    names.emplace_back("expiry");
  }
  for (const view::Column& column : view::columns_of(definition)) {
    names.push_back(column.name);
  }
  return fmt::format("sort: table {} does not store {}; allowed: {}", cli::escaped(definition.name),
                     order.column, fmt::join(names, ", "));
}

http::Reply not_found(std::string_view table) {
  std::string scratch;
  return http::text_reply(404,
                          fmt::format("There is no table '{}'.", escaped_view(table, scratch)));
}

http::Reply reply_of(live::Segment& segment, Sorts& sorts, const std::string& text,
                     TablePage page) {
  Result<TableQuery> query = parse_table_query(text, page);
  if (!query) {
    return http::text_reply(400, query.error().what);
  }
  const shm::Reader* reader = segment.reader();
  if (reader == nullptr) {
    return http::text_reply(503, segment.trouble());
  }
  std::vector<NamedTable> tables = named_tables(reader->tables());
  if (query->table) {
    const NamedTable* one = find_table(tables, *query->table);
    if (one == nullptr) {
      return not_found(*query->table);
    }
    tables = {*one};
  }
  if (page == TablePage::kTotals) {
    for (NamedTable& table : tables) {
      table.info = reader->ledger_of(*table.info);
    }
    std::erase_if(tables, [](const NamedTable& table) { return table.info == nullptr; });
  }
  if (const std::optional<std::pair<u32, u64>> begin = query->begins_in()) {
    const auto at = std::find_if(tables.begin(), tables.end(), [&](const NamedTable& t) {
      return t.info->id == begin->first && t.info->generation == begin->second;
    });
    if (at == tables.end()) {
      return http::text_reply(410, "The table of this cursor is gone; begin again without it.");
    }
    tables.erase(tables.begin(), at);
  }
  http::Reply reply;
  if (query->sort && !tables.empty()) {
    if (const std::string why = unsortable(tables[0].info->definition, *query->sort, page);
        !why.empty()) {
      return http::text_reply(400, why);
    }
    if (sorts.running >= Sorts::kMost) {
      reply.later = std::make_unique<WaitsForASort>(
          [&segment, &sorts, text, page] { return reply_of(segment, sorts, text, page); }, sorts);
      return reply;
    }
  }
  reply.type = "application/json";
  reply.fields.emplace_back("LineQ-Daemon", shm::liveness_name(reader->liveness()));
  reply.stream = std::make_unique<TablesStream>(segment, query.take(), tables, sorts);
  return reply;
}

}  // namespace

http::Reply tables_reply(live::Segment& segment, const http::Request& request, Sorts& sorts) {
  return reply_of(segment, sorts, std::string(request.query), TablePage::kTables);
}

http::Reply totals_reply(live::Segment& segment, const http::Request& request, Sorts& sorts) {
  return reply_of(segment, sorts, std::string(request.query), TablePage::kTotals);
}

}  // namespace lineq::pages
