// lineq-web's sockets: listen, accept, read requests, send replies. libuv at the edge; what a
// request means is the router's business.
//
//   Server server(loop, router, options);
//   if (Status s = server.listen(); !s) ...
//   uv_run(loop) ; server.stop() on SIGTERM: the loop ends when the last answer is out
//
// Bounded against strangers: connections in all and per address, an absolute deadline for the head
// of a request (not an idle timer: a byte a second does not help), for its body, and for a reader
// that takes nothing; one block in flight per stream; events skip states for a slow reader.
// One thread: the loop's.
#pragma once

#include <uv.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shm/support/ints.h"
#include "shm/support/result.h"
#include "tools/cli/log.h"
#include "webui/http/request.h"
#include "webui/http/router.h"
#include "webui/http/stats.h"
#include "webui/live/broadcast.h"

namespace lineq::webnet {

class Connection;

struct ServerOptions {
  std::string host = "localhost";  // every address it has
  u16 port = 8060;                 // 0: any free one, see Server::port()
  std::string unix_path;           // instead of host and port
  std::size_t max_connections = 10000;
  std::size_t max_per_address = 5000;  // a /64 of IPv6 counts as one; Unix sockets are not counted
  http::Limits limits;
  u64 head_ms = 10000;           // from the first byte to the end of the head
  u64 body_ms = 30000;           // from there to the end of the body
  u64 idle_ms = 60000;           // between requests
  u64 write_ms = 60000;          // without the reader taking a byte
  u64 linger_ms = 2000;          // after an error: for the client to read it
  u64 drain_ms = 10000;          // after stop(): for answers under way
  u64 ping_ms = 30000;           // a WebSocket silent for so long is asked whether it is there
  u64 pong_ms = 20000;           // ... and closed when it says nothing for so long
  u64 sweep_ms = 1000;           // how often deadlines are looked at
  u32 retry_ms = 3000;           // told to event readers at stop()
  std::size_t max_held = 1024;   // answers put off at one time; beyond, they are given at once
  u64 held_ms = 10;              // how often one that is put off is asked for
  http::Stats* stats = nullptr;  // counts there, with other servers; outlives the server
};

class Server {
 public:
  // `loop` and `router` outlive the server; destroy it after the loop has ended.
  Server(uv_loop_t& loop, const http::Router& router, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;

  // TCP: SO_REUSEPORT, so several processes may serve one port. An Error names the address and what
  // the system said.
  Status listen();
  u16 port() const { return port_; }
  const std::vector<std::string>& addresses() const { return addresses_; }
  // The port is shared with somebody who was there before.
  bool shared() const { return shared_; }

  // No new connections or requests; answers under way are finished, event streams are told when to
  // come back. The server's handles are closed when all is done, or after drain_ms.
  void stop();

  bool anybody(http::Channel channel) const;
  // Starts a round; the loop carries it on.
  void publish(http::Channel channel, live::Text text);

  const http::Stats& stats() const { return stats_; }
  http::Stats& stats() { return stats_; }
  // For connections to come.
  void set_caps(std::size_t max_connections, std::size_t max_per_address);

  // Work to be done in slices, so that requests are answered in between: `step` does one and says
  // whether nothing is left. begin_work() after there is some. Set before the loop runs.
  void set_work(std::function<bool()> step) { work_ = std::move(step); }
  void begin_work();

 private:
  friend class Connection;
  struct Listening;
  using Address = std::array<u8, 16>;

  Status listen_tcp();
  Status listen_unix();
  Status bind_tcp(const sockaddr* address, socklen_t bytes);
  Status take_connections(std::unique_ptr<Listening> listening, int fd);
  void accept(const Listening& listening, int fd);
  void run_short(const Listening& listening, int fd, const std::string& why);
  bool admit(Connection& connection);
  void closed(Connection& connection);
  void run_soon(Connection& connection);
  void run();
  bool hold(Connection& connection);
  void let_go(Connection& connection);
  void ask_held();
  void sweep();
  void finish_if_drained();
  live::Broadcast* broadcast(http::Channel channel);

  uv_loop_t& loop_;
  const http::Router& router_;
  ServerOptions options_;
  std::vector<std::unique_ptr<Listening>> listening_;
  std::vector<std::string> addresses_;
  u16 port_ = 0;
  bool shared_ = false;
  bool stopping_ = false;
  u64 drain_deadline_ = 0;
  uv_timer_t sweep_timer_{};
  uv_idle_t idle_{};

  Connection* first_ = nullptr;
  std::map<Address, std::size_t> per_address_;
  std::vector<Connection*> soon_;
  std::vector<Connection*> held_;
  uv_timer_t held_timer_{};
  std::function<bool()> work_;
  bool work_left_ = false;
  live::Broadcast status_;
  std::vector<char> read_buffer_;  // one for all: libuv reads right after it asks for it
  http::Stats own_stats_;
  http::Stats& stats_;
  std::size_t open_ = 0;  // connections of this server
  cli::LogLimit descriptor_warnings_;
};

}  // namespace lineq::webnet
