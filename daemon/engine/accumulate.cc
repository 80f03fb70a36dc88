#include "daemon/engine/accumulate.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "daemon/engine/ledger.h"
#include "tools/cli/log.h"

namespace lineq::engine {
namespace {

using shm::TableRole;

// After the end of its life an entry of a part is kept so long: HAProxy may have touched its own
// again, and the update is on its way.
constexpr i32 kKeepMs = 60'000;
// HAProxy asks to be taught within 5 s of its start, or never (peers-protocol 7.2).
constexpr u64 kAskMs = 6000;
constexpr u64 kAskAgainMs = 500;                  // a HAProxy that was not complete
constexpr u64 kForgetMs = u64{24} * 3600 * 1000;  // a HAProxy that is gone so long
constexpr u32 kSumsATurn = 4096;
constexpr u32 kSlotsATurn = 4096;
constexpr std::size_t kMaxDoubts = std::size_t{4} << 20;
constexpr u32 kTooFar = u32{1} << 31;  // an expiry of this and more is broken (peers-protocol 9.2)
constexpr u64 kImpossible = u64{1} << 31;              // of a count, and of an age
constexpr u64 kALittleBefore = (u64{1} << 32) - 1000;  // an age just below 0 (peers-protocol 5.3)
constexpr u32 kMaxLifeMs = 0x7fff'0000;

u64 read(const u64* words, u32 offset, bool wide) {
  const u64 word = words[offset / 8];
  return wide ? word : offset % 8 == 0 ? word & 0xffff'ffff : word >> 32;
}

std::span<const u8> bytes_of(const std::string& text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

}  // namespace

Accumulate::Accumulate(Store& store, const PeerBook& book, const AccumulateOptions& options,
                       SegmentMs now)
    : store_(store),
      book_(book),
      ledger_expire_ms_(options.ledger_expire_ms),
      sums_(store, options.rules, options.interval_ms) {
  adopt(now);
}

// Parts an earlier lineqd left. It may have been killed between a part and its sum.
void Accumulate::adopt(SegmentMs now) {
  shm::Writer& writer = store_.writer();
  const std::vector<u16> numbers = writer.tables();
  for (const u16 no : numbers) {
    const shm::TableInfo info = writer.table(no)->info();
    if (info.role != TableRole::kPart || info.scope_peer >= shm::kMaxPeers) {
      continue;
    }
    const Result<shm::TableFor> plain = writer.table_for(info.definition, now);
    if (!plain) {
      cli::log_err("table {}: {}", info.definition.name, plain.error().what);
      continue;
    }
    if (plain->replaced) {
      on_replaced(plain->old_no, *plain->table, now);
    }
    const PeerNo peer{static_cast<u16>(info.scope_peer)};
    const u16 table_no = plain->table->info().no;
    sums_.parts(table_no).push_back(
        {.table_no = no, .peer = peer, .since = writer.peer_process(peer).epoch});
    told(peer).down_ms = now;
    plain_of(no) = table_no;
    start_walk(sums_.parts(table_no).back(), table_no, Why::kSum);
  }
}

Accumulate::Told& Accumulate::told(PeerNo peer) {
  if (told_.size() <= peer.value) {
    told_.resize(peer.value + std::size_t{1});
  }
  std::unique_ptr<Told>& t = told_[peer.value];
  if (t == nullptr) {
    t = std::make_unique<Told>();
  }
  return *t;
}

u16& Accumulate::plain_of(u16 part_no) {
  if (plain_of_.size() <= part_no) {
    plain_of_.resize(part_no + std::size_t{1}, kNoTable.value);
  }
  return plain_of_[part_no];
}

Part* Accumulate::part(u16 table_no, PeerNo peer) {
  std::vector<Part>& parts = sums_.parts(table_no);
  const auto at =
      std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.peer == peer; });
  return at == parts.end() ? nullptr : &*at;
}

std::string Accumulate::outlet(const shm::TableInfo& table) const {
  return table.role == TableRole::kPlain ? outlet_of(sums_.rules(), table.definition.name).to : "";
}

