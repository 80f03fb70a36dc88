// lineq-top without a terminal: what is on the screen, and what keys do.
#include <algorithm>
#include <clocale>

#include <gtest/gtest.h>

#include "tests/tools/dump_support.h"
#include "tools/lineq_top/monitor.h"
#include "tools/lineq_top/rates.h"
#include "tools/lineq_top/screen.h"
#include "tools/lineq_top/width.h"

namespace lineq::top {
namespace {

using shm::KeyType;

TEST(TopRatesTest, AreDifferencesOfTwoLooks) {
  Rates rates;
  rates.begin(1000);
  EXPECT_EQ(rates.of(1, 7, 100), std::nullopt);
  EXPECT_EQ(rates.of(2, 7, 100), std::nullopt);
  rates.begin(3000);
  EXPECT_EQ(rates.of(1, 7, 150), 25.0);
  EXPECT_EQ(rates.of(2, 8, 150), std::nullopt) << "another thing under this number";
  rates.begin(4000);
  EXPECT_EQ(rates.of(1, 7, 149), std::nullopt) << "a counter that fell";
  EXPECT_EQ(rates.of(2, 8, 150), 0.0);
  rates.begin(5000);
  rates.begin(6000);
  EXPECT_EQ(rates.of(1, 7, 150), std::nullopt) << "forgotten, as the look before did not ask";
}

TEST(TopGridTest, NumbersAreShort) {
  EXPECT_EQ(cell_text(Cell(), Unit::kCount), "-");
  EXPECT_EQ(cell_text(u64{0}, Unit::kCount), "0");
  EXPECT_EQ(cell_text(u64{9999}, Unit::kCount), "9999");
  EXPECT_EQ(cell_text(u64{12345}, Unit::kCount), "12.3k");
  EXPECT_EQ(cell_text(u64{9'999'999}, Unit::kCount), "10.0M");
  EXPECT_EQ(cell_text(~u64{0}, Unit::kCount), "18.4E");
  EXPECT_EQ(cell_text(i64{-5}, Unit::kCount), "-5");
  EXPECT_EQ(cell_text(u64{123456}, Unit::kId), "123456");
  EXPECT_EQ(cell_text(3.14, Unit::kRate), "3.1");
  EXPECT_EQ(cell_text(0.0, Unit::kRate), "0");
  EXPECT_EQ(cell_text(1234567.0, Unit::kRate), "1235k");
  EXPECT_EQ(cell_text(u64{1} << 30, Unit::kBytes), "1024M");
  EXPECT_EQ(cell_text(u64{40}, Unit::kDuration), "40ms");
  EXPECT_EQ(cell_text(u64{200000}, Unit::kDuration), "3m20s");
  EXPECT_EQ(cell_text(std::string("x"), Unit::kText), "x");
}

Grid fruit() {
  Grid grid;
  grid.columns = {{"name", "NAME", Unit::kText},
                  {"per_second", "N/S", Unit::kRate},
                  {"per_minute", "N/MIN", Unit::kRate}};
  grid.rows = {{std::string("pear"), 2.0, Cell()},
               {std::string("Apple"), 5.0, 1.0},
               {std::string("fig"), Cell(), 3.0},
               {std::string("plum"), 2.0, Cell()}};
  return grid;
}
std::string names(const Grid& grid) {
  std::string all;
  for (const auto& row : grid.rows) {
    all += std::get<std::string>(row.front()) + " ";
  }
  return all;
}

TEST(TopGridTest, RowsAreSortedAndFiltered) {
  Grid grid = fruit();
  sort_rows(grid, 1, false);
  EXPECT_EQ(names(grid), "Apple pear plum fig ");
  sort_rows(grid, 1, true);
  EXPECT_EQ(names(grid), "pear plum Apple fig ") << "unknown stays last";
  sort_rows(grid, 0, false);
  EXPECT_EQ(names(grid), "Apple fig pear plum ");
  sort_rows(grid, 0, true);
  EXPECT_EQ(names(grid), "plum pear fig Apple ");
  filter_rows(grid, "P");
  EXPECT_EQ(names(grid), "plum pear Apple ");
  filter_rows(grid, "");
  EXPECT_EQ(grid.rows.size(), 3U);
}

TEST(TopGridTest, ColumnsAreFoundByNameTitleOrUniqueBeginning) {
  const Grid grid = fruit();
  EXPECT_EQ(find_column(grid, "per_second"), 1U);
  EXPECT_EQ(find_column(grid, "n/min"), 2U);
  EXPECT_EQ(find_column(grid, "per_m"), 2U);
  EXPECT_EQ(find_column(grid, "per"), std::nullopt);
  EXPECT_EQ(find_column(grid, ""), std::nullopt);
  EXPECT_EQ(find_column(grid, "other"), std::nullopt);
}

class TopWidthTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr); }
  void TearDown() override { std::setlocale(LC_CTYPE, "C"); }
};

