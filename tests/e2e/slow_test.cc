// The long ones: kills in a row under traffic, and a million entries. Suites named Slow*.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <optional>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

// A fake peer under steady load on a few hundred keys: value n of key k means "the n-th update of
// all went to k". It knows the last value of every key that lineqd acknowledged.
class Traffic {
 public:
  static constexpr u32 kKeys = 300;

  explicit Traffic(std::unique_ptr<FakePeer> peer) : peer_(std::move(peer)) {
    peer_->define(1, plain_table());
  }

  static std::string key(u32 k) { return fmt::format("traffic-{:03}", k); }
  FakePeer& peer() { return *peer_; }
  u64 sent() const { return n_; }

  // Connected; everything that was sent and perhaps lost is sent again, as HAProxy does.
  bool reconnect() {
    if (!peer_->connect()) {
      return false;
    }
    ids_.clear();
    for (u32 k = 0; k < kKeys; ++k) {
      if (last_[k] != acked_[k]) {
        send(k, last_[k]);
      }
    }
    return true;
  }

  // Updates for `how_long`; false when the connection is lost (which is no failure here).
  bool run(Milliseconds how_long) {
    const auto end = std::chrono::steady_clock::now() + how_long;
    while (std::chrono::steady_clock::now() < end) {
      if (!burst(20)) {
        return false;
      }
    }
    return true;
  }
  bool burst(int updates) {
    for (int i = 0; i < updates; ++i) {
      ++n_;
      const auto k = static_cast<u32>(n_ * 7919 % kKeys);
      last_[k] = n_;
      send(k, n_);
    }
    const bool alive = peer_->pump(Milliseconds(1));
    note_acks();
    return alive;
  }
  bool drain() {
    const bool done = peer_->pump_until([&] { return peer_->all_acked(); });
    note_acks();
    return done;
  }

  u64 acked(u32 k) const { return acked_[k]; }
  u64 last(u32 k) const { return last_[k]; }

 private:
  struct Sent {
    u32 id;
    u32 k;
    u64 value;
  };

  void send(u32 k, u64 value) {
    if (const u32 id = peer_->update(1, key(k), plain_row(value & 0xffffffff, k)); id != 0) {
      ids_.push_back({id, k, value});
    }
  }
  void note_acks() {
    if (!peer_->connected()) {
      return;
    }
    const u32 upto = peer_->session()->last_acked(1);
    while (!ids_.empty() && !peers::id_after(ids_.front().id, upto)) {
      acked_[ids_.front().k] = std::max(acked_[ids_.front().k], ids_.front().value);
      ids_.pop_front();
    }
  }

  std::unique_ptr<FakePeer> peer_;
  std::deque<Sent> ids_;
  std::array<u64, kKeys> last_{};
  std::array<u64, kKeys> acked_{};
  u64 n_ = 0;
};

class SlowKillTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-b", plain_config()), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-c", plain_config()), nullptr) << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }

  // Every HAProxy shows the last value of every key of `traffic`.
  std::string wait_arrived(const Traffic& traffic, Milliseconds patience = kPatience) {
    std::string wrong;
    wait_until(
        [&] {
          wrong.clear();
          for (std::size_t i = 0; i < world_.count() && wrong.empty(); ++i) {
            const TableDump dump = world_.at(i).show_table("lq/plain");
            for (u32 k = 0; k < Traffic::kKeys && wrong.empty(); ++k) {
              const std::string value = dump.value(Traffic::key(k), "gpc0");
              if (traffic.last(k) != 0 && number(value) != traffic.last(k)) {
                wrong = fmt::format("{}: {} is '{}', not {}", world_.at(i).name(), Traffic::key(k),
                                    value, traffic.last(k));
              }
            }
          }
          return wrong.empty();
        },
        patience);
    return wrong;
  }

  World world_;
};

