// How full each room was over the last hour: what the status page draws. Bounded: a point every ten
// seconds, kPoints of them a room. One thread; no socket.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "shm/reader.h"

namespace lineq::live {

class RoomHistory {
 public:
  static constexpr u64 kStepMs = 10'000;
  static constexpr std::size_t kPoints = 360;

  struct Point {
    u64 realtime_ms = 0;
    u32 active = 0;
    u32 called = 0;
    u32 queued = 0;
  };

  // Once a second or so: takes a point of every room when a step is over. Forgets rooms that are
  // gone.
  void sample(const shm::Reader& reader, u64 realtime_ms);
  // Oldest first; empty for a room that is not known.
  std::vector<Point> points(const shm::RoomInfo& room) const;

 private:
  struct Series {
    u64 round = 0;
    std::size_t count = 0;
    std::array<Point, kPoints> ring;
  };
  using Key = std::pair<u16, u32>;  // RoomInfo::no, id

  std::map<Key, std::unique_ptr<Series>> rooms_;
  u64 last_ms_ = 0;
  u64 round_ = 0;
};

}  // namespace lineq::live
