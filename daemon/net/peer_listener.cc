#include "daemon/net/peer_listener.h"

#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/net/unix_socket.h"

namespace lineq::net {
namespace {

constexpr int kBacklog = 511;

// True when nobody listens behind a socket's file any more.
bool is_stale(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool refused =
      fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  if (fd >= 0) {
    ::close(fd);
  }
  return refused;
}

// A descriptor, or what the system said, below 0.
int bind_tcp(const sockaddr_storage& address, socklen_t length, bool several) {
  const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return -errno;
  }
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.ss_family == AF_INET6 && several) {
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    const int error = errno;
    ::close(fd);
    return -error;
  }
  return fd;
}

Error refused(const std::string& text, int code) {
  return {code == UV_EADDRINUSE ? ErrorCode::kBusy : ErrorCode::kSystem,
          fmt::format("cannot listen on {}: {}", text, uv_strerror(code))};
}

}  // namespace

Result<std::unique_ptr<PeerListener>> PeerListener::listen(Loop& loop, engine::Engine& engine,
                                                           const cli::ListenerSettings& settings,
                                                           std::shared_ptr<TlsContext> tls,
                                                           u32 number) {
  using Kind = cli::PeerAddress::Kind;
  std::unique_ptr<PeerListener> made(new PeerListener(loop, engine));
  made->rules_.number = number;
  made->set_rules(settings, std::move(tls));
  const cli::PeerAddress& address = settings.address;
  const Status listening = address.kind == Kind::kTcp ? made->listen_tcp(address.host, address.port)
                                                      : made->listen_unix(address);
  if (!listening) {
    return listening.error();
  }
  return made;
}

void PeerListener::set_rules(const cli::ListenerSettings& settings,
                             std::shared_ptr<TlsContext> tls) {
  rules_.where = settings.address.text;
  rules_.own_name = settings.name;
  rules_.allowed_addresses = settings.allowed_addresses;
  rules_.allowed_peers = settings.allowed_peers;
  rules_.tls = std::move(tls);
  const std::vector<std::string>& names = rules_.allowed_peers;
  for (const auto& connection : connections_) {
    const engine::Peer* const peer = connection->peer();
    if (peer == nullptr) {
      continue;
    }
    if (!rules_.address_allowed(peer->endpoint.address)) {
      connection->close("its address is no longer among allowed_addresses");
    } else if (peer->no != kNoPeer && !names.empty() &&
               std::find(names.begin(), names.end(), peer->identity.remote_name) == names.end()) {
      connection->close("its name is no longer among allowed_peers");
    }
  }
}

Status PeerListener::listen_tcp(const std::string& host, u16 port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const bool any = host == "*";
  if (const int code =
          ::getaddrinfo(any ? nullptr : host.c_str(), any ? "0" : nullptr, &hints, &found);
      code != 0) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("cannot listen on {}: {}", host, ::gai_strerror(code))};
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);
  Status last = Error{ErrorCode::kNotFound, fmt::format("{} has no address", host)};
  const bool several = found->ai_next != nullptr;
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    sockaddr_storage address{};
    std::memcpy(&address, a->ai_addr, a->ai_addrlen);
    auto& in_port = a->ai_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port;
    in_port = htons(port);
    const int fd = bind_tcp(address, a->ai_addrlen, several);
    if (fd < 0) {
      // The name has other addresses, of which this machine may know fewer than its resolver.
      last = refused(address_text(address), fd);
    } else {
      socklen_t length = sizeof address;
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
      last = start(fd, address_text(address), true);
      port = ntohs(in_port);  // the same for the other addresses, when any would do
    }
    if (!last && last.error().code == ErrorCode::kBusy) {
      return last;
    }
  }
  return sockets_.empty() ? last : Status();
}

Status PeerListener::listen_unix(const cli::PeerAddress& address) {
  const bool path = address.kind == cli::PeerAddress::Kind::kUnix;
  if (path && is_stale(address.host)) {
    ::unlink(address.host.c_str());
  }
  const std::string text = path ? "unix@" + address.host : address.text;
  const int fd = bind_unix(address);
  if (fd < 0) {
    return refused(text, fd);
  }
  if (path) {
    unix_path_ = address.host;
    constexpr mode_t kAnybody = 0666;  // whoever wants less gives its directory fewer rights
    ::chmod(unix_path_.c_str(), kAnybody);
  }
  return start(fd, text, false);
}

Status PeerListener::start(int fd, std::string text, bool tcp) {
  auto socket = std::make_unique<Socket>();
  Socket& s = *socket;
  s.text = std::move(text);
  s.tcp = tcp;
  s.acceptor = std::make_unique<sockets::Acceptor>(
      *loop_.uv(), fd, [this, &s](int taken) { take(s, taken); },
      [this, &s](int taken, const std::string& why) { run_short(s, taken, why); });
  if (::listen(fd, kBacklog) != 0) {
    return refused(s.text, -errno);
  }
  if (const int code = s.acceptor->start(); code != 0) {
    return refused(s.text, code);
  }
  sockets_.push_back(std::move(socket));
  return {};
}

void PeerListener::take(Socket& socket, int fd) {
  if (std::exchange(socket.lacking, false)) {
    cli::log_notice("listener {}: takes connections again", socket.text);
  }
  connections_.push_back(PeerConnection::accept(loop_, engine_, fd, socket.tcp, rules_));
}

void PeerListener::run_short(Socket& socket, int fd, const std::string& why) {
  if (fd >= 0) {
    ::close(fd);
    engine_.turned_away();
  }
  socket.lacking = true;
  if (const auto hidden = rules_.limit.admit("descriptors", loop_.now())) {
    cli::log_err("listener {}: {}; {} until there is one, sessions go on ({} more before)",
                 socket.text, why, fd >= 0 ? "newcomers are turned away" : "newcomers wait",
                 *hidden);
  }
}

std::string PeerListener::addresses() const {
  std::string list;
  for (const auto& socket : sockets_) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", socket->text);
  }
  return list;
}

void PeerListener::flush() {
  for (const auto& connection : connections_) {
    connection->flush();
  }
  std::erase_if(connections_, [](const auto& c) { return c->closed(); });
}

void PeerListener::tick() {
  for (const auto& connection : connections_) {
    connection->tick();
  }
}

void PeerListener::close(std::string_view why) {
  for (const auto& socket : sockets_) {
    socket->acceptor->close();
  }
  for (const auto& connection : connections_) {
    connection->close(why);
  }
  if (!unix_path_.empty()) {
    ::unlink(unix_path_.c_str());
    unix_path_.clear();
  }
}

bool PeerListener::closed() const {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& c) { return c->closed(); });
}

PeerListener::~PeerListener() {
  close("lineqd stops");
  while (!closed()) {
    uv_run(loop_.uv(), UV_RUN_NOWAIT);
  }
}

}  // namespace lineq::net
