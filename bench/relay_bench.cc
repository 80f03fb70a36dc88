// What one update costs lineqd from the sender's bytes to the bytes for every receiver: decode,
// segment, ack, feed, relay encode. No socket: sessions in memory, whose output is taken and thrown
// away. `relay`: mode agg; the argument is the number of receivers; compare with 0, and the
// difference is the relaying. `add_up`: mode acc; the argument is the number of HAProxys that tell
// the same keys; each of their updates changes a part and a total, and each key's sum is made once
// in a round.
#include <unistd.h>

#include <array>
#include <filesystem>
#include <random>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "daemon/engine/engine.h"
#include "shm/writer.h"

namespace lineq {
namespace {

constexpr u32 kKeys = 100'000;
constexpr std::size_t kRead = 64 * 1024;  // what one read of a socket brings

class NoStrings final : public peers::Strings {
 public:
  u32 intern(std::string_view) override { return 0; }
  std::string_view text(u32) override { return {}; }
};

std::string uuid(std::mt19937_64& random) {
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", random() & 0xffffffff,
                     random() & 0xffff, random() & 0xffff, random() & 0xffff,
                     random() & 0xffffffffffff);
}

// A definition and an update of every key, in random order of slots from the second time on.
std::vector<u8> stream(u32 base = 0) {
  shm::TableDefinition table;
  table.name = "users";
  table.key_type = shm::KeyType::kString;
  table.key_bytes = 37;
  table.data_types = u64{1} << shm::kGpc1;
  table.elements[shm::kGpc1] = 1;
  table.expire_ms = 3'600'000;
  peers::OutputBuffer out;
  peers::Definition definition;
  definition.table_id = 1;
  definition.table = table;
  peers::encode_definition(out, definition);
  const peers::RowShape shape(table);
  peers::SentStrings sent;
  NoStrings strings;
  std::mt19937_64 random(1);
  for (u32 i = 0; i < kKeys; ++i) {
    const std::string key = uuid(random);
    const u64 cell = u64{base} + i;
    peers::encode_update(out, 128, i + 1, 0, table, shape,
                         {reinterpret_cast<const u8*>(key.data()), key.size()}, {&cell, 1}, sent,
                         strings);
  }
  return {out.pending().begin(), out.pending().end()};
}

void feed(engine::Engine& engine, engine::Peer& peer, std::string_view text, SegmentMs now) {
  engine.feed(peer, {reinterpret_cast<const u8*>(text.data()), text.size()}, now);
}

void relay(benchmark::State& state) {
  cli::LogSetup quiet;
  quiet.level = cli::LogLevel::kErr;
  cli::log_setup(quiet);
  shm::WriterOptions options;
  options.instance = fmt::format("relay-bench-{}", ::getpid());
  auto writer = shm::Writer::attach(options);
  if (!writer) {
    state.SkipWithError(writer.error().what.c_str());
    return;
  }
  const SegmentMs now = (*writer)->now();
  {
    engine::Engine engine(**writer, {}, now);
    std::vector<engine::Peer*> all;
    for (int i = 0; i <= state.range(0); ++i) {
      engine::Peer* peer =
          engine.open({0, fmt::format("10.0.0.{}", i), fmt::format("10.0.0.{}:1", i)}, now);
      feed(engine, *peer, fmt::format("HAProxyS 2.1\nlineq\nhap{} {} 1\n", i, i + 1), now);
      feed(engine, *peer, std::string_view("\0\1", 2), now);  // nothing to teach
      all.push_back(peer);
    }
    u64 sent_bytes = 0;
    const auto take = [&] {
      for (engine::Peer* peer : all) {
        sent_bytes += peer->session.pending().size();
        peer->session.consumed(peer->session.pending().size());
      }
    };
    const std::vector<u8> bytes = stream();
    const auto run = [&] {
      for (std::size_t at = 0; at < bytes.size(); at += kRead) {
        engine.feed(*all[0], std::span(bytes).subspan(at, std::min(kRead, bytes.size() - at)), now);
        do {
          engine.turn(now);
          take();
        } while (engine.busy());
      }
    };
    run();  // all keys are there
    for (auto _ : state) {
      run();
    }
    state.SetItemsProcessed(state.iterations() * kKeys);
    state.counters["rows_out"] = benchmark::Counter(
        static_cast<double>(state.iterations()) * kKeys * static_cast<double>(state.range(0)),
        benchmark::Counter::kIsRate);
  }
  writer->reset();
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().starts_with("lineq." + options.instance + ".")) {
      std::filesystem::remove(entry.path());
    }
  }
}

void add_up(benchmark::State& state) {
  cli::LogSetup quiet;
  quiet.level = cli::LogLevel::kErr;
  cli::log_setup(quiet);
  shm::WriterOptions options;
  options.instance = fmt::format("add-up-bench-{}", ::getpid());
  auto writer = shm::Writer::attach(options);
  if (!writer) {
    state.SkipWithError(writer.error().what.c_str());
    return;
  }
  SegmentMs now = (*writer)->now();
  {
    engine::EngineOptions acc;
    acc.mode = engine::ModeKind::kAccumulate;
    engine::Engine engine(**writer, acc, now);
    std::vector<engine::Peer*> all;
    for (int i = 0; i < state.range(0); ++i) {
      engine::Peer* peer =
          engine.open({0, fmt::format("10.0.0.{}", i), fmt::format("10.0.0.{}:1", i)}, now);
      feed(engine, *peer, fmt::format("HAProxyS 2.1\nlineq\nhap{} {} 1\n", i, i + 1), now);
      feed(engine, *peer, std::string_view("\0\1", 2), now);
      all.push_back(peer);
    }
    // Up and down again: each value is news.
    const std::array<std::vector<u8>, 2> streams{stream(1'000'000), stream(1)};
    u32 round = 0;
    const auto run = [&] {
      const std::vector<u8>& bytes = streams[++round % 2];
      now += 1000;
      for (std::size_t at = 0; at < bytes.size(); at += kRead) {
        for (engine::Peer* peer : all) {
          engine.feed(*peer, std::span(bytes).subspan(at, std::min(kRead, bytes.size() - at)), now);
        }
        do {
          engine.turn(now);
        } while (engine.busy());
        for (engine::Peer* peer : all) {
          peer->session.consumed(peer->session.pending().size());
        }
      }
    };
    run();
    for (auto _ : state) {
      run();
    }
    state.SetItemsProcessed(state.iterations() * kKeys * state.range(0));
  }
  writer->reset();
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().starts_with("lineq." + options.instance + ".")) {
      std::filesystem::remove(entry.path());
    }
  }
}

BENCHMARK(add_up)->Arg(1)->Arg(3)->Arg(10)->Unit(benchmark::kMillisecond);
BENCHMARK(relay)->Arg(0)->Arg(1)->Arg(3)->Arg(10)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lineq

BENCHMARK_MAIN();
