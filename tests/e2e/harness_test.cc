// The harness itself, so that a failure elsewhere is not the harness's.
#include <csignal>

#include <gtest/gtest.h>

#include "tests/support/fake_peer.h"
#include "tests/support/haproxy.h"
#include "tests/support/http.h"
#include "tests/support/instance.h"
#include "tests/support/process.h"

namespace lineq::test {
namespace {

constexpr const char* kConfig = R"(
global
    localpeer {name}
    stats socket {stats} level admin
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
peers lq
    bind 127.0.0.1:{peers}
    server {name}
    server fake 127.0.0.1:{fake}
    table t type string len 64 size 1k expire 60m store gpc0,gpc1
frontend f
    bind 127.0.0.1:{http}
    http-request track-sc0 path table lq/t
    http-request sc-inc-gpc0(0)
    default_backend b
backend b
    server s 127.0.0.1:{backend}
)";

TEST(ProcessTest, OutputExitCodesAndSignalsAreSeen) {
  const Finished finished = run({.words = {"/bin/sh", "-c", "echo out; echo $WORD >&2; exit 3"},
                                 .environment = {{"WORD", "err"}},
                                 .output = ""});
  EXPECT_EQ(finished.exit_code, 3);
  EXPECT_EQ(finished.out, "out\n");
  EXPECT_EQ(finished.err, "err\n");

  Process process({.words = {"/bin/sleep", "60"}, .environment = {}, .output = ""});
  EXPECT_TRUE(process.running());
  EXPECT_GT(resident_kib(process.pid()), 0U);
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM);
  EXPECT_FALSE(process.running());
  EXPECT_EQ(run({.words = {"/nonexistent"}, .environment = {}, .output = ""}).exit_code, 127);
}

TEST(ProcessTest, AProcessDoesNotOutliveItsObject) {
  pid_t pid = 0;
  {
    const Process process({.words = {"/bin/sleep", "60"}, .environment = {}, .output = ""});
    pid = process.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(HaproxyTextTest, ShowTableIsParsedWithEscapedBlanks) {
  const TableDump dump = parse_show_table(
      "# table: lq/t, type: string, size:1024, used:2\n"
      "0x564780c56788: key=/a\\=b\\ c use=0 exp=59995 gpc0=0 http_req_rate(10000)=7\n"
      "0x7fbb70046688: key=b use=0 exp=59969 shard=0 gpc0=1\n\n");
  EXPECT_EQ(dump.type, "string");
  EXPECT_EQ(dump.size, 1024U);
  EXPECT_EQ(dump.used, 2U);
  EXPECT_EQ(dump.value("/a\\=b\\ c", "http_req_rate(10000)"), "7");
  EXPECT_EQ(comparable(dump).at("b"), (TableRow{{"gpc0", "1"}}));
}

class HarnessHaproxyTest : public testing::TestWithParam<HaproxyVersion> {};

TEST_P(HarnessHaproxyTest, AFakePeerAndARealHaproxyTeachEachOther) {
  if (haproxy_path(GetParam()).empty()) {
    GTEST_SKIP() << "no HAProxy " << haproxy_version_name(GetParam()) << " here";
  }
  const TempDir dir;
  const HttpBackend backend;
  Haproxy haproxy(dir, {.version = GetParam(),
                        .name = "hap1",
                        .config = kConfig,
                        .values = {{"backend", std::to_string(backend.port())},
                                   {"fake", std::to_string(free_port())}},
                        .master_worker = false});
  ASSERT_TRUE(haproxy.start()) << haproxy.log();
  EXPECT_EQ(http_get(haproxy.http_port(), "/x").body, "hello\n");
  EXPECT_EQ(haproxy.set_table("lq/t", "y", "data.gpc0 4"), "");
  EXPECT_EQ(haproxy.show_table("lq/t").value("/x", "gpc0"), "1");
  EXPECT_EQ(haproxy.show_table("lq/t").value("y", "gpc0"), "4");

  FakePeer peer(
      {.port = haproxy.peers_port(), .name = "fake", .target = "hap1", .request_lesson = true});
  ASSERT_TRUE(peer.connect()) << peer.why_ended();
  EXPECT_TRUE(haproxy.wait_peer(kPatience, "fake"));
  ASSERT_TRUE(peer.pump_until([&] { return peer.lessons_finished() > 0; }));
  ASSERT_NE(peer.row("/t", "/x"), nullptr);
  EXPECT_EQ(peer.row("/t", "/x")->cells, (std::vector<u64>{1, 0}));
  EXPECT_EQ(peer.row("/t", "y")->cells, (std::vector<u64>{4, 0}));

  peer.define(1, string_table("/t", 64, 1U << shm::kGpc0 | 1U << shm::kGpc1));
  const std::vector<u64> cells{5, 6};
  EXPECT_NE(peer.update(1, "z", cells), 0U);
  EXPECT_TRUE(peer.pump_until([&] { return peer.all_acked(); })) << peer.why_ended();
  EXPECT_EQ(haproxy.show_table("lq/t").value("z", "gpc1"), "6");
  const std::string session = haproxy.peer("fake").session();
  EXPECT_NE(session, "none");
  ASSERT_TRUE(peer.connect());
  EXPECT_TRUE(wait_until([&] {
    const std::string now = haproxy.peer("fake").session();
    return now != "none" && now != session;
  }));
}

INSTANTIATE_TEST_SUITE_P(Versions, HarnessHaproxyTest,
                         testing::Values(HaproxyVersion::k26, HaproxyVersion::k30),
                         [](const auto& version) {
                           return version.param == HaproxyVersion::k26 ? "Haproxy26" : "Haproxy30";
                         });

}  // namespace
}  // namespace lineq::test
