#include "shm/snapshot_load.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <fmt/format.h>
#include <sys/stat.h>

#include "shm/crc32c.h"
#include "shm/line_state.h"
#include "shm/snapshot.h"
#include "shm/visitor.h"
#include "shm/writer_state.h"

namespace lineq::shm {
namespace {

constexpr u64 kLongestClock = u64{1} << 48;  // ms: some 8900 years
constexpr std::size_t kBuffer = std::size_t{1} << 20;
constexpr u32 kAhead = 16;  // entries whose buckets are on their way
// Tickets that may have been given after a snapshot that no clean stop followed.
constexpr u64 kSkippedTickets = u64{1} << 20;
constexpr u64 kMostTickets = u64{1} << 48;

Error damaged(std::string what) {
  return {ErrorCode::kDamaged, std::move(what)};
}

template <std::size_t N>
void put_text(char (&to)[N], std::string_view text) {
  std::memset(to, 0, N);
  std::copy_n(text.begin(), std::min(text.size(), N - 1), to);
}

}  // namespace

// --- the file ---

SnapshotFile::SnapshotFile(std::string path)
    : path_(std::move(path)), fd_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  error_ = fd_ < 0 ? errno : 0;
  struct stat info {};
  if (fd_ >= 0 && (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode))) {
    error_ = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
  }
  bytes_ = static_cast<u64>(info.st_size);
  if (error_ == 0) {
    (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
    buffer_.reset(new char[kBuffer]);
  }
}

SnapshotFile::~SnapshotFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

// The next `n` bytes, fewer at the end.
std::string_view SnapshotFile::take(std::size_t n) {
  if (have_ - at_ < n) {
    std::memmove(buffer_.get(), buffer_.get() + at_, have_ - at_);
    have_ -= at_;
    at_ = 0;
    while (have_ < kBuffer && error_ == 0) {
      const ssize_t got = ::read(fd_, buffer_.get() + have_, kBuffer - have_);
      if (got == 0) {
        break;
      }
      if (got > 0) {
        have_ += static_cast<std::size_t>(got);
      } else if (errno != EINTR) {
        error_ = errno;
      }
    }
  }
  const std::string_view taken(buffer_.get() + at_, std::min(n, have_ - at_));
  at_ += taken.size();
  offset_ += taken.size();
  return taken;
}

Error SnapshotFile::unreadable() const {
  return {error_ == ENOENT ? ErrorCode::kNotFound : ErrorCode::kSystem,
          fmt::format("cannot read {}: {}", path_, std::strerror(error_))};
}

Error SnapshotFile::at(const Error& error) const {
  return {error.code, fmt::format("{}: at byte {}: {}", path_, begin_, error.what)};
}

Status SnapshotFile::head() {
  FileHead head{};
  const std::string_view bytes = error_ == 0 ? take(sizeof head) : std::string_view();
  if (error_ != 0) {
    return unreadable();
  }
  if (bytes.size() != sizeof head) {
    return at(damaged(fmt::format("a file of {} bytes is no snapshot", bytes_)));
  }
  std::memcpy(&head, bytes.data(), sizeof head);
  if (head.magic != kSnapshotMagic) {
    return at(damaged("not a LineQ snapshot"));
  }
  if (head.crc != crc32c(0, &head, offsetof(FileHead, crc))) {
    return at(damaged("the checksum of the head is wrong"));
  }
  if (head.version != kSnapshotVersion) {
    return at({ErrorCode::kForeign, fmt::format("snapshot version {}, this program knows {}",
                                                head.version, kSnapshotVersion)});
  }
  return {};
}

