#include "shm/reader.h"

#include <grp.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <set>
#include <thread>

#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

const TableDefinition kUsers = define("users", KeyType::kString, 37, {kGpc1});

TEST(ReaderTest, NoSegmentIsAClearAnswer) {
  TempInstance instance;
  const auto reader = Reader::open(instance.source());
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.error().code, ErrorCode::kNotFound);
  EXPECT_NE(reader.error().what.find(instance.name()), std::string::npos);
}

TEST(ReaderTest, AStrangerIsToldWhichGroupMayRead) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to be somebody else";
  }
  const TempInstance instance;
  const auto writer = attach(instance);
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) {
      ::_exit(127);
    }
    const auto refused = Reader::open(instance.source());
    const bool named = !refused && refused.error().what.find(
                                       "Permission denied (members of group root may read it)") !=
                                       std::string::npos;
    ::_exit(named ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(ReaderTest, WhatBelongsToSomebodyElseIsNotRead) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to give something away";
  }
  constexpr uid_t kNobody = 65534;
  const TempInstance instance;
  auto writer = attach(instance);
  set(*writer->table_for(kUsers, 0)->table, kUsers, "anna", {7}, 10);
  Source source = instance.source();
  source.owner_uid = ::geteuid();
  const std::string root = "/dev/shm/lineq." + instance.name() + ".root";
  // All but the root: it says that there is an entry, and nobody's word is taken for which.
  for (const auto& path : instance.objects()) {
    ASSERT_EQ(::chown(path.c_str(), path == root ? 0 : kNobody, 0), 0);
  }
  auto reader = Reader::open(source);
  ASSERT_TRUE(reader.ok()) << reader.error().what;
  ASSERT_EQ(reader->tables().size(), 1U);
  Scan scan;
  reader->scan(reader->tables()[0], scan, 4096, [](const EntryView&) {
    ADD_FAILURE() << "an entry";
    return true;
  });
  SlotCopy copy;
  EntryView entry;
  EXPECT_NE(reader->lookup(reader->tables()[0], bytes("anna"), copy, entry), Lookup::kFound);
  // A whole segment, as its maker would be the writer.
  ASSERT_EQ(::chown(root.c_str(), kNobody, 0), 0);
  const auto refused = Reader::open(source);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kForeign);
  EXPECT_EQ(refused.error().what,
            "shared memory object lineq." + instance.name() + ".root: owner 65534, expected 0");
}

TEST(ReaderTest, WaitsForASegmentThatComesUp) {
  TempInstance instance;
  std::unique_ptr<Writer> writer;
  std::thread later([&] { writer = attach(instance); });
  Source source = instance.source();
  source.patience_ms = 20'000;
  const auto reader = Reader::open(source);
  later.join();
  EXPECT_TRUE(reader.ok());
}

TEST(ReaderTest, TellsAliveFromDown) {
  TempInstance instance;
  auto writer = attach(instance);
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(reader->liveness(), Liveness::kAlive);
  writer.reset();
  EXPECT_EQ(reader->liveness(), Liveness::kDown);
  writer = attach(instance);
  const auto changed = reader->refresh();
  ASSERT_TRUE(changed.ok());
  EXPECT_TRUE(changed->epoch);
  EXPECT_FALSE(changed->replaced);
  EXPECT_EQ(reader->liveness(), Liveness::kAlive);
}

TEST(ReaderTest, LivenessByLockStateAndAge) {
  EXPECT_EQ(liveness_of(true, SegmentState::kLive, 0), Liveness::kAlive);
  EXPECT_EQ(liveness_of(true, SegmentState::kLive, kStallMs), Liveness::kStalled);
  EXPECT_EQ(liveness_of(true, SegmentState::kAttaching, 0), Liveness::kRestarting);
  EXPECT_EQ(liveness_of(false, SegmentState::kLive, 0), Liveness::kDown);
  EXPECT_EQ(liveness_of(false, SegmentState::kStopped, 0), Liveness::kDown);
}