TEST_F(TopWidthTest, WideCharactersTakeTwoColumns) {
  EXPECT_EQ(width_of("abc"), 3U);
  EXPECT_EQ(width_of("\xe4\xb8\xad\xe6\x96\x87"), 4U);
  EXPECT_EQ(cut("abcdef", 4), "abc~");
  EXPECT_EQ(cut("\xe4\xb8\xad\xe6\x96\x87", 3), "\xe4\xb8\xad~");
  EXPECT_EQ(cut("\xe4\xb8\xad\xe6\x96\x87", 2), "~");
  EXPECT_EQ(cut("abc", 3), "abc");
  EXPECT_EQ(cut("abc", 0), "");
}

TEST_F(TopWidthTest, WhatTheTerminalCannotShowIsEscaped) {
  EXPECT_EQ(for_terminal("\xc3\xa9\xe4\xb8\xad", true), "\xc3\xa9\xe4\xb8\xad");
  EXPECT_EQ(for_terminal("\xc3\xa9", false), "\\xc3\\xa9");
  EXPECT_EQ(for_terminal("e\xcc\x81", true), "e\\xcc\\x81") << "takes no room of its own";
  EXPECT_EQ(for_terminal("\x1b[2J\x7f", true), "\\x1b[2J\\x7f");
  EXPECT_EQ(for_terminal("\xff\xc0\x80", true), "\\xff\\xc0\\x80");
}

// ---- a screen over a real segment --------------------------------------------------------------

class TopScreenTest : public TopWidthTest {
 protected:
  TopScreenTest() : monitor_(source()) {}

  shm::Source source() const {
    shm::Source source;
    source.instance = segment_.name();
    return source;
  }
  void fill() {
    for (u64 i = 1; i <= 30; ++i) {
      segment_.put(src_, "user" + std::to_string(i), {i, 0, 100 - i, 0});
    }
    segment_.put(other_, "x", {1});
    segment_.beat();
  }
  void look() {
    now_ += 1000;
    monitor_.look(now_);
    if (screen_.wants_keys() && monitor_.reader() != nullptr) {
      keys_.choose(screen_.wanted(monitor_.picture()));
      keys_.begin();
      while (!keys_.step(*monitor_.reader(), 7)) {
      }
    }
  }
  void type(std::string_view text) {
    for (const char c : text) {
      key(static_cast<unsigned char>(c));
    }
  }
  void key(u32 key) {
    screen_.key(key, monitor_.picture(), keys_);
    if (screen_.wants_keys() && monitor_.reader() != nullptr) {
      keys_.choose(screen_.wanted(monitor_.picture()));
      while (!keys_.step(*monitor_.reader(), 7)) {
      }
    }
  }
  std::vector<Line> lines(std::size_t width = 100, std::size_t height = 24) {
    return screen_.lines(monitor_.picture(), keys_, width, height);
  }
  std::string text(std::size_t width = 100, std::size_t height = 24) {
    std::string all;
    for (const Line& line : lines(width, height)) {
      all += line.text + "\n";
    }
    return all;
  }
  // The first words of the rows on the screen.
  std::vector<std::string> rows() {
    std::vector<std::string> found;
    bool below = false;
    const std::vector<Line> all = lines();
    for (std::size_t i = 0; i + 1 < all.size(); ++i) {
      if (below && !all[i].text.empty()) {
        found.push_back(all[i].text.substr(0, all[i].text.find(' ')));
      }
      below = below || all[i].style == Style::kHead;
    }
    return found;
  }
  std::string foot() { return lines().back().text; }

