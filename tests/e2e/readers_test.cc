// Readers that stop in the middle of what they read.
//
// Expected: lineqd does not notice. The reader goes on with what is true, or says what it missed,
// and ends as usual.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "shm/reader.h"
#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

using Clock = std::chrono::steady_clock;

class StoppedReaderTest : public testing::Test {
 protected:
  static constexpr u64 kEntries = 20'000;

  void SetUp() override {
    world_.lineq.set("LINEQ_FEED_LOG2", "16");
    world_.lineq.set("LINEQ_SNAPSHOT_SECONDS", "0");
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    writer_ = world_.fake("writer");
    ASSERT_TRUE(writer_->connect());
    writer_->define(1, plain_table());
    tell(0);
  }
  static std::string key(u64 n) { return fmt::format("visitor-{:08}", n); }
  // All entries with a value of this round, acknowledged; how long that took.
  Milliseconds tell(u64 round) {
    const auto start = Clock::now();
    for (u64 n = 0; n < kEntries; ++n) {
      writer_->update(1, key(n), plain_row(value(n, round), round));
      if (n % 1000 == 999) {
        EXPECT_TRUE(writer_->pump()) << writer_->why_ended() << world_.story();
      }
    }
    EXPECT_TRUE(writer_->pump_until([&] { return writer_->all_acked(); }))
        << writer_->why_ended() << world_.story();
    return std::chrono::duration_cast<Milliseconds>(Clock::now() - start);
  }
  static u64 value(u64 n, u64 round) { return n * 100 + round; }
  u64 segment_bytes() {
    const auto reader = shm::Reader::open({.directory = "", .instance = world_.lineq.name()});
    return reader ? reader->segment_bytes() : 0;
  }

  World world_;
  std::unique_ptr<FakePeer> writer_;
};

// A pipe nobody reads stops lineq-dump; meanwhile the table is replaced by a wider one.
TEST_F(StoppedReaderTest, ADumpThatNobodyTakesHoldsNothingUpAndShowsNothingWrong) {
  const std::string pipe = world_.lineq.file("dump.out");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const Fd taker(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  Process dump(world_.lineq.command(lineq_dump_path(), {"-t", "plain"}, "dump"));
  char first = 0;
  ASSERT_TRUE(wait_until([&] { return ::read(taker.get(), &first, 1) == 1; }));
  EXPECT_EQ(first, '#');
  const u64 before = segment_bytes();
  for (u64 round = 1; round <= 4; ++round) {
    EXPECT_LT(tell(round), kPatience) << "lineqd waits for nobody";
  }
  EXPECT_EQ(segment_bytes(), before);
  EXPECT_TRUE(dump.running());
  dump.signal(SIGSTOP);
  auto other = world_.fake("other");
  ASSERT_TRUE(other->connect());
  shm::TableDefinition wider = plain_table();
  wider.data_types |= u64{1} << shm::kGpt0;
  wider.elements[shm::kGpt0] = 1;
  other->define(1, wider);
  other->update(1, "new", std::vector<u64>{1, 2, 3});
  ASSERT_TRUE(other->pump_until([&] { return other->all_acked(); })) << world_.story();
  tell(5);
  dump.signal(SIGCONT);

  std::string text(1, first);
  char piece[65536];
  ASSERT_TRUE(wait_until([&] {
    const ssize_t n = ::read(taker.get(), piece, sizeof piece);
    text.append(piece, n > 0 ? static_cast<std::size_t>(n) : 0);
    return n <= 0 && !dump.running();
  })) << text.size();
  const std::optional<int> code = dump.wait();
  const TableDump shown = parse_show_table(text);
  for (const auto& [name, row] : shown.rows) {
    const u64 n = number(name.substr(name.find('-') + 1));
    const u64 round = number(row.at("gpc1"));
    if (name != "new") {
      ASSERT_EQ(number(row.at("gpc0")), value(n, round)) << name << ": a row is of one moment";
    }
  }
  EXPECT_LT(shown.rows.size(), kEntries);
  EXPECT_EQ(code, 2);
  EXPECT_NE(dump.err().find("it was replaced while it was shown"), std::string::npos) << dump.err();
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(StoppedReaderTest, AFollowerThatWasLappedSaysSoAndShowsTheLatest) {
  Process follower(
      world_.lineq.command(lineq_dump_path(), {"-t", "plain", "--follow"}, "follower"));
  const auto shows = [&](u64 n, u64 round) {
    return [&follower, row = fmt::format("gpc0={} gpc1={}", value(n, round), round)] {
      return follower.out().find(row) != std::string::npos;
    };
  };
  const auto writes_until = [&](const std::function<bool()>& seen, u64 round) {
    return wait_until([&] {
      writer_->update(1, key(0), plain_row(value(0, round), round));
      return writer_->pump() && seen();
    });
  };
  ASSERT_TRUE(writes_until(shows(0, 1), 1)) << follower.err();
  const u64 before = segment_bytes();
  follower.signal(SIGSTOP);
  for (u64 round = 2; round <= 6; ++round) {  // more than the feed holds
    tell(round);
  }
  EXPECT_EQ(segment_bytes(), before);
  follower.signal(SIGCONT);
  EXPECT_TRUE(follower.wait_for_err("changes came faster than they could be shown"))
      << follower.err();
  EXPECT_TRUE(wait_until(shows(0, 6)));
  EXPECT_TRUE(wait_until(shows(kEntries - 1, 6)));
  EXPECT_TRUE(writes_until(shows(0, 7), 7)) << "and goes on";
  EXPECT_EQ(follower.stop(), 0);
  EXPECT_EQ(world_.lineq.verify(), "");
}

}  // namespace
}  // namespace lineq::test
