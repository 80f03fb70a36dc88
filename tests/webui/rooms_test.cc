// The room API and the operator's calls, with a lineqd that the test plays.
#include "webui/pages/rooms.h"

#include <fstream>
#include <memory>

#include <gtest/gtest.h>

#include "tests/support/instance.h"
#include "tests/webui/pages_test.h"
#include "webui/pages/access.h"
#include "webui/pages/legacy.h"

namespace lineq::pages {
namespace {

class RoomsTest : public PagesTest {
 protected:
  void SetUp() override {
    PagesTest::SetUp();
    std::ofstream(dir_.file("token")) << "s3cret\n";
    const Ask ask = [this](std::string line, std::function<void(const Result<std::string>&)> done) {
      lines_.push_back(std::move(line));
      if (later_) {
        waiting_.push_back(std::move(done));
      } else {
        done(answer_);
      }
    };
    add_rooms(router_, dir_.file("token"), ask);
    add_legacy(router_, {"room", "user", 301'000}, segment(), ask);
    router_.set_visitors([](const http::Request&) { return http::text_reply(200, "visitor"); });
  }

  http::Reply send(std::string_view line, std::string_view body = "", std::string_view fields = "",
                   std::array<u8, 4> from = {10, 1, 2, 3}) {
    http::RequestParser parser;
    std::string bytes =
        std::string(line) + " HTTP/1.1\r\nHost: lineq:8060\r\n" + std::string(fields);
    if (!body.empty()) {
      bytes += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    bytes += "\r\n" + std::string(body);
    for (std::size_t at = 0; at < bytes.size();) {
      at += parser.feed(std::string_view(bytes).substr(at));
    }
    EXPECT_EQ(parser.state(), http::RequestParser::State::kDone) << parser.error_text();
    http::Request request = parser.take();
    request.from[10] = request.from[11] = 0xff;
    std::copy(from.begin(), from.end(), request.from.begin() + 12);
    return router_.route(request);
  }
  http::Reply admin(std::string_view line, std::string_view body = "") {
    return send(line, body, "Authorization: Bearer s3cret\r\n");
  }
  // What was sent to lineqd since the last look, one line.
  std::string sent() {
    std::string all;
    for (const std::string& line : lines_) {
      all += (all.empty() ? "" : "\n") + line;
    }
    lines_.clear();
    return all;
  }
  static std::string text(const http::Reply& reply) {
    return std::to_string(reply.status) + " " + std::string(reply.content());
  }

  test::TempDir dir_;
  http::Router router_;
  std::vector<std::string> lines_;
  std::vector<std::function<void(const Result<std::string>&)>> waiting_;
  bool later_ = false;
  Result<std::string> answer_ = std::string(R"({"ok":true,"result":null})");
};

constexpr std::string_view kRoom =
    R"({"name":"shop","suspended":false,"queue_all":false,"session_duration":0.5,)"
    R"("numbers":{"active":5,"waiting":10,"front":1,"admit_rate":4.0}})";

TEST_F(RoomsTest, RoomsAreListedAndShownInTheEnvelope) {
  answer_ = R"({"ok":true,"result":[)" + std::string(kRoom) + "]}";
  EXPECT_EQ(text(send("GET /waiting_rooms")),
            R"(200 {"success":true,"errors":[],"messages":[],"result":[{"name":"shop",)"
            R"("suspended":false,"queue_all":false,"session_duration":0.5,"numbers":{"active":5,)"
            R"("waiting":10,"front":1,"admit_rate":4.0},"id":"shop"}]})");
  EXPECT_EQ(sent(), R"({"command":"rooms","by":"the room API"})");
  answer_ = R"({"ok":true,"result":)" + std::string(kRoom) + "}";
  const http::Reply one = send("GET /waiting_rooms/shop");
  EXPECT_EQ(one.type, "application/json");
  EXPECT_EQ(text(one),
            R"(200 {"success":true,"errors":[],"messages":[],"result":{"name":"shop",)"
            R"("suspended":false,"queue_all":false,"session_duration":0.5,"numbers":{"active":5,)"
            R"("waiting":10,"front":1,"admit_rate":4.0},"id":"shop"}})");
  EXPECT_EQ(sent(), R"({"command":"room","name":"shop","by":"the room API"})");
  EXPECT_EQ(send("HEAD /waiting_rooms/shop").status, 200);
}

TEST_F(RoomsTest, TheStatusIsCloudflares) {
  answer_ = R"({"ok":true,"result":)" + std::string(kRoom) + "}";
  EXPECT_EQ(text(send("GET /waiting_rooms/shop/status")),
            R"(200 {"success":true,"errors":[],"messages":[],"result":{"status":"queueing",)"
            R"("event_id":"","estimated_queued_users":11,"estimated_total_active_users":5,)"
            R"("max_estimated_time_minutes":3,"numbers":{"active":5,"waiting":10,"front":1,)"
            R"("admit_rate":4.0}}})");
  answer_ = std::string(R"({"ok":true,"result":{"name":"shop","suspended":true}})");
  EXPECT_NE(text(send("GET /waiting_rooms/shop/status")).find(R"("status":"suspended")"),
            std::string::npos);
  answer_ = std::string(R"({"ok":true,"result":{"name":"shop"}})");
  EXPECT_NE(text(send("GET /waiting_rooms/shop/status")).find(R"("status":"not_queueing")"),
            std::string::npos);
}

TEST_F(RoomsTest, RoomsAreMadeChangedAndRemoved) {
  answer_ = R"({"ok":true,"result":)" + std::string(kRoom) + "}";
  EXPECT_EQ(admin("POST /waiting_rooms", R"({"name": "shop", "total_active_users": 5})").status,
            200);
  EXPECT_EQ(
      sent(),
      R"({"command":"put_room","room":{"name":"shop","total_active_users":5},"how":"create","by":"the room API"})");
  EXPECT_EQ(admin("PUT /waiting_rooms/shop", R"({"session_duration": 0.5})").status, 200);
  EXPECT_EQ(
      sent(),
      R"({"command":"put_room","room":{"session_duration":0.5,"name":"shop"},"how":"replace","by":"the room API"})");
  EXPECT_EQ(admin("PATCH /waiting_rooms/shop", R"({"paused":true})").status, 200);
  EXPECT_EQ(
      sent(),
      R"({"command":"change_room","name":"shop","change":{"paused":true},"by":"the room API"})");
  answer_ = std::string(R"({"ok":true,"result":null,"warning":"careful"})");
  EXPECT_EQ(
      text(admin("DELETE /waiting_rooms/shop")),
      R"(200 {"success":true,"errors":[],"messages":[{"code":200,"message":"careful"}],"result":{"id":"shop"}})");
  EXPECT_EQ(sent(), R"({"command":"remove_room","name":"shop","by":"the room API"})");
  EXPECT_EQ(
      text(admin("PUT /waiting_rooms/shop", R"({"name":"other"})")),
      R"(400 {"success":false,"errors":[{"code":400,"message":"name: the body and the path name different rooms"}],"messages":[],"result":null})");
  EXPECT_EQ(sent(), "");
}

TEST_F(RoomsTest, ActionsAreCommands) {
  const auto act = [&](std::string_view body) {
    EXPECT_EQ(admin("POST /waiting_rooms/shop/actions", body).status, 200) << body;
    std::string line = sent();
    const std::size_t by = line.find(R"(,"by":"the room API")");
    return by == std::string::npos ? "no by: " + line : line.erase(by, 20);
  };
  EXPECT_EQ(act(R"({"action":"pause"})"),
            R"({"command":"change_room","name":"shop","change":{"paused":true}})");
  EXPECT_EQ(act(R"({"action":"resume"})"),
            R"({"command":"change_room","name":"shop","change":{"paused":false}})");
  EXPECT_EQ(act(R"({"action":"admit","n":5})"), R"({"command":"admit","name":"shop","n":5})");
  EXPECT_EQ(act(R"({"action":"admit","count":6})"), R"({"command":"admit","name":"shop","n":6})");
  EXPECT_EQ(act(R"({"action":"queue_all"})"),
            R"({"command":"change_room","name":"shop","change":{"queue_all":true}})");
  EXPECT_EQ(act(R"({"action":"suspend","on":false})"),
            R"({"command":"change_room","name":"shop","change":{"suspended":false}})");
  EXPECT_EQ(act(R"({"action":"revoke","session":"4711"})"),
            R"({"command":"revoke","name":"shop","session":"4711"})");
  EXPECT_EQ(act(R"({"action":"revoke_all"})"), R"({"command":"revoke","name":"shop","all":true})");
  EXPECT_EQ(act(R"({"action":"message","text":"a \"b\""})"),
            R"({"command":"change_room","name":"shop","change":{"message":"a \"b\""}})");
  EXPECT_EQ(act(R"({"action":"set","C":5})"),
            R"({"command":"change_room","name":"shop","change":{"C":5}})");
  answer_ = std::string(R"({"ok":true,"result":{"admitted":3}})");
  EXPECT_EQ(text(admin("POST /waiting_rooms/shop/actions", R"({"action":"admit"})")),
            R"(200 {"success":true,"errors":[],"messages":[],"result":{"admitted":3}})");
  sent();
  for (const char* wrong : {R"({})", R"({"action":"fly"})", R"({"action":"admit","n":0})",
                            R"({"action":"admit","n":"5"})", R"({"action":"revoke"})",
                            R"({"action":"suspend","on":1})", R"({"action":"message"})"}) {
    EXPECT_EQ(admin("POST /waiting_rooms/shop/actions", wrong).status, 400) << wrong;
  }
  EXPECT_EQ(sent(), "");
}

TEST_F(RoomsTest, ChangesTakeTheToken) {
  const std::string_view body = R"({"name":"shop"})";
  for (const char* line :
       {"POST /waiting_rooms", "PUT /waiting_rooms/shop", "PATCH /waiting_rooms/shop",
        "DELETE /waiting_rooms/shop", "POST /waiting_rooms/shop/actions"}) {
    EXPECT_EQ(send(line, body).status, 401) << line;
    for (const char* field : {"Authorization: Bearer wrong\r\n", "Authorization: Bearer s3cre\r\n",
                              "Authorization: Bearer s3crets3cret\r\n", "Authorization: Bearer\r\n",
                              "Authorization: Basic s3cret\r\n", "Authorization: Bearer  \r\n",
                              "Authorization: Bearer s3cret\r\nAuthorization: Bearer s3cret\r\n"}) {
      const http::Reply reply = send(line, body, field);
      EXPECT_EQ(reply.status, 401) << line << field;
      EXPECT_EQ(reply.fields.at(0).first, "WWW-Authenticate");
    }
  }
  std::ofstream(dir_.file("token"), std::ios::trunc) << " \n";
  EXPECT_EQ(admin("POST /waiting_rooms", body).status, 403);
  std::ofstream(dir_.file("token")) << "another";
  EXPECT_EQ(admin("POST /waiting_rooms", body).status, 401);
  EXPECT_EQ(sent(), "");
  EXPECT_EQ(send("POST /waiting_rooms", body, "authorization: bearer another\r\n").status, 200);
}

TEST_F(RoomsTest, WhatCameThroughAProxyOrIsWrittenOtherwiseIsAVisitors) {
  const std::string_view body = R"({"name":"shop"})";
  for (const char* field : {"X-Forwarded-For: 1.2.3.4\r\n", "Forwarded: for=1.2.3.4\r\n",
                            "Via: 1.1 haproxy\r\n", "X-LineQ-Key: a@shop\r\n"}) {
    const std::string fields = std::string("Authorization: Bearer s3cret\r\n") + field;
    EXPECT_EQ(send("POST /waiting_rooms", body, fields).content(), "visitor\n") << field;
    EXPECT_EQ(send("GET /waiting_rooms/shop", "", fields).content(), "visitor\n") << field;
    EXPECT_EQ(send("POST /create", body, field).content(), "visitor\n") << field;
    EXPECT_EQ(send("GET /getConfig", "", field).content(), "visitor\n") << field;
  }
  for (const char* path :
       {"/waiting_rooms/", "/waiting_rooms//shop", "/waiting_rooms/../create", "/lineq/../create",
        "/waiting_rooms/./status", "/%63reate", "//create", "/create/", "/Create", "/create;x",
        "/waiting_rooms/shop/status/x", "/waiting_rooms/shop/", "/x/waiting_rooms", "/create%3f"}) {
    EXPECT_EQ(admin(std::string("POST ") + path, body).content(), "visitor\n") << path;
  }
  EXPECT_EQ(sent(), "");
  // Names that no room can have.
  for (const char* path : {"/waiting_rooms/%2e%2e", "/waiting_rooms/a%2fb", "/waiting_rooms/a%00b",
                           "/waiting_rooms/a@b", "/waiting_rooms/%ff"}) {
    EXPECT_EQ(send(std::string("GET ") + path).status, 404) << path;
  }
  EXPECT_EQ(send("GET /waiting_rooms/shop/other").status, 404);
  EXPECT_EQ(sent(), "");
  send("GET /waiting_rooms/a%2Bb+c");
  EXPECT_EQ(sent(), R"({"command":"room","name":"a+b+c","by":"the room API"})");
}

TEST_F(RoomsTest, OtherMethodsAreNamedInAllow) {
  const auto allow = [&](std::string_view line) {
    const http::Reply reply = admin(line, "{}");
    EXPECT_EQ(reply.status, 405) << line;
    return reply.fields.empty() ? "" : reply.fields[0].second;
  };
  EXPECT_EQ(allow("PUT /waiting_rooms"), "GET, HEAD, POST");
  EXPECT_EQ(allow("POST /waiting_rooms/shop"), "GET, HEAD, PUT, PATCH, DELETE");
  EXPECT_EQ(allow("POST /waiting_rooms/shop/status"), "GET, HEAD");
  EXPECT_EQ(send("GET /waiting_rooms/shop/actions").status, 405);
  EXPECT_EQ(sent(), "");
}

TEST_F(RoomsTest, WhatLineqdSaysBecomesAStatus) {
  const auto status = [&](std::string_view code) {
    answer_ = R"({"ok":false,"code":")" + std::string(code) + R"(","error":"why \"so\""})";
    const http::Reply reply = send("GET /waiting_rooms/shop");
    EXPECT_NE(reply.body.find(R"("message":"why \"so\"")"), std::string::npos) << reply.body;
    return reply.status;
  };
  EXPECT_EQ(status("invalid"), 400);
  EXPECT_EQ(status("not_found"), 404);
  EXPECT_EQ(status("denied"), 403);
  EXPECT_EQ(status("unsupported"), 409);
  EXPECT_EQ(status("failed"), 500);
  answer_ = Error{ErrorCode::kNotFound, "lineqd cannot be reached"};
  EXPECT_EQ(send("GET /waiting_rooms").status, 503);
  answer_ = std::string("?");
  EXPECT_EQ(send("GET /waiting_rooms").status, 503);
}

TEST_F(RoomsTest, ABodyThatIsNoRoomGoesNowhere) {
  for (const std::string& body : std::vector<std::string>{
           "nonsense", "[]", "5", std::string(60000, '['), "{\"a\":\"\xff\"}"}) {
    EXPECT_EQ(admin("POST /waiting_rooms", body).status, 400);
    EXPECT_EQ(admin("PATCH /waiting_rooms/shop", body).status, 400);
  }
  // Longer as a line than as a body.
  EXPECT_EQ(admin("POST /waiting_rooms", R"({"description":")" + std::string(65500, 'a') + R"("})")
                .status,
            413);
  EXPECT_EQ(sent(), "");
}

TEST_F(RoomsTest, AnAnswerMayComeLater) {
  later_ = true;
  http::Reply reply = send("GET /waiting_rooms");
  ASSERT_NE(reply.later, nullptr);
  http::Reply out;
  EXPECT_FALSE(reply.later->decide(false, out));
  waiting_.at(0)(std::string(R"({"ok":true,"result":[]})"));
  EXPECT_TRUE(reply.later->decide(false, out));
  EXPECT_EQ(out.body, R"({"success":true,"errors":[],"messages":[],"result":[]})");
  // The browser left before lineqd answered.
  reply = send("GET /waiting_rooms");
  reply.later.reset();
  waiting_.at(1)(std::string(R"({"ok":true,"result":[]})"));
  // No time.
  reply = send("GET /waiting_rooms");
  EXPECT_TRUE(reply.later->decide(true, out));
  EXPECT_EQ(out.status, 503);
}

// ---- the operator's calls ----------------------------------------------------------------------

constexpr std::string_view kCreate =
    R"({"name":"example_com_","path":"/","activeUsers":20,"host":"example.com"})";

TEST_F(RoomsTest, GetConfigIsAsTheOriginalAnswersIt) {
  const http::Reply reply = send("GET /getConfig");
  EXPECT_EQ(reply.type, "application/json");
  EXPECT_EQ(
      text(reply),
      R"(200 {"status":"OK","message":"Config Retrieved Successfully","lineq_room_table":"room",)"
      R"("lineq_user_table":"user","lineq_session_duration":6})");
  const auto minutes = [](u32 ms) {
    const std::string body = get_config_reply({"a", "b", ms}).body;
    return body.substr(body.rfind(':'));
  };
  EXPECT_EQ(minutes(1000), ":1}");
  EXPECT_EQ(minutes(60'000), ":1}");
  EXPECT_EQ(minutes(60'001), ":2}");
  EXPECT_EQ(sent(), "");
}

TEST_F(RoomsTest, CreateIsAsTheOriginalAnswersIt) {
  const http::Reply reply = send("POST /create", kCreate);
  EXPECT_EQ(reply.type, "application/json");
  EXPECT_EQ(text(reply), "200 {\"status\":\"success\",\"message\":\"Tables Updated\"}\n");
  EXPECT_EQ(
      sent(),
      R"({"command":"put_room","room":{"name":"example_com_","host":"example.com","path":"/","total_active_users":20},"how":"capacity","by":"the operator"})");
  EXPECT_EQ(text(send("GET /create")), "405 Invalid request method\n");
  EXPECT_EQ(text(send("PUT /create", kCreate)), "405 Invalid request method\n");
  EXPECT_EQ(text(send("POST /create", "nonsense")), "400 Error decoding JSON request body\n");
  EXPECT_EQ(text(send("POST /create")), "400 Error decoding JSON request body\n");
  EXPECT_EQ(text(send("POST /create", R"({"name":5})")), "400 Error decoding JSON request body\n");
  EXPECT_EQ(text(send("POST /create", R"({"name":"a","activeUsers":"5"})")),
            "400 Error decoding JSON request body\n");
  EXPECT_EQ(text(send("POST /create", R"({"name":"a"})")),
            "400 total_active_users: '0' is not allowed; allowed: 1 to 100000000\n");
  EXPECT_EQ(sent(), "");
  // As Go reads it.
  EXPECT_EQ(
      send("POST /create", R"({"Host":"a.b","ACTIVEUSERS":3,"more":[1],"path":null} x)").status,
      200);
  EXPECT_EQ(
      sent(),
      R"({"command":"put_room","room":{"name":"a_b_","host":"a.b","path":"/","total_active_users":3},"how":"capacity","by":"the operator"})");
}

TEST_F(RoomsTest, CreateIsTheOperatorsOnly) {
  for (const std::array<u8, 4> far : {std::array<u8, 4>{8, 8, 8, 8},
                                      {11, 0, 0, 1},
                                      {172, 32, 0, 1},
                                      {192, 169, 0, 1},
                                      {100, 128, 0, 1},
                                      {126, 0, 0, 1}}) {
    EXPECT_EQ(send("POST /create", kCreate, "", far).status, 403);
  }
  for (const std::array<u8, 4> near : {std::array<u8, 4>{127, 0, 0, 1},
                                       {10, 255, 0, 1},
                                       {172, 31, 0, 1},
                                       {192, 168, 0, 1},
                                       {100, 64, 0, 1}}) {
    EXPECT_EQ(send("POST /create", kCreate, "", near).status, 200);
  }
  sent();
  EXPECT_EQ(send("POST /create", kCreate, "Origin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(send("POST /create", kCreate, "Sec-Fetch-Site: cross-site\r\n").status, 403);
  EXPECT_EQ(send("POST /create", kCreate, "Cookie: sessionid=4711\r\n").status, 403);
  shm::RoomSettings site;
  site.name = "lineq_";
  site.host = "LINEQ";  // as in the request's Host
  ASSERT_TRUE(writer_->add_room(site, now()).ok());
  segment();
  EXPECT_EQ(send("POST /create", kCreate).status, 403);
  EXPECT_EQ(sent(), "");
}

TEST_F(RoomsTest, CreateIsNotForWhoeverComesFromAHaproxy) {
  shm::PeerIdentity haproxy;
  haproxy.remote_name = "hap";
  haproxy.local_name = "lineq";
  haproxy.address = "10.1.2.3";
  ASSERT_TRUE(writer_->peer_up(haproxy, now()).ok());
  segment();
  EXPECT_EQ(send("POST /create", kCreate).status, 403);
  EXPECT_EQ(send("POST /create", kCreate, "", {10, 1, 2, 4}).status, 200);
}

TEST_F(RoomsTest, CreateSaysWhenNobodyDidIt) {
  answer_ = Error{ErrorCode::kNotFound, "lineqd cannot be reached"};
  EXPECT_EQ(text(send("POST /create", kCreate)), "503 lineqd cannot be reached\n");
  answer_ = std::string(R"({"ok":false,"code":"unsupported","error":"no rooms here"})");
  EXPECT_EQ(text(send("POST /create", kCreate)), "503 no rooms here\n");
  // A crowd of visitors in the server is no reason to refuse: the operator never asks again.
  later_ = true;
  http::Reply reply = send("POST /create", kCreate);
  http::Reply out;
  EXPECT_TRUE(reply.later->decide(true, out));
  EXPECT_EQ(out.status, 200);
}

}  // namespace
}  // namespace lineq::pages
