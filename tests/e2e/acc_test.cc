// Mode acc with real HAProxys: sums of every type under every kind of key, the rate limit of the
// example, and what becomes of the values of a HAProxy that dies.
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/ledger_run.h"
#include "tests/e2e/rate_limit.h"
#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

constexpr std::string_view kAny = R"({"from": "any", "to": ".aggr"})";

// The same configuration with a table NAME.aggr for each of its tables.
std::string with_sums(std::string_view config) {
  std::string result;
  for (const std::string& line : lines_of(config)) {
    result += line + "\n";
    constexpr std::string_view kTable = "    table ";
    if (line.starts_with(kTable)) {
      const std::size_t end = line.find(' ', kTable.size());
      result += line.substr(0, end) + ".aggr" + line.substr(end) + "\n";
    }
  }
  return result;
}

class AccTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
  void start(std::string_view rules, const std::vector<std::pair<HaproxyVersion, std::string>>& all,
             const std::vector<std::map<std::string, std::string>>& values = {}) {
    write_file(world_.lineq.file("lineq.cfg"),
               fmt::format(R"({{"service_mode": "acc", "aggregate": [{}]}})", rules));
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    for (std::size_t i = 0; i < all.size(); ++i) {
      ASSERT_NE(world_.add(all[i].first, fmt::format("hap-{}", "abcdef"[i]), all[i].second, false,
                           values.empty() ? std::map<std::string, std::string>{} : values[i]),
                nullptr)
          << world_.trouble;
    }
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }
  void start_three(std::string_view rules, const std::string& config) {
    start(rules, {{HaproxyVersion::k26, config},
                  {HaproxyVersion::k30, config},
                  {HaproxyVersion::k26, config}});
  }
  void request(std::size_t i, const std::string& key, int times = 1) {
    for (; times > 0; --times) {
      ASSERT_EQ(http_get(world_.at(i).http_port(), "/plain?k=" + key).status, 200);
    }
  }
  std::string value(std::size_t i, const std::string& table, const std::string& key,
                    const std::string& column = "gpc0") {
    return world_.at(i).show_table(table).value(key, column);
  }
  // A column on HAProxy `i`, once it is `expected`; otherwise what it is.
  std::string wait_value(std::size_t i, const std::string& table, const std::string& key,
                         const std::string& expected, const std::string& column = "gpc0") {
    std::string is;
    wait_until([&] { return (is = value(i, table, key, column)) == expected; });
    return is;
  }
  std::string dumped(const std::string& table, const std::string& key, const std::string& column) {
    return parse_show_table(world_.lineq.dump({"-t", table}).out).value(key, column);
  }
  std::string wait_dumped(const std::string& table, const std::string& key,
                          const std::string& column, const std::string& expected) {
    std::string is;
    wait_until([&] { return (is = dumped(table, key, column)) == expected; });
    return is;
  }

  // Columns that are added, and that HAProxy learns.
  static bool additive(const std::string& column) {
    return column != "use" && column != "exp" && column != "shard" && column != "server_id" &&
           column != "server_key" && column != "conn_cur" && !column.starts_with("gpt");
  }
  // Whether `table`.aggr on HAProxy `i` is the sum of `table` on all of them; "" or what is not.
  std::string wrong_sum(std::size_t i, const std::string& table) {
    std::map<std::string, std::map<std::string, u64>> sums;
    for (std::size_t j = 0; j < world_.count(); ++j) {
      for (const auto& [key, row] : world_.at(j).show_table(table).rows) {
        for (const auto& [column, text] : row) {
          if (additive(column)) {
            const u64 most = column.starts_with("bytes_") && column.ends_with("_cnt")
                                 ? std::numeric_limits<u64>::max()
                                 : std::numeric_limits<u32>::max();
            u64& sum = sums[key][column];
            sum += std::min(number(text), most - sum);
          }
        }
      }
    }
    const TableDump pushed = world_.at(i).show_table(table + ".aggr");
    if (pushed.rows.size() != sums.size() || sums.empty()) {
      return fmt::format("{}.aggr on {}: {} rows, not {}", table, world_.at(i).name(),
                         pushed.rows.size(), sums.size());
    }
    for (const auto& [key, row] : sums) {
      for (const auto& [column, sum] : row) {
        const std::string text = pushed.value(key, column);
        // Windows of an hour that begin some seconds apart.
        const u64 slack = column.find("_rate") == std::string::npos ? 0 : 3 + sum / 100;
        if (text.empty() || number(text) + slack < sum || number(text) > sum + slack) {
          return fmt::format("{}.aggr on {}: key {}: {} is \"{}\", not {}", table,
                             world_.at(i).name(), key, column, text, sum);
        }
      }
    }
    return "";
  }
  std::string wait_sums(const std::string& table) {
    std::string wrong;
    wait_until([&] {
      wrong.clear();
      for (std::size_t i = 0; i < world_.count() && wrong.empty(); ++i) {
        wrong = wrong_sum(i, table);
      }
      return wrong.empty();
    });
    return wrong;
  }

  World world_;
};

