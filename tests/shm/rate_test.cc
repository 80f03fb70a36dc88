#include "shm/rate.h"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace lineq::shm {
namespace {

TEST(RateTest, FadesAsHaproxyShowsIt) {
  EXPECT_EQ(rate_value(0, 100, 50, 1000), 150U * 1000 / 1000);
  EXPECT_EQ(rate_value(250, 100, 400, 1000), (400U * 750 + 100 * 1000) / 1000);
  EXPECT_EQ(rate_value(1000, 100, 400, 1000), 100U);
  EXPECT_EQ(rate_value(1500, 100, 400, 1000), 50U);
  EXPECT_EQ(rate_value(2000, 100, 400, 1000), 0U);
  EXPECT_EQ(rate_value(2001, 100, 400, 1000), 0U);
}

TEST(RateTest, ASingleOldEventIsNotDiminished) {
  EXPECT_EQ(rate_value(900, 0, 1, 1000), 1U);
  EXPECT_EQ(rate_value(1900, 1, 7, 1000), 1U);
  EXPECT_EQ(rate_value(900, 0, 2, 1000), 0U);
}

TEST(RateTest, SurvivesTheLargestValues) {
  EXPECT_EQ(rate_value(0, 0xffffffff, 0xffffffff, 0xffffffff), 2 * u64{0xffffffff});
  EXPECT_EQ(rate_value(5, 1, 1, 0), 0U);
  EXPECT_EQ(rate_value(Rate{100, 7, 0}, 1000, 50), 7U);  // started "in the future" by another clock
}

TEST(RateSumTest, WindowsThatBeginTogetherAddExactlyForEver) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 10'000; ++round) {
    const u32 period = static_cast<u32>(random() % 20'000 + 1);
    const Tick now = static_cast<Tick>(random());
    const Tick start = now - static_cast<Tick>(random() % period);
    std::vector<RatePart> parts;
    u64 curr = 0;
    u64 prev = 0;
    for (u64 n = random() % 5 + 1; n > 0; --n) {
      parts.push_back(
          {{start, static_cast<u32>(random() % 100'000 + 1), static_cast<u32>(random() % 100'000)},
           period});
      curr += parts.back().rate.curr;
      prev += parts.back().rate.prev;
    }
    const Rate sum = add_rates(parts, period, now);
    ASSERT_EQ(sum.start, start);
    ASSERT_EQ(sum.curr, curr);
    ASSERT_EQ(sum.prev, prev);
  }
}

