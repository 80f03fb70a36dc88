// A copied segment with arbitrary damage, as `lineq-dump -f` gets it: the input is a list of
// changes to a sound one, which are undone afterwards. Checked, besides the sanitizers: the reader
// refuses it with a sentence or reads on, every way of reading comes to an end, and so does
// `--verify`.
//
// A change: which object, where (as a 64th of it and bytes behind that, or an absolute place in the
// first KiB), and up to 8 bytes; or an object is cut, or missing.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "shm/support/assert.h"
#include "shm/verify.h"
#include "shm/visitor.h"
#include "shm/writer.h"

namespace {

using namespace lineq;
using namespace lineq::shm;

const std::string kInstance = fmt::format("fuzz-segment-{}", ::getpid());
const std::filesystem::path kCopy = "/dev/shm/" + kInstance + ".copy";

struct Piece {
  std::filesystem::path path;
  int file;
  u64 bytes;
};

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

TableDefinition definition(std::string name, u64 columns) {
  TableDefinition d;
  d.name = std::move(name);
  d.key_type = KeyType::kString;
  d.key_bytes = 33;
  d.expire_ms = 3'600'000;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if ((columns >> bit & 1) != 0) {
      d.data_types |= u64{1} << bit;
      d.elements[bit] = data_type(bit).array ? 3 : 1;
      d.period_ms[bit] = data_type(bit).kind == ValueKind::kRate ? 10'000 : 0;
    }
  }
  return d;
}

// A table of every kind of column, visitors of a room who wait, and their line.
void fill(Writer& writer) {
  const SegmentMs now = writer.now();
  const TableDefinition plain = definition("/plain", kKnownDataTypes);
  Table& table = *writer.table_for(plain, now)->table;
  const std::vector<u64> cells(1024, writer.intern("server"));
  for (u32 i = 0; i < 300; ++i) {
    const std::string key = fmt::format("key{}", i);
    const Change change{.key = bytes_of(key), .cells = cells.data()};
    Applied applied;
    table.apply(ColumnMap(plain, table.info()), {&change, 1}, kNoPeer, now, {&applied, 1});
  }
  const TableDefinition users = definition("user", u64{1} << kGpc1);
  Table& visitors = *writer.table_for(users, now, TableRole::kUsers)->table;
  RoomSettings settings;
  settings.name = "shop";
  const auto room = writer.add_room(settings, now);
  LINEQ_ASSERT(room.ok());
  for (u32 i = 0; i < 100; ++i) {
    const std::string key = fmt::format("visitor{}@shop", i);
    const auto ticket = writer.line(*room).next_ticket(now);
    LINEQ_ASSERT(ticket.has_value());
    Together change(writer);
    u64* const image = change.insert(visitors, bytes_of(key), visitors.tag_of(bytes_of(key)), now);
    put_times(image, std::nullopt, tick_of(now));
    Visitor visitor{.state = VisitorState::kWaiting, .room = *room, .ticket = *ticket};
    const u32 ext = visitors.info().geometry.ext_offset / 8;
    image[ext] = visitor.word0();
    image[ext + 1] = visitor.word1();
    change.join(writer.line(*room));
    change.land_quietly(now);
  }
}

std::vector<Piece> make_copy() {
  std::filesystem::create_directory(kCopy);
  WriterOptions options;
  options.instance = kInstance;
  options.feed_log2 = 16;
  {
    const auto writer = Writer::attach(options);
    LINEQ_ASSERT(writer.ok());
    fill(**writer);
  }
  std::vector<Piece> pieces;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("lineq." + kInstance + ".")) {
      continue;
    }
    const std::filesystem::path copy = kCopy / name;
    const u64 bytes = entry.file_size();
    std::filesystem::copy_file(entry.path(), copy);
    std::filesystem::remove(entry.path());
    pieces.push_back({copy, ::open(copy.c_str(), O_RDWR | O_CLOEXEC), bytes});
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.path < b.path; });
  LINEQ_ASSERT(pieces.size() >= 5);
  std::atexit([] { std::filesystem::remove_all(kCopy); });
  return pieces;
}

// What is done to the copy, and undone at the end.
class Damage {
 public:
  explicit Damage(std::vector<Piece>& pieces) : pieces_(pieces) {}
  Damage(const Damage&) = delete;
  Damage& operator=(const Damage&) = delete;
  ~Damage() {
    for (const std::size_t i : cut_) {
      LINEQ_ASSERT(::ftruncate(pieces_[i].file, static_cast<off_t>(pieces_[i].bytes)) == 0);
    }
    for (const std::size_t i : missing_) {
      std::filesystem::rename(away(i), pieces_[i].path);
    }
    std::for_each(before_.rbegin(), before_.rend(),
                  [&](const Before& b) { put(b.piece, b.at, b.bytes, b.count); });
  }

