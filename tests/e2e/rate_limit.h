// packaging/examples/rate-limit.cfg and lineq-acc.cfg themselves, on three HAProxys, under load of
// which everything is known.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/world.h"

namespace lineq::test {

using SteadyTime = std::chrono::steady_clock::time_point;

// Three clients, one for each HAProxy, that send so many requests a second until destroyed.
class Load {
 public:
  struct Request {
    SteadyTime when;  // it was answered
    int status;
  };

  explicit Load(const std::array<u16, 3>& ports);
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  ~Load();

  // 0: none.
  void rate(std::size_t i, double per_second);
  void all(double per_second);
  std::vector<Request> requests(std::size_t i) const;
  u64 refused(std::size_t i) const;  // with 429

 private:
  void run(std::size_t i, u16 port);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::array<double, 3> rates_{};
  std::array<std::vector<Request>, 3> requests_;
  bool stop_ = false;
  std::array<std::thread, 3> threads_;
};

// What HAProxy's formula makes of events at known times.
u64 haproxy_rate(const std::vector<Load::Request>& requests, Milliseconds period, SteadyTime at);

class RateLimit {
 public:
  // The example's ten seconds, or another period with the limit in proportion.
  explicit RateLimit(u32 period_s);

  // "" or what went wrong.
  std::string start();
  std::array<u16, 3> ports() { return {port(0), port(1), port(2)}; }
  // Rate of 127.0.0.1 in `table` as HAProxy `i` shows it.
  u64 shown(std::size_t i, const std::string& table);

  const Milliseconds period;
  const u64 limit;  // in one period
  World world;

 private:
  u16 port(std::size_t i) { return world.at(i).http_port(); }
};

}  // namespace lineq::test
