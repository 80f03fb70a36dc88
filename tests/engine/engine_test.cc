#include "daemon/engine/engine.h"

#include "tests/engine/world.h"

namespace lineq::test {
namespace {

using shm::DaemonCounter;

struct EngineTest : ::testing::Test {
  World world;
};

TEST_F(EngineTest, AHelloForAnotherNameIsClosedWithoutAStatus) {
  Hap& a = world.connect("a", 1, "10.0.0.1", "somebody");
  world.settle();
  EXPECT_EQ(a.peer, nullptr);
  EXPECT_EQ(a.session->status(), 0U);
  EXPECT_EQ(world.counter(DaemonCounter::handshake_errors), 1U);
}

TEST_F(EngineTest, TheNewestHelloOfAProcessWins) {
  Hap& old = world.connect("a", 7);
  world.settle();
  old.define(1, counters_table());
  old.update(1, "key", {1, 1});
  world.settle();
  const PeerNo no = old.peer->no;
  Hap& young = world.connect("a", 7);
  world.settle();
  EXPECT_EQ(old.peer, nullptr);
  ASSERT_NE(young.peer, nullptr);
  EXPECT_TRUE(young.session->established());
  EXPECT_EQ(young.peer->no, no);
  EXPECT_EQ(world.engine().book().by_no(no), young.peer);
  young.define(1, counters_table());
  young.update(1, "key", {2, 2});
  world.settle();
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc0), 2U);
}

TEST_F(EngineTest, SeveralOfOneNameLiveSideBySide) {
  Hap& a = world.connect("local", 7, "10.0.0.1");
  Hap& b = world.connect("local", 8, "10.0.0.1");
  Hap& c = world.connect("local", 7, "10.0.0.2");
  world.settle();
  for (Hap* hap : {&a, &b, &c}) {
    ASSERT_NE(hap->peer, nullptr);
    hap->define(1, counters_table());
  }
  a.update(1, "key", {1, 1});
  world.settle();
  EXPECT_EQ(b.times("key"), 1U);
  EXPECT_EQ(c.times("key"), 1U);
}

TEST_F(EngineTest, AConnectionWithoutAHelloIsClosed) {
  engine::Peer* silent = world.stranger();
  ASSERT_NE(silent, nullptr);
  world.pass(4'900);
  EXPECT_FALSE(silent->session.ended());
  world.pass(200);
  EXPECT_TRUE(silent->session.ended());
}

TEST_F(EngineTest, TheOldestOfTooManyStrangersMakesRoom) {
  std::vector<engine::Peer*> strangers;
  for (u32 i = 0; i < engine::EngineOptions{}.max_strangers; ++i) {
    strangers.push_back(world.stranger());
  }
  EXPECT_FALSE(strangers.front()->session.ended());
  Hap& a = world.connect("a");
  EXPECT_TRUE(strangers.front()->session.ended());
  EXPECT_FALSE(strangers.back()->session.ended());
  world.settle();
  EXPECT_TRUE(a.session->established());
}

TEST_F(EngineTest, ASilentPeerIsClosed) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  world.settle();
  engine::Peer* silent = world.stranger();
  const std::string_view hello = "HAProxyS 2.1\nlineq\nsilent 5 1\n";
  world.engine().feed(*silent, {reinterpret_cast<const u8*>(hello.data()), hello.size()},
                      world.now());
  EXPECT_TRUE(silent->session.established());
  world.pass(10'100);
  EXPECT_TRUE(silent->session.ended());
  EXPECT_TRUE(a.session->established());
  EXPECT_TRUE(b.session->established());
}

TEST_F(EngineTest, APeerThatNeverReadsIsClosedInTheEnd) {
  engine::EngineOptions options;
  options.max_unread_bytes = 4096;
  World small(options);
  Hap& a = small.connect("a");
  Hap& b = small.connect("b");
  small.settle();
  a.define(1, counters_table());
  b.define(1, counters_table());
  small.settle();
  b.reads = false;
  for (u32 i = 0; i < 1000; ++i) {
    a.update(1, "key" + std::to_string(i), {1, 1});
  }
  small.pass(200);
  EXPECT_EQ(b.peer, nullptr);
  EXPECT_NE(a.peer, nullptr);
}

TEST_F(EngineTest, GarbageEndsOneSessionAndNoOther) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {1, 1});
  world.settle();
  const std::array<u8, 4> garbage{0xff, 0xff, 1, 2};
  world.engine().feed(*a.peer, garbage, world.now());
  world.settle();
  EXPECT_EQ(a.peer, nullptr);
  EXPECT_EQ(world.counter(DaemonCounter::protocol_errors), 1U);
  EXPECT_TRUE(b.session->established());
  b.define(1, counters_table());
  b.update(1, "other", {1, 1});
  world.settle();
  EXPECT_TRUE(world.entry("t", "other"));
}

