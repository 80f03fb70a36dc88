// lineqd itself does not run for a while: stopped, suspended, starved. Nobody pays for it.
#include <gtest/gtest.h>

#include "tests/engine/room_world.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::VisitorState;

constexpr u64 kLong = 3'600'000;  // all deadlines of a room lie before

TEST(StandStillTest, ASilenceThatNobodyListenedToEndsNoSession) {
  World world;
  Hap& a = world.connect("a");
  world.settle();
  world.pass(9000);
  world.stand_still(kLong);
  world.engine().tick(world.now());
  EXPECT_FALSE(a.peer->session.ended());
  // Who was silent before and stays so has no more than what was left.
  engine::Peer* silent = world.stranger();
  const std::string_view hello = "HAProxyS 2.1\nlineq\nsilent 5 1\n";
  world.engine().feed(*silent, {reinterpret_cast<const u8*>(hello.data()), hello.size()},
                      world.now());
  world.pass(6000);
  world.stand_still(kLong);
  EXPECT_FALSE(silent->session.ended());
  world.pass(3500);
  EXPECT_FALSE(silent->session.ended());
  world.pass(1000);
  EXPECT_TRUE(silent->session.ended());
}

// Two places; anna is inside, bert was called, carl and dora wait.
class StandStillRoomTest : public testing::Test {
 protected:
  void SetUp() override {
    w.put(a_room("shop", 2));
    gate = &w.gate();
    for (const char* key : {"anna@shop", "bert@shop", "carl@shop", "dora@shop"}) {
      gate->request(key);
      w.settle();
    }
    gate->request("anna@shop");
    w.settle();
    expect_as_it_was();
  }
  void expect_as_it_was() {
    EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
    EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
    EXPECT_EQ(w.position("carl@shop"), 1U);
    EXPECT_EQ(w.position("dora@shop"), 2U);
    EXPECT_EQ(w.count(RoomCounter::expired), 0U);
    EXPECT_EQ(w.count(RoomCounter::lapsed), 0U);
    EXPECT_EQ(w.count(RoomCounter::abandoned), 0U);
    w.check();
  }

  RoomWorld w;
  Gate* gate = nullptr;
};

TEST_F(StandStillRoomTest, NoDeadlineOfAVisitorPassesMeanwhile) {
  for (int i = 0; i < 3; ++i) {
    w.stand_still(kLong);
    w.settle();
    expect_as_it_was();
  }
  w.pass(50'000);  // less than a session, and than what bert has to come
  expect_as_it_was();
  for (int i = 0; i < 2; ++i) {  // the HAProxy has forgotten its entries, and is told again
    gate->request("bert@shop");
    w.settle();
  }
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kActive);
  // From here on time counts again.
  w.pass(20'000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kReady);
  w.check();
}

TEST_F(StandStillRoomTest, TimeIsLeftOutOnce) {
  w.stand_still(kLong);
  const Tick waits = w.writer().room_time(w.now());
  w.stand_still(kLong);
  EXPECT_EQ(w.writer().room_time(w.now()) - waits, 100U);  // the tick before it
}

TEST_F(StandStillRoomTest, APlaceThatWasTakenAwayIsNotFreeBeforeHaproxyKnows) {
  gate->stall(true);
  ASSERT_TRUE(w.control().revoke("shop", "anna@shop", w.now()));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kRevoked);
  // The HAProxy was stopped with us, and has not read it yet.
  w.stand_still(kLong);
  w.pass(100);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kWaiting) << "anna still gets in there";
  gate->stall(false);
  w.pass(100);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kReady);
  w.check();
}

TEST_F(StandStillRoomTest, WhoWasCalledIsNotTakenForOneWhoCameAndWentMeanwhile) {
  gate->stall(true);  // our call arrives late: HAProxy's row seems to be touched by the visitor
  w.put(a_room("shop", 3));
  w.pass(500);
  gate->stall(false);
  w.pass(100);
  ASSERT_EQ(w.state("carl@shop"), VisitorState::kReady);
  gate->disconnect();
  w.stand_still(70'000);  // longer than a session
  gate->connect();
  w.pass(1000);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kReady);
  EXPECT_EQ(w.count(RoomCounter::expired), 0U);
  w.check();
}

TEST_F(StandStillRoomTest, WhoIsGoneWithAHaproxyIsWaitedForAsLongAsEver) {
  gate->disconnect();
  w.stand_still(kLong);
  w.pass(50'000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  gate->connect();
  w.pass(1000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  w.check();
}

}  // namespace
}  // namespace lineq::test
