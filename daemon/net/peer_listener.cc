#include "daemon/net/peer_listener.h"

#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/socket.h>
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
                           : address.kind == Kind::kUnix ? made->listen_unix(address.host)
                                                         : made->listen_abstract(address);
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
    auto socket = std::make_unique<Socket>();
    socket->owner = this;
    socket->text = address_text(address);
    uv_tcp_init(loop_.uv(), &socket->handle.tcp);
    Socket& s = *socket;
    s.handle.stream.data = &s;
    sockets_.push_back(std::move(socket));
    const unsigned flags = a->ai_family == AF_INET6 && several ? unsigned{UV_TCP_IPV6ONLY} : 0U;
    int code = uv_tcp_bind(&s.handle.tcp, reinterpret_cast<const sockaddr*>(&address), flags);
    if (code == 0) {
      last = start(s);
    } else {
      last = refused(s.text, code);
    }
    if (!last) {
      // The name has other addresses, of which this machine may know fewer than its resolver.
      close(s);
      s.text.clear();
      if (code == UV_EADDRINUSE || last.error().code == ErrorCode::kBusy) {
        return last;
      }
      continue;
    }
    int length = sizeof address;
    uv_tcp_getsockname(&s.handle.tcp, reinterpret_cast<sockaddr*>(&address), &length);
    s.text = address_text(address);
    port = ntohs(in_port);  // the same for the other addresses, when any would do
  }
  return addresses().empty() ? last : Status();
}

Status PeerListener::listen_unix(const std::string& path) {
  if (is_stale(path)) {
    ::unlink(path.c_str());
  }
  Socket& s = add_pipe("unix@" + path);
  if (const int code = uv_pipe_bind(&s.handle.pipe, path.c_str()); code != 0) {
    return refused(s.text, code);
  }
  unix_path_ = path;
  uv_pipe_chmod(&s.handle.pipe, UV_READABLE | UV_WRITABLE);
  return start(s);
}

Status PeerListener::listen_abstract(const cli::PeerAddress& address) {
  Socket& s = add_pipe(address.text);
  const int fd = bind_abstract(address);
  if (const int code = fd < 0 ? fd : uv_pipe_open(&s.handle.pipe, fd); code != 0) {
    if (fd >= 0) {
      ::close(fd);
    }
    return refused(s.text, code);
  }
  return start(s);
}

PeerListener::Socket& PeerListener::add_pipe(const std::string& text) {
  sockets_.push_back(std::make_unique<Socket>());
  Socket& s = *sockets_.back();
  s.owner = this;
  s.text = text;
  uv_pipe_init(loop_.uv(), &s.handle.pipe, 0);
  s.handle.stream.data = &s;
  return s;
}

Status PeerListener::start(Socket& socket) {
  const int code = uv_listen(&socket.handle.stream, kBacklog, [](uv_stream_t* s, int status) {
    Socket& on = *static_cast<Socket*>(s->data);
    on.owner->connection(on, status);
  });
  return code == 0 ? Status() : refused(socket.text, code);
}

void PeerListener::connection(Socket& socket, int status) {
  if (status < 0) {
    // Without descriptors libuv takes and closes the connection, so that this does not come again
    // at once for the same one.
    if (const auto hidden = rules_.limit.admit("accept", loop_.now())) {
      cli::log_err("listener {}: cannot take a connection: {}; it is closed ({} more before)",
                   socket.text, uv_strerror(status), *hidden);
    }
    return;
  }
  connections_.push_back(PeerConnection::accept(loop_, engine_, &socket.handle.stream, rules_));
}

std::string PeerListener::addresses() const {
  std::string list;
  for (const auto& socket : sockets_) {
    if (!socket->text.empty()) {
      list += fmt::format("{}{}", list.empty() ? "" : ", ", socket->text);
    }
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

void PeerListener::close(Socket& socket) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&socket.handle.stream);
  if (uv_is_closing(handle) == 0) {
    uv_close(handle, [](uv_handle_t* h) { static_cast<Socket*>(h->data)->closed = true; });
  }
}

void PeerListener::close(std::string_view why) {
  for (const auto& socket : sockets_) {
    close(*socket);
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
  return std::all_of(sockets_.begin(), sockets_.end(), [](const auto& s) { return s->closed; }) &&
         std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& c) { return c->closed(); });
}

PeerListener::~PeerListener() {
  close("lineqd stops");
  while (!closed()) {
    uv_run(loop_.uv(), UV_RUN_NOWAIT);
  }
}

}  // namespace lineq::net