TEST_F(EngineTest, CountersOfAPeerAreInTheSegment) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  world.settle();
  world.pass(1'000);  // lessons are over
  a.define(1, counters_table());
  a.update(1, "key", {1, 1});
  world.pass(3'500);
  const auto of = [&](const Hap& hap, shm::PeerCounter c) {
    return world.writer().peer_counter(hap.peer->no, c);
  };
  EXPECT_EQ(of(a, shm::PeerCounter::updates_in), 1U);
  EXPECT_EQ(of(a, shm::PeerCounter::updates_out), 0U);
  EXPECT_EQ(of(b, shm::PeerCounter::updates_out), 1U);
  EXPECT_EQ(of(a, shm::PeerCounter::acks_out), 1U);
  EXPECT_EQ(of(a, shm::PeerCounter::sessions), 1U);
  EXPECT_EQ(of(b, shm::PeerCounter::lag), 0U);
  EXPECT_GE(of(a, shm::PeerCounter::heartbeats_in), 1U);
  EXPECT_EQ(world.counter(DaemonCounter::updates_in), 1U);
  EXPECT_EQ(world.counter(DaemonCounter::updates_out), 1U);
  EXPECT_EQ(world.counter(DaemonCounter::bytes_in),
            of(a, shm::PeerCounter::bytes_in) + of(b, shm::PeerCounter::bytes_in));
}

// --- definitions ---

TEST_F(EngineTest, EqualDefinitionsAreNoConflict) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  world.settle();
  a.define(1, counters_table());
  b.define(9, counters_table());
  world.settle();
  EXPECT_EQ(world.counter(DaemonCounter::definition_conflicts), 0U);
}

TEST_F(EngineTest, EveryKindOfDifferenceIsCountedOnce) {
  Hap& a = world.connect("a");
  world.settle();
  a.define(1, string_table("t", 31, bit(shm::kGpc0) | bit(shm::kHttpReqRate), 60'000));
  world.settle();

  auto other = string_table("t", 31, bit(shm::kGpc0) | bit(shm::kHttpReqRate), 60'000);
  other.period_ms[shm::kHttpReqRate] = 20'000;
  const auto expect = [&](const shm::TableDefinition& definition, std::string_view name,
                          u64 count) {
    Hap& hap = world.connect(name);
    world.settle();
    hap.define(1, definition);
    hap.define(1, definition);
    world.settle();
    EXPECT_EQ(world.counter(DaemonCounter::definition_conflicts), count) << name;
  };
  expect(other, "period", 1);
  expect(string_table("t", 31, bit(shm::kGpc0), 60'000), "subset", 2);
  expect(string_table("t", 31, bit(shm::kGpc0) | bit(shm::kHttpReqRate), 90'000), "expiry", 3);
  expect(string_table("t", 15, bit(shm::kGpc0) | bit(shm::kHttpReqRate), 90'000), "key", 4);
  expect(string_table("t", 31, bit(shm::kGpc1), 90'000), "columns", 5);
  EXPECT_EQ(world.writer().tables().size(), 2U);
}

TEST_F(EngineTest, ADefinitionThatCannotBeKeptCostsNothingButItsUpdates) {
  Hap& a = world.connect("a");
  world.settle();
  auto huge = string_table("huge", 31, bit(shm::kGpc), 60'000);
  huge.elements[shm::kGpc] = 100;
  huge.key_bytes = 5000;
  a.define(1, huge);
  a.update(1, "key", std::vector<u64>(100, 1));
  a.define(2, counters_table());
  a.update(2, "key", {1, 1});
  world.settle();
  EXPECT_EQ(world.table("huge"), nullptr);
  EXPECT_TRUE(world.entry("t", "key"));
}

TEST_F(EngineTest, ADefinitionMayChangeDuringASession) {
  Hap& a = world.connect("a");
  Hap& b = world.connect("b");
  world.settle();
  a.define(1, string_table("t", 31, bit(shm::kGpc0), 60'000));
  b.define(1, string_table("t", 31, bit(shm::kGpc0), 60'000));
  a.update(1, "key", {1});
  world.settle();
  a.define(1, counters_table());
  a.update(1, "key", {2, 3});
  world.settle();
  EXPECT_EQ(world.entry("t", "key")->value(shm::kGpc1), 3U);
  EXPECT_EQ(b.last("key")->cells, (std::vector<u64>{2}));
}

// Who says nothing of a table that others tell of is named once, and again when it speaks.
TEST_F(EngineTest, SilenceOnATableIsReportedOnce) {
  Hap& quiet = world.connect("quiet", 1, "10.0.0.1");
  Hap& busy = world.connect("busy", 1, "10.0.0.2");
  world.settle();
  quiet.define(1, counters_table());
  busy.define(1, counters_table());
  world.settle();
  cli::set_log_level(cli::LogLevel::kNotice);
  testing::internal::CaptureStderr();
  for (u64 i = 0; i < 15; ++i) {
    busy.update(1, "key", {i, i});
    world.pass(30'000);
  }
  quiet.update(1, "key", {1, 1});
  world.settle();
  const std::string log = testing::internal::GetCapturedStderr();
  cli::set_log_level(cli::LogLevel::kErr);
  const auto times = [&](std::string_view text) {
    std::size_t n = 0;
    for (std::size_t at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) {
      ++n;
    }
    return n;
  };
  EXPECT_EQ(times("(quiet, pid 1): silent on table t for 300 s"), 1U) << log;
  EXPECT_EQ(times("(quiet, pid 1): tells of table t again"), 1U) << log;
  EXPECT_EQ(times("(busy, pid 1): silent"), 0U) << log;
}

TEST_F(EngineTest, ATableThatOthersHaveIsMissed) {
  Hap& a = world.connect("a", 1, "10.0.0.1");
  world.settle();
  a.define(1, counters_table());
  world.settle();
  cli::set_log_level(cli::LogLevel::kNotice);
  testing::internal::CaptureStderr();
  world.connect("b", 1, "10.0.0.2");
  world.pass(2000);
  const std::string log = testing::internal::GetCapturedStderr();
  cli::set_log_level(cli::LogLevel::kErr);
  EXPECT_NE(log.find("(b, pid 1): has no table t, which 1 other has announced"), std::string::npos)
      << log;
}

}  // namespace
}  // namespace lineq::test
