// Three HAProxys that count requests, one lineqd that adds them up for ever, and everything that
// can happen to them: reloads, kill -9 of HAProxys and of lineqd, clean stops, streams cut at any
// byte or stopped, entries that expire. The run knows what was really sent, by key.
//
// What it leaves out is what nobody could count: a HAProxy is killed only when it has told all it
// counted, and while one is reloaded it gets no requests (what its old process counts after it has
// handed over is lost with it, and the rows it hands over overwrite what the new one counted).
// reload_under_traffic(): only the second half is left out, for the promise that is left then.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "shm/reader.h"
#include "tests/e2e/world.h"
#include "tests/support/cutter.h"

namespace lineq::test {

class LedgerRun {
 public:
  struct Setup {
    u64 seed = 0;
    u32 brief_expire_s = 30;  // of table "brief", whose keys are used for a while and then no more
    bool reload_under_traffic = false;
  };

  explicit LedgerRun(const Setup& setup);
  LedgerRun(const LedgerRun&) = delete;
  LedgerRun& operator=(const LedgerRun&) = delete;
  ~LedgerRun();

  // Each: "" or what is wrong; story() has everything that helps to understand it.
  std::string start();
  // Accidents under traffic for so long. Totals never exceed what was sent and never shrink.
  std::string run(Milliseconds how_long);
  // No more traffic: totals become exactly what was sent.
  std::string finish();

  u64 requests() const;
  u64 total();                    // requests by the totals
  std::string accidents() const;  // how many of which
  const std::map<std::string, u64>& accident_counts() const { return accidents_; }
  std::string story() const;

 private:
  static constexpr std::size_t kSites = 3;
  static constexpr Milliseconds kSettlePatience{45000};

  struct Count {
    u64 sent = 0;      // a request is counted before it is sent ...
    u64 answered = 0;  // ... and after
  };
  using Keys = std::map<std::string, Count>;
  struct Totals {
    u64 requests = 0;
    u64 twice = 0;  // gpc1, which each request adds 2 to
  };
  using Tables = std::map<std::string, std::map<std::string, Totals>>;

  // One HAProxy, its wire to lineqd and its visitors.
  struct Site {
    Haproxy* haproxy = nullptr;
    std::unique_ptr<Cutter> wire;
    std::atomic<bool> open{false};  // visitors may come
    std::mutex visit;               // held during a request
    std::thread visitors;
    bool settled = false;  // all it counted was told since it started
  };

  void visit(std::size_t i, u64 seed);
  void close(Site& site);  // and no request is under way any more
  void open_all(bool open);
  void read_totals(Tables& tables);
  std::string check();
  std::string settle();
  std::string pause_for(Milliseconds how_long);
  std::string accident();
  std::string reload(std::size_t i);
  std::string kill_haproxy(std::size_t i);
  std::string end_lineqd(bool kill);
  void note(std::string_view kind, std::string_view what);
  u64 pick(u64 below) { return random_() % below; }

  Setup setup_;
  std::mt19937_64 random_;
  World world_;
  std::array<Site, kSites> sites_;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::map<std::string, Keys> truth_;
  Tables highest_;
  std::optional<shm::Reader> reader_;
  std::chrono::steady_clock::time_point start_;
  std::vector<std::string> happened_;
  std::map<std::string, u64> accidents_;
};

}  // namespace lineq::test
