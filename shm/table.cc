#include "shm/table.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "shm/line_state.h"
#include "shm/seqlock.h"
#include "shm/writer_state.h"

namespace lineq::shm {
namespace {

constexpr u32 kFirstIndexLog2 = 9;         // 512 buckets, 32 KiB
constexpr u32 kLastIndexLog2 = 27;         // the tag also names the home bucket
constexpr u64 kMinAhead = u64{64} << 10;   // slot memory reserved ahead of need: at least
constexpr u64 kUsualAhead = u64{8} << 20;  // and for large tables
constexpr u64 kMaxStep = u64{4} << 20;
constexpr u64 kRetryMs = 100;  // after the system refused memory
constexpr u32 kBucketsPerInsert = 4;
constexpr i32 kSameLifeMs =
    1000;  // deadlines closer than this are the same touch, seen over the network
constexpr u32 kMaxLifeMs = 0x7fff'0000;  // ticks compare over at most 24.8 days

u8* bytes_of(u64* words) {
  return reinterpret_cast<u8*>(words);
}

template <typename T>
void put(u8* at, T value) {
  std::memcpy(at, &value, sizeof value);
}
template <typename T>
T get(const u8* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

u64 times(Tick expire, Tick updated) {
  return u64{updated} << 32 | expire;
}

// Cells as told -> image. What is not told stays.
void fill(const ColumnMap& columns, const u64* cells, Tick now, u8* image) {
  for (const ColumnMap::Op& op : columns.ops()) {
    u8* at = image + op.offset;
    const u64* cell = cells + op.cell;
    switch (op.kind) {
      case ValueKind::kS32:
      case ValueKind::kU32:
        for (u32 i = 0; i < op.count; ++i) {
          put(at + u64{4} * i, static_cast<u32>(cell[i]));
        }
        break;
      case ValueKind::kU64:
        put(at, cell[0]);
        break;
      case ValueKind::kRate:
        // Stored as the tick at which the period began: rates age by themselves
        // (peers-protocol 5.3).
        for (u32 i = 0; i < op.count; ++i) {
          put(at + u64{12} * i, now - static_cast<u32>(cell[u64{3} * i]));
          put(at + u64{12} * i + 4, static_cast<u32>(cell[u64{3} * i + 1]));
          put(at + u64{12} * i + 8, static_cast<u32>(cell[u64{3} * i + 2]));
        }
        break;
      case ValueKind::kDictionary:
        if (cell[0] != 0) {  // "none" tells the receiver to keep what it has (peers-protocol 5.4)
          put(at, static_cast<u32>(cell[0]));
        }
        break;
    }
  }
}

// Whether the slot already says what is told.
bool same_values(const ColumnMap& columns, const u64* cells, const u8* slot) {
  for (const ColumnMap::Op& op : columns.ops()) {
    const u8* at = slot + op.offset;
    const u64* cell = cells + op.cell;
    switch (op.kind) {
      case ValueKind::kS32:
      case ValueKind::kU32:
        for (u32 i = 0; i < op.count; ++i) {
          if (get<u32>(at + u64{4} * i) != static_cast<u32>(cell[i])) {
            return false;
          }
        }
        break;
      case ValueKind::kU64:
        if (get<u64>(at) != cell[0]) {
          return false;
        }
        break;
      case ValueKind::kDictionary:
        if (cell[0] != 0 && get<u32>(at) != static_cast<u32>(cell[0])) {
          return false;
        }
        break;
      case ValueKind::kRate:
        // A rate changes by events only; that its period began a moment earlier or later is the
        // network's doing.
        for (u32 i = 0; i < op.count; ++i) {
          if (get<u32>(at + u64{12} * i + 4) != static_cast<u32>(cell[u64{3} * i + 1]) ||
              get<u32>(at + u64{12} * i + 8) != static_cast<u32>(cell[u64{3} * i + 2])) {
            return false;
          }
        }
        break;
    }
  }
  return true;
}

void write_slot(u64* slot, const u64* image, u32 words) {
  u32& seq = *reinterpret_cast<u32*>(slot);
  u32& meta = *(reinterpret_cast<u32*>(slot) + 1);
  seqlock_write(seq, [&] {
    store_point();
    store_relaxed(meta, static_cast<u32>(image[0] >> 32));
    store_point();
    for (u32 i = 1; i < words; ++i) {
      store_relaxed(slot[i], image[i]);
      store_point();
    }
  });
}

}  // namespace

ColumnMap::ColumnMap(const TableDefinition& from, const TableInfo& to) {
  u32 cell = 0;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (!from.has(bit)) {
      continue;
    }
    const ValueKind kind = data_type(bit).kind;
    if (to.definition.has(bit)) {
      ops_.push_back({kind, static_cast<u16>(cell), to.geometry.offset[bit],
                      std::min(from.elements[bit], to.definition.elements[bit])});
    }
    cell += wire_cells(kind) * from.elements[bit];
  }
}

Table::Table(Writer& writer, u16 no) : writer_(writer), desc_(writer.state_->layout->tables[no]) {
  parts_ = std::make_unique<Parts>(desc_, writer.state_->header().hash_key);
  info_.no = no;
}

Table::~Table() {
  // The provisioner may still be filling our objects.
  for (const auto& job : {parts_->slot_job, parts_->index_job}) {
    if (job) {
      writer_.state_->provisioner->wait(job);
    }
  }
}

u64 Table::live() const {
  return parts_->desc.live;
}
u32 Table::expire_ms() const {
  return parts_->desc.expire_ms;
}
u32 Table::tag_of(std::span<const u8> key) const {
  return index_tag(parts_->hash(key));
}

void Table::prefetch(u32 tag) const {
  parts_->cur.prefetch_home(tag);
  if (parts_->next) {
    parts_->next.prefetch_home(tag);
  }
}

u32 Table::prefetch_slot(u32 tag) const {
  const Parts& p = *parts_;
  const auto any = [](u32) { return true; };
  auto slot = p.cur.find(tag, any);
  if (!slot && p.next) {
    slot = p.next.find(tag, any);
  }
  if (!slot) {
    return kNoSlot;
  }
  prefetch_at(*slot);
  prefetch_last_record(*slot);
  return *slot;
}

// The slot's key, whatever else it says.
bool Table::is_at(u32 slot, std::span<const u8> key) const {
  const auto have = view(slot).key();
  return have.size() == key.size() && std::memcmp(have.data(), key.data(), key.size()) == 0;
}

std::optional<u32> Table::find(u32 tag, std::span<const u8> key, u32 first) const {
  if (first != kNoSlot && is_at(first, key) && at(first).live()) [[likely]] {
    return first;
  }
  const Parts& p = *parts_;
  const auto match = [&](u32 slot) { return is_at(slot, key); };
  auto found = p.cur.find(tag, match);
  if (!found && p.next) {
    found = p.next.find(tag, match);
  }
  return found;
}

std::optional<u32> Table::find(std::span<const u8> key) const {
  return find(tag_of(key), key);
}

// --- the update path
// -----------------------------------------------------------------------------------------------

void Table::apply(const ColumnMap& columns, std::span<const Change> changes, PeerNo origin,
                  SegmentMs now, std::span<Applied> results) {
  LINEQ_ASSERT(changes.size() <= kBatch && results.size() >= changes.size());
  Parts& p = *parts_;
  // Three sweeps, so that cache misses of a batch overlap: buckets, then slots, then the work
  // (shm-design 18).
  std::array<u32, kBatch> tags;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    tags[i] = tag_of(changes[i].key);
    prefetch(tags[i]);
  }
  std::array<u32, kBatch> slots;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    slots[i] = prefetch_slot(tags[i]);
  }
  u64 inserts = 0;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    results[i] = apply_one(columns, changes[i], tags[i], slots[i], origin, now);
    inserts += results[i].outcome == Outcome::kInserted ? 1U : 0U;
  }
  const auto bump = [&](TableCounter c, u64 by) {
    u64& cell = p.desc.counters[static_cast<u32>(c)];
    store_relaxed(cell, cell + by);
  };
  bump(TableCounter::updates, changes.size());
  bump(TableCounter::inserts, inserts);
  store_relaxed(p.desc.counters[static_cast<u32>(TableCounter::last_update_ms)], now);
}

