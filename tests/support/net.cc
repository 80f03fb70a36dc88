#include "tests/support/net.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace lineq::test {
namespace {

sockaddr_in loopback(u16 port, const std::string& address = "127.0.0.1") {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &result.sin_addr);
  return result;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

int remaining_ms(std::chrono::steady_clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<Milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<i64>(left.count(), 0));
}

bool wait_ready(const Fd& fd, short events, std::chrono::steady_clock::time_point deadline) {
  pollfd entry{fd.get(), events, 0};
  for (;;) {
    const int n = ::poll(&entry, 1, remaining_ms(deadline));
    if (n >= 0 || errno != EINTR) {
      return n > 0;
    }
  }
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int Fd::release() {
  return std::exchange(fd_, -1);
}

void Fd::reset() {
  if (fd_ >= 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

u16 free_port() {
  // Tests of several processes run side by side: each begins elsewhere.
  constexpr u32 kFirst = 12000;
  constexpr u32 kSpan = 20000;  // below 32768, where the ephemeral range begins
  static std::atomic<u32> next{static_cast<u32>(::getpid()) * 61U};
  for (;;) {
    const auto port = static_cast<u16>(kFirst + next++ % kSpan);
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = loopback(port);
    if (::bind(fd.get(), generic(address), sizeof address) == 0) {
      return port;
    }
  }
}

bool can_connect(u16 port) {
  return connect_tcp(port).valid();
}

Fd connect_tcp(u16 port, const std::string& source) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (const sockaddr_in from = loopback(0, source);
      !source.empty() && ::bind(fd.get(), generic(from), sizeof from) != 0) {
    return {};
  }
  const sockaddr_in to = loopback(port);
  if (!fd.valid() || ::connect(fd.get(), generic(to), sizeof to) != 0) {
    return {};
  }
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

Fd connect_unix(const std::string& path) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) {
    return {};
  }
  std::memcpy(&to.sun_path[0], path.data(), path.size());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return {};
  }
  return fd;
}

Fd listen_tcp(u16 port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const sockaddr_in address = loopback(port);
  if (::bind(fd.get(), generic(address), sizeof address) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    return {};
  }
  return fd;
}

bool send_all(const Fd& fd, std::span<const u8> bytes, Milliseconds patience) {
  return send_all(fd, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
                  patience);
}

bool send_all(const Fd& fd, std::string_view bytes, Milliseconds patience) {
  auto deadline = std::chrono::steady_clock::now() + patience;
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      deadline = std::chrono::steady_clock::now() + patience;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
      return false;
    } else if (!wait_ready(fd, POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

Received receive_all(const Fd& fd, Milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  Received received;
  std::array<char, 65536> chunk{};
  while (wait_ready(fd, POLLIN, deadline)) {
    const ssize_t n = ::recv(fd.get(), chunk.data(), chunk.size(), 0);
    if (n <= 0) {
      received.closed = true;
      return received;
    }
    received.bytes.append(chunk.data(), static_cast<std::size_t>(n));
  }
  return received;
}

std::string receive_some(const Fd& fd, Milliseconds patience) {
  std::array<char, 65536> chunk{};
  if (!wait_ready(fd, POLLIN, std::chrono::steady_clock::now() + patience)) {
    return {};
  }
  const ssize_t n = ::recv(fd.get(), chunk.data(), chunk.size(), 0);
  return n > 0 ? std::string(chunk.data(), static_cast<std::size_t>(n)) : std::string();
}

}  // namespace lineq::test
