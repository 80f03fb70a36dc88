// kill -9 at random moments, under load: what was acknowledged is there, nothing is torn, every
// invariant holds.
#include "tests/crash/kill.h"

#include "shm/words.h"

namespace lineq::shm {
namespace {

constexpr u32 kKeys = 40'000;
const TableDefinition kTable = define("users", KeyType::kString, 37, {kGpc0, kGpc1, kBytesInCnt});

// What the child was about to do, and what it has been told is done. 0 = the key is absent.
struct Journal {
  u64 acknowledged[kKeys];
  u64 intended[kKeys];
};

[[noreturn]] void set_and_erase(Writer& writer, Journal& journal, u64 seed) {
  Table& table = *writer.table_for(kTable, 0)->table;
  std::mt19937_64 random(seed);
  for (u64 value = seed << 32 | 1;; ++value) {
    const u64 n = random() % kKeys;
    const std::string key = fmt::format("key{}", n);
    const bool erase = random() % 3 == 0;
    store_release(journal.intended[n], erase ? 0 : value);
    if (erase) {
      if (const auto slot = table.find(bytes(key))) {
        table.erase(*slot, FeedKind::kErase, kNoPeer, 10);
      }
    } else {
      set(table, kTable, key, {value & 0xffffffff, value * 3, value >> 32}, 10);
    }
    store_release(journal.acknowledged[n], erase ? 0 : value);
  }
}

TEST(SlowKillTest, AcknowledgedChangesSurviveAnyKill) {
  TempInstance instance;
  const Shared<Journal> journal;
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  u64 redone = 0;
  for (u64 round = 1; round <= 700; ++round) {
    work_and_kill(instance, random, [&](Writer& w) { set_and_erase(w, *journal, round); });
    ASSERT_FALSE(HasFatalFailure());

    auto writer = attach(instance);
    ASSERT_EQ(writer->attached_as(), Attach::kRecovered) << writer->attach_note();
    Table& table = *writer->table(writer->tables().at(0));
    u64 live = 0;
    for (u32 n = 0; n < kKeys; ++n) {
      const auto slot = table.find(bytes(fmt::format("key{}", n)));
      u64 value = 0;
      if (slot) {
        ++live;
        const EntryView entry = table.at(*slot);
        value = entry.value(kGpc0) | entry.value(kGpc1) << 32;
        ASSERT_EQ(entry.value(kBytesInCnt), value * 3) << "torn";
      }
      ASSERT_TRUE(value == journal->acknowledged[n] || value == journal->intended[n]) << n;
      redone += journal->acknowledged[n] != journal->intended[n] ? 1U : 0U;
      journal->acknowledged[n] = value;
      journal->intended[n] = value;
    }
    ASSERT_EQ(table.live(), live);
    writer.reset();
    ASSERT_EQ(findings(instance), "") << "round " << round;
  }
  EXPECT_GT(redone, 0U);
}

// Mode acc: what a HAProxy has and the total change together, and a total only grows.
constexpr u32 kCountedKeys = 2000;
const TableDefinition kCounted = define("counted", KeyType::kString, 37, {kGpc0});

struct Counted {
  u64 acknowledged[kCountedKeys];  // of the total
  u64 intended[kCountedKeys];
};

Table& part_of(Writer& writer) {
  return *writer.table_for(kCounted, 10, TableRole::kPart, 0)->table;
}
Table& ledger_of(Writer& writer) {
  return *writer.table_for(kCounted, 10, TableRole::kLedger)->table;
}

[[noreturn]] void count(Writer& writer, Counted& journal, u64 seed) {
  Table& part = part_of(writer);
  Table& ledger = ledger_of(writer);
  std::mt19937_64 random(seed);
  for (;;) {
    const u64 n = random() % kCountedKeys;
    const std::string key = fmt::format("key{}", n);
    const u64 more = 1 + random() % 5;
    const u64 value = journal.acknowledged[n] + more;
    store_release(journal.intended[n], value);
    Together change(writer);
    const u32 tag = part.tag_of(bytes(key));
    const auto in_part = part.find(tag, bytes(key));
    const auto in_ledger = ledger.find(tag, bytes(key));
    u64* image =
        in_part ? change.update(part, *in_part, tag) : change.insert(part, bytes(key), tag, 10);
    u64* total = in_ledger ? change.update(ledger, *in_ledger, tag)
                           : change.insert(ledger, bytes(key), tag, 10);
    put_times(image, Tick{100'000}, Tick{10});
    put_cells(ColumnMap(kCounted, part.info()), &value, Tick{10}, image);
    put_times(total, std::nullopt, Tick{10});
    total[ledger.info().geometry.offset[kGpc0] / 8] += more;
    change.land(kNoPeer, 10);
    store_release(journal.acknowledged[n], value);
  }
}

TEST(SlowKillTest, TotalsOnlyGrowWhateverIsKilled) {
  TempInstance instance;
  const Shared<Counted> journal;
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  u64 redone = 0;
  for (u64 round = 1; round <= 300; ++round) {
    work_and_kill(instance, random, [&](Writer& w) { count(w, *journal, round); });
    ASSERT_FALSE(HasFatalFailure());

    auto writer = attach(instance);
    ASSERT_EQ(writer->attached_as(), Attach::kRecovered) << writer->attach_note();
    const Table& part = part_of(*writer);
    const Table& ledger = ledger_of(*writer);
    for (u32 n = 0; n < kCountedKeys; ++n) {
      const std::string key = fmt::format("key{}", n);
      const auto in_part = part.find(bytes(key));
      const auto in_ledger = ledger.find(bytes(key));
      ASSERT_EQ(in_part.has_value(), in_ledger.has_value()) << key;
      const u64 total = in_ledger ? ledger.at(*in_ledger).value(kGpc0) : 0;
      ASSERT_EQ(in_part ? part.at(*in_part).value(kGpc0) : 0, total) << key;
      ASSERT_TRUE(total == journal->acknowledged[n] || total == journal->intended[n]) << key;
      redone += journal->acknowledged[n] != journal->intended[n] ? 1U : 0U;
      journal->acknowledged[n] = journal->intended[n] = total;
    }
    writer.reset();
    ASSERT_EQ(findings(instance), "") << "round " << round;
  }
  EXPECT_GT(redone, 0U);
}

}  // namespace
}  // namespace lineq::shm
