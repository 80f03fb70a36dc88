#include "shm/rate.h"

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

}  // namespace
}  // namespace lineq::shm
