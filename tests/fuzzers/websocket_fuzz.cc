// What a client may send after the handshake, in any cut: the same is heard and answered however
// the bytes arrive, and every answer is a whole frame without mask.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "webui/http/websocket.h"

namespace {

using namespace lineq;

void check(bool holds) {
  if (!holds) {
    std::abort();
  }
}

struct Outcome {
  std::vector<std::string> heard;
  std::string out;
  bool over = false;
  bool busy = false;
};

// Texts that begin with `!` end the conversation.
Outcome feed(std::string_view bytes, const std::vector<std::size_t>& cuts) {
  Outcome outcome;
  http::WebSocket socket;
  const http::WebSocket::Hear hear = [&](std::string_view text) -> std::optional<http::Close> {
    outcome.heard.emplace_back(text);
    check(text.size() <= http::WebSocket::kMessageBytes);
    if (text.starts_with('!')) {
      return http::Close{http::kPolicyViolation, std::string(text)};
    }
    return std::nullopt;
  };
  std::size_t at = 0;
  for (const std::size_t cut : cuts) {
    const std::size_t n = std::min(cut, bytes.size() - at);
    socket.feed(bytes.substr(at, n), hear, outcome.out);
    at += n;
  }
  socket.feed(bytes.substr(at), hear, outcome.out);
  outcome.over = socket.over();
  outcome.busy = socket.busy();
  return outcome;
}

// Pongs, and a close at the end of them when it is over.
void check_answer(const Outcome& outcome) {
  std::string_view rest = outcome.out;
  bool closed = false;
  while (!rest.empty()) {
    check(!closed && rest.size() >= 2);
    const u8 first = static_cast<u8>(rest[0]);
    const std::size_t length = static_cast<u8>(rest[1]);
    check(first == 0x8a || first == 0x88);
    check(length <= 125 && rest.size() >= 2 + length);
    closed = first == 0x88;
    rest.remove_prefix(2 + length);
  }
  check(closed == outcome.over);
  check(!outcome.over || !outcome.busy);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
  if (size < 4) {
    return 0;
  }
  // The first bytes say where to cut.
  std::vector<std::size_t> cuts;
  for (std::size_t i = 0; i < 4; ++i) {
    cuts.push_back(data[i]);
  }
  const std::string_view bytes(reinterpret_cast<const char*>(data + 4), size - 4);
  const Outcome whole = feed(bytes, {});
  const Outcome cut = feed(bytes, cuts);
  const Outcome single = feed(bytes, std::vector<std::size_t>(bytes.size(), 1));
  check_answer(whole);
  for (const Outcome& other : {cut, single}) {
    check_answer(other);
    check(whole.heard == other.heard);
    if (whole.over || other.over) {
      // wslay sees a wrong reason of a close earlier when more of it is here; pongs that wait when
      // a close comes are left away.
      check((whole.over || whole.busy) && (other.over || other.busy));
    } else {
      check(whole.out == other.out && whole.busy == other.busy);
    }
  }

  http::RequestParser parser;
  parser.feed("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
  parser.feed(bytes);
  if (parser.state() == http::RequestParser::State::kDone) {
    const http::Request request = parser.take();
    if (!http::refuse_websocket(request)) {
      check(http::upgrade_head(*request.field("Sec-WebSocket-Key")).ends_with("=\r\n\r\n"));
    }
  }
  return 0;
}
