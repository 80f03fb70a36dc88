// What lineqd makes of what HAProxys tell it. One mode runs for the life of the daemon.
#pragma once

#include <span>

#include "daemon/engine/peer_book.h"

namespace lineq::engine {

class Mode {
 public:
  Mode() = default;
  Mode(const Mode&) = delete;
  Mode& operator=(const Mode&) = delete;
  virtual ~Mode() = default;

  // 1 to 32 updates of one table of one HAProxy, in order. When this returns they are in the
  // segment, or never will be: they are acknowledged next.
  virtual void on_updates(Peer& peer, const PeerTable& table,
                          std::span<const peers::Update> updates, SegmentMs now) = 0;
  // The life of this entry is over. Erases it.
  virtual void on_expired(shm::Table& table, u32 slot, SegmentMs now) = 0;
};

}  // namespace lineq::engine
