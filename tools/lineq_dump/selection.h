// Which entries the command line asks for: tables, a key, conditions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"
#include "shm/support/result.h"
#include "tools/view/filter.h"

namespace lineq::dump {

using view::Condition;
using view::Filter;

// Mode acc keeps more of a table than its entries.
enum class Aspect : u8 {
  kTable,   // what HAProxys have; in mode acc the sum
  kTotals,  // totals of its counters, which only grow
  kPeer,    // what one HAProxy has
};

struct Selection {
  std::vector<std::string> tables;  // as the user names them; empty = every table
  std::optional<std::string> key;   // as text
  std::vector<Condition> conditions;
  Aspect aspect = Aspect::kTable;
  std::string peer{};  // kPeer: the HAProxy, as the user names it
};

// A table of the segment with what is wanted of it. `table` is valid until Reader::refresh()
// reports `directory`.
struct Pick {
  const shm::TableInfo* table = nullptr;
  Filter filter;
  std::vector<std::string> keys;  // as stored: entries with one of these; only if a key is asked
};

// The tables of one name: as on the wire, without the leading '/', or as HAProxy shows it
// ("section/t1"). More than one when HAProxys disagree about the key.
std::vector<const shm::TableInfo*> tables_named(const shm::Reader& reader, std::string_view name);

// kNotFound: no such table or HAProxy, or it has no such aspect; kInvalid: no table has such a
// column or such a key.
Result<std::vector<Pick>> pick(const Selection& selection, const shm::Reader& reader);

// What Filter::matches asks for the text of a dictionary's id.
inline auto texts_of(const shm::Reader& reader) {
  return [&reader](u32 id) { return reader.dictionary_text(id); };
}

// Reader::lookup with patience: kBusy only if the writer stays inside the
// slot for a tenth of a second, as one that was killed there does.
shm::Lookup patient_lookup(shm::Reader& reader, const shm::TableInfo& table, std::string_view key,
                           shm::SlotCopy& copy, shm::EntryView& entry);

// A whole scan, with the time of each slice. `visit` returns false to stop. Returns how many
// entries could not be read, with the same patience: normally none.
std::size_t patient_scan(shm::Reader& reader, const shm::TableInfo& table,
                         const std::function<bool(const shm::EntryView&, Tick now)>& visit);

}  // namespace lineq::dump
