// Columns of a table by the names people use: one per value, elements of arrays apart.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"
#include "shm/support/result.h"

namespace lineq::pages {

struct Column {
  u32 bit = 0;
  u32 element = 0;
  std::string name;  // "gpc1", "gpc[2]", "http_req_rate"
  shm::ValueKind kind = shm::ValueKind::kU32;
};

// In the order of the data types, as HAProxy prints them.
std::vector<Column> columns_of(const shm::TableDefinition& definition);

// A data type as somebody names it: `gpc0`, `gpc_rate[0]`.
struct ColumnName {
  u32 bit = 0;
  u32 element = 0;
};
Result<ColumnName> parse_column(std::string_view text);

// Where a table has what `name` asks for. gpc0 is the first of gpc when a table has the array, and
// the other way round; so with gpc1, gpt0 and the rates.
bool find_column(const shm::TableDefinition& definition, ColumnName name, Column& out);

// Tables people see, with a name that is unique among them.
//
// Two HAProxys may use one name for tables of different keys, which are then two tables; and "mode"
// is taken by the answer itself. Such a table is called `name;type:bytes`.
struct NamedTable {
  std::string name;  // escaped
  const shm::TableInfo* info = nullptr;
};
std::vector<NamedTable> named_tables(const std::vector<shm::TableInfo>& tables);

// By unique name, name on the wire, or that without its leading '/'. Null: none.
const NamedTable* find_table(const std::vector<NamedTable>& tables, std::string_view name);

}  // namespace lineq::pages
