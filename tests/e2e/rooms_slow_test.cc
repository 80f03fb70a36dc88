// The waiting room's long stories: processes that die, and how fast a place is taken.
#include <algorithm>
#include <chrono>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/rooms_world.h"

namespace lineq::test {
namespace {

class SlowWaitingRoomTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
};

TEST_F(SlowWaitingRoomTest, AFreePlaceIsTakenAtOnceByWhoListens) {
  RoomsWorld world({crowd_room(5)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  CrowdPlan plan = world.plan(150);
  plan.span_ms = 300;
  plan.stream = plan.path;
  plan.visit_ms = 150;
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(60)))
      << world.crowd.result().json() << world.story();
  const CrowdResult result = world.crowd.result(5);
  EXPECT_EQ(world.trouble_with(result, *watch, 5, 150), "");
  EXPECT_LT(result.refill_p50_ms, 300) << result.json();
  EXPECT_EQ(world.wait_served(*watch, 150), "");
  RecordProperty("refill_p50_ms", static_cast<int>(result.refill_p50_ms));
  fmt::print("{}\n", result.json());
}

TEST_F(SlowWaitingRoomTest, AHundredThousandWithoutACookieTakeNobodysPlace) {
  cli::RoomSettings room = shop(1);
  room.hold_ms = 60'000;
  room.session_ms = 3'600'000;
  RoomsWorld world({room});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  const auto ask = [&](std::string_view id) {
    return http_get(world.at(0).http_port(), "/",
                    fmt::format("Host: shop.example\r\nCookie: lineq_shop={}\r\n", id));
  };
  ASSERT_TRUE(wait_until([&] { return ask("a").body == "shop\n"; }));
  ASSERT_NE(ask("b").headers.find("lineq-position: 1\r\n"), std::string::npos);
  constexpr u32 kMany = 100'000;
  CrowdPlan plan = world.plan(kMany);
  plan.span_ms = 25'000;
  plan.poll_ms = 1;  // each asks once, and goes
  plan.leaving_percent = 100;
  plan.patience_ms = 1;
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(180)))
      << world.crowd.result().json() << world.story();
  const CrowdResult result = world.crowd.result();
  // On a slow machine some find no free port to come from.
  EXPECT_GT(watch->numbers().counter(shm::RoomCounter::issued), kMany / 2) << result.json();
  EXPECT_EQ(result.most_inside, 1U) << result.json();
  EXPECT_EQ(ask("a").body, "shop\n");
  EXPECT_NE(ask("b").headers.find("lineq-position: 1\r\n"), std::string::npos) << ask("b").headers;
  EXPECT_EQ(watch->most_places(), 1U);
  EXPECT_EQ(world.lineq.verify(), "");
  fmt::print("{}\nlineqd {} KiB, lineq-web {} KiB\n", result.json(),
             resident_kib(world.daemon.pid()), resident_kib(world.web.pid()));
}

TEST_F(SlowWaitingRoomTest, HaproxysAreKilledAndReloaded) {
  // A HAProxy that is about to end may still tell of a request whose visitor has left meanwhile:
  // that ticket is called, nobody comes, and it lapses.
  cli::RoomSettings room = shop(20);
  room.grace_ms = 3000;
  RoomsWorld world({room});
  ASSERT_TRUE(world.start(3, true)) << world.trouble;
  const auto watch = world.watch();
  const u32 visitors = crowd_of(600);
  CrowdPlan plan = world.plan(visitors);
  plan.span_ms = 2000;
  plan.poll_ms = 500;
  plan.visit_ms = 100;
  world.crowd.send(plan);
  for (u32 round = 0; round < 4 && world.crowd.numbers().finished() < visitors - 100; ++round) {
    const u32 before = world.crowd.numbers().left;
    ASSERT_TRUE(wait_until([&] { return world.crowd.numbers().left >= before + 60; }))
        << world.crowd.result().json() << world.story();
    if (round % 2 == 0) {
      Haproxy& killed = world.at(round / 2);
      killed.kill();
      ASSERT_TRUE(killed.start()) << killed.log();
    } else {
      ASSERT_TRUE(world.at(2).reload());
    }
  }
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(std::max(120U, visitors / 6))))
      << world.crowd.result().json() << world.story();
  EXPECT_EQ(world.trouble_with(world.crowd.result(), *watch, 20, visitors, true), "");
  EXPECT_EQ(world.wait_empty(*watch, std::chrono::seconds(60)), "");
}

TEST_F(SlowWaitingRoomTest, LineqdIsKilledTenTimesAndLineqWebTwenty) {
  // Whose first answer is cut off by a kill has no cookie yet and comes again as somebody else: the
  // first ticket is left to itself, and lapses when it is called.
  cli::RoomSettings room = shop(20);
  room.grace_ms = 3000;
  RoomsWorld world({room});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  const u32 visitors = crowd_of(700);
  CrowdPlan plan = world.plan(visitors);
  plan.span_ms = 2000;
  plan.poll_ms = 500;
  plan.visit_ms = 100;
  world.crowd.send(plan);
  u32 daemons = 0;
  u32 webs = 0;
  while (daemons < 10 || webs < 20) {
    const CrowdNumbers before = world.crowd.numbers();
    ASSERT_LT(before.finished(), visitors) << "the crowd was gone too early";
    ASSERT_TRUE(wait_until([&] { return world.crowd.numbers().left >= before.left + 15; }))
        << world.crowd.result().json() << world.story();
    if (webs < 20) {
      world.web.kill();
      ASSERT_TRUE(world.start_web()) << world.trouble;
      ++webs;
    }
    if (daemons < 10 && webs % 2 == 0) {
      world.kill_daemon();
      ASSERT_TRUE(world.start_daemon()) << world.trouble;
      ++daemons;
    }
  }
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(std::max(120U, visitors / 6))))
      << world.crowd.result().json() << world.story();
  const CrowdResult result = world.crowd.result();
  fmt::print("{}\n", result.json());
  EXPECT_EQ(world.trouble_with(result, *watch, 20, visitors), "");
  EXPECT_EQ(world.wait_empty(*watch, std::chrono::seconds(60)), "");
  // Only a lost answer explains a ticket too many.
  EXPECT_LE(watch->numbers().counter(shm::RoomCounter::issued),
            u64{visitors} + world.crowd.numbers().errors);
}

}  // namespace
}  // namespace lineq::test
