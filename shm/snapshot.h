// Snapshots: what the segment holds, in a file, for when /dev/shm is empty after a reboot or holds
// a segment of another layout (shm-design 17).
//
//   write_snapshot(reader, "/var/lib/lineq", {})      any thread, with a Reader of its own
//   WriterOptions::snapshots                          loads: see Writer::restored()
//
// A snapshot is a reader's scan: nothing holds the writer up, and it is no instant of the whole.
// What could contradict itself because of that is made anew when it is loaded: indexes, totals,
// lines (tickets travel inside entries, so the order is kept). What has to be whole is written in
// an order that errs on the safe side: ledgers before parts, so that nothing is counted twice;
// rooms after their visitors, so that no ticket is given twice.
//
// `snapshot` is the newest, `snapshot.1` the one before. A new one is written beside them, synced,
// and renamed: at any instant, whatever dies, a whole one is there.
//
// The file: FileHead, then blocks of at most 64 KiB, each with a number and a CRC-32C, the last one
// says how much there was. It is told in data types and not in slots, so that a program with
// another layout of the segment reads it. Times are the segment's: a segment that is made from a
// snapshot has a clock that goes on, and has advanced by what the wall clock did meanwhile, so
// lifetimes and rates need no translation. Room time (visitor.h) stood still.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "shm/reader.h"

namespace lineq::shm {

inline constexpr u32 kSnapshotVersion = 1;

std::string snapshot_path(const std::string& directory);
std::string previous_snapshot_path(const std::string& directory);

struct SnapshotWrite {
  bool clean = false;  // the daemon has stopped counting: nothing happens after it
  const std::atomic<bool>* cancel = nullptr;  // true: give up
  std::function<void()> progress;             // once in a while
};

struct SnapshotWritten {
  u64 tables = 0;
  u64 entries = 0;
  u64 rooms = 0;
  u64 bytes = 0;
  u64 took_ms = 0;
};

// kSystem: what the system said (no space, a read-only directory); kBusy: cancelled, or tables came
// and went all the time. The ones that are there are then as before, and no other file is left.
Result<SnapshotWritten> write_snapshot(Reader& reader, const std::string& directory,
                                       const SnapshotWrite& how);

// Renames a file that cannot be used to PATH.why, PATH.why-1 or PATH.why-2, the last of which gives
// way; returns the new name, empty when it cannot be renamed.
std::string set_snapshot_aside(const std::string& path, const std::string& why);

}  // namespace lineq::shm
