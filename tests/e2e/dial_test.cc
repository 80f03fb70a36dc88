// lineqd dials HAProxys, listens at several places, and lets in only whom it should.
#include <algorithm>
#include <csignal>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

// `binds`: of the peers section; `calls`: where the HAProxy finds lineqd.
std::string config(const std::string& bind, const std::string& calls) {
  return fmt::format(R"(
global
    localpeer {{name}}
    stats socket {{stats}} level admin
    maxconn 500

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s

peers lq
    bind {}
    server {{name}}
    server lineq {}
    table plain type string len 64 size 100k expire 1h store gpc0,gpc1
)",
                     bind, calls);
}

class DialTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
  // The whole file; the port that World waits for must be among the listeners.
  void configure(const std::string& text) { write_file(world_.lineq.file("lineq.cfg"), text); }
  std::string own_address() const { return fmt::format("127.0.0.1:{}", world_.lineq.tcp_port()); }
  static std::string nowhere() { return fmt::format("127.0.0.1:{}", free_port()); }
  void start() { ASSERT_TRUE(world_.start_daemon()) << world_.trouble; }
  void reload(const std::string& text, std::string_view expect) {
    configure(text);
    world_.daemon.signal(SIGHUP);
    ASSERT_TRUE(world_.daemon.wait_for_err(expect)) << world_.story();
  }
  bool logged(std::string_view text) { return world_.daemon.wait_for_err(text); }
  // A key set on each HAProxy arrives on all the others.
  void expect_relay(std::string_view prefix) {
    for (std::size_t i = 0; i < world_.count(); ++i) {
      ASSERT_EQ(world_.at(i).set_table("lq/plain", fmt::format("{}-{}", prefix, i),
                                       fmt::format("data.gpc0 {}", i + 1)),
                "");
    }
    rows_ += world_.count();
    EXPECT_EQ(world_.wait_same("lq/plain", rows_), "") << world_.story();
  }
  static std::size_t occurrences(std::string_view text, std::string_view what) {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; ++at) {
      ++n;
    }
    return n;
  }

  World world_;
  std::size_t rows_ = 0;
};

TEST_F(DialTest, OverTcpUnixAndAbstractSockets) {
  const std::string v4 = fmt::format("127.0.0.1:{}", free_port());
  const std::string v6 = fmt::format("[::1]:{}", free_port());
  const std::string path = "unix@" + world_.lineq.file("hap-c.sock");
  const std::string abstract = "abns@" + world_.lineq.name();
  configure(fmt::format(
      R"({{"peers": [{{"name": "hap-a", "address": "{}"}}, {{"name": "hap-b", "address": "{}"}},
          {{"name": "hap-c", "address": "{}"}}, {{"name": "hap-d", "address": "{}"}}]}})",
      v4, v6, path, abstract));
  using enum HaproxyVersion;
  ASSERT_NE(world_.add(k26, "hap-a", config(v4, nowhere())), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(k30, "hap-b", config(v6, nowhere())), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(k26, "hap-c", config(path, nowhere())), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(k30, "hap-d", config(abstract, nowhere())), nullptr) << world_.trouble;
  start();
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  expect_relay("first");
  const Finished peers = world_.lineq.dump({"--peers", "-o", "json"});
  EXPECT_NE(peers.out.find("outgoing"), std::string::npos) << peers.out;
}