Result<std::optional<SnapshotFile::Block>> SnapshotFile::next() {
  begin_ = offset_;
  BlockHead block{};
  const std::string_view bytes = take(sizeof block);
  if (error_ != 0) {
    return unreadable();
  }
  const bool ended = last_ == BlockKind::kEnd;
  if (bytes.empty() && ended) {
    return std::optional<Block>();
  }
  if (ended) {
    return at(damaged("there is something behind the last record"));
  }
  if (bytes.size() != sizeof block) {
    return at(damaged(bytes.empty() ? "the file ends without its last record"
                                    : "the file ends inside a record"));
  }
  std::memcpy(&block, bytes.data(), sizeof block);
  u32 crc = crc32c(0, &block.kind, sizeof block - sizeof block.crc);
  if (block.bytes > kSnapshotBlock) {
    return at(damaged(fmt::format("a record of {} bytes (at most {} are possible)", block.bytes,
                                  kSnapshotBlock)));
  }
  const std::string_view payload = take(block.bytes);
  if (error_ != 0) {
    return unreadable();
  }
  if (payload.size() != block.bytes) {
    return at(damaged(
        fmt::format("the file ends inside a record: {} of {} bytes", payload.size(), block.bytes)));
  }
  crc = crc32c(crc, payload.data(), payload.size());
  if (crc != block.crc) {
    return at(
        damaged(fmt::format("the checksum is {:08x}, the record says {:08x}", crc, block.crc)));
  }
  if (block.number != number_) {
    return at(damaged(fmt::format("record {} where record {} should be", block.number, number_)));
  }
  ++number_;
  last_ = static_cast<BlockKind>(block.kind);
  return std::optional(Block{last_, payload});
}

// --- the segment ---

Status SnapshotLoader::load(const std::string& path) {
  const u64 begin = monotonic_ms();
  SnapshotFile file(path);
  if (Status head = file.head(); !head) {
    return head;
  }
  file_bytes_ = file.bytes();
  for (;;) {
    const Result<std::optional<SnapshotFile::Block>> next = file.next();
    if (!next) {
      return next.error();
    }
    if (!*next) {
      break;
    }
    if (const Status taken = block((*next)->kind, (*next)->payload); !taken) {
      return file.at(taken.error());
    }
    if (writer_.state_->options.progress) {
      writer_.state_->options.progress();
    }
  }
  if (Status filled = fill_lines(); !filled) {
    return Error{filled.error().code, fmt::format("{}: {}", path, filled.error().what)};
  }
  found_.path = path;
  found_.bytes = file.bytes();
  found_.took_ms = monotonic_ms() - begin;
  found_.rejected = std::move(restored_.rejected);
  restored_ = std::move(found_);
  return {};
}

Status SnapshotLoader::block(BlockKind kind, std::string_view payload) {
  if ((kind == BlockKind::kHead) == begun_) {
    return damaged("records are not in order");
  }
  Unpacker in(payload);
  Status done;
  switch (kind) {
    case BlockKind::kHead:
      done = head(in);
      break;
    case BlockKind::kStrings:
      done = strings(in);
      break;
    case BlockKind::kTable:
      done = table(in);
      break;
    case BlockKind::kEntries:
      done = entries(in);
      break;
    case BlockKind::kPeer:
      done = peer(in);
      break;
    case BlockKind::kRoom:
      done = room(in);
      break;
    case BlockKind::kEnd:
      done = end(in);
      break;
    default:
      return damaged(fmt::format("a record of kind {}", static_cast<u32>(kind)));
  }
  if (done && !in.whole()) {
    return damaged(fmt::format("a record of kind {} has a wrong length", static_cast<u32>(kind)));
  }
  return done;
}

