// The thread that creates objects and reserves their memory ahead of need, so that the writer
// thread never waits for the kernel to find pages (0.35 to 1.4 s a GiB, shm-design 8). It touches
// no shared words: it hands over finished ranges.
//
// The writer asks with want(), looks at Job::done() whenever it likes, and may wait() when it ran
// out.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "shm/object.h"

namespace lineq::shm {

class Provisioner {
 public:
  struct Job {
    // Asked for. An empty `object` with a name: create it with `object_bytes`; otherwise reserve
    // more of `extend`.
    std::string name;
    u64 object_bytes = 0;
    const Object* extend = nullptr;
    u64 from = 0;
    u64 bytes = 0;
    // Answered; to be read after done(). After a failed extension `reached` bytes of it are usable
    // all the same.
    Object object;
    u64 reached = 0;
    Status status;

    bool done() const {
      return ready.load(std::memory_order_acquire);
    }  // pairs with the store in the thread
    std::atomic<bool> ready{false};
  };
  using Ticket =
      std::shared_ptr<Job>;  // shared: the thread may still work on what a dying table asked for

  // `limit` bytes for all objects together, 0 = none; `reserved` is what exists already.
  Provisioner(u64 limit, u64 reserved);
  ~Provisioner();
  Provisioner(const Provisioner&) = delete;
  Provisioner& operator=(const Provisioner&) = delete;
  Provisioner(Provisioner&&) = delete;
  Provisioner& operator=(Provisioner&&) = delete;

  Ticket create(std::string name, u64 object_bytes, u64 reserve_bytes);
  Ticket extend(const Object& object, u64 from, u64 bytes);
  // Unmaps on the helper thread: unmapping gigabytes holds the address-space lock.
  void discard(Object object, u64 reserved_bytes);
  void wait(const Ticket& job);

  // The same work at once on the calling thread, for the small first objects of a table.
  Result<Object> create_now(const std::string& name, u64 object_bytes, u64 reserve_bytes);
  u64 reserved() const { return reserved_.load(std::memory_order_relaxed); }

 private:
  void run();
  bool serve_step(Job& job);
  Status reserve_step(const Object& object, u64 at, u64 bytes);

  const u64 limit_;
  std::atomic<u64> reserved_;
  std::mutex mutex_;  // guards jobs_, discarded_, stop_
  std::condition_variable wake_;
  std::condition_variable finished_;
  std::deque<Ticket> jobs_;
  std::deque<Object> discarded_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace lineq::shm
