// The waiting room on real HAProxys: never one too many, in order of arrival, nobody forgotten,
// whoever dies meanwhile.
#include <algorithm>
#include <array>
#include <chrono>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/rooms_world.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::RoomNumbers;

class WaitingRoomTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
};

TEST_F(WaitingRoomTest, WhoFindsRoomComesInWithoutSeeingThePage) {
  RoomsWorld world({shop(100)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  // A machine that is too busy takes longer than lineq-web keeps an answer back: not with
  // everybody.
  HttpAnswer first;
  u32 visitor = 0;
  EXPECT_TRUE(wait_until([&] {
    first = http_get(world.at(0).http_port(), "/buy?a=1",
                     fmt::format("Host: shop.example\r\nCookie: lineq_shop={}\r\n", ++visitor));
    return first.status == 303;
  })) << first.headers
      << world.story();
  EXPECT_NE(first.headers.find("ocation: /buy?a=1\r\n"), std::string::npos) << first.headers;
  EXPECT_NE(first.headers.find("no-store"), std::string::npos) << first.headers;
  EXPECT_TRUE(world.enters(0, std::to_string(visitor)));
  EXPECT_TRUE(world.enters(1, std::to_string(visitor))) << "every HAProxy knows";
}

TEST_F(WaitingRoomTest, AFreePlaceIsForTheNextInLine) {
  RoomsWorld world({shop(2)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  EXPECT_TRUE(world.enters(0, "a"));
  EXPECT_TRUE(world.enters(1, "b"));
  EXPECT_EQ(world.asked(0, "c"), "wait");
  EXPECT_TRUE(watch->wait([](const RoomNumbers& n) { return n.active == 2 && n.waiting == 1; }));
  EXPECT_EQ(world.asked(1, "d"), "wait");
  EXPECT_TRUE(watch->wait([](const RoomNumbers& n) { return n.active == 2 && n.waiting == 2; }));
  // The site ends a's session: c is next, d is not.
  EXPECT_EQ(world.asked(0, "a", "/?leave=1"), "shop");
  EXPECT_TRUE(world.enters(1, "c")) << world.story();
  EXPECT_EQ(world.asked(0, "d"), "wait");
  EXPECT_EQ(world.asked(0, "a"), "wait") << "ended is ended";
  EXPECT_TRUE(
      watch->wait([](const RoomNumbers& n) { return n.counter(RoomCounter::revoked) == 1; }));
  EXPECT_EQ(watch->most_places(), 2U);
}

TEST_F(WaitingRoomTest, HostileVisitorsDoNoMoreThanWait) {
  RoomsWorld world({shop(1)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  EXPECT_TRUE(world.enters(0, "a") && world.enters(1, "a"));
  EXPECT_EQ(world.asked(1, "b"), "wait");
  const std::vector<std::string> sessions = world.sessions();
  const std::string script = "<script>alert(1)</script>";
  std::vector<std::string> headers{"Cookie: lineq_shop=" + std::string(8000, 'x'),
                                   "Cookie: lineq_shop=a\"; x='" + script,
                                   "Cookie: lineq_shop=a@shop",
                                   "Cookie: lineq_shop=" + script,
                                   "Cookie: sessionid=" + script,
                                   std::string("Cookie: lineq_shop=a\0b", 22),
                                   "Cookie: lineq_shop=\xff\xfe\xc0",
                                   "X-LineQ-Key: a@shop",
                                   "X-LineQ-Key: a@shop\r\nx-lineq-key: b@shop",
                                   "X-LineQ-Key: " + script,
                                   "X-LineQ-Key: a@" + std::string(4000, 's'),
                                   "Accept-Language: " + std::string(4000, ','),
                                   "Accept: " + script,
                                   "Forwarded: for=\"" + script + "\"",
                                   "Referer: " + script};
  for (const char* target :
       {"/", "/?x=<script>alert(1)</script>", "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/lineq/../create", "/status", "/tables", "/metrics", "/waiting_rooms/shop", "/getConfig",
        "/status.json"}) {
    for (const std::string& header : headers) {
      for (std::size_t i = 0; i < 2; ++i) {
        const HttpAnswer answer =
            http_get(world.at(i).http_port(), target, "Host: shop.example\r\n" + header + "\r\n");
        EXPECT_TRUE(answer.status == 200 || answer.status == 400 || answer.status == 413 ||
                    answer.status == 414 || answer.status == 431)
            << answer.status << " " << target << " " << header;
        EXPECT_EQ(answer.body.find(script), std::string::npos) << target << " " << header;
        EXPECT_NE(answer.body, "shop\n") << target << " " << header;
        EXPECT_EQ(answer.body.find("lineq_room_"), std::string::npos) << "metrics are ours";
        EXPECT_EQ(answer.body.find("total_active_users"), std::string::npos) << target;
      }
    }
  }
  const HttpAnswer post = http_post(world.at(0).http_port(), "/create",
                                    R"({"name":"shop","path":"/","activeUsers":9,"host":"x"})",
                                    "Host: shop.example\r\n");
  EXPECT_NE(post.body, "shop\n");
  // Nobody else has lost anything.
  EXPECT_EQ(world.asked(1, "a"), "shop");
  EXPECT_EQ(world.asked(0, "b"), "wait");
  EXPECT_EQ(watch->numbers().active, 1U);
  EXPECT_EQ(watch->most_places(), 1U);
  EXPECT_EQ(world.sessions(), sessions);
  EXPECT_TRUE(world.daemon.running() && world.web.running());
  EXPECT_EQ(world.asked(1, "a", "/?leave=1"), "shop");
  EXPECT_TRUE(world.enters(1, "b")) << "b was the next all the time";
  EXPECT_EQ(world.lineq.verify(), "");
}

TEST_F(WaitingRoomTest, TheOperatorChangesTheNumberOfPlaces) {
  RoomsWorld world({shop(2)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  const auto ctl = [&](std::vector<std::string> words) {
    const Finished done = run(world.lineq.command(lineqctl_path(), std::move(words)));
    EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  };
  const std::vector<std::string> ids{"a", "b", "c", "d", "e", "f"};
  for (const std::string& id : ids) {
    world.inside(0, id);
  }
  ASSERT_TRUE(watch->wait([](const RoomNumbers& n) { return n.active == 2 && n.waiting == 4; }));
  ctl({"set", "shop", "C=4"});
  EXPECT_TRUE(world.enters(1, "c") && world.enters(0, "d"));
  EXPECT_EQ(world.asked(1, "e"), "wait");
  // Fewer places evict nobody and admit nobody until there are fewer inside.
  ctl({"set", "shop", "C=1"});
  for (const char* id : {"a", "b", "c"}) {
    EXPECT_TRUE(world.enters(1, id)) << id;
    EXPECT_EQ(world.asked(1, id, "/?leave=1"), "shop") << id;
  }
  ASSERT_TRUE(watch->wait([](const RoomNumbers& n) { return n.active == 1; })) << world.story();
  EXPECT_EQ(world.asked(0, "d"), "shop");
  EXPECT_EQ(world.asked(0, "e"), "wait");
  // Paused: nobody is called, but by the operator's word.
  ctl({"pause", "shop"});
  ctl({"set", "shop", "C=3"});
  EXPECT_EQ(world.asked(0, "e"), "wait");
  EXPECT_EQ(watch->numbers().active + watch->numbers().ready, 1U);
  ctl({"admit", "shop", "1"});
  EXPECT_TRUE(world.enters(1, "e"));
  EXPECT_EQ(world.asked(0, "f"), "wait");
  ctl({"revoke", "shop", "e"});
  EXPECT_TRUE(wait_until([&] { return world.asked(0, "e") == "wait"; }));
  ctl({"resume", "shop"});
  EXPECT_TRUE(world.enters(0, "f") && world.enters(1, "e"));
  ctl({"revoke", "shop", "--all"});
  ctl({"queue-all", "shop", "on"});
  EXPECT_TRUE(wait_until([&] { return world.asked(0, "a") == "wait"; }));
  ctl({"suspend", "shop", "on"});
  EXPECT_TRUE(world.enters(0, "x") && world.enters(1, "y")) << "a suspended room does nothing";
  EXPECT_EQ(world.lineq.verify(), "");
}

TEST_F(WaitingRoomTest, RoomsMadeWhileRunningAreInTheConfigurationWritten) {
  RoomsWorld world({shop(2)});
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  const auto done = [&](const std::string& program, std::vector<std::string> words) {
    const Finished finished = run(world.lineq.command(program, std::move(words)));
    EXPECT_EQ(finished.exit_code, 0) << finished.out << finished.err;
    return finished.out;
  };
  done(lineqctl_path(), {"create", "vip", "host=vip.example", "path=/in"});
  const std::string text =
      done(lineqd_path(), {"-f", world.lineq.dir().file("lineq.cfg"), "-c", "--stdout"});
  EXPECT_NE(text.find("lineq_shop="), std::string::npos) << text;
  EXPECT_NE(text.find("lineq_vip="), std::string::npos) << text;
  EXPECT_NE(text.find("-m beg '/in/'"), std::string::npos) << text;
  done(lineqctl_path(), {"remove", "vip"});
  EXPECT_EQ(done(lineqd_path(), {"-f", world.lineq.dir().file("lineq.cfg"), "-c", "--stdout"})
                .find("vip"),
            std::string::npos);
}

TEST_F(WaitingRoomTest, TwoHaproxysLetACrowdInInOrder) {
  RoomsWorld world({crowd_room(20)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  CrowdPlan plan = world.plan(300);
  plan.span_ms = 500;
  plan.poll_ms = 300;
  plan.visit_ms = 100;
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(60)))
      << world.crowd.result().json() << world.story();
  EXPECT_EQ(world.trouble_with(world.crowd.result(20), *watch, 20, 300), "");
  EXPECT_EQ(world.wait_served(*watch, 300), "");
}

TEST_F(WaitingRoomTest, ThreeHaproxysHalfLeavingOthersGoSilently) {
  cli::RoomSettings room = shop(10);
  room.hold_ms = 3000;
  room.grace_ms = 1000;
  room.lapse = shm::Lapse::kDrop;
  RoomsWorld world({room});
  ASSERT_TRUE(world.start(3)) << world.trouble;
  const auto watch = world.watch();
  const u32 visitors = crowd_of(200);
  CrowdPlan plan = world.plan(visitors);
  plan.poll_ms = 300;
  plan.visit_ms = 100;
  plan.leaving_percent = 50;
  plan.patience_ms = 2000;
  plan.silent_percent = 10;
  plan.session_ms = 3000;
  plan.roam = true;
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(std::max(60U, visitors / 8))))
      << world.crowd.result().json() << world.story();
  const CrowdResult result = world.crowd.result();
  EXPECT_EQ(world.trouble_with(result, *watch, 10, visitors), "");
  EXPECT_GT(result.numbers.gave_up, 20U);
  // Places of those who left silently, and those held for who fell silent, come back.
  EXPECT_EQ(world.wait_empty(*watch, std::chrono::seconds(60)), "");
  const RoomNumbers numbers = watch->numbers();
  EXPECT_EQ(numbers.counter(RoomCounter::issued),
            numbers.counter(RoomCounter::abandoned) + numbers.counter(RoomCounter::granted));
  // Who comes through one HAProxy and leaves through another may be heard leaving first.
  const u64 came_or_lapsed =
      numbers.counter(RoomCounter::admitted) + numbers.counter(RoomCounter::lapsed);
  EXPECT_GE(numbers.counter(RoomCounter::granted), came_or_lapsed);
  EXPECT_LE(numbers.counter(RoomCounter::granted),
            came_or_lapsed + numbers.counter(RoomCounter::revoked));
}

TEST_F(WaitingRoomTest, ACrowdIsServedAtThePaceOfTheRoom) {
  cli::RoomSettings room = crowd_room(20);
  room.new_per_minute = 1200;
  RoomsWorld world({room});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  const u32 visitors = crowd_of(220);
  CrowdPlan plan = world.plan(visitors);
  plan.span_ms = 500;
  plan.poll_ms = 500;
  plan.visit_ms = 100;
  const auto began = std::chrono::steady_clock::now();
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(240)))
      << world.crowd.result().json() << world.story();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  // A burst of a tenth of a minute's, then twenty a second.
  EXPECT_GT(seconds, (visitors - 120) / 20.0 - 1);
  EXPECT_EQ(world.trouble_with(world.crowd.result(), *watch, 20, visitors), "");
  EXPECT_EQ(world.wait_served(*watch, visitors), "");
}

TEST_F(WaitingRoomTest, NoMoreThanSoManyInAMinute) {
  cli::RoomSettings room = shop(50);
  room.new_per_minute = 60;
  RoomsWorld world({room});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  CrowdPlan plan = world.plan(80);
  plan.span_ms = 200;
  plan.poll_ms = 500;
  world.crowd.send(plan);
  // A burst of a tenth, then one a second.
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(wait_until([&] { return world.crowd.numbers().left >= 14; }));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  EXPECT_GT(seconds, 6);
  const RoomNumbers numbers = watch->numbers();
  EXPECT_LE(static_cast<double>(numbers.counter(RoomCounter::granted)), 6 + seconds + 2);
  EXPECT_EQ(numbers.counter(RoomCounter::fifo_inversions), 0U);
  EXPECT_EQ(watch->order_trouble(), "");
}

}  // namespace
}  // namespace lineq::test
