// Too little memory for the segment, too little room for what is kept on disk.
//
// Expected: lineqd goes on with what it has, says once what lacks and where, counts it, loses
// nothing that is there, and does the rest by itself as soon as it can. Nobody dies of SIGBUS.
#include <filesystem>
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "shm/reader.h"
#include "shm/writer.h"
#include "tests/e2e/world.h"
#include "tests/support/sanitizer.h"
#include "tests/support/small_mount.h"

namespace lineq::test {
namespace {

using shm::DaemonCounter;
using shm::TableCounter;

constexpr u64 kMiB = u64{1} << 20;

class ShortageTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!memory_.trouble().empty()) {
      GTEST_SKIP() << memory_.trouble();
    }
    world_.lineq.set("LINEQ_FEED_LOG2", "16");
    world_.lineq.set("LINEQ_SNAPSHOT_SECONDS", "0");
  }

  u64 counter(DaemonCounter which) {
    const auto reader = shm::Reader::open({.directory = "", .instance = world_.lineq.name()});
    return reader ? reader->counter(which) : 0;
  }
  shm::TableStats stats(std::string_view table = "plain") {
    const auto reader = shm::Reader::open({.directory = "", .instance = world_.lineq.name()});
    const shm::TableInfo* const info = reader ? reader->find_table(table) : nullptr;
    return info == nullptr ? shm::TableStats{} : reader->stats(*info);
  }
  static std::string key(u64 n) { return fmt::format("visitor-{:08}", n); }
  // All of them are acknowledged.
  void tell(FakePeer& peer, u64 from, u64 to, u64 value) {
    for (u64 n = from; n < to; ++n) {
      peer.update(1, key(n), plain_row(value));
      if (n % 1000 == 999) {
        ASSERT_TRUE(peer.pump()) << peer.why_ended() << world_.story();
      }
    }
    ASSERT_TRUE(peer.pump_until([&] { return peer.all_acked(); }))
        << peer.why_ended() << world_.story();
  }
  // `receiver` has that value of that entry.
  testing::AssertionResult arrives(FakePeer& receiver, u64 n, u64 value) {
    const bool came = receiver.pump_until([&] {
      const ReceivedRow* const row = receiver.row("/plain", key(n));
      return row != nullptr && row->cells[0] == value;
    });
    return came ? testing::AssertionSuccess()
                : testing::AssertionFailure()
                      << key(n) << " has not come: " << receiver.why_ended() << world_.story();
  }
  void expect_sound() {
    EXPECT_TRUE(world_.daemon.running()) << world_.story();
    EXPECT_EQ(world_.lineq.verify(), "") << world_.story();
    const Finished dump = world_.lineq.dump({"-t", "plain"});
    EXPECT_EQ(dump.exit_code, 0) << dump.err;
  }

  SmallMount memory_{"/dev/shm", 64 * kMiB};  // first: before there is a thread
  World world_;
};

TEST_F(ShortageTest, TooLittleForAnEmptySegmentIsSaidWithNumbers) {
  memory_.resize(4 * kMiB);
  Process small = world_.lineq.start_lineqd("small");
  EXPECT_EQ(small.wait(), 1);
  const std::string err = small.err();
  EXPECT_NE(err.find(fmt::format("where {} of {} are free: No space left", 4 * kMiB, 4 * kMiB)),
            std::string::npos)
      << err;
  EXPECT_NE(err.find("an empty segment takes 8650752 bytes: make room in /dev/shm"),
            std::string::npos)
      << err;
  EXPECT_TRUE(world_.lineq.objects().empty());
  memory_.resize(64 * kMiB);
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
}

// A name without its memory is what a kill at the wrong moment leaves.
TEST_F(ShortageTest, ARootWhoseMakerDiedGetsItsMemoryBeforeItIsTouched) {
  const std::string root = fmt::format("/dev/shm/lineq.{}.root", world_.lineq.name());
  write_file(root, "");
  std::filesystem::permissions(root, std::filesystem::perms(0640));
  std::filesystem::resize_file(root, u64{15} << 19);
  memory_.fill();
  EXPECT_EQ(world_.lineq.dump({}).exit_code, 2) << "not a signal's";
  Process small = world_.lineq.start_lineqd("small");
  EXPECT_EQ(small.wait(), 1) << "not a signal's";
  EXPECT_NE(small.err().find("No space left"), std::string::npos) << small.err();
  memory_.unfill();
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  EXPECT_EQ(world_.lineq.verify(), "");
}

class FullTableTest : public ShortageTest, public testing::WithParamInterface<bool> {};

