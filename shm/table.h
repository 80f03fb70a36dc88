// The writer's side of one table: apply batches of updates, look up, erase. Writer thread only.
//
// Every change goes through the redo record (Writer's Intent), then slot, index and feed, in the
// order that readers and a crash at any instruction need (shm-design 6, 7, 15). When apply()
// returns, the changes are in the segment and may be acknowledged.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "shm/entry_view.h"
#include "shm/feed.h"
#include "shm/slots.h"
#include "shm/support/clock.h"
#include "shm/support/strong.h"

namespace lineq::shm {

class Line;
class Object;
class Writer;

// How the cells of somebody's definition go into a table's slots. Columns the table lacks are
// dropped, columns the definition lacks are left alone, surplus array elements are dropped, missing
// ones left alone (peers-protocol 4.5).
class ColumnMap {
 public:
  // `from` is the announced definition (cells in its order); `to` the table's.
  ColumnMap(const TableDefinition& from, const TableInfo& to);

  struct Op {
    ValueKind kind;
    u16 cell;    // first source cell
    u16 offset;  // in the slot, bytes
    u16 count;   // elements
  };
  const std::vector<Op>& ops() const { return ops_; }

 private:
  std::vector<Op> ops_;
};

enum class Merge : u8 {
  kOverwrite,  // a live update: the last writer wins
  kIfNewer,  // a lesson: values only if the entry is absent or its deadline is earlier than the one
             // told
  kIfAbsent,  // the untimed repetition after a lesson: only if the entry is absent
};

struct Change {
  std::span<const u8> key;
  const u64* cells = nullptr;  // as ColumnMap's `from` says; rates as elapsed, curr, prev
  Merge merge = Merge::kOverwrite;
  bool timed = false;  // expire_ms was told; otherwise the table's own expiry starts anew
  u32 expire_ms = 0;
};

enum class Outcome : u8 {
  kInserted,
  kUpdated,
  kKept,      // an existing entry's values were kept, and differ from what was told
  kKeptSame,  // kept, and equal
  kRefused,   // table full
};

struct Applied {
  u32 slot = 0;
  Outcome outcome = Outcome::kRefused;
  bool arm = false;  // deadline is new, or earlier than before: the expiry wheel has to know
  Tick deadline = 0;
};

class Table {
 public:
  static constexpr std::size_t kBatch = 32;

  const TableInfo& info() const { return info_; }
  u64 live() const;
  u32 expire_ms() const;
  u32 high_water() const { return static_cast<u32>(desc_.high_water); }

  // At most kBatch changes, in order; `results` has as many. An entry lives until the longest
  // expiry told has passed: a deadline never moves back here. Entries past their deadline count as
  // absent.
  void apply(const ColumnMap& columns, std::span<const Change> changes, PeerNo origin,
             SegmentMs now, std::span<Applied> results);

  // Absent, or the live slot of this key (expired or not).
  std::optional<u32> find(std::span<const u8> key) const;
  // The same for who looks into several tables: a key has the same tag in all of a segment. The two
  // prefetches are to be sweeps of their own over a batch; the second one returns the slot that
  // find() is to try first, kNoSlot if none comes into question.
  u32 tag_of(std::span<const u8> key) const;
  static constexpr u32 kNoSlot = 0xffff'ffff;
  std::optional<u32> find(u32 tag, std::span<const u8> key, u32 first = kNoSlot) const;
  void prefetch(u32 tag) const;
  u32 prefetch_slot(u32 tag) const;
  // The slot itself, no copy; valid until the next change. live() is false for a free one. `slot` <
  // high_water().
  EntryView at(u32 slot) const {
    LINEQ_ASSERT(slot < desc_.high_water);
    return view(slot);
  }

  void erase(u32 slot, FeedKind kind, PeerNo origin, SegmentMs now);

  // Position of the newest feed record of this slot (low 32 bits): relays skip older ones.
  u32 last_record(u32 slot) const { return slots_.last_record(slot); }
  // For sweeps, as above.
  void prefetch_last_record(u32 slot) const { prefetch_for_write(&slots_.last_record(slot)); }
  void prefetch_at(u32 slot) const { slots_.prefetch(slot, info_.geometry.used_bytes); }

