// How fast a room may let people in: `new_users_per_minute` (waiting-room 3). No clock.
//
// Two rules, both have to agree:
//   hard    in any 60 s at most N. Counted in pieces of 100 ms; the piece that is half out still
//           counts, so that it errs by less than 0.2 % to the safe side.
//   smooth  one every 60/N s on average, at most max(1, N/10) at once (GCRA)
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "shm/support/clock.h"
#include "shm/support/ints.h"

namespace lineq::engine {

class Pacing {
 public:
  // 0 = no limit. What was admitted before still counts.
  void set_limit(u32 per_minute) { limit_ = per_minute; }

  bool allows(SegmentMs now);
  // When it allows the next one, if nothing happens; nothing: now.
  std::optional<SegmentMs> next(SegmentMs now);
  void admitted(SegmentMs now);

  // Theoretical arrival time of the next one, in microseconds of the segment: what has to be
  // remembered beyond a kill.
  u64 tat_us() const { return tat_us_; }
  void restore(u64 tat_us) { tat_us_ = tat_us; }
  // Somebody was admitted at `then`, as found after a kill. In any order.
  void remember(SegmentMs then, SegmentMs now);

 private:
  static constexpr u64 kPieceMs = 100;
  static constexpr u64 kPieces = 601;  // 60 s and the piece under way

  void advance(SegmentMs now);
  u64 burst() const { return limit_ / 10 > 1 ? limit_ / 10 : 1; }

  u32 limit_ = 0;
  u64 tat_us_ = 0;
  u64 piece_ = 0;                                     // number of the newest piece
  u64 window_ = 0;                                    // sum of pieces_
  std::unique_ptr<std::array<u32, kPieces>> pieces_;  // made with the first one admitted
};

}  // namespace lineq::engine
