// Sorted and searched pages of /tables and /acc.
#include <algorithm>
#include <random>

#include <fmt/format.h>
#include <rapidjson/document.h>

#include "tests/webui/pages_test.h"
#include "webui/pages/ranking.h"

namespace lineq::pages {
namespace {

using shm::define;
using shm::KeyType;

using Keys = std::vector<std::string>;

class SortedTest : public PagesTest {
 protected:
  rapidjson::Document json(const std::string& query) {
    const std::string text = tables("?format=v2&table=t&" + query);
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(text.c_str(), text.size());
    EXPECT_FALSE(document.HasParseError()) << text.substr(0, 2000);
    return document;
  }
  static Keys keys(const rapidjson::Document& page) {
    Keys keys;
    for (const auto& entry : page["tables"][0]["entries"].GetArray()) {
      keys.emplace_back(entry["key"].GetString());
    }
    return keys;
  }
  // All pages one after another.
  Keys paged(const std::string& query, std::size_t most) {
    Keys all;
    std::string cursor;
    for (int pages = 0; pages < 1000; ++pages) {
      const auto page = json(cursor.empty() ? query : fmt::format("{}&cursor={}", query, cursor));
      const Keys some = keys(page);
      EXPECT_LE(some.size(), most);
      all.insert(all.end(), some.begin(), some.end());
      if (page["next"].IsNull()) {
        return all;
      }
      EXPECT_EQ(some.size(), most) << "only the last page is short";
      cursor = page["next"].GetString();
    }
    ADD_FAILURE() << "pages without end";
    return all;
  }
  std::string mistake(const std::string& query) {
    const http::Reply reply = tables_raw(query);
    EXPECT_EQ(reply.status, 400) << query;
    return reply.body;
  }

  const shm::TableDefinition table_ =
      define("t", KeyType::kString, 37, {shm::kServerId, shm::kGpc0, shm::kHttpReqRate});
  void put(std::string_view key, u64 gpc0, i64 server = 0, u64 rate = 0) {
    set(table_, key, {static_cast<u64>(server), gpc0, 0, rate, 0});
  }
};

TEST_F(SortedTest, EveryColumnSortsBothWays) {
  put("b", 5, -1, 30);
  put("a", 7, 3, 10);
  put("c", 6, -7, 20);
  EXPECT_EQ(keys(json("sort=key")), (Keys{"a", "b", "c"}));
  EXPECT_EQ(keys(json("sort=-key")), (Keys{"c", "b", "a"}));
  EXPECT_EQ(keys(json("sort=gpc0")), (Keys{"b", "c", "a"}));
  EXPECT_EQ(keys(json("sort=-gpc0")), (Keys{"a", "c", "b"}));
  EXPECT_EQ(keys(json("sort=-gpc[0]")), (Keys{"a", "c", "b"})) << "another spelling";
  EXPECT_EQ(keys(json("sort=server_id")), (Keys{"c", "b", "a"})) << "signed";
  EXPECT_EQ(keys(json("sort=-http_req_rate")), (Keys{"b", "c", "a"}));
}

TEST_F(SortedTest, EqualValuesStandInOrderOfKey) {
  for (const std::string_view key : {"d", "a", "c", "b"}) {
    put(key, 1);
  }
  EXPECT_EQ(keys(json("sort=gpc0")), (Keys{"a", "b", "c", "d"}));
  EXPECT_EQ(keys(json("sort=-gpc0")), (Keys{"a", "b", "c", "d"}));
}

TEST_F(SortedTest, AddressesAndNumbersSortAsNumbersDo) {
  const auto n = define("t", KeyType::kInteger, 4, {shm::kGpc0});
  set(n, std::string("\0\0\1\0", 4), {1});
  set(n, std::string("\0\0\0\x09", 4), {1});
  set(n, std::string("\0\0\0\x64", 4), {1});
  EXPECT_EQ(keys(json("sort=key")), (Keys{"9", "100", "256"}));
}

TEST_F(SortedTest, ServersSortByName) {
  const auto t = define("t", KeyType::kString, 20, {shm::kServerKey});
  set(t, "second", {writer_->intern("zeta")});
  set(t, "first", {writer_->intern("alpha")});
  set(t, "none", {0});
  EXPECT_EQ(keys(json("sort=server_key")), (Keys{"none", "first", "second"}));
  EXPECT_EQ(keys(json("sort=-server_key")), (Keys{"second", "first", "none"}));
}

TEST_F(SortedTest, ExpirySortsByTheTimeLeft) {
  for (const auto& [key, left] : {std::pair("late", 50000), {"soon", 20000}, {"latest", 59000}}) {
    shm::set(table(table_), table_, key, {0, 1, 0, 0, 0}, now(), kNoPeer, shm::Merge::kOverwrite,
             left);
  }
  EXPECT_EQ(keys(json("sort=expiry")), (Keys{"soon", "late", "latest"}));
  EXPECT_EQ(paged("sort=-expiry&limit=1", 1), (Keys{"latest", "late", "soon"}));
}

TEST_F(SortedTest, PagesTogetherAreTheWholeInOrder) {
  std::mt19937 random(11);
  struct Row {
    u64 value;
    std::string key;
  };
  std::vector<Row> rows;
  for (int i = 0; i < 3000; ++i) {
    rows.push_back({random() % 50, fmt::format("{:x}-{}", random() % 4096, i)});
    put(rows.back().key, rows.back().value);
  }
  for (const bool down : {false, true}) {
    std::sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
      return a.value == b.value ? a.key < b.key : (a.value < b.value) != down;
    });
    Keys expected;
    for (const Row& row : rows) {
      expected.push_back(row.key);
    }
    EXPECT_EQ(paged(down ? "sort=-gpc0&limit=37" : "sort=gpc0&limit=37", 37), expected);
  }
  Keys by_key = paged("sort=key&limit=1000", 1000);
  EXPECT_TRUE(std::is_sorted(by_key.begin(), by_key.end()));
  EXPECT_EQ(by_key.size(), rows.size());
  const Keys by_expiry = paged("sort=-expiry&limit=500", 500);
  EXPECT_EQ(by_expiry.size(), rows.size());
}

