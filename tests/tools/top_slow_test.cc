// lineq-top over a table of ten million entries: the screen answers while it is looked at.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/tools/dump_support.h"
#include "tests/tools/tmux.h"

namespace lineq::top {
namespace {

constexpr u64 kEntries = 10'000'000;

TEST(SlowTopTest, TenMillionEntriesDoNotFreezeTheScreen) {
  if (!test::Tmux::here()) {
    GTEST_SKIP() << "tmux is not here";
  }
  dump::Segment segment;
  const shm::TableDefinition visits = dump::table_of("visits", shm::KeyType::kString, 32, "gpc0");
  shm::Table& table = segment.table(visits);
  const shm::ColumnMap columns(visits, table.info());
  std::array<std::string, shm::Table::kBatch> keys;
  std::array<u64, shm::Table::kBatch> cells{};
  std::array<shm::Change, shm::Table::kBatch> changes;
  std::array<shm::Applied, shm::Table::kBatch> applied;
  for (u64 first = 0; first < kEntries; first += keys.size()) {
    for (u64 i = 0; i < keys.size(); ++i) {
      keys[i] = fmt::format("key{}", first + i);
      // Each value once, in a shuffled order.
      cells[i] = (first + i) * 7'654'321 % kEntries + 1;
      changes[i].key = {reinterpret_cast<const u8*>(keys[i].data()), keys[i].size()};
      changes[i].cells = &cells[i];
    }
    table.apply(columns, changes, kNoPeer, segment.writer->now(), applied);
  }
  segment.beat();
  ASSERT_EQ(table.live(), kEntries);

  test::Tmux tmux(segment.lineq);
  ASSERT_TRUE(tmux.start("-t visits"));
  // Other pages and back, while the whole has not been looked at once.
  ASSERT_TRUE(tmux.shows("looking: "));
  u64 slowest_ms = 0;
  for (int i = 0; i < 5; ++i) {
    for (const auto& [key, page] :
         {std::pair{"p", "[peers 0]"}, std::pair{"k", "[keys of visits]"}}) {
      const u64 typed = monotonic_ms();
      tmux.type({key});
      ASSERT_TRUE(tmux.shows(page));
      slowest_ms = std::max(slowest_ms, monotonic_ms() - typed);
    }
  }
  // Three runs of tmux are in this, too, on a machine that has other things to do.
  EXPECT_LT(slowest_ms, 2000U);
  ASSERT_TRUE(tmux.shows("GPC0v"));
  const std::vector<std::string> lines = test::lines_of(tmux.screen());
  for (u64 i = 0; i < 10; ++i) {
    EXPECT_NE(lines.at(4 + i).find(" 10.0M "), std::string::npos) << lines.at(4 + i);
  }
  const pid_t pid = tmux.pid();
  ASSERT_GT(pid, 0);
  EXPECT_LT(test::anonymous_kib(pid), 20'000U);

  // Printed at once: the ten million largest values begin with the largest.
  const test::Finished once = test::run(segment.lineq.command(
      test::lineq_top_path(), {"-1j", "-d", "0.1", "-t", "visits", "-l", "3", "-v", "keys"}));
  EXPECT_EQ(once.exit_code, 0) << once.err;
  const std::size_t first = once.out.find(fmt::format("\"gpc0\":{},", kEntries));
  const std::size_t second = once.out.find(fmt::format("\"gpc0\":{},", kEntries - 1));
  const std::size_t third = once.out.find(fmt::format("\"gpc0\":{},", kEntries - 2));
  EXPECT_LT(first, second) << once.out;
  EXPECT_LT(second, third) << once.out;
  EXPECT_NE(third, std::string::npos) << once.out;
  fmt::print("slowest key {} ms\n", slowest_ms);
}

}  // namespace
}  // namespace lineq::top
