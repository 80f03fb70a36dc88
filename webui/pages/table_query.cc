#include "webui/pages/table_query.h"

#include <algorithm>
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
// Parts of the cursor of a sorted page, of which none can hold it.
constexpr char kBetween = '~';
constexpr std::string_view kSorted = "s";

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

// Base64 for a URL.
std::string url_text(std::string_view bytes) {
  std::string text;
  append_base64({reinterpret_cast<const u8*>(bytes.data()), bytes.size()}, text);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  text.erase(std::min(text.find('='), text.size()));
  return text;
}

bool from_url_text(std::string_view text, std::string& out) {
  std::string usual(text);
  std::replace(usual.begin(), usual.end(), '-', '+');
  std::replace(usual.begin(), usual.end(), '_', '/');
  return base64_decoded(usual, out) && out.size() <= kMostOfText;
}

bool parse_sorted_cursor(std::string_view text, SortedCursor& out) {
  std::array<std::string_view, 9> parts;
  for (std::string_view& part : parts) {
    const bool last = &part == &parts.back();
    const std::size_t end = text.find(kBetween);
    if ((end == std::string_view::npos) != last) {
      return false;
    }
    part = text.substr(0, end);
    text.remove_prefix(last ? text.size() : end + 1);
  }
  out.order = parts[8];
  return parts[0] == kSorted && number(parts[1], out.table) && number(parts[2], out.generation) &&
         number(parts[3], out.place.number.high) && number(parts[4], out.place.number.low) &&
         from_url_text(parts[5], out.place.text) && from_url_text(parts[6], out.place.key) &&
         number(parts[7], out.place.slot);
}

Result<Order> parse_order(std::string_view text, bool totals) {
  Order order;
  std::string_view name = text;
  order.descending = name.starts_with('-');
  name.remove_prefix(order.descending ? 1 : 0);
  if (name == "key") {
    return order;
  }
  if (name == "expiry" && !totals) {
    order.by = Order::By::kExpiry;
    return order;
  }
  Result<std::string> column = view::column_name(name);
  if (!column) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("sort: {}; allowed: key, {}a data type, each with '-' before it for "
                             "the greatest first",
                             column.error().what, totals ? "" : "expiry, ")};
  }
  order.by = Order::By::kColumn;
  order.column = column.take();
  return order;
}

// What goes together.
Status check(const TableQuery& query) {
  const auto no = [](std::string_view what) {
    return Error{ErrorCode::kInvalid, std::string(what)};
  };
  if (query.peers && !query.typed) {
    return no("peers=1 goes with format=v2 only");
  }
  if (!query.sort) {
    return query.sorted_cursor ? no("cursor: it is of a sorted page; give the same sort")
                               : Status();
  }
  if (!query.table) {
    return no("sort goes with table=NAME only: say which table");
  }
  if (query.key || query.id) {
    return no("sort does not go with key or id: that is one entry");
  }
  if (query.limit && (*query.limit == 0 || *query.limit > kMostSorted)) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("limit: '{}' is not allowed; allowed of a sorted page: 1 to {}",
                             *query.limit, kMostSorted)};
  }
  if (query.cursor ||
      (query.sorted_cursor && query.sorted_cursor->order != order_text(*query.sort))) {
    return no("cursor: it is of a page in another order; begin without it");
  }
  return {};
}

}  // namespace

std::string sorted_cursor_text(const SortedCursor& cursor) {
  const Place& at = cursor.place;
  return fmt::format("{1}{0}{2}{0}{3}{0}{4}{0}{5}{0}{6}{0}{7}{0}{8}{0}{9}", kBetween, kSorted,
                     cursor.table, cursor.generation, at.number.high, at.number.low,
                     url_text(at.text), url_text(at.key), at.slot, cursor.order);
}

std::optional<std::pair<u32, u64>> TableQuery::begins_in() const {
  if (cursor) {
    return std::pair(cursor->table, cursor->generation);
  }
  if (sorted_cursor) {
    return std::pair(sorted_cursor->table, sorted_cursor->generation);
  }
  return std::nullopt;
}

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
    } else if (name == "search") {
      out.search = value;
    } else if (name == "sort") {
      Result<Order> order = parse_order(value, out.totals);
      if (!order) {
        return order.error();
      }
      out.sort = order.take();
    } else if (name == "limit") {
      if (!number(value, out.limit.emplace())) {
        return wrong(name, value, "a whole number");
      }
    } else if (name == "cursor") {
      const bool fine = value.starts_with(kSorted)
                            ? parse_sorted_cursor(value, out.sorted_cursor.emplace())
                            : parse_cursor(value, out.cursor.emplace());
      if (!fine) {
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
      static constexpr std::array<std::string_view, 9> kNames{
          "table", "key", "id", "search", "sort", "limit", "cursor", "format", "peers"};
      const auto names = std::span(kNames).first(out.totals ? 7 : kNames.size());
      return Error{
          ErrorCode::kInvalid,
          fmt::format("unknown parameter '{}'{}; allowed: {}, data.TYPE.OP", cli::escaped(name),
                      cli::suggestion(name, names), fmt::join(names, ", "))};
    }
  }
  if (const Status fine = check(out); !fine) {
    return fine.error();
  }
  return out;
}

}  // namespace lineq::pages
