#include "webui/http/router.h"

#include <gtest/gtest.h>

namespace lineq::http {
namespace {

class RouterTest : public testing::Test {
 protected:
  void SetUp() override {
    router_.add("/tables", [](const Request&) { return text_reply(200, "tables"); });
  }
  Reply route(std::string_view line, std::string_view fields = "") {
    RequestParser parser;
    const std::string bytes =
        std::string(line) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
    parser.feed(bytes);
    EXPECT_EQ(parser.state(), RequestParser::State::kDone) << parser.error_text();
    return router_.route(parser.take());
  }
  Router router_;
};

TEST_F(RouterTest, GetAndHeadReachTheHandler) {
  EXPECT_EQ(route("GET /tables").status, 200);
  EXPECT_EQ(route("HEAD /tables").status, 200);
  EXPECT_EQ(route("GET /tables?a=b").body, "tables\n");
}

TEST_F(RouterTest, OtherMethodsAreNamedInAllow) {
  for (const char* method : {"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"}) {
    const Reply reply = route(std::string(method) + " /tables");
    EXPECT_EQ(reply.status, 405) << method;
    ASSERT_EQ(reply.fields.size(), 1U);
    EXPECT_EQ(reply.fields[0].first, "Allow");
    EXPECT_EQ(reply.fields[0].second, "GET, HEAD");
  }
}

TEST_F(RouterTest, AdminPathsMatchOnTheExactRawPathOnly) {
  for (const char* path :
       {"/", "/table", "/tables/", "//tables", "/./tables", "/a/../tables", "/%74ables", "/Tables",
        "/tables;a", "/tables%3f", "/tables#a", "http://a/tables", "*"}) {
    EXPECT_EQ(route(std::string("GET ") + path).status, 404) << path;
  }
}

TEST_F(RouterTest, WhatCameThroughAProxyIsAVisitors) {
  for (const char* field : {"X-Forwarded-For: 10.0.0.1\r\n", "x-forwarded-for:\r\n",
                            "Forwarded: for=10.0.0.1\r\n", "Via: 1.1 proxy\r\n"}) {
    EXPECT_EQ(route("GET /tables", field).status, 404) << field;
    EXPECT_EQ(route("DELETE /tables", field).status, 404) << field;
  }
}

TEST_F(RouterTest, PathsMayHaveASegmentInBetween) {
  router_.add_between("/tables/", "/keys/",
                      [](const Request& r) { return text_reply(200, r.path); });
  EXPECT_EQ(route("PUT /tables/a%2Fb/keys/c%2F").body, "/tables/a%2Fb/keys/c%2F\n");
  for (const char* path :
       {"/tables/a/keys/", "/tables//keys/a", "/tables/a/keys/b/c", "/tables/../keys/a",
        "/tables/a/keys/.", "/tables/a/b/keys/c", "/tables/keys/a", "/tables/a/keys"}) {
    EXPECT_EQ(route(std::string("GET ") + path).status, 404) << path;
  }
  EXPECT_EQ(route("PUT /tables/a/keys/b", "Via: 1.1 a\r\n").status, 404);
  router_.add_below("/rooms/", [](const Request&) { return text_reply(200, "room"); });
  EXPECT_EQ(router_.paths(),
            (std::vector<std::string>{"/rooms/*", "/rooms/*/*", "/tables", "/tables/*/keys/*"}));
}

TEST_F(RouterTest, VisitorsHaveAHandlerOfTheirOwn) {
  router_.set_visitors([](const Request& r) { return text_reply(200, r.path); });
  EXPECT_EQ(route("GET /shop").body, "/shop\n");
  EXPECT_EQ(route("GET /tables", "Via: 1.1 a\r\n").body, "/tables\n");
}

TEST(QueryTest, DecodesEscapesAndKeepsWhatIsNone) {
  EXPECT_EQ(percent_decoded("a%20b+c%2B"), "a b c+");
  EXPECT_EQ(percent_decoded("%00").size(), 1U);
  EXPECT_EQ(percent_decoded("100%"), "100%");
  EXPECT_EQ(percent_decoded("%4"), "%4");
  EXPECT_EQ(percent_decoded("%zz%41"), "%zzA");
  EXPECT_EQ(percent_decoded("%ff"), "\xff");
}

TEST(QueryTest, SplitsIntoPairs) {
  const auto pairs = query_pairs("a=1&&b&c=x=y&data.gpc%5B0%5D.gt=5&=e");
  ASSERT_EQ(pairs.size(), 5U);
  EXPECT_EQ(pairs[0], (std::pair<std::string, std::string>("a", "1")));
  EXPECT_EQ(pairs[1], (std::pair<std::string, std::string>("b", "")));
  EXPECT_EQ(pairs[2], (std::pair<std::string, std::string>("c", "x=y")));
  EXPECT_EQ(pairs[3], (std::pair<std::string, std::string>("data.gpc[0].gt", "5")));
  EXPECT_EQ(pairs[4], (std::pair<std::string, std::string>("", "e")));
  EXPECT_TRUE(query_pairs("").empty());
}

}  // namespace
}  // namespace lineq::http
