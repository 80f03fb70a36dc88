// lineqd, lineq-web and lineqctl together: rooms made by whoever makes them, kept over restarts,
// with visitors waiting meanwhile.
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/fake_peer.h"
#include "tests/support/instance.h"

namespace lineq {
namespace {

using test::FakePeer;
using test::Process;
using test::wait_until;

constexpr std::string_view kToken = "s3cret";

class RoomProgramsTest : public testing::Test {
 protected:
  void SetUp() override {
    lineq_.set("SERVICE_MODE", "vwr");
    test::write_file(lineq_.file("admin.token"), kToken);
  }
  void configure(std::string_view text) { test::write_file(lineq_.file("lineq.cfg"), text); }
  Process start() {
    Process daemon = lineq_.start_lineqd();
    EXPECT_TRUE(lineq_.wait_listening(daemon)) << daemon.err();
    EXPECT_TRUE(wait_until([&] { return ctl({"info"}).exit_code == 0; })) << daemon.err();
    return daemon;
  }
  Process start_web() {
    Process web = lineq_.start_web();
    EXPECT_TRUE(lineq_.wait_web(web)) << web.err();
    return web;
  }

  test::Finished ctl(std::vector<std::string> words) {
    return test::run(lineq_.command(test::lineqctl_path(), std::move(words)));
  }
  std::string room(const std::string& name) { return ctl({"-o", "json", "room", name}).out; }
  bool room_says(const std::string& name, std::string_view text) {
    return room(name).find(text) != std::string::npos;
  }
  // Status line and all.
  std::string http(std::string_view line, std::string_view body = "",
                   std::string_view fields = "") {
    const test::Fd fd = test::connect_tcp(lineq_.web_port());
    test::send_all(fd, fmt::format("{} HTTP/1.1\r\nHost: lineq\r\nConnection: close\r\n"
                                   "Content-Length: {}\r\n{}\r\n{}",
                                   line, body.size(), fields, body));
    return test::receive_all(fd).bytes;
  }
  std::string admin(std::string_view line, std::string_view body = "") {
    return http(line, body, fmt::format("Authorization: Bearer {}\r\n", kToken));
  }

  test::Instance lineq_;
};

constexpr std::string_view kCreate =
    R"({"name":"example_com_","path":"/","activeUsers":1,"host":"example.com"})";
constexpr std::string_view kCreated = "{\"status\":\"success\",\"message\":\"Tables Updated\"}\n";

TEST_F(RoomProgramsTest, AHangupNamesWhatNeedsARestartAndAWrongFileChangesNothing) {
  configure("{}");
  Process daemon = lineq_.start_lineqd("lineqd", {"-f", lineq_.file("lineq.cfg")});
  ASSERT_TRUE(lineq_.wait_listening(daemon)) << daemon.err();
  configure(R"({"feed_log2": 18, "full_table": "refuse", "peer_name": "fresh",
                "aggregate": [{"from": "a", "to": "b"}]})");
  daemon.signal(SIGHUP);
  EXPECT_TRUE(daemon.wait_for_err("needed for: feed_log2, full_table, aggregate\n"))
      << daemon.err();
  configure(R"({"peer_name": "other", "feed_log2": 99})");
  daemon.signal(SIGHUP);
  EXPECT_TRUE(daemon.wait_for_err("configuration kept as it was: ")) << daemon.err();
  EXPECT_TRUE(daemon.wait_for_err("feed_log2: '99' is not allowed; allowed: 16 to 26"));
  EXPECT_EQ(daemon.stop(), 0);
}

TEST_F(RoomProgramsTest, TheOperatorsCallsLeaveWhoWaitsAlone) {
  Process daemon = start();
  const Process web = start_web();
  const std::string first = http("POST /create", kCreate);
  EXPECT_TRUE(first.starts_with("HTTP/1.1 200 ")) << first;
  EXPECT_TRUE(first.ends_with(kCreated)) << first;

  FakePeer haproxy({.port = lineq_.tcp_port()});
  ASSERT_TRUE(haproxy.connect()) << haproxy.why_ended();
  haproxy.define(1, test::string_table("timestamps", 73, u64{1} << shm::kGpc1));
  const std::array<u64, 1> outside{0};
  for (int i = 0; i < 5; ++i) {
    haproxy.update(1, fmt::format("visitor-{}@example_com_", i), outside);
  }
  const auto shows = [&](std::string_view text) {
    return haproxy.pump_until([&] { return room_says("example_com_", text); });
  };
  ASSERT_TRUE(shows(R"("ready":1,"waiting":4,)")) << room("example_com_");

  // Again, and by four workers at once.
  EXPECT_TRUE(http("POST /create", kCreate).ends_with(kCreated));
  std::vector<std::thread> workers;
  workers.reserve(4);
  std::atomic<int> fine = 0;
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        fine += http("POST /create", kCreate).ends_with(kCreated) ? 1 : 0;
      }
    });
  }
  for (std::thread& worker : workers) {
    worker.join();
  }
  EXPECT_EQ(fine, 20);
  EXPECT_TRUE(room_says("example_com_", R"("ready":1,"waiting":4,)")) << room("example_com_");
  EXPECT_TRUE(room_says("example_com_", R"("issued":5,)")) << room("example_com_");

  // A restart needs no new call.
  daemon.signal(SIGKILL);
  daemon.wait();
  daemon = start();
  ASSERT_TRUE(haproxy.connect()) << haproxy.why_ended();
  ASSERT_TRUE(shows(R"("waiting":4,)")) << room("example_com_");

  std::string more(kCreate);
  more.replace(more.find("\"activeUsers\":1"), 15, "\"activeUsers\":2");
  EXPECT_TRUE(wait_until([&] { return http("POST /create", more).ends_with(kCreated); }));
  EXPECT_TRUE(shows(R"("waiting":3,)")) << room("example_com_");
}

