#include "webui/pages/metrics.h"

#include <set>
#include <sstream>

#include "tests/support/acc_segment.h"
#include "tests/webui/pages_test.h"
#include "webui/pages/key_export.h"

namespace lineq::pages {
namespace {

using shm::define;
using shm::KeyType;

class MetricsTest : public PagesTest {
 protected:
  std::string text() { return metrics_text(segment(), stats_, 1700000000000); }
  KeyExport keys(std::vector<cli::MetricsTable> wanted) {
    auto made = KeyExport::of(segment(), std::move(wanted));
    EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().what);
    return made.take();
  }
  // The lines of single entries.
  std::vector<std::string> entries(const KeyExport& keys) {
    std::vector<std::string> found;
    std::istringstream lines(metrics_text(segment(), stats_, 0, &keys));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("lineq_table_key_value")) {
        found.push_back(line.substr(21));
      }
    }
    return found;
  }
  using Lines = std::vector<std::string>;
  bool has(std::string_view line) {
    const std::string all = "\n" + text();
    return all.find("\n" + std::string(line) + "\n") != std::string::npos;
  }
  PeerNo peer(std::string_view name, std::string_view address, u64 pid) {
    shm::PeerIdentity identity;
    identity.remote_name = name;
    identity.local_name = "lineq";
    identity.address = address;
    identity.remote_pid = pid;
    const auto no = writer_->peer_up(identity, now());
    EXPECT_TRUE(no.ok());
    return *no;
  }
  http::Stats stats_;
};

TEST_F(MetricsTest, TimesAreInSeconds) {
  writer_->set_counter(shm::DaemonCounter::snapshot_took_ms, 1500);
  EXPECT_TRUE(has("lineq_daemon_snapshot_took_seconds 1.500"));
  EXPECT_EQ(text().find("_ms"), std::string::npos);
}

TEST_F(MetricsTest, EverySeriesAppearsOnceBehindItsHelpAndType) {
  set(define("t", KeyType::kString, 20, {shm::kGpc0}), "k", {1});
  set(define("t", KeyType::kString, 30, {shm::kGpc0}), "k", {1});
  set(define("t", KeyType::kIp, 4, {shm::kGpc0}), "abcd", {1});
  peer("local", "10.0.0.1", 1);
  peer("local", "10.0.0.1", 2);
  const PeerNo three = peer("local", "10.0.0.2", 3);
  test::announce(*writer_, three, define("t", KeyType::kString, 20, {shm::kGpc0}));
  test::announce(*writer_, three, define("t", KeyType::kString, 30, {shm::kGpc0}));
  std::set<std::string> series;
  std::set<std::string> metrics;
  std::string current;
  std::istringstream lines(text());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      current = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(metrics.insert(current).second) << current << " twice";
    } else if (!line.starts_with("#")) {
      const std::string name = line.substr(0, line.find_first_of("{ "));
      EXPECT_EQ(name, current) << line;
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line << " twice";
    }
  }
  EXPECT_TRUE(has("haproxy_sticktable_used{name=\"t\",type=\"string\"} 2"));
  EXPECT_TRUE(has("haproxy_sticktable_used{name=\"t\",type=\"ip\"} 1"));
}

