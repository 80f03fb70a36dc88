// Resynchronisation in both directions.
#include "tests/engine/world.h"

namespace lineq::test {
namespace {

struct LessonTest : ::testing::Test {
  World world;
};

// A HAProxy that teaches `rows` when asked and is left to itself then.
struct Taught {
  std::string key;
  std::vector<u64> cells;
  u32 expire_ms;
};

void teaches(Hap& hap, std::vector<Taught> rows, u64 expire_ms = 60'000, bool finish = true) {
  hap.teach = [&hap, rows = std::move(rows), expire_ms, finish] {
    hap.define(1, counters_table("t", expire_ms));
    for (const Taught& row : rows) {
      hap.update(1, row.key, row.cells, row.expire_ms);
    }
    if (finish) {
      hap.finish_lesson();
    }
  };
}

void feed(World& world, Hap& hap, const peers::OutputBuffer& bytes) {
  world.engine().feed(*hap.peer, bytes.pending(), world.now());
  world.settle();
}

void append(peers::OutputBuffer& to, u8 type, u32 id, u32 expire_ms, std::string_view key,
            const std::vector<u64>& cells) {
  const shm::TableDefinition table = counters_table();
  peers::SentStrings sent;
  MemoryStrings strings;
  ASSERT_TRUE(peers::encode_update(to, type, id, expire_ms, table, peers::RowShape(table),
                                   {reinterpret_cast<const u8*>(key.data()), key.size()}, cells,
                                   sent, strings));
}

// A row of its lesson that this HAProxy has from somebody else.
void learned(World& world, Hap& hap, std::string_view key, const std::vector<u64>& cells,
             u32 expire_ms) {
  peers::OutputBuffer bytes;
  append(bytes, peers::kTimedUpdate, 0x8000'0001, expire_ms, key, cells);
  feed(world, hap, bytes);
}

// An untimed update with an id that was in the lesson.
void repeat(World& world, Hap& hap, u32 id, std::string_view key, const std::vector<u64>& cells) {
  peers::OutputBuffer bytes;
  append(bytes, peers::kUpdate, id, 0, key, cells);
  feed(world, hap, bytes);
}

TEST_F(LessonTest, WhatAHaproxyTeachesIsLearnedWithItsLife) {
  Hap& a = world.connect("a");
  teaches(a, {{"key", {1, 2}, 5000}});
  world.settle();
  const auto entry = world.entry("t", "key");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->value(shm::kGpc1), 2U);
  EXPECT_EQ(entry->expire_left_ms(tick_of(world.now())), 5000U);
  EXPECT_EQ(world.writer().peer_counter(a.peer->no, shm::PeerCounter::lesson_in), 2U);
}

TEST_F(LessonTest, ALessonIsNotAcknowledgedButConfirmed) {
  Hap& a = world.connect("a");
  teaches(a, {{"key", {1, 2}, 5000}});
  world.settle();
  EXPECT_EQ(a.session->counters().acks_in, 0U);
  EXPECT_FALSE(a.session->teaching());
}

TEST_F(LessonTest, TheUntimedRepetitionDoesNotExtendALife) {
  Hap& a = world.connect("a");
  teaches(a, {{"key", {1, 2}, 5000}});
  world.settle();
  repeat(world, a, 1, "key", {1, 2});
  EXPECT_EQ(world.entry("t", "key")->expire_left_ms(tick_of(world.now())), 5000U);
  EXPECT_EQ(a.peer->session.counters().repeats, 1U);
  a.update(1, "key", {3, 4});  // a real change does
  world.settle();
  EXPECT_EQ(world.entry("t", "key")->expire_left_ms(tick_of(world.now())), 60'000U);
}

// HAProxy gives a row that still waits to be pushed no new id when it changes again.
TEST_F(LessonTest, ARepetitionWithAnotherValueIsNews) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  teaches(a, {{"key", {1, 2}, 5000}});
  world.pass(100);
  repeat(world, a, 1, "key", {7, 8});
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 7U);
  EXPECT_EQ(world.entry("t", "key")->expire_left_ms(tick_of(world.now())), 60'000U);
  EXPECT_EQ(b.last("key")->cells[0], 7U);
  world.pass(1000);
  EXPECT_EQ(a.times("key"), 0U);
}

TEST_F(LessonTest, ARepetitionOfWhatLostAgainstANewerValueLosesAgain) {
  Hap& b = world.connect("b");
  world.settle();
  b.define(1, counters_table());
  b.update(1, "key", {100, 100});
  world.pass(2000);
  Hap& a = world.connect("a");
  teaches(a, {{"key", {1, 2}, 5000}});
  world.pass(100);
  repeat(world, a, 1, "key", {1, 2});
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 100U);
  world.pass(1000);
  EXPECT_EQ(a.last("key")->cells[0], 100U);
}

TEST_F(LessonTest, ARowTaughtTwiceIsNewerTheSecondTime) {
  Hap& a = world.connect("a");
  teaches(a, {{"key", {1, 2}, 5000}, {"key", {3, 4}, 4900}});
  world.pass(1000);
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 3U);
  EXPECT_EQ(a.times("key"), 0U);
}

