#include "webui/net/server.h"

#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "shm/support/assert.h"
#include "tools/cli/log.h"
#include "tools/sockets/acceptor.h"
#include "webui/net/connection.h"

namespace lineq::webnet {
namespace {

constexpr int kBacklog = 1024;
constexpr std::size_t kReadBufferBytes = 65536;
// Event listeners told in one turn of the loop; a request waits for no more than that.
constexpr std::size_t kSlice = 256;
constexpr u64 kTurnNs = 5'000'000;

std::string address_text(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address->sa_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
    ::inet_ntop(AF_INET6, &in->sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(in->sin6_port));
  }
  const auto* in = reinterpret_cast<const sockaddr_in*>(address);
  ::inet_ntop(AF_INET, &in->sin_addr, text.data(), text.size());
  return fmt::format("{}:{}", text.data(), ntohs(in->sin_port));
}

void set_port(sockaddr* address, u16 port) {
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = htons(port);
  }
}

u16 port_of(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

// Somebody listens there. With SO_REUSEPORT bind() alone would not tell.
bool taken(const sockaddr* address, socklen_t bytes) {
  const int fd = ::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return false;
  }
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  const bool in_use = ::bind(fd, address, bytes) != 0 && errno == EADDRINUSE;
  ::close(fd);
  return in_use;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

Error refused(const std::string& where, int error) {
  const bool absent = error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
  return {absent ? ErrorCode::kNotFound : ErrorCode::kBusy,
          fmt::format("cannot listen on {}: {}", where, uv_strerror(-error))};
}

// A socket file left by a killed process; true when it is gone or never was.
Status clear_stale_socket(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return {};
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Error{
        ErrorCode::kInvalid,
        fmt::format("cannot listen on unix@{}: a file that is not a socket is there", path)};
  }
  const sockaddr_un address = unix_address(path);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool refused =
      fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  if (fd >= 0) {
    ::close(fd);
  }
  if (!refused) {
    return Error{ErrorCode::kBusy,
                 fmt::format("cannot listen on unix@{}: another process does", path)};
  }
  ::unlink(path.c_str());
  return {};
}

}  // namespace

struct Server::Listening {
  std::string text;
  bool is_unix = false;
  std::unique_ptr<sockets::Acceptor> acceptor;
};

Server::Server(uv_loop_t& loop, const http::Router& router, ServerOptions options)
    : loop_(loop),
      router_(router),
      options_(std::move(options)),
      read_buffer_(kReadBufferBytes),
      stats_(options_.stats == nullptr ? own_stats_ : *options_.stats) {
  uv_timer_init(&loop_, &sweep_timer_);
  sweep_timer_.data = this;
  uv_timer_init(&loop_, &held_timer_);
  held_timer_.data = this;
  uv_idle_init(&loop_, &idle_);
  idle_.data = this;
}

Server::~Server() {
  LINEQ_ASSERT(first_ == nullptr);
}

Status Server::listen() {
  uv_timer_start(
      &sweep_timer_, [](uv_timer_t* timer) { static_cast<Server*>(timer->data)->sweep(); },
      options_.sweep_ms, options_.sweep_ms);
  return options_.unix_path.empty() ? listen_tcp() : listen_unix();
}

Status Server::listen_tcp() {
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const char* host = options_.host == "*" ? nullptr : options_.host.c_str();
  if (const int status = ::getaddrinfo(host, nullptr, &hints, &found); status != 0) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("cannot listen on {}: {}", options_.host, ::gai_strerror(status))};
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, &::freeaddrinfo);
  port_ = options_.port;
  Status last = Error{ErrorCode::kNotFound, fmt::format("{} has no address", options_.host)};
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    set_port(a->ai_addr, port_);
    Status status = bind_tcp(a->ai_addr, a->ai_addrlen);
    if (status) {
      continue;
    }
    // `localhost` may name ::1 on a machine without IPv6; a busy port is an error all the same.
    if (status.error().code != ErrorCode::kNotFound) {
      return status;
    }
    last = std::move(status);
  }
  return addresses_.empty() ? last : Status();
}

