// A listening socket of a libuv loop that takes its connections itself: libuv closes newcomers
// without a word when no descriptor is left, and spins for ever once it has lost the one that it
// keeps for that moment.
//
// Here, too, one is kept: with it the next newcomer is still taken, for the owner to serve or to
// turn away. When even that is gone, newcomers wait in the kernel's queue, which is looked at again
// every kRetryMs. One thread.
#pragma once

#include <uv.h>

#include <functional>
#include <string>

#include "shm/support/ints.h"

namespace lineq::sockets {

class Acceptor {
 public:
  static constexpr u64 kRetryMs = 100;
  // A connection, nonblocking and close-on-exec; the owner's from here on.
  using Take = std::function<void(int fd)>;
  // There is no descriptor for more; `why` is for the log. `fd`: a newcomer who has got the last
  // one, the owner's as above. -1: newcomers wait.
  using Short = std::function<void(int fd, const std::string& why)>;

  // `fd` listens already, and is ours from here on.
  Acceptor(uv_loop_t& loop, int fd, Take take, Short run_short);
  ~Acceptor() { close(); }
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // 0, or libuv's error.
  int start();
  // The owner has closed the one who got the last descriptor.
  void keep_spare();
  // Takes no more. The loop has to run for a turn after it; also from within take and run_short.
  void close();

 private:
  void poll();
  void accept_some();
  void pause(int error);

  uv_loop_t& loop_;
  int fd_;
  int spare_ = -1;
  Take take_;
  Short short_;
  uv_poll_t* poll_ = nullptr;  // libuv's until they are closed
  uv_timer_t* retry_ = nullptr;
};

// Why the system gave no descriptor, and where the bound is set; nothing for other errors.
std::string shortage(int error);

}  // namespace lineq::sockets
