// The daemon's event loop: libuv and one reading of the clock a turn. One thread.
//
// A turn: timers, then what the network brought, then the turn's end: on_turn() works off what came
// of it and writes. As long as on_turn() says there is more to do, the next turn does not wait.
#pragma once

#include <uv.h>

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shm/liveness.h"
#include "shm/support/clock.h"
#include "shm/support/result.h"

namespace lineq::net {

class Loop {
 public:
  explicit Loop(std::function<SegmentMs()> clock);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  uv_loop_t* uv() { return &loop_; }
  // The same all through a turn.
  SegmentMs now();
  // For whoever reads next: libuv reads right after it asked for the buffer.
  std::span<char> read_buffer() { return read_buffer_; }

  // True = there is more to do at once.
  std::function<bool()> on_turn;
  std::function<void()> on_tick;  // every kTickMs
  static constexpr u64 kTickMs = 100;
  // No turn for so many milliseconds, and at least kLateMs, although a tick was due: the process
  // stood still. Called before anything else of the turn that notices it.
  std::function<void(u64)> on_late;
  static constexpr u64 kLateMs = shm::kStallMs;  // what readers call stalled

  // The next turn does not wait for longer than this. Call from on_turn.
  void wake_in(u64 ms);

  void on_signal(int number, std::function<void()> handle);

  void run();   // until stop()
  void stop();  // closes the loop's own handles; run() returns when those of others are closed too

 private:
  struct Signal {
    uv_signal_t handle{};
    std::function<void()> handler;
  };

  template <typename Handle>
  void close(Handle& handle);

  std::function<SegmentMs()> clock_;
  SegmentMs now_;
  bool now_known_ = false;
  bool stopping_ = false;
  uv_loop_t loop_{};
  uv_prepare_t prepare_{};
  uv_check_t check_{};
  uv_idle_t idle_{};
  uv_timer_t timer_{};
  uv_timer_t wake_{};
  std::vector<std::unique_ptr<Signal>> signals_;
  std::array<char, std::size_t{64} << 10> read_buffer_{};
};

// As many descriptors as the system lets this process have; returns how many that is.
u64 raise_descriptor_limit();

}  // namespace lineq::net