Status Server::bind_tcp(const sockaddr* address, socklen_t bytes) {
  const int fd = ::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return refused(address_text(address), errno);
  }
  if (port_ != 0 && taken(address, bytes)) {
    shared_ = true;
  }
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (address->sa_family == AF_INET6) {
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  if (::bind(fd, address, bytes) != 0) {
    const int error = errno;
    ::close(fd);
    return refused(address_text(address), error);
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length);
  auto listening = std::make_unique<Listening>();
  listening->text = address_text(reinterpret_cast<const sockaddr*>(&bound));
  Status status = take_connections(std::move(listening), fd);
  if (status) {
    port_ = port_of(bound);
  }
  return status;
}

Status Server::listen_unix() {
  const std::string& path = options_.unix_path;
  if (Status status = clear_stale_socket(path); !status) {
    return status;
  }
  auto listening = std::make_unique<Listening>();
  listening->text = "unix@" + path;
  listening->is_unix = true;
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const sockaddr_un address = unix_address(path);
  if (fd < 0 || ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    if (fd >= 0) {
      ::close(fd);
    }
    return Error{ErrorCode::kSystem, refused(listening->text, error).what};
  }
  // As open as a port on localhost; whoever wants less gives its directory fewer rights.
  constexpr mode_t kAnybody = 0666;
  ::chmod(path.c_str(), kAnybody);
  return take_connections(std::move(listening), fd);
}

Status Server::take_connections(std::unique_ptr<Listening> listening, int fd) {
  Listening& l = *listening;
  l.acceptor = std::make_unique<sockets::Acceptor>(
      loop_, fd, [this, &l](int taken) { accept(l, taken); },
      [this, &l](int taken, const std::string& why) { run_short(l, taken, why); });
  if (::listen(fd, kBacklog) != 0) {
    return refused(l.text, errno);
  }
  if (const int code = l.acceptor->start(); code != 0) {
    return refused(l.text, -code);
  }
  addresses_.push_back(l.text);
  listening_.push_back(std::move(listening));
  return {};
}

void Server::accept(const Listening& listening, int fd) {
  auto* connection = new Connection(*this, listening.is_unix);
  connection->after_ = first_;
  if (first_ != nullptr) {
    first_->before_ = connection;
  }
  first_ = connection;
  ++stats_.connections;
  ++open_;
  if (!connection->open(fd)) {
    return connection->close();
  }
  ++stats_.accepted;
  if (!admit(*connection)) {
    ++stats_.refused;
    return connection->refuse();
  }
  connection->start();
}

// Nobody hangs: HAProxy, or a browser, tries again.
void Server::run_short(const Listening& listening, int fd, const std::string& why) {
  if (fd >= 0) {
    ::close(fd);
    ++stats_.refused;
  }
  if (const auto hidden = descriptor_warnings_.admit("descriptors", uv_now(&loop_))) {
    cli::log_warning("{}: {}; {} until there is one ({} more before)", listening.text, why,
                     fd >= 0 ? "newcomers are turned away" : "newcomers wait", *hidden);
  }
}

bool Server::admit(Connection& connection) {
  if (open_ > options_.max_connections) {
    return false;
  }
  if (connection.unix_) {
    return true;
  }
  sockaddr_storage peer{};
  int length = sizeof peer;
  if (uv_tcp_getpeername(&connection.handle_.tcp, reinterpret_cast<sockaddr*>(&peer), &length) !=
      0) {
    return false;
  }
  Address& key = connection.address_;
  Address& from = connection.from_;
  if (peer.ss_family == AF_INET6) {
    constexpr std::size_t kNetwork = 8;  // one client may have a whole /64
    std::memcpy(from.data(), &reinterpret_cast<const sockaddr_in6*>(&peer)->sin6_addr, from.size());
    std::copy_n(from.begin(), kNetwork, key.begin());
  } else {
    from[10] = from[11] = 0xff;
    std::memcpy(from.data() + 12, &reinterpret_cast<const sockaddr_in*>(&peer)->sin_addr, 4);
    key = from;
  }
  std::size_t& count = per_address_[key];
  ++count;
  connection.counted_ = true;
  return count <= options_.max_per_address;
}

void Server::set_caps(std::size_t max_connections, std::size_t max_per_address) {
  options_.max_connections = max_connections;
  options_.max_per_address = max_per_address;
}