Applied Table::apply_one(const ColumnMap& columns, const Change& change, u32 tag, u32 first,
                         PeerNo origin, SegmentMs now_ms) {
  Parts& p = *parts_;
  const Tick now = tick_of(now_ms);
  LINEQ_ASSERT(change.key.size() <= info_.geometry.key_capacity);
  const u32 own_life = p.desc.expire_ms;
  const bool never = own_life == 0;
  // A life of 0 in a table that expires means "just expired" (peers-protocol 3.1).
  const u32 life = std::clamp(change.timed ? change.expire_ms : own_life, 1U, kMaxLifeMs);
  const Tick told = now + life;

  const auto found = find(tag, change.key, first);
  if (!found) {
    return insert(columns, change, tag, origin, now_ms, never, told);
  }
  const u32 slot = *found;
  const EntryView old = at(slot);
  u64* image = writer_.state_->layout->intent.image;
  const u32 words = info_.geometry.used_bytes / 8;

  if (old.expired(now)) {
    // Past its deadline and not collected yet: a new life in the same slot.
    std::memset(image, 0, u64{words} * 8);
    std::memcpy(bytes_of(image) + info_.geometry.key_offset, change.key.data(), change.key.size());
    image[0] =
        (u64{kMetaLive} | (never ? kMetaNeverExpires : 0) | change.key.size() << kMetaKeyShift)
        << 32;
    image[1] = times(told, now);
    fill(columns, change.cells, now, bytes_of(image));
    commit(PartKind::kUpdate, slot, tag, words);
    record(FeedKind::kInsert, slot, origin);
    return {slot, Outcome::kInserted, !never, told};
  }

  const bool longer = !old.never_expires() && (never || tick_diff(told, old.expire_tick()) > 0);
  const Tick deadline = longer ? told : old.expire_tick();
  const u64* old_words = old.words();
  if (change.merge != Merge::kOverwrite) {
    const bool same = same_values(columns, change.cells, reinterpret_cast<const u8*>(old_words));
    const bool newer = change.merge == Merge::kIfNewer && longer && !never &&
                       tick_diff(told, old.expire_tick()) > (same ? kSameLifeMs : 0);
    if (!newer) {
      if (longer && same) {
        std::memcpy(image, old_words, 16);
        image[1] = times(deadline, old.updated_tick());
        commit(PartKind::kUpdate, slot, tag, 2);
      }
      return {slot, same ? Outcome::kKeptSame : Outcome::kKept, false, deadline};
    }
  }
  std::memcpy(image, old_words, u64{words} * 8);
  if (never) {
    image[0] |= u64{kMetaNeverExpires} << 32;
  }
  image[1] = times(deadline, now);
  fill(columns, change.cells, now, bytes_of(image));
  commit(PartKind::kUpdate, slot, tag, words);
  record(FeedKind::kUpdate, slot, origin);
  return {slot, Outcome::kUpdated, false, deadline};
}

