#include "daemon/engine/aggregate.h"

#include <algorithm>

namespace lineq::engine {
namespace {

using shm::Merge;
using shm::Outcome;

constexpr u32 kTooFar = u32{1} << 31;  // an expiry of this and more is broken (peers-protocol 9.2)
// A row a HAProxy learned from us was touched there when it arrived, a little after it was touched
// where it came from.
constexpr u64 kRelayDelayMs = 1000;

using Changes = std::array<shm::Change, shm::Table::kBatch>;
using Results = std::array<shm::Applied, shm::Table::kBatch>;

// Whether the entry's life is what the update says, and not a new one of the table's own length.
bool timed(const PeerTable& table, const peers::Update& update) {
  return update.timed && table.theirs->definition.expire_ms != 0 && update.expire_ms < kTooFar;
}

// Changed by the teacher, and we do not have it.
bool is_news(const PeerTable& table, const peers::Update& update) {
  return !update.learned &&
         (!table.acked_before || peers::id_after(update.id, *table.acked_before));
}

}  // namespace

void Aggregate::on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                           SegmentMs now) {
  if (updates.front().in_lesson) {
    lesson(peer, table, updates, now);
    return;
  }
  // Repetitions come first, then live updates; some batch may have both.
  while (!updates.empty()) {
    const bool repeat = updates.front().repeat;
    const auto end = std::find_if(updates.begin(), updates.end(),
                                  [&](const peers::Update& u) { return u.repeat != repeat; });
    const auto n = static_cast<std::size_t>(end - updates.begin());
    if (repeat) {
      repeated(peer, table, updates.first(n), now);
    } else {
      live(peer, table, updates.first(n), now);
    }
    updates = updates.subspan(n);
  }
}

void Aggregate::live(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                     SegmentMs now) {
  shm::Table& into = *store_.writer().table(table.table_no);
  Changes changes;
  Results results;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    changes[i] = {.key = updates[i].key,
                  .cells = updates[i].cells,
                  .merge = Merge::kOverwrite,
                  .timed = timed(table, updates[i]),
                  .expire_ms = updates[i].expire_ms};
  }
  store_.apply(into, *table.columns, {changes.data(), updates.size()}, peer.no, now, results);
  if (peer.tracked()) {
    for (std::size_t i = 0; i < updates.size(); ++i) {
      if (results[i].outcome != Outcome::kRefused) {
        peer.set_holds(table.table_no, results[i].slot, true);
      }
    }
  }
}

// The same value again must not extend the entry's life (peers-protocol 7.3). Another one was
// written since it was taught, unless what was taught had lost against somebody else's.
void Aggregate::repeated(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                         SegmentMs now) {
  shm::Table& into = *store_.writer().table(table.table_no);
  Changes changes;
  Results results;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    changes[i] = {.key = updates[i].key,
                  .cells = updates[i].cells,
                  .merge = Merge::kIfAbsent,
                  .timed = true,
                  .expire_ms = 1};
  }
  store_.apply(into, *table.columns, {changes.data(), updates.size()}, peer.no, now, results);
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const Outcome outcome = results[i].outcome;
    const bool changed = outcome == Outcome::kKept &&
                         (!peer.tracked() || peer.holds(table.table_no, results[i].slot));
    if (!changed && outcome != Outcome::kInserted) {
      continue;
    }
    changes[i].merge = Merge::kOverwrite;
    changes[i].timed = false;
    store_.apply(into, *table.columns, {&changes[i], 1}, peer.no, now, {&results[i], 1});
    if (peer.tracked() && results[i].outcome != Outcome::kRefused) {
      peer.set_holds(table.table_no, results[i].slot, true);
    }
  }
}

void Aggregate::lesson(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                       SegmentMs now) {
  shm::Table& into = *store_.writer().table(table.table_no);
  const bool never_expires = into.expire_ms() == 0;
  const u64 doubt = now - peer.in.started_ms + kRelayDelayMs;
  Changes changes;
  Results results;
  std::array<u32, shm::Table::kBatch> told_ms{};
  std::array<bool, shm::Table::kBatch> news{};
  std::size_t n = 0;
  for (const peers::Update& update : updates) {
    if (update.timed && table.theirs->definition.expire_ms != 0 &&
        (update.expire_ms == 0 || update.expire_ms >= kTooFar)) {
      continue;  // over already
    }
    news[n] = is_news(table, update);
    told_ms[n] = update.expire_ms;
    changes[n] = {.key = update.key,
                  .cells = update.cells,
                  .merge = Merge::kIfNewer,
                  .timed = timed(table, update),
                  .expire_ms = update.expire_ms};
    if (!news[n]) {
      changes[n].expire_ms =
          update.expire_ms > doubt ? static_cast<u32>(update.expire_ms - doubt) : 1;
    }
    ++n;
  }
  store_.apply(into, *table.columns, {changes.data(), n}, peer.no, now, results);

  const auto again = [&](std::size_t i, Merge merge) {
    changes[i].merge = merge;
    changes[i].expire_ms = told_ms[i];
    store_.apply(into, *table.columns, {&changes[i], 1}, peer.no, now, {&results[i], 1});
  };
  for (std::size_t i = 0; i < n; ++i) {
    const u32 slot = results[i].slot;
    if (results[i].outcome == Outcome::kRefused) {
      continue;
    }
    if (results[i].outcome == Outcome::kKept &&
        ((never_expires && news[i]) || peer.holds(table.table_no, slot))) {
      again(i, Merge::kOverwrite);
    }
    const bool kept = results[i].outcome == Outcome::kKept;
    if (!kept && results[i].outcome != Outcome::kKeptSame) {
      others_lack(peer, table.table_no, slot);
      if (changes[i].expire_ms != told_ms[i]) {
        again(i, Merge::kIfAbsent);  // it was new beyond doubt: its life is what was told
      }
    }
    if (peer.tracked()) {
      peer.set_holds(table.table_no, slot, !kept);
    }
  }
}

// What one HAProxy has just taught, others that teach too are not sent live (see Relay::relay): the
// difference brings it to those who do not teach the same.
void Aggregate::others_lack(const Peer& peer, u16 table_no, u32 slot) {
  for (const auto& other : book_.all()) {
    if (other.get() != &peer && other->in.push_due) {
      other->set_holds(table_no, slot, false);
    }
  }
}

std::optional<Tick> Aggregate::on_expired(shm::Table& table, u32 slot, SegmentMs now) {
  table.erase(slot, shm::FeedKind::kExpire, kNoPeer, now);
  return std::nullopt;
}

std::string Aggregate::outlet(const shm::TableInfo& table) const {
  return table.role == shm::TableRole::kPlain ? table.definition.name : "";
}

}  // namespace lineq::engine