// What the header promises: the reading of the sum is the sum of the readings, now and while it
// fades, until the first window ends.
TEST(RateSumTest, ReadsLikeAllOfThemWhateverTheirWindows) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20'000; ++round) {
    const u32 period = static_cast<u32>(random() % 20'000 + 100);
    const Tick now = static_cast<Tick>(random());
    std::vector<RatePart> parts;
    u64 oldest = 0;
    double prev = 0;
    for (u64 n = random() % 5 + 1; n > 0; --n) {
      const u64 elapsed = random() % period;
      oldest = std::max(oldest, elapsed);
      parts.push_back({{now - static_cast<Tick>(elapsed), static_cast<u32>(random() % 100'000 + 2),
                        static_cast<u32>(random() % 100'000)},
                       period});
      prev += parts.back().rate.prev;
    }
    const Rate sum = add_rates(parts, period, now);
    for (const u64 later : {u64{0}, random() % (period - oldest)}) {
      const Tick then = now + static_cast<Tick>(later);
      u64 truth = 0;
      for (const RatePart& part : parts) {
        truth += rate_value(part.rate, period, then);
      }
      const double error =
          std::abs(static_cast<double>(rate_value(sum, period, then)) - static_cast<double>(truth));
      ASSERT_LE(error, prev / 2 / period + static_cast<double>(parts.size()) + 1)
          << "round " << round << ", " << later << " ms later";
    }
  }
}

// A long time without another sum: what is wrong then is bounded by the counts of windows that
// ended and that the sum has not ended, or the other way round.
TEST(RateSumTest, TheErrorOfAnOldSumIsBoundedByTheMisalignment) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20'000; ++round) {
    constexpr u32 kPeriod = 10'000;
    const Tick now = static_cast<Tick>(random());
    std::vector<RatePart> parts;
    for (u64 n = random() % 5 + 1; n > 0; --n) {
      parts.push_back(
          {{now - static_cast<Tick>(random() % kPeriod), static_cast<u32>(random() % 100'000 + 2),
            static_cast<u32>(random() % 100'000)},
           kPeriod});
    }
    const Rate sum = add_rates(parts, kPeriod, now);
    const auto later = static_cast<Tick>(random() % (2 * kPeriod));
    u64 truth = 0;
    double bound = static_cast<double>(parts.size()) + 20;
    for (const RatePart& part : parts) {
      truth += rate_value(part.rate, kPeriod, now + later);
      // Its window is this much older or younger than the common one.
      const double apart = std::abs(tick_diff(part.rate.start, sum.start));
      bound += (part.rate.curr + part.rate.prev) * apart / kPeriod;
    }
    ASSERT_LE(std::abs(static_cast<double>(rate_value(sum, kPeriod, now + later)) -
                       static_cast<double>(truth)),
              bound)
        << "round " << round << ", " << later << " ms later";
  }
}

TEST(RateSumTest, SteadyTrafficHasNoErrorWhateverTheWindows) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 5000; ++round) {
    constexpr u32 kPeriod = 10'000;
    const Tick now = static_cast<Tick>(random());
    std::vector<RatePart> parts;
    u64 per_period = 0;
    for (u64 n = random() % 5 + 2; n > 0; --n) {
      const u64 rate = random() % 100'000 + 100;
      const u64 elapsed = random() % kPeriod;
      per_period += rate;
      parts.push_back({{now - static_cast<Tick>(elapsed),
                        static_cast<u32>(rate * elapsed / kPeriod), static_cast<u32>(rate)},
                       kPeriod});
    }
    const Rate sum = add_rates(parts, kPeriod, now);
    const auto error = [&](Tick later) {
      return std::abs(static_cast<double>(rate_value(sum, kPeriod, now + later)) -
                      static_cast<double>(per_period));
    };
    const double rounding =
        static_cast<double>(per_period) / kPeriod + 2 * static_cast<double>(parts.size());
    ASSERT_LE(error(0), rounding);
  }
}

TEST(RateSumTest, OldWindowsAndOtherPeriods) {
  const Tick now = 1'000'000;
  // Nothing happened for a while: it fades as HAProxy's own does.
  const RatePart idle{{now - 1500, 100, 40}, 1000};
  EXPECT_EQ(rate_value(add_rates({{idle}}, 1000, now), 1000, now), 50U);
  EXPECT_EQ(rate_value(add_rates({{idle}}, 1000, now), 1000, now + 250), 25U);
  const RatePart over{{now - 2000, 100, 40}, 1000};
  EXPECT_EQ(add_rates({{over}}, 1000, now).prev, 0U);
  EXPECT_EQ(add_rates({}, 1000, now).curr, 0U);
  // One that counts per second, of which one begins anew just now: 100 in the second before, of the
  // ten that the sum looks back.
  const RatePart fast{{now, 0, 100}, 1000};
  EXPECT_EQ(rate_value(add_rates({{fast}}, 10'000, now), 10'000, now), 100U);
  // A window that began "in the future", and no period at all.
  const RatePart ahead{{now + 5, 7, 0}, 1000};
  EXPECT_EQ(rate_value(add_rates({{ahead}}, 1000, now), 1000, now), 7U);
  EXPECT_EQ(add_rates({{RatePart{{now, 7, 0}, 0}}}, 1000, now).curr, 0U);
  // The largest values saturate.
  const RatePart most{{now - 1, 0xffff'ffff, 0xffff'ffff}, 0xffff'ffff};
  const Rate sum = add_rates({{most, most}}, 0xffff'ffff, now);
  EXPECT_EQ(sum.curr, 0xffff'ffffU);
  EXPECT_EQ(sum.prev, 0xffff'ffffU);
}

}  // namespace
}  // namespace lineq::shm