Applied Table::insert(const ColumnMap& columns, const Change& change, u32 tag, PeerNo origin,
                      SegmentMs now_ms, bool never, Tick deadline) {
  const Tick now = tick_of(now_ms);
  const auto slot = room_in_index(now_ms) ? take_slot(now_ms) : std::nullopt;
  if (!slot) {
    return {};
  }
  u64* image = writer_.state_->layout->intent.image;
  const u32 words = info_.geometry.used_bytes / 8;
  std::memset(image, 0, u64{words} * 8);
  std::memcpy(bytes_of(image) + info_.geometry.key_offset, change.key.data(), change.key.size());
  image[0] = (u64{kMetaLive} | (never ? kMetaNeverExpires : 0) | change.key.size() << kMetaKeyShift)
             << 32;
  image[1] = times(deadline, now);
  fill(columns, change.cells, now, bytes_of(image));
  commit(PartKind::kInsert, *slot, tag, words);
  record(FeedKind::kInsert, *slot, origin);
  if (parts_->next) {
    (void)migrate_some(kBucketsPerInsert);
  }
  return {*slot, Outcome::kInserted, !never, deadline};
}

void Table::erase(u32 slot, FeedKind kind, PeerNo origin, SegmentMs now) {
  const EntryView entry = at(slot);
  LINEQ_ASSERT(entry.live());
  const u32 tag = index_tag(parts_->hash(entry.key()));
  u64* image = writer_.state_->layout->intent.image;
  image[0] = 0;
  image[1] = times(tick_of(now), tick_of(now));
  commit(PartKind::kErase, slot, tag, 2);
  parts_->free.push_back(slot);
  record(kind, slot, origin);
}

void Table::commit(PartKind kind, u32 slot, u32 tag, u32 words) {
  Intent& intent = writer_.state_->layout->intent;
  IntentPart& part = intent.part[0];
  part.kind = static_cast<u32>(kind);
  part.table = info_.no;
  part.slot = slot;
  part.words = words;
  part.tag = tag;
  intent.parts = 1;
  crash_point();
  store_release(intent.op, 1);
  crash_point();  // the record is complete before anything is touched
  land(kind, slot, tag, intent.image, words);
  crash_point();
  store_release(intent.op, 0);
  crash_point();
}

void Table::land(PartKind kind, u32 slot, u32 tag, const u64* image, u32 words) {
  Parts& p = *parts_;
  switch (kind) {
    case PartKind::kUpdate:
      write_slot(slots_.words(slot), image, words);
      break;
    case PartKind::kInsert:
      write_slot(slots_.words(slot), image, words);
      crash_point();
      if (slot >= p.desc.high_water) {
        store_release(p.desc.high_water,
                      u64{slot} + 1);  // pairs with load_acquire in scans: the slot is filled
        crash_point();
      }
      (p.next ? p.next : p.cur).put(tag, slot);
      ++(p.next ? p.next_used : p.cur_used);
      store_relaxed(p.desc.live, p.desc.live + 1);
      break;
    case PartKind::kErase:
      // Out of the index first: a reader that still holds the number sees a free slot or another
      // key.
      p.cur_used -= p.cur.remove(tag, slot) ? 1U : 0U;
      if (p.next) {
        p.next_used -= p.next.remove(tag, slot) ? 1U : 0U;
      }
      write_slot(slots_.words(slot), image, words);
      store_relaxed(p.desc.live, p.desc.live - 1);
      break;
    case PartKind::kNone:
      break;
  }
}

