#include "tools/lineq_dump/filter.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "tools/cli/text.h"

namespace lineq::dump {
namespace {

using cli::escaped;

constexpr std::string_view kPrefix = "data.";
constexpr std::array<std::string_view, 6> kOperators{"eq", "ne", "le", "ge", "lt", "gt"};
constexpr std::string_view kForm = "data.TYPE OPERATOR VALUE";
constexpr std::size_t kLongestName = 64;

Error invalid(std::string what) {
  return {ErrorCode::kInvalid, std::move(what)};
}

template <typename T>
std::optional<T> whole_number(std::string_view text) {
  T n{};
  const char* const end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, n);
  return error == std::errc() && at == end ? std::optional<T>(n) : std::nullopt;
}

std::optional<Number> number(std::string_view text) {
  if (text.starts_with('-')) {
    const std::optional<i64> n = whole_number<i64>(text);
    return n ? std::optional(Number::of_signed(*n)) : std::nullopt;
  }
  const std::optional<u64> n = whole_number<u64>(text.starts_with('+') ? text.substr(1) : text);
  return n ? std::optional(Number::of(*n)) : std::nullopt;
}

// "gpc_rate[3]" and "gpc3_rate" -> "gpc3_rate", "gpc0" -> "gpc0"; nullopt when no table can have
// such a column.
std::optional<std::string> canonical(std::string_view name) {
  if (name == "server_name") {  // HAProxy's older word for it
    return "server_key";
  }
  const std::optional<u32> bit = shm::data_type_by_name(name);
  if (bit) {
    return shm::data_type(*bit).array ? std::nullopt : std::optional(std::string(name));
  }
  for (const shm::DataType& type : shm::data_types()) {
    if (!type.array) {
      continue;
    }
    std::string_view index;
    if (const std::string_view stem = type.name.substr(0, type.name.find('_'));
        name.starts_with(type.name) && name.ends_with(']') && name[type.name.size()] == '[') {
      index = name.substr(type.name.size() + 1, name.size() - type.name.size() - 2);
    } else if (const std::string_view tail = type.name.substr(stem.size());
               name.starts_with(stem) && name.ends_with(tail) && name.size() > type.name.size()) {
      index = name.substr(stem.size(), name.size() - type.name.size());
    } else {
      continue;
    }
    const std::optional<u32> element = whole_number<u32>(index);
    if (element && *element < shm::kMaxElements) {
      return element_name(type.name, *element);
    }
  }
  return std::nullopt;
}

Error unknown_type(std::string_view name) {
  if (const std::optional<u32> bit = shm::data_type_by_name(name)) {
    return invalid(fmt::format("'{0}' is an array: say which element, as in '{0}[0]'", name));
  }
  std::vector<std::string_view> names;
  for (const shm::DataType& type : shm::data_types()) {
    names.push_back(type.name);
  }
  return invalid(fmt::format("unknown data type '{}'{}", escaped(name.substr(0, kLongestName)),
                             cli::suggestion(name, names)));
}

Result<Condition> parse_condition(std::string_view word, std::string_view op,
                                  std::string_view value) {
  std::string_view name = word;
  const bool prefixed = name.starts_with(kPrefix);
  if (prefixed) {
    name.remove_prefix(kPrefix.size());
  }
  Condition condition;
  if (const std::size_t open = name.find('('); open != std::string_view::npos) {
    if (name.ends_with(')')) {
      condition.period_ms = whole_number<u32>(name.substr(open + 1, name.size() - open - 2));
    }
    if (!condition.period_ms) {
      return invalid(fmt::format("'{}': the period in parentheses is a number of milliseconds",
                                 escaped(word.substr(0, kLongestName))));
    }
    name = name.substr(0, open);
  }
  std::optional<std::string> known = canonical(name);
  if (!known) {
    return prefixed ? unknown_type(name)
                    : invalid(fmt::format("unexpected word '{}'; a filter is {}",
                                          escaped(word.substr(0, kLongestName)), kForm));
  }
  condition.name = std::move(*known);

  const std::optional<Operator> known_op = operator_by_name(op);
  if (!known_op) {
    const std::string trouble =
        op.empty() ? "an operator is missing"
                   : fmt::format("unknown operator '{}'", escaped(op.substr(0, kLongestName)));
    return invalid(fmt::format("filter '{}': {}, it is one of {}", word, trouble,
                               fmt::join(kOperators, ", ")));
  }
  condition.op = *known_op;

  if (condition.name == "server_key") {
    if (condition.op != Operator::kEq && condition.op != Operator::kNe) {
      return invalid("filter 'data.server_key': a server's name can only be compared by eq and ne");
    }
    if (value.empty()) {
      return invalid("filter 'data.server_key': a server's name is missing, '-' for none");
    }
    condition.text = value == "-" ? "" : value;
    return condition;
  }
  const std::optional<Number> n = number(value);
  if (!n) {
    return invalid(fmt::format(
        "filter '{} {}': {}, it is an integer", word, op,
        value.empty() ? "a value is missing"
                      : fmt::format("bad value '{}'", escaped(value.substr(0, kLongestName)))));
  }
  condition.value = *n;
  return condition;
}

bool holds(Operator op, std::strong_ordering order) {
  switch (op) {
    case Operator::kEq:
      return std::is_eq(order);
    case Operator::kNe:
      return std::is_neq(order);
    case Operator::kLe:
      return std::is_lteq(order);
    case Operator::kGe:
      return std::is_gteq(order);
    case Operator::kLt:
      return std::is_lt(order);
    case Operator::kGt:
      return std::is_gt(order);
  }
  return false;
}

}  // namespace

