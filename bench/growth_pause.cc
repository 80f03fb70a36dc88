// How long the longest steps of lineqd's loop are while a table grows, is full, and expires as a
// whole: a step is what is done for 128 updates, or an idle turn. Each phase has a control beside
// it, the same loop at the same pace that touches no segment: what it shows is the machine's. A
// step counts as the loop's own only if the system did not take the processor away meanwhile.
#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <functional>
#include <vector>

#include <fmt/format.h>
#include <sys/resource.h>

#include "bench/engine_load.h"
#include "bench/numbers.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"

namespace lineq::bench {
namespace {

constexpr std::string_view kName = "growth_pause";
constexpr u32 kBlock = 128;
constexpr u64 kLongNs = 1'000'000;

constexpr auto kOptions = std::to_array<cli::Option>({
    {"entries", 'e', "N", "entries of the table in the end", "10000000"},
    {"rate", 0, "N", "updates a second", "1000000"},
});
constexpr auto kExamples = std::to_array<std::string_view>({
    "growth_pause                  ten million entries, a gigabyte of shared memory",
    "growth_pause -e 1000000",
});
constexpr cli::Program kProgram{
    kName,    "[OPTION]...", "Measures the longest steps of lineqd's loop. Prints a table.",
    kOptions, kExamples,     false};

u64 clock_ns(clockid_t clock) {
  timespec ts{};
  ::clock_gettime(clock, &ts);
  return static_cast<u64>(ts.tv_sec) * 1'000'000'000 + static_cast<u64>(ts.tv_nsec);
}

struct Step {
  u64 wall_ns;
  u64 cpu_ns;
  bool switched;  // another process was on the processor, or a page was not there
};

class Phase {
 public:
  explicit Phase(std::string_view name) : name_(name) {}

  template <typename Do>
  void step(Do&& action) {
    rusage before{};
    rusage after{};
    ::getrusage(RUSAGE_THREAD, &before);
    const u64 cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    const u64 wall = clock_ns(CLOCK_MONOTONIC);
    action();
    const u64 wall_ns = clock_ns(CLOCK_MONOTONIC) - wall;
    const u64 cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    ::getrusage(RUSAGE_THREAD, &after);
    steps_.push_back({wall_ns, cpu_ns,
                      after.ru_nivcsw != before.ru_nivcsw || after.ru_nvcsw != before.ru_nvcsw ||
                          after.ru_majflt != before.ru_majflt});
  }

  void print() {
    // Wall time without CPU time and without a switch: the host took the processor.
    u64 late = 0;
    u64 switched = 0;
    u64 stolen = 0;
    u64 own = 0;
    for (const Step& s : steps_) {
      if (s.wall_ns > kLongNs) {
        ++late;
        switched += s.switched ? 1 : 0;
        stolen += !s.switched && s.cpu_ns <= kLongNs ? 1 : 0;
        own += !s.switched && s.cpu_ns > kLongNs ? 1 : 0;
      }
    }
    std::sort(steps_.begin(), steps_.end(),
              [](const Step& a, const Step& b) { return a.cpu_ns < b.cpu_ns; });
    const auto at = [&](double q) {
      return static_cast<double>(
                 steps_[static_cast<std::size_t>(q * static_cast<double>(steps_.size() - 1))]
                     .cpu_ns) /
             1000;
    };
    fmt::print("{:<22} {:>8} {:>9.1f} {:>9.1f} {:>9.1f} {:>9.1f} {:>9} {:>9} {:>7} {:>6}\n", name_,
               steps_.size(), at(0.5), at(0.99), at(0.999), at(1), late, switched, stolen, own);
    std::fflush(stdout);
  }

 private:
  std::string_view name_;
  std::vector<Step> steps_;
};

void wait_until_ns(u64 when) {
  while (clock_ns(CLOCK_MONOTONIC) < when) {
  }
}

// `count` blocks, one each time it is due; `prepare` is not measured.
void run_paced(Phase& phase, u64 count, u64 rate, const std::function<void(u64)>& prepare,
               const std::function<void()>& action) {
  const u64 begin = clock_ns(CLOCK_MONOTONIC);
  for (u64 i = 0; i < count; ++i) {
    prepare(i);
    wait_until_ns(begin + i * kBlock * 1'000'000'000 / rate);
    phase.step(action);
  }
}

int run(int argc, char** argv) {
  const cli::CommandLine line = cli::read_command_line(kProgram, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  u64 entries = 10'000'000;
  u64 rate = 1'000'000;
  if (!number(line, "entries", 1, 1U << 28, entries) || !number(line, "rate", 1, 1U << 30, rate)) {
    return cli::usage_error(kName, "entries (to 2^28) and rate (to 2^30) are numbers");
  }
  EngineWorld world(engine::ModeKind::kAggregate, 2);  // one of them is told
  if (!world.trouble().empty()) {
    fmt::print(stderr, "{}: {}\n", kName, world.trouble());
    return cli::kExitNotFound;
  }
  const u64 blocks = (entries + kBlock - 1) / kBlock;
  UuidStream stream;
  u64 random = 1;
  const auto next_new = [&](u64 block) {
    stream.clear();
    for (u64 i = 0; i < kBlock; ++i) {
      stream.add(block * kBlock + i, 0);
    }
  };
  const auto any = [&](u64 block) {
    stream.clear();
    for (u64 i = 0; i < kBlock; ++i) {
      random = random * 6364136223846793005 + 1442695040888963407;
      stream.add((random >> 33) % entries, block & 0xff);
    }
  };
  u64 sum = 0;
  const auto control = [&] {
    for (const u8 byte : stream.bytes()) {
      sum += byte;
    }
  };
  const auto take = [&] {
    world.feed(0, stream.bytes());
    world.turn();
  };

  fmt::print("{} entries (uuid, gpc1), {} updates a second; microseconds of CPU time a step\n",
             entries, rate);
  fmt::print("{:<22} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>6}\n", "", "steps", "p50",
             "p99", "p99.9", "most", "over 1 ms", "switched", "stolen", "own");
  Phase grows("grows from empty");
  run_paced(grows, blocks, rate, next_new, take);
  grows.print();
  Phase idle("idle turns after it");
  for (bool more = true; more;) {
    idle.step([&] { more = world.turn(); });
  }
  idle.print();
  if (world.entries() < entries) {
    fmt::print(stderr, "{}: {} entries instead of {}\n", kName, world.entries(), entries);
    return cli::kExitNotFound;
  }
  Phase updates("updates, any key");
  run_paced(updates, blocks / 2, rate, any, take);
  updates.print();
  Phase calm("control");
  run_paced(calm, blocks, rate, next_new, control);
  calm.print();
  world.pass(7'200'000);
  Phase expires("all expire at once");
  while (world.entries() > 0) {
    expires.step([&] { world.turn(); });
  }
  expires.print();
  return std::fflush(stdout) == 0 && sum > 0 ? cli::kExitFine : cli::kExitNotFound;
}

}  // namespace
}  // namespace lineq::bench

int main(int argc, char** argv) {
  return lineq::bench::run(argc, argv);
}