Status SnapshotLoader::head(Unpacker& in) {
  const auto flags = in.get<u32>();
  const auto mode = in.get<u32>();
  const auto realtime = in.get<u64>();
  const auto segment_ms = in.get<u64>();
  const auto visit_clock = in.get<u64>();
  const std::string_view instance = in.text();
  const std::string& own = writer_.state_->options.instance;
  if (in.bad() || realtime >= kLongestClock || segment_ms >= kLongestClock ||
      flags > kSnapshotClean) {
    return damaged("an impossible head");
  }
  if (instance != own) {
    return Error{ErrorCode::kForeign,
                 fmt::format("it is of instance {}, this is {}", std::string(instance), own)};
  }
  const u64 wall = realtime_ms();
  found_.clean = (flags & kSnapshotClean) != 0;
  found_.made_ms = realtime;
  found_.age_ms = wall > realtime ? wall - realtime : 0;
  gap_ms_ = static_cast<i64>(found_.age_ms);
  made_tick_ = tick_of(segment_ms);
  // The segment's clock goes on. It may have begun before the machine was booted: the difference
  // wraps, and that is fine.
  now_ = segment_ms + found_.age_ms;
  RootHeader& h = writer_.state_->header();
  h.created_monotonic_ms = monotonic_ms() - now_;
  h.created_realtime_ms = wall > now_ ? wall - now_ : 0;
  h.heartbeat_ms = segment_ms;
  h.visit_clock = visit_clock;
  h.mode = mode;
  begun_ = true;
  return {};
}

Status SnapshotLoader::strings(Unpacker& in) {
  while (!in.empty()) {
    const auto id = in.get<u32>();
    const std::string_view text = in.text();
    if (!in.bad()) {
      strings_[id] = writer_.intern(text);
    }
  }
  return {};
}

Status SnapshotLoader::table(Unpacker& in) {
  const auto number = in.get<u16>();
  const auto role = in.get<u8>();
  const auto key_type = in.get<u8>();
  u32 scope = in.get<u32>();
  TableDefinition d;
  d.key_type = static_cast<KeyType>(key_type);
  d.key_bytes = in.get<u32>();
  d.expire_ms = in.get<u32>();
  d.data_types = in.get<u64>();
  if (in.bad() || number != tables_.size() || role > static_cast<u8>(TableRole::kLedger) ||
      !known_key_type(key_type) || (d.data_types & ~kKnownDataTypes) != 0) {
    return damaged("an impossible table");
  }
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (d.has(bit)) {
      d.elements[bit] = in.get<u16>();
      d.period_ms[bit] = in.get<u32>();
      const u32 most = data_type(bit).array ? kMaxElements : 1;
      if (d.elements[bit] == 0 || d.elements[bit] > most) {
        return damaged("an impossible table");
      }
    }
  }
  d.name = in.text();
  const auto live = in.get<u64>();
  const auto counters = in.get<u16>();
  std::array<u64, static_cast<std::size_t>(TableCounter::kCount)> counted{};
  for (u32 i = 0; i < counters && !in.bad(); ++i) {
    const auto value = in.get<u64>();
    if (i < counted.size()) {
      counted[i] = value;
    }
  }
  const auto as = static_cast<TableRole>(role);
  const auto geometry = geometry_of(d, form_of(as));
  if (as == TableRole::kPart ? scope >= kMaxPeers : scope != kNoScope) {
    return damaged("an impossible table");
  }
  if (in.bad() || !geometry || d.name.find('\0') != std::string::npos) {
    return damaged("an impossible table");
  }
  for (const Into& other : tables_) {
    if (other.info.role == as && other.info.scope_peer == scope &&
        other.info.definition.name == d.name && other.info.definition.key_type == d.key_type &&
        other.info.definition.key_bytes == d.key_bytes) {
      return damaged(fmt::format("table {} is there twice", d.name));
    }
  }
  Into into;
  into.info.role = as;
  into.info.scope_peer = scope;
  into.info.definition = d;
  into.info.geometry = *geometry;
  into.columns = packed_columns(into.info);
  into.row_bytes = packed_bytes(into.info, into.columns);
  // A file that lies about this gets an index that has to grow.
  const u64 expected = std::min(live, file_bytes_ / into.row_bytes);
  if (const auto made = writer_.make_table(d, as, scope, expected)) {
    into.table = made.value();
    writer_.publish_table(into.table->info().no);
    for (std::size_t i = 0; i < counted.size(); ++i) {
      into.table->parts_->desc.counters[i] = counted[i];
    }
    ++found_.tables;
  } else if (made.error().code != ErrorCode::kExhausted) {
    return made.error();
  }
  tables_.push_back(std::move(into));
  return {};
}

