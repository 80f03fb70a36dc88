// Mode agg with real HAProxys: two LineQs side by side, definitions that differ, expiry, and
// lessons while updates flow.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

class AggTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  }
  void request(std::size_t i, const std::string& key) {
    ASSERT_EQ(http_get(world_.at(i).http_port(), "/plain?k=" + key).status, 200);
  }
  // Column of one entry on HAProxy `i`, once it is `expected`; otherwise what it is.
  std::string wait_value(std::size_t i, const std::string& table, const std::string& key,
                         const std::string& column, const std::string& expected) {
    std::string value;
    wait_until([&] {
      value = world_.at(i).show_table(table).value(key, column);
      return value == expected;
    });
    return value;
  }

  World world_;
};

// --- two LineQs ---

class TwoLineqsTest : public AggTest {
 protected:
  void SetUp() override {
    AggTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
      return;
    }
    second_.set("LINEQ_PEER_NAME", "lineq2");
    start_second();
    const std::string config =
        with(plain_config(), "    server lineq 127.0.0.1:{tcp}\n",
             "    server lineq 127.0.0.1:{tcp}\n    server lineq2 127.0.0.1:{tcp2}\n");
    for (const auto& [version, name] :
         {std::pair{HaproxyVersion::k26, "hap-a"}, std::pair{HaproxyVersion::k30, "hap-b"},
          std::pair{HaproxyVersion::k26, "hap-c"}}) {
      ASSERT_NE(
          world_.add(version, name, config, false, {{"tcp2", std::to_string(second_.tcp_port())}}),
          nullptr)
          << world_.trouble;
    }
    wait_all_sessions();
  }
  void start_second() {
    second_daemon_ = second_.start_lineqd();
    ASSERT_TRUE(second_.wait_listening(second_daemon_)) << second_daemon_.err();
  }
  void wait_all_sessions() {
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
    for (std::size_t i = 0; i < world_.count(); ++i) {
      ASSERT_TRUE(world_.at(i).wait_peer(kPatience, "lineq2")) << world_.at(i).peer("lineq2").text;
    }
  }
  std::unique_ptr<FakePeer> witness(u16 port, const std::string& target) {
    FakePeerSetup setup;
    setup.port = port;
    setup.name = "witness";
    setup.target = target;
    return std::make_unique<FakePeer>(setup);
  }
  // Every HAProxy and both LineQs have `count` in every key of `keys`; "" or what is wrong.
  std::string wait_counts(const std::map<std::string, u64>& keys) {
    std::string wrong;
    wait_until([&] {
      wrong.clear();
      const auto check = [&](const std::string& who, const TableDump& dump) {
        if (dump.rows.size() != keys.size() && wrong.empty()) {
          wrong = fmt::format("{} has {} rows, not {}", who, dump.rows.size(), keys.size());
        }
        for (const auto& [key, count] : keys) {
          if (const std::string value = dump.value(key, "gpc0");
              value != std::to_string(count) && wrong.empty()) {
            wrong = fmt::format("{}: {} is '{}', not {}", who, key, value, count);
          }
        }
      };
      for (std::size_t i = 0; i < world_.count(); ++i) {
        check(world_.at(i).name(), world_.at(i).show_table("lq/plain"));
      }
      check("lineq", parse_show_table(world_.lineq.dump({"-t", "/plain"}).out));
      check("lineq2", parse_show_table(second_.dump({"-t", "/plain"}).out));
      return wrong.empty();
    });
    return wrong;
  }

  Instance second_;
  Process second_daemon_;
};

TEST_F(TwoLineqsTest, ValuesAgreeAndEachChangeIsToldOnceByEach) {
  const auto first = witness(world_.lineq.tcp_port(), "lineq");
  const auto second = witness(second_.tcp_port(), "lineq2");
  ASSERT_TRUE(first->connect()) << first->why_ended();
  ASSERT_TRUE(second->connect()) << second->why_ended();
  std::map<std::string, u64> truth;
  u64 changes = 0;
  for (int round = 0; round < 20; ++round) {
    for (std::size_t i = 0; i < world_.count(); ++i) {
      const std::string key = fmt::format("own-{}-{}", i, round % 4);
      request(i, key);
      ++truth[key];
      ++changes;
    }
    first->pump();
    second->pump();
  }
  // One key that all of them count, one after the other.
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < world_.count(); ++i) {
      request(i, "shared");
      ++truth["shared"];
      ++changes;
      ASSERT_EQ(wait_counts(truth), "") << world_.story();
    }
  }
  EXPECT_EQ(wait_counts(truth), "") << world_.story() << second_daemon_.err();
  // What a LineQ tells is what a HAProxy did: at most once each (HAProxy itself may send a change
  // twice: at the request's beginning and at its end), and nothing comes back around.
  const auto quiet = [](FakePeer& peer) {
    u64 before = 0;
    do {
      before = peer.updates_received();
      EXPECT_TRUE(peer.pump(Milliseconds(1000))) << peer.why_ended();
    } while (peer.updates_received() != before && peer.updates_received() < 100000);
    return before;
  };
  for (FakePeer* peer : {first.get(), second.get()}) {
    const u64 told = quiet(*peer);
    EXPECT_GE(told, truth.size());
    EXPECT_LE(told, 2 * changes);
  }
  EXPECT_EQ(wait_counts(truth), "");
}

