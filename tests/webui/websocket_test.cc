#include "webui/http/websocket.h"

#include <random>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace lineq::http {
namespace {

constexpr std::string_view kFields =
    "Host: lineq.example:8060\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

Request request(std::string fields, std::string_view line = "GET /ws HTTP/1.1",
                std::string_view body = "") {
  RequestParser parser;
  parser.feed(fmt::format("{}\r\n{}\r\n{}", line, fields, body));
  EXPECT_EQ(parser.state(), RequestParser::State::kDone) << parser.error_text();
  return parser.take();
}
std::string without(std::string_view name) {
  std::string out;
  std::string_view rest = kFields;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find("\r\n") + 2);
    rest.remove_prefix(line.size());
    if (!line.starts_with(name)) {
      out += line;
    }
  }
  return out;
}
int refused(const Request& r) {
  const auto reply = refuse_websocket(r);
  return reply ? reply->status : 0;
}
int refused(const std::string& more) {
  return refused(request(std::string(kFields) + more));
}
int refused_with(std::string_view name, std::string_view value) {
  return refused(request(without(name) + fmt::format("{}: {}\r\n", name, value)));
}

TEST(WebSocketHandshakeTest, AnswersTheKeyAsTheStandardSays) {
  const std::string head = upgrade_head("dGhlIHNhbXBsZSBub25jZQ==");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
  EXPECT_NE(head.find("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            std::string::npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
}

TEST(WebSocketHandshakeTest, TakesWhatBrowsersAndOthersSend) {
  EXPECT_EQ(refused(""), 0);
  EXPECT_EQ(refused_with("Upgrade", "WebSocket"), 0);
  EXPECT_EQ(refused_with("Upgrade", "h2c, websocket"), 0);
  EXPECT_EQ(refused_with("Connection", "upgrade"), 0);
  EXPECT_EQ(refused_with("Connection", "keep-alive ,\tUPGRADE,"), 0);
  EXPECT_EQ(refused("Sec-WebSocket-Extensions: permessage-deflate\r\n"), 0);
}

TEST(WebSocketHandshakeTest, SaysWhatIsMissing) {
  for (const char* name : {"Upgrade", "Connection", "Sec-WebSocket-Version"}) {
    const auto reply = refuse_websocket(request(without(name)));
    ASSERT_TRUE(reply.has_value()) << name;
    EXPECT_EQ(reply->status, 426) << name;
    const std::string head = response_head(*reply, Framing::kLength, true, 0);
    EXPECT_TRUE(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n")) << head;
    EXPECT_NE(head.find("\r\nSec-WebSocket-Version: 13\r\n"), std::string::npos);
    EXPECT_NE(head.find("\r\nUpgrade: websocket\r\n"), std::string::npos);
  }
  EXPECT_EQ(refused_with("Sec-WebSocket-Version", "8"), 426);
  EXPECT_EQ(refused("Sec-WebSocket-Version: 13\r\n"), 426);
  EXPECT_EQ(refused_with("Upgrade", "websockets"), 426);
  EXPECT_EQ(refused_with("Connection", "close"), 426);
}

TEST(WebSocketHandshakeTest, ChecksTheKeyTheMethodAndTheVersionOfHttp) {
  EXPECT_EQ(refused(request(without("Sec-WebSocket-Key"))), 400);
  EXPECT_EQ(refused("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400);
  for (const char* key :
       {"x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZR==",
        "dGhlIHNhbXBsZSBub25j!Q==", "dGhlIHNhbXBsZSBub25jZQAA"}) {
    EXPECT_EQ(refused_with("Sec-WebSocket-Key", key), 400) << key;
  }
  EXPECT_EQ(refused(request(std::string(kFields), "HEAD /ws HTTP/1.1")), 400);
  EXPECT_EQ(refused(request(std::string(kFields), "POST /ws HTTP/1.1")), 400);
  EXPECT_EQ(refused(request(std::string(kFields), "GET /ws HTTP/1.0")), 400);
  EXPECT_EQ(
      refused(request(std::string(kFields) + "Content-Length: 1\r\n", "GET /ws HTTP/1.1", "x")),
      400);
}

TEST(WebSocketHandshakeTest, LetsInOnlyPagesOfItsOwn) {
  EXPECT_EQ(refused("Origin: http://lineq.example:8060\r\n"), 0);
  EXPECT_EQ(refused("Origin: https://LineQ.example:8060\r\n"), 0);
  for (const char* origin :
       {"null", "http://evil.example", "http://lineq.example", "http://lineq.example:80",
        "http://lineq.example:8060.evil.example", "http://evil.example:8060", "lineq.example:8060",
        "file://lineq.example:8060", "http://lineq.example:8060, http://evil.example", ""}) {
    EXPECT_EQ(refused(fmt::format("Origin: {}\r\n", origin)), 403) << origin;
  }
  EXPECT_EQ(refused("Origin: http://lineq.example:8060\r\nOrigin: http://lineq.example:8060\r\n"),
            403);
  // Browsers leave the usual port away, proxies may not.
  const std::string usual = without("Host") + "Host: lineq.example:443\r\n";
  EXPECT_EQ(refused(request(usual + "Origin: https://lineq.example\r\n")), 0);
  EXPECT_EQ(refused(request(usual + "Origin: http://lineq.example\r\n")), 403);
}

// ---- frames ------------------------------------------------------------------------------------

std::string frame(u8 first, std::string_view payload, bool masked = true) {
  std::string out = frame_head(Opcode::kText, true, payload.size());
  out[0] = static_cast<char>(first);
  if (!masked) {
    return out.append(payload);
  }
  out[1] = static_cast<char>(out[1] | char(-128));
  constexpr std::string_view kMask = "\x37\xfa\x21\x3d";
  out += kMask;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    out += static_cast<char>(payload[i] ^ kMask[i % 4]);
  }
  return out;
}
constexpr u8 kLast = 0x80;

struct Peer {
  WebSocket socket;
  std::vector<std::string> heard;
  std::string out;
  std::optional<Close> answer;

  void feed(std::string_view bytes) {
    socket.feed(
        bytes,
        [this](std::string_view text) {
          heard.emplace_back(text);
          return answer;
        },
        out);
  }
  // The code of the close that was sent; 0 when none was.
  int code() const {
    if (out.size() < 4 || static_cast<u8>(out[0]) != 0x88) {
      return 0;
    }
    return static_cast<u8>(out[2]) << 8 | static_cast<u8>(out[3]);
  }
};
int code_for(std::string_view bytes) {
  Peer peer;
  peer.feed(bytes);
  EXPECT_EQ(peer.socket.over(), peer.code() != 0);
  EXPECT_FALSE(peer.socket.over() && peer.socket.busy());
  return peer.code();
}

TEST(WebSocketTest, HearsTextHoweverItIsCut) {
  std::string stream = frame(kLast | 1, "one");
  stream += frame(kLast | 1, std::string(126, 'm'));
  stream += frame(1, "fr") + frame(0, "ag") + frame(kLast | 9, "ping") + frame(kLast | 0, "ment");
  stream += frame(kLast | 1, std::string(65536, 'l'));
  stream += frame(kLast | 1, "");
  stream += frame(kLast | 10, "unasked");
  const std::vector<std::string> expected{"one", std::string(126, 'm'), "fragment",
                                          std::string(65536, 'l'), ""};
  for (std::size_t cut = 0; cut < 300; ++cut) {
    Peer peer;
    peer.feed(std::string_view(stream).substr(0, cut));
    peer.feed(std::string_view(stream).substr(cut));
    EXPECT_EQ(peer.heard, expected) << cut;
    EXPECT_EQ(peer.out, frame(kLast | 10, "ping", false)) << cut;
    EXPECT_FALSE(peer.socket.over());
    EXPECT_FALSE(peer.socket.busy()) << cut;
  }
  Peer peer;
  for (const char byte : stream) {
    peer.feed({&byte, 1});
  }
  EXPECT_EQ(peer.heard, expected);
  EXPECT_FALSE(peer.socket.busy());
}

TEST(WebSocketTest, HoldsBuffersOnlyWhileSomethingIsHalfHere) {
  Peer peer;
  EXPECT_FALSE(peer.socket.busy());
  peer.feed(frame(1, "half a message"));
  EXPECT_TRUE(peer.socket.busy());
  peer.feed(frame(kLast | 9, "ping between"));
  EXPECT_TRUE(peer.socket.busy());
  peer.feed(frame(kLast | 0, "."));
  EXPECT_FALSE(peer.socket.busy());
  const std::string next = frame(kLast | 1, "next");
  peer.feed(std::string_view(next).substr(0, 1));
  EXPECT_TRUE(peer.socket.busy());
  peer.feed(std::string_view(next).substr(1));
  EXPECT_FALSE(peer.socket.busy());
  EXPECT_EQ(peer.heard.size(), 2U);
}

TEST(WebSocketTest, ClosesWithTheCodeThatSaysWhy) {
  EXPECT_EQ(code_for(frame(kLast | 1, "not masked", false)), 1002);
  EXPECT_EQ(code_for(frame(kLast | 0x40 | 1, "reserved bit")), 1002);
  EXPECT_EQ(code_for(frame(kLast | 3, "unknown opcode")), 1002);
  EXPECT_EQ(code_for(frame(kLast | 11, "unknown control")), 1002);
  EXPECT_EQ(code_for(frame(9, "fragmented ping")), 1002);
  EXPECT_EQ(code_for(frame(kLast | 9, std::string(126, 'p'))), 1002);
  EXPECT_EQ(code_for(frame(kLast | 0, "continues nothing")), 1002);
  EXPECT_EQ(code_for(frame(1, "begins") + frame(1, "again")), 1002);
  EXPECT_EQ(code_for(frame(kLast | 2, "binary")), 1003);
  EXPECT_EQ(code_for(frame(kLast | 1, "\xff\xfe")), 1007);
  EXPECT_EQ(code_for(frame(1, "caf\xc3") + frame(kLast | 0, "(")), 1007);
  EXPECT_EQ(code_for(frame(kLast | 1, std::string(65537, 'x'))), 1009);
  EXPECT_EQ(code_for(frame(1, std::string(65536, 'x')) + frame(kLast | 0, "x")), 1009);
  EXPECT_EQ(code_for(frame(kLast | 8, "\x03\xed")), 1002);  // 1005 is never sent
  EXPECT_EQ(code_for(frame(kLast | 8, "\x03\xe8\xff\xff")), 1007);
  // A frame of 2^63 bytes is refused with its first byte.
  EXPECT_EQ(code_for(std::string("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04x", 15)),
            1009);
  // A length that takes more bytes than it needs.
  EXPECT_EQ(code_for(std::string("\x81\xfe\x00\x05\x01\x02\x03\x04 five", 13)), 1002);
}

TEST(WebSocketTest, HearsCharactersCutByFragments) {
  Peer peer;
  peer.feed(frame(1, "caf\xc3") + frame(kLast | 0, "\xa9"));
  EXPECT_EQ(peer.heard, std::vector<std::string>{"caf\xc3\xa9"});
}

TEST(WebSocketTest, AnswersACloseAndHearsNothingMore) {
  Peer peer;
  peer.feed(frame(kLast | 8, "\x03\xe9 bye") + frame(kLast | 1, "after the close"));
  EXPECT_EQ(peer.code(), 1001);
  EXPECT_TRUE(peer.socket.over());
  EXPECT_TRUE(peer.heard.empty());
  const std::string said = peer.out;
  peer.feed(frame(kLast | 1, "more"));
  EXPECT_EQ(peer.out, said);
  EXPECT_TRUE(peer.heard.empty());

  Peer wordless;
  wordless.feed(frame(kLast | 8, ""));
  EXPECT_TRUE(wordless.socket.over());
  EXPECT_EQ(wordless.out, std::string("\x88\x00", 2));
}

TEST(WebSocketTest, ClosesWhenWhoListensSaysSo) {
  Peer peer;
  peer.answer = Close{kPolicyViolation, "no " + std::string(60, 'n') + std::string(60, '\xc3')};
  peer.answer->reason = std::string(121, 'n') + "\xc3\xa9 and so on";
  peer.feed(frame(kLast | 1, "first") + frame(kLast | 1, "second"));
  EXPECT_EQ(peer.heard.size(), 1U);
  EXPECT_EQ(peer.code(), 1008);
  EXPECT_EQ(peer.out.substr(4), std::string(121, 'n'));  // cut before the character, not inside
  EXPECT_TRUE(peer.socket.over());
}

TEST(WebSocketTest, LimitsTheFragmentsOfAMessage) {
  std::string many = frame(1, "");
  for (u32 i = 1; i < WebSocket::kFragments; ++i) {
    many += frame(0, "");
  }
  Peer peer;
  peer.feed(many);
  EXPECT_FALSE(peer.socket.over());
  peer.feed(frame(kLast | 0, "x"));
  EXPECT_EQ(peer.code(), 1008);
}

TEST(WebSocketTest, WritesHeadsOfEveryLength) {
  EXPECT_EQ(frame_head(Opcode::kText, true, 0), std::string("\x81\x00", 2));
  EXPECT_EQ(frame_head(Opcode::kText, false, 125), "\x01\x7d");
  EXPECT_EQ(frame_head(Opcode::kContinuation, true, 126), std::string("\x80\x7e\x00\x7e", 4));
  EXPECT_EQ(frame_head(Opcode::kText, true, 65535), "\x81\x7e\xff\xff");
  EXPECT_EQ(frame_head(Opcode::kText, true, 65536),
            std::string("\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10));
}

TEST(WebSocketTest, NoiseNeitherCrashesNorGoesOnForEver) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 500; ++round) {
    Peer peer;
    std::string noise(random() % 400, '\0');
    for (char& c : noise) {
      c = static_cast<char>(random());
    }
    peer.feed(frame(kLast | 1, "good"));
    peer.feed(noise);
    EXPECT_EQ(peer.heard.front(), "good");
    EXPECT_LE(peer.out.size(), 2 * noise.size() + 200);
  }
}

}  // namespace
}  // namespace lineq::http
