// Drop-in for lineq-operator: what it calls, and the rules that it gives to HAProxy, on three
// HAProxys that are all called `local`.
#include <algorithm>
#include <array>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "tests/e2e/rooms_world.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::RoomNumbers;

// packaging/examples/operator.cfg with addresses of this test: the tables, rules and backends of
// the operator's two ConfigMaps. Rooms are at "/" and at "/a-long-path/of-a-shop".
std::string operator_config() {
  std::string text = read_file(LINEQ_SOURCE_DIR "/packaging/examples/operator.cfg");
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"localpeer local", "stats socket {stats} level admin\n    localpeer local"},
           {"127.0.0.1:11111", "127.0.0.1:{tcp}"},
           {"127.0.0.1:8060", "127.0.0.1:{web}"},
           {"bind :8080", "bind 127.0.0.1:{http}"},
           {"127.0.0.1:8000", "127.0.0.1:{backend}"}}) {
    text = with(std::move(text), from, to);
  }
  return text;
}

constexpr std::string_view kLongRoom = "shop.example";  // + "/a-long-path/of-a-shop"

class OperatorTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
  bool start() { return world_.start_with(3, operator_config()); }

  HttpAnswer create(std::string_view host, std::string_view path, u32 users) {
    std::string name = fmt::format("{}{}", host, path);
    std::replace(name.begin(), name.end(), '.', '_');
    std::replace(name.begin(), name.end(), '/', '_');
    return http_post(world_.lineq.web_port(), "/create",
                     fmt::format(R"({{"name":"{}","path":"{}","activeUsers":{},"host":"{}"}})",
                                 name, path, users, host),
                     "Content-Type: application/json\r\n");
  }
  HttpAnswer get(std::size_t haproxy, std::string_view cookie,
                 std::string_view host = "example.com", std::string_view path = "/") {
    return http_get(world_.at(haproxy).http_port(), path,
                    cookie.empty()
                        ? fmt::format("Host: {}\r\n", host)
                        : fmt::format("Host: {}\r\nCookie: sessionid={}\r\n", host, cookie));
  }
  // "shop", "wait" or a status; follows the redirect of who may enter.
  std::string where(std::size_t haproxy, std::string_view cookie,
                    std::string_view host = "example.com", std::string_view path = "/") {
    HttpAnswer answer = get(haproxy, cookie, host, path);
    if (answer.status == 303) {
      answer = get(haproxy, cookie, host, path);
    }
    return answer.status != 200      ? std::to_string(answer.status)
           : answer.body == "shop\n" ? "shop"
                                     : "wait";
  }
  // As a browser does, whose page may be shown for a moment: a free place is free within moments.
  bool enters(std::size_t haproxy, std::string_view cookie, std::string_view host = "example.com",
              std::string_view path = "/") {
    return wait_until([&] { return where(haproxy, cookie, host, path) == "shop"; });
  }
  bool wait_table(std::size_t haproxy, const std::string& key, std::string_view gpc1) {
    return wait_until(
        [&] { return world_.at(haproxy).show_table("user").value(key, "gpc1") == gpc1; });
  }

  RoomsWorld world_{R"({"service_mode": "vwr", "vwr_session_duration": "1"})"};
};

TEST_F(OperatorTest, ItsTwoCallsAreAnsweredAsItDecodesThem) {
  ASSERT_TRUE(start()) << world_.trouble;
  const HttpAnswer config = http_get(world_.lineq.web_port(), "/getConfig");
  EXPECT_EQ(config.status, 200);
  rapidjson::Document json;
  ASSERT_FALSE(json.Parse(config.body.c_str()).HasParseError()) << config.body;
  EXPECT_STREQ(json["status"].GetString(), "OK");
  EXPECT_STREQ(json["message"].GetString(), "Config Retrieved Successfully");
  EXPECT_STREQ(json["lineq_room_table"].GetString(), "room");
  EXPECT_STREQ(json["lineq_user_table"].GetString(), "user");
  ASSERT_TRUE(json["lineq_session_duration"].IsInt()) << config.body;
  EXPECT_EQ(json["lineq_session_duration"].GetInt(), 1);

  const HttpAnswer created = create("example.com", "/", 20);
  EXPECT_EQ(created.status, 200) << created.body;
  EXPECT_EQ(created.body, "{\"status\":\"success\",\"message\":\"Tables Updated\"}\n");
  EXPECT_EQ(http_get(world_.lineq.web_port(), "/create").status, 405);
  EXPECT_EQ(http_post(world_.lineq.web_port(), "/create", "no json").status, 400);
}

