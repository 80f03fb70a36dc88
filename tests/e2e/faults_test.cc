// What the surroundings do to LineQ: no descriptors left, connections cut in the middle of a
// message, HAProxys that come and go in any order. Faults that take their time:
// faults_slow_test.cc.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/e2e/world.h"
#include "tests/support/cutter.h"

namespace lineq::test {
namespace {

using std::chrono::seconds;

// --- no descriptors ---

// What a program may open is as it was when this goes.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(pid_t pid) : pid_(pid) {
    EXPECT_EQ(::prlimit(pid, RLIMIT_NOFILE, nullptr, &before_), 0);
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { lift(); }

  void set(u64 most) const {
    const rlimit limit{most, before_.rlim_max};
    EXPECT_EQ(::prlimit(pid_, RLIMIT_NOFILE, &limit, nullptr), 0);
  }
  // None is left. What is opened takes the lowest free number: newcomers on `port` get those below
  // the highest, and are there as long as `fillers_`. Each says `hello`, {} being its number, and
  // is answered.
  void use_up(u16 port, std::string_view hello) {
    const auto highest = [&] {
      u64 number = 0;
      for (const auto& entry :
           std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid_))) {
        number = std::max(number, test::number(entry.path().filename()));
      }
      return number;
    };
    while (open_files(pid_) <= highest()) {
      ASSERT_TRUE(fill(port, hello));
    }
    set(open_files(pid_));
  }
  // Takes one more, if there is one after all. False: turned away.
  bool fill(u16 port, std::string_view hello) {
    Fd filler = connect_tcp(port);
    if (!send_all(filler, fmt::format(fmt::runtime(hello), fillers_.size())) ||
        receive_some(filler).empty()) {
      return false;
    }
    fillers_.push_back(std::move(filler));
    return true;
  }
  void lift() const { EXPECT_EQ(::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr), 0); }

 private:
  pid_t pid_;
  rlimit before_{};
  std::vector<Fd> fillers_;
};

constexpr std::string_view kHello = "HAProxyS 2.1\nlineq\nfills {} 1\n";

// Of the next second.
double cpu_of_a_second(pid_t pid) {
  const double before = cpu_seconds(pid);
  wait_until([] { return false; }, seconds(1));
  return cpu_seconds(pid) - before;
}

class DescriptorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    world_.lineq.set("LINEQ_SILENT_PEER_MS", "120000");  // those who only fill say no more
  }
  void add(HaproxyVersion version, const std::string& name) {
    ASSERT_NE(world_.add(version, name, plain_config()), nullptr) << world_.trouble;
  }
  void start_with_two() {
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    add(HaproxyVersion::k26, "hap-a");
    add(HaproxyVersion::k30, "hap-b");
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }
  void expect_relay(const std::string& key) {
    ASSERT_EQ(world_.at(0).set_table("lq/plain", key, "data.gpc0 1"), "");
    EXPECT_TRUE(wait_until([&] {
      return world_.at(1).show_table("lq/plain").value(key, "gpc0") == "1";
    })) << world_.story();
  }
  Finished ctl(std::vector<std::string> words) {
    return run(world_.lineq.command(lineqctl_path(), std::move(words)));
  }

  World world_;
};

