// packaging/examples/sticky.cfg itself, on three HAProxys: a room stays on its server.
#include <algorithm>
#include <array>
#include <cstdio>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

// The example with addresses of this test, and a stats socket to look inside.
std::string example() {
  std::string text = read_file(LINEQ_SOURCE_DIR "/packaging/examples/sticky.cfg");
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"localpeer hap1", "localpeer {name}\n    stats socket {stats} level admin"},
           {"bind 127.0.0.1:10000", "bind 127.0.0.1:{peers}"},
           {"server hap1 ", "server {name} "},
           {"127.0.0.1:11111", "127.0.0.1:{tcp}"},
           {"bind :8080", "bind 127.0.0.1:{http}"},
           {"127.0.0.1:8001", "127.0.0.1:{app1}"},
           {"127.0.0.1:8002", "127.0.0.1:{app2}"},
           {"127.0.0.1:8003", "127.0.0.1:{app3}"}}) {
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

class StickyTest : public testing::Test {
 protected:
  static constexpr std::size_t kRooms = 12;

  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    const std::map<std::string, std::string> values{{"app1", std::to_string(apps_[0].port())},
                                                    {"app2", std::to_string(apps_[1].port())},
                                                    {"app3", std::to_string(apps_[2].port())}};
    for (const auto& [version, name] :
         {std::pair{HaproxyVersion::k26, "hap-a"}, std::pair{HaproxyVersion::k30, "hap-b"},
          std::pair{HaproxyVersion::k26, "hap-c"}}) {
      ASSERT_NE(world_.add(version, name, example(), false, values), nullptr) << world_.trouble;
    }
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }

  static std::string room(std::size_t n) { return fmt::format("conference room {}", n); }

  // Which server a request of this room reaches through HAProxy `i`; 99 when none does.
  std::size_t server_of(std::size_t i, std::size_t n) {
    const std::array<u64, 3> before{apps_[0].requests(), apps_[1].requests(), apps_[2].requests()};
    const HttpAnswer answer =
        http_get(world_.at(i).http_port(), "/", fmt::format("Room: {}\r\n", room(n)));
    if (answer.status == 200) {
      for (std::size_t app = 0; app < apps_.size(); ++app) {
        if (apps_[app].requests() != before[app]) {
          return app;
        }
      }
    }
    return 99;
  }
  // From the last room to the first, so that taking turns would not do.
  std::array<std::size_t, kRooms> servers_by(std::size_t i) {
    std::array<std::size_t, kRooms> servers{};
    for (std::size_t n = kRooms; n-- > 0;) {
      servers[n] = server_of(i, n);
    }
    return servers;
  }
  void restart_a() {
    world_.at(0).kill();
    ASSERT_TRUE(world_.at(0).start()) << world_.at(0).log();
    ASSERT_EQ(world_.wait_same("rooms", kRooms), "") << world_.story();
  }

  World world_;
  std::array<HttpBackend, 3> apps_;
};

TEST_F(StickyTest, ARoomStaysOnItsServerWhateverIsRestarted) {
  std::array<std::size_t, kRooms> pinned{};
  for (std::size_t n = 0; n < kRooms; ++n) {
    pinned[n] = server_of(0, n);
    ASSERT_LT(pinned[n], 3U) << room(n);
  }
  for (std::size_t app = 0; app < 3; ++app) {  // so that a coincidence is no explanation
    EXPECT_GE(std::count(pinned.begin(), pinned.end(), app), 2) << app;
  }
  const auto expect_pinned = [&](std::string_view when) {
    SCOPED_TRACE(when);
    ASSERT_EQ(world_.wait_same("rooms", kRooms), "") << world_.story();
    for (std::size_t i = 0; i < world_.count(); ++i) {
      EXPECT_EQ(servers_by(i), pinned) << world_.at(i).name();
    }
  };
  expect_pinned("at first");
  restart_a();
  expect_pinned("after A restarted");

  world_.kill_daemon();
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  expect_pinned("after LineQ was killed");
  restart_a();
  expect_pinned("after LineQ was killed and A restarted");

  ASSERT_EQ(world_.daemon.stop(), 0) << world_.story();
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  restart_a();
  expect_pinned("after LineQ and A restarted");
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(StickyTest, ARoomStaysOnItsServerWhenOnlyTheHaproxysStillKnowIt) {
  std::array<std::size_t, kRooms> pinned{};
  for (std::size_t n = 0; n < kRooms; ++n) {
    pinned[n] = server_of(n % 3, n);  // each HAProxy brings some
    ASSERT_LT(pinned[n], 3U) << room(n);
  }
  ASSERT_EQ(world_.wait_same("rooms", kRooms), "") << world_.story();
  world_.kill_daemon();
  world_.lineq.set("LINEQ_SNAPSHOT_SECONDS", "0");
  for (const std::string& object : world_.lineq.objects()) {  // as after a start of the machine
    ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
  }
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  ASSERT_TRUE(wait_until([&] {
    return parse_show_table(world_.lineq.dump({"-t", "rooms"}).out).used == kRooms;
  })) << world_.story();
  restart_a();
  for (std::size_t i = 0; i < world_.count(); ++i) {
    EXPECT_EQ(servers_by(i), pinned) << world_.at(i).name();
  }
}

TEST_F(StickyTest, TheServersNameIsWhatSticksNotItsPlace) {
  // A fourth HAProxy that lists the servers the other way round.
  std::string config = example();
  const std::size_t first = config.find("{app1}");
  const std::size_t last = config.find("{app3}");
  ASSERT_LT(first, last);
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"server app1 127.0.0.1:{app1}", "server appX 127.0.0.1:{appX}"},
           {"server app3 127.0.0.1:{app3}", "server app1 127.0.0.1:{app1}"},
           {"server appX 127.0.0.1:{appX}", "server app3 127.0.0.1:{app3}"}}) {
    config.replace(config.find(from), from.size(), to);
  }
  std::array<std::size_t, kRooms> pinned{};
  for (std::size_t n = 0; n < kRooms; ++n) {
    pinned[n] = server_of(0, n);
  }
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-d", config, false,
                       {{"app1", std::to_string(apps_[0].port())},
                        {"app2", std::to_string(apps_[1].port())},
                        {"app3", std::to_string(apps_[2].port())}}),
            nullptr)
      << world_.trouble;
  ASSERT_TRUE(wait_until([&] { return world_.at(3).show_table("rooms").used == kRooms; }))
      << world_.story();
  EXPECT_EQ(servers_by(3), pinned);
}

}  // namespace
}  // namespace lineq::test
