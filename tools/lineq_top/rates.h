// Counters -> events per second between the last two looks.
//
//   rates.begin(now_ms);
//   cell = rates.of(key, identity, counter);   // for each thing that counts
#pragma once

#include <optional>
#include <unordered_map>
#include <utility>

#include "shm/support/ints.h"

namespace lineq::top {

class Rates {
 public:
  // A new look; what the one before did not ask for is forgotten.
  void begin(u64 now_ms);
  // Unknown at the first look, when another `identity` came under a known key (a place in a
  // directory was used again), and after a counter fell.
  std::optional<double> of(u64 key, u64 identity, u64 counter);

 private:
  struct Seen {
    u64 identity = 0;
    u64 counter = 0;
  };
  u64 now_ms_ = 0;
  u64 before_ms_ = 0;
  std::unordered_map<u64, Seen> now_;
  std::unordered_map<u64, Seen> before_;
};

}  // namespace lineq::top
