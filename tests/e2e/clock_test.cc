// The machine's clocks are set, or begin anew.
//
// Expected: lives, places and estimates go by CLOCK_MONOTONIC, as HAProxy's do. The wall clock may
// jump as it likes: it is only what logs and pages say, and how old a snapshot is. The time a
// machine is suspended counts for nobody, as HAProxys on it do not see it either. A clock that is
// behind the segment's (another time namespace, a restored container) lets time go on where it
// stood.
#include <fcntl.h>

#include <cstdlib>
#include <ctime>
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "shm/reader.h"
#include "tests/e2e/rooms_world.h"
#include "tests/support/sanitizer.h"

namespace lineq::test {
namespace {

constexpr i64 kHour = 3'600'000;
constexpr i64 kDay = 24 * kHour;

// The clocks of the programs of one test.
class Clocks {
 public:
  explicit Clocks(Instance& lineq) {
    const std::string path = lineq.file("clocks");
    write_file(path, std::string(sizeof(i64) * 3, '\0'));
    const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    shifts_ = static_cast<volatile i64*>(
        ::mmap(nullptr, sizeof(i64) * 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0));
    lineq.set("LD_PRELOAD", clock_shift_path());
    lineq.set("LINEQ_TEST_CLOCKS", path);
  }
  Clocks(const Clocks&) = delete;
  Clocks& operator=(const Clocks&) = delete;
  ~Clocks() { ::munmap(const_cast<i64*>(shifts_), sizeof(i64) * 3); }

  void set_wall(i64 ms) { shifts_[0] = ms; }
  void set_monotonic(i64 ms) { shifts_[1] = ms; }
  void set_suspended(i64 ms) { shifts_[2] = ms; }

 private:
  volatile i64* shifts_;
};

class ClockTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) {
      GTEST_SKIP() << "a sanitizer's library wants to be the first that is loaded";
    }
  }

  // What an entry has left of its life, or nothing.
  static std::optional<i64> left_ms(World& world, const std::string& key) {
    const Finished dump = world.lineq.dump({"-t", "plain"});
    EXPECT_EQ(dump.exit_code, 0) << dump.err;
    const TableDump table = parse_show_table(dump.out);
    const std::string text = table.value(key, "exp");
    return text.empty() ? std::nullopt : std::optional(static_cast<i64>(number(text)));
  }
  // About as much as it had, less what a slow machine takes.
  static testing::AssertionResult is_about(std::optional<i64> left, i64 ms) {
    constexpr i64 kSlow = 60'000;
    constexpr i64 kHeartbeat = 1000;  // readers and restarts go by the last one
    return left && *left <= ms + kHeartbeat && *left > ms - kSlow
               ? testing::AssertionSuccess()
               : testing::AssertionFailure() << (left ? *left : -1) << " ms left, not " << ms;
  }
  static void tell(World& world, const std::string& key, u64 expire_ms = kHour) {
    auto peer = world.fake("teller");
    ASSERT_TRUE(peer->connect()) << world.story();
    peer->define(1, plain_table(expire_ms));
    peer->update(1, key, plain_row(7));
    ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << world.story();
  }
  static void remove_segment(World& world) {
    for (const std::string& object : world.lineq.objects()) {
      ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
    }
  }
};

TEST_F(ClockTest, TheWallClockMayJumpAsItLikes) {
  World world;
  Clocks clocks(world.lineq);
  world.lineq.set("LINEQ_SNAPSHOT_SECONDS", "1");
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  ASSERT_TRUE(world.start_web()) << world.trouble;
  tell(world, "k");
  for (const i64 shift : {kDay, -kDay, kHour, -kHour, i64{0}}) {
    clocks.set_wall(shift);
    const auto written = [&] {
      const auto reader = shm::Reader::open({.directory = "", .instance = world.lineq.name()});
      return reader ? reader->counter(shm::DaemonCounter::snapshot_unixtime) : 0;
    };
    const i64 now = std::time(nullptr);
    // Written on, whatever the clock says; within a quarter of an hour of that.
    EXPECT_TRUE(wait_until([&] {
      return std::abs(static_cast<i64>(written()) - now - shift / 1000) < 900;
    })) << written() - static_cast<u64>(now)
        << world.story();
    EXPECT_TRUE(is_about(left_ms(world, "k"), kHour)) << shift;
    EXPECT_EQ(http_get(world.lineq.web_port(), "/healthz").status, 200);
  }
  // Over a restart, too.
  clocks.set_wall(-kDay);
  world.kill_daemon();
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  EXPECT_TRUE(is_about(left_ms(world, "k"), kHour)) << world.story();
  EXPECT_EQ(world.lineq.verify(), "");
}

