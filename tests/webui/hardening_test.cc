// What strangers send, as raw bytes to a lineq-web as it is started. Every row is answered as nginx
// answers it, or stricter; behind a refusal nothing is ever taken for a request.
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "shm/support/clock.h"
#include "tests/shm/segment.h"
#include "tests/support/http.h"
#include "tests/support/instance.h"
#include "tests/support/net.h"

namespace lineq {
namespace {

using namespace std::string_literals;
using test::Fd;
using test::Milliseconds;
using test::Process;

constexpr std::string_view kNext = "GET /healthz HTTP/1.1\r\nHost: next\r\n\r\n";

// The number of answers, and the status of the first.
struct Answers {
  std::size_t count = 0;
  int status = 0;
  bool closed = false;
};

Answers answers_in(const test::Received& received) {
  Answers answers;
  answers.closed = received.closed;
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  for (std::size_t at = 0; (at = received.bytes.find(kVersion, at)) != std::string::npos;
       at += kVersion.size()) {
    // The words of a refusal may speak of HTTP/1.1 too.
    if (received.bytes.find_first_of("12345", at + kVersion.size()) != at + kVersion.size()) {
      continue;
    }
    if (answers.count++ == 0) {
      answers.status = std::atoi(received.bytes.c_str() + at + kVersion.size());
    }
  }
  return answers;
}

struct Row {
  const char* name;
  std::string bytes;
  int nginx;   // what nginx 1.22 answers
  int status;  // what lineq-web answers
};

// gtest prints parameters it does not know as bytes.
void PrintTo(const Row& row, std::ostream* out) {  // NOLINT(readability-identifier-naming)
  *out << row.name;
}

std::string post(std::string_view fields, std::string_view body = "") {
  return fmt::format("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n{}", fields, body);
}
std::string get(std::string_view fields, std::string_view target = "/healthz") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: a\r\n{}\r\n", target, fields);
}
std::string many_fields(int n) {
  std::string fields;
  for (int i = 0; i < n; ++i) {
    fields += fmt::format("X-{}: 1\r\n", i);
  }
  return fields;
}

// Refused, and the connection is closed behind it.
std::vector<Row> refused() {
  return {
      {"ContentLengthAndTransferEncoding",
       post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, 400},
      {"TransferEncodingAndContentLength",
       post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"), 400, 400},
      {"TwoDifferentContentLengths", post("Content-Length: 4\r\nContent-Length: 5\r\n", "abcd"),
       400, 400},
      {"ContentLengthWithAPlus", post("Content-Length: +4\r\n", "abcd"), 400, 400},
      {"UnknownTransferEncoding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501, 400},
      {"ChunkedThenIdentity", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 501,
       400},
      {"BlankBeforeTheColon", get("X-A : 1\r\n"), 400, 400},
      {"BareLineFeeds", "GET /healthz HTTP/1.1\nHost: a\n\n", 200, 400},
      {"FoldedField", get("X-A: 1\r\n 2\r\n"), 400, 400},
      {"NulInAValue", get("X-A: 1\0002\r\n"s), 400, 400},
      {"BareCarriageReturnInAValue", get("X-A: 1\r2\r\n"), 400, 400},
      {"NoHost", "GET /healthz HTTP/1.1\r\n\r\n", 400, 400},
      {"Http99", "GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n", 505, 505},
      {"AFieldOf20Kilobytes", get("X-A: " + std::string(20480, 'a') + "\r\n"), 400, 431},
      {"TwoHundredFields", get(many_fields(200)), 200, 431},
      // Beyond the table.
      {"ChunkedTwice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400,
       400},
      {"ChunkedInHttp10", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
       400},
      {"ChunkSizeWithAPlus", post("Transfer-Encoding: chunked\r\n", "+4\r\nabcd\r\n"), 400, 400},
      {"TwoHosts", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, 400},
      {"NulInTheTarget", get("", "/heal\0thz"s), 400, 400},
      {"Connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405, 400},
      {"ABodyTooLarge", post("Content-Length: 1000000000\r\n"), 413, 413},
      {"AContentLengthBeyond64Bits", post("Content-Length: 99999999999999999999\r\n"), 400, 400},
      {"ATargetTooLong", get("", "/" + std::string(20000, 'a')), 414, 414},
      {"AnUnknownExpectation", post("Expect: a miracle\r\nContent-Length: 1\r\n"), 417, 417},
  };
}

// Answered, and what follows on the connection is a request of its own.
std::vector<Row> answered() {
  return {
      {"Http10WithoutHost", "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, 200},
      {"ABodyThatIsRead", post("Content-Length: 4\r\n", "abcd"), 404, 404},
      {"AChunkedBody", post("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n"), 404, 404},
      // Never an admin path: a proxy in front may have read the target otherwise.
      {"AbsoluteForm", get("", "http://a/healthz"), 200, 404},
      {"OptionsOfTheServer", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405, 404},
      {"BadPercentEscapes", get("", "/%zz%"), 400, 404},
      {"AnEscapedNul", get("", "/healthz%00"), 400, 404},
      {"AnEscapedPath", get("", "/%68ealthz"), 200, 404},
      {"DotSegments", get("", "/x/../healthz"), 200, 404},
      {"AnotherMethod", "DELETE /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 405, 405},
  };
}

std::string name_of(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}

// With a segment, so that visitors are not told to come back later.
std::unique_ptr<shm::Writer> attach(const test::Instance& lineq) {
  shm::WriterOptions options;
  options.instance = lineq.name();
  options.feed_log2 = 16;
  auto writer = shm::Writer::attach(options);
  EXPECT_TRUE(writer.ok()) << writer.error().what;
  return writer ? writer.take() : nullptr;
}

bool sees_the_segment(const test::Instance& lineq) {
  return test::wait_until(
      [&] { return test::http_get(lineq.web_port(), "/nothing").status == 404; });
}

// One lineq-web for all rows: none of them may hurt it.
class HardeningTest : public testing::TestWithParam<Row> {
 protected:
  static void SetUpTestSuite() {
    instance = new test::Instance;
    segment = attach(*instance);
    program = new Process(instance->start_web("web"));
    ASSERT_TRUE(instance->wait_web(*program)) << program->err();
    ASSERT_TRUE(sees_the_segment(*instance));
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(program->stop(), 0) << program->err();
    delete program;
    segment.reset();
    delete instance;
  }
  static Answers ask(std::string_view bytes, bool byte_by_byte) {
    const Fd fd = test::connect_tcp(instance->web_port());
    // It may close before all is sent: then the answer is there.
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t n = byte_by_byte ? 1 : bytes.size();
      if (!test::send_all(fd, bytes.substr(at, n))) {
        break;
      }
      at += n;
    }
    return answers_in(test::receive_all(fd));
  }

  static test::Instance* instance;
  static Process* program;
  static std::unique_ptr<shm::Writer> segment;
};
test::Instance* HardeningTest::instance = nullptr;
Process* HardeningTest::program = nullptr;
std::unique_ptr<shm::Writer> HardeningTest::segment;

class RefusedTest : public HardeningTest {};
class AnsweredTest : public HardeningTest {};

TEST_P(RefusedTest, IsRefusedOnceAndClosed) {
  const Row& row = GetParam();
  for (const bool byte_by_byte : {false, true}) {
    if (byte_by_byte && row.bytes.size() > 1000) {
      continue;
    }
    const Answers answers = ask(row.bytes + std::string(kNext), byte_by_byte);
    EXPECT_EQ(answers.status, row.status) << "byte by byte: " << byte_by_byte;
    EXPECT_EQ(answers.count, 1U) << "what followed was taken for a request";
    EXPECT_TRUE(answers.closed);
    if (row.nginx >= 400) {
      EXPECT_GE(answers.status, 400) << "laxer than nginx";
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Table, RefusedTest, testing::ValuesIn(refused()), name_of);

TEST_P(AnsweredTest, IsAnsweredAndSoIsTheNext) {
  const Row& row = GetParam();
  const std::string end = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  for (const bool byte_by_byte : {false, true}) {
    const Answers answers = ask(row.bytes + end, byte_by_byte);
    EXPECT_EQ(answers.status, row.status) << "byte by byte: " << byte_by_byte;
    EXPECT_EQ(answers.count, 2U);
    EXPECT_TRUE(answers.closed);
  }
}
INSTANTIATE_TEST_SUITE_P(Table, AnsweredTest, testing::ValuesIn(answered()), name_of);

class HardenedProgramTest : public testing::Test {
 protected:
  Process start(std::vector<std::string> options = {}) {
    Process web = lineq_.start_web("web", std::move(options));
    EXPECT_TRUE(lineq_.wait_web(web)) << web.err();
    return web;
  }
  test::Instance lineq_;
  std::unique_ptr<shm::Writer> writer_ = attach(lineq_);
};

TEST_F(HardenedProgramTest, PipelinedRequestsAreAnsweredInOrderAndCompletely) {
  const Process web = start();
  ASSERT_TRUE(sees_the_segment(lineq_));
  std::string many;
  for (int i = 0; i < 200; ++i) {
    many += i % 2 == 0 ? "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
                       : "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n";
  }
  const Fd fd = test::connect_tcp(lineq_.web_port());
  ASSERT_TRUE(
      test::send_all(fd, many + "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
  const test::Received received = test::receive_all(fd);
  EXPECT_EQ(answers_in(received).count, 201U);
  std::size_t at = 0;
  for (int i = 0; i < 200; ++i) {
    at = received.bytes.find("HTTP/1.1 ", at);
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(received.bytes.substr(at + 9, 3), i % 2 == 0 ? "200" : "404") << i;
    ++at;
  }
}

// Last row of the table: nginx lets both stay for longer than 35 s.
TEST_F(HardenedProgramTest, SilentAndSlowClientsAreClosedTenSecondsAfterTheirFirstByte) {
  const Process web = start();
  const Fd silent = test::connect_tcp(lineq_.web_port());
  const Fd slow = test::connect_tcp(lineq_.web_port());
  const u64 begin = monotonic_ms();
  const std::string head = "GET /healthz HTTP/1.1\r\nHost: " + std::string(1000, 'a');
  std::size_t sent = 0;
  constexpr u64 kEveryMs = 250;
  while (sent < head.size() && monotonic_ms() - begin < 20000 &&
         test::send_all(slow, std::string_view(head).substr(sent++, 1))) {
    if (test::receive_all(slow, Milliseconds(kEveryMs)).closed) {
      break;
    }
  }
  const u64 took = monotonic_ms() - begin;
  EXPECT_GE(took, 9000U);
  EXPECT_LT(took, 15000U);
  EXPECT_TRUE(test::receive_all(silent).closed);
  EXPECT_LT(monotonic_ms() - begin, 15000U);
  EXPECT_EQ(test::http_get(lineq_.web_port(), "/healthz").status, 200);
}

TEST_F(HardenedProgramTest, WithoutDescriptorsThoseWhoAreInAreServedAndTheOthersLater) {
  // Few for the whole program; the connections it may have are fewer still.
  test::Command command = lineq_.command(
      "/bin/sh", {"-c", fmt::format("ulimit -n 60; exec '{}'", test::lineq_web_path())}, "few");
  Process web(command);
  ASSERT_TRUE(lineq_.wait_web(web)) << web.err();
  const Fd early = test::connect_tcp(lineq_.web_port());
  ASSERT_TRUE(test::send_all(early, kNext));
  EXPECT_NE(test::receive_some(early).find("200 OK"), std::string::npos);
  std::vector<Fd> clients;
  clients.reserve(150);
  for (int i = 0; i < 150; ++i) {
    clients.push_back(test::connect_tcp(lineq_.web_port()));
  }
  ASSERT_TRUE(test::send_all(early, kNext));
  EXPECT_NE(test::receive_some(early).find("200 OK"), std::string::npos);
  const double before = test::cpu_seconds(web.pid());
  EXPECT_FALSE(test::receive_all(early, Milliseconds(1000)).closed);
  EXPECT_LT(test::cpu_seconds(web.pid()) - before, 0.3) << "it spins";
  clients.clear();
  EXPECT_TRUE(test::wait_until(
      [&] { return test::http_get(lineq_.web_port(), "/healthz").status == 200; }));
}

// ---- the admin part on a listener of its own ---------------------------------------------------

class AdminListenerTest : public HardenedProgramTest {
 protected:
  AdminListenerTest() {
    lineq_.set("LINEQ_ADMIN_HOST", "127.0.0.1");
    lineq_.set("LINEQ_ADMIN_PORT", std::to_string(admin_port_));
  }
  const u16 admin_port_ = test::free_port();
};

TEST_F(AdminListenerTest, AnswersAdminPathsThereAndNowhereElse) {
  const Process web = start();
  ASSERT_TRUE(sees_the_segment(lineq_));
  for (const char* path :
       {"/status", "/status.json", "/tables", "/metrics", "/version", "/openapi.json", "/ws"}) {
    EXPECT_NE(test::http_get(admin_port_, path).status, 404) << path;
    EXPECT_EQ(test::http_get(lineq_.web_port(), path).status, 404) << path;
  }
  // Whoever balances load over either part asks there.
  for (const u16 port : {admin_port_, lineq_.web_port()}) {
    EXPECT_EQ(test::http_get(port, "/healthz").status, 200);
    EXPECT_NE(test::http_get(port, "/readyz").status, 404);
  }
  EXPECT_EQ(test::http_get(lineq_.web_port(), "/waiting_rooms").status, 404);
  for (const char* path : {"/", "/shop", "/tables/"}) {
    EXPECT_EQ(test::http_get(admin_port_, path).status, 404) << path;
  }
  EXPECT_NE(web.err().find(fmt::format("admin part listening on 127.0.0.1:{}", admin_port_)),
            std::string::npos)
      << web.err();
}

TEST_F(AdminListenerTest, ThePageHearsItsEventsThere) {
  const Process web = start();
  const Fd fd = test::connect_tcp(admin_port_);
  ASSERT_TRUE(test::send_all(fd, "GET /status/events HTTP/1.1\r\nHost: a\r\n\r\n"));
  std::string heard;
  const auto events = [&] {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = heard.find("event: status", at)) != std::string::npos; ++at) {
      ++n;
    }
    return n;
  };
  while (events() < 3) {
    const std::string more = test::receive_some(fd);
    ASSERT_FALSE(more.empty()) << heard;
    heard += more;
  }
}

TEST_F(AdminListenerTest, AFloodOfVisitorsLeavesItItsConnections) {
  lineq_.set("LINEQ_WEB_MAX_CONNECTIONS", "20");
  const Process web = start();
  std::vector<Fd> flood;
  flood.reserve(60);
  for (int i = 0; i < 60; ++i) {
    flood.push_back(test::connect_tcp(lineq_.web_port()));
  }
  EXPECT_TRUE(test::wait_until(
      [&] { return test::http_get(lineq_.web_port(), "/healthz").status == 503; }));
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(test::http_get(admin_port_, "/healthz").status, 200);
  }
  // The numbers are of both.
  const std::string metrics = test::http_get(admin_port_, "/metrics").body;
  constexpr std::string_view kOpen = "\nlineq_web_connections ";
  const std::size_t at = metrics.find(kOpen);
  ASSERT_NE(at, std::string::npos) << metrics;
  EXPECT_GE(std::atoi(metrics.c_str() + at + kOpen.size()), 10);
}

TEST_F(AdminListenerTest, ABusyPortIsNamedWithWhatChangesIt) {
  const Fd other = test::listen_tcp(admin_port_);
  Process web = lineq_.start_web("web");
  EXPECT_EQ(web.wait(), 1);
  EXPECT_NE(web.err().find(fmt::format("127.0.0.1:{}", admin_port_)), std::string::npos);
  EXPECT_NE(web.err().find("LINEQ_ADMIN_PORT"), std::string::npos) << web.err();
}

// ---- check and reload --------------------------------------------------------------------------

TEST_F(HardenedProgramTest, TheCheckPrintsWhatHoldsOrWhatIsWrong) {
  const std::string file = lineq_.file("lineq.cfg");
  test::write_file(file, R"({"web_max_connections": 77, "web_prot": 1})");
  const test::Finished fine =
      test::run(lineq_.command(test::lineq_web_path(), {"-t", "-f", file}, "check"));
  EXPECT_EQ(fine.exit_code, 0) << fine.err;
  EXPECT_NE(fine.out.find(R"("web_max_connections": 77)"), std::string::npos) << fine.out;
  EXPECT_NE(fine.err.find("did you mean 'web_port'"), std::string::npos) << fine.err;
  test::write_file(file, "{\n\"web_port\": \"eighty\"}");
  const test::Finished wrong =
      test::run(lineq_.command(test::lineq_web_path(), {"-t", "-f", file}, "wrong"));
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_EQ(wrong.out, "");
  EXPECT_NE(wrong.err.find("lineq.cfg:2: web_port: 'eighty' is not allowed; allowed: a port"),
            std::string::npos)
      << wrong.err;
}

TEST_F(HardenedProgramTest, AHangupTakesOverWhatCanChangeAndNamesTheRest) {
  const std::string file = lineq_.file("lineq.cfg");
  test::write_file(file, "{}");
  lineq_.set("LINEQ_LOG_LEVEL", "");  // the file's holds
  Process web = start({"-f", file});
  const Fd early = test::connect_tcp(lineq_.web_port());
  // Wrong: nothing of it holds.
  test::write_file(file, R"({"web_max_connections": 1, "log_level": "loud"})");
  web.signal(SIGHUP);
  EXPECT_TRUE(web.wait_for_err("configuration kept as it was")) << web.err();
  EXPECT_TRUE(web.wait_for_err("log_level: 'loud' is not allowed")) << web.err();
  EXPECT_EQ(test::http_get(lineq_.web_port(), "/healthz").status, 200);
  // Right, and one key that is read at start only.
  test::write_file(file, R"({"web_max_connections": 1, "vwr_room_table": "other", )"
                         R"("metrics_tables": [{"table": "/t"}], )"
                         R"("peer_name": "fresh-name"})");
  web.signal(SIGHUP);
  EXPECT_TRUE(web.wait_for_err("needed for: vwr_room_table, metrics_tables\n")) << web.err();
  EXPECT_EQ(test::http_get(lineq_.web_port(), "/healthz").status, 503);
  ASSERT_TRUE(test::send_all(early, "GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n"));
  EXPECT_NE(test::receive_some(early).find("fresh-name"), std::string::npos);
  // A warning less important than what is logged now is not logged.
  test::write_file(file, R"({"log_level": "err"})");
  web.signal(SIGHUP);
  EXPECT_TRUE(test::wait_until(
      [&] { return test::http_get(lineq_.web_port(), "/healthz").status == 200; }));
  const std::string before = web.err();
  test::write_file(file, R"({"log_level": "err", "web_max_connections": 1})");
  web.signal(SIGHUP);
  EXPECT_TRUE(test::wait_until(
      [&] { return test::http_get(lineq_.web_port(), "/healthz").status == 503; }));
  EXPECT_EQ(web.err(), before);
}

}  // namespace
}  // namespace lineq
