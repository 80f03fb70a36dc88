// A table definition, and where its parts lie in a slot.
//
// Both are plain values, computed once per table, so that tools need no knowledge of data types.
#pragma once

#include <array>
#include <string>

#include "shm/data_types.h"
#include "shm/support/result.h"

namespace lineq::shm {

// A stick table as HAProxy announces it (peers-protocol 4), with known data types only.
struct TableDefinition {
  std::string name;  // as on the wire: "t1", or "/t1" for a table of a peers section; 1..255 bytes
  KeyType key_type = KeyType::kString;
  u32 key_bytes = 0;                       // as on the wire: strings count a NUL that never travels
  u64 data_types = 0;                      // bit n = data type n
  u64 expire_ms = 0;                       // 0 = entries never expire
  std::array<u16, kDataTypes> elements{};  // per set bit: 1, or the length of the array
  std::array<u32, kDataTypes> period_ms{};  // per set bit that is a rate

  bool has(u32 bit) const { return (data_types >> bit & 1) != 0; }
  // Varints of one row, dictionary entries counted as one each.
  u32 cells() const;
  // Longest key an entry can have, in bytes: strings lose the NUL.
  u32 key_capacity() const { return key_type == KeyType::kString ? key_bytes - 1 : key_bytes; }
};

// What a slot holds besides the columns as HAProxy has them.
enum class SlotForm : u8 {
  kPlain,
  kExtended,  // two words of its owner's before the columns
  kTotals,    // columns are counters, 64 bits wide whatever their type: sums that do not wrap
};

// Slot layout, offsets in bytes (shm-design 6):
//   0 u32 seq | 4 u32 meta | 8 u32 expire_tick, u32 updated_tick | [16 u64 ext[2]] | u64 values |
//   u32 cells | key
struct Geometry {
  SlotForm form = SlotForm::kPlain;
  u16 ext_offset = 0;  // 0 = none (users tables only)
  u16 key_offset = 0;
  u32 key_capacity = 0;
  u32 used_bytes = 0;                    // header to end of key, multiple of 8
  u32 slot_bytes = 0;                    // stride: 32, 64, or a multiple of 16
  std::array<u16, kDataTypes> offset{};  // of the first element of a column; 0 = column absent
};

// kInvalid with the reason when the definition cannot be held: no name, a key length that does not
// go with the type, an array without elements, a row above kMaxSlotBytes.
// With kTotals also when a column is not a counter.
Result<Geometry> geometry_of(const TableDefinition& definition, SlotForm form = SlotForm::kPlain);

}  // namespace lineq::shm