// --- sums ---

TEST_F(AccTest, EveryAdditiveTypeUnderEveryKeyTypeIsAddedUpAndNothingComesBack) {
  start_three(kAny, with_sums(full_config()));
  for (std::size_t i = 0; i < world_.count(); ++i) {
    const u16 port = world_.at(i).http_port();
    for (const auto& [path, source] : std::vector<std::pair<std::string, std::string>>{
             {"/string?k=everybody&twice=1", ""},
             {fmt::format("/string?k=only-{}", i), ""},
             {"/string?k=failed&fail=1", ""},
             {"/ip", "192.0.2.1"},
             {fmt::format("/ip?own={}", i), fmt::format("192.0.2.1{}", i)},
             {"/ipv6", "2001:db8::1"},
             {"/integer?k=4294967295", ""},
             {fmt::format("/integer?k={}", i), ""},
             {"/binary?k=visitor", ""},
             {fmt::format("/binary?k=visitor-{}", i), ""}}) {
      for (std::size_t times = 0; times <= i; ++times) {
        ASSERT_EQ(http_get(port, path, source.empty() ? "" : "x-src: " + source + "\r\n").status,
                  path.find("fail=1") == std::string::npos ? 200 : 500)
            << path;
      }
    }
    const std::string values = fmt::format(
        "data.gpc0 {} data.gpc0_rate 17 data.conn_cnt 2287 data.conn_rate 2288 data.sess_cnt "
        "240 data.sess_rate 264431 data.http_req_cnt 264432 data.http_req_rate 1000000000 "
        "data.http_err_cnt 239 data.http_err_rate 241 data.bytes_in_cnt {} data.bytes_in_rate 7 "
        "data.bytes_out_cnt {} data.bytes_out_rate 9 data.gpc1 {} data.gpc1_rate 2 "
        "data.http_fail_cnt 3 data.http_fail_rate 4",
        4294967290U + i, i == 1 ? "-1" : "1", u64{1} << (40 + i), 1431655765U);
    EXPECT_EQ(world_.at(i).set_table("lq/all_string", "extreme", values), "");
    EXPECT_EQ(world_.at(i).set_table("lq/all_ip", "255.255.255.255", values), "");
    EXPECT_EQ(world_.at(i).set_table("lq/all_ipv6", "ffff::1", values), "");
    EXPECT_EQ(world_.at(i).set_table("lq/all_integer", "77", values), "");
  }
  for (const std::string& table : full_tables()) {
    EXPECT_EQ(wait_sums(table), "") << world_.story();
  }
  // The comparison above must not be one of zeros.
  const TableDump b = world_.at(1).show_table("lq/all_string.aggr");
  EXPECT_EQ(b.value("everybody", "gpc0"), "6");
  EXPECT_EQ(b.value("everybody", "gpc1"), "12");
  EXPECT_EQ(b.value("everybody", "http_req_cnt"), "6");
  EXPECT_EQ(b.value("everybody", "http_req_rate(3600000)"), "6");
  EXPECT_EQ(b.value("failed", "http_fail_cnt"), "6");
  EXPECT_GT(number(b.value("everybody", "bytes_out_cnt")), 6U);
  EXPECT_EQ(b.value("extreme", "gpc0"), "4294967295") << "it stops there";
  EXPECT_EQ(b.value("extreme", "gpc1"), "4294967295");
  EXPECT_EQ(b.value("extreme", "bytes_in_cnt"), "18446744073709551615");
  EXPECT_EQ(b.value("extreme", "bytes_out_cnt"), std::to_string(u64{7} << 40));
  const TableDump array = world_.at(2).show_table("lq/arr_string.aggr");
  EXPECT_EQ(array.value("everybody", "gpc1"), "0");
  EXPECT_EQ(array.value("everybody", "gpc3"), "6");
  EXPECT_EQ(array.value("everybody", "gpc0_rate(3600000)"), "6");
  EXPECT_EQ(array.value("everybody", "gpt2"), "77");

  // What each HAProxy counts stays its own.
  for (std::size_t i = 0; i < world_.count(); ++i) {
    const TableDump own = world_.at(i).show_table("lq/all_string");
    EXPECT_EQ(own.rows.size(), 4U);
    EXPECT_EQ(own.value("everybody", "gpc0"), std::to_string(i + 1));
    EXPECT_EQ(own.value(fmt::format("only-{}", i), "gpc0"), std::to_string(i + 1));
  }
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(AccTest, GlitchesOfThoseWhoCountThemAreAddedUp) {
  const std::string table = "    table glitch type ip size 10k expire 1h store gpc0";
  const std::string old =
      with_sums(with(plain_config(), "    table plain", table + "\n    table plain"));
  const std::string fresh = with_sums(with(plain_config(), "    table plain",
                                           table + ",glitch_cnt,glitch_rate(1h)\n    table plain"));
  start(kAny,
        {{HaproxyVersion::k30, fresh}, {HaproxyVersion::k30, fresh}, {HaproxyVersion::k26, old}});
  for (std::size_t i = 0; i < world_.count(); ++i) {
    ASSERT_EQ(world_.at(i).set_table("lq/glitch", "192.0.2.1",
                                     i == 2 ? "data.gpc0 4"
                                            : fmt::format("data.gpc0 {} data.glitch_cnt {} "
                                                          "data.glitch_rate 30",
                                                          i + 1, 100 + i)),
              "");
  }
  for (std::size_t i = 0; i < world_.count(); ++i) {
    EXPECT_EQ(wait_value(i, "lq/glitch.aggr", "192.0.2.1", "7"), "7") << world_.story();
  }
  for (const std::size_t i : {0U, 1U}) {
    EXPECT_EQ(wait_value(i, "lq/glitch.aggr", "192.0.2.1", "201", "glitch_cnt"), "201");
    EXPECT_NEAR(static_cast<double>(
                    number(value(i, "lq/glitch.aggr", "192.0.2.1", "glitch_rate(3600000)"))),
                60, 2);
  }
}

TEST_F(AccTest, ARuleServesTheTablesOfABackendAndThoseOfAPeersSection) {
  constexpr std::string_view kBackend =
      "backend {}\n"
      "    stick-table type string len 64 size 10k expire 1h peers lq store gpc0\n\n";
  std::string backends;
  for (const std::string_view name : {"visits", "all-visits", "others", "others.aggr"}) {
    backends += fmt::format(fmt::runtime(kBackend), name);
  }
  const std::string config = with(with(with_sums(plain_config()), "    default_backend be\n",
                                       "    http-request track-sc1 url_param(k) table visits\n"
                                       "    http-request track-sc2 url_param(k) table others\n"
                                       "    http-request sc-inc-gpc0(1)\n"
                                       "    http-request sc-inc-gpc0(2)\n"
                                       "    default_backend be\n"),
                                  "\nbackend be\n", "\n" + backends + "backend be\n");
  start_three(R"({"from": "plain", "to": "plain.aggr"}, {"from": "visits", "to": "all-visits"})",
              config);
  for (std::size_t i = 0; i < world_.count(); ++i) {
    request(i, "k", 2);
  }
  for (std::size_t i = 0; i < world_.count(); ++i) {
    EXPECT_EQ(wait_value(i, "lq/plain.aggr", "k", "6"), "6") << world_.story();
    EXPECT_EQ(wait_value(i, "all-visits", "k", "6"), "6") << world_.story();
    EXPECT_EQ(value(i, "visits", "k"), "2");
    EXPECT_EQ(world_.at(i).show_table("others.aggr").rows.size(), 0U) << "no rule for it";
  }
  EXPECT_EQ(wait_dumped("others", "k", "gpc0", "6"), "6") << "sums are kept all the same";
}

TEST_F(AccTest, WhatCannotBeAddedIsChosenByPolicy) {
  std::string tables;
  for (const std::string_view policy : {"latest", "max", "or"}) {
    tables += fmt::format(
        "    table mark_{0} type string len 64 size 10k expire 1h store gpt0\n"
        "    table marks_{0} type string len 64 size 10k expire 1h store gpt(2)\n",
        policy);
  }
  std::string config = with(plain_config(), "    table plain", tables + "    table plain");
  config = with(config, "    default_backend be\n",
                "    http-request track-sc1 url_param(k) table lq/marks_max\n"
                "    http-request track-sc2 url_param(k) table lq/marks_or\n"
                "    http-request sc-set-gpt(1,1) {tag}\n"
                "    http-request sc-set-gpt(1,2) {tag}\n"
                "    default_backend be\n");
  config = with(config, "track-sc0 url_param(k) table lq/plain",
                "track-sc0 url_param(k) table lq/marks_latest");
  config = with_sums(with(config, "sc-inc-gpc0(0)", "sc-set-gpt(1,0) {tag}"));
  start(
      R"({"from": "mark_max", "to": "mark_max.aggr", "policy": "max"},
           {"from": "marks_max", "to": "marks_max.aggr", "policy": "max"},
           {"from": "mark_or", "to": "mark_or.aggr", "policy": "or"},
           {"from": "marks_or", "to": "marks_or.aggr", "policy": "or"},
           {"from": "any", "to": ".aggr"})",
      {{HaproxyVersion::k26, config}, {HaproxyVersion::k30, config}, {HaproxyVersion::k26, config}},
      {{{"tag", "5"}}, {{"tag", "9"}}, {{"tag", "2"}}});
  const std::map<std::string, std::array<std::string, 3>> expected{
      {"latest", {"5", "9", "2"}}, {"max", {"5", "9", "9"}}, {"or", {"5", "13", "15"}}};
  constexpr std::array<u32, 3> kTags{5, 9, 2};
  for (std::size_t i = 0; i < kTags.size(); ++i) {
    for (const auto& [policy, values] : expected) {
      ASSERT_EQ(
          world_.at(i).set_table("lq/mark_" + policy, "x", fmt::format("data.gpt0 {}", kTags[i])),
          "");
    }
    request(i, "x");
    for (const auto& [policy, values] : expected) {
      for (std::size_t j = 0; j < world_.count(); ++j) {
        EXPECT_EQ(wait_value(j, "lq/mark_" + policy + ".aggr", "x", values[i], "gpt0"), values[i])
            << policy << world_.story();
        EXPECT_EQ(wait_value(j, "lq/marks_" + policy + ".aggr", "x", values[i], "gpt1"), values[i])
            << policy << world_.story();
      }
    }
  }
}

