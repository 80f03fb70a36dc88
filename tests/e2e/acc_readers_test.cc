// Mode acc as those see it who read: totals, sums, what each HAProxy has, and what is wrong.
#include <map>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

class AccReadersTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    write_file(world_.lineq.file("lineq.cfg"),
               R"({"aggregate": [{"from": "hits", "to": "hits.aggr"}]})");
    world_.lineq.set("SERVICE_MODE", "acc");
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_TRUE(world_.start_web()) << world_.trouble;
    const std::string both = config(
        "    table hits type string len 64 size 10k expire 1h store "
        "http_req_cnt,http_req_rate(1h),gpc(2),bytes_out_cnt\n"
        "    table hits.aggr type string len 64 size 10k expire 1h store "
        "http_req_cnt,http_req_rate(1h),gpc(2),bytes_out_cnt\n");
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", both), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", both), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-c", both), nullptr) << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }

  static std::string config(const std::string& tables) {
    std::string text = plain_config();
    const std::string old = "track-sc0 url_param(k) table lq/plain";
    text.replace(text.find(old), old.size(), "track-sc0 url_param(k) table lq/hits");
    const std::string inc = "sc-inc-gpc0(0)";
    text.replace(text.find(inc), inc.size(), "sc-inc-gpc(1,0)");
    text.insert(text.find("    table plain"), tables);
    return text;
  }
  void send(std::size_t i, const std::string& key, int count) {
    for (int n = 0; n < count; ++n) {
      ASSERT_EQ(http_get(world_.at(i).http_port(), "/?k=" + key).status, 200);
    }
  }
  // Not an object when the answer is none, as for a table that lineq-web does not know yet.
  rapidjson::Document get(const std::string& path) {
    const HttpAnswer answer = http_get(world_.lineq.web_port(), path);
    rapidjson::Document document;
    if (answer.status == 200) {
      document.Parse(answer.body.c_str());
      EXPECT_FALSE(document.HasParseError()) << path << answer.body;
    }
    return document;
  }
  u64 total(const std::string& key) {
    const auto d = get("/acc?table=/hits&key=" + key);
    if (!d.IsObject() || !d["tables"].HasMember("/hits") ||
        d["tables"]["/hits"]["entries"].Empty()) {
      return 0;
    }
    return d["tables"]["/hits"]["entries"][0]["http_req_cnt"].GetUint64();
  }

  World world_;
};

TEST_F(AccReadersTest, TotalsSumsAndPartsAgreeWithWhatWasSent) {
  send(0, "k", 5);
  send(1, "k", 3);
  send(2, "k", 1);
  send(1, "only-b", 4);
  EXPECT_TRUE(wait_until([&] { return total("k") == 9 && total("only-b") == 4; }))
      << http_get(world_.lineq.web_port(), "/acc").body << world_.story();
  // What lineq-dump says is the same.
  const TableDump totals = parse_show_table(world_.lineq.dump({"--acc", "-t", "hits"}).out);
  EXPECT_EQ(totals.type, "string");
  EXPECT_EQ(totals.used, 2U);
  EXPECT_EQ(totals.value("k", "http_req_cnt"), "9");
  EXPECT_EQ(totals.value("k", "gpc1"), "9");
  EXPECT_EQ(totals.value("k", "gpc0"), "0");
  EXPECT_NE(totals.value("k", "bytes_out_cnt"), "0");
  EXPECT_EQ(totals.value("k", "http_req_rate(3600000)"), "") << "a rate has no total";
  // One by one.
  const std::vector<std::pair<std::string, std::string>> each{
      {"hap-a", "5"}, {"hap-b", "3"}, {"hap-c", "1"}};
  for (const auto& [name, count] : each) {
    const Finished own = world_.lineq.dump({"--peer", name, "-t", "hits"});
    const TableDump part = parse_show_table(own.out);
    EXPECT_EQ(part.value("k", "http_req_cnt"), count) << own.out << own.err;
    EXPECT_EQ(part.value("k", "http_req_rate(3600000)"), count) << own.out;
    EXPECT_EQ(part.rows.contains("only-b"), name == "hap-b");
  }
  // The sum is the table everybody sees, with or without each HAProxy's share.
  EXPECT_TRUE(wait_until([&] {
    return parse_show_table(world_.lineq.dump({"-t", "hits"}).out).value("k", "http_req_cnt") ==
           "9";
  })) << world_.lineq.dump({"-a"}).out;
  std::map<std::string, u64> shares;
  EXPECT_TRUE(wait_until([&] {  // lineq-web looks for new tables once a second
    const auto d = get("/tables?table=/hits&key=k&format=v2&peers=1");
    if (!d.IsObject() || d["tables"].Empty() || d["tables"][0]["entries"].Empty()) {
      return false;
    }
    const auto& entry = d["tables"][0]["entries"][0];
    shares = {{"sum", entry["values"]["http_req_cnt"].GetUint64()}};
    for (const auto& peer : entry["peers"].GetObject()) {
      shares[peer.name.GetString()] = peer.value["http_req_cnt"].GetUint64();
    }
    return shares.size() == 4;
  }));
  EXPECT_EQ(shares,
            (std::map<std::string, u64>{{"sum", 9}, {"hap-a", 5}, {"hap-b", 3}, {"hap-c", 1}}));
  // What began in other windows is spread over a common one, and HAProxy's formula rounds down.
  const std::string rate =
      parse_show_table(world_.lineq.dump({"-t", "hits"}).out).value("k", "http_req_rate(3600000)");
  EXPECT_TRUE(rate == "9" || rate == "8") << rate;
  // Nobody who asks for tables sees parts or ledgers.
  const std::string list = world_.lineq.dump({}).out;
  EXPECT_EQ(list.find("total"), std::string::npos) << list;
  std::set<std::string> names;
  for (const std::string& line : lines_of(list)) {
    EXPECT_TRUE(names.insert(line.substr(0, line.find(','))).second) << list;
  }
  EXPECT_EQ(world_.lineq.verify(), "");
  // And the HAProxys got the sum where they asked for it.
  for (std::size_t i = 0; i < world_.count(); ++i) {
    EXPECT_TRUE(wait_until([&] {
      return world_.at(i).show_table("lq/hits.aggr").value("k", "http_req_cnt") == "9";
    })) << world_.at(i).command("show table lq/hits.aggr")
        << world_.story();
    EXPECT_EQ(world_.at(i).show_table("lq/hits").value("k", "http_req_cnt"), each[i].second);
  }
}