TEST_F(MetricsTest, HaproxysNamesAndOurs) {
  set(define("users", KeyType::kString, 37, {shm::kGpc1}), "k", {1});
  const PeerNo no = peer("hap1", "10.0.0.1", 7);
  writer_->add_peer_counter(no, shm::PeerCounter::updates_in, 5);
  writer_->set_peer_counter(no, shm::PeerCounter::last_received_ms, now() + 1);
  writer_->add_counter(shm::DaemonCounter::updates_in, 9);
  writer_->heartbeat(now());
  const std::string all = text();
  const std::string users = R"({name="users",type="string"} )";
  const std::string hap1 = R"({peer="hap1",address="10.0.0.1",record="0")";
  for (const std::string& line : std::vector<std::string>{
           "haproxy_sticktable_size" + users, "haproxy_sticktable_used" + users + "1\n",
           "haproxy_sticktable_local_updates" + users + "1\n", "lineq_peer_up" + hap1 + "} 1\n",
           "lineq_peer_updates_total" + hap1 + R"(,direction="in"} 5)" + "\n",
           "lineq_peer_last_message_seconds" + hap1, "lineq_peer_lag_updates" + hap1,
           "lineq_peer_resyncs_total" + hap1, "lineq_peer_protocol_errors_total" + hap1,
           "lineq_daemon_updates_in_total 9\n", "lineq_segment_bytes ", "lineq_daemon_up 1\n",
           "lineq_build_info{version=", "# TYPE lineq_daemon_objects_bytes gauge\n"}) {
    EXPECT_NE(all.find(line), std::string::npos) << line << "\n" << all;
  }
  writer_.reset();
  EXPECT_TRUE(has("lineq_daemon_up 0"));
  EXPECT_TRUE(has("lineq_peer_up{peer=\"hap1\",address=\"10.0.0.1\",record=\"0\"} 0"))
      << "no session outlives the daemon";
}

TEST_F(MetricsTest, EachTableOfEachHaproxy) {
  const auto users = define("users", KeyType::kString, 37, {shm::kGpc1});
  const auto src = define("/src", KeyType::kIp, 4, {shm::kGpc0});
  const PeerNo one = peer("hap1", "10.0.0.1", 7);
  const PeerNo two = peer("hap2", "10.0.0.2", 7);
  writer_->set_peer_counter(two, shm::PeerCounter::lesson_in, 2);
  test::announce(*writer_, one, src);
  test::announce(*writer_, two, users);
  const u32 record = test::announce(*writer_, one, users);
  using shm::PeerTableCounter;
  writer_->set_peer_table_counter(record, PeerTableCounter::last_update_ms, now() + 1);
  writer_->set_peer_table_counter(record, PeerTableCounter::updates, 12);
  writer_->set_peer_table_counter(record, PeerTableCounter::refused_values, 2);
  writer_->set_peer_table_counter(record, PeerTableCounter::conflict, 1);
  test::put_part(*writer_, users, one, "hidden", {1});
  test::put_total(*writer_, users, "hidden", {1});
  writer_->heartbeat(now());
  const std::string hap1 = R"({peer="hap1",address="10.0.0.1",record="0",table="users"} )";
  const std::string hap2 = R"({peer="hap2",address="10.0.0.2",record="1",table="/src"} )";
  for (const std::string& line : std::vector<std::string>{
           "lineq_peer_table_announced" + hap1 + "1",
           "lineq_peer_table_updates_total" + hap1 + "12",
           "lineq_peer_table_refused_values_total" + hap1 + "2",
           "lineq_peer_table_conflict" + hap1 + "1", "lineq_peer_table_missing" + hap1 + "0",
           "lineq_peer_table_silent" + hap1 + "0", "lineq_peer_table_announced" + hap2 + "0",
           "lineq_peer_table_missing" + hap2 + "1",
           R"(haproxy_sticktable_used{name="users",type="string"} 0)"}) {
    EXPECT_TRUE(has(line)) << line << "\n" << text();
  }
  EXPECT_NE(text().find("lineq_peer_table_last_update_seconds" + hap1), std::string::npos);
  EXPECT_EQ(text().find("lineq_peer_table_last_update_seconds" + hap2), std::string::npos);
}

TEST_F(MetricsTest, NamesFromStrangersAreEscaped) {
  peer("a\"b\\c\nd\xff", "10.0.0.1", 1);
  EXPECT_NE(text().find("peer=\"a\\\"b\\\\\\\\c\\\\x0ad\\\\xff\""), std::string::npos) << text();
}

