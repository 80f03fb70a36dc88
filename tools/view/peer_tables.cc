#include "tools/view/peer_tables.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "tools/cli/text.h"

namespace lineq::view {
namespace {

using shm::PeerTableCounter;

std::optional<u64> age(SegmentMs at, SegmentMs now) {
  return at == 0 ? std::nullopt : std::optional(now > at ? now - at : 0);
}

bool active(const PeerTable& row) {
  return row.updated_ms && *row.updated_ms <= kActiveMs;
}

}  // namespace

std::vector<std::string> peer_labels(const std::vector<shm::PeerInfo>& peers) {
  std::map<std::string_view, u32> names;
  std::map<std::pair<std::string_view, std::string_view>, u32> places;
  for (const shm::PeerInfo& peer : peers) {
    ++names[peer.remote_name];
    ++places[{peer.remote_name, peer.address}];
  }
  std::vector<std::string> labels;
  labels.reserve(peers.size());
  for (const shm::PeerInfo& peer : peers) {
    std::string label = cli::escaped(peer.remote_name);
    if (names[peer.remote_name] > 1) {
      label += "@" + cli::escaped(peer.address);
      if (places[{peer.remote_name, peer.address}] > 1) {
        label += fmt::format("#{}", peer.no);
      }
    }
    labels.push_back(std::move(label));
  }
  return labels;
}

Result<std::size_t> find_peer(const std::vector<shm::PeerInfo>& peers, std::string_view label) {
  const std::vector<std::string> labels = peer_labels(peers);
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const shm::PeerInfo& peer = peers[i];
    if (labels[i] == label) {
      return i;
    }
    if (peer.remote_name == label ||
        fmt::format("{}@{}", peer.remote_name, peer.address) == label) {
      found.push_back(i);
    }
  }
  if (found.size() == 1) {
    return found.front();
  }
  const std::string shown = cli::escaped(label);
  if (found.size() > 1) {
    std::vector<std::string_view> meant;
    meant.reserve(found.size());
    for (const std::size_t i : found) {
      meant.push_back(labels[i]);
    }
    return Error{ErrorCode::kNotFound, fmt::format("several HAProxys are called '{}': {}", shown,
                                                   fmt::join(meant, ", "))};
  }
  if (peers.empty()) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("no HAProxy '{}': none has been connected yet", shown)};
  }
  return Error{ErrorCode::kNotFound,
               fmt::format("no HAProxy '{}'; there are: {}", shown, fmt::join(labels, ", "))};
}

std::vector<PeerTable> peer_tables(const shm::Reader& reader,
                                   const std::vector<shm::PeerInfo>& peers, SegmentMs now) {
  std::map<u16, const shm::TableInfo*> tables;
  for (const shm::TableInfo& table : reader.tables()) {
    tables.emplace(table.no, &table);
  }
  std::map<u16, std::size_t> index;  // by number of the record
  for (std::size_t i = 0; i < peers.size(); ++i) {
    index.emplace(peers[i].no, i);
  }
  std::map<std::pair<std::size_t, u16>, PeerTable> rows;
  // Names of the tables each one has: of a name with another key it is not said to be missing.
  std::vector<std::set<std::string_view>> has(peers.size());
  std::map<u16, u32> announced;  // by how many
  std::map<u16, u32> telling;    // and how many of them tell something
  for (const shm::PeerTableInfo& record : reader.peer_tables()) {
    const auto peer = index.find(record.peer);
    const auto table = tables.find(record.table);
    if (peer == index.end() || table == tables.end()) {
      continue;
    }
    PeerTable row;
    row.peer = peer->second;
    row.table = table->second;
    row.announced_ms = age(record.counter(PeerTableCounter::announced_ms), now);
    row.updated_ms = age(record.counter(PeerTableCounter::last_update_ms), now);
    row.updates = record.counter(PeerTableCounter::updates);
    row.refused_values = record.counter(PeerTableCounter::refused_values);
    row.conflict = row.announced_ms && record.counter(PeerTableCounter::conflict) != 0;
    if (row.announced_ms) {
      has[row.peer].insert(row.table->definition.name);
      ++announced[row.table->no];
      telling[row.table->no] += active(row) ? 1U : 0U;
    }
    rows.insert_or_assign({row.peer, row.table->no}, row);
  }
  const bool alive = reader.liveness() == shm::Liveness::kAlive;
  for (std::size_t i = 0; alive && i < peers.size(); ++i) {
    const shm::PeerInfo& peer = peers[i];
    // One that has announced nothing at all is no HAProxy with a table too few.
    const bool complete = peer.state == shm::PeerState::kUp && !has[i].empty() &&
                          peer.counter(shm::PeerCounter::lesson_in) >= 2;
    if (!complete) {
      continue;
    }
    for (const auto& [no, table] : tables) {
      if (announced[no] > 0 && !has[i].contains(table->definition.name)) {
        PeerTable& row = rows[{i, no}];
        row.peer = i;
        row.table = table;
        row.missing = true;
      }
    }
  }
  std::vector<PeerTable> all;
  all.reserve(rows.size());
  for (auto& [key, row] : rows) {
    const bool up = alive && peers[row.peer].state == shm::PeerState::kUp;
    row.silent = up && row.announced_ms && *row.announced_ms > kSilentMs &&
                 row.updated_ms.value_or(*row.announced_ms) > kSilentMs &&
                 telling[row.table->no] > 0;
    all.push_back(row);
  }
  return all;
}

}  // namespace lineq::view
