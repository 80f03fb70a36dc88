// Updates per second of one core through a session, in and out, for two tables of real life:
//   uuid   string keys of 36 bytes, gpc1 (a visitor of a waiting room)
//   ip     ip keys, gpc0, conn_cnt, http_req_rate, bytes_out_rate (a typical rate limit)
// `copy` is the baseline: the same bytes moved by memcpy.

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "daemon/peers/session.h"
#include "shm/support/assert.h"

namespace lineq::peers {
namespace {

constexpr u32 kRows = 16384;
constexpr u64 kNow = 1000;
constexpr size_t kRead = 65536;  // as the daemon reads
constexpr std::string_view kHello = "HAProxyS 2.1\nlineq\nhap1 1 1\n";

enum class Kind { kUuid, kIp };

class NoStrings : public Strings {
 public:
  u32 intern(std::string_view) override { return 0; }
  std::string_view text(u32) override { return {}; }
};

// Looks at every cell, so that nothing is optimised away.
class Sink : public SessionEvents {
 public:
  HelloDecision on_hello(const Hello&) override { return HelloDecision::accept(); }
  bool on_definition(SessionTable&) override { return true; }
  void on_updates(SessionTable& table, std::span<const Update> updates) override {
    for (const Update& update : updates) {
      sum += update.key[0] + update.id;
      for (u32 i = 0; i < table.shape.cells(); ++i) {
        sum += update.cells[i];
      }
    }
  }
  u64 sum = 0;
};

struct Rows {
  shm::TableDefinition table;
  std::vector<std::vector<u8>> keys;
  std::vector<std::vector<u64>> cells;
};

Rows rows_of(Kind kind) {
  Rows rows;
  rows.table.name = "/table";
  rows.table.key_type = kind == Kind::kUuid ? shm::KeyType::kString : shm::KeyType::kIp;
  rows.table.key_bytes = kind == Kind::kUuid ? 37 : 4;
  rows.table.expire_ms = 600000;
  const std::vector<std::string_view> types =
      kind == Kind::kUuid
          ? std::vector<std::string_view>{"gpc1"}
          : std::vector<std::string_view>{"gpc0", "conn_cnt", "http_req_rate", "bytes_out_rate"};
  for (const std::string_view name : types) {
    const u32 bit = shm::data_type_by_name(name).value_or(0);
    rows.table.data_types |= u64{1} << bit;
    rows.table.elements[bit] = 1;
    rows.table.period_ms[bit] = shm::data_type(bit).kind == shm::ValueKind::kRate ? 10000 : 0;
  }
  std::mt19937_64 random(1);
  for (u32 i = 0; i < kRows; ++i) {
    if (kind == Kind::kUuid) {
      const std::string uuid =
          fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", static_cast<u32>(random()),
                      random() & 0xffff, random() & 0xffff, random() & 0xffff, random() >> 16);
      rows.keys.emplace_back(uuid.begin(), uuid.end());
      rows.cells.push_back({random() % 2});
    } else {
      const u64 ip = random();
      rows.keys.push_back({static_cast<u8>(ip), static_cast<u8>(ip >> 8), static_cast<u8>(ip >> 16),
                           static_cast<u8>(ip >> 24)});
      rows.cells.push_back({random() % 10, random() % 1000, random() % 20000, random() % 100,
                            random() % 100, random() % 20000, random() % 1000000,
                            random() % 1000000});
    }
  }
  return rows;
}

// An established session that asks for nothing.
std::unique_ptr<Session> established(NoStrings& strings, Sink& sink) {
  SessionConfig config;
  config.request_lesson = false;
  auto session = std::make_unique<Session>(config, strings, sink, kNow);
  session->feed({reinterpret_cast<const u8*>(kHello.data()), kHello.size()}, kNow);
  session->consumed(session->pending().size());
  return session;
}

std::vector<u8> encoded(const Rows& rows) {
  NoStrings strings;
  Sink sink;
  const std::unique_ptr<Session> session = established(strings, sink);
  session->define(1, rows.table);
  for (u32 i = 0; i < kRows; ++i) {
    LINEQ_ASSERT(session->update(1, rows.keys[i], rows.cells[i], std::nullopt) != 0);
  }
  return {session->pending().begin(), session->pending().end()};
}

void count(benchmark::State& state, size_t bytes) {
  state.SetItemsProcessed(state.iterations() * int64_t{kRows});
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void copy(benchmark::State& state, Kind kind) {
  const std::vector<u8> stream = encoded(rows_of(kind));
  std::vector<u8> target(stream.size());
  while (state.KeepRunning()) {
    std::memcpy(target.data(), stream.data(), stream.size());
    benchmark::DoNotOptimize(target.data());
    benchmark::ClobberMemory();
  }
  count(state, stream.size());
}

void decode(benchmark::State& state, Kind kind) {
  const std::vector<u8> stream = encoded(rows_of(kind));
  NoStrings strings;
  Sink sink;
  const std::unique_ptr<Session> session = established(strings, sink);
  while (state.KeepRunning()) {
    for (size_t at = 0; at < stream.size(); at += kRead) {
      session->feed(std::span(stream).subspan(at, std::min(kRead, stream.size() - at)), kNow);
    }
    session->consumed(session->pending().size());
  }
  benchmark::DoNotOptimize(sink.sum);
  LINEQ_ASSERT(session->counters().updates_in == static_cast<u64>(state.iterations()) * kRows);
  count(state, stream.size());
}

void encode(benchmark::State& state, Kind kind) {
  const Rows rows = rows_of(kind);
  NoStrings strings;
  Sink sink;
  const std::unique_ptr<Session> session = established(strings, sink);
  session->define(1, rows.table);
  size_t bytes = 0;
  while (state.KeepRunning()) {
    for (u32 i = 0; i < kRows; ++i) {
      session->update(1, rows.keys[i], rows.cells[i], std::nullopt);
      if (session->pending().size() >= kRead) {
        session->consumed(session->pending().size());
      }
    }
  }
  bytes = session->counters().bytes_out / static_cast<u64>(state.iterations());
  count(state, bytes);
}

BENCHMARK_CAPTURE(copy, uuid, Kind::kUuid);
BENCHMARK_CAPTURE(copy, ip, Kind::kIp);
BENCHMARK_CAPTURE(decode, uuid, Kind::kUuid);
BENCHMARK_CAPTURE(decode, ip, Kind::kIp);
BENCHMARK_CAPTURE(encode, uuid, Kind::kUuid);
BENCHMARK_CAPTURE(encode, ip, Kind::kIp);

}  // namespace
}  // namespace lineq::peers

BENCHMARK_MAIN();
