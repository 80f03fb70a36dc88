#include "shm/table.h"

#include <map>
#include <random>

#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

const TableDefinition kTwoCounters = define("users", KeyType::kString, 37, {kGpc0, kGpc1});

TEST(TableTest, AnUpdateIsThereForReadersWhenApplyReturns) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  const Applied applied = set(table, kTwoCounters, "alice", {3, 4}, writer->now());
  EXPECT_EQ(applied.outcome, Outcome::kInserted);
  EXPECT_TRUE(applied.arm);

  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  const TableInfo* info = reader->find_table("users");
  ASSERT_NE(info, nullptr);
  SlotCopy copy;
  EntryView entry;
  ASSERT_EQ(reader->lookup(*info, bytes("alice"), copy, entry), Lookup::kFound);
  EXPECT_EQ(entry.value(kGpc0), 3U);
  EXPECT_EQ(entry.value(kGpc1), 4U);
  EXPECT_EQ(reader->lookup(*info, bytes("bob"), copy, entry), Lookup::kAbsent);
  EXPECT_EQ(findings(*reader), "");
}

TEST(TableTest, ColumnsADefinitionLacksAreLeftAlone) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  set(table, kTwoCounters, "k", {1, 2}, 10);
  set(table, define("users", KeyType::kString, 37, {kGpc1}), "k", {9}, 20);
  const EntryView entry = table.at(*table.find(bytes("k")));
  EXPECT_EQ(entry.value(kGpc0), 1U);
  EXPECT_EQ(entry.value(kGpc1), 9U);
}

TEST(TableTest, ArraysOfAnotherLengthKeepOrDropTheSurplus) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto three = define("a", KeyType::kInteger, 4, {kGpc}, 60'000, 3);
  const auto two = define("a", KeyType::kInteger, 4, {kGpc}, 60'000, 2);
  Table& table = *writer->table_for(three, 0)->table;
  const std::string key("\0\0\0\7", 4);
  set(table, three, key, {1, 2, 3}, 10);
  set(table, two, key, {8, 9}, 20);
  const EntryView entry = table.at(*table.find(bytes(key)));
  EXPECT_EQ(entry.value(kGpc, 0), 8U);
  EXPECT_EQ(entry.value(kGpc, 1), 9U);
  EXPECT_EQ(entry.value(kGpc, 2), 3U);
}

TEST(TableTest, NoneKeepsTheServerKey) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto d = define("s", KeyType::kString, 33, {kServerId, kServerKey});
  Table& table = *writer->table_for(d, 0)->table;
  const u32 web = writer->intern("web1");
  set(table, d, "k", {static_cast<u64>(i64{-5}), web}, 10);
  set(table, d, "k", {7, 0}, 20);
  const EntryView entry = table.at(*table.find(bytes("k")));
  EXPECT_EQ(entry.value(kServerId), 7U);
  EXPECT_EQ(writer->dictionary_text(static_cast<u32>(entry.value(kServerKey))), "web1");
}

TEST(TableTest, ADeadlineNeverMovesBack) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  set(table, kTwoCounters, "k", {1, 1}, 1000);
  const Applied shorter =
      set(table, kTwoCounters, "k", {2, 2}, 2000, kNoPeer, Merge::kOverwrite, 500);
  EXPECT_EQ(shorter.outcome, Outcome::kUpdated);
  EXPECT_EQ(shorter.deadline, 61'000U);
  EXPECT_EQ(table.at(shorter.slot).expire_left_ms(2000), 59'000U);
}

TEST(TableTest, AnExpiredEntryStartsANewLife) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  const Applied first = set(table, kTwoCounters, "k", {5, 6}, 1000);
  const Applied second =
      set(table, define("users", KeyType::kString, 37, {kGpc1}), "k", {1}, 1000 + 60'000 + 5);
  EXPECT_EQ(second.outcome, Outcome::kInserted);
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_EQ(table.at(second.slot).value(kGpc0), 0U);
  EXPECT_EQ(table.live(), 1U);
}

TEST(TableTest, TablesWithoutExpiryKeepTheirEntries) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto d = define("forever", KeyType::kString, 33, {kGpc0}, 0);
  Table& table = *writer->table_for(d, 0)->table;
  const Applied applied = set(table, d, "k", {1}, 10);
  EXPECT_FALSE(applied.arm);
  EXPECT_FALSE(table.at(applied.slot).expired(tick_of(u64{1} << 31)));
}

