// All listeners and all HAProxys to dial, as the settings have them. One thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/net/peer_connector.h"
#include "daemon/net/peer_listener.h"

namespace lineq::net {

class PeerNet {
 public:
  // The error says which listener or HAProxy, which file or address, and why.
  static Result<std::unique_ptr<PeerNet>> open(Loop& loop, engine::Engine& engine,
                                               const cli::Settings& settings);
  ~PeerNet();
  PeerNet(const PeerNet&) = delete;
  PeerNet& operator=(const PeerNet&) = delete;

  // Reads certificates and keys and forgets them again: `lineqd -t`.
  static Status check_certificates(const cli::Settings& settings);

  // Takes over certificates, access rules, our names and the HAProxys to dial. Listeners keep their
  // addresses: false when those have changed and would need a restart. On an error everything stays
  // as it was.
  Result<bool> reload(const cli::Settings& settings);

  std::string addresses() const;

  void flush();  // end of a turn
  void tick();
  void close(std::string_view why);

 private:
  PeerNet(Loop& loop, engine::Engine& engine) : loop_(loop), engine_(engine) {}

  struct Contexts;
  static Result<Contexts> contexts_of(const cli::Settings& settings);
  void dial(const cli::Settings& settings, Contexts& contexts);

  Loop& loop_;
  engine::Engine& engine_;
  std::vector<std::unique_ptr<PeerListener>> listeners_;
  std::vector<std::unique_ptr<PeerConnector>> connectors_;
  std::vector<std::unique_ptr<PeerConnector>> leaving_;  // no longer in the settings
};

}  // namespace lineq::net