TEST_F(OperatorTest, CreatingAgainChangesNeitherQueueNorSessions) {
  ASSERT_TRUE(start()) << world_.trouble;
  ASSERT_EQ(create("example.com", "/", 2).status, 200);
  const auto watch = world_.watch("example_com_");
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(enters(i, "a")) << world_.story();
  }
  EXPECT_TRUE(enters(1, "b"));
  for (const char* id : {"c", "d", "e"}) {
    EXPECT_EQ(where(2, id), "wait");
  }
  const auto as_it_was = [](const RoomNumbers& n) { return n.active == 2 && n.waiting == 3; };
  ASSERT_TRUE(watch->wait(as_it_was));
  EXPECT_EQ(create("example.com", "/", 2).status, 200);
  std::vector<std::thread> workers;
  std::array<int, 4> status{};
  workers.reserve(status.size());
  for (int& one : status) {
    workers.emplace_back([&] { one = create("example.com", "/", 2).status; });
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
  EXPECT_EQ(status, (std::array<int, 4>{200, 200, 200, 200}));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(where(i, "a"), "shop");
    EXPECT_EQ(where(i, "c"), "wait");
  }
  EXPECT_TRUE(as_it_was(watch->numbers()));
  EXPECT_EQ(watch->numbers().counter(RoomCounter::issued), 5U);
  // More places: the next ones in order.
  EXPECT_EQ(create("example.com", "/", 4).status, 200);
  EXPECT_TRUE(wait_until([&] { return where(0, "c") == "shop" && where(1, "d") == "shop"; }));
  EXPECT_EQ(where(0, "e"), "wait");
}

TEST_F(OperatorTest, ARestartKeepsRoomsQueueAndSessions) {
  ASSERT_TRUE(start()) << world_.trouble;
  ASSERT_EQ(create("example.com", "/", 1).status, 200);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(enters(i, "a"));
  }
  {
    const auto watch = world_.watch("example_com_");
    EXPECT_EQ(where(1, "b"), "wait");
    ASSERT_TRUE(watch->wait([](const RoomNumbers& n) { return n.waiting == 1; }));
    EXPECT_EQ(where(2, "c"), "wait");
    ASSERT_TRUE(watch->wait([](const RoomNumbers& n) { return n.waiting == 2; }));
  }
  for (const bool hard : {true, false}) {
    if (hard) {
      world_.kill_daemon();
      world_.web.kill();
    } else {
      EXPECT_EQ(world_.daemon.stop(), 0);
      EXPECT_EQ(world_.web.stop(), 0);
    }
    EXPECT_EQ(where(1, "a"), "shop") << "inside, whatever dies";
    ASSERT_TRUE(world_.start_daemon() && world_.start_web() && world_.wait_sessions())
        << world_.trouble;
    EXPECT_EQ(where(2, "a"), "shop");
    EXPECT_TRUE(wait_until([&] {
      const std::string headers = get(0, "c").headers;
      return headers.find("lineq-position: 2\r\n") != std::string::npos;
    })) << get(0, "c").headers
        << world_.story();
    EXPECT_NE(get(0, "b").headers.find("lineq-position: 1\r\n"), std::string::npos);
  }
}

TEST_F(OperatorTest, SixtyNewcomersAndOnePlace) {
  ASSERT_TRUE(start()) << world_.trouble;
  ASSERT_EQ(create("example.com", "/", 1).status, 200);
  const auto watch = world_.watch("example_com_");
  CrowdPlan plan;
  plan.ports = world_.ports();
  plan.host = "example.com";
  plan.visitors = 60;
  plan.span_ms = 0;
  plan.poll_ms = 200;
  plan.visit_ms = 3'600'000;
  world_.crowd.send(plan);
  ASSERT_TRUE(wait_until([&] {
    const CrowdNumbers n = world_.crowd.numbers();
    return n.arrived == 60 && n.inside == 1 && n.waiting == 59 && watch->numbers().waiting == 59;
  })) << world_.crowd.result().json()
      << world_.story();
  // They all ask again, some of them twice.
  const u64 issued = watch->numbers().counter(RoomCounter::issued);
  EXPECT_EQ(issued, 60U);
  const u32 errors = world_.crowd.numbers().errors;
  EXPECT_EQ(errors, 0U) << world_.crowd.result().json();
  const CrowdResult result = world_.crowd.result();
  EXPECT_EQ(result.most_inside, 1U) << result.json();
  EXPECT_EQ(result.sessions, 1U) << result.json();
  EXPECT_EQ(watch->most_places(), 1U);
}