bool SnapshotLoader::parse(const Into& into, Unpacker& in, Row& row) const {
  const auto key_bytes = in.get<u16>();
  const auto flags = in.get<u16>();
  row.expire = in.get<Tick>();
  row.updated = in.get<Tick>();
  row.never = (flags & kEntryNeverExpires) != 0;
  std::size_t values = into.row_bytes - kLeastEntryBytes;
  if (into.info.geometry.form == SlotForm::kExtended) {
    row.ext[0] = in.get<u64>();
    row.ext[1] = in.get<u64>();
    values -= sizeof row.ext;
  }
  row.values = in.take(values).data();
  const std::string_view key = in.take(key_bytes);
  row.key = {reinterpret_cast<const u8*>(key.data()), key.size()};
  const bool any_length = into.info.definition.key_type == KeyType::kString;
  const u32 capacity = into.info.geometry.key_capacity;
  return !in.bad() && flags <= kEntryNeverExpires &&
         (any_length ? key.size() <= capacity : key.size() == capacity);
}

Status SnapshotLoader::entries(Unpacker& in) {
  const auto number = in.get<u16>();
  const auto count = in.get<u32>();
  if (in.bad() || number >= tables_.size()) {
    return damaged("entries of an unknown table");
  }
  Into& into = tables_[number];
  std::array<Row, kAhead> rows{};
  u32 ahead = 0;
  const auto put_all = [&] {
    for (u32 i = 0; i < ahead; ++i) {
      put(into, rows[i]);
    }
    ahead = 0;
  };
  for (u32 i = 0; i < count; ++i) {
    Row& row = rows[ahead];
    if (!parse(into, in, row)) {
      return damaged(fmt::format("an impossible entry of table {}", into.info.definition.name));
    }
    ++rows_;
    if (!row.never) {
      const i64 left = i64{tick_diff(row.expire, made_tick_)} - gap_ms_;
      // A part's is what later values are compared with.
      const bool keeps = into.info.role == TableRole::kPart;
      if (left <= 0 && !keeps) {
        ++found_.expired;
        continue;
      }
      if (left <= 0) {
        row.expire = tick_of(now_);  // ticks do not compare over any time
      }
    }
    if (into.table == nullptr) {
      ++found_.refused;
      continue;
    }
    row.tag = into.table->tag_of(row.key);
    into.table->prefetch(row.tag);
    if (++ahead == kAhead) {
      put_all();
    }
  }
  put_all();
  return {};
}

// Nobody sees the segment yet: no redo record, no sequence, no feed. One that went and came back
// while the table was scanned may be there twice: the later one is the newer one.
void SnapshotLoader::put(Into& into, const Row& row) {
  Table& table = *into.table;
  Table::Parts& p = *table.parts_;
  const auto known = table.find(row.tag, row.key);
  const auto slot = known                       ? known
                    : table.room_in_index(now_) ? table.take_slot(now_)
                                                : std::nullopt;
  if (!slot) {
    ++found_.refused;
    writer_.add_table_counter(table.info_.no, TableCounter::refused);
    return;
  }
  const Geometry& g = into.info.geometry;
  u64* const words = table.slots_.words(*slot);
  u8* const bytes = reinterpret_cast<u8*>(words);
  std::memset(words, 0, g.used_bytes);
  words[0] =
      (u64{kMetaLive} | (row.never ? kMetaNeverExpires : 0) | row.key.size() << kMetaKeyShift)
      << 32;
  words[1] = u64{row.updated} << 32 | row.expire;
  if (g.form == SlotForm::kExtended) {
    words[g.ext_offset / 8] = row.ext[0];
    words[g.ext_offset / 8 + 1] = row.ext[1];
  }
  const char* from = row.values;
  for (const PackedColumn& column : into.columns) {
    if (column.dictionary) {
      u32 id = 0;
      std::memcpy(&id, from, sizeof id);
      const auto text = strings_.find(id);
      id = text == strings_.end() ? 0 : text->second;
      std::memcpy(bytes + column.offset, &id, sizeof id);
    } else {
      std::memcpy(bytes + column.offset, from, column.bytes);
    }
    from += column.bytes;
  }
  std::memcpy(bytes + g.key_offset, row.key.data(), row.key.size());
  if (known) {
    return;
  }
  ++found_.entries;
  if (*slot >= p.desc.high_water) {
    store_release(p.desc.high_water, u64{*slot} + 1);
  }
  (p.next ? p.next : p.cur).put(row.tag, *slot);
  ++(p.next ? p.next_used : p.cur_used);
  store_relaxed(p.desc.live, p.desc.live + 1);
  if (p.next) {
    (void)table.migrate_some(4);
  }
}