TEST_F(AccTest, ConnectionsAreAddedUpWhileTheirHaproxyIsThere) {
  const std::string config =
      with_sums(with(with(plain_config(), "    table plain",
                          "    table conn type ip size 10k expire 1h store conn_cur,conn_cnt\n"
                          "    table plain"),
                     "    http-request track-sc0",
                     "    tcp-request connection track-sc1 src table lq/conn\n"
                     "    http-request track-sc0"));
  start_three(kAny, config);
  constexpr std::array<std::size_t, 3> kOpen{3, 2, 1};
  std::array<std::vector<Fd>, 3> open;
  for (std::size_t i = 0; i < kOpen.size(); ++i) {
    for (std::size_t n = 0; n < kOpen[i]; ++n) {
      open[i].push_back(connect_tcp(world_.at(i).http_port()));
      ASSERT_TRUE(open[i].back().valid());
    }
  }
  EXPECT_EQ(wait_dumped("/conn", "127.0.0.1", "conn_cur", "6"), "6") << world_.story();
  EXPECT_EQ(wait_value(1, "lq/conn.aggr", "127.0.0.1", "6", "conn_cnt"), "6");
  open[0].pop_back();
  EXPECT_EQ(wait_dumped("/conn", "127.0.0.1", "conn_cur", "5"), "5") << world_.story();
  world_.at(0).kill();
  EXPECT_EQ(wait_dumped("/conn", "127.0.0.1", "conn_cur", "3"), "3") << world_.story();
  EXPECT_EQ(dumped("/conn", "127.0.0.1", "conn_cnt"), "6") << "they were made all the same";
}

