// Snapshots of the segment (shm/snapshot.h) in the state directory: one every so many seconds and
// one at a clean stop, each written by a thread of its own with a read-only mapping, so that the
// loop never waits for a disk; and what became of those that were there at the start.
//
// Who wins, when HAProxys come back after a segment was made from a snapshot, and both know an
// entry? They are asked for all they have, as at any start, and what they say is merged as any
// lesson (engine/aggregate.h): what a HAProxy has changed itself is newer than a file; what it only
// learned wins if its life ends later, that is, if it was touched after the snapshot was made.
// Mode acc: what a HAProxy tells is compared with its last value in the snapshot, so a HAProxy that
// was not restarted is counted as if nothing had happened. Mode vwr: as at any start, nobody is
// called before it is known who is inside.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "shm/snapshot.h"
#include "shm/writer.h"

namespace lineq::daemon {

struct SnapshotOptions {
  std::string instance;
  std::string directory;
  bool directory_given = false;
  u32 seconds = 60;  // 0: neither written nor loaded
};

// What a new segment is to be filled from.
std::vector<std::string> snapshots_to_load(const SnapshotOptions& options);
// Says what became of them; files that cannot be used are set aside.
void tell_restored(const shm::Restored& restored);

// All of it in the loop's thread.
class Snapshots {
 public:
  Snapshots(shm::Writer& writer, SnapshotOptions options);
  ~Snapshots();
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;
  Snapshots(Snapshots&&) = delete;
  Snapshots& operator=(Snapshots&&) = delete;

  // Counters and log of what was written meanwhile.
  void tick();
  // The last one. Nothing may change any more; `alive` is called now and then while it is written.
  void stop(const std::function<void()>& alive);
  // For `lineqctl info`: a JSON object.
  std::string info() const;

 private:
  using Outcome = Result<shm::SnapshotWritten>;

  void run();
  Outcome write(bool clean) const;
  void take(const Outcome& outcome, bool last);

  shm::Writer& writer_;
  SnapshotOptions options_;
  u64 written_ = 0;
  u64 failed_ = 0;
  u64 written_at_ms_ = 0;  // wall clock; 0 = none yet
  std::string error_;      // of the last one; empty: it was written
  u64 told_ms_ = 0;        // when the log told error_

  std::mutex mutex_;  // guards stop_, outcome_
  std::condition_variable wake_;
  bool stop_ = false;
  std::optional<Outcome> outcome_;
  std::atomic<bool> cancel_{false};
  std::thread thread_;
};

}  // namespace lineq::daemon
