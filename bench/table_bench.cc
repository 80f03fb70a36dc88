// The segment: what one change of an entry costs the writer, and what readers pay.
//
// Tables hold string keys of 36 bytes with gpc1, a slot of one cache line. `x_hot` is the time of
// one operation divided by the time of an update of one and the same entry, measured right before
// in the same run: it means something on any machine. All writes include redo record and change
// feed.
//
// CPU time of the writer's thread, without waiting: the provisioner works on its own.
//
//   table_bench --benchmark_filter=update
//   LINEQ_BENCH_LARGE=1 table_bench      also with ten million entries (1.2 GiB of shared memory)

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "shm/reader.h"
#include "shm/support/assert.h"
#include "shm/writer.h"

namespace lineq::shm {
namespace {

constexpr std::size_t kKeyBytes = 36;
constexpr std::size_t kBatch = Table::kBatch;

u64 mixed(u64 x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

TableDefinition definition_of() {
  TableDefinition table;
  table.name = "/bench";
  table.key_type = KeyType::kString;
  table.key_bytes = kKeyBytes + 1;
  table.expire_ms = 3600000;
  table.data_types = u64{1} << kGpc1;
  table.elements[kGpc1] = 1;
  return table;
}

// A segment of its own with one table; gone with the object.
class World {
 public:
  World() { attach(); }
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

  // Again after the first time: as the daemon does after a kill.
  void attach() {
    writer_.reset();
    auto attached = Writer::attach({.instance = name_});
    LINEQ_ASSERT(attached.ok());
    writer_ = attached.take();
    now_ = writer_->now();
    auto made = writer_->table_for(definition_of(), now_);
    LINEQ_ASSERT(made.ok());
    table_ = made->table;
    columns_ = std::make_unique<ColumnMap>(definition_of(), table_->info());
    writer_->heartbeat(now_);
  }

  // Keys [0, count), in batches, as updates come from a socket.
  void fill(u64 count) {
    for (u64 i = 0; i < count; i += kBatch) {
      for (std::size_t j = 0; j < kBatch; ++j) {
        set(j, i + j);
      }
      apply(kBatch);
      if (i % 65536 == 0) {
        writer_->work_some();
      }
    }
    while (!writer_->work_some()) {
    }
  }

  // Change j of the next batch is for key `n`, or for `key`.
  void set(std::size_t j, u64 n) {
    key_of(n, keys_[j]);
    set(j, std::span<const u8>(keys_[j]));
  }
  void set(std::size_t j, std::span<const u8> key) {
    cells_[j] ^= 1;
    changes_[j].key = key;
    changes_[j].cells = &cells_[j];
  }
  void apply(std::size_t count) {
    table_->apply(*columns_, {changes_.data(), count}, kNoPeer, now_, {applied_.data(), count});
  }
  void apply_one_by_one() {
    for (std::size_t j = 0; j < kBatch; ++j) {
      table_->apply(*columns_, {&changes_[j], 1}, kNoPeer, now_, {&applied_[j], 1});
    }
  }

  // 36 characters, different for different n.
  static void key_of(u64 n, std::array<u8, kKeyBytes>& key) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    u64 bits = mixed(n);
    for (std::size_t i = 0; i < kKeyBytes; ++i) {
      key[i] = static_cast<u8>(kDigits[bits & 15]);
      bits = i == 15 ? n : bits >> 4;
    }
  }

  Table& table() { return *table_; }
  Writer& writer() { return *writer_; }
  SegmentMs now() const { return now_; }
  Reader reader() const {
    Source source;
    source.instance = name_;
    auto opened = Reader::open(source);
    LINEQ_ASSERT(opened.ok());
    return opened.take();
  }

 private:
  std::string name_ = fmt::format("bench-{}-{}", ::getpid(), ++worlds);
  std::unique_ptr<Writer> writer_;
  Table* table_ = nullptr;
  std::unique_ptr<ColumnMap> columns_;
  SegmentMs now_ = 0;
  std::array<std::array<u8, kKeyBytes>, kBatch> keys_{};
  std::array<u64, kBatch> cells_{};
  std::array<Change, kBatch> changes_{};
  std::array<Applied, kBatch> applied_{};

  static inline int worlds = 0;
};

u64 entries_of(const benchmark::State& state) {
  return static_cast<u64>(state.range(0));
}
u64 iterations_of(const benchmark::State& state) {
  return static_cast<u64>(state.iterations());
}

// Filled tables are shared by the benchmarks of one size.
World& filled(u64 entries) {
  static std::map<u64, std::unique_ptr<World>> worlds;
  std::unique_ptr<World>& world = worlds[entries];
  if (!world) {
    world = std::make_unique<World>();
    world->fill(entries);
  }
  return *world;
}

// Keys of a filled table in an order that looks random to it and is sequential for us, as in the
// read buffer of a connection.
class Keys {
 public:
  explicit Keys(u64 entries) : keys_(std::min<u64>(entries, 1U << 20)) {
    for (u64 i = 0; i < keys_.size(); ++i) {
      World::key_of(mixed(i) % entries, keys_[i]);
    }
  }
  std::span<const u8> next() {
    at_ = at_ + 1 == keys_.size() ? 0 : at_ + 1;
    return keys_[at_];
  }