  void change(std::size_t piece, u64 at, std::span<const u8> bytes) {
    if (is_cut(piece)) {
      return;
    }
    const u64 count = std::min<u64>(bytes.size(), pieces_[piece].bytes - at);
    Before before{piece, at, {}, count};
    LINEQ_ASSERT(::pread(pieces_[piece].file, before.bytes.data(), count, static_cast<off_t>(at)) ==
                 static_cast<ssize_t>(count));
    before_.push_back(before);
    std::array<u8, 8> now{};
    std::copy_n(bytes.begin(), count, now.begin());
    put(piece, at, now, count);
  }
  // What is lost is kept, in changes.
  void cut(std::size_t piece, u64 to) {
    if (is_cut(piece)) {
      return;
    }
    const u64 end = pieces_[piece].bytes;
    // More than this is not kept: the copy would have to be made anew.
    constexpr u64 kMost = 1024;
    const u64 from = std::max(to, end - std::min(end, kMost));
    for (u64 at = from; at < end; at += 8) {
      std::array<u8, 8> same{};
      const u64 count = std::min<u64>(8, end - at);
      LINEQ_ASSERT(::pread(pieces_[piece].file, same.data(), count, static_cast<off_t>(at)) ==
                   static_cast<ssize_t>(count));
      before_.push_back({piece, at, same, count});
    }
    LINEQ_ASSERT(::ftruncate(pieces_[piece].file, static_cast<off_t>(from)) == 0);
    cut_.push_back(piece);
  }
  void miss(std::size_t piece) {
    if (std::find(missing_.begin(), missing_.end(), piece) == missing_.end()) {
      std::filesystem::rename(pieces_[piece].path, away(piece));
      missing_.push_back(piece);
    }
  }

 private:
  struct Before {
    std::size_t piece;
    u64 at;
    std::array<u8, 8> bytes;
    u64 count;
  };
  bool is_cut(std::size_t piece) const {
    return std::find(cut_.begin(), cut_.end(), piece) != cut_.end();
  }
  std::filesystem::path away(std::size_t piece) const {
    return pieces_[piece].path.string() + ".away";
  }
  void put(std::size_t piece, u64 at, const std::array<u8, 8>& bytes, u64 count) {
    LINEQ_ASSERT(::pwrite(pieces_[piece].file, bytes.data(), count, static_cast<off_t>(at)) ==
                 static_cast<ssize_t>(count));
  }

  std::vector<Piece>& pieces_;
  std::vector<Before> before_;
  std::vector<std::size_t> cut_;
  std::vector<std::size_t> missing_;
};

void read_all(Reader& reader) {
  (void)reader.refresh();
  (void)reader.liveness();
  (void)reader.peers();
  (void)reader.peer_tables();
  for (const auto* const list : {&reader.tables(), &reader.hidden_tables()}) {
    for (const TableInfo& table : *list) {
      (void)reader.stats(table);
      Scan scan;
      scan.expired_too = true;
      u64 sum = 0;
      constexpr int kSteps = 64;
      for (int i = 0; i < kSteps; ++i) {
        const bool done = reader.scan(table, scan, 1024, [&](const EntryView& entry) {
          sum += entry.key().size() + key_text(table.definition, entry.key()).size();
          for (u32 bit = 0; bit < kDataTypes; ++bit) {
            if (entry.has(bit) && data_type(bit).kind != ValueKind::kRate) {
              sum += entry.value(bit);
            } else if (entry.has(bit)) {
              sum += entry.rate_now(bit, 0, tick_of(reader.now()));
            }
          }
          if (entry.has(kServerKey)) {
            sum += reader.dictionary_text(static_cast<u32>(entry.value(kServerKey))).size();
          }
          return true;
        });
        if (done) {
          break;
        }
      }
      SlotCopy copy;
      EntryView entry;
      (void)reader.lookup(table, bytes_of("key7"), copy, entry);
      (void)reader.read_slot(table, static_cast<u32>(sum), copy, entry);
    }
  }
  for (const RoomInfo& room : reader.rooms()) {
    (void)reader.numbers(room);
    (void)reader.wait_histogram(room);
    const std::array<Ticket, 3> tickets{Ticket{0}, Ticket{50}, Ticket{u64{1} << 40}};
    std::array<u64, 3> ranks{};
    reader.ranks_of(room, tickets, ranks);
  }
  FeedCursor cursor;
  std::array<FeedRecord, 64> records;
  for (int i = 0; i < 8; ++i) {
    (void)reader.follow(cursor, records);
  }
  for (const Finding& finding : verify(reader).findings) {
    LINEQ_ASSERT(!finding.what.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::vector<Piece> pieces = make_copy();
  Damage damage(pieces);
  constexpr std::size_t kChange = 13;  // bytes of the input
  constexpr u32 kMostChanges = 16;
  for (u32 i = 0; i < kMostChanges && size >= kChange; ++i, data += kChange, size -= kChange) {
    const std::size_t piece = data[0] % pieces.size();
    const u64 bytes = pieces[piece].bytes;
    const u32 place = u32{data[2]} << 8 | data[3];
    switch (data[1] >> 6) {
      case 0: {  // in the first KiB
        damage.change(piece, place % std::min<u64>(bytes, 1024), {data + 5, std::size_t{8}});
        break;
      }
      case 1:
      case 2: {
        const u64 at = bytes / 64 * (data[1] & 0x3f) + place;
        damage.change(piece, at % bytes, {data + 5, 1 + data[4] % std::size_t{8}});
        break;
      }
      default:
        if (data[4] % 4 == 0) {
          damage.miss(piece);
        } else {
          damage.cut(piece, bytes - std::min<u64>(bytes, place));
        }
        break;
    }
  }
  Source source;
  source.directory = kCopy.string();
  source.instance = kInstance;
  auto reader = Reader::open(source);
  if (!reader) {
    LINEQ_ASSERT(!reader.error().what.empty());
    return 0;
  }
  read_all(*reader);
  return 0;
}
