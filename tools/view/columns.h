// The columns of a table: one element of an array is one column. And their names, as people write
// them: an element is `gpc_rate[0]` or `gpc0_rate`, whether a table stores the array or the single
// counter.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/geometry.h"
#include "shm/support/result.h"

namespace lineq::view {

struct Column {
  u32 bit = 0;
  u32 element = 0;
  shm::ValueKind kind = shm::ValueKind::kU32;
  std::string name;     // as HAProxy prints it: "gpc0_rate", also for element 0 of gpc_rate
  std::string label;    // as in `show table`: rates with their period, "gpc0_rate(10000)"
  std::string indexed;  // elements of arrays by number: "gpc_rate[0]", but "gpc0_rate"
};

// In HAProxy's order: by data type, then by element.
std::vector<Column> columns_of(const shm::TableDefinition& definition);

// "gpc_rate", 3 -> "gpc3_rate"
std::string element_name(std::string_view array, u32 element);

// Column::name of what somebody calls `gpc_rate[3]`, `gpc3_rate`, `gpc0`, `server_name`. kInvalid:
// no table has such a column; one sentence for the user.
Result<std::string> column_name(std::string_view text);

// The column of this Column::name; nullopt: the table has none.
std::optional<Column> find_column(const shm::TableDefinition& definition, std::string_view name);

}  // namespace lineq::view
