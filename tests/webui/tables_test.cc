#include "webui/pages/tables.h"

#include <random>
#include <set>

#include <rapidjson/document.h>

#include "tests/support/acc_segment.h"
#include "tests/support/process.h"
#include "tests/webui/pages_test.h"
#include "tools/view/columns.h"

namespace lineq::pages {
namespace {

using shm::define;
using shm::KeyType;

class TablesTest : public PagesTest {
 protected:
  // Parsed, with UTF-8 checked.
  rapidjson::Document json(std::string_view query = "") {
    const std::string text = tables(query);
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(text.c_str(), text.size());
    EXPECT_FALSE(document.HasParseError()) << text.substr(0, 2000);
    return document;
  }
  // Keys shown for one table.
  static std::multiset<std::string> keys(const rapidjson::Value& table) {
    std::multiset<std::string> keys;
    for (const auto& entry : table["entries"].GetArray()) {
      keys.insert(entry["key"].GetString());
    }
    return keys;
  }
  using Keys = std::multiset<std::string>;

  const shm::TableDefinition users_ = define("users", KeyType::kString, 37, {shm::kGpc1});
};

TEST_F(TablesTest, AnEmptySegmentHasAMode) {
  EXPECT_EQ(tables(), R"({"mode":"tables"})");
  EXPECT_EQ(tables("?format=v2"), R"({"mode":"tables","format":2,"tables":[],"next":null})");
}

TEST_F(TablesTest, HasTheOriginalsShape) {
  set(users_, "alice", {1});
  EXPECT_EQ(tables(),
            R"({"mode":"tables","users":{"expiry":60000,"type":"string","vtypes":"gpc1  ",)"
            R"("entries":[{"id":"YWxpY2U=","key":"alice","value":"1\t"}]}})");
}

// The same entry by the quick way, and by the general one, which format=v2 takes.
TEST_F(TablesTest, BothShapesTellTheSame) {
  const auto all = define(
      "all", KeyType::kString, 101,
      {shm::kServerId, shm::kGpt, shm::kGpc, shm::kConnCnt, shm::kHttpReqRate, shm::kBytesInCnt},
      60'000, 3);
  std::mt19937_64 random(1);
  for (std::size_t length = 0; length < 100; ++length) {
    std::string key(length, 'k');
    key += std::to_string(length);
    key.resize(std::min<std::size_t>(key.size(), 100));
    if (length % 3 == 1) {
      key[random() % key.size()] = "\"\\\n\xc3\xff\x7f"[random() % 6];
    }
    std::vector<u64> cells;
    for (u32 i = 0; i < all.cells(); ++i) {
      cells.push_back(random() >> (32 + random() % 32));
    }
    set(all, key, cells);
  }
  const auto text = json("?table=all");
  const auto typed = json("?table=all&format=v2");
  const auto columns = view::columns_of(all);
  const auto& entries = text["all"]["entries"];
  const auto& typed_entries = typed["tables"][0]["entries"];
  ASSERT_EQ(entries.Size(), 100U);
  ASSERT_EQ(typed_entries.Size(), 100U);
  for (rapidjson::SizeType i = 0; i < entries.Size(); ++i) {
    EXPECT_STREQ(entries[i]["id"].GetString(), typed_entries[i]["id"].GetString());
    EXPECT_STREQ(entries[i]["key"].GetString(), typed_entries[i]["key"].GetString());
    std::string values;
    for (const view::Column& column : columns) {
      const auto& value =
          typed_entries[i]["values"][std::string(shm::data_type(column.bit).name).c_str()];
      const auto& element = value.IsArray() ? value[column.element] : value;
      values += fmt::format("{}\t", element.GetInt64());
    }
    // Rates fade between the two answers.
    const std::string told = entries[i]["value"].GetString();
    const auto words = [&](const std::string& line) {
      std::vector<std::string> kept;
      std::size_t at = 0;
      for (const view::Column& column : columns) {
        const std::size_t end = line.find('\t', at);
        if (column.kind != shm::ValueKind::kRate) {
          kept.push_back(line.substr(at, end - at));
        }
        at = end + 1;
      }
      EXPECT_EQ(at, line.size());
      return kept;
    };
    EXPECT_EQ(words(told), words(values));
  }
}

TEST_F(TablesTest, ShowsEveryKeyTypeAsPeopleWriteIt) {
  set(define("n", KeyType::kInteger, 4, {shm::kGpc0}), std::string("\0\0\1\0", 4), {1});
  set(define("a4", KeyType::kIp, 4, {shm::kGpc0}), "\x7f\0\0\1", {1});
  set(define("a4b", KeyType::kIp, 4, {shm::kGpc0}), std::string("\x7f\0\0\1", 4), {1});
  set(define("a6", KeyType::kIpv6, 16, {shm::kGpc0}), std::string(15, '\0') + '\1', {1});
  set(define("b", KeyType::kBinary, 4, {shm::kGpc0}), std::string("\xff\0\1\0", 4), {1});
  const auto d = json();
  EXPECT_EQ(keys(d["n"]), Keys{"256"});
  EXPECT_EQ(keys(d["a4b"]), Keys{"127.0.0.1"});
  EXPECT_EQ(keys(d["a6"]), Keys{"::1"});
  EXPECT_EQ(keys(d["b"]), Keys{"FF000100"});
  EXPECT_STREQ(d["b"]["entries"][0]["id"].GetString(), "/wABAA==");
}

TEST_F(TablesTest, ShowsEveryValueOfEveryColumn) {
  const auto wide = define(
      "wide", KeyType::kString, 20,
      {shm::kServerId, shm::kGpt0, shm::kHttpReqRate, shm::kBytesInCnt, shm::kServerKey, shm::kGpc},
      60000, 3);
  const u64 server = writer_->intern("backend/s1");
  set(wide, "k", {static_cast<u64>(-5), 4000000000, 0, 12, 0, u64{1} << 40, server, 7, 8, 9});
  const auto v1 = json();
  EXPECT_STREQ(
      v1["wide"]["vtypes"].GetString(),
      "server_id  gpt0  http_req_rate  bytes_in_cnt  server_key  gpc[0]  gpc[1]  gpc[2]  ");
  EXPECT_STREQ(v1["wide"]["entries"][0]["value"].GetString(),
               "-5\t4000000000\t12\t1099511627776\tbackend/s1\t7\t8\t9\t");
  const auto v2 = json("?format=v2");
  const auto& table = v2["tables"][0];
  EXPECT_STREQ(table["table"].GetString(), "wide");
  EXPECT_EQ(table["used"].GetUint(), 1U);
  EXPECT_EQ(table["columns"].Size(), 6U);
  EXPECT_EQ(table["columns"][2]["period_ms"].GetUint(), 10000U);
  EXPECT_EQ(table["columns"][5]["elements"].GetUint(), 3U);
  const auto& entry = table["entries"][0];
  EXPECT_GT(entry["expires_ms"].GetUint(), 0U);
  const auto& values = entry["values"];
  EXPECT_EQ(values["server_id"].GetInt(), -5);
  EXPECT_EQ(values["gpt0"].GetUint(), 4000000000U);
  EXPECT_EQ(values["http_req_rate"].GetUint(), 12U);
  EXPECT_EQ(values["bytes_in_cnt"].GetUint64(), u64{1} << 40);
  EXPECT_STREQ(values["server_key"].GetString(), "backend/s1");
  ASSERT_EQ(values["gpc"].Size(), 3U);
  EXPECT_EQ(values["gpc"][2].GetUint(), 9U);
}

TEST_F(TablesTest, KeysFromStrangersStayValidAndDistinct) {
  const std::vector<std::string> hostile = {"\"\\</script>", std::string("a\0b", 3),
                                            "\xff\xfe",      "\xed\xa0\x80",
                                            "\xc0\xaf",      "\x1b[2J",
                                            "\\x41",         "A",
                                            "\xe2\x80\xae",  "日本",
                                            "a\nb"};
  for (const std::string& key : hostile) {
    set(users_, key, {1});
  }
  const auto d = json();
  const Keys shown = keys(d["users"]);
  EXPECT_EQ(shown.size(), hostile.size());
  EXPECT_EQ(std::set(shown.begin(), shown.end()).size(), hostile.size())
      << "two keys look the same";
  EXPECT_TRUE(shown.contains("日本"));
  EXPECT_TRUE(shown.contains("\\x1b[2J"));
  EXPECT_TRUE(shown.contains("\\\\x41"));
}

TEST_F(TablesTest, WhatIsShownAsAKeyFindsItAgain) {
  const std::vector<std::string> odd = {"a b&c=d", "\\x41", "\xff", "100%", std::string("a\0b", 3)};
  for (const std::string& key : odd) {
    set(users_, key, {1});
  }
  const auto all = json();
  for (const auto& entry : all["users"]["entries"].GetArray()) {
    const std::string key = entry["key"].GetString();
    std::string encoded;
    for (const char c : key) {
      encoded += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    }
    EXPECT_EQ(keys(json("?key=" + encoded)["users"]), Keys{key});
    std::string id = entry["id"].GetString();
    for (std::size_t at = 0; (at = id.find('+', at)) != std::string::npos;) {
      id.replace(at, 1, "%2B");
    }
    EXPECT_EQ(keys(json("?id=" + id)["users"]), Keys{key});
  }
}

TEST_F(TablesTest, TablesWithOneNameAreToldApart) {
  set(define("t", KeyType::kString, 20, {shm::kGpc0}), "k", {1});
  set(define("t", KeyType::kIp, 4, {shm::kGpc0}), std::string("\x01\x02\x03\x04"), {2});
  set(define("mode", KeyType::kString, 20, {shm::kGpc0}), "m", {3});
  const auto d = json();
  EXPECT_EQ(d.MemberCount(), 4U);
  EXPECT_STREQ(d["mode"].GetString(), "tables");
  EXPECT_EQ(keys(d["t"]), Keys{"k"});
  EXPECT_EQ(keys(d["t;ip:4"]), Keys{"1.2.3.4"});
  EXPECT_EQ(keys(d["mode;string:20"]), Keys{"m"});
  EXPECT_EQ(keys(json("?table=t;ip:4")["t;ip:4"]), Keys{"1.2.3.4"});
}

TEST_F(TablesTest, ATableIsFoundWithOrWithoutTheSlashOfItsSection) {
  set(define("/t1", KeyType::kString, 20, {shm::kGpc0}), "k", {1});
  EXPECT_EQ(json("?table=/t1").MemberCount(), 2U);
  EXPECT_EQ(json("?table=t1").MemberCount(), 2U);
  EXPECT_EQ(tables_raw("?table=t2").status, 404);
}

TEST_F(TablesTest, FiltersCompareEveryKindOfValue) {
  const auto d =
      define("f", KeyType::kString, 20,
             {shm::kServerId, shm::kGpc0, shm::kHttpReqRate, shm::kServerKey, shm::kGpt}, 60000, 2);
  const u64 s1 = writer_->intern("s1");
  const u64 s2 = writer_->intern("s2");
  set(d, "a", {static_cast<u64>(-1), 5, 0, 100, 0, s1, 1, 2});
  set(d, "b", {1, 6, 0, 10, 0, s2, 3, 4});
  const auto shown = [&](std::string_view query) { return keys(json(query)["f"]); };
  EXPECT_EQ(shown("?data.gpc0.gt=5"), Keys{"b"});
  EXPECT_EQ(shown("?data.gpc0.ge=5"), (Keys{"a", "b"}));
  EXPECT_EQ(shown("?data.gpc0.lt=6"), Keys{"a"});
  EXPECT_EQ(shown("?data.gpc0.le=5"), Keys{"a"});
  EXPECT_EQ(shown("?data.gpc0.eq=6"), Keys{"b"});
  EXPECT_EQ(shown("?data.gpc0.ne=6"), Keys{"a"});
  EXPECT_EQ(shown("?data.gpc0.gt=-1"), (Keys{"a", "b"}));
  EXPECT_EQ(shown("?data.server_id.lt=0"), Keys{"a"});
  EXPECT_EQ(shown("?data.server_id.eq=-1"), Keys{"a"});
  EXPECT_EQ(shown("?data.server_id.gt=-2&data.server_id.lt=1"), Keys{"a"});
  EXPECT_EQ(shown("?data.http_req_rate.gt=50"), Keys{"a"});
  EXPECT_EQ(shown("?data.server_key.eq=s2"), Keys{"b"});
  EXPECT_EQ(shown("?data.server_key.ne=s2"), Keys{"a"});
  EXPECT_EQ(shown("?data.gpt[1].eq=4"), Keys{"b"});
  EXPECT_EQ(shown("?data.gpt%5B0%5D.eq=1"), Keys{"a"});
  EXPECT_EQ(shown("?data.gpt0.eq=1"), Keys{"a"}) << "gpt0 is the first of gpt";
  EXPECT_EQ(shown("?data.gpt[2].ge=0"), Keys{}) << "there are two";
  EXPECT_EQ(shown("?data.conn_cnt.ge=0"), Keys{}) << "no such column";
  EXPECT_EQ(shown("?data.gpc[0].eq=6"), Keys{"b"}) << "gpc0 stands for gpc[0]";
}

TEST_F(TablesTest, AMistakeIsNamed) {
  for (const auto& [query, words] : std::vector<std::pair<std::string, std::string>>{
           {"?data.gcp0.gt=5", "unknown data type 'gcp0'; did you mean"},
           {"?data.gpc0.bigger=5", "eq ne le ge lt gt"},
           {"?data.gpc0.gt=many", "'many' is not allowed"},
           {"?data.gpc0.gt=1.5", "whole number"},
           {"?data.gpc0=5", "OP=VALUE"},
           {"?data.gpc[x].gt=5", "arrays are"},
           {"?data.gpc0[1].gt=5", "arrays are"},
           {"?data.server_key.gt=5", "eq and ne only"},
           {"?limit=-1", "limit: '-1'"},
           {"?limit=", "whole number"},
           {"?cursor=abc", "gave as next"},
           {"?format=v3", "v1 or v2"},
           {"?id=!", "base64"},
           {"?tabel=users", "did you mean 'table'"}}) {
    const http::Reply reply = tables_raw(query);
    EXPECT_EQ(reply.status, 400) << query;
    EXPECT_NE(reply.body.find(words), std::string::npos) << query << ": " << reply.body;
  }
}

TEST_F(TablesTest, PagesTogetherShowEveryEntryOnce) {
  const auto other = define("other", KeyType::kString, 20, {shm::kGpc0});
  Keys expected;
  for (int i = 0; i < 2500; ++i) {
    set(users_, fmt::format("u{}", i), {1});
    expected.insert(fmt::format("u{}", i));
  }
  for (int i = 0; i < 10; ++i) {
    set(other, fmt::format("o{}", i), {1});
    expected.insert(fmt::format("o{}", i));
  }
  for (const bool typed : {true, false}) {
    Keys seen;
    std::string cursor;
    int pages = 0;
    do {
      const std::string query = fmt::format("?limit=100{}{}", typed ? "&format=v2" : "",
                                            cursor.empty() ? "" : "&cursor=" + cursor);
      const auto d = json(query);
      cursor.clear();
      std::size_t on_page = 0;
      const auto take = [&](const rapidjson::Value& table) {
        const Keys k = keys(table);
        on_page += k.size();
        seen.insert(k.begin(), k.end());
        if (table.HasMember("next")) {
          cursor = table["next"].GetString();
        }
      };
      if (typed) {
        for (const auto& table : d["tables"].GetArray()) {
          take(table);
        }
        cursor = d["next"].IsNull() ? "" : d["next"].GetString();
      } else {
        for (const auto& member : d.GetObject()) {
          if (member.value.IsObject()) {
            take(member.value);
          }
        }
      }
      EXPECT_LE(on_page, 100U);
      ASSERT_LT(++pages, 40);
    } while (!cursor.empty());
    EXPECT_EQ(seen, expected);
  }
}

TEST_F(TablesTest, ALimitOfZeroListsTheTables) {
  set(users_, "a", {1});
  const auto d = json("?limit=0&format=v2");
  EXPECT_EQ(d["tables"].Size(), 1U);
  EXPECT_EQ(d["tables"][0]["entries"].Size(), 0U);
  EXPECT_TRUE(d["next"].IsNull());
}

TEST_F(TablesTest, ACursorSurvivesAReaderAndSaysWhenItsTableIsGone) {
  for (int i = 0; i < 10; ++i) {
    set(users_, fmt::format("u{}", i), {1});
  }
  const std::string cursor = json("?limit=4&format=v2")["next"].GetString();
  segment_.reset();
  EXPECT_EQ(keys(json("?format=v2&cursor=" + cursor)["tables"][0]).size(), 6U);
  EXPECT_EQ(tables_raw("?cursor=77-1-0").status, 410);
  EXPECT_EQ(
      tables("?format=v2&cursor=" + cursor.substr(0, cursor.rfind('-')) + "-4000000000-4000000001"),
      tables("?format=v2&cursor=" + cursor.substr(0, cursor.rfind('-')) + "-4000000000"));
}

TEST_F(TablesTest, StreamsInBlocksOfBoundedSize) {
  for (int i = 0; i < 20000; ++i) {
    set(users_, fmt::format("{:036}", i), {1});
  }
  http::Reply reply = tables_raw("");
  std::size_t total = 0;
  http::Stream::Next next = http::Stream::Next::kMore;
  while (next == http::Stream::Next::kMore) {
    std::string block;
    next = reply.stream->next(block);
    EXPECT_LE(block.size(), http::Stream::kBlockBytes + 4096);
    total += block.size();
  }
  EXPECT_EQ(next, http::Stream::Next::kEnd);
  EXPECT_GT(total, 20000U * 90);
}

TEST_F(TablesTest, AFilterWithoutMatchesGivesWayToOthers) {
  for (int i = 0; i < 40000; ++i) {
    set(users_, fmt::format("{:036}", i), {1});
  }
  http::Reply reply = tables_raw("?data.gpc1.gt=5");
  int steps = 0;
  std::string all;
  while (reply.stream->next(all) == http::Stream::Next::kMore) {
    ++steps;
  }
  EXPECT_GE(steps, 2);
}

TEST_F(TablesTest, AnotherSegmentEndsTheStreamVisibly) {
  for (int i = 0; i < 20000; ++i) {
    set(users_, fmt::format("{:036}", i), {1});
  }
  http::Reply reply = tables_raw("");
  std::string block;
  ASSERT_EQ(reply.stream->next(block), http::Stream::Next::kMore);
  writer_.reset();
  instance_.remove();
  writer_ = shm::attach(instance_);
  const u64 generation = segment_->generation();
  test::wait_until([&] { return segment().generation() != generation; });
  ASSERT_NE(segment_->generation(), generation);
  EXPECT_EQ(reply.stream->next(block), http::Stream::Next::kAborted);
}

TEST_F(TablesTest, WithoutASegmentSaysWhy) {
  writer_.reset();
  instance_.remove();
  const http::Reply reply = tables_raw("");
  EXPECT_EQ(reply.status, 503);
  EXPECT_NE(reply.body.find(instance_.name()), std::string::npos);
}

// --- what mode acc keeps beside the tables ---

class TotalsTest : public TablesTest {
 protected:
  std::string totals(std::string_view query = "") {
    return body_of(totals_reply(segment(), request("/acc" + std::string(query)), sorts_));
  }
  rapidjson::Document totals_json(std::string_view query = "") {
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(totals(query).c_str());
    EXPECT_FALSE(document.HasParseError()) << query;
    return document;
  }
  int totals_status(std::string_view query) {
    return totals_reply(segment(), request("/acc" + std::string(query)), sorts_).status;
  }
  PeerNo peer(std::string_view name, std::string_view address = "10.0.0.1") {
    shm::PeerIdentity identity;
    identity.remote_name = name;
    identity.local_name = "lineq";
    identity.address = address;
    identity.remote_pid = 1;
    return *writer_->peer_up(identity, now());
  }

  const shm::TableDefinition src_ =
      define("/src", KeyType::kIp, 4, {shm::kConnCnt, shm::kConnCur, shm::kHttpReqRate, shm::kGpc},
             60000, 2);
};

TEST_F(TotalsTest, InModeAggThereAreNone) {
  set(users_, "alice", {1});
  EXPECT_EQ(totals(), R"({"mode":"acc","tables":{}})");
  EXPECT_EQ(totals("?table=users"), R"({"mode":"acc","tables":{}})");
  EXPECT_EQ(totals_status("?table=nobody"), 404);
}

TEST_F(TotalsTest, AreNumbersByTheNameOfTheCounter) {
  set(src_, std::string("\xc0\0\2\1", 4), {1, 2, 0, 3, 0, 4, 5});
  test::put_total(*writer_, src_, std::string("\xc0\0\2\1", 4),
                  {9007199254740993, 0, 18446744073709551615U});
  EXPECT_EQ(totals(),
            R"({"mode":"acc","tables":{"/src":{"type":"ip","counters":["conn_cnt","gpc"],)"
            R"("entries":[{"key":"192.0.2.1","conn_cnt":9007199254740993,)"
            R"("gpc":[0,18446744073709551615]}]}}})");
}

TEST_F(TotalsTest, AreFilteredAndPagedLikeTables) {
  table(users_);
  std::multiset<std::string> all;
  for (u64 i = 0; i < 25; ++i) {
    const std::string key = "user-" + std::to_string(i);
    test::put_total(*writer_, users_, key, {i << 32});
    all.insert(key);
  }
  EXPECT_EQ(keys(totals_json("?table=users")["tables"]["users"]), all);
  EXPECT_EQ(keys(totals_json("?key=user-7")["tables"]["users"]), Keys{"user-7"});
  const auto few = totals_json("?data.gpc1.ge=98784247808");  // 23 << 32
  EXPECT_EQ(keys(few["tables"]["users"]), (Keys{"user-23", "user-24"}));
  EXPECT_EQ(keys(totals_json("?data.http_req_rate.gt=0")["tables"]["users"]), Keys{});
  std::multiset<std::string> seen;
  std::string cursor;
  int pages = 0;
  do {
    const auto page = totals_json("?limit=10" + (cursor.empty() ? "" : "&cursor=" + cursor));
    const auto& users = page["tables"]["users"];
    seen.merge(keys(users));
    cursor = users.HasMember("next") ? users["next"].GetString() : "";
    ++pages;
  } while (!cursor.empty() && pages < 10);
  EXPECT_EQ(seen, all);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(totals_status("?format=v2"), 400);
  EXPECT_EQ(totals_status("?peers=1"), 400);
}

TEST_F(TotalsTest, TablesShowWhatHaproxysHaveAndNothingElse) {
  const PeerNo one = peer("hap1");
  set(users_, "alice", {3});
  const std::string before = tables();
  const std::string before_v2 = tables("?format=v2&key=alice&limit=0");
  test::put_part(*writer_, users_, one, "alice", {1});
  test::put_part(*writer_, users_, one, "hidden", {1});
  test::put_total(*writer_, users_, "alice", {3});
  test::put_total(*writer_, define("only-a-ledger", KeyType::kString, 17, {shm::kGpc0}), "x", {3});
  EXPECT_EQ(tables(), before);
  EXPECT_EQ(tables("?format=v2&key=alice&limit=0"), before_v2);
  EXPECT_EQ(tables_raw("?table=only-a-ledger").status, 404);
}

TEST_F(TotalsTest, AnEntrysValuesOfEachHaproxyAreThereWhenAskedFor) {
  const PeerNo one = peer("hap1");
  const PeerNo two = peer("local", "10.0.0.2");
  const PeerNo three = peer("local", "10.0.0.3");
  set(users_, "alice", {6});
  set(users_, "bob", {2});
  test::put_part(*writer_, users_, one, "alice", {1});
  test::put_part(*writer_, users_, two, "alice", {2});
  test::put_part(*writer_, users_, three, "alice", {3});
  test::put_part(*writer_, users_, one, "bob", {2});
  const auto d = json("?format=v2&peers=1");
  std::map<std::string, std::map<std::string, u64>> found;
  for (const auto& entry : d["tables"][0]["entries"].GetArray()) {
    for (const auto& peer : entry["peers"].GetObject()) {
      found[entry["key"].GetString()][peer.name.GetString()] = peer.value["gpc1"].GetUint64();
    }
  }
  EXPECT_EQ(found["alice"], (std::map<std::string, u64>{
                                {"hap1", 1}, {"local@10.0.0.2", 2}, {"local@10.0.0.3", 3}}));
  EXPECT_EQ(found["bob"], (std::map<std::string, u64>{{"hap1", 2}}));
  EXPECT_FALSE(json("?format=v2")["tables"][0]["entries"][0].HasMember("peers"));
  EXPECT_EQ(tables_raw("?peers=1").status, 400) << "the original's shape has no room for them";
  EXPECT_EQ(tables_raw("?format=v2&peers=yes").status, 400);
}

TEST_F(TotalsTest, InModeAggNobodyHasValuesOfItsOwn) {
  peer("hap1");
  set(users_, "alice", {6});
  const auto d = json("?format=v2&peers=1");
  EXPECT_EQ(d["tables"][0]["entries"][0]["peers"].MemberCount(), 0U);
}

}  // namespace
}  // namespace lineq::pages