// A part that is removed would count once more when its HAProxy tells it again.
Status Accumulate::may_edit(const shm::TableInfo& table) const {
  return Error{ErrorCode::kInvalid,
               fmt::format("table {} is what HAProxys have counted, added up (mode acc): only they "
                           "can change it. Use set table or clear table of HAProxy's own command "
                           "line; its next update of the entry brings it here, and totals stay",
                           table.definition.name)};
}

// --- tables ---

Status Accumulate::on_table(Peer& peer, const PeerTable& table, SegmentMs now) {
  shm::Writer& writer = store_.writer();
  Told& t = told(peer.no);
  const shm::TableDefinition& theirs = table.theirs->definition;
  const auto made = writer.table_for(theirs, now, TableRole::kPart, peer.no.value);
  if (!made) {
    return made.error();
  }
  const u16 part_no = made->table->info().no;
  if (made->replaced) {
    store_.replaced(made->old_no, *made->table);
    std::erase_if(t.doubts, [&](const Doubt& d) { return d.part_no == made->old_no; });
  }

  shm::TableDefinition totals = writer.table(table.table_no)->info().definition;
  totals.data_types &= shm::kCounterTypes;
  totals.expire_ms = ledger_expire_ms_;
  u16 ledger_no = kNoTable.value;
  if (totals.data_types != 0) {
    const auto ledger = writer.table_for(totals, now, TableRole::kLedger);
    if (!ledger) {
      return ledger.error();
    }
    ledger_no = ledger->table->info().no;
    if (ledger->replaced) {
      store_.replaced(ledger->old_no, *ledger->table);
    }
  }

  if (t.intake.size() <= table.table_no) {
    t.intake.resize(table.table_no + std::size_t{1});
  }
  Intake& intake = t.intake[table.table_no].emplace();
  intake.definition = theirs;
  intake.part_no = part_no;
  intake.announced = true;
  plain_of(part_no) = table.table_no;
  Part* known = part(table.table_no, peer.no);
  if (known == nullptr) {
    known = &sums_.parts(table.table_no).emplace_back();
  }
  // Also brings back one that was about to be forgotten.
  *known = {.table_no = part_no, .peer = peer.no, .since = t.process.epoch, .up = true};
  // A ledger has grown for all who fill it.
  for (const auto& other : told_) {
    if (other != nullptr && table.table_no < other->intake.size() &&
        other->intake[table.table_no]) {
      other->intake[table.table_no]->ledger_no = ledger_no;
      bind(*other->intake[table.table_no]);
    }
  }
  return {};
}

// Where the cells of its rows go.
void Accumulate::bind(Intake& intake) {
  shm::Writer& writer = store_.writer();
  const shm::TableDefinition& d = intake.definition;
  const shm::TableInfo& part = writer.table(intake.part_no)->info();
  const shm::Table* const ledger =
      intake.ledger_no == kNoTable.value ? nullptr : writer.table(intake.ledger_no);
  intake.columns.emplace(d, part);
  intake.counters.clear();
  intake.rates.clear();
  u32 cell = 0;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!d.has(bit)) {
      continue;
    }
    const shm::ValueKind kind = shm::data_type(bit).kind;
    if (kind == shm::ValueKind::kRate) {
      for (u32 i = 0; i < d.elements[bit]; ++i) {
        intake.rates.push_back(static_cast<u16>(cell + 3 * i));
      }
    } else if ((shm::kCounterTypes >> bit & 1) != 0 && ledger != nullptr) {
      intake.counters.push_back({.wide = kind == shm::ValueKind::kU64,
                                 .cell = static_cast<u16>(cell),
                                 .part = part.geometry.offset[bit],
                                 .ledger = ledger->info().geometry.offset[bit],
                                 .count = d.elements[bit]});
    }
    cell += shm::wire_cells(kind) * d.elements[bit];
  }
}

void Accumulate::on_replaced(u16 old_no, const shm::Table& table, SegmentMs now) {
  static_cast<void>(now);
  const u16 no = table.info().no;
  sums_.replaced(old_no, no);
  for (const auto& t : told_) {
    if (t != nullptr && old_no < t->intake.size() && t->intake[old_no]) {
      t->intake.resize(std::max<std::size_t>(t->intake.size(), no + std::size_t{1}));
      t->intake[no] = std::move(t->intake[old_no]);
      t->intake[old_no].reset();
    }
  }
  for (Walk& walk : walks_) {
    walk.table_no = walk.table_no == old_no ? no : walk.table_no;
  }
  for (const Part& part : sums_.parts(no)) {
    plain_of(part.table_no) = no;
    start_walk(part, no, Why::kSum);
  }
}

