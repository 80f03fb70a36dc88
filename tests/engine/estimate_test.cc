#include "daemon/engine/estimate.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "tools/view/wait_estimate.h"

namespace lineq::test {
namespace {

using engine::admission_rate;
using engine::EventRate;
using view::wait_quantile;
using view::WaitQuestion;

TEST(EventRateTest, SteadyEventsGiveTheirRate) {
  EventRate rate;
  SegmentMs now = 1'000'000;
  for (int i = 0; i < 2000; ++i) {
    rate.event(now += 500);
  }
  EXPECT_NEAR(rate.per_minute(now), 120, 2);
}

TEST(EventRateTest, FewEventsCountAsLongAsTheyWereSeen) {
  EventRate rate;
  for (SegmentMs now = 0; now <= 30'000; now += 1000) {
    rate.event(now);
  }
  EXPECT_NEAR(rate.per_minute(30'000), 62, 2);
}

TEST(EventRateTest, FallsByItselfWithATimeConstantOfThreeMinutes) {
  EventRate rate;
  rate.restore(100, 10'000'000);
  EXPECT_NEAR(rate.per_minute(10'000'000), 100, 0.1);
  EXPECT_NEAR(rate.per_minute(10'180'000), 100 / std::exp(1), 0.1);
}

TEST(EventRateTest, ARateIsRestoredInASegmentThatIsNotOldEither) {
  for (const SegmentMs now : {SegmentMs{1'000}, SegmentMs{60'000}, SegmentMs{3'600'000}}) {
    EventRate rate;
    rate.restore(100, now);
    EXPECT_NEAR(rate.per_minute(now), 100, 0.1) << now;
  }
}

TEST(EventRateTest, BelowTwentyTheRulesOfTheRoomCount) {
  EventRate rate;
  EXPECT_DOUBLE_EQ(admission_rate(rate, 0, 20, 0, 120'000), 10);
  EXPECT_DOUBLE_EQ(admission_rate(rate, 0, 20, 4, 120'000), 4);
  for (SegmentMs now = 0; now <= 20'000; now += 1000) {
    rate.event(now);
  }
  EXPECT_NEAR(admission_rate(rate, 20'000, 20, 4, 120'000), 63, 2);
}

TEST(WaitEstimateTest, FifoIsPositionByRate) {
  const WaitQuestion q{.position = 100, .waiting = 500, .admit_per_minute = 20};
  const auto range = view::wait_range(q);
  EXPECT_DOUBLE_EQ(range.expected_s, 300);
  const double spread = std::sqrt(100 + 100 * 100 / (3 * 3 * 20.0));
  EXPECT_NEAR(range.low_s, (100 - 1.2816 * spread) / 20 * 60, 0.1);
  EXPECT_NEAR(range.high_s, (100 + 1.2816 * spread) / 20 * 60, 0.1);
  EXPECT_NEAR(wait_quantile(q, 0.25), (100 - 0.6745 * spread) / 20 * 60, 0.01);
  EXPECT_DOUBLE_EQ(wait_quantile(q, 0.5), 300);
  EXPECT_NEAR(wait_quantile(q, 0.001), (100 - 3.0902 * spread) / 20 * 60, 0.1);
}

TEST(WaitEstimateTest, NobodyWaitsLessThanNothing) {
  EXPECT_EQ(wait_quantile({.position = 1, .admit_per_minute = 10}, 0.01), 0);
}

// Random calls among those who wait, arrivals as given: the share called within the quantile.
double share_within(double waiting, double r, double lambda, double q, u32 seed) {
  std::mt19937 random(seed);
  const double within =
      wait_quantile(
          {.random = true, .waiting = waiting, .admit_per_minute = r, .arrive_per_minute = lambda},
          q) /
      60;
  int called = 0;
  constexpr int kRuns = 1500;
  for (int run = 0; run < kRuns; ++run) {
    double now = 0;
    double n = waiting;
    std::exponential_distribution<double> next(r + lambda);
    while ((now += next(random)) < within && n >= 1) {
      if (std::uniform_real_distribution<>(0, r + lambda)(random) < lambda) {
        n += 1;
      } else if (std::uniform_real_distribution<>(0, n)(random) < 1) {
        ++called;
        break;
      } else {
        n -= 1;
      }
    }
  }
  return called / static_cast<double>(kRuns);
}

TEST(WaitEstimateTest, RandomQuantilesHold) {
  for (const double lambda : {0.0, 5.0, 10.0, 15.0}) {
    for (const double q : {0.1, 0.5, 0.9}) {
      EXPECT_NEAR(share_within(200, 10, lambda, q, 7), q, 0.05) << lambda << " " << q;
    }
  }
}

TEST(WaitEstimateTest, ManyArrivalsMakeSomeWaitForEver) {
  const WaitQuestion q{
      .random = true, .waiting = 1000, .admit_per_minute = 1e-3, .arrive_per_minute = 1000};
  EXPECT_EQ(wait_quantile(q, 0.999), view::kLongestWait);
}

TEST(WaitEstimateTest, UnknownWhenNobodyCanKnow) {
  shm::RoomSettings room;
  shm::RoomNumbers n;
  n.waiting = 10;
  EXPECT_FALSE(view::wait_estimate(room, n, 3, 1'000'000));  // no rate
  n.admit_rate_milli = 5000;
  EXPECT_TRUE(view::wait_estimate(room, n, 3, 1'000'000));  // by the rules of the room
  n.last_admitted_ms = 900'000;
  EXPECT_TRUE(view::wait_estimate(room, n, 3, 1'000'000));
  EXPECT_FALSE(view::wait_estimate(room, n, 3, 1'030'000));  // nobody for two minutes
  room.queue_all = true;
  EXPECT_FALSE(view::wait_estimate(room, n, 3, 1'000'000));
  room.queue_all = false;
  room.paused = true;
  EXPECT_FALSE(view::wait_estimate(room, n, 3, 1'000'000));
}

}  // namespace
}  // namespace lineq::test
