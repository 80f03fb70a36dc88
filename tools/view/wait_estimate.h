// How long a visitor will wait, from what a room counts (waiting-room 4). Pure: no clock, no
// segment. The pages show it, the daemon keeps count of how often it was right.
#pragma once

#include <optional>

#include "shm/room.h"
#include "shm/support/clock.h"

namespace lineq::view {

struct WaitQuestion {
  bool random = false;           // next is anybody who waits; otherwise who came first
  double position = 1;           // 1 = next; of no meaning when random
  double waiting = 1;            // all who wait, this one included
  double admit_per_minute = 0;   // r, > 0
  double arrive_per_minute = 0;  // lambda
};

// Seconds within which the share `q` (0 < q < 1) of such visitors is called. At most kLongestWait.
double wait_quantile(const WaitQuestion& question, double q);
inline constexpr double kLongestWait = 30.0 * 24 * 3600;

struct WaitRange {
  double low_s = 0;       // one in ten waits less
  double expected_s = 0;  // FIFO: position / rate; random: half of them wait less
  double high_s = 0;      // one in ten waits longer
};
WaitRange wait_range(const WaitQuestion& question);

// Nothing: nobody can know. `position` as in WaitQuestion; `now` is that of `numbers`.
std::optional<WaitQuestion> wait_question(const shm::RoomSettings& room,
                                          const shm::RoomNumbers& numbers, u64 position,
                                          SegmentMs now);
std::optional<WaitRange> wait_estimate(const shm::RoomSettings& room,
                                       const shm::RoomNumbers& numbers, u64 position,
                                       SegmentMs now);

}  // namespace lineq::view
