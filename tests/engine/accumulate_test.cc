// Mode acc: sums of what several HAProxys tell, and where they go.
#include "daemon/engine/accumulate.h"

#include "tests/engine/world.h"

namespace lineq::engine {
namespace {

using shm::DataTypeBit;
using test::bit;
using test::Hap;
using test::World;

engine::EngineOptions acc(std::vector<AggregateRule> rules = {{"any", ".aggr", Policy::kLatest}},
                          u32 interval_ms = 50) {
  engine::EngineOptions options;
  options.mode = ModeKind::kAccumulate;
  options.accumulate.rules = std::move(rules);
  options.accumulate.interval_ms = interval_ms;
  return options;
}

shm::TableDefinition hits(std::string name = "t", u64 expire_ms = 60'000) {
  return test::string_table(std::move(name), 15, bit(shm::kHttpReqCnt) | bit(shm::kGpt0),
                            expire_ms);
}

class AccumulateTest : public testing::Test {
 protected:
  // A HAProxy with a source table (1) and the one that gets the sums (2).
  static Hap& haproxy(World& world, std::string_view name, const shm::TableDefinition& table,
                      u32 pid = 1) {
    Hap& hap = world.connect(name, pid);
    hap.define(1, table);
    shm::TableDefinition sums = table;
    sums.name += ".aggr";
    hap.define(2, sums);
    hap.teach = [&hap] {
      hap.session->announce(1);
      hap.session->announce(2);
      hap.finish_lesson();
    };
    world.settle();
    return hap;
  }

  static shm::Table* hidden(World& world, shm::TableRole role, u32 scope = shm::kNoScope) {
    for (const u16 no : world.writer().tables()) {
      shm::Table* table = world.writer().table(no);
      if (table->info().role == role && table->info().scope_peer == scope) {
        return table;
      }
    }
    return nullptr;
  }
  static u64 total(World& world, std::string_view key) {
    const shm::Table* ledger = hidden(world, shm::TableRole::kLedger);
    const auto slot = ledger->find({reinterpret_cast<const u8*>(key.data()), key.size()});
    return slot ? ledger->at(*slot).value(shm::kHttpReqCnt) : 0;
  }
  static u64 sum(World& world, std::string_view key, u32 column = shm::kHttpReqCnt) {
    const auto entry = world.entry("t", key);
    return entry ? entry->value(column) : 0;
  }
};

TEST_F(AccumulateTest, SumsGoToEverybodyUnderTheirOwnNameAndNothingToTheSource) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  Hap& b = haproxy(world, "b", hits());
  world.pass(1000);
  a.update(1, "k", {0, 5});
  world.settle();
  b.update(1, "k", {0, 7});
  world.pass(200);
  EXPECT_EQ(sum(world, "k"), 12U);
  EXPECT_EQ(total(world, "k"), 12U);
  for (const Hap* hap : {&a, &b}) {
    ASSERT_NE(hap->last("k"), nullptr);
    EXPECT_EQ(hap->last("k")->table, "t.aggr");
    EXPECT_EQ(hap->last("k")->cells[1], 12U);
    for (const Hap::Row& row : hap->rows) {
      EXPECT_EQ(row.table, "t.aggr");
    }
  }
  EXPECT_EQ(a.acked[1], 1U);
}

TEST_F(AccumulateTest, AtMostOnePushOfAKeyInAnInterval) {
  World world(acc({{"t", "t.aggr", Policy::kLatest}}, 1000));
  Hap& a = haproxy(world, "a", hits());
  world.pass(2000);
  const u64 before = a.times("k");
  for (u64 i = 1; i <= 100; ++i) {
    a.update(1, "k", {0, i});
    world.pass(100);
  }
  world.pass(2000);
  EXPECT_LE(a.times("k") - before, 13U);
  EXPECT_GE(a.times("k") - before, 9U);
  EXPECT_EQ(a.last("k")->cells[1], 100U) << "and the last value is pushed";
}

TEST_F(AccumulateTest, APushDoesNotWaitForTraffic) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  world.pass(1000);
  a.update(1, "k", {0, 1});
  world.settle();
  a.update(1, "k", {0, 2});
  world.settle();
  ASSERT_TRUE(world.engine().next_ms().has_value());
  EXPECT_LE(*world.engine().next_ms(), 100U);
  world.pass(200);
  EXPECT_EQ(a.last("k")->cells[1], 2U);
  EXPECT_FALSE(world.engine().next_ms().has_value());
}