// --- HAProxys that die ---

TEST_F(AccTest, ValuesOfAKilledHaproxyLeaveTheSumsAtTheirOwnExpiry) {
  start_three(kAny, with_sums(with(plain_config(), "size 100k expire 1h", "size 100k expire 5s")));
  request(0, "both", 3);
  request(0, "only-a", 2);
  request(1, "both", 2);
  ASSERT_EQ(wait_value(2, "lq/plain.aggr", "both", "5"), "5") << world_.story();
  ASSERT_EQ(wait_value(2, "lq/plain.aggr", "only-a", "2"), "2");
  world_.at(0).kill();
  request(1, "both");
  EXPECT_EQ(wait_value(2, "lq/plain.aggr", "both", "6"), "6") << "they count until they expire";
  const auto killed = std::chrono::steady_clock::now();
  EXPECT_TRUE(wait_until([&] {
    // So that B's lives on.
    world_.at(1).set_table("lq/plain", "both", "data.gpc0 3");
    return value(2, "lq/plain.aggr", "both") == "3";
  })) << value(2, "lq/plain.aggr", "both")
      << world_.story();
  EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(9));
  EXPECT_TRUE(wait_until([&] { return number(value(2, "lq/plain.aggr", "only-a")) == 0; }));
}

TEST_F(AccTest, ARestartedHaproxyReplacesItsValuesAndGetsTheSumsButNotItsOwnOldOnes) {
  start_three(kAny, with_sums(plain_config()));
  request(0, "both", 3);
  request(1, "both", 2);
  request(1, "only-b", 4);
  ASSERT_EQ(wait_value(2, "lq/plain.aggr", "both", "5"), "5") << world_.story();
  world_.at(0).kill();
  ASSERT_TRUE(world_.at(0).start()) << world_.at(0).log();
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_EQ(wait_value(2, "lq/plain.aggr", "both", "2"), "2") << world_.story();
  EXPECT_EQ(wait_value(0, "lq/plain.aggr", "only-b", "4"), "4");
  EXPECT_EQ(world_.at(0).show_table("lq/plain").rows.size(), 0U);
  request(0, "both", 7);
  for (std::size_t i = 0; i < world_.count(); ++i) {
    EXPECT_EQ(wait_value(i, "lq/plain.aggr", "both", "9"), "9") << world_.story();
  }
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(AccTest, ARuleThatTracksTheSumsIsReportedAndIgnored) {
  const std::string good = with_sums(plain_config());
  const std::string bad = with(good, "    http-request sc-inc-gpc0(0)\n",
                               "    http-request sc-inc-gpc0(0)\n"
                               "    http-request track-sc1 url_param(k) table lq/plain.aggr\n"
                               "    http-request sc-inc-gpc0(1)\n");
  start(kAny,
        {{HaproxyVersion::k26, bad}, {HaproxyVersion::k30, bad}, {HaproxyVersion::k26, good}});
  request(0, "k", 2);
  request(1, "k", 3);
  request(2, "k", 1);
  EXPECT_TRUE(wait_until([&] {
    return world_.log_lines("its rules change table /plain.aggr, which gets sums from us").size() >=
           2;
  })) << world_.story();
  EXPECT_EQ(wait_value(2, "lq/plain.aggr", "k", "6"), "6") << world_.story();
  request(0, "k");
  EXPECT_EQ(wait_value(2, "lq/plain.aggr", "k", "7"), "7") << world_.story();
}

// --- totals; for two minutes in ledger_test.cc ---

TEST_F(AccTest, TotalsAreTheTruthAfterFifteenSecondsOfAccidents) {
  LedgerRun run({.seed = std::random_device{}()});
  ASSERT_EQ(run.start(), "") << run.story();
  ASSERT_EQ(run.run(std::chrono::seconds(15)), "") << run.story();
  ASSERT_EQ(run.finish(), "") << run.story();
  EXPECT_EQ(run.total(), run.requests());
}

// --- the example ---

TEST_F(AccTest, TheRateLimitExampleRefusesOnEveryHaproxyByWhatAllOfThemCount) {
  RateLimit example(2);
  ASSERT_EQ(example.start(), "");
  Load load(example.ports());
  const auto refused = [&] { return load.refused(0) + load.refused(1) + load.refused(2); };
  const auto answered = [&](std::size_t n) {
    return load.requests(0).size() >= n && load.requests(1).size() >= n &&
           load.requests(2).size() >= n;
  };
  load.all(15);  // 45 a second of 60
  ASSERT_TRUE(wait_until([&] { return answered(50); }));
  EXPECT_EQ(refused(), 0U) << example.world.story();

  load.all(30);
  ASSERT_TRUE(wait_until([&] {
    return load.refused(0) >= 20 && load.refused(1) >= 20 && load.refused(2) >= 20;
  })) << load.refused(0)
      << " " << load.refused(1) << " " << load.refused(2) << example.world.story();
  SteadyTime first = SteadyTime::max();
  SteadyTime last = SteadyTime::min();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(example.shown(i, "src"), example.limit) << "alone it would have let them pass";
    const auto requests = load.requests(i);
    const auto at = std::find_if(requests.begin(), requests.end(),
                                 [](const Load::Request& r) { return r.status == 429; });
    first = std::min(first, at->when);
    last = std::max(last, at->when);
  }
  EXPECT_LT(last - first, std::chrono::seconds(1));

  load.all(0);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(wait_until([&] {
      return http_get(example.world.at(i).http_port(), "/").status == 200;
    })) << example.world.story();
  }
}

}  // namespace
}  // namespace lineq::test
