#include "shm/verify.h"

#include <algorithm>
#include <functional>
#include <set>
#include <unordered_set>

#include <fmt/format.h>

#include "shm/reader_state.h"
#include "shm/seqlock.h"
#include "shm/verify_rooms.h"

namespace lineq::shm {
namespace {

constexpr std::size_t kMostFindings = 1000;

}  // namespace

class Verifier {
 public:
  explicit Verifier(Reader& reader) : reader_(reader), s_(*reader.state_) {}

  VerifyReport run() {
    live_ = reader_.liveness() != Liveness::kDown;
    root();
    objects();
    directory();
    // By copy: refresh() may change the list below us.
    std::vector<TableInfo> tables = reader_.tables();
    tables.insert(tables.end(), reader_.hidden_tables().begin(), reader_.hidden_tables().end());
    for (const TableInfo& table : tables) {
      ++report_.tables;
      slots(table);
      index(table);
    }
    rooms();
    dictionary();
    feed();
    return std::move(report_);
  }

 private:
  // A finding on a living segment counts only if it is still there at a second and third look: the
  // writer may have been in the middle of a change.
  void expect(const std::function<bool()>& holds, std::string_view invariant,
              const std::function<std::string()>& what) {
    for (int look = 0; look < (live_ ? 3 : 1); ++look) {
      if (holds()) {
        return;
      }
      if (live_) {
        ::sched_yield();
      }
    }
    add(invariant, what());
  }
  void add(std::string_view invariant, std::string what) {
    if (report_.findings.size() < kMostFindings) {
      report_.findings.push_back({std::string(invariant), std::move(what)});
    }
  }

  std::string name(const TableInfo& table, u32 slot, const SlotCopy& copy) const {
    const EntryView entry(&table.definition, &table.geometry, copy.data(), slot);
    std::string hex;
    for (const u8 byte : entry.key()) {
      hex += fmt::format("{:02x}", byte);
    }
    return fmt::format("table {} slot {} key (hex) {}", table.definition.name, slot, hex);
  }

  void root() {
    const RootHeader& h = s_.layout->header;
    expect([&] { return h.total_bytes == kRootBytes && h.header_bytes == sizeof(RootHeader); },
           "root-size",
           [&] {
             return fmt::format("root says {} bytes, header {}", h.total_bytes, h.header_bytes);
           });
    expect(
        [&] {
          return load_relaxed(h.tables_high) <= kMaxTables &&
                 load_relaxed(h.peers_high) <= kMaxPeers &&
                 load_relaxed(h.objects_high) <= kMaxObjects &&
                 load_relaxed(h.rooms_high) <= kMaxRooms;
        },
        "directory-bounds", [&] { return "a directory is larger than its room"; });
    if (!live_) {
      const Intent& intent = s_.layout->intent;
      expect([&] { return load_relaxed(intent.op) <= 1 && intent.parts <= kIntentParts; }, "intent",
             [&] { return fmt::format("op {} parts {}", intent.op, intent.parts); });
    }
  }

  void objects() {
    std::set<u32> numbers;
    const u32 high = std::min(load_acquire(s_.layout->header.objects_high), kMaxObjects);
    for (u32 i = 0; i < high; ++i) {
      const ObjDesc& o = s_.layout->objects[i];
      if (load_acquire(o.state) != static_cast<u16>(ObjectState::kLive)) {
        continue;
      }
      const u32 number = load_relaxed(o.number);
      const u64 bytes = load_relaxed(o.bytes);
      expect([&] { return load_relaxed(o.reserved_bytes) <= bytes; }, "object-reserved",
             [&] {
               return fmt::format("object {:08x}: {} bytes reserved of {}", number,
                                  load_relaxed(o.reserved_bytes), bytes);
             });
      expect([&] { return numbers.insert(number).second; }, "object-unique",
             [&] { return fmt::format("object number {:08x} twice", number); });
      expect(
          [&] {
            return load_acquire(o.state) != static_cast<u16>(ObjectState::kLive) ||
                   load_relaxed(o.number) != number || s_.object(number, bytes) != nullptr ||
                   !referenced(o);
          },
          "object-there",
          [&] { return fmt::format("object {:08x} of {} bytes cannot be opened", number, bytes); });
    }
  }

  // An object that lost its place in a table is unlinked first and leaves the directory then.
  bool referenced(const ObjDesc& o) const {
    const u32 number = load_relaxed(o.number);
    const u32 owner = load_relaxed(o.owner);
    if (load_relaxed(o.kind) == static_cast<u16>(ObjectKind::kLine)) {
      const u32 room = owner - kMaxTables;
      return room < kMaxRooms && of_line(RoomNo{static_cast<u16>(room)}, number);
    }
    if (owner >= kMaxTables) {
      return true;
    }
    const TableDesc& desc = s_.layout->tables[owner];
    return load_acquire(desc.state) == static_cast<u32>(TableState::kLive) &&
           (load_acquire(desc.cur.object) == number || load_acquire(desc.next.object) == number ||
            std::any_of(std::begin(desc.chunk), std::end(desc.chunk),
                        [&](const ObjRef& chunk) { return load_acquire(chunk.object) == number; }));
  }

