#include "webui/pages/columns.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_set>

#include <fmt/core.h>

#include "tools/cli/text.h"

namespace lineq::pages {
namespace {

struct Alias {
  u32 single;
  u32 array;
  u32 element;
};

constexpr u32 kGpc1Rate = 18;
constexpr std::array<Alias, 5> kAliases{{{shm::kGpt0, shm::kGpt, 0},
                                         {shm::kGpc0, shm::kGpc, 0},
                                         {shm::kGpc1, shm::kGpc, 1},
                                         {shm::kGpc0Rate, shm::kGpcRate, 0},
                                         {kGpc1Rate, shm::kGpcRate, 1}}};

std::string column_name(u32 bit, u32 element) {
  const shm::DataType& type = shm::data_type(bit);
  return type.array ? fmt::format("{}[{}]", type.name, element) : std::string(type.name);
}

}  // namespace

std::vector<Column> columns_of(const shm::TableDefinition& definition) {
  std::vector<Column> columns;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!definition.has(bit)) {
      continue;
    }
    for (u32 i = 0; i < definition.elements[bit]; ++i) {
      columns.push_back({bit, i, column_name(bit, i), shm::data_type(bit).kind});
    }
  }
  return columns;
}

Result<ColumnName> parse_column(std::string_view text) {
  const std::size_t bracket = text.find('[');
  const std::string_view name = text.substr(0, bracket);
  const std::optional<u32> bit = shm::data_type_by_name(name);
  if (!bit) {
    std::vector<std::string_view> names;
    for (const shm::DataType& type : shm::data_types()) {
      names.push_back(type.name);
    }
    return Error{ErrorCode::kInvalid, fmt::format("unknown data type '{}'{}", cli::escaped(name),
                                                  cli::suggestion(name, names))};
  }
  ColumnName column{*bit, 0};
  if (bracket == std::string_view::npos) {
    return column;
  }
  const std::string_view index = text.substr(bracket + 1);
  const char* end = index.data() + index.size();
  const auto [stop, error] = std::from_chars(index.data(), end, column.element);
  if (!shm::data_type(*bit).array || error != std::errc() || stop + 1 != end || *stop != ']') {
    return Error{ErrorCode::kInvalid, fmt::format("'{}' is not a data type; arrays are gpt[N], "
                                                  "gpc[N] and gpc_rate[N]",
                                                  cli::escaped(text))};
  }
  return column;
}

bool find_column(const shm::TableDefinition& definition, ColumnName name, Column& out) {
  const auto take = [&](u32 bit, u32 element) {
    if (!definition.has(bit) || element >= definition.elements[bit]) {
      return false;
    }
    out = {bit, element, column_name(bit, element), shm::data_type(bit).kind};
    return true;
  };
  if (take(name.bit, name.element)) {
    return true;
  }
  return std::any_of(kAliases.begin(), kAliases.end(), [&](const Alias& alias) {
    if (alias.single == name.bit) {
      return take(alias.array, alias.element);
    }
    return alias.array == name.bit && alias.element == name.element && take(alias.single, 0);
  });
}

std::vector<NamedTable> named_tables(const std::vector<shm::TableInfo>& tables) {
  std::vector<NamedTable> named;
  named.reserve(tables.size());
  std::unordered_set<std::string> taken{"mode"};
  for (const shm::TableInfo& table : tables) {
    std::string name = cli::escaped(table.definition.name);
    if (!taken.insert(name).second) {
      name += fmt::format(";{}:{}", shm::key_type_name(table.definition.key_type),
                          table.definition.key_bytes);
      while (!taken.insert(name).second) {
        name += ';';
      }
    }
    named.push_back({std::move(name), &table});
  }
  return named;
}

const NamedTable* find_table(const std::vector<NamedTable>& tables, std::string_view name) {
  const auto find = [&](const auto& matches) -> const NamedTable* {
    const auto found = std::find_if(tables.begin(), tables.end(), matches);
    return found == tables.end() ? nullptr : &*found;
  };
  if (const NamedTable* t = find([&](const NamedTable& n) { return n.name == name; })) {
    return t;
  }
  if (const NamedTable* t =
          find([&](const NamedTable& n) { return n.info->definition.name == name; })) {
    return t;
  }
  return find([&](const NamedTable& n) {
    const std::string_view wire = n.info->definition.name;
    return wire.starts_with('/') && wire.substr(1) == name;
  });
}

}  // namespace lineq::pages