// --- updates ---

void Accumulate::on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                            SegmentMs now) {
  Told& t = told(peer.no);
  if (table.table_no >= t.intake.size() || !t.intake[table.table_no]) {
    return;
  }
  const Intake& intake = *t.intake[table.table_no];
  shm::Writer& writer = store_.writer();
  const shm::Table& part = *writer.table(intake.part_no);
  const shm::Table& sum = *writer.table(table.table_no);
  const shm::Table* const ledger =
      intake.ledger_no == kNoTable.value ? nullptr : writer.table(intake.ledger_no);
  // Sweeps, so that cache misses of a batch overlap (shm-design 18).
  std::array<Likely, shm::Table::kBatch> likely;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const u32 tag = part.tag_of(updates[i].key);
    likely[i].tag = tag;
    part.prefetch(tag);
    sum.prefetch(tag);
    if (ledger != nullptr) {
      ledger->prefetch(tag);
    }
  }
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const u32 tag = likely[i].tag;
    likely[i].part = part.prefetch_slot(tag);
    (void)sum.prefetch_slot(tag);
    if (ledger != nullptr) {
      likely[i].ledger = ledger->prefetch_slot(tag);
    }
  }
  for (std::size_t i = 0; i < updates.size(); ++i) {
    if (updates[i].in_lesson && updates[i].learned && t.candidate()) {
      t.heir = true;
    }
    one(peer, t, table, intake, updates[i], likely[i], now);
  }
}

// The cells without what cannot be; mostly they are as they came.
const u64* Accumulate::checked(Peer& peer, PeerTable& table, const Intake& intake, const u64* cells,
                               SegmentMs now) {
  const u64* use = cells;
  for (const u16 at : intake.rates) {
    const u64 elapsed = cells[at];
    const u64 most = std::max(cells[at + 1U], cells[at + 2U]);
    const bool too_old = elapsed >= kImpossible && most != 0;
    if (most <= kImpossible && !too_old) [[likely]] {
      continue;
    }
    if (use == cells) {
      checked_.assign(cells, cells + intake.definition.cells());
      use = checked_.data();
    }
    checked_[at] = 0;
    if (most <= kImpossible && elapsed >= kALittleBefore) {
      continue;  // it began in this very moment, says another thread of that HAProxy
    }
    checked_[at + 1U] = checked_[at + 2U] = 0;
    ++table.refused_values;
    if (const auto hidden = limit_.admit(peer.who, now)) {
      cli::log_warning(
          "{}: table {}: a rate of {} and {} events in a period that began {} ms ago is impossible "
          "(at most {}), it counts as 0 ({} more before)",
          peer.who, intake.definition.name, cells[at + 1U], cells[at + 2U], elapsed, kImpossible,
          *hidden);
    }
  }
  return use;
}

