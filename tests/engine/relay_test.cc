#include "daemon/engine/relay.h"

#include "tests/engine/world.h"

namespace lineq::test {
namespace {

// Two HAProxys with the same table, in step with lineqd.
struct RelayTest : ::testing::Test {
  RelayTest() {
    for (Hap* hap : {&a, &b}) {
      world.settle();
      hap->define(1, counters_table());
    }
    world.pass(1000);  // lessons are over
  }

  World world;
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
};

TEST_F(RelayTest, AChangeReachesTheOthersAndNeverGoesBack) {
  a.update(1, "key", {5, 6});
  world.settle();
  ASSERT_EQ(b.rows.size(), 1U);
  EXPECT_EQ(b.rows[0].key, "key");
  EXPECT_EQ(b.rows[0].cells, (std::vector<u64>{5, 6}));
  EXPECT_FALSE(b.rows[0].timed);
  EXPECT_TRUE(a.rows.empty());
}

TEST_F(RelayTest, AChangeIsAcknowledged) {
  a.update(1, "one", {1, 1});
  a.update(1, "two", {1, 1});
  world.settle();
  EXPECT_EQ(a.acked[1], 2U);
}

TEST_F(RelayTest, ManyChangesOfOneRowAreSentOnceWithTheLastValue) {
  for (u64 i = 1; i <= 100; ++i) {
    a.update(1, "key", {i, 0});
  }
  world.settle();
  EXPECT_EQ(b.times("key"), 1U);
  EXPECT_EQ(b.last("key")->cells[0], 100U);
}

TEST_F(RelayTest, ARowChangedByBothIsOnlySentToTheOneThatWroteFirst) {
  a.update(1, "key", {1, 1});
  b.update(1, "key", {2, 2});
  world.settle();
  EXPECT_EQ(a.times("key"), 1U);
  EXPECT_EQ(a.last("key")->cells[0], 2U);
  EXPECT_EQ(b.times("key"), 0U);
}

TEST_F(RelayTest, ASlowPeerCostsAQueueAndGetsTheLastValuesWhenItReadsAgain) {
  b.reads = false;
  for (u64 round = 1; round <= 20; ++round) {
    for (u32 i = 0; i < 3000; ++i) {
      a.update(1, "key" + std::to_string(i), {round, 0});
    }
    world.settle();
    EXPECT_LT(b.peer->pending_bytes(), 300U * 1024);
  }
  const std::size_t before = b.peer->pending_bytes();
  EXPECT_GT(before, 200U * 1024);
  b.reads = true;
  world.settle();
  const auto last = b.last_of_each();
  for (u32 i = 0; i < 3000; ++i) {
    ASSERT_EQ(last.at("key" + std::to_string(i))->cells[0], 20U);
  }
}

// A queue that is full after a few rows, in the middle of what is looked at together.
TEST(RelaySweepTest, RowsThatHaveToWaitAreSentOnceAndInOrder) {
  for (const std::size_t pending_bytes : {1U, 60U, 200U, 1000U}) {
    engine::EngineOptions options;
    options.relay.pending_bytes = pending_bytes;
    World world(options);
    Hap& a = world.connect("a");
    Hap& b = world.connect("b");
    for (Hap* hap : {&a, &b}) {
      world.settle();
      hap->define(1, counters_table());
    }
    world.pass(1000);
    for (u32 round = 0; round < 2; ++round) {
      const std::size_t before = b.rows.size();
      for (u32 i = 0; i < 100; ++i) {
        a.update(1, "key" + std::to_string(i), {round, i});
        // Superseded, and its own: neither is sent.
        a.update(1, "often", {round, i});
        b.update(1, "own" + std::to_string(i), {1, 1});
      }
      world.settle();
      ASSERT_EQ(b.rows.size(), before + 101) << pending_bytes;
      for (u32 i = 0; i < 100; ++i) {
        ASSERT_EQ(b.rows[before + i].key, "key" + std::to_string(i)) << pending_bytes;
      }
      EXPECT_EQ(b.rows.back().key, "often");
      EXPECT_EQ(b.rows.back().cells[1], 99U);
    }
  }
}

TEST_F(RelayTest, APeerThatFellOffTheFeedIsCaughtUpByAScanWithOneRowAKey) {
  b.reads = false;
  // Fills the queue, then laps the ring of 65536 records.
  for (u32 i = 0; i < 20'000; ++i) {
    a.update(1, "key" + std::to_string(i), {1, 0});
  }
  world.settle();
  world.pass(2000);
  for (u64 round = 2; round <= 20; ++round) {
    for (u32 i = 0; i < 5000; ++i) {
      a.update(1, "key" + std::to_string(i), {round, 0});
    }
    world.settle();
  }
  EXPECT_GT(world.engine().relay().lag(*b.peer), 0U);
  const std::size_t told = b.rows.size();
  b.reads = true;
  world.settle();
  EXPECT_EQ(world.counter(shm::DaemonCounter::feed_overruns), 1U);
  const auto last = b.last_of_each();
  for (u32 i = 0; i < 20'000; ++i) {
    ASSERT_EQ(last.at("key" + std::to_string(i))->cells[0], i < 5000 ? 20U : 1U) << i;
  }
  EXPECT_LT(b.rows.size() - told, 36'000U);  // of 115'000 changes
  EXPECT_EQ(world.engine().relay().lag(*b.peer), 0U);
  b.rows.clear();
  a.update(1, "afterwards", {1, 1});
  world.settle();
  EXPECT_EQ(b.rows.size(), 1U);
}

TEST_F(RelayTest, ACatchUpDoesNotSendAHaproxyItsOwnChanges) {
  b.reads = false;
  for (u32 i = 0; i < 20'000; ++i) {
    a.update(1, "key" + std::to_string(i), {1, 0});
  }
  world.settle();
  for (u64 round = 0; round < 20; ++round) {
    for (u32 i = 0; i < 5000; ++i) {
      a.update(1, "key" + std::to_string(i), {round, 0});
    }
    world.settle();
  }
  b.update(1, "own", {1, 1});
  world.settle();
  b.reads = true;
  world.settle();
  EXPECT_EQ(b.times("own"), 0U);
}

TEST_F(RelayTest, AnOlderEntryIsRelayedWithTheRestOfItsLife) {
  // A refreshed entry starts the receiver's own expiry; one that was not keeps its end.
  a.update(1, "key", {1, 1}, 10'000);
  world.settle();
  ASSERT_EQ(b.times("key"), 1U);
  EXPECT_TRUE(b.last("key")->timed);
  EXPECT_EQ(b.last("key")->expire_ms, 10'000U);
}

TEST_F(RelayTest, ExpiryIsTheLongestTold) {
  a.update(1, "key", {1, 1});
  world.settle();
  world.pass(30'000);
  b.update(1, "key", {2, 2}, 1'000);
  world.settle();
  EXPECT_EQ(world.entry("t", "key")->expire_left_ms(tick_of(world.now())), 30'000U);
  world.pass(30'200);
  EXPECT_FALSE(world.entry("t", "key"));
  EXPECT_EQ(world.table("t")->live(), 0U);
}

TEST_F(RelayTest, RatesArriveWithTheAgeTheyHaveBySendingTime) {
  const auto rates = string_table("rates", 31, bit(shm::kHttpReqRate), 60'000);
  for (Hap* hap : {&a, &b}) {
    hap->define(2, rates);
  }
  world.settle();
  b.reads = false;
  for (u32 i = 0; i < 20'000; ++i) {  // b's queue is full: the row below waits
    a.update(1, "key" + std::to_string(i), {1, 0});
  }
  a.update(2, "rate", {500, 7, 8});
  world.settle();
  world.pass(3000);
  b.reads = true;
  world.settle();
  ASSERT_EQ(b.times("rate"), 1U);
  EXPECT_EQ(b.last("rate")->cells, (std::vector<u64>{3500, 7, 8}));
}

TEST_F(RelayTest, ServerKeysTravelAsText) {
  const auto sticky =
      string_table("sticky", 31, bit(shm::kServerId) | bit(shm::kServerKey), 60'000);
  for (Hap* hap : {&a, &b}) {
    hap->define(2, sticky);
  }
  world.settle();
  MemoryStrings names;  // numbers as a's session gives them: 1 is the first text interned
  ASSERT_EQ(names.intern("web-1"), 1U);
  a.update(2, "room", {static_cast<u64>(u32(-5)), 0});
  world.settle();
  EXPECT_EQ(static_cast<i32>(b.last("room")->cells[0]), -5);
  EXPECT_EQ(b.last("room")->cells[1], 0U);
}

TEST_F(RelayTest, ATableThatAHaproxyHasNotAnnouncedIsDefinedWithAllColumns) {
  a.define(2, counters_table("only_a"));
  a.update(2, "key", {1, 2});
  world.settle();
  ASSERT_TRUE(b.definitions.contains("only_a"));
  EXPECT_EQ(b.definitions["only_a"].data_types, bit(shm::kGpc0) | bit(shm::kGpc1));
  EXPECT_EQ(b.times("key"), 1U);
}

TEST_F(RelayTest, ErasedEntriesAreNotRelayed) {
  a.update(1, "key", {1, 1});
  world.settle();
  b.rows.clear();
  world.pass(61'000);
  EXPECT_EQ(world.table("t")->live(), 0U);
  EXPECT_TRUE(b.rows.empty());
}

// --- different columns ---

struct SubsetTest : ::testing::Test {
  SubsetTest() {
    world.settle();
    zero.define(1, string_table("t", 31, bit(shm::kGpc0), 60'000));
    one.define(1, string_table("t", 31, bit(shm::kGpc1), 60'000));
    both.define(1, counters_table());
    world.settle();
  }
  World world;
  Hap& zero = world.connect("zero");
  Hap& one = world.connect("one");
  Hap& both = world.connect("both");
};

TEST_F(SubsetTest, OnlyTheColumnsTheSenderHasAreWrittenAtTheReceiver) {
  zero.update(1, "key", {7});
  world.settle();
  EXPECT_EQ(both.definitions["t"].data_types, bit(shm::kGpc0));
  EXPECT_EQ(both.last("key")->cells, (std::vector<u64>{7}));
  EXPECT_EQ(one.definitions["t"].data_types, 0U);
  EXPECT_TRUE(one.last("key")->cells.empty());

  both.update(1, "key", {8, 9});
  world.settle();
  EXPECT_EQ(zero.last("key")->cells, (std::vector<u64>{8}));
  EXPECT_EQ(one.last("key")->cells, (std::vector<u64>{9}));
}

TEST_F(SubsetTest, AChangeOfOtherColumnsDoesNotHideAnEarlierOne) {
  zero.update(1, "key", {7});
  one.update(1, "key", {8});
  world.settle();
  u64 gpc0 = 0;
  u64 gpc1 = 0;
  for (const Hap::Row& row : both.rows) {
    ASSERT_EQ(row.cells.size(), 1U);
    (row.cells[0] == 7 ? gpc0 : gpc1) += 1;
  }
  EXPECT_EQ(gpc0, 1U);
  EXPECT_EQ(gpc1, 1U);
}

TEST_F(SubsetTest, AChangeOfTheSameColumnsDoes) {
  for (u64 i = 0; i < 10; ++i) {
    zero.update(1, "key", {i});
  }
  both.update(1, "key", {50, 51});
  world.settle();
  EXPECT_EQ(one.times("key"), 1U);
  EXPECT_EQ(one.last("key")->cells, (std::vector<u64>{51}));
}

TEST_F(SubsetTest, TheTableHoldsTheUnion) {
  zero.update(1, "key", {7});
  one.update(1, "key", {8});
  world.settle();
  const auto entry = world.entry("t", "key");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->value(shm::kGpc0), 7U);
  EXPECT_EQ(entry->value(shm::kGpc1), 8U);
}

TEST_F(SubsetTest, ShorterArraysAreWrittenAsFarAsTheyGo) {
  auto longer = string_table("arrays", 31, bit(shm::kGpc), 60'000);
  auto shorter = longer;
  longer.elements[shm::kGpc] = 4;
  shorter.elements[shm::kGpc] = 2;
  zero.define(2, longer);
  one.define(2, shorter);
  world.settle();
  zero.update(2, "key", {1, 2, 3, 4});
  world.settle();
  EXPECT_EQ(one.last("key")->cells, (std::vector<u64>{1, 2}));
  one.update(2, "key", {11, 12});
  world.settle();
  EXPECT_EQ(zero.definitions["arrays"].elements[shm::kGpc], 2);
  EXPECT_EQ(zero.last("key")->cells, (std::vector<u64>{11, 12}));
  EXPECT_EQ(world.entry("arrays", "key")->value(shm::kGpc, 3), 4U);
}

TEST_F(RelayTest, AWiderDefinitionMovesTheTableAndNothingOnItsWayIsLost) {
  b.reads = false;
  for (u32 i = 0; i < 20'000; ++i) {
    a.update(1, "key" + std::to_string(i), {1, 0});
  }
  world.settle();
  auto wider = counters_table();
  wider.data_types |= bit(shm::kConnCnt);
  wider.elements[shm::kConnCnt] = 1;
  Hap& c = world.connect("c");
  world.settle();
  c.define(1, wider);
  world.settle();
  EXPECT_TRUE(world.table("t")->info().definition.has(shm::kConnCnt));
  EXPECT_EQ(world.table("t")->live(), 20'000U);
  b.reads = true;
  world.settle();
  const auto last = b.last_of_each();
  for (u32 i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(last.contains("key" + std::to_string(i))) << i;
  }
  // Everything goes on in the new table: updates, expiry.
  a.update(1, "later", {3, 4});
  world.settle();
  EXPECT_EQ(b.last("later")->cells, (std::vector<u64>{3, 4}));
  world.pass(62'000);
  EXPECT_EQ(world.table("t")->live(), 0U);
}

TEST_F(RelayTest, AnotherTypeOfKeyIsAnotherTable) {
  Hap& c = world.connect("c");
  world.settle();
  c.define(1, integer_table("t", bit(shm::kGpc0), 60'000));
  c.update(1, integer_key(5), {1});
  a.update(1, "key", {1, 1});
  world.settle();
  EXPECT_EQ(world.writer().tables().size(), 2U);
  EXPECT_EQ(b.times("key"), 1U);
  EXPECT_TRUE(c.rows.empty());
  EXPECT_EQ(a.rows.size() + b.rows.size(), 1U);
}

}  // namespace
}  // namespace lineq::test
