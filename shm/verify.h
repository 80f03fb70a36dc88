// Every invariant of a segment, by name. Used by tests and by `lineq-dump --verify`; safe on a
// live, a dead and a damaged segment.
//
// On a live segment findings that a second look does not confirm are dropped: the writer may have
// been in the middle.
#pragma once

#include <string>
#include <vector>

#include "shm/reader.h"

namespace lineq::shm {

struct Finding {
  std::string invariant;  // short name: "index-complete", "slot-sequence", ...
  std::string what;       // table, slot, key: which entry breaks it and how
};

struct VerifyReport {
  u64 tables = 0;
  u64 entries = 0;
  std::vector<Finding> findings;  // at most 1000
  // Rules of the waiting room that are broken though nothing is damaged: "over_limit"; at most 1000
  std::vector<Finding> remarks;
  bool clean() const { return findings.empty(); }
};

VerifyReport verify(Reader& reader);

}  // namespace lineq::shm
