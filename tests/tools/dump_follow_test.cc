#include <gtest/gtest.h>

#include "tests/tools/dump_support.h"
#include "tools/lineq_dump/follow.h"

namespace lineq::dump {
namespace {

using shm::KeyType;

// A follower that a test turns by hand.
class DumpFollowTest : public testing::Test {
 protected:
  void start(Selection selection = {}, bool show_present = false, Format format = Format::kText) {
    selection_ = std::move(selection);
    reader_.emplace(segment_.reader());
    printer_.emplace(format, capture_.out(), *reader_);
    printer_->begin({}, true);
    auto picks = pick(selection_, *reader_);
    ASSERT_TRUE(picks.ok()) << picks.error().what;
    follower_.emplace(*reader_, *printer_, capture_.out(), selection_, picks.take(), show_present,
                      [this](std::string_view sentence) { notes_.emplace_back(sentence); });
  }
  // What one look prints: heads as "table t", entries without address and expiry.
  std::vector<std::string> turn() {
    follower_->turn();
    return printed();
  }
  std::vector<std::string> printed() {
    std::vector<std::string> shown;
    for (const std::string& line : test::lines_of(capture_.text_since_last())) {
      if (line.starts_with("# table: ")) {
        shown.push_back(line.substr(2, line.find(',') - 2));
      } else if (line.starts_with("# 0x")) {
        shown.push_back(line.substr(line.find(": ") + 2));
      } else if (const std::size_t data = line.find(" use=0 exp="); data != std::string::npos) {
        const std::size_t key = line.find("key=") + 4;
        const std::size_t rest = line.find(' ', data + 8);
        shown.push_back(line.substr(key, data - key) +
                        (rest == std::string::npos ? "" : line.substr(rest)));
      } else {
        shown.push_back(line);
      }
    }
    return shown;
  }
  using Lines = std::vector<std::string>;