TEST_F(TwoLineqsTest, OneOfThemKilledAndBackLosesNothingAndDoublesNothing) {
  std::map<std::string, u64> truth;
  const auto traffic = [&](const std::string& phase) {
    for (int round = 0; round < 12; ++round) {
      for (std::size_t i = 0; i < world_.count(); ++i) {
        for (const std::string& key : {fmt::format("always-{}", i), phase + std::to_string(i)}) {
          request(i, key);
          ++truth[key];
        }
      }
    }
  };
  traffic("both-");
  ASSERT_EQ(wait_counts(truth), "") << world_.story();

  world_.kill_daemon();
  traffic("second-alone-");
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  wait_all_sessions();
  EXPECT_EQ(wait_counts(truth), "") << world_.story();

  second_daemon_.kill();
  traffic("first-alone-");
  // This one also forgets everything: the HAProxys alone teach it.
  second_.set("LINEQ_SNAPSHOT_SECONDS", "0");
  for (const std::string& object : second_.objects()) {
    ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
  }
  start_second();
  traffic("both-again-");
  wait_all_sessions();
  EXPECT_EQ(wait_counts(truth), "") << world_.story() << second_daemon_.err();
  EXPECT_EQ(world_.lineq.verify(), "");
  EXPECT_EQ(second_.verify(), "");
}

// --- definitions that differ ---

constexpr std::string_view kPlainColumns =
    "    table plain type string len 64 size 100k expire 1h store gpc0,gpc1\n";

TEST_F(AggTest, AHaproxyWithFewerColumnsSharesWhatItHasAndSpoilsNothing) {
  const std::string wide = "table plain type string len 64 size 100k expire 1h store ";
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-wide", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-narrow",
                       with(plain_config(), kPlainColumns, "    " + wide + "gpc0\n")),
            nullptr)
      << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-wider",
                       with(plain_config(), kPlainColumns, "    " + wide + "gpc0,gpc1,gpt0\n")),
            nullptr)
      << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  ASSERT_EQ(world_.at(0).set_table("lq/plain", "k", "data.gpc0 1 data.gpc1 11"), "");
  EXPECT_EQ(wait_value(1, "lq/plain", "k", "gpc0", "1"), "1") << world_.story();
  EXPECT_EQ(wait_value(2, "lq/plain", "k", "gpc1", "11"), "11") << world_.story();
  // The one that knows no gpc1 changes the entry: gpc1 stays as it was, everywhere.
  ASSERT_EQ(world_.at(2).set_table("lq/plain", "k", "data.gpt0 33"), "");
  ASSERT_TRUE(wait_until([&] {
    return parse_show_table(world_.lineq.dump({"-t", "/plain"}).out).value("k", "gpt0") == "33";
  })) << world_.story();
  EXPECT_EQ(world_.at(1).set_table("lq/plain", "k", "data.gpc0 2"), "");
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
    EXPECT_EQ(wait_value(i, "lq/plain", "k", "gpc0", "2"), "2") << world_.story();
    EXPECT_EQ(world_.at(i).show_table("lq/plain").value("k", "gpc1"), "11");
  }
  EXPECT_EQ(world_.at(2).show_table("lq/plain").value("k", "gpt0"), "33");
  // And a restarted one learns its columns back.
  world_.at(2).kill();
  ASSERT_TRUE(world_.at(2).start()) << world_.at(2).log();
  EXPECT_EQ(wait_value(2, "lq/plain", "k", "gpt0", "33"), "33") << world_.story();
  EXPECT_EQ(world_.at(2).show_table("lq/plain").value("k", "gpc1"), "11");
  EXPECT_FALSE(world_.log_lines("differs").empty());
}