TEST_F(DialTest, SeveralListenersAndTwoSectionsOfOneHaproxy) {
  const std::string v6 = fmt::format("[::1]:{}", free_port());
  const std::string path = "unix@" + world_.lineq.file("peers.sock");
  const std::string abstract = "abns@" + world_.lineq.name();
  configure(fmt::format(R"({{"peer_name": "first", "listeners": [{{"address": "{}"}},
      {{"address": "{}", "name": "second"}}, {{"address": "{}", "name": "third"}},
      {{"address": "{}", "name": "fourth"}}]}})",
                        own_address(), v6, path, abstract));
  start();
  const std::string two = fmt::format(
      R"(
global
    localpeer {{name}}
    stats socket {{stats}} level admin
peers one
    bind 127.0.0.1:{}
    server {{name}}
    server first {}
    table plain type string len 64 size 1k expire 1h store gpc0
peers two
    bind 127.0.0.1:{}
    server {{name}}
    server second {}
    table other type string len 64 size 1k expire 1h store gpc0
)",
      free_port(), own_address(), free_port(), v6);
  const auto one = [](std::string_view name, const std::string& where) {
    return fmt::format(
        R"(
global
    localpeer {{name}}
    stats socket {{stats}} level admin
peers lq
    bind 127.0.0.1:{}
    server {{name}}
    server {} {}
    table plain type string len 64 size 1k expire 1h store gpc0
    table other type string len 64 size 1k expire 1h store gpc0
)",
        free_port(), name, where);
  };
  using enum HaproxyVersion;
  ASSERT_NE(world_.add(k26, "hap-a", two), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(k30, "hap-b", one("third", path)), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(k26, "hap-c", one("fourth", abstract)), nullptr) << world_.trouble;
  EXPECT_TRUE(world_.at(0).wait_peer(kPatience, "first")) << world_.story();
  EXPECT_TRUE(world_.at(0).wait_peer(kPatience, "second")) << world_.story();
  EXPECT_TRUE(world_.at(1).wait_peer(kPatience, "third")) << world_.story();
  EXPECT_TRUE(world_.at(2).wait_peer(kPatience, "fourth")) << world_.story();
  ASSERT_EQ(world_.at(1).set_table("lq/plain", "k", "data.gpc0 5"), "");
  ASSERT_EQ(world_.at(0).set_table("two/other", "o", "data.gpc0 7"), "");
  EXPECT_TRUE(wait_until([&] {
    return world_.at(0).show_table("one/plain").value("k", "gpc0") == "5" &&
           world_.at(2).show_table("lq/plain").value("k", "gpc0") == "5" &&
           world_.at(1).show_table("lq/other").value("o", "gpc0") == "7" &&
           world_.at(2).show_table("lq/other").value("o", "gpc0") == "7";
  })) << world_.story();
  // The name belongs to the listener.
  FakePeerSetup wrong;
  wrong.port = world_.lineq.tcp_port();
  wrong.target = "second";
  FakePeer fake(wrong);
  EXPECT_FALSE(fake.connect());
  EXPECT_TRUE(logged("calls for a peer 'second', our name is 'first'")) << world_.story();
}

TEST_F(DialTest, BothDialAndTheSessionSettlesEachTime) {
  const u16 port_a = free_port();
  const u16 port_b = free_port();
  configure(fmt::format(
      R"({{"peers": [{{"name": "hap-a", "address": "127.0.0.1:{}"}}, {{"name": "hap-b", "address": "localhost:{}"}}]}})",
      port_a, port_b));
  using enum HaproxyVersion;
  ASSERT_NE(world_.add(k26, "hap-a", config(fmt::format("127.0.0.1:{}", port_a), own_address())),
            nullptr);
  ASSERT_NE(world_.add(k30, "hap-b", config(fmt::format("127.0.0.1:{}", port_b), own_address())),
            nullptr);
  start();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
    // Settled: the same sessions for longer than any timer of either side.
    std::vector<std::string> sessions;
    auto since = std::chrono::steady_clock::now();
    EXPECT_TRUE(wait_until([&] {
      if (const auto now = world_.sessions(); now != sessions) {
        sessions = now;
        since = std::chrono::steady_clock::now();
      }
      return std::chrono::steady_clock::now() - since > std::chrono::milliseconds(5500);
    })) << world_.story();
    expect_relay(fmt::format("round-{}", round));
    if (round == 0) {
      world_.at(0).kill();
      world_.at(1).kill();
      ASSERT_TRUE(world_.at(0).start());
      ASSERT_TRUE(world_.at(1).start());
    } else if (round == 1) {
      world_.kill_daemon();
      start();
    }
  }
  const Finished peers = world_.lineq.dump({"--peers", "-o", "json"});
  // One record each, whoever called.
  EXPECT_EQ(occurrences(peers.out, "\"name\":\"hap-a\""), 1U) << peers.out;
  EXPECT_EQ(occurrences(peers.out, "\"name\":\"hap-b\""), 1U) << peers.out;
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(DialTest, WhoeverCallsWinsAndIsNotDialledMeanwhile) {
  const std::string address = fmt::format("127.0.0.1:{}", free_port());
  configure(fmt::format(R"({{"peers": [{{"name": "hap-a", "address": "{}"}}]}})", address));
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-a", config(address, nowhere())), nullptr);
  start();
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const auto caller = world_.fake("hap-a");
  ASSERT_TRUE(caller->connect());
  EXPECT_TRUE(logged("session over")) << world_.story();
  EXPECT_TRUE(logged("it has a newer session with us")) << world_.story();
  EXPECT_TRUE(wait_until([&] { return !world_.at(0).peer().established; }));
  // Longer than any pause before dialling.
  EXPECT_TRUE(caller->pump(Milliseconds(3000))) << caller->why_ended();
  EXPECT_FALSE(world_.at(0).peer().established);
  caller->disconnect();
  EXPECT_TRUE(world_.at(0).wait_peer()) << world_.story();
}

