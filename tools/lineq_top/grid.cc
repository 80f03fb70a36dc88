#include "tools/lineq_top/grid.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/lineq_dump/format.h"
#include "tools/lineq_top/width.h"

namespace lineq::top {
namespace {

constexpr double kTen = 10;
constexpr double kHundred = 100;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// 0 .. 9999, then 12.3k, 123k, 1234k, 12.3M ...; `step` is 1000 or 1024.
std::string scaled(double number, double step) {
  constexpr std::array<char, 7> kLetters{' ', 'k', 'M', 'G', 'T', 'P', 'E'};
  constexpr double kLargest = 9999.5;  // rounded, one digit more
  std::size_t letter = 0;
  while (number >= kLargest && letter + 1 < kLetters.size()) {
    number /= step;
    ++letter;
  }
  if (letter == 0) {
    return fmt::format("{:.0f}", number);
  }
  return fmt::format(fmt::runtime(number < kHundred ? "{:.1f}{}" : "{:.0f}{}"), number,
                     kLetters.at(letter));
}

std::string number_text(double number, Unit unit) {
  constexpr double kThousand = 1000;
  constexpr double kKibi = 1024;
  switch (unit) {
    case Unit::kDuration:
      return number < kThousand ? fmt::format("{:.0f}ms", number)
                                : dump::duration_text(static_cast<u64>(number));
    case Unit::kId:
      return fmt::format("{:.0f}", number);
    case Unit::kBytes:
      return scaled(number, kKibi);
    case Unit::kRate:
      return number == 0 || number >= kHundred ? scaled(number, kThousand)
                                               : fmt::format("{:.1f}", number);
    default:
      return scaled(number, kThousand);
  }
}

// -1, 0, 1 as a stands before, beside or behind b.
int compare(const Cell& a, const Cell& b) {
  if (a.index() == 0 || b.index() == 0) {
    return static_cast<int>(a.index() == 0) - static_cast<int>(b.index() == 0);
  }
  if (a.index() != b.index()) {
    return a.index() < b.index() ? -1 : 1;
  }
  if (a == b) {
    return 0;
  }
  // Text upwards, numbers downwards.
  return (a < b) == std::holds_alternative<std::string>(a) ? -1 : 1;
}

}  // namespace

std::string cell_text(const Cell& cell, Unit unit) {
  if (const auto* text = std::get_if<std::string>(&cell)) {
    return *text;
  }
  if (const auto* n = std::get_if<u64>(&cell)) {
    return number_text(static_cast<double>(*n), unit);
  }
  if (const auto* n = std::get_if<i64>(&cell)) {
    return std::to_string(*n);
  }
  if (const auto* n = std::get_if<double>(&cell)) {
    return number_text(*n, unit);
  }
  return "-";
}

std::optional<std::size_t> find_column(const Grid& grid, std::string_view word) {
  std::optional<std::size_t> found;
  bool unique = true;
  for (std::size_t i = 0; i < grid.columns.size(); ++i) {
    const Column& column = grid.columns[i];
    if (cli::equal_ignoring_case(column.name, word) ||
        cli::equal_ignoring_case(column.title, word)) {
      return i;
    }
    if (!word.empty() && column.name.size() > word.size() &&
        cli::equal_ignoring_case(std::string_view(column.name).substr(0, word.size()), word)) {
      unique = !found;
      found = i;
    }
  }
  return unique ? found : std::nullopt;
}

void sort_rows(Grid& grid, std::size_t column, bool reverse) {
  std::stable_sort(grid.rows.begin(), grid.rows.end(), [&](const auto& a, const auto& b) {
    const Cell& left = a[column];
    const Cell& right = b[column];
    if (left.index() == 0 || right.index() == 0) {  // unknown stays last
      return left.index() > right.index();
    }
    return reverse ? compare(left, right) > 0 : compare(left, right) < 0;
  });
}

bool contains_ignoring_case(std::string_view text, std::string_view part) {
  return std::search(text.begin(), text.end(), part.begin(), part.end(),
                     [](char a, char b) { return lower(a) == lower(b); }) != text.end();
}

void filter_rows(Grid& grid, std::string_view text) {
  if (text.empty()) {
    return;
  }
  std::erase_if(grid.rows, [&](const std::vector<Cell>& row) {
    const auto* name = std::get_if<std::string>(&row.front());
    return name == nullptr || !contains_ignoring_case(*name, text);
  });
}

void print_text(dump::Output& out, std::string_view title, const Grid& grid) {
  std::vector<std::vector<std::string>> lines;
  std::vector<std::string> titles;
  std::vector<std::size_t> widths;
  for (const Column& column : grid.columns) {
    titles.push_back(column.title);
    widths.push_back(column.title.size());
  }
  lines.push_back(std::move(titles));
  for (const auto& row : grid.rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (std::size_t i = 0; i < row.size(); ++i) {
      line.push_back(for_terminal(cell_text(row[i], grid.columns[i].unit), utf8_locale()));
      widths[i] = std::max(widths[i], width_of(line.back()));
    }
  }
  out.put(title);
  out.put('\n');
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      const std::string blanks(widths[i] - std::min(widths[i], width_of(line[i])), ' ');
      const bool left = grid.columns[i].unit == Unit::kText;
      text += (i == 0 ? "" : "  ") + (left ? line[i] + blanks : blanks + line[i]);
    }
    out.put(std::string_view(text).substr(0, text.find_last_not_of(' ') + 1));
    out.put('\n');
  }
  out.put('\n');
}

void print_json(dump::Output& out, const Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) {
    dump::put_json(out, *text);
  } else if (const auto* n = std::get_if<u64>(&cell)) {
    out.number(*n);
  } else if (const auto* s = std::get_if<i64>(&cell)) {
    out.signed_number(*s);
  } else if (const auto* d = std::get_if<double>(&cell); d != nullptr && std::isfinite(*d)) {
    // Tenths are enough.
    out.put(fmt::format("{}", std::round(*d * kTen) / kTen));
  } else {
    out.put("null");
  }
}

void print_json(dump::Output& out, const Grid& grid) {
  out.put('[');
  bool first_row = true;
  for (const auto& row : grid.rows) {
    out.put(first_row ? "{" : ",{");
    first_row = false;
    for (std::size_t i = 0; i < row.size(); ++i) {
      out.put(i == 0 ? "" : ",");
      dump::put_json(out, grid.columns[i].name);
      out.put(':');
      print_json(out, row[i]);
    }
    out.put('}');
  }
  out.put(']');
}

}  // namespace lineq::top
