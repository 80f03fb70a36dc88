// Who still has to be told what: for each HAProxy a cursor over the change feed, and walks over the
// tables for those who lack more than the feed can tell. Memory does not depend on how far a
// HAProxy is behind. One thread, no socket, no clock.
//
// Live changes: each record of the feed between cursor and tail is a row to send, unless the
// HAProxy made the change itself, or a newer record of the same row follows (then that one is
// sent). Values are read from the slot when the row is sent. Changes that only readers are told
// (kReadersOnly) are none here.
//
// Walks, one at a time, beside the live changes except where said:
//   lesson      everything, because it asked; then the end of the lesson
//   difference  after it taught us: what it evidently lacks, so that it does not get its own values
//               back over counts it made meanwhile
//   catch-up    its cursor fell off the feed: rows changed since it was last up to date. Live
//               changes wait meanwhile, so that each pass sends a row once and the passes get
//               shorter
#pragma once

#include <array>

#include "daemon/engine/mode.h"
#include "shm/writer.h"

namespace lineq::engine {

struct RelayLimits {
  std::size_t pending_bytes = std::size_t{256}
                              << 10;  // a HAProxy that has not taken these gets no more rows
  u32 records_a_turn = 65536;         // feed records looked at for one HAProxy
  u32 slots_a_turn = 4096;            // slots walked for one HAProxy
  u32 all_slots_a_turn = 32768;       // slots walked for all of them together
};

class Relay {
 public:
  Relay(shm::Writer& writer, PeerBook& book, Mode& mode, const RelayLimits& limits)
      : writer_(writer), book_(book), mode_(mode), limits_(limits) {}

  // The session is established: changes from now on are its.
  void start(Peer& peer, SegmentMs now);
  // It asks for everything. A second request restarts the lesson.
  void teach(Peer& peer);
  // It has taught us all it has, or gave up.
  void push_difference(Peer& peer);
  // Entries have moved to another table, which the feed does not tell: what is on its way is looked
  // for anew.
  void table_replaced(SegmentMs now);

  // Once a loop turn: encodes into the sessions what they take.
  void pump(SegmentMs now);
  // There is something to send and a connection to take it: no need to wait for anything.
  bool ready() const;

  // The newest change of this entry, if others have to know of it, is still to be sent to this
  // HAProxy.
  bool owes(const Peer& peer, const shm::Table& table, u32 slot) const;

  // Tells all HAProxys the entry with all values zero and no life left, before it is removed. How
  // many take too little at present to be told.
  u32 retire(const shm::Table& table, const shm::EntryView& entry, SegmentMs now);
  // There is a HAProxy that retire() would leave out.
  bool crowded() const;

  // Feed records this HAProxy has not been served from yet.
  u64 lag(const Peer& peer) const { return writer_.feed().tail() - peer.out.cursor; }

 private:
  void pump(Peer& peer, SegmentMs now, u32& slots);
  void fall_behind(Peer& peer, SegmentMs now);
  void follow(Peer& peer, std::size_t limit, SegmentMs now);
  void follow_some(Peer& peer, u64 end, std::size_t limit, SegmentMs now);
  void relay(Peer& peer, u64 position, const shm::FeedRecord& record, const shm::Table& table,
             SegmentMs now);
  bool superseded(const Peer& peer, u64 position, const shm::FeedRecord& record,
                  const shm::Table& table) const;
  u64 newest(u32 last) const;

  enum class Kind { kLesson, kDifference, kCatchUp };
  static Walk* current(Outbound& out, Kind& kind);
  void walk(Peer& peer, Walk& walk, Kind kind, SegmentMs now, u32& slots);
  bool sends(const shm::Table& table, const shm::EntryView& entry) const;
  bool wanted(const Peer& peer, Kind kind, const shm::Table& table,
              const shm::EntryView& entry) const;
  void finish(Peer& peer, Walk& walk, Kind kind);

  Outgoing& outgoing(Peer& peer, const shm::Table& table);
  const Variant& variant(Peer& peer, Outgoing& out, const shm::Table& table, u8 shape);
  void send(Peer& peer, const Variant& variant, const shm::Table& table,
            const shm::EntryView& entry, bool live, SegmentMs now);
  u32 our_id(const shm::Table& table) const { return table.info().no + 1U; }

  shm::Writer& writer_;
  PeerBook& book_;
  Mode& mode_;
  RelayLimits limits_;
  std::size_t first_ = 0;  // whose turn it is to walk first
  std::array<u64, peers::kMaxRowCells> cells_{};
};

}  // namespace lineq::engine
