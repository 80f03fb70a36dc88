// lineq-web beside a lineqd that comes and goes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"
#include "tests/support/websocket.h"

namespace lineq::test {
namespace {

class WebTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_TRUE(world_.start_web()) << world_.trouble;
  }
  HttpAnswer get(std::string_view target) { return http_get(world_.lineq.web_port(), target); }
  bool wait_status(std::string_view target, int status) {
    return wait_until([&] { return get(target).status == status; });
  }

  World world_;
};

TEST_F(WebTest, AnUpdateShowsInTablesAtOnceAndWithTheOriginalsShape) {
  const auto peer = world_.fake("writer");
  ASSERT_TRUE(peer->connect());
  peer->define(1, plain_table());
  ASSERT_NE(peer->update(1, "first", plain_row(12, 34)), 0U);
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); }));
  EXPECT_TRUE(wait_until([&] { return get("/tables").body.find("first") != std::string::npos; }))
      << get("/tables").body;
  const std::string body = get("/tables").body;
  EXPECT_NE(body.find(R"("mode":"tables")"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("key":"first")"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("value":"12\t34\t")"), std::string::npos) << body;
}

TEST_F(WebTest, ItSurvivesTheDaemonsDeathAndReturn) {
  const auto peer = world_.fake("writer");
  ASSERT_TRUE(peer->connect());
  peer->define(1, plain_table());
  ASSERT_NE(peer->update(1, "before", plain_row(1)), 0U);
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); }));
  ASSERT_TRUE(wait_until([&] { return get("/tables").body.find("before") != std::string::npos; }));
  const pid_t pid = world_.web.pid();

  world_.kill_daemon();
  EXPECT_TRUE(wait_status("/readyz", 503)) << get("/readyz").body;
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_NE(get("/tables").body.find("before"), std::string::npos);

  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(peer->connect());
  ASSERT_NE(peer->update(1, "after", plain_row(2)), 0U);
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); }));
  EXPECT_TRUE(wait_until([&] {
    const std::string body = get("/tables").body;
    return body.find("before") != std::string::npos && body.find("after") != std::string::npos;
  })) << get("/tables").body;
  EXPECT_EQ(world_.web.pid(), pid);
  EXPECT_TRUE(world_.web.running());
}

TEST_F(WebTest, ItMayStartBeforeTheDaemon) {
  Instance other;
  Process web = other.start_web();
  ASSERT_TRUE(other.wait_web(web)) << web.err();
  EXPECT_EQ(http_get(other.web_port(), "/readyz").status, 503);
  Process daemon = other.start_lineqd();
  ASSERT_TRUE(other.wait_listening(daemon)) << daemon.err();
  EXPECT_TRUE(wait_until([&] { return http_get(other.web_port(), "/tables").status == 200; }));
}

TEST_F(WebTest, MetricsAndStatusKnowTheHaproxys) {
  if (!have_haproxys()) {
    GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
  }
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_TRUE(wait_status("/readyz", 200)) << get("/readyz").body << world_.story();
  EXPECT_TRUE(wait_until([&] {
    const std::string body = get("/metrics").body;
    return body.find("hap-a") != std::string::npos && body.find("hap-b") != std::string::npos;
  })) << get("/metrics").body;
  EXPECT_EQ(get("/status").status, 200);
  EXPECT_EQ(get("/version").status, 200);
}

TEST_F(WebTest, ARequestOnHaproxyIsPushedToWhoListens) {
  if (!have_haproxys()) {
    GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
  }
  for (const HaproxyVersion version : {HaproxyVersion::k26, HaproxyVersion::k30}) {
    const std::string name = fmt::format("hap-{}", haproxy_version_name(version));
    ASSERT_NE(world_.add(version, name, plain_config()), nullptr) << world_.trouble;
  }
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  const u16 port = world_.lineq.web_port();
  WebSocketClient old(port, "/ws");
  ASSERT_EQ(old.status(), 101) << old.head();
  EXPECT_NE(old.wait_for(R"({"mode":"tables")"), "");
  for (std::size_t i = 0; i < world_.count(); ++i) {
    const std::string key = fmt::format("asks-{}", i);
    ASSERT_EQ(http_get(world_.at(i).http_port(), "/plain?k=" + key).status, 200);
    const std::string said = old.wait_for(key);
    EXPECT_TRUE(said.starts_with(R"({"mode":"update",)")) << said;
    EXPECT_NE(said.find(fmt::format(R"("key":"{}","value":")", key)), std::string::npos) << said;
  }
  // One entry, watched: from the first request on, and when HAProxy counts again.
  WebSocketClient watcher(port, "/ws?table=plain&format=v2&initial=0");
  ASSERT_TRUE(watcher.say(R"({"watch":{"table":"plain","ids":["YXNrcy0w"]}})"));
  EXPECT_NE(watcher.wait_for(R"("key":"asks-0")"), "");
  ASSERT_EQ(world_.at(1).set_table("lq/plain", "asks-1", "data.gpc0 41"), "");
  ASSERT_EQ(world_.at(1).set_table("lq/plain", "asks-0", "data.gpc0 42"), "");
  const std::string said = watcher.wait_for("update");
  EXPECT_NE(said.find(R"("gpc0":42)"), std::string::npos) << said;
  EXPECT_EQ(said.find("asks-1"), std::string::npos) << said;
}

TEST_F(WebTest, SigtermEndsIt) {
  EXPECT_EQ(world_.web.stop(), 0) << world_.web.err();
}

}  // namespace
}  // namespace lineq::test