Status SnapshotLoader::peer(Unpacker& in) {
  RootLayout& l = *writer_.state_->layout;
  const auto no = in.get<u16>();
  if (in.bad() || no >= kMaxPeers || l.peers[no].state != static_cast<u32>(PeerState::kFree)) {
    return damaged("an impossible HAProxy");
  }
  PeerDesc& desc = l.peers[no];
  const bool up = in.get<u8>() != 0;
  const auto direction = in.get<u8>();
  desc.state = static_cast<u32>(PeerState::kDown);
  desc.direction = direction == 0 ? 0 : 1;
  desc.protocol_minor = in.get<u32>();
  const auto changed_ms = in.get<u64>();
  desc.connected_ms = up ? now_ : std::min(changed_ms, now_);
  desc.remote_pid = in.get<u64>();
  desc.epoch = in.get<u64>();
  desc.process_pid = in.get<u32>();
  desc.candidate_pid = in.get<u32>();
  desc.process_epoch = in.get<u64>();
  desc.candidate_epoch = in.get<u64>();
  put_text(desc.remote_name, in.text());
  put_text(desc.local_name, in.text());
  put_text(desc.address, in.text());
  const auto counters = in.get<u16>();
  for (u32 i = 0; i < counters && !in.bad(); ++i) {
    const auto value = in.get<u64>();
    if (i < static_cast<u32>(PeerCounter::kCount)) {
      desc.counters[i] = value;
    }
  }
  for (const PeerCounter gauge : {PeerCounter::lag, PeerCounter::pending_bytes}) {
    desc.counters[static_cast<u32>(gauge)] = 0;
  }
  l.header.peers_high = std::max(l.header.peers_high, u32{no} + 1);
  writer_.state_->peers_before.push_back({PeerNo{no}, up, desc.connected_ms});
  return {};
}

