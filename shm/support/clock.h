// Time inside LineQ: milliseconds.
//
// SegmentMs  u64, milliseconds of CLOCK_MONOTONIC since the segment was created. What the engine
// gets as `now`. Tick       u32, the low half of SegmentMs as slots store it. Wraps after 49.7
// days, compared by signed
//            difference, so two ticks may lie at most 24.8 days apart.
#pragma once

#include <ctime>

#include "shm/support/ints.h"

namespace lineq {

using SegmentMs = u64;
using Tick = u32;

inline u64 monotonic_ms() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<u64>(ts.tv_sec) * 1000 + static_cast<u64>(ts.tv_nsec) / 1000000;
}

inline u64 realtime_ms() {
  timespec ts{};
  ::clock_gettime(CLOCK_REALTIME, &ts);
  return static_cast<u64>(ts.tv_sec) * 1000 + static_cast<u64>(ts.tv_nsec) / 1000000;
}

constexpr Tick tick_of(SegmentMs ms) {
  return static_cast<Tick>(ms);
}
// a - b, for ticks at most 24.8 days apart.
constexpr i32 tick_diff(Tick a, Tick b) {
  return static_cast<i32>(a - b);
}
constexpr bool tick_passed(Tick deadline, Tick now) {
  return tick_diff(now, deadline) >= 0;
}

}  // namespace lineq
