#include "webui/http/request.h"

#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace lineq::http {
namespace {

using State = RequestParser::State;

struct Parsed {
  State state = State::kHead;
  u16 status = 0;
  std::string text;
  std::size_t used = 0;
  Request request;
};

// Feeds in pieces of `piece` bytes until the parser has enough.
Parsed parse(std::string_view bytes, std::size_t piece = 1 << 20, const Limits& limits = {}) {
  RequestParser parser(limits);
  Parsed p;
  while (p.used < bytes.size() &&
         (parser.state() == State::kHead || parser.state() == State::kBody)) {
    p.used += parser.feed(bytes.substr(p.used, piece));
  }
  p.state = parser.state();
  p.status = parser.error_status();
  p.text = parser.error_text();
  if (p.state == State::kDone) {
    p.request = parser.take();
  }
  return p;
}

std::string get(std::string_view fields, std::string_view target = "/") {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}

TEST(RequestTest, GivesMethodTargetAndFieldsAsSent) {
  const Parsed p =
      parse("GET /tables?table=a%20b HTTP/1.1\r\nHost: x:1\r\nX-One:  two \r\n\r\nrest");
  ASSERT_EQ(p.state, State::kDone) << p.text;
  EXPECT_EQ(p.used, std::string_view("GET /tables?table=a%20b HTTP/1.1\r\nHost: x:1\r\nX-One:  two "
                                     "\r\n\r\n")
                        .size());
  EXPECT_EQ(p.request.method, Method::kGet);
  EXPECT_EQ(p.request.target, "/tables?table=a%20b");
  EXPECT_EQ(p.request.path, "/tables");
  EXPECT_EQ(p.request.query, "table=a%20b");
  EXPECT_TRUE(p.request.http11);
  EXPECT_TRUE(p.request.keep_alive);
  EXPECT_TRUE(p.request.origin_form);
  EXPECT_EQ(p.request.field("x-one"), "two");
  EXPECT_EQ(p.request.field("X-Two"), std::nullopt);
}

TEST(RequestTest, KeepAliveFollowsVersionAndConnectionField) {
  EXPECT_FALSE(parse(get("Connection: close\r\n")).request.keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n").request.keep_alive);
  EXPECT_TRUE(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").request.keep_alive);
}

// The rows of the table that servers disagree about. Every one is refused, with the connection
// closed behind it, where nginx refuses it.
struct Refused {
  const char* name;
  std::string bytes;
  u16 status;
};

std::vector<Refused> refused_requests() {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  std::string many_fields = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 200; ++i) {
    many_fields += "X-" + std::to_string(i) + ": 1\r\n";
  }
  many_fields += "\r\n";
  using namespace std::string_literals;
  return {
      {"Content-Length and Transfer-Encoding",
       head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"Transfer-Encoding and Content-Length",
       head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
      {"two different Content-Length", head + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
       400},
      {"the same Content-Length twice", head + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
       400},
      {"a list of Content-Length", head + "Content-Length: 4, 4\r\n\r\nabcd", 400},
      {"Content-Length with a plus", head + "Content-Length: +4\r\n\r\nabcd", 400},
      {"negative Content-Length", head + "Content-Length: -1\r\n\r\n", 400},
      {"empty Content-Length", head + "Content-Length:\r\n\r\n", 400},
      {"Content-Length in hex", head + "Content-Length: 0x4\r\n\r\nabcd", 400},
      {"Content-Length above 64 bits", head + "Content-Length: 99999999999999999999\r\n\r\n", 400},
      {"unknown Transfer-Encoding", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
      {"chunked, then identity", head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
       400},
      {"gzip, then chunked", head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
      {"two Transfer-Encoding",
       head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"Transfer-Encoding in HTTP/1.0",
       "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"blank before the colon", get("X-A : 1\r\n"), 400},
      {"tab before the colon", get("X-A\t: 1\r\n"), 400},
      {"blank before the colon of Transfer-Encoding",
       head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
      {"no name", get(": 1\r\n"), 400},
      {"no colon", get("X-A\r\n"), 400},
      {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
      {"bare LF behind one field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
      {"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"folded field", get("X-A: 1\r\n 2\r\n"), 400},
      {"field folded with a tab", get("X-A: 1\r\n\t2\r\n"), 400},
      {"folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"NUL in a value", get("X-A: 1\0002\r\n"s), 400},
      {"bare CR in a value", get("X-A: 1\r2\r\n"), 400},
      {"control character in a value", get("X-A: 1\x01\r\n"), 400},
      {"NUL in the target", get("", "/a\0b"s), 400},
      {"no Host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two Host", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"two Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"Host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"Host with a blank", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"Host that is a list", "GET / HTTP/1.1\r\nHost: a\", b\r\n\r\n", 400},
      {"HTTP/9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505},
      {"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"http in small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
      {"two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"blank behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"tab in the request line", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"method with a colon", "G:T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"target without slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"empty first line", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"TLS instead", "\x16\x03\x01\x02\n", 400},
      {"20 KB of head", get("X-A: " + std::string(20000, 'a') + "\r\n"), 431},
      {"20 KB of head without an end", "GET / HTTP/1.1\r\nX: " + std::string(20000, 'a'), 431},
      {"200 fields", many_fields, 431},
      {"3 KB of target", get("", "/" + std::string(3000, 'a')), 414},
      {"3 KB of target without an end", "GET /" + std::string(3000, 'a'), 414},
      {"unknown expectation", head + "Expect: a miracle\r\nContent-Length: 1\r\n\r\n", 417},
      {"a large body", head + "Content-Length: 100000\r\n\r\n", 413},
      {"a large chunk",
       head + "Transfer-Encoding: chunked\r\n\r\n20000\r\n" + std::string(0x20000, 'a') +
           "\r\n0\r\n\r\n",
       413},
      {"chunk size that is no number", head + "Transfer-Encoding: chunked\r\n\r\n+4\r\nabcd\r\n",
       400},
      {"chunk size ended by a bare LF",
       head + "Transfer-Encoding: chunked\r\n\r\n4\nabcd\r\n0\r\n\r\n", 400},
      {"chunk longer than its size",
       head + "Transfer-Encoding: chunked\r\n\r\n4\r\nabcde\r\n0\r\n\r\n", 400},
      {"endless chunk extension",
       head + "Transfer-Encoding: chunked\r\n\r\n4;" + std::string(10000, 'a'), 400},
      {"endless trailers",
       head + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + std::string(10000, 'a'), 400},
  };
}

TEST(RequestTest, RefusesWhatTwoServersCouldReadInTwoWays) {
  for (const Refused& r : refused_requests()) {
    const Parsed p = parse(r.bytes);
    EXPECT_EQ(p.state, State::kError) << r.name;
    EXPECT_EQ(p.status, r.status) << r.name << ": " << p.text;
    EXPECT_FALSE(p.text.empty()) << r.name;
  }
}

TEST(RequestTest, TheCutOfTheInputChangesNothing) {
  for (const Refused& r : refused_requests()) {
    for (const std::size_t piece : {1U, 2U, 3U, 7U}) {
      const Parsed p = parse(r.bytes, piece);
      EXPECT_EQ(p.state, State::kError) << r.name << " in pieces of " << piece;
      EXPECT_EQ(p.status, r.status) << r.name << " in pieces of " << piece << ": " << p.text;
    }
  }
}

TEST(RequestTest, HealthChecksWithoutHostAreHttp10) {
  // What HAProxy's `option httpchk` sends.
  const Parsed p = parse("OPTIONS / HTTP/1.0\r\n\r\n");
  ASSERT_EQ(p.state, State::kDone) << p.text;
  EXPECT_EQ(p.request.method, Method::kOptions);
}

TEST(RequestTest, ABodyWithGetIsLeftUnreadAndEndsTheConnection) {
  for (const char* body : {"Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n"}) {
    const Parsed p = parse(get(body) + "abcd");
    ASSERT_EQ(p.state, State::kDone) << p.text;
    EXPECT_TRUE(p.request.body_unread);
    EXPECT_FALSE(p.request.keep_alive);
  }
  const Parsed empty = parse(get("Content-Length: 0\r\n"));
  EXPECT_FALSE(empty.request.body_unread);
  EXPECT_TRUE(empty.request.keep_alive);
}

TEST(RequestTest, ReadsBodiesByLengthAndByChunksInAnyCut) {
  const std::string head = "POST /x HTTP/1.1\r\nHost: a\r\n";
  const std::string by_length = head + "Content-Length: 11\r\n\r\nhello world";
  const std::string by_chunks =
      head +
      "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n"
      "0\r\nHost: trailer\r\nX-Forwarded-For: trailer\r\n\r\n";
  for (const std::string& bytes : {by_length, by_chunks}) {
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
      const Parsed p = parse(bytes + "GET", piece);
      ASSERT_EQ(p.state, State::kDone) << p.text << " in pieces of " << piece;
      EXPECT_EQ(p.request.body, "hello world");
      EXPECT_EQ(p.used, bytes.size());
      EXPECT_EQ(p.request.count("Host"), 1U) << "trailers are no fields";
      EXPECT_FALSE(p.request.field("X-Forwarded-For"));
      EXPECT_TRUE(p.request.keep_alive);
    }
  }
}

TEST(RequestTest, TheLastChunkAloneInAnyCut) {
  const std::string bytes =
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
    const Parsed p = parse(bytes, piece);
    ASSERT_EQ(p.state, State::kDone) << p.text << " in pieces of " << piece;
    EXPECT_EQ(p.request.body, "");
    EXPECT_EQ(p.used, bytes.size());
  }
}

TEST(RequestTest, AsksForTheBodyOnceWhenTheClientWaits) {
  RequestParser parser;
  parser.feed("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(parser.state(), State::kBody);
  EXPECT_TRUE(parser.wants_continue());
  EXPECT_FALSE(parser.wants_continue());
  parser.feed("ab");
  EXPECT_EQ(parser.state(), State::kDone);
}

TEST(RequestTest, OneRequestAfterTheOther) {
  const std::string bytes =
      get("", "/1") + "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get("", "/3");
  RequestParser parser;
  std::string_view rest = bytes;
  std::vector<Request> requests;
  while (!rest.empty()) {
    rest.remove_prefix(parser.feed(rest));
    ASSERT_NE(parser.state(), State::kError) << parser.error_text();
    if (parser.state() == State::kDone) {
      requests.push_back(parser.take());
    }
  }
  ASSERT_EQ(requests.size(), 3U);
  EXPECT_EQ(requests[0].path, "/1");
  EXPECT_EQ(requests[1].path, "/2");
  EXPECT_EQ(requests[1].body, "abc");
  EXPECT_EQ(requests[2].path, "/3");
  EXPECT_EQ(requests[2].field("Host"), "a");
}

TEST(RequestTest, AbsoluteTargetsAreNoPlainPaths) {
  const Parsed p = parse("GET http://a/tables?x HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_EQ(p.state, State::kDone) << p.text;
  EXPECT_FALSE(p.request.origin_form);
  EXPECT_EQ(p.request.path, "/tables");
  EXPECT_EQ(p.request.query, "x");
  EXPECT_EQ(parse("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").request.path, "/");
  EXPECT_EQ(parse("GET http://a?b/c HTTP/1.1\r\nHost: a\r\n\r\n").request.path, "/");
  EXPECT_EQ(parse("GET http://a?b/c HTTP/1.1\r\nHost: a\r\n\r\n").request.query, "b/c");
  EXPECT_EQ(parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").request.path, "*");
}

TEST(RequestTest, RandomBytesNeverDoMoreThanFail) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::vector<std::string> words = {"GET ",
                                          "POST ",
                                          "/",
                                          " HTTP/1.1",
                                          "\r\n",
                                          "\r",
                                          "\n",
                                          "Host: a",
                                          "Content-Length: ",
                                          "5",
                                          "Transfer-Encoding: chunked",
                                          "0\r\n",
                                          "\r\n\r\n",
                                          ":",
                                          " ",
                                          std::string(1, '\0'),
                                          "\xff",
                                          "5\r\nhello\r\n",
                                          "Expect: 100-continue"};
  for (int round = 0; round < 3000; ++round) {
    std::string bytes;
    const std::size_t n = random() % 20;
    for (std::size_t i = 0; i < n; ++i) {
      bytes += words[random() % words.size()];
    }
    const Parsed whole = parse(bytes);
    const Parsed cut = parse(bytes, 1 + random() % 5);
    ASSERT_EQ(whole.state, cut.state) << bytes;
    ASSERT_EQ(whole.status, cut.status) << bytes;
    if (whole.state == State::kDone) {
      ASSERT_EQ(whole.used, cut.used) << bytes;
      ASSERT_EQ(whole.request.body, cut.request.body) << bytes;
    }
  }
}

}  // namespace
}  // namespace lineq::http
