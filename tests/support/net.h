// Sockets for tests, loopback only.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "shm/support/ints.h"
#include "tests/support/process.h"

namespace lineq::test {

// A port nobody listens on. Never the same twice in one process; taken from outside the ephemeral
// range, so that no outgoing connection can take it between this call and its use.
u16 free_port();
bool can_connect(u16 port);

// An owned file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// From `source`, any loopback address, to 127.0.0.1.
Fd connect_tcp(u16 port, const std::string& source = "");
Fd connect_unix(const std::string& path);
Fd listen_tcp(u16 port);

// Writes all of it; false when the other side is gone or takes nothing for `patience`.
bool send_all(const Fd& fd, std::string_view bytes, Milliseconds patience = kPatience);
bool send_all(const Fd& fd, std::span<const u8> bytes, Milliseconds patience = kPatience);
// Everything until the other side closes (`closed` says whether it did) or `patience` is over.
struct Received {
  std::string bytes;
  bool closed = false;
};
Received receive_all(const Fd& fd, Milliseconds patience = kPatience);
// Waits for at least one byte; empty when closed or nothing came.
std::string receive_some(const Fd& fd, Milliseconds patience = kPatience);

}  // namespace lineq::test
