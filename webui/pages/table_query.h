// What a request for /tables or /acc asks for.
//
//   ?table=NAME            only this table
//   &key=TEXT              only this key, as shown (or &id=BASE64: its bytes)
//   &data.TYPE.OP=VALUE    eq ne le ge lt gt; an element of an array is gpc[N] or gpcN;
//                          rates by their present value
//   &limit=N&cursor=TEXT   a page of at most N entries; the answer's `next` begins the next one
//   &format=v2             typed values (/tables)
//   &peers=1               ... and in mode acc those of each HAProxy
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"
#include "shm/support/result.h"
#include "tools/view/filter.h"

namespace lineq::pages {

// Where a page begins: survives restarts of lineq-web and of lineqd.
struct Cursor {
  u32 table = 0;       // TableInfo::id
  u64 generation = 0;  // TableInfo::generation
  shm::Scan scan;
};
std::string cursor_text(const Cursor& cursor);

struct TableQuery {
  std::optional<std::string> table;
  std::optional<std::string> key;  // as shown, unescaped
  std::optional<std::string> id;   // bytes
  std::vector<view::Condition> conditions;
  std::optional<u64> limit;
  std::optional<Cursor> cursor;
  bool typed = false;   // format=v2
  bool peers = false;   // each HAProxy's own values too
  bool totals = false;  // /acc
};

enum class TablePage : u8 { kTables, kTotals };

// An Error names the parameter, its value and what is allowed.
Result<TableQuery> parse_table_query(std::string_view query, TablePage page = TablePage::kTables);

}  // namespace lineq::pages
