#include "webui/pages/waiting.h"

#include <fstream>
#include <map>

#include "tests/support/instance.h"
#include "tests/webui/crowd.h"
#include "tests/webui/pages_test.h"
#include "webui/http/router.h"
#include "webui/pages/csp_hash.h"
#include "webui/pages/rooms.h"

namespace lineq::pages {
namespace {

using shm::Crowd;
using shm::VisitorState;

class WaitingTest : public PagesTest {
 protected:
  WaitingRoom& room() {
    if (room_ == nullptr) {
      room_ = std::make_unique<WaitingRoom>(segment(), presence_);
    }
    writer_->heartbeat(writer_->now());
    segment();
    return *room_;
  }
  static http::Request ask(const std::string& fields, const std::string& target = "/",
                           const std::string& method = "GET") {
    http::RequestParser parser;
    parser.feed(method + " " + target + " HTTP/1.1\r\nHost: shop.example\r\n" + fields + "\r\n");
    EXPECT_EQ(parser.state(), http::RequestParser::State::kDone) << parser.error_text();
    return parser.take();
  }
  static std::string key(std::string_view session) {
    return "X-LineQ-Key: " + std::string(session) + "@shop\r\n";
  }
  // The reply, as it is when the time to wait is over.
  http::Reply answer(const http::Request& request) {
    http::Reply reply = room().answer(request);
    if (reply.later != nullptr) {
      http::Reply last;
      EXPECT_TRUE(reply.later->decide(true, last));
      return last;
    }
    return reply;
  }
  static std::string field(const http::Reply& reply, std::string_view name) {
    for (const auto& [n, value] : reply.fields) {
      if (n == name) {
        return value;
      }
    }
    return "(none)";
  }

  live::Presence presence_;
  std::unique_ptr<WaitingRoom> room_;
};

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_F(WaitingTest, WhoMayEnterIsSentToTheSamePlace) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  crowd.become("a", VisitorState::kReady);
  crowd.arrive("b");
  crowd.become("b", VisitorState::kActive);
  for (const char* session : {"a", "b"}) {
    const http::Reply get = answer(ask(key(session), "/tickets?day=2&x=%20"));
    EXPECT_EQ(get.status, 303);
    EXPECT_EQ(field(get, "Location"), "/tickets?day=2&x=%20");
    EXPECT_EQ(get.cache_control, "no-store");
  }
  EXPECT_EQ(answer(ask(key("a"), "/buy", "POST")).status, 307);
  EXPECT_EQ(answer(ask(key("a"), "/buy", "DELETE")).status, 307);
}

TEST_F(WaitingTest, TheSamePlaceIsNeverAnotherSite) {
  Crowd crowd(*writer_);
  const std::vector<std::pair<std::string, std::string>> targets{
      {"//evil.example/", "/.//evil.example/"},
      {"/\\evil.example/", "/./%5Cevil.example/"},
      {"/a\"b<c>", "/a%22b%3Cc%3E"},
      {"http://evil.example/x", "/"}};
  int n = 0;
  for (const auto& [target, place] : targets) {
    const std::string session = fmt::format("v{}", ++n);
    crowd.arrive(session);
    crowd.become(session, VisitorState::kReady);
    const http::Reply reply = answer(ask(key(session), target));
    EXPECT_EQ(reply.status, 303) << target;
    EXPECT_EQ(field(reply, "Location"), place) << target;
  }
}

TEST_F(WaitingTest, RoomAppearingWithinAMomentIsWaitedFor) {
  Crowd crowd(*writer_);
  http::Reply unknown = room().answer(ask(key("new")));
  ASSERT_NE(unknown.later, nullptr);
  EXPECT_LE(unknown.later->patience_ms(), 250U);
  http::Reply out;
  EXPECT_FALSE(unknown.later->decide(false, out));
  crowd.arrive("new");
  EXPECT_FALSE(unknown.later->decide(false, out));  // next, and there is room
  crowd.become("new", VisitorState::kGranted);
  EXPECT_FALSE(unknown.later->decide(false, out));  // a HAProxy has not heard of it yet
  crowd.become("new", VisitorState::kReady);
  EXPECT_TRUE(unknown.later->decide(false, out));
  EXPECT_EQ(out.status, 303);
}

TEST_F(WaitingTest, WhoHasNoChanceIsAnsweredAtOnce) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  EXPECT_EQ(room().answer(ask(key("a"))).later, nullptr);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 1; });
  EXPECT_NE(room().answer(ask(key("a"))).later, nullptr);
  crowd.arrive("b");
  EXPECT_EQ(room().answer(ask(key("b"))).later, nullptr) << "one place, and one before";
  crowd.rules([](shm::RoomSettings& s) { s.paused = true; });
  EXPECT_EQ(room().answer(ask(key("a"))).later, nullptr);
  EXPECT_EQ(room().answer(ask("")).later, nullptr) << "nobody can be called without a key";
}

