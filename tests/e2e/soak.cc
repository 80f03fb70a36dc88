// soak --minutes N: everything at once for a long time, with real HAProxys. Exits with 1 and says
// what was wrong; prints a line a minute and a table at the end.
//
// Three worlds beside each other:
//  - steady: a lineqd and a lineq-web that nobody kills, three HAProxys that are killed and
//    reloaded, a crowd in a waiting room, tables whose keys come and expire, and readers that scan
//    all the time. Their memory, descriptors and the segment have to stay flat.
//  - kills: a crowd in a waiting room while lineqd, lineq-web and HAProxys are killed one after the
//    other; the room's promises hold for every visitor.
//  - totals: mode acc under accidents of every kind (ledger_run.h); totals are the truth.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <sys/stat.h>

#include "tests/e2e/ledger_run.h"
#include "tests/e2e/rooms_world.h"
#include "tests/support/websocket.h"

namespace lineq::test {
namespace {

using Clock = std::chrono::steady_clock;

// What one world found, and what happened in it.
class Report {
 public:
  void wrong(std::string_view where, const std::string& what) {
    if (!what.empty()) {
      const std::lock_guard lock(mutex_);
      wrongs_.push_back(fmt::format("{}: {}", where, what));
      failed_ = true;
    }
  }
  void count(const std::string& what, u64 n = 1) {
    const std::lock_guard lock(mutex_);
    counts_[what] += n;
  }
  bool failed() const { return failed_; }
  std::vector<std::string> wrongs() const {
    const std::lock_guard lock(mutex_);
    return wrongs_;
  }
  std::map<std::string, u64> counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> wrongs_;
  std::map<std::string, u64> counts_;
  std::atomic<bool> failed_{false};
};

struct Run {
  Clock::time_point begin = Clock::now();
  Clock::time_point end;
  u64 seed = 0;
  Report report;

  // The worlds end early when one of them has found something.
  bool on() const { return Clock::now() < end && !report.failed(); }
  // Paces traffic and accidents.
  void rest(u64 ms) const {
    const auto until = Clock::now() + std::chrono::milliseconds(ms);
    wait_until([&] { return !on() || Clock::now() >= until; }, std::chrono::minutes(10));
  }
  double minutes() const {
    return std::chrono::duration<double>(Clock::now() - begin).count() / 60;
  }
};

void restart(Haproxy& haproxy) {
  ::kill(static_cast<pid_t>(haproxy.worker_pid()), SIGKILL);
  haproxy.kill();
}

// --- steady ---

struct Sample {
  double minute = 0;
  u64 lineqd_kib = 0;  // its own memory: without what it maps of the segment
  u64 lineqd_files = 0;
  u64 web_kib = 0;
  u64 web_files = 0;
  u64 segment_kib = 0;
};

constexpr u32 kPlaces = 30;
constexpr u32 kChurnKeys = 100'000;
constexpr u32 kBulkKeys = 300'000;
constexpr u64 kBulkExpireMs = 20'000;
constexpr std::size_t kWatchers = 20;  // WebSockets

class Steady {
 public:
  explicit Steady(Run& run) : run_(run), world_({crowd_room(kPlaces)}) {}

  void go() {
    const std::string config =
        with(generated_config(world_.rooms), "    # The room of this request.\n",
             "    acl churn hdr(host) churn.example\n"
             "    http-request track-sc2 url_param(k) table churn if churn\n"
             "    http-request sc-inc-gpc0(2) if churn\n"
             "    http-request return status 200 if churn\n\n"
             "    # The room of this request.\n") +
        "\nbackend churn\n    stick-table type string len 32 size 200k expire 20s peers lineq "
        "store gpc0,http_req_rate(10s)\n";
    if (!world_.start_with(3, config, true)) {
      return run_.report.wrong("steady", world_.trouble);
    }
    watch_ = world_.watch();
    std::vector<std::thread> threads;
    threads.emplace_back([this] { churn(); });
    threads.emplace_back([this] { bulk(); });
    threads.emplace_back([this] { scan(); });
    threads.emplace_back([this] { push(); });
    threads.emplace_back([this] { visitors(); });
    // Here: a process started by a thread ends with it (tests/support/process.h).
    accidents();
    for (std::thread& thread : threads) {
      thread.join();
    }
    // A kill of a HAProxy cuts answers off; whose first answer it was comes back as somebody else.
    if (!world_.crowd.wait_finished(std::chrono::seconds(120))) {
      run_.report.wrong("steady", "the crowd is not served: " + world_.crowd.result().json());
    }
    run_.report.wrong("steady",
                      world_.trouble_with(world_.crowd.result(), *watch_, kPlaces, sent_, true));
    run_.report.wrong("steady", world_.wait_empty(*watch_, std::chrono::seconds(90)));
    run_.report.count("visitors", world_.crowd.numbers().left);
    if (!world_.daemon.running() || !world_.web.running()) {
      run_.report.wrong("steady", "lineqd or lineq-web has ended" + world_.story());
    }
  }

