#include "webui/pages/table_query.h"

#include <array>
#include <charconv>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "webui/http/router.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

constexpr std::size_t kMostConditions = 16;
constexpr std::size_t kMostBusySlots = 64;

Error wrong(std::string_view parameter, std::string_view value, std::string_view allowed) {
  return {ErrorCode::kInvalid, fmt::format("{}: '{}' is not allowed; allowed: {}",
                                           cli::escaped(parameter), cli::escaped(value), allowed)};
}

template <typename T>
bool number(std::string_view text, T& out) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out);
  return error == std::errc() && stop == end && !text.empty();
}

Result<view::Condition> parse_condition(std::string_view name, std::string_view value) {
  const std::string_view words = name.substr(std::string_view("data.").size());
  const std::size_t dot = words.rfind('.');
  const std::optional<view::Operator> op =
      dot == std::string_view::npos ? std::nullopt : view::operator_by_name(words.substr(dot + 1));
  if (!op) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("{}: a filter is data.TYPE.OP=VALUE with OP one of eq ne le ge lt gt",
                             cli::escaped(name))};
  }
  view::Condition condition;
  condition.op = *op;
  Result<std::string> column = view::column_name(words.substr(0, dot));
  if (!column) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("{}: {}", cli::escaped(name), column.error().what)};
  }
  condition.name = column.take();
  if (condition.name == "server_key") {
    if (condition.op != view::Operator::kEq && condition.op != view::Operator::kNe) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("{}: text is compared with eq and ne only", cli::escaped(name))};
    }
    condition.text = value == "-" ? std::string() : unescaped(value);
    return condition;
  }
  const std::optional<view::Number> n = view::parse_number(value);
  if (!n) {
    return wrong(name, value, "a whole number");
  }
  condition.value = *n;
  return condition;
}

bool parse_cursor(std::string_view text, Cursor& out) {
  std::size_t part = 0;
  for (;; ++part) {
    const std::size_t dash = text.find('-');
    const std::string_view word = text.substr(0, dash);
    bool fine = false;
    switch (part) {
      case 0:
        fine = number(word, out.table);
        break;
      case 1:
        fine = number(word, out.generation);
        break;
      case 2:
        fine = number(word, out.scan.next);
        break;
      default:
        fine = part < 3 + kMostBusySlots && number(word, out.scan.busy.emplace_back());
        break;
    }
    if (!fine) {
      return false;
    }
    if (dash == std::string_view::npos) {
      return part >= 2;
    }
    text.remove_prefix(dash + 1);
  }
}

}  // namespace

std::string cursor_text(const Cursor& cursor) {
  std::string text = fmt::format("{}-{}-{}", cursor.table, cursor.generation, cursor.scan.next);
  for (const u32 slot : cursor.scan.busy) {
    text += fmt::format("-{}", slot);
  }
  return text;
}

Result<TableQuery> parse_table_query(std::string_view query, TablePage page) {
  TableQuery out;
  out.totals = page == TablePage::kTotals;
  for (const auto& [name, value] : http::query_pairs(query)) {
    if (name == "table") {
      out.table = value;
    } else if (name == "key") {
      out.key = unescaped(value);
    } else if (name == "id") {
      if (!base64_decoded(value, out.id.emplace())) {
        return wrong(name, value, "base64");
      }
    } else if (name == "limit") {
      if (!number(value, out.limit.emplace())) {
        return wrong(name, value, "a whole number");
      }
    } else if (name == "cursor") {
      if (!parse_cursor(value, out.cursor.emplace())) {
        return wrong(name, value, "what an answer gave as next");
      }
    } else if (name == "format" && !out.totals) {
      if (value != "v1" && value != "v2") {
        return wrong(name, value, "v1 or v2");
      }
      out.typed = value == "v2";
    } else if (name == "peers" && !out.totals) {
      if (value != "0" && value != "1") {
        return wrong(name, value, "0 or 1");
      }
      out.peers = value == "1";
    } else if (name.starts_with("data.")) {
      Result<view::Condition> condition = parse_condition(name, value);
      if (!condition) {
        return condition.error();
      }
      if (out.conditions.size() == kMostConditions) {
        return Error{ErrorCode::kInvalid, fmt::format("more than {} filters", kMostConditions)};
      }
      out.conditions.push_back(condition.take());
    } else {
      static constexpr std::array<std::string_view, 7> kNames{"table",  "key",    "id",   "limit",
                                                              "cursor", "format", "peers"};
      const auto names = std::span(kNames).first(out.totals ? 5 : kNames.size());
      return Error{
          ErrorCode::kInvalid,
          fmt::format("unknown parameter '{}'{}; allowed: {}, data.TYPE.OP", cli::escaped(name),
                      cli::suggestion(name, names), fmt::join(names, ", "))};
    }
  }
  if (out.peers && !out.typed) {
    return Error{ErrorCode::kInvalid, "peers=1 goes with format=v2 only"};
  }
  return out;
}

}  // namespace lineq::pages
