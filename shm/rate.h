// HAProxy's frequency counters: the value now (peers-protocol 5.3).
#pragma once

#include <span>

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

// One HAProxy's rate and the period it counts in.
struct RatePart {
  Rate rate;
  u32 period_ms = 0;
};

// The rates of several HAProxys as one, so that HAProxy reads from it what it would read from each
// of them, added up: now, and as it fades from now on until the first of their windows ends. Counts
// are added and the window begins at the mean of theirs, weighted by what still fades (ages are
// never added). Windows that begin together give an exact sum for ever. Otherwise, from the end of
// the first window on and until the next sum, what can be wrong is the counts of windows that have
// ended before, or end after, the common one. Rounding: at most half a millisecond of fading, and
// one event a part.
Rate add_rates(std::span<const RatePart> parts, u32 period_ms, Tick now);

}  // namespace lineq::shm