void Accumulate::one(Peer& peer, Told& t, PeerTable& table, const Intake& intake,
                     const peers::Update& update, const Likely& likely, SegmentMs now) {
  shm::Writer& writer = store_.writer();
  shm::Table& part = *writer.table(intake.part_no);
  const Tick tick = tick_of(now);
  const u64* const cells = checked(peer, table, intake, update.cells, now);
  const u32 tag = likely.tag;
  const auto slot = part.find(tag, update.key, likely.part);
  const u64 old_epoch = slot ? part.at(*slot).ext(0) : 0;
  const bool old_counts = slot && old_epoch >= t.process.epoch;  // told by the process we count
  const bool old_alive = slot && !part.at(*slot).expired(tick);
  // Told by a process that may be another one.
  const bool in_doubt = old_counts && t.candidate() && old_epoch < t.process.candidate_epoch;
  const bool may_wrap = old_counts && old_alive && !in_doubt;

  // What is new since it was told last.
  bool counted = false;
  bool fell = false;
  const u64* const old = old_counts ? part.at(*slot).words() : nullptr;
  const auto news = [&](const Counter& counter, u32 i, u64& last) {
    const u32 width = counter.wide ? 8 : 4;
    last = old == nullptr ? 0 : read(old, counter.part + width * i, counter.wide);
    return counted_since(last, cells[counter.cell + i], may_wrap && !counter.wide);
  };
  for (const Counter& counter : intake.counters) {
    for (u32 i = 0; i < counter.count; ++i) {
      u64 last = 0;
      counted |= news(counter, i, last) != 0;
      fell |= in_doubt && (old_alive || !t.complete) && cells[counter.cell + i] < last;
    }
  }
  // What an earlier candidate told proves nothing: its table may have been overwritten since. And
  // an heir may have lost some entries while nobody looked, but hardly most.
  if (in_doubt && old_alive && old_epoch < t.undecided && update.in_lesson) {
    ++(fell ? t.fell_rows : t.kept_rows);
    t.lower = t.fell_rows > t.kept_rows;
  }
  if (fell && !t.asked) {
    t.left_out = true;
    return;
  }

  // Memory first: either all of it lands or nothing, and then the same comes again with the next
  // value.
  shm::Together change(writer);
  u64* const image =
      slot ? change.update(part, *slot, tag) : change.insert(part, update.key, tag, now);
  u64* total = nullptr;
  if (image != nullptr && counted) {
    shm::Table& ledger = *writer.table(intake.ledger_no);
    const auto total_slot = ledger.find(tag, update.key, likely.ledger);
    total = total_slot ? change.update(ledger, *total_slot, tag)
                       : change.insert(ledger, update.key, tag, now);
  }
  if (image == nullptr || (counted && total == nullptr)) {
    writer.add_table_counter(table.table_no, shm::TableCounter::refused);
    if (const auto hidden = limit_.admit(intake.definition.name, now)) {
      cli::log_err(
          "table {}: no memory for more entries, updates of new keys are not counted ({} "
          "more before)",
          intake.definition.name, *hidden);
    }
    return;
  }

  if (counted) {
    std::optional<Tick> until;
    if (ledger_expire_ms_ != 0) {
      until = tick + static_cast<u32>(std::min<u64>(ledger_expire_ms_, kMaxLifeMs));
    }
    shm::put_times(total, until, tick);
  }
  for (const Counter& counter : intake.counters) {
    for (u32 i = 0; i < counter.count; ++i) {
      u64 last = 0;
      const u64 more = news(counter, i, last);
      if (counted) {
        total[counter.ledger / 8 + i] += more;
      }
      if (in_doubt && last != 0 && cells[counter.cell + i] >= last &&
          t.doubts.size() < kMaxDoubts) {
        t.doubts.push_back({intake.part_no, *slot, static_cast<u16>(counter.ledger + 8 * i), last,
                            old_epoch >= t.undecided});
      }
    }
  }

  const u64 own = intake.definition.expire_ms;
  std::optional<Tick> deadline;
  if (own != 0) {
    const bool timed = update.timed && update.expire_ms < kTooFar;
    deadline = tick + static_cast<u32>(std::min<u64>(timed ? update.expire_ms : own, kMaxLifeMs));
    // The second, untimed copy of what it taught does not lengthen its life (peers-protocol 7.3).
    if (update.repeat && old_alive && old_epoch == t.epoch && !counted) {
      deadline = part.at(*slot).expire_tick();
    }
  }
  const shm::Geometry& g = part.info().geometry;
  if (slot && !old_counts) {
    std::fill(image + 4, image + g.key_offset / 8, 0);
    if (g.key_offset % 8 != 0) {
      image[g.key_offset / 8] &= ~u64{0} << 8 * (g.key_offset % 8);
    }
  }
  shm::put_times(image, deadline, tick);
  image[g.ext_offset / 8] = t.epoch;
  shm::put_cells(*intake.columns, cells, tick, image);
  const u32 part_slot = change.slot(0);
  const u32 total_slot = counted ? change.slot(1) : 0;
  change.land(peer.no, now);
  if (deadline) {
    store_.arm(intake.part_no, part_slot, *deadline);
  }
  if (counted && ledger_expire_ms_ != 0) {
    store_.arm(intake.ledger_no, total_slot,
               writer.table(intake.ledger_no)->at(total_slot).expire_tick());
  }
  sums_.touch(*writer.table(table.table_no), tag, update.key, now);
}