TEST_F(SortedTest, LongKeysWithOneBeginningArePagedToo) {
  const auto t = define("t", KeyType::kString, 1000, {shm::kGpc0});
  Keys expected;
  for (int i = 0; i < 30; ++i) {
    expected.push_back(std::string(900, 'x') + std::to_string(i));
    set(t, expected.back(), {1});
  }
  for (const std::string sort : {"key", "-key", "gpc0"}) {
    Keys seen = paged("limit=7&sort=" + sort, 7);
    std::sort(seen.begin(), seen.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(seen, expected) << sort;
  }
}

TEST_F(SortedTest, SaysHowManyThereAre) {
  for (int i = 0; i < 500; ++i) {
    put(fmt::format("k{}", i), static_cast<u64>(i));
  }
  const auto page = json("sort=-gpc0&limit=10&data.gpc0.lt=100");
  const auto& table = page["tables"][0];
  EXPECT_EQ(table["scanned"].GetUint(), 500U);
  EXPECT_EQ(table["matched"].GetUint(), 100U);
  EXPECT_STREQ(table["entries"][0]["key"].GetString(), "k99");
  EXPECT_EQ(table["entries"].Size(), 10U);
  EXPECT_EQ(json("sort=gpc0")["tables"][0]["entries"].Size(), 100U) << "usual length";
}

TEST_F(SortedTest, SearchFindsPartsOfKeysAsShown) {
  put("alice", 1);
  put("bob", 2);
  put("malice\x1b", 3);
  EXPECT_EQ(keys(json("search=lic&sort=key")), (Keys{"alice", "malice\\x1b"}));
  EXPECT_EQ(keys(json("search=%5Cx1b&sort=key")), (Keys{"malice\\x1b"}));
  EXPECT_EQ(keys(json("search=lic")).size(), 2U) << "without an order too";
  EXPECT_EQ(keys(json("search=LIC")), Keys{});
  EXPECT_EQ(keys(json("search=")).size(), 3U);
  EXPECT_EQ(keys(json("search=o&data.gpc0.gt=2")), Keys{});
  const auto ip = define("t", KeyType::kIp, 4, {shm::kGpc0});
  set(ip, std::string("\x0a\0\0\x01", 4), {1});
  const std::string both = tables("?search=.0.0.&table=t%3Bip:4");
  EXPECT_NE(both.find("10.0.0.1"), std::string::npos) << both;
}

TEST_F(SortedTest, MistakesNameParameterValueAndWhatIsAllowed) {
  put("a", 1);
  EXPECT_NE(mistake("?sort=gcp0&table=t").find("did you mean 'gpc0'?; allowed: key, expiry"),
            std::string::npos);
  EXPECT_NE(mistake("?sort=gpc0").find("table=NAME"), std::string::npos);
  EXPECT_EQ(mistake("?sort=conn_cnt&table=t"),
            "sort: table t does not store conn_cnt; allowed: key, expiry, server_id, gpc0, "
            "http_req_rate\n");
  EXPECT_NE(mistake("?sort=gpc0&table=t&limit=1001").find("'1001' is not allowed"),
            std::string::npos);
  EXPECT_NE(mistake("?sort=gpc0&table=t&limit=0").find("1 to 1000"), std::string::npos);
  EXPECT_NE(mistake("?sort=gpc0&table=t&key=a").find("one entry"), std::string::npos);
  EXPECT_NE(mistake("?sort=gpc0&table=t&cursor=1-1-0").find("another order"), std::string::npos);
  for (int i = 0; i < 3; ++i) {
    put(fmt::format("k{}", i), 1);
  }
  const std::string cursor = json("sort=gpc0&limit=1")["next"].GetString();
  EXPECT_NE(mistake("?sort=-gpc0&table=t&cursor=" + cursor).find("another order"),
            std::string::npos);
  EXPECT_NE(mistake("?table=t&cursor=" + cursor).find("same sort"), std::string::npos);
  for (const std::string_view bad : {"s", "s~1", "s~~~~~~~~", "s~1~1~0~0~!~~0~gpc0"}) {
    EXPECT_NE(mistake(fmt::format("?sort=gpc0&table=t&cursor={}", bad)).find("gave as next"),
              std::string::npos)
        << bad;
  }
  EXPECT_EQ(tables_raw("?sort=gpc0&table=t&cursor=s~77~1~0~0~~~0~gpc0").status, 410);
}

TEST_F(SortedTest, GivesWayToOthersAndIsOneOfFew) {
  for (int i = 0; i < 40000; ++i) {
    put(fmt::format("{:036}", i), static_cast<u64>(i));
  }
  std::vector<http::Reply> running;
  for (std::size_t i = 0; i < Sorts::kMost; ++i) {
    running.push_back(tables_raw("?table=t&sort=-gpc0&limit=1000"));
    ASSERT_NE(running.back().stream, nullptr);
  }
  http::Reply waiting = tables_raw("?table=t&sort=-gpc0&limit=1");
  ASSERT_NE(waiting.later, nullptr);
  http::Reply refused;
  EXPECT_FALSE(waiting.later->decide(false, refused));
  EXPECT_TRUE(waiting.later->decide(true, refused));
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(std::any_of(refused.fields.begin(), refused.fields.end(),
                          [](const auto& field) { return field.first == "Retry-After"; }));
  EXPECT_EQ(tables_raw("?table=t").later, nullptr) << "what is not sorted does not wait";

  int steps = 0;
  std::string all;
  while (running.back().stream->next(all) == http::Stream::Next::kMore) {
    ++steps;
  }
  EXPECT_GE(steps, 2);
  running.pop_back();
  http::Reply now;
  ASSERT_TRUE(waiting.later->decide(false, now));
  EXPECT_EQ(now.status, 200);
  EXPECT_NE(body_of(std::move(now)).find(fmt::format("{:036}", 39999)), std::string::npos);
  running.clear();
  EXPECT_EQ(sorts_.running, 0U);
}

TEST_F(SortedTest, AChangedValuePutsAnEntryWhereItNowBelongs) {
  for (int i = 0; i < 6; ++i) {
    put(fmt::format("k{}", i), static_cast<u64>(i));
  }
  const auto first = json("sort=gpc0&limit=3");
  const std::string cursor = first["next"].GetString();
  put("k0", 100);  // shown already, now behind the page
  put("k5", 0);    // not shown yet, now in front of it
  const auto second = json("sort=gpc0&limit=10&cursor=" + cursor);
  EXPECT_EQ(keys(second), (Keys{"k3", "k4", "k0"}));
  EXPECT_EQ(second["tables"][0]["matched"].GetUint(), 6U);
}

}  // namespace
}  // namespace lineq::pages
