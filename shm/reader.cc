#include "shm/reader.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "shm/reader_state.h"
#include "shm/seqlock.h"

namespace lineq::shm {
namespace {

constexpr u64 kPollMs = 50;
constexpr u64 kLookAtRootMs = 1000;
constexpr int kReopenTries = 8;
constexpr u32 kScanBatch = 16;          // slots copied before the first of them is shown
constexpr std::size_t kScanAhead = 16;  // slots: memory is on its way before a scan is there

// Text that the writer stores word by word.
template <std::size_t N>
std::string load_text(const char (&from)[N]) {
  std::array<u64, N / 8> words;
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = load_relaxed(reinterpret_cast<const u64*>(from)[i]);
  }
  const char* text = reinterpret_cast<const char*>(words.data());
  return {text, ::strnlen(text, N)};
}

Error foreign(const Source& source, const std::string& what) {
  return {ErrorCode::kForeign, fmt::format("segment {}: {}", source.instance, what)};
}

// Opens and checks a root; kNotFound while none is ready.
Result<Object> open_root(const Source& source) {
  auto root = Object::open_read_only(source, root_name(source.instance), sizeof(RootHeader));
  if (!root) {
    if (root.error().code == ErrorCode::kNotFound) {
      const std::string where = source.directory.empty() ? "shared memory" : source.directory;
      return Error{ErrorCode::kNotFound,
                   fmt::format("no segment {} in {} (is lineqd running? -n chooses the instance)",
                               source.instance, where)};
    }
    return root;
  }
  // Its maker is at it, or died of a full /dev/shm: even to look at a hole takes memory.
  if (source.directory.empty() && !root->whole()) {
    return Error{ErrorCode::kNotFound, fmt::format("segment {}: being created", source.instance)};
  }
  const RootHeader& h = reinterpret_cast<const RootLayout*>(root->data())->header;
  if (load_acquire(h.magic) != kMagic) {  // pairs with the last store of Writer::create
    return load_relaxed(h.magic) == 0
               ? Error{ErrorCode::kNotFound,
                       fmt::format("segment {}: being created", source.instance)}
               : foreign(source, "not a LineQ segment");
  }
  if (h.layout_version != kLayoutVersion) {
    return foreign(
        source, fmt::format("layout {}, this program knows {}", h.layout_version, kLayoutVersion));
  }
  if (h.abi_hash != abi_hash()) {
    return foreign(
        source, fmt::format("ABI hash {:016x}, this program has {:016x}", h.abi_hash, abi_hash()));
  }
  if (root->bytes() < sizeof(RootLayout)) {
    return Error{ErrorCode::kDamaged,
                 fmt::format("segment {}: root of {} bytes, {} needed", source.instance,
                             root->bytes(), sizeof(RootLayout))};
  }
  return root;
}

}  // namespace

// --- State
// ---------------------------------------------------------------------------------------------------------

const Object* Reader::State::object(u32 number, u64 least_bytes) {
  if (number == 0) {
    return nullptr;
  }
  if (const auto known = objects.find(number); known != objects.end()) {
    return known->second.bytes() >= least_bytes ? &known->second : nullptr;
  }
  auto opened = Object::open_read_only(source, object_name(source.instance, number), least_bytes);
  if (!opened) {
    return nullptr;  // retired between reading its number and opening it, or damage: the caller
                     // looks again
  }
  return &objects.emplace(number, opened.take()).first->second;
}

const u64* Reader::State::slot(const TableInfo& table, u32 slot) {
  if (table.no >= maps.size() || maps[table.no].id != table.id) {
    return nullptr;
  }
  TableMaps& m = maps[table.no];
  const u32 k = chunk_of(slot);
  if (m.chunk[k] == nullptr) {
    const TableDesc& desc = layout->tables[table.no];
    const u32 number = load_acquire(desc.chunk[k].object);
    const Object* object = this->object(number, chunk_slots(k) * table.geometry.slot_bytes);
    // The number belongs to this table only if the record still is this table's.
    if (object == nullptr || load_acquire(desc.id) != table.id) {
      return nullptr;
    }
    m.chunk[k] = object->data();
  }
  return reinterpret_cast<const u64*>(m.chunk[k] + slot_offset(slot, table.geometry.slot_bytes));
}

