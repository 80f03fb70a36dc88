// Writer and readers at the same time, with values that check themselves. The parts run as threads
// over one mapping, so that ThreadSanitizer sees them (it sees nothing across two mappings of one
// object); the whole runs over real objects.
#include <atomic>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "shm/feed.h"
#include "shm/index.h"
#include "shm/seqlock.h"
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

constexpr u64 kRunMs = 1500;
constexpr u64 kPatienceMs = 30'000;
constexpr u32 kWords = 8;

struct alignas(64) Slot {
  u32 seq = 0;
  u32 pad = 0;
  u64 word[kWords] = {};
};

u64 mixed(u64 value, u32 i) {
  return (value + i) * 0x9e3779b97f4a7c15ULL;
}

// Runs `write` on one thread and `read` on two until the time is over; longer while `enough` is
// false, as on a busy machine the threads may have run one after the other only.
template <typename Write, typename Read, typename Enough>
void contend(Write write, Read read, Enough enough) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed) && read()) {
      }
    });
  }
  const u64 began = monotonic_ms();
  const auto over = [&] {
    const u64 ran = monotonic_ms() - began;
    return ran >= kPatienceMs || (ran >= kRunMs && enough());
  };
  for (u64 value = 1, rounds = 1; !over(); ++value, ++rounds) {
    for (int i = 0; i < 100; ++i) {
      write(++value);
    }
    if (rounds % 128 == 0) {
      std::this_thread::yield();  // readers have their turn also where there is one processor
    }
  }
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& reader : readers) {
    reader.join();
  }
}

u64 torn(const u64 (&copy)[kWords]) {
  for (u32 i = 1; i < kWords; ++i) {
    if (copy[i] != mixed(copy[0], i)) {
      return 1;
    }
  }
  return 0;
}

void store_image(Slot& slot, u64 value) {
  store_relaxed(slot.word[0], value);
  for (u32 i = 1; i < kWords; ++i) {
    store_relaxed(slot.word[i], mixed(value, i));
  }
}

TEST(RaceTest, ASlotIsNeverReadTorn) {
  Slot slot;
  seqlock_write(slot.seq, [&] { store_image(slot, 0); });
  std::atomic<u64> reads{0};
  std::atomic<u64> wrong{0};
  contend([&](u64 value) { seqlock_write(slot.seq, [&] { store_image(slot, value); }); },
          [&] {
            u64 copy[kWords];
            const bool whole = seqlock_read(slot.seq, [&] {
              for (u32 i = 0; i < kWords; ++i) {
                copy[i] = load_relaxed(slot.word[i]);
              }
            });
            if (whole) {
              reads.fetch_add(1, std::memory_order_relaxed);
              wrong.fetch_add(torn(copy), std::memory_order_relaxed);
            }
            return true;
          },
          [&] { return reads > 1000U; });
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(reads, 1000U);
}

// The same check on a writer that leaves the odd step out must find torn reads, or it proves
// nothing.
TEST(RaceTest, TheCheckFindsAWriterWithoutTheOddStep) {
  Slot slot;
  store_image(slot, 0);
  std::atomic<u64> wrong{0};
  contend(
      [&](u64 value) {
        store_image(slot, value);
        store_release(slot.seq, slot.seq + 2);
      },
      [&] {
        u64 copy[kWords];
        const bool whole = seqlock_read(slot.seq, [&] {
          for (u32 i = 0; i < kWords; ++i) {
            copy[i] = load_relaxed(slot.word[i]);
            cpu_pause();  // widens the window
          }
        });
        wrong.fetch_add(whole ? torn(copy) : 0, std::memory_order_relaxed);
        return wrong.load(std::memory_order_relaxed) == 0;
      },
      [&] { return wrong > 0U; });
  EXPECT_GT(wrong, 0U);
}

