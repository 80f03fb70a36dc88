#include "daemon/net/peer_connection.h"

#include <array>

#include <fmt/format.h>
#include <netinet/in.h>

namespace lineq::net {
namespace {

constexpr u64 kLingerMs = 1000;

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

engine::Endpoint endpoint_of(const uv_stream_t* stream) {
  engine::Endpoint endpoint;
  sockaddr_storage address{};
  int length = sizeof address;
  if (stream->type == UV_TCP) {
    uv_tcp_getpeername(reinterpret_cast<const uv_tcp_t*>(stream),
                       reinterpret_cast<sockaddr*>(&address), &length);
  }
  endpoint.text = address_text(address, &endpoint.address);
  return endpoint;
}

std::unique_ptr<PeerConnection> PeerConnection::accept(Loop& loop, engine::Engine& engine,
                                                       uv_stream_t* listener) {
  std::unique_ptr<PeerConnection> made(new PeerConnection(loop, engine));
  PeerConnection& c = *made;
  if (listener->type == UV_TCP) {
    uv_tcp_init(loop.uv(), &c.socket_.tcp);
  } else {
    uv_pipe_init(loop.uv(), &c.socket_.pipe, 0);
  }
  c.stream()->data = &c;
  if (uv_accept(listener, c.stream()) != 0) {
    c.close_socket();
    return made;
  }
  if (listener->type == UV_TCP) {
    uv_tcp_nodelay(&c.socket_.tcp, 1);
  }
  c.peer_ = engine.open(endpoint_of(c.stream()), loop.now());
  if (c.peer_ == nullptr) {
    c.close_socket();
    return made;
  }
  uv_read_start(
      c.stream(),
      [](uv_handle_t* h, size_t, uv_buf_t* buffer) {
        const std::span<char> room = of(h->data).loop_.read_buffer();
        *buffer = uv_buf_init(room.data(), static_cast<unsigned>(room.size()));
      },
      [](uv_stream_t* s, ssize_t bytes, const uv_buf_t* buffer) {
        of(s->data).read(bytes, buffer);
      });
  return made;
}

PeerConnection::~PeerConnection() = default;

void PeerConnection::read(ssize_t bytes, const uv_buf_t* buffer) {
  if (bytes < 0) {
    close(bytes == UV_EOF ? "closed by the other side" : uv_strerror(static_cast<int>(bytes)));
    return;
  }
  if (state_ == State::kOpen && bytes > 0) {
    engine_.feed(*peer_, {reinterpret_cast<const u8*>(buffer->base), static_cast<size_t>(bytes)},
                 loop_.now());
  }
}

void PeerConnection::flush() {
  if (state_ != State::kOpen) {
    return;
  }
  peers::Session& session = peer_->session;
  if (!writing_ && !session.pending().empty()) {
    uv_buf_t buffer =
        uv_buf_init(reinterpret_cast<char*>(const_cast<u8*>(session.pending().data())),
                    static_cast<unsigned>(session.pending().size()));
    const int taken = uv_try_write(stream(), &buffer, 1);
    if (taken < 0 && taken != UV_EAGAIN) {
      close(uv_strerror(taken));
      return;
    }
    if (taken > 0) {
      session.consumed(static_cast<size_t>(taken));
    }
    if (!session.pending().empty()) {
      // The kernel has enough for now: the rest goes out when it takes more.
      session.swap_output(in_flight_);
      buffer = uv_buf_init(reinterpret_cast<char*>(const_cast<u8*>(in_flight_.pending().data())),
                           static_cast<unsigned>(in_flight_.size()));
      writing_ = true;
      uv_write(&write_, stream(), &buffer, 1,
               [](uv_write_t* w, int status) { of(w->handle->data).written(status); });
    }
  }
  if (state_ != State::kOpen) {
    return;
  }
  peer_->queued_bytes = writing_ ? uv_stream_get_write_queue_size(stream()) : 0;
  if (session.ended()) {
    finish();
  }
}

void PeerConnection::written(int status) {
  writing_ = false;
  in_flight_.clear();
  if (status < 0 && status != UV_ECANCELED) {
    close(uv_strerror(status));
  } else if (state_ == State::kOpen) {
    peer_->queued_bytes = 0;
  }
}

// The session is over. What it still had to say has been written or is on its way; unread input
// would turn the close into a reset that overtakes it.
void PeerConnection::finish() {
  const bool said_something = peer_->session.counters().bytes_out > 0;
  engine_.close(*peer_, "", loop_.now());
  peer_ = nullptr;
  if (!said_something || uv_shutdown(&shutdown_, stream(), [](uv_shutdown_t*, int) {}) != 0) {
    close_socket();
    return;
  }
  state_ = State::kLingering;
  linger_until_ = loop_.now() + kLingerMs;
}

void PeerConnection::tick() {
  if (state_ == State::kLingering && loop_.now() >= linger_until_) {
    close_socket();
  }
}

void PeerConnection::close(std::string_view why) {
  if (state_ == State::kOpen) {
    engine_.close(*peer_, why, loop_.now());
    peer_ = nullptr;
  }
  if (state_ == State::kOpen || state_ == State::kLingering) {
    close_socket();
  }
}

void PeerConnection::close_socket() {
  state_ = State::kClosing;
  uv_close(reinterpret_cast<uv_handle_t*>(stream()),
           [](uv_handle_t* h) { of(h->data).state_ = State::kClosed; });
}

}  // namespace lineq::net