TEST_F(WaitingTest, ThePageTellsTheTruePlace) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.flows(60);
  for (int i = 0; i < 1500; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  const http::Reply reply = answer(ask(key("v1233") + "Accept-Language: en\r\n"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(field(reply, "LineQ-Position"), "1234");
  EXPECT_EQ(field(reply, "LineQ-Room"), "shop");
  EXPECT_TRUE(has(reply.body, ">1,234</p>")) << reply.body;
  EXPECT_TRUE(has(reply.body, "1,233 people are ahead of you."));
  EXPECT_TRUE(has(reply.body, "minutes</dd>")) << reply.body;
  EXPECT_TRUE(has(reply.body, "<title>1,234 · You are in line · shop.example</title>"));
  crowd.become("v0", VisitorState::kAbandoned);
  EXPECT_EQ(field(answer(ask(key("v1233"))), "LineQ-Position"), "1233");
  const http::Reply first = answer(ask(key("v1") + "Accept-Language: de\r\n"));
  EXPECT_TRUE(has(first.body, "als Nächstes")) << first.body;
  EXPECT_EQ(field(first, "Content-Language"), "de");
}

TEST_F(WaitingTest, EveryWaitingAnswerHasItsFields) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  for (const char* accept : {"Accept: text/html\r\n", "Accept: application/json\r\n"}) {
    const http::Reply reply = answer(ask(key("a") + accept));
    EXPECT_EQ(reply.cache_control, "no-store");
    EXPECT_EQ(field(reply, "X-Robots-Tag"), "noindex, nofollow");
    EXPECT_EQ(field(reply, "Vary"), "Accept, Accept-Language, Cookie");
    EXPECT_EQ(field(reply, "Referrer-Policy"), "same-origin");
    EXPECT_NE(field(reply, "Retry-After"), "(none)");
    EXPECT_EQ(field(reply, "LineQ-Position"), "1");
    EXPECT_EQ(field(reply, "LineQ-State"), "waiting");
    EXPECT_TRUE(has(field(reply, "Content-Security-Policy"), "default-src 'none'"));
    EXPECT_FALSE(has(field(reply, "Content-Security-Policy"), "unsafe"));
  }
}

TEST_F(WaitingTest, TheStatusWhileQueuedIsTheRooms) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  for (const u32 code : {202U, 429U, 503U, 200U}) {
    crowd.rules([&](shm::RoomSettings& s) { s.status_code = code; });
    EXPECT_EQ(answer(ask(key("a"))).status, code);
  }
}