TEST_F(DialTest, ARestartedHaproxyIsDialledAgainAndFullAtOnce) {
  const std::string address = fmt::format("127.0.0.1:{}", free_port());
  configure(fmt::format(R"({{"peers": [{{"name": "hap-a", "address": "{}"}}]}})", address));
  start();
  // Not there yet: said once, however often it is tried.
  EXPECT_TRUE(
      logged(fmt::format("peer {} (hap-a, dialled): connection refused; trying again", address)))
      << world_.story();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", config(address, nowhere())), nullptr);
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_TRUE(logged("reached after ")) << world_.story();
  EXPECT_EQ(world_.log_lines("trying again").size(), 1U) << world_.story();
  expect_relay("before");
  // There is no other HAProxy that could show that lineqd has it.
  EXPECT_TRUE(wait_until([&] {
    const Finished dump = run(world_.lineq.command(lineq_dump_path(), {"-t", "plain"}));
    return dump.out.find("before-0") != std::string::npos;
  })) << world_.story();
  world_.at(0).kill();
  EXPECT_TRUE(wait_until([&] { return world_.log_lines("trying again").size() == 2; }))
      << world_.story();
  ASSERT_TRUE(world_.at(0).start());
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_EQ(world_.wait_same("lq/plain", rows_), "") << world_.story();
}

TEST_F(DialTest, AWrongNameIsExplainedAndMendedWithoutARestart) {
  const u16 port_a = free_port();
  const u16 port_b = free_port();
  const auto text = [&](std::string_view name, std::string_view own) {
    return fmt::format(R"({{"peers": [{{"name": "{}", "address": "127.0.0.1:{}"}},
        {{"name": "hap-b", "address": "127.0.0.1:{}", "own_name": "{}"}}]}})",
                       name, port_a, port_b, own);
  };
  using enum HaproxyVersion;
  ASSERT_NE(world_.add(k26, "hap-a", config(fmt::format("127.0.0.1:{}", port_a), nowhere())),
            nullptr);
  ASSERT_NE(world_.add(k30, "hap-b", config(fmt::format("127.0.0.1:{}", port_b), nowhere())),
            nullptr);
  configure(text("elephant", "nobody"));
  start();
  EXPECT_TRUE(logged("its own name is not 'elephant': correct `name` here, or its localpeer"))
      << world_.story();
  EXPECT_TRUE(logged("its peers section has no `server nobody`")) << world_.story();
  reload(text("hap-a", "lineq"), "configuration and certificates read again");
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  expect_relay("mended");
  // A wrong file changes nothing, one HAProxy less ends its session, and only that.
  reload(R"({"peers": [{"name": "hap-a"}]})", "configuration kept as it was");
  const std::string kept = world_.at(0).peer().session();
  reload(fmt::format(R"({{"peers": [{{"name": "hap-a", "address": "127.0.0.1:{}"}}]}})", port_a),
         "no longer among the HAProxys to dial");
  EXPECT_TRUE(wait_until([&] { return !world_.at(1).peer().established; }));
  EXPECT_EQ(world_.at(0).peer().session(), kept);
  reload(fmt::format(R"({{"listeners": [{{"address": "127.0.0.1:{}"}}]}})", free_port()),
         "the listeners' addresses need a restart to change");
}

