#include "tools/lineq_dump/columns.h"

#include <fmt/core.h>

namespace lineq::dump {

std::string element_name(std::string_view array, u32 element) {
  const std::size_t cut = array.find('_');
  return fmt::format("{}{}{}", array.substr(0, cut), element,
                     cut == std::string_view::npos ? "" : array.substr(cut));
}

std::vector<Column> columns_of(const shm::TableDefinition& definition) {
  std::vector<Column> columns;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!definition.has(bit)) {
      continue;
    }
    const shm::DataType& type = shm::data_type(bit);
    const u32 elements = type.array ? definition.elements[bit] : 1;
    for (u32 element = 0; element < elements; ++element) {
      Column column{bit, element, type.kind, {}, {}};
      column.name = type.array ? element_name(type.name, element) : std::string(type.name);
      column.label = type.kind == shm::ValueKind::kRate
                         ? fmt::format("{}({})", column.name, definition.period_ms[bit])
                         : column.name;
      columns.push_back(std::move(column));
    }
  }
  return columns;
}

}  // namespace lineq::dump
