#include "shm/provisioner.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>

#include <fmt/format.h>

namespace lineq::shm {
namespace {

// Index and slot reservations alternate in steps of this size, so that neither starves the other.
constexpr u64 kStep = u64{4} << 20;

}  // namespace

Provisioner::Provisioner(u64 limit, u64 reserved) : limit_(limit), reserved_(reserved) {
  // Signals belong to the main thread's loop.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Provisioner::~Provisioner() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

Provisioner::Ticket Provisioner::create(std::string name, u64 object_bytes, u64 reserve_bytes) {
  auto job = std::make_shared<Job>();
  job->name = std::move(name);
  job->object_bytes = object_bytes;
  job->bytes = reserve_bytes;
  const std::lock_guard lock(mutex_);
  jobs_.push_back(job);
  wake_.notify_one();
  return job;
}

Provisioner::Ticket Provisioner::extend(const Object& object, u64 from, u64 bytes) {
  auto job = std::make_shared<Job>();
  job->extend = &object;
  job->from = from;
  job->bytes = bytes;
  const std::lock_guard lock(mutex_);
  jobs_.push_back(job);
  wake_.notify_one();
  return job;
}

void Provisioner::discard(Object object, u64 reserved_bytes) {
  reserved_.fetch_sub(reserved_bytes, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  discarded_.push_back(std::move(object));
  wake_.notify_one();
}

void Provisioner::wait(const Ticket& job) {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [&] { return job->done(); });
}

Status Provisioner::reserve_step(const Object& object, u64 at, u64 bytes) {
  if (limit_ != 0 && reserved_.load(std::memory_order_relaxed) + bytes > limit_) {
    return Error{ErrorCode::kExhausted, fmt::format("memory limit of {} bytes reached", limit_)};
  }
  if (Status status = object.reserve(at, bytes); !status) {
    return status;
  }
  reserved_.fetch_add(bytes, std::memory_order_relaxed);
  object.populate(at, bytes);
  return {};
}

Result<Object> Provisioner::create_now(const std::string& name, u64 object_bytes,
                                       u64 reserve_bytes) {
  auto object = Object::create(name, object_bytes);
  if (!object) {
    return object;
  }
  if (const Status status = reserve_step(*object, 0, reserve_bytes); !status) {
    Object::unlink(name);
    return status.error();
  }
  return object;
}

// One step of at most kStep; true when the job is answered.
bool Provisioner::serve_step(Job& job) {
  const bool creating = job.extend == nullptr;
  if (creating && !job.object.mapped()) {
    auto object = Object::create(job.name, job.object_bytes);
    if (!object) {
      job.status = object.error();
      return true;
    }
    job.object = object.take();
  }
  const Object& object = creating ? job.object : *job.extend;
  const u64 step = std::min(kStep, job.bytes - job.reached);
  job.status = reserve_step(object, job.from + job.reached, step);
  if (!job.status) {
    if (creating) {
      reserved_.fetch_sub(job.reached, std::memory_order_relaxed);
      Object::unlink(job.name);
      job.object = Object();
    }
    return true;
  }
  job.reached += step;
  return job.reached == job.bytes;
}

void Provisioner::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || !jobs_.empty() || !discarded_.empty(); });
    if (!jobs_.empty()) {
      const Ticket job = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      const bool answered = serve_step(*job);
      lock.lock();
      if (answered) {
        job->ready.store(true, std::memory_order_release);
        finished_.notify_all();
      } else {
        jobs_.push_back(job);
      }
    } else if (!discarded_.empty()) {
      Object object = std::move(discarded_.front());
      discarded_.pop_front();
      lock.unlock();
      object = Object();
      lock.lock();
    } else if (stop_) {
      return;
    }
  }
}

}  // namespace lineq::shm
