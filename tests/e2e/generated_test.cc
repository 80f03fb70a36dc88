// The rules of `lineqd -c` at work on real HAProxys, with the test in the place of lineqd and of
// lineq-web: who passes, who waits, what reaches whom.
#include "tests/e2e/generated.h"

#include <mutex>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"
#include "tests/support/haproxy.h"
#include "tests/support/http.h"

namespace lineq::test {
namespace {

constexpr std::string_view kHealth = "GET /healthz ";

// What a backend has been asked last, and what it answers.
struct Seen {
  std::mutex mutex;
  std::string head;
  std::string headers;  // of the answers to come
  HttpBackend::Answer answer(std::string body) {
    return [this, body = std::move(body)](std::string_view asked) {
      const std::lock_guard lock(mutex);
      if (!asked.starts_with(kHealth)) {
        head = asked;
      }
      return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}\r\n{}", body.size(), headers,
                         body);
    };
  }
  std::string last() {
    const std::lock_guard lock(mutex);
    return head;
  }
  void say(std::string more) {
    const std::lock_guard lock(mutex);
    headers = std::move(more);
  }
};

class GeneratedTest : public testing::TestWithParam<HaproxyVersion> {
 protected:
  void SetUp() override {
    if (haproxy_path(GetParam()).empty()) {
      GTEST_SKIP() << "HAProxy " << haproxy_version_name(GetParam()) << " is not here";
    }
  }

  void start(const std::vector<cli::RoomSettings>& rooms, daemon::HaproxyChoices choices = {},
             u16 web_port = 0) {
    haproxy_ = std::make_unique<Haproxy>(
        dir_,
        Haproxy::Setup{.version = GetParam(),
                       .name = "a",
                       .config = generated_config(rooms, std::move(choices)),
                       .values = {{"tcp", std::to_string(free_port())},
                                  {"web", std::to_string(web_port != 0 ? web_port : web_.port())},
                                  {"backend", std::to_string(site_.port())}},
                       .master_worker = false});
    ASSERT_TRUE(haproxy_->start()) << haproxy_->log();
  }
  HttpAnswer get(std::string_view target, std::string_view headers = "") {
    return http_get(haproxy_->http_port(), target, headers);
  }
  // "site", "wait", or the status of an answer of HAProxy's own.
  std::string where(std::string_view target, std::string_view headers = "") {
    const HttpAnswer answer = get(target, headers);
    return answer.status == 200 ? answer.body : std::to_string(answer.status);
  }
  // As lineqd's grant does.
  void let_in(const std::string& key) {
    EXPECT_EQ(haproxy_->set_table("timestamps", key, "data.gpc1 1"), "");
  }
  std::string users(const std::string& key, const std::string& column) {
    return haproxy_->show_table("timestamps").value(key, column);
  }
  static std::string cookie_of(const HttpAnswer& answer, const std::string& name) {
    const std::string label = "set-cookie: " + name + "=";
    std::size_t at = answer.headers.find(label);
    if (at == std::string::npos) {
      at = answer.headers.find("Set-Cookie: " + name + "=");
    }
    if (at == std::string::npos) {
      return {};
    }
    at += label.size();
    return answer.headers.substr(at, answer.headers.find(';', at) - at);
  }

  TempDir dir_;
  Seen web_seen_;
  Seen site_seen_;
  HttpBackend web_{web_seen_.answer("wait")};
  HttpBackend site_{site_seen_.answer("site")};
  std::unique_ptr<Haproxy> haproxy_;
};

INSTANTIATE_TEST_SUITE_P(Haproxy, GeneratedTest,
                         testing::Values(HaproxyVersion::k26, HaproxyVersion::k30),
                         [](const auto& version) {
                           return version.param == HaproxyVersion::k26 ? "v26" : "v30";
                         });

TEST_P(GeneratedTest, OnlyWhoWasLetInPasses) {
  start({a_room("shop")});
  const HttpAnswer first = get("/buy?x=1");
  EXPECT_EQ(first.body, "wait");
  const std::string id = cookie_of(first, "lineq_shop");
  ASSERT_EQ(id.size(), 36U) << first.headers;
  EXPECT_NE(first.headers.find("; Path=/; HttpOnly; SameSite=Lax\r\n"), std::string::npos)
      << first.headers;
  const std::string asked = web_seen_.last();
  EXPECT_TRUE(asked.starts_with("GET /buy?x=1 ")) << asked;
  EXPECT_NE(asked.find(fmt::format("x-lineq-key: {}@shop\r\n", id)), std::string::npos) << asked;
  EXPECT_NE(asked.find("x-forwarded-for: 127.0.0.1"), std::string::npos) << asked;
  EXPECT_EQ(users(id + "@shop", "gpc1"), "0");

  const std::string cookie = fmt::format("Cookie: a=b; lineq_shop={}\r\n", id);
  const HttpAnswer again = get("/buy", cookie);
  EXPECT_EQ(again.body, "wait");
  EXPECT_EQ(cookie_of(again, "lineq_shop"), "") << "the old one is kept";
  let_in(id + "@shop");
  EXPECT_EQ(where("/buy", cookie), "site");
  EXPECT_EQ(where("/buy"), "wait");
  // A full room on its own account lets nobody in.
  EXPECT_EQ(haproxy_->set_table("room", "shop", "data.gpc0 5"), "");
  EXPECT_EQ(where("/buy"), "wait");
}

