// TLS between lineqd and real HAProxys, in both directions, with certificates made on the spot.
#include <algorithm>
#include <csignal>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"
#include "tests/support/certificates.h"

namespace lineq::test {
namespace {

constexpr std::string_view kHead = R"(
global
    localpeer {name}
    stats socket {stats} level admin
    maxconn 500

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s

peers lq
)";
constexpr std::string_view kTable = R"(
    table plain type string len 64 size 100k expire 1h store gpc0,gpc1
)";

class TlsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
  void configure(const std::string& text) { write_file(world_.lineq.file("lineq.cfg"), text); }
  void start() {
    world_.daemon = world_.lineq.start_lineqd();
    ASSERT_TRUE(world_.daemon.wait_for_err("ready: ")) << world_.story();
  }
  bool logged(std::string_view text) { return world_.daemon.wait_for_err(text); }
  // A listener that wants certificates, at World's port.
  std::string listener(const std::string& more = "") const {
    return fmt::format(
        R"("listeners": [{{"address": "127.0.0.1:{}", "tls": {{"certificate": "{}", "ca": "{}"{}}}}}])",
        world_.lineq.tcp_port(), lineqd_, ca_, more);
  }
  // A HAProxy that calls lineqd with the certificate `crt`.
  std::string calls(const std::string& crt) const {
    return fmt::format(
        "{}    bind 127.0.0.1:{{peers}}\n    server {{name}}\n"
        "    server lineq 127.0.0.1:{} ssl verify required ca-file {} verifyhost lineq.example crt "
        "{}{}",
        kHead, world_.lineq.tcp_port(), ca_, crt, kTable);
  }
  // A HAProxy that lineqd dials.
  std::string called(u16 port, const std::string& crt) const {
    return fmt::format(
        "{}    bind 127.0.0.1:{} ssl crt {} ca-file {} verify required\n    server {{name}} ssl "
        "verify none\n    server lineq 127.0.0.1:{}{}",
        kHead, port, crt, ca_, free_port(), kTable);
  }
  std::string dialled(std::string_view name, u16 port, const std::string& certificate) const {
    return fmt::format(
        R"({{"name": "{}", "address": "127.0.0.1:{}", "tls": {{"ca": "{}", "certificate": "{}", "server_name": "{}.example"}}}})",
        name, port, ca_, certificate, name);
  }
  void expect_relay(std::string_view prefix) {
    for (std::size_t i = 0; i < world_.count(); ++i) {
      ASSERT_EQ(world_.at(i).set_table("lq/plain", fmt::format("{}-{}", prefix, i),
                                       fmt::format("data.gpc0 {}", i + 1)),
                "");
    }
    rows_ += world_.count();
    EXPECT_EQ(world_.wait_same("lq/plain", rows_), "") << world_.story();
  }
  // Ends the peers sessions of a HAProxy from its side.
  void cut(Haproxy& haproxy) {
    for (const std::string& line : lines_of(haproxy.command("show sess"))) {
      if (line.find("fe=GLOBAL") == std::string::npos && line.starts_with("0x")) {
        haproxy.command("shutdown session " + line.substr(0, line.find(':')));
      }
    }
  }

  World world_;
  Authority authority_{world_.lineq.dir(), "authority"};
  const std::string ca_ = authority_.ca();
  const std::string lineqd_ = authority_.make("lineqd.pem", "lineq", "DNS:lineq.example");
  const std::string hap_a_ = authority_.make("hap-a.pem", "hap-a", "DNS:hap-a.example");
  const std::string hap_b_ = authority_.make("hap-b.pem", "hap-b", "DNS:hap-b.example");
  std::size_t rows_ = 0;
};

TEST_F(TlsTest, HaproxysThatCallHaveCertificatesAndResumeTheirSessions) {
  configure(fmt::format("{{{}}}", listener(R"(, "allowed_names": ["hap-a", "hap-b.example"])")));
  start();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", calls(hap_a_)), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", calls(hap_b_)), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  expect_relay("first");
  EXPECT_EQ(world_.log_lines("certificate 'hap-a.example', 'hap-a'").size(), 1U) << world_.story();
  EXPECT_EQ(world_.log_lines("session resumed").size(), 0U) << world_.story();
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string before = world_.at(i).peer().session();
    cut(world_.at(i));
    ASSERT_TRUE(wait_until([&] {
      const PeerStatus now = world_.at(i).peer();
      return now.established && now.session() != before;
    })) << world_.at(i).command("show sess")
        << world_.story();
    EXPECT_TRUE(wait_until([&] { return world_.log_lines("session resumed").size() == i + 1; }))
        << world_.story();
  }
  expect_relay("resumed");
}

