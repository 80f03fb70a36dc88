// How a snapshot lies in its file: what snapshot.cc and snapshot_load.cc share.
//
//   FileHead | block | block | ...        block: BlockHead, then `bytes` of payload
//
// Blocks, in this order: kHead; for each table kTable and then its kEntries, with kStrings before
// entries that mention them; kPeer; kRoom; kEnd. All numbers little-endian, texts as u16 length and
// bytes.
#pragma once

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/entry_view.h"
#include "shm/support/ints.h"

namespace lineq::shm {

inline constexpr u64 kSnapshotMagic = 0x0a50'4e53'5145'4e49ULL;  // "INEQSNP\n" in memory
inline constexpr u32 kSnapshotBlock = u32{64} << 10;             // most bytes of a payload

struct FileHead {
  u64 magic;
  u32 version;
  u32 crc;  // of the above
};
struct BlockHead {
  u32 crc;  // of the rest of it and the payload
  u32 kind;
  u32 bytes;
  u32 number;  // from 0
};
static_assert(sizeof(FileHead) == 16 && sizeof(BlockHead) == 16);

enum class BlockKind : u32 { kNone, kHead, kStrings, kTable, kEntries, kPeer, kRoom, kEnd };

inline constexpr u32 kSnapshotClean = 1;             // flag of kHead: made at a clean stop
inline constexpr u8 kEntryNeverExpires = 1;          // flag of an entry
inline constexpr std::size_t kLeastEntryBytes = 12;  // length of key, flags, two ticks

class Packer {
 public:
  template <typename T>
  void put(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }
  void put_bytes(const void* from, std::size_t n) {
    bytes_.append(static_cast<const char*>(from), n);
  }
  void put_text(std::string_view text) {
    put(static_cast<u16>(text.size()));
    bytes_.append(text);
  }
  const std::string& bytes() const { return bytes_; }
  void clear() { bytes_.clear(); }
  template <typename T>
  void set(std::size_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }

 private:
  std::string bytes_;
};

// Reads past the end give zeros and are remembered.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T get() {
    T value{};
    if (const std::string_view from = take(sizeof value); from.size() == sizeof value) {
      std::memcpy(&value, from.data(), sizeof value);
    }
    return value;
  }
  std::string_view text() { return take(get<u16>()); }
  std::string_view take(std::size_t n) {
    if (n > rest_.size()) {
      bad_ = true;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  bool empty() const { return rest_.empty(); }
  bool bad() const { return bad_; }
  bool whole() const { return rest_.empty() && !bad_; }  // all was read, and no more

 private:
  std::string_view rest_;
  bool bad_ = false;
};

// The columns of an entry, as they lie in a slot; in the file they follow each other.
struct PackedColumn {
  u16 offset;
  u16 bytes;
  bool dictionary;
};
inline std::vector<PackedColumn> packed_columns(const TableInfo& table) {
  std::vector<PackedColumn> columns;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    if (!table.definition.has(bit)) {
      continue;
    }
    const ValueKind kind = data_type(bit).kind;
    const u32 width = table.geometry.form == SlotForm::kTotals || kind == ValueKind::kU64
                          ? 8
                          : 4 * wire_cells(kind);
    const PackedColumn column{table.geometry.offset[bit],
                              static_cast<u16>(width * table.definition.elements[bit]),
                              kind == ValueKind::kDictionary};
    PackedColumn* const last = columns.empty() ? nullptr : &columns.back();
    if (last != nullptr && !column.dictionary && !last->dictionary &&
        last->offset + last->bytes == column.offset) {
      last->bytes = static_cast<u16>(last->bytes + column.bytes);
    } else {
      columns.push_back(column);
    }
  }
  return columns;
}
// Of an entry without its key.
inline std::size_t packed_bytes(const TableInfo& table, std::span<const PackedColumn> columns) {
  std::size_t bytes = kLeastEntryBytes;
  if (table.geometry.form == SlotForm::kExtended) {
    bytes += 16;
  }
  for (const PackedColumn& column : columns) {
    bytes += column.bytes;
  }
  return bytes;
}

}  // namespace lineq::shm
