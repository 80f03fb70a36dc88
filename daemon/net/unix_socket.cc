#include "daemon/net/unix_socket.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include <sys/socket.h>
#include <sys/un.h>

namespace lineq::net {
namespace {

struct UnixAddress {
  sockaddr_un address{};
  socklen_t length = sizeof(sockaddr_un);
};

UnixAddress made_of(const cli::PeerAddress& from) {
  using Kind = cli::PeerAddress::Kind;
  UnixAddress to;
  to.address.sun_family = AF_UNIX;
  // An abstract name stands behind a NUL.
  const std::size_t at = from.kind == Kind::kUnix ? 0 : 1;
  const std::size_t size = std::min(from.host.size(), sizeof to.address.sun_path - 1);
  std::memcpy(to.address.sun_path + at, from.host.data(), size);
  if (from.kind == Kind::kAbstractShort) {
    to.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + at + size);
  }
  return to;
}

int opened(const cli::PeerAddress& where, int (*use)(int, const sockaddr*, socklen_t)) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return -errno;
  }
  const UnixAddress to = made_of(where);
  if (use(fd, reinterpret_cast<const sockaddr*>(&to.address), to.length) != 0) {
    const int error = errno;
    ::close(fd);
    return -error;
  }
  return fd;
}

}  // namespace

int connect_unix(const cli::PeerAddress& address) {
  // Never waits: a listener whose queue is full is EAGAIN, and tried again later.
  return opened(address, ::connect);
}

int bind_unix(const cli::PeerAddress& address) {
  return opened(address, ::bind);
}

}  // namespace lineq::net
