// lineq-web as it is started, over a segment made here.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <random>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "shm/support/clock.h"
#include "tests/shm/segment.h"
#include "tests/support/acc_segment.h"
#include "tests/support/http.h"
#include "tests/support/instance.h"
#include "tests/support/net.h"
#include "tests/support/sanitizer.h"
#include "tests/support/websocket.h"

namespace lineq {
namespace {

using test::http_get;
using test::Process;
using test::wait_until;

class ProgramTest : public testing::Test {
 protected:
  void attach() {
    shm::WriterOptions options;
    options.instance = lineq_.name();
    options.feed_log2 = 16;
    auto writer = shm::Writer::attach(options);
    ASSERT_TRUE(writer.ok()) << writer.error().what;
    writer_ = writer.take();
  }
  Process start(std::vector<std::string> options = {}) {
    Process web = lineq_.start_web("web", std::move(options));
    EXPECT_TRUE(lineq_.wait_web(web)) << web.err();
    return web;
  }
  test::HttpAnswer get(std::string_view target, std::string_view fields = "") {
    return http_get(lineq_.web_port(), target, fields);
  }
  bool shows(std::string_view target, std::string_view text) {
    return wait_until([&] { return get(target).body.find(text) != std::string::npos; });
  }
  // `n` entries with keys of 36 bytes.
  void fill(u32 n) {
    shm::Table& table = *writer_->table_for(users_, writer_->now())->table;
    const shm::ColumnMap columns(users_, table.info());
    const u64 one = 1;
    std::array<std::string, shm::Table::kBatch> keys;
    std::array<shm::Change, shm::Table::kBatch> changes;
    std::array<shm::Applied, shm::Table::kBatch> applied;
    for (u32 i = 0; i < n;) {
      std::size_t batch = 0;
      for (; batch < keys.size() && i < n; ++batch, ++i) {
        keys.at(batch) = fmt::format("{:036}", i);
        changes.at(batch).key = shm::bytes(keys.at(batch));
        changes.at(batch).cells = &one;
      }
      table.apply(columns, std::span(changes).first(batch), kNoPeer, writer_->now(),
                  std::span(applied).first(batch));
      writer_->work_some();
    }
  }

  void fill_everything();

