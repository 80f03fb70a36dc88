// The segment as this process has it: attached or not yet, fresh or left behind by a daemon that is
// away. One thread; no socket.
//
// lineq-web starts before lineqd, outlives it, and finds it again: tick() attaches, refreshes,
// attaches anew. While the daemon is away the last state stays readable; liveness says so.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "shm/reader.h"

namespace lineq::live {

class Segment {
 public:
  // `owner` says, at each attempt, who must own the segment: before lineqd ran for the first time
  // that is not known. Without it source.owner_uid holds.
  explicit Segment(shm::Source source, std::function<u32()> owner = {});

  // Every 100 ms or so. Cheap when nothing changed.
  void tick(u64 now_ms);

  // Null: there was no segment yet, and trouble() says why.
  shm::Reader* reader() { return reader_ ? &*reader_ : nullptr; }
  const shm::Reader* reader() const { return reader_ ? &*reader_ : nullptr; }

  // Why there is no segment, or why the one at hand is no longer the daemon's. Empty: all is well.
  const std::string& trouble() const { return trouble_; }
  // Another number when the segment is another one: slots and table numbers of before mean nothing.
  u64 generation() const { return generation_; }
  const std::string& instance() const { return source_.instance; }

 private:
  shm::Source source_;
  std::function<u32()> owner_;
  std::optional<shm::Reader> reader_;
  std::string trouble_;
  u64 generation_ = 0;
  u64 next_attempt_ms_ = 0;
};

}  // namespace lineq::live
