// The waiting line: what joins, leaves and calls cost the writer, and ranks a reader. One million
// and ten million wait, of twice as many tickets, half of which were abandoned at random places.
//
// `x_touch` is the time of one operation divided by that of writing a visitor's entry anew (redo
// record, slot, no change feed), measured right before in the same run: it means something on any
// machine. Joins, leaves and calls include the redo record, not the visitor's entry.
//
// CPU time of one thread.
//
//   line_bench --benchmark_filter=rank

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "shm/reader.h"
#include "shm/support/assert.h"
#include "shm/visitor.h"
#include "shm/writer.h"

namespace lineq::shm {
namespace {

constexpr u64 kRound = 4096;  // operations of one measurement

// A segment of its own with one room; gone with the object.
class World {
 public:
  explicit World(u64 waiting) {
    auto attached = Writer::attach({.instance = name_});
    LINEQ_ASSERT(attached.ok());
    writer_ = attached.take();
    RoomSettings settings;
    settings.name = "bench";
    room_ = *writer_->add_room(settings, 0);
    for (u64 i = 0; i < 2 * waiting; ++i) {
      join();
      if (i % 2 == 1) {
        leave(somebody());
      }
    }
    writer_->heartbeat(writer_->now());
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() {
    writer_.reset();
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
      if (file.path().filename().string().starts_with("lineq." + name_ + ".")) {
        std::filesystem::remove(file.path());
      }
    }
  }

  Line& line() { return writer_->line(room_); }
  Writer& writer() { return *writer_; }
  Ticket somebody() { return *line().select(random_() % line().waiting()); }
  void join() {
    LINEQ_ASSERT(line().next_ticket(0));
    Together change(*writer_);
    change.join(line());
    change.land_quietly(0);
  }
  void leave(Ticket ticket) {
    Together change(*writer_);
    change.leave(line(), ticket);
    change.land_quietly(0);
  }
  Reader reader() const {
    Source source;
    source.instance = name_;
    auto opened = Reader::open(source);
    LINEQ_ASSERT(opened.ok());
    return opened.take();
  }
  // Different ones, in any order.
  std::vector<Ticket> some(u64 count) {
    std::vector<Ticket> tickets;
    const u64 step = line().waiting() / count;
    for (u64 i = 0; i < count; ++i) {
      tickets.push_back(*line().select(i * step + random_() % step));
    }
    std::shuffle(tickets.begin(), tickets.end(), random_);
    return tickets;
  }

 private:
  std::string name_ = fmt::format("bench-line-{}-{}", ::getpid(), ++worlds);
  std::unique_ptr<Writer> writer_;
  RoomNo room_{0};
  std::mt19937_64 random_{1};

