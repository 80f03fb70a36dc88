// What lineq-top shows as rows and columns: HAProxys, tables, keys, rooms. Plain values, no
// segment; sorted, filtered and printed alike for the screen, as text and as JSON.
//
// Every text in a cell has been made harmless for a terminal (cli::escaped) by whoever put it
// there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shm/support/ints.h"
#include "tools/lineq_dump/output.h"

namespace lineq::top {

// Unknown, a number, a number that may be negative, a rate, or text.
using Cell = std::variant<std::monostate, u64, i64, double, std::string>;

enum class Unit : u8 { kText, kId, kCount, kRate, kBytes, kDuration };  // durations in ms

struct Column {
  std::string name;   // in JSON, and for -s: "updates_per_second"
  std::string title;  // on the screen: "UPDATES/S"
  Unit unit = Unit::kCount;
};

struct Grid {
  std::vector<Column> columns;  // the first one names the row
  std::vector<std::vector<Cell>> rows;
};

// For people: rounded to four digits at most ("12.3k", "1.2G", "3m20s"); "-" for unknown.
std::string cell_text(const Cell& cell, Unit unit);

// A column by its name or its title, or the beginning of its name, if no other begins so.
std::optional<std::size_t> find_column(const Grid& grid, std::string_view word);

// Numbers: the largest first, unknown last; text: in alphabetical order; `reverse`: the other way.
// Rows with equal cells keep their order.
void sort_rows(Grid& grid, std::size_t column, bool reverse);
// Keeps rows whose first cell has `text` in it, without regard to case.
void filter_rows(Grid& grid, std::string_view text);
bool contains_ignoring_case(std::string_view text, std::string_view part);

// Aligned, all columns, a blank line behind.
void print_text(dump::Output& out, std::string_view title, const Grid& grid);
// [{"name":...},...]
void print_json(dump::Output& out, const Grid& grid);
void print_json(dump::Output& out, const Cell& cell);

}  // namespace lineq::top
