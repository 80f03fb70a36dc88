#include "daemon/net/peer_connection.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <netinet/in.h>

#include "daemon/net/unix_socket.h"
#include "tools/sockets/acceptor.h"

namespace lineq::net {
namespace {

constexpr u64 kLingerMs = 1000;
constexpr u64 kTlsHandshakeMs = 5000;
// Encrypted at a time; what the network does not take waits as plain text, where it is counted.
constexpr std::size_t kEncryptedPiece = std::size_t{256} << 10;

std::string dial_error(int code) {
  const std::string shortage = sockets::shortage(-code);
  return shortage.empty() ? uv_strerror(code) : shortage;
}

std::string more_before(u64 hidden) {
  return hidden == 0 ? "" : fmt::format(" ({} more before)", hidden);
}

}  // namespace

std::string address_text(const sockaddr_storage& address, std::string* host) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    uv_ip4_name(&in, text.data(), text.size());
    if (host != nullptr) {
      *host = text.data();
    }
    return fmt::format("{}:{}", text.data(), ntohs(in.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    uv_ip6_name(&in, text.data(), text.size());
    std::string_view name = text.data();
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&in.sin6_addr);
    if (mapped) {
      name.remove_prefix(std::string_view("::ffff:").size());
    }
    if (host != nullptr) {
      *host = name;
    }
    return mapped ? fmt::format("{}:{}", name, ntohs(in.sin6_port))
                  : fmt::format("[{}]:{}", name, ntohs(in.sin6_port));
  }
  if (host != nullptr) {
    *host = "unix";
  }
  return "unix";
}

