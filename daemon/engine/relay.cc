#include "daemon/engine/relay.h"

#include <algorithm>
#include <cstring>

#include "tools/cli/log.h"

namespace lineq::engine {
namespace {

constexpr u64 kAhead = 32;                 // feed records of a sweep
constexpr u32 kMaxExpireMs = 0x7fff'ffff;  // 2^31 and more mean the past or the far future (9.2)

bool is_users(const shm::Table& table) {
  return table.info().role == shm::TableRole::kUsers;
}

template <typename T>
T read(const u64* words, u32 at) {
  T value;
  std::memcpy(&value, reinterpret_cast<const u8*>(words) + at, sizeof value);
  return value;
}

// Milliseconds since the period began. Nobody's period begins in the future: a negative difference
// is one that began more than 24.8 days ago.
u64 elapsed_of(Tick start, Tick now) {
  const i32 elapsed = tick_diff(now, start);
  return elapsed < 0 ? u64{kMaxExpireMs} : static_cast<u64>(elapsed);
}

// The row as cells of the variant's definition.
std::size_t cells_of(const Variant& variant, const u64* words, Tick now, u64* cells) {
  u64* to = cells;
  for (const Variant::Op& op : variant.ops) {
    switch (op.kind) {
      case shm::ValueKind::kS32:
      case shm::ValueKind::kU32:
      case shm::ValueKind::kDictionary:
        for (u32 i = 0; i < op.count; ++i) {
          *to++ = read<u32>(words, op.offset + 4 * i);
        }
        break;
      case shm::ValueKind::kU64:
        for (u32 i = 0; i < op.count; ++i) {
          *to++ = read<u64>(words, op.offset + 8 * i);
        }
        break;
      case shm::ValueKind::kRate:
        for (u32 i = 0; i < op.count; ++i) {
          *to++ = elapsed_of(read<u32>(words, op.offset + 12 * i), now);
          *to++ = read<u32>(words, op.offset + 12 * i + 4);
          *to++ = read<u32>(words, op.offset + 12 * i + 8);
        }
        break;
    }
  }
  return static_cast<std::size_t>(to - cells);
}

// The columns of `base` that are in `shape` too, as far as the table has them.
std::unique_ptr<Variant> make_variant(const shm::TableDefinition& base, const Shape* shape,
                                      const shm::TableInfo& table) {
  auto made = std::make_unique<Variant>();
  made->definition = base;
  shm::TableDefinition& d = made->definition;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!base.has(bit)) {
      continue;
    }
    u16 elements = table.definition.has(bit)
                       ? std::min(base.elements[bit], table.definition.elements[bit])
                       : u16{0};
    if (shape != nullptr) {
      elements = std::min(elements, shape->elements[bit]);
    }
    d.elements[bit] = elements;
    if (elements == 0) {
      d.data_types &= ~(u64{1} << bit);
      d.period_ms[bit] = 0;
      continue;
    }
    made->ops.push_back({shm::data_type(bit).kind, table.geometry.offset[bit], elements});
  }
  return made;
}

}  // namespace

void Relay::start(Peer& peer, SegmentMs now) {
  peer.out.cursor = peer.out.mark = writer_.feed().tail();
  peer.out.caught_up = peer.out.mark_tick = tick_of(now);
}

void Relay::teach(Peer& peer) {
  peer.out.lesson = {.active = true};
  // It contains all that the other walks would send.
  peer.out.difference = {};
  peer.in.push_due = false;
  if (peer.out.catch_up.active) {
    peer.out.catch_up = {};
    peer.out.cursor = writer_.feed().tail();
  }
}

void Relay::push_difference(Peer& peer) {
  peer.in.push_due = false;
  peer.out.difference = {.active = true};
}

void Relay::fall_behind(Peer& peer, SegmentMs now) {
  Outbound& out = peer.out;
  if (out.catch_up.active) {
    return;  // at its end the cursor is looked at again
  }
  out.catch_up = {.active = true};
  out.since = out.caught_up;
  out.cursor = out.mark = writer_.feed().tail();
  out.mark_tick = tick_of(now);
}