  std::vector<Sample> samples() const {
    const std::lock_guard lock(mutex_);
    return samples_;
  }

 private:
  void visitors() {
    auto next_sample = Clock::now();
    while (run_.on()) {
      if (world_.crowd.numbers().finished() + 50 >= sent_) {
        CrowdPlan plan = world_.plan(100);
        plan.span_ms = 3000;
        plan.poll_ms = 500;
        plan.visit_ms = 300;
        plan.roam = sent_ % 200 == 0;
        plan.seed = run_.seed + sent_;
        world_.crowd.send(plan);
        sent_ += plan.visitors;
      }
      if (Clock::now() >= next_sample) {
        sample();
        next_sample += std::chrono::seconds(5);
      }
      run_.rest(100);
    }
  }

  void sample() {
    Sample s;
    s.minute = run_.minutes();
    s.lineqd_kib = anonymous_kib(world_.daemon.pid());
    s.lineqd_files = open_files(world_.daemon.pid());
    s.web_kib = anonymous_kib(world_.web.pid());
    s.web_files = open_files(world_.web.pid());
    for (const std::string& object : world_.lineq.objects()) {
      struct stat about {};
      if (::stat(("/dev/shm/" + object).c_str(), &about) == 0) {
        s.segment_kib += static_cast<u64>(about.st_blocks) / 2;
      }
    }
    const std::lock_guard lock(mutex_);
    samples_.push_back(s);
  }

  void churn() {
    std::mt19937_64 random(run_.seed + 1);
    while (run_.on()) {
      for (int i = 0; i < 10 && run_.on(); ++i) {
        const u16 port = world_.at(random() % world_.count()).http_port();
        const HttpAnswer answer = http_get(port, fmt::format("/?k=key-{}", random() % kChurnKeys),
                                           "Host: churn.example\r\n");
        run_.report.count(answer.status == 200 ? "requests" : "requests cut off");
      }
      run_.rest(30);
    }
  }

  void bulk() {
    std::mt19937_64 random(run_.seed + 2);
    const auto peer = world_.fake("bulk", false, false);
    const shm::TableDefinition table =
        string_table("/bulk", 40, u64{1} << shm::kGpc0 | u64{1} << shm::kBytesInCnt, kBulkExpireMs);
    peer->define(1, table);
    while (run_.on()) {
      if (!peer->connected() && !peer->connect()) {
        run_.report.wrong("steady", "the bulk peer is not let in: " + peer->why_ended());
        return;
      }
      for (int i = 0; i < 200; ++i) {
        const std::array<u64, 2> cells{random() % 1000, random()};
        peer->update(1, fmt::format("bulk-{}", random() % kBulkKeys), cells);
      }
      run_.report.count("updates", 200);
      peer->pump(Milliseconds(20));
    }
  }

  void scan() {
    u64 round = 0;
    while (run_.on()) {
      ++round;
      const auto expect = [&](const std::vector<std::string>& words) {
        const Finished done = world_.lineq.dump(words);
        if (done.exit_code != 0) {
          run_.report.wrong("steady",
                            fmt::format("lineq-dump {}: exit code {}: {}{}", words.back(),
                                        done.exit_code, done.out.substr(0, 2000), done.err));
        }
        run_.report.count("scans");
      };
      expect({"-t", "/bulk"});
      expect({"-t", "churn", "-o", "json"});
      expect({"--queue", "shop"});
      if (round % 10 == 0) {
        expect({"--verify"});
      }
      for (const std::string_view path :
           {"/tables?table=/bulk&format=v2", "/tables?table=churn", "/metrics", "/status.json"}) {
        const HttpAnswer answer = http_stream(world_.lineq.web_port(), path, [](auto) {});
        if (answer.status != 200 || !answer.complete) {
          run_.report.wrong("steady", fmt::format("{}: status {}{}", path, answer.status,
                                                  answer.complete ? "" : ", cut off"));
        }
        run_.report.count("pages");
      }
    }
  }

  // Browsers that come, listen for a while, and go.
  void push() {
    std::deque<WebSocketClient> watchers;
    while (run_.on()) {
      watchers.emplace_back(world_.lineq.web_port(), "/ws?table=churn");
      if (watchers.back().status() != 101) {
        run_.report.wrong("steady", fmt::format("/ws: status {}", watchers.back().status()));
        return;
      }
      if (watchers.size() > kWatchers) {
        watchers.pop_front();
      }
      for (WebSocketClient& watcher : watchers) {
        run_.report.count("messages pushed", watcher.next(Milliseconds(20)).opcode == 1 ? 1 : 0);
      }
    }
  }

