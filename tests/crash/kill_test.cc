// kill -9 at random moments, under load: what was acknowledged is there, nothing is torn, every
// invariant holds.
#include <csignal>
#include <random>

#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/words.h"
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

constexpr u32 kKeys = 40'000;
const TableDefinition kTable = define("users", KeyType::kString, 37, {kGpc0, kGpc1, kBytesInCnt});

// What the child was about to do, and what it has been told is done. 0 = the key is absent.
struct Journal {
  u64 acknowledged[kKeys];
  u64 intended[kKeys];
};

[[noreturn]] void work(const TempInstance& instance, Journal& journal, u64 seed) {
  auto writer = Writer::attach(instance.options());
  if (!writer) {
    ::_exit(1);
  }
  Table& table = *writer.value()->table_for(kTable, 0)->table;
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
  auto* journal = static_cast<Journal*>(
      ::mmap(nullptr, sizeof(Journal), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(journal, MAP_FAILED);
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  u64 redone = 0;
  for (u64 round = 1; round <= 700; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      work(instance, *journal, round);
    }
    // Not before it works; then at a random instant.
    const u64 deadline = monotonic_ms() + 10'000;
    Source source = instance.source();
    source.patience_ms = 10'000;
    auto reader = Reader::open(source);
    ASSERT_TRUE(reader.ok());
    const u64 tail = reader->feed_end().position;
    while (reader->feed_end().position == tail && monotonic_ms() < deadline) {
      ::sched_yield();
    }
    const timespec pause{0, static_cast<long>(random() % 8'000'000)};
    ::nanosleep(&pause, nullptr);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));

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
  ::munmap(journal, sizeof(Journal));
}

}  // namespace
}  // namespace lineq::shm
