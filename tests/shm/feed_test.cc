#include "shm/feed.h"

#include <vector>

#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

class FeedTest : public testing::Test {
 protected:
  static constexpr u32 kLog2 = 4;
  RootHeader header_{};
  std::vector<u64> ring_ = std::vector<u64>(1 << kLog2);
  Feed feed_{&header_, ring_.data(), kLog2};
  std::vector<FeedRecord> out_ = std::vector<FeedRecord>(64);

  void append(u32 records) {
    for (u32 i = 0; i < records; ++i) {
      feed_.append({static_cast<u32>(feed_.tail()), 3, FeedKind::kUpdate, 9});
    }
  }
};

TEST_F(FeedTest, RecordsKeepTheirParts) {
  const FeedRecord record{0xfffffffe, 0xfff, FeedKind::kResync, 0xfffe};
  const FeedRecord back = FeedRecord::unpack(record.pack());
  EXPECT_EQ(back.slot, record.slot);
  EXPECT_EQ(back.table, record.table);
  EXPECT_EQ(back.kind, record.kind);
  EXPECT_EQ(back.origin, record.origin);
}

TEST_F(FeedTest, AFollowerGetsEachRecordOnceInOrder) {
  FeedCursor cursor;
  append(5);
  Followed followed = follow(header_, ring_.data(), kLog2, cursor, out_);
  ASSERT_EQ(followed.records, 5U);
  for (u32 i = 0; i < 5; ++i) {
    EXPECT_EQ(out_[i].slot, i);
  }
  append(2);
  followed = follow(header_, ring_.data(), kLog2, cursor, std::span(out_).first(1));
  EXPECT_EQ(followed.records, 1U);
  EXPECT_EQ(out_[0].slot, 5U);
}

TEST_F(FeedTest, ExactlyOneRingBehindIsStillWhole) {
  FeedCursor cursor;
  append(1 << kLog2);
  const Followed followed = follow(header_, ring_.data(), kLog2, cursor, out_);
  EXPECT_FALSE(followed.overrun);
  EXPECT_EQ(followed.records, u32{1} << kLog2);
}

TEST_F(FeedTest, OneMoreIsAnOverrunAndTheCursorStandsAtTheEnd) {
  FeedCursor cursor;
  append((1 << kLog2) + 1);
  const Followed followed = follow(header_, ring_.data(), kLog2, cursor, out_);
  EXPECT_TRUE(followed.overrun);
  EXPECT_EQ(followed.records, 0U);
  EXPECT_EQ(cursor.position, feed_.tail());
}

TEST_F(FeedTest, ARecordBeingWrittenCountsAsOverwritten) {
  FeedCursor cursor;
  append(1 << kLog2);
  header_.feed_intent +=
      1;  // the writer has announced the record that takes the place of the cursor's
  EXPECT_TRUE(follow(header_, ring_.data(), kLog2, cursor, out_).overrun);
}

}  // namespace
}  // namespace lineq::shm