  void accidents() {
    std::mt19937_64 random(run_.seed + 3);
    while (run_.on()) {
      run_.rest(5000 + random() % 15000);
      if (!run_.on()) {
        return;
      }
      Haproxy& haproxy = world_.at(random() % world_.count());
      if (random() % 2 == 0) {
        restart(haproxy);
        if (!haproxy.start()) {
          run_.report.wrong("steady", "HAProxy does not start: " + haproxy.log());
          return;
        }
        run_.report.count("HAProxys killed");
      } else {
        if (!haproxy.reload()) {
          run_.report.wrong("steady", "HAProxy does not reload: " + haproxy.log());
          return;
        }
        run_.report.count("HAProxys reloaded");
      }
      if (!haproxy.wait_peer()) {
        run_.report.wrong("steady", "no session: " + haproxy.peer().text + world_.story());
        return;
      }
    }
  }

  Run& run_;
  RoomsWorld world_;
  std::unique_ptr<RoomWatch> watch_;
  u32 sent_ = 0;
  mutable std::mutex mutex_;
  std::vector<Sample> samples_;
};

// --- kills ---

class Kills {
 public:
  explicit Kills(Run& run) : run_(run), random_(run.seed + 4) {}

  void go() {
    cli::RoomSettings room = shop(kRoom);
    room.grace_ms = 3000;  // see rooms_slow_test.cc
    RoomsWorld world({room});
    if (!world.start(3, true)) {
      return run_.report.wrong("kills", world.trouble);
    }
    const auto watch = world.watch();
    u32 sent = 0;
    while (run_.on()) {
      CrowdPlan plan = world.plan(200);
      plan.span_ms = 2000;
      plan.poll_ms = 500;
      plan.visit_ms = 200;
      plan.seed = random_();
      world.crowd.send(plan);
      sent += plan.visitors;
      while (run_.on() && world.crowd.numbers().finished() + 20 < sent) {
        const u32 before = world.crowd.numbers().finished();
        wait_until([&] { return !run_.on() || world.crowd.numbers().finished() >= before + 10; },
                   Milliseconds(5000));
        run_.report.wrong("kills", accident(world));
      }
      if (!world.crowd.wait_finished(std::chrono::seconds(120))) {
        run_.report.wrong(
            "kills", "the crowd is not served: " + world.crowd.result().json() + world.story());
      }
      run_.report.wrong("kills",
                        world.trouble_with(world.crowd.result(), *watch, kRoom, sent, true));
      run_.report.wrong("kills", world.wait_empty(*watch, std::chrono::seconds(60)));
    }
    run_.report.count("visitors", world.crowd.numbers().left);
  }

 private:
  static constexpr u32 kRoom = 20;

  // One of them is away, and back before the next is hit.
  std::string accident(RoomsWorld& world) {
    const u64 kind = random_() % 8;
    if (kind < 3) {
      world.kill_daemon();
      run_.report.count("lineqd killed");
      return world.start_daemon() && world.wait_sessions() ? "" : world.trouble;
    }
    if (kind == 3) {
      if (world.daemon.stop() != 0) {
        return "lineqd does not stop: " + world.daemon.err();
      }
      run_.report.count("lineqd stopped");
      return world.start_daemon() && world.wait_sessions() ? "" : world.trouble;
    }
    if (kind < 6) {
      world.web.kill();
      run_.report.count("lineq-web killed");
      return world.start_web() ? "" : world.trouble;
    }
    Haproxy& haproxy = world.at(random_() % world.count());
    if (kind == 6) {
      restart(haproxy);
      run_.report.count("HAProxys killed");
      return haproxy.start() && haproxy.wait_peer() ? "" : haproxy.log();
    }
    run_.report.count("HAProxys reloaded");
    return haproxy.reload() && haproxy.wait_peer() ? "" : haproxy.log();
  }

