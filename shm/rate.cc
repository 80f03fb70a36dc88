#include "shm/rate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace lineq::shm {
namespace {

// A rate whose window has `now` in it.
struct Aged {
  u64 elapsed;
  u64 curr;
  u64 prev;
  u64 period;
};

std::optional<Aged> aged(const RatePart& part, Tick now) {
  const i32 since = tick_diff(now, part.rate.start);
  Aged a{since < 0 ? 0 : static_cast<u64>(since), part.rate.curr, part.rate.prev, part.period_ms};
  if (a.period == 0 || a.elapsed >= 2 * a.period) {
    return std::nullopt;
  }
  if (a.elapsed >= a.period) {
    a.elapsed -= a.period;
    a.prev = a.curr;
    a.curr = 0;
  }
  if (a.curr == 0 && a.prev == 0) {
    return std::nullopt;
  }
  return a;
}

// `count` spread over `whole`: how many fall into `some` of it.
u64 share(u64 count, u64 some, u64 whole) {
  return whole == 0 || some >= whole ? count : (count * some + whole / 2) / whole;
}

// As if it had been counted in periods of `period_ms`: its events of the last one of these, evenly
// spread.
Aged in_period(const Aged& a, u64 period_ms) {
  if (a.period == period_ms) {
    return a;
  }
  u64 events = share(a.curr, period_ms, a.elapsed);
  if (a.elapsed < period_ms) {
    events += share(a.prev, period_ms - a.elapsed, a.period);
  }
  return {0, 0, events, period_ms};
}

u32 saturated(u64 count) {
  return static_cast<u32>(std::min<u64>(count, std::numeric_limits<u32>::max()));
}

}  // namespace

Rate add_rates(std::span<const RatePart> parts, u32 period_ms, Tick now) {
  u64 curr = 0;
  u64 prev = 0;
  // Sums of count times age, of up to 2^16 parts with 32 bits each.
  double fading = 0;
  double counted = 0;
  for (const RatePart& part : parts) {
    const auto aged_part = aged(part, now);
    if (!aged_part) {
      continue;
    }
    const Aged a = in_period(*aged_part, period_ms);
    curr += a.curr;
    prev += a.prev;
    fading += static_cast<double>(a.prev) * static_cast<double>(a.elapsed);
    counted += static_cast<double>(a.curr) * static_cast<double>(a.elapsed);
  }
  // Value now: curr + prev * (p - e) / p. With this e it is the sum of theirs.
  double elapsed = 0;
  if (prev != 0) {
    elapsed = fading / static_cast<double>(prev);
  } else if (curr != 0) {
    elapsed = counted / static_cast<double>(curr);
  }
  return {now - static_cast<Tick>(std::lround(elapsed)), saturated(curr), saturated(prev)};
}

}  // namespace lineq::shm