TEST_F(AggTest, TablesOfOneNameWithOtherKeysAreKeptApartAndReported) {
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  const std::string rest = " size 100k expire 1h store gpc0,gpc1\n";
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(
      world_.add(HaproxyVersion::k30, "hap-length",
                 with(plain_config(), kPlainColumns, "    table plain type string len 32" + rest)),
      nullptr)
      << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-type",
                       with(plain_config(), kPlainColumns, "    table plain type ip" + rest)),
            nullptr)
      << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-same", plain_config()), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  ASSERT_EQ(world_.at(0).set_table("lq/plain", "192.0.2.1", "data.gpc0 1"), "");
  ASSERT_EQ(world_.at(1).set_table("lq/plain", "192.0.2.1", "data.gpc0 2"), "");
  ASSERT_EQ(world_.at(2).set_table("lq/plain", "192.0.2.1", "data.gpc0 3"), "");
  ASSERT_EQ(world_.at(3).set_table("lq/plain", "last", "data.gpc0 4"), "");
  EXPECT_EQ(wait_value(0, "lq/plain", "last", "gpc0", "4"), "4") << world_.story();
  EXPECT_EQ(wait_value(3, "lq/plain", "192.0.2.1", "gpc0", "1"), "1") << world_.story();
  EXPECT_EQ(world_.at(0).show_table("lq/plain").value("192.0.2.1", "gpc0"), "1");
  EXPECT_EQ(world_.at(1).show_table("lq/plain").value("192.0.2.1", "gpc0"), "2");
  EXPECT_EQ(world_.at(2).show_table("lq/plain").value("192.0.2.1", "gpc0"), "3");
  EXPECT_EQ(world_.at(1).show_table("lq/plain").used, 1U);
  EXPECT_EQ(world_.at(2).show_table("lq/plain").used, 1U);
  EXPECT_FALSE(world_.log_lines("which is kept apart").empty()) << world_.story();
  const std::string metrics = http_get(world_.lineq.web_port(), "/metrics").body;
  EXPECT_NE(metrics.find("lineq_daemon_definition_conflicts_total"), std::string::npos);
  EXPECT_EQ(metrics.find("lineq_daemon_definition_conflicts_total 0\n"), std::string::npos)
      << metrics;
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(AggTest, AnotherPeriodOrArraySizeIsReportedAndTheRestIsShared) {
  const std::string store = "    table plain type string len 64 size 100k expire {} store {}\n";
  const auto config = [&](std::string_view expire, std::string_view columns) {
    return with(plain_config(), kPlainColumns, fmt::format(fmt::runtime(store), expire, columns));
  };
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a",
                       config("1h", "gpc(2),gpc_rate(1,10s),http_req_cnt,http_req_rate(10s)")),
            nullptr)
      << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b",
                       config("2h", "gpc(4),gpc_rate(1,10s),http_req_cnt,http_req_rate(60s)")),
            nullptr)
      << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  request(0, "k");
  EXPECT_EQ(wait_value(1, "lq/plain", "k", "http_req_cnt", "1"), "1") << world_.story();
  EXPECT_EQ(world_.at(1).show_table("lq/plain").value("k", "gpc0"), "1");
  request(1, "k");
  EXPECT_EQ(wait_value(0, "lq/plain", "k", "http_req_cnt", "2"), "2") << world_.story();
  EXPECT_EQ(world_.at(0).show_table("lq/plain").value("k", "gpc0"), "2");
  EXPECT_EQ(world_.at(0).show_table("lq/plain").value("k", "gpc1"), "0");
  EXPECT_FALSE(world_.log_lines("its numbers mean something else").empty()) << world_.story();
  EXPECT_FALSE(world_.log_lines("longer arrays").empty()) << world_.story();
  EXPECT_FALSE(world_.log_lines("the longer one counts").empty()) << world_.story();
}

// --- expiry ---

TEST_F(AggTest, ARestartedHaproxyGetsTheLifeThatIsLeft) {
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  ASSERT_EQ(world_.at(0).set_table("lq/plain", "k", "data.gpc0 1"), "");
  ASSERT_EQ(world_.wait_same("lq/plain", 1), "") << world_.story();
  const auto left = [&](std::size_t i) {
    return static_cast<i64>(number(world_.at(i).show_table("lq/plain").value("k", "exp")));
  };
  EXPECT_NEAR(static_cast<double>(left(0)), static_cast<double>(left(1)), 1000);
  // Old enough that a life begun anew would show.
  constexpr i64 kHour = 3600000;
  ASSERT_TRUE(wait_until([&] { return left(0) < kHour - 2500; }));
  world_.at(1).kill();
  ASSERT_TRUE(world_.at(1).start()) << world_.at(1).log();
  ASSERT_EQ(world_.wait_same("lq/plain", 1), "") << world_.story();
  EXPECT_NEAR(static_cast<double>(left(0)), static_cast<double>(left(1)), 1000);
  EXPECT_LT(left(1), kHour - 2400);
}

