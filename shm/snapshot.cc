#include "shm/snapshot.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <sys/stat.h>

#include "shm/crc32c.h"
#include "shm/line_count.h"
#include "shm/reader_state.h"
#include "shm/room_words.h"
#include "shm/seqlock.h"
#include "shm/snapshot_format.h"

namespace lineq::shm {
namespace {

constexpr mode_t kFileMode = 0640;  // as the segment's: the same secrets for the same readers
constexpr std::size_t kBuffer = std::size_t{1} << 20;
constexpr u32 kSlotsAStep = 8192;
constexpr int kTries = 5;  // when tables are replaced meanwhile
constexpr int kSetAside = 3;

Error system_error(std::string_view doing, const std::string& path, int error) {
  return {ErrorCode::kSystem, fmt::format("cannot {} {}: {}", doing, path, std::strerror(error))};
}

// A file that is not there any more unless it was kept.
class NewFile {
 public:
  explicit NewFile(std::string path) : path_(std::move(path)) {
    // Whatever stands there, a link included, is not written through.
    ::unlink(path_.c_str());
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode);
    error_ = fd_ < 0 ? errno : 0;
    buffer_.reserve(kBuffer);
  }
  ~NewFile() {
    if (fd_ >= 0) {
      ::close(fd_);
      if (!kept_) {
        ::unlink(path_.c_str());
      }
    }
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  NewFile(NewFile&&) = delete;
  NewFile& operator=(NewFile&&) = delete;

  void write(const void* data, std::size_t bytes) {
    buffer_.append(static_cast<const char*>(data), bytes);
    bytes_ += bytes;
    if (buffer_.size() >= kBuffer) {
      flush();
    }
  }
  void sync() {
    flush();
    if (error_ == 0 && ::fsync(fd_) != 0) {
      error_ = errno;
    }
  }
  void keep() { kept_ = true; }
  int error() const { return error_; }
  u64 bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  void flush() {
    std::string_view rest = buffer_;
    while (error_ == 0 && !rest.empty()) {
      const ssize_t n = ::write(fd_, rest.data(), rest.size());
      if (n > 0) {
        rest.remove_prefix(static_cast<std::size_t>(n));
      } else if (errno != EINTR) {
        error_ = n == 0 ? ENOSPC : errno;
      }
    }
    buffer_.clear();
  }

  std::string path_;
  std::string buffer_;
  int fd_ = -1;
  int error_ = 0;
  u64 bytes_ = 0;
  bool kept_ = false;
};

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

}  // namespace

// One attempt.
class SnapshotWriter {
 public:
  SnapshotWriter(Reader& reader, NewFile& file, const SnapshotWrite& how)
      : reader_(reader), s_(*reader.state_), file_(file), how_(how) {}

  Status write();
  SnapshotWritten written;

 private:
  void file_head();
  void head();
  Status table(const TableInfo& table, u16 number);
  void definition(const TableInfo& table, u16 number);
  void strings();
  void peers();
  void rooms();
  void end();
  void block(BlockKind kind, const Packer& payload);
  bool over() const {
    return file_.error() != 0 ||
           (how_.cancel != nullptr && how_.cancel->load(std::memory_order_relaxed));
  }

