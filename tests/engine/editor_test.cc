// Operators' changes of entries: what the segment has and what HAProxys are told.
#include "daemon/engine/editor.h"

#include <fmt/format.h>

#include "tests/engine/world.h"

namespace lineq::test {
namespace {

using engine::CellValue;

std::span<const u8> bytes(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

struct EditorTest : ::testing::Test {
  World world;
  engine::Editor& editor() { return world.engine().editor(); }
  Result<bool> set(std::string_view key, std::vector<CellValue> values,
                   std::optional<u32> expire_ms = {}) {
    Result<bool> result =
        editor().set(*world.table("t"), bytes(key), values, expire_ms, world.now());
    world.settle();
    return result;
  }
  bool clear(std::string_view key) {
    const bool was_there = editor().clear(*world.table("t"), bytes(key), world.now());
    world.settle();
    return was_there;
  }
  // Two HAProxys with table t; the first has told `entries` keys "k0", "k1", ..., gpc0 = number.
  Hap* a = nullptr;
  Hap* b = nullptr;
  void two(u64 entries = 1, const shm::TableDefinition& definition = counters_table()) {
    a = &world.connect("a", 1, "10.0.0.1");
    b = &world.connect("b", 1, "10.0.0.2");
    world.settle();
    a->define(1, definition);
    b->define(1, definition);
    for (u64 i = 0; i < entries; ++i) {
      a->update(1, fmt::format("k{}", i), {i, 7});
    }
    world.settle();
    world.pass(2000);  // lessons are over
    a->rows.clear();
    b->rows.clear();
  }
};

TEST_F(EditorTest, AnEntryThatIsSetGoesToAllHaproxys) {
  two(2);
  const Result<bool> fresh = set("k1", {{shm::kGpc0, 0, 40}});
  ASSERT_TRUE(fresh.ok()) << fresh.error().what;
  EXPECT_FALSE(*fresh);
  const Result<bool> made = set("new", {{shm::kGpc1, 0, 5}, {shm::kGpc1, 0, 6}});
  ASSERT_TRUE(made.ok()) << made.error().what;
  EXPECT_TRUE(*made);
  for (const Hap* hap : {a, b}) {
    ASSERT_NE(hap->last("k1"), nullptr);
    EXPECT_EQ(hap->last("k1")->cells, (std::vector<u64>{40, 7}));  // what is not named stays
    ASSERT_NE(hap->last("new"), nullptr);
    EXPECT_EQ(hap->last("new")->cells, (std::vector<u64>{0, 6}));
    EXPECT_EQ(hap->times("k1"), 1U);
  }
  EXPECT_EQ(world.entry("t", "k1")->value(shm::kGpc0), 40U);
  EXPECT_EQ(world.entry("t", "k1")->expire_left_ms(tick_of(world.now())), 60'000U);
  // And what a HAProxy counts next counts on from there.
  b->update(1, "k1", {41, 7});
  world.settle();
  EXPECT_EQ(a->last("k1")->cells, (std::vector<u64>{41, 7}));
}

TEST_F(EditorTest, AnExpiredEntryIsANewOne) {
  two();
  world.pass(60'000);
  EXPECT_TRUE(set("k0", {{shm::kGpc0, 0, 1}}).value());
  EXPECT_EQ(b->last("k0")->cells, (std::vector<u64>{1, 0}));
}

TEST_F(EditorTest, ALifeMayBeMadeShorterAndNeverLongerThanTheTables) {
  two();
  ASSERT_TRUE(set("k0", {}, 3000).ok());
  EXPECT_EQ(world.entry("t", "k0")->expire_left_ms(tick_of(world.now())), 3000U);
  ASSERT_NE(b->last("k0"), nullptr);
  EXPECT_TRUE(b->last("k0")->timed);
  EXPECT_EQ(b->last("k0")->expire_ms, 3000U);
  world.pass(3200);
  EXPECT_EQ(world.table("t")->live(), 0U);
  const Result<bool> longer = set("k0", {}, 60'001);
  ASSERT_FALSE(longer.ok());
  EXPECT_EQ(longer.error().what,
            "expire: table t takes at most its own 60000 ms, HAProxys would cut 60001 ms to that");
}

TEST_F(EditorTest, WithoutExpiryThereIsNoLifeToSet) {
  two(1, counters_table("t", 0));
  const Result<bool> no = set("k0", {}, 5);
  ASSERT_FALSE(no.ok());
  EXPECT_EQ(no.error().what, "expire: entries of table t never expire");
  ASSERT_TRUE(clear("k0"));
  ASSERT_NE(a->last("k0"), nullptr);
  EXPECT_FALSE(a->last("k0")->timed);
  EXPECT_EQ(a->last("k0")->cells, (std::vector<u64>{0, 0}));
}

TEST_F(EditorTest, ElementsOfArraysAndRatesAreSetOneByOne) {
  shm::TableDefinition d = counters_table();
  d.data_types = bit(shm::kGpc) | bit(shm::kHttpReqRate) | bit(shm::kServerId);
  d.elements = {};
  d.elements[shm::kGpc] = 3;
  d.elements[shm::kHttpReqRate] = 1;
  d.elements[shm::kServerId] = 1;
  d.period_ms[shm::kHttpReqRate] = 10'000;
  two(0, d);
  // Cells: server_id, rate (elapsed, current, previous), three of gpc.
  a->update(1, "k", {1, 500, 3, 4, 10, 11, 12});
  world.settle();
  ASSERT_TRUE(set("k", {{shm::kGpc, 1, 99}, {shm::kServerId, 0, ~u64{0}}}).ok());
  const auto entry = world.entry("t", "k");
  EXPECT_EQ(entry->value(shm::kGpc, 0), 10U);
  EXPECT_EQ(entry->value(shm::kGpc, 1), 99U);
  EXPECT_EQ(entry->value(shm::kGpc, 2), 12U);
  EXPECT_EQ(static_cast<i64>(entry->value(shm::kServerId)), -1);
  EXPECT_EQ(entry->rate(shm::kHttpReqRate).prev, 4U);
  ASSERT_TRUE(set("k", {{shm::kHttpReqRate, 0, 50}}).ok());
  EXPECT_EQ(world.entry("t", "k")->rate_now(shm::kHttpReqRate, 0, tick_of(world.now())), 50U);
  EXPECT_EQ(world.entry("t", "k")->rate(shm::kHttpReqRate).prev, 0U);
  EXPECT_EQ(world.entry("t", "k")->value(shm::kGpc, 1), 99U);
}

TEST_F(EditorTest, AnEntryThatIsClearedIsZeroForHaproxysAndGoneHere) {
  two(2);
  EXPECT_TRUE(clear("k1"));
  EXPECT_FALSE(clear("k1"));
  EXPECT_FALSE(world.entry("t", "k1").has_value());
  EXPECT_TRUE(world.entry("t", "k0").has_value());
  for (const Hap* hap : {a, b}) {
    ASSERT_NE(hap->last("k1"), nullptr);
    EXPECT_EQ(hap->times("k1"), 1U);
    EXPECT_EQ(hap->last("k1")->cells, (std::vector<u64>{0, 0}));
    EXPECT_TRUE(hap->last("k1")->timed);
    EXPECT_EQ(hap->last("k1")->expire_ms, 1U);
    EXPECT_EQ(hap->times("k0"), 0U);
  }
  // What a HAProxy counts afterwards is a new entry.
  a->update(1, "k1", {1, 0});
  world.settle();
  EXPECT_EQ(world.entry("t", "k1")->value(shm::kGpc0), 1U);
  EXPECT_EQ(b->last("k1")->cells, (std::vector<u64>{1, 0}));
}

TEST_F(EditorTest, AChangeThatWasOnItsWayIsNotSentBehindARemoval) {
  two(0);
  b->reads = false;
  a->update(1, "k", {9, 9});
  world.settle();
  EXPECT_TRUE(clear("k"));
  a->update(1, "other", {1, 1});  // takes the slot
  world.settle();
  b->reads = true;
  world.settle();
  EXPECT_EQ(b->last("k")->cells, (std::vector<u64>{0, 0}));
  EXPECT_EQ(b->last("other")->cells, (std::vector<u64>{1, 1}));
}

TEST_F(EditorTest, ManyAreClearedInSlices) {
  constexpr u64 kEntries = 20'000;
  two(kEntries);
  std::optional<u64> cleared;
  editor().clear(
      *world.table("t"),
      [](const shm::EntryView& entry, Tick) { return entry.value(shm::kGpc0) >= 5000; },
      [&](const Result<u64>& n) { cleared = n.value(); });
  world.engine().turn(world.now());
  const u64 left = world.table("t")->live();
  EXPECT_LT(left, kEntries);
  EXPECT_GT(left, kEntries - 5000);  // one turn does not do it all
  EXPECT_FALSE(cleared.has_value());
  EXPECT_TRUE(world.engine().busy());
  world.settle();
  EXPECT_EQ(cleared, kEntries - 5000);
  EXPECT_EQ(world.table("t")->live(), 5000U);
  EXPECT_TRUE(editor().idle());
  EXPECT_EQ(a->rows.size(), kEntries - 5000);
  EXPECT_EQ(b->rows.size(), kEntries - 5000);
  EXPECT_TRUE(world.entry("t", "k4999").has_value());
  EXPECT_FALSE(world.entry("t", "k5000").has_value());
  // All of it.
  editor().clear(*world.table("t"), {}, [&](const Result<u64>& n) { cleared = n.value(); });
  world.settle();
  EXPECT_EQ(cleared, 5000U);
  EXPECT_EQ(world.table("t")->live(), 0U);
}

TEST_F(EditorTest, AHaproxyThatTakesNothingHoldsItUpForFiveSecondsOnly) {
  two(20'000);
  b->reads = false;
  std::optional<u64> cleared;
  editor().clear(*world.table("t"), {}, [&](const Result<u64>& n) { cleared = n.value(); });
  world.settle();
  const u64 told = a->rows.size();
  EXPECT_GT(told, 0U);
  EXPECT_LT(told, 20'000U);
  EXPECT_FALSE(cleared.has_value());
  EXPECT_FALSE(world.engine().busy());  // it waits, and does not turn in circles
  world.pass(4000);
  EXPECT_FALSE(cleared.has_value());
  world.pass(1500);
  EXPECT_EQ(cleared, 20'000U);
  EXPECT_EQ(a->rows.size(), 20'000U);
}

TEST_F(EditorTest, ATableThatGetsColumnsMeanwhileIsClearedToTheEnd) {
  two(20'000);
  std::optional<u64> cleared;
  editor().clear(*world.table("t"), {}, [&](const Result<u64>& n) { cleared = n.value(); });
  world.engine().turn(world.now());
  const u64 first = 20'000 - world.table("t")->live();
  EXPECT_GT(first, 0U);
  shm::TableDefinition wider = counters_table();
  wider.data_types |= bit(shm::kConnCnt);
  wider.elements[shm::kConnCnt] = 1;
  b->define(1, wider);
  b->update(1, "k0", {0, 7, 1});
  world.settle();
  ASSERT_TRUE(cleared.has_value());
  EXPECT_GE(*cleared, 20'000U);
  EXPECT_LE(world.table("t")->live(), 1U);  // k0 may have come back before or after its turn
}

TEST_F(EditorTest, KilledInBetweenTheRestIsThere) {
  two(20'000);
  bool done = false;
  editor().clear(*world.table("t"), {}, [&](const Result<u64>&) { done = true; });
  world.engine().turn(world.now());
  const u64 left = world.table("t")->live();
  ASSERT_GT(left, 0U);
  world.restart();
  EXPECT_FALSE(done);
  EXPECT_EQ(world.table("t")->live(), left);
  world.settle();
  EXPECT_EQ(world.table("t")->live(), left);  // nobody goes on with it
}

TEST_F(EditorTest, TablesAreFoundByTheNamesPeopleUse) {
  EXPECT_EQ(editor().find("t").error().what,
            "there is no table 't'; no HAProxy has announced one yet");
  two(0, counters_table("/visits"));
  for (const char* name : {"/visits", "visits", "lq/visits"}) {
    ASSERT_TRUE(editor().find(name).ok()) << name;
    EXPECT_EQ(*editor().find(name), world.table("/visits"));
  }
  EXPECT_EQ(editor().find("/visit").error().what,
            "there is no table '/visit'; did you mean '/visits'?");
  shm::TableDefinition other = counters_table("/visits");
  other.key_type = shm::KeyType::kIp;
  other.key_bytes = 4;
  b->define(2, other);
  b->update(2, "1234", {1, 1});
  world.settle();
  EXPECT_EQ(editor().find("visits").error().what,
            "there are 2 tables 'visits' with different keys, as HAProxys disagree: give them one "
            "definition");
}

engine::EngineOptions of(engine::ModeKind mode) {
  engine::EngineOptions options;
  options.mode = mode;
  return options;
}

TEST(EditorModesTest, SumsAreTheHaproxysBusiness) {
  World world(of(engine::ModeKind::kAccumulate));
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "k", {1, 1});
  world.settle();
  const auto found = world.engine().editor().find("t");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::kInvalid);
  EXPECT_TRUE(found.error().what.starts_with(
      "table t is what HAProxys have counted, added up (mode acc): only they can change it."))
      << found.error().what;
}

TEST(EditorModesTest, VisitorsAreTheRoomsBusiness) {
  World world(of(engine::ModeKind::kWaitingRoom));
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table("timestamps"));
  a.define(2, counters_table("room"));
  a.define(3, counters_table("t"));
  a.update(3, "k", {1, 1});
  world.settle();
  engine::Editor& editor = world.engine().editor();
  ASSERT_TRUE(editor.find("t").ok());
  ASSERT_FALSE(editor.find("timestamps").ok());
  EXPECT_TRUE(editor.find("timestamps")
                  .error()
                  .what.ends_with("use revoke ROOM SESSION, revoke "
                                  "ROOM --all or admit ROOM N"));
  EXPECT_TRUE(
      editor.find("room").error().what.ends_with("use set ROOM C=N, create ROOM or remove ROOM"));
}

}  // namespace
}  // namespace lineq::test