 private:
  std::vector<std::array<u8, kKeyBytes>> keys_;
  std::size_t at_ = 0;
};

// CPU time of this thread: a busy machine takes it away in between, but does not change it much.
double cpu_ns() {
  timespec ts{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<double>(ts.tv_sec) * 1e9 + static_cast<double>(ts.tv_nsec);
}

// An update of one and the same entry, one by one, now.
double hot_update_ns() {
  static World world;
  constexpr int kRounds = 20;
  constexpr int kUpdates = 1000;
  world.set(0, 1);
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const double begin = cpu_ns();
    for (int i = 0; i < kUpdates; ++i) {
      world.apply(1);
    }
    best = std::min(best, (cpu_ns() - begin) / kUpdates);
  }
  return best;
}

// Around the loop of a benchmark: time of one operation and its ratio.
class Ratio {
 public:
  explicit Ratio(benchmark::State& state) : state_(state), hot_ns_(hot_update_ns()) {
    begin_ = cpu_ns();
  }
  void done(u64 operations) { done(operations, cpu_ns() - begin_); }
  void done(u64 operations, double ns) {
    state_.SetItemsProcessed(static_cast<i64>(operations));
    state_.counters["ns_op"] = ns / static_cast<double>(operations);
    state_.counters["x_hot"] = ns / static_cast<double>(operations) / hot_ns_;
  }

