// Faults that take their time: a connection on which nothing passes, a long wire in front of a
// waiting room, processes that are stopped for a minute. The quick ones: faults_test.cc.
#include <algorithm>
#include <csignal>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/rooms_world.h"
#include "tests/support/cutter.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::RoomNumbers;
using std::chrono::seconds;

class SlowFaultsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
};

TEST_F(SlowFaultsTest, AHalfOpenConnectionEndsAndWhatBothSidesDidIsThere) {
  World world;
  world.lineq.set("LINEQ_SILENT_PEER_MS", "5000");
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  Cutter wire(world.lineq.tcp_port());
  ASSERT_NE(world.add(HaproxyVersion::k26, "hap-a", plain_config(), false,
                      {{"tcp", std::to_string(wire.port())}}),
            nullptr)
      << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world.trouble;
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  ASSERT_EQ(world.at(0).set_table("lq/plain", "before", "data.gpc0 1"), "");
  ASSERT_EQ(world.wait_same("lq/plain", 1), "") << world.story();
  const std::vector<std::string> sessions = world.sessions();

  wire.pause(true);
  for (int n = 0; n < 20; ++n) {
    ASSERT_EQ(world.at(0).set_table("lq/plain", fmt::format("a-{}", n), "data.gpc0 2"), "");
    ASSERT_EQ(world.at(1).set_table("lq/plain", fmt::format("b-{}", n), "data.gpc0 3"), "");
  }
  // One entry on both sides; the later one wins.
  ASSERT_EQ(world.at(1).set_table("lq/plain", "both", "data.gpc0 4"), "");
  EXPECT_TRUE(world.daemon.wait_for_err("silent for 5000 ms")) << world.story();
  EXPECT_TRUE(wait_until([&] { return !world.at(0).peer().established; }));
  ASSERT_EQ(world.at(0).set_table("lq/plain", "both", "data.gpc0 5"), "");
  EXPECT_EQ(world.at(1).show_table("lq/plain").rows.count("a-0"), 0U) << "it was a real cut";
  wire.pause(false);

  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  EXPECT_EQ(world.wait_same("lq/plain", 42), "") << world.story();
  EXPECT_EQ(world.at(1).show_table("lq/plain").value("both", "gpc0"), "5");
  EXPECT_NE(world.sessions()[0], sessions[0]);
  EXPECT_EQ(world.sessions()[1], sessions[1]);
  EXPECT_EQ(world.lineq.verify(), "");
}

TEST_F(SlowFaultsTest, BehindALongAndUnsteadyWireARoomIsNeverTooFull) {
  RoomsWorld world({crowd_room(10)});
  ASSERT_TRUE(world.start(0)) << world.trouble;
  std::vector<std::unique_ptr<Cutter>> wires;
  for (int i = 0; i < 2; ++i) {
    wires.push_back(std::make_unique<Cutter>(world.lineq.tcp_port()));
    wires.back()->delay(Milliseconds(200), Milliseconds(150));
    ASSERT_NE(world.add(i == 0 ? HaproxyVersion::k26 : HaproxyVersion::k30, fmt::format("h{}", i),
                        generated_config(world.rooms), false,
                        {{"tcp", std::to_string(wires.back()->port())},
                         {"web", std::to_string(world.lineq.web_port())},
                         {"backend", std::to_string(world.site_port)}}),
              nullptr)
        << world.trouble;
  }
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  const std::vector<std::string> sessions = world.sessions();
  const auto watch = world.watch();
  constexpr u32 kVisitors = 120;
  CrowdPlan plan = world.plan(kVisitors);
  plan.span_ms = 2000;
  plan.poll_ms = 500;
  plan.visit_ms = 200;
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(seconds(120)))
      << world.crowd.result().json() << world.story();
  EXPECT_EQ(world.trouble_with(world.crowd.result(), *watch, 10, kVisitors), "");
  EXPECT_EQ(world.sessions(), sessions) << world.story();
  EXPECT_EQ(world.wait_served(*watch, kVisitors), "");
}