TEST_F(TlsTest, HaproxysThatAreDialledHaveCertificatesAndSessionsAreResumed) {
  const u16 port_a = free_port();
  const u16 port_b = free_port();
  configure(fmt::format(R"({{"peers": [{}, {}]}})", dialled("hap-a", port_a, lineqd_),
                        dialled("hap-b", port_b, lineqd_)));
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", called(port_a, hap_a_)), nullptr)
      << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", called(port_b, hap_b_)), nullptr)
      << world_.trouble;
  start();
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  expect_relay("first");
  EXPECT_EQ(world_.log_lines("certificate 'hap-b.example', 'hap-b'").size(), 1U) << world_.story();
  for (std::size_t i = 0; i < 2; ++i) {
    cut(world_.at(i));
    EXPECT_TRUE(wait_until([&] { return world_.log_lines("session resumed").size() == i + 1; }))
        << world_.at(i).command("show sess") << world_.story();
    EXPECT_TRUE(world_.at(i).wait_peer()) << world_.story();
  }
  expect_relay("resumed");
}

TEST_F(TlsTest, WrongCertificatesAreRefusedInWords) {
  const Authority stranger(world_.lineq.dir(), "stranger");
  const std::string foreign = stranger.make("foreign.pem", "hap-x");
  const std::string other = authority_.make("other.pem", "hap-y", "DNS:hap-y.example");
  const std::string expired = authority_.make("expired.pem", "hap-z", "", -1);
  const u16 port = free_port();
  configure(fmt::format(R"({{{}, "peers": [{}]}})", listener(R"(, "allowed_names": ["hap-a"])"),
                        dialled("hap-b", port, foreign)));
  start();
  // The HAProxy that is dialled refuses our certificate.
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", called(port, hap_b_)), nullptr);
  EXPECT_TRUE(logged("(hap-b, dialled): TLS: the other side refuses: alert 'unknown CA'"))
      << world_.story();
  // We refuse those of callers.
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-x", calls(foreign)), nullptr);
  EXPECT_TRUE(logged("TLS: its certificate 'hap-x' is refused: unable to get local issuer"))
      << world_.story();
  // (Lines of one address are limited to one a second.)
  world_.at(1).kill();
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-y", calls(other)), nullptr);
  EXPECT_TRUE(
      logged("TLS: the certificate's name 'hap-y.example', 'hap-y' is not among "
             "allowed_names ('hap-a')"))
      << world_.story();
  world_.at(2).kill();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-z", calls(expired)), nullptr);
  EXPECT_TRUE(logged("TLS: its certificate 'hap-z' is refused: certificate has expired"))
      << world_.story();
  EXPECT_FALSE(world_.at(0).peer().established);
  EXPECT_FALSE(world_.at(3).peer().established);
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", calls(hap_a_)), nullptr);
  EXPECT_TRUE(world_.at(4).wait_peer()) << world_.story();
}

TEST_F(TlsTest, ADialledHaproxyMustHaveItsName) {
  const u16 port = free_port();
  configure(fmt::format(R"({{"peers": [{}]}})", dialled("hap-b", port, lineqd_)));
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-b", called(port, hap_a_)), nullptr);
  start();
  EXPECT_TRUE(logged("TLS: its certificate 'hap-a.example', 'hap-a' is refused: hostname mismatch"))
      << world_.story();
}

TEST_F(TlsTest, CertificatesAreReplacedWithoutARestart) {
  const Authority next(world_.lineq.dir(), "next");
  const std::string theirs = next.make("theirs.pem", "hap-b");
  const std::string trusted = world_.lineq.file("trusted.pem");
  write_file(trusted, read_file(ca_));
  const std::string text = fmt::format(
      R"({{"listeners": [{{"address": "127.0.0.1:{}", "tls": {{"certificate": "{}", "ca": "{}"}}}}]}})",
      world_.lineq.tcp_port(), lineqd_, trusted);
  configure(text);
  start();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", calls(hap_a_)), nullptr);
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const std::string session = world_.at(0).peer().session();
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", calls(theirs)), nullptr);
  EXPECT_TRUE(logged("its certificate 'hap-b' is refused")) << world_.story();

  // A file that is missing changes nothing.
  configure(fmt::format(
      R"({{"listeners": [{{"address": "127.0.0.1:{}", "tls": {{"certificate": "/missing.pem"}}}}]}})",
      world_.lineq.tcp_port()));
  world_.daemon.signal(SIGHUP);
  EXPECT_TRUE(logged("configuration and certificates kept as they were: listener 127.0.0.1:"))
      << world_.story();
  EXPECT_TRUE(logged("certificate /missing.pem: No such file or directory")) << world_.story();

  write_file(trusted, read_file(ca_) + read_file(next.ca()));
  authority_.make("lineqd.pem", "lineq", "DNS:lineq.example");  // a new one in its place
  configure(text);
  world_.daemon.signal(SIGHUP);
  EXPECT_TRUE(world_.at(1).wait_peer()) << world_.story();
  EXPECT_EQ(world_.at(0).peer().session(), session);
  expect_relay("all");
}