TEST(ReaderTest, SeesTablesThatAppearLater) {
  TempInstance instance;
  auto writer = attach(instance);
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->tables().empty());
  Table& table = *writer->table_for(kUsers, 0)->table;
  set(table, kUsers, "k", {1}, 10);
  EXPECT_TRUE(reader->refresh()->directory);
  ASSERT_EQ(reader->tables().size(), 1U);
  EXPECT_FALSE(reader->refresh()->directory);
  EXPECT_EQ(reader->stats(reader->tables()[0]).live, 1U);
}

TEST(ReaderTest, ASectionTableIsFoundWithAndWithoutItsSlash) {
  TempInstance instance;
  auto writer = attach(instance);
  (void)writer->table_for(define("/t1", KeyType::kIp, 4, {kGpc0}), 0);
  auto reader = Reader::open(instance.source());
  EXPECT_NE(reader->find_table("/t1"), nullptr);
  EXPECT_EQ(reader->find_table("t1"), reader->find_table("/t1"));
  EXPECT_EQ(reader->find_table("t2"), nullptr);
}

TEST(ReaderTest, ExpiredEntriesAreNotShown) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto brief = define("b", KeyType::kString, 37, {kGpc1}, 1);
  Table& table = *writer->table_for(brief, 0)->table;
  set(table, brief, "k", {1}, 0);
  writer->heartbeat(1000);
  auto reader = Reader::open(instance.source());
  const TableInfo& info = *reader->find_table("b");
  SlotCopy copy;
  EntryView entry;
  EXPECT_EQ(reader->lookup(info, bytes("k"), copy, entry), Lookup::kAbsent);
  Scan scan;
  u64 seen = 0;
  EXPECT_TRUE(reader->scan(info, scan, 100, [&](const EntryView&) { return ++seen != 0; }));
  EXPECT_EQ(seen, 0U);
}

TEST(ReaderTest, AScanCanBeTakenUpAgainByAnotherReader) {
  TempInstance instance;
  auto writer = attach(instance);
  Table& table = *writer->table_for(kUsers, 0)->table;
  for (u64 i = 0; i < 3000; ++i) {
    set(table, kUsers, fmt::format("key{}", i), {i}, writer->now());
  }
  std::set<std::string> seen;
  Scan page;
  bool done = false;
  while (!done) {
    auto reader = Reader::open(instance.source());
    const TableInfo info = *reader->find_table("users");
    Scan scan;
    scan.next = page.next;
    u64 on_page = 0;
    done = reader->scan(info, scan, 100'000, [&](const EntryView& entry) {
      EXPECT_TRUE(seen.insert(std::string(entry.key_chars())).second);
      return ++on_page < 700;
    });
    page.next = scan.next;
  }
  EXPECT_EQ(seen.size(), 3000U);
}

TEST(ReaderTest, ACopyOfTheObjectsReadsLikeTheSegment) {
  TempInstance instance;
  const std::filesystem::path copy_dir = std::filesystem::temp_directory_path() / instance.name();
  std::filesystem::create_directory(copy_dir);
  {
    auto writer = attach(instance);
    Table& table = *writer->table_for(kUsers, 0)->table;
    for (u64 i = 0; i < 5000; ++i) {
      set(table, kUsers, fmt::format("key{}", i), {i}, writer->now());
    }
    writer->heartbeat(writer->now());
    for (const auto& path : instance.objects()) {
      std::filesystem::copy(path, copy_dir / path.filename());
    }
  }
  instance.remove();
  Source source;
  source.directory = copy_dir;
  source.instance = instance.name();
  auto reader = Reader::open(source);
  ASSERT_TRUE(reader.ok()) << reader.error().what;
  EXPECT_EQ(reader->liveness(), Liveness::kDown);
  u64 seen = 0;
  Scan scan;
  EXPECT_TRUE(reader->scan(*reader->find_table("users"), scan, 100'000,
                           [&](const EntryView&) { return ++seen != 0; }));
  EXPECT_EQ(seen, 5000U);
  EXPECT_EQ(findings(*reader), "");
  std::filesystem::remove_all(copy_dir);
}