  dump::Segment segment_;
  const shm::TableDefinition src_ =
      dump::table_of("src", KeyType::kString, 64, "gpc0,http_req_rate(60000)");
  const shm::TableDefinition other_ = dump::table_of("/other", KeyType::kString, 32, "gpc0");
  Monitor monitor_;
  TopKeys keys_;
  Screen screen_{Screen::Start{}};
  u64 now_ = 0;
};
using Rows = std::vector<std::string>;

TEST_F(TopScreenTest, TablesStandByTheirRateOfChange) {
  fill();
  look();
  segment_.put(other_, "y", {1});
  segment_.put(other_, "z", {1});
  segment_.put(src_, "user1", {2, 0, 1, 0});
  look();
  EXPECT_EQ(rows(), (Rows{"/other", "src"}));
  const std::string shown = text();
  EXPECT_NE(shown.find("lineqd alive, heartbeat "), std::string::npos) << shown;
  EXPECT_NE(shown.find("[tables 2]  peers 0   keys   rooms 0"), std::string::npos) << shown;
  EXPECT_NE(shown.find(" 33 entries"), std::string::npos) << shown;
  EXPECT_NE(shown.find("UPD/Sv"), std::string::npos) << shown;
  key('R');
  EXPECT_EQ(rows(), (Rows{"src", "/other"}));
  key('R');
  type("sname");
  EXPECT_EQ(foot(), "sort by: name_");
  key(kKeyEnter);
  EXPECT_EQ(rows(), (Rows{"/other", "src"}));
  type("oentr");
  key(kKeyEnter);
  EXPECT_EQ(rows(), (Rows{"src", "/other"}));
  type("soentr");
  key(kKeyEnter);
  EXPECT_EQ(foot(), "no column 'oentr' to sort by");
  type("<");
  EXPECT_NE(text().find("TYPEv"), std::string::npos) << text();
  type("/OTH");
  key(kKeyEnter);
  EXPECT_EQ(rows(), Rows{"/other"});
  EXPECT_NE(text().find("filter 'OTH'"), std::string::npos) << text();
}

TEST_F(TopScreenTest, KeysStandByTheirLargestValues) {
  fill();
  look();
  segment_.put(src_, "user30", {30, 0, 70, 0});
  look();
  key('k');  // of the busiest table
  EXPECT_EQ(rows().front(), "user1") << text();
  EXPECT_EQ(keys_.column(), "http_req_rate");
  type("sgpc0");
  key(kKeyEnter);
  EXPECT_EQ(rows().front(), "user30") << text();
  EXPECT_EQ(rows()[1], "user29");
  key('R');
  EXPECT_EQ(rows().front(), "user1");
  type("fR29");
  key(kKeyEnter);
  EXPECT_EQ(rows(), Rows{"user29"});
  type("sexpires");
  key(kKeyEnter);
  EXPECT_EQ(foot(), "no column 'expires' to sort by");
  type("T/other");
  key(kKeyEnter);
  EXPECT_EQ(rows(), Rows{"x"});
  type("Tnothing");
  key(kKeyEnter);
  EXPECT_NE(text().find("no table 'nothing'"), std::string::npos) << text();
  // From the tables page by Enter, on the row under the bar.
  type("tsname");
  key(kKeyEnter);
  key(kKeyHome);
  lines();
  key(kKeyEnter);
  EXPECT_EQ(keys_.table(), "/other");
  key('t');
  key(kKeyDown);
  lines();
  key(kKeyEnter);
  EXPECT_EQ(keys_.table(), "src");
}

