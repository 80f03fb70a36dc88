// Snapshots: what goes in comes out, and whatever is wrong with a file, nothing wrong comes out.
#include "shm/snapshot.h"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "shm/crc32c.h"
#include "shm/snapshot_format.h"
#include "shm/snapshot_load.h"
#include "tests/shm/visitors.h"

namespace lineq::shm {
namespace {

constexpr u64 kAllTypes = kKnownDataTypes;

class SnapshotTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/tmp/lineq-snapshot-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path() const { return snapshot_path(directory_); }
  Result<SnapshotWritten> write(const SnapshotWrite& how = {}) const {
    auto reader = Reader::open(instance_.source());
    EXPECT_TRUE(reader.ok());
    return write_snapshot(*reader, directory_, how);
  }
  // As after a reboot.
  std::unique_ptr<Writer> reboot(std::vector<std::string> from = {}) const {
    instance_.remove();
    WriterOptions options = instance_.options();
    options.snapshots =
        from.empty() ? std::vector{path(), previous_snapshot_path(directory_)} : std::move(from);
    auto writer = Writer::attach(options);
    EXPECT_TRUE(writer.ok()) << (writer.ok() ? "" : writer.error().what);
    return writer.take();
  }
  std::string bytes_of(const std::string& file) const {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(const std::string& file, std::string_view text) const {
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  // All blocks can be read.
  static Status readable(const std::string& file) {
    SnapshotFile in(file);
    if (Status head = in.head(); !head) {
      return head;
    }
    for (;;) {
      const auto block = in.next();
      if (!block) {
        return block.error();
      }
      if (!*block) {
        return {};
      }
    }
  }

  TempInstance instance_;
  std::string directory_;
};

// Everything of an entry that counts, by table and key.
std::map<std::string, std::string> contents(Writer& writer) {
  std::map<std::string, std::string> all;
  for (const u16 no : writer.tables()) {
    const Table& table = *writer.table(no);
    const TableInfo& info = table.info();
    for (u32 slot = 0; slot < table.high_water(); ++slot) {
      const EntryView e = table.at(slot);
      if (!e.live()) {
        continue;
      }
      std::string text =
          fmt::format("{} {} {}", e.never_expires(), e.expire_tick(), e.updated_tick());
      if (info.geometry.form == SlotForm::kExtended) {
        text += fmt::format(" {:x} {:x}", e.ext(0), e.ext(1));
      }
      for (u32 bit = 0; bit < kDataTypes; ++bit) {
        for (u32 i = 0; e.has(bit) && i < info.definition.elements[bit]; ++i) {
          if (info.geometry.form != SlotForm::kTotals && data_type(bit).kind == ValueKind::kRate) {
            const Rate r = e.rate(bit, i);
            text += fmt::format(" {}/{}/{}", r.start, r.curr, r.prev);
          } else if (data_type(bit).kind == ValueKind::kDictionary) {
            text += fmt::format(" '{}'", writer.dictionary_text(static_cast<u32>(e.value(bit))));
          } else {
            text += fmt::format(" {}", e.value(bit, i));
          }
        }
      }
      const std::string key =
          fmt::format("{} {} {} {}", info.definition.name, static_cast<u32>(info.role),
                      info.scope_peer, key_text(info.definition, e.key()));
      EXPECT_TRUE(all.emplace(key, text).second) << key;
    }
  }
  return all;
}

TableDefinition everything(std::string name, KeyType type, u32 key_bytes, u64 expire_ms) {
  TableDefinition d = define(std::move(name), type, key_bytes, {}, expire_ms);
  d.data_types = kAllTypes;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    d.elements[bit] = data_type(bit).array ? 7 : 1;
    d.period_ms[bit] = data_type(bit).kind == ValueKind::kRate ? 10'000 + bit : 0;
  }
  return d;
}

// Entries whose every cell is another number.
void fill(Writer& writer, Table& table, const TableDefinition& d, u32 entries, SegmentMs now) {
  for (u32 n = 0; n < entries; ++n) {
    std::string key;
    switch (d.key_type) {
      case KeyType::kString:
        key = fmt::format("key-{}", n);
        break;
      default:
        key = std::string(d.key_bytes, static_cast<char>(n));
        key[0] = static_cast<char>(n >> 8);
    }
    std::vector<u64> cells;
    for (u32 bit = 0; bit < kDataTypes; ++bit) {
      for (u32 i = 0; d.has(bit) && i < d.elements[bit]; ++i) {
        const u64 value = u64{n} * 1000 + u64{bit} * 10 + i + 1;
        switch (data_type(bit).kind) {
          case ValueKind::kRate:
            cells.insert(cells.end(), {value % 9000, value, value + 1});
            break;
          case ValueKind::kDictionary:
            cells.push_back(n % 3 == 0 ? 0 : writer.intern(fmt::format("server-{}", n)));
            break;
          case ValueKind::kU64:
            cells.push_back(value << 40);
            break;
          default:
            cells.push_back(value);
        }
      }
    }
    set(table, d, key, cells, now, kNoPeer, Merge::kOverwrite,
        d.expire_ms == 0 ? -1 : static_cast<i64>(d.expire_ms) - n);
  }
}

TEST_F(SnapshotTest, ChecksumIsTheKnownOne) {
  const std::string text = "123456789";
  EXPECT_EQ(crc32c(0, text.data(), text.size()), 0xE3069283U);
  EXPECT_EQ(crc32c_by_table(0, text.data(), text.size()), 0xE3069283U);
  std::string bytes;
  for (u32 i = 0; i < 1000; ++i) {
    bytes += static_cast<char>(i * 37 + i / 11);
  }
  for (std::size_t cut = 0; cut < 40; ++cut) {
    const u32 whole = crc32c(0, bytes.data(), bytes.size() - cut);
    EXPECT_EQ(crc32c_by_table(0, bytes.data(), bytes.size() - cut), whole);
    const u32 first = crc32c(0, bytes.data(), cut);
    EXPECT_EQ(crc32c(first, bytes.data() + cut, bytes.size() - 2 * cut), whole);
    EXPECT_EQ(crc32c_by_table(first, bytes.data() + cut, bytes.size() - 2 * cut), whole);
  }
}

TEST_F(SnapshotTest, EveryTypeOfEveryTableComesBack) {
  auto writer = attach(instance_);
  const SegmentMs now = writer->now();
  const std::vector<TableDefinition> definitions{
      everything("strings", KeyType::kString, 40, 3'600'000),
      everything("/forever", KeyType::kString, 12, 0),
      everything("integers", KeyType::kInteger, 4, 3'600'000),
      everything("ips", KeyType::kIp, 4, 3'600'000),
      everything("ip6s", KeyType::kIpv6, 16, 3'600'000),
      everything("binaries", KeyType::kBinary, 20, 86'400'000),
      define("bare", KeyType::kString, 9, {}, 3'600'000)};
  for (const TableDefinition& d : definitions) {
    fill(*writer, *writer->table_for(d, now)->table, d, 300, now);
  }
  for (u16 no = 0; no < 7; ++no) {
    writer->add_table_counter(no, TableCounter::expired, 5U + no);
  }
  const auto before = contents(*writer);
  ASSERT_EQ(before.size(), 7U * 300U);
  const auto written = write();
  ASSERT_TRUE(written.ok()) << written.error().what;
  EXPECT_EQ(written->tables, 7U);
  EXPECT_EQ(written->entries, before.size());
  EXPECT_EQ(written->bytes, std::filesystem::file_size(path()));
  struct stat info {};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(
      info.st_mode & 0777U, 0640U & ~[] {
        const mode_t mask = ::umask(0);
        ::umask(mask);
        return mask;
      }());
  const SegmentMs clock = writer->now();
  writer.reset();

  writer = reboot();
  const Restored& restored = writer->restored();
  EXPECT_EQ(restored.path, path());
  EXPECT_EQ(restored.entries, before.size());
  EXPECT_EQ(restored.tables, 7U);
  EXPECT_EQ(restored.refused + restored.expired, 0U);
  EXPECT_EQ(writer->attached_as(), Attach::kRecovered);
  EXPECT_EQ(contents(*writer), before);
  for (u16 no = 0; no < 7; ++no) {
    const TableInfo& known = writer->table(no)->info();
    EXPECT_EQ(known.definition.name, definitions[no].name);
    EXPECT_EQ(known.definition.expire_ms, definitions[no].expire_ms);
    EXPECT_EQ(known.definition.data_types, definitions[no].data_types);
    EXPECT_EQ(known.definition.elements, definitions[no].elements);
    EXPECT_EQ(known.definition.period_ms, definitions[no].period_ms);
    EXPECT_EQ(writer->table(no)->live(), 300U);
  }
  // The clock goes on where it was, so that every tick still means the same.
  EXPECT_GE(writer->now() + 10, clock);
  EXPECT_LT(writer->now(), clock + 60'000);
  EXPECT_EQ(findings(instance_), "");
  auto reader = Reader::open(instance_.source());
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->liveness(), Liveness::kAlive);
  EXPECT_EQ(reader->stats(reader->tables()[3]).counter(TableCounter::expired), 8U);
  // It is a segment like any other: it takes more, and is attached to.
  fill(*writer, *writer->table_for(definitions[0], writer->now())->table, definitions[0], 5000,
       writer->now());
  EXPECT_EQ(findings(instance_), "");
  writer.reset();
  writer = attach(instance_);
  EXPECT_EQ(writer->attached_as(), Attach::kRecovered);
  EXPECT_EQ(writer->restored().path, "");
  EXPECT_EQ(contents(*writer).size(), 5000U + 6U * 300U);
}

TEST_F(SnapshotTest, ALivingSegmentIsNotTouched) {
  auto writer = attach(instance_);
  const TableDefinition d = define("t", KeyType::kString, 20, {kGpc0});
  Table& table = *writer->table_for(d, 0)->table;
  set(table, d, "old", {1}, writer->now());
  ASSERT_TRUE(write().ok());
  set(table, d, "old", {2}, writer->now());
  set(table, d, "new", {3}, writer->now());
  writer.reset();
  WriterOptions options = instance_.options();
  options.snapshots = {path()};
  writer = Writer::attach(options).take();
  EXPECT_EQ(writer->restored().path, "");
  EXPECT_EQ(contents(*writer).size(), 2U);
}

// The wall clock went on while the machine was off: what is written into the file stands for that.
TEST_F(SnapshotTest, LifetimesGoOnMeanwhileAndRoomTimeDoesNot) {
  auto writer = attach(instance_);
  const TableDefinition d = define("t", KeyType::kString, 20, {kGpc0, kHttpReqRate}, 3'600'000);
  Table& table = *writer->table_for(d, 0)->table;
  const SegmentMs now = writer->now();
  set(table, d, "long", {1, 100, 50, 20}, now, kNoPeer, Merge::kOverwrite, 600'000);
  set(table, d, "short", {2, 0, 0, 0}, now, kNoPeer, Merge::kOverwrite, 100'000);
  const RoomNo room = *writer->add_room(room_settings("shop"), now);
  join(*writer, room, "a@shop", now);
  const Tick room_time = writer->room_time(now);
  ASSERT_TRUE(write().ok());
  writer.reset();

  constexpr u64 kAway = 180'000;
  std::string bytes = bytes_of(path());
  // Made three minutes ago: the head's record begins at 16, its wall clock at 16 + 8 of it.
  u64 realtime = 0;
  std::memcpy(&realtime, &bytes[16 + 16 + 8], sizeof realtime);
  realtime -= kAway;
  std::memcpy(&bytes[16 + 16 + 8], &realtime, sizeof realtime);
  u32 payload = 0;
  std::memcpy(&payload, &bytes[16 + 8], sizeof payload);
  const u32 crc = crc32c(0, &bytes[16 + 4], 12 + payload);
  std::memcpy(&bytes[16], &crc, sizeof crc);
  put(path(), bytes);

  writer = reboot();
  EXPECT_EQ(writer->restored().entries, 2U);  // with the visitor
  EXPECT_EQ(writer->restored().expired, 1U);
  EXPECT_GE(writer->restored().age_ms, kAway);
  EXPECT_LT(writer->restored().age_ms, kAway + 60'000);
  Table& again = *writer->table_for(d, 0)->table;
  EXPECT_FALSE(again.find(shm::bytes("short")));
  const SegmentMs then = writer->now();
  const EntryView entry = again.at(*again.find(shm::bytes("long")));
  EXPECT_LE(entry.expire_left_ms(tick_of(then)), 600'000 - kAway);
  EXPECT_GE(entry.expire_left_ms(tick_of(then)), 600'000 - kAway - 60'000);
  EXPECT_EQ(entry.rate_now(kHttpReqRate, 0, tick_of(then)), 0U);
  EXPECT_GE(then, now + kAway);
  EXPECT_LT(writer->room_time(then) - room_time, 60'000U);
}

TEST_F(SnapshotTest, VisitorsKeepPlaceTicketAndState) {
  auto writer = attach(instance_);
  RoomSettings settings = room_settings("shop", 20);
  settings.message = "soon";
  settings.paused = settings.fixed_session = true;
  settings.new_per_minute = 7;
  const RoomNo dropped = *writer->add_room(room_settings("gone"), 0);
  const RoomNo room = *writer->add_room(settings, 0);
  const RoomNo other = *writer->add_room(room_settings("other"), 0);
  writer->drop_room(dropped);
  for (u32 i = 0; i < 500; ++i) {
    join(*writer, room, fmt::format("s-{}@shop", i));
  }
  join(*writer, other, "s-1@other");
  for (u32 i = 0; i < 30; ++i) {
    become(*writer, fmt::format("s-{}@shop", i),
           i < 10   ? VisitorState::kActive
           : i < 15 ? VisitorState::kGranted
           : i < 20 ? VisitorState::kFront
                    : VisitorState::kAbandoned);
  }
  RoomNumbers numbers = writer->room_numbers(room);
  numbers.active = 10;
  numbers.ready = 5;
  numbers.front = 5;
  numbers.admit_rate_milli = 12'345;
  numbers.last_admitted_ms = 4;
  numbers.counters[2] = 77;
  writer->set_room_numbers(room, numbers);
  writer->set_room_pacing(room, 123'456'789);
  writer->add_room_wait(room, 4000);
  writer->add_room_stay(room, 40'000'000);
  const Ticket next = *writer->line(room).next_ticket(10);
  const auto before = contents(*writer);
  const auto written = write({.clean = true, .cancel = nullptr, .progress = {}});
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(written->rooms, 2U);
  // Once more, and not at a clean stop: nobody knows how many tickets were given after it.
  const std::string unclean = directory_ + "/unclean";
  std::filesystem::create_directory(unclean);
  {
    auto reader = Reader::open(instance_.source());
    ASSERT_TRUE(write_snapshot(*reader, unclean, {}).ok());
  }
  writer.reset();

  writer = reboot();
  EXPECT_EQ(writer->attached_as(), Attach::kClean);
  EXPECT_EQ(contents(*writer), before);
  ASSERT_EQ(writer->rooms(), (std::vector{room, other}));
  EXPECT_EQ(writer->room_settings(room), settings);
  const RoomNumbers after = writer->room_numbers(room);
  EXPECT_EQ(after.active, 10U);
  EXPECT_EQ(after.waiting, 470U);
  EXPECT_EQ(after.admit_rate_milli, 12'345U);
  EXPECT_EQ(after.counters, numbers.counters);
  EXPECT_EQ(writer->room_pacing(room), 123'456'789U);
  EXPECT_EQ(writer->room_wait(room).sum_ms, 4000U);
  EXPECT_EQ(writer->room_stay(room).buckets.back(), 1U);
  EXPECT_EQ(writer->line(room).waiting(), 470U);
  EXPECT_EQ(holder(*writer, room, *writer->line(room).front()), "s-30@shop");
  EXPECT_EQ(holder(*writer, room, *writer->line(room).select(469)), "s-499@shop");
  EXPECT_EQ(*writer->line(room).next_ticket(10), next);
  EXPECT_EQ(findings(instance_), "");
  EXPECT_EQ(join(*writer, room, "s-500@shop"), next);
  become(*writer, "s-30@shop", VisitorState::kActive);
  EXPECT_EQ(holder(*writer, room, *writer->line(room).front()), "s-31@shop");
  writer.reset();

  writer = reboot({snapshot_path(unclean)});
  EXPECT_EQ(writer->attached_as(), Attach::kRecovered);
  EXPECT_GT(writer->line(room).next_ticket(10)->value, next.value + 100'000);
  EXPECT_EQ(writer->line(room).waiting(), 470U);
  join(*writer, room, "s-501@shop");
  EXPECT_EQ(holder(*writer, room, *writer->line(room).select(470)), "s-501@shop");
  EXPECT_EQ(findings(instance_), "");
}

// Mode acc: what each HAProxy told, the sums and the totals.
TEST_F(SnapshotTest, PartsLedgersAndWhoToldThem) {
  auto writer = attach(instance_);
  writer->set_mode(2);
  const PeerNo peer = *writer->peer_up({.remote_name = "hap1",
                                        .local_name = "lineq",
                                        .address = "10.0.0.1",
                                        .remote_pid = 4711,
                                        .direction = PeerDirection::kOutgoing},
                                       50);
  const PeerNo other =
      *writer->peer_up({.remote_name = "hap2", .local_name = "lineq", .address = "10.0.0.2"}, 60);
  writer->peer_down(other, 70);
  writer->set_peer_process(peer,
                           {.pid = 4711, .epoch = 3, .candidate_pid = 9, .candidate_epoch = 5});
  writer->add_peer_counter(peer, PeerCounter::updates_in, 99);
  const TableDefinition d = define("t", KeyType::kString, 20, {kGpc0, kBytesInCnt}, 60'000);
  TableDefinition totals = d;
  totals.expire_ms = 0;
  ASSERT_TRUE(writer->table_for(d, 0).ok());
  Table& part = *writer->table_for(d, 0, TableRole::kPart, peer.value)->table;
  Table& ledger = *writer->table_for(totals, 0, TableRole::kLedger)->table;
  const SegmentMs now = writer->now();
  {
    Together change(*writer);
    u64* image = change.insert(part, shm::bytes("k"), part.tag_of(shm::bytes("k")), now);
    put_times(image, tick_of(now) - 1, tick_of(now));  // over, and kept all the same
    image[part.info().geometry.ext_offset / 8] = 3;
    u64* total = change.insert(ledger, shm::bytes("k"), ledger.tag_of(shm::bytes("k")), now);
    put_times(total, std::nullopt, tick_of(now));
    total[ledger.info().geometry.offset[kBytesInCnt] / 8] = u64{1} << 50;
    change.land(peer, now);
  }
  const auto written = write();
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(written->tables, 3U);
  EXPECT_EQ(written->entries, 2U);
  const u64 epoch = writer->peer_epoch(peer);
  writer.reset();

  writer = reboot();
  EXPECT_EQ(writer->mode(), 2U);
  Table& p = *writer->table_for(d, 0, TableRole::kPart, peer.value)->table;
  Table& l = *writer->table_for(totals, 0, TableRole::kLedger)->table;
  EXPECT_EQ(writer->tables().size(), 3U);
  ASSERT_EQ(p.live(), 1U);
  EXPECT_EQ(p.at(0).ext(0), 3U);
  EXPECT_TRUE(p.at(0).expired(tick_of(writer->now())));
  ASSERT_EQ(l.live(), 1U);
  EXPECT_EQ(l.at(0).value(kBytesInCnt), u64{1} << 50);
  EXPECT_EQ(writer->peer_process(peer).pid, 4711U);
  EXPECT_EQ(writer->peer_process(peer).epoch, 3U);
  EXPECT_EQ(writer->peer_process(peer).candidate_pid, 9U);
  EXPECT_EQ(writer->peer_process(peer).candidate_epoch, 5U);
  ASSERT_EQ(writer->peers_before().size(), 2U);
  EXPECT_TRUE(writer->peers_before()[0].up);
  EXPECT_FALSE(writer->peers_before()[1].up);
  EXPECT_EQ(writer->peer_counter(peer, PeerCounter::updates_in), 99U);
  // It is known when it comes again.
  const PeerNo again = *writer->peer_up(
      {.remote_name = "hap1", .local_name = "lineq", .address = "10.0.0.1", .remote_pid = 5000},
      writer->now());
  EXPECT_EQ(again, peer);
  EXPECT_EQ(writer->peer_epoch(peer), epoch + 1);
  EXPECT_EQ(findings(instance_), "");
}

TEST_F(SnapshotTest, ThereIsNoSnapshotAndThereIsOnlyTheOlderOne) {
  auto writer = reboot();
  EXPECT_EQ(writer->attached_as(), Attach::kCreated);
  ASSERT_EQ(writer->restored().rejected.size(), 2U);
  EXPECT_EQ(writer->restored().rejected[0].error.code, ErrorCode::kNotFound);
  const TableDefinition d = define("t", KeyType::kString, 20, {kGpc0});
  Table& table = *writer->table_for(d, 0)->table;
  set(table, d, "one", {1}, writer->now());
  ASSERT_TRUE(write().ok());
  EXPECT_EQ(files(), (std::vector<std::string>{"snapshot"}));
  set(table, d, "two", {1}, writer->now());
  ASSERT_TRUE(write().ok());
  EXPECT_EQ(files(), (std::vector<std::string>{"snapshot", "snapshot.1"}));
  std::filesystem::remove(path());
  writer.reset();
  writer = reboot();
  EXPECT_EQ(writer->restored().path, previous_snapshot_path(directory_));
  EXPECT_EQ(contents(*writer).size(), 1U);
}

// A small file with something of everything.
class DamagedSnapshotTest : public SnapshotTest {
 protected:
  void SetUp() override {
    SnapshotTest::SetUp();
    auto writer = attach(instance_);
    const TableDefinition d = define("t", KeyType::kString, 20, {kGpc0, kServerKey}, 3'600'000);
    Table& table = *writer->table_for(d, 0)->table;
    for (u32 i = 0; i < 3; ++i) {
      set(table, d, fmt::format("k{}", i), {i, writer->intern("srv")}, writer->now());
    }
    const RoomNo room = *writer->add_room(room_settings("shop"), 0);
    join(*writer, room, "a@shop");
    EXPECT_TRUE(
        writer->peer_up({.remote_name = "h", .local_name = "l", .address = "10.0.0.3"}, 0).ok());
    good_ = contents(*writer);
    EXPECT_TRUE(write().ok());
    bytes_ = bytes_of(path());
    ASSERT_GT(bytes_.size(), 500U);
    ASSERT_LT(bytes_.size(), 4000U);
  }

  std::map<std::string, std::string> good_;
  std::string bytes_;
};

TEST_F(DamagedSnapshotTest, TruncatedAnywhere) {
  ASSERT_TRUE(readable(path()).ok());
  const std::string file = directory_ + "/cut";
  for (std::size_t length = 0; length < bytes_.size(); ++length) {
    put(file, std::string_view(bytes_).substr(0, length));
    const Status read = readable(file);
    ASSERT_FALSE(read.ok()) << length;
    EXPECT_EQ(read.error().code, ErrorCode::kDamaged) << length;
    EXPECT_NE(read.error().what.find("at byte "), std::string::npos);
    if (length % 97 == 0) {
      auto writer = reboot({file, path()});
      EXPECT_EQ(writer->restored().path, path());
      EXPECT_EQ(contents(*writer), good_);
    }
  }
  put(file, bytes_ + "x");
  EXPECT_FALSE(readable(file).ok());
}

TEST_F(DamagedSnapshotTest, AnyBitFlipped) {
  const std::string file = directory_ + "/flipped";
  std::string bytes = bytes_;
  put(file, bytes);
  std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<char>(1 << bit % 8);
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ mask);
    out.seekp(static_cast<std::streamoff>(bit / 8));
    out.put(bytes[bit / 8]).flush();
    const Status read = readable(file);
    ASSERT_FALSE(read.ok()) << bit;
    EXPECT_EQ(read.error().code, ErrorCode::kDamaged) << bit;
    if (bit % 1009 == 0) {
      auto writer = reboot({file});
      EXPECT_EQ(writer->restored().path, "");
      EXPECT_EQ(contents(*writer).size(), 0U);
      EXPECT_EQ(findings(instance_), "");
    }
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ mask);
    out.seekp(static_cast<std::streamoff>(bit / 8));
    out.put(bytes[bit / 8]);
  }
  out.close();
  EXPECT_TRUE(readable(file).ok());
}

// Checksums that are right do not make sense of it: every byte of every payload set to something
// else. It is loaded as a sound segment, or not at all.
TEST_F(DamagedSnapshotTest, NonsenseWithRightChecksums) {
  const std::string file = directory_ + "/nonsense";
  u32 loaded = 0;
  u32 refused = 0;
  for (std::size_t at = sizeof(FileHead); at < bytes_.size();) {
    BlockHead head{};
    std::memcpy(&head, &bytes_[at], sizeof head);
    for (std::size_t i = 0; i < head.bytes; i += 11) {
      std::string bytes = bytes_;
      char& byte = bytes[at + sizeof head + i];
      byte = static_cast<char>(i % 2 == 0 ? 0xff : byte ^ 0x11);
      const u32 crc = crc32c(0, &bytes[at + 4], sizeof head - 4 + head.bytes);
      std::memcpy(&bytes[at], &crc, sizeof crc);
      put(file, bytes);
      auto writer = reboot({file});
      if (writer->restored().path.empty()) {
        ++refused;
        EXPECT_EQ(contents(*writer).size(), 0U);
      } else {
        ++loaded;
        EXPECT_LE(contents(*writer).size(), good_.size());
        join(*writer, *writer->add_room(room_settings("another"), writer->now()), "b@another");
      }
    }
    at += sizeof head + head.bytes;
  }
  EXPECT_GT(loaded, 10U);
  EXPECT_GT(refused, 10U);
}

TEST_F(DamagedSnapshotTest, OfAnotherVersionOrInstance) {
  std::string bytes = bytes_;
  FileHead head{kSnapshotMagic, kSnapshotVersion + 1, 0};
  head.crc = crc32c(0, &head, offsetof(FileHead, crc));
  std::memcpy(bytes.data(), &head, sizeof head);
  const std::string file = directory_ + "/foreign";
  put(file, bytes);
  auto writer = reboot({file, path()});
  ASSERT_EQ(writer->restored().rejected.size(), 1U);
  EXPECT_EQ(writer->restored().rejected[0].error.code, ErrorCode::kForeign);
  EXPECT_EQ(writer->restored().rejected[0].error.what,
            fmt::format("{}: at byte 0: snapshot version 2, this program knows 1", file));
  EXPECT_EQ(writer->restored().path, path());
  writer.reset();

  const TempInstance stranger;
  WriterOptions options = stranger.options();
  options.snapshots = {path()};
  writer = Writer::attach(options).take();
  ASSERT_EQ(writer->restored().rejected.size(), 1U);
  EXPECT_EQ(writer->restored().rejected[0].error.code, ErrorCode::kForeign);
  EXPECT_EQ(writer->attached_as(), Attach::kCreated);
}

TEST_F(DamagedSnapshotTest, IsSetAsideAndOnlySoMany) {
  const std::string name = set_snapshot_aside(path(), "damaged");
  EXPECT_EQ(name, path() + ".damaged");
  for (const char* expected : {"-1", "-2", "-2", "-2"}) {
    put(path(), "x");
    EXPECT_EQ(set_snapshot_aside(path(), "damaged"), path() + ".damaged" + expected);
  }
  EXPECT_EQ(files(), (std::vector<std::string>{"snapshot.damaged", "snapshot.damaged-1",
                                               "snapshot.damaged-2"}));
  EXPECT_EQ(set_snapshot_aside(path(), "damaged"), "");
}

// A full disk, as the child sees it.
TEST_F(DamagedSnapshotTest, NoSpaceLeavesTheOldOne) {
  auto writer = reboot();
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto reader = Reader::open(instance_.source());
    const auto written = write_snapshot(*reader, directory_, {});
    const bool told =
        !written.ok() && written.error().code == ErrorCode::kSystem &&
        written.error().what.find("snapshot.new: File too large") != std::string::npos;
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(files(), (std::vector<std::string>{"snapshot"}));
  EXPECT_EQ(bytes_of(path()), bytes_);
  const auto nowhere = [&] {
    auto reader = Reader::open(instance_.source());
    return write_snapshot(*reader, directory_ + "/none", {});
  }();
  ASSERT_FALSE(nowhere.ok());
  EXPECT_NE(nowhere.error().what.find("/none/snapshot.new: No such file"), std::string::npos);
}

TEST_F(DamagedSnapshotTest, CancelledLeavesTheOldOne) {
  auto writer = reboot();
  std::atomic<bool> cancel{false};
  const auto written = write({.cancel = &cancel, .progress = [&] { cancel = true; }});
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kBusy);
  EXPECT_EQ(files(), (std::vector<std::string>{"snapshot"}));
  EXPECT_EQ(bytes_of(path()), bytes_);
}

// Killed at any moment of writing: there is always a good one.
TEST_F(SnapshotTest, KilledWhileWriting) {
  auto writer = attach(instance_);
  const TableDefinition d = define("t", KeyType::kString, 40, {kGpc0}, 3'600'000);
  fill(*writer, *writer->table_for(d, 0)->table, d, 20'000, writer->now());
  ASSERT_TRUE(write().ok());
  for (int round = 0; round < 40; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      auto reader = Reader::open(instance_.source());
      while (write_snapshot(*reader, directory_, {}).ok()) {
      }
      ::_exit(1);
    }
    ::usleep(static_cast<useconds_t>(500 + round * 317));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const bool newest = std::filesystem::exists(path());
    const Status read = readable(newest ? path() : previous_snapshot_path(directory_));
    ASSERT_TRUE(read.ok()) << read.error().what;
  }
  ASSERT_TRUE(write().ok());
  EXPECT_EQ(files(), (std::vector<std::string>{"snapshot", "snapshot.1"}));
}

// Killed while loading: nobody takes what is there for all there was.
TEST_F(DamagedSnapshotTest, KilledWhileLoading) {
  instance_.remove();
  u32 blocks = 0;
  for (u32 kill_at = 1; kill_at < 40; ++kill_at) {
    const pid_t child = ::fork();
    if (child == 0) {
      WriterOptions options = instance_.options();
      options.snapshots = {path()};
      u32 count = 0;
      options.progress = [&] {
        if (++count == kill_at) {
          ::_exit(77);
        }
      };
      const auto writer = Writer::attach(options);
      ::_exit(writer.ok() ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 0) {
      break;
    }
    ASSERT_EQ(WEXITSTATUS(status), 77);
    ++blocks;
    EXPECT_FALSE(Reader::open(instance_.source()).ok());
  }
  EXPECT_GT(blocks, 5U);
  auto writer = attach(instance_);
  EXPECT_EQ(writer->attached_as(), Attach::kRecovered);  // whole, by the last child
  EXPECT_EQ(contents(*writer), good_);
}

// A writer that goes on all the time: entries that stay are there, whatever else moves.
TEST_F(SnapshotTest, WhileTheWriterWorks) {
  auto writer = attach(instance_);
  const TableDefinition d = define("t", KeyType::kString, 40, {kGpc0}, 3'600'000);
  fill(*writer, *writer->table_for(d, 0)->table, d, 5000, writer->now());
  std::atomic<bool> stop{false};
  std::atomic<u32> snapshots{0};
  std::string error;
  std::thread thread([&] {
    auto reader = Reader::open(instance_.source());
    for (; snapshots < 5 && error.empty(); ++snapshots) {
      const auto written = write_snapshot(*reader, directory_, {});
      error = written.ok() ? "" : written.error().what;
    }
    stop = true;
  });
  for (u32 n = 0; !stop; ++n) {
    TableDefinition wider = d;
    if (n == 2000) {
      wider.data_types |= u64{1} << kGpt0;
      wider.elements[kGpt0] = 1;
    }
    Table& table = *writer->table_for(wider, writer->now())->table;
    const std::string key = fmt::format("x-{}", n % 3000);
    const auto slot = table.find(shm::bytes(key));
    if (slot && n % 2 == 0) {
      table.erase(*slot, FeedKind::kErase, kNoPeer, writer->now());
    } else {
      set(table, d, key, {n}, writer->now());
    }
  }
  thread.join();
  EXPECT_EQ(error, "");
  writer.reset();
  writer = reboot();
  const auto after = contents(*writer);
  for (u32 i = 0; i < 5000; ++i) {
    EXPECT_EQ(after.count(fmt::format("t 0 {} key-{}", kNoScope, i)), 1U) << i;
  }
  EXPECT_EQ(findings(instance_), "");
}

TEST_F(SnapshotTest, WithoutMemoryForAllOfIt) {
  auto writer = attach(instance_);
  const TableDefinition d = define("t", KeyType::kString, 40, {kGpc0}, 3'600'000);
  fill(*writer, *writer->table_for(d, 0)->table, d, 60'000, writer->now());
  ASSERT_TRUE(write().ok());
  writer.reset();
  instance_.remove();
  WriterOptions options = instance_.options();
  options.memory_limit = u64{12} << 20;
  options.snapshots = {path()};
  auto attached = Writer::attach(options);
  ASSERT_TRUE(attached.ok()) << attached.error().what;
  const Restored& restored = (*attached)->restored();
  EXPECT_GT(restored.refused, 1000U);
  EXPECT_EQ(restored.entries + restored.refused, 60'000U);
  EXPECT_EQ(findings(instance_), "");
}

}  // namespace
}  // namespace lineq::shm
