// Datagrams to systemd (sd_notify(3)): ready, alive, reloading, stopping. Without systemd
// (NOTIFY_SOCKET) all of it does nothing.
#pragma once

#include <string_view>

#include "shm/support/ints.h"

namespace lineq::cli {

class SystemdNotify {
 public:
  SystemdNotify();
  ~SystemdNotify();
  SystemdNotify(const SystemdNotify&) = delete;
  SystemdNotify& operator=(const SystemdNotify&) = delete;

  // `status` is what `systemctl status` shows, one line.
  void ready(std::string_view status) const;
  void reloading() const;  // ready() must follow
  void stopping() const;
  // Starting or stopping goes on, and takes up to a minute more from now. As often as you like.
  void still(std::string_view status, u64 now_ms);
  // Feeds the watchdog, if there is one and this is the process it wants to hear of: often enough
  // if called often enough. Any clock in milliseconds.
  void alive(u64 now_ms);

 private:
  void send(std::string_view state) const;

  int fd_ = -1;
  u64 every_ms_ = 0;  // 0 = no watchdog
  u64 last_ms_ = 0;
  u64 still_ms_ = 0;
  bool fed_ = false;
};

}  // namespace lineq::cli
