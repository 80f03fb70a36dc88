// One connection of the peers listener: a socket and the engine's Peer behind it. One write a turn.
//
// Lives until its socket is closed; PeerListener keeps it. After the end of its session it may
// linger for a moment, so that an error message gets through to who is still sending.
#pragma once

#include <uv.h>

#include <memory>
#include <string>
#include <string_view>

#include "daemon/engine/engine.h"
#include "daemon/net/loop.h"

namespace lineq::net {

class PeerConnection {
 public:
  // Takes the waiting connection of `listener`, which is a TCP or a Unix socket. Closes at once
  // when it is gone again, or is one too many.
  static std::unique_ptr<PeerConnection> accept(Loop& loop, engine::Engine& engine,
                                                uv_stream_t* listener);
  ~PeerConnection();
  PeerConnection(const PeerConnection&) = delete;
  PeerConnection& operator=(const PeerConnection&) = delete;

  // End of a turn: writes what the session has, or ends with it.
  void flush();
  // Gives up what lingers too long.
  void tick();
  void close(std::string_view why);
  // The socket is closed: destroy this.
  bool closed() const { return state_ == State::kClosed; }

 private:
  enum class State { kOpen, kLingering, kClosing, kClosed };

  PeerConnection(Loop& loop, engine::Engine& engine) : loop_(loop), engine_(engine) {}

  static PeerConnection& of(void* data) { return *static_cast<PeerConnection*>(data); }
  uv_stream_t* stream() { return &socket_.stream; }
  void read(ssize_t bytes, const uv_buf_t* buffer);
  void written(int status);
  void finish();
  void close_socket();

  Loop& loop_;
  engine::Engine& engine_;
  engine::Peer* peer_ = nullptr;  // while kOpen
  State state_ = State::kOpen;
  union {
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } socket_{};
  peers::OutputBuffer in_flight_;
  uv_write_t write_{};
  bool writing_ = false;
  uv_shutdown_t shutdown_{};
  SegmentMs linger_until_ = 0;
};

// "10.0.0.7" and "10.0.0.7:41234" of the far end, "unix" for Unix sockets.
engine::Endpoint endpoint_of(const uv_stream_t* stream);
// "127.0.0.1:11111", "[::1]:11111"; the address alone in `host`, if wanted.
std::string address_text(const sockaddr_storage& address, std::string* host = nullptr);

}  // namespace lineq::net