TEST_F(AggTest, TheLongestLifeToldByAnyPeerCounts) {
  const auto short_one = world_.fake("short");
  const auto long_one = world_.fake("long");
  const std::string key = "k";
  const auto tell = [&](FakePeer& peer, u64 value, u32 expire_ms) {
    ASSERT_NE(peer.session()->update(1, {reinterpret_cast<const u8*>(key.data()), key.size()},
                                     plain_row(value), expire_ms),
              0U);
    ASSERT_TRUE(peer.pump_until([&] { return peer.all_acked(); })) << peer.why_ended();
  };
  ASSERT_TRUE(short_one->connect());
  ASSERT_TRUE(long_one->connect());
  short_one->define(1, plain_table());
  long_one->define(1, plain_table());
  tell(*short_one, 1, 20000);
  tell(*long_one, 2, 100000);
  tell(*short_one, 3, 10000);
  const auto reader = world_.fake("reader", true);
  ASSERT_TRUE(reader->connect());
  ASSERT_TRUE(reader->pump_until([&] { return reader->lessons_finished() > 0; }));
  const ReceivedRow* row = reader->row("/plain", "k");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->cells[0], 3U);
  EXPECT_GT(row->expire_ms, 60000U);
  EXPECT_LE(row->expire_ms, 100000U);
}

// --- lessons and echoes ---

TEST_F(AggTest, AHaproxyRestartedUnderTrafficEndsUpWithTheSameTable) {
  constexpr u64 kKeys = 3000;
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-c", plain_config()), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const auto writer = world_.fake("writer");
  ASSERT_TRUE(writer->connect()) << writer->why_ended();
  writer->define(1, plain_table());
  u64 n = 0;
  const auto burst = [&] {
    for (int i = 0; i < 50; ++i, ++n) {
      writer->update(1, fmt::format("key-{:04}", n * 7919 % kKeys), plain_row(n, n % kKeys));
    }
    return writer->pump(Milliseconds(1));
  };
  while (n < 2 * kKeys) {  // so that there is something to teach
    ASSERT_TRUE(burst()) << writer->why_ended();
  }
  // The traffic is the thread: a process ends with the thread that started it.
  for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
    std::atomic<bool> stop{false};
    bool alive = true;
    std::thread traffic([&] {
      while (alive && !stop) {
        alive = burst();
      }
    });
    world_.at(i).kill();
    const bool started = world_.at(i).start() && world_.at(i).wait_peer();
    const bool full = wait_until([&] { return world_.at(i).show_table("lq/plain").used == kKeys; });
    stop = true;
    traffic.join();
    ASSERT_TRUE(alive) << writer->why_ended() << world_.story();
    ASSERT_TRUE(started) << world_.at(i).log();
    EXPECT_TRUE(full) << world_.at(i).peer().text << world_.story();
  }
  ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); })) << writer->why_ended();
  EXPECT_EQ(world_.wait_same("lq/plain", kKeys), "") << world_.story();
  EXPECT_EQ(world_.at(1)
                .show_table("lq/plain")
                .value(fmt::format("key-{:04}", (n - 1) * 7919 % kKeys), "gpc0"),
            std::to_string(n - 1));
}

TEST_F(AggTest, NobodyGetsItsOwnUpdateBackWhateverTheOthersDo) {
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const auto peer = world_.fake("counter");
  ASSERT_TRUE(peer->connect()) << peer->why_ended();
  peer->define(1, plain_table());
  for (u64 n = 1; n <= 500; ++n) {
    peer->update(1, fmt::format("own-{}", n % 100), plain_row(n));
    ASSERT_TRUE(peer->pump()) << peer->why_ended();
  }
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << peer->why_ended();
  ASSERT_EQ(world_.wait_same("lq/plain", 100), "") << world_.story();
  // A HAProxy that asks for everything does not make us hear ours again.
  world_.at(1).kill();
  ASSERT_TRUE(world_.at(1).start()) << world_.at(1).log();
  ASSERT_EQ(world_.wait_same("lq/plain", 100), "") << world_.story();
  // The mark comes after everything that could have come back before.
  ASSERT_EQ(world_.at(0).set_table("lq/plain", "mark", "data.gpc0 1"), "");
  ASSERT_TRUE(peer->pump_until([&] { return peer->row("/plain", "mark") != nullptr; }));
  for (u64 n = 0; n < 100; ++n) {
    EXPECT_EQ(peer->row("/plain", fmt::format("own-{}", n)), nullptr) << n;
  }
}

}  // namespace
}  // namespace lineq::test
