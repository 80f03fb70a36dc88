#include "daemon/net/loop.h"

#include <algorithm>
#include <utility>

#include <sys/resource.h>

#include "shm/support/assert.h"

namespace lineq::net {
namespace {

Loop& self(void* data) {
  return *static_cast<Loop*>(data);
}

}  // namespace

Loop::Loop(std::function<SegmentMs()> clock) : clock_(std::move(clock)), now_(clock_()) {
  LINEQ_ASSERT(uv_loop_init(&loop_) == 0);
  uv_prepare_init(&loop_, &prepare_);
  uv_check_init(&loop_, &check_);
  uv_idle_init(&loop_, &idle_);
  uv_timer_init(&loop_, &timer_);
  uv_timer_init(&loop_, &wake_);
  prepare_.data = check_.data = timer_.data = this;
  // The loop is about to wait: what the clock said is old then.
  uv_prepare_start(&prepare_, [](uv_prepare_t* h) { self(h->data).now_known_ = false; });
  uv_check_start(&check_, [](uv_check_t* h) {
    Loop& loop = self(h->data);
    if (loop.stopping_ || !loop.on_turn) {
      return;
    }
    // A running idle handle is how libuv is told not to wait.
    if (loop.on_turn()) {
      uv_idle_start(&loop.idle_, [](uv_idle_t*) {});
    } else {
      uv_idle_stop(&loop.idle_);
    }
  });
  uv_timer_start(
      &timer_,
      [](uv_timer_t* h) {
        if (Loop& loop = self(h->data); loop.on_tick) {
          loop.on_tick();
        }
      },
      kTickMs, kTickMs);
}

Loop::~Loop() {
  stop();
  uv_run(&loop_, UV_RUN_DEFAULT);
  LINEQ_ASSERT(uv_loop_close(&loop_) == 0);
}

SegmentMs Loop::now() {
  if (!now_known_) {
    const SegmentMs before = std::exchange(now_, clock_());
    now_known_ = true;
    if (now_ >= before + kLateMs && on_late) {
      on_late(now_ - before);
    }
  }
  return now_;
}

void Loop::wake_in(u64 ms) {
  if (stopping_) {
    return;
  }
  // That it fires is enough: a turn follows.
  uv_update_time(&loop_);
  uv_timer_start(
      &wake_, [](uv_timer_t*) {}, ms, 0);
}

void Loop::on_signal(int number, std::function<void()> handler) {
  signals_.push_back(std::make_unique<Signal>());
  Signal& signal = *signals_.back();
  signal.handler = std::move(handler);
  uv_signal_init(&loop_, &signal.handle);
  signal.handle.data = &signal;
  uv_signal_start(
      &signal.handle, [](uv_signal_t* h, int) { static_cast<Signal*>(h->data)->handler(); },
      number);
}

void Loop::run() {
  uv_run(&loop_, UV_RUN_DEFAULT);
}

template <typename Handle>
void Loop::close(Handle& handle) {
  uv_close(reinterpret_cast<uv_handle_t*>(&handle), nullptr);
}

void Loop::stop() {
  if (stopping_) {
    return;
  }
  stopping_ = true;
  close(prepare_);
  close(check_);
  close(idle_);
  close(timer_);
  close(wake_);
  for (const auto& signal : signals_) {
    close(signal->handle);
  }
}

u64 raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return 1024;
  }
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 1U << 20);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

}  // namespace lineq::net