void Server::closed(Connection& connection) {
  (connection.before_ == nullptr ? first_ : connection.before_->after_) = connection.after_;
  if (connection.after_ != nullptr) {
    connection.after_->before_ = connection.before_;
  }
  --stats_.connections;
  --open_;
  if (connection.counted_) {
    if (const auto found = per_address_.find(connection.address_); --found->second == 0) {
      per_address_.erase(found);
    }
  }
  if (connection.waiting_) {
    soon_.erase(std::find(soon_.begin(), soon_.end(), &connection));
  }
  finish_if_drained();
}

void Server::run_soon(Connection& connection) {
  if (connection.waiting_) {
    return;
  }
  connection.waiting_ = true;
  soon_.push_back(&connection);
  uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<Server*>(idle->data)->run(); });
}

// Work that was put off so that others have their turn.
void Server::run() {
  // What a connection puts off again waits for the next turn. Nobody is deleted in here: that
  // happens in the loop's own phase for closing.
  // Nor are all of many served in one turn: a new request waits for kTurnNs at most.
  std::vector<Connection*> now = std::exchange(soon_, {});
  const u64 begun = uv_hrtime();
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (uv_hrtime() - begun > kTurnNs) {
      soon_.insert(soon_.begin(), now.begin() + static_cast<std::ptrdiff_t>(i), now.end());
      break;
    }
    now[i]->waiting_ = false;
    now[i]->resume();
  }
  const bool told = status_.step(kSlice);
  if (work_left_) {
    work_left_ = !work_();
  }
  if (told && soon_.empty() && !work_left_) {
    uv_idle_stop(&idle_);
  }
}

void Server::begin_work() {
  if (work_ && !stopping_) {
    work_left_ = true;
    uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<Server*>(idle->data)->run(); });
  }
}

bool Server::hold(Connection& connection) {
  if (held_.size() >= options_.max_held) {
    return false;
  }
  held_.push_back(&connection);
  if (held_.size() == 1) {
    uv_timer_start(
        &held_timer_, [](uv_timer_t* timer) { static_cast<Server*>(timer->data)->ask_held(); },
        options_.held_ms, options_.held_ms);
  }
  return true;
}

void Server::let_go(Connection& connection) {
  const auto found = std::find(held_.begin(), held_.end(), &connection);
  if (found == held_.end()) {
    return;
  }
  held_.erase(found);
  if (held_.empty()) {
    uv_timer_stop(&held_timer_);
  }
}

void Server::ask_held() {
  const u64 now = uv_now(&loop_);
  // Those that are decided leave held_; nobody is deleted in here.
  const std::vector<Connection*> now_held = held_;
  for (Connection* connection : now_held) {
    connection->decide(now);
  }
}

live::Broadcast* Server::broadcast(http::Channel channel) {
  return channel == http::Channel::kStatus ? &status_ : nullptr;
}

bool Server::anybody(http::Channel channel) const {
  return channel == http::Channel::kStatus && !status_.empty();
}

void Server::publish(http::Channel channel, live::Text text) {
  if (live::Broadcast* to = broadcast(channel); to != nullptr && !to->empty()) {
    to->publish(std::move(text));
    uv_idle_start(&idle_, [](uv_idle_t* idle) { static_cast<Server*>(idle->data)->run(); });
  }
}

void Server::sweep() {
  const u64 now = uv_now(&loop_);
  if (stopping_ && now >= drain_deadline_) {
    for (Connection* c = first_; c != nullptr; c = c->after_) {
      c->close();
    }
    return;
  }
  for (Connection* c = first_; c != nullptr; c = c->after_) {
    c->check_deadline(now);
  }
}

void Server::stop() {
  if (stopping_) {
    return;
  }
  stopping_ = true;
  drain_deadline_ = uv_now(&loop_) + options_.drain_ms;
  for (const auto& listening : listening_) {
    listening->acceptor->close();
    if (listening->is_unix) {
      ::unlink(options_.unix_path.c_str());
    }
  }
  for (Connection* c = first_; c != nullptr; c = c->after_) {
    c->drain();
  }
  ask_held();
  finish_if_drained();
}

void Server::finish_if_drained() {
  if (!stopping_ || first_ != nullptr) {
    return;
  }
  for (uv_handle_t* handle :
       {reinterpret_cast<uv_handle_t*>(&sweep_timer_), reinterpret_cast<uv_handle_t*>(&held_timer_),
        reinterpret_cast<uv_handle_t*>(&idle_)}) {
    if (uv_is_closing(handle) == 0) {
      uv_close(handle, nullptr);
    }
  }
}

}  // namespace lineq::webnet
