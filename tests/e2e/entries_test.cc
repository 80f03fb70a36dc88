// What operators do to entries with lineqctl, seen from real HAProxys.
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "shm/reader.h"
#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

class EntriesTest : public testing::Test {
 protected:
  Finished ctl(std::vector<std::string> words) {
    return run(world_.lineq.command(lineqctl_path(), std::move(words)));
  }
  std::string here(const std::string& key, const std::string& column) {
    return parse_show_table(world_.lineq.dump({"-t", "/plain"}).out).value(key, column);
  }

  World world_;
};

class HaproxyEntriesTest : public EntriesTest {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }
  void request(std::size_t i, const std::string& key, int times = 1) {
    for (int n = 0; n < times; ++n) {
      ASSERT_EQ(http_get(world_.at(i).http_port(), "/plain?k=" + key).status, 200);
    }
  }
  // Both HAProxys show this value; "" or what they show.
  std::string wait_both(const std::string& key, const std::string& column,
                        const std::string& expected) {
    std::string a;
    std::string b;
    const bool same = wait_until([&] {
      a = world_.at(0).show_table("lq/plain").value(key, column);
      b = world_.at(1).show_table("lq/plain").value(key, column);
      return a == expected && b == expected;
    });
    return same ? "" : fmt::format("{}: '{}' and '{}', not '{}'", key, a, b, expected);
  }
};

TEST_F(HaproxyEntriesTest, WhatIsSetIsOnAllHaproxysAndTheyCountOnFromThere) {
  request(0, "a", 3);
  ASSERT_EQ(wait_both("a", "gpc0", "3"), "") << world_.story();
  const Finished set = ctl({"set", "table", "lq/plain", "key", "a", "data.gpc0", "40"});
  EXPECT_EQ(set.exit_code, 0) << set.err;
  EXPECT_EQ(set.out, "changed\n");
  EXPECT_EQ(wait_both("a", "gpc0", "40"), "") << world_.story();
  const std::string gpc1 = here("a", "gpc1");
  EXPECT_NE(gpc1, "");
  EXPECT_EQ(wait_both("a", "gpc1", gpc1), "") << "what is not named stays";
  request(0, "a");
  EXPECT_EQ(wait_both("a", "gpc0", "41"), "") << world_.story();

  // A new one, with a life of its own.
  const Finished made =
      ctl({"set", "table", "plain", "key", "b", "data.gpc1", "7", "expire", "60000"});
  EXPECT_EQ(made.out, "made\n") << made.err;
  EXPECT_EQ(wait_both("b", "gpc1", "7"), "") << world_.story();
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string life = world_.at(i).show_table("lq/plain").value("b", "exp");
    EXPECT_LE(std::stoul(life), 60'000U) << world_.at(i).name();
  }
  EXPECT_EQ(here("b", "gpc1"), "7");
}

