// What mode acc keeps beside the tables, as users of lineq-dump see it, and that nobody else does.
#include <rapidjson/document.h>

#include "tests/support/acc_segment.h"
#include "tests/tools/dump_support.h"

namespace lineq::dump {
namespace {

using shm::KeyType;
using shm::PeerTableCounter;
using test::Finished;
using test::lines_of;

class DumpAccTest : public testing::Test {
 protected:
  PeerNo peer(std::string_view name, std::string_view address) {
    shm::PeerIdentity identity;
    identity.remote_name = name;
    identity.local_name = "lineq";
    identity.address = address;
    identity.remote_pid = 1;
    const PeerNo no = *segment_.writer->peer_up(identity, segment_.writer->now());
    segment_.writer->set_peer_counter(no, shm::PeerCounter::lesson_in, 2);
    return no;
  }
  void fill() {
    hap1_ = peer("hap1", "10.0.0.1");
    one_ = peer("local", "10.0.0.2");
    two_ = peer("local", "10.0.0.3");
    segment_.put(src_, key_, {6, 0, 5, 0});
    test::put_part(*segment_.writer, src_, hap1_, key_, {1, 0, 2, 0});
    test::put_part(*segment_.writer, src_, one_, key_, {2, 0, 3, 0});
    test::put_part(*segment_.writer, src_, two_, key_, {3, 0, 0, 0});
    test::put_total(*segment_.writer, src_, key_, {u64{1} << 40});
    test::put_total(*segment_.writer, src_, std::string("\xc0\0\2\2", 4), {7});
    segment_.beat();
  }
  rapidjson::Document json(const std::vector<std::string>& options) {
    std::vector<std::string> all = options;
    all.insert(all.end(), {"-o", "json"});
    const Finished finished = segment_.dump(all);
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    rapidjson::Document document;
    document.Parse(finished.out.c_str());
    EXPECT_FALSE(document.HasParseError()) << finished.out;
    return document;
  }

