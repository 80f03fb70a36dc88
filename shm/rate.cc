#include "shm/rate.h"

#include <algorithm>
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
  return whole == 0 ? 0 : (count * some + whole / 2) / whole;
}

u32 saturated(u64 count) {
  return static_cast<u32>(std::min<u64>(count, std::numeric_limits<u32>::max()));
}

}  // namespace

Rate add_rates(std::span<const RatePart> parts, u32 period_ms, Tick now) {
  u64 elapsed = period_ms;
  for (const RatePart& part : parts) {
    if (const auto a = aged(part, now)) {
      elapsed = std::min(elapsed, a->elapsed);
    }
  }
  u64 curr = 0;
  u64 prev = 0;
  for (const RatePart& part : parts) {
    const auto a = aged(part, now);
    if (!a) {
      continue;
    }
    // The common window begins this much later than its own.
    const u64 later = a->elapsed - elapsed;
    const u64 before = share(a->curr, later, a->elapsed);
    curr += a->curr - before;
    prev += share(a->curr, std::min<u64>(later, period_ms), a->elapsed);
    if (later < period_ms) {
      prev += share(a->prev, std::min<u64>(a->period, period_ms - later), a->period);
    }
  }
  return {now - static_cast<Tick>(elapsed), saturated(curr), saturated(prev)};
}

}  // namespace lineq::shm