void Relay::table_replaced(SegmentMs now) {
  for (const auto& peer : book_.all()) {
    if (!peer->session.established()) {
      continue;
    }
    fall_behind(*peer, now);
    for (Walk* walk : {&peer->out.lesson, &peer->out.difference, &peer->out.catch_up}) {
      walk->table = walk->slot = 0;
    }
  }
}

void Relay::pump(SegmentMs now) {
  const auto& peers = book_.all();
  u32 slots = limits_.all_slots_a_turn;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    Peer& peer = *peers[(first_ + i) % peers.size()];
    if (peer.session.established()) {
      pump(peer, now, slots);
    }
  }
  first_ = peers.empty() ? 0 : (first_ + 1) % peers.size();
}

bool Relay::ready() const {
  return std::any_of(book_.all().begin(), book_.all().end(), [&](const auto& peer) {
    Outbound& out = peer->out;
    Kind kind{};
    return peer->session.established() && peer->pending_bytes() < limits_.pending_bytes / 2 &&
           (out.cursor != writer_.feed().tail() || current(out, kind) != nullptr);
  });
}

// `slots`: what may still be walked in this turn, by all together.
void Relay::pump(Peer& peer, SegmentMs now, u32& slots) {
  Outbound& out = peer.out;
  const shm::Feed& feed = writer_.feed();
  if (!out.catch_up.active) {
    if (out.cursor == feed.tail()) {
      out.mark = out.cursor;
      out.caught_up = out.mark_tick = tick_of(now);
    } else if (feed.tail() - out.cursor > feed.capacity()) {
      writer_.add_counter(shm::DaemonCounter::feed_overruns);
      fall_behind(peer, now);
    }
  }
  Kind kind{};
  Walk* const walking = current(out, kind);
  if (!out.catch_up.active && out.cursor != feed.tail()) {
    // A walk gets at least half of what the connection takes.
    follow(peer, walking != nullptr ? limits_.pending_bytes / 2 : limits_.pending_bytes, now);
  }
  if (walking != nullptr) {
    walk(peer, *walking, kind, now, slots);
  }
}

// --- live changes ---

void Relay::follow(Peer& peer, std::size_t limit, SegmentMs now) {
  Outbound& out = peer.out;
  const u64 tail = writer_.feed().tail();
  const u64 end = std::min(tail, out.cursor + limits_.records_a_turn);
  while (out.cursor < end && peer.pending_bytes() < limit) {
    follow_some(peer, std::min(end, out.cursor + kAhead), limit, now);
  }
  if (out.cursor >= out.mark) {
    out.caught_up = out.mark_tick;
    out.mark = tail;
    out.mark_tick = tick_of(now);
  }
}

// Records from the cursor to `end`, at most kAhead. A HAProxy that is behind finds most of them
// superseded and nothing in the processor's cache any more: in sweeps the misses overlap, and the
// slots of superseded records are not looked at.
void Relay::follow_some(Peer& peer, u64 end, std::size_t limit, SegmentMs now) {
  struct Next {
    u64 position;
    shm::FeedRecord record;
    const shm::Table* table;
  };
  std::array<Next, kAhead> next;
  std::size_t n = 0;
  const shm::Feed& feed = writer_.feed();
  const shm::Table* table = nullptr;  // of the record before, mostly of this one too
  for (u64 position = peer.out.cursor; position < end; ++position) {
    const shm::FeedRecord record = feed.at(position);
    if (record.origin == peer.no.value || record.origin == kReadersOnly.value ||
        (record.kind != shm::FeedKind::kUpdate && record.kind != shm::FeedKind::kInsert)) {
      continue;
    }
    if (table == nullptr || table->info().no != record.table) {
      table = writer_.table(record.table);
    }
    // The number may belong to another table by now.
    if (table == nullptr || record.slot >= table->high_water()) {
      continue;
    }
    table->prefetch_last_record(record.slot);
    next[n++] = {position, record, table};
  }
  std::size_t left = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!superseded(peer, next[i].position, next[i].record, *next[i].table)) {
      next[i].table->prefetch_at(next[i].record.slot);
      next[left++] = next[i];
    }
  }
  for (std::size_t i = 0; i < left; ++i) {
    if (peer.pending_bytes() >= limit) {
      peer.out.cursor = next[i].position;
      return;
    }
    relay(peer, next[i].position, next[i].record, *next[i].table, now);
  }
  peer.out.cursor = end;
}