  bool of_line(RoomNo room, u32 number) const {
    if (load_acquire(s_.layout->rooms[room.value].line.object) == number) {
      return true;
    }
    const LineDir* dir = s_.line(room);
    return dir != nullptr &&
           std::any_of(std::begin(dir->segment), std::end(dir->segment),
                       [&](const ObjRef& at) { return load_acquire(at.object) == number; });
  }

  static bool known(const std::vector<TableInfo>& tables, u32 no) {
    return std::any_of(tables.begin(), tables.end(),
                       [&](const TableInfo& t) { return t.no == no; });
  }

  // Every table that calls itself live is one that readers accept, and no two are the same.
  void directory() {
    (void)reader_.refresh();
    const u32 high = std::min(load_acquire(s_.layout->header.tables_high), kMaxTables);
    for (u32 no = 0; no < high; ++no) {
      const TableDesc& desc = s_.layout->tables[no];
      expect(
          [&] {
            (void)reader_.refresh();
            return load_acquire(desc.state) != static_cast<u32>(TableState::kLive) ||
                   known(reader_.tables(), no) || known(reader_.hidden_tables(), no);
          },
          "table-definition",
          [&] {
            return fmt::format("table number {}: definition and slot layout contradict", no);
          });
    }
    // A kill while a table is being widened leaves both, each complete; the next attach drops the
    // narrow one.
    if (load_acquire(s_.layout->header.state) != static_cast<u32>(SegmentState::kStopped)) {
      return;
    }
    std::vector<TableInfo> tables = reader_.tables();
    tables.insert(tables.end(), reader_.hidden_tables().begin(), reader_.hidden_tables().end());
    for (const TableInfo& a : tables) {
      for (const TableInfo& b : tables) {
        expect(
            [&] {
              return a.no >= b.no || a.definition.name != b.definition.name ||
                     a.definition.key_type != b.definition.key_type || a.role != b.role ||
                     a.definition.key_bytes != b.definition.key_bytes ||
                     a.scope_peer != b.scope_peer;
            },
            "table-unique",
            [&] { return fmt::format("table {} is there twice", a.definition.name); });
      }
    }
  }

  // The change under way when the writer died will be redone: what it touches is excused.
  bool excused(const TableInfo& table, u32 slot) const {
    const Intent& intent = s_.layout->intent;
    if (live_ || load_acquire(intent.op) != 1) {
      return false;
    }
    for (u32 i = 0; i < std::min(intent.parts, kIntentParts); ++i) {
      if (intent.part[i].table == table.no && intent.part[i].slot == slot) {
        return true;
      }
    }
    return false;
  }

  u32 tag_of(std::span<const u8> key) const {
    const RootHeader& h = s_.layout->header;
    return index_tag(SipHash13(h.hash_key[0], h.hash_key[1])(key));
  }

  void slots(const TableInfo& table) {
    const TableDefinition& d = table.definition;
    const u64 high = s_.high_water(table);
    u64 live = 0;
    SlotCopy copy;
    SlotCopy again;
    for (u32 slot = 0; slot < high; ++slot) {
      if (s_.slot(table, slot) == nullptr) {
        add("slot-there",
            fmt::format("table {} slot {}: below the high-water mark {} and not in any chunk",
                        d.name, slot, high));
        break;
      }
      if (excused(table, slot)) {
        continue;
      }
      if (s_.copy_slot(table, slot, copy) != Lookup::kFound) {
        expect([&] { return s_.copy_slot(table, slot, copy) == Lookup::kFound; }, "slot-sequence",
               [&] { return fmt::format("table {} slot {}: sequence stays odd", d.name, slot); });
        continue;
      }
      const EntryView entry(&table.definition, &table.geometry, copy.data(), slot);
      if (!entry.live()) {
        continue;
      }
      ++live;
      const u32 key_len = static_cast<u32>(copy[0] >> 32) >> kMetaKeyShift;
      const bool fixed = d.key_type != KeyType::kString;
      expect(
          [&] { return fixed ? key_len == d.key_bytes : key_len <= table.geometry.key_capacity; },
          "key-length",
          [&] { return fmt::format("{}: {} bytes of key", name(table, slot, copy), key_len); });
      if (d.has(kServerKey)) {
        const auto id = static_cast<u32>(entry.value(kServerKey));
        expect([&] { return id == 0 || !reader_.dictionary_text(id).empty(); }, "dictionary-id",
               [&] {
                 return fmt::format("{}: server_key {} is not in the dictionary",
                                    name(table, slot, copy), id);
               });
      }
      // Complete index: the probe for this key ends in this slot.
      const u32 tag = tag_of(entry.key());
      const std::string key(entry.key_chars());
      expect(
          [&] {
            if (s_.copy_slot(table, slot, again) != Lookup::kFound) {
              return false;
            }
            const EntryView now(&table.definition, &table.geometry, again.data(), slot);
            if (!now.live() || now.key_chars() != key) {
              return true;  // erased meanwhile
            }
            return indexed(table, tag, slot);
          },
          "index-complete",
          [&] { return fmt::format("{}: not found through the index", name(table, slot, copy)); });
    }
    report_.entries += live;
    if (!live_) {
      expect(
          [&] {
            return load_acquire(s_.layout->intent.op) == 1 ||
                   load_relaxed(s_.layout->tables[table.no].live) == live;
          },
          "live-count",
          [&] {
            return fmt::format("table {}: says {} entries, has {}", d.name,
                               load_relaxed(s_.layout->tables[table.no].live), live);
          });
    }
  }

