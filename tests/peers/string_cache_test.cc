#include "daemon/peers/string_cache.h"

#include <gtest/gtest.h>

namespace lineq::peers {
namespace {

TEST(StringCacheTest, AnUnknownWireIdIsNoValue) {
  const ReceivedStrings received;
  EXPECT_EQ(received.at(1), 0U);
  EXPECT_EQ(received.at(128), 0U);
}

TEST(StringCacheTest, WireIdsAre1To128) {
  EXPECT_FALSE(ReceivedStrings::valid(0));
  EXPECT_TRUE(ReceivedStrings::valid(1));
  EXPECT_TRUE(ReceivedStrings::valid(128));
  EXPECT_FALSE(ReceivedStrings::valid(129));
  EXPECT_FALSE(ReceivedStrings::valid(u64{1} << 32 | 1));
}

TEST(StringCacheTest, ALaterValueTakesTheWireId) {
  ReceivedStrings received;
  received.put(7, 70);
  received.put(7, 71);
  EXPECT_EQ(received.at(7), 71U);
}

TEST(StringCacheTest, TheRingStartsAgainAfter128AndForgetsWhatItOverwrites) {
  SentStrings sent;
  for (u32 id = 1001; id <= 1131; ++id) {
    const SentStrings::Place place = sent.find(id);
    EXPECT_FALSE(place.known);
    EXPECT_EQ(place.wire_id, (id - 1001) % 128 + 1);
    sent.put(place, id);
    EXPECT_TRUE(sent.find(id).known);
    EXPECT_EQ(sent.find(id).wire_id, place.wire_id);
  }
  EXPECT_FALSE(sent.find(1001).known);  // overwritten by 1129
  EXPECT_FALSE(sent.find(1003).known);
  EXPECT_TRUE(sent.find(1004).known);
  EXPECT_EQ(sent.find(1001).wire_id, 4U);
}

TEST(StringCacheTest, LookingTakesNoPlace) {
  SentStrings sent;
  EXPECT_EQ(sent.find(5).wire_id, 1U);
  EXPECT_EQ(sent.find(6).wire_id, 1U);
}

}  // namespace
}  // namespace lineq::peers