// packaging/examples/tls.cfg and tls.lineq.cfg themselves, with addresses and files of this test.
TEST_F(TlsTest, TheExamplesWorkTogetherAndThroughAReload) {
  const auto example = [](std::string_view name,
                          const std::vector<std::pair<std::string, std::string>>& changes) {
    std::string text = read_file(fmt::format("{}/packaging/examples/{}", LINEQ_SOURCE_DIR, name));
    for (const auto& [from, to] : changes) {
      EXPECT_NE(text.find(from), std::string::npos) << from;
      for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
      }
    }
    return text;
  };
  const std::string hap_1 = authority_.make("hap1.pem", "hap1", "DNS:hap1.example");
  const std::string hap_3 = authority_.make("hap3.pem", "hap3", "DNS:hap3.example");
  const u16 port_3 = free_port();
  configure(example("tls.lineq.cfg", {{":11111", fmt::format(":{}", free_port())},
                                      {"*:11112", fmt::format("*:{}", world_.lineq.tcp_port())},
                                      {"/run/lineq/peers.sock", world_.lineq.file("peers.sock")},
                                      {"/etc/lineq/lineq.pem", lineqd_},
                                      {"/etc/lineq/ca.pem", ca_},
                                      {"10.0.0.13:10000", fmt::format("127.0.0.1:{}", port_3)}}));
  start();
  const auto haproxy = [&](const std::string& name, const std::string& crt,
                           const std::string& peers) {
    return example("tls.cfg",
                   {{"localpeer hap1", "localpeer {name}\n    stats socket {stats} level admin"},
                    {"server hap1", "server " + name},
                    {"bind :10000", "bind 127.0.0.1:" + peers},
                    {"/etc/haproxy/hap1.pem", crt},
                    {"/etc/haproxy/ca.pem", ca_},
                    {"10.0.0.5:11112", "127.0.0.1:{tcp}"}});
  };
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap1", haproxy("hap1", hap_1, "{peers}"), true),
            nullptr)
      << world_.trouble;
  ASSERT_NE(
      world_.add(HaproxyVersion::k30, "hap3", haproxy("hap3", hap_3, std::to_string(port_3)), true),
      nullptr)
      << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  for (std::size_t i = 0; i < 2; ++i) {
    // Without a word from HAProxy: nothing that 3.0 would warn about.
    const std::string file = world_.lineq.file(world_.at(i).name() + ".cfg");
    Command check;
    check.words = {haproxy_path(i == 0 ? HaproxyVersion::k26 : HaproxyVersion::k30), "-c", "-dW",
                   "-f", file};
    const Finished checked = run(check);
    EXPECT_EQ(checked.exit_code, 0) << checked.err;
    ASSERT_EQ(world_.at(i).set_table("visits", fmt::format("user-{}", i), "data.gpc0 5"), "");
  }
  EXPECT_EQ(world_.wait_same("visits", 2), "") << world_.story();
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(world_.at(i).reload()) << world_.at(i).log();
    EXPECT_TRUE(world_.at(i).wait_peer()) << world_.story();
    EXPECT_EQ(world_.wait_same("visits", 2), "") << world_.story();
  }
}

// A sanitizer keeps memory of its own: it is counted in the plain build only.
class SlowTlsTest : public TlsTest {};