void Table::record(FeedKind kind, u32 slot, PeerNo origin) {
  Feed& feed = writer_.state_->feed;
  slots_.last_record(slot) = static_cast<u32>(feed.tail());
  feed.append({slot, info_.no, kind, origin.value});
}

// --- memory
// --------------------------------------------------------------------------------------------------------

bool Table::set_chunk(u32 k, Object& object, u32 dir) {
  Parts& p = *parts_;
  if (!slots_.add_chunk(k, object.data(), p.desc.slot_bytes)) {
    return false;
  }
  p.chunks[k] = std::move(object);
  p.chunk_object[k] = dir;
  p.chunk_count = k + 1;
  return true;
}

Status Table::create_memory(u64 expected) {
  Parts& p = *parts_;
  u32 log2 = kFirstIndexLog2;
  while (log2 < kLastIndexLog2 && (u64{kBucketWords} << log2) / 2 < expected) {
    ++log2;
  }
  Writer::State& s = *writer_.state_;
  const u64 chunk_bytes = chunk_slots(0) * p.desc.slot_bytes;
  const u64 index_bytes = sizeof(Bucket) << log2;
  const auto chunk_dir = s.prepare_object(ObjectKind::kChunk, info_.no, chunk_bytes);
  const auto index_dir = s.prepare_object(ObjectKind::kIndex, info_.no, index_bytes);
  const auto undo = [&] {
    for (const auto& dir : {chunk_dir, index_dir}) {
      if (dir) {
        Object::unlink(s.name_of(*dir));
        s.forget_object(*dir);
      }
    }
  };
  if (!chunk_dir || !index_dir) {
    undo();
    return Error{ErrorCode::kExhausted,
                 fmt::format("table {}: the segment's object directory is full ({} objects)",
                             info_.definition.name, kMaxObjects)};
  }
  auto chunk = s.provisioner->create_now(s.name_of(*chunk_dir), chunk_bytes, chunk_bytes);
  auto index = chunk ? s.provisioner->create_now(s.name_of(*index_dir), index_bytes, index_bytes)
                     : Result<Object>(chunk.error());
  if (!index || !set_chunk(0, *chunk, *chunk_dir)) {
    undo();
    writer_.add_counter(DaemonCounter::provision_failures);
    return Error{ErrorCode::kExhausted,
                 fmt::format("table {}: no memory{}{}", info_.definition.name, index ? "" : ": ",
                             index ? "" : index.error().what)};
  }
  p.usable = chunk_slots(0);
  p.cur_object = index.take();
  p.cur_dir = *index_dir;
  p.cur = BucketIndex(reinterpret_cast<Bucket*>(p.cur_object.data()), log2);
  s.publish_object(*chunk_dir, chunk_bytes);
  s.publish_object(*index_dir, index_bytes);
  store_release(p.desc.chunk[0].object, s.layout->objects[*chunk_dir].number);
  store_release(p.desc.cur.object, s.layout->objects[*index_dir].number);
  return {};
}

std::optional<u32> Table::take_slot(u64 now_ms) {
  Parts& p = *parts_;
  if (!p.free.empty()) {
    const u32 slot = p.free.back();  // last out, first in: it is warm
    p.free.pop_back();
    return slot;
  }
  const u64 high = p.desc.high_water;
  if (high >= p.usable) {
    if (!p.slot_job && now_ms >= p.slots_retry_ms) {
      want_slots();
    }
    if (p.slot_job) {
      writer_.add_counter(DaemonCounter::provision_waits);
      writer_.state_->provisioner->wait(p.slot_job);
    }
    if (!take_slot_job(now_ms) || high >= p.usable) {
      return std::nullopt;
    }
  } else if (high % 64 == 0) {
    if (p.slot_job && p.slot_job->done()) {
      (void)take_slot_job(now_ms);
    }
    const u64 stride = p.desc.slot_bytes;
    const u64 bytes = high * stride;
    const u64 ahead = std::max(kMinAhead, std::min(bytes, std::max(kUsualAhead, bytes / 8)));
    if (!p.slot_job && (p.usable - high) * stride < ahead / 4 * 3 && now_ms >= p.slots_retry_ms) {
      want_slots();
    }
  }
  return static_cast<u32>(high);
}