TEST_F(WaitingTest, ThePageIsSmallAndComplete) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.flows(5);
  crowd.rules([](shm::RoomSettings& s) { s.message = std::string(255, 'm'); });
  for (int i = 0; i < 40; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  for (const Language& language : languages()) {
    const http::Reply reply =
        answer(ask(key("v30") + "Accept-Language: " + std::string(language.tag) + "\r\n"));
    EXPECT_LT(reply.body.size(), 20000U) << language.tag;
    EXPECT_FALSE(has(reply.body, "{{")) << language.tag;
    EXPECT_FALSE(has(reply.body, "{n}")) << language.tag;
    EXPECT_FALSE(has(reply.body, "http:")) << language.tag;
    EXPECT_FALSE(has(reply.body, "https:")) << language.tag;
    EXPECT_TRUE(has(reply.body, "<html lang=\"" + std::string(language.tag) + "\""))
        << language.tag;
    EXPECT_TRUE(has(reply.body, "http-equiv=\"refresh\"")) << language.tag;
    EXPECT_EQ(has(reply.body, "\" dir=\"rtl\">"), language.right_to_left);
  }
}

TEST_F(WaitingTest, ThePolicyNamesTheHashesOfThePagesOwnParts) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  const http::Reply reply = answer(ask(key("a")));
  const std::string& html = reply.body;
  const auto between = [&](std::string_view open, std::string_view close) {
    const std::size_t begin = html.find(open) + open.size();
    return html.substr(begin, html.find(close, begin) - begin);
  };
  const std::string policy = field(reply, "Content-Security-Policy");
  EXPECT_TRUE(has(policy, csp_hash(between("<script>", "</script>"))));
  EXPECT_TRUE(has(policy, csp_hash(between("<style>", "</style>"))));
}

TEST_F(WaitingTest, ARoomThatRejectsSaysSoAndDoesNotReload) {
  Crowd crowd(*writer_);
  crowd.rules([](shm::RoomSettings& s) { s.method = shm::QueueingMethod::kReject; });
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  const http::Reply reply = answer(ask(key("a")));
  EXPECT_EQ(reply.status, 503);
  EXPECT_TRUE(has(reply.body, "No more visitors can be let in right now"));
  EXPECT_FALSE(has(reply.body, "http-equiv=\"refresh\""));
  EXPECT_FALSE(has(reply.body, "<script>"));
  EXPECT_EQ(field(reply, "Refresh"), "(none)");
  crowd.arrive("b");
  crowd.become("b", VisitorState::kActive);
  EXPECT_EQ(answer(ask(key("b"))).status, 303) << "who is inside stays inside";
}

TEST_F(WaitingTest, RandomOrderShowsNoPlaceInLine) {
  Crowd crowd(*writer_);
  crowd.rules([](shm::RoomSettings& s) { s.method = shm::QueueingMethod::kRandom; });
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  for (int i = 0; i < 5; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  const http::Reply reply = answer(ask(key("v3")));
  EXPECT_TRUE(has(reply.body, "5 people are waiting.")) << reply.body;
  EXPECT_TRUE(has(reply.body, "drawn at random"));
}

TEST_F(WaitingTest, WithoutLineqdThePlaceIsKept) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  room();
  writer_.reset();  // as after a kill
  segment();
  http::Reply reply = room_->answer(ask(key("a")));
  ASSERT_EQ(reply.later, nullptr);
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(has(reply.body, "Your place is kept.")) << reply.body;
  EXPECT_EQ(field(reply, "LineQ-Position"), "1");
}

TEST(WaitingWithoutASegmentTest, IsAPageAndNoError) {
  const shm::TempInstance instance;
  live::Segment segment(instance.source());
  live::Presence presence;
  WaitingRoom room(segment, presence);
  http::RequestParser parser;
  parser.feed("GET /x HTTP/1.1\r\nHost: a\r\nX-LineQ-Key: v@shop\r\n\r\n");
  const http::Reply reply = room.answer(parser.take());
  EXPECT_EQ(reply.later, nullptr);
  EXPECT_EQ(reply.status, 503);
  EXPECT_TRUE(has(reply.body, "Your place is kept."));
  EXPECT_TRUE(has(reply.body, "http-equiv=\"refresh\""));
}

TEST_F(WaitingTest, OtherModesHaveNoWaitingRoom) {
  table(shm::define("t", shm::KeyType::kString, 37, {shm::kGpc1}));
  EXPECT_EQ(answer(ask("")).status, 404);
}