  Segment segment_;
  const shm::TableDefinition src_ =
      table_of("src", KeyType::kIp, 4, "http_req_cnt,http_req_rate(3600000)");
  const std::string key_ = std::string("\xc0\0\2\1", 4);
  PeerNo hap1_, one_, two_;
};

TEST_F(DumpAccTest, TotalsReadLikeATable) {
  fill();
  const Finished text = segment_.dump({"--acc", "-t", "src"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  const auto lines = lines_of(text.out);
  ASSERT_EQ(lines.size(), 3U) << text.out;
  EXPECT_EQ(lines[0], "# table: src, type: ip, total, used:2");
  EXPECT_TRUE(lines[1].ends_with(": key=192.0.2.1 use=0 exp=0 http_req_cnt=1099511627776"));
  EXPECT_TRUE(lines[2].ends_with(": key=192.0.2.2 use=0 exp=0 http_req_cnt=7"));
  EXPECT_EQ(segment_.dump({"--acc"}).out, text.out);
  const auto d = json({"--acc", "-k", "192.0.2.1"});
  EXPECT_TRUE(d["tables"][0]["total"].GetBool());
  EXPECT_EQ(d["tables"][0]["entries"][0]["data"]["http_req_cnt"].GetUint64(), u64{1} << 40);
  EXPECT_EQ(lines_of(segment_.dump({"--acc", "data.http_req_cnt", "gt", "7"}).out).size(), 2U);
  const auto csv = lines_of(segment_.dump({"--acc", "-o", "csv"}).out);
  ASSERT_EQ(csv.size(), 3U);
  EXPECT_EQ(csv[0], "table,key,key_base64,expire_ms,http_req_cnt\r");
  EXPECT_EQ(csv[1], "src,192.0.2.1,,,1099511627776\r");
  EXPECT_EQ(lines_of(segment_.dump({"--acc", "-o", "jsonl"}).out).size(), 2U);
}

TEST_F(DumpAccTest, AHaproxysOwnValues) {
  fill();
  const Finished text = segment_.dump({"--peer", "hap1", "-t", "src"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  const auto lines = lines_of(text.out);
  ASSERT_EQ(lines.size(), 2U) << text.out;
  EXPECT_TRUE(lines[0].starts_with("# table: src, type: ip, peer: hap1, size:")) << lines[0];
  EXPECT_TRUE(lines[1].ends_with(" http_req_cnt=1 http_req_rate(3600000)=2")) << lines[1];
  const auto d = json({"--peer", "local@10.0.0.3"});
  EXPECT_STREQ(d["tables"][0]["peer"].GetString(), "local@10.0.0.3");
  EXPECT_EQ(d["tables"][0]["entries"][0]["data"]["http_req_cnt"].GetUint(), 3U);
}

TEST_F(DumpAccTest, WhoIsNotThereIsNamedWithThoseWhoAre) {
  fill();
  const Finished unknown = segment_.dump({"--peer", "hap9"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_EQ(unknown.err,
            "lineq-dump: no HAProxy 'hap9'; there are: hap1, local@10.0.0.2, local@10.0.0.3\n");
  const Finished several = segment_.dump({"--peer", "local"});
  EXPECT_EQ(several.exit_code, 2);
  EXPECT_NE(several.err.find("several HAProxys are called 'local'"), std::string::npos);
  segment_.table(table_of("other", KeyType::kIp, 4, "gpc0"));
  const Finished nothing = segment_.dump({"--peer", "hap1", "-t", "other"});
  EXPECT_EQ(nothing.exit_code, 2);
  EXPECT_EQ(nothing.err, "lineq-dump: HAProxy hap1 has told nothing of table other\n");
  EXPECT_EQ(segment_.dump({"--acc", "-t", "other"}).err,
            "lineq-dump: there are no totals of table other\n");
  EXPECT_EQ(segment_.dump({"--acc", "-t", "nothing"}).exit_code, 2);
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--acc", "--peer", "hap1"},
                                             {"--acc", "--follow"},
                                             {"--peer", "hap1", "--follow"},
                                             {"--peers", "--acc"},
                                             {"--verify", "--peer", "hap1"}}) {
    EXPECT_EQ(segment_.dump(words).exit_code, 1) << words[0];
  }
}

TEST_F(DumpAccTest, InModeAggASentenceSaysWhyThereIsNothing) {
  peer("hap1", "10.0.0.1");
  segment_.put(src_, key_, {6, 0, 5, 0});
  const Finished acc = segment_.dump({"--acc"});
  EXPECT_EQ(acc.exit_code, 2);
  EXPECT_EQ(acc.out, "");
  EXPECT_EQ(acc.err,
            "lineq-dump: there are no totals: lineqd keeps them in mode acc, once a HAProxy has "
            "told something\n");
  const Finished own = segment_.dump({"--peer", "hap1", "-t", "src"});
  EXPECT_EQ(own.exit_code, 2);
  EXPECT_NE(own.err.find("no values of single HAProxys: lineqd keeps them in mode acc"),
            std::string::npos)
      << own.err;
}

TEST_F(DumpAccTest, WithoutTheseOptionsOnlyTablesAreShown) {
  segment_.put(src_, key_, {6, 0, 5, 0});
  const auto outputs = [&] {
    std::vector<std::string> all;
    for (const std::vector<std::string>& options : std::vector<std::vector<std::string>>{
             {}, {"-o", "json"}, {"-o", "csv"}, {"-o", "jsonl"}}) {
      all.push_back(segment_.dump(options).out);
    }
    all.push_back(segment_.dump({"-a", "-o", "csv", "data.http_req_cnt", "eq", "6"}).out);
    return all;
  };
  const auto without_expiry = [](const std::string& text) {
    return text.substr(0, text.find(",,"));  // of the csv of entries: it runs down
  };
  auto before = outputs();
  fill();
  auto after = outputs();
  before.back() = without_expiry(before.back());
  after.back() = without_expiry(after.back());
  EXPECT_EQ(after, before);
  EXPECT_EQ(lines_of(segment_.dump({"-a"}).out).size(), 2U);
  EXPECT_EQ(segment_.dump({"-k", "192.0.2.2"}).exit_code, 2) << "it is in the ledger only";
  const Finished verify = segment_.dump({"--verify"});
  EXPECT_EQ(verify.exit_code, 0) << verify.out;
}

TEST_F(DumpAccTest, FollowShowsChangesOfTablesOnly) {
  segment_.put(src_, key_, {1, 0, 0, 0});
  test::Process follow = segment_.start({"--follow", "-t", "src", "-o", "jsonl"}, "follow");
  ASSERT_TRUE(test::wait_until([&] {
    segment_.beat();
    return lines_of(follow.out()).size() == 1;
  })) << follow.err();
  hap1_ = peer("hap1", "10.0.0.1");
  test::put_part(*segment_.writer, src_, hap1_, key_, {2, 0, 0, 0});
  test::put_total(*segment_.writer, src_, key_, {2});
  segment_.put(src_, key_, {3, 0, 0, 0});
  ASSERT_TRUE(test::wait_until([&] {
    segment_.beat();
    return follow.out().find(R"("http_req_cnt":3)") != std::string::npos;
  })) << follow.out();
  EXPECT_EQ(follow.out().find(R"("http_req_cnt":2)"), std::string::npos) << follow.out();
}

TEST_F(DumpAccTest, PeersSayWhatIsWrongWithEachTable) {
  fill();
  const u32 fine = test::announce(*segment_.writer, hap1_, src_);
  segment_.writer->set_peer_table_counter(fine, PeerTableCounter::updates, 42);
  segment_.writer->set_peer_table_counter(fine, PeerTableCounter::last_update_ms,
                                          segment_.writer->now() + 1);
  const auto other = table_of("/other", KeyType::kIp, 4, "gpc0");
  test::announce(*segment_.writer, hap1_, other);
  const u32 odd = test::announce(*segment_.writer, one_, src_);
  segment_.writer->set_peer_table_counter(odd, PeerTableCounter::conflict, 1);
  segment_.writer->set_peer_table_counter(odd, PeerTableCounter::refused_values, 1);
  segment_.beat();
  const auto lines = lines_of(segment_.dump({"--peers"}).out);
  ASSERT_EQ(lines.size(), 10U);  // four of HAProxys, a blank one, a head and four of tables
  EXPECT_EQ(lines[4], "");
  EXPECT_TRUE(lines[5].starts_with("HAPROXY"));
  EXPECT_TRUE(lines[6].starts_with("hap1")) << lines[6];
  EXPECT_NE(lines[6].find(" src "), std::string::npos);
  EXPECT_NE(lines[6].find(" 0s "), std::string::npos);
  EXPECT_TRUE(lines[6].ends_with(" 42       -")) << lines[6];
  EXPECT_TRUE(lines[7].ends_with(" -")) << lines[7];
  EXPECT_TRUE(lines[8].starts_with("local@10.0.0.2  src ")) << lines[8];
  EXPECT_TRUE(lines[8].ends_with("its definition differs; 1 value refused")) << lines[8];
  EXPECT_TRUE(lines[9].ends_with("missing, others have it")) << lines[9];
  const auto d = json({"--peers"});
  const auto& tables = d["peers"][1]["tables"];
  ASSERT_EQ(tables.Size(), 2U);
  EXPECT_STREQ(tables[0]["table"].GetString(), "src");
  EXPECT_EQ(tables[0]["wrong"].Size(), 2U);
  EXPECT_TRUE(tables[0]["last_update_age_ms"].IsNull());
  EXPECT_EQ(tables[0]["refused_values"].GetUint(), 1U);
  EXPECT_EQ(d["peers"][2]["tables"].Size(), 0U);
}

}  // namespace
}  // namespace lineq::dump