  bool indexed(const TableInfo& table, u32 tag, u32 slot) {
    const auto pair = s_.index_pair(table);
    if (!pair) {
      return false;
    }
    const auto cur = s_.index(pair->cur);
    const auto next = pair->next != 0 ? s_.index(pair->next) : std::nullopt;
    return (cur && cur->has(tag, slot)) || (next && next->has(tag, slot));
  }

  // Sound index: every word names a live entry of that hash, none twice in one index, and `passed`
  // covers every probe.
  void index(const TableInfo& table) {
    const auto pair = s_.index_pair(table);
    if (!pair) {
      return;  // the table went away meanwhile
    }
    for (const u32 number : {pair->cur, pair->next}) {
      if (number == 0 || (number == pair->next && pair->next == pair->cur)) {
        continue;
      }
      const auto index = s_.index(number);
      if (!index) {
        expect([&] { return s_.index_pair(table) != pair || s_.index(number).has_value(); },
               "index-there",
               [&] {
                 return fmt::format("table {}: index {:08x} cannot be opened",
                                    table.definition.name, number);
               });
        continue;
      }
      words(table, *index);
    }
  }

  void words(const TableInfo& table, const BucketIndex& index) {
    const std::string& name = table.definition.name;
    std::unordered_set<u64> seen;
    const u64 mask = index.buckets() - 1;
    SlotCopy copy;
    for (u64 b = 0; b < index.buckets(); ++b) {
      for (const u64& place : index.bucket(b).word) {
        const u64 word = load_acquire(place);
        if (word == 0) {
          continue;
        }
        const auto tag = static_cast<u32>(word >> 32);
        const u32 slot = static_cast<u32>(word) - 1;
        if (excused(table, slot)) {
          continue;
        }
        expect(
            [&] {
              if (load_acquire(place) != word) {
                return true;
              }
              if (slot >= s_.high_water(table) ||
                  s_.copy_slot(table, slot, copy) != Lookup::kFound) {
                return false;
              }
              const EntryView entry(&table.definition, &table.geometry, copy.data(), slot);
              return entry.live() && tag_of(entry.key()) == tag;
            },
            "index-sound",
            [&] {
              return fmt::format("table {} bucket {}: word {:016x} names no such entry", name, b,
                                 word);
            });
        expect([&] { return live_ || seen.insert(word).second; }, "index-once",
               [&] {
                 return fmt::format("table {} bucket {}: word {:016x} is there twice", name, b,
                                    word);
               });
        for (u64 walked = tag & mask; walked != b; walked = (walked + 1) & mask) {
          const u64 at = walked;
          expect(
              [&] {
                return load_acquire(place) != word || load_acquire(index.bucket(at).passed) != 0;
              },
              "index-passed",
              [&] {
                return fmt::format("table {} bucket {}: passed is 0 and word {:016x} lies behind",
                                   name, at, word);
              });
        }
      }
    }
  }

  void rooms() {
    const RoomsAccess access{
        *s_.layout,
        live_,
        [this](RoomNo room) { return s_.line(room); },
        [this](const LineDir& dir, u64 no) { return s_.line_segment(dir, no); },
        [this](const TableInfo& table) { return s_.high_water(table); },
        [this](const TableInfo& table, u32 slot, SlotCopy& copy) {
          return s_.copy_slot(table, slot, copy);
        },
        [this](const std::function<bool()>& holds, std::string_view invariant,
               const std::function<std::string()>& what) { expect(holds, invariant, what); }};
    verify_rooms(reader_, access, report_);
  }

  void dictionary() {
    const RootHeader& h = s_.layout->header;
    expect(
        [&] {
          return load_acquire(h.dictionary_used) <= load_relaxed(h.dictionary_bytes) &&
                 load_relaxed(h.dictionary_bytes) <= kDictionaryBytes;
        },
        "dictionary-bounds",
        [&] { return fmt::format("{} bytes used of {}", h.dictionary_used, h.dictionary_bytes); });
  }

  void feed() {
    const RootHeader& h = s_.layout->header;
    expect(
        [&] {
          const u64 tail = load_acquire(h.feed_tail);
          observe_fence();
          const u64 intent = load_relaxed(h.feed_intent);
          return live_ ? intent >= tail : intent - tail <= 1;
        },
        "feed-bounds",
        [&] {
          return fmt::format("intent {} tail {}", load_relaxed(h.feed_intent),
                             load_relaxed(h.feed_tail));
        });
  }

  Reader& reader_;
  Reader::State& s_;
  bool live_ = false;
  VerifyReport report_;
};

VerifyReport verify(Reader& reader) {
  return Verifier(reader).run();
}

}  // namespace lineq::shm
