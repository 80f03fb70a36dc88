// Mode agg: one value for each key, the last one written. Every change of one HAProxy reaches all
// others, as if they were connected to each other.
#pragma once

#include "daemon/engine/mode.h"
#include "daemon/engine/store.h"

namespace lineq::engine {

class Aggregate final : public Mode {
 public:
  explicit Aggregate(Store& store) : store_(store) {}

  void on_updates(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                  SegmentMs now) override;
  void on_expired(shm::Table& table, u32 slot, SegmentMs now) override;

 private:
  Store& store_;
};

}  // namespace lineq::engine
