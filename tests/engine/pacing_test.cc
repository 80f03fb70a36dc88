#include "daemon/engine/pacing.h"

#include <deque>
#include <random>

#include <gtest/gtest.h>

namespace lineq::test {
namespace {

using engine::Pacing;

// Admits whenever it is allowed, at a random moment after that: the times.
std::vector<SegmentMs> admit_all(Pacing& pacing, std::size_t n, u32 seed, u32 most_delay_ms) {
  std::mt19937 random(seed);
  std::vector<SegmentMs> times;
  SegmentMs now = 5'000'000;
  while (times.size() < n) {
    if (const auto next = pacing.next(now)) {
      EXPECT_GT(*next, now);
      now = *next + (most_delay_ms == 0 ? 0 : random() % most_delay_ms);
      continue;
    }
    pacing.admitted(now);
    times.push_back(now);
  }
  return times;
}

std::size_t most_in_a_minute(const std::vector<SegmentMs>& times) {
  std::deque<SegmentMs> window;
  std::size_t most = 0;
  for (const SegmentMs t : times) {
    window.push_back(t);
    while (window.front() + 60'000 <= t) {
      window.pop_front();
    }
    most = std::max(most, window.size());
  }
  return most;
}

TEST(PacingTest, WithoutALimitAllIsAllowed) {
  Pacing pacing;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(pacing.allows(1000));
    pacing.admitted(1000);
  }
}

TEST(PacingTest, NoMinuteHasMoreThanTheLimit) {
  for (const u32 limit : {1U, 2U, 7U, 60U, 100U, 999U, 6000U}) {
    for (const u32 delay : {0U, 10U, 5000U, 90'000U}) {
      Pacing pacing;
      pacing.set_limit(limit);
      const auto times = admit_all(pacing, std::min<std::size_t>(limit * 4, 3000), limit, delay);
      EXPECT_LE(most_in_a_minute(times), limit) << limit << " " << delay;
    }
  }
}

TEST(PacingTest, TheLimitIsUsedUp) {
  for (const u32 limit : {1U, 7U, 60U, 600U}) {
    Pacing pacing;
    pacing.set_limit(limit);
    const auto times = admit_all(pacing, limit * 20, 1, 0);
    const double minutes = static_cast<double>(times.back() - times.front()) / 60'000;
    EXPECT_GT(static_cast<double>(times.size() - 1) / minutes, limit * 0.99) << limit;
  }
}

TEST(PacingTest, AtOnceAtMostATenth) {
  Pacing pacing;
  pacing.set_limit(100);
  u32 at_once = 0;
  while (pacing.allows(1000)) {
    pacing.admitted(1000);
    ++at_once;
  }
  EXPECT_EQ(at_once, 10U);
  EXPECT_EQ(*pacing.next(1000), 1600U);
}

TEST(PacingTest, ALowerLimitCountsWhatWasAdmittedBefore) {
  Pacing pacing;
  pacing.set_limit(100);
  SegmentMs now = 1000;
  for (int i = 0; i < 50; ++i) {
    now = pacing.next(now).value_or(now);
    pacing.admitted(now);
  }
  pacing.set_limit(20);
  EXPECT_GE(*pacing.next(now), 61'000U);
}

TEST(PacingTest, WhatIsRememberedBeyondAKillCounts) {
  Pacing before;
  before.set_limit(10);
  before.admitted(1'000'000);
  Pacing after;
  after.set_limit(10);
  after.restore(before.tat_us());
  EXPECT_EQ(after.next(1'000'000), before.next(1'000'000));
  for (SegmentMs t = 1'001'000; t < 1'010'000; t += 1000) {
    after.remember(t, 1'020'000);
  }
  after.remember(900'000, 1'020'000);  // long ago
  EXPECT_TRUE(after.allows(1'020'000));
  after.admitted(1'020'000);
  EXPECT_GE(*after.next(1'030'000), 1'061'000U);
}

}  // namespace
}  // namespace lineq::test
