// A WebSocket client for tests, small enough to be wrong on purpose.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "shm/support/ints.h"
#include "tests/support/net.h"

namespace lineq::test {

// A client's frame; `first` is FIN and opcode: 0x81 a whole text, 0x88 close, 0x89 ping.
std::string websocket_frame(u8 first, std::string_view payload, bool masked = true);
// GET with the fields of a handshake.
std::string websocket_request(std::string_view target, std::string_view more_fields = "");

class WebSocketClient {
 public:
  struct Message {
    u8 opcode = 0;  // 1 text, 8 close, 9 ping, 10 pong; 0: the connection ended, or nothing came
    std::string payload;
    std::size_t fragments = 0;
    int close_code() const;  // of a close
  };

  // Connects and waits for the answer: status() is 101 when it is a WebSocket.
  WebSocketClient(u16 port, std::string_view target, std::string_view more_fields = "",
                  Milliseconds patience = kPatience);

  int status() const { return status_; }
  const std::string& head() const { return head_; }
  const Fd& fd() const { return fd_; }
  bool say(std::string_view text) { return send_all(fd_, websocket_frame(0x81, text)); }
  bool send(std::string_view bytes) { return send_all(fd_, bytes); }

  // The next message, fragments put together, or control frame. Pings are answered when `pong`.
  Message next(Milliseconds patience = kPatience, bool pong = true);
  // The next text message with `word` in it; empty when none came.
  std::string wait_for(std::string_view word, Milliseconds patience = kPatience);

 private:
  bool fill(std::size_t bytes, std::chrono::steady_clock::time_point until);

  Fd fd_;
  int status_ = 0;
  std::string head_;
  std::string in_;
};

}  // namespace lineq::test
