// A visitor as the segment knows it now, found by users key. No socket.
#pragma once

#include <string_view>

#include "shm/reader.h"
#include "shm/visitor.h"

namespace lineq::live {

enum class Standing : u8 {
  kUnknown,  // not seen yet, or over: the next request through HAProxy begins anew
  kWaiting,  // in the line
  kFront,    // before the line: called once and did not come
  kCalled,   // a HAProxy may not have heard of it yet
  kReady,    // every HAProxy lets it in
  kInside,
};

constexpr bool may_enter(Standing s) {
  return s == Standing::kReady || s == Standing::kInside;
}
constexpr bool is_waiting(Standing s) {
  return s == Standing::kWaiting || s == Standing::kFront;
}

struct Sight {
  static constexpr u16 kNoTable = 0xffff;

  Standing standing = Standing::kUnknown;
  bool seen = false;  // there is an entry, though it may be over
  u16 table = kNoTable;
  u32 slot = 0;
  u16 key_bytes = 0;  // of the key as the table has it, which may be cut
  shm::Visitor visitor;
};

// `key`: "<session>@<room>", from a stranger. Of several users tables the one that says most.
Sight look(shm::Reader& reader, std::string_view key);

// Null: no such room any more.
const shm::RoomInfo* room_of(const shm::Reader& reader, RoomNo no);

}  // namespace lineq::live
