#include "daemon/net/peer_net.h"

#include <algorithm>

#include <fmt/format.h>

namespace lineq::net {

// In the order of the settings; null = plain.
struct PeerNet::Contexts {
  std::vector<std::shared_ptr<TlsContext>> listeners;
  std::vector<std::shared_ptr<TlsContext>> peers;
};

Result<PeerNet::Contexts> PeerNet::contexts_of(const cli::Settings& settings) {
  Contexts contexts;
  for (const cli::ListenerSettings& listener : settings.listeners) {
    contexts.listeners.emplace_back();
    if (listener.tls) {
      auto made = TlsContext::make(TlsContext::Side::kListener, *listener.tls);
      if (!made) {
        return Error{made.error().code,
                     fmt::format("listener {}: {}", listener.address.text, made.error().what)};
      }
      contexts.listeners.back() = made.take();
    }
  }
  for (const cli::DialSettings& peer : settings.peers) {
    contexts.peers.emplace_back();
    if (peer.tls) {
      auto made =
          TlsContext::make(TlsContext::Side::kConnector, *peer.tls, peer.address.identity());
      if (!made) {
        return Error{made.error().code, fmt::format("peer {}: {}", peer.name, made.error().what)};
      }
      contexts.peers.back() = made.take();
    }
  }
  return contexts;
}

Status PeerNet::check_certificates(const cli::Settings& settings) {
  const Result<Contexts> contexts = contexts_of(settings);
  return contexts ? Status() : Status(contexts.error());
}

Result<std::unique_ptr<PeerNet>> PeerNet::open(Loop& loop, engine::Engine& engine,
                                               const cli::Settings& settings) {
  Result<Contexts> contexts = contexts_of(settings);
  if (!contexts) {
    return contexts.error();
  }
  std::unique_ptr<PeerNet> made(new PeerNet(loop, engine));
  for (std::size_t i = 0; i < settings.listeners.size(); ++i) {
    auto listening = PeerListener::listen(loop, engine, settings.listeners[i],
                                          contexts->listeners[i], static_cast<u32>(i));
    if (!listening) {
      return listening.error();
    }
    made->listeners_.push_back(listening.take());
  }
  made->dial(settings, *contexts);
  return made;
}

// Makes the connectors what `settings` wants; those that stay keep their sessions.
void PeerNet::dial(const cli::Settings& settings, Contexts& contexts) {
  std::vector<engine::Identity> identities;
  for (const cli::DialSettings& peer : settings.peers) {
    identities.push_back(PeerConnector::identity_of(peer));
  }
  engine_.set_dialled(std::move(identities));

  std::vector<std::unique_ptr<PeerConnector>> before = std::move(connectors_);
  connectors_.clear();
  for (std::size_t i = 0; i < settings.peers.size(); ++i) {
    const auto same = std::find_if(before.begin(), before.end(), [&](const auto& connector) {
      return connector != nullptr && connector->settings() == settings.peers[i];
    });
    if (same == before.end()) {
      connectors_.push_back(std::make_unique<PeerConnector>(loop_, engine_, settings.peers[i],
                                                            std::move(contexts.peers[i])));
    } else {
      (*same)->set_tls(std::move(contexts.peers[i]));
      connectors_.push_back(std::move(*same));
    }
  }
  for (auto& connector : before) {
    if (connector != nullptr) {
      connector->close("no longer among the HAProxys to dial, or dialled otherwise");
      leaving_.push_back(std::move(connector));
    }
  }
}

Result<bool> PeerNet::reload(const cli::Settings& settings) {
  Result<Contexts> contexts = contexts_of(settings);
  if (!contexts) {
    return contexts.error();
  }
  bool same_addresses = settings.listeners.size() == listeners_.size();
  for (std::size_t i = 0; i < settings.listeners.size(); ++i) {
    const auto listener = std::find_if(listeners_.begin(), listeners_.end(), [&](const auto& l) {
      return l->address() == settings.listeners[i].address.text;
    });
    if (listener == listeners_.end()) {
      same_addresses = false;
    } else {
      (*listener)->set_rules(settings.listeners[i], std::move(contexts->listeners[i]));
    }
  }
  dial(settings, *contexts);
  return same_addresses;
}

std::string PeerNet::addresses() const {
  std::string list;
  for (const auto& listener : listeners_) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", listener->addresses());
  }
  return list;
}

void PeerNet::flush() {
  for (const auto& listener : listeners_) {
    listener->flush();
  }
  for (const auto& connector : connectors_) {
    connector->flush();
  }
}

void PeerNet::tick() {
  for (const auto& listener : listeners_) {
    listener->tick();
  }
  for (const auto& connector : connectors_) {
    connector->tick();
  }
  for (const auto& connector : leaving_) {
    connector->tick();
  }
  std::erase_if(leaving_, [](const auto& connector) { return connector->closed(); });
}

void PeerNet::close(std::string_view why) {
  for (const auto& listener : listeners_) {
    listener->close(why);
  }
  for (const auto& connector : connectors_) {
    connector->close(why);
  }
}

PeerNet::~PeerNet() {
  close("lineqd stops");
}

}  // namespace lineq::net
