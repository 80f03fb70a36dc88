// One place where HAProxys connect: one or more listening sockets of one address, and all
// connections taken on them. One thread. The destructor runs the loop until everything is closed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/net/peer_connection.h"
#include "tools/sockets/acceptor.h"

namespace lineq::net {

class PeerListener {
 public:
  // Listens on all addresses of a host name. `number` tells it from other listeners. The error
  // names the address and what the system said.
  static Result<std::unique_ptr<PeerListener>> listen(Loop& loop, engine::Engine& engine,
                                                      const cli::ListenerSettings& settings,
                                                      std::shared_ptr<TlsContext> tls, u32 number);
  ~PeerListener();
  PeerListener(const PeerListener&) = delete;
  PeerListener& operator=(const PeerListener&) = delete;

  const std::string& address() const { return rules_.where; }  // as in the settings
  // As bound: "127.0.0.1:11111, [::1]:11111".
  std::string addresses() const;

  // Rules and certificates for connections from now on; those that are no longer allowed are
  // closed. The address stays.
  void set_rules(const cli::ListenerSettings& settings, std::shared_ptr<TlsContext> tls);

  void flush();  // end of a turn
  void tick();
  // Stops listening and closes all connections. The loop has to run until closed().
  void close(std::string_view why);
  bool closed() const;

 private:
  struct Socket {
    std::string text;
    bool tcp = false;
    bool lacking = false;  // descriptors
    std::unique_ptr<sockets::Acceptor> acceptor;
  };

  PeerListener(Loop& loop, engine::Engine& engine) : loop_(loop), engine_(engine) {}

  Status listen_tcp(const std::string& host, u16 port);
  Status listen_unix(const cli::PeerAddress& address);
  Status start(int fd, std::string text, bool tcp);
  void take(Socket& socket, int fd);
  void run_short(Socket& socket, int fd, const std::string& why);

  Loop& loop_;
  engine::Engine& engine_;
  std::vector<std::unique_ptr<Socket>> sockets_;
  std::string unix_path_;
  std::vector<std::unique_ptr<PeerConnection>> connections_;
  ListenerRules rules_;
};

}  // namespace lineq::net
