// Conditions on values, written as for HAProxy's `show table`: `data.gpc0 gt 5`.
//
// A name is what the output prints: `data.` may be missing, a period may stand behind a rate
// (`http_req_rate(10000)`), an element of an array is `gpc_rate[0]` or `gpc0_rate`, and both find
// the column whether the table stores the array or the single counter. All conditions must hold.
#pragma once

#include <compare>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "shm/reader.h"
#include "shm/support/result.h"
#include "tools/lineq_dump/columns.h"

namespace lineq::dump {

enum class Operator : u8 { kEq, kNe, kLe, kGe, kLt, kGt };
std::optional<Operator> operator_by_name(std::string_view name);  // "eq"

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

struct Condition {
  std::string name;              // canonical: "gpc0_rate"
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

  bool matches(const shm::EntryView& entry, Tick now, const shm::Reader& reader) const;

 private:
  struct Bound {
    Column column;
    Condition condition;
  };
  std::vector<Bound> bound_;
};

}  // namespace lineq::dump
