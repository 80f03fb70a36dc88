#include "shm/index.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace lineq::shm {
namespace {

class IndexTest : public testing::Test {
 protected:
  std::vector<Bucket> buckets_ = std::vector<Bucket>(4);
  BucketIndex index_{buckets_.data(), 2};
};

TEST_F(IndexTest, AFullBucketOverflowsIntoTheNextAndRemembers) {
  for (u32 slot = 0; slot < 10; ++slot) {
    index_.put(1, slot);
  }
  EXPECT_EQ(buckets_[1].passed, 3U);
  for (u32 slot = 0; slot < 10; ++slot) {
    EXPECT_TRUE(index_.has(1, slot));
  }
  EXPECT_FALSE(index_.has(1, 10));
}

TEST_F(IndexTest, RemovingGivesBackThePassage) {
  for (u32 slot = 0; slot < 10; ++slot) {
    index_.put(1, slot);
  }
  EXPECT_TRUE(index_.remove(1, 9));
  EXPECT_TRUE(index_.remove(1, 8));
  EXPECT_TRUE(index_.remove(1, 7));
  EXPECT_FALSE(index_.remove(1, 7));
  EXPECT_EQ(buckets_[1].passed, 0U);
  // A place that became free near home does not hide what lies behind.
  index_.put(1, 7);
  index_.remove(1, 0);
  EXPECT_TRUE(index_.has(1, 7));
}

TEST_F(IndexTest, ProbingWrapsAroundAndEndsInAFullIndex) {
  std::set<u32> slots;
  for (u32 slot = 0; slot < 28; ++slot) {
    index_.put(3, slot);
    slots.insert(slot);
  }
  for (const u32 slot : slots) {
    EXPECT_TRUE(index_.has(3, slot));
  }
  EXPECT_FALSE(index_.has(3, 99));
  EXPECT_FALSE(index_.has(2, 1));
}

TEST_F(IndexTest, AWordIsAHintTheCallerDecides) {
  index_.put(5, 11);
  index_.put(5, 12);
  EXPECT_EQ(index_.find(5, [](u32 slot) { return slot == 12; }), 12U);
  EXPECT_EQ(index_.find(5, [](u32) { return false; }), std::nullopt);
}

}  // namespace
}  // namespace lineq::shm
