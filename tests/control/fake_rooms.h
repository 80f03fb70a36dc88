// Rooms without an engine: keeps what it is told and what was asked of it.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "daemon/engine/waiting_room.h"

namespace lineq::test {

class FakeRooms : public engine::RoomControl {
 public:
  std::vector<cli::RoomSettings> rooms() const override { return kept; }
  const cli::RoomSettings* find(std::string_view name) const override {
    const auto found = std::find_if(kept.begin(), kept.end(),
                                    [&](const cli::RoomSettings& r) { return r.name == name; });
    return found == kept.end() ? nullptr : &*found;
  }
  shm::RoomNumbers numbers(std::string_view name) const override {
    const auto found = counted.find(std::string(name));
    return found == counted.end() ? shm::RoomNumbers{} : found->second;
  }
  Status put(const cli::RoomSettings& room, SegmentMs) override {
    if (full) {
      return Error{ErrorCode::kExhausted, "there is no place for more rooms"};
    }
    ++puts;
    for (cli::RoomSettings& r : kept) {
      if (r.name == room.name) {
        r = room;
        return {};
      }
    }
    kept.push_back(room);
    return {};
  }
  Status remove(std::string_view name, SegmentMs) override {
    std::erase_if(kept, [&](const cli::RoomSettings& r) { return r.name == name; });
    return {};
  }
  Result<u32> admit(std::string_view name, u32 n, SegmentMs) override {
    asked.push_back("admit " + std::string(name) + " " + std::to_string(n));
    return std::min(n, 3U);
  }
  Result<u64> revoke(std::string_view name, std::string_view session, SegmentMs) override {
    asked.push_back("revoke " + std::string(name) + " " + std::string(session));
    if (session == "nobody") {
      return Error{ErrorCode::kNotFound, "there is no session 'nobody'"};
    }
    return u64{1};
  }
  Result<u64> revoke_all(std::string_view name, SegmentMs) override {
    asked.push_back("revoke_all " + std::string(name));
    return u64{5};
  }
  void present(std::span<const std::string_view> keys, SegmentMs) override {
    for (const std::string_view key : keys) {
      asked.push_back("present " + std::string(key));
    }
  }

  // As in a new process.
  void forget() {
    kept.clear();
    counted.clear();
    asked.clear();
  }

  std::vector<cli::RoomSettings> kept;
  std::map<std::string, shm::RoomNumbers> counted;
  std::vector<std::string> asked;
  int puts = 0;
  bool full = false;
};

inline cli::RoomSettings room_called(std::string name, u32 capacity = 1) {
  cli::RoomSettings room;
  room.name = std::move(name);
  room.capacity = capacity;
  return room;
}

}  // namespace lineq::test
