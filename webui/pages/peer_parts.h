// What each HAProxy has of a table (mode acc): "peers":{"lb1":{"gpc0":3},...}
#pragma once

#include <span>
#include <string>
#include <vector>

#include "shm/reader.h"
#include "tools/view/columns.h"
#include "webui/pages/entry_json.h"
#include "webui/pages/json.h"

namespace lineq::pages {

class PeerParts {
 public:
  // After each Reader::refresh().
  void find(const shm::Reader& reader, const shm::TableInfo& table);
  // The member "peers" of the entry that has this key.
  void put(Json& json, EntryJson& write, shm::Reader& reader, std::span<const u8> key,
           Tick now) const;

 private:
  struct Part {
    std::string peer;
    const shm::TableInfo* table = nullptr;
    EntryJson::Columns columns;
  };
  std::vector<Part> parts_;
};

// Reader::lookup, again as long as the writer is inside the slot, but not for long.
shm::Lookup patient_lookup(shm::Reader& reader, const shm::TableInfo& table,
                           std::span<const u8> key, shm::SlotCopy& copy, shm::EntryView& entry);

}  // namespace lineq::pages
