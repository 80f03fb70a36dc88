// One peers connection, taken or dialled: a socket, TLS if wanted, and the engine's Peer behind it.
// One write a turn.
//
// Lives until its socket is closed; PeerListener or PeerConnector keeps it. After the end of its
// session it may linger for a moment, so that an error message gets through to who is still
// sending.
#pragma once

#include <uv.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/engine/engine.h"
#include "daemon/net/loop.h"
#include "daemon/net/tls_stream.h"

namespace lineq::net {

// Who gets in at a listener, and as what.
struct ListenerRules {
  u32 number = 0;
  std::string where;                                 // for the log: "127.0.0.1:11111"
  std::string own_name;                              // what HAProxys have to call us
  std::vector<cli::AddressRange> allowed_addresses;  // empty = all
  std::vector<std::string> allowed_peers;            // empty = all
  std::shared_ptr<TlsContext> tls;                   // null = plain; shared with its connections
  cli::LogLimit limit;                               // for what strangers can provoke

  bool address_allowed(const std::string& address) const;
};

// Whom we dial.
struct DialTarget {
  engine::Endpoint endpoint;
  peers::Hello hello;
  std::shared_ptr<TlsContext> tls;  // null = plain; shared with the next attempts
};

// How a connection ended.
struct ConnectionOutcome {
  bool established = false;  // there was a session
  u32 status = 0;            // dialled: what it answered to our hello; 0 = nothing
  std::string reason;
};

class PeerConnection {
 public:
  // A connection that a listener took: `fd`, of TCP or of a Unix socket. Closes at once when it is
  // gone again, is not allowed here, or is one too many. `rules` outlive it.
  static std::unique_ptr<PeerConnection> accept(Loop& loop, engine::Engine& engine, int fd,
                                                bool tcp, ListenerRules& rules);
  static std::unique_ptr<PeerConnection> dial(Loop& loop, engine::Engine& engine,
                                              const sockaddr_storage& address, DialTarget target);
  static std::unique_ptr<PeerConnection> dial(Loop& loop, engine::Engine& engine,
                                              const cli::PeerAddress& unix_socket,
                                              DialTarget target);
  ~PeerConnection();
  PeerConnection(const PeerConnection&) = delete;
  PeerConnection& operator=(const PeerConnection&) = delete;

  // End of a turn: writes what the session has, or ends with it.
  void flush();
  // Gives up what lingers or shakes hands for too long.
  void tick();
  void close(std::string_view why);
  // The socket is closed: destroy this.
  bool closed() const { return state_ == State::kClosed; }

  // Null before the session and after it.
  const engine::Peer* peer() const { return peer_; }
  // Set as soon as nothing more can come of it.
  const std::optional<ConnectionOutcome>& outcome() const { return outcome_; }
  // What an attempt is waiting for: "a connection", "the end of the TLS handshake", "a status".
  std::string_view waits_for() const;

 private:
  enum class State { kConnecting, kOpen, kLingering, kClosing, kClosed };

  PeerConnection(Loop& loop, engine::Engine& engine)
      : loop_(loop), engine_(engine), opened_ms_(loop.now()) {}

  static PeerConnection& of(void* data) { return *static_cast<PeerConnection*>(data); }
  uv_stream_t* stream() { return &socket_.stream; }
  void connected(int status);
  void start_reading();
  void start_tls(const std::shared_ptr<TlsContext>& context);
  void start_session();
  void read(ssize_t bytes, const uv_buf_t* buffer);
  void feed(std::span<const u8> plain);
  void look_at_tls();
  std::span<const u8> next_output();
  void consumed(std::size_t bytes);
  bool write_some();
  void written(int status);
  void lose(std::string_view why);
  void say_goodbye();
  void finish();
  void close_socket();

  Loop& loop_;
  engine::Engine& engine_;
  const SegmentMs opened_ms_;
  ListenerRules* rules_ = nullptr;  // of the listener that took it
  DialTarget target_;               // dialled
  engine::Peer* peer_ = nullptr;    // while kOpen; dialled: once it is time for our hello
  std::unique_ptr<TlsStream> tls_;
  bool tls_done_ = false;  // the handshake, and what follows from it
  State state_ = State::kOpen;
  std::optional<ConnectionOutcome> outcome_;
  union {
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } socket_{};
  peers::OutputBuffer in_flight_;
  uv_write_t write_{};
  bool writing_ = false;
  uv_connect_t connect_{};
  uv_shutdown_t shutdown_{};
  SegmentMs linger_until_ = 0;
};

// "10.0.0.7" and "10.0.0.7:41234" of the far end, "unix" for Unix sockets; nothing when the far end
// has reset the connection already.
std::optional<engine::Endpoint> endpoint_of(const uv_stream_t* stream);
// "127.0.0.1:11111", "[::1]:11111"; the address alone in `host`, if wanted.
std::string address_text(const sockaddr_storage& address, std::string* host = nullptr);

}  // namespace lineq::net