TEST_F(WaitingTest, NobodyIsSentInCircles) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  crowd.become("a", VisitorState::kReady);
  int redirects = 0;
  http::Reply reply = answer(ask(key("a")));
  for (; reply.status == 303 && redirects < 20; ++redirects) {
    reply = answer(ask(key("a")));
  }
  EXPECT_EQ(redirects, 3);
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(has(reply.body, "It is your turn"));
  EXPECT_TRUE(has(reply.body, "content=\"2\""));
}

// Keys.

TEST_F(WaitingTest, TheOperatorsVisitorsAreFoundByCookieHostAndPath) {
  Crowd crowd(*writer_, [] {
    shm::RoomSettings s = Crowd::settings("shop_example_");
    s.host = "shop.example";
    return s;
  }());
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("3fa8");
  for (const char* target : {"/", "/deep/path?x=1"}) {
    const http::Reply reply = answer(ask("Cookie: theme=dark; sessionid=3fa8; x=y\r\n", target));
    EXPECT_EQ(field(reply, "LineQ-Position"), "1") << target;
    EXPECT_EQ(field(reply, "LineQ-Room"), "shop_example_");
  }
}

TEST_F(WaitingTest, AKeyIsCutAsHAProxyCutsIt) {
  Crowd crowd(*writer_, Crowd::settings("shop"), 37);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  const std::string session(34, 'x');
  ASSERT_EQ(crowd.key(session), session + "@s");
  crowd.arrive(session);
  EXPECT_EQ(field(answer(ask(key(session))), "LineQ-Position"), "1");
}

TEST_F(WaitingTest, HostileCookiesOnlyWait) {
  Crowd crowd(*writer_);
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("honest");
  crowd.become("honest", VisitorState::kReady);
  const std::string script = "<script>alert(1)</script>\"'`";
  for (const std::string& cookie :
       {std::string(8000, 'a'), std::string("evil@other_room"), std::string("honest@shop@shop"),
        std::string("@"), std::string("@@@shop"), script, std::string("%00"),
        std::string("\"a b\""), std::string("\xff\xfe\x80"), std::string("=;=;;;"),
        std::string("")}) {
    for (const std::string& fields :
         {"Cookie: sessionid=" + cookie + "\r\n", "X-LineQ-Key: " + cookie + "\r\n",
          "X-LineQ-Key: " + cookie + "@shop\r\n", "Cookie: " + cookie + "\r\n"}) {
      for (const char* accept : {"", "Accept: application/json\r\n"}) {
        const http::Reply reply = answer(ask(fields + accept));
        EXPECT_EQ(reply.status, 200) << fields;
        EXPECT_FALSE(has(reply.body, "<script>alert")) << fields;
        for (const auto& [name, value] : reply.fields) {
          EXPECT_EQ(value.find_first_of("\r\n"), std::string::npos) << name;
        }
      }
    }
  }
}

TEST_F(WaitingTest, NothingFromOutsideIsRenderedUnescaped) {
  const std::string evil = "<img src=x onerror=alert(1)>\"'`&{{lang}}</script>";
  Crowd crowd(*writer_, [&] {
    shm::RoomSettings s = Crowd::settings("<b>room\"'");
    s.message = evil;
    return s;
  }());
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  const http::Reply html =
      answer(ask("X-LineQ-Key: a@<b>room\"'\r\n", "/<script>alert(2)</script>"));
  EXPECT_EQ(field(html, "LineQ-Position"), "1");
  EXPECT_FALSE(has(html.body, "<img"));
  EXPECT_FALSE(has(html.body, "alert(2)"));
  EXPECT_TRUE(has(html.body, "&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&#96;&amp;{{lang}}"));
  EXPECT_TRUE(has(field(html, "LineQ-Room"), "<b>room"));
}

TEST_F(WaitingTest, AForgedHostStaysText) {
  Crowd crowd(*writer_);
  http::RequestParser parser;
  parser.feed("GET / HTTP/1.1\r\nHost: a'b(c)&d\r\n\r\n");
  const http::Reply reply = answer(parser.take());
  EXPECT_TRUE(has(reply.body, "a&#39;b(c)&amp;d")) << reply.body;
}

