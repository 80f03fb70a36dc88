// What Reader, the verifier and snapshots share. Included by reader*.cc, verify*.cc and snapshot.cc
// alone.
#pragma once

#include <optional>
#include <unordered_map>

#include "shm/dictionary.h"
#include "shm/hash.h"
#include "shm/index.h"
#include "shm/object.h"
#include "shm/reader.h"
#include "shm/slots.h"

namespace lineq::shm {

// A table's index objects as its record names them; next is 0 unless the index grows.
struct IndexPair {
  u32 cur = 0;
  u32 next = 0;
  friend bool operator==(const IndexPair&, const IndexPair&) = default;
};

// Chunks mapped so far of the table with this id.
struct TableMaps {
  u32 id = 0;
  std::array<u8*, kMaxChunks> chunk{};
};

struct Reader::State {
  Source source;
  Object root;
  const RootLayout* layout = nullptr;
  u64 epoch = 0;
  u64 directory_generation = 0;
  u64 objects_generation = 0;
  u64 looked_at_root_ms = 0;
  std::vector<TableInfo> tables;  // that HAProxys have
  std::vector<TableInfo> hidden;  // parts and ledgers
  std::vector<TableMaps> maps;
  std::vector<RoomInfo> rooms;
  std::unordered_map<u32, Object> objects;  // by number; mapped on first use

  const Object* object(u32 number, u64 least_bytes);
  const u64* slot(const TableInfo& table, u32 slot);
  u64 high_water(const TableInfo& table) const;
  Lookup copy_slot(const TableInfo& table, u32 slot, SlotCopy& copy);
  static Lookup copy_from(const u64* from, u32 words, u64* copy);     // kFound or kBusy
  std::optional<IndexPair> index_pair(const TableInfo& table) const;  // nullopt: the table is gone
  std::optional<BucketIndex> index(u32 number);
  void load_tables();
  void load_rooms();
  const LineDir* line(RoomNo room);  // nullptr: nobody ever waited, or it cannot be opened
  const LineSegment* line_segment(const LineDir& dir, u64 no);
  void forget_retired_objects();
};

}  // namespace lineq::shm