TEST_F(HaproxyEntriesTest, WhatIsClearedIsGoneAndCountsFromZero) {
  for (int i = 1; i <= 5; ++i) {
    request(static_cast<std::size_t>(i % 2), fmt::format("k{}", i), i);
  }
  for (int i = 1; i <= 5; ++i) {
    ASSERT_EQ(wait_both(fmt::format("k{}", i), "gpc0", std::to_string(i)), "") << world_.story();
  }
  const Finished one = ctl({"clear", "table", "lq/plain", "key", "k5"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(one.out, "1 entry cleared\n");
  EXPECT_EQ(here("k5", "gpc0"), "");
  EXPECT_EQ(wait_both("k5", "gpc0", ""), "") << "not zero and not there: " << world_.story();
  // It counts from the beginning, where it was told and where it was not.
  request(1, "k5");
  EXPECT_EQ(wait_both("k5", "gpc0", "1"), "") << world_.story();

  const Finished some = ctl({"clear", "table", "plain", "data.gpc0", "gt", "2"});
  EXPECT_EQ(some.out, "2 entries cleared\n") << some.err;
  for (const auto& [key, value] : {std::pair{"k1", "1"}, {"k2", "2"}, {"k3", ""}, {"k4", ""}}) {
    EXPECT_EQ(wait_both(key, "gpc0", value), "") << world_.story();
  }
  EXPECT_EQ(ctl({"clear", "table", "plain"}).out, "3 entries cleared\n");
  EXPECT_EQ(world_.wait_same("lq/plain", 0), "");
  EXPECT_EQ(ctl({"clear", "table", "plain", "key", "k1"}).out, "0 entries cleared\n");
}

// A hundred and fifty thousand entries, and a HAProxy that has stopped reading: the removal waits
// for it in the middle.
class ManyEntriesTest : public EntriesTest {
 protected:
  static constexpr u64 kEntries = 150'000;

  void SetUp() override {
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    writer_ = world_.fake("writer", false, false);
    FakePeerSetup slow;
    slow.port = world_.lineq.tcp_port();
    slow.name = "reader";
    slow.keep_rows = false;
    slow.receive_buffer = 65536;
    reader_ = std::make_unique<FakePeer>(slow);
    ASSERT_TRUE(writer_->connect()) << writer_->why_ended();
    ASSERT_TRUE(reader_->connect()) << reader_->why_ended();
    reader_->define(1, plain_table());
    writer_->define(1, plain_table());
    // What they lack is nothing yet; later it would be told in between.
    ASSERT_TRUE(wait_until([&] {
      return writer_->pump() && reader_->pump() &&
             world_.log_lines("brought up to date").size() == 2;
    })) << world_.story();
    for (u64 i = 0; i < kEntries; ++i) {
      writer_->update(1, fmt::format("{:060}", i), plain_row(i));
      if (i % 1000 == 0) {
        ASSERT_TRUE(writer_->pump());
        ASSERT_TRUE(reader_->pump());
      }
    }
    ASSERT_TRUE(writer_->pump_until([&] { return writer_->all_acked(); }));
    ASSERT_TRUE(reader_->pump_until([&] { return reader_->updates_received() >= kEntries; }));
    shm::Source source;
    source.instance = world_.lineq.name();
    auto segment = shm::Reader::open(source);
    ASSERT_TRUE(segment) << segment.error().what;
    segment_.emplace(std::move(*segment));
    ASSERT_EQ(used(), kEntries);
    told_before_ = reader_->updates_received();
    Command clear = world_.lineq.command(lineqctl_path(), {"clear", "table", "plain"});
    clear.output = world_.lineq.file("clear");
    client_ = Process(clear);
    u64 left = kEntries;
    // The reader is waited for during 5 s: whatever is done with that follows at once.
    ASSERT_TRUE(wait_until([&] { return (left = used()) < kEntries; })) << world_.story();
    ASSERT_GT(left, 0U) << "the reader's buffers took it all";
  }
  // From the segment: a program would take too much of the 5 s on a busy machine.
  u64 used() {
    (void)segment_->refresh();  // while lineqd is away the segment is as it left it
    const shm::TableInfo* const table = segment_->find_table("plain");
    return table == nullptr ? ~u64{0} : segment_->stats(*table).live;
  }

  std::unique_ptr<FakePeer> writer_;
  std::unique_ptr<FakePeer> reader_;
  std::optional<shm::Reader> segment_;
  Process client_;
  u64 told_before_ = 0;
};

TEST_F(ManyEntriesTest, ALineqdThatIsKilledInBetweenLeavesASoundSegment) {
  world_.kill_daemon();
  EXPECT_EQ(client_.wait(), 2);
  EXPECT_NE(client_.err().find("lineqd went away before it answered"), std::string::npos)
      << client_.err() << client_.out();
  const Finished verified = world_.lineq.dump({"--verify"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(wait_until([&] { return ctl({"info"}).exit_code == 0; }));
  const u64 left = used();
  EXPECT_GT(left, 0U);
  EXPECT_LT(left, kEntries);
  // And it can be done again.
  EXPECT_EQ(ctl({"clear", "table", "plain"}).out, fmt::format("{} entries cleared\n", left));
  EXPECT_EQ(used(), 0U);
}

TEST_F(ManyEntriesTest, WhoeverAskedMayGoAway) {
  client_.kill();
  EXPECT_EQ(ctl({"info"}).exit_code, 0);  // others are answered meanwhile
  EXPECT_GT(used(), 0U);
  EXPECT_TRUE(reader_->pump_until([&] { return writer_->pump() && used() == 0; }))
      << world_.story();
  EXPECT_TRUE(reader_->pump_until([&] {
    return reader_->updates_received() >= told_before_ + kEntries;
  })) << reader_->updates_received()
      << " of " << told_before_ << " + " << kEntries << "\n"
      << world_.story();
  EXPECT_TRUE(wait_until([&] {
    return !world_.log_lines("clear_table {\"cleared\":150000}").empty();
  })) << world_.story();
}

TEST_F(EntriesTest, WhereAnotherCommandIsTheRightOneItIsNamed) {
  world_.lineq.set("SERVICE_MODE", "vwr");
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  const auto peer = world_.fake("hap");
  ASSERT_TRUE(peer->connect()) << peer->why_ended();
  peer->define(1, string_table("timestamps", 64, u64{1} << shm::kGpt0 | u64{1} << shm::kGpc1));
  ASSERT_NE(peer->update(1, "a@default", plain_row(0, 0)), 0U);
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); }));
  Finished no = ctl({"clear", "table", "timestamps"});
  EXPECT_EQ(no.exit_code, 1);
  EXPECT_EQ(no.err,
            "lineqctl: table timestamps holds the visitors of the waiting rooms: use revoke ROOM "
            "SESSION, revoke ROOM --all or admit ROOM N\n");
  EXPECT_EQ(ctl({"set", "table", "timestamps", "key", "a@default", "data.gpc1", "1"}).exit_code, 1);
  no = ctl({"set", "table", "times", "key", "a", "data.gpc1", "1"});
  EXPECT_EQ(no.exit_code, 2);
  EXPECT_EQ(no.err, "lineqctl: there is no table 'times'\n");

  world_.kill_daemon();
  world_.lineq.set("SERVICE_MODE", "acc");
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(peer->connect()) << peer->why_ended();
  peer->define(2, plain_table());
  ASSERT_NE(peer->update(2, "k", plain_row(1)), 0U);
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); }));
  no = ctl({"clear", "table", "plain", "data.gpc0", "gt", "0"});
  EXPECT_EQ(no.exit_code, 1);
  EXPECT_TRUE(no.err.starts_with("lineqctl: table /plain is what HAProxys have counted, added up"))
      << no.err;
  EXPECT_EQ(here("k", "gpc0"), "1");
}

}  // namespace
}  // namespace lineq::test
