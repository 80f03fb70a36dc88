// What one update costs lineqd from the sender's bytes to the bytes for every receiver: decode,
// segment, ack, feed, relay encode; without sockets (engine_load.h). `relay`: mode agg; the
// argument is the number of receivers; compare with 0, and the difference is the relaying.
// `add_up`: mode acc; the argument is the number of HAProxys that tell the same keys; each of their
// updates changes a part and a total, and each key's sum is made once in a round.
#include <benchmark/benchmark.h>

#include "bench/engine_load.h"

namespace lineq::bench {
namespace {

void relay(benchmark::State& state) {
  EngineLoad load(engine::ModeKind::kAggregate, static_cast<u32>(state.range(0)) + 1);
  if (!load.trouble().empty()) {
    state.SkipWithError(load.trouble().c_str());
    return;
  }
  for (auto _ : state) {
    load.round();
  }
  state.SetItemsProcessed(state.iterations() * EngineLoad::kKeys);
  state.counters["rows_out"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * EngineLoad::kKeys *
                             static_cast<double>(state.range(0)),
                         benchmark::Counter::kIsRate);
}

void add_up(benchmark::State& state) {
  EngineLoad load(engine::ModeKind::kAccumulate, static_cast<u32>(state.range(0)));
  if (!load.trouble().empty()) {
    state.SkipWithError(load.trouble().c_str());
    return;
  }
  for (auto _ : state) {
    load.round();
  }
  state.SetItemsProcessed(state.iterations() * EngineLoad::kKeys * state.range(0));
}

BENCHMARK(add_up)->Arg(1)->Arg(3)->Arg(10)->Unit(benchmark::kMillisecond);
BENCHMARK(relay)->Arg(0)->Arg(1)->Arg(3)->Arg(10)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lineq::bench

BENCHMARK_MAIN();
