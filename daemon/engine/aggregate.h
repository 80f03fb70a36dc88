// Mode agg: one value for each key, the last one written. Every change of one HAProxy reaches all
// others, as if they were connected to each other.
#pragma once

#include "daemon/engine/mode.h"
#include "daemon/engine/store.h"

namespace lineq::engine {

class Aggregate final : public Mode {
 public:
  Aggregate(Store& store, const PeerBook& book) : store_(store), book_(book) {}

  void on_updates(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                  SegmentMs now) override;
  void on_expired(shm::Table& table, u32 slot, SegmentMs now) override;

 private:
  void note_holders(Peer& peer, u16 table_no, bool lesson, std::span<const shm::Applied> applied);

  Store& store_;
  const PeerBook& book_;
};

}  // namespace lineq::engine
