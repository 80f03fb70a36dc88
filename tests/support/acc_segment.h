// What mode acc keeps beside the tables, put into a segment by hand: for tests of those who read
// it.
#pragma once

#include <string_view>
#include <vector>

#include "shm/writer.h"

namespace lineq::test {

// What `peer` alone has of one entry; cells in the order of the definition.
inline void put_part(shm::Writer& writer, const shm::TableDefinition& definition, PeerNo peer,
                     std::string_view key, const std::vector<u64>& cells) {
  const SegmentMs now = writer.now();
  shm::Table& table = *writer.table_for(definition, now, shm::TableRole::kPart, peer.value)->table;
  const std::span<const u8> bytes(reinterpret_cast<const u8*>(key.data()), key.size());
  const u32 tag = table.tag_of(bytes);
  shm::Together change(writer);
  const auto slot = table.find(tag, bytes);
  u64* image = slot ? change.update(table, *slot, tag) : change.insert(table, bytes, tag, now);
  shm::put_times(image, tick_of(now) + 3'600'000, tick_of(now));
  shm::put_cells(shm::ColumnMap(definition, table.info()), cells.data(), tick_of(now), image);
  change.land(peer, now);
}

// Totals of one entry: its counters in the order of the data types, 64 bits each.
inline void put_total(shm::Writer& writer, shm::TableDefinition definition, std::string_view key,
                      const std::vector<u64>& totals) {
  definition.data_types &= shm::kCounterTypes;
  const SegmentMs now = writer.now();
  shm::Table& table = *writer.table_for(definition, now, shm::TableRole::kLedger)->table;
  const std::span<const u8> bytes(reinterpret_cast<const u8*>(key.data()), key.size());
  const u32 tag = table.tag_of(bytes);
  shm::Together change(writer);
  const auto slot = table.find(tag, bytes);
  u64* image = slot ? change.update(table, *slot, tag) : change.insert(table, bytes, tag, now);
  shm::put_times(image, std::nullopt, tick_of(now));
  std::size_t next = 0;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    for (u32 i = 0; definition.has(bit) && i < definition.elements[bit]; ++i) {
      image[table.info().geometry.offset[bit] / 8 + i] = totals.at(next++);
    }
  }
  change.land(kNoPeer, now);
}

// One table of one HAProxy, as it announced it.
inline u32 announce(shm::Writer& writer, PeerNo peer, const shm::TableDefinition& definition) {
  const SegmentMs now = writer.now();
  const u32 record = *writer.peer_table(peer, writer.table_for(definition, now)->table->info());
  writer.set_peer_table_counter(record, shm::PeerTableCounter::announced_ms, now + 1);
  return record;
}

}  // namespace lineq::test