 private:
  benchmark::State& state_;
  double hot_ns_;
  double begin_ = 0;
};

// NOLINTBEGIN(clang-analyzer-deadcode.DeadStores): the variable of `for (auto _ : state)`
void update_hot(benchmark::State& state) {
  World world;
  world.set(0, 1);
  Ratio ratio(state);
  for (auto _ : state) {
    world.apply(1);
  }
  ratio.done(iterations_of(state));
}

void update_random_batch(benchmark::State& state) {
  World& world = filled(entries_of(state));
  Keys keys(entries_of(state));
  Ratio ratio(state);
  for (auto _ : state) {
    for (std::size_t j = 0; j < kBatch; ++j) {
      world.set(j, keys.next());
    }
    world.apply(kBatch);
  }
  ratio.done(iterations_of(state) * kBatch);
}

void update_random_one_by_one(benchmark::State& state) {
  World& world = filled(entries_of(state));
  Keys keys(entries_of(state));
  Ratio ratio(state);
  for (auto _ : state) {
    for (std::size_t j = 0; j < kBatch; ++j) {
      world.set(j, keys.next());
    }
    world.apply_one_by_one();
  }
  ratio.done(iterations_of(state) * kBatch);
}

// From an empty table on, with all its growth.
void insert_growing(benchmark::State& state) {
  const auto entries = entries_of(state);
  Ratio ratio(state);
  double ns = 0;
  for (auto _ : state) {
    state.PauseTiming();
    auto world = std::make_unique<World>();
    state.ResumeTiming();
    const double begin = cpu_ns();
    world->fill(entries);
    ns += (cpu_ns() - begin);
    state.PauseTiming();
    LINEQ_ASSERT(world->table().live() >= entries);
    world.reset();
    state.ResumeTiming();
  }
  ratio.done(iterations_of(state) * entries, ns);
}

void erase_insert(benchmark::State& state) {
  World& world = filled(entries_of(state));
  Keys keys(entries_of(state));
  Ratio ratio(state);
  for (auto _ : state) {
    const std::span<const u8> key = keys.next();
    world.table().erase(*world.table().find(key), FeedKind::kErase, kNoPeer, world.now());
    world.set(0, key);
    world.apply(1);
  }
  ratio.done(iterations_of(state));
}

void reader_lookup(benchmark::State& state) {
  Reader reader = filled(entries_of(state)).reader();
  Keys keys(entries_of(state));
  const TableInfo& table = reader.tables().front();
  SlotCopy copy;
  EntryView entry;
  u64 found = 0;
  Ratio ratio(state);
  for (auto _ : state) {
    found += reader.lookup(table, keys.next(), copy, entry) == Lookup::kFound ? 1U : 0U;
  }
  ratio.done(iterations_of(state));
  LINEQ_ASSERT(found == iterations_of(state));
}

void reader_scan(benchmark::State& state) {
  const auto entries = entries_of(state);
  Reader reader = filled(entries).reader();
  const TableInfo& table = reader.tables().front();
  u64 sum = 0;
  u64 seen = 0;
  Ratio ratio(state);
  for (auto _ : state) {
    Scan scan;
    while (!reader.scan(table, scan, 65536, [&](const EntryView& entry) {
      sum += entry.value(kGpc1);
      ++seen;
      return true;
    })) {
    }
  }
  ratio.done(seen);
  benchmark::DoNotOptimize(sum);
}

void feed_append(benchmark::State& state) {
  World world;
  Feed& feed = world.writer().feed();
  FeedRecord record;
  u32 slot = 0;
  Ratio ratio(state);
  for (auto _ : state) {
    record.slot = ++slot;
    feed.append(record);
  }
  ratio.done(iterations_of(state));
}

void feed_follow(benchmark::State& state) {
  World world;
  Feed& feed = world.writer().feed();
  const Reader reader = world.reader();
  std::vector<FeedRecord> records(1U << 20);
  const FeedCursor begin = reader.feed_end();
  for (std::size_t i = 0; i < records.size(); ++i) {
    feed.append({static_cast<u32>(i), 0, FeedKind::kUpdate, 0});
  }
  Ratio ratio(state);
  for (auto _ : state) {
    FeedCursor cursor = begin;
    const Followed followed = reader.follow(cursor, records);
    LINEQ_ASSERT(followed.records == records.size());
  }
  ratio.done(iterations_of(state) * records.size());
}

// After a kill: the pass over all slots.
void attach_after_kill(benchmark::State& state) {
  World& world = filled(entries_of(state));
  Ratio ratio(state);
  for (auto _ : state) {
    world.attach();
  }
  ratio.done(iterations_of(state) * entries_of(state));
}

// A HAProxy brings a new column: all entries move to a wider table at once. Wall time: it is a
// pause.
void widen(benchmark::State& state) {
  Ratio ratio(state);
  for (auto _ : state) {
    state.PauseTiming();
    auto world = std::make_unique<World>();
    world->fill(entries_of(state));
    TableDefinition wider = definition_of();
    wider.data_types |= u64{1} << kGpc0;
    wider.elements[kGpc0] = 1;
    state.ResumeTiming();
    const auto made = world->writer().table_for(wider, world->now());
    state.PauseTiming();
    LINEQ_ASSERT(made.ok() && made->replaced && made->table->live() >= entries_of(state));
    world.reset();
    state.ResumeTiming();
  }
  ratio.done(iterations_of(state) * entries_of(state));
}

// NOLINTEND(clang-analyzer-deadcode.DeadStores)

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->Arg(100000)->Arg(1000000);
  if (std::getenv("LINEQ_BENCH_LARGE") != nullptr) {
    benchmark->Arg(10000000);
  }
}

BENCHMARK(update_hot);
BENCHMARK(update_random_batch)->Apply(sizes);
BENCHMARK(update_random_one_by_one)->Apply(sizes);
BENCHMARK(erase_insert)->Apply(sizes);
BENCHMARK(reader_lookup)->Apply(sizes);
BENCHMARK(reader_scan)->Apply(sizes)->Unit(benchmark::kMillisecond);
BENCHMARK(insert_growing)->Apply(sizes)->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(attach_after_kill)->Apply(sizes)->Unit(benchmark::kMillisecond)->Iterations(3);
BENCHMARK(widen)->Apply(sizes)->Unit(benchmark::kMillisecond)->Iterations(3)->UseRealTime();
BENCHMARK(feed_append);
BENCHMARK(feed_follow)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lineq::shm

BENCHMARK_MAIN();
