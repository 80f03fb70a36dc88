// Updates a second, in and out, over the last hour: what the status page draws. A point every ten
// seconds, kPoints of them. One thread; no socket.
#pragma once

#include <array>
#include <vector>

#include "shm/support/ints.h"

namespace lineq::live {

class Traffic {
 public:
  static constexpr u64 kStepMs = 10'000;
  static constexpr std::size_t kPoints = 360;

  struct Totals {
    u64 in = 0;
    u64 out = 0;
  };
  struct Point {
    u64 realtime_ms = 0;
    double in_per_s = 0;
    double out_per_s = 0;
  };

  // Once a second or so, with what was counted so far: takes a point when a step is over. Totals
  // that fell, or a clock that was set back, begin anew.
  void sample(const Totals& totals, u64 realtime_ms);
  std::vector<Point> points() const;  // oldest first

 private:
  Totals last_;
  u64 last_ms_ = 0;
  std::size_t count_ = 0;
  std::array<Point, kPoints> ring_;
};

}  // namespace lineq::live
