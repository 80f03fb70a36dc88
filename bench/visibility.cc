// How long it takes until a reader in another process sees an update that was written: the engine
// takes updates as fast as it can, or at a given pace, and the reader follows the change feed and
// reads each changed slot. The value is the moment at which the engine was given the update, in
// pieces of 32; the age is what has passed when the reader has read it. The reader looks all the
// time, so two cores are needed. Where the system or the host takes the processor away from one of
// the two, what it has in hand is late: that is counted beside.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <ctime>
#include <new>
#include <vector>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "bench/engine_load.h"
#include "bench/numbers.h"
#include "shm/reader.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"

namespace lineq::bench {
namespace {

constexpr std::string_view kName = "visibility";
constexpr u32 kPiece = 32;
constexpr u32 kLongUs = 1000;
constexpr u32 kAwayUs = 300;  // a look and what it brings take 20
constexpr u64 kMostUpdates = u64{1} << 24;

constexpr auto kOptions = std::to_array<cli::Option>({
    {"keys", 'k', "N", "different keys (uuid, gpc1)", "100000"},
    {"updates", 'u', "N", "updates after every key was inserted once", "5000000"},
    {"rate", 0, "N", "of these a second", "as many as the engine takes"},
});
constexpr auto kExamples = std::to_array<std::string_view>({
    "visibility                  as fast as the engine takes updates",
    "visibility --rate 100000",
});
constexpr cli::Program kProgram{
    kName,    "[OPTION]...", "Measures when a reader sees what was written. Prints JSON.",
    kOptions, kExamples,     false};

// Microseconds, which wrap after 71 minutes.
u32 stamp_us() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<u32>(static_cast<u64>(ts.tv_sec) * 1'000'000 +
                          static_cast<u64>(ts.tv_nsec) / 1000);
}

// What the two processes tell each other.
struct Shared {
  std::atomic<bool> following{false};
  std::atomic<bool> all_written{false};
};

// The reader: follows until everything was written and nothing is left. Exit code.
int read_along(const std::string& instance, Shared& shared) {
  shm::Source source;
  source.instance = instance;
  auto opened = shm::Reader::open(source);
  if (!opened || !opened->refresh() || opened->tables().empty()) {
    return 1;
  }
  shm::Reader& reader = *opened;
  const shm::TableInfo& table = reader.tables().front();
  std::array<shm::FeedRecord, 256> records;
  std::vector<u32> ages;
  ages.resize(kMostUpdates);  // in memory before it is measured
  ages.clear();
  u64 overruns = 0;
  u64 seen = 0;
  shm::FeedCursor cursor = reader.feed_end();
  // The system, or the host, has taken the processor away, and what came meanwhile is not yet read.
  bool was_away = false;
  u64 times_away = 0;
  u64 late = 0;
  u64 late_by_itself = 0;
  u32 looked = stamp_us();
  shared.following = true;
  for (;;) {
    const bool last = shared.all_written;
    const u32 now = stamp_us();
    if (now - looked > kAwayUs) {
      was_away = true;
      ++times_away;
    }
    looked = now;
    const shm::Followed got = reader.follow(cursor, records);
    overruns += got.overrun ? 1 : 0;
    for (u32 i = 0; i < got.records; ++i) {
      shm::SlotCopy copy;
      shm::EntryView entry;
      if (records[i].kind != shm::FeedKind::kUpdate ||
          reader.read_slot(table, records[i].slot, copy, entry) != shm::Lookup::kFound) {
        continue;
      }
      ++seen;
      // A slot that was written once more since is younger: its own record follows.
      const u32 age = stamp_us() - static_cast<u32>(entry.value(shm::kGpc1));
      if (ages.size() < ages.capacity()) {
        ages.push_back(age);
      }
      if (age > kLongUs) {
        ++late;
        late_by_itself += was_away ? 0 : 1;
      }
    }
    was_away = was_away && got.records == records.size();
    if (last && got.records == 0 && !got.overrun) {
      break;
    }
  }
  std::sort(ages.begin(), ages.end());
  const auto at = [&](double q) {
    return ages.empty() ? 0
                        : ages[static_cast<std::size_t>(q * static_cast<double>(ages.size() - 1))];
  };
  fmt::print(
      R"("seen":{},"overruns":{},"age_us":{{"p50":{},"p99":{},"p999":{},"p9999":{},"most":{}}},)"
      R"("reader":{{"away":{},"later_than_1ms":{},"of_these_not_after_that":{}}}}})"
      "\n",
      seen, overruns, at(0.5), at(0.99), at(0.999), at(0.9999), at(1), times_away, late,
      late_by_itself);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

int run(int argc, char** argv) {
  const cli::CommandLine line = cli::read_command_line(kProgram, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  u64 keys = 100'000;
  u64 updates = 5'000'000;
  u64 rate = 0;
  if (!number(line, "keys", 1, 1U << 24, keys) ||
      !number(line, "updates", 1, kMostUpdates, updates) ||
      !number(line, "rate", 1, 1U << 30, rate)) {
    return cli::usage_error(kName, "keys, updates (to 16777216) and rate are numbers");
  }
  EngineWorld world(engine::ModeKind::kAggregate, 1);
  if (!world.trouble().empty()) {
    fmt::print(stderr, "{}: {}\n", kName, world.trouble());
    return cli::kExitNotFound;
  }
  void* const page =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    std::perror("mmap");
    return cli::kExitNotFound;
  }
  Shared& shared = *new (page) Shared;
  UuidStream stream;
  const auto give = [&] {
    world.feed(0, stream.bytes());
    world.turn();
    stream.clear();
  };
  for (u64 i = 0; i < keys; ++i) {
    stream.add(i, 0);
    if (i % kPiece == 0) {
      give();
    }
  }
  give();

  const pid_t reader = ::fork();
  if (reader < 0) {
    std::perror("fork");
    return cli::kExitNotFound;
  }
  if (reader == 0) {
    ::_exit(read_along(world.instance(), shared));
  }
  while (!shared.following) {
    int status = 0;
    if (::waitpid(reader, &status, WNOHANG) == reader) {
      fmt::print(stderr, "{}: the reader cannot read\n", kName);
      return cli::kExitNotFound;
    }
  }
  u64 times_away = 0;  // in a piece: what is in it is late
  const u32 begin = stamp_us();
  u64 random = 1;
  for (u64 sent = 0; sent < updates;) {
    const u32 now = stamp_us();
    if (rate != 0 && u64{now - begin} * rate < sent * 1'000'000) {
      continue;
    }
    for (u32 i = 0; i < kPiece; ++i, ++sent) {
      random = random * 6364136223846793005 + 1442695040888963407;
      stream.add((random >> 33) % keys, now);
    }
    give();
    times_away += stamp_us() - now > kAwayUs ? 1U : 0U;
  }
  const double seconds = static_cast<double>(stamp_us() - begin) / 1e6;
  fmt::print(R"({{"keys":{},"updates":{},"per_second":{:.0f},"writer":{{"away":{}}},)", keys,
             updates, static_cast<double>(updates) / seconds, times_away);
  std::fflush(stdout);
  shared.all_written = true;
  int status = 0;
  return ::waitpid(reader, &status, 0) == reader && status == 0 ? cli::kExitFine
                                                                : cli::kExitNotFound;
}

}  // namespace
}  // namespace lineq::bench

int main(int argc, char** argv) {
  return lineq::bench::run(argc, argv);
}
