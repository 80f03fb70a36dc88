// What a request for /tables or /acc asks for.
//
//   ?table=NAME            only this table
//   &key=TEXT              only this key, as shown (or &id=BASE64: its bytes)
//   &data.TYPE.OP=VALUE    eq ne le ge lt gt; an element of an array is gpc[N] or gpcN;
//                          rates by their present value
//   &search=TEXT           keys with this in them, as shown
//   &sort=COLUMN           of one table: `key`, `expiry` (not /acc) or a data type; -COLUMN: the
//                          greatest first. A page of 100 entries, or limit=1..1000
//   &limit=N&cursor=TEXT   a page of at most N entries; the answer's `next` begins the next one
//   &format=v2             typed values (/tables)
//   &peers=1               ... and in mode acc those of each HAProxy
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shm/reader.h"
#include "shm/support/result.h"
#include "tools/view/filter.h"
#include "webui/pages/ranking.h"

namespace lineq::pages {

// Where a page begins: survives restarts of lineq-web and of lineqd.
struct Cursor {
  u32 table = 0;       // TableInfo::id
  u64 generation = 0;  // TableInfo::generation
  shm::Scan scan;
};
std::string cursor_text(const Cursor& cursor);

// The same of a sorted page: behind an entry, in an order.
struct SortedCursor {
  u32 table = 0;
  u64 generation = 0;
  std::string order;  // order_text
  Place place;
};
std::string sorted_cursor_text(const SortedCursor& cursor);

inline constexpr u64 kUsualSorted = 100;  // entries of a sorted page
inline constexpr u64 kMostSorted = 1000;

struct TableQuery {
  std::optional<std::string> table;
  std::optional<std::string> key;  // as shown, unescaped
  std::optional<std::string> id;   // bytes
  std::vector<view::Condition> conditions;
  std::optional<std::string> search;  // part of a key as shown
  std::optional<Order> sort;
  std::optional<u64> limit;
  std::optional<Cursor> cursor;
  std::optional<SortedCursor> sorted_cursor;
  bool typed = false;   // format=v2
  bool peers = false;   // each HAProxy's own values too
  bool totals = false;  // /acc

  // Id and generation of the cursor's table.
  std::optional<std::pair<u32, u64>> begins_in() const;
};

enum class TablePage : u8 { kTables, kTotals };

// An Error names the parameter, its value and what is allowed.
Result<TableQuery> parse_table_query(std::string_view query, TablePage page = TablePage::kTables);

}  // namespace lineq::pages
