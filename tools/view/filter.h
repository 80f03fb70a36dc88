// Conditions on values, written as for HAProxy's `show table`: `data.gpc0 gt 5`.
//
// A name is what the output prints: `data.` may be missing, a period may stand behind a rate
// (`http_req_rate(10000)`), and any of the spellings of tools/view/columns.h will do. All
// conditions must hold.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "shm/entry_view.h"
#include "shm/support/result.h"
#include "tools/view/columns.h"

namespace lineq::view {

enum class Operator : u8 { kEq, kNe, kLe, kGe, kLt, kGt };
inline constexpr std::array<std::string_view, 6> kOperators{"eq", "ne", "le", "ge", "lt", "gt"};
std::optional<Operator> operator_by_name(std::string_view name);  // "eq"
bool holds(Operator op, std::strong_ordering order);

// Any value of a column: -2^63 .. 2^64-1. Ordered member by member.
struct Number {
  i64 high = 0;  // -1 for negative ones
  u64 low = 0;   // two's complement

  static Number of(u64 value) { return {0, value}; }
  static Number of_signed(i64 value) { return {value < 0 ? -1 : 0, static_cast<u64>(value)}; }
  friend bool operator==(const Number& a, const Number& b) {
    return a.high == b.high && a.low == b.low;
  }
  friend std::strong_ordering operator<=>(const Number& a, const Number& b) {
    return std::tie(a.high, a.low) <=> std::tie(b.high, b.low);
  }
};

std::optional<Number> parse_number(std::string_view text);  // decimal, with a sign or without

// What a column of an entry is compared as and ordered by: counters, signed numbers, rates by their
// present value. Not for dictionary columns.
inline Number number_of(const shm::EntryView& entry, const Column& column, Tick now) {
  switch (column.kind) {
    case shm::ValueKind::kRate:
      return Number::of(entry.rate_now(column.bit, column.element, now));
    case shm::ValueKind::kS32:
      return Number::of_signed(static_cast<i64>(entry.value(column.bit, column.element)));
    default:
      return Number::of(entry.value(column.bit, column.element));
  }
}

struct Condition {
  std::string name;              // Column::name: "gpc0_rate"
  std::optional<u32> period_ms;  // as told in parentheses
  Operator op = Operator::kEq;
  Number value;
  std::string text;  // of server_key, which is compared as text: eq and ne only
};

// kInvalid: one sentence for the user. `words` come from the command line; a word may also hold a
// whole condition ("data.gpc0 gt 5").
Result<std::vector<Condition>> parse_filters(std::span<const std::string> words);

// Conditions applied to the columns of one table.
class Filter {
 public:
  Filter() = default;

  // kNotFound when the table has no such column, kInvalid when the period is another one.
  static Result<Filter> bind(std::span<const Condition> conditions,
                             const shm::TableDefinition& definition);

  // `text_of(u32 id)`: the text of an id of the dictionary, "" for 0 (Reader::dictionary_text).
  // Called for server_key only.
  template <typename TextOf>
  bool matches(const shm::EntryView& entry, Tick now, const TextOf& text_of) const {
    return std::all_of(bound_.begin(), bound_.end(), [&](const Bound& bound) {
      const auto& [column, condition] = bound;
      if (column.kind == shm::ValueKind::kDictionary) {
        const auto id = static_cast<u32>(entry.value(column.bit));
        return holds(condition.op,
                     std::string_view(text_of(id)) <=> std::string_view(condition.text));
      }
      return holds(condition.op, number_of(entry, column, now) <=> condition.value);
    });
  }
  bool empty() const { return bound_.empty(); }

 private:
  struct Bound {
    Column column;
    Condition condition;
  };
  std::vector<Bound> bound_;
};

}  // namespace lineq::view
