#include "tools/sockets/acceptor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace lineq::sockets {
namespace {

constexpr int kAtOnce = 64;  // then others have their turn

void close_fd(int& fd) {
  if (fd >= 0) {
    ::close(std::exchange(fd, -1));
  }
}

template <typename Handle>
void close_handle(Handle*& handle) {
  if (handle != nullptr) {
    uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(handle, nullptr)),
             [](uv_handle_t* h) { delete reinterpret_cast<Handle*>(h); });
  }
}

bool lacks_memory(int error) {
  return error == ENOBUFS || error == ENOMEM;
}

}  // namespace

std::string shortage(int error) {
  if (error == ENFILE) {
    return "the system has no file descriptor left (sysctl fs.file-max)";
  }
  if (error != EMFILE) {
    return lacks_memory(error) ? "the system has no memory for another socket" : "";
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return fmt::format(
      "no file descriptor is left, the limit is {} (LimitNOFILE of the service, ulimit -n)",
      limit.rlim_cur);
}

Acceptor::Acceptor(uv_loop_t& loop, int fd, Take take, Short run_short)
    : loop_(loop), fd_(fd), take_(std::move(take)), short_(std::move(run_short)) {
  keep_spare();
}

int Acceptor::start() {
  poll_ = new uv_poll_t{};
  if (const int code = uv_poll_init(&loop_, poll_, fd_); code != 0) {
    delete std::exchange(poll_, nullptr);
    return code;
  }
  retry_ = new uv_timer_t{};
  uv_timer_init(&loop_, retry_);
  poll_->data = retry_->data = this;
  poll();
  return 0;
}

void Acceptor::poll() {
  uv_poll_start(poll_, UV_READABLE,
                [](uv_poll_t* h, int, int) { static_cast<Acceptor*>(h->data)->accept_some(); });
}

void Acceptor::keep_spare() {
  if (spare_ < 0) {
    spare_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
}

void Acceptor::accept_some() {
  for (int i = 0; i < kAtOnce && poll_ != nullptr; ++i) {
    int fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      take_(fd);
      continue;
    }
    const int error = errno;
    if (error == EAGAIN) {
      return;
    }
    if (shortage(error).empty()) {
      continue;  // this one is gone again
    }
    if (lacks_memory(error) || spare_ < 0) {
      return pause(error);
    }
    close_fd(spare_);
    fd = ::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      // The system looks for a descriptor first: there may be nobody who wants it.
      const bool nobody = errno == EAGAIN;
      keep_spare();
      return nobody ? void() : pause(error);
    }
    short_(fd, shortage(error));
    if (poll_ != nullptr) {
      keep_spare();
    }
  }
}

// The queue is ready all the time: the loop would spin on it.
void Acceptor::pause(int error) {
  uv_poll_stop(poll_);
  uv_timer_start(
      retry_,
      [](uv_timer_t* h) {
        auto& self = *static_cast<Acceptor*>(h->data);
        self.keep_spare();
        self.poll();
      },
      kRetryMs, 0);
  short_(-1, shortage(error));
}

void Acceptor::close() {
  close_handle(poll_);
  close_handle(retry_);
  close_fd(spare_);
  close_fd(fd_);
}

}  // namespace lineq::sockets