// Full position of a slot's newest record, from its low 32 bits.
u64 Relay::newest(u32 last) const {
  const u64 tail = writer_.feed().tail();
  return tail - (static_cast<u32>(tail) - last == 0 ? u64{1} << 32 : static_cast<u32>(tail) - last);
}

// Whether a newer record of the same slot brings what this one would.
bool Relay::superseded(const Peer& peer, u64 position, const shm::FeedRecord& record,
                       const shm::Table& table) const {
  const u32 last = table.last_record(record.slot);
  if (last == static_cast<u32>(position)) {
    return false;
  }
  if (is_users(table) && writer_.feed().at(newest(last)).origin == kReadersOnly.value) {
    return false;  // it brings nothing
  }
  const Shapes& shapes = book_.shapes(record.table);
  if (shapes.uniform()) {
    return true;
  }
  // If it wrote the row itself, it overwrote all columns that it could be sent.
  const PeerNo newer{writer_.feed().at(newest(last)).origin};
  return newer == peer.no || shapes.covers(shapes.of(newer), shapes.of(PeerNo{record.origin}));
}

void Relay::relay(Peer& peer, u64 position, const shm::FeedRecord& record, const shm::Table& table,
                  SegmentMs now) {
  const shm::EntryView entry = table.at(record.slot);
  if (!entry.live() || entry.expired(tick_of(now)) || !sends(table, entry)) {
    return;
  }
  if (peer.in.push_due) {
    // Several HAProxys teach at once after a start of ours, each the same: what another one has
    // just taught waits until this one has taught what it has. The difference brings what it lacks.
    const Peer* const origin = book_.by_no(PeerNo{record.origin});
    if (origin != nullptr && position < origin->in.end_position) {
      return;
    }
  }
  Outgoing& out = outgoing(peer, table);
  if (!out.wanted) {
    return;
  }
  const Shapes& shapes = book_.shapes(record.table);
  const u8 shape = shapes.uniform() ? Shapes::kUnknown : shapes.of(PeerNo{record.origin});
  send(peer, variant(peer, out, table, shape), table, entry, true, now);
}

// --- walks ---

Walk* Relay::current(Outbound& out, Kind& kind) {
  if (out.lesson.active) {
    kind = Kind::kLesson;
    return &out.lesson;
  }
  if (out.difference.active) {
    kind = Kind::kDifference;
    return &out.difference;
  }
  if (out.catch_up.active) {
    kind = Kind::kCatchUp;
    return &out.catch_up;
  }
  return nullptr;
}

bool Relay::sends(const shm::Table& table, const shm::EntryView& entry) const {
  return !is_users(table) || mode_.sends(entry);
}

bool Relay::owes(const Peer& peer, const shm::Table& table, u32 slot) const {
  const shm::Feed& feed = writer_.feed();
  const u64 position = newest(table.last_record(slot));
  if (position < peer.out.cursor || feed.tail() - position > feed.capacity()) {
    return false;
  }
  const shm::FeedRecord record = feed.at(position);
  return record.table == table.info().no && record.slot == slot;
}

