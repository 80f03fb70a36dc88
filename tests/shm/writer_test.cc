#include "shm/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <thread>

#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/object.h"
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

const TableDefinition kVisitors = define("users", KeyType::kString, 37, {kGpc1});

void fill(Table& table, u64 entries) {
  for (u64 i = 0; i < entries; ++i) {
    ASSERT_EQ(set(table, kVisitors, fmt::format("key{}", i), {i}, 10).outcome, Outcome::kInserted);
  }
}

TEST(WriterTest, ASecondWriterIsRefused) {
  TempInstance instance;
  auto writer = attach(instance);
  EXPECT_EQ(writer->attached_as(), Attach::kCreated);
  auto second = Writer::attach(instance.options());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
}

TEST(WriterTest, ObjectsAreReadableByTheGroupOnlyWhateverTheUmask) {
  TempInstance instance;
  const mode_t before = ::umask(0);
  auto writer = attach(instance);
  (void)writer->table_for(kVisitors, 0);
  ::umask(before);
  EXPECT_GE(instance.objects().size(), 5U);
  for (const auto& path : instance.objects()) {
    EXPECT_EQ(static_cast<unsigned>(std::filesystem::status(path).permissions()), 0640U) << path;
  }
}

TEST(WriterTest, ACleanStopKeepsEverything) {
  TempInstance instance;
  {
    auto writer = attach(instance);
    fill(*writer->table_for(kVisitors, 0)->table, 50'000);
    writer->stop();
  }
  auto writer = attach(instance);
  EXPECT_EQ(writer->attached_as(), Attach::kClean);
  ASSERT_EQ(writer->tables().size(), 1U);
  Table& table = *writer->table(writer->tables()[0]);
  EXPECT_EQ(table.live(), 50'000U);
  for (u64 i = 0; i < 50'000; ++i) {
    const auto slot = table.find(bytes(fmt::format("key{}", i)));
    ASSERT_TRUE(slot.has_value());
    ASSERT_EQ(table.at(*slot).value(kGpc1), i);
  }
  EXPECT_EQ(findings(instance), "");
  // And goes on growing from there.
  for (u64 i = 50'000; i < 120'000; ++i) {
    ASSERT_EQ(set(table, kVisitors, fmt::format("key{}", i), {i}, 10).outcome, Outcome::kInserted);
  }
  EXPECT_EQ(findings(instance), "");
}

TEST(WriterTest, FreedSlotsAreFoundAgainAfterARestart) {
  TempInstance instance;
  {
    auto writer = attach(instance);
    Table& table = *writer->table_for(kVisitors, 0)->table;
    fill(table, 2000);
    for (u64 i = 0; i < 500; ++i) {
      table.erase(*table.find(bytes(fmt::format("key{}", i))), FeedKind::kErase, kNoPeer, 11);
    }
  }
  auto writer = attach(instance);
  Table& table = *writer->table(writer->tables()[0]);
  EXPECT_EQ(table.live(), 1500U);
  for (u64 i = 0; i < 500; ++i) {
    set(table, kVisitors, fmt::format("new{}", i), {i}, 12);
  }
  EXPECT_EQ(table.high_water(), 2000U);
  EXPECT_EQ(findings(instance), "");
}

TEST(WriterTest, AForeignLayoutIsRetiredAndReadersFollow) {
  TempInstance instance;
  {
    auto writer = attach(instance);
    fill(*writer->table_for(kVisitors, 0)->table, 100);
  }
  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(reader->tables().size(), 1U);
  {
    std::fstream root("/dev/shm/" + std::string("lineq.") + instance.name() + ".root",
                      std::ios::in | std::ios::out | std::ios::binary);
    root.seekp(offsetof(RootHeader, abi_hash));
    root.write("foreign!", 8);
  }
  auto writer = attach(instance);
  EXPECT_EQ(writer->attached_as(), Attach::kReplaced);
  EXPECT_NE(writer->attach_note().find("ABI hash"), std::string::npos) << writer->attach_note();
  EXPECT_TRUE(writer->tables().empty());
  EXPECT_EQ(instance.objects().size(), 3U);  // root, feed, dictionary: the old objects are gone
  const auto changed = reader->refresh();
  ASSERT_TRUE(changed.ok());
  EXPECT_TRUE(changed->replaced);
  EXPECT_TRUE(reader->tables().empty());
}

TEST(WriterTest, ALostObjectIsDamageNotACrash) {
  TempInstance instance;
  {
    auto writer = attach(instance);
    fill(*writer->table_for(kVisitors, 0)->table, 100);
  }
  const auto objects = instance.objects();
  for (const auto& path : objects) {
    if (path.string().find("root") == std::string::npos) {
      std::filesystem::remove(path);
    }
  }
  auto writer = attach(instance);
  EXPECT_EQ(writer->attached_as(), Attach::kReplaced);
}

TEST(WriterTest, ASquattedNameIsRefused) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "needs root to make an object of another user";
  }
  TempInstance instance;
  const std::string path = "/dev/shm/lineq." + instance.name() + ".root";
  std::ofstream(path) << "trap";
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  auto writer = Writer::attach(instance.options());
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, ErrorCode::kForeign);
  EXPECT_NE(writer.error().what.find("65534"), std::string::npos) << writer.error().what;
}