TEST_F(DescriptorTest, LineqdTurnsNewcomersAwayAndEverythingElseGoesOn) {
  start_with_two();
  const std::vector<std::string> sessions = world_.sessions();
  DescriptorLimit limit(world_.daemon.pid());
  limit.use_up(world_.lineq.tcp_port(), kHello);
  for (int i = 0; i < 20; ++i) {
    const Fd newcomer = connect_tcp(world_.lineq.tcp_port());
    ASSERT_TRUE(newcomer.valid());
    const Received said = receive_all(newcomer, seconds(3));  // at once, not as a late hello
    EXPECT_TRUE(said.closed);
    EXPECT_EQ(said.bytes, "");
  }
  EXPECT_TRUE(world_.daemon.wait_for_err("no file descriptor is left, the limit is "));
  EXPECT_LE(world_.log_lines("newcomers are turned away").size(), 3U) << world_.story();
  expect_relay("meanwhile");
  // Whoever looks what is wrong gets an answer; one after the other.
  for (int i = 0; i < 3; ++i) {
    const Finished info = ctl({"info"});
    EXPECT_EQ(info.exit_code, 0) << info.out << info.err << world_.story();
    EXPECT_NE(info.out.find(world_.lineq.name()), std::string::npos) << info.out;
  }
  EXPECT_LT(cpu_of_a_second(world_.daemon.pid()), 0.3);
  EXPECT_EQ(world_.sessions(), sessions) << world_.story();

  // A HAProxy that was started meanwhile comes in by itself as soon as it can.
  add(HaproxyVersion::k26, "hap-c");
  EXPECT_FALSE(world_.at(2).peer().established);
  limit.lift();
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_TRUE(world_.daemon.wait_for_err("takes connections again"));
  expect_relay("after");
  EXPECT_EQ(world_.wait_same("lq/plain", 2), "") << world_.story();
  EXPECT_EQ(world_.sessions()[0], sessions[0]);
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  const std::string metrics = http_get(world_.lineq.web_port(), "/metrics").body;
  constexpr std::string_view kRefused = "\nlineq_daemon_connections_refused_total";
  const std::size_t at = metrics.find(kRefused);
  ASSERT_NE(at, std::string::npos) << metrics;
  EXPECT_GE(number(metrics.substr(metrics.find(' ', at) + 1)), 20U) << metrics.substr(at, 200);
}

TEST_F(DescriptorTest, WithoutEvenTheSpareOneNewcomersWaitAndNothingSpins) {
  start_with_two();
  const std::vector<std::string> sessions = world_.sessions();
  const DescriptorLimit limit(world_.daemon.pid());
  limit.set(3);
  std::vector<Fd> waiting;
  for (int i = 0; i < 5; ++i) {
    waiting.push_back(connect_tcp(world_.lineq.tcp_port()));
    ASSERT_TRUE(waiting.back().valid()) << i;
    ASSERT_TRUE(send_all(waiting.back(), fmt::format("HAProxyS 2.1\nlineq\nwaits-{} 5 1\n", i)));
  }
  EXPECT_TRUE(world_.daemon.wait_for_err("newcomers wait until there is one")) << world_.story();
  EXPECT_LT(cpu_of_a_second(world_.daemon.pid()), 0.3);
  expect_relay("meanwhile");
  EXPECT_EQ(world_.sessions(), sessions) << world_.story();
  EXPECT_LE(world_.log_lines("newcomers wait").size(), 5U) << world_.story();
  limit.lift();
  for (const Fd& fd : waiting) {
    EXPECT_TRUE(receive_some(fd).starts_with("200\n")) << world_.story();
  }
  EXPECT_EQ(ctl({"info"}).exit_code, 0);
}

TEST_F(DescriptorTest, AHaproxyThatCannotBeDialledIsDialledLater) {
  const u16 port = free_port();
  write_file(world_.lineq.file("lineq.cfg"),
             fmt::format(R"({{"peers": [{{"name": "hap-a", "address": "127.0.0.1:{}"}}]}})", port));
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  // It does not find lineqd by itself.
  const std::string config = with(with(plain_config(), "127.0.0.1:{peers}", "127.0.0.1:{called}"),
                                  "127.0.0.1:{tcp}", "127.0.0.1:{peers}");
  DescriptorLimit limit(world_.daemon.pid());
  limit.use_up(world_.lineq.tcp_port(), kHello);
  // Also that of a call that was under way, and is over.
  constexpr std::string_view kShort = "dialled): no file descriptor is left";
  EXPECT_TRUE(wait_until([&] {
    (void)limit.fill(world_.lineq.tcp_port(), kHello);
    return !world_.log_lines(kShort).empty();
  })) << world_.story();
  ASSERT_NE(
      world_.add(HaproxyVersion::k30, "hap-a", config, false, {{"called", std::to_string(port)}}),
      nullptr)
      << world_.trouble;
  EXPECT_LT(cpu_of_a_second(world_.daemon.pid()), 0.3);
  EXPECT_EQ(world_.log_lines(kShort).size(), 1U) << world_.story();
  limit.lift();
  EXPECT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_TRUE(world_.daemon.wait_for_err("reached after")) << world_.story();
}