  Reader& reader_;
  Reader::State& s_;
  NewFile& file_;
  const SnapshotWrite& how_;
  u32 number_ = 0;
  u64 strings_to_ = 8;  // bytes of the dictionary that are written
};

void SnapshotWriter::block(BlockKind kind, const Packer& payload) {
  const std::string& bytes = payload.bytes();
  BlockHead head{0, static_cast<u32>(kind), static_cast<u32>(bytes.size()), number_++};
  head.crc = crc32c(0, &head.kind, sizeof head - sizeof head.crc);
  head.crc = crc32c(head.crc, bytes.data(), bytes.size());
  file_.write(&head, sizeof head);
  file_.write(bytes.data(), bytes.size());
  if (how_.progress) {
    how_.progress();
  }
}

Status SnapshotWriter::write() {
  file_head();
  head();
  // What is counted once more by a HAProxy that is still there would be counted twice if its last
  // value were older than the total.
  std::vector<const TableInfo*> tables;
  for (const TableRole role : {TableRole::kLedger, TableRole::kPart}) {
    for (const TableInfo& table : reader_.hidden_tables()) {
      if (table.role == role) {
        tables.push_back(&table);
      }
    }
  }
  for (const TableInfo& table : reader_.tables()) {
    tables.push_back(&table);
  }
  u16 number = 0;
  for (const TableInfo* const each : tables) {
    if (Status done = table(*each, number++); !done) {
      return done;
    }
  }
  peers();
  rooms();
  end();
  return {};
}

void SnapshotWriter::file_head() {
  FileHead head{kSnapshotMagic, kSnapshotVersion, 0};
  head.crc = crc32c(0, &head, offsetof(FileHead, crc));
  file_.write(&head, sizeof head);
}

void SnapshotWriter::head() {
  const RootHeader& h = s_.layout->header;
  Packer p;
  p.put(how_.clean ? kSnapshotClean : 0U);
  p.put(load_relaxed(h.mode));
  p.put(realtime_ms());
  p.put(monotonic_ms() - h.created_monotonic_ms);
  p.put(load_relaxed(h.visit_clock));
  p.put_text(s_.source.instance);
  block(BlockKind::kHead, p);
}

// Strings the segment has got since the last ones were written.
void SnapshotWriter::strings() {
  const u64 used = load_acquire(s_.layout->header.dictionary_used);
  Packer p;
  while (strings_to_ < used) {
    const auto id = static_cast<u32>(strings_to_ / 8);
    const std::string_view text = reader_.dictionary_text(id);
    if (text.empty()) {
      break;  // damaged
    }
    if (p.bytes().size() + text.size() + 8 > kSnapshotBlock) {
      block(BlockKind::kStrings, p);
      p.clear();
    }
    p.put(id);
    p.put_text(text);
    strings_to_ += (8 + text.size() + 7) / 8 * 8;
  }
  if (!p.bytes().empty()) {
    block(BlockKind::kStrings, p);
  }
}

void SnapshotWriter::definition(const TableInfo& table, u16 number) {
  const TableDefinition& d = table.definition;
  const TableStats stats = reader_.stats(table);
  Packer p;
  p.put(number);
  p.put(static_cast<u8>(table.role));
  p.put(static_cast<u8>(d.key_type));
  p.put(table.scope_peer);
  p.put(d.key_bytes);
  p.put(stats.expire_ms);
  p.put(d.data_types);
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (d.has(bit)) {
      p.put(d.elements[bit]);
      p.put(d.period_ms[bit]);
    }
  }
  p.put_text(d.name);
  p.put(stats.live);
  p.put(static_cast<u16>(stats.counters.size()));
  for (const u64 counter : stats.counters) {
    p.put(counter);
  }
  block(BlockKind::kTable, p);
}

Status SnapshotWriter::table(const TableInfo& table, u16 number) {
  definition(table, number);
  const std::vector<PackedColumn> columns = packed_columns(table);
  const std::size_t row = packed_bytes(table, columns) + table.geometry.key_capacity;
  const bool has_strings = table.definition.has(kServerKey);
  constexpr std::size_t kCountAt = sizeof(u16);
  constexpr std::size_t kRowsAt = kCountAt + sizeof(u32);
  Packer p;
  u32 count = 0;
  const auto begin = [&] {
    p.clear();
    p.put(number);
    p.put(u32{0});
    count = 0;
  };
  const auto flush = [&] {
    if (count != 0) {
      if (has_strings) {
        strings();  // all that these entries mention is there by now
      }
      p.set(kCountAt, count);
      block(BlockKind::kEntries, p);
      begin();
    }
  };
  begin();
  static_assert(kRowsAt < kSnapshotBlock);
  Scan scan;
  scan.expired_too = true;  // mode acc compares with values whose life is over
  for (bool done = false; !done && !over();) {
    done = reader_.scan(table, scan, kSlotsAStep, [&](const EntryView& entry) {
      if (p.bytes().size() + row > kSnapshotBlock) {
        flush();
      }
      const auto key = entry.key();
      p.put(static_cast<u16>(key.size()));
      p.put(static_cast<u16>(entry.never_expires() ? kEntryNeverExpires : 0));
      p.put(entry.expire_tick());
      p.put(entry.updated_tick());
      if (table.geometry.form == SlotForm::kExtended) {
        p.put(entry.ext(0));
        p.put(entry.ext(1));
      }
      const u8* const slot = reinterpret_cast<const u8*>(entry.words());
      for (const PackedColumn& column : columns) {
        p.put_bytes(slot + column.offset, column.bytes);
      }
      p.put_bytes(key.data(), key.size());
      ++count;
      ++written.entries;
      return true;
    });
  }
  flush();
  ++written.tables;
  // It may have been replaced by a wider one, and its slots given away, while it was read.
  const TableDesc& desc = s_.layout->tables[table.no];
  if (load_acquire(desc.state) != static_cast<u32>(TableState::kLive) ||
      load_acquire(desc.id) != table.id) {
    return Error{ErrorCode::kBusy,
                 fmt::format("table {} was replaced while it was read", table.definition.name)};
  }
  return {};
}

void SnapshotWriter::peers() {
  const RootLayout& l = *s_.layout;
  for (const PeerInfo& peer : reader_.peers()) {
    const PeerDesc& desc = l.peers[peer.no];
    u32 pid = 0;
    u32 candidate_pid = 0;
    u64 epoch = 0;
    u64 candidate_epoch = 0;
    if (!seqlock_read(desc.seq, [&] {
          pid = load_relaxed(desc.process_pid);
          candidate_pid = load_relaxed(desc.candidate_pid);
          epoch = load_relaxed(desc.process_epoch);
          candidate_epoch = load_relaxed(desc.candidate_epoch);
        })) {
      continue;
    }
    Packer p;
    p.put(peer.no);
    p.put(static_cast<u8>(peer.state == PeerState::kUp ? 1 : 0));
    p.put(static_cast<u8>(peer.direction));
    p.put(peer.protocol_minor);
    p.put(peer.connected_ms);
    p.put(peer.remote_pid);
    p.put(peer.epoch);
    p.put(pid);
    p.put(candidate_pid);
    p.put(epoch);
    p.put(candidate_epoch);
    p.put_text(peer.remote_name);
    p.put_text(peer.local_name);
    p.put_text(peer.address);
    p.put(static_cast<u16>(peer.counters.size()));
    for (const u64 counter : peer.counters) {
      p.put(counter);
    }
    block(BlockKind::kPeer, p);
  }
}

