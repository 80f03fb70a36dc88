#include "daemon/net/loop.h"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shm/support/assert.h"

namespace lineq::net {
namespace {

Loop& self(void* data) {
  return *static_cast<Loop*>(data);
}

}  // namespace

Loop::Loop(std::function<SegmentMs()> clock) : clock_(std::move(clock)) {
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
    now_ = clock_();
    now_known_ = true;
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

// --- SystemdNotify ---

SystemdNotify::SystemdNotify() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || (*path != '/' && *path != '@') ||
      std::strlen(path) >= sizeof address.sun_path) {
    return;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (*path == '@') {
    address.sun_path[0] = '\0';
  }
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  if (fd_ >= 0 && ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    ::close(fd_);
    fd_ = -1;
  }
  if (const char* usec = std::getenv("WATCHDOG_USEC"); fd_ >= 0 && usec != nullptr) {
    watchdog_ms_ = std::strtoull(usec, nullptr, 10) / 1000;
  }
}

SystemdNotify::~SystemdNotify() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void SystemdNotify::send(std::string_view state) const {
  if (fd_ >= 0) {
    // Nothing to be done about a systemd that does not listen.
    (void)!::send(fd_, state.data(), state.size(), MSG_NOSIGNAL);
  }
}

void SystemdNotify::alive(SegmentMs now) {
  if (watchdog_ms_ != 0 && now - last_ >= watchdog_ms_ / 3) {
    last_ = now;
    send("WATCHDOG=1");
  }
}

}  // namespace lineq::net