TEST_F(AccReadersTest, TotalsOutliveRestartsOfEverybody) {
  send(0, "k", 5);
  send(1, "k", 3);
  ASSERT_TRUE(wait_until([&] { return total("k") == 8; })) << world_.story();
  world_.at(0).kill();
  ASSERT_TRUE(world_.at(0).start()) << world_.at(0).log();
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  send(0, "k", 2);
  EXPECT_TRUE(wait_until([&] { return total("k") == 10; })) << total("k") << world_.story();
  world_.kill_daemon();
  EXPECT_EQ(total("k"), 10U) << "readers need no daemon";
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  send(1, "k", 1);
  EXPECT_TRUE(wait_until([&] { return total("k") == 11; })) << total("k") << world_.story();
}

TEST_F(AccReadersTest, WhoLacksATableIsNamedEverywhere) {
  send(0, "k", 1);
  const auto missing = [&] {
    const auto d = get("/status.json");
    std::string found;
    for (const auto& peer : d["peers"].GetArray()) {
      for (const auto& table : peer["tables"].GetArray()) {
        if (table.HasMember("missing")) {
          found += fmt::format("{} {};", peer["label"].GetString(), table["name"].GetString());
        }
      }
    }
    return found;
  };
  EXPECT_EQ(missing(), "");
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-d",
                       config("    table hits.aggr type string len 64 size 10k expire 1h store "
                              "http_req_cnt\n    table hits type ip size 1k store gpc0\n")),
            nullptr);
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  // The same name with another key is a table of its own, and said to be in conflict.
  EXPECT_TRUE(wait_until([&] {
    return world_.lineq.dump({"--peers"}).out.find("its definition differs") != std::string::npos;
  })) << world_.lineq.dump({"--peers"}).out
      << world_.story();
  const std::string bare = plain_config();
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-bare", bare), nullptr);
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_TRUE(wait_until([&] { return missing().find("hap-bare /hits;") != std::string::npos; }))
      << missing();
  const std::string peers = world_.lineq.dump({"--peers"}).out;
  EXPECT_NE(peers.find("missing, others have it"), std::string::npos) << peers;
  const std::string metrics = http_get(world_.lineq.web_port(), "/metrics").body;
  EXPECT_NE(metrics.find(R"(lineq_peer_table_missing{peer="hap-bare")"), std::string::npos);
  EXPECT_TRUE(wait_until([&] { return !world_.log_lines("has no table /hits").empty(); }));
}

}  // namespace
}  // namespace lineq::test
