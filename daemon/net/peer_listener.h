// Where HAProxys connect: one or more listening sockets of one address, and all connections taken
// on them. One thread. The destructor runs the loop until everything is closed.
#pragma once

#include <uv.h>

#include <memory>
#include <string>
#include <vector>

#include "daemon/net/peer_connection.h"

namespace lineq::net {

class PeerListener {
 public:
  // `host`: a name (all its addresses), an address, or unix@/path. Port 0 takes any free one.
  // The error names the address and what the system said.
  static Result<std::unique_ptr<PeerListener>> listen(Loop& loop, engine::Engine& engine,
                                                      const std::string& host, u16 port);
  ~PeerListener();
  PeerListener(const PeerListener&) = delete;
  PeerListener& operator=(const PeerListener&) = delete;

  // As bound: "127.0.0.1:11111, [::1]:11111".
  std::string addresses() const;

  void flush();  // end of a turn
  void tick();
  // Stops listening and closes all connections. The loop has to run until closed().
  void close(std::string_view why);
  bool closed() const;

 private:
  struct Socket {
    union {
      uv_stream_t stream;
      uv_tcp_t tcp;
      uv_pipe_t pipe;
    } handle{};
    PeerListener* owner = nullptr;
    std::string text;
    bool closed = false;
  };

  PeerListener(Loop& loop, engine::Engine& engine) : loop_(loop), engine_(engine) {}

  Status listen_tcp(const std::string& host, u16 port);
  Status listen_unix(const std::string& path);
  static Status start(Socket& socket);
  static void close(Socket& socket);
  void connection(Socket& socket, int status);

  Loop& loop_;
  engine::Engine& engine_;
  std::vector<std::unique_ptr<Socket>> sockets_;
  std::string unix_path_;
  std::vector<std::unique_ptr<PeerConnection>> connections_;
  cli::LogLimit limit_;
};

}  // namespace lineq::net