TEST_F(AccumulateTest, PoliciesForWhatCannotBeAdded) {
  for (const auto& [policy, expected] :
       {std::pair{Policy::kLatest, 5U}, {Policy::kMax, 9U}, {Policy::kOr, 13U}}) {
    World world(acc({{"any", ".aggr", policy}}));
    Hap& a = haproxy(world, "a", hits());
    Hap& b = haproxy(world, "b", hits());
    a.update(1, "k", {9, 1});
    world.pass(100);
    b.update(1, "k", {5, 1});
    world.pass(100);
    EXPECT_EQ(sum(world, "k", shm::kGpt0), expected);
  }
}

TEST_F(AccumulateTest, SignedNumbersAndServerNames) {
  World world(acc({{"any", ".aggr", Policy::kMax}}));
  const shm::TableDefinition table =
      test::string_table("t", 15, bit(shm::kServerId) | bit(shm::kServerKey));
  Hap& a = haproxy(world, "a", table);
  a.update(1, "k", {static_cast<u64>(i64{-5}), 0});
  world.pass(100);
  Hap& b = haproxy(world, "b", table);
  b.update(1, "k", {static_cast<u64>(i64{-7}), 0});
  world.pass(100);
  EXPECT_EQ(static_cast<i64>(sum(world, "k", shm::kServerId)), -5);
}

