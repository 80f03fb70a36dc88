// What HAProxy's own regression tests ask of peers (reg-tests/peers: a table in a backend or in the
// peers section, over TCP or TLS, members that start one after the other), asked of lineqd in the
// place of one of them.
#include <algorithm>
#include <string>
#include <tuple>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"
#include "tests/support/certificates.h"

namespace lineq::test {
namespace {

// Whose place lineqd takes: that of the second or of the last of the three.
enum class Place { kSecond, kLast };
enum class Declared { kInBackend, kInPeersSection };
enum class Wire { kTcp, kTls };

constexpr std::string_view kStore =
    "type string size 10m store server_id,gpc0,conn_cur,conn_rate(50000)";

class HaproxyCasesTest : public testing::TestWithParam<std::tuple<Place, Declared, Wire>> {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
  bool in_backend() const { return std::get<Declared>(GetParam()) == Declared::kInBackend; }
  bool tls() const { return std::get<Wire>(GetParam()) == Wire::kTls; }

  // All know all others: A and B speak with each other, too. D is one without TLS.
  std::string config(u16 own, std::string_view more_members, bool with_tls) const {
    const std::string ssl =
        with_tls ? fmt::format("    default-server ssl crt {} verify none\n", pem_) : "";
    const std::string bind_ssl = with_tls ? fmt::format(" ssl crt {}", pem_) : "";
    return fmt::format(
        R"(
global
    localpeer {{name}}
    stats socket {{stats}} level admin
    maxconn 500

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s

{}peers lq
{}    bind 127.0.0.1:{}{}
    server {{name}}
    server lineq 127.0.0.1:{{tcp}}
{}{}
frontend fe
    bind 127.0.0.1:{{http}}
    http-request track-sc0 url table {}
    http-request sc-inc-gpc0(0)
    http-request return status 200
)",
        in_backend() ? fmt::format("backend stkt\n    stick-table {} peers lq\n\n", kStore) : "",
        ssl, own, bind_ssl, more_members,
        in_backend() ? "" : fmt::format("    table stkt {}\n", kStore), table());
  }
  std::string table() const { return in_backend() ? "stkt" : "lq/stkt"; }
  std::string table_at_lineq() const { return in_backend() ? "stkt" : "/stkt"; }

  void start_lineqd() {
    if (tls()) {
      write_file(
          world_.lineq.file("lineq.cfg"),
          fmt::format(
              R"({{"listeners": [{{"address": "127.0.0.1:{}", "tls": {{"certificate": "{}"}}}}]}})",
              world_.lineq.tcp_port(), pem_));
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  }
  void start(HaproxyVersion version, const std::string& name, const std::string& text) {
    ASSERT_NE(world_.add(version, name, text), nullptr) << world_.trouble;
  }
  static std::string member(std::string_view name, u16 port) {
    return fmt::format("    server {} 127.0.0.1:{}\n", name, port);
  }

  // The four keys, each requested once, of no server, of no connection now, that never expire.
  static std::string difference(const TableDump& dump) {
    if (dump.rows.size() != 4) {
      return fmt::format("{} rows, not 4", dump.rows.size());
    }
    for (int i = 1; i <= 4; ++i) {
      const std::string key = fmt::format("/c{}_client", i);
      for (const auto& [column, expected] :
           {std::pair{"exp", "0"}, std::pair{"server_id", "0"}, std::pair{"gpc0", "1"},
            std::pair{"conn_rate(50000)", "1"}, std::pair{"conn_cur", "0"}}) {
        if (const std::string value = dump.value(key, column); value != expected) {
          return fmt::format("{}: {} is '{}', not {}", key, column, value, expected);
        }
      }
    }
    return "";
  }

  World world_;
  Authority authority_{world_.lineq.dir(), "authority"};
  const std::string pem_ = authority_.make("common.pem", "common", "DNS:common.example");
};

TEST_P(HaproxyCasesTest, AllMembersShowWhatTheFirstCounted) {
  const u16 a = free_port();
  const u16 b = free_port();
  const u16 d = free_port();
  // D is known to all in the cases with TLS, and knows all, but none of them understands it.
  const std::string more = tls() ? member("D", d) : "";
  start(HaproxyVersion::k26, "A", config(a, member("B", b) + more, tls()));
  for (int i = 1; i <= 4; ++i) {
    ASSERT_EQ(http_get(world_.at(0).http_port(), fmt::format("/c{}_client", i)).status, 200);
  }
  if (std::get<Place>(GetParam()) == Place::kSecond) {
    start_lineqd();
  }
  start(HaproxyVersion::k30, "B", config(b, member("A", a) + more, tls()));
  if (std::get<Place>(GetParam()) == Place::kLast) {
    start_lineqd();
  }
  if (tls()) {
    start(HaproxyVersion::k26, "D", config(d, member("A", a) + member("B", b), false));
  }
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(world_.at(i).wait_peer()) << world_.at(i).peer().text << world_.story();
    std::string wrong;
    EXPECT_TRUE(wait_until([&] {
      wrong = difference(world_.at(i).show_table(table()));
      return wrong.empty();
    })) << world_.at(i).name()
        << ": " << wrong << world_.story();
  }
  std::string wrong;
  EXPECT_TRUE(wait_until([&] {
    wrong = difference(parse_show_table(world_.lineq.dump({"-t", table_at_lineq()}).out));
    return wrong.empty();
  })) << wrong
      << world_.story();
  // As a HAProxy would, it keeps them when the others are gone.
  world_.at(0).kill();
  world_.at(1).kill();
  EXPECT_EQ(difference(parse_show_table(world_.lineq.dump({"-t", table_at_lineq()}).out)), "");
  if (tls()) {
    EXPECT_TRUE(wait_until([&] { return !world_.log_lines("TLS").empty(); })) << world_.story();
    EXPECT_FALSE(world_.at(2).peer().established);
    EXPECT_EQ(world_.at(2).show_table(table()).rows.size(), 0U);
  }
  EXPECT_EQ(world_.lineq.verify(), "");
}

std::string name_of(const testing::TestParamInfo<HaproxyCasesTest::ParamType>& each) {
  const auto& [place, declared, wire] = each.param;
  return fmt::format("{}{}{}", place == Place::kSecond ? "SecondOfThree" : "LastOfThree",
                     declared == Declared::kInBackend ? "TableInBackend" : "TableInPeersSection",
                     wire == Wire::kTcp ? "Tcp" : "Tls");
}

INSTANTIATE_TEST_SUITE_P(All, HaproxyCasesTest,
                         testing::Combine(testing::Values(Place::kSecond, Place::kLast),
                                          testing::Values(Declared::kInBackend,
                                                          Declared::kInPeersSection),
                                          testing::Values(Wire::kTcp, Wire::kTls)),
                         name_of);

}  // namespace
}  // namespace lineq::test