void Table::want_slots() {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  const u64 stride = p.desc.slot_bytes;
  const u32 k = p.chunk_count - 1;
  const u64 chunk_bytes = chunk_slots(k) * stride;
  const u64 reserved = s.layout->objects[p.chunk_object[k]].reserved_bytes;
  if (reserved < chunk_bytes) {
    p.slot_job_creates = false;
    p.slot_job =
        s.provisioner->extend(p.chunks[k], reserved, std::min(kMaxStep, chunk_bytes - reserved));
    return;
  }
  if (p.chunk_count == kMaxChunks) {
    return;
  }
  const u64 next_bytes = chunk_slots(k + 1) * stride;
  const auto dir = s.prepare_object(ObjectKind::kChunk, info_.no, next_bytes);
  if (!dir) {
    return;
  }
  p.slot_job_object = *dir;
  p.slot_job_creates = true;
  p.slot_job = s.provisioner->create(s.name_of(*dir), next_bytes, std::min(kMaxStep, next_bytes));
}

// True when the last request brought memory. Call when the job is done.
bool Table::take_slot_job(u64 now_ms) {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  if (!p.slot_job) {
    return false;
  }
  const Provisioner::Ticket job = std::exchange(p.slot_job, nullptr);
  const u64 stride = p.desc.slot_bytes;
  const u32 k = p.chunk_count - (p.slot_job_creates ? 0 : 1);
  bool fine = job->status.ok();
  if (fine && p.slot_job_creates && !set_chunk(k, job->object, p.slot_job_object)) {
    fine = false;
    Object::unlink(s.name_of(p.slot_job_object));
    s.provisioner->discard(std::move(job->object), job->reached);
  }
  if (!fine) {
    writer_.add_counter(DaemonCounter::provision_failures);
    p.slots_retry_ms = now_ms + kRetryMs;
  }
  if (p.slot_job_creates) {
    if (!fine) {
      s.forget_object(p.slot_job_object);
      return false;
    }
    s.publish_object(p.slot_job_object, job->reached);
    store_release(p.desc.chunk[k].object, s.layout->objects[p.slot_job_object].number);
  } else {
    ObjDesc& object = s.layout->objects[p.chunk_object[k]];
    store_relaxed(object.reserved_bytes, object.reserved_bytes + job->reached);
  }
  const u64 before = p.usable;
  p.usable = chunk_start(k) + s.layout->objects[p.chunk_object[k]].reserved_bytes / stride;
  return p.usable > before;
}

bool Table::room_in_index(u64 now_ms) {
  Parts& p = *parts_;
  if (p.next) {
    // Twice as large and filled by four buckets an insert: it cannot run full before the old one is
    // empty.
    return p.next_used * 100 < p.next.capacity() * 97;
  }
  const u64 percent = p.cur_used * 100 / p.cur.capacity();
  if (percent < 55) {
    return true;
  }
  if (!p.index_job && now_ms >= p.index_retry_ms) {
    want_index();
  }
  if (percent < 80) {
    return true;
  }
  if (p.index_job && percent >= 97) {
    writer_.add_counter(DaemonCounter::provision_waits);
    writer_.state_->provisioner->wait(p.index_job);
  }
  if (p.index_job && p.index_job->done() && take_index_job(now_ms)) {
    start_growth();
    return true;
  }
  return percent < 97;
}

void Table::want_index() {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  const u32 log2 = p.cur.log2() + 1;
  if (log2 > kLastIndexLog2) {
    return;
  }
  const u64 bytes = sizeof(Bucket) << log2;
  const auto dir = s.prepare_object(ObjectKind::kIndex, info_.no, bytes);
  if (!dir) {
    return;
  }
  p.index_job_object = *dir;
  p.index_job_log2 = log2;
  p.index_job = s.provisioner->create(s.name_of(*dir), bytes, bytes);
}

bool Table::take_index_job(u64 now_ms) {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  const Provisioner::Ticket job = std::exchange(p.index_job, nullptr);
  if (!job->status) {
    writer_.add_counter(DaemonCounter::provision_failures);
    p.index_retry_ms = now_ms + kRetryMs;
    s.forget_object(p.index_job_object);
    return false;
  }
  p.next_object = std::move(job->object);
  p.next_dir = p.index_job_object;
  p.next = BucketIndex(reinterpret_cast<Bucket*>(p.next_object.data()), p.index_job_log2);
  p.next_used = 0;
  s.publish_object(p.next_dir, p.next_object.bytes());
  return true;
}

// A next object is in use once its number is stored; any prefix of these stores is a state that
// adopt() understands.
void Table::start_growth() {
  Parts& p = *parts_;
  store_relaxed(p.desc.migrated, 0);
  crash_point();
  store_release(
      p.desc.next.object,
      writer_.state_->layout->objects[p.next_dir].number);  // pairs with Reader::index_pair
  crash_point();
}

void Table::finish_growth() {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  store_release(p.desc.cur.object,
                s.layout->objects[p.next_dir].number);  // pairs with Reader::index_pair
  crash_point();
  store_release(p.desc.next.object, 0);
  crash_point();
  const u32 old_dir = p.cur_dir;
  const u64 old_bytes = p.cur_object.bytes();
  Object::unlink(s.name_of(old_dir));
  crash_point();
  s.forget_object(old_dir);
  s.provisioner->discard(std::move(p.cur_object), old_bytes);
  p.cur_object = std::move(p.next_object);
  p.cur_dir = p.next_dir;
  p.cur = p.next;
  p.cur_used = p.next_used;
  p.next = BucketIndex();
  p.next_used = 0;
}

