#include "webui/live/rates.h"

#include <algorithm>

namespace lineq::live {

void Rates::begin(u64 now_ms) {
  now_ms_ = now_ms;
  ++round_;
}

void Rates::add(u64 key, u64 identity, const Values& values) {
  Series& s = series_[key];
  const auto fell = [&] {
    const Sample& last = s.ring[(s.next + s.ring.size() - 1) % s.ring.size()];
    for (std::size_t i = 0; i < kValues; ++i) {
      if (values[i] < last.values[i]) {
        return true;
      }
    }
    return false;
  };
  if (s.samples > 0 && (s.identity != identity || fell())) {
    s.samples = 0;
  }
  s.identity = identity;
  s.round = round_;
  s.ring[s.next] = {now_ms_, values};
  s.next = (s.next + 1) % s.ring.size();
  s.samples = std::min(s.samples + 1, s.ring.size());
}

void Rates::end() {
  std::erase_if(series_, [&](const auto& entry) { return entry.second.round != round_; });
}

std::optional<double> Rates::per_second(u64 key, std::size_t value) const {
  const auto found = series_.find(key);
  if (found == series_.end() || found->second.samples < 2) {
    return std::nullopt;
  }
  const Series& s = found->second;
  const std::size_t size = s.ring.size();
  const Sample& newest = s.ring[(s.next + size - 1) % size];
  const Sample& oldest = s.ring[(s.next + size - s.samples) % size];
  if (newest.at_ms <= oldest.at_ms) {
    return std::nullopt;
  }
  return static_cast<double>(newest.values[value] - oldest.values[value]) * 1000.0 /
         static_cast<double>(newest.at_ms - oldest.at_ms);
}

}  // namespace lineq::live
