// Rules and transitions of the waiting room, one at a time, with HAProxys that behave.
#include "daemon/engine/waiting_room.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/engine/room_world.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::VisitorState;

constexpr u64 kSession = 60'000;
constexpr u64 kAllowance = 2000;

TEST(WaitingRoomTest, AVisitorWhoFindsAPlaceIsCalledAtOnce) {
  RoomWorld w;
  w.put(a_room());
  Gate& gate = w.gate();
  EXPECT_FALSE(gate.request("anna@shop"));
  w.settle();
  EXPECT_TRUE(gate.may_enter("anna@shop"));
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
  EXPECT_TRUE(gate.request("anna@shop"));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.numbers().active, 1U);
  EXPECT_EQ(w.count(RoomCounter::issued), 1U);
  EXPECT_EQ(w.count(RoomCounter::granted), 1U);
  EXPECT_EQ(w.count(RoomCounter::admitted), 1U);
  w.check();
}

TEST(WaitingRoomTest, WhoComesWhenItIsFullWaitsAndIsCalledWhenSomebodyLeaves) {
  RoomWorld w;
  w.put(a_room("shop", 1));
  Gate& gate = w.gate();
  for (const char* key : {"anna@shop", "bert@shop", "carl@shop"}) {
    gate.request(key);
    w.settle();
  }
  gate.request("anna@shop");
  w.settle();
  EXPECT_EQ(w.position("bert@shop"), 1U);
  EXPECT_EQ(w.position("carl@shop"), 2U);
  w.pass(kSession + kAllowance - 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  w.pass(400);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_FALSE(gate.may_enter("anna@shop"));
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
  EXPECT_TRUE(gate.may_enter("bert@shop"));
  EXPECT_EQ(w.position("carl@shop"), 1U);
  EXPECT_EQ(w.count(RoomCounter::fifo_inversions), 0U);
  w.check();
}

}  // namespace
}  // namespace lineq::test