  test::Instance lineq_;
  std::unique_ptr<shm::Writer> writer_;
  const shm::TableDefinition users_ =
      shm::define("users", shm::KeyType::kString, 37, {shm::kGpc1}, 3'600'000);
};

TEST_F(ProgramTest, StartsBeforeTheDaemonAndFindsIt) {
  const Process web = start();
  EXPECT_EQ(get("/healthz").status, 200);
  const test::HttpAnswer ready = get("/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_NE(ready.body.find(lineq_.name()), std::string::npos) << ready.body;
  EXPECT_EQ(get("/tables").status, 503);
  EXPECT_EQ(get("/metrics").status, 200);
  EXPECT_EQ(get("/status").status, 200);
  EXPECT_NE(get("/status.json").body.find("\"attached\":false"), std::string::npos);
  attach();
  fill(1);
  EXPECT_TRUE(shows("/tables", "\"users\""));
  EXPECT_TRUE(shows("/status.json", "\"state\":\"alive\""));
}

TEST_F(ProgramTest, KeepsTheLastStateWhileTheDaemonIsAwayAndFindsItAgain) {
  attach();
  fill(3);
  const Process web = start();
  EXPECT_TRUE(shows("/tables", "000002"));
  writer_.reset();
  EXPECT_TRUE(shows("/status.json", "\"state\":\"down\""));
  const test::HttpAnswer tables = get("/tables");
  EXPECT_EQ(tables.status, 200);
  EXPECT_NE(tables.headers.find("LineQ-Daemon: down"), std::string::npos);
  EXPECT_NE(tables.body.find("000002"), std::string::npos);
  EXPECT_EQ(get("/readyz").status, 503);
  EXPECT_NE(get("/metrics").body.find("\nlineq_daemon_up 0\n"), std::string::npos);
  attach();
  EXPECT_TRUE(shows("/status.json", "\"state\":\"alive\""));
  fill(5);
  EXPECT_TRUE(shows("/tables", "000004"));
}

TEST_F(ProgramTest, TakesUpAnotherSegmentOfItsInstance) {
  attach();
  fill(3);
  const Process web = start();
  EXPECT_TRUE(shows("/tables", "000002"));
  writer_.reset();
  for (const std::string& object : lineq_.objects()) {
    ::unlink(("/dev/shm/" + object).c_str());
  }
  attach();
  shm::set(*writer_->table_for(users_, writer_->now())->table, users_, "new one", {1},
           writer_->now());
  EXPECT_TRUE(shows("/tables", "new one"));
  EXPECT_EQ(get("/tables").body.find("000002"), std::string::npos);
}

TEST_F(ProgramTest, VisitorsAndProxiedRequestsSeeNoAdminPath) {
  attach();
  const Process web = start();
  for (const char* field :
       {"X-Forwarded-For: 1.2.3.4\r\n", "Forwarded: for=1.2.3.4\r\n", "Via: 1.1 a\r\n"}) {
    for (const char* path : {"/tables", "/status", "/metrics", "/healthz", "/status/events"}) {
      EXPECT_EQ(get(path, field).status, 404) << path << field;
    }
  }
  for (const char* path : {"/", "//tables", "/x/../tables", "/%74ables", "/tables/"}) {
    EXPECT_EQ(get(path).status, 404) << path;
  }
}

TEST_F(ProgramTest, TerminationFinishesAnswersAndExitsWithZero) {
  attach();
  fill(200000);
  Process web = start();
  std::string body;
  bool signalled = false;
  const test::HttpAnswer answer =
      test::http_stream(lineq_.web_port(), "/tables", [&](std::string_view piece) {
        body += piece;
        if (!std::exchange(signalled, true)) {
          web.signal(SIGTERM);
        }
      });
  EXPECT_TRUE(answer.complete);
  EXPECT_TRUE(body.ends_with("]}}")) << body.substr(body.size() - 20);
  EXPECT_EQ(web.wait(), 0) << web.err();
  EXPECT_FALSE(test::can_connect(lineq_.web_port()));
}

TEST_F(ProgramTest, AHangupIsSurvived) {
  Process web = start();
  web.signal(SIGHUP);
  EXPECT_TRUE(web.wait_for_err("SIGHUP"));
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(web.stop(), 0);
}

TEST_F(ProgramTest, MistakesAreOneLineAndExitCodeOne) {
  for (const auto& [options, words] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--nonsense"}, "see lineq-web --help"},
           {{"--web-port", "99999"}, "a port, 1 to 65535"},
           {{"-n", "a/b"}, "1 to 64 of"},
           {{"-f", "/nonexistent"}, "/nonexistent"},
           {{"operand"}, "operand"}}) {
    const test::Finished finished =
        test::run(lineq_.command(test::lineq_web_path(), options), test::kPatience);
    EXPECT_EQ(finished.exit_code, 1) << options[0];
    EXPECT_NE(finished.err.find(words), std::string::npos) << finished.err;
    EXPECT_EQ(test::lines_of(finished.err).size(), 1U) << finished.err;
  }
  const test::Finished help =
      test::run(lineq_.command(test::lineq_web_path(), {"--help"}), test::kPatience);
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("--web-port"), std::string::npos);
}

TEST_F(ProgramTest, ABusyPortIsNamedWithWhatChangesIt) {
  const test::Fd other = test::listen_tcp(lineq_.web_port());
  Process web = lineq_.start_web("web");
  EXPECT_EQ(web.wait(), 1);
  EXPECT_NE(web.err().find(fmt::format("127.0.0.1:{}", lineq_.web_port())), std::string::npos);
  EXPECT_NE(web.err().find("SERVICE_WEB_PORT"), std::string::npos) << web.err();
}

TEST_F(ProgramTest, ListensOnAUnixSocket) {
  attach();
  lineq_.set("SERVICE_WEB_HOST", "unix@" + lineq_.file("web.sock"));
  Process web = lineq_.start_web("web");
  ASSERT_TRUE(wait_until([&] { return test::connect_unix(lineq_.file("web.sock")).valid(); }))
      << web.err();
  const test::Fd fd = test::connect_unix(lineq_.file("web.sock"));
  ASSERT_TRUE(test::send_all(fd, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
  EXPECT_NE(test::receive_all(fd).bytes.find("{\"alive\":true}"), std::string::npos);
  EXPECT_EQ(web.stop(), 0);
  EXPECT_NE(::access(lineq_.file("web.sock").c_str(), F_OK), 0) << "the socket is removed";
}

TEST_F(ProgramTest, SeveralProcessesShareThePortAndOneMayDie) {
  attach();
  fill(1);
  Process first = start();
  Process second = lineq_.start_web("web2");
  ASSERT_TRUE(second.wait_for_err("shared with another process")) << second.err();
  std::set<std::string> pids;
  EXPECT_TRUE(wait_until([&] {
    const std::string body = get("/status.json").body;
    const std::size_t at = body.find("\"pid\":");
    pids.insert(body.substr(at, body.find(',', at) - at));
    return pids.size() == 2;
  }));
  first.kill();
  EXPECT_TRUE(shows("/tables", "users"));
}

// Sanitizers keep memory and descriptors of their own: these count them in the plain build only.
class SlowProgramTest : public ProgramTest {};

TEST_F(SlowProgramTest, WithoutADescriptorLeftItClosesTheSurplusAndRecovers) {
  attach();
  Process web = start();
  // Below what it counted on when it started.
  const u64 open = test::open_files(web.pid());
  const rlimit limit{open + 20, open + 20};
  ASSERT_EQ(::prlimit(web.pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  std::vector<test::Fd> clients;
  clients.reserve(100);
  for (int i = 0; i < 100; ++i) {
    clients.push_back(test::connect_tcp(lineq_.web_port()));
  }
  EXPECT_TRUE(web.wait_for_err("no file descriptor is left")) << web.err();
  // Nobody hangs: the surplus is closed at once, and the loop does not spin.
  std::size_t closed = 0;
  for (const test::Fd& fd : clients) {
    closed += test::receive_all(fd, test::Milliseconds(20)).closed ? 1U : 0U;
  }
  EXPECT_GE(closed, 70U);
  const double before = test::cpu_seconds(web.pid());
  const u64 begin = monotonic_ms();
  wait_until([&] { return monotonic_ms() - begin >= 1000; }, test::Milliseconds(1500));
  EXPECT_LT(test::cpu_seconds(web.pid()) - before, 0.3);
  clients.clear();
  EXPECT_TRUE(wait_until([&] { return get("/healthz").status == 200; }));
  EXPECT_LE(test::lines_of(web.err()).size(), 20U) << "one line a second, not one a client";
}

TEST_F(SlowProgramTest, AnIdleWebSocketCostsLittle) {
  attach();
  fill(10);
  const Process web = start();
  constexpr u64 kClients = 2000;
  std::vector<std::unique_ptr<test::WebSocketClient>> clients;
  const auto more = [&](u64 n) {
    for (u64 i = 0; i < n; ++i) {
      clients.push_back(
          std::make_unique<test::WebSocketClient>(lineq_.web_port(), "/ws?table=users&initial=0"));
      ASSERT_EQ(clients.back()->status(), 101);
      // Each has been heard once: wslay's buffers come and go.
      ASSERT_TRUE(clients.back()->send(test::websocket_frame(0x89, "")));
      ASSERT_EQ(clients.back()->next().opcode, 10);
    }
  };
  more(100);
  const u64 before = test::anonymous_kib(web.pid());
  more(kClients);
  const u64 each = (test::anonymous_kib(web.pid()) - before) * 1024 / kClients;
  fmt::print("an idle WebSocket: {} bytes\n", each);
  EXPECT_LT(each, 4096U);
  EXPECT_NE(get("/metrics").body.find("\nlineq_web_websockets 2100\n"), std::string::npos);
  // One change, told to all.
  shm::set(*writer_->table_for(users_, writer_->now())->table, users_, "for all", {7},
           writer_->now());
  const u64 begin = monotonic_ms();
  for (const auto& client : clients) {
    EXPECT_NE(client->wait_for(R"("key":"for all","value":"7\t")"), "");
  }
  fmt::print("a change told to {}: {} ms\n", clients.size(), monotonic_ms() - begin);
}

TEST_F(SlowProgramTest, TablesAreToldInFragmentsWithFlatMemory) {
  attach();
  fill(400'000);
  const Process web = start();
  ASSERT_TRUE(shows("/tables?limit=1", "users"));
  // These never take anything.
  std::vector<test::Fd> stuck;
  for (int i = 0; i < 50; ++i) {
    stuck.push_back(test::connect_tcp(lineq_.web_port()));
    ASSERT_TRUE(test::send_all(stuck.back(), test::websocket_request("/ws")));
  }
  const u64 before = test::anonymous_kib(web.pid());
  test::WebSocketClient client(lineq_.web_port(), "/ws");
  const test::WebSocketClient::Message tables = client.next(std::chrono::minutes(1));
  EXPECT_EQ(tables.payload, get("/tables").body);
  EXPECT_GT(tables.payload.size(), 30'000'000U);
  EXPECT_GT(tables.fragments, 100U);
  EXPECT_LT(test::anonymous_kib(web.pid()), before + 16'384);
  // Who lags is not waited for.
  shm::set(*writer_->table_for(users_, writer_->now())->table, users_, "news", {7}, writer_->now());
  EXPECT_NE(client.wait_for(R"("key":"news")"), "");
  fmt::print("{} bytes in {} fragments; {} KiB before, {} after\n", tables.payload.size(),
             tables.fragments, before, test::anonymous_kib(web.pid()));
}

TEST_F(ProgramTest, ReadersOfALargeTableWhoDoNotReadCostNoMemoryAndHoldUpNobody) {
  attach();
  fill(200000);
  const Process web = start();
  EXPECT_TRUE(shows("/tables?limit=1", "users"));
  const u64 before = test::anonymous_kib(web.pid());
  constexpr std::size_t kReaders = 30;
  std::vector<test::Fd> readers;
  readers.reserve(kReaders);
  for (std::size_t i = 0; i < kReaders; ++i) {
    readers.push_back(test::connect_tcp(lineq_.web_port()));
    ASSERT_TRUE(test::send_all(readers.back(), "GET /tables HTTP/1.1\r\nHost: a\r\n\r\n"));
    // Its answer has begun, and nothing more of it is ever taken.
    EXPECT_FALSE(test::receive_some(readers.back()).empty());
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(get("/healthz").status, 200);
  }
  // One block of 64 KiB each is under way, and no more: the table's answer has some 20 MB.
  // (A sanitizer keeps what was freed for a while.)
  if (!test::kSanitized) {
    EXPECT_LT(test::anonymous_kib(web.pid()), before + kReaders * 256);
  }
  readers.clear();
  EXPECT_TRUE(shows("/metrics", "\nlineq_web_connections 1\n"));
}

// Objects of the segment, the feed apart: damage there changes nothing.
std::vector<std::string> paths(const test::Instance& lineq) {
  std::vector<std::string> found;
  for (const std::string& object : lineq.objects()) {
    found.push_back("/dev/shm/" + object);
  }
  return found;
}

TEST_F(ProgramTest, ADamagedSegmentNeverEndsIt) {
  attach();
  fill(3000);
  const auto wide = shm::define("wide", shm::KeyType::kString, 30,
                                {shm::kServerKey, shm::kHttpReqRate, shm::kGpc}, 60000, 4);
  shm::set(*writer_->table_for(wide, writer_->now())->table, wide, "k",
           {writer_->intern("s1"), 0, 1, 2, 1, 2, 3, 4}, writer_->now());
  shm::PeerIdentity identity;
  identity.remote_name = "hap1";
  identity.local_name = "lineq";
  identity.address = "10.0.0.1";
  (void)writer_->peer_up(identity, writer_->now());
  writer_.reset();
  Process web = start();
  EXPECT_TRUE(shows("/tables", "\"wide\""));
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::vector<std::string> objects = paths(lineq_);
  for (int round = 0; round < 60 && web.running(); ++round) {
    for (const std::string& path : objects) {
      const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      struct stat info {};
      ASSERT_EQ(::fstat(fd, &info), 0);
      for (int i = 0; i < 30; ++i) {
        std::array<u8, 8> noise{};
        for (u8& byte : noise) {
          byte = random() % 3 == 0 ? 0xff : static_cast<u8>(random());
        }
        // Small structures lie at the front.
        const u64 span = static_cast<u64>(info.st_size) >> (random() % 12);
        const auto at = static_cast<off_t>(random() % (span / 8 + 1) * 8);
        if (at + 8 <= info.st_size) {
          ASSERT_EQ(::pwrite(fd, noise.data(), noise.size(), at), 8);
        }
      }
      ::close(fd);
    }
    for (const char* target : {"/tables?limit=500", "/tables?format=v2&limit=500", "/tables?key=k",
                               "/metrics", "/status.json", "/readyz"}) {
      const test::HttpAnswer answer = get(target);
      EXPECT_NE(answer.status, 0) << target << " in round " << round;
    }
  }
  EXPECT_TRUE(web.running()) << web.err();
  EXPECT_EQ(web.stop(), 0) << web.err();
}

TEST_F(SlowProgramTest, AMillionEntriesCostNoMemoryAndHoldUpNobody) {
  attach();
  fill(1000000);
  const Process web = start();
  EXPECT_TRUE(shows("/tables?limit=1", "users"));
  const u64 before = test::anonymous_kib(web.pid());
  u64 most = before;
  u64 bytes = 0;
  u64 pieces = 0;
  u64 slowest_ms = 0;
  const u64 begin = monotonic_ms();
  const test::HttpAnswer answer =
      test::http_stream(lineq_.web_port(), "/tables", [&](std::string_view piece) {
        bytes += piece.size();
        if (++pieces % 500 == 0) {
          most = std::max(most, test::anonymous_kib(web.pid()));
          const u64 asked = monotonic_ms();
          EXPECT_EQ(get("/healthz").status, 200);
          slowest_ms = std::max(slowest_ms, monotonic_ms() - asked);
        }
      });
  const u64 took = monotonic_ms() - begin;
  EXPECT_TRUE(answer.complete);
  EXPECT_GT(bytes, 100'000'000U);
  EXPECT_LT(most - before, 2048U) << "KiB more than before";
  EXPECT_LT(slowest_ms, 1000U);
  RecordProperty("mbytes", static_cast<int>(bytes / 1000000));
  RecordProperty("ms", static_cast<int>(took));
  fmt::print(
      "{} MB in {} ms, {:.2f} CPU seconds, memory {} -> {} KiB, slowest other answer {} ms\n",
      bytes / 1000000, took, test::cpu_seconds(web.pid()), before, most, slowest_ms);
}

// What there is in all three modes, with names and keys as a stranger might make them.
void ProgramTest::fill_everything() {
  attach();
  fill(10);
  for (const char* name : {"hostile", "t\"\\\n\xc3\xff{}"}) {
    const auto table = shm::define(name, shm::KeyType::kString, 40,
                                   {shm::kServerId, shm::kGpc0, shm::kHttpReqRate});
    shm::set(*writer_->table_for(table, writer_->now())->table, table, "k\"\\\n\xff}",
             {7, 1, 0, 0, 0}, writer_->now());
  }
  shm::PeerIdentity identity;
  identity.local_name = "lineq";
  identity.address = "10.0.0.1";
  for (u64 pid = 1; pid <= 3; ++pid) {
    identity.remote_name = pid < 3 ? "local" : "a\"b\\c\nd\xff} 1";
    identity.remote_pid = pid;
    const auto peer = writer_->peer_up(identity, writer_->now());
    writer_->set_peer_counter(*peer, shm::PeerCounter::last_received_ms, writer_->now() + 1);
    writer_->set_peer_table_counter(test::announce(*writer_, *peer, users_),
                                    shm::PeerTableCounter::last_update_ms, writer_->now() + 1);
    test::put_part(*writer_, users_, *peer, "a", {pid});
  }
  test::put_total(*writer_, users_, "a", {6});
  for (const char* name : {"shop", "r\"\\\n\xff} 2"}) {
    shm::RoomSettings room;
    room.name = name;
    writer_->add_room_wait(*writer_->add_room(room, writer_->now()), 1000);
  }
  test::write_file(lineq_.file("lineq.cfg"),
                   R"({"metrics_tables": [{"table": "hostile"}, {"table": "users", "limit": 5}]})");
}

TEST_F(ProgramTest, PromtoolFindsNothingToSay) {
  fill_everything();
  const Process web = start();
  EXPECT_TRUE(shows("/metrics", "lineq_peer_up"));
  EXPECT_TRUE(shows("/metrics", "lineq_room_wait_seconds_count{room=\"shop\"} 1"));
  const test::Finished got = test::run(
      {{LINEQ_SOURCE_DIR "/tests/webui/get-promtool", LINEQ_SOURCE_DIR "/build/cache/promtool"},
       {},
       lineq_.file("get")});
  if (got.exit_code != 0) {
    GTEST_SKIP() << "promtool cannot be fetched: " << got.err;
  }
  test::write_file(lineq_.file("metrics"), get("/metrics").body);
  const test::Finished checked =
      test::run({{"/bin/sh", "-c",
                  fmt::format("'{}' check metrics < '{}'", test::lines_of(got.out).at(0),
                              lineq_.file("metrics"))},
                 {},
                 lineq_.file("check")});
  EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
  EXPECT_EQ(checked.err, "");
  const test::Finished rules =
      test::run({{test::lines_of(got.out).at(0), "check", "rules",
                  LINEQ_SOURCE_DIR "/packaging/prometheus/lineq.rules.yml"},
                 {},
                 lineq_.file("rules")});
  EXPECT_EQ(rules.exit_code, 0) << rules.out << rules.err;
}

TEST_F(ProgramTest, EverySeriesIsThereOnceAlsoWhenTheDaemonIsDead) {
  fill_everything();
  const Process web = start();
  EXPECT_TRUE(shows("/metrics", "lineq_table_key_value{name=\"users\""));
  writer_.reset();
  EXPECT_TRUE(shows("/metrics", "lineq_daemon_up 0"));
  std::set<std::string> series;
  for (const std::string& line : test::lines_of(get("/metrics").body)) {
    if (!line.starts_with("#")) {
      EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line << " twice";
    }
  }
  EXPECT_GT(series.size(), 200U);
}

// Names in PromQL that look like metrics of ours or of HAProxy's.
std::set<std::string> metrics_in(std::string_view text) {
  std::set<std::string> found;
  for (const std::string_view prefix : {"lineq_", "haproxy_"}) {
    for (std::size_t at = 0; (at = text.find(prefix, at)) != std::string_view::npos;) {
      const std::size_t end = std::min(
          text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", at), text.size());
      found.emplace(text.substr(at, end - at));
      at = end;
    }
  }
  return found;
}

TEST_F(ProgramTest, TheDashboardAndTheAlertsUseOnlyMetricsThatExist) {
  fill_everything();
  const Process web = start();
  EXPECT_TRUE(shows("/metrics", "lineq_table_key_value{"));
  std::set<std::string> known;
  for (const std::string& line : test::lines_of(get("/metrics").body)) {
    if (!line.starts_with("#")) {
      known.insert(line.substr(0, line.find_first_of("{ ")));
    }
  }
  const auto exist = [&](std::string_view expression) {
    const std::set<std::string> used = metrics_in(expression);
    EXPECT_FALSE(used.empty()) << expression;
    for (const std::string& name : used) {
      EXPECT_TRUE(known.contains(name)) << name << " in " << expression;
    }
  };
  rapidjson::Document dashboard;
  const std::string text = test::read_file(LINEQ_SOURCE_DIR "/packaging/grafana/lineq.json");
  ASSERT_FALSE(dashboard.Parse(text.c_str()).HasParseError());
  std::set<int> ids;
  std::size_t expressions = 0;
  for (const auto& panel : dashboard["panels"].GetArray()) {
    const std::string title = panel["title"].GetString();
    EXPECT_TRUE(ids.insert(panel["id"].GetInt()).second) << title;
    if (std::string_view(panel["type"].GetString()) == "row") {
      continue;
    }
    EXPECT_GT(panel["description"].GetStringLength(), 10U) << title;
    EXPECT_GT(panel["fieldConfig"]["defaults"]["unit"].GetStringLength(), 0U) << title;
    EXPECT_STREQ(panel["datasource"]["uid"].GetString(), "${datasource}") << title;
    for (const auto& target : panel["targets"].GetArray()) {
      const std::string_view expression = target["expr"].GetString();
      exist(expression);
      EXPECT_NE(expression.find("instance=~\"$instance\""), std::string_view::npos) << expression;
      ++expressions;
    }
  }
  EXPECT_GT(expressions, 40U);
  std::size_t alerts = 0;
  for (const std::string& line :
       test::lines_of(test::read_file(LINEQ_SOURCE_DIR "/packaging/prometheus/lineq.rules.yml"))) {
    if (const std::size_t at = line.find("expr: "); at != std::string::npos) {
      exist(line.substr(at));
      ++alerts;
    }
  }
  EXPECT_GT(alerts, 5U);
}

TEST_F(ProgramTest, AMistakeInMetricsTablesEndsTheStart) {
  test::write_file(lineq_.file("lineq.cfg"),
                   R"({"metrics_tables": [{"table": "t", "data": ["gpc0", "gpx"]}]})");
  Process web = lineq_.start_web("web");
  EXPECT_EQ(web.wait(), 1);
  EXPECT_NE(web.err().find("metrics_tables[0].data"), std::string::npos) << web.err();
}

}  // namespace
}  // namespace lineq
