#include "webui/live/sight.h"

#include <algorithm>

namespace lineq::live {
namespace {

Standing standing_of(shm::VisitorState state) {
  switch (state) {
    case shm::VisitorState::kWaiting:
      return Standing::kWaiting;
    case shm::VisitorState::kFront:
      return Standing::kFront;
    case shm::VisitorState::kGranted:
      return Standing::kCalled;
    case shm::VisitorState::kReady:
      return Standing::kReady;
    case shm::VisitorState::kActive:
      return Standing::kInside;
    default:
      return Standing::kUnknown;
  }
}

}  // namespace

Sight look(shm::Reader& reader, std::string_view key) {
  Sight best;
  shm::SlotCopy copy;
  for (const shm::TableInfo& table : reader.tables()) {
    if (table.role != shm::TableRole::kUsers) {
      continue;
    }
    // HAProxy cuts keys to what its table holds.
    const std::string_view cut = key.substr(0, table.definition.key_capacity());
    shm::EntryView entry;
    const std::span<const u8> bytes{reinterpret_cast<const u8*>(cut.data()), cut.size()};
    if (cut.empty() || reader.lookup(table, bytes, copy, entry) != shm::Lookup::kFound) {
      continue;
    }
    const shm::Visitor visitor = shm::Visitor::of(entry);
    const Standing standing = standing_of(visitor.state);
    if (!best.seen || standing > best.standing) {
      best = {standing, true, table.no, entry.slot(), static_cast<u16>(cut.size()), visitor};
    }
  }
  return best;
}

const shm::RoomInfo* room_of(const shm::Reader& reader, RoomNo no) {
  const auto& rooms = reader.rooms();
  const auto found = std::lower_bound(
      rooms.begin(), rooms.end(), no,
      [](const shm::RoomInfo& room, RoomNo wanted) { return room.no.value < wanted.value; });
  return found != rooms.end() && found->no == no ? &*found : nullptr;
}

}  // namespace lineq::live
