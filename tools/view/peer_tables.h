// Each table of each HAProxy, and what is wrong with it: for the status page, metrics and
// lineq-dump alike.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"

namespace lineq::view {

// While others tell about a table, a HAProxy that has not done so for this long is silent on it.
inline constexpr u64 kSilentMs = 300'000;
// ... and others do when one of them has within this time.
inline constexpr u64 kActiveMs = 60'000;

// How people call the HAProxys, in the order of `peers`: the name; name@address where several have
// the name; with #record behind it where even these are the same. Escaped.
std::vector<std::string> peer_labels(const std::vector<shm::PeerInfo>& peers);

// The HAProxy somebody means by a label, or by a name that only one has. An Error lists the labels.
Result<std::size_t> find_peer(const std::vector<shm::PeerInfo>& peers, std::string_view label);

struct PeerTable {
  std::size_t peer = 0;  // index in the list of HAProxys
  const shm::TableInfo* table = nullptr;
  std::optional<u64> announced_ms;  // age of its definition; none: it has no such table
  std::optional<u64> updated_ms;    // age of its last update; none: never told anything
  u64 updates = 0;
  u64 refused_values = 0;
  bool conflict = false;  // its definition differs from that of others
  bool missing = false;   // connected, has told all it has, and this table of others was not there
  bool silent = false;    // connected and has the table, but only others tell about it

  bool wrong() const { return conflict || missing || silent; }
};

// By HAProxy, then by table. `peers` as Reader::peers() gave them; pointers are valid as long as
// those of Reader::tables(). `now` is Reader::now().
std::vector<PeerTable> peer_tables(const shm::Reader& reader,
                                   const std::vector<shm::PeerInfo>& peers, SegmentMs now);

}  // namespace lineq::view
