// The stick-table data types of HAProxy, by their bit in a table definition (peers-protocol 5.1).
// A new type is one line in data_types.cc; codec, geometry and tools follow.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::shm {

// How one element of a column travels and is stored.
enum class ValueKind : u8 {
  kS32,         // one varint, sign-extended on the wire; one u32 in a slot
  kU32,         // one varint; one u32 in a slot
  kU64,         // one varint; one u64 in a slot
  kRate,        // three varints (elapsed, curr, prev); three u32 in a slot (start tick, curr, prev)
  kDictionary,  // dictionary entry; one u32 in a slot: id in the segment's dictionary, 0 = none
};

struct DataType {
  std::string_view name;  // as in HAProxy's `store` and `show table`: "gpc0", "http_req_rate"
  ValueKind kind;
  bool array;     // definition carries a number of elements
  bool additive;  // values of several HAProxys may be summed
  bool local;     // sent but not learned by HAProxy (conn_cur)
};

// Numbers of the types that code refers to by name.
enum DataTypeBit : u32 {
  kServerId = 0,
  kGpt0 = 1,
  kGpc0 = 2,
  kGpc0Rate = 3,
  kConnCnt = 4,
  kConnCur = 6,
  kHttpReqCnt = 9,
  kHttpReqRate = 10,
  kBytesInCnt = 13,
  kBytesOutCnt = 15,
  kGpc1 = 17,
  kServerKey = 19,
  kGpt = 22,
  kGpc = 23,
  kGpcRate = 24,
};

inline constexpr u32 kDataTypes = 27;     // known types: bits 0..26
inline constexpr u32 kMaxElements = 100;  // of an array type, as HAProxy allows
inline constexpr u32 kMaxSlotBytes = 4096;
inline constexpr u64 kKnownDataTypes = (u64{1} << kDataTypes) - 1;
// Those that only grow while their HAProxy counts: additive, no rate, and not conn_cur.
extern const u64 kCounterTypes;

// All known types; index = bit.
std::span<const DataType> data_types();
inline const DataType& data_type(u32 bit) {
  return data_types()[bit];
}
std::optional<u32> data_type_by_name(std::string_view name);

// Varints one element takes on the wire (a dictionary entry counts as one cell).
constexpr u32 wire_cells(ValueKind kind) {
  return kind == ValueKind::kRate ? 3 : 1;
}

// Key types, numbers as on the wire (peers-protocol 4.1).
enum class KeyType : u8 { kInteger = 2, kIp = 4, kIpv6 = 5, kString = 6, kBinary = 7 };

bool known_key_type(u64 wire);
std::string_view key_type_name(KeyType type);  // "integer", "ip", "ipv6", "string", "binary"

}  // namespace lineq::shm