TEST_P(FullTableTest, ThoseWhoAreThereAreServedAndItGrowsAgainWhenThereIsRoom) {
  const bool evict = GetParam();
  world_.lineq.set("LINEQ_FULL_TABLE", evict ? "evict" : "refuse");
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  auto writer = world_.fake("writer");
  auto receiver = world_.fake("receiver");
  ASSERT_TRUE(writer->connect() && receiver->connect());
  writer->define(1, plain_table());
  tell(*writer, 0, 1000, 1);
  memory_.fill(kMiB);  // somebody else
  constexpr u64 kMany = 60'000;
  tell(*writer, 1000, kMany, 2);

  const shm::TableStats full = stats();
  EXPECT_GT(full.counter(evict ? TableCounter::evicted : TableCounter::refused), 1000U)
      << world_.story();
  EXPECT_EQ(full.counter(evict ? TableCounter::refused : TableCounter::evicted), 0U);
  EXPECT_EQ(full.live + full.counter(TableCounter::evicted) + full.counter(TableCounter::refused),
            kMany);
  EXPECT_GT(counter(DaemonCounter::provision_failures), 0U);
  const auto told = world_.log_lines("no memory for more than");
  EXPECT_GE(told.size(), 1U) << world_.story();
  EXPECT_LT(told.size(), 60U) << "not one for each entry";
  // Who is there goes on; here the oldest, or the newest.
  const u64 there = evict ? kMany - 1 : 0;
  tell(*writer, there, there + 1, 77);
  EXPECT_TRUE(arrives(*receiver, there, 77));
  expect_sound();
  EXPECT_EQ(http_get(world_.lineq.web_port(), "/tables").status, 200);

  memory_.unfill();
  tell(*writer, kMany, 2 * kMany, 3);
  EXPECT_TRUE(arrives(*receiver, 2 * kMany - 1, 3));
  const shm::TableStats grown = stats();
  EXPECT_GT(grown.live, full.live + kMany / 2) << world_.story();
  expect_sound();
  world_.kill_daemon();
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  EXPECT_EQ(stats().live, grown.live);
  expect_sound();
  EXPECT_EQ(http_get(world_.lineq.web_port(), "/healthz").status, 200);
}

INSTANTIATE_TEST_SUITE_P(EvictOrRefuse, FullTableTest, testing::Bool(),
                         [](const auto& param) { return param.param ? "Evict" : "Refuse"; });

class NewTableTest : public ShortageTest, public testing::WithParamInterface<bool> {};

TEST_P(NewTableTest, ComesWithAllThatWasToldMeanwhileWhenThereIsRoom) {
  if (!have_haproxys()) {
    GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
  }
  const bool acc = GetParam();
  if (acc) {
    world_.lineq.set("SERVICE_MODE", "acc");
  }
  // First, as HAProxy keeps something in /dev/shm too.
  ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
  ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
  memory_.fill(shm::least_segment_bytes(16));
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  ASSERT_EQ(world_.at(0).set_table("lq/plain", "k", "data.gpc0 5"), "");
  ASSERT_TRUE(wait_until([&] {
    return !world_.log_lines("its updates are ignored until there is some").empty();
  })) << world_.story();
  EXPECT_TRUE(wait_until([&] { return counter(DaemonCounter::provision_failures) >= 4; }))
      << "tried again" << world_.story();
  EXPECT_LE(world_.log_lines("its updates are ignored").size(), 2U) << world_.story();
  EXPECT_EQ(world_.lineq.verify(), "");

  memory_.unfill();
  const auto shown = [&] {
    return acc ? parse_show_table(world_.lineq.dump({"--acc", "-t", "plain"}).out)
                     .value("k", "gpc0")
               : world_.at(1).show_table("lq/plain").value("k", "gpc0");
  };
  EXPECT_TRUE(wait_until([&] { return shown() == "5"; })) << shown() << world_.story();
  EXPECT_FALSE(world_.log_lines("there is memory for it now").empty());
  EXPECT_EQ(world_.lineq.verify(), "");
}

INSTANTIATE_TEST_SUITE_P(OperatorOrAcc, NewTableTest, testing::Bool(),
                         [](const auto& param) { return param.param ? "Acc" : "Plain"; });

TEST_F(ShortageTest, NoAddressSpaceForGrowthIsAsNoMemory) {
  if (kSanitized) {
    GTEST_SKIP() << "the sanitizer wants all of the address space";
  }
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  auto writer = world_.fake("writer");
  ASSERT_TRUE(writer->connect());
  writer->define(1, plain_table());
  memory_.resize(128 * kMiB);
  constexpr u64 kFirst = 180'000;  // the piece of the table that is asked for next is of 24 MiB
  tell(*writer, 0, kFirst, 1);
  const auto limit = [&](u64 bytes) {
    const rlimit both{bytes, RLIM_INFINITY};
    return ::prlimit(world_.daemon.pid(), RLIMIT_AS, &both, nullptr);
  };
  const std::string statm = read_file(fmt::format("/proc/{}/statm", world_.daemon.pid()));
  ASSERT_EQ(limit(number(statm) * 4096 + 8 * kMiB), 0);  // for the heap
  constexpr u64 kMany = 300'000;
  tell(*writer, kFirst, kMany, 2);
  const u64 live = stats().live;
  EXPECT_GT(counter(DaemonCounter::provision_failures), 0U) << world_.story();
  EXPECT_GT(stats().counter(TableCounter::evicted), 0U);
  EXPECT_FALSE(world_.log_lines("no memory for more than").empty()) << world_.story();
  expect_sound();
  ASSERT_EQ(limit(RLIM_INFINITY), 0);
  constexpr u64 kMore = 60'000;
  tell(*writer, kMany, kMany + kMore, 3);
  EXPECT_GT(stats().live, live + kMore / 2) << world_.story();
  expect_sound();
}