TEST_F(DescriptorTest, LineqWebSaysThatItCannotOpenTheSegmentAndRecovers) {
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  const auto ask = [&](const Fd& fd, std::string_view target) {
    EXPECT_TRUE(send_all(fd, fmt::format("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", target)));
    return receive_some(fd);
  };
  const Fd kept = connect_tcp(world_.lineq.web_port());
  EXPECT_NE(ask(kept, "/readyz").find("503"), std::string::npos);
  DescriptorLimit limit(world_.web.pid());
  limit.use_up(world_.lineq.web_port(), "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  std::string answer;
  EXPECT_TRUE(wait_until([&] {
    answer = ask(kept, "/readyz");
    return answer.find("Too many open files") != std::string::npos;
  })) << answer;
  EXPECT_TRUE(receive_all(connect_tcp(world_.lineq.web_port())).closed) << "it does not hang";
  EXPECT_LT(cpu_of_a_second(world_.web.pid()), 0.5);
  limit.set(3);
  const Fd waits = connect_tcp(world_.lineq.web_port());
  ASSERT_TRUE(send_all(waits, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_TRUE(world_.web.wait_for_err("newcomers wait until there is one")) << world_.web.err();
  EXPECT_LT(cpu_of_a_second(world_.web.pid()), 0.5);
  EXPECT_NE(ask(kept, "/healthz").find("alive"), std::string::npos);
  limit.lift();
  EXPECT_NE(receive_some(waits).find("alive"), std::string::npos);
  EXPECT_TRUE(wait_until([&] {
    return http_get(world_.lineq.web_port(), "/tables").status == 200;
  })) << world_.web.err();
  EXPECT_LE(lines_of(world_.web.err()).size(), 20U) << world_.web.err();
}

// --- the network, and HAProxys in any order ---

class CutTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  }

  World world_;
};

TEST_F(CutTest, CutInTheMiddleOfMessagesNothingAcknowledgedIsLost) {
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const std::vector<std::string> sessions = world_.sessions();
  std::random_device device;
  const u32 seed = device();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  Cutter wire(world_.lineq.tcp_port());
  FakePeerSetup setup;
  setup.port = wire.port();
  setup.name = "cut";
  FakePeer peer(setup);
  peer.define(1, plain_table());
  constexpr u32 kKeys = 40;
  const auto key = [](u32 k) { return fmt::format("a-key-of-some-length-{:02}", k); };
  u64 value = 0;
  for (int round = 0; round < 60; ++round) {
    // Also within the hello, and within what lineqd answers and teaches.
    wire.cut_after(static_cast<i64>(1 + random() % 3000));
    if (peer.connect()) {
      for (int burst = 0; burst < 20 && peer.connected(); ++burst) {
        for (u32 k = 0; k < kKeys; ++k) {
          peer.update(1, key(k), plain_row(++value));
        }
        peer.pump(Milliseconds(1));
      }
    }
    peer.disconnect();
  }
  EXPECT_GE(wire.cuts(), 50U);
  // What it has is told again, as HAProxy does.
  ASSERT_TRUE(wait_until([&] { return peer.connect(); })) << peer.why_ended();
  for (u32 k = 0; k < kKeys; ++k) {
    peer.update(1, key(k), plain_row(++value));
  }
  ASSERT_TRUE(peer.pump_until([&] { return peer.all_acked(); })) << peer.why_ended();
  EXPECT_EQ(world_.wait_same("lq/plain", kKeys), "") << world_.story();
  EXPECT_EQ(world_.at(0).show_table("lq/plain").value(key(kKeys - 1), "gpc0"),
            std::to_string(value));
  EXPECT_EQ(world_.sessions(), sessions) << "the others do not notice";
  EXPECT_EQ(world_.lineq.verify(), "");
  // Half a message is no malformed one.
  const auto malformed = world_.log_lines("closing with an error message");
  EXPECT_TRUE(malformed.empty()) << malformed.front();
}

TEST_F(CutTest, OverALongAndUnsteadyWireSessionsStayAndAllArrives) {
  std::vector<std::unique_ptr<Cutter>> wires;
  for (int i = 0; i < 3; ++i) {
    wires.push_back(std::make_unique<Cutter>(world_.lineq.tcp_port()));
    wires.back()->delay(Milliseconds(200), Milliseconds(150));
    ASSERT_NE(
        world_.add(i == 1 ? HaproxyVersion::k30 : HaproxyVersion::k26, fmt::format("hap-{}", i),
                   plain_config(), false, {{"tcp", std::to_string(wires.back()->port())}}),
        nullptr)
        << world_.trouble;
  }
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const std::vector<std::string> sessions = world_.sessions();
  for (std::size_t i = 0; i < world_.count(); ++i) {
    for (int n = 0; n < 30; ++n) {
      ASSERT_EQ(world_.at(i).set_table("lq/plain", fmt::format("{}-{}", i, n), "data.gpc0 7"), "");
    }
  }
  EXPECT_EQ(world_.wait_same("lq/plain", 90), "") << world_.story();
  // Longer than HAProxy is patient with a silent peer.
  EXPECT_FALSE(wait_until([&] { return world_.sessions() != sessions; }, seconds(6)))
      << world_.story();
}

TEST_F(CutTest, HaproxysReloadedAndKilledInAnyOrderAgreeAndLoseNothing) {
  const std::vector<std::string> names{"hap-a", "hap-b", "hap-c"};
  for (std::size_t i = 0; i < names.size(); ++i) {
    ASSERT_NE(world_.add(i == 1 ? HaproxyVersion::k30 : HaproxyVersion::k26, names[i],
                         plain_config(), true),
              nullptr)
        << world_.trouble;
  }
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  std::map<std::string, std::string> expected;
  const auto tell = [&](std::size_t i, const std::string& key) {
    const std::string value = std::to_string(expected.size() + 1);
    ASSERT_EQ(world_.at(i).set_table("lq/plain", key, "data.gpc0 " + value), "");
    expected[key] = value;
  };
  const std::vector<std::vector<std::size_t>> orders{{0, 1, 2}, {2, 0, 1}, {1, 2, 0}};
  for (std::size_t round = 0; round < orders.size(); ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    const std::vector<std::size_t>& order = orders[round];
    // The first is reloaded, the second killed while the first one's old process still hands over,
    // the third tells all the time.
    const std::size_t survivor = order[2];
    tell(order[0], fmt::format("{}-by-the-reloaded", round));
    ASSERT_TRUE(world_.at(order[0]).reload()) << world_.at(order[0]).log();
    tell(survivor, fmt::format("{}-during-the-reload", round));
    world_.at(order[1]).kill();
    tell(survivor, fmt::format("{}-during-the-kill", round));
    ASSERT_TRUE(world_.at(order[1]).start()) << world_.at(order[1]).log();
    tell(survivor, fmt::format("{}-after", round));
    ASSERT_TRUE(world_.at(survivor).reload()) << world_.at(survivor).log();
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
    tell(order[0], fmt::format("{}-back", round));
    ASSERT_EQ(world_.wait_same("lq/plain", expected.size()), "") << world_.story();
    const TableDump dump = world_.at(order[1]).show_table("lq/plain");
    for (const auto& [key, value] : expected) {
      EXPECT_EQ(dump.value(key, "gpc0"), value) << key;
    }
  }
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(CutTest, TwoHaproxysOfOneNameAreBothKeptInStep) {
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  // The same localpeer, its own files and ports.
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-a2",
                       with(with(plain_config(), "localpeer {name}", "localpeer hap-a"),
                            "server {name}", "server hap-a")),
            nullptr)
      << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const std::vector<std::string> sessions = world_.sessions();
  for (std::size_t i = 0; i < world_.count(); ++i) {
    for (int n = 0; n < 20; ++n) {
      ASSERT_EQ(world_.at(i).set_table("lq/plain", fmt::format("{}-{}", i, n), "data.gpc0 7"), "");
    }
  }
  EXPECT_EQ(world_.wait_same("lq/plain", 60), "") << world_.story();
  // The first one dies: the other is not taken for its heir, nor for it.
  world_.at(0).kill();
  ASSERT_EQ(world_.at(2).set_table("lq/plain", "alone", "data.gpc0 8"), "");
  EXPECT_TRUE(wait_until(
      [&] { return world_.at(1).show_table("lq/plain").value("alone", "gpc0") == "8"; }));
  ASSERT_TRUE(world_.at(0).start()) << world_.at(0).log();
  EXPECT_EQ(world_.wait_same("lq/plain", 61), "") << world_.story();
  EXPECT_EQ(world_.sessions()[1], sessions[1]);
  EXPECT_EQ(world_.sessions()[2], sessions[2]);
}

}  // namespace
}  // namespace lineq::test
