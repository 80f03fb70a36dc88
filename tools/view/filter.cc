#include "tools/view/filter.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "tools/cli/text.h"

namespace lineq::view {
namespace {

using cli::escaped;

constexpr std::string_view kPrefix = "data.";
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
  Result<std::string> known = column_name(name);
  if (!known) {
    return prefixed ? known.error()
                    : invalid(fmt::format("unexpected word '{}'; a filter is {}",
                                          escaped(word.substr(0, kLongestName)), kForm));
  }
  condition.name = known.take();

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
  const std::optional<Number> n = parse_number(value);
  if (!n) {
    return invalid(fmt::format(
        "filter '{} {}': {}, it is an integer", word, op,
        value.empty() ? "a value is missing"
                      : fmt::format("bad value '{}'", escaped(value.substr(0, kLongestName)))));
  }
  condition.value = *n;
  return condition;
}

}  // namespace

std::optional<Operator> operator_by_name(std::string_view name) {
  const auto found = std::find(kOperators.begin(), kOperators.end(), name);
  return found == kOperators.end()
             ? std::nullopt
             : std::optional(static_cast<Operator>(found - kOperators.begin()));
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

std::optional<Number> parse_number(std::string_view text) {
  if (text.starts_with('-')) {
    const std::optional<i64> n = whole_number<i64>(text);
    return n ? std::optional(Number::of_signed(*n)) : std::nullopt;
  }
  const std::optional<u64> n = whole_number<u64>(text.starts_with('+') ? text.substr(1) : text);
  return n ? std::optional(Number::of(*n)) : std::nullopt;
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
  for (const Condition& condition : conditions) {
    const std::optional<Column> column = find_column(definition, condition.name);
    if (!column) {
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

}  // namespace lineq::view