TEST_F(SlowTlsTest, AHaproxyThatStandsStillCatchesUpAndCostsNoMemory) {
  constexpr u64 kRows = 60000;
  const u16 plain_port = free_port();
  const u16 dialled_port = free_port();
  configure(fmt::format(
      R"({{"listeners": [{{"address": "127.0.0.1:{}"}},
          {{"address": "127.0.0.1:{}", "tls": {{"certificate": "{}", "ca": "{}"}}}}],
          "peers": [{}]}})",
      plain_port, world_.lineq.tcp_port(), lineqd_, ca_, dialled("hap-b", dialled_port, lineqd_)));
  start();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", calls(hap_a_)), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", called(dialled_port, hap_b_)), nullptr)
      << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  for (std::size_t i = 0; i < 2; ++i) {
    ::kill(world_.at(i).pid(), SIGSTOP);
  }
  FakePeerSetup setup;
  setup.port = plain_port;
  setup.keep_rows = false;
  FakePeer source(setup);
  ASSERT_TRUE(source.connect()) << source.why_ended();
  source.define(1, plain_table());
  const u64 before_kib = anonymous_kib(world_.daemon.pid());
  for (u64 n = 0; n < kRows; ++n) {
    ASSERT_NE(source.update(1, fmt::format("key-{:030}", n), plain_row(n, 1)), 0U);
  }
  ASSERT_TRUE(source.pump_until([&] { return source.all_acked(); })) << source.why_ended();
  EXPECT_LT(anonymous_kib(world_.daemon.pid()), before_kib + 16384);
  for (std::size_t i = 0; i < 2; ++i) {
    ::kill(world_.at(i).pid(), SIGCONT);
  }
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(wait_until(
        [&] {
          // The first line says how many; reading all of them takes long.
          return parse_show_table(world_.at(i).command("show table")).used == kRows;
        },
        std::chrono::minutes(1)))
        << i << world_.at(i).command("show table") << world_.story();
    const TableDump one = parse_show_table(
        world_.at(i).command(fmt::format("show table lq/plain key key-{:030}", kRows - 1)));
    EXPECT_EQ(one.value(fmt::format("key-{:030}", kRows - 1), "gpc0"), std::to_string(kRows - 1));
  }
}

TEST_F(TlsTest, TheReadmeShowsTheExample) {
  const std::string readme = read_file(LINEQ_SOURCE_DIR "/README.md");
  for (const std::string& line :
       lines_of(read_file(LINEQ_SOURCE_DIR "/packaging/examples/tls.lineq.cfg"))) {
    if (line.find("//") == std::string::npos) {
      EXPECT_NE(readme.find("\n    " + line + "\n"), std::string::npos) << line;
    }
  }
}

TEST_F(TlsTest, WithoutTheFilesNothingStarts) {
  configure(fmt::format("{{{}}}", listener()));
  write_file(lineqd_, "nonsense");
  world_.daemon = world_.lineq.start_lineqd();
  EXPECT_EQ(world_.daemon.wait(), 1);
  EXPECT_NE(world_.daemon.err().find("certificate " + lineqd_ + ": no start line"),
            std::string::npos)
      << world_.story();
  const Finished check =
      run(world_.lineq.command(lineqd_path(), {"-t", "-f", world_.lineq.file("lineq.cfg")}));
  EXPECT_EQ(check.exit_code, 1);
  EXPECT_NE(check.err.find("no start line"), std::string::npos) << check.err;
}

TEST_F(TlsTest, GarbageAndSlowHandshakesDisturbNobody) {
  configure(fmt::format("{{{}}}", listener()));
  start();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", calls(hap_a_)), nullptr);
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const std::string session = world_.at(0).peer().session();
  const u16 port = world_.lineq.tcp_port();
  std::vector<Fd> slow;
  for (std::size_t i = 0; i < 20; ++i) {
    slow.push_back(connect_tcp(port, "127.0.0.9"));
    send_all(slow.back(), std::string_view("\x16\x03\x01\x02\x00\x01", 6).substr(0, 1 + i % 6));
  }
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    const Fd fd = connect_tcp(port, fmt::format("127.0.1.{}", 1 + i % 100));
    ASSERT_TRUE(fd.valid());
    std::string garbage(1 + random() % 5000, '\0');
    for (char& c : garbage) {
      c = static_cast<char>(random());
    }
    if (i % 2 == 0) {
      garbage.replace(0, 3, std::string_view("\x16\x03\x01", 3));
    }
    send_all(fd, garbage);
    if (i % 4 == 0) {
      receive_some(fd, Milliseconds(20));
    }
  }
  const Fd plain = connect_tcp(port);
  ASSERT_TRUE(send_all(plain, "HAProxyS 2.1\nlineq\nhap-a 5 1\n"));
  EXPECT_TRUE(receive_all(plain).closed);
  EXPECT_TRUE(logged("TLS: what it says is not TLS, closing")) << world_.story();
  for (const Fd& fd : slow) {
    EXPECT_TRUE(receive_all(fd).closed);
  }
  EXPECT_TRUE(logged("TLS: handshake not finished within 5000 ms, closing")) << world_.story();
  EXPECT_EQ(world_.at(0).peer().session(), session);
  expect_relay("after");
  EXPECT_TRUE(world_.daemon.running());
  EXPECT_EQ(world_.lineq.verify(), "");
}

}  // namespace
}  // namespace lineq::test
