// The machine starts anew: /dev/shm is empty and HAProxys have forgotten everything. What LineQ
// wrote to disk brings it back.
#include <chrono>
#include <filesystem>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "shm/reader.h"
#include "tests/e2e/rooms_world.h"

namespace lineq::test {
namespace {

using shm::RoomNumbers;
using Clock = std::chrono::steady_clock;

class SnapshotE2eTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }

  // A snapshot that was begun after now; the first one that ends may have been begun before.
  static bool next_snapshots(World& world) {
    const auto count = [&] { return world.log_lines("snapshot written").size(); };
    const std::size_t before = count();
    return wait_until([&] { return count() >= before + 2; });
  }
  // Power off. Cleanly: as `systemctl reboot`.
  static void power_off(World& world, bool cleanly) {
    if (cleanly) {
      EXPECT_EQ(world.daemon.stop(), 0) << world.story();
    } else {
      EXPECT_TRUE(next_snapshots(world)) << world.story();
      world.kill_daemon();
    }
    for (std::size_t i = 0; i < world.count(); ++i) {
      world.at(i).kill();
    }
    for (const std::string& object : world.lineq.objects()) {
      ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
    }
  }
  static void power_on(World& world) {
    ASSERT_TRUE(world.start_daemon()) << world.trouble;
    EXPECT_EQ(world.lineq.verify(), "");
    for (std::size_t i = 0; i < world.count(); ++i) {
      ASSERT_TRUE(world.at(i).start()) << world.at(i).log();
    }
    ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  }
};

class SnapshotRoomsTest : public SnapshotE2eTest, public testing::WithParamInterface<bool> {};

TEST_P(SnapshotRoomsTest, NobodyLosesThePlaceWhenTheMachineStartsAnew) {
  const bool cleanly = GetParam();
  cli::RoomSettings room = shop(2);
  room.session_ms = 600'000;
  room.hold_ms = 600'000;
  RoomsWorld world({room});
  world.lineq.set("LINEQ_SNAPSHOT_SECONDS", cleanly ? "3600" : "1");
  ASSERT_TRUE(world.start(2)) << world.trouble;
  {
    const auto watch = world.watch();
    EXPECT_TRUE(world.enters(0, "a"));
    EXPECT_TRUE(world.enters(1, "b"));
    u64 waiting = 0;
    for (const char* id : {"c", "d", "e", "f"}) {
      EXPECT_EQ(world.asked(waiting % 2, id), "wait");
      ++waiting;
      ASSERT_TRUE(watch->wait([&](const RoomNumbers& n) {
        return n.active == 2 && n.waiting == waiting;
      })) << world.story();
    }
  }
  power_off(world, cleanly);
  power_on(world);
  ASSERT_EQ(world.log_lines("snapshot " + world.lineq.file("state") + "/snapshot loaded").size(),
            1U)
      << world.story();
  const auto watch = world.watch();
  EXPECT_TRUE(watch->wait([](const RoomNumbers& n) { return n.active == 2 && n.waiting == 4; }))
      << world.story();
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(world.enters(i, "a") && world.enters(i, "b"))
        << "HAProxys are told who is inside" << world.story();
    EXPECT_EQ(world.asked(i, "c"), "wait");
    EXPECT_EQ(world.asked(i, "stranger"), "wait");
  }
  // One after the other, in the order in which they came.
  std::string leaves = "a";
  for (const char* id : {"c", "d", "e", "f", "stranger"}) {
    EXPECT_EQ(world.asked(1, id), "wait") << id;
    // Where they were seen last: what two HAProxys say of one visitor within a moment may cross, so
    // the site says it until it is heard. Who left and asks again queues behind all of these.
    EXPECT_EQ(world.asked(1, leaves, "/?leave=1"), "shop");
    ASSERT_TRUE(wait_until([&] {
      return world.inside(1, id) || (world.asked(1, leaves, "/?leave=1"), false);
    })) << id
        << world.story();
    leaves = id;
  }
  EXPECT_EQ(watch->most_places(), 2U);
  EXPECT_EQ(watch->order_trouble(), "");
  EXPECT_EQ(world.lineq.verify(), "");
}

INSTANTIATE_TEST_SUITE_P(StoppedOrKilled, SnapshotRoomsTest, testing::Bool(),
                         [](const auto& param) { return param.param ? "Stopped" : "Killed"; });