  static inline int worlds = 0;
};

World& filled(const benchmark::State& state) {
  static std::map<u64, std::unique_ptr<World>> worlds;
  const auto waiting = static_cast<u64>(state.range(0));
  std::unique_ptr<World>& world = worlds[waiting];
  if (!world) {
    world = std::make_unique<World>(waiting);
  }
  return *world;
}

double cpu_ns() {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<double>(ts.tv_sec) * 1e9 + static_cast<double>(ts.tv_nsec);
}

// Writes one visitor's entry anew, again and again.
double touch_ns() {
  static World world(1);
  TableDefinition users;
  users.name = "users";
  users.key_bytes = 73;
  users.data_types = u64{1} << kGpc1;
  users.elements[kGpc1] = 1;
  users.expire_ms = 3600000;
  static Table& table = *world.writer().table_for(users, 0, TableRole::kUsers)->table;
  constexpr std::string_view kKey = "shop-3a6b1c5e-9a0e-4f4b-8f63-2f1de3cf8a51@shop";
  const std::span<const u8> key(reinterpret_cast<const u8*>(kKey.data()), kKey.size());
  const u32 tag = table.tag_of(key);
  double best = 1e9;
  for (int round = 0; round < 20; ++round) {
    const double begin = cpu_ns();
    for (u64 i = 0; i < 1000; ++i) {
      const auto slot = table.find(tag, key);
      Together change(world.writer());
      u64* image = slot ? change.update(table, *slot, tag) : change.insert(table, key, tag, 0);
      put_times(image, std::nullopt, static_cast<Tick>(i));
      change.land_quietly(i);
    }
    best = std::min(best, (cpu_ns() - begin) / 1000);
  }
  return best;
}

// Runs `measured(kRound)` between clock readings; `restore` undoes it unmeasured.
template <typename Measured, typename Restore>
void measure(benchmark::State& state, u64 operations, Measured measured, Restore restore) {
  const double touch = touch_ns();
  std::vector<double> rounds;
  for (auto _ : state) {  // NOLINT(clang-analyzer-deadcode.DeadStores): the loop's own variable
    const double begin = cpu_ns();
    measured();
    const double ns = (cpu_ns() - begin) / static_cast<double>(operations);
    state.SetIterationTime(ns * static_cast<double>(operations) / 1e9);
    rounds.push_back(ns);
    restore();
  }
  std::sort(rounds.begin(), rounds.end());
  state.SetItemsProcessed(static_cast<i64>(rounds.size() * operations));
  state.counters["min_ns_op"] = rounds.front();
  state.counters["med_ns_op"] = rounds[rounds.size() / 2];
  state.counters["x_touch"] = rounds[rounds.size() / 2] / touch;
}

void join(benchmark::State& state) {
  World& w = filled(state);
  measure(
      state, kRound,
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.join();
        }
      },
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.leave(w.somebody());
        }
      });
}

void leave_random(benchmark::State& state) {
  World& w = filled(state);
  std::vector<Ticket> tickets = w.some(kRound);
  measure(
      state, kRound,
      [&] {
        for (const Ticket ticket : tickets) {
          w.leave(ticket);
        }
      },
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.join();
        }
        tickets = w.some(kRound);
      });
}

void call_front(benchmark::State& state) {
  World& w = filled(state);
  measure(
      state, kRound,
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.leave(*w.line().front());
        }
      },
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.join();
        }
      });
}

void call_random(benchmark::State& state) {
  World& w = filled(state);
  measure(
      state, kRound,
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.leave(w.somebody());
        }
      },
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          w.join();
        }
      });
}

void rank_random(benchmark::State& state) {
  World& w = filled(state);
  Reader reader = w.reader();
  const RoomInfo room = reader.rooms().front();
  const std::vector<Ticket> tickets = w.some(100'000);
  std::size_t at = 0;
  u64 sum = 0;
  measure(
      state, kRound,
      [&] {
        for (u64 i = 0; i < kRound; ++i) {
          at = at + 1 == tickets.size() ? 0 : at + 1;
          sum += *reader.rank_of(room, tickets[at]);
        }
      },
      [] {});
  benchmark::DoNotOptimize(sum);
}

// A web process with so many pages open.
void ranks_of_100k(benchmark::State& state) {
  World& w = filled(state);
  Reader reader = w.reader();
  const RoomInfo room = reader.rooms().front();
  std::vector<Ticket> tickets = w.some(100'000);
  std::sort(tickets.begin(), tickets.end(), [](Ticket a, Ticket b) { return a.value < b.value; });
  std::vector<u64> ranks(tickets.size());
  measure(
      state, tickets.size(), [&] { reader.ranks_of(room, tickets, ranks); },
      [&] { LINEQ_ASSERT(ranks.back() != Reader::kNoRank); });
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->Arg(1'000'000)->Arg(10'000'000)->UseManualTime()->MinTime(0.2);
}

BENCHMARK(join)->Apply(sizes);
BENCHMARK(leave_random)->Apply(sizes);
BENCHMARK(call_front)->Apply(sizes);
BENCHMARK(call_random)->Apply(sizes);
BENCHMARK(rank_random)->Apply(sizes);
BENCHMARK(ranks_of_100k)->Apply(sizes);

}  // namespace
}  // namespace lineq::shm

BENCHMARK_MAIN();