void SnapshotWriter::rooms() {
  // Those that are there now: one that was made meanwhile may have visitors already.
  s_.load_rooms();
  for (const RoomInfo& room : reader_.rooms()) {
    const RoomSettings& r = room.settings;
    const RoomNumbers n = reader_.numbers(room);
    const LineDir* const line = s_.line(room.no);
    Packer p;
    p.put(room.no.value);
    p.put(room.id);
    for (const std::string& text :
         {r.name, r.host, r.path, r.message, r.template_path, r.language}) {
      p.put_text(text);
    }
    p.put(static_cast<u8>(r.method));
    p.put(static_cast<u8>(r.lapse));
    p.put(static_cast<u8>(u32{r.queue_all} | u32{r.suspended} << 1 | u32{r.paused} << 2 |
                          u32{r.fast} << 3 | u32{r.fixed_session} << 4));
    for (const u32 number : {r.capacity, r.new_per_minute, r.session_ms, r.hold_ms, r.grace_ms,
                             r.refresh_ms, r.status_code}) {
      p.put(number);
    }
    p.put(line == nullptr ? u64{0} : load_acquire(line->tail));
    p.put(load_relaxed(s_.layout->rooms[room.no.value].pacing_tat_us));
    for (const u64 number : {n.active, n.ready, n.front, n.admit_rate_milli, n.arrive_rate_milli,
                             n.oldest_since, n.last_admitted_ms}) {
      p.put(number);
    }
    p.put(static_cast<u16>(n.counters.size()));
    for (const u64 counter : n.counters) {
      p.put(counter);
    }
    for (const RoomHistogram& h : {reader_.wait_histogram(room), reader_.stay_histogram(room)}) {
      p.put(static_cast<u16>(h.buckets.size()));
      for (const u64 bucket : h.buckets) {
        p.put(bucket);
      }
      p.put(h.sum_ms);
    }
    block(BlockKind::kRoom, p);
    ++written.rooms;
  }
}

void SnapshotWriter::end() {
  Packer p;
  p.put(written.tables);
  p.put(written.entries);
  p.put(written.rooms);
  block(BlockKind::kEnd, p);
}

std::string snapshot_path(const std::string& directory) {
  return directory + "/snapshot";
}
std::string previous_snapshot_path(const std::string& directory) {
  return directory + "/snapshot.1";
}

Result<SnapshotWritten> write_snapshot(Reader& reader, const std::string& directory,
                                       const SnapshotWrite& how) {
  const u64 begin = monotonic_ms();
  const std::string path = snapshot_path(directory);
  for (int attempt = 1;; ++attempt) {
    if (const auto fresh = reader.refresh(); !fresh) {
      return fresh.error();
    }
    NewFile file(path + ".new");
    SnapshotWriter writer(reader, file, how);
    const Status done = file.error() == 0 ? writer.write() : Status();
    if (how.cancel != nullptr && how.cancel->load(std::memory_order_relaxed)) {
      return Error{ErrorCode::kBusy, "cancelled"};
    }
    if (!done && attempt < kTries) {
      continue;
    }
    if (!done) {
      return done.error();
    }
    file.sync();
    if (file.error() != 0) {
      return system_error("write", file.path(), file.error());
    }
    if (::rename(path.c_str(), previous_snapshot_path(directory).c_str()) != 0 && errno != ENOENT) {
      return system_error("rename", path, errno);
    }
    if (::rename(file.path().c_str(), path.c_str()) != 0) {
      return system_error("rename", file.path(), errno);
    }
    file.keep();
    const int at = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = at >= 0 && ::fsync(at) == 0;
    const int error = errno;
    if (at >= 0) {
      ::close(at);
    }
    if (!synced) {
      return system_error("sync", directory, error);
    }
    writer.written.bytes = file.bytes();
    writer.written.took_ms = monotonic_ms() - begin;
    return writer.written;
  }
}

std::string set_snapshot_aside(const std::string& path, const std::string& why) {
  std::string name;
  for (int i = 0; i < kSetAside; ++i) {
    name = i == 0 ? fmt::format("{}.{}", path, why) : fmt::format("{}.{}-{}", path, why, i);
    struct stat info {};
    if (::lstat(name.c_str(), &info) != 0) {
      break;
    }
  }
  return ::rename(path.c_str(), name.c_str()) == 0 ? name : std::string();
}

}  // namespace lineq::shm