  // Idle work: moves buckets of a growing index. True when nothing is left to do.
  bool migrate_some(u32 buckets);

  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;
  Table(Table&&) = delete;
  Table& operator=(Table&&) = delete;

 private:
  friend class SnapshotLoader;
  friend class Writer;
  friend class Together;
  struct Parts;
  Table(Writer& writer, u16 no);

  EntryView view(u32 slot) const {
    return {&info_.definition, &info_.geometry, slots_.words(slot), slot};
  }

  // Memory. now_ms only paces retries after the system refused.
  Status create_memory(u64 expected);  // entries its index has room for
  std::optional<u32> take_slot(u64 now_ms);
  void want_slots();
  bool take_slot_job(u64 now_ms);
  bool room_in_index(u64 now_ms);
  void want_index();
  bool take_index_job(u64 now_ms);
  void start_growth();
  void finish_growth();
  void drop_memory();
  // After a kill: what the segment says, made whole. What remains of recovery once objects are
  // mapped.
  Status adopt();
  void redo(const IntentPart& part, const u64* image);
  void recount();
  bool copy_entries_to(Table& wider, u64 now_ms) const;  // false: not all, for want of memory

  bool is_at(u32 slot, std::span<const u8> key) const;
  [[nodiscard]] bool set_chunk(u32 k, Object& object, u32 dir);  // false: no memory
  Applied apply_one(const ColumnMap& columns, const Change& change, u32 tag, u32 first,
                    PeerNo origin, SegmentMs now_ms);
  Applied insert(const ColumnMap& columns, const Change& change, u32 tag, PeerNo origin,
                 SegmentMs now_ms, bool never, Tick deadline);
  // The image of the intent becomes the slot's; `words` of it.
  void commit(PartKind kind, u32 slot, u32 tag, u32 words);
  void land(PartKind kind, u32 slot, u32 tag, const u64* image, u32 words);
  void record(FeedKind kind, u32 slot, PeerNo origin);
  Writer& writer_;
  TableDesc& desc_;
  TableInfo info_;
  SlotMap slots_;
  std::unique_ptr<Parts> parts_;
};

// Changes of several entries, of different tables, that land all or none, whatever the writer dies
// of (shm-design 15). For one change of state; nothing else may be written meanwhile.
//
//   Together change(writer);
//   u64* part = change.update(parts, slot, tag);           // as it is now
//   u64* sum = change.insert(ledger, key, tag);            // nullptr: no memory, nothing happens
//   ... put_times(), put values at the table's offsets ...
//   change.land(origin, now);
class Together {
 public:
  explicit Together(Writer& writer) : writer_(writer) {}
  ~Together();  // what did not land never was
  Together(const Together&) = delete;
  Together& operator=(const Together&) = delete;

  u64* update(Table& table, u32 slot, u32 tag);
  u64* insert(Table& table, std::span<const u8> key, u32 tag, SegmentMs now);
  u32 slot(u32 part) const { return changes_[part].slot; }
  // At most one of these: the line's bit and counts change in the same step as the entries. join()
  // takes the ticket that line.next_ticket() told.
  void join(Line& line);
  void leave(Line& line, Ticket ticket);
  void land(PeerNo origin, SegmentMs now);
  // Without a record in the change feed: nobody is told. A record of the entry that is on its way
  // still brings what the entry is by then.
  void land_quietly(SegmentMs now);

 private:
  struct One {
    Table* table;
    PartKind kind;
    u32 slot;
    u32 tag;
  };

  u64* add(const One& one);
  void land_all();
  void count_one(const One& one, SegmentMs now);

  Writer& writer_;
  std::array<One, kIntentParts> changes_{};
  u32 count_ = 0;
  u32 words_ = 0;
  Line* line_ = nullptr;
  bool joins_ = false;
  Ticket ticket_{0};
};

// Into an image: its deadline (none: it never expires), and when it was changed.
void put_times(u64* image, std::optional<Tick> deadline, Tick updated);
// Cells as told, see ColumnMap.
void put_cells(const ColumnMap& columns, const u64* cells, Tick now, u64* image);

}  // namespace lineq::shm
