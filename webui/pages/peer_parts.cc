#include "webui/pages/peer_parts.h"

#include "tools/view/peer_tables.h"

namespace lineq::pages {
namespace {

// Looks at a key whose slot the writer is inside of.
constexpr int kLookups = 16;

}  // namespace

void PeerParts::find(const shm::Reader& reader, const shm::TableInfo& table) {
  parts_.clear();
  const std::vector<shm::PeerInfo> peers = reader.peers();
  const std::vector<std::string> labels = view::peer_labels(peers);
  for (std::size_t i = 0; i < peers.size(); ++i) {
    if (const shm::TableInfo* part = reader.part_of(table, peers[i].no)) {
      parts_.push_back({labels[i], part, view::columns_of(part->definition)});
    }
  }
}

void PeerParts::put(Json& json, EntryJson& write, shm::Reader& reader, std::span<const u8> key,
                    Tick now) const {
  json.key("peers");
  json.object();
  shm::SlotCopy copy;
  shm::EntryView entry;
  for (const Part& part : parts_) {
    if (patient_lookup(reader, *part.table, key, copy, entry) != shm::Lookup::kFound) {
      continue;
    }
    json.key(part.peer);
    json.object();
    write.values(reader, entry, part.columns, now);
    json.end_object();
  }
  json.end_object();
}

shm::Lookup patient_lookup(shm::Reader& reader, const shm::TableInfo& table,
                           std::span<const u8> key, shm::SlotCopy& copy, shm::EntryView& entry) {
  shm::Lookup result = shm::Lookup::kBusy;
  for (int i = 0; i < kLookups && result == shm::Lookup::kBusy; ++i) {
    result = reader.lookup(table, key, copy, entry);
  }
  return result;
}

}  // namespace lineq::pages