std::optional<engine::Endpoint> endpoint_of(const uv_stream_t* stream) {
  engine::Endpoint endpoint;
  sockaddr_storage address{};
  int length = sizeof address;
  if (stream->type == UV_TCP &&
      uv_tcp_getpeername(reinterpret_cast<const uv_tcp_t*>(stream),
                         reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return std::nullopt;
  }
  endpoint.text = address_text(address, &endpoint.address);
  return endpoint;
}

bool ListenerRules::address_allowed(const std::string& address) const {
  return allowed_addresses.empty() ||
         std::any_of(allowed_addresses.begin(), allowed_addresses.end(),
                     [&](const cli::AddressRange& range) { return range.contains(address); });
}

// --- beginning ---

std::unique_ptr<PeerConnection> PeerConnection::accept(Loop& loop, engine::Engine& engine, int fd,
                                                       bool tcp, ListenerRules& rules) {
  std::unique_ptr<PeerConnection> made(new PeerConnection(loop, engine));
  PeerConnection& c = *made;
  c.rules_ = &rules;
  if (tcp) {
    uv_tcp_init(loop.uv(), &c.socket_.tcp);
  } else {
    uv_pipe_init(loop.uv(), &c.socket_.pipe, 0);
  }
  c.stream()->data = &c;
  if ((tcp ? uv_tcp_open(&c.socket_.tcp, fd) : uv_pipe_open(&c.socket_.pipe, fd)) != 0) {
    ::close(fd);
    c.close_socket();
    return made;
  }
  std::optional<engine::Endpoint> from = endpoint_of(c.stream());
  if (!from) {
    engine.turned_away();
    c.close_socket();
    return made;
  }
  engine::Endpoint& endpoint = *from;
  if (!rules.address_allowed(endpoint.address)) {
    if (const auto hidden = rules.limit.admit("address " + endpoint.address, loop.now())) {
      std::string allowed;
      for (const cli::AddressRange& range : rules.allowed_addresses) {
        allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", range.text());
      }
      cli::log_warning("listener {}: {} is not among allowed_addresses ({}), closing{}",
                       rules.where, endpoint.text, allowed, more_before(*hidden));
    }
    engine.turned_away();
    c.close_socket();
    return made;
  }
  if (tcp) {
    uv_tcp_nodelay(&c.socket_.tcp, 1);
  }
  endpoint.listener = rules.number;
  endpoint.own_name = rules.own_name;
  endpoint.allowed_peers = rules.allowed_peers;
  c.peer_ = engine.open(std::move(endpoint), loop.now());
  if (c.peer_ == nullptr) {
    c.close_socket();
    return made;
  }
  if (rules.tls != nullptr) {
    c.start_tls(rules.tls);
  }
  c.start_reading();
  return made;
}

std::unique_ptr<PeerConnection> PeerConnection::dial(Loop& loop, engine::Engine& engine,
                                                     const sockaddr_storage& address,
                                                     DialTarget target) {
  std::unique_ptr<PeerConnection> made(new PeerConnection(loop, engine));
  PeerConnection& c = *made;
  c.target_ = std::move(target);
  c.state_ = State::kConnecting;
  uv_tcp_init(loop.uv(), &c.socket_.tcp);
  c.stream()->data = &c;
  const int code =
      uv_tcp_connect(&c.connect_, &c.socket_.tcp, reinterpret_cast<const sockaddr*>(&address),
                     [](uv_connect_t* r, int status) { of(r->handle->data).connected(status); });
  if (code != 0) {
    c.close(dial_error(code));
  }
  return made;
}

std::unique_ptr<PeerConnection> PeerConnection::dial(Loop& loop, engine::Engine& engine,
                                                     const cli::PeerAddress& unix_socket,
                                                     DialTarget target) {
  std::unique_ptr<PeerConnection> made(new PeerConnection(loop, engine));
  PeerConnection& c = *made;
  c.target_ = std::move(target);
  c.state_ = State::kConnecting;
  uv_pipe_init(loop.uv(), &c.socket_.pipe, 0);
  c.stream()->data = &c;
  const int fd = connect_unix(unix_socket);
  const int code = fd < 0 ? fd : uv_pipe_open(&c.socket_.pipe, fd);
  if (fd >= 0 && code != 0) {
    ::close(fd);
  }
  c.connected(code);
  return made;
}

PeerConnection::~PeerConnection() = default;

void PeerConnection::connected(int status) {
  if (state_ != State::kConnecting) {
    return;  // given up meanwhile
  }
  if (status != 0) {
    close(dial_error(status));
    return;
  }
  state_ = State::kOpen;
  if (stream()->type == UV_TCP) {
    uv_tcp_nodelay(&socket_.tcp, 1);
  }
  if (target_.tls != nullptr) {
    start_tls(target_.tls);
  } else {
    start_session();
  }
  if (state_ == State::kOpen) {
    start_reading();
  }
}

void PeerConnection::start_reading() {
  uv_read_start(
      stream(),
      [](uv_handle_t* h, size_t, uv_buf_t* buffer) {
        const std::span<char> room = of(h->data).loop_.read_buffer();
        *buffer = uv_buf_init(room.data(), static_cast<unsigned>(room.size()));
      },
      [](uv_stream_t* s, ssize_t bytes, const uv_buf_t* buffer) {
        of(s->data).read(bytes, buffer);
      });
}

void PeerConnection::start_tls(const std::shared_ptr<TlsContext>& context) {
  tls_ = std::make_unique<TlsStream>(context);
}

// Dialled, and it is time for our hello.
void PeerConnection::start_session() {
  peer_ = engine_.dial(target_.endpoint, target_.hello, loop_.now());
  if (peer_ == nullptr) {
    close("too many connections are open");
  }
}

std::string_view PeerConnection::waits_for() const {
  return state_ == State::kConnecting       ? "a connection"
         : tls_ != nullptr && !tls_->open() ? "the end of the TLS handshake"
                                            : "a status";
}

// --- bytes ---

void PeerConnection::read(ssize_t bytes, const uv_buf_t* buffer) {
  if (bytes < 0) {
    close(bytes == UV_EOF ? "closed by the other side" : uv_strerror(static_cast<int>(bytes)));
    return;
  }
  if (state_ != State::kOpen || bytes == 0) {
    return;
  }
  const std::span<const u8> input(reinterpret_cast<const u8*>(buffer->base),
                                  static_cast<size_t>(bytes));
  if (tls_ == nullptr) {
    feed(input);
    return;
  }
  tls_->receive(input, [this](std::span<const u8> plain) { feed(plain); });
  look_at_tls();
}

void PeerConnection::feed(std::span<const u8> plain) {
  if (tls_ != nullptr && !tls_done_) {
    look_at_tls();  // the first bytes came along with the end of the handshake
  }
  if (peer_ != nullptr) {
    engine_.feed(*peer_, plain, loop_.now());
  }
}

void PeerConnection::look_at_tls() {
  if (state_ != State::kOpen) {
    return;
  }
  if (tls_->failed()) {
    const std::string why = "TLS: " + tls_->failure();
    if (rules_ != nullptr && peer_ != nullptr && peer_->no == kNoPeer) {
      if (const auto hidden = rules_->limit.admit("tls " + peer_->endpoint.address, loop_.now())) {
        cli::log_warning("{}: {}, closing{}", peer_->who, why, more_before(*hidden));
      }
      peer_->reported_over = true;
    }
    lose(why);
    finish();
  } else if (tls_->closed()) {
    close("closed by the other side");
  } else if (tls_->open() && !tls_done_) {
    tls_done_ = true;
    if (peer_ == nullptr) {
      start_session();
    }
    if (peer_ != nullptr) {
      cli::log_debug("{}: {}", peer_->who, tls_->description());
    }
  }
}

// What the socket is to get next; encrypts a piece when all of the last one is out.
std::span<const u8> PeerConnection::next_output() {
  if (tls_ == nullptr) {
    return peer_ == nullptr ? std::span<const u8>() : peer_->session.pending();
  }
  if (tls_->pending().empty() && tls_->open() && peer_ != nullptr) {
    const std::span<const u8> plain = peer_->session.pending();
    const auto piece = plain.first(std::min(plain.size(), kEncryptedPiece));
    tls_->send(piece);
    peer_->session.consumed(piece.size());
  }
  return tls_->pending();
}

void PeerConnection::consumed(std::size_t bytes) {
  if (tls_ == nullptr) {
    peer_->session.consumed(bytes);
  } else {
    tls_->consumed(bytes);
  }
}

// False when there is nothing more to write now.
bool PeerConnection::write_some() {
  const std::span<const u8> output = next_output();
  if (output.empty()) {
    return false;
  }
  uv_buf_t buffer = uv_buf_init(reinterpret_cast<char*>(const_cast<u8*>(output.data())),
                                static_cast<unsigned>(output.size()));
  const int taken = uv_try_write(stream(), &buffer, 1);
  if (taken < 0 && taken != UV_EAGAIN) {
    close(uv_strerror(taken));
    return false;
  }
  const bool all = taken >= 0 && static_cast<std::size_t>(taken) == output.size();
  if (taken > 0) {
    consumed(static_cast<std::size_t>(taken));
  }
  if (all) {
    return tls_ != nullptr;
  }
  // The kernel has enough for now: the rest goes out when it takes more.
  if (tls_ == nullptr) {
    peer_->session.swap_output(in_flight_);
  } else {
    tls_->swap_output(in_flight_);
  }
  buffer = uv_buf_init(reinterpret_cast<char*>(const_cast<u8*>(in_flight_.pending().data())),
                       static_cast<unsigned>(in_flight_.size()));
  writing_ = true;
  uv_write(&write_, stream(), &buffer, 1,
           [](uv_write_t* w, int status) { of(w->handle->data).written(status); });
  return false;
}

void PeerConnection::flush() {
  if (state_ != State::kOpen) {
    return;
  }
  while (!writing_ && write_some()) {
  }
  if (tls_ != nullptr && tls_->failed()) {
    look_at_tls();
  }
  if (state_ != State::kOpen || peer_ == nullptr) {
    return;
  }
  peer_->queued_bytes = writing_ ? uv_stream_get_write_queue_size(stream()) : 0;
  // Under TLS the last words may have to wait until what is on its way is out.
  if (peer_->session.ended() && (tls_ == nullptr || !writing_)) {
    const bool said_something = tls_ != nullptr || peer_->session.counters().bytes_out > 0;
    lose("");
    if (said_something) {
      finish();
    } else {
      close_socket();
    }
  }
}

void PeerConnection::written(int status) {
  writing_ = false;
  in_flight_.clear();
  if (status < 0 && status != UV_ECANCELED) {
    close(uv_strerror(status));
  } else if (peer_ != nullptr) {
    peer_->queued_bytes = 0;
  }
}

// --- end ---

// The session, if there is one, is over; the socket may still have something to say.
void PeerConnection::lose(std::string_view why) {
  if (!outcome_) {
    outcome_.emplace().reason = why;
  }
  if (peer_ == nullptr) {
    return;
  }
  const peers::Session& session = peer_->session;
  outcome_->established = peer_->no != kNoPeer;
  outcome_->status = session.status();
  if (session.ended()) {
    outcome_->reason = session.end_reason();
  }
  engine_.close(*peer_, why, loop_.now());
  peer_ = nullptr;
}

// What is left for the other side of TLS: an alert, or the end.
void PeerConnection::say_goodbye() {
  tls_->shutdown();
  if (!writing_ && !tls_->pending().empty()) {
    uv_buf_t buffer = uv_buf_init(reinterpret_cast<char*>(const_cast<u8*>(tls_->pending().data())),
                                  static_cast<unsigned>(tls_->pending().size()));
    uv_try_write(stream(), &buffer, 1);
  }
}

// What there was to say has been written or is on its way; unread input would turn the close into a
// reset that overtakes it.
void PeerConnection::finish() {
  if (tls_ != nullptr) {
    say_goodbye();
  }
  if (uv_shutdown(&shutdown_, stream(), [](uv_shutdown_t*, int) {}) != 0) {
    close_socket();
    return;
  }
  state_ = State::kLingering;
  linger_until_ = loop_.now() + kLingerMs;
}

void PeerConnection::tick() {
  if (state_ == State::kLingering && loop_.now() >= linger_until_) {
    close_socket();
  } else if (state_ == State::kOpen && rules_ != nullptr && tls_ != nullptr && !tls_->open() &&
             loop_.now() - opened_ms_ >= kTlsHandshakeMs) {
    tls_->give_up(fmt::format("handshake not finished within {} ms", kTlsHandshakeMs));
    look_at_tls();
  }
}

void PeerConnection::close(std::string_view why) {
  if (state_ == State::kOpen || state_ == State::kConnecting) {
    lose(why);
  }
  if (state_ != State::kClosing && state_ != State::kClosed) {
    close_socket();
  }
}

void PeerConnection::close_socket() {
  if (!outcome_) {
    outcome_.emplace().reason = "closed";
  }
  state_ = State::kClosing;
  uv_close(reinterpret_cast<uv_handle_t*>(stream()),
           [](uv_handle_t* h) { of(h->data).state_ = State::kClosed; });
}

}  // namespace lineq::net