bool Table::migrate_some(u32 buckets) {
  Parts& p = *parts_;
  if (!p.next) {
    return true;
  }
  for (u32 i = 0; i < buckets && p.desc.migrated < p.cur.buckets(); ++i) {
    const Bucket& bucket = p.cur.bucket(p.desc.migrated);
    for (const u64 word : bucket.word) {
      if (word == 0) {
        continue;
      }
      const auto tag = static_cast<u32>(word >> 32);
      const u32 slot = static_cast<u32>(word) - 1;
      // Words of this bucket may be there already when a kill interrupted it.
      if (!p.next.has(tag, slot)) {
        p.next.put(tag, slot);
        ++p.next_used;
      }
    }
    store_release(p.desc.migrated, p.desc.migrated + 1);
    crash_point();
  }
  if (p.desc.migrated < p.cur.buckets()) {
    return false;
  }
  finish_growth();
  return true;
}

void Table::drop_memory() {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  const auto drop = [&](Object& object, u32 dir) {
    if (!object.mapped()) {
      return;
    }
    Object::unlink(s.name_of(dir));
    const u64 reserved = s.layout->objects[dir].reserved_bytes;
    s.forget_object(dir);
    s.provisioner->discard(std::move(object), reserved);
  };
  if (p.slot_job) {
    s.provisioner->wait(p.slot_job);
    (void)take_slot_job(0);
  }
  if (p.index_job) {
    s.provisioner->wait(p.index_job);
    (void)take_index_job(0);
  }
  for (u32 k = 0; k < p.chunk_count; ++k) {
    drop(p.chunks[k], p.chunk_object[k]);
  }
  drop(p.cur_object, p.cur_dir);
  drop(p.next_object, p.next_dir);
  p.chunk_count = 0;
}

// --- recovery
// ------------------------------------------------------------------------------------------------------

Status Table::adopt() {
  Parts& p = *parts_;
  Writer::State& s = *writer_.state_;
  const auto open = [&](u32 number, u32& dir) -> Result<Object> {
    const auto index = s.object_index(number);
    if (!index) {
      return Error{ErrorCode::kDamaged,
                   fmt::format("table {}: object {:08x} is not in the directory",
                               info_.definition.name, number)};
    }
    dir = *index;
    auto object = Object::open_own(s.name_of(dir));
    if (object && object->bytes() < s.layout->objects[dir].bytes) {
      return Error{ErrorCode::kDamaged, fmt::format("table {}: object {:08x} is too short",
                                                    info_.definition.name, number)};
    }
    return object;
  };
  for (u32 k = 0; k < kMaxChunks && p.desc.chunk[k].object != 0; ++k) {
    u32 dir = 0;
    auto chunk = open(p.desc.chunk[k].object, dir);
    if (!chunk) {
      return chunk.error();
    }
    if (chunk->bytes() != chunk_slots(k) * p.desc.slot_bytes) {
      return Error{ErrorCode::kDamaged,
                   fmt::format("table {}: chunk {} has a wrong size", info_.definition.name, k)};
    }
    if (!set_chunk(k, *chunk, dir)) {
      return Error{ErrorCode::kExhausted,
                   fmt::format("table {}: no memory to attach it", info_.definition.name)};
    }
    p.usable = chunk_start(k) + s.layout->objects[dir].reserved_bytes / p.desc.slot_bytes;
  }
  if (p.chunk_count == 0 || p.desc.high_water > p.usable) {
    return Error{ErrorCode::kDamaged,
                 fmt::format("table {}: {} slots in use, {} exist", info_.definition.name,
                             p.desc.high_water, p.usable)};
  }
  // The pair of index objects, as far as start_growth or finish_growth came.
  auto cur = open(p.desc.cur.object, p.cur_dir);
  if (!cur) {
    return cur.error();
  }
  p.cur_object = cur.take();
  p.cur = BucketIndex(reinterpret_cast<Bucket*>(p.cur_object.data()),
                      static_cast<u32>(std::countr_zero(p.cur_object.bytes() / sizeof(Bucket))));
  if (p.desc.next.object == p.desc.cur.object) {
    store_relaxed(p.desc.next.object, 0);
  }
  if (p.desc.next.object != 0) {
    auto next = open(p.desc.next.object, p.next_dir);
    if (!next) {
      return next.error();
    }
    p.next_object = next.take();
    p.next =
        BucketIndex(reinterpret_cast<Bucket*>(p.next_object.data()),
                    static_cast<u32>(std::countr_zero(p.next_object.bytes() / sizeof(Bucket))));
  }
  return {};
}

