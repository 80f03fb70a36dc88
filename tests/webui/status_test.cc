#include "webui/pages/status.h"

#include <rapidjson/document.h>

#include "tests/support/acc_segment.h"
#include "tests/webui/pages_test.h"
#include "webui/pages/health.h"
#include "webui/pages/site.h"

namespace lineq::pages {
namespace {

using shm::define;
using shm::KeyType;
using shm::PeerCounter;

class StatusTest : public PagesTest {
 protected:
  rapidjson::Document status() {
    const std::string text =
        status_json(segment(), rates_, stats_, {"lineq", "10.0.0.5", 11111}, realtime_ms());
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(text.c_str(), text.size());
    EXPECT_FALSE(document.HasParseError()) << text;
    return document;
  }
  rapidjson::Document ready(u16 expected) {
    const http::Reply reply = ready_reply(segment());
    EXPECT_EQ(reply.status, expected) << reply.body;
    rapidjson::Document document;
    document.Parse(reply.body.c_str());
    return document;
  }
  PeerNo peer(std::string_view name) {
    shm::PeerIdentity identity;
    identity.remote_name = name;
    identity.local_name = "lineq";
    identity.address = "10.0.0.1";
    identity.remote_pid = 7;
    return *writer_->peer_up(identity, now());
  }
  live::Rates rates_;
  http::Stats stats_;
};

TEST_F(StatusTest, ShowsPeersTablesAndTheDaemon) {
  const auto users = define("users", KeyType::kString, 37, {shm::kGpc1, shm::kHttpReqRate});
  const PeerNo no = peer("<b>hap\x01");
  set(users, "k", {1, 0, 1, 0});
  segment();
  sample_rates(segment(), rates_, 1000);
  set(users, "k", {1, 0, 2, 0});
  writer_->add_peer_counter(no, PeerCounter::updates_in, 30);
  writer_->set_peer_counter(no, PeerCounter::last_received_ms, now() + 1);
  writer_->set_peer_counter(no, PeerCounter::lesson_in, 2);
  sample_rates(segment(), rates_, 2000);
  writer_->heartbeat(now());
  const auto d = status();
  EXPECT_STREQ(d["daemon"]["state"].GetString(), "alive");
  EXPECT_EQ(d["daemon"]["pid"].GetInt(), ::getpid());
  EXPECT_EQ(d["data_age_ms"].GetUint(), 0U);
  const auto& p = d["peers"][0];
  EXPECT_STREQ(p["name"].GetString(), "<b>hap\\x01");
  EXPECT_STREQ(p["state"].GetString(), "up");
  EXPECT_EQ(p["pid"].GetUint(), 7U);
  EXPECT_DOUBLE_EQ(p["in_per_s"].GetDouble(), 30);
  EXPECT_STREQ(p["taught_us"].GetString(), "complete");
  const auto& t = d["tables"][0];
  EXPECT_STREQ(t["name"].GetString(), "users");
  EXPECT_EQ(t["entries"].GetUint(), 1U);
  EXPECT_DOUBLE_EQ(t["per_s"].GetDouble(), 1);
  EXPECT_STREQ(t["columns"][0].GetString(), "http_req_rate(10000)");
  EXPECT_STREQ(d["connect"]["host"].GetString(), "10.0.0.5");
  EXPECT_TRUE(d["counters"].HasMember("updates_in"));
}

TEST_F(StatusTest, SaysWhatEachHaproxyTellsAboutEachTable) {
  const auto users = define("users", KeyType::kString, 37, {shm::kGpc1});
  const auto src = define("/src", KeyType::kIp, 4, {shm::kGpc0});
  const PeerNo one = peer("hap1");
  const PeerNo two = peer("hap2");
  for (const PeerNo no : {one, two}) {
    writer_->set_peer_counter(no, PeerCounter::lesson_in, 2);
    const u32 record = test::announce(*writer_, no, users);
    writer_->set_peer_table_counter(record, shm::PeerTableCounter::updates, 8);
  }
  const u32 record = test::announce(*writer_, one, src);
  writer_->set_peer_table_counter(record, shm::PeerTableCounter::conflict, 1);
  writer_->set_peer_table_counter(record, shm::PeerTableCounter::refused_values, 3);
  test::put_part(*writer_, users, one, "hidden", {1});
  test::put_total(*writer_, users, "hidden", {1});
  writer_->heartbeat(now());
  const auto d = status();
  EXPECT_EQ(d["tables"].Size(), 2U) << "parts and ledgers are no tables";
  EXPECT_STREQ(d["peers"][0]["label"].GetString(), "hap1");
  const auto& tables = d["peers"][0]["tables"];
  ASSERT_EQ(tables.Size(), 2U);
  EXPECT_STREQ(tables[0]["name"].GetString(), "users");
  EXPECT_TRUE(tables[0]["announced_ms"].IsUint());
  EXPECT_TRUE(tables[0]["updated_ms"].IsNull());
  EXPECT_EQ(tables[0]["updates"].GetUint(), 8U);
  EXPECT_FALSE(tables[0].HasMember("conflict"));
  EXPECT_TRUE(tables[1]["conflict"].GetBool());
  EXPECT_EQ(tables[1]["refused_values"].GetUint(), 3U);
  const auto& others = d["peers"][1]["tables"];
  ASSERT_EQ(others.Size(), 2U);
  EXPECT_TRUE(others[1]["missing"].GetBool());
  EXPECT_TRUE(others[1]["announced_ms"].IsNull());
}

TEST_F(StatusTest, MarksTheStateAsLeftBehindWhenTheDaemonIsGone) {
  peer("hap1");
  segment();
  writer_.reset();
  const auto d = status();
  EXPECT_STREQ(d["daemon"]["state"].GetString(), "down");
  EXPECT_STREQ(d["peers"][0]["state"].GetString(), "unknown");
  EXPECT_TRUE(d.HasMember("data_age_ms"));
}

TEST_F(StatusTest, SaysWhatIsMissingWithoutASegment) {
  writer_.reset();
  instance_.remove();
  const auto d = status();
  EXPECT_FALSE(d["segment"]["attached"].GetBool());
  EXPECT_NE(std::string(d["segment"]["trouble"].GetString()).find(instance_.name()),
            std::string::npos);
  EXPECT_FALSE(d.HasMember("peers"));
}

TEST_F(StatusTest, ReadyNeedsSegmentDaemonAndAPeerInSync) {
  EXPECT_TRUE(ready(503)["missing"].HasMember("peer"));
  const PeerNo no = peer("hap1");
  EXPECT_STREQ(ready(503)["missing"]["peer"].GetString(),
               "no connected HAProxy has finished its resynchronisation");
  writer_->set_peer_counter(no, PeerCounter::lesson_in, 2);
  writer_->heartbeat(now());
  EXPECT_TRUE(ready(200)["ready"].GetBool());
  EXPECT_EQ(ready(200)["missing"].MemberCount(), 0U);
  writer_.reset();
  const auto down = ready(503);
  EXPECT_FALSE(down["missing"].HasMember("segment"));
  EXPECT_TRUE(down["missing"].HasMember("daemon"));
  EXPECT_TRUE(down["missing"].HasMember("peer"));
  segment_.reset();
  instance_.remove();
  EXPECT_TRUE(ready(503)["missing"].HasMember("segment"));
}

TEST_F(StatusTest, AttachesWhenTheSegmentAppears) {
  writer_.reset();
  instance_.remove();
  EXPECT_EQ(segment().reader(), nullptr);
  writer_ = shm::attach(instance_);
  EXPECT_NE(segment().reader(), nullptr);
  EXPECT_TRUE(segment_->trouble().empty());
}

class SiteTest : public StatusTest {
 protected:
  http::Reply get(std::string_view target) { return router_.route(request(target)); }
  void make() {
    site_ = std::make_unique<Site>(segment(), ConnectHint{});
    site_->add_to(router_);
  }
  std::unique_ptr<Site> site_;
  http::Router router_;
};

TEST_F(SiteTest, EveryPathAnswersWithItsType) {
  make();
  for (const auto& [path, type] : std::vector<std::pair<std::string, std::string>>{
           {"/tables", "application/json"},
           {"/acc", "application/json"},
           {"/healthz", "application/json"},
           {"/readyz", "application/json"},
           {"/version", "application/json"},
           {"/metrics", "text/plain; version=0.0.4; charset=utf-8"},
           {"/status", "text/html; charset=utf-8"},
           {"/status.json", "application/json"},
           {"/status/events", "text/event-stream"},
           {"/status/status.css", "text/css; charset=utf-8"},
           {"/status/status.js", "text/javascript; charset=utf-8"},
           {"/status/icon.svg", "image/svg+xml"}}) {
    EXPECT_EQ(get(path).type, type) << path;
  }
  EXPECT_EQ(get("/").status, 404);
  EXPECT_EQ(get("/status/").status, 404);
  EXPECT_EQ(get("/status/status.html").status, 404);
}

TEST_F(SiteTest, ThePageHasAStrictPolicyAndNothingInline) {
  make();
  const http::Reply page = get("/status");
  bool found = false;
  for (const auto& [name, value] : page.fields) {
    if (name == "Content-Security-Policy") {
      found = true;
      EXPECT_EQ(value.find("unsafe"), std::string::npos);
      EXPECT_TRUE(value.starts_with("default-src 'none'"));
    }
  }
  EXPECT_TRUE(found);
  const std::string_view html = page.content();
  EXPECT_EQ(html.find("<style"), std::string_view::npos);
  EXPECT_EQ(html.find("style="), std::string_view::npos);
  EXPECT_EQ(html.find("onclick"), std::string_view::npos);
  EXPECT_EQ(html.find("://"), std::string_view::npos) << "nothing comes from elsewhere";
}

TEST_F(SiteTest, WhatThePageNamesIsServed) {
  make();
  const http::Reply page = get("/status");
  const std::string_view html = page.content();
  std::size_t named = 0;
  for (const std::string_view attribute : {"src=\"", "rel=\"stylesheet\" href=\""}) {
    for (std::size_t at = 0; (at = html.find(attribute, at)) != std::string_view::npos; ++named) {
      at += attribute.size();
      const std::string path(html.substr(at, html.find('"', at) - at));
      EXPECT_EQ(get(path).status, 200) << path;
    }
  }
  EXPECT_GE(named, 10U);
}

TEST(TrafficReplyTest, HasAPointForEachTenSeconds) {
  live::Traffic traffic;
  traffic.sample({0, 0}, 1'000'000);
  EXPECT_EQ(traffic_reply(traffic).body, R"({"step_ms":10000,"points":[]})");
  traffic.sample({1204, 50'000}, 1'010'000);
  EXPECT_EQ(traffic_reply(traffic).body, R"({"step_ms":10000,"points":[[1010000,120,5000]]})");
}

TEST_F(SiteTest, AssetsAreSentAgainOnlyWhenTheyChanged) {
  make();
  http::Reply first = get("/status/status.css");
  std::string etag;
  for (const auto& [name, value] : first.fields) {
    if (name == "ETag") {
      etag = value;
    }
  }
  http::RequestParser parser;
  parser.feed("GET /status/status.css HTTP/1.1\r\nHost: a\r\nIf-None-Match: " + etag + "\r\n\r\n");
  EXPECT_EQ(router_.route(parser.take()).status, 304);
}

TEST_F(SiteTest, TheEventsBeginWithTheStateAtHand) {
  make();
  const http::Reply reply = get("/status/events");
  EXPECT_TRUE(reply.body.starts_with("retry: "));
  EXPECT_NE(reply.body.find("\n\nevent: status\ndata: {"), std::string::npos);
  EXPECT_EQ(reply.channel, http::Channel::kStatus);
}

}  // namespace
}  // namespace lineq::pages