// --- whose counters these are ---

void Accumulate::on_up(Peer& peer, SegmentMs now) {
  shm::Writer& writer = store_.writer();
  Told& t = told(peer.no);
  const u64 epoch = writer.peer_epoch(peer.no);
  const auto pid = static_cast<u32>(writer.peer_pid(peer.no));
  t.process = writer.peer_process(peer.no);
  if (!t.candidate()) {
    t.undecided = epoch;
  } else if (t.undecided == 0) {
    t.undecided = t.process.candidate_epoch;  // an earlier lineqd knew
  }
  t.epoch = epoch;
  t.up = true;
  t.asked = t.taught = t.complete = t.sure = t.verify = false;
  t.heir = t.lower = t.left_out = t.settled = false;
  t.fell_rows = t.kept_rows = 0;
  t.up_ms = now;
  t.doubts.clear();
  for (auto& intake : t.intake) {
    if (intake) {
      intake->announced = false;
    }
  }
  if (t.process.epoch == 0) {
    // A record that was somebody else's.
    forget(peer.no);
    t.process = {.pid = pid, .epoch = epoch};
  } else if (pid != 0 && pid == t.process.pid) {
    t.process.candidate_pid = 0;
    t.process.candidate_epoch = 0;
  } else if (!t.candidate() || t.process.candidate_pid != pid) {
    t.process.candidate_pid = pid;
    t.process.candidate_epoch = epoch;
  }
  writer.set_peer_process(peer.no, t.process);
  for (const u16 no : writer.tables()) {
    if (Part* const known = part(no, peer.no); known != nullptr && !known->left_out) {
      known->up = true;
      known->since = t.process.epoch;
      if (writer.table(known->table_no)->info().definition.has(shm::kConnCur)) {
        start_walk(*known, no, Why::kSum);
      }
    }
  }
}

void Accumulate::on_down(Peer& peer, SegmentMs now) {
  Told& t = told(peer.no);
  t.up = false;
  t.down_ms = now;
  t.doubts.clear();
  for (const u16 no : store_.writer().tables()) {
    if (Part* const known = part(no, peer.no)) {
      known->up = false;
      // Its connections are gone with it, or nobody knows.
      if (store_.writer().table(known->table_no)->info().definition.has(shm::kConnCur)) {
        start_walk(*known, no, Why::kSum);
      }
    }
  }
}

void Accumulate::on_asked(Peer& peer, SegmentMs now) {
  Told& t = told(peer.no);
  t.asked = true;
  if (t.candidate() && t.taught && !t.heir) {
    decide(peer, t, true, "it asked to be taught", now);
  }
}

void Accumulate::on_taught(Peer& peer, bool partial, SegmentMs now) {
  Told& t = told(peer.no);
  t.taught = true;
  t.taught_ms = now;
  t.complete |= !partial;
  if (!t.candidate()) {
    return;
  }
  if (t.heir) {
    if (t.complete) {
      decide(peer, t, false, "it has rows it learned from the process before", now);
    }
  } else if (t.asked || (t.sure && t.lower)) {
    decide(peer, t, true, t.asked ? "it asked to be taught" : "its counters are lower than before",
           now);
  }
}

void Accumulate::on_live(Peer& peer, SegmentMs now) {
  Told& t = told(peer.no);
  t.settled = true;
  if (!t.taught) {
    t.taught = t.complete = true;  // it does not answer: what it told was all
    t.taught_ms = now;
  }
  if (!t.candidate() || !t.complete) {
    return;
  }
  if (!t.sure) {
    t.verify = t.lower || (t.process.candidate_pid != 0 && t.process.pid != 0 && missing(t, now));
  } else if (t.lower) {
    decide(peer, t, true, "its counters are lower than before", now);
  } else if (t.process.candidate_pid != 0 && t.process.pid != 0 && missing(t, now)) {
    // Enough for the sums, which are made anew by and by. Not enough to count more: an heir may
    // have lost entries while nobody looked.
    t.doubts.clear();
    decide(peer, t, true, "it lacks entries of the process before", now);
  }
}

