// Changes of several tables that land together; tables that HAProxys do not see.
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

const TableDefinition kHits = define("hits", KeyType::kString, 17, {kGpc0, kHttpReqRate});

TableDefinition totals_of(const TableDefinition& from) {
  TableDefinition d = from;
  d.data_types &= kCounterTypes;
  return d;
}

struct Tables {
  Table* part = nullptr;
  Table* ledger = nullptr;
};

Tables tables_of(Writer& writer) {
  return {writer.table_for(kHits, 0, TableRole::kPart, 3)->table,
          writer.table_for(totals_of(kHits), 0, TableRole::kLedger)->table};
}

void put_u64(u64* image, u32 offset, u64 value) {
  image[offset / 8] = value;
}

// The part says `value`, the total grows by as much.
bool tell(Writer& writer, const Tables& tables, std::string_view key, u64 value) {
  Together change(writer);
  const u32 tag = tables.part->tag_of(bytes(key));
  const auto part_slot = tables.part->find(tag, bytes(key));
  const auto total_slot = tables.ledger->find(tag, bytes(key));
  u64* part = part_slot ? change.update(*tables.part, *part_slot, tag)
                        : change.insert(*tables.part, bytes(key), tag, 5);
  u64* total = total_slot ? change.update(*tables.ledger, *total_slot, tag)
                          : change.insert(*tables.ledger, bytes(key), tag, 5);
  if (part == nullptr || total == nullptr) {
    return false;
  }
  const u32 at = tables.ledger->info().geometry.offset[kGpc0];
  const std::vector<u64> cells{value, 0, 0, 0};
  put_times(part, Tick{100}, Tick{5});
  put_u64(part, tables.part->info().geometry.ext_offset, 7);
  put_cells(ColumnMap(kHits, tables.part->info()), cells.data(), 5, part);
  put_times(total, std::nullopt, Tick{5});
  put_u64(total, at, total[at / 8] + value);
  change.land(PeerNo{3}, 5);
  return true;
}

TEST(TogetherTest, PartAndTotalLandInOneChange) {
  TempInstance instance;
  auto writer = attach(instance);
  const Tables tables = tables_of(*writer);
  const u64 big = 0xffff'fff0;
  ASSERT_TRUE(tell(*writer, tables, "a", big));
  ASSERT_TRUE(tell(*writer, tables, "a", big));
  ASSERT_TRUE(tell(*writer, tables, "b", 1));
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE(reader->refresh().ok());
  EXPECT_TRUE(reader->tables().empty()) << "HAProxys have no such tables";
  ASSERT_EQ(reader->hidden_tables().size(), 2U);
  const TableInfo& part = reader->hidden_tables()[0];
  const TableInfo& ledger = reader->hidden_tables()[1];
  EXPECT_EQ(part.scope_peer, 3U);
  EXPECT_EQ(ledger.role, TableRole::kLedger);
  EXPECT_FALSE(ledger.definition.has(kHttpReqRate));
  SlotCopy copy;
  EntryView entry;
  ASSERT_EQ(reader->lookup(part, bytes("a"), copy, entry), Lookup::kFound);
  EXPECT_EQ(entry.value(kGpc0), big);
  EXPECT_EQ(entry.ext(0), 7U);
  ASSERT_EQ(reader->lookup(ledger, bytes("a"), copy, entry), Lookup::kFound);
  EXPECT_EQ(entry.value(kGpc0), 2 * big) << "totals are 64 bits wide";
  EXPECT_TRUE(entry.never_expires());
  EXPECT_EQ(findings(*reader), "");
}

TEST(TogetherTest, WhatDoesNotLandNeverWas) {
  TempInstance instance;
  auto writer = attach(instance);
  const Tables tables = tables_of(*writer);
  ASSERT_TRUE(tell(*writer, tables, "a", 1));
  ASSERT_TRUE(tell(*writer, tables, "b", 1));
  tables.part->erase(*tables.part->find(bytes("a")), FeedKind::kErase, kNoPeer, 6);
  for (int i = 0; i < 3; ++i) {
    Together change(*writer);
    ASSERT_NE(change.insert(*tables.part, bytes("x"), tables.part->tag_of(bytes("x")), 6), nullptr);
    EXPECT_EQ(change.slot(0), 0U) << "the free one, again and again";
  }
  EXPECT_FALSE(tables.part->find(bytes("x")).has_value());
  ASSERT_TRUE(tell(*writer, tables, "x", 1));
  EXPECT_EQ(tables.part->find(bytes("x")), 0U);
  EXPECT_EQ(findings(instance), "");
}

TEST(TogetherTest, PartsAreUnitedWithTheirOwnKindAndKeepTheirOwnersWords) {
  TempInstance instance;
  auto writer = attach(instance);
  const Tables tables = tables_of(*writer);
  ASSERT_TRUE(tell(*writer, tables, "a", 5));
  const TableDefinition more =
      define("hits", KeyType::kString, 17, {kGpc0, kHttpReqRate, kBytesInCnt});
  const auto other = writer->table_for(more, 6, TableRole::kPart, 4);
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(other->created) << "another HAProxy's";
  const auto wider = writer->table_for(more, 6, TableRole::kPart, 3);
  ASSERT_TRUE(wider.ok());
  ASSERT_TRUE(wider->replaced);
  const EntryView entry = wider->table->at(*wider->table->find(bytes("a")));
  EXPECT_EQ(entry.value(kGpc0), 5U);
  EXPECT_EQ(entry.ext(0), 7U);
  const auto totals = writer->table_for(totals_of(more), 6, TableRole::kLedger);
  ASSERT_TRUE(totals.ok() && totals->replaced);
  const EntryView total = totals->table->at(*totals->table->find(bytes("a")));
  EXPECT_EQ(total.value(kGpc0), 5U);
  EXPECT_EQ(total.value(kBytesInCnt), 0U);
  EXPECT_FALSE(writer->table_for(kHits, 6, TableRole::kLedger).ok()) << "a rate is no counter";
  writer->drop_table(other->table->info().no);
  writer.reset();
  writer = attach(instance);
  EXPECT_EQ(writer->tables().size(), 2U);
  EXPECT_EQ(findings(instance), "");
}

TEST(PeerTableTest, OneRecordForEachTableOfEachHaproxy) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto peer = writer->peer_up({"hap", "lineq", "127.0.0.1", 5}, 10);
  ASSERT_TRUE(peer.ok());
  const TableInfo table = writer->table_for(kHits, 10)->table->info();
  const auto index = writer->peer_table(*peer, table);
  ASSERT_TRUE(index.has_value());
  EXPECT_EQ(writer->peer_table(*peer, table), index);
  writer->set_peer_table_counter(*index, PeerTableCounter::updates, 42);
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok() && reader->refresh().ok());
  ASSERT_EQ(reader->peer_tables().size(), 1U);
  EXPECT_EQ(reader->peer_tables()[0].counter(PeerTableCounter::updates), 42U);
  // It goes where the table goes when it is widened.
  const auto wider = writer->table_for(define("hits", KeyType::kString, 17, {kGpc1}), 11);
  ASSERT_TRUE(wider.ok() && wider->replaced);
  EXPECT_EQ(writer->peer_table(*peer, wider->table->info()), index);
  EXPECT_EQ(writer->peer_table_counter(*index, PeerTableCounter::updates), 42U);
  // No room for more: a table that is gone gives way.
  ASSERT_TRUE(reader->refresh().ok());
  EXPECT_EQ(reader->peer_tables().size(), 1U);
}

}  // namespace
}  // namespace lineq::shm
