#include "webui/pages/named_tables.h"

#include <algorithm>
#include <unordered_set>

#include <fmt/core.h>

#include "tools/cli/text.h"

namespace lineq::pages {
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