bool Accumulate::ask_again(Peer& peer, SegmentMs now) {
  Told& t = told(peer.no);
  if (!t.up || !t.taught || !t.settled) {
    return false;
  }
  if (t.candidate() ? !t.verify && (t.complete || now - t.taught_ms < kAskAgainMs) : !t.left_out) {
    return false;
  }
  t.sure = t.complete;
  t.taught = t.settled = t.verify = t.lower = t.left_out = false;
  t.fell_rows = 0;  // they come again; the others are no longer in doubt
  return true;
}

// Whether it lacks an entry that its predecessor would still have.
bool Accumulate::missing(const Told& t, SegmentMs now) const {
  constexpr u32 kSoonOverMs = 5000;
  for (const auto& intake : t.intake) {
    const shm::Table* const table =
        intake && intake->announced ? store_.writer().table(intake->part_no) : nullptr;
    for (u32 slot = 0; table != nullptr && slot < table->high_water(); ++slot) {
      const shm::EntryView entry = table->at(slot);
      if (entry.live() && entry.ext(0) >= t.process.epoch &&
          entry.ext(0) < t.process.candidate_epoch &&
          (entry.never_expires() || entry.expire_left_ms(tick_of(now)) > kSoonOverMs)) {
        return true;
      }
    }
  }
  return false;
}

void Accumulate::decide(const Peer& peer, Told& t, bool fresh, std::string_view why,
                        SegmentMs now) {
  const shm::PeerProcess old = t.process;
  t.process = {.pid = old.candidate_pid, .epoch = fresh ? old.candidate_epoch : old.epoch};
  if (fresh) {
    settle_doubts(t, now);
  }
  t.doubts = {};
  store_.writer().set_peer_process(peer.no, t.process);
  cli::log_info("{}: {}: {}", peer.who,
                fresh ? "its counters began at zero, the old ones are closed"
                      : "its counters go on where the last process was",
                why);
  if (!fresh) {
    return;
  }
  for (const u16 no : store_.writer().tables()) {
    if (Part* const known = part(no, peer.no)) {
      known->since = t.process.epoch;
      start_walk(*known, no, Why::kSweep);
    }
  }
}

// All of what the old process had counted was the new one's again.
void Accumulate::settle_doubts(Told& t, SegmentMs now) {
  shm::Writer& writer = store_.writer();
  for (const Doubt& doubt : t.doubts) {
    if (doubt.of_candidate && !t.asked) {
      continue;
    }
    const shm::Table& part = *writer.table(doubt.part_no);
    const std::string key(part.at(doubt.slot).key_chars());
    const u16 table_no = plain_of(doubt.part_no);
    if (!part.at(doubt.slot).live() || table_no >= t.intake.size() || !t.intake[table_no]) {
      continue;
    }
    shm::Table& ledger = *writer.table(t.intake[table_no]->ledger_no);
    const u32 tag = ledger.tag_of(bytes_of(key));
    shm::Together change(writer);
    const auto slot = ledger.find(tag, bytes_of(key));
    u64* const total =
        slot ? change.update(ledger, *slot, tag) : change.insert(ledger, bytes_of(key), tag, now);
    if (total != nullptr) {
      if (!slot) {
        shm::put_times(total, std::nullopt, tick_of(now));
      }
      total[doubt.ledger / 8] += doubt.last;
      change.land(kNoPeer, now);
    }
  }
}

// --- lives that are over ---

std::optional<Tick> Accumulate::on_expired(shm::Table& table, u32 slot, SegmentMs now) {
  const shm::TableInfo& info = table.info();
  switch (info.role) {
    case TableRole::kPart: {
      const Told& t = told(PeerNo{static_cast<u16>(info.scope_peer)});
      const shm::EntryView entry = table.at(slot);
      const Tick keep_until = entry.expire_tick() + kKeepMs;
      const std::string key(entry.key_chars());
      const bool done =
          tick_passed(keep_until, tick_of(now)) && t.up && t.settled && !t.candidate();
      if (done) {
        table.erase(slot, shm::FeedKind::kExpire, kNoPeer, now);
      }
      if (shm::Table* const plain = store_.writer().table(plain_of(info.no))) {
        sums_.touch(*plain, plain->tag_of(bytes_of(key)), bytes_of(key), now);
      }
      if (done) {
        return std::nullopt;
      }
      return tick_passed(keep_until, tick_of(now)) ? tick_of(now) + kKeepMs : keep_until;
    }
    case TableRole::kPlain:
      sums_.expired(table, slot, now);
      return std::nullopt;
    default:
      table.erase(slot, shm::FeedKind::kExpire, kNoPeer, now);
      return std::nullopt;
  }
}