TEST_F(DialTest, OnlyAllowedAddressesAndNamesGetIn) {
  const auto text = [&](std::string_view addresses, std::string_view names) {
    return fmt::format(
        R"({{"listeners": [{{"address": "{}", "allowed_addresses": [{}], "allowed_peers": [{}]}}]}})",
        own_address(), addresses, names);
  };
  configure(text(R"("127.0.0.2/31", "::1")", R"("fake", "other")"));
  world_.daemon = world_.lineq.start_lineqd();
  ASSERT_TRUE(logged("ready: ")) << world_.story();
  const u16 port = world_.lineq.tcp_port();
  for (int i = 0; i < 20; ++i) {
    const Fd refused = connect_tcp(port, "127.0.0.1");
    const Received answer = receive_all(refused);
    EXPECT_TRUE(answer.closed);
    EXPECT_EQ(answer.bytes, "");  // no status: a HAProxy would never come back after one
  }
  EXPECT_TRUE(logged("is not among allowed_addresses (127.0.0.2/31, ::1), closing"))
      << world_.story();
  EXPECT_LE(world_.log_lines("allowed_addresses").size(), 3U);

  const Fd good = connect_tcp(port, "127.0.0.3");
  ASSERT_TRUE(send_all(good, "HAProxyS 2.1\nlineq\nfake 5 1\n"));
  EXPECT_TRUE(receive_some(good).starts_with("200\n")) << world_.story();
  const Fd unnamed = connect_tcp(port, "127.0.0.2");
  ASSERT_TRUE(send_all(unnamed, "HAProxyS 2.1\nlineq\nelephant 5 1\n"));
  const Received answer = receive_all(unnamed);
  EXPECT_TRUE(answer.closed);
  EXPECT_EQ(answer.bytes, "");
  EXPECT_TRUE(logged("'elephant' is not among allowed_peers (fake, other), closing"))
      << world_.story();

  // Who has reset his connection before it is taken has no address: not even "unix".
  world_.daemon.signal(SIGSTOP);
  for (int i = 0; i < 20; ++i) {
    const Fd reset = connect_tcp(port, "127.0.0.2");
    ASSERT_TRUE(send_all(reset, "HAProxyS 2.1\nlineq\nfake 5 1\n"));
    const linger at_once{1, 0};
    ::setsockopt(reset.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  world_.daemon.signal(SIGCONT);
  const Fd after = connect_tcp(port, "127.0.0.3");
  ASSERT_TRUE(send_all(after, "HAProxyS 2.1\nlineq\nfake 6 1\n"));
  EXPECT_TRUE(receive_some(after).starts_with("200\n")) << world_.story();
  EXPECT_EQ(world_.log_lines("unix").size(), 0U) << world_.story();

  // Without a restart, and for those who are in already.
  reload(text(R"("127.0.0.1")", R"("elephant")"), "configuration and certificates read again");
  EXPECT_TRUE(receive_all(good).closed);
  EXPECT_TRUE(logged("no longer among allowed_addresses")) << world_.story();
  const Fd now = connect_tcp(port);
  ASSERT_TRUE(send_all(now, "HAProxyS 2.1\nlineq\nelephant 5 1\n"));
  EXPECT_TRUE(receive_some(now).starts_with("200\n")) << world_.story();
  reload(text(R"("127.0.0.1")", R"("other")"), "no longer among allowed_peers");
}

}  // namespace
}  // namespace lineq::test
