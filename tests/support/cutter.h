// A stretch of wire: takes TCP connections, passes their bytes on to another port, and cuts or
// stops them when the test says so.
#pragma once

#include <atomic>
#include <optional>
#include <string_view>
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
  u64 cuts() const { return cuts_; }  // streams cut so far

 private:
  struct Stream {
    Fd ends[2];
    bool over = false;
  };
  void serve();
  void pass(Stream& stream, std::size_t from);

  static constexpr i64 kNever = -1;

  u16 to_;
  u16 port_;
  Fd listener_;
  std::vector<Stream> streams_;
  std::atomic<i64> left_{kNever};
  std::atomic<bool> paused_{false};
  std::atomic<u64> cuts_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace lineq::test
