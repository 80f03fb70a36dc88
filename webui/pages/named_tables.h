// Tables people see, by the names people use.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"

namespace lineq::pages {

// A table with a name that is unique among them.
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
