#include "webui/live/traffic.h"

#include <algorithm>

namespace lineq::live {

void Traffic::sample(const Totals& totals, u64 realtime_ms) {
  const bool anew =
      last_ms_ == 0 || realtime_ms < last_ms_ || totals.in < last_.in || totals.out < last_.out;
  if (!anew && realtime_ms - last_ms_ < kStepMs) {
    return;
  }
  if (!anew) {
    const double seconds = static_cast<double>(realtime_ms - last_ms_) / 1000;
    ring_.at(count_++ % kPoints) = {realtime_ms,
                                    static_cast<double>(totals.in - last_.in) / seconds,
                                    static_cast<double>(totals.out - last_.out) / seconds};
  }
  last_ = totals;
  last_ms_ = realtime_ms;
}

std::vector<Traffic::Point> Traffic::points() const {
  std::vector<Point> points;
  const std::size_t n = std::min(count_, kPoints);
  points.reserve(n);
  for (std::size_t i = count_ - n; i < count_; ++i) {
    points.push_back(ring_.at(i % kPoints));
  }
  return points;
}

}  // namespace lineq::live