// A room of three places: a and b are inside, c was called and has not come, d, e and f wait.
// Beside it HAProxys with a table, and another lineqd.
class SlowStopTest : public SlowFaultsTest {
 protected:
  static constexpr u32 kPlaces = 3;

  static cli::RoomSettings rules() {
    cli::RoomSettings room = shop(kPlaces);
    room.grace_ms = 20'000;
    return room;
  }
  void SetUp() override {
    SlowFaultsTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    ASSERT_TRUE(room_.start(2)) << room_.trouble;
    ASSERT_TRUE(tables_.start_daemon()) << tables_.trouble;
    for (const HaproxyVersion version : {HaproxyVersion::k26, HaproxyVersion::k30}) {
      const std::string name = fmt::format("hap-{}", haproxy_version_name(version));
      ASSERT_NE(tables_.add(version, name, plain_config()), nullptr) << tables_.trouble;
    }
    ASSERT_TRUE(tables_.wait_sessions()) << tables_.trouble;
    set(0, "before");
    ASSERT_EQ(tables_.wait_same("lq/plain", keys_), "") << tables_.story();
    watch_ = room_.watch();
    u64 waiting = 0;
    for (const char* id : {"a", "b"}) {
      ASSERT_TRUE(room_.enters(0, id)) << id;
    }
    ASSERT_EQ(room_.asked(1, "c"), "303") << "called, and does not come yet";
    for (const char* id : {"d", "e", "f"}) {
      ASSERT_EQ(room_.asked(0, id), "wait") << id;
      ++waiting;
      ASSERT_TRUE(watch_->wait([&](const RoomNumbers& n) { return n.waiting == waiting; })) << id;
    }
    ASSERT_TRUE(see_inside());
    ASSERT_TRUE(watch_->wait(as_it_was)) << describe();
  }
  static bool as_it_was(const RoomNumbers& n) {
    return n.active == 2 && n.ready == 1 && n.waiting == 3 && n.front == 0;
  }
  // a and b are shown the shop, by either HAProxy.
  bool see_inside() {
    bool inside = true;
    for (std::size_t i = 0; i < room_.count(); ++i) {
      inside = inside && room_.asked(i, "a") == "shop" && room_.asked(i, "b") == "shop";
    }
    return inside;
  }
  void set(std::size_t haproxy, const std::string& key) {
    ASSERT_EQ(tables_.at(haproxy).set_table("lq/plain", key, "data.gpc0 1"), "");
    ++keys_;
  }
  std::string describe() const {
    const RoomNumbers n = watch_->numbers();
    const auto c = [&](RoomCounter counter) { return n.counter(counter); };
    return fmt::format(
        "{} active, {} ready, {} waiting, {} in front; {} expired, {} lapsed, {} abandoned, {} "
        "over the limit\n{}",
        n.active, n.ready, n.waiting, n.front, c(RoomCounter::expired), c(RoomCounter::lapsed),
        c(RoomCounter::abandoned), c(RoomCounter::over_limit), room_.story());
  }
  // Everybody is where they were; then all move on in order.
  void expect_nobody_lost() {
    const RoomNumbers n = watch_->numbers();
    EXPECT_TRUE(as_it_was(n)) << describe();
    for (const RoomCounter c : {RoomCounter::expired, RoomCounter::lapsed, RoomCounter::abandoned,
                                RoomCounter::over_limit, RoomCounter::fifo_inversions}) {
      EXPECT_EQ(n.counter(c), 0U) << describe();
    }
    EXPECT_TRUE(room_.enters(1, "c")) << describe();
    EXPECT_EQ(room_.asked(1, "a", "/?leave=1"), "shop");
    EXPECT_TRUE(room_.enters(0, "d")) << describe();
    EXPECT_EQ(room_.asked(0, "e"), "wait");
    EXPECT_EQ(room_.asked(0, "b", "/?leave=1"), "shop");
    EXPECT_TRUE(room_.enters(1, "e")) << describe();
    EXPECT_EQ(watch_->order_trouble(), "");
    EXPECT_EQ(watch_->most_places(), kPlaces);
    EXPECT_EQ(room_.lineq.verify(), "");
  }
  int ready() const { return http_get(room_.lineq.web_port(), "/readyz").status; }