bool Relay::wanted(const Peer& peer, Kind kind, const shm::Table& table,
                   const shm::EntryView& entry) const {
  switch (kind) {
    case Kind::kLesson:
      return true;
    case Kind::kDifference:
      return !peer.holds(table.info().no, entry.slot());
    case Kind::kCatchUp: {
      if (tick_diff(entry.updated_tick(), peer.out.since) < 0) {
        return false;
      }
      // As far as the feed still tells: not its own change, and not one its cursor will come to.
      const shm::Feed& feed = writer_.feed();
      const u64 position = newest(table.last_record(entry.slot()));
      if (feed.tail() - position > feed.capacity()) {
        return true;
      }
      const shm::FeedRecord record = feed.at(position);
      return record.table != table.info().no || record.slot != entry.slot() ||
             record.origin == kReadersOnly.value ||
             (record.origin != peer.no.value && position < peer.out.cursor);
    }
  }
  return false;
}

void Relay::walk(Peer& peer, Walk& walk, Kind kind, SegmentMs now, u32& slots) {
  u32 budget = std::min(slots, limits_.slots_a_turn);
  slots -= budget;
  for (; walk.table < shm::kMaxTables && budget > 0; ++walk.table, walk.slot = 0) {
    const shm::Table* const table = writer_.table(static_cast<u16>(walk.table));
    if (table == nullptr) {
      continue;
    }
    Outgoing& out = outgoing(peer, *table);
    if (!out.wanted) {
      continue;
    }
    if (kind == Kind::kLesson && walk.slot == 0) {
      (void)variant(peer, out, *table, Shapes::kUnknown);
      peer.session.announce(our_id(*table));  // empty ones too, as HAProxy does
    }
    for (; walk.slot < table->high_water() && budget > 0; ++walk.slot, --budget) {
      if (peer.pending_bytes() >= limits_.pending_bytes) {
        slots += budget;
        return;
      }
      const shm::EntryView entry = table->at(walk.slot);
      if (entry.live() && !entry.expired(tick_of(now)) && sends(*table, entry) &&
          wanted(peer, kind, *table, entry)) {
        send(peer, variant(peer, out, *table, Shapes::kUnknown), *table, entry,
             kind == Kind::kCatchUp, now);
        ++walk.rows;
      }
    }
    if (walk.slot < table->high_water()) {
      return;
    }
    budget -= std::min(budget, 1U);
  }
  slots += budget;
  if (walk.table == shm::kMaxTables) {
    finish(peer, walk, kind);
  }
}

void Relay::finish(Peer& peer, Walk& walk, Kind kind) {
  const u64 rows = walk.rows;
  walk = {};
  switch (kind) {
    case Kind::kLesson:
      peer.session.finish_lesson();
      cli::log_info("{}: taught everything, {} entries", peer.who, rows);
      return;
    case Kind::kDifference:
      peer.in.held.clear();
      cli::log_info("{}: brought up to date, it lacked {} entries", peer.who, rows);
      return;
    case Kind::kCatchUp:
      // Live changes go on from where this pass began, or, if that is gone too, another pass does
      // what changed since. The cursor has stood still at the mark.
      peer.out.caught_up = peer.out.mark_tick;
      return;
  }
}

// --- removals ---

bool Relay::crowded() const {
  return std::any_of(book_.all().begin(), book_.all().end(), [&](const auto& peer) {
    return peer->session.established() && peer->pending_bytes() >= limits_.pending_bytes;
  });
}

u32 Relay::retire(const shm::Table& table, const shm::EntryView& entry, SegmentMs now) {
  // Its key and nothing else; a life that is over is sent as one of a millisecond.
  shm::SlotCopy zero;
  const shm::TableInfo& info = table.info();
  std::fill_n(zero.begin(), info.geometry.used_bytes / 8, 0);
  const std::span<const u8> key = entry.key();
  std::memcpy(reinterpret_cast<u8*>(zero.data()) + info.geometry.key_offset, key.data(),
              key.size());
  zero[0] = entry.words()[0];
  shm::put_times(zero.data(), tick_of(now), tick_of(now));
  const shm::EntryView over(&info.definition, &info.geometry, zero.data(), entry.slot());
  u32 untold = 0;
  for (const auto& peer : book_.all()) {
    if (!peer->session.established()) {
      continue;
    }
    if (peer->pending_bytes() >= limits_.pending_bytes) {
      ++untold;
      continue;
    }
    if (Outgoing& out = outgoing(*peer, table); out.wanted) {
      send(*peer, variant(*peer, out, table, Shapes::kUnknown), table, over, true, now);
    }
  }
  return untold;
}