void Accumulate::forget(PeerNo peer) {
  for (const u16 no : store_.writer().tables()) {
    if (Part* const known = part(no, peer); known != nullptr && !known->left_out) {
      known->left_out = true;
      start_walk(*known, no, Why::kForget);
    }
  }
}

void Accumulate::start_walk(const Part& part, u16 table_no, Why why) {
  walks_.push_back({part.table_no, store_.writer().table(part.table_no)->info().id, table_no, why});
}

// True when it is over.
bool Accumulate::walk(Walk& walk, u32& budget, SegmentMs now) {
  shm::Writer& writer = store_.writer();
  shm::Table* const table = writer.table(walk.part_no);
  shm::Table* const plain = writer.table(walk.table_no);
  if (table == nullptr || table->info().id != walk.id || plain == nullptr) {
    return true;
  }
  Part* const known = part(walk.table_no, PeerNo{static_cast<u16>(table->info().scope_peer)});
  if (known == nullptr || known->table_no != walk.part_no) {
    return true;
  }
  if (walk.why == Why::kForget && !known->left_out) {
    walk.why = Why::kSweep;  // it came back, or another HAProxy has its place
  }
  for (; walk.slot < table->high_water(); ++walk.slot, --budget) {
    if (budget == 0) {
      return false;
    }
    const shm::EntryView entry = table->at(walk.slot);
    if (!entry.live()) {
      continue;
    }
    const std::string key(entry.key_chars());
    if (walk.why == Why::kSweep) {
      if (entry.ext(0) >= known->since) {
        continue;
      }
      table->erase(walk.slot, shm::FeedKind::kErase, kNoPeer, now);
    }
    sums_.touch(*plain, plain->tag_of(bytes_of(key)), bytes_of(key), now);
  }
  if (walk.why == Why::kForget) {
    const PeerNo peer = known->peer;
    std::erase_if(sums_.parts(walk.table_no), [&](const Part& p) { return p.peer == peer; });
    if (Told& t = told(peer); walk.table_no < t.intake.size()) {
      t.intake[walk.table_no].reset();
    }
    plain_of(walk.part_no) = kNoTable.value;
    store_.forget(walk.part_no);
    writer.drop_table(walk.part_no);
  }
  return true;
}

// --- time ---

bool Accumulate::turn(SegmentMs now) {
  u32 budget = kSlotsATurn;
  while (!walks_.empty() && budget > 0) {
    Walk walk = walks_.front();
    walks_.pop_front();
    if (!this->walk(walk, budget, now)) {
      walks_.push_front(walk);
    }
  }
  return sums_.turn(now, kSumsATurn) && walks_.empty();
}

// What speaks against a HAProxy may lie unread.
void Accumulate::on_resume(u64 away_ms) {
  for (const auto& t : told_) {
    if (t != nullptr && t->up) {
      t->up_ms += away_ms;
      t->taught_ms += away_ms;
    }
  }
}

void Accumulate::tick(SegmentMs now) {
  for (u32 no = 0; no < told_.size(); ++no) {
    const PeerNo peer{static_cast<u16>(no)};
    if (told_[no] == nullptr) {
      continue;
    }
    Told& t = *told_[no];
    const Peer* const p = book_.by_no(peer);
    if (p != nullptr && t.up && t.candidate() && t.complete && t.settled) {
      t.verify |= t.lower;
      if (!t.verify && now - t.up_ms >= kAskMs) {
        decide(*p, t, false, "nothing speaks against it", now);
      }
    }
    if (!t.up && now - t.down_ms >= kForgetMs) {
      t.down_ms = now;  // not to be looked at all the time
      forget(peer);
    }
  }
}

}  // namespace lineq::engine
