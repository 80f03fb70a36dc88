// LINEQ_ASSERT: for what cannot happen (a broken invariant, misuse by our own code). Always on:
// a crash is recoverable here by design, wrong data is not. Never for bytes from outside.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace lineq {

[[noreturn]] inline void assertion_failed(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "<2>%s:%d: assertion failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace lineq

#define LINEQ_ASSERT(condition)                                  \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      ::lineq::assertion_failed(__FILE__, __LINE__, #condition); \
  } while (false)
