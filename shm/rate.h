// HAProxy's frequency counters: the value now (peers-protocol 5.3).
#pragma once

#include "shm/support/clock.h"

namespace lineq::shm {

// A rate as stored in a slot: `start` is the tick at which the current period began.
struct Rate {
  Tick start = 0;
  u32 curr = 0;
  u32 prev = 0;
};

// Events per period as HAProxy's own reading gives it, `elapsed` ms after the start of the period.
constexpr u64 rate_value(u64 elapsed, u32 curr, u32 prev, u32 period_ms) {
  if (period_ms == 0 || elapsed > 2 * u64{period_ms}) {
    return 0;
  }
  const u64 p = period_ms;
  u64 newer = curr;
  u64 older = prev;
  if (elapsed > p) {
    older = curr;
    newer = 0;
    elapsed -= p;
  }
  // HAProxy's reading: nothing new and at most one old event is shown as it is, undiminished.
  if (newer == 0 && older <= 1) {
    return older;
  }
  return newer + older * (p - elapsed) / p;
}

constexpr u64 rate_value(const Rate& rate, u32 period_ms, Tick now) {
  const i32 elapsed = tick_diff(now, rate.start);
  return rate_value(elapsed < 0 ? 0 : static_cast<u64>(elapsed), rate.curr, rate.prev, period_ms);
}

}  // namespace lineq::shm