TEST_F(SnapshotE2eTest, EntriesComeBackAndTheirLivesWentOn) {
  World world;
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world.trouble;
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  for (int n = 0; n < 50; ++n) {
    ASSERT_EQ(world.at(0).set_table("lq/plain", fmt::format("k-{}", n),
                                    fmt::format("data.gpc0 {} data.gpc1 {}", n + 1, 2 * n)),
              "");
  }
  ASSERT_EQ(world.wait_same("lq/plain", 50), "") << world.story();
  const auto left_ms = [&] {
    const std::string text = world.lineq.dump({"-t", "/plain"}).out;
    const std::size_t row = text.find("key=k-7 ");
    const std::size_t at = text.find("exp=", std::min(row, text.size()));
    return at == std::string::npos ? 0 : static_cast<i64>(number(text.substr(at + 4)));
  };
  const auto ms_since = [](Clock::time_point then) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - then).count();
  };
  const auto outer = Clock::now();
  const i64 before = left_ms();
  const auto inner = Clock::now();
  power_off(world, true);
  struct stat info {};
  ASSERT_EQ(::stat((world.lineq.file("state") + "/snapshot").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0137, 0U) << "others must not read what sessions are called";
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // the machine is off
  power_on(world);
  const i64 at_least = ms_since(inner);
  const i64 after = left_ms();
  const i64 at_most = ms_since(outer);
  EXPECT_GT(before, 3'000'000);
  EXPECT_GE(at_least, 1500);
  EXPECT_LE(after, before - at_least + 300) << "the wall clock has milliseconds, and a dump takes";
  EXPECT_GE(after, before - at_most - 300);
  EXPECT_EQ(world.wait_same("lq/plain", 50), "") << world.story();
  EXPECT_EQ(world.at(1).show_table("lq/plain").value("k-7", "gpc0"), "8");
  EXPECT_EQ(world.lineq.verify(), "");
  // A change in a HAProxy that did not start anew is newer than the file.
  ASSERT_EQ(world.at(0).set_table("lq/plain", "k-7", "data.gpc0 1000"), "");
  ASSERT_TRUE(wait_until(
      [&] { return world.at(1).show_table("lq/plain").value("k-7", "gpc0") == "1000"; }));
  EXPECT_EQ(world.daemon.stop(), 0);
  ASSERT_EQ(world.at(0).set_table("lq/plain", "k-7", "data.gpc0 2000"), "");
  for (const std::string& object : world.lineq.objects()) {
    ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
  }
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  EXPECT_TRUE(wait_until([&] {
    return world.at(1).show_table("lq/plain").value("k-7", "gpc0") == "2000";
  })) << world.story();
}

TEST_F(SnapshotE2eTest, TroubleIsSaidOnceIsCountedAndKeepsNobodyFromWork) {
  World world;
  world.lineq.set("LINEQ_SNAPSHOT_SECONDS", "1");
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  const std::string state = world.lineq.file("state");
  const auto newest = state + "/snapshot";
  ASSERT_TRUE(next_snapshots(world)) << world.story();  // between two of them
  ASSERT_TRUE(std::filesystem::exists(newest + ".1"));
  std::filesystem::rename(state, state + ".away");
  const auto counter = [&](shm::DaemonCounter which) {
    const auto reader = shm::Reader::open({.directory = "", .instance = world.lineq.name()});
    return reader ? reader->counter(which) : 0;
  };
  EXPECT_TRUE(wait_until([&] { return counter(shm::DaemonCounter::snapshots_failed) >= 2; }))
      << world.story();
  EXPECT_EQ(world.log_lines("snapshot: cannot write " + newest + ".new: No such file").size(), 1U)
      << world.story();
  EXPECT_TRUE(can_connect(world.lineq.tcp_port()));
  std::filesystem::rename(state + ".away", state);
  EXPECT_TRUE(wait_until([&] { return world.log_lines("snapshot: written again").size() == 1; }))
      << world.story();
  EXPECT_GE(counter(shm::DaemonCounter::snapshots_written), 2U);
  EXPECT_GT(counter(shm::DaemonCounter::snapshot_unixtime), 1'700'000'000U);
  EXPECT_EQ(counter(shm::DaemonCounter::snapshot_bytes), std::filesystem::file_size(newest));

  EXPECT_EQ(world.daemon.stop(), 0);
  for (const std::string& object : world.lineq.objects()) {
    ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
  }
  std::filesystem::resize_file(newest, std::filesystem::file_size(newest) - 3);
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  EXPECT_EQ(world.log_lines("snapshot not loaded: " + newest + ": at byte ").size(), 1U)
      << world.story();
  EXPECT_EQ(world.log_lines("the file is now " + newest + ".damaged").size(), 1U);
  EXPECT_TRUE(std::filesystem::exists(newest + ".damaged"));
  EXPECT_EQ(world.log_lines("snapshot " + newest + ".1 loaded").size(), 1U) << world.story();
}

// Mode acc: totals, and what each HAProxy's next values are compared with.
TEST_F(SnapshotE2eTest, TotalsDoNotFallBackToZero) {
  World world;
  write_file(world.lineq.file("lineq.cfg"),
             R"({"aggregate": [{"from": "plain", "to": "plain.aggr"}]})");
  world.lineq.set("SERVICE_MODE", "acc");
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world.trouble;
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  const auto total = [&] {
    return parse_show_table(world.lineq.dump({"--acc", "-t", "plain"}).out).value("k", "gpc0");
  };
  const auto count = [&](std::size_t i, int times) {
    for (int n = 0; n < times; ++n) {
      ASSERT_EQ(http_get(world.at(i).http_port(), "/?k=k").status, 200);
    }
  };
  count(0, 5);
  count(1, 3);
  ASSERT_TRUE(wait_until([&] { return total() == "8"; })) << total() << world.story();
  power_off(world, true);
  power_on(world);
  EXPECT_EQ(total(), "8") << world.story();
  count(0, 2);
  count(1, 7);
  EXPECT_TRUE(wait_until([&] { return total() == "17"; })) << total() << world.story();
  EXPECT_EQ(world.lineq.verify(), "");
  // HAProxys that are still there when LineQ's machine starts anew go on where they were.
  EXPECT_EQ(world.daemon.stop(), 0);
  count(0, 1);
  for (const std::string& object : world.lineq.objects()) {
    ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
  }
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  EXPECT_EQ(total(), "17");
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  EXPECT_TRUE(wait_until([&] { return total() == "18"; })) << total() << world.story();
  count(1, 1);
  EXPECT_TRUE(wait_until([&] { return total() == "19"; })) << total() << world.story();
}

}  // namespace
}  // namespace lineq::test
