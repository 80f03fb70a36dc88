// The part of verify() that looks at rooms, their lines and visitors. Included by verify.cc alone.
#pragma once

#include <functional>

#include "shm/verify.h"

namespace lineq::shm {

// How it gets at the segment, all of it checked against the mappings.
struct RoomsAccess {
  const RootLayout& layout;
  bool live;  // a daemon is writing
  std::function<const LineDir*(RoomNo)> line;
  std::function<const LineSegment*(const LineDir&, u64 segment)> segment;
  std::function<u64(const TableInfo&)> high_water;
  std::function<Lookup(const TableInfo&, u32 slot, SlotCopy&)> copy_slot;
  // See Verifier::expect.
  std::function<void(const std::function<bool()>& holds, std::string_view invariant,
                     const std::function<std::string()>& what)>
      expect;
};

void verify_rooms(Reader& reader, const RoomsAccess& access, VerifyReport& report);

}  // namespace lineq::shm