TEST_P(GeneratedTest, AForgedKeyReachesNobody) {
  start({a_room("shop")});
  const std::string forged =
      "x-lineq-key: root@shop\r\nX-LineQ-Key: x@shop\r\nX-LINEQ-ANY: 1\r\n"
      "Cookie: lineq_shop=me\r\n";
  EXPECT_EQ(where("/", forged), "wait");
  EXPECT_NE(web_seen_.last().find("x-lineq-key: me@shop\r\n"), std::string::npos)
      << web_seen_.last();
  EXPECT_EQ(web_seen_.last().find("root@shop"), std::string::npos);
  EXPECT_EQ(web_seen_.last().find("x-lineq-any"), std::string::npos);
  let_in("me@shop");
  EXPECT_EQ(where("/", forged), "site");
  EXPECT_EQ(site_seen_.last().find("x-lineq-"), std::string::npos) << site_seen_.last();
}

TEST_P(GeneratedTest, StrangeCookiesGetANewSession) {
  start({a_room("shop")});
  const std::string at = std::string(64, 'a');
  EXPECT_EQ(cookie_of(get("/", fmt::format("Cookie: lineq_shop={}\r\n", at)), "lineq_shop"), "");
  for (const std::string& cookie :
       {std::string("lineq_shop="), std::string("lineq_shop=me@other"), "lineq_shop=" + at + "a",
        std::string("lineq_shop=<script>"), std::string("lineq_shop=a\"b"),
        std::string("lineq_shop=\xff\xfe"), std::string("lineq_shop=a b"),
        "lineq_shop=" + std::string(8000, 'x'), std::string("sessionid=me"),
        std::string("LINEQ_SHOP=me")}) {
    const HttpAnswer answer = get("/", fmt::format("Cookie: {}\r\n", cookie));
    ASSERT_EQ(answer.status, 200) << cookie;
    EXPECT_EQ(answer.body, "wait");
    const std::string id = cookie_of(answer, "lineq_shop");
    // HAProxy takes "a b" for a cookie "a", which is a fine session id.
    EXPECT_EQ(id.size(), cookie == "lineq_shop=a b" && id.empty() ? 0U : 36U) << cookie;
  }
  // A NUL or a line break never gets so far.
  EXPECT_EQ(where("/", std::string("Cookie: lineq_shop=a\0b\r\n", 25)), "400");
}

TEST_P(GeneratedTest, RoomsAreFoundByHostAndPathHoweverTheyAreSpelt) {
  start({a_room("tickets", "shop.example", "/tickets"),
         a_room("vip", "shop.example", "/tickets/vip"), a_room("other", "other.example")});
  const auto key = [&](std::string_view host, std::string_view target) {
    const std::string at = where(target, fmt::format("Host: {}\r\nCookie: lineq_tickets=me; "
                                                     "lineq_vip=me; lineq_other=me\r\n",
                                                     host));
    if (at != "wait") {
      return at;
    }
    const std::string asked = web_seen_.last();
    constexpr std::string_view kLabel = "x-lineq-key: me@";
    const std::size_t from = asked.find(kLabel) + kLabel.size();
    return asked.substr(from, asked.find('\r', from) - from);
  };
  for (const char* host : {"shop.example", "SHOP.example", "shop.example:8080", "shop.example."}) {
    EXPECT_EQ(key(host, "/tickets"), "tickets") << host;
    EXPECT_EQ(key(host, "/tickets/1?a=/x"), "tickets") << host;
    EXPECT_EQ(key(host, "/tickets/vip"), "vip") << host;
    EXPECT_EQ(key(host, "/"), "site") << host;
  }
  for (const char* target : {"//tickets", "/%74ickets", "/tickets;x=1/y", "/tickets%2F",
                             "/tickets?", "///tickets///x", "/;a/tickets"}) {
    EXPECT_EQ(key("shop.example", target), "tickets") << target;
  }
  for (const char* target : {"/x/../tickets", "/./tickets", "/x/%2e%2e/tickets", "/x/..;/tickets",
                             "/..", "/%zz/tickets"}) {
    EXPECT_EQ(key("shop.example", target), "400") << target;
  }
  for (const char* target : {"/ticketsx", "/x/tickets", "/TICKETS", "/?/tickets", "/.hidden/..a"}) {
    EXPECT_EQ(key("shop.example", target), "site") << target;
  }
  EXPECT_EQ(key("other.example", "/any/thing"), "other");
  EXPECT_EQ(key("nobody.example", "/tickets"), "site");
}

