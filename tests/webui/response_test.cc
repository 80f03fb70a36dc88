#include "webui/http/response.h"

#include <gtest/gtest.h>

#include "webui/http/sse.h"

namespace lineq::http {
namespace {

TEST(ResponseTest, AHeadSaysLengthTypeAndWhatFollows) {
  Reply reply = text_reply(405, "no");
  reply.fields.emplace_back("Allow", "GET, HEAD");
  EXPECT_EQ(response_head(reply, framing_of(reply, true), true, 784111777000),
            "HTTP/1.1 405 Method Not Allowed\r\n"
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Length: 3\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Allow: GET, HEAD\r\n"
            "Connection: keep-alive\r\n\r\n");
}

class Nothing : public Stream {
 public:
  Next next(std::string& /*out*/) override { return Next::kEnd; }
};

TEST(ResponseTest, StreamsAreChunkedWhereTheVersionAllowsIt) {
  Reply reply;
  reply.stream = std::make_unique<Nothing>();
  EXPECT_EQ(framing_of(reply, true), Framing::kChunked);
  EXPECT_EQ(framing_of(reply, false), Framing::kClose);
  const std::string head = response_head(reply, Framing::kChunked, false, 0);
  EXPECT_NE(head.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_EQ(head.find("Content-Length"), std::string::npos);
  EXPECT_NE(head.find("Connection: close\r\n"), std::string::npos);
  EXPECT_EQ(chunk_head(65536), "10000\r\n");
}

TEST(ResponseTest, EventsEndWithTheConnection) {
  Reply reply;
  reply.channel = Channel::kStatus;
  EXPECT_EQ(framing_of(reply, true), Framing::kClose);
}

TEST(SseTest, EveryLineOfTheDataHasItsField) {
  EXPECT_EQ(sse_event("status", "7", "{}"), "event: status\nid: 7\ndata: {}\n\n");
  EXPECT_EQ(sse_event("", "", "a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
  EXPECT_EQ(sse_event("", "", "a\n"), "data: a\ndata: \n\n");
  EXPECT_EQ(sse_event("", "", ""), "data: \n\n");
  EXPECT_EQ(sse_comment("keepalive"), ": keepalive\n\n");
  EXPECT_EQ(sse_retry(3000), "retry: 3000\n\n");
}

}  // namespace
}  // namespace lineq::http