TEST(ReaderTest, DictionaryTextIsBounded) {
  TempInstance instance;
  auto writer = attach(instance);
  const u32 id = writer->intern("server-1");
  EXPECT_EQ(writer->intern("server-1"), id);
  EXPECT_EQ(writer->intern(""), 0U);
  EXPECT_EQ(writer->intern(std::string(5000, 'x')), 0U);
  auto reader = Reader::open(instance.source());
  EXPECT_EQ(reader->dictionary_text(id), "server-1");
  EXPECT_EQ(reader->dictionary_text(0), "");
  EXPECT_EQ(reader->dictionary_text(id + 1000), "");
  EXPECT_EQ(reader->dictionary_text(0xffffffff), "");
}

TEST(ReaderTest, KeysAsTextAndBack) {
  const auto round = [](KeyType type, u32 key_bytes, std::string_view text, std::string_view key) {
    const auto d = define("t", type, key_bytes, {});
    EXPECT_EQ(key_text(d, bytes(key)), text);
    EXPECT_EQ(*key_from_text(d, text), key);
  };
  round(KeyType::kInteger, 4, "4294967295", "\xff\xff\xff\xff");
  round(KeyType::kInteger, 4, "7", std::string_view("\0\0\0\7", 4));
  round(KeyType::kIp, 4, "192.0.2.1", std::string_view("\xc0\0\2\1", 4));
  round(KeyType::kIpv6, 16, "2001:db8::2",
        std::string_view("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2", 16));
  round(KeyType::kString, 33, "/str/1", "/str/1");
  round(KeyType::kBinary, 4, "5102FF00", std::string_view("\x51\x02\xff\0", 4));
  for (const auto& [type, text] : {std::pair{KeyType::kInteger, "-1"},
                                   {KeyType::kInteger, "4294967296"},
                                   {KeyType::kInteger, ""},
                                   {KeyType::kIp, "1.2.3"},
                                   {KeyType::kIpv6, "::g"},
                                   {KeyType::kBinary, "abc"},
                                   {KeyType::kBinary, "zz"},
                                   {KeyType::kBinary, "0011223344"}}) {
    EXPECT_FALSE(key_from_text(define("t", type, 4, {}), text).ok()) << text;
  }
  EXPECT_FALSE(key_from_text(define("t", KeyType::kString, 4, {}), "abcd").ok());
}

// A table grows from empty through many index generations while another process looks up keys that
// must be there.
TEST(SlowReaderTest, NoInsertedKeyIsEverMissedWhileTheTableGrows) {
  constexpr u64 kKeys = 400'000;
  TempInstance instance;
  auto* inserted = static_cast<u64*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(inserted, MAP_FAILED);
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = Writer::attach(instance.options());
    Table& table = *writer.value()->table_for(kUsers, 0)->table;
    for (u64 i = 0; i < kKeys; ++i) {
      set(table, kUsers, fmt::format("key{}", i), {i}, writer.value()->now());
      store_release(*inserted, i + 1);
    }
    ::_exit(0);
  }
  Source source = instance.source();
  source.patience_ms = 20'000;
  auto reader = Reader::open(source);
  ASSERT_TRUE(reader.ok()) << reader.error().what;
  u64 missed = 0;
  u64 looked = 0;
  u64 random = 1;
  SlotCopy copy;
  EntryView entry;
  const u64 deadline = monotonic_ms() + 60'000;
  while (load_acquire(*inserted) < kKeys && monotonic_ms() < deadline) {
    (void)reader->refresh();
    const TableInfo* info = reader->find_table("users");
    const u64 known = load_acquire(*inserted);
    for (int i = 0; info != nullptr && known != 0 && i < 1000; ++i) {
      random = random * 6364136223846793005ULL + 1442695040888963407ULL;
      const u64 n = (random >> 33) % known;
      const Lookup found = reader->lookup(*info, bytes(fmt::format("key{}", n)), copy, entry);
      ++looked;
      if (found == Lookup::kAbsent || (found == Lookup::kFound && entry.value(kGpc1) != n)) {
        ++missed;
      }
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::munmap(inserted, 4096);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(missed, 0U);
  EXPECT_GT(looked, 1000U);
  EXPECT_EQ(findings(instance), "");
}

}  // namespace
}  // namespace lineq::shm
