#include "tools/lineq_dump/selection.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/lineq_dump/format.h"
#include "tools/view/peer_tables.h"

namespace lineq::dump {
namespace {

using cli::printable;

// Patience: a tenth of a second.
constexpr int kTries = 100;
constexpr timespec kPause{0, 1'000'000};

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

Error no_such_table(const shm::Reader& reader, std::string_view name) {
  std::vector<std::string_view> names;
  for (const shm::TableInfo& table : reader.tables()) {
    names.push_back(table.definition.name);
  }
  return {ErrorCode::kNotFound,
          fmt::format("no table '{}'{}", printable(name), printable(cli::suggestion(name, names)))};
}

// A string may be given as it is or as the output writes it; both are looked for.
Status find_keys(std::string_view text, Pick& pick) {
  const shm::TableDefinition& definition = pick.table->definition;
  const Result<std::string> exact = shm::key_from_text(definition, text);
  if (exact) {
    pick.keys.push_back(*exact);
  }
  const bool may_be_escaped =
      definition.key_type == shm::KeyType::kString && text.find('\\') != std::string_view::npos;
  if (may_be_escaped) {
    const Result<std::string> meant = shm::key_from_text(definition, unescape_text(text));
    if (meant && (pick.keys.empty() || *meant != pick.keys.front())) {
      pick.keys.push_back(*meant);
    }
  }
  return pick.keys.empty() ? Status(exact.error()) : Status();
}

// Replaces the tables by the hidden ones that hold the aspect; those that have none are left out.
Status take_aspect(const Selection& selection, const shm::Reader& reader,
                   std::vector<const shm::TableInfo*>& tables) {
  if (selection.aspect == Aspect::kTable) {
    return {};
  }
  u16 record = 0;
  if (selection.aspect == Aspect::kPeer) {
    const std::vector<shm::PeerInfo> peers = reader.peers();
    const Result<std::size_t> peer = view::find_peer(peers, selection.peer);
    if (!peer) {
      return peer.error();
    }
    record = peers[*peer].no;
  }
  const bool totals = selection.aspect == Aspect::kTotals;
  const std::string first = tables.empty() ? "" : tables.front()->definition.name;
  for (const shm::TableInfo*& table : tables) {
    table = totals ? reader.ledger_of(*table) : reader.part_of(*table, record);
  }
  std::erase(tables, nullptr);
  if (!tables.empty()) {
    return {};
  }
  if (reader.hidden_tables().empty()) {
    return Error{ErrorCode::kNotFound,
                 fmt::format("there are no {}: lineqd keeps them in mode acc, once a HAProxy has "
                             "told something",
                             totals ? "totals" : "values of single HAProxys")};
  }
  const std::string what =
      selection.tables.size() == 1
          ? fmt::format("table {}", printable(first))
          : std::string(selection.tables.empty() ? "any table" : "any of these tables");
  return Error{ErrorCode::kNotFound, totals ? fmt::format("there are no totals of {}", what)
                                            : fmt::format("HAProxy {} has told nothing of {}",
                                                          printable(selection.peer), what)};
}

}  // namespace

std::vector<const shm::TableInfo*> tables_named(const shm::Reader& reader, std::string_view name) {
  std::vector<const shm::TableInfo*> found;
  const auto add = [&](std::string_view wire) {
    for (const shm::TableInfo& table : reader.tables()) {
      if (table.definition.name == wire) {
        found.push_back(&table);
      }
    }
    return !found.empty();
  };
  if (add(name) || add(fmt::format("/{}", name))) {
    return found;
  }
  if (const std::size_t slash = name.rfind('/'); slash != std::string_view::npos) {
    add(name.substr(slash));
  }
  return found;
}

Result<std::vector<Pick>> pick(const Selection& selection, const shm::Reader& reader) {
  std::vector<const shm::TableInfo*> tables;
  for (const std::string& name : selection.tables) {
    const std::vector<const shm::TableInfo*> found = tables_named(reader, name);
    if (found.empty()) {
      return no_such_table(reader, name);
    }
    for (const shm::TableInfo* table : found) {
      if (std::find(tables.begin(), tables.end(), table) == tables.end()) {
        tables.push_back(table);
      }
    }
  }
  if (selection.tables.empty()) {
    for (const shm::TableInfo& table : reader.tables()) {
      tables.push_back(&table);
    }
  }
  if (const Status status = take_aspect(selection, reader, tables); !status) {
    return status.error();
  }
  std::vector<Pick> picks;
  std::optional<Error> trouble;
  for (const shm::TableInfo* table : tables) {
    Result<Filter> filter = Filter::bind(selection.conditions, table->definition);
    if (!filter) {
      trouble = Error{ErrorCode::kInvalid, filter.error().what};
      continue;
    }
    Pick pick{table, filter.take(), {}};
    if (selection.key) {
      if (const Status status = find_keys(*selection.key, pick); !status) {
        trouble = Error{ErrorCode::kInvalid, status.error().what};
        continue;
      }
    }
    picks.push_back(std::move(pick));
  }
  if (picks.empty() && trouble) {
    return *trouble;
  }
  return picks;
}

shm::Lookup patient_lookup(shm::Reader& reader, const shm::TableInfo& table, std::string_view key,
                           shm::SlotCopy& copy, shm::EntryView& entry) {
  for (int i = 0;; ++i) {
    const shm::Lookup found = reader.lookup(table, bytes_of(key), copy, entry);
    if (found != shm::Lookup::kBusy || i == kTries) {
      return found;
    }
    ::nanosleep(&kPause, nullptr);
  }
}

std::size_t patient_scan(shm::Reader& reader, const shm::TableInfo& table,
                         const std::function<bool(const shm::EntryView&, Tick now)>& visit) {
  constexpr u32 kSlots = 4096;
  shm::Scan scan;
  Tick now = 0;
  bool stopped = false;
  const auto step = [&](const shm::EntryView& entry) {
    stopped = !visit(entry, now);
    return !stopped;
  };
  for (int idle = 0; idle < kTries;) {
    now = tick_of(reader.now());
    const u32 next = scan.next;
    const std::size_t busy = scan.busy.size();
    if (reader.scan(table, scan, kSlots, step)) {
      break;
    }
    if (stopped) {
      return 0;
    }
    if (scan.next != next || scan.busy.size() < busy) {
      idle = 0;
      continue;
    }
    ++idle;  // only busy slots are left, and the last of them is still busy: let another one be it
    std::rotate(scan.busy.begin(), scan.busy.begin() + 1, scan.busy.end());
    ::nanosleep(&kPause, nullptr);
  }
  return scan.busy.size();
}

}  // namespace lineq::dump