TEST_F(SlowKillTest, LineqdKilled200TimesUnderTrafficKeepsEveryEntry) {
  // A HAProxy dials again about 5 s after it lost its peer, so the traffic that is there at every
  // kill comes from a fake peer that dials at once. The three real HAProxys stay attached all the
  // time and are waited for in every 20th round: then they must be back, and have every entry.
  constexpr int kRounds = 200;
  constexpr int kHaproxyRounds = 20;
  std::random_device device;
  const u32 seed = device();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  Traffic traffic(world_.fake("traffic"));
  ASSERT_TRUE(traffic.reconnect()) << traffic.peer().why_ended();
  for (int round = 1; round <= kRounds; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    traffic.run(Milliseconds(10 + random() % 40));
    // The kill falls anywhere into a burst that is on its way.
    std::thread killer([&, wait = random() % 3000] {
      std::this_thread::sleep_for(std::chrono::microseconds(wait));
      ::kill(world_.daemon.pid(), SIGKILL);
    });
    while (traffic.burst(20)) {
    }
    killer.join();
    world_.kill_daemon();
    traffic.peer().disconnect();

    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_EQ(world_.lineq.verify(), "") << world_.story();
    const TableDump dump = parse_show_table(world_.lineq.dump({"-t", "/plain"}).out);
    for (u32 k = 0; k < Traffic::kKeys; ++k) {
      if (traffic.acked(k) != 0) {
        ASSERT_GE(number(dump.value(Traffic::key(k), "gpc0")), traffic.acked(k))
            << Traffic::key(k) << world_.story();
      }
    }
    ASSERT_TRUE(traffic.reconnect()) << traffic.peer().why_ended() << world_.story();
    if (round % kHaproxyRounds == 0) {
      ASSERT_TRUE(traffic.drain()) << traffic.peer().why_ended() << world_.story();
      ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
      const std::string key = fmt::format("haproxy-{}", round);
      ASSERT_EQ(world_.at(0).set_table("lq/plain", key, fmt::format("data.gpc0 {}", round)), "");
      ASSERT_EQ(wait_arrived(traffic), "") << world_.story();
      ASSERT_TRUE(wait_until([&] {
        traffic.peer().pump();
        return world_.at(2).show_table("lq/plain").value(key, "gpc0") == std::to_string(round);
      })) << world_.story();
      ASSERT_TRUE(traffic.peer().connected()) << traffic.peer().why_ended();
    }
  }
  ASSERT_TRUE(traffic.drain()) << traffic.peer().why_ended();
  EXPECT_GT(traffic.sent(), u64{kRounds} * 100);  // it was traffic, not a trickle
  for (u32 k = 0; k < Traffic::kKeys; ++k) {
    EXPECT_EQ(traffic.acked(k), traffic.last(k));
  }
  EXPECT_EQ(wait_arrived(traffic), "") << world_.story();
  EXPECT_EQ(world_.lineq.verify(), "");
  EXPECT_EQ(world_.wait_same("lq/plain", Traffic::kKeys + kRounds / kHaproxyRounds), "");
}

TEST_F(SlowKillTest, LineqWebKilled100TimesUnderTrafficIsNotNoticed) {
  constexpr int kRounds = 100;
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  Traffic traffic(world_.fake("traffic"));
  ASSERT_TRUE(traffic.reconnect()) << traffic.peer().why_ended();
  const std::vector<std::string> sessions = world_.sessions();
  for (int round = 1; round <= kRounds; ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    // Readers in the middle of their work are the ones to kill.
    std::thread visitor([&] { http_get(world_.lineq.web_port(), "/tables"); });
    ASSERT_TRUE(traffic.run(Milliseconds(10))) << traffic.peer().why_ended() << world_.story();
    world_.web.kill();
    ASSERT_TRUE(traffic.run(Milliseconds(5))) << traffic.peer().why_ended() << world_.story();
    visitor.join();
    world_.web = world_.lineq.start_web();
    bool up = false;
    while (!up) {
      ASSERT_TRUE(traffic.burst(20)) << traffic.peer().why_ended() << world_.story();
      ASSERT_TRUE(world_.web.running()) << world_.web.err();
      up = can_connect(world_.lineq.web_port());
    }
  }
  ASSERT_TRUE(traffic.drain()) << traffic.peer().why_ended();
  EXPECT_EQ(wait_arrived(traffic), "") << world_.story();
  EXPECT_EQ(world_.sessions(), sessions) << world_.story();
  EXPECT_TRUE(traffic.peer().connected());
  ASSERT_TRUE(world_.lineq.wait_web(world_.web));
  const HttpAnswer tables = http_get(world_.lineq.web_port(), "/tables");
  EXPECT_EQ(tables.status, 200);
  EXPECT_TRUE(tables.complete);
  EXPECT_NE(tables.body.find(Traffic::key(Traffic::kKeys - 1)), std::string::npos);
  EXPECT_EQ(world_.lineq.verify(), "");
}

