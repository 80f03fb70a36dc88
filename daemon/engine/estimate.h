// How fast things happen: exponentially weighted rates (waiting-room 4). No clock.
#pragma once

#include "shm/support/clock.h"
#include "shm/support/ints.h"

namespace lineq::engine {

// Events per minute, weighted by exp(-age / 3 min). In the first minutes it is the mean since the
// beginning.
class EventRate {
 public:
  static constexpr double kTimeConstantMs = 180'000;

  void event(SegmentMs now);
  // As if events had come at this rate for long.
  void restore(double per_minute, SegmentMs now);
  double per_minute(SegmentMs now) const;
  u64 events() const { return events_; }

 private:
  double decayed(SegmentMs now) const;
  double weight_ms(SegmentMs now) const;

  double sum_ = 0;  // weights of all events, at last_ms_
  SegmentMs last_ms_ = 0;
  SegmentMs first_ms_ = 0;
  u64 events_ = 0;
};

// Admissions per minute to reckon with: counted, or while fewer than 20 were, what the room's rules
// promise: min(N, C / mean session). `mean_session_ms` as far as it is known, otherwise S.
double admission_rate(const EventRate& admissions, SegmentMs now, u32 capacity, u32 per_minute,
                      double mean_session_ms);

}  // namespace lineq::engine