TEST_F(AccumulateTest, SumsStopAtTheirLargestValueTotalsDoNot) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  Hap& b = haproxy(world, "b", hits());
  a.update(1, "k", {0, 0xffff'fff0});
  b.update(1, "k", {0, 0xffff'fff0});
  world.pass(200);
  EXPECT_EQ(sum(world, "k"), 0xffff'ffffU);
  EXPECT_EQ(total(world, "k"), 2 * u64{0xffff'fff0});
}

TEST_F(AccumulateTest, ConnCurLeavesWithTheConnection) {
  World world(acc());
  const shm::TableDefinition table =
      test::string_table("t", 15, bit(shm::kConnCur) | bit(shm::kHttpReqCnt));
  Hap& a = haproxy(world, "a", table);
  Hap& b = haproxy(world, "b", table);
  a.update(1, "k", {3, 10});
  b.update(1, "k", {4, 10});
  world.pass(200);
  EXPECT_EQ(sum(world, "k", shm::kConnCur), 7U);
  world.disconnect(b);
  world.pass(100);
  EXPECT_EQ(sum(world, "k", shm::kConnCur), 3U);
  EXPECT_EQ(sum(world, "k"), 20U) << "its counters stay until their life is over";
  EXPECT_EQ(hidden(world, shm::TableRole::kLedger)->info().definition.has(shm::kConnCur), false);
}

TEST_F(AccumulateTest, WhatExpiresLeavesTheSumAndAllAreTold) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits("t", 5000));
  Hap& b = haproxy(world, "b", hits("t", 5000));
  a.update(1, "k", {0, 5});
  b.update(1, "k", {0, 7});
  world.pass(4000);
  b.update(1, "k", {0, 8});
  world.pass(2000);
  EXPECT_EQ(sum(world, "k"), 8U);
  EXPECT_EQ(a.last("k")->cells[1], 8U);
  world.pass(4000);
  EXPECT_EQ(sum(world, "k"), 0U);
  EXPECT_EQ(a.last("k")->cells[1], 0U) << "never rely on an expiry to take something back";
  world.pass(20'000);
  EXPECT_FALSE(world.table("t")->find({reinterpret_cast<const u8*>("k"), 1}).has_value());
  EXPECT_EQ(total(world, "k"), 13U);
  world.pass(120'000);
  EXPECT_EQ(hidden(world, shm::TableRole::kPart, 0)->live(), 0U) << "parts go too, in the end";
  a.update(1, "k", {0, 2});
  world.pass(100);
  EXPECT_EQ(total(world, "k"), 15U) << "a new entry counts from zero";
}

// The untimed second copy after a lesson (peers-protocol 7.3).
TEST_F(AccumulateTest, ARepetitionDoesNotLengthenALife) {
  World world(acc());
  Hap& a = world.connect("a");
  a.define(1, hits());
  a.teach = [&a] {
    a.update(1, "k", {0, 5}, 3000);
    a.finish_lesson();
  };
  world.settle();
  a.session->update(1, {reinterpret_cast<const u8*>("k"), 1}, std::vector<u64>{0, 5}, {});
  world.pass(2000);
  EXPECT_EQ(sum(world, "k"), 5U);
  EXPECT_EQ(total(world, "k"), 5U);
}

TEST_F(AccumulateTest, ARestartedHaproxyReplacesWhatItHad) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  Hap& b = haproxy(world, "b", hits());
  a.update(1, "k", {0, 50});
  a.update(1, "gone", {0, 3});
  b.update(1, "k", {0, 7});
  world.pass(100);
  world.disconnect(a);
  world.pass(1000);
  EXPECT_EQ(sum(world, "k"), 57U);
  Hap& again = world.connect("a", 2);
  again.define(1, hits());
  again.teach = [&again] {
    again.update(1, "k", {0, 60}, 50'000);
    again.finish_lesson();
  };
  world.settle();
  ASSERT_TRUE(again.session->established());
  again.session->request_lesson();
  world.pass(1000);
  EXPECT_EQ(sum(world, "k"), 67U);
  EXPECT_EQ(sum(world, "gone"), 0U);
  EXPECT_EQ(total(world, "k"), 50U + 60 + 7);
}

TEST_F(AccumulateTest, AReloadedHaproxyGoesOn) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  a.update(1, "k", {0, 50});
  world.pass(100);
  world.disconnect(a);
  Hap& heir = world.connect("a", 2);
  heir.define(1, hits());
  heir.teach = [&heir] {
    heir.update(1, "k", {0, 60}, 50'000);
    heir.finish_lesson();
  };
  world.pass(10'000);
  EXPECT_EQ(sum(world, "k"), 60U);
  EXPECT_EQ(total(world, "k"), 60U);
}

// It started while lineqd was away and does not ask any more; but it lacks what its predecessor
// had.
TEST_F(AccumulateTest, ABeginnerIsKnownByWhatItLacks) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  a.update(1, "k", {0, 50});
  a.update(1, "other", {0, 3});
  world.pass(100);
  world.disconnect(a);
  Hap& beginner = world.connect("a", 2);
  beginner.define(1, hits());
  beginner.teach = [&beginner] {
    beginner.update(1, "k", {0, 60}, 50'000);
    beginner.finish_lesson();
  };
  world.pass(10'000);
  EXPECT_EQ(total(world, "k"), 60U);
  EXPECT_EQ(sum(world, "k"), 60U);
  EXPECT_EQ(sum(world, "other"), 0U);
  EXPECT_EQ(total(world, "other"), 3U);
}

TEST_F(AccumulateTest, SumsAreMadeAnewAfterAKill) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  a.update(1, "k", {0, 50});
  world.pass(100);
  a.update(1, "k", {0, 55});
  world.settle();  // the part is in the segment, its sum still waits
  EXPECT_EQ(sum(world, "k"), 50U);
  world.restart();
  world.pass(200);
  EXPECT_EQ(sum(world, "k"), 55U);
  EXPECT_EQ(total(world, "k"), 55U);
}

TEST_F(AccumulateTest, ALessonOfOursHasSumsOnly) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  a.update(1, "k", {0, 50});
  world.pass(1000);
  Hap& b = haproxy(world, "b", hits());
  b.session->request_lesson();
  world.pass(1000);
  EXPECT_EQ(b.lessons_finished, 1U);
  ASSERT_NE(b.last("k"), nullptr);
  EXPECT_EQ(b.last("k")->table, "t.aggr");
  EXPECT_EQ(b.definitions.count("t"), 0U);
}

TEST_F(AccumulateTest, WithoutTheTableNobodyIsSentSums) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  Hap& poor = world.connect("poor");
  poor.define(1, hits());
  world.pass(2000);
  a.update(1, "k", {0, 50});
  world.pass(1000);
  EXPECT_EQ(poor.times("k"), 0U);
  EXPECT_GT(a.times("k"), 0U);
  // It gets the table by a reload, and the sums with it.
  poor.define(2, hits("t.aggr"));
  a.update(1, "k", {0, 51});
  world.pass(1000);
  EXPECT_EQ(poor.last("k")->cells[1], 51U);
}

TEST_F(AccumulateTest, SumsThatComeBackAreEchoes) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits());
  a.update(1, "k", {0, 50});
  world.pass(1000);
  a.update(2, "k", {0, 999});
  world.pass(1000);
  EXPECT_EQ(sum(world, "k"), 50U);
  EXPECT_EQ(a.acked[2], 1U) << "so that it does not tell it again and again";
}

TEST_F(AccumulateTest, ImpossibleValuesAreRefusedAndCounted) {
  World world(acc());
  const shm::TableDefinition table =
      test::string_table("t", 15, bit(shm::kHttpReqCnt) | bit(shm::kHttpReqRate));
  Hap& a = haproxy(world, "a", table);
  a.update(1, "fine", {1, 0xffff'fff0, 7, 0});        // another thread of it was a moment ahead
  a.update(1, "never used", {1, 0x9000'0000, 0, 0});  // the sender's whole clock
  a.update(1, "old", {1, 0x9000'0000, 7, 0});
  a.update(1, "many", {1, 100, 0x9000'0000, 0});
  world.pass(200);
  const auto rate = [&](std::string_view key) {
    return world.entry("t", key)->rate_now(shm::kHttpReqRate, 0, tick_of(world.now()));
  };
  EXPECT_EQ(rate("fine"), 7U);
  EXPECT_EQ(rate("never used"), 0U);
  EXPECT_EQ(rate("old"), 0U);
  EXPECT_EQ(rate("many"), 0U);
  EXPECT_EQ(total(world, "many"), 1U) << "the rest of the row is fine";
  const auto record = world.writer().find_peer_table(a.peer->no, world.table("t")->info());
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(world.writer().peer_table_counter(*record, shm::PeerTableCounter::refused_values), 2U);
  EXPECT_EQ(world.writer().peer_table_counter(*record, shm::PeerTableCounter::updates), 4U);
}

TEST_F(AccumulateTest, ColumnsOfOneHaproxyOnlyAndLongerArrays) {
  World world(acc());
  shm::TableDefinition narrow = test::string_table("t", 15, bit(shm::kHttpReqCnt) | bit(shm::kGpc));
  narrow.elements[shm::kGpc] = 2;
  shm::TableDefinition wide =
      test::string_table("t", 15, bit(shm::kHttpReqCnt) | bit(shm::kBytesInCnt) | bit(shm::kGpc));
  wide.elements[shm::kGpc] = 4;
  Hap& a = haproxy(world, "a", narrow);
  a.update(1, "k", {5, 1, 2});
  world.pass(100);
  Hap& b = haproxy(world, "b", wide);
  b.update(1, "k", {7, u64{1} << 40, 10, 20, 30, 40});
  a.update(1, "k", {6, 1, 3});
  world.pass(200);
  const auto entry = world.entry("t", "k");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->value(shm::kHttpReqCnt), 13U);
  EXPECT_EQ(entry->value(shm::kBytesInCnt), u64{1} << 40);
  EXPECT_EQ(entry->value(shm::kGpc, 1), 23U);
  EXPECT_EQ(entry->value(shm::kGpc, 3), 40U);
  EXPECT_EQ(total(world, "k"), 13U);
  const shm::Table* ledger = hidden(world, shm::TableRole::kLedger);
  EXPECT_EQ(ledger->at(*ledger->find({reinterpret_cast<const u8*>("k"), 1})).value(shm::kGpc, 1),
            23U);
}

TEST_F(AccumulateTest, ARateKeepsThePeriodOfWhoCountsIt) {
  World world(acc());
  shm::TableDefinition slow = test::string_table("t", 15, bit(shm::kHttpReqRate));
  slow.period_ms[shm::kHttpReqRate] = 10'000;
  shm::TableDefinition fast = slow;
  fast.period_ms[shm::kHttpReqRate] = 1000;
  Hap& a = haproxy(world, "a", slow);
  Hap& b = haproxy(world, "b", fast);
  a.update(1, "k", {0, 100, 0});
  b.update(1, "k", {0, 10, 0});
  world.pass(200);
  EXPECT_EQ(world.entry("t", "k")->rate_now(shm::kHttpReqRate, 0, tick_of(world.now())), 110U);
  world.pass(1500);
  b.update(1, "k", {0, 10, 0});
  EXPECT_EQ(hidden(world, shm::TableRole::kPart, 1)->info().definition.period_ms[shm::kHttpReqRate],
            1000U);
}

TEST_F(AccumulateTest, ANewerProcessOfTheSameNameIsTheHeir) {
  World world(acc());
  Hap& a = haproxy(world, "a", hits(), 1);
  a.update(1, "k", {0, 5});
  world.pass(100);
  Hap& heir = haproxy(world, "a", hits(), 2);
  EXPECT_EQ(a.peer, nullptr) << "its session is dead or dying";
  heir.update(1, "k", {0, 6});
  world.pass(10'000);
  EXPECT_EQ(sum(world, "k"), 6U);
  // Two living HAProxys of one name are let be, and reported.
  Hap& old = haproxy(world, "a", hits(), 1);
  EXPECT_NE(old.peer, nullptr);
  EXPECT_NE(heir.peer, nullptr);
}

TEST_F(AccumulateTest, AFullMemoryLosesNothingThatIsCounted) {
  shm::WriterOptions segment;
  segment.memory_limit = u64{9} << 20;
  World world(acc(), segment);
  Hap& a = haproxy(world, "a", hits());
  u64 sent = 0;
  for (u64 i = 0; i < 30'000; ++i) {
    a.update(1, fmt::format("k{}", i), {0, 3});
    ++sent;
    if (i % 1000 == 0) {
      world.settle();
    }
  }
  world.pass(500);
  const shm::Table* ledger = hidden(world, shm::TableRole::kLedger);
  const shm::Table* part = hidden(world, shm::TableRole::kPart, 0);
  EXPECT_LT(ledger->live(), sent);
  EXPECT_GT(world.table_counter("t", shm::TableCounter::refused), 0U);
  EXPECT_EQ(part->live(), ledger->live()) << "both or none";
}

TEST_F(AccumulateTest, AnotherModeBeginsWithEmptyTables) {
  test::TempInstance instance;
  shm::WriterOptions options;
  options.instance = instance.name();
  options.feed_log2 = 16;
  auto attached = shm::Writer::attach(options);
  ASSERT_TRUE(attached.ok());
  shm::Writer& writer = **attached;
  cli::set_log_level(cli::LogLevel::kErr);
  {
    const Engine engine(writer, acc(), 1000);
    ASSERT_TRUE(writer.table_for(hits(), 1000).ok());
    ASSERT_TRUE(writer.table_for(hits(), 1000, shm::TableRole::kPart, 0).ok());
    shm::TableDefinition totals = hits();
    totals.data_types = bit(shm::kHttpReqCnt);
    ASSERT_TRUE(writer.table_for(totals, 1000, shm::TableRole::kLedger).ok());
  }
  { const Engine same(writer, acc(), 2000); }
  EXPECT_EQ(writer.tables().size(), 3U);
  { const Engine other(writer, EngineOptions(), 3000); }
  ASSERT_EQ(writer.tables().size(), 1U);
  EXPECT_EQ(writer.table(writer.tables()[0])->info().role, shm::TableRole::kLedger);
}

TEST(OutletTest, NamesOfWhereSumsGo) {
  const std::vector<AggregateRule> rules{{"src", "src.sum", Policy::kMax},
                                         {"/only", "all", Policy::kLatest},
                                         {"quiet", "", Policy::kOr},
                                         {"any", ".aggr", Policy::kLatest}};
  EXPECT_EQ(outlet_of(rules, "src").to, "src.sum");
  EXPECT_EQ(outlet_of(rules, "/src").to, "/src.sum");
  EXPECT_EQ(outlet_of(rules, "src").policy, Policy::kMax);
  EXPECT_EQ(outlet_of(rules, "/only").to, "all");
  EXPECT_EQ(outlet_of(rules, "only").to, "only.aggr");
  EXPECT_EQ(outlet_of(rules, "quiet").to, "");
  EXPECT_EQ(outlet_of(rules, "quiet").policy, Policy::kOr);
  EXPECT_EQ(outlet_of(rules, "/other").to, "/other.aggr");
  for (const std::string_view name : {"src.sum", "/src.sum", "all", "x.aggr", "/x.aggr"}) {
    EXPECT_TRUE(is_outlet(rules, name)) << name;
    EXPECT_EQ(outlet_of(rules, name).to, "") << name;
  }
  EXPECT_FALSE(is_outlet(rules, "/all"));
  EXPECT_FALSE(is_outlet(rules, ".aggr"));
  EXPECT_FALSE(is_outlet(rules, "src"));
  EXPECT_EQ(outlet_of({}, "src").to, "");
}

}  // namespace
}  // namespace lineq::engine
