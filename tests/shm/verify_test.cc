#include "shm/verify.h"

#include <fcntl.h>

#include <random>

#include <sys/mman.h>

#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

const TableDefinition kWithServerKey = define("users", KeyType::kString, 37, {kGpc1, kServerKey});

// A dead segment with 2000 entries, and write access to its objects as a vandal would have.
class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    auto writer = attach(instance_);
    Table& table = *writer->table_for(kWithServerKey, 0)->table;
    for (u64 i = 0; i < 2000; ++i) {
      set(table, kWithServerKey, fmt::format("key{}", i),
          {i, writer->intern(fmt::format("s{}", i % 7))}, writer->now());
    }
    for (u64 i = 0; i < 50; ++i) {
      table.erase(*table.find(bytes(fmt::format("key{}", i))), FeedKind::kErase, kNoPeer, 10);
    }
    writer->heartbeat(writer->now());
    chunk_ = 0;
    root_ = map(instance_.objects(), ".root");
    layout_ = reinterpret_cast<RootLayout*>(root_);
    chunk_ = layout_->tables[0].chunk[0].object;
    slots_ = map(instance_.objects(), fmt::format(".{:08x}", chunk_));
    buckets_ = reinterpret_cast<Bucket*>(
        map(instance_.objects(), fmt::format(".{:08x}", layout_->tables[0].cur.object)));
  }

  static u8* map(const std::vector<std::filesystem::path>& objects, const std::string& suffix) {
    for (const auto& path : objects) {
      if (path.string().ends_with(suffix)) {
        const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        void* at = ::mmap(nullptr, std::filesystem::file_size(path), PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd, 0);
        ::close(fd);
        return static_cast<u8*>(at);
      }
    }
    return nullptr;
  }
  u32* slot_head(u32 slot) {
    return reinterpret_cast<u32*>(slots_ + slot * layout_->tables[0].slot_bytes);
  }
  std::string found() { return findings(instance_); }

  TempInstance instance_;
  u8* root_ = nullptr;
  RootLayout* layout_ = nullptr;
  u32 chunk_ = 0;
  u8* slots_ = nullptr;
  Bucket* buckets_ = nullptr;
};

TEST_F(VerifyTest, AHealthySegmentIsClean) {
  EXPECT_EQ(found(), "");
}

TEST_F(VerifyTest, AnOddSequenceIsNamed) {
  slot_head(100)[0] |= 1;
  EXPECT_NE(found().find("slot-sequence: table users slot 100"), std::string::npos) << found();
}

TEST_F(VerifyTest, AKeyLongerThanItsRoomIsNamed) {
  slot_head(100)[1] |= 0xff << kMetaKeyShift;
  EXPECT_NE(found().find("key-length"), std::string::npos) << found();
}

TEST_F(VerifyTest, AnEntryMissingFromTheIndexIsNamed) {
  for (u64 b = 0; b < 512; ++b) {
    if (buckets_[b].word[0] != 0) {
      buckets_[b].word[0] = 0;
      break;
    }
  }
  EXPECT_NE(found().find("index-complete"), std::string::npos) << found();
}

TEST_F(VerifyTest, AWordThatNamesNothingIsNamed) {
  buckets_[17].word[6] = u64{17} << 32 | 0x00ffffff;
  EXPECT_NE(found().find("index-sound: table users bucket 17"), std::string::npos) << found();
}

TEST_F(VerifyTest, AFreedSlotStillInTheIndexIsNamed) {
  slot_head(100)[1] = 0;
  EXPECT_NE(found().find("index-sound"), std::string::npos);
  EXPECT_NE(found().find("live-count"), std::string::npos);
}

TEST_F(VerifyTest, AMissingPassageIsNamed) {
  u64 cleared = 0;
  for (u64 b = 0; b < 512; ++b) {
    cleared += buckets_[b].passed != 0 ? 1U : 0U;
    buckets_[b].passed = 0;
  }
  if (cleared != 0) {
    EXPECT_NE(found().find("index-passed"), std::string::npos) << found();
  } else {
    EXPECT_EQ(found(), "");
  }
}

TEST_F(VerifyTest, AServerKeyOutsideTheDictionaryIsNamed) {
  layout_->header.dictionary_used = 8;
  EXPECT_NE(found().find("dictionary-id"), std::string::npos) << found();
}

TEST_F(VerifyTest, AChangedDefinitionIsNamed) {
  layout_->tables[0].slot_bytes = 48;
  EXPECT_NE(found().find("table-definition"), std::string::npos) << found();
}

TEST_F(VerifyTest, AHighWaterMarkBeyondTheMemoryIsNamedQuickly) {
  layout_->tables[0].high_water = 0xffffffffffULL;
  EXPECT_NE(found().find("slot-there"), std::string::npos) << found();
  auto reader = Reader::open(instance_.source());
  Scan scan;
  u64 seen = 0;
  while (!reader->scan(*reader->find_table("users"), scan, 100'000,
                       [&](const EntryView&) { return ++seen != 0; })) {
  }
  EXPECT_EQ(seen, 1950U);
}

TEST_F(VerifyTest, AMissingObjectIsNamed) {
  std::filesystem::remove(fmt::format("/dev/shm/lineq.{}.{:08x}", instance_.name(), chunk_));
  EXPECT_NE(found().find("object-there"), std::string::npos) << found();
}

// Whatever the bytes are: no crash, no endless loop.
TEST_F(VerifyTest, RandomDamageNeverCrashesAReader) {
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    u8* const areas[] = {root_,
                         root_ + offsetof(RootLayout, objects),
                         root_ + offsetof(RootLayout, tables),
                         root_ + offsetof(RootLayout, peers),
                         slots_,
                         reinterpret_cast<u8*>(buckets_)};
    const u64 sizes[] = {sizeof(RootHeader), 32 * 10, 2048, 512, 65536, 32768};
    const u64 area = random() % 6;
    u64 at = random() % sizes[area];
    if (area == 0 && at < 32) {
      at += 32;  // magic, version and hash are compared first
    }
    areas[area][at] = static_cast<u8>(random());
    auto reader = Reader::open(instance_.source());
    if (!reader) {
      continue;
    }
    (void)verify(*reader);
    (void)reader->peers();
    (void)reader->segment_bytes();
    SlotCopy copy;
    EntryView entry;
    for (const TableInfo& info : reader->tables()) {
      Scan scan;
      for (int step = 0; step < 50 && !reader->scan(info, scan, 100'000,
                                                    [&](const EntryView& e) {
                                                      (void)key_text(info.definition, e.key());
                                                      if (e.has(kServerKey)) {
                                                        (void)reader->dictionary_text(
                                                            static_cast<u32>(e.value(kServerKey)));
                                                      }
                                                      return true;
                                                    });
           ++step) {
      }
      (void)reader->lookup(info, bytes("key77"), copy, entry);
    }
    FeedCursor cursor;
    std::vector<FeedRecord> out(16);
    (void)reader->follow(cursor, out);
  }
}

}  // namespace
}  // namespace lineq::shm
