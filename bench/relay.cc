// What it costs a process to tell its peers: lineqd or a real HAProxy. First a lesson of everything
// to fresh peers, which both give, in CPU seconds per million rows; then updates: of lineqd, which
// unlike HAProxy passes on what it was told, those of one peer to others; of HAProxy, which tells
// others what changes in its own tables, those made by `set table`. Rows, CPU seconds, and how old
// each row was when it arrived. With 0 receivers: what the updates alone cost.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "bench/load_peer.h"
#include "bench/measured_process.h"
#include "bench/numbers.h"
#include "bench/receiving_peer.h"
#include "bench/set_table.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"

namespace lineq::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kName = "relay";
constexpr auto kPatience = std::chrono::seconds(60);

constexpr auto kOptions = std::to_array<cli::Option>({
    {"port", 'p', "PORT", "where the process listens on 127.0.0.1", "11111"},
    {"pid", 0, "PID", "the process, for its CPU time", "who listens on the port"},
    {"keys", 'k', "N", "different keys (uuid, gpc1)", "1000000"},
    {"receivers", 'r', "N", "peers that are told, bench-1, bench-2 ...", "1"},
    {"updates", 'u', "N", "updates to pass on; 0: the lesson alone", "1000000"},
    {"rate", 0, "N", "of these a second", "as many as the process takes"},
    {"stats", 0, "PORT", "updates are made by `set table`, on this stats socket of a HAProxy", ""},
    {"our-name", 0, "NAME", "what the sender calls itself", "bench"},
    {"their-name", 0, "NAME", "what the process is called", "lineq"},
});
constexpr auto kExamples = std::to_array<std::string_view>({
    "relay -p 11111 -r 3                     lineqd, three receivers",
    "relay -p 11111 -r 1 --rate 20000        how long an update takes at 20,000 a second",
    "relay -p 11111 -r 3 --stats 11112       a HAProxy that tells what `set table` changes in it",
});
constexpr cli::Program kProgram{
    kName,    "[OPTION]...", "Measures what telling peers costs a process. Prints JSON.",
    kOptions, kExamples,     false};

struct Wishes {
  Load load;
  u32 receivers = 1;
  u64 updates = 1000000;
  u16 stats_port = 0;
  long pid = 0;
};

// Each receiver on a thread of its own, until it has what it waits for.
class Receivers {
 public:
  explicit Receivers(const Wishes& wishes) {
    for (u32 i = 1; i <= wishes.receivers; ++i) {
      Load load = wishes.load;
      load.our_name = fmt::format("{}-{}", wishes.load.our_name, i);
      all_.push_back(std::make_unique<ReceivingPeer>(load));
    }
  }
  Receivers(const Receivers&) = delete;
  Receivers& operator=(const Receivers&) = delete;
  ~Receivers() { stop(); }

