// What visitors cost lineqd in mode vwr, from a HAProxy's bytes to what the HAProxy is told,
// without sockets: a million who wait in one room, and a thousand rooms with a thousand each.
// Arguments: rooms, who waits in each.
//   joins   the first request of somebody new: into the line, exact ticket
//   polls   one more request of somebody who waits
//   serves  somebody's session ends, the next one is called, acknowledged and enters, and somebody
//           new joins the line: all that one visit costs
//   turn    a turn of the loop that has nothing to do
//   tick    what is done every 100 ms while nothing happens
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "bench/engine_load.h"

namespace lineq::bench {
namespace {

constexpr u32 kInside = 10;  // of each room
constexpr u32 kPiece = 200;  // visitors of one read of the socket

// Visitors have numbers; number v goes to room v % rooms, and they come in that order.
class Rooms {
 public:
  Rooms(u32 rooms, u32 waiting)
      : world_(engine::ModeKind::kWaitingRoom, 1), stream_(users_table()), rooms_(rooms) {
    if (!trouble().empty()) {
      return;
    }
    for (u32 i = 0; i < rooms; ++i) {
      cli::RoomSettings room;
      room.name = fmt::format("room{}", i);
      room.capacity = kInside;
      room.session_ms = 86'400'000;
      if (const Status status = world_.rooms().put(room, world_.now()); !status) {
        trouble_ = status.error().what;
        return;
      }
    }
    // Who finds room is called, and enters; the others wait.
    const u64 inside = u64{rooms} * kInside;
    come(inside);
    enter(inside);
    come(u64{rooms} * waiting);
  }
  // Everybody is where he should be.
  void check() {
    u64 active = 0;
    u64 waiting = 0;
    for (u32 i = 0; i < rooms_; ++i) {
      const shm::RoomNumbers numbers = world_.rooms().numbers(fmt::format("room{}", i));
      active += numbers.active;
      waiting += numbers.waiting;
    }
    if (active != u64{rooms_} * kInside || active + waiting != next_ - gone_) {
      trouble_ = fmt::format("{} inside and {} waiting instead of {} of {}", active, waiting,
                             u64{rooms_} * kInside, next_ - gone_);
    }
  }
  const std::string& trouble() const { return trouble_.empty() ? world_.trouble() : trouble_; }

  void come(u64 n) {
    tell(next_, n, 0, 0);
    next_ += n;
  }
  void poll(u64 n) {
    for (u64 i = 0; i < n; i += kPiece, polled_ += kPiece) {
      const u64 waiting = next_ - entered_;
      tell(entered_ + polled_ % (waiting - kPiece), std::min<u64>(kPiece, n - i), 0, 0);
    }
  }
  // Called, and HAProxy was told.
  void enter(u64 n) {
    tell(entered_, n, 0, 1);
    entered_ += n;
  }
  void leave(u64 n) {
    tell(gone_, n, 1, 1);
    gone_ += n;
  }
  void turn() { world_.turn(); }
  void tick() { world_.tick(); }

 private:
  static shm::TableDefinition users_table() {
    shm::TableDefinition table;
    table.name = "timestamps";
    table.key_type = shm::KeyType::kString;
    table.key_bytes = 73;
    table.data_types = u64{1} << shm::kGpt0 | u64{1} << shm::kGpc1;
    table.elements[shm::kGpt0] = table.elements[shm::kGpc1] = 1;
    table.expire_ms = 86'400'000;
    return table;
  }
  void tell(u64 first, u64 n, u64 gpt0, u64 gpc1) {
    const std::array<u64, 2> cells{gpt0, gpc1};
    for (u64 v = first; v < first + n; ++v) {
      stream_.add(fmt::format("{}@room{}", uuid(v), v % rooms_), cells);
      if ((v - first) % kPiece == kPiece - 1 || v + 1 == first + n) {
        world_.feed(0, stream_.bytes());
        stream_.clear();
        world_.settle();
      }
    }
  }

  EngineWorld world_;
  UpdateStream stream_;
  std::string trouble_;
  u64 rooms_;
  u64 next_ = 0;
  u64 entered_ = 0;
  u64 gone_ = 0;
  u64 polled_ = 0;
};

template <typename Do>
void measure(benchmark::State& state, u32 items, Do&& action) {
  Rooms rooms(static_cast<u32>(state.range(0)), static_cast<u32>(state.range(1)));
  for (auto _ : state) {
    action(rooms);
  }
  if (rooms.trouble().empty()) {
    rooms.check();
  }
  if (!rooms.trouble().empty()) {
    state.SkipWithError(rooms.trouble().c_str());
  }
  state.SetItemsProcessed(state.iterations() * items);
}

void joins(benchmark::State& state) {
  measure(state, kPiece, [](Rooms& rooms) { rooms.come(kPiece); });
}
void polls(benchmark::State& state) {
  measure(state, kPiece, [](Rooms& rooms) { rooms.poll(kPiece); });
}
void serves(benchmark::State& state) {
  measure(state, kInside, [](Rooms& rooms) {
    rooms.leave(kInside);
    rooms.enter(kInside);
    rooms.come(kInside);
  });
}
void turn(benchmark::State& state) {
  measure(state, 1, [](Rooms& rooms) { rooms.turn(); });
}
void tick(benchmark::State& state) {
  measure(state, 1, [](Rooms& rooms) { rooms.tick(); });
}

void sizes(benchmark::internal::Benchmark* b) {
  b->Args({1, 1000})->Args({1, 1'000'000})->Args({1000, 1000});
}
BENCHMARK(joins)->Apply(sizes);
BENCHMARK(polls)->Apply(sizes);
BENCHMARK(serves)->Apply(sizes);
BENCHMARK(turn)->Apply(sizes);
BENCHMARK(tick)->Apply(sizes);

}  // namespace
}  // namespace lineq::bench

BENCHMARK_MAIN();
