#include "tools/view/columns.h"

#include <algorithm>
#include <charconv>

#include <fmt/core.h>

#include "tools/cli/text.h"

namespace lineq::view {
namespace {

constexpr std::size_t kLongestShown = 64;

std::optional<u32> index_number(std::string_view text) {
  u32 n = 0;
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, n);
  return error == std::errc() && at == end ? std::optional<u32>(n) : std::nullopt;
}

// Which element of `array` is meant: "gpc_rate[3]" and "gpc3_rate" of gpc_rate.
std::optional<u32> element_of(std::string_view array, std::string_view text) {
  std::string_view index;
  const std::string_view stem = array.substr(0, array.find('_'));
  const std::string_view tail = array.substr(stem.size());
  if (text.starts_with(array) && text.ends_with(']') && text[array.size()] == '[') {
    index = text.substr(array.size() + 1, text.size() - array.size() - 2);
  } else if (text.starts_with(stem) && text.ends_with(tail) && text.size() > array.size()) {
    index = text.substr(stem.size(), text.size() - array.size());
  }
  const std::optional<u32> element = index_number(index);
  return element && *element < shm::kMaxElements ? element : std::nullopt;
}

Error unknown(std::string_view text) {
  const auto invalid = [](std::string what) { return Error{ErrorCode::kInvalid, std::move(what)}; };
  const std::string shown = cli::escaped(text.substr(0, kLongestShown));
  const std::size_t bracket = text.find('[');
  const std::string_view name = text.substr(0, bracket);
  if (const std::optional<u32> bit = shm::data_type_by_name(name)) {
    if (bracket == std::string_view::npos) {
      return invalid(fmt::format("'{0}' is an array: say which element, as in '{0}[0]'", shown));
    }
    const std::string_view index = text.substr(bracket + 1);
    if (!shm::data_type(*bit).array || !index.ends_with(']') ||
        !index_number(index.substr(0, index.size() - 1))) {
      return invalid(
          fmt::format("'{}' is not a data type; arrays are gpt[N], gpc[N] and gpc_rate[N]", shown));
    }
  }
  std::vector<std::string_view> names;
  for (const shm::DataType& type : shm::data_types()) {
    names.push_back(type.name);
  }
  return invalid(fmt::format("unknown data type '{}'{}", shown, cli::suggestion(text, names)));
}

}  // namespace

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
      Column column;
      column.bit = bit;
      column.element = element;
      column.kind = type.kind;
      column.name = type.array ? element_name(type.name, element) : std::string(type.name);
      column.label = type.kind == shm::ValueKind::kRate
                         ? fmt::format("{}({})", column.name, definition.period_ms[bit])
                         : column.name;
      column.indexed =
          type.array ? fmt::format("{}[{}]", type.name, element) : std::string(type.name);
      columns.push_back(std::move(column));
    }
  }
  return columns;
}

Result<std::string> column_name(std::string_view text) {
  if (text == "server_name") {  // HAProxy's older word for it
    return std::string("server_key");
  }
  if (const std::optional<u32> bit = shm::data_type_by_name(text);
      bit && !shm::data_type(*bit).array) {
    return std::string(text);
  }
  for (const shm::DataType& type : shm::data_types()) {
    if (type.array) {
      if (const std::optional<u32> element = element_of(type.name, text)) {
        return element_name(type.name, *element);
      }
    }
  }
  return unknown(text);
}

std::optional<Column> find_column(const shm::TableDefinition& definition, std::string_view name) {
  std::vector<Column> columns = columns_of(definition);
  const auto found = std::find_if(columns.begin(), columns.end(),
                                  [&](const Column& column) { return column.name == name; });
  return found == columns.end() ? std::nullopt : std::optional(std::move(*found));
}

}  // namespace lineq::view