TEST_F(TopScreenTest, LongListsAreMovedThrough) {
  fill();
  look();
  type("Tsrc");
  key(kKeyEnter);
  const Rows all = rows();
  EXPECT_EQ(all.size(), 19U);
  key(kKeyEnd);
  EXPECT_EQ(rows().back(), "user30");
  EXPECT_EQ(lines()[22].style, Style::kSelected);
  key(kKeyUp);
  EXPECT_EQ(lines()[21].style, Style::kSelected);
  key(kKeyPageUp);
  key(kKeyPageUp);
  EXPECT_EQ(rows(), all);
  key(kKeyPageDown);
  lines();
  key(kKeyHome);
  EXPECT_EQ(lines()[4].style, Style::kSelected);
}

TEST_F(TopScreenTest, OtherKeys) {
  fill();
  look();
  key('h');
  EXPECT_NE(text().find("seconds between two looks"), std::string::npos);
  key('x');
  EXPECT_EQ(text().find("seconds between two looks"), std::string::npos);
  type("d0.01");
  key(kKeyEnter);
  EXPECT_EQ(screen_.delay(), 1);
  EXPECT_EQ(foot(), "'0.01' is not allowed; allowed: 0.1 to 3600 seconds");
  type("i2.5");
  key(kKeyEnter);
  EXPECT_EQ(screen_.delay(), 2.5);
  type("d9");
  key(kKeyEscape);
  EXPECT_EQ(screen_.delay(), 2.5);
  type("fabc");
  key(kKeyBackspace);
  key(0xe9);
  key(kKeyBackspace);
  key(0x4e2d);
  EXPECT_EQ(foot(), "show only what contains: ab\xe4\xb8\xad_");
  key(kKeyEscape);
  key(' ');
  EXPECT_TRUE(screen_.paused());
  EXPECT_NE(text().find("HELD"), std::string::npos);
  key(' ');
  EXPECT_FALSE(screen_.paused());
  key('\t');
  EXPECT_EQ(screen_.page(), Page::kPeers);
  key(kKeyBackTab);
  key(kKeyBackTab);
  EXPECT_EQ(screen_.page(), Page::kRooms);
  key('q');
  EXPECT_TRUE(screen_.quit());
}

TEST_F(TopScreenTest, AnyKeysOnAnySizeFitTheScreen) {
  fill();
  segment_.put(
      dump::table_of("ev\x1b[2Jil \xe4\xb8\xad\xe6\x96\x87\xff", KeyType::kString, 64, "gpc0"),
      "\x1b]0;title\x07\xe2\x80\xae\xe4\xb8\xad\xff\n", {7});
  look();
  look();
  constexpr std::string_view kTyped = " hrtpkTsoRfdi<>/?\t\r";
  u32 random = 1;
  for (int i = 0; i < 3000; ++i) {
    random = random * 1664525 + 1013904223;
    const u32 pick = random >> 16;
    const u32 typed = pick % 3 == 0 ? kKeyUp + pick / 3 % 12
                      : pick % 3 == 1
                          ? u32{static_cast<unsigned char>(kTyped[pick / 3 % kTyped.size()])}
                          : 0x20 + pick % 0x3000;
    if (typed == 'q' || typed == 'Q') {
      continue;
    }
    key(typed);
    const std::size_t width = 1 + pick % 130;
    const std::size_t height = 1 + pick % 40;
    const std::vector<Line> shown = lines(width, height);
    ASSERT_EQ(shown.size(), height);
    for (const Line& line : shown) {
      ASSERT_LE(width_of(line.text), width) << line.text;
      ASSERT_EQ(for_terminal(line.text, true), line.text);
    }
  }
}

TEST_F(TopScreenTest, FortyColumnsShowWhatMatters) {
  fill();
  look();
  look();
  const std::string shown = text(40, 12);
  EXPECT_NE(shown.find("lineqd alive"), std::string::npos) << shown;
  EXPECT_NE(shown.find("UPD/Sv"), std::string::npos) << shown;
  EXPECT_NE(shown.find("src "), std::string::npos) << shown;
}