  Run& run_;
  std::mt19937_64 random_;
};

// --- totals ---

void totals(Run& run) {
  LedgerRun::Setup setup;
  setup.seed = run.seed + 5;
  LedgerRun ledger(setup);
  std::string wrong = ledger.start();
  while (wrong.empty() && run.on()) {
    const auto left = std::chrono::duration_cast<Milliseconds>(run.end - Clock::now());
    wrong = ledger.run(std::min(left, Milliseconds(60'000)));
  }
  if (wrong.empty()) {
    wrong = ledger.finish();
  }
  run.report.wrong("totals", wrong.empty() ? "" : wrong + "\n" + ledger.story());
  run.report.count("requests", ledger.requests());
  for (const auto& [what, n] : ledger.accident_counts()) {
    run.report.count("totals: " + what, n);
  }
}

// --- what it says ---

struct Series {
  std::string_view name;
  u64 Sample::*value;
  u64 slack;  // beside 5 %, in the unit of the value
};
constexpr std::array<Series, 5> kSeries{{{"lineqd, KiB of its own", &Sample::lineqd_kib, 512},
                                         {"lineqd, descriptors", &Sample::lineqd_files, 8},
                                         {"lineq-web, KiB of its own", &Sample::web_kib, 512},
                                         {"lineq-web, descriptors", &Sample::web_files, 32},
                                         {"segment, KiB", &Sample::segment_kib, 512}}};

// The highest of what was measured between two parts of the run.
u64 highest(const std::vector<Sample>& samples, const Series& series, double from, double to) {
  const double whole = samples.back().minute;
  u64 most = 0;
  for (const Sample& sample : samples) {
    if (sample.minute >= from * whole && sample.minute <= to * whole) {
      most = std::max(most, sample.*series.value);
    }
  }
  return most;
}

// After a fifth of the run everything is as large as it gets; the rest is cut in two.
void judge(Run& run, const std::vector<Sample>& samples) {
  constexpr double kWarm = 0.2;
  constexpr double kMiddle = 0.6;
  constexpr double kLongEnough = 5;  // minutes
  if (samples.empty()) {
    return;
  }
  const bool long_enough = samples.back().minute >= kLongEnough;
  fmt::print("\n| highest in | 20 to 60 % | 60 to 100 % of the run |\n|---|---|---|\n");
  for (const Series& series : kSeries) {
    const u64 early = highest(samples, series, kWarm, kMiddle);
    const u64 late = highest(samples, series, kMiddle, 1);
    fmt::print("| {} | {} | {} |\n", series.name, early, late);
    if (long_enough && late > early + early / 20 + series.slack) {
      run.report.wrong("steady", fmt::format("{}: grew from {} to {}", series.name, early, late));
    }
  }
  if (!long_enough) {
    fmt::print("Too short to say whether it stays so: that takes {} minutes.\n", kLongEnough);
  }
}

int soak(double minutes, u64 seed) {
  Run run;
  run.seed = seed;
  run.end = run.begin + std::chrono::milliseconds(static_cast<i64>(minutes * 60'000));
  fmt::print("{} minutes, seed {}\n", minutes, seed);
  Steady steady(run);
  std::vector<std::thread> worlds;
  worlds.emplace_back([&] { steady.go(); });
  worlds.emplace_back([&] { Kills(run).go(); });
  worlds.emplace_back([&] { totals(run); });
  while (run.on()) {
    run.rest(60'000);
    const std::vector<Sample> samples = steady.samples();
    if (!samples.empty()) {
      const Sample& s = samples.back();
      const auto counts = run.report.counts();
      const auto n = [&](const char* what) {
        const auto at = counts.find(what);
        return at == counts.end() ? 0 : at->second;
      };
      fmt::print(
          "{:5.1f} min: lineqd {} KiB, {} descriptors; lineq-web {} KiB, {}; segment {} KiB; {} "
          "requests, {} scans, killed: lineqd {}, lineq-web {}, HAProxys {}\n",
          s.minute, s.lineqd_kib, s.lineqd_files, s.web_kib, s.web_files, s.segment_kib,
          n("requests"), n("scans"), n("lineqd killed"), n("lineq-web killed"),
          n("HAProxys killed"));
      std::fflush(stdout);
    }
  }
  for (std::thread& world : worlds) {
    world.join();
  }
  judge(run, steady.samples());
  fmt::print("\n| what happened | times |\n|---|---|\n");
  for (const auto& [what, n] : run.report.counts()) {
    fmt::print("| {} | {} |\n", what, n);
  }
  for (const std::string& wrong : run.report.wrongs()) {
    fmt::print("\nWRONG: {}\n", wrong);
  }
  fmt::print("\n{:.1f} minutes, seed {}: {}\n", run.minutes(), seed,
             run.report.failed() ? "FAILED" : "nothing was wrong");
  return run.report.failed() ? 1 : 0;
}

}  // namespace
}  // namespace lineq::test

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  double minutes = 60;
  lineq::u64 seed = std::random_device{}();
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    if (words[i] == "--minutes") {
      minutes = std::strtod(words[i + 1].data(), nullptr);
    } else if (words[i] == "--seed") {
      seed = std::strtoull(words[i + 1].data(), nullptr, 10);
    } else {
      minutes = 0;
    }
  }
  if (words.size() % 2 != 0 || !(minutes > 0)) {
    fmt::print(stderr, "usage: soak [--minutes N] [--seed N]\n");
    return 1;
  }
  if (!lineq::test::have_haproxys()) {
    fmt::print(stderr, "HAProxy 2.6 or 3.0 is not here\n");
    return 1;
  }
  return lineq::test::soak(minutes, seed);
}