Status SnapshotLoader::room(Unpacker& in) {
  const RoomNo no{in.get<u16>()};
  const auto id = in.get<u32>();
  RoomSettings r;
  for (std::string* const text :
       {&r.name, &r.host, &r.path, &r.message, &r.template_path, &r.language}) {
    *text = in.text();
  }
  const auto method = in.get<u8>();
  const auto lapse = in.get<u8>();
  const auto flags = in.get<u8>();
  r.method = static_cast<QueueingMethod>(method);
  r.lapse = static_cast<Lapse>(lapse);
  r.queue_all = (flags & 1) != 0;
  r.suspended = (flags & 2) != 0;
  r.paused = (flags & 4) != 0;
  r.fast = (flags & 8) != 0;
  r.fixed_session = (flags & 16) != 0;
  for (u32* const number : {&r.capacity, &r.new_per_minute, &r.session_ms, &r.hold_ms, &r.grace_ms,
                            &r.refresh_ms, &r.status_code}) {
    *number = in.get<u32>();
  }
  const auto tail = in.get<u64>();
  const auto pacing = in.get<u64>();
  RoomNumbers n;
  for (u64* const number : {&n.active, &n.ready, &n.front, &n.admit_rate_milli,
                            &n.arrive_rate_milli, &n.oldest_since, &n.last_admitted_ms}) {
    *number = in.get<u64>();
  }
  const auto counters = in.get<u16>();
  for (u32 i = 0; i < counters && !in.bad(); ++i) {
    const auto value = in.get<u64>();
    if (i < n.counters.size()) {
      n.counters[i] = value;
    }
  }
  Writer::State& s = *writer_.state_;
  const auto same_name = [&](RoomNo other) { return writer_.room_settings(other).name == r.name; };
  const auto same_id = [&](RoomNo other) { return s.layout->rooms[other.value].id == id; };
  if (in.bad() || no.value >= kMaxRooms || r.name.empty() ||
      r.name.size() >= sizeof(RoomDesc::name) || r.name.find('\0') != std::string::npos ||
      method > static_cast<u8>(QueueingMethod::kReject) || lapse > static_cast<u8>(Lapse::kDrop) ||
      tail > kMostTickets || std::any_of(s.rooms.begin(), s.rooms.end(), same_name) ||
      std::any_of(s.rooms.begin(), s.rooms.end(), same_id) ||
      s.layout->rooms[no.value].state != static_cast<u32>(RoomState::kFree)) {
    return damaged("an impossible room");
  }
  writer_.put_room(no, id, r);
  writer_.set_room_numbers(no, n);
  writer_.set_room_pacing(no, pacing);
  RoomDesc& desc = s.layout->rooms[no.value];
  for (u64* const cells : {desc.wait_histogram, desc.stay_histogram}) {
    const auto buckets = in.get<u16>();
    for (u32 i = 0; i < buckets && !in.bad(); ++i) {
      const auto value = in.get<u64>();
      if (i <= kRoomHistogramBounds.size()) {
        cells[i] = value;
      }
    }
    cells[std::size(desc.wait_histogram) - 1] = in.get<u64>();
  }
  lines_.push_back({no, tail});
  ++found_.rooms;
  return {};
}

Status SnapshotLoader::end(Unpacker& in) {
  const auto tables = in.get<u64>();
  const auto entries = in.get<u64>();
  const auto rooms = in.get<u64>();
  if (tables != tables_.size() || entries != rows_ || rooms != found_.rooms) {
    return damaged(fmt::format(
        "the last record counts {} tables, {} entries and {} rooms, there are {}, {} and {}",
        tables, entries, rooms, tables_.size(), rows_, found_.rooms));
  }
  return {};
}

// Lines from the tickets of those who wait. Room time stood still until now.
Status SnapshotLoader::fill_lines() {
  Writer::State& s = *writer_.state_;
  std::vector<std::vector<u64>> waiting(s.header().rooms_high);
  for (const Into& into : tables_) {
    if (into.table == nullptr || into.info.role != TableRole::kUsers) {
      continue;
    }
    const u32 end = into.table->high_water();
    for (u32 slot = 0; slot < end; ++slot) {
      const Visitor visitor = Visitor::of(into.table->at(slot));
      if (visitor.state == VisitorState::kWaiting && visitor.room.value < waiting.size()) {
        waiting[visitor.room.value].push_back(visitor.ticket.value);
      }
    }
  }
  for (const LineTail& line : lines_) {
    std::vector<u64>& tickets = waiting[line.room.value];
    std::sort(tickets.begin(), tickets.end());
    u64 tail = tickets.empty() ? line.tail : std::max(line.tail, tickets.back() + 1);
    if (!found_.clean && tail != 0 && tail + kSkippedTickets <= kMostTickets) {
      tail += kSkippedTickets;
    }
    Line::Parts& parts = *s.lines[line.room.value]->parts_;
    if (Status filled = parts.fill(tickets, tail); !filled) {
      return filled;
    }
  }
  writer_.stop_room_time(writer_.now());
  return {};
}

}  // namespace lineq::shm
