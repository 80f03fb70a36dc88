// Mode agg: one value for each key, the last one written. Every change of one HAProxy reaches all
// others, as if they were connected to each other.
//
// Live updates overwrite. Rows of a lesson have no order among those of several HAProxys; the one
// that was touched last counts, as far as can be told:
//   - by the deadline, which is later the later a row was touched. It was told before it arrived,
//   so
//     it looks later than it is, by at most the time since the lesson was asked for.
//   - A row that is *news*, changed by the teacher itself and not acknowledged by us yet, is taken
//     at its word. All other rows are old ones of which somebody else may have changed more by now:
//     they have to be newer beyond that doubt.
//   - Without expiry there are no deadlines: only news overwrites.
//   - A row taught twice in one lesson is newer the second time, and so is its repetition after the
//     lesson, if it says something else.
#pragma once

#include "daemon/engine/mode.h"
#include "daemon/engine/store.h"

namespace lineq::engine {

class Aggregate final : public Mode {
 public:
  Aggregate(Store& store, const PeerBook& book) : store_(store), book_(book) {}

  void on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                  SegmentMs now) override;
  std::optional<Tick> on_expired(shm::Table& table, u32 slot, SegmentMs now) override;
  std::string outlet(const shm::TableInfo& table) const override;

 private:
  void repeated(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                SegmentMs now);
  void live(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
            SegmentMs now);
  void lesson(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
              SegmentMs now);
  void others_lack(const Peer& peer, u16 table_no, u32 slot);

  Store& store_;
  const PeerBook& book_;
};

}  // namespace lineq::engine
