// The waiting room's largest crowd.
#include <chrono>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/rooms_world.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;

class SlowCrowdTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
};

TEST_F(SlowCrowdTest, TwoThousandInTwoSecondsAskingEverySecond) {
  RoomsWorld world({crowd_room(20)});
  ASSERT_TRUE(world.start(2)) << world.trouble;
  const auto watch = world.watch();
  CrowdPlan plan = world.plan(2000);
  plan.span_ms = 2000;
  plan.visit_ms = 100;
  world.crowd.send(plan);
  ASSERT_TRUE(world.crowd.wait_finished(std::chrono::seconds(240)))
      << world.crowd.result().json() << world.story();
  const CrowdResult result = world.crowd.result(20);
  EXPECT_EQ(world.trouble_with(result, *watch, 20, 2000), "");
  EXPECT_EQ(result.sessions, 2000U);
  EXPECT_EQ(watch->numbers().counter(RoomCounter::admitted), 2000U);
  EXPECT_EQ(world.wait_served(*watch, 2000), "");
  fmt::print("{}\n", result.json());
}

}  // namespace
}  // namespace lineq::test