// All repairs are idempotent: whole images, put if absent, remove if present.
void Table::redo(const IntentPart& part, const u64* image) {
  Parts& p = *parts_;
  const auto kind = static_cast<PartKind>(part.kind);
  if (part.slot >= p.usable || part.words < 2 || part.words > info_.geometry.used_bytes / 8) {
    return;
  }
  if (kind == PartKind::kErase) {
    (void)p.cur.remove(part.tag, part.slot);
    if (p.next) {
      (void)p.next.remove(part.tag, part.slot);
    }
  }
  write_slot(slots_.words(part.slot), image, part.words);
  if (kind == PartKind::kInsert) {
    if (part.slot >= p.desc.high_water) {
      store_release(p.desc.high_water, u64{part.slot} + 1);
    }
    BucketIndex& index = p.next ? p.next : p.cur;
    if (!index.has(part.tag, part.slot)) {
      index.put(part.tag, part.slot);
    }
  }
}

// Everything derived, recomputed from slots and buckets.
void Table::recount() {
  Parts& p = *parts_;
  const auto high = static_cast<u32>(p.desc.high_water);
  u64 live = 0;
  p.free.clear();
  for (u32 slot = high; slot-- > 0;) {
    if (at(slot).live()) {
      ++live;
    } else {
      p.free.push_back(slot);
    }
  }
  store_relaxed(p.desc.live, live);
  p.cur_used = live;
  if (p.next) {
    p.next_used = 0;
    for (u64 b = 0; b < p.next.buckets(); ++b) {
      for (const u64 word : p.next.bucket(b).word) {
        p.next_used += word != 0 ? 1U : 0U;
      }
    }
  }
}

