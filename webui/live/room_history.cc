#include "webui/live/room_history.h"

#include <algorithm>
#include <limits>

namespace lineq::live {
namespace {

u32 clamped(u64 n) {
  return static_cast<u32>(std::min<u64>(n, std::numeric_limits<u32>::max()));
}

}  // namespace

void RoomHistory::sample(const shm::Reader& reader, u64 realtime_ms) {
  // A clock that was set back begins a new history sooner than it stops it.
  if (last_ms_ != 0 && realtime_ms >= last_ms_ && realtime_ms - last_ms_ < kStepMs) {
    return;
  }
  last_ms_ = realtime_ms;
  ++round_;
  for (const shm::RoomInfo& room : reader.rooms()) {
    const shm::RoomNumbers numbers = reader.numbers(room);
    std::unique_ptr<Series>& series = rooms_[{room.no.value, room.id}];
    if (series == nullptr) {
      series = std::make_unique<Series>();
    }
    series->round = round_;
    series->ring.at(series->count++ % kPoints) = {realtime_ms, clamped(numbers.active),
                                                  clamped(numbers.ready),
                                                  clamped(numbers.waiting + numbers.front)};
  }
  std::erase_if(rooms_, [&](const auto& room) { return room.second->round != round_; });
}

std::vector<RoomHistory::Point> RoomHistory::points(const shm::RoomInfo& room) const {
  std::vector<Point> points;
  const auto found = rooms_.find({room.no.value, room.id});
  if (found == rooms_.end()) {
    return points;
  }
  const Series& series = *found->second;
  const std::size_t n = std::min(series.count, kPoints);
  points.reserve(n);
  for (std::size_t i = series.count - n; i < series.count; ++i) {
    points.push_back(series.ring.at(i % kPoints));
  }
  return points;
}

}  // namespace lineq::live