  const shm::TableDefinition t_ = table_of("t", KeyType::kString, 32, "gpc0");
  const shm::TableDefinition u_ = table_of("u", KeyType::kString, 32, "gpc1");
  Segment segment_;
  Capture capture_;
  Selection selection_;
  std::optional<shm::Reader> reader_;
  std::optional<Printer> printer_;
  std::optional<Follower> follower_;
  std::vector<std::string> notes_;
};

TEST_F(DumpFollowTest, ChangesOfAllTablesAreShownOnceALook) {
  segment_.put(t_, "old", {1});
  segment_.table(u_);
  start();
  EXPECT_EQ(turn(), Lines{});
  segment_.put(t_, "a", {1});
  segment_.put(u_, "b", {2});
  segment_.put(t_, "a", {3});
  EXPECT_EQ(turn(), (Lines{"table: t", "a gpc0=3", "table: u", "b gpc1=2"}));
  segment_.put(t_, "old", {2});
  EXPECT_EQ(turn(), (Lines{"table: t", "old gpc0=2"}));
  segment_.put(t_, "old", {3});
  EXPECT_EQ(turn(), (Lines{"old gpc0=3"}));
  EXPECT_EQ(turn(), Lines{});
  EXPECT_EQ(notes_, Lines{});
}

TEST_F(DumpFollowTest, WhatIsThereComesFirstWhenAskedFor) {
  segment_.put(t_, "a", {1});
  segment_.put(u_, "b", {2});
  start({{"t"}, std::nullopt, {}}, true);
  EXPECT_EQ(printed(), (Lines{"table: t", "a gpc0=1"}));
  segment_.put(u_, "b", {3});
  segment_.put(t_, "a", {2});
  EXPECT_EQ(turn(), (Lines{"a gpc0=2"}));
}

TEST_F(DumpFollowTest, TheEndOfAnEntryShownIsTold) {
  segment_.put(t_, "a", {1});
  segment_.put(t_, "b", {1});
  start({{"t"}, std::nullopt, {}}, true);
  printed();
  segment_.erase(t_, "a", shm::FeedKind::kExpire);
  EXPECT_EQ(turn(), Lines{"expired"});
  segment_.erase(t_, "b");
  segment_.put(t_, "c", {1});  // takes the slot of b at once
  EXPECT_EQ(turn(), (Lines{"erased", "c gpc0=1"}));
  segment_.put(t_, "d", {1});
  segment_.erase(t_, "d");
  EXPECT_EQ(turn(), Lines{});  // came and went unseen
}

TEST_F(DumpFollowTest, FiltersAndKeysSelectAmongChanges) {
  segment_.table(t_);
  const auto conditions = view::parse_filters(std::vector<std::string>{"data.gpc0 gt 5"});
  start({{"t"}, std::nullopt, conditions.value()});
  EXPECT_EQ(turn(), Lines{});
  segment_.put(t_, "a", {5});
  EXPECT_EQ(turn(), Lines{});
  segment_.put(t_, "a", {6});
  EXPECT_EQ(turn(), (Lines{"table: t", "a gpc0=6"}));
  segment_.put(t_, "a", {0});
  EXPECT_EQ(turn(), Lines{"no match"});
  segment_.put(t_, "a", {1});
  EXPECT_EQ(turn(), Lines{});
}

TEST_F(DumpFollowTest, OneKeyIsFollowedFromItsPresentStateOn) {
  segment_.put(t_, "a", {1});
  segment_.put(t_, "b", {1});
  start({{"t"}, "a", {}}, true);
  EXPECT_EQ(printed(), (Lines{"table: t", "a gpc0=1"}));
  segment_.put(t_, "b", {2});
  EXPECT_EQ(turn(), Lines{});
  segment_.put(t_, "a", {2});
  EXPECT_EQ(turn(), Lines{"a gpc0=2"});
  segment_.erase(t_, "a");
  EXPECT_EQ(turn(), Lines{"erased"});
  segment_.put(t_, "x", {9});
  segment_.put(t_, "a", {3});
  EXPECT_EQ(turn(), Lines{"a gpc0=3"});
}

TEST_F(DumpFollowTest, TablesThatAppearLaterAreFollowedToo) {
  start();
  segment_.put(t_, "a", {1});
  EXPECT_EQ(turn(), (Lines{"table: t", "a gpc0=1"}));
  segment_.put(u_, "b", {1});
  segment_.put(u_, "c", {2});
  EXPECT_EQ(turn(), (Lines{"table: u", "b gpc1=1", "c gpc1=2"}));
}

TEST_F(DumpFollowTest, ATableThatBecameWiderGoesOn) {
  segment_.put(t_, "a", {1});
  start({{"t"}, std::nullopt, {}}, true);
  printed();
  segment_.put(table_of("t", KeyType::kString, 32, "gpc0,gpc1"), "b", {1, 2});
  const Lines shown = turn();
  EXPECT_EQ(shown.front(), "table: t");
  EXPECT_NE(std::find(shown.begin(), shown.end(), "b gpc0=1 gpc1=2"), shown.end());
}

TEST_F(DumpFollowTest, AfterALapWhatChangedIsShownFromTheTable) {
  segment_.put(t_, "a", {1});
  segment_.put(t_, "gone", {1});
  start({{"t"}, std::nullopt, {}}, true);
  printed();
  segment_.erase(t_, "gone");
  for (u64 i = 0; i <= u64{1} << 16; ++i) {
    segment_.put(t_, i % 2 == 0 ? "b" : "c", {i});
  }
  const Lines shown = turn();
  ASSERT_EQ(notes_.size(), 1U);
  EXPECT_NE(notes_[0].find("faster than"), std::string::npos);
  EXPECT_NE(std::find(shown.begin(), shown.end(), "b gpc0=65536"), shown.end());
  EXPECT_NE(std::find(shown.begin(), shown.end(), "c gpc0=65535"), shown.end());
  segment_.put(t_, "a", {2});
  EXPECT_EQ(turn(), Lines{"a gpc0=2"});
}

TEST_F(DumpFollowTest, AfterALapEntriesThatWentAreTold) {
  segment_.put(t_, "gone", {1});
  start({{"t"}, std::nullopt, {}}, true);
  printed();
  segment_.erase(t_, "gone");
  for (u64 i = 0; i <= u64{1} << 16; ++i) {
    segment_.put(u_, "b", {i});
  }
  EXPECT_EQ(turn(), (Lines{"table: t", "gone"}));
}

TEST_F(DumpFollowTest, ARestartOfTheDaemonIsSurvived) {
  segment_.put(t_, "a", {1});
  start({{"t"}, std::nullopt, {}}, true);
  EXPECT_EQ(printed(), (Lines{"table: t", "a gpc0=1"}));
  segment_.drop();
  turn();
  ASSERT_EQ(notes_.size(), 1U);
  EXPECT_TRUE(notes_[0].starts_with("lineqd is down since ")) << notes_[0];
  segment_.attach();
  segment_.put(t_, "b", {2});
  const Lines shown = turn();
  EXPECT_EQ(notes_.back(), "lineqd is back");
  EXPECT_NE(std::find(shown.begin(), shown.end(), "b gpc0=2"), shown.end());
  segment_.put(t_, "a", {3});
  EXPECT_EQ(turn(), Lines{"a gpc0=3"});
}

TEST_F(DumpFollowTest, JsonLinesSayWhichTableAndWhatEnded) {
  start({}, false, Format::kJsonLines);
  segment_.put(t_, "a", {1});
  follower_->turn();
  EXPECT_TRUE(capture_.text_since_last().starts_with(
      R"({"table":"t","id":"0x100000000","key":"a","expire_ms":)"));
  segment_.erase(t_, "a");
  follower_->turn();
  EXPECT_EQ(capture_.text_since_last(),
            "{\"table\":\"t\",\"id\":\"0x100000000\",\"gone\":\"erased\"}\n");
}

}  // namespace
}  // namespace lineq::dump
