#include "tests/support/websocket.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

namespace lineq::test {
namespace {

using Clock = std::chrono::steady_clock;

Milliseconds left(Clock::time_point until) {
  return std::max(Milliseconds(0), std::chrono::duration_cast<Milliseconds>(until - Clock::now()));
}

}  // namespace

std::string websocket_frame(u8 first, std::string_view payload, bool masked) {
  std::string out(1, static_cast<char>(first));
  const u8 mask_bit = masked ? 0x80 : 0;
  const u64 n = payload.size();
  int more = 0;
  if (n <= 125) {
    out += static_cast<char>(n | mask_bit);
  } else if (n <= 65535) {
    out += static_cast<char>(126 | mask_bit);
    more = 2;
  } else {
    out += static_cast<char>(127 | mask_bit);
    more = 8;
  }
  for (int i = more - 1; i >= 0; --i) {
    out += static_cast<char>(n >> (8 * i));
  }
  if (!masked) {
    return out.append(payload);
  }
  constexpr std::string_view kMask = "\x37\xfa\x21\x3d";
  out += kMask;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    out += static_cast<char>(payload[i] ^ kMask[i % 4]);
  }
  return out;
}

std::string websocket_request(std::string_view target, std::string_view more_fields) {
  return fmt::format(
      "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
      target, more_fields);
}

int WebSocketClient::Message::close_code() const {
  return opcode != 8 || payload.size() < 2
             ? 0
             : static_cast<u8>(payload[0]) << 8 | static_cast<u8>(payload[1]);
}

WebSocketClient::WebSocketClient(u16 port, std::string_view target, std::string_view more_fields,
                                 Milliseconds patience)
    : fd_(connect_tcp(port)) {
  if (!fd_.valid() || !send_all(fd_, websocket_request(target, more_fields), patience)) {
    return;
  }
  const Clock::time_point until = Clock::now() + patience;
  std::size_t end = std::string::npos;
  while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
    const std::string more = receive_some(fd_, left(until));
    if (more.empty()) {
      return;
    }
    in_ += more;
  }
  head_ = in_.substr(0, end + 4);
  in_.erase(0, end + 4);
  status_ = head_.size() > 12 ? std::atoi(head_.c_str() + 9) : 0;
}

bool WebSocketClient::fill(std::size_t bytes, Clock::time_point until) {
  while (in_.size() < bytes) {
    const std::string more = receive_some(fd_, left(until));
    if (more.empty()) {
      return false;
    }
    in_ += more;
  }
  return true;
}

WebSocketClient::Message WebSocketClient::next(Milliseconds patience, bool pong) {
  const Clock::time_point until = Clock::now() + patience;
  Message text;
  for (;;) {
    if (!fill(2, until)) {
      return {};
    }
    const u8 first = static_cast<u8>(in_[0]);
    const u8 short_length = static_cast<u8>(in_[1]) & 0x7f;
    const std::size_t more = short_length == 126 ? 2 : short_length == 127 ? 8 : 0;
    if (!fill(2 + more, until)) {
      return {};
    }
    u64 length = more == 0 ? short_length : 0;
    for (std::size_t i = 0; i < more; ++i) {
      length = length << 8 | static_cast<u8>(in_[2 + i]);
    }
    if (!fill(2 + more + length, until)) {
      return {};
    }
    std::string payload = in_.substr(2 + more, length);
    in_.erase(0, 2 + more + length);
    const u8 opcode = first & 0xf;
    if (opcode >= 8) {
      if (opcode == 9 && pong) {
        if (!send_all(fd_, websocket_frame(0x8a, payload))) {
          return {};
        }
        continue;
      }
      return {opcode, std::move(payload), 1};
    }
    text.opcode = std::max(text.opcode, opcode);
    text.payload += payload;
    ++text.fragments;
    if ((first & 0x80) != 0) {
      return text;
    }
  }
}

std::string WebSocketClient::wait_for(std::string_view word, Milliseconds patience) {
  const Clock::time_point until = Clock::now() + patience;
  for (;;) {
    Message message = next(left(until));
    if (message.opcode == 0 || message.opcode == 8) {
      return {};
    }
    if (message.opcode == 1 && message.payload.find(word) != std::string::npos) {
      return std::move(message.payload);
    }
  }
}

}  // namespace lineq::test