// --- rows ---

Outgoing& Relay::outgoing(Peer& peer, const shm::Table& table) {
  const shm::TableInfo& info = table.info();
  if (peer.out.tables.size() <= info.no) {
    peer.out.tables.resize(info.no + std::size_t{1});
  }
  Outgoing& out = peer.out.tables[info.no];
  if (out.table_id == info.id && out.full != nullptr) [[likely]] {
    return out;
  }
  out = {};
  out.table_id = info.id;
  shm::TableDefinition base = info.definition;
  base.name = mode_.outlet(info);
  // As it announced the table of that name. With another kind of key it would ignore it (4.5).
  const auto tables = peer.session.tables();
  const auto at = std::find_if(tables.begin(), tables.end(), [&](const auto& t) {
    return t->usable && t->definition.name == base.name;
  });
  if (at != tables.end()) {
    const shm::TableDefinition& theirs = (*at)->definition;
    out.wanted = theirs.key_type == base.key_type && theirs.key_bytes == base.key_bytes;
    base = theirs;
  } else {
    // A table that is only there to be sent is nothing to those who do not have it. Which ones they
    // have is known after the lesson.
    out.wanted = !base.name.empty() &&
                 (!mode_.is_echo(base.name) || peer.in.phase == Inbound::Phase::kTeaching);
  }
  if (info.role == shm::TableRole::kUsers) {
    base.data_types &= mode_.columns_out();
  }
  out.full = make_variant(base, nullptr, info);
  return out;
}

// What to send of a row that a HAProxy of `shape` wrote; kUnknown: all columns. The session is
// told.
const Variant& Relay::variant(Peer& peer, Outgoing& out, const shm::Table& table, u8 shape) {
  const Variant* chosen = out.full.get();
  if (shape != Shapes::kUnknown) {
    if (out.shapes.size() <= shape) {
      out.shapes.resize(shape + std::size_t{1});
    }
    if (out.shapes[shape] == nullptr) {
      out.shapes[shape] = make_variant(out.full->definition,
                                       &book_.shapes(table.info().no).shape(shape), table.info());
    }
    chosen = out.shapes[shape].get();
  }
  if (out.defined != chosen) {
    peer.session.define(our_id(table), chosen->definition);
    out.defined = chosen;
  }
  return *chosen;
}

void Relay::send(Peer& peer, const Variant& variant, const shm::Table& table,
                 const shm::EntryView& entry, bool live, SegmentMs now) {
  const Tick tick = tick_of(now);
  const u64 own = std::min(variant.definition.expire_ms, u64{kMaxExpireMs});
  std::optional<u32> expire;
  if (own != 0) {
    u64 left = entry.never_expires() ? own : std::max(1U, entry.expire_left_ms(tick));
    if (!live && entry.never_expires() && is_users(table)) {
      // So that what it tells in its next lesson says when the visitor was seen last.
      constexpr u64 kLeastMs = 10'000;
      const auto age = static_cast<u64>(std::max(0, tick_diff(tick, entry.updated_tick())));
      left = std::max(std::min(own, kLeastMs), own > age ? own - age : 0);
    }
    // Just refreshed: an untimed update starts the receiver's own expiry, as from HAProxy itself.
    const u64 slack = std::min(own / 8, u64{1000});
    if (!live || left + slack < own) {
      expire = static_cast<u32>(std::min(left, u64{kMaxExpireMs}));
    }
  } else if (!live) {
    expire = 0;
  }
  const std::size_t n = cells_of(variant, entry.words(), tick, cells_.data());
  const u32 id = peer.session.update(our_id(table), entry.key(), {cells_.data(), n}, expire);
  if (id != 0 && is_users(table)) {
    mode_.on_sent(peer, table, entry.slot(), id);
  }
}

}  // namespace lineq::engine