std::optional<Operator> operator_by_name(std::string_view name) {
  const auto found = std::find(kOperators.begin(), kOperators.end(), name);
  return found == kOperators.end()
             ? std::nullopt
             : std::optional(static_cast<Operator>(found - kOperators.begin()));
}

Result<std::vector<Condition>> parse_filters(std::span<const std::string> words) {
  std::vector<std::string_view> parts;
  for (const std::string_view word : words) {
    for (std::size_t at = 0; (at = word.find_first_not_of(" \t", at)) != std::string_view::npos;) {
      const std::size_t end = std::min(word.find_first_of(" \t", at), word.size());
      parts.push_back(word.substr(at, end - at));
      at = end;
    }
  }
  std::vector<Condition> conditions;
  for (std::size_t i = 0; i < parts.size(); i += 3) {
    const auto part = [&](std::size_t at) {
      return at < parts.size() ? parts[at] : std::string_view();
    };
    Result<Condition> condition = parse_condition(parts[i], part(i + 1), part(i + 2));
    if (!condition) {
      return condition.error();
    }
    conditions.push_back(condition.take());
  }
  return conditions;
}

Result<Filter> Filter::bind(std::span<const Condition> conditions,
                            const shm::TableDefinition& definition) {
  Filter filter;
  const std::vector<Column> columns = columns_of(definition);
  for (const Condition& condition : conditions) {
    const auto column = std::find_if(columns.begin(), columns.end(),
                                     [&](const Column& c) { return c.name == condition.name; });
    if (column == columns.end()) {
      return Error{ErrorCode::kNotFound,
                   fmt::format("table {} does not store {}", cli::printable(definition.name),
                               condition.name)};
    }
    if (condition.period_ms &&
        column->label != fmt::format("{}({})", column->name, *condition.period_ms)) {
      return invalid(fmt::format("table {} stores {}, not {}({})", cli::printable(definition.name),
                                 column->label, condition.name, *condition.period_ms));
    }
    filter.bound_.push_back({*column, condition});
  }
  return filter;
}

bool Filter::matches(const shm::EntryView& entry, Tick now, const shm::Reader& reader) const {
  return std::all_of(bound_.begin(), bound_.end(), [&](const Bound& bound) {
    const auto& [column, condition] = bound;
    switch (column.kind) {
      case shm::ValueKind::kDictionary: {
        const u32 id = static_cast<u32>(entry.value(column.bit));
        return holds(condition.op, reader.dictionary_text(id) <=> condition.text);
      }
      case shm::ValueKind::kRate:
        return holds(condition.op, Number::of(entry.rate_now(column.bit, column.element, now)) <=>
                                       condition.value);
      case shm::ValueKind::kS32:
        return holds(condition.op, Number::of_signed(static_cast<i64>(entry.value(column.bit))) <=>
                                       condition.value);
      case shm::ValueKind::kU32:
      case shm::ValueKind::kU64:
        break;
    }
    return holds(condition.op,
                 Number::of(entry.value(column.bit, column.element)) <=> condition.value);
  });
}

}  // namespace lineq::dump