TEST_P(GeneratedTest, RoomsOfOneHostHaveCookiesOfTheirOwn) {
  start({a_room("all", "shop.example"), a_room("tickets", "shop.example", "/tickets")});
  const HttpAnswer all = get("/", "Host: shop.example\r\n");
  const HttpAnswer tickets = get("/tickets", "Host: shop.example\r\n");
  EXPECT_EQ(cookie_of(all, "lineq_all").size(), 36U);
  EXPECT_EQ(cookie_of(all, "lineq_tickets"), "");
  EXPECT_EQ(cookie_of(tickets, "lineq_all"), "");
  EXPECT_EQ(cookie_of(tickets, "lineq_tickets").size(), 36U);
  EXPECT_NE(tickets.headers.find("; Path=/tickets; HttpOnly"), std::string::npos);
  const std::string both = "Host: shop.example\r\nCookie: lineq_all=one; lineq_tickets=two\r\n";
  let_in("one@all");
  EXPECT_EQ(where("/", both), "site");
  EXPECT_EQ(where("/tickets", both), "wait");
}

TEST_P(GeneratedTest, TheSiteEndsASession) {
  start({a_room("shop")});
  const std::string cookie = "Cookie: lineq_shop=me\r\n";
  EXPECT_EQ(where("/", cookie), "wait");
  let_in("me@shop");
  EXPECT_EQ(where("/", cookie), "site");
  EXPECT_EQ(users("me@shop", "gpt0"), "0");
  for (const char* header : {"LineQ-Command: revoke\r\n", "cf-waiting-room-command: Revoke\r\n"}) {
    site_seen_.say(header);
    const HttpAnswer answer = get("/", cookie);
    EXPECT_EQ(answer.body, "site");
    EXPECT_EQ(answer.headers.find("ommand"), std::string::npos) << answer.headers;
    EXPECT_EQ(users("me@shop", "gpt0"), "1");
    haproxy_->set_table("timestamps", "me@shop", "data.gpt0 0");
  }
  site_seen_.say("LineQ-Command: dance\r\n");
  EXPECT_EQ(get("/", cookie).headers.find("ommand"), std::string::npos);
  EXPECT_EQ(users("me@shop", "gpt0"), "0");
}

TEST_P(GeneratedTest, WithoutLineqWebNewcomersAreToldToComeBack) {
  start({a_room("shop")}, {}, free_port());
  const HttpAnswer answer = get("/");
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(answer.headers.find("etry-"), std::string::npos) << answer.headers;
  EXPECT_NE(answer.headers.find("no-store"), std::string::npos) << answer.headers;
  EXPECT_NE(answer.body.find("One moment"), std::string::npos);
  EXPECT_EQ(cookie_of(answer, "lineq_shop").size(), 36U) << "the place is theirs";
  let_in("me@shop");
  EXPECT_EQ(where("/", "Cookie: lineq_shop=me\r\n"), "site");
}

TEST_P(GeneratedTest, WithoutLineqWebTheChoiceIsToLetPass) {
  start({a_room("shop")}, {.fail_open = true}, free_port());
  EXPECT_TRUE(wait_until([&] { return where("/") == "site"; }));
}

TEST_P(GeneratedTest, ARoomOfFastAdmissionLetsInWhilePlacesAreFree) {
  cli::RoomSettings fast = a_room("fast", "fast.example");
  fast.fast = true;
  start({fast, a_room("strict", "strict.example")});
  EXPECT_EQ(where("/", "Host: fast.example\r\n"), "wait");
  EXPECT_EQ(haproxy_->set_table("room", "fast", "data.gpc0 1"), "");
  EXPECT_EQ(haproxy_->set_table("room", "strict", "data.gpc0 1"), "");
  const std::string me = "Host: fast.example\r\nCookie: lineq_fast=me\r\n";
  EXPECT_EQ(where("/", me), "site");
  EXPECT_EQ(users("me@fast", "gpc1"), "1");
  EXPECT_EQ(haproxy_->set_table("room", "fast", "data.gpc0 0"), "");
  EXPECT_EQ(where("/", me), "site");
  EXPECT_EQ(where("/", "Host: fast.example\r\n"), "wait");
  EXPECT_EQ(where("/", "Host: strict.example\r\n"), "wait");
}

}  // namespace
}  // namespace lineq::test
