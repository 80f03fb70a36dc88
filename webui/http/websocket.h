// WebSocket (RFC 6455, version 13, no extension): the handshake, and frames of one connection as a
// function of bytes. No socket, no clock.
//
//   if (auto refused = refuse_websocket(request)) return *refused;     // 426, 400, 403
//   WebSocket socket;
//   socket.feed(bytes, hear, out);     // hear: whole text messages; out: pongs, closes, to be sent
//   append_frame(...)                  // what we say: whole messages or fragments of one
//
// wslay reads: masks, fragments, control frames, lengths, UTF-8. Its 8 KB of buffers exist only
// while a frame or a fragmented message is half here, so an idle WebSocket costs next to nothing.
// What we say needs no mask and its head is two to ten bytes, written here: wslay would copy every
// message into its queue.
//
// Refused, and the code the client is told: a frame without mask, reserved bits, unknown opcodes,
// control frames that are long or fragmented, fragments out of order, a wrong close code: 1002; a
// binary message: 1003; text that is not UTF-8: 1007; more than kFragments in a message: 1008; a
// message of more than kMessageBytes: 1009. Then nothing is read any more.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "shm/support/ints.h"
#include "webui/http/request.h"
#include "webui/http/response.h"

struct wslay_event_context;

namespace lineq::http {

// What to answer instead of an upgrade; nothing: it is a good handshake. A browser's page may only
// be one of ours: its Origin must name the Host it asks. Who sends no Origin is no browser.
std::optional<Reply> refuse_websocket(const Request& request);

// Status line and fields of the 101 for the client's Sec-WebSocket-Key.
std::string upgrade_head(std::string_view key);

// Of a close frame.
struct Close {
  u16 code = 1000;
  std::string reason;  // UTF-8; cut to what fits
};

inline constexpr u16 kGoingAway = 1001;
inline constexpr u16 kProtocolError = 1002;
inline constexpr u16 kUnsupportedData = 1003;
inline constexpr u16 kPolicyViolation = 1008;
inline constexpr u16 kServiceRestart = 1012;

enum class Opcode : u8 {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10
};

// Head of a frame of ours with so many bytes behind it. `last` of its message.
std::string frame_head(Opcode opcode, bool last, u64 bytes);
void append_close(const Close& close, std::string& out);

class WebSocket {
 public:
  static constexpr std::size_t kMessageBytes = 65536;
  static constexpr u32 kFragments = 1024;
  // One text message; valid during the call. A Close ends the conversation.
  using Hear = std::function<std::optional<Close>(std::string_view text)>;

  WebSocket() = default;
  ~WebSocket();
  WebSocket(const WebSocket&) = delete;
  WebSocket& operator=(const WebSocket&) = delete;
  WebSocket(WebSocket&&) = delete;
  WebSocket& operator=(WebSocket&&) = delete;

  // All of `bytes` is taken. What must be sent for it is appended to `out`: after a close in it
  // nothing more may be said, and over() is true.
  void feed(std::string_view bytes, const Hear& hear, std::string& out);

  bool over() const { return over_; }
  // Half a frame or message is here, and wslay's buffers with it.
  bool busy() const { return wslay_ != nullptr; }

 private:
  struct Callbacks;

  void shut(const Close& close);

  wslay_event_context* wslay_ = nullptr;
  bool over_ = false;
  bool in_message_ = false;  // fragments are here, the last is not
  u32 fragments_ = 0;
  u64 frames_end_ = 0;  // bytes of the stream since wslay_ was made: to the end of the last frame
  u64 taken_ = 0;       // ... that wslay has
  // During feed():
  std::string_view input_;
  const Hear* hear_ = nullptr;
  std::string* out_ = nullptr;
};

}  // namespace lineq::http