TEST_F(WaitingTest, TheRoomsLanguageIsSpokenToWhoWishesNoneOfOurs) {
  Crowd crowd(*writer_);
  crowd.rules([](shm::RoomSettings& s) { s.language = "ja"; });
  EXPECT_EQ(field(answer(ask(key("a"))), "Content-Language"), "ja");
  EXPECT_EQ(field(answer(ask(key("a") + "Accept-Language: xx, yy;q=0.5\r\n")), "Content-Language"),
            "ja");
  EXPECT_EQ(field(answer(ask(key("a") + "Accept-Language: xx, pl;q=0.1\r\n")), "Content-Language"),
            "pl");
}

// Templates of rooms.

TEST_F(WaitingTest, ARoomsOwnTemplateIsFilledInAndReadAnewWhenItChanges) {
  const test::TempDir dir;
  const std::string path = dir.file("page.html");
  std::ofstream(path) << "<p>{{#waitTimeKnown}}{{waitTime}}{{/waitTimeKnown}}"
                         "{{^waitTimeKnown}}who knows{{/waitTimeKnown}} {{position}} {{message}}";
  Crowd crowd(*writer_);
  crowd.rules([&](shm::RoomSettings& s) {
    s.template_path = path;
    s.message = "<hello>";
  });
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  http::Reply reply = answer(ask(key("a")));
  EXPECT_TRUE(has(reply.body, "1 &lt;hello&gt;")) << reply.body;
  EXPECT_NE(field(reply, "Refresh"), "(none)");
  EXPECT_EQ(room().preview("shop", ask("")).status, 200);
  EXPECT_TRUE(has(room().preview("shop", ask("")).body, "12 &lt;hello&gt;"));
  EXPECT_EQ(room().preview("nowhere", ask("")).status, 404);
  std::ofstream(path) << "<p>{{#waitTimeKnow}}";
  const http::Reply broken = room().preview("shop", ask(""));
  EXPECT_EQ(broken.status, 422);
  EXPECT_TRUE(has(broken.body,
                  "line 1: there is no value named 'waitTimeKnow'; did you mean "
                  "'waitTimeKnown'?"))
      << broken.body;
}

TEST_F(WaitingTest, OperatorsFindThePreviewBelowTheRoom) {
  Crowd crowd(*writer_, Crowd::settings("the shop"));
  http::Router router;
  add_rooms(
      router, "/nowhere", [](const std::string&, const auto&) { FAIL() << "lineqd was asked"; },
      [&](std::string_view name, const http::Request& r) { return room().preview(name, r); });
  const http::Reply reply =
      router.route(ask("Accept-Language: de\r\n", "/waiting_rooms/the%20shop/preview"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_TRUE(has(reply.body, ">12</p>"));
  EXPECT_TRUE(has(reply.body, "Warteschlange"));
  EXPECT_EQ(router.route(ask("", "/waiting_rooms/nowhere/preview")).status, 404);
  EXPECT_EQ(router.route(ask("Via: 1.1 x\r\n", "/waiting_rooms/the%20shop/preview")).status, 404)
      << "a visitor's, and there are no visitors here";
}

TEST_F(WaitingTest, WithoutItsTemplateARoomHasOurPage) {
  Crowd crowd(*writer_);
  crowd.rules([&](shm::RoomSettings& s) { s.template_path = "/nowhere/page.html"; });
  crowd.numbers([](shm::RoomNumbers& n) { n.active = 2; });
  crowd.arrive("a");
  EXPECT_TRUE(has(answer(ask(key("a"))).body, "You are in line"));
  crowd.rules([&](shm::RoomSettings& s) { s.template_path = "/dev/zero"; });
  EXPECT_TRUE(has(answer(ask(key("a"))).body, "You are in line"));
}

}  // namespace
}  // namespace lineq::pages
