#include "daemon/engine/aggregate.h"

namespace lineq::engine {
namespace {

constexpr u32 kTooFar = u32{1} << 31;  // an expiry of this and more is broken (peers-protocol 9.2)

// What an update may overwrite.
shm::Merge merge_of(const PeerTable& table, const peers::Update& update, bool never_expires) {
  if (update.in_lesson) {
    // Without expiry there is no deadline to tell which of two values is newer. A row that is the
    // sender's own and that we have not acknowledged to it is: it changed the row last.
    const bool news =
        !update.learned && (!table.acked_before || peers::id_after(update.id, *table.acked_before));
    return never_expires && news ? shm::Merge::kOverwrite : shm::Merge::kIfNewer;
  }
  // A repetition was merged when it was taught, and must not extend the entry's life
  // (peers-protocol 7.3).
  return update.repeat ? shm::Merge::kIfAbsent : shm::Merge::kOverwrite;
}

}  // namespace

void Aggregate::on_updates(Peer& peer, const PeerTable& table,
                           std::span<const peers::Update> updates, SegmentMs now) {
  shm::Table& into = *store_.writer().table(table.table_no);
  const bool theirs_expires = table.theirs->definition.expire_ms != 0;
  const bool never_expires = into.expire_ms() == 0;
  std::array<shm::Change, shm::Table::kBatch> changes;
  std::array<shm::Applied, shm::Table::kBatch> applied;
  std::size_t n = 0;
  for (const peers::Update& update : updates) {
    const bool timed = update.timed && theirs_expires;
    if (update.in_lesson && timed && (update.expire_ms == 0 || update.expire_ms >= kTooFar)) {
      continue;  // over already
    }
    shm::Change& change = changes[n++];
    change.key = update.key;
    change.cells = update.cells;
    change.merge = merge_of(table, update, never_expires);
    change.timed = timed && update.expire_ms < kTooFar;
    change.expire_ms = update.expire_ms;
  }
  store_.apply(into, table.columns, {changes.data(), n}, peer.no, now, {applied.data(), n});

  note_holders(peer, table.table_no, updates.front().in_lesson, {applied.data(), n});
}

// Keeps track of who evidently has which rows, until each has been pushed what it lacks.
void Aggregate::note_holders(Peer& peer, u16 table_no, bool lesson,
                             std::span<const shm::Applied> applied) {
  if (peer.in.push_due || peer.out.difference.active) {
    for (const shm::Applied& one : applied) {
      if (one.outcome != shm::Outcome::kRefused) {
        peer.set_holds(table_no, one.slot, one.outcome != shm::Outcome::kKept);
      }
    }
  }
  if (!lesson) {
    return;  // the relay tells the others
  }
  for (const auto& other : book_.all()) {
    if (other.get() == &peer || !other->in.push_due) {
      continue;
    }
    for (const shm::Applied& one : applied) {
      if (one.outcome == shm::Outcome::kInserted || one.outcome == shm::Outcome::kUpdated) {
        other->set_holds(table_no, one.slot, false);
      }
    }
  }
}

void Aggregate::on_expired(shm::Table& table, u32 slot, SegmentMs now) {
  table.erase(slot, shm::FeedKind::kExpire, kNoPeer, now);
}

}  // namespace lineq::engine