class SlowMillionTest : public testing::Test {
 protected:
  static constexpr u64 kEntries = 1000000;

  void SetUp() override {
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    const auto writer = world_.fake("writer", false, false);
    ASSERT_TRUE(writer->connect()) << writer->why_ended();
    writer->define(1, plain_table(0));
    for (u64 n = 0; n < kEntries; ++n) {
      writer->update(1, fmt::format("visitor-{:08}", n), plain_row(n % 1000, n));
      if (n % 1000 == 999) {
        ASSERT_TRUE(writer->pump()) << writer->why_ended() << world_.story();
      }
    }
    ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); }, std::chrono::minutes(2)))
        << writer->why_ended() << world_.story();
  }

  World world_;
};

TEST_F(SlowMillionTest, TablesAreStreamedWithFlatMemoryAndListedInSeconds) {
  // lineq-dump
  const auto start = std::chrono::steady_clock::now();
  const Finished dump = world_.lineq.dump({"-t", "/plain"});
  const std::chrono::duration<double> dump_seconds = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(dump.exit_code, 0) << dump.err;
  const TableDump listed = parse_show_table(dump.out);
  EXPECT_EQ(listed.used, kEntries);
  EXPECT_EQ(listed.rows.size(), kEntries);
  EXPECT_EQ(listed.value("visitor-00999999", "gpc1"), "999999");
  EXPECT_LT(dump_seconds.count(), 20.0);

  // /tables, read as fast as it comes and then by a slow reader
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  const u64 before = anonymous_kib(world_.web.pid());
  u64 most = before;
  u64 bytes = 0;
  u64 entries = 0;
  std::string tail;
  u64 pieces = 0;
  const auto count = [&](std::string_view piece) {
    constexpr std::string_view kMark = "\"key\":";
    tail += piece;
    std::size_t at = 0;
    for (std::size_t next = tail.find(kMark); next != std::string::npos;
         next = tail.find(kMark, at)) {
      ++entries;
      at = next + kMark.size();
    }
    tail.erase(0, std::max(at, tail.size() - std::min(tail.size(), kMark.size() - 1)));
    bytes += piece.size();
    if (++pieces % 64 == 0) {
      most = std::max(most, anonymous_kib(world_.web.pid()));
    }
  };
  const HttpAnswer answer = http_stream(world_.lineq.web_port(), "/tables", count);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(entries, kEntries);
  EXPECT_GT(bytes, kEntries * 20);
  constexpr u64 kAllowedKib = u64{8} * 1024;
  EXPECT_LT(most, before + kAllowedKib) << "from " << before << " KiB";

  // Readers that take the head and then nothing: nothing piles up behind them.
  std::vector<Fd> stuck;
  for (int i = 0; i < 20; ++i) {
    stuck.push_back(connect_tcp(world_.lineq.web_port()));
    ASSERT_TRUE(send_all(stuck.back(), "GET /tables HTTP/1.1\r\nHost: x\r\n\r\n"));
    ASSERT_TRUE(receive_some(stuck.back()).starts_with("HTTP/1.1 200"));
  }
  EXPECT_EQ(http_get(world_.lineq.web_port(), "/healthz").status, 200);
  EXPECT_LT(anonymous_kib(world_.web.pid()), before + kAllowedKib) << "from " << before << " KiB";
  RecordProperty("dump_ms", static_cast<int>(dump_seconds.count() * 1000));
}