TEST_F(MetricsTest, OnlyEntriesOfNamedTablesAndOfTheseTheHighest) {
  const auto visits = define("/visits", KeyType::kString, 20, {shm::kGpc0, shm::kConnCnt});
  const auto others = define("others", KeyType::kString, 20, {shm::kGpc0});
  for (u64 i = 0; i < 50; ++i) {
    set(visits, "k" + std::to_string(i), {i * 7 % 50, i});
    set(others, "secret" + std::to_string(i), {i});
  }
  KeyExport top = keys({{"visits", 2, {"gpc0"}}, {"away", 2, {}}});
  EXPECT_EQ(entries(top), Lines{}) << "no walk was made yet";
  top.step();
  // 7 * 7 = 49, and 14 * 7 = 98 = 48 of 50.
  EXPECT_EQ(entries(top), (Lines{R"({name="/visits",key="k14",data="gpc0"} 48)",
                                 R"({name="/visits",key="k7",data="gpc0"} 49)"}));
  set(visits, "k7", {1000, 0});
  EXPECT_EQ(entries(top).back(), R"({name="/visits",key="k7",data="gpc0"} 1000)")
      << "values are of now";
  set(visits, "new", {5000, 0});
  top.step();
  EXPECT_EQ(entries(top), (Lines{R"({name="/visits",key="k7",data="gpc0"} 1000)",
                                 R"({name="/visits",key="new",data="gpc0"} 5000)"}));
  EXPECT_EQ(text().find("secret"), std::string::npos);
  EXPECT_EQ(text().find("lineq_table_key_value"), std::string::npos) << "nothing was asked for";
}

TEST_F(MetricsTest, EntriesWithAllTheirNumbersAndHostileKeys) {
  const auto sticky = define("sticky", KeyType::kString, 40,
                             {shm::kServerId, shm::kGpc, shm::kServerKey}, 60'000, 2);
  set(sticky, "a\"b\\c\nd\xff", {3, 0, 4, 5});
  KeyExport top = keys({{"sticky", 5, {}}, {"/sticky", 5, {}}, {"sticky", 5, {"gpc1", "gpc[1]"}}});
  top.step();
  const std::string key = R"({name="sticky",key="a\"b\\\\c\\x0ad\\xff",)";
  EXPECT_EQ(entries(top), (Lines{key + R"(data="server_id"} 3)", key + R"(data="gpc0"} 4)",
                                 key + R"(data="gpc1"} 5)"}))
      << "by whatever names: every series once";
}

TEST_F(MetricsTest, AWalkOverALargeTableTakesMoreThanOneStep) {
  const auto many = define("many", KeyType::kInteger, 4, {shm::kGpc0});
  for (u32 i = 0; i < 140'000; ++i) {
    const std::string key{static_cast<char>(i >> 24), static_cast<char>(i >> 16),
                          static_cast<char>(i >> 8), static_cast<char>(i)};
    set(many, key, {i});
    if (i % 64 == 0) {
      writer_->work_some();
    }
  }
  KeyExport top = keys({{"many", 1, {}}});
  top.step();
  EXPECT_EQ(entries(top), Lines{}) << "only whole walks count";
  top.step();
  EXPECT_EQ(entries(top), Lines{R"({name="many",key="139999",data="gpc0"} 139999)"});
}

TEST_F(MetricsTest, WhatIsNoNumberIsRefused) {
  for (const char* word : {"gpc9x", "server_key", ""}) {
    const auto made = KeyExport::of(segment(), {{"t", 1, {"gpc0", word}}});
    ASSERT_FALSE(made.ok()) << word;
    EXPECT_NE(made.error().what.find("metrics_tables[0].data"), std::string::npos)
        << made.error().what;
  }
}

TEST_F(MetricsTest, WithoutASegmentThereIsStillAnAnswer) {
  writer_.reset();
  instance_.remove();
  EXPECT_TRUE(has("lineq_segment_attached 0"));
  EXPECT_TRUE(has("lineq_web_requests_total 0"));
}

}  // namespace
}  // namespace lineq::pages