TEST(TableTest, ALessonDoesNotOverwriteWhatIsNewer) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  set(table, kTwoCounters, "k", {20, 0}, 10'000);
  // Touched two seconds earlier on the HAProxy that teaches.
  EXPECT_EQ(set(table, kTwoCounters, "k", {5, 0}, 10'500, kNoPeer, Merge::kIfNewer, 57'500).outcome,
            Outcome::kKept);
  EXPECT_EQ(
      set(table, kTwoCounters, "k", {20, 0}, 10'500, kNoPeer, Merge::kIfNewer, 57'500).outcome,
      Outcome::kKeptSame);
  EXPECT_EQ(table.at(*table.find(bytes("k"))).value(kGpc0), 20U);
  // Touched later.
  EXPECT_EQ(
      set(table, kTwoCounters, "k", {21, 0}, 12'000, kNoPeer, Merge::kIfNewer, 59'000).outcome,
      Outcome::kUpdated);
  EXPECT_EQ(table.at(*table.find(bytes("k"))).value(kGpc0), 21U);
  EXPECT_EQ(
      set(table, kTwoCounters, "new", {1, 1}, 12'000, kNoPeer, Merge::kIfNewer, 30'000).outcome,
      Outcome::kInserted);
}

TEST(TableTest, ALessonWithTheSameValuesOnlyMovesTheDeadlineAndTellsNobody) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  set(table, kTwoCounters, "k", {20, 0}, 10'000);
  const u64 tail = writer->feed().tail();
  const Applied same =
      set(table, kTwoCounters, "k", {20, 0}, 10'400, kNoPeer, Merge::kIfNewer, 59'900);
  EXPECT_EQ(same.outcome, Outcome::kKeptSame);
  EXPECT_EQ(same.deadline, 70'300U);
  EXPECT_EQ(writer->feed().tail(), tail);
}

TEST(TableTest, TheRepetitionAfterALessonChangesNothing) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  set(table, kTwoCounters, "k", {20, 0}, 10'000);
  EXPECT_EQ(set(table, kTwoCounters, "k", {3, 0}, 20'000, kNoPeer, Merge::kIfAbsent).outcome,
            Outcome::kKept);
  EXPECT_EQ(table.at(*table.find(bytes("k"))).expire_left_ms(20'000), 50'000U);
  EXPECT_EQ(set(table, kTwoCounters, "other", {3, 0}, 20'000, kNoPeer, Merge::kIfAbsent).outcome,
            Outcome::kInserted);
}

TEST(TableTest, RatesAreStoredAsTicksAndAge) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto d = define("r", KeyType::kIp, 4, {kHttpReqRate});
  Table& table = *writer->table_for(d, 0)->table;
  const std::string key("\xc0\0\2\1", 4);
  set(table, d, key, {4000, 500, 400}, 100'000);
  const EntryView entry = table.at(*table.find(bytes(key)));
  EXPECT_EQ(entry.rate(kHttpReqRate).start, 96'000U);
  EXPECT_EQ(entry.rate_now(kHttpReqRate, 0, 100'000), (400U * 6000 + 500 * 10'000) / 10'000);
  EXPECT_EQ(entry.rate_now(kHttpReqRate, 0, 111'000), 500U * 5000 / 10'000);
  EXPECT_EQ(entry.rate_now(kHttpReqRate, 0, 200'000), 0U);
}

TEST(TableTest, FeedNamesSlotOriginAndKind) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  const u64 tail = writer->feed().tail();
  const Applied a = set(table, kTwoCounters, "k", {1, 1}, 10, PeerNo{7});
  set(table, kTwoCounters, "k", {2, 1}, 11, PeerNo{8});
  table.erase(a.slot, FeedKind::kExpire, kNoPeer, 12);
  EXPECT_EQ(writer->feed().at(tail).kind, FeedKind::kInsert);
  EXPECT_EQ(writer->feed().at(tail).origin, 7U);
  EXPECT_EQ(writer->feed().at(tail + 1).kind, FeedKind::kUpdate);
  EXPECT_EQ(writer->feed().at(tail + 2).kind, FeedKind::kExpire);
  EXPECT_EQ(table.last_record(a.slot), static_cast<u32>(tail + 2));
  EXPECT_FALSE(table.find(bytes("k")).has_value());
}

TEST(TableTest, ADefinitionWithMoreColumnsMovesTheEntriesToAWiderTable) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto narrow = define("t", KeyType::kString, 33, {kGpc0});
  const auto other = define("t", KeyType::kString, 33, {kConnCnt, kBytesInCnt});
  Table& table = *writer->table_for(narrow, 0)->table;
  for (u64 i = 0; i < 5000; ++i) {
    set(table, narrow, fmt::format("key{}", i), {i}, 10);
  }
  auto wider = writer->table_for(other, 20);
  ASSERT_TRUE(wider.ok());
  EXPECT_TRUE(wider->replaced);
  Table& now = *wider->table;
  EXPECT_EQ(now.live(), 5000U);
  EXPECT_TRUE(now.info().definition.has(kGpc0) && now.info().definition.has(kConnCnt));
  for (u64 i = 0; i < 5000; ++i) {
    const auto slot = now.find(bytes(fmt::format("key{}", i)));
    ASSERT_TRUE(slot.has_value());
    ASSERT_EQ(now.at(*slot).value(kGpc0), i);
  }
  EXPECT_EQ(writer->tables().size(), 1U);
  EXPECT_EQ(findings(instance), "");
}

TEST(TableTest, SameNameWithAnotherKeyIsAnotherTable) {
  TempInstance instance;
  auto writer = attach(instance);
  Table* a = writer->table_for(define("t", KeyType::kString, 33, {kGpc0}), 0)->table;
  Table* b = writer->table_for(define("t", KeyType::kIp, 4, {kGpc0}), 0)->table;
  Table* c = writer->table_for(define("t", KeyType::kString, 65, {kGpc0}), 0)->table;
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  EXPECT_EQ(writer->table_for(define("t", KeyType::kString, 33, {kGpc0}), 0)->table, a);
}

// What a sweep found is looked at again: it may be another's by then.
TEST(TableTest, TheSlotThatIsTriedFirstIsOnlyAHint) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kTwoCounters, 0)->table;
  const u32 a = set(table, kTwoCounters, "a", {1, 1}, 10).slot;
  const u32 b = set(table, kTwoCounters, "b", {2, 2}, 10).slot;
  const u32 empty = set(table, kTwoCounters, "", {3, 3}, 10).slot;
  const u32 tag = table.tag_of(bytes("a"));
  table.prefetch(tag);
  EXPECT_EQ(table.prefetch_slot(tag), a);
  EXPECT_EQ(table.prefetch_slot(table.tag_of(bytes("nobody"))), Table::kNoSlot);
  EXPECT_EQ(table.find(tag, bytes("a"), a), a);
  EXPECT_EQ(table.find(tag, bytes("a"), b), a);
  EXPECT_EQ(table.find(tag, bytes("a"), empty), a);

  const auto nothing = bytes("");
  const u32 empty_tag = table.tag_of(nothing);
  EXPECT_EQ(table.find(empty_tag, nothing, empty), empty);
  table.erase(empty, FeedKind::kErase, kNoPeer, 20);
  table.erase(a, FeedKind::kErase, kNoPeer, 20);
  // A free slot has no key, as the empty key has no bytes.
  EXPECT_EQ(table.find(empty_tag, nothing, empty), std::nullopt);
  EXPECT_EQ(table.find(tag, bytes("a"), a), std::nullopt);
  EXPECT_EQ(table.find(tag, bytes("a"), empty), std::nullopt);
}

TEST(TableTest, MemoryLimitRefusesAndEverythingElseGoesOn) {
  TempInstance instance;
  WriterOptions options = instance.options();
  options.memory_limit = u64{11} << 20;
  auto attached = Writer::attach(options);
  ASSERT_TRUE(attached.ok());
  Writer& writer = **attached;
  Table& table = *writer.table_for(kTwoCounters, 0)->table;
  u64 accepted = 0;
  u64 refused = 0;
  for (u64 i = 0; i < 100'000; ++i) {
    (set(table, kTwoCounters, fmt::format("key{}", i), {i, 0}, 10).outcome == Outcome::kRefused
         ? refused
         : accepted) += 1;
  }
  EXPECT_GT(accepted, 10'000U);
  EXPECT_GT(refused, 1000U);
  // A slot that becomes free serves the next newcomer.
  table.erase(*table.find(bytes("key7")), FeedKind::kErase, kNoPeer, 11);
  EXPECT_EQ(set(table, kTwoCounters, "newcomer", {1, 1}, 12).outcome, Outcome::kInserted);
  EXPECT_EQ(set(table, kTwoCounters, "another", {1, 1}, 12).outcome, Outcome::kRefused);
  EXPECT_EQ(findings(instance), "");
}

// Random operations against a plain map: growth through many doublings, every key type, several
// strides.
struct ModelCase {
  KeyType type;
  u32 key_bytes;
  std::vector<u32> bits;
};

class TableModelTest : public testing::TestWithParam<int> {};

TEST_P(TableModelTest, BehavesLikeAMap) {
  const ModelCase cases[] = {
      {KeyType::kInteger, 4, {kGpc0}},
      {KeyType::kIp, 4, {kGpc0, kConnCnt, kBytesInCnt}},
      {KeyType::kIpv6, 16, {kBytesInCnt, kBytesOutCnt, kGpt}},
      {KeyType::kString, 73, {kGpc1}},
      {KeyType::kBinary, 20, {}},
      {KeyType::kString, 300, {kGpt, kGpc}},
  };
  const ModelCase& c = cases[GetParam()];
  TableDefinition d = define("model", c.type, c.key_bytes, {}, 0, 5);
  for (const u32 bit : c.bits) {
    d.data_types |= u64{1} << bit;
    d.elements[bit] = data_type(bit).array ? 5 : 1;
  }
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(d, 0)->table;
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  const TableInfo info = *reader->find_table("model");

  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  std::map<std::string, std::vector<u64>> model;
  const auto key_of = [&](u64 n) {
    std::string key = c.type == KeyType::kString
                          ? fmt::format("key-{:x}", n * 0x9e3779b97f4a7c15ULL)
                          : std::string();
    if (c.type != KeyType::kString) {
      key.resize(c.key_bytes);
      for (std::size_t i = 0; i < key.size(); ++i) {
        key[i] = static_cast<char>(n >> (8 * (i % 8)));
      }
    }
    return key;
  };
  for (int step = 0; step < 60'000; ++step) {
    const std::string key = key_of(random() % 30'000);
    if (random() % 4 == 0) {
      if (const auto slot = table.find(bytes(key))) {
        table.erase(*slot, FeedKind::kErase, kNoPeer, 10);
        ASSERT_EQ(model.erase(key), 1U);
      } else {
        ASSERT_EQ(model.count(key), 0U);
      }
    } else {
      std::vector<u64> cells(d.cells());
      for (u64& cell : cells) {
        cell = random() & 0xffffffff;
      }
      const bool known = model.count(key) != 0;
      ASSERT_EQ(set(table, d, key, cells, 10).outcome,
                known ? Outcome::kUpdated : Outcome::kInserted);
      model[key] = cells;
    }
  }
  ASSERT_EQ(table.live(), model.size());
  const auto check = [&](const EntryView& entry) {
    const auto known = model.find(std::string(entry.key_chars()));
    ASSERT_NE(known, model.end());
    std::size_t cell = 0;
    for (u32 bit = 0; bit < kDataTypes; ++bit) {
      for (u32 i = 0; d.has(bit) && i < d.elements[bit]; ++i) {
        ASSERT_EQ(entry.value(bit, i), known->second[cell++]);
      }
    }
  };
  u64 seen = 0;
  Scan scan;
  while (!reader->scan(info, scan, 1000, [&](const EntryView& entry) {
    check(entry);
    ++seen;
    return true;
  })) {
  }
  EXPECT_EQ(seen, model.size());
  SlotCopy copy;
  EntryView entry;
  for (const auto& [key, cells] : model) {
    ASSERT_EQ(reader->lookup(info, bytes(key), copy, entry), Lookup::kFound);
    check(entry);
  }
  EXPECT_EQ(findings(*reader), "");
}

INSTANTIATE_TEST_SUITE_P(KeysAndStrides, TableModelTest, testing::Range(0, 6));

}  // namespace
}  // namespace lineq::shm
