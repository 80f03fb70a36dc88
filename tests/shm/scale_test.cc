// A table of ten million entries: filled, killed, attached again, scanned, verified. Sanitizer
// builds take fewer.
#include <sys/wait.h>

#include "tests/shm/segment.h"
#include "tests/support/sanitizer.h"

namespace lineq::shm {
namespace {

constexpr u64 kEntries = test::kSanitized ? 200'000 : 10'000'000;

const TableDefinition kUsers = define("users", KeyType::kString, 37, {kGpc1}, 0);

// 36 characters, as a uuid has.
std::string key_of(u64 n) {
  return fmt::format("{:016x}-{:019x}", n * 0x9e3779b97f4a7c15ULL, n);
}

TEST(SlowScaleTest, TenMillionEntriesSurviveAKill) {
  TempInstance instance;
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = Writer::attach(instance.options());
    Table& table = *writer.value()->table_for(kUsers, 0)->table;
    const ColumnMap columns(kUsers, table.info());
    std::array<std::string, Table::kBatch> keys;
    std::array<u64, Table::kBatch> cells{};
    std::array<Change, Table::kBatch> changes;
    std::array<Applied, Table::kBatch> applied;
    for (u64 first = 0; first < kEntries; first += Table::kBatch) {
      for (u64 i = 0; i < Table::kBatch; ++i) {
        keys[i] = key_of(first + i);
        cells[i] = first + i;
        changes[i].key = bytes(keys[i]);
        changes[i].cells = &cells[i];
      }
      table.apply(columns, changes, kNoPeer, 10, applied);
    }
    ::_exit(0);  // as a kill leaves it: no clean stop
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);

  auto writer = attach(instance);
  ASSERT_EQ(writer->attached_as(), Attach::kRecovered);
  Table& table = *writer->table(writer->tables().at(0));
  ASSERT_EQ(table.live(), kEntries);
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  const TableInfo info = *reader->find_table("users");
  // At most the 89 bytes an entry of the design, and what is reserved ahead; the private wheel is
  // not in the segment.
  if (kEntries >= 10'000'000) {
    EXPECT_LT(reader->segment_bytes(), kEntries * 89);
  }
  SlotCopy copy;
  EntryView entry;
  for (u64 n = 0; n < kEntries; n += 997) {
    ASSERT_EQ(reader->lookup(info, bytes(key_of(n)), copy, entry), Lookup::kFound) << n;
    ASSERT_EQ(entry.value(kGpc1), n & 0xffffffff);
  }
  u64 seen = 0;
  Scan scan;
  while (!reader->scan(info, scan, 100'000, [&](const EntryView&) { return ++seen != 0; })) {
  }
  EXPECT_EQ(seen, kEntries);
  writer.reset();
  EXPECT_EQ(findings(*reader), "");
}

}  // namespace
}  // namespace lineq::shm