// Into an empty table with more columns that nobody sees yet: no redo record, no sequence. Nothing
// is told to the feed: values are the same.
bool Table::copy_entries_to(Table& wider, u64 now_ms) const {
  bool all = true;
  constexpr u32 kAhead = 16;  // entries whose buckets are on their way
  struct Next {
    u32 slot;
    u32 tag;
  };
  std::array<Next, kAhead> next{};
  u32 count = 0;
  Parts& w = *wider.parts_;
  const auto copy = [&](const Next& one) {
    const auto target = wider.room_in_index(now_ms) ? wider.take_slot(now_ms) : std::nullopt;
    if (!target) {
      writer_.add_table_counter(wider.info_.no, TableCounter::refused);
      all = false;
      return;
    }
    const EntryView entry = at(one.slot);
    u64* words = wider.slots_.words(*target);
    const Geometry& geometry = info_.geometry;
    std::memset(words, 0, wider.info_.geometry.used_bytes);
    // The sequence stays 0: the slot was never written under it.
    words[0] = entry.words()[0] & ~u64{0xffff'ffff};
    std::memcpy(words + 1, entry.words() + 1, geometry.form == SlotForm::kExtended ? 24 : 8);
    u8* to = bytes_of(words);
    const u8* from = reinterpret_cast<const u8*>(entry.words());
    for (u32 bit = 0; bit < kDataTypes; ++bit) {
      if (info_.definition.has(bit)) {
        const ValueKind kind = data_type(bit).kind;
        const u64 width = kind == ValueKind::kU64 || geometry.form == SlotForm::kTotals
                              ? 8
                              : u64{4} * wire_cells(kind);
        std::memcpy(to + wider.info_.geometry.offset[bit], from + geometry.offset[bit],
                    width * info_.definition.elements[bit]);
      }
    }
    std::memcpy(to + wider.info_.geometry.key_offset, entry.key().data(), entry.key().size());
    store_release(w.desc.high_water, u64{*target} + 1);
    (w.next ? w.next : w.cur).put(one.tag, *target);
    ++(w.next ? w.next_used : w.cur_used);
    store_relaxed(w.desc.live, w.desc.live + 1);
    if (w.next) {
      (void)wider.migrate_some(kBucketsPerInsert);
    }
  };
  const u32 end = high_water();
  for (u32 slot = 0; slot < end; ++slot) {
    const EntryView entry = at(slot);
    if (!entry.live()) {
      continue;
    }
    next[count] = {slot, tag_of(entry.key())};
    wider.prefetch(next[count].tag);
    if (++count == kAhead) {
      std::for_each(next.begin(), next.end(), copy);
      count = 0;
    }
  }
  std::for_each(next.begin(), next.begin() + count, copy);
  return all;
}

// --- several changes in one
// ----------------------------------------------------------------------------------------

Together::~Together() {
  for (u32 i = count_; i-- > 0;) {
    const One& one = changes_[i];
    // A slot from beyond the high-water mark was only looked at.
    if (one.kind == PartKind::kInsert && one.slot < one.table->high_water()) {
      one.table->parts_->free.push_back(one.slot);
    }
  }
}

u64* Together::add(const One& one) {
  const u32 words = one.table->info_.geometry.used_bytes / 8;
  LINEQ_ASSERT(count_ < kIntentParts && words_ + words <= kIntentWords);
  Intent& intent = writer_.state_->layout->intent;
  IntentPart& part = intent.part[count_];
  part.kind = static_cast<u32>(one.kind);
  part.table = one.table->info_.no;
  part.slot = one.slot;
  part.words = words;
  part.tag = one.tag;
  changes_[count_++] = one;
  return intent.image + std::exchange(words_, words_ + words);
}

u64* Together::update(Table& table, u32 slot, u32 tag) {
  u64* image = add({&table, PartKind::kUpdate, slot, tag});
  std::memcpy(image, table.at(slot).words(), table.info_.geometry.used_bytes);
  return image;
}

u64* Together::insert(Table& table, std::span<const u8> key, u32 tag, SegmentMs now) {
  LINEQ_ASSERT(key.size() <= table.info_.geometry.key_capacity);
  const auto slot = table.room_in_index(now) ? table.take_slot(now) : std::nullopt;
  if (!slot) {
    return nullptr;
  }
  u64* image = add({&table, PartKind::kInsert, *slot, tag});
  std::memset(image, 0, table.info_.geometry.used_bytes);
  std::memcpy(bytes_of(image) + table.info_.geometry.key_offset, key.data(), key.size());
  image[0] = (u64{kMetaLive} | key.size() << kMetaKeyShift) << 32;
  return image;
}

void Together::join(Line& line) {
  const LineDir* dir = line.parts_->dir();
  LINEQ_ASSERT(line_ == nullptr && dir != nullptr &&
               line.parts_->segment(segment_of(dir->tail)) != nullptr);  // next_ticket() made it
  line_ = &line;
  joins_ = true;
  ticket_ = Ticket{dir->tail};
}
void Together::leave(Line& line, Ticket ticket) {
  LINEQ_ASSERT(line_ == nullptr && line.has(ticket));
  line_ = &line;
  joins_ = false;
  ticket_ = ticket;
}

void Together::land_all() {
  Intent& intent = writer_.state_->layout->intent;
  intent.parts = count_;
  if (line_ != nullptr) {
    intent.line_op = static_cast<u32>(joins_ ? LineOp::kJoin : LineOp::kLeave);
    intent.room = line_->parts_->room.value;
    intent.ticket = ticket_.value;
  }
  crash_point();
  store_release(intent.op, 1);
  crash_point();  // the record is complete before anything is touched
  u32 at = 0;
  for (u32 i = 0; i < count_; ++i) {
    const One& one = changes_[i];
    const u32 words = intent.part[i].words;
    one.table->land(one.kind, one.slot, one.tag, intent.image + at, words);
    at += words;
    crash_point();
  }
  if (line_ != nullptr) {
    if (joins_) {
      line_->join(ticket_);
    } else {
      line_->leave(ticket_);
    }
    crash_point();
    // Other changes do not store this word.
    intent.line_op = static_cast<u32>(LineOp::kNone);
    line_ = nullptr;
  }
  crash_point();
  store_release(intent.op, 0);
  crash_point();
}

void Together::count_one(const One& one, SegmentMs now) {
  u64* counters = one.table->parts_->desc.counters;
  const auto bump = [&](TableCounter c) {
    u64& cell = counters[static_cast<u32>(c)];
    store_relaxed(cell, cell + 1);
  };
  bump(TableCounter::updates);
  if (one.kind == PartKind::kInsert) {
    bump(TableCounter::inserts);
    if (one.table->parts_->next) {
      (void)one.table->migrate_some(kBucketsPerInsert);
    }
  }
  store_relaxed(counters[static_cast<u32>(TableCounter::last_update_ms)], now);
}

void Together::land(PeerNo origin, SegmentMs now) {
  land_all();
  for (const One& one : std::span(changes_).first(count_)) {
    const bool inserted = one.kind == PartKind::kInsert;
    one.table->record(inserted ? FeedKind::kInsert : FeedKind::kUpdate, one.slot, origin);
    count_one(one, now);
  }
  count_ = 0;
}

void Together::land_quietly(SegmentMs now) {
  land_all();
  for (const One& one : std::span(changes_).first(count_)) {
    count_one(one, now);
  }
  count_ = 0;
}

void put_times(u64* image, std::optional<Tick> deadline, Tick updated) {
  constexpr u64 kNever = u64{kMetaNeverExpires} << 32;
  image[0] = deadline ? image[0] & ~kNever : image[0] | kNever;
  image[1] = times(deadline.value_or(updated), updated);
}

void put_cells(const ColumnMap& columns, const u64* cells, Tick now, u64* image) {
  fill(columns, cells, now, bytes_of(image));
}

}  // namespace lineq::shm