TEST_F(OperatorTest, ElevenRoomsAndALongName) {
  ASSERT_TRUE(start()) << world_.trouble;
  for (int i = 0; i < 11; ++i) {
    ASSERT_EQ(create(fmt::format("room{}.example.com", i), "/", 1).status, 200);
  }
  for (int i = 0; i < 11; ++i) {
    const std::string host = fmt::format("room{}.example.com", i);
    EXPECT_TRUE(enters(static_cast<std::size_t>(i % 3), "a", host)) << host << world_.story();
    EXPECT_EQ(where(static_cast<std::size_t>((i + 1) % 3), "b", host), "wait") << host;
  }
  // HAProxy cuts the room's key at 31 bytes, and the users key at 72.
  const std::string host = "a-rather-long-name.of-a.shop.example";
  ASSERT_EQ(create(host, "/", 1).status, 200);
  const std::string path = "/a-long-path/of-a-shop";
  ASSERT_EQ(create(kLongRoom, path, 1).status, 200);
  for (const auto& [h, p] :
       {std::pair<std::string, std::string>{host, "/"}, {std::string(kLongRoom), path}}) {
    EXPECT_TRUE(enters(0, "a", h, p)) << h << world_.story();
    EXPECT_TRUE(enters(1, "a", h, p)) << h;
    EXPECT_EQ(where(2, "b", h, p), "wait") << h;
  }
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(OperatorTest, TheOriginalPagesStream) {
  ASSERT_TRUE(start()) << world_.trouble;
  ASSERT_EQ(create("example.com", "/", 1).status, 200);
  EXPECT_TRUE(enters(0, "a"));
  EXPECT_EQ(where(0, "b"), "wait");
  EXPECT_EQ(where(1, "c"), "wait");
  const Fd fd = connect_tcp(world_.at(2).http_port());
  ASSERT_TRUE(send_all(fd, std::string_view("GET /lineq?info=c&host=example.com&path=/ HTTP/1.1\r\n"
                                            "Host: example.com\r\nAccept: text/event-stream\r\n"
                                            "Cookie: sessionid=c\r\n\r\n")));
  std::string stream;
  const auto read_until = [&](std::string_view text) {
    return wait_until([&] {
      stream += receive_some(fd, Milliseconds(200));
      return stream.find(text) != std::string::npos;
    });
  };
  EXPECT_TRUE(read_until("data: 2\n\n")) << stream;
  EXPECT_NE(stream.find("text/event-stream"), std::string::npos) << stream;
  EXPECT_EQ(create("example.com", "/", 2).status, 200);  // b is let in, c moves up
  EXPECT_TRUE(read_until("data: DEC\n\n")) << stream;
}

TEST_F(OperatorTest, EvilCookiesOnlyWaitAndNothingIsCreatedFromOutside) {
  ASSERT_TRUE(start()) << world_.trouble;
  ASSERT_EQ(create("example.com", "/", 1).status, 200);
  ASSERT_EQ(create("other.com", "/", 1).status, 200);
  const auto watch = world_.watch("example_com_");
  const auto other = world_.watch("other_com_");
  EXPECT_TRUE(enters(0, "a") && enters(2, "a"));
  EXPECT_TRUE(enters(0, "o", "other.com"));
  EXPECT_EQ(where(1, "b"), "wait");
  for (const std::string& cookie :
       {std::string(80, 'x'), std::string("evil@other_com_"), std::string(61, 'y') + "@other_com_",
        std::string("@other_com_"), std::string("@"), std::string("<script>alert(1)</script>"),
        std::string("'\"--"), std::string(8000, 'z')}) {
    EXPECT_EQ(where(1, cookie), "wait") << cookie;
  }
  for (const char* target :
       {"/lineq/../create", "/lineq//../create", "/./create/lineq", "/lineq/%2e%2e/create"}) {
    http_post(world_.at(0).http_port(), target,
              R"({"name":"evil_","path":"/","activeUsers":9,"host":"evil"})",
              "Host: example.com\r\n");
  }
  const std::string rooms = http_get(world_.lineq.web_port(), "/metrics").body;
  EXPECT_EQ(rooms.find("evil_"), std::string::npos);
  EXPECT_NE(rooms.find("example_com_"), std::string::npos);
  // Nobody's place is lost to them.
  EXPECT_EQ(where(2, "a"), "shop");
  EXPECT_NE(get(0, "b").headers.find("lineq-position: 1\r\n"), std::string::npos);
  EXPECT_EQ(watch->numbers().active, 1U);
  EXPECT_EQ(other->numbers().active, 1U);
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(OperatorTest, TheTablesAreShownInTheOriginalsShape) {
  ASSERT_TRUE(start()) << world_.trouble;
  ASSERT_EQ(create("example.com", "/", 1).status, 200);
  EXPECT_TRUE(enters(0, "a"));
  const HttpAnswer answer = http_get(world_.lineq.web_port(), "/tables");
  rapidjson::Document json;
  ASSERT_FALSE(json.Parse(answer.body.c_str()).HasParseError()) << answer.body;
  EXPECT_STREQ(json["mode"].GetString(), "tables");
  ASSERT_TRUE(json.HasMember("user")) << answer.body;
  const auto& users = json["user"];
  EXPECT_STREQ(users["type"].GetString(), "string");
  EXPECT_TRUE(users["expiry"].IsNumber());
  EXPECT_NE(std::string(users["vtypes"].GetString()).find("gpc1"), std::string::npos);
  ASSERT_EQ(users["entries"].Size(), 1U) << answer.body;
  EXPECT_STREQ(users["entries"][0]["key"].GetString(), "a@example_com_");
  EXPECT_EQ(std::string(users["entries"][0]["value"].GetString()).substr(0, 1), "1");
  EXPECT_TRUE(users["entries"][0]["id"].IsString());
}

}  // namespace
}  // namespace lineq::test
