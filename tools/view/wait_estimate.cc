#include "tools/view/wait_estimate.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lineq::view {
namespace {

constexpr double kRateMinutes = 3;   // time constant of the rate
constexpr u64 kNothingMs = 120'000;  // nobody was called for so long: the rate says nothing

double polynomial(std::initializer_list<double> coefficients, double x) {
  double sum = 0;
  for (const double c : coefficients) {
    sum = sum * x + c;
  }
  return sum;
}

// Inverse of the normal distribution: Acklam's rational approximation, relative error below 2e-9.
double normal_quantile(double q) {
  constexpr double kTail = 0.02425;
  if (q > 1 - kTail) {
    return -normal_quantile(1 - q);
  }
  if (q < kTail) {
    const double t = std::sqrt(-2 * std::log(q));
    return polynomial({-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                       -2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00},
                      t) /
           polynomial({7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                       3.754408661907416e+00, 1},
                      t);
  }
  const double d = q - 0.5;
  const double s = d * d;
  return d *
         polynomial({-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
                     1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239e+00},
                    s) /
         polynomial({-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                     6.680131188771972e+01, -1.328068155288572e+01, 1},
                    s);
}

double seconds(double minutes) {
  return std::isfinite(minutes) ? std::clamp(minutes * 60, 0.0, kLongestWait) : kLongestWait;
}

}  // namespace

double wait_quantile(const WaitQuestion& question, double q) {
  const double r = question.admit_per_minute;
  if (!question.random) {
    // Chance in how many are called, and in the rate itself, which is the mean of the admissions of
    // a few minutes. Without the second part the range held for half of a simulated day's visitors:
    // too narrow for those far behind. 3 instead of the 2 of independent events, as sessions end
    // more regularly than that.
    const double p = question.position;
    const double spread = std::sqrt(p + p * p / (3 * kRateMinutes * r));
    return seconds((p + normal_quantile(q) * spread) / r);
  }
  const double waiting = question.waiting;
  const double growth = question.arrive_per_minute - r;
  if (question.arrive_per_minute <= 0) {
    return seconds(q * waiting / r);
  }
  const double log_left = std::log1p(-q);
  // Beside growth 0 the formula below is a difference of nearly equal numbers.
  if (std::abs(growth) < 1e-9 * r) {
    return seconds(-waiting / r * log_left);
  }
  return seconds(waiting / growth * std::expm1(-growth / r * log_left));
}

WaitRange wait_range(const WaitQuestion& question) {
  const double expected = question.random ? wait_quantile(question, 0.5)
                                          : seconds(question.position / question.admit_per_minute);
  return {wait_quantile(question, 0.1), expected, wait_quantile(question, 0.9)};
}

std::optional<WaitQuestion> wait_question(const shm::RoomSettings& room,
                                          const shm::RoomNumbers& numbers, u64 position,
                                          SegmentMs now) {
  const bool silent = numbers.last_admitted_ms != 0 && now > numbers.last_admitted_ms &&
                      now - numbers.last_admitted_ms > kNothingMs;
  if (room.queue_all || room.paused || room.method == shm::QueueingMethod::kReject ||
      numbers.admit_rate_milli == 0 || silent) {
    return std::nullopt;
  }
  return WaitQuestion{
      .random = room.method == shm::QueueingMethod::kRandom,
      .position = static_cast<double>(std::max<u64>(position, 1)),
      .waiting = static_cast<double>(std::max<u64>(numbers.waiting + numbers.front, 1)),
      .admit_per_minute = static_cast<double>(numbers.admit_rate_milli) / 1000,
      .arrive_per_minute = static_cast<double>(numbers.arrive_rate_milli) / 1000};
}

std::optional<WaitRange> wait_estimate(const shm::RoomSettings& room,
                                       const shm::RoomNumbers& numbers, u64 position,
                                       SegmentMs now) {
  const auto question = wait_question(room, numbers, position, now);
  if (!question) {
    return std::nullopt;
  }
  return wait_range(*question);
}

}  // namespace lineq::view