// What another HAProxy had learned from us arrives a little later there than where it came from,
// and the deadlines tell it the wrong way round.
TEST_F(LessonTest, ALearnedRowLosesAgainstOneOfTheSameMoment) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  teaches(a, {{"key", {5, 5}, 50'000}});
  teaches(b, {}, 60'000, false);
  world.settle();
  learned(world, b, "key", {4, 4}, 50'500);
  b.finish_lesson();
  world.pass(1000);
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 5U);
  EXPECT_EQ(a.times("key"), 0U);
  EXPECT_EQ(b.last("key")->cells[0], 5U);
}

TEST_F(LessonTest, AStaleRowDoesNotOverwriteWhatTheTeacherWasSentMeanwhile) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  teaches(b, {}, 60'000, false);
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {5, 5});
  world.settle();
  ASSERT_EQ(b.times("key"), 1U);
  learned(world, b, "key", {4, 4}, 60'000);  // on its way since before
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 5U);
  EXPECT_EQ(a.times("key"), 0U);
}

TEST_F(LessonTest, ALearnedRowThatIsClearlyNewerWins) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  teaches(a, {{"key", {4, 4}, 50'000}});
  teaches(b, {}, 60'000, false);
  world.settle();
  learned(world, b, "key", {5, 5}, 58'000);
  b.finish_lesson();
  world.pass(1000);
  const auto entry = world.entry("t", "key");
  EXPECT_EQ(entry->value(shm::kGpc0), 5U);
  EXPECT_EQ(entry->expire_left_ms(tick_of(world.now())), 57'000U);  // what was told, and not less
  EXPECT_EQ(a.last("key")->cells[0], 5U);
}

TEST_F(LessonTest, ATaughtValueLosesAgainstANewerOne) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {100, 100});
  world.settle();
  Hap& b = world.connect("b");
  teaches(b, {{"key", {1, 1}, 30'000}, {"other", {2, 2}, 30'000}});
  world.pass(1000);
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 100U);
  EXPECT_EQ(b.last("key")->cells[0], 100U);  // it gets the newer one
  EXPECT_EQ(b.times("other"), 0U);           // and not its own
  EXPECT_EQ(a.times("other"), 1U);
}

TEST_F(LessonTest, ATaughtValueWinsAgainstAnOlderOne) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {1, 1});
  world.pass(40'000);
  Hap& b = world.connect("b");
  teaches(b, {{"key", {100, 100}, 50'000}});
  world.pass(1000);
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 100U);
  EXPECT_EQ(a.last("key")->cells[0], 100U);
  EXPECT_EQ(b.times("key"), 0U);
}

TEST_F(LessonTest, OnlyTheDifferenceIsPushedAfterALesson) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  for (u32 i = 0; i < 1000; ++i) {
    a.update(1, "key" + std::to_string(i), {i, i});
  }
  world.settle();
  Hap& b = world.connect("b");
  std::vector<Taught> rows;
  for (u32 i = 0; i < 900; ++i) {
    rows.push_back({"key" + std::to_string(i), {i, i}, 60'000});
  }
  teaches(b, rows);
  world.pass(1000);
  EXPECT_EQ(b.rows.size(), 100U);
  for (const Hap::Row& row : b.rows) {
    EXPECT_TRUE(row.timed);
    EXPECT_GE(row.cells[0], 900U);
  }
  EXPECT_TRUE(a.rows.empty());
}

TEST_F(LessonTest, WhatAHaproxyChangesMeanwhileIsNotPushedBack) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {1, 1});
  world.settle();
  Hap& b = world.connect("b");
  teaches(b, {}, 60'000, false);
  world.settle();
  b.finish_lesson();
  world.settle();
  b.update(1, "key", {7, 7});
  world.pass(1000);
  EXPECT_EQ(b.times("key"), 0U);
  EXPECT_EQ(a.last("key")->cells[0], 7U);
}

TEST_F(LessonTest, ASilentTeacherIsGivenWhatItLacksAfterAWhile) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {1, 1});
  world.settle();
  Hap& b = world.connect("b");
  b.teach = [] {};
  world.pass(9'000);
  EXPECT_TRUE(b.rows.empty());
  world.pass(2'000);
  EXPECT_EQ(b.times("key"), 1U);
}

TEST_F(LessonTest, LiveChangesReachAHaproxyThatIsStillTeaching) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  world.settle();
  Hap& b = world.connect("b");
  teaches(b, {{"mine", {1, 1}, 60'000}}, 60'000, false);
  world.settle();
  a.update(1, "key", {1, 1});
  a.update(1, "mine", {2, 2});
  world.settle();
  EXPECT_EQ(b.times("key"), 1U);
  EXPECT_EQ(b.times("mine"), 1U);
}

// After a start of lineqd all HAProxys teach at once, each the same.
struct LessonOfAllTest : LessonTest, ::testing::WithParamInterface<u64> {};

TEST_P(LessonOfAllTest, HaproxysThatTeachTheSameAtOnceAreToldNothing) {
  const u64 expire_ms = GetParam();
  std::vector<Taught> rows;
  for (u32 i = 0; i < 1000; ++i) {
    rows.push_back({"key" + std::to_string(i), {i, i}, expire_ms == 0 ? 0 : 30'000U});
  }
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  Hap& c = world.connect("c");
  for (Hap* hap : {&a, &b, &c}) {
    teaches(*hap, rows, expire_ms, false);
  }
  world.settle();
  for (Hap* hap : {&a, &b, &c}) {
    hap->finish_lesson();
    world.pass(1000);
  }
  EXPECT_EQ(world.table("t")->live(), 1000U);
  EXPECT_EQ(a.rows.size() + b.rows.size() + c.rows.size(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Expiry, LessonOfAllTest, ::testing::Values(60'000, 0));

TEST_F(LessonTest, ARequestIsAnsweredWithEverythingAndItsEnd) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.define(2, counters_table("empty"));
  for (u32 i = 0; i < 20'000; ++i) {
    a.update(1, "key" + std::to_string(i), {i, i});
  }
  world.settle();
  world.pass(10'000);
  Hap& b = world.connect("b");
  world.settle();
  b.rows.clear();
  ASSERT_TRUE(b.session->request_lesson());
  world.settle();
  EXPECT_EQ(b.rows.size(), 20'000U);
  EXPECT_TRUE(b.definitions.contains("t"));
  EXPECT_TRUE(b.definitions.contains("empty"));
  EXPECT_EQ(b.lessons_finished, 1U);
  EXPECT_TRUE(b.rows[0].timed);
  EXPECT_EQ(b.rows[0].expire_ms, 50'000U);
  world.pass(200);
  EXPECT_EQ(world.writer().peer_counter(b.peer->no, shm::PeerCounter::lesson_out), 2U);
}

TEST_F(LessonTest, TheAskerGetsItsOwnRowsToo) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {1, 1});
  world.settle();
  a.session->request_lesson();
  world.settle();
  EXPECT_EQ(a.times("key"), 1U);
  EXPECT_EQ(a.lessons_finished, 1U);
}

TEST_F(LessonTest, ARequestWithNothingToTeachIsAnsweredAtOnce) {
  Hap& a = world.connect("a");
  world.settle();
  a.session->request_lesson();
  world.settle();
  EXPECT_EQ(a.lessons_finished, 1U);
}

TEST_F(LessonTest, ASecondRequestRestartsTheLesson) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  for (u32 i = 0; i < 20'000; ++i) {
    a.update(1, "key" + std::to_string(i), {i, i});
  }
  world.settle();
  Hap& b = world.connect("b");
  world.settle();
  b.rows.clear();
  b.reads = false;
  b.session->request_lesson();
  world.settle();  // as far as b's queue goes
  b.reads = true;
  const std::array<u8, 2> request{0, 0};
  world.engine().feed(*b.peer, request, world.now());
  world.settle();
  EXPECT_EQ(b.lessons_finished, 1U);
  EXPECT_GT(b.rows.size(), 20'000U);
  EXPECT_LT(b.rows.size(), 40'000U);
}

TEST_F(LessonTest, LiveChangesDuringALessonArrive) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, counters_table());
  for (u32 i = 0; i < 20'000; ++i) {
    a.update(1, "key" + std::to_string(i), {0, 0});
  }
  world.settle();
  Hap& b = world.connect("b");
  world.settle();
  b.reads = false;
  b.session->request_lesson();
  world.settle();
  for (u32 i = 0; i < 20'000; i += 100) {
    a.update(1, "key" + std::to_string(i), {1, 0});
  }
  world.settle();
  b.reads = true;
  world.settle();
  EXPECT_EQ(b.lessons_finished, 1U);
  const auto last = b.last_of_each();
  for (u32 i = 0; i < 20'000; ++i) {
    ASSERT_EQ(last.at("key" + std::to_string(i))->cells[0], i % 100 == 0 ? 1U : 0U);
  }
}

TEST_F(LessonTest, EntriesThatAreOverAreNotTaught) {
  Hap& a = world.connect("a");
  teaches(a, {{"gone", {1, 1}, 0}, {"here", {1, 1}, 500}});
  world.settle();
  EXPECT_EQ(world.table("t")->live(), 1U);
}

// --- tables without expiry: no deadline tells which of two values is newer ---

TEST_F(LessonTest, AHaproxysOwnChangesWhileLineqdWasAwayWin) {
  Hap* a = &world.connect("a", 7);
  world.settle();
  a->define(1, counters_table("t", 0));
  a->update(1, "key", {1, 1});
  world.settle();
  world.restart();
  a = &world.connect("a", 7);
  teaches(*a, {{"key", {2, 2}, 0}}, 0);
  world.pass(1000);
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 2U);
  EXPECT_TRUE(a->rows.empty());
}

TEST_F(LessonTest, ARowAcknowledgedBeforeTheConnectionBrokeDoesNotWin) {
  Hap* a = &world.connect("a", 7);
  Hap& b = world.connect("b");
  world.settle();
  for (Hap* hap : {a, &b}) {
    hap->define(1, counters_table("t", 0));
  }
  a->update(1, "key", {1, 1});
  world.settle();
  world.disconnect(*a);
  b.update(1, "key", {5, 5});
  world.settle();
  a = &world.connect("a", 7);
  teaches(*a, {{"key", {1, 1}, 0}}, 0);  // the same id again: acknowledged long ago
  world.pass(1000);
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 5U);
  EXPECT_EQ(a->last("key")->cells[0], 5U);
}

// --- the daemon restarted ---

TEST_F(LessonTest, EverythingIsThereAfterAKillAndExpiresAsPlanned) {
  Hap* a = &world.connect("a");
  world.settle();
  a->define(1, counters_table());
  for (u32 i = 0; i < 1000; ++i) {
    a->update(1, "key" + std::to_string(i), {i, i});
  }
  world.settle();
  world.restart();
  EXPECT_EQ(world.table("t")->live(), 1000U);
  a = &world.connect("a");
  world.settle();
  a->session->request_lesson();
  world.settle();
  EXPECT_GE(a->rows.size(), 1000U);
  world.pass(61'000);
  EXPECT_EQ(world.table("t")->live(), 0U);
}

}  // namespace
}  // namespace lineq::test
