// One entry at its own path, with a lineqd that the test plays.
#include "webui/pages/keys.h"

#include <fstream>

#include <rapidjson/document.h>

#include "tests/support/acc_segment.h"
#include "tests/support/instance.h"
#include "tests/webui/pages_test.h"

namespace lineq::pages {
namespace {

using shm::define;
using shm::KeyType;

class KeysTest : public PagesTest {
 protected:
  void SetUp() override {
    PagesTest::SetUp();
    std::ofstream(dir_.file("token")) << "s3cret\n";
    add_keys(router_, segment(), dir_.file("token"),
             [this](std::string line, const std::function<void(const Result<std::string>&)>& done) {
               sent_ = std::move(line);
               done(answer_);
             });
    router_.set_visitors([](const http::Request&) { return http::text_reply(200, "visitor"); });
  }
  http::Reply send(std::string_view line, std::string_view body = "",
                   std::string_view token = "s3cret") {
    std::string bytes = std::string(line) + " HTTP/1.1\r\nHost: a\r\n";
    if (!token.empty()) {
      bytes.append("Authorization: Bearer ").append(token).append("\r\n");
    }
    if (!body.empty()) {
      bytes += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    bytes.append("\r\n").append(body);
    http::RequestParser parser;
    for (std::size_t at = 0; at < bytes.size();) {
      at += parser.feed(std::string_view(bytes).substr(at));
    }
    EXPECT_EQ(parser.state(), http::RequestParser::State::kDone) << parser.error_text();
    segment();
    sent_.clear();
    return router_.route(parser.take());
  }
  static rapidjson::Document json(const http::Reply& reply) {
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(reply.body.c_str(), reply.body.size());
    EXPECT_FALSE(document.HasParseError()) << reply.body;
    return document;
  }
  static std::string error_of(const http::Reply& reply) {
    const auto d = json(reply);
    EXPECT_FALSE(d["success"].GetBool());
    EXPECT_EQ(d["errors"][0]["code"].GetUint(), reply.status);
    return d["errors"][0]["message"].GetString();
  }
  static std::string field(const http::Reply& reply, std::string_view name) {
    for (const auto& [key, value] : reply.fields) {
      if (key == name) {
        return value;
      }
    }
    return "";
  }

  test::TempDir dir_;
  http::Router router_;
  std::string sent_;
  Result<std::string> answer_ = std::string(R"({"ok":true,"result":{"created":true}})");
  const shm::TableDefinition users_ = define("/users", KeyType::kString, 37, {shm::kGpc0});
  const shm::TableDefinition src_ = define("src", KeyType::kIp, 4, {shm::kGpc}, 60000, 3);
};

TEST_F(KeysTest, AnEntryIsThatOfTables) {
  set(users_, "a/b\x1b\xff", {5});
  set(src_, std::string("\x0a\0\0\1", 4), {1, 2, 3});
  for (const std::string_view path :
       {"/tables/%2Fusers/keys/a%2Fb%5Cx1b%5Cxff", "/tables/users/keys/a%2fb%1B%FF"}) {
    const http::Reply reply = send("GET " + std::string(path), "", "");
    ASSERT_EQ(reply.status, 200) << path << reply.body;
    EXPECT_EQ(reply.type, "application/json");
    const auto d = json(reply);
    EXPECT_STREQ(d["table"].GetString(), "/users");
    EXPECT_STREQ(d["type"].GetString(), "string");
    EXPECT_STREQ(d["key"].GetString(), "a/b\\x1b\\xff");
    rapidjson::Document page;
    page.Parse(tables("?format=v2&table=users").c_str());
    const rapidjson::Value& same = page["tables"][0]["entries"][0];
    for (const auto& member : same.GetObject()) {
      ASSERT_TRUE(d.HasMember(member.name)) << member.name.GetString();
      if (std::string_view(member.name.GetString()).find("_ms") == std::string_view::npos) {
        EXPECT_EQ(d[member.name], member.value) << member.name.GetString();
      }
    }
  }
  EXPECT_EQ(json(send("GET /tables/src/keys/10.0.0.1"))["values"]["gpc"][2].GetUint(), 3U);
  EXPECT_EQ(send("HEAD /tables/src/keys/10.0.0.1").status, 200);
}

TEST_F(KeysTest, InModeAccEveryHaproxyCanBeAskedFor) {
  set(users_, "k", {5});
  shm::PeerIdentity identity;
  identity.remote_name = "lb1";
  identity.local_name = "lineq";
  identity.address = "10.0.0.1";
  identity.remote_pid = 1;
  test::put_part(*writer_, users_, *writer_->peer_up(identity, now()), "k", {3});
  EXPECT_FALSE(json(send("GET /tables/users/keys/k")).HasMember("peers"));
  const auto d = json(send("GET /tables/users/keys/k?peers=1"));
  EXPECT_EQ(d["peers"]["lb1"]["gpc0"].GetUint(), 3U);
  EXPECT_EQ(error_of(send("GET /tables/users/keys/k?peers=2")),
            "peers: '2' is not allowed; allowed: 0 or 1");
  EXPECT_EQ(send("GET /tables/users/keys/k?pears=1").status, 400);
}

TEST_F(KeysTest, WhatIsNotThereIsNamed) {
  set(users_, "k", {5});
  set(src_, std::string("\x0a\0\0\1", 4), {1, 2, 3});
  const http::Reply no_table = send("GET /tables/%1b/keys/k");
  EXPECT_EQ(no_table.status, 404);
  EXPECT_EQ(error_of(no_table), "there is no table '\\x1b'");
  const http::Reply no_key = send("GET /tables/users/keys/nobody");
  EXPECT_EQ(no_key.status, 404);
  EXPECT_EQ(error_of(no_key), "there is no such entry in table /users");
  const http::Reply bad_key = send("GET /tables/src/keys/10.0.0");
  EXPECT_EQ(bad_key.status, 400);
  EXPECT_EQ(error_of(bad_key), "key: '10.0.0' is not allowed; allowed: the type ip of table src");
  EXPECT_EQ(send("GET /tables/users/keys/" + std::string(37, 'k')).status, 400);
}

TEST_F(KeysTest, PathsOfAnotherShapeAreVisitors) {
  for (const std::string_view path :
       {"/tables/users/keys/", "/tables/users/keys/a/b", "/tables//keys/a", "/tables/../keys/a",
        "/tables/users/keys/..", "/tables/users/key/a", "/tables/users", "/tables/users/keys"}) {
    EXPECT_EQ(send("GET " + std::string(path)).body, "visitor\n") << path;
  }
}

TEST_F(KeysTest, PutSetsAnEntryThroughLineqd) {
  set(users_, "k", {5});
  const http::Reply reply =
      send("PUT /tables/users/keys/new%20%5Cx1b",
           R"({"values":{"gpc0":7,"server_id":-3,"server_key":"s1"},"expire_ms":1000})");
  EXPECT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body, R"({"success":true,"errors":[],"messages":[],"result":{"created":true}})");
  const Result<control::Command> command = control::parse_command(sent_);
  ASSERT_TRUE(command.ok()) << sent_;
  EXPECT_EQ(command->kind, control::CommandKind::kSetEntry);
  EXPECT_EQ(command->table, "/users");
  EXPECT_EQ(command->key, "new \\x1b");
  EXPECT_EQ(command->expire_ms, 1000U);
  EXPECT_EQ(command->by, "the key API");
  const std::vector<control::EntryValue> values{
      {"gpc0", "7"}, {"server_id", "-3"}, {"server_key", "s1"}};
  EXPECT_EQ(command->values, values);
}

TEST_F(KeysTest, DeleteClearsAnEntryThroughLineqd) {
  set(src_, std::string("\x0a\0\0\1", 4), {1, 2, 3});
  answer_ = std::string(R"({"ok":true,"result":{"cleared":1}})");
  EXPECT_EQ(send("DELETE /tables/src/keys/10.0.0.1").body,
            R"({"success":true,"errors":[],"messages":[],"result":{"cleared":1}})");
  const Result<control::Command> command = control::parse_command(sent_);
  ASSERT_TRUE(command.ok()) << sent_;
  EXPECT_EQ(command->kind, control::CommandKind::kClearTable);
  EXPECT_EQ(command->key, "10.0.0.1");
  answer_ = std::string(R"({"ok":true,"result":{"cleared":0}})");
  EXPECT_EQ(send("DELETE /tables/src/keys/10.0.0.2").status, 404);
}

TEST_F(KeysTest, ChangesTakeTheToken) {
  set(users_, "k", {5});
  for (const std::string_view method : {"PUT", "DELETE"}) {
    const std::string line = std::string(method) + " /tables/users/keys/k";
    const http::Reply none = send(line, "{}", "");
    EXPECT_EQ(none.status, 401);
    EXPECT_FALSE(field(none, "WWW-Authenticate").empty());
    EXPECT_EQ(send(line, "{}", "wrong").status, 401);
    EXPECT_EQ(sent_, "");
  }
  const http::Reply other = send("POST /tables/users/keys/k", "{}");
  EXPECT_EQ(other.status, 405);
  EXPECT_EQ(field(other, "Allow"), "GET, HEAD, PUT, DELETE");
}

TEST_F(KeysTest, BodiesThatMeanNothingAreRefusedHere) {
  set(users_, "k", {5});
  for (const auto& [body, words] : std::vector<std::pair<std::string, std::string>>{
           {"", "not JSON"},
           {"[]", "not a JSON object"},
           {"{}", "values: allowed"},
           {R"({"values":5})", "values: allowed"},
           {R"({"values":{"gpc0":1.5}})", "gpc0: allowed: a whole number"},
           {R"({"values":{"gpc0":null}})", "gpc0: allowed: a whole number"},
           {R"({"values":{},"expires_ms":5})", "did you mean 'expire_ms'"},
           {R"({"values":{},"expire_ms":-1})", "expire_ms: allowed"},
           {R"({"values":{},"expire_ms":4294967296})", "expire_ms: allowed"},
           {std::string(200, '['), "nested"}}) {
    const http::Reply reply = send("PUT /tables/users/keys/k", body);
    EXPECT_EQ(reply.status, 400) << body;
    EXPECT_NE(error_of(reply).find(words), std::string::npos) << reply.body;
    EXPECT_EQ(sent_, "");
  }
}

TEST_F(KeysTest, WhatLineqdSaysDecidesTheStatus) {
  set(users_, "k", {5});
  const auto status = [&](std::string_view code) {
    answer_ = R"({"ok":false,"code":")" + std::string(code) + R"(","error":"no"})";
    return send("PUT /tables/users/keys/k", R"({"values":{"gpc0":1}})").status;
  };
  EXPECT_EQ(status("invalid"), 400);
  EXPECT_EQ(status("not_found"), 404);
  EXPECT_EQ(status("denied"), 403);
  EXPECT_EQ(status("unsupported"), 409);
  answer_ = Error{ErrorCode::kNotFound, "lineqd cannot be reached"};
  EXPECT_EQ(send("PUT /tables/users/keys/k", R"({"values":{"gpc0":1}})").status, 503);
}

TEST_F(KeysTest, TablesOfOneNameAreShownButNotChanged) {
  set(users_, "k", {5});
  set(define("/users", KeyType::kIp, 4, {shm::kGpc0}), std::string("\x0a\0\0\1", 4), {6});
  EXPECT_EQ(json(send("GET /tables/%2Fusers/keys/k"))["values"]["gpc0"].GetUint(), 5U);
  EXPECT_EQ(json(send("GET /tables/%2Fusers;ip:4/keys/10.0.0.1"))["values"]["gpc0"].GetUint(), 6U);
  EXPECT_EQ(send("DELETE /tables/%2Fusers/keys/k").status, 409);
  EXPECT_EQ(send("PUT /tables/%2Fusers;ip:4/keys/10.0.0.1", R"({"values":{"gpc0":1}})").status,
            409);
  EXPECT_EQ(sent_, "");
}

TEST_F(KeysTest, WithoutASegmentSaysWhy) {
  writer_.reset();
  instance_.remove();
  live::Segment none(instance_.source());
  none.tick(1000);
  http::Router router;
  add_keys(router, none, dir_.file("token"), {});
  const http::Reply reply = router.route(request("/tables/users/keys/k"));
  EXPECT_EQ(reply.status, 503);
  EXPECT_FALSE(error_of(reply).empty());
}

}  // namespace
}  // namespace lineq::pages