TEST_F(SlowMillionTest, ARealHaproxyLearnsThemAll) {
  if (!have_haproxys()) {
    GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
  }
  std::string config = plain_config();
  const std::string small = "size 100k expire 1h";
  config.replace(config.find(small), small.size(), "size 2m");
  for (const HaproxyVersion version : {HaproxyVersion::k26, HaproxyVersion::k30}) {
    Haproxy* haproxy =
        world_.add(version, fmt::format("hap-{}", haproxy_version_name(version)), config);
    ASSERT_NE(haproxy, nullptr) << world_.trouble;
    // "show table" of a million rows is slow; its first line is enough.
    const auto used = [&] { return parse_show_table(haproxy->command("show table")).used; };
    EXPECT_TRUE(wait_until([&] { return used() == kEntries; }, std::chrono::minutes(2)))
        << used() << haproxy->peer().text << world_.story();
  }
}

// Four real HAProxys and 46 fake ones under a stream of updates.
class SlowFiftyTest : public testing::Test {
 protected:
  static constexpr std::size_t kFakes = 46;
  static constexpr u32 kKeys = 20000;
  static constexpr std::size_t kWriter = 0;
  static constexpr std::size_t kProber = 1;
  static constexpr std::size_t kReceiver = 2;
  static constexpr std::size_t kHanging = 3;

  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    // A ring so small that who hangs falls out of it too.
    world_.lineq.set("LINEQ_FEED_LOG2", "16");
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    for (int i = 0; i < 4; ++i) {
      ASSERT_NE(world_.add(i < 2 ? HaproxyVersion::k26 : HaproxyVersion::k30,
                           fmt::format("hap-{}", i), plain_config()),
                nullptr)
          << world_.trouble;
    }
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
    for (std::size_t i = 0; i < kFakes; ++i) {
      fakes_.push_back(
          world_.fake(fmt::format("fake-{}", i), false, i == kReceiver || i == kHanging));
      ASSERT_TRUE(fakes_.back()->connect()) << fakes_.back()->why_ended();
    }
    fakes_[kWriter]->define(1, plain_table());
    fakes_[kProber]->define(1, plain_table());
  }

  // As long as the table allows, so that what is not taken becomes much.
  static std::string key(u64 n) {
    return fmt::format("{:06}-a-key-that-is-nearly-as-long-as-the-table-allows-it-to-be", n);
  }
  // Every fake peer but the hanging one takes what is there.
  bool pump_others(bool hangs) {
    for (std::size_t i = 0; i < kFakes; ++i) {
      if (hangs && i == kHanging) {
        fakes_[i]->pump_out_only();  // alive, but it reads nothing
      } else if (!fakes_[i]->pump()) {
        why_ = fmt::format("fake-{}: {}", i, fakes_[i]->why_ended());
        return false;
      }
    }
    return true;
  }
  // Sends `rounds` times all keys. Median of the microseconds from an update to its arrival at
  // another HAProxy, behind a burst of updates each; nothing when a session is lost.
  std::optional<double> load(u64 rounds, bool hangs) {
    constexpr u64 kBurst = 500;
    std::vector<double> latencies;
    for (u64 n = 0; n < rounds * kKeys; n += kBurst) {
      for (u64 i = 0; i < kBurst; ++i, ++sent_) {
        fakes_[kWriter]->update(1, key(sent_ * 7919 % kKeys), plain_row(sent_, 7));
      }
      if (!pump_others(hangs)) {
        return std::nullopt;
      }
      const auto start = std::chrono::steady_clock::now();
      fakes_[kProber]->update(1, "probe", plain_row(++probes_));
      const bool arrived = fakes_[kReceiver]->pump_until([&] {
        const ReceivedRow* row = fakes_[kReceiver]->row("/plain", "probe");
        return fakes_[kProber]->pump() && row != nullptr && row->cells[0] == probes_;
      });
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - start;
      if (!arrived) {
        why_ = fmt::format("probe {} has not arrived", probes_);
        return std::nullopt;
      }
      latencies.push_back(took.count());
    }
    const auto middle = latencies.begin() + static_cast<std::ptrdiff_t>(latencies.size() / 2);
    std::nth_element(latencies.begin(), middle, latencies.end());
    return *middle;
  }
  // The last value of every key, as the hanging one has it; "" or what is wrong.
  std::string hanging_wrong() const {
    const auto& rows = fakes_[kHanging]->rows("/plain");
    for (u64 n = sent_ - kKeys; n < sent_; ++n) {
      const auto row = rows.find(key(n * 7919 % kKeys));
      if (row == rows.end() || row->second.cells[0] != n) {
        return fmt::format("{} is {}, not {}", key(n * 7919 % kKeys),
                           row == rows.end() ? "not there" : std::to_string(row->second.cells[0]),
                           n);
      }
    }
    return "";
  }

  World world_;
  std::vector<std::unique_ptr<FakePeer>> fakes_;
  u64 sent_ = 0;
  u64 probes_ = 0;
  std::string why_;
};