  Status connect() {
    for (const auto& peer : all_) {
      if (Status status = peer->connect(true); !status) {
        return status;
      }
    }
    return {};
  }
  // `done`: of one receiver; looked at by its thread.
  template <typename Done>
  void start(Done done) {
    stop_ = false;
    busy_ = all_.size();
    for (const auto& peer : all_) {
      threads_.emplace_back([this, done, peer = peer.get()] {
        bool counted = false;
        while (!stop_) {
          if (const Status status = peer->exchange(20); !status) {
            std::fprintf(stderr, "relay: %s\n", status.error().what.c_str());
            return;  // busy for good
          }
          if (!counted && done(*peer)) {
            counted = true;
            --busy_;
          }
        }
      });
    }
  }
  bool wait() {
    for (const auto deadline = Clock::now() + kPatience; busy_ > 0;) {
      if (Clock::now() > deadline) {
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  void stop() {
    stop_ = true;
    for (std::thread& thread : threads_) {
      thread.join();
    }
    threads_.clear();
  }
  u64 rows() const {
    u64 sum = 0;
    for (const auto& peer : all_) {
      sum += peer->rows();
    }
    return sum;
  }
  void note_ages(u64 most) {
    for (const auto& peer : all_) {
      peer->note_ages(most);
    }
  }
  std::vector<u32> ages() const {
    std::vector<u32> all;
    for (const auto& peer : all_) {
      all.insert(all.end(), peer->ages_us().begin(), peer->ages_us().end());
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  std::vector<std::unique_ptr<ReceivingPeer>> all_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stop_{false};
  std::atomic<std::size_t> busy_{0};
};

int fail(std::string_view what) {
  fmt::print(stderr, "{}: {}\n", kName, what);
  return cli::kExitNotFound;
}

double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

u32 quantile(const std::vector<u32>& sorted, double q) {
  return sorted.empty()
             ? 0
             : sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

int measure(const Wishes& wishes) {
  std::optional<LoadPeer> sender(std::in_place, wishes.load);
  if (const Status status = sender->connect(); !status) {
    return fail(status.error().what);
  }
  const long pid =
      wishes.pid != 0 ? wishes.pid : pid_of_listener(wishes.load.port).value_or(wishes.pid);
  const auto cpu = [&] { return cpu_seconds(pid).value_or(0); };
  if (const auto filled = sender->fill(); !filled) {
    return fail(filled.error().what);
  }

  Receivers receivers(wishes);
  double cpu_before = cpu();
  auto begin = Clock::now();
  if (const Status status = receivers.connect(); !status) {
    return fail(status.error().what);
  }
  receivers.start([](const ReceivingPeer& peer) { return peer.taught(); });
  const bool taught = receivers.wait();
  const double lesson_seconds = seconds_since(begin);
  const double lesson_cpu = cpu() - cpu_before;
  receivers.stop();
  const u64 lesson_rows = receivers.rows();
  if (!taught || lesson_rows < u64{wishes.receivers} * wishes.load.keys) {
    return fail(fmt::format("{} rows taught within {} s, {} expected", lesson_rows,
                            kPatience.count(), u64{wishes.receivers} * wishes.load.keys));
  }
  std::string json =
      fmt::format(R"({{"keys":{},"receivers":{})", wishes.load.keys, wishes.receivers);
  if (lesson_rows > 0) {
    json += fmt::format(
        R"(,"lesson":{{"rows":{},"seconds":{:.3f},"cpu_seconds_per_million":{:.4f}}})", lesson_rows,
        lesson_seconds, lesson_cpu * 1e6 / static_cast<double>(lesson_rows));
  }

  if (wishes.updates > 0) {
    receivers.note_ages(wishes.updates);
    std::atomic<bool> all_sent{false};
    std::atomic<u32> last{0};
    receivers.start(
        [&](const ReceivingPeer& peer) { return all_sent && peer.latest_stamp() == last; });
    u32 last_stamp = 0;
    if (wishes.stats_port != 0) {
      sender.reset();  // a HAProxy would tell it too
    }
    cpu_before = cpu();
    begin = Clock::now();
    const auto sent = wishes.stats_port != 0
                          ? set_table(wishes.load, wishes.stats_port, wishes.updates, last_stamp)
                          : sender->update(wishes.updates);
    if (!sent) {
      return fail(sent.error().what);
    }
    last = sender ? sender->last_stamp() : last_stamp;
    all_sent = true;
    if (!receivers.wait()) {
      return fail("the last update has not come through");
    }
    const double relay_seconds = seconds_since(begin);
    const double relay_cpu = cpu() - cpu_before;
    receivers.stop();
    const u64 rows = receivers.rows() - lesson_rows;
    const std::vector<u32> ages = receivers.ages();
    json += fmt::format(
        R"(,"relay":{{"updates":{},"rows":{},"seconds":{:.3f},"per_second":{:.0f},"rows_per_second":{:.0f},)"
        R"("cpu_seconds_per_million":{:.4f},"cpu_seconds_per_million_rows":{:.4f},)"
        R"("age_us":{{"p50":{},"p99":{},"p999":{},"most":{}}}}})",
        wishes.updates, rows, relay_seconds, static_cast<double>(wishes.updates) / sent->seconds,
        static_cast<double>(rows) / relay_seconds,
        relay_cpu * 1e6 / static_cast<double>(wishes.updates),
        relay_cpu * 1e6 / static_cast<double>(std::max<u64>(rows, 1)), quantile(ages, 0.5),
        quantile(ages, 0.99), quantile(ages, 0.999), quantile(ages, 1));
  }
  fmt::print("{}}}\n", json);
  return std::fflush(stdout) == 0 ? cli::kExitFine : fail("cannot write the output");
}

int run(int argc, char** argv) {
  const cli::CommandLine line = cli::read_command_line(kProgram, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  Wishes wishes;
  wishes.load.port = 11111;
  wishes.load.stamped = true;
  if (!number(line, "port", 1, 65535, wishes.load.port) ||
      !number(line, "pid", 1, 1U << 30, wishes.pid) ||
      !number(line, "keys", 1, 1U << 24, wishes.load.keys) ||
      !number(line, "receivers", 0, 250, wishes.receivers) ||
      !number(line, "stats", 1, 65535, wishes.stats_port) ||
      !number(line, "updates", 0, 1U << 31, wishes.updates) ||
      !number(line, "rate", 1, 1U << 30, wishes.load.rate)) {
    return cli::usage_error(kName,
                            "port, pid, keys (to 16777216), receivers (to 250), updates (to 2^31), "
                            "rate and stats are numbers");
  }
  wishes.load.our_name = line.value("our-name").value_or(wishes.load.our_name);
  wishes.load.their_name = line.value("their-name").value_or(wishes.load.their_name);
  return measure(wishes);
}

}  // namespace
}  // namespace lineq::bench

int main(int argc, char** argv) {
  return lineq::bench::run(argc, argv);
}