// --- what is kept on disk

class FullDiskTest : public ShortageTest {
 protected:
  void SetUp() override {
    ShortageTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    world_.lineq.set("LINEQ_SNAPSHOT_SECONDS", "1");
    world_.lineq.set("SERVICE_MODE", "vwr");
    disk_.emplace(world_.lineq.file("state"), 4 * kMiB);
    ASSERT_EQ(disk_->trouble(), "");
  }
  std::string state(std::string_view name) const {
    return world_.lineq.file("state/" + std::string(name));
  }
  Finished ctl(std::vector<std::string> words) {
    return run(world_.lineq.command(lineqctl_path(), std::move(words)));
  }

  std::optional<SmallMount> disk_;
};

TEST_F(FullDiskTest, TheSnapshotBeforeStaysAndTheNextOneIsWrittenWhenThereIsRoom) {
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  auto writer = world_.fake("writer");
  ASSERT_TRUE(writer->connect());
  writer->define(1, plain_table());
  tell(*writer, 0, 1000, 1);
  const u64 before = counter(DaemonCounter::snapshots_written);
  ASSERT_TRUE(wait_until([&] { return counter(DaemonCounter::snapshots_written) >= before + 2; }));
  disk_->fill();
  const u64 failed = counter(DaemonCounter::snapshots_failed);
  ASSERT_TRUE(wait_until([&] { return counter(DaemonCounter::snapshots_failed) >= failed + 2; }))
      << world_.story();
  EXPECT_EQ(world_
                .log_lines("snapshot: cannot write " + state("snapshot.new") +
                           ": No space left on device; the one before is kept")
                .size(),
            1U)
      << world_.story();
  EXPECT_TRUE(std::filesystem::exists(state("snapshot")));
  tell(*writer, 0, 2000, 2);  // and everything else goes on

  // Power fails now: what was written last comes back.
  world_.kill_daemon();
  for (const std::string& object : world_.lineq.objects()) {
    ASSERT_EQ(std::remove(("/dev/shm/" + object).c_str()), 0) << object;
  }
  EXPECT_FALSE(std::filesystem::exists(state("snapshot.1.new")));
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  EXPECT_EQ(stats().live, 1000U) << world_.story();
  disk_->unfill();
  EXPECT_TRUE(wait_until([&] { return counter(DaemonCounter::snapshots_written) >= 2; }))
      << world_.story();
  EXPECT_EQ(world_.daemon.stop(), 0);
  EXPECT_FALSE(std::filesystem::exists(state("snapshot.new")));
}

TEST_F(FullDiskTest, ARoomThatCannotBeKeptIsSaidToBeSo) {
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  const Finished first = ctl({"create", "first", "host=first.example", "C=10"});
  EXPECT_EQ(first.exit_code, 0) << first.err;
  disk_->fill();
  const std::string rooms = read_file(state("rooms.json"));
  const std::string events = read_file(state("events.jsonl"));
  const Finished second =
      ctl({"create", "second", "host=" + std::string(200, 's') + ".example", "C=10"});
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE((second.out + second.err).find("could not be kept"), std::string::npos)
      << second.out << second.err;
  EXPECT_NE((second.out + second.err).find("No space left"), std::string::npos)
      << second.out << second.err;
  EXPECT_EQ(read_file(state("rooms.json")), rooms) << "the old file stays whole";
  EXPECT_FALSE(std::filesystem::exists(state("rooms.json.new")));
  disk_->unfill();
  const Finished third = ctl({"create", "third", "host=third.example", "C=10"});
  EXPECT_EQ(third.exit_code, 0) << third.err;
  EXPECT_EQ((third.out + third.err).find("could not be kept"), std::string::npos);
  for (const char* name : {"first", "second", "third"}) {
    EXPECT_NE(read_file(state("rooms.json")).find(fmt::format("\"name\":\"{}\"", name)),
              std::string::npos)
        << "all of them, as soon as there is room: " << name;
  }
  for (const std::string& line : lines_of(read_file(state("events.jsonl")))) {
    EXPECT_TRUE(line.starts_with("{\"time\"") && line.ends_with("}")) << line;
  }
  EXPECT_TRUE(read_file(state("events.jsonl")).starts_with(events));
}

}  // namespace
}  // namespace lineq::test
