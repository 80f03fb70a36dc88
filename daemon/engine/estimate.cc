#include "daemon/engine/estimate.h"

#include <algorithm>
#include <cmath>

namespace lineq::engine {
namespace {

constexpr u64 kEnough = 20;
constexpr double kLeastMs = 1000;  // of observation: a burst in the first instant is no rate

}  // namespace

double EventRate::decayed(SegmentMs now) const {
  const double age = now > last_ms_ ? static_cast<double>(now - last_ms_) : 0;
  return sum_ * std::exp(-age / kTimeConstantMs);
}

// The weights since the beginning: less than the time constant while there is little history.
double EventRate::weight_ms(SegmentMs now) const {
  const double observed =
      std::max(now > first_ms_ ? static_cast<double>(now - first_ms_) : 0, kLeastMs);
  return kTimeConstantMs * -std::expm1(-observed / kTimeConstantMs);
}

void EventRate::event(SegmentMs now) {
  if (events_ == 0) {
    first_ms_ = now;
  }
  sum_ = decayed(now) + 1;
  last_ms_ = std::max(last_ms_, now);
  ++events_;
}

void EventRate::restore(double per_minute, SegmentMs now) {
  if (per_minute <= 0) {
    return;
  }
  constexpr auto kHistoryMs = static_cast<SegmentMs>(10 * kTimeConstantMs);
  last_ms_ = now;
  first_ms_ = now > kHistoryMs ? now - kHistoryMs : 0;
  sum_ = per_minute / 60'000 * weight_ms(now);
  events_ = kEnough;
}

double EventRate::per_minute(SegmentMs now) const {
  if (events_ == 0) {
    return 0;
  }
  return decayed(now) / weight_ms(now) * 60'000;
}

double admission_rate(const EventRate& admissions, SegmentMs now, u32 capacity, u32 per_minute,
                      double mean_session_ms) {
  if (admissions.events() >= kEnough) {
    return admissions.per_minute(now);
  }
  const double by_places = capacity / (std::max(mean_session_ms, 1.0) / 60'000);
  return per_minute != 0 ? std::min<double>(per_minute, by_places) : by_places;
}

}  // namespace lineq::engine