u64 Reader::State::high_water(const TableInfo& table) const {
  const TableDesc& desc = layout->tables[table.no];
  const u64 high = load_acquire(desc.high_water);  // pairs with store_release in Table::commit
  return load_acquire(desc.id) == table.id ? std::min<u64>(high, 0xffff'ffff) : 0;
}

Lookup Reader::State::copy_slot(const TableInfo& table, u32 slot, SlotCopy& copy) {
  const u64* from = this->slot(table, slot);
  return from == nullptr ? Lookup::kAbsent
                         : copy_from(from, table.geometry.used_bytes / 8, copy.data());
}

inline Lookup Reader::State::copy_from(const u64* from, u32 words, u64* copy) {
  const u32* head = reinterpret_cast<const u32*>(from);
  const bool whole = seqlock_read(head[0], [&] {
    copy[0] = u64{load_relaxed(head[1])} << 32;
    u32 i = 1;
    for (; i + 4 <= words; i += 4) {  // compilers leave loops over atomics as they are
      copy[i] = load_relaxed(from[i]);
      copy[i + 1] = load_relaxed(from[i + 1]);
      copy[i + 2] = load_relaxed(from[i + 2]);
      copy[i + 3] = load_relaxed(from[i + 3]);
    }
    for (; i < words; ++i) {
      copy[i] = load_relaxed(from[i]);
    }
  });
  return whole ? Lookup::kFound : Lookup::kBusy;
}

std::optional<IndexPair> Reader::State::index_pair(const TableInfo& table) const {
  const TableDesc& desc = layout->tables[table.no];
  IndexPair pair;
  pair.cur = load_acquire(desc.cur.object);  // pairs with Table::start_growth and finish_growth
  pair.next = load_acquire(desc.next.object);
  if (load_acquire(desc.id) != table.id) {
    return std::nullopt;
  }
  return pair;
}

std::optional<BucketIndex> Reader::State::index(u32 number) {
  const Object* object = this->object(number, sizeof(Bucket));
  if (object == nullptr) {
    return std::nullopt;
  }
  const u64 buckets = object->bytes() / sizeof(Bucket);
  if (!std::has_single_bit(buckets) || buckets > u64{1} << 27) {
    return std::nullopt;
  }
  // Probing only loads; BucketIndex serves the writer too and therefore takes a mutable pointer.
  return BucketIndex(reinterpret_cast<Bucket*>(object->data()),
                     static_cast<u32>(std::countr_zero(buckets)));
}

void Reader::State::load_tables() {
  tables.clear();
  hidden.clear();
  const u32 high = std::min(load_acquire(layout->header.tables_high), kMaxTables);
  maps.resize(high);
  for (u32 no = 0; no < high; ++no) {
    const TableDesc& desc = layout->tables[no];
    if (load_acquire(desc.state) !=
        static_cast<u32>(TableState::kLive)) {  // pairs with Writer::publish_table
      continue;
    }
    TableInfo info;
    info.no = static_cast<u16>(no);
    info.id = load_relaxed(desc.id);
    info.generation = load_relaxed(desc.generation);
    info.scope_peer = load_relaxed(desc.scope_peer);
    const u32 role = load_relaxed(desc.role);
    info.role = static_cast<TableRole>(role);
    TableDefinition& d = info.definition;
    d.name = load_text(desc.name);
    const u32 key_type = load_relaxed(desc.key_type);
    d.key_type = static_cast<KeyType>(key_type);
    d.key_bytes = load_relaxed(desc.key_bytes);
    d.data_types = load_relaxed(desc.data_types) & kKnownDataTypes;
    d.expire_ms = load_relaxed(desc.expire_ms);
    for (u32 bit = 0; bit < kDataTypes; ++bit) {
      d.elements[bit] = load_relaxed(desc.elements[bit]);
      d.period_ms[bit] = load_relaxed(desc.period_ms[bit]);
    }
    const u32 slot_bytes = load_relaxed(desc.slot_bytes);
    observe_fence();
    if (load_relaxed(desc.id) != info.id || !known_key_type(key_type) ||
        role > static_cast<u32>(TableRole::kLedger)) {
      continue;
    }
    const auto geometry = geometry_of(d, form_of(info.role));
    if (!geometry || geometry->slot_bytes != slot_bytes) {
      continue;  // damaged: verify() names it
    }
    info.geometry = *geometry;
    if (maps[no].id != info.id) {
      maps[no] = TableMaps{info.id, {}};
    }
    const bool is_hidden = info.role == TableRole::kPart || info.role == TableRole::kLedger;
    (is_hidden ? hidden : tables).push_back(std::move(info));
  }
}

void Reader::State::forget_retired_objects() {
  // What is mapped and no longer named by the directory goes; the pages live until the last mapping
  // does.
  const u32 high = std::min(load_acquire(layout->header.objects_high), kMaxObjects);
  std::unordered_map<u32, bool> named;
  for (u32 i = 0; i < high; ++i) {
    const ObjDesc& o = layout->objects[i];
    if (load_acquire(o.state) == static_cast<u16>(ObjectState::kLive)) {
      named.emplace(load_relaxed(o.number), true);
    }
  }
  for (auto it = objects.begin(); it != objects.end();) {
    if (named.count(it->first) != 0) {
      ++it;
      continue;
    }
    for (TableMaps& m : maps) {
      for (u8*& chunk : m.chunk) {
        if (chunk == it->second.data()) {
          chunk = nullptr;
        }
      }
    }
    it = objects.erase(it);
  }
}

// --- Reader
// --------------------------------------------------------------------------------------------------------

Reader::Reader(std::unique_ptr<State> state) : state_(std::move(state)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

Result<Reader> Reader::open(const Source& source) {
  if (!valid_instance(source.instance)) {
    return Error{
        ErrorCode::kInvalid,
        fmt::format("instance name \"{}\" (1 to 64 letters, digits, '_', '-', '.' are allowed)",
                    source.instance)};
  }
  const u64 begin = monotonic_ms();
  auto root = open_root(source);
  while (!root && root.error().code == ErrorCode::kNotFound &&
         monotonic_ms() - begin < source.patience_ms) {
    ::usleep(kPollMs * 1000);
    root = open_root(source);
  }
  if (!root) {
    return root.error();
  }
  auto state = std::make_unique<State>();
  state->source = source;
  state->root = root.take();
  state->layout = reinterpret_cast<const RootLayout*>(state->root.data());
  Reader reader(std::move(state));
  (void)reader.refresh();
  return reader;
}

Result<Refreshed> Reader::refresh() {
  State& s = *state_;
  Refreshed changed;
  const u64 now = monotonic_ms();
  const bool retired =
      load_acquire(s.layout->header.state) == static_cast<u32>(SegmentState::kRetired);
  if (s.source.directory.empty() && (retired || now - s.looked_at_root_ms >= kLookAtRootMs)) {
    s.looked_at_root_ms = now;
    if (retired || s.root.link_count() == 0) {
      auto root = open_root(s.source);
      if (!root) {
        return Error{root.error().code, root.error().what};
      }
      const Source source = s.source;
      state_ = std::make_unique<State>();
      state_->source = source;
      state_->root = root.take();
      state_->layout = reinterpret_cast<const RootLayout*>(state_->root.data());
      state_->looked_at_root_ms = now;
      changed.replaced = true;
    }
  }
  State& t = *state_;
  const RootHeader& h = t.layout->header;
  const u64 epoch = load_acquire(h.epoch);
  const u64 directory = load_acquire(h.directory_generation);
  const u64 objects = load_acquire(h.objects_generation);
  changed.epoch = epoch != t.epoch || changed.replaced;
  changed.directory = directory != t.directory_generation || changed.epoch;
  t.epoch = epoch;
  if (changed.directory) {
    t.directory_generation = directory;
    t.load_tables();
    t.load_rooms();
  }
  if (objects != t.objects_generation) {
    t.objects_generation = objects;
    t.forget_retired_objects();
  }
  return changed;
}

Liveness Reader::liveness() const {
  const State& s = *state_;
  const bool held = s.source.directory.empty() && s.root.locked_by_other();
  return liveness_of(held, static_cast<SegmentState>(load_acquire(s.layout->header.state)),
                     heartbeat_age_ms());
}

u64 Reader::heartbeat_age_ms() const {
  const RootHeader& h = state_->layout->header;
  const u64 beat = h.created_monotonic_ms + load_relaxed(h.heartbeat_ms);
  const u64 now = monotonic_ms();
  return now > beat ? now - beat : 0;
}

SegmentMs Reader::now() const {
  const State& s = *state_;
  const u64 beat = load_relaxed(s.layout->header.heartbeat_ms);
  if (!s.source.directory.empty()) {
    return beat;
  }
  return beat + std::min(heartbeat_age_ms(), kStallMs);
}

const RootHeader& Reader::header() const {
  return state_->layout->header;
}
u64 Reader::epoch() const {
  return state_->epoch;
}
u64 Reader::counter(DaemonCounter c) const {
  return load_relaxed(state_->layout->counters[static_cast<u32>(c)]);
}

u64 Reader::segment_bytes() const {
  const RootLayout& l = *state_->layout;
  u64 bytes = kRootBytes;
  const u32 high = std::min(load_acquire(l.header.objects_high), kMaxObjects);
  for (u32 i = 0; i < high; ++i) {
    if (load_acquire(l.objects[i].state) == static_cast<u16>(ObjectState::kLive)) {
      bytes += load_relaxed(l.objects[i].reserved_bytes);
    }
  }
  return bytes;
}

const std::vector<TableInfo>& Reader::tables() const {
  return state_->tables;
}

const std::vector<TableInfo>& Reader::hidden_tables() const {
  return state_->hidden;
}

const TableInfo* Reader::hidden_of(const TableInfo& table, TableRole role, u32 scope_peer) const {
  const auto& hidden = state_->hidden;
  const auto at = std::find_if(hidden.begin(), hidden.end(), [&](const TableInfo& t) {
    return t.role == role && t.scope_peer == scope_peer &&
           t.definition.name == table.definition.name &&
           t.definition.key_type == table.definition.key_type &&
           t.definition.key_bytes == table.definition.key_bytes;
  });
  return at == hidden.end() ? nullptr : &*at;
}
const TableInfo* Reader::part_of(const TableInfo& table, u16 peer) const {
  return hidden_of(table, TableRole::kPart, peer);
}
const TableInfo* Reader::ledger_of(const TableInfo& table) const {
  return hidden_of(table, TableRole::kLedger, kNoScope);
}

const TableInfo* Reader::find_table(std::string_view name) const {
  const TableInfo* found = nullptr;
  for (const TableInfo& t : state_->tables) {
    const std::string_view have = t.definition.name;
    if (have == name) {
      return &t;
    }
    if (found == nullptr && have.size() == name.size() + 1 && have.front() == '/' &&
        have.substr(1) == name) {
      found = &t;
    }
  }
  return found;
}

TableStats Reader::stats(const TableInfo& table) const {
  const RootLayout& l = *state_->layout;
  const TableDesc& desc = l.tables[table.no];
  TableStats stats;
  stats.live = load_relaxed(desc.live);
  stats.high_water = state_->high_water(table);
  stats.expire_ms = load_relaxed(desc.expire_ms);
  for (std::size_t i = 0; i < stats.counters.size(); ++i) {
    stats.counters[i] = load_relaxed(desc.counters[i]);
  }
  const u32 high = std::min(load_acquire(l.header.objects_high), kMaxObjects);
  for (u32 i = 0; i < high; ++i) {
    const ObjDesc& o = l.objects[i];
    if (load_acquire(o.state) == static_cast<u16>(ObjectState::kLive) &&
        load_relaxed(o.owner) == table.no) {
      stats.bytes += load_relaxed(o.reserved_bytes);
      if (load_relaxed(o.kind) == static_cast<u16>(ObjectKind::kChunk)) {
        stats.slots += load_relaxed(o.reserved_bytes) / table.geometry.slot_bytes;
      }
    }
  }
  return stats;
}

std::vector<PeerTableInfo> Reader::peer_tables() const {
  std::vector<PeerTableInfo> found;
  const RootLayout& l = *state_->layout;
  const u32 high = std::min(load_acquire(l.header.peer_tables_high), kMaxPeerTables);
  for (u32 i = 0; i < high; ++i) {
    const PeerTableDesc& desc = l.peer_tables[i];
    if (load_acquire(desc.state) == 0) {  // pairs with Writer::peer_table
      continue;
    }
    PeerTableInfo p;
    p.peer = static_cast<u16>(load_relaxed(desc.peer));
    p.table = static_cast<u16>(load_relaxed(desc.table));
    const u32 id = load_relaxed(desc.table_id);
    for (std::size_t c = 0; c < p.counters.size(); ++c) {
      p.counters[c] = load_relaxed(desc.counters[c]);
    }
    if (std::any_of(state_->tables.begin(), state_->tables.end(),
                    [&](const TableInfo& t) { return t.no == p.table && t.id == id; })) {
      found.push_back(p);
    }
  }
  return found;
}

std::vector<PeerInfo> Reader::peers() const {
  std::vector<PeerInfo> peers;
  const RootLayout& l = *state_->layout;
  const u32 high = std::min(load_acquire(l.header.peers_high), kMaxPeers);
  for (u32 i = 0; i < high; ++i) {
    const PeerDesc& desc = l.peers[i];
    PeerInfo p;
    p.no = static_cast<u16>(i);
    const bool whole = seqlock_read(desc.seq, [&] {
      const u32 state = load_relaxed(desc.state);
      p.state = state <= static_cast<u32>(PeerState::kDown) ? static_cast<PeerState>(state)
                                                            : PeerState::kFree;
      p.connected_ms = load_relaxed(desc.connected_ms);
      p.direction = static_cast<PeerDirection>(load_relaxed(desc.direction));
      p.protocol_minor = load_relaxed(desc.protocol_minor);
      p.remote_pid = load_relaxed(desc.remote_pid);
      p.epoch = load_relaxed(desc.epoch);
      p.remote_name = load_text(desc.remote_name);
      p.local_name = load_text(desc.local_name);
      p.address = load_text(desc.address);
    });
    if (!whole || p.state == PeerState::kFree) {
      continue;
    }
    for (std::size_t c = 0; c < p.counters.size(); ++c) {
      p.counters[c] = load_relaxed(desc.counters[c]);
    }
    peers.push_back(std::move(p));
  }
  return peers;
}

Lookup Reader::lookup(const TableInfo& table, std::span<const u8> key, SlotCopy& copy,
                      EntryView& out) {
  State& s = *state_;
  const RootHeader& h = s.layout->header;
  const u32 tag = index_tag(SipHash13(h.hash_key[0], h.hash_key[1])(key));
  const Tick now_tick = tick_of(now());
  for (int attempt = 0; attempt < kReopenTries; ++attempt) {
    const auto pair = s.index_pair(table);
    if (!pair) {
      return Lookup::kAbsent;
    }
    bool busy = false;
    const u64 high = s.high_water(table);
    const auto match = [&](u32 slot) {
      if (slot >= high && slot >= s.high_water(table)) {
        return false;
      }
      const Lookup copied = s.copy_slot(table, slot, copy);
      busy |= copied == Lookup::kBusy;
      if (copied != Lookup::kFound) {
        return false;
      }
      out = EntryView(&table.definition, &table.geometry, copy.data(), slot);
      const auto have = out.key();
      return out.live() && have.size() == key.size() &&
             std::memcmp(have.data(), key.data(), key.size()) == 0;
    };
    // Old, then new: an entry may appear in the new index at any time but never leaves the old one
    // while it lives.
    const auto cur = s.index(pair->cur);
    const auto next = pair->next != 0 ? s.index(pair->next) : std::nullopt;
    bool found = cur && cur->find(tag, match);
    if (!found && next) {
      found = next->find(tag, match).has_value();
    }
    if (found) {
      return out.expired(now_tick) ? Lookup::kAbsent : Lookup::kFound;
    }
    if (busy) {
      return Lookup::kBusy;
    }
    if (s.index_pair(table) == pair && cur && (pair->next == 0 || next)) {
      return Lookup::kAbsent;  // true at some instant of this call
    }
  }
  return Lookup::kAbsent;
}

Lookup Reader::read_slot(const TableInfo& table, u32 slot, SlotCopy& copy, EntryView& out) {
  if (slot >= state_->high_water(table)) {
    return Lookup::kAbsent;
  }
  const Lookup copied = state_->copy_slot(table, slot, copy);
  if (copied != Lookup::kFound) {
    return copied;
  }
  out = EntryView(&table.definition, &table.geometry, copy.data(), slot);
  return out.live() && !out.expired(tick_of(now())) ? Lookup::kFound : Lookup::kAbsent;
}

bool Reader::scan(const TableInfo& table, Scan& scan, u32 max_slots,
                  const std::function<bool(const EntryView&)>& visit) {
  State& s = *state_;
  const Tick now_tick = tick_of(now());
  const u32 words = table.geometry.used_bytes / 8;
  const u32 stride = table.geometry.slot_bytes / 8;
  SlotCopy copies;  // of as many slots as it has room for, up to kScanBatch
  const u32 batch = std::min(kScanBatch, static_cast<u32>(copies.size()) / words);
  const auto show = [&](const u64* copy, u32 slot) {
    const EntryView entry(&table.definition, &table.geometry, copy, slot);
    return !entry.live() || (!scan.expired_too && entry.expired(now_tick)) || visit(entry);
  };
  const u64 high = s.high_water(table);
  for (u32 n = 0; n < max_slots && scan.next < high;) {
    const u32 k = chunk_of(scan.next);
    const u64 end = std::min<u64>(chunk_start(k) + chunk_slots(k), high);
    const u64* from = s.slot(table, scan.next);
    if (from == nullptr) {
      // No such memory: a damaged bound, or a table that is gone. Nothing of this chunk can be
      // looked at.
      scan.next = static_cast<u32>(end);
      ++n;
      continue;
    }
    while (n < max_slots && scan.next < end) {
      // Copied some at a time, then shown: a processor that reads what it has just written, in
      // other pieces than it was written in, waits.
      const auto count = static_cast<u32>(std::min<u64>({batch, max_slots - n, end - scan.next}));
      u32 whole = 0;
      for (u32 i = 0; i < count; ++i, from += stride) {
        prefetch(from + kScanAhead * stride);
        if (State::copy_from(from, words, &copies[std::size_t{i} * words]) == Lookup::kFound) {
          whole |= 1U << i;
        }
      }
      for (u32 i = 0; i < count; ++i) {
        ++n;
        const u32 slot = scan.next++;
        if ((whole >> i & 1) == 0) {
          scan.busy.push_back(slot);
        } else if (!show(&copies[std::size_t{i} * words], slot)) {
          return false;
        }
      }
    }
  }
  if (scan.next < high) {
    return false;
  }
  while (!scan.busy.empty()) {
    const u32 slot = scan.busy.back();
    const Lookup copied = s.copy_slot(table, slot, copies);
    if (copied == Lookup::kBusy) {
      return false;  // still inside: next step
    }
    scan.busy.pop_back();
    if (copied == Lookup::kFound && !show(copies.data(), slot)) {
      return false;
    }
  }
  return true;
}

std::string_view Reader::dictionary_text(u32 id) const {
  const RootHeader& h = state_->layout->header;
  const Object* arena = state_->object(load_acquire(h.dictionary.object), kPage);
  if (arena == nullptr) {
    return {};
  }
  const u64 used = std::min(load_acquire(h.dictionary_used), load_relaxed(h.dictionary_bytes));
  return shm::dictionary_text(arena->data(), arena->bytes(), used, id);
}

FeedCursor Reader::feed_end() const {
  return {load_acquire(state_->layout->header.feed_tail)};
}

u64 Reader::feed_lag(const FeedCursor& cursor) const {
  return load_acquire(state_->layout->header.feed_tail) - cursor.position;
}

Followed Reader::follow(FeedCursor& cursor, std::span<FeedRecord> out) const {
  const RootHeader& h = state_->layout->header;
  const u32 log2 = h.feed_log2;
  const Object* ring =
      log2 <= 26 ? state_->object(load_acquire(h.feed.object), u64{8} << log2) : nullptr;
  if (ring == nullptr) {
    return {};
  }
  return shm::follow(h, reinterpret_cast<const u64*>(ring->data()), log2, cursor, out);
}

// --- keys as text
// --------------------------------------------------------------------------------------------------

std::string key_text(const TableDefinition& definition, std::span<const u8> key) {
  char text[INET6_ADDRSTRLEN] = {};
  switch (definition.key_type) {
    case KeyType::kInteger:
      if (key.size() == 4) {
        return std::to_string(u32{key[0]} << 24 | u32{key[1]} << 16 | u32{key[2]} << 8 | key[3]);
      }
      break;
    case KeyType::kIp:
      if (key.size() == 4) {
        return ::inet_ntop(AF_INET, key.data(), text, sizeof text);
      }
      break;
    case KeyType::kIpv6:
      if (key.size() == 16) {
        return ::inet_ntop(AF_INET6, key.data(), text, sizeof text);
      }
      break;
    case KeyType::kString:
      return {reinterpret_cast<const char*>(key.data()), key.size()};
    case KeyType::kBinary:
      break;
  }
  std::string hex;
  hex.reserve(key.size() * 2);
  for (const u8 byte : key) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

Result<std::string> key_from_text(const TableDefinition& definition, std::string_view text) {
  const auto invalid = [&](std::string_view allowed) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("key \"{}\" of table {}: {}", text, definition.name, allowed)};
  };
  const std::string copy(text);
  std::string key;
  switch (definition.key_type) {
    case KeyType::kInteger: {
      u32 value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc() || end != text.data() + text.size()) {
        return invalid("an integer from 0 to 4294967295 is allowed");
      }
      for (int shift = 24; shift >= 0; shift -= 8) {
        key += static_cast<char>(value >> shift & 0xff);
      }
      return key;
    }
    case KeyType::kIp:
      key.resize(4);
      if (::inet_pton(AF_INET, copy.c_str(), key.data()) != 1) {
        return invalid("an IPv4 address is allowed");
      }
      return key;
    case KeyType::kIpv6:
      key.resize(16);
      if (::inet_pton(AF_INET6, copy.c_str(), key.data()) != 1) {
        return invalid("an IPv6 address is allowed");
      }
      return key;
    case KeyType::kString:
      if (text.size() > definition.key_capacity()) {
        return invalid(fmt::format("at most {} bytes are allowed", definition.key_capacity()));
      }
      return copy;
    case KeyType::kBinary:
      break;
  }
  if (text.size() % 2 != 0 || text.size() / 2 > definition.key_bytes) {
    return invalid(fmt::format("an even number of hex digits for at most {} bytes is allowed",
                               definition.key_bytes));
  }
  for (std::size_t i = 0; i < text.size(); i += 2) {
    u8 byte = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
    if (error != std::errc() || end != text.data() + i + 2) {
      return invalid("hex digits are allowed");
    }
    key += static_cast<char>(byte);
  }
  key.resize(definition.key_bytes);  // zero-filled on the right, as on the wire
  return key;
}

}  // namespace lineq::shm