// By somebody who waits for it, or by what a lost root has left.
TEST(WriterTest, NamesThatAreTakenArePassedOver) {
  const TempInstance instance;
  const std::vector<u32> taken{1, 2, 4, 7};
  const auto path = [&](u32 number) { return "/dev/shm/" + object_name(instance.name(), number); };
  for (const u32 number : taken) {
    std::ofstream(path(number)) << "trap";
  }
  {
    auto writer = attach(instance);
    fill(*writer->table_for(kVisitors, 0)->table, 50'000);
    EXPECT_EQ(findings(instance), "");
  }
  EXPECT_EQ(attach(instance)->attached_as(), Attach::kRecovered);
  for (const u32 number : taken) {
    EXPECT_EQ(std::filesystem::file_size(path(number)), 4U);
  }
}

// The root, opened and locked as far as a reader can.
int reader_with_lock(const TempInstance& instance) {
  const int fd = ::open(("/dev/shm/" + root_name(instance.name())).c_str(), O_RDONLY | O_CLOEXEC);
  struct flock all {};
  all.l_type = F_RDLCK;
  EXPECT_EQ(::fcntl(fd, F_OFD_SETLK, &all), 0);
  return fd;
}

TEST(WriterTest, AReadersLockKeepsNoWriterOut) {
  const TempInstance instance;
  {
    auto writer = attach(instance);
    fill(*writer->table_for(kVisitors, 0)->table, 5000);
  }
  auto before = Reader::open(instance.source());
  ASSERT_TRUE(before.ok());
  const int fd = reader_with_lock(instance);
  auto writer = attach(instance);
  EXPECT_TRUE(writer->root_moved());
  EXPECT_EQ(writer->attached_as(), Attach::kRecovered);
  Table& table = *writer->table(writer->tables()[0]);
  EXPECT_EQ(table.live(), 5000U);
  EXPECT_EQ(findings(instance), "");
  EXPECT_EQ(Writer::attach(instance.options()).error().code, ErrorCode::kBusy);
  const auto root = "/dev/shm/" + root_name(instance.name());
  EXPECT_EQ(static_cast<unsigned>(std::filesystem::status(root).permissions()), 0640U);
  // Who was there before finds the new one, and the lock on the old one hinders nobody any more.
  bool follows = false;
  for (int i = 0; i < 2000 && !follows; ++i) {
    ::usleep(10'000);
    follows = before->refresh()->replaced;
  }
  EXPECT_TRUE(follows);
  writer->heartbeat(writer->now());
  EXPECT_EQ(before->liveness(), Liveness::kAlive);
  ::close(fd);
  writer.reset();
  writer = attach(instance);
  EXPECT_FALSE(writer->root_moved());
  EXPECT_EQ(writer->table(writer->tables()[0])->live(), 5000U);
}

TEST(WriterTest, OfManyWhoMoveTheRootOneBecomesTheWriter) {
  for (int round = 0; round < 20; ++round) {
    const TempInstance instance;
    {
      auto writer = attach(instance);
      fill(*writer->table_for(kVisitors, 0)->table, 10);
    }
    const int fd = reader_with_lock(instance);
    std::array<std::unique_ptr<Writer>, 4> writers;
    std::array<std::string, 4> why;
    std::vector<std::thread> starts;
    for (std::size_t i = 0; i < writers.size(); ++i) {
      starts.emplace_back([&, i] {
        auto made = Writer::attach(instance.options());
        if (made) {
          writers[i] = made.take();
        } else if (made.error().code != ErrorCode::kBusy) {
          why[i] = made.error().what;
        }
      });
    }
    for (std::thread& start : starts) {
      start.join();
    }
    std::size_t running = 0;
    for (std::size_t i = 0; i < writers.size(); ++i) {
      EXPECT_EQ(why[i], "");
      running += writers[i] == nullptr ? 0U : 1U;
    }
    EXPECT_EQ(running, 1U);
    EXPECT_EQ(findings(instance), "");
    ::close(fd);
  }
}

TEST(WriterTest, OptionsOutOfRangeNameTheRange) {
  WriterOptions options;
  options.instance = "a/b";
  EXPECT_NE(Writer::attach(options).error().what.find("letters"), std::string::npos);
  options.instance = "x";
  options.feed_log2 = 5;
  EXPECT_NE(Writer::attach(options).error().what.find("2^16 to 2^26"), std::string::npos);
}

TEST(WriterTest, NotEvenTheFirstObjectsFit) {
  TempInstance instance;
  WriterOptions options = instance.options();
  options.memory_limit = u64{4} << 20;
  auto writer = Writer::attach(options);
  ASSERT_FALSE(writer.ok());
  EXPECT_EQ(writer.error().code, ErrorCode::kExhausted);
  EXPECT_TRUE(instance.objects().empty());
}

TEST(WriterTest, APeerKeepsItsRecordAndItsCounters) {
  TempInstance instance;
  auto writer = attach(instance);
  const PeerIdentity local{"local", "lineq", "10.0.0.1", 17, PeerDirection::kIncoming, 1};
  const PeerIdentity other{"local", "lineq", "10.0.0.2", 17, PeerDirection::kIncoming, 1};
  const PeerNo a = *writer->peer_up(local, 100);
  const PeerNo b = *writer->peer_up(other, 100);
  EXPECT_NE(a, b);
  writer->add_peer_counter(a, PeerCounter::updates_in, 5);
  writer->peer_down(a, 200);
  PeerIdentity reloaded = local;
  reloaded.remote_pid = 18;
  EXPECT_EQ(*writer->peer_up(reloaded, 300), a);
  EXPECT_EQ(writer->peer_counter(a, PeerCounter::updates_in), 5U);
  EXPECT_EQ(writer->peer_counter(a, PeerCounter::sessions), 2U);

  auto reader = Reader::open(instance.source());
  ASSERT_TRUE(reader.ok());
  const auto peers = reader->peers();
  ASSERT_EQ(peers.size(), 2U);
  EXPECT_EQ(peers[0].remote_pid, 18U);
  EXPECT_EQ(peers[0].address, "10.0.0.1");
  EXPECT_EQ(peers[0].state, PeerState::kUp);
}

TEST(WriterTest, PeerRecordsAreReusedOnlyWhenNoneIsLeft) {
  TempInstance instance;
  auto writer = attach(instance);
  for (u32 i = 0; i < kMaxPeers; ++i) {
    const std::string address = fmt::format("10.0.{}.{}", i / 256, i % 256);
    ASSERT_EQ(writer->peer_up({"h", "lineq", address, 1}, i)->value, i);
  }
  EXPECT_EQ(writer->peer_up({"h", "lineq", "1.1.1.1", 1}, 9999).error().code,
            ErrorCode::kExhausted);
  writer->peer_down(PeerNo{7}, 500);
  writer->peer_down(PeerNo{3}, 600);
  EXPECT_EQ(*writer->peer_up({"h", "lineq", "1.1.1.1", 1}, 9999), PeerNo{7});  // gone longest
}

TEST(WriterTest, ManyTablesAndThenNoMore) {
  TempInstance instance;
  auto writer = attach(instance);
  for (u32 i = 0; i < kMaxTables; ++i) {
    ASSERT_TRUE(writer->table_for(define(fmt::format("t{}", i), KeyType::kIp, 4, {kGpc0}), 0).ok())
        << i;
  }
  const auto one_more = writer->table_for(define("more", KeyType::kIp, 4, {kGpc0}), 0);
  ASSERT_FALSE(one_more.ok());
  EXPECT_NE(one_more.error().what.find("2048"), std::string::npos);
  EXPECT_EQ(
      writer->table_for(define("t5", KeyType::kIp, 4, {kGpc0}), 0)->table->info().definition.name,
      "t5");
}

TEST(WriterTest, TheLongestExpiryToldCounts) {
  TempInstance instance;
  auto writer = attach(instance);
  const auto with = [](u64 expire) { return define("t", KeyType::kIp, 4, {kGpc0}, expire); };
  Table* table = writer->table_for(with(1000), 0)->table;
  EXPECT_EQ(writer->table_for(with(5000), 0)->table, table);
  EXPECT_EQ(table->expire_ms(), 5000U);
  (void)writer->table_for(with(2000), 0);
  EXPECT_EQ(table->expire_ms(), 5000U);
  (void)writer->table_for(with(0), 0);
  EXPECT_EQ(table->expire_ms(), 0U);  // never
}

}  // namespace
}  // namespace lineq::shm