TEST_F(RoomProgramsTest, RoomsOutliveADaemonAndItsSegment) {
  Process daemon = start();
  EXPECT_EQ(ctl({"create", "shop", "C=7", "description=the shop"}).exit_code, 0);
  daemon.signal(SIGTERM);
  daemon.wait();
  for (const std::string& object : lineq_.objects()) {
    std::filesystem::remove("/dev/shm/" + object);
  }
  lineq_.set("LINEQ_SNAPSHOT_SECONDS", "0");  // not by that way
  daemon = start();
  EXPECT_TRUE(room_says("shop", R"("description":"the shop")")) << room("shop");
  EXPECT_TRUE(room_says("shop", R"("total_active_users":7)")) << room("shop");
  EXPECT_EQ(ctl({"room", "default"}).exit_code, 2);
}

TEST_F(RoomProgramsTest, TheRoomApiChangesRoomsAndTheLogTellsWho) {
  const Process daemon = start();
  const Process web = start_web();
  EXPECT_TRUE(admin("POST /waiting_rooms", R"({"name":"shop","total_active_users":5})")
                  .starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(http("POST /waiting_rooms", R"({"name":"b"})").starts_with("HTTP/1.1 401 "));
  EXPECT_TRUE(
      admin("PATCH /waiting_rooms/shop", R"({"message":"hello"})").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(admin("POST /waiting_rooms/shop/actions", R"({"action":"pause"})")
                  .starts_with("HTTP/1.1 200 "));
  EXPECT_NE(http("GET /waiting_rooms").find(R"("message":"hello")"), std::string::npos);
  EXPECT_NE(http("GET /waiting_rooms/shop/status").find(R"("status":"not_queueing")"),
            std::string::npos);
  EXPECT_TRUE(room_says("shop", R"("paused":true)"));
  const std::string events = test::read_file(lineq_.file("state/events.jsonl"));
  EXPECT_NE(events.find(R"("by":"the room API","room":"shop","action":"change",)"
                        R"("before":{"message":""},"after":{"message":"hello"}})"),
            std::string::npos)
      << events;
  EXPECT_TRUE(admin("DELETE /waiting_rooms/shop").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(http("GET /waiting_rooms/shop").starts_with("HTTP/1.1 404 "));
}

TEST_F(RoomProgramsTest, ReadingTheConfigurationAgainTakesRoomsOver) {
  configure(R"({"routes": [{"name": "shop", "total_active_users": 5}]})");
  Process daemon = start();
  EXPECT_EQ(ctl({"pause", "shop"}).exit_code, 0);
  configure(R"({"routes": [{"name": "shop", "total_active_users": 6}, {"name": "more"}]})");
  daemon.signal(SIGHUP);
  EXPECT_TRUE(wait_until([&] { return room_says("shop", R"("total_active_users":6)"); }));
  EXPECT_TRUE(room_says("shop", R"("paused":true)"));
  EXPECT_TRUE(room_says("more", R"("configured":true)"));
  // What is wrong changes nothing.
  configure(R"({"routes": [{"name": "shop", "total_active_users": 0}]})");
  daemon.signal(SIGHUP);
  EXPECT_TRUE(wait_until([&] {
    return daemon.err().find("routes[0].total_active_users: '0' is not allowed") !=
           std::string::npos;
  }));
  EXPECT_TRUE(room_says("shop", R"("total_active_users":6)"));
}

TEST_F(RoomProgramsTest, ADirectoryThatCannotBeUsedIsSaid) {
  lineq_.set("LINEQ_STATE_DIR", lineq_.file("missing/state"));
  Process daemon = start();
  EXPECT_NE(daemon.err().find("cannot make the directory " + lineq_.file("missing/state") +
                              ": No such file or directory; rooms made while running"),
            std::string::npos)
      << daemon.err();
  EXPECT_EQ(ctl({"create", "shop"}).exit_code, 0);
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait(), 0);
  // Asked for and not possible: nothing starts.
  lineq_.set("LINEQ_CONTROL", lineq_.file("missing/control.sock"));
  Process none = lineq_.start_lineqd("none");
  EXPECT_EQ(none.wait(), 1);
  EXPECT_NE(none.err().find("control socket " + lineq_.file("missing/control.sock") +
                            ": No such file or directory"),
            std::string::npos)
      << none.err();
}

TEST_F(RoomProgramsTest, TheLogLevelIsTheConfiguredOneAgainAfterAReload) {
  lineq_.set("LINEQ_LOG_LEVEL", "warning");
  Process daemon = start();
  EXPECT_EQ(ctl({"log-level"}).out, "warning\n");
  EXPECT_EQ(ctl({"log-level", "debug"}).out, "debug\n");
  EXPECT_EQ(ctl({"log-level"}).out, "debug\n");
  daemon.signal(SIGHUP);
  EXPECT_TRUE(wait_until([&] { return ctl({"log-level"}).out == "warning\n"; })) << daemon.err();
}

TEST_F(RoomProgramsTest, AShutdownIsAnsweredAndEndsAsByTheSignal) {
  Process daemon = start();
  const test::Finished end = ctl({"shutdown"});
  EXPECT_EQ(end.exit_code, 0) << end.err;
  EXPECT_EQ(end.out, "lineqd ends\n");
  EXPECT_EQ(daemon.wait(), 0);
  EXPECT_NE(daemon.err().find("shutdown, by "), std::string::npos) << daemon.err();
  EXPECT_NE(daemon.err().find("stopped"), std::string::npos) << daemon.err();
  EXPECT_EQ(ctl({"shutdown"}).exit_code, 2);
}

}  // namespace
}  // namespace lineq