TEST_F(ClockTest, ALifeEndsInTimeWhenTheWallClockWasSetBack) {
  World world;
  Clocks clocks(world.lineq);
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  tell(world, "short", 3000);
  clocks.set_wall(-kDay);
  EXPECT_TRUE(wait_until([&] { return !left_ms(world, "short").has_value(); })) << world.story();
}

TEST_F(ClockTest, SuspendedTimeCountsForNobody) {
  World world;
  Clocks clocks(world.lineq);
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  tell(world, "k");
  clocks.set_suspended(8 * kHour);
  clocks.set_wall(8 * kHour);
  tell(world, "another");
  EXPECT_TRUE(is_about(left_ms(world, "k"), kHour)) << world.story();
}

// A virtual machine that is resumed with its clock moved on.
TEST_F(ClockTest, ALeapOfTheClockEndsTheLivesThatItLeapsOver) {
  World world;
  Clocks clocks(world.lineq);
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  tell(world, "k");
  clocks.set_monotonic(kHour / 2);
  EXPECT_TRUE(wait_until([&] { return left_ms(world, "k") <= kHour / 2; })) << world.story();
  EXPECT_TRUE(is_about(left_ms(world, "k"), kHour / 2)) << world.story();
  tell(world, "new");
  EXPECT_TRUE(is_about(left_ms(world, "new"), kHour)) << world.story();
  clocks.set_monotonic(kHour + kHour / 4);
  EXPECT_TRUE(wait_until([&] { return !left_ms(world, "k").has_value(); })) << world.story();
  EXPECT_TRUE(is_about(left_ms(world, "new"), kHour / 4)) << world.story();
  EXPECT_EQ(world.lineq.verify(), "");
}

TEST_F(ClockTest, AClockThatBeganAnewLetsTimeGoOnWhereItStood) {
  for (const bool cleanly : {true, false}) {
    World world;
    Clocks clocks(world.lineq);
    world.lineq.set("LINEQ_SNAPSHOT_SECONDS", "0");
    clocks.set_monotonic(kDay);
    ASSERT_TRUE(world.start_daemon()) << world.trouble;
    tell(world, "k");
    if (cleanly) {
      EXPECT_EQ(world.daemon.stop(), 0);
    } else {
      world.kill_daemon();
    }
    clocks.set_monotonic(0);
    ASSERT_TRUE(world.start_daemon()) << world.trouble;
    EXPECT_EQ(world.log_lines("the machine's clock began anew").size(), 1U) << world.story();
    EXPECT_TRUE(is_about(left_ms(world, "k"), kHour)) << world.story();
    tell(world, "new");
    EXPECT_TRUE(is_about(left_ms(world, "new"), kHour)) << world.story();
    EXPECT_EQ(world.lineq.verify(), "");
  }
}

TEST_F(ClockTest, ASnapshotFromTheFutureIsLoaded) {
  World world;
  Clocks clocks(world.lineq);
  clocks.set_wall(kDay);
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  tell(world, "k");
  EXPECT_EQ(world.daemon.stop(), 0);
  remove_segment(world);
  clocks.set_wall(0);
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  EXPECT_EQ(world.log_lines("s from the future: the clock was set back").size(), 1U)
      << world.story();
  EXPECT_TRUE(is_about(left_ms(world, "k"), kHour)) << world.story();
}

TEST_F(ClockTest, NobodyLosesAPlaceOrGetsOneByTheWallClock) {
  if (!have_haproxys()) {
    GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
  }
  cli::RoomSettings room = shop(1);
  room.session_ms = 600'000;
  room.hold_ms = 600'000;
  RoomsWorld world({room});
  Clocks clocks(world.lineq);
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  EXPECT_TRUE(world.enters(0, "a"));
  EXPECT_EQ(world.asked(1, "b"), "wait");
  const auto as_before = [](const shm::RoomNumbers& n) { return n.active == 1 && n.waiting == 1; };
  ASSERT_TRUE(watch->wait(as_before)) << world.story();
  for (const i64 shift : {kDay, -kDay, i64{0}}) {
    clocks.set_wall(shift);
    EXPECT_TRUE(world.enters(1, "a")) << shift;
    EXPECT_EQ(world.asked(0, "b"), "wait") << shift;
    EXPECT_TRUE(as_before(watch->numbers())) << shift << world.story();
  }
  clocks.set_wall(-kDay);
  EXPECT_EQ(world.asked(0, "a", "/?leave=1"), "shop");
  EXPECT_TRUE(world.enters(1, "b")) << world.story();
  EXPECT_EQ(watch->most_places(), 1U);
}

}  // namespace
}  // namespace lineq::test
