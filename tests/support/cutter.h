// A stretch of wire: takes TCP connections, passes their bytes on to another port, and cuts, stops
// or delays them when the test says so.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shm/support/ints.h"
#include "tests/support/net.h"

namespace lineq::test {

class Cutter {
 public:
  explicit Cutter(u16 to);
  Cutter(const Cutter&) = delete;
  Cutter& operator=(const Cutter&) = delete;
  ~Cutter();

  u16 port() const { return port_; }
  // All streams, as soon as `bytes` more have passed, both ways together. 0: at once.
  void cut_after(i64 bytes) { left_ = bytes; }
  // Nothing passes, nothing is closed.
  void pause(bool on) { paused_ = on; }
  // What comes from now on arrives so much later, either way, and up to `jitter` later still; never
  // out of order, as TCP has it.
  void delay(Milliseconds least, Milliseconds jitter) {
    jitter_ms_ = jitter.count();
    delay_ms_ = least.count();
  }
  u64 cuts() const { return cuts_; }  // streams cut so far

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Piece {
    Time due;
    std::string bytes;  // none: the end
  };
  struct Stream {
    Fd ends[2];
    std::deque<Piece> under_way[2];  // by the end it came from
    bool ended[2] = {false, false};
    bool over = false;
  };
  void serve();
  void take(Stream& stream, std::size_t from, Time now);
  void deliver(Stream& stream, std::size_t from, Time now);

  static constexpr i64 kNever = -1;

  u16 to_;
  u16 port_;
  Fd listener_;
  std::vector<Stream> streams_;
  std::atomic<i64> left_{kNever};
  std::atomic<bool> paused_{false};
  std::atomic<i64> delay_ms_{0};
  std::atomic<i64> jitter_ms_{0};
  std::mt19937 random_{1};
  std::atomic<u64> cuts_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace lineq::test
