// SIGHUP that comes while a program is still starting must neither end it nor be lost: it is held
// back until there is a handler.
#pragma once

#include <csignal>

namespace lineq::cli {

inline void mask_hangup(int how) {
  sigset_t hangup;
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  pthread_sigmask(how, &hangup, nullptr);
}

// First thing in main(), before there are threads, which inherit it.
inline void hold_hangup() {
  mask_hangup(SIG_BLOCK);
}
// On the thread that runs the loop, when the handler is there.
inline void release_hangup() {
  mask_hangup(SIG_UNBLOCK);
}

}  // namespace lineq::cli