TEST_F(TopScreenTest, DeathAbsenceAndAnotherSegmentAreSaid) {
  fill();
  look();
  const u64 generation = monitor_.generation();
  segment_.drop();
  look();
  EXPECT_NE(text().find("lineqd is DOWN, heartbeat "), std::string::npos) << text();
  EXPECT_EQ(rows().size(), 2U) << "what it left";
  // Another segment: nothing known counts any more.
  for (const std::string& object : segment_.lineq.objects()) {
    ::unlink(("/dev/shm/" + object).c_str());
  }
  look();
  segment_.attach();
  segment_.put(other_, "x", {1});
  segment_.beat();
  EXPECT_TRUE(test::wait_until([&] {
    look();
    return monitor_.generation() > generation;
  }));
  EXPECT_EQ(rows(), Rows{"/other"});
  EXPECT_NE(text().find("lineqd alive"), std::string::npos) << text();

  shm::Source nobody;
  nobody.instance = segment_.name() + "-nobody";
  Monitor none(nobody);
  none.look(1);
  const std::vector<Line> waiting = screen_.lines(none.picture(), keys_, 80, 24);
  EXPECT_NE(waiting[0].text.find("waiting for a segment"), std::string::npos) << waiting[0].text;
}

TEST_F(TopScreenTest, RanksAreThoseOfANaiveSort) {
  u32 random = 7;
  std::vector<std::pair<u64, std::string>> model;
  for (u32 i = 0; i < 3000; ++i) {
    random = random * 1664525 + 1013904223;
    const u64 value = random >> 20;
    model.emplace_back(value, "key" + std::to_string(i));
    segment_.put(other_, model.back().second, {value});
  }
  segment_.beat();
  std::stable_sort(model.begin(), model.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  monitor_.look(1);
  TopKeys::Choice choice;
  choice.table = "other";
  choice.limit = 50;
  keys_.choose(choice);
  int steps = 1;
  while (!keys_.step(*monitor_.reader(), 100)) {
    ++steps;
  }
  EXPECT_GE(steps, 30);
  ASSERT_EQ(keys_.grid().rows.size(), 50U);
  for (std::size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(keys_.grid().rows[i][0], Cell(model[i].second)) << i;
    EXPECT_EQ(keys_.grid().rows[i][1], Cell(model[i].first)) << i;
  }
}

TEST_F(TopScreenTest, ColumnsAreChosenAndMistakesNamed) {
  segment_.put(dump::table_of("arr", KeyType::kString, 32, "gpc(3),server_id"), "a",
               {static_cast<u64>(-2), 1, 5, 3});
  segment_.put(dump::table_of("arr", KeyType::kString, 32, "gpc(3),server_id"), "b", {1, 1, 4, 3});
  segment_.put(dump::table_of("names", KeyType::kString, 32, "server_key"), "a", {0});
  segment_.beat();
  monitor_.look(1);
  const auto first = [&](std::string table, std::string column) {
    TopKeys::Choice choice;
    choice.table = std::move(table);
    choice.column = std::move(column);
    keys_.choose(choice);
    while (!keys_.step(*monitor_.reader(), 100)) {
    }
    return keys_.trouble() ? keys_.trouble()->what
                           : std::get<std::string>(keys_.grid().rows.front().front());
  };
  EXPECT_EQ(first("arr", "gpc[1]"), "a");
  EXPECT_EQ(first("arr", "GPC1"), "a");
  EXPECT_EQ(first("arr", "server_id"), "b") << "a negative number is less";
  EXPECT_EQ(first("arr", "gpc9"),
            "table arr has no 'gpc9'; did you mean 'gpc0'?; it has server_id, gpc0, gpc1, gpc2");
  EXPECT_EQ(first("names", ""), "table names has nothing to rank its keys by");
  EXPECT_EQ(first("nope", ""), "no table 'nope'");
}

}  // namespace
}  // namespace lineq::top
