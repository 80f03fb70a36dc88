// The columns of a table under the names HAProxy prints: one element of an array is one column.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/geometry.h"

namespace lineq::dump {

struct Column {
  u32 bit = 0;
  u32 element = 0;
  shm::ValueKind kind = shm::ValueKind::kU32;
  std::string name;   // "gpc0_rate", also for element 0 of gpc_rate
  std::string label;  // as in `show table`: rates with their period, "gpc0_rate(10000)"
};

// In HAProxy's order: by data type, then by element.
std::vector<Column> columns_of(const shm::TableDefinition& definition);

// "gpc_rate", 3 -> "gpc3_rate"
std::string element_name(std::string_view array, u32 element);

}  // namespace lineq::dump
