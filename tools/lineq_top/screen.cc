#include "tools/lineq_top/screen.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/lineq_top/width.h"

namespace lineq::top {
namespace {

constexpr std::size_t kLongestTyped = 200;
constexpr u32 kFirstSpecial = 0x110000;
constexpr u32 kCtrlC = 3;
constexpr u32 kCtrlH = 8;
constexpr u32 kTab = 9;
constexpr u32 kCtrlU = 21;
constexpr u32 kEscapeCharacter = 27;
constexpr u32 kDelete = 127;

constexpr std::array<std::string_view, 4> kDefaultSort{"updates_per_second", "name", "", "waiting"};

constexpr std::array<std::string_view, 16> kHelp{
    "t p k r    tables, HAProxys (peers), keys of a table, rooms; Tab: the next of them",
    "Up Down PgUp PgDn Home End    move",
    "Enter      on a table: its keys",
    "s or o     sort by a column; < and >: by the one to the left, to the right",
    "R          the other way round",
    "f or /     only rows with a text in their first column; an empty text: all",
    "T          keys page: of another table",
    "d or i     seconds between two looks",
    "Space      hold still, and go on",
    "q          quit",
    "",
    "Rates are those of the last interval. SILENT: how long nothing came. LAG: changes that a",
    "HAProxy has not been sent yet. WRONG: tables of a HAProxy that differ from the others', are",
    "missing, or silent while others tell: lineq-dump --peers says which.",
    "Keys are ranked by one data type, the one they are sorted by; the whole table is looked at",
    "in slices, so a large one takes a moment.",
};

// UTF-8 of a character.
void append(std::string& text, u32 c) {
  const auto put = [&](u32 byte) { text += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

void remove_last(std::string& text) {
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xc0U) == 0x80U) {
    text.pop_back();
  }
  if (!text.empty()) {
    text.pop_back();
  }
}

std::string rate_text(const std::optional<double>& rate) {
  return cell_text(rate ? Cell(*rate) : Cell(), Unit::kRate);
}

std::string padded(const std::string& text, std::size_t width, bool left) {
  const std::string shown = cut(text, width);
  const std::string blanks(width - std::min(width, width_of(shown)), ' ');
  return left ? shown + blanks : blanks + shown;
}

// Which columns fit, in their order: the first one and the one sorted by always do.
std::vector<std::size_t> fitting(const std::vector<std::size_t>& widths, std::size_t sorted,
                                 std::size_t width) {
  constexpr std::size_t kLeastName = 12;
  std::vector<std::size_t> chosen{0};
  std::size_t used = std::min(widths[0], std::max(kLeastName, width / 2));
  const auto take = [&](std::size_t i) {
    if (used + 1 + widths[i] <= width) {
      used += 1 + widths[i];
      chosen.push_back(i);
      return true;
    }
    return false;
  };
  if (sorted != 0) {
    take(sorted);
  }
  for (std::size_t i = 1; i < widths.size(); ++i) {
    if (i != sorted && !take(i)) {
      break;
    }
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace

std::optional<Page> page_by_name(std::string_view name) {
  const auto* found = std::find(kPageNames.begin(), kPageNames.end(), name);
  return found == kPageNames.end() ? std::nullopt
                                   : std::optional(static_cast<Page>(found - kPageNames.begin()));
}

std::optional<double> delay_from(std::string_view text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() ||
      !(seconds >= kShortestDelay && seconds <= kLongestDelay)) {
    return std::nullopt;
  }
  return seconds;
}

Screen::Screen(const Start& start)
    : page_(start.page),
      table_(start.table),
      delay_(start.delay),
      limit_(start.limit),
      utf8_(start.utf8) {
  look().sort = start.sort;
  for (Look& each : looks_) {
    each.filter = start.filter;
  }
}

const Grid& Screen::grid(const Picture& picture, const TopKeys& keys) const {
  switch (page_) {
    case Page::kTables:
      return picture.tables;
    case Page::kPeers:
      return picture.peers;
    case Page::kRooms:
      return picture.rooms;
    case Page::kKeys:
      break;
  }
  return keys.grid();
}

TopKeys::Choice Screen::wanted(const Picture& picture) const {
  const Look& keys = looks_[static_cast<std::size_t>(Page::kKeys)];
  TopKeys::Choice choice{table_, keys.sort, keys.reverse, keys.filter, limit_};
  if (choice.table.empty()) {
    // The busiest, then the largest.
    Grid tables = picture.tables;
    if (const auto entries = find_column(tables, "entries")) {
      sort_rows(tables, *entries, false);
    }
    if (const auto updates = find_column(tables, "updates_per_second")) {
      sort_rows(tables, *updates, false);
    }
    if (!tables.rows.empty()) {
      choice.table = std::get<std::string>(tables.rows.front().front());
    }
  }
  return choice;
}

std::size_t Screen::sort_column(const Grid& grid, const TopKeys& keys) const {
  const std::string& wanted = page_ == Page::kKeys ? keys.column() : look().sort;
  std::optional<std::size_t> found = wanted.empty() ? std::nullopt : find_column(grid, wanted);
  if (!found) {
    found = find_column(grid, kDefaultSort[static_cast<std::size_t>(page_)]);
  }
  return found.value_or(0);
}

Grid Screen::shown(const Picture& picture, const TopKeys& keys) const {
  Grid grid = this->grid(picture, keys);
  if (page_ == Page::kKeys || grid.columns.empty()) {
    return grid;  // ranked and filtered as the table was looked at
  }
  filter_rows(grid, look().filter);
  sort_rows(grid, sort_column(grid, keys), look().reverse);
  return grid;
}

// ---- keys ---------------------------------------------------------------------------------------

void Screen::go(Page page) {
  page_ = page;
  help_ = false;
}

void Screen::move(i64 rows) {
  Look& at = look();
  at.row = rows < 0 ? at.row - std::min(at.row, static_cast<std::size_t>(-rows))
                    : at.row + static_cast<std::size_t>(rows);
  at.selected.clear();  // the row at this place, whichever it is
}

void Screen::move_sort(int step, const Picture& picture, const TopKeys& keys) {
  const Grid& of = grid(picture, keys);
  if (of.columns.empty()) {
    return;
  }
  std::vector<std::string> names;
  if (page_ == Page::kKeys) {
    names = keys.columns();
  } else {
    for (const Column& column : of.columns) {
      names.push_back(column.name);
    }
  }
  const std::string& now = of.columns[sort_column(of, keys)].name;
  const auto found = std::find(names.begin(), names.end(), now);
  if (found == names.end()) {
    return;
  }
  const i64 next = std::clamp<i64>((found - names.begin()) + step, 0, std::ssize(names) - 1);
  look().sort = names[static_cast<std::size_t>(next)];
}

void Screen::key(u32 key, const Picture& picture, const TopKeys& keys) {
  message_.clear();
  if (prompt_ != Prompt::kNone) {
    prompt_key(key, picture, keys);
    return;
  }
  if (help_ && key != 'q' && key != kCtrlC) {
    help_ = false;
    return;
  }
  const auto ask = [&](Prompt prompt) {
    prompt_ = prompt;
    typed_.clear();
  };
  const auto rows = static_cast<i64>(page_rows_);
  constexpr i64 kAll = i64{1} << 40;
  switch (key) {
    case 'q':
    case 'Q':
    case kCtrlC:
      quit_ = true;
      break;
    case 'h':
    case '?':
      help_ = true;
      break;
    case 't':
      go(Page::kTables);
      break;
    case 'p':
      go(Page::kPeers);
      break;
    case 'k':
      go(Page::kKeys);
      break;
    case 'r':
      go(Page::kRooms);
      break;
    case kTab:
    case kKeyRight:
      go(static_cast<Page>((static_cast<std::size_t>(page_) + 1) % kPageNames.size()));
      break;
    case kKeyBackTab:
    case kKeyLeft:
      go(static_cast<Page>((static_cast<std::size_t>(page_) + kPageNames.size() - 1) %
                           kPageNames.size()));
      break;
    case kKeyUp:
      move(-1);
      break;
    case kKeyDown:
      move(1);
      break;
    case kKeyPageUp:
      move(-rows);
      break;
    case kKeyPageDown:
      move(rows);
      break;
    case kKeyHome:
      move(-kAll);
      break;
    case kKeyEnd:
      move(kAll);
      break;
    case kKeyEnter:
      if (page_ == Page::kTables) {
        const Grid tables = shown(picture, keys);
        if (look().row < tables.rows.size()) {
          table_ = std::get<std::string>(tables.rows[look().row].front());
          looks_[static_cast<std::size_t>(Page::kKeys)] = {};
          go(Page::kKeys);
        }
      }
      break;
    case 's':
    case 'o':
      ask(Prompt::kSort);
      break;
    case '<':
      move_sort(-1, picture, keys);
      break;
    case '>':
      move_sort(1, picture, keys);
      break;
    case 'R':
      look().reverse = !look().reverse;
      break;
    case 'f':
    case '/':
      ask(Prompt::kFilter);
      break;
    case 'T':
      go(Page::kKeys);
      ask(Prompt::kTable);
      break;
    case 'd':
    case 'i':
      ask(Prompt::kDelay);
      break;
    case ' ':
      paused_ = !paused_;
      break;
    default:
      break;
  }
}

void Screen::prompt_key(u32 key, const Picture& picture, const TopKeys& keys) {
  switch (key) {
    case kKeyEscape:
    case kEscapeCharacter:
    case kCtrlC:
      prompt_ = Prompt::kNone;
      break;
    case kKeyEnter:
      answer(picture, keys);
      prompt_ = Prompt::kNone;
      break;
    case kKeyBackspace:
    case kCtrlH:
    case kDelete:
      remove_last(typed_);
      break;
    case kCtrlU:
      typed_.clear();
      break;
    default:
      if (key >= ' ' && key < kFirstSpecial && typed_.size() < kLongestTyped) {
        append(typed_, key);
      }
  }
}

void Screen::answer(const Picture& picture, const TopKeys& keys) {
  switch (prompt_) {
    case Prompt::kSort: {
      const Grid& of = grid(picture, keys);
      const auto found = typed_.empty() ? std::nullopt : find_column(of, typed_);
      const bool rankable = found && (page_ != Page::kKeys ||
                                      std::find(keys.columns().begin(), keys.columns().end(),
                                                of.columns[*found].name) != keys.columns().end());
      if (typed_.empty()) {
        look().sort.clear();
      } else if (rankable) {
        look().sort = of.columns[*found].name;
      } else if (page_ == Page::kKeys && !keys.any()) {
        look().sort = typed_;  // whether the table has it shows when it has been looked at
      } else {
        message_ = fmt::format("no column '{}' to sort by", cli::escaped(typed_));
      }
      break;
    }
    case Prompt::kFilter:
      look().filter = typed_;
      look().row = 0;
      break;
    case Prompt::kTable:
      table_ = typed_;
      looks_[static_cast<std::size_t>(Page::kKeys)] = {};
      break;
    case Prompt::kDelay:
      if (const auto seconds = delay_from(typed_)) {
        delay_ = *seconds;
      } else if (!typed_.empty()) {
        message_ = fmt::format("'{}' is not allowed; allowed: {} to {} seconds",
                               cli::escaped(typed_), kShortestDelay, kLongestDelay);
      }
      break;
    case Prompt::kNone:
      break;
  }
}

// ---- lines --------------------------------------------------------------------------------------

void Screen::head(std::vector<Line>& out, const Overview& o, const TopKeys& keys, std::size_t width,
                  std::size_t height) const {
  const bool alive = o.state == "alive";
  const auto duration = [](const std::optional<u64>& ms) {
    return cell_text(ms ? Cell(*ms) : Cell(), Unit::kDuration);
  };
  std::string daemon;
  if (o.state == "absent") {
    daemon = fmt::format("waiting for a segment: {}", o.trouble);
  } else if (o.state == "down") {
    daemon = fmt::format("lineqd is DOWN, heartbeat {} ago; this is what it left",
                         duration(o.heartbeat_age_ms));
  } else {
    daemon = fmt::format("lineqd {}, heartbeat {} ago, up {}{}",
                         alive                  ? "alive"
                         : o.state == "stalled" ? "STALLED"
                                                : o.state,
                         duration(o.heartbeat_age_ms), duration(o.up_ms),
                         o.mode.empty() ? "" : ", mode " + o.mode);
  }
  if (o.state != "absent" && !o.trouble.empty()) {
    daemon = o.trouble;
  }
  out.push_back({fmt::format("{}: {}", o.instance, daemon),
                 alive && o.trouble.empty() ? Style::kBold : Style::kAlarm});
  if (height < 5) {
    return;
  }
  out.push_back(
      {fmt::format("updates/s {} in {} out, memory {}, {}/{} HAProxys up, {} entries{}",
                   rate_text(o.in_per_second), rate_text(o.out_per_second),
                   cell_text(o.memory_bytes, Unit::kBytes), o.peers_up, o.peers,
                   cell_text(o.entries, Unit::kCount),
                   o.rooms == 0 ? ""
                                : fmt::format(", {} wait for {} rooms",
                                              cell_text(o.waiting, Unit::kCount), o.rooms)),
       Style::kPlain});
  std::string tabs;
  const std::array<std::string, 4> names{
      fmt::format("tables {}", o.tables), fmt::format("peers {}", o.peers),
      keys.table().empty() ? "keys" : "keys of " + cut(keys.table(), width / 3),
      fmt::format("rooms {}", o.rooms)};
  for (std::size_t i = 0; i < names.size(); ++i) {
    tabs += fmt::format(fmt::runtime(i == static_cast<std::size_t>(page_) ? "[{}] " : " {}  "),
                        names.at(i));
  }
  std::string extras;
  if (!look().filter.empty()) {
    extras += fmt::format("filter '{}' ", cli::escaped(look().filter));
  }
  extras += paused_ ? "HELD" : fmt::format("every {}s", delay_);
  if (page_ == Page::kKeys && keys.percent() < 100 && keys.any()) {
    extras += fmt::format(" {}%", keys.percent());
  }
  const std::size_t used = width_of(tabs) + width_of(extras);
  out.push_back({tabs + std::string(used < width ? width - used : 0, ' ') + extras, Style::kDim});
}

std::string Screen::empty_text(const Picture& picture, const TopKeys& keys) const {
  if (picture.overview.state == "absent") {
    return "As soon as lineqd runs on this instance it shows here.";
  }
  switch (page_) {
    case Page::kPeers:
      return "No HAProxy has connected yet.";
    case Page::kRooms:
      return "There is no waiting room.";
    case Page::kKeys:
      if (keys.trouble()) {
        return cli::printable(keys.trouble()->what);
      }
      if (!keys.any()) {
        return picture.tables.rows.empty() ? "There is no table yet."
                                           : fmt::format("looking: {} %", keys.percent());
      }
      return look().filter.empty() ? "The table is empty." : "No key has this in it.";
    case Page::kTables:
      break;
  }
  return picture.tables.rows.empty() ? "There is no table yet: HAProxys bring them."
                                     : "No table has this in its name.";
}

void Screen::body(std::vector<Line>& out, const Picture& picture, const TopKeys& keys,
                  std::size_t width, std::size_t rows) {
  if (help_) {
    for (const std::string_view line : kHelp) {
      if (rows-- == 0) {
        return;
      }
      out.push_back({std::string(line), Style::kPlain});
    }
    return;
  }
  const Grid grid = shown(picture, keys);
  if (rows == 0) {
    return;
  }
  if (grid.rows.empty() || (page_ == Page::kKeys && keys.trouble())) {
    out.push_back({empty_text(picture, keys), Style::kPlain});
    return;
  }
  // The bar stays on its row, wherever that has gone; else at its place.
  Look& at = look();
  if (!at.selected.empty()) {
    for (std::size_t i = 0; i < grid.rows.size() && page_ != Page::kKeys; ++i) {
      if (grid.rows[i].front() == Cell(at.selected)) {
        at.row = i;
      }
    }
  }
  at.row = std::min(at.row, grid.rows.size() - 1);
  at.selected = std::get<std::string>(grid.rows[at.row].front());
  const std::size_t visible = rows - 1;
  page_rows_ = std::max<std::size_t>(visible, 1);
  at.top = std::clamp(at.top, at.row + 1 - std::min(at.row + 1, page_rows_), at.row);
  at.top = std::min(at.top, grid.rows.size() - std::min(grid.rows.size(), page_rows_));

  const std::size_t sorted = sort_column(grid, keys);
  std::vector<std::size_t> widths;
  for (const Column& column : grid.columns) {
    widths.push_back(width_of(column.title) + 1);  // and the sign of the sorted one
  }
  const std::size_t end = std::min(grid.rows.size(), at.top + visible);
  std::vector<std::vector<std::string>> cells;
  for (std::size_t row = at.top; row < end; ++row) {
    std::vector<std::string>& line = cells.emplace_back();
    for (std::size_t i = 0; i < grid.columns.size(); ++i) {
      line.push_back(for_terminal(cell_text(grid.rows[row][i], grid.columns[i].unit), utf8_));
      widths[i] = std::max(widths[i], width_of(line.back()));
    }
  }
  const std::vector<std::size_t> columns = fitting(widths, sorted, width);
  std::size_t others = 0;
  for (const std::size_t i : columns) {
    others += i == 0 ? 0 : widths[i] + 1;
  }
  widths[0] = std::min(widths[0], width - std::min(width, others));
  const auto put = [&](const auto& text_of, Style style) {
    std::string text;
    for (const std::size_t i : columns) {
      text +=
          (i == 0 ? "" : " ") + padded(text_of(i), widths[i], grid.columns[i].unit == Unit::kText);
    }
    const std::size_t used = width_of(text);
    text.append(used < width ? width - used : 0, ' ');  // the bar goes from edge to edge
    out.push_back({std::move(text), style});
  };
  put(
      [&](std::size_t i) {
        return grid.columns[i].title + (i != sorted ? "" : look().reverse ? "^" : "v");
      },
      Style::kHead);
  for (std::size_t row = 0; row < cells.size(); ++row) {
    put([&](std::size_t i) { return cells[row][i]; },
        at.top + row == at.row ? Style::kSelected : Style::kPlain);
  }
}

Line Screen::foot(const TopKeys& keys) const {
  switch (prompt_) {
    case Prompt::kSort:
      return {fmt::format("sort by: {}_", cli::escaped(typed_)), Style::kBold};
    case Prompt::kFilter:
      return {fmt::format("show only what contains: {}_", cli::escaped(typed_)), Style::kBold};
    case Prompt::kTable:
      return {fmt::format("keys of table: {}_", cli::escaped(typed_)), Style::kBold};
    case Prompt::kDelay:
      return {fmt::format("seconds between looks ({}): {}_", delay_, cli::escaped(typed_)),
              Style::kBold};
    case Prompt::kNone:
      break;
  }
  if (!message_.empty()) {
    return {message_, Style::kAlarm};
  }
  if (help_) {
    return {"any key: back", Style::kDim};
  }
  if (page_ == Page::kKeys && keys.any()) {
    return {fmt::format("h help  q quit  s sort  f filter  by {}", keys.column()), Style::kDim};
  }
  return {"h help  q quit  t p k r pages  s sort  f filter  d delay", Style::kDim};
}

std::vector<Line> Screen::lines(const Picture& picture, const TopKeys& keys, std::size_t width,
                                std::size_t height) {
  std::vector<Line> out;
  if (height == 0) {
    return out;
  }
  head(out, picture.overview, keys, width, height);
  if (height > out.size() + 1) {
    body(out, picture, keys, width, height - out.size() - 1);
  }
  out.resize(std::max<std::size_t>(height, 1) - 1);
  out.push_back(foot(keys));
  for (Line& line : out) {
    line.text = cut(for_terminal(line.text, utf8_), width);
  }
  return out;
}

}  // namespace lineq::top
