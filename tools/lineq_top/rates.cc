#include "tools/lineq_top/rates.h"

namespace lineq::top {

void Rates::begin(u64 now_ms) {
  before_ms_ = std::exchange(now_ms_, now_ms);
  before_ = std::exchange(now_, {});
}

std::optional<double> Rates::of(u64 key, u64 identity, u64 counter) {
  constexpr double kMsPerSecond = 1000;
  now_[key] = {identity, counter};
  const auto found = before_.find(key);
  if (found == before_.end() || found->second.identity != identity ||
      found->second.counter > counter || now_ms_ <= before_ms_) {
    return std::nullopt;
  }
  return static_cast<double>(counter - found->second.counter) * kMsPerSecond /
         static_cast<double>(now_ms_ - before_ms_);
}

}  // namespace lineq::top