  RoomsWorld room_{{rules()}};
  World tables_;
  std::size_t keys_ = 0;
  std::unique_ptr<RoomWatch> watch_;
};

TEST_F(SlowStopTest, LineqdStoppedForAMinuteThrowsNobodyOutAndCatchesUp) {
  ASSERT_TRUE(wait_until([&] { return ready() == 200; }));
  room_.daemon.signal(SIGSTOP);
  tables_.daemon.signal(SIGSTOP);
  EXPECT_TRUE(wait_until([&] { return ready() == 503; }, seconds(10)));
  const std::string body = http_get(room_.lineq.web_port(), "/readyz").body;
  EXPECT_NE(body.find("lineqd is stalled"), std::string::npos) << body;
  EXPECT_NE(http_get(room_.lineq.web_port(), "/status.json").body.find("\"stalled\""),
            std::string::npos);
  // Longer than a session, than who waits is kept in silence, than who is called has to come.
  int looks = 0;
  EXPECT_FALSE(wait_until(
      [&] {
        if (++looks % 10 == 0) {
          set(0, fmt::format("alone-0-{}", looks));
          set(1, fmt::format("alone-1-{}", looks));
        }
        return !see_inside() || room_.asked(1, "d") != "wait";
      },
      seconds(60)));
  room_.daemon.signal(SIGCONT);
  tables_.daemon.signal(SIGCONT);
  // Through the reconnects, and for longer than a session.
  EXPECT_FALSE(wait_until([&] { return !see_inside(); }, seconds(8))) << describe();
  ASSERT_TRUE(room_.wait_sessions()) << room_.trouble;
  EXPECT_TRUE(wait_until([&] { return ready() == 200; }));
  EXPECT_EQ(room_.log_lines("stood still for 6").size(), 1U) << room_.story();
  expect_nobody_lost();
  ASSERT_TRUE(tables_.wait_sessions()) << tables_.trouble;
  EXPECT_EQ(tables_.wait_same("lq/plain", keys_), "") << tables_.story();
  EXPECT_EQ(tables_.lineq.verify(), "");
}

TEST_F(SlowStopTest, ASuspendedMachineGoesOnWhereItWas) {
  std::vector<pid_t> all{room_.daemon.pid(), tables_.daemon.pid(), room_.web.pid()};
  for (std::size_t i = 0; i < 2; ++i) {
    all.push_back(room_.at(i).pid());
    all.push_back(tables_.at(i).pid());
  }
  const std::vector<std::string> sessions = room_.sessions();
  for (const pid_t pid : all) {
    ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  }
  // Longer than who waits is kept in silence.
  wait_until([] { return false; }, seconds(25));
  // lineqd is first to see how late it is.
  for (const pid_t pid : all) {
    ASSERT_EQ(::kill(pid, SIGCONT), 0);
    if (pid == all.front()) {
      EXPECT_TRUE(room_.daemon.wait_for_err("stood still for 2")) << room_.story();
    }
  }
  EXPECT_FALSE(wait_until([&] { return !see_inside(); }, seconds(6))) << describe();
  EXPECT_EQ(room_.sessions(), sessions) << room_.story();
  expect_nobody_lost();
  set(0, "after");
  set(1, "after-too");
  EXPECT_EQ(tables_.wait_same("lq/plain", keys_), "") << tables_.story();
}

}  // namespace
}  // namespace lineq::test
