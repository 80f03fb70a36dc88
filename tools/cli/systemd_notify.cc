#include "tools/cli/systemd_notify.h"

#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace lineq::cli {
namespace {

u64 number_in(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

// A datagram has one assignment a line: what comes after a line's end would be another.
std::string one_line(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

SystemdNotify::SystemdNotify() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || (*path != '/' && *path != '@') ||
      std::strlen(path) >= sizeof address.sun_path) {
    return;
  }
  address.sun_family = AF_UNIX;
  std::memcpy(&address.sun_path[0], path, std::strlen(path));
  if (*path == '@') {
    address.sun_path[0] = '\0';
  }
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  if (fd_ >= 0 && ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    ::close(fd_);
    fd_ = -1;
  }
  // WATCHDOG_PID: whoever inherited the variables is not watched.
  const u64 watched = number_in("WATCHDOG_PID");
  if (fd_ >= 0 && (watched == 0 || watched == static_cast<u64>(::getpid()))) {
    every_ms_ = number_in("WATCHDOG_USEC") / 1000 / 3;
  }
}

SystemdNotify::~SystemdNotify() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void SystemdNotify::ready(std::string_view status) const {
  send(fmt::format("READY=1\nSTATUS={}", one_line(status)));
}

void SystemdNotify::reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  // The time is what Type=notify-reload of systemd 253 and later compares.
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", static_cast<u64>(now.tv_sec) * 1'000'000 +
                                                         static_cast<u64>(now.tv_nsec) / 1000));
}

void SystemdNotify::stopping() const {
  send("STOPPING=1\nSTATUS=stopping");
}

void SystemdNotify::still(std::string_view status, u64 now_ms) {
  if (now_ms - still_ms_ >= 1000) {
    still_ms_ = now_ms;
    send(fmt::format("EXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1\nSTATUS={}", status));
  }
}

void SystemdNotify::alive(u64 now_ms) {
  if (every_ms_ != 0 && (!fed_ || now_ms - last_ms_ >= every_ms_)) {
    fed_ = true;
    last_ms_ = now_ms;
    send("WATCHDOG=1");
  }
}

void SystemdNotify::send(std::string_view state) const {
  if (fd_ >= 0) {
    // Nothing to be done about a systemd that does not listen.
    (void)!::send(fd_, state.data(), state.size(), MSG_NOSIGNAL);
  }
}

}  // namespace lineq::cli
