// Loaded into a program under test by LD_PRELOAD: its clocks are off by what the file named by
// LINEQ_TEST_CLOCKS says, three i64 of milliseconds: CLOCK_REALTIME, CLOCK_MONOTONIC, and
// CLOCK_BOOTTIME beside the latter. They jump when the file changes.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

#include <sys/mman.h>
#include <sys/time.h>

namespace {

enum Shift { kRealtime, kMonotonic, kBoottime, kShifts };

const volatile std::int64_t* shifts() {
  static const volatile std::int64_t* const kMapped = [] {
    static const std::int64_t kNone[kShifts] = {};
    const char* const path = std::getenv("LINEQ_TEST_CLOCKS");
    const int fd = path == nullptr ? -1 : ::open(path, O_RDONLY | O_CLOEXEC);
    void* const at =
        fd < 0 ? MAP_FAILED : ::mmap(nullptr, sizeof kNone, PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0) {
      ::close(fd);
    }
    return at == MAP_FAILED ? kNone : static_cast<const volatile std::int64_t*>(at);
  }();
  return kMapped;
}

std::int64_t shift_of(clockid_t clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
      return shifts()[kRealtime];
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
      return shifts()[kMonotonic];
    case CLOCK_BOOTTIME:
      return shifts()[kMonotonic] + shifts()[kBoottime];
    default:
      return 0;
  }
}

void add(timespec& time, std::int64_t ms) {
  constexpr long kNsAMs = 1'000'000;
  constexpr long kNsASecond = 1'000'000'000;
  time.tv_sec += ms / 1000;
  time.tv_nsec += ms % 1000 * kNsAMs;
  if (time.tv_nsec >= kNsASecond) {
    time.tv_nsec -= kNsASecond;
    ++time.tv_sec;
  } else if (time.tv_nsec < 0) {
    time.tv_nsec += kNsASecond;
    --time.tv_sec;
  }
}

template <typename F>
F* next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static auto* const kReal = next<int(clockid_t, timespec*)>("clock_gettime");
  const int rc = kReal(clock, time);
  if (rc == 0) {
    add(*time, shift_of(clock));
  }
  return rc;
}

int gettimeofday(timeval* time, void* /*zone*/) noexcept {
  timespec now{};
  const int rc = clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return rc;
}

std::time_t time(std::time_t* to) noexcept {
  timespec now{};
  (void)clock_gettime(CLOCK_REALTIME, &now);
  if (to != nullptr) {
    *to = now.tv_sec;
  }
  return now.tv_sec;
}

// The kernel's clocks are the true ones.
int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* until) {
  static auto* const kReal =
      next<int(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>(
          "pthread_cond_clockwait");
  timespec real = *until;
  add(real, -shift_of(clock));
  return kReal(condition, mutex, clock, &real);
}
}
