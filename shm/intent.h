// Crash points: in the build made for crash tests (-Dcrash_points=true) the process ends at the
// k-th one, as if killed there. They stand between all stores whose order matters for recovery.
#pragma once

#include "shm/words.h"

#ifdef LINEQ_CRASH_POINTS
#include <unistd.h>
#endif

namespace lineq::shm {

// Intent::line_op: what a change does besides its parts.
enum class LineOp : u32 {
  kNone,
  kJoin,   // `ticket` joins the line of `room`
  kLeave,  // ... leaves it
  kRules,  // the image is what stands under the sequence of `room`; there are no parts
};

#ifdef LINEQ_CRASH_POINTS
inline u64 crash_countdown = 0;  // 0 = never
inline u64 crash_points_passed = 0;
inline constexpr int kCrashExit = 77;
inline void crash_point() {
  crash_order();
  ++crash_points_passed;
  if (crash_countdown != 0 && --crash_countdown == 0) {
    ::_exit(kCrashExit);
  }
}
inline void store_point() {
  crash_point();
}
#else
inline void crash_point() {
  crash_order();
}
// Between stores whose mutual order does not matter: holds nothing back in the product.
inline void store_point() {}
#endif

}  // namespace lineq::shm