TEST(RaceTest, AnIndexedEntryIsAlwaysFoundAmongChurn) {
  std::vector<Bucket> buckets(64);
  BucketIndex index(buckets.data(), 6);
  // These stay; others come and go around them in the same few homes.
  for (u32 slot = 0; slot < 100; ++slot) {
    index.put(slot % 8, slot);
  }
  std::atomic<u64> missed{0};
  std::atomic<u64> looked{0};
  std::mt19937_64 random(1);
  std::vector<u32> guests;
  contend(
      [&](u64) {
        if (guests.size() < 150 && random() % 2 == 0) {
          const auto slot = static_cast<u32>(1000 + random() % 100'000);
          index.put(slot % 8, slot);
          guests.push_back(slot);
        } else if (!guests.empty()) {
          const std::size_t at = random() % guests.size();
          index.remove(guests[at] % 8, guests[at]);
          guests[at] = guests.back();
          guests.pop_back();
        }
      },
      [&] {
        for (u32 slot = 0; slot < 100; ++slot) {
          missed.fetch_add(index.has(slot % 8, slot) ? 0 : 1, std::memory_order_relaxed);
          looked.fetch_add(1, std::memory_order_relaxed);
        }
        return true;
      },
      [&] { return looked > 1000U; });
  EXPECT_EQ(missed, 0U);
  EXPECT_GT(looked, 1000U);
}

TEST(RaceTest, AFollowerGetsEveryRecordOrIsToldOfTheOverrun) {
  constexpr u32 kLog2 = 16;
  RootHeader header{};
  std::vector<u64> ring(1U << kLog2);
  Feed feed(&header, ring.data(), kLog2);
  std::atomic<u64> wrong{0};
  std::atomic<u64> records{0};
  contend(
      [&](u64) {
        const auto n = static_cast<u32>(feed.tail());
        feed.append({n, static_cast<u16>(n & 0xfff), FeedKind::kUpdate, static_cast<u16>(n * 7)});
      },
      [&] {
        thread_local FeedCursor cursor;
        thread_local std::vector<FeedRecord> out(256);
        const u64 from = cursor.position;
        const Followed followed = follow(header, ring.data(), kLog2, cursor, out);
        for (u32 i = 0; i < followed.records; ++i) {
          const auto n = static_cast<u32>(from + i);
          const bool right = out[i].slot == n && out[i].table == (n & 0xfff) &&
                             out[i].origin == static_cast<u16>(n * 7);
          wrong.fetch_add(right ? 0 : 1, std::memory_order_relaxed);
        }
        records.fetch_add(followed.records, std::memory_order_relaxed);
        return true;
      },
      [&] { return records > 0U; });
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(records, 0U);
}

// Everything together over real objects: a scanner and a looker beside a writer that inserts,
// updates, erases and grows.
TEST(SlowRaceTest, ReadersOfALiveSegmentSeeWholeAndPermanentEntries) {
  constexpr u64 kPermanent = 2000;
  const TableDefinition d = define("users", KeyType::kString, 37, {kGpc0, kGpc1, kBytesInCnt});
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(d, 0)->table;
  const auto cells = [](u64 value) {
    return std::vector<u64>{value & 0xffffffff, value * 3, value >> 32};
  };
  for (u64 i = 0; i < kPermanent; ++i) {
    set(table, d, fmt::format("permanent{}", i), cells(i), writer->now());
  }
  std::atomic<u64> wrong{0};
  std::atomic<u64> scans{0};
  std::atomic<u64> lookups{0};
  const auto whole = [](const EntryView& e) {
    return e.value(kBytesInCnt) == 3 * (e.value(kGpc0) | e.value(kGpc1) << 32);
  };
  std::mt19937_64 random(1);
  contend(
      [&](u64 value) {
        const std::string guest = fmt::format("guest{}", random() % 50'000);
        if (random() % 3 == 0) {
          if (const auto slot = table.find(bytes(guest))) {
            table.erase(*slot, FeedKind::kErase, kNoPeer, 10);
          }
        } else {
          set(table, d, guest, cells(value), 1'000'000);
        }
        set(table, d, fmt::format("permanent{}", random() % kPermanent), cells(value), 1'000'000);
      },
      [&] {
        auto reader = Reader::open(instance.source());
        if (!reader) {
          wrong.fetch_add(1);
          return false;
        }
        const TableInfo info = *reader->find_table("users");
        u64 permanent = 0;
        Scan scan;
        while (!reader->scan(info, scan, 1000, [&](const EntryView& entry) {
          wrong.fetch_add(whole(entry) ? 0 : 1, std::memory_order_relaxed);
          permanent += entry.key_chars().starts_with("permanent") ? 1U : 0U;
          return true;
        })) {
        }
        wrong.fetch_add(permanent == kPermanent ? 0 : 1, std::memory_order_relaxed);
        scans.fetch_add(1, std::memory_order_relaxed);
        SlotCopy copy;
        EntryView entry;
        for (u64 i = 0; i < kPermanent; ++i) {
          const Lookup found =
              reader->lookup(info, bytes(fmt::format("permanent{}", i)), copy, entry);
          const bool right = found == Lookup::kBusy || (found == Lookup::kFound && whole(entry));
          wrong.fetch_add(right ? 0 : 1, std::memory_order_relaxed);
          lookups.fetch_add(1, std::memory_order_relaxed);
        }
        return true;
      },
      [&] { return lookups > 0U; });
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(scans, 0U);
  EXPECT_GT(lookups, 0U);
  EXPECT_EQ(findings(instance), "");
}

}  // namespace
}  // namespace lineq::shm