TEST_F(SlowFiftyTest, OneThatStopsReadingCostsBoundedMemoryAndNobodysTime) {
  ASSERT_TRUE(load(2, false)) << why_ << world_.story();  // the segment has its size now
  const std::optional<double> before = load(4, false);
  ASSERT_TRUE(before) << why_ << world_.story();
  const u64 memory_before = resident_kib(world_.daemon.pid());

  // First what the kernel's buffers hold, then the time in which nothing is taken any more.
  const u64 sent_before = sent_;
  ASSERT_TRUE(load(15, true)) << why_ << world_.story();
  const std::optional<double> after = load(30, true);
  ASSERT_TRUE(after) << why_ << world_.story();
  const u64 memory_after = resident_kib(world_.daemon.pid());
  const u64 not_taken_kib = (sent_ - sent_before) * key(0).size() / 1024;
  constexpr u64 kAllowedKib = u64{12} * 1024;
  ASSERT_GT(not_taken_kib, 2 * kAllowedKib);
  EXPECT_LT(memory_after, memory_before + kAllowedKib)
      << "from " << memory_before << " KiB, " << not_taken_kib << " KiB were not taken";
  // Generous: the machine has other work; a peer that is waited for would cost seconds.
  EXPECT_LT(*after, 3 * *before + 3000) << "us; before " << *before;
  RecordProperty("latency_before_us", static_cast<int>(*before));
  RecordProperty("latency_after_us", static_cast<int>(*after));
  RecordProperty("memory_growth_kib",
                 static_cast<int>(memory_after) - static_cast<int>(memory_before));
  RecordProperty("not_taken_kib", static_cast<int>(not_taken_kib));

  // It reads again; if it was closed meanwhile it connects again, as HAProxy does.
  const auto end = std::chrono::steady_clock::now() + 2 * kPatience;
  while (!hanging_wrong().empty() && std::chrono::steady_clock::now() < end) {
    if (!fakes_[kHanging]->connected()) {
      ASSERT_TRUE(fakes_[kHanging]->connect()) << fakes_[kHanging]->why_ended();
    }
    for (int i = 0; i < 50; ++i) {
      for (const auto& peer : fakes_) {
        peer->pump();
      }
    }
  }
  EXPECT_EQ(hanging_wrong(), "") << fakes_[kHanging]->why_ended() << world_.story();
  EXPECT_LT(fakes_[kHanging]->updates_received(), sent_ / 2);  // the latest, not all of them
  EXPECT_EQ(world_.wait_same("lq/plain", kKeys + 1, 3 * kPatience), "") << world_.story();
  EXPECT_EQ(world_.at(3).show_table("lq/plain").value(key((sent_ - 1) * 7919 % kKeys), "gpc0"),
            std::to_string(sent_ - 1));
  EXPECT_EQ(world_.lineq.verify(), "");
}

}  // namespace
}  // namespace lineq::test
