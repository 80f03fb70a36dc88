// Counters -> events per second over the last few seconds.
//
//   rates.begin(now_ms);
//   rates.add(key, identity, {updates_in, updates_out});   // for each thing that counts
//   rates.end();                                           // forgets what was not added
//   rates.per_second(key, 0);
#pragma once

#include <array>
#include <optional>
#include <unordered_map>

#include "shm/support/ints.h"

namespace lineq::live {

class Rates {
 public:
  static constexpr std::size_t kValues = 2;
  // Differences are taken over up to this many rounds: calm, and still prompt.
  static constexpr std::size_t kRounds = 5;
  using Values = std::array<u64, kValues>;

  void begin(u64 now_ms);
  // Another `identity` under a known key starts anew (a slot of a directory was reused).
  void add(u64 key, u64 identity, const Values& values);
  void end();

  // Unknown after one round only, and after a counter fell.
  std::optional<double> per_second(u64 key, std::size_t value) const;

 private:
  struct Sample {
    u64 at_ms = 0;
    Values values{};
  };
  struct Series {
    u64 identity = 0;
    u64 round = 0;
    std::size_t samples = 0;  // valid ones; the newest is at (next - 1) % size
    std::size_t next = 0;
    std::array<Sample, kRounds + 1> ring{};
  };

  u64 now_ms_ = 0;
  u64 round_ = 0;
  std::unordered_map<u64, Series> series_;
};

}  // namespace lineq::live
