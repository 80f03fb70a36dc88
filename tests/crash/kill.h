// What the tests share that kill a writer at random instants.
#pragma once

#include <csignal>
#include <functional>
#include <random>

#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/support/assert.h"
#include "tests/shm/segment.h"

namespace lineq::shm {

// Starts `work` in a process of its own and kills it at a random instant, once it works.
inline void work_and_kill(const TempInstance& instance, std::mt19937_64& random,
                          const std::function<void(Writer&)>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = Writer::attach(instance.options());
    if (writer) {
      work(**writer);
    }
    ::_exit(1);
  }
  const u64 deadline = monotonic_ms() + 10'000;
  Source source = instance.source();
  source.patience_ms = 10'000;
  auto reader = Reader::open(source);
  ASSERT_TRUE(reader.ok());
  const u64 tail = reader->feed_end().position;
  while (reader->feed_end().position == tail && monotonic_ms() < deadline) {
    ::sched_yield();
  }
  const timespec pause{0, static_cast<long>(random() % 8'000'000)};
  ::nanosleep(&pause, nullptr);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
}

// Shared with the process that is killed.
template <typename T>
class Shared {
 public:
  Shared()
      : at_(static_cast<T*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    LINEQ_ASSERT(static_cast<void*>(at_) != MAP_FAILED);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(at_, sizeof(T)); }
  T& operator*() const { return *at_; }
  T* operator->() const { return at_; }

 private:
  T* at_;
};

}  // namespace lineq::shm
