// Mode acc: what a counter has counted since it was heard of last. Adding these up gives totals
// that never count anything twice.
#pragma once

#include "shm/support/ints.h"

namespace lineq::engine {

// A counter of HAProxy went from `last` to `now`. It only ever grows, except that
//   - it begins at 0 again with a new process or a new entry: then all of `now` is new;
//   - one of 32 bits wraps: then it fell by more than half its range. `may_wrap`: it is the same
//     entry of the same process, so that it cannot have begun anew.
constexpr u64 counted_since(u64 last, u64 now, bool may_wrap) {
  if (now >= last) {
    return now - last;
  }
  constexpr u64 kHalf = u64{1} << 31;
  return may_wrap && last - now > kHalf ? now + 2 * kHalf - last : now;
}

}  // namespace lineq::engine
