#include "tests/e2e/ledger_run.h"

#include <algorithm>
#include <csignal>

#include <fmt/format.h>

namespace lineq::test {
namespace {

constexpr std::string_view kConfig = R"(
global
    localpeer {name}
    stats socket {stats} level admin
    maxconn 200

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s

peers lq
    bind 127.0.0.1:{peers}
    server {name}
    server lineq 127.0.0.1:{wire}
    table long type string len 32 size 10k expire 1h store http_req_cnt,gpc1
    table brief type string len 32 size 10k expire {brief}s store http_req_cnt,gpc1

frontend fe
    bind 127.0.0.1:{http}
    http-request track-sc0 url_param(k) table lq/long if { path /long }
    http-request track-sc0 url_param(k) table lq/brief if { path /brief }
    http-request sc-inc-gpc1(0)
    http-request sc-inc-gpc1(0)
    http-request return status 200
)";

constexpr std::array<std::string_view, 2> kTables{"long", "brief"};
constexpr std::array<HaproxyVersion, 3> kVersions{HaproxyVersion::k26, HaproxyVersion::k30,
                                                  HaproxyVersion::k26};
constexpr u64 kLongKeys = 12;
constexpr u64 kBriefKeys = 4;
constexpr Milliseconds kEpoch{8000};  // a key of table brief is used for so long

Milliseconds ms(u64 n) {
  return Milliseconds(static_cast<i64>(n));
}

}  // namespace

LedgerRun::LedgerRun(const Setup& setup)
    : setup_(setup), random_(setup.seed), start_(std::chrono::steady_clock::now()) {}

LedgerRun::~LedgerRun() {
  stop_ = true;
  for (Site& site : sites_) {
    if (site.visitors.joinable()) {
      site.visitors.join();
    }
  }
}

std::string LedgerRun::start() {
  write_file(world_.lineq.file("lineq.cfg"), R"({"service_mode": "acc"})");
  if (!world_.start_daemon()) {
    return world_.trouble;
  }
  shm::Source source;
  source.instance = world_.lineq.name();
  source.patience_ms = 10000;
  auto reader = shm::Reader::open(source);
  if (!reader) {
    return reader.error().what;
  }
  reader_.emplace(std::move(*reader));
  for (std::size_t i = 0; i < kSites; ++i) {
    Site& site = sites_[i];
    site.wire = std::make_unique<Cutter>(world_.lineq.tcp_port());
    site.haproxy =
        world_.add(kVersions[i], fmt::format("hap-{}", "abc"[i]), std::string(kConfig), true,
                   {{"wire", std::to_string(site.wire->port())},
                    {"brief", std::to_string(setup_.brief_expire_s)}});
    if (site.haproxy == nullptr) {
      return world_.trouble;
    }
  }
  if (!world_.wait_sessions()) {
    return world_.trouble;
  }
  for (std::size_t i = 0; i < kSites; ++i) {
    sites_[i].visitors = std::thread([this, i, seed = random_()] { visit(i, seed); });
  }
  open_all(true);
  return "";
}

// --- traffic ---

void LedgerRun::visit(std::size_t i, u64 seed) {
  std::mt19937_64 random(seed);
  Site& site = sites_[i];
  u64 burst = 0;
  while (!stop_) {
    if (!site.open) {
      wait_until([&] { return stop_ || site.open; });
      continue;
    }
    {
      const std::lock_guard visit(site.visit);
      if (!site.open) {
        continue;
      }
      const bool brief = random() % 3 == 0;
      const auto epoch = (std::chrono::steady_clock::now() - start_) / kEpoch;
      const std::string table(kTables[brief ? 1 : 0]);
      const std::string key = brief ? fmt::format("brief-{}-{}", epoch, random() % kBriefKeys)
                                    : fmt::format("long-{}", random() % kLongKeys);
      {
        const std::lock_guard lock(mutex_);
        ++truth_[table][key].sent;
      }
      if (http_get(site.haproxy->http_port(), fmt::format("/{}?k={}", table, key)).status == 200) {
        const std::lock_guard lock(mutex_);
        ++truth_[table][key].answered;
      }
    }
    burst = burst == 0 ? random() % 40 : burst - 1;
    if (burst < 20) {  // some come at once, others one after the other
      const auto pause = ms(random() % 40);
      const auto until = std::chrono::steady_clock::now() + pause;
      wait_until([&] { return stop_ || std::chrono::steady_clock::now() >= until; });
    }
  }
}

void LedgerRun::close(Site& site) {
  site.open = false;
  const std::lock_guard visit(site.visit);
}

void LedgerRun::open_all(bool open) {
  for (Site& site : sites_) {
    if (open) {
      site.open = true;
    } else {
      close(site);
    }
  }
}

u64 LedgerRun::requests() const {
  const std::lock_guard lock(mutex_);
  u64 all = 0;
  for (const auto& [table, keys] : truth_) {
    for (const auto& [key, count] : keys) {
      all += count.answered;
    }
  }
  return all;
}

// --- totals ---

void LedgerRun::read_totals(Tables& tables) {
  (void)reader_->refresh();  // while lineqd is away the segment is as it left it
  for (const std::string_view name : kTables) {
    const shm::TableInfo* const table = reader_->find_table(fmt::format("/{}", name));
    const shm::TableInfo* const ledger = table == nullptr ? nullptr : reader_->ledger_of(*table);
    if (ledger == nullptr) {
      continue;
    }
    auto& totals = tables[std::string(name)];
    shm::Scan scan;
    const auto visit = [&](const shm::EntryView& entry) {
      totals[std::string(entry.key_chars())] = {entry.value(shm::kHttpReqCnt),
                                                entry.value(shm::kGpc1)};
      return true;
    };
    constexpr u32 kSlots = 4096;
    constexpr int kMostSteps = 1000;  // lineqd may be dead in the middle of an entry
    for (int i = 0; i < kMostSteps && !reader_->scan(*ledger, scan, kSlots, visit); ++i) {
    }
  }
}

u64 LedgerRun::total() {
  Tables tables;
  read_totals(tables);
  u64 all = 0;
  for (const auto& [table, keys] : tables) {
    for (const auto& [key, totals] : keys) {
      all += totals.requests;
    }
  }
  return all;
}

// What must hold at any time.
std::string LedgerRun::check() {
  Tables tables;
  read_totals(tables);
  const std::lock_guard lock(mutex_);
  for (const auto& [table, keys] : tables) {
    for (const auto& [key, totals] : keys) {
      const u64 sent = truth_[table][key].sent;
      if (totals.requests > sent || totals.twice > 2 * sent) {
        return fmt::format("{} {}: {} requests and gpc1 {} are more than the {} that were sent",
                           table, key, totals.requests, totals.twice, sent);
      }
      Totals& highest = highest_[table][key];
      if (totals.requests < highest.requests || totals.twice < highest.twice) {
        return fmt::format("{} {}: the total fell from {} to {}", table, key, highest.requests,
                           totals.requests);
      }
      highest = totals;
    }
  }
  return "";
}

// Everything counted has been told, without more traffic.
std::string LedgerRun::settle() {
  open_all(false);
  for (Site& site : sites_) {
    site.wire->pause(false);
  }
  std::string wrong;
  std::string over;
  wait_until(
      [&] {
        over = check();
        Tables tables;
        read_totals(tables);
        wrong.clear();
        const std::lock_guard lock(mutex_);
        for (const auto& [table, keys] : truth_) {
          for (const auto& [key, count] : keys) {
            const Totals totals = tables[table][key];
            // What got no answer was counted or not.
            if (totals.requests < count.answered || totals.twice < 2 * count.answered) {
              wrong += fmt::format("{} {}: {} requests and gpc1 {}, but {} were answered\n", table,
                                   key, totals.requests, totals.twice, count.answered);
            }
          }
        }
        return wrong.empty() || !over.empty();
      },
      kSettlePatience);
  if (wrong.empty() && over.empty()) {
    for (Site& site : sites_) {
      site.settled = true;
    }
  }
  return over.empty() ? wrong : over;
}

std::string LedgerRun::finish() {
  std::string wrong = settle();
  return wrong.empty() ? world_.lineq.verify() : wrong;
}

// --- accidents ---

std::string LedgerRun::pause_for(Milliseconds how_long) {
  const auto until = std::chrono::steady_clock::now() + how_long;
  std::string wrong;
  wait_until(
      [&] {
        wrong = check();
        return !wrong.empty() || std::chrono::steady_clock::now() >= until;
      },
      how_long + kPatience);
  return wrong;
}

std::string LedgerRun::run(Milliseconds how_long) {
  const auto end = std::chrono::steady_clock::now() + how_long;
  while (std::chrono::steady_clock::now() < end) {
    // Some at a time, so that they meet; then it must come out even.
    for (u64 n = 1 + pick(4); n > 0; --n) {
      std::string wrong = pause_for(ms(pick(1200)));
      if (wrong.empty()) {
        wrong = accident();
      }
      if (!wrong.empty()) {
        return wrong;
      }
    }
    if (!setup_.reload_under_traffic) {
      if (std::string wrong = settle(); !wrong.empty()) {
        return wrong;
      }
      note("settled", "");
    }
    open_all(true);
  }
  return "";
}

std::string LedgerRun::accident() {
  const std::size_t i = pick(kSites);
  Site& site = sites_[i];
  const std::string& name = site.haproxy->name();
  if (setup_.reload_under_traffic) {
    return reload(i);
  }
  switch (pick(9)) {
    case 0:
    case 1:
      return reload(i);
    case 2:
      return kill_haproxy(i);
    case 3:
      return end_lineqd(true);
    case 4:
      return end_lineqd(false);
    case 5:
      note("cut", name);
      site.wire->cut_after(0);
      return "";
    case 6:
    case 7: {
      const u64 bytes = 1 + pick(3000);
      note("cut later", fmt::format("{} after {} bytes", name, bytes));
      site.wire->cut_after(static_cast<i64>(bytes));
      return "";
    }
    default: {
      const u64 pause = pick(8) == 0 ? 7000 : pick(1500);
      note("stall", fmt::format("{} for {} ms", name, pause));
      site.wire->pause(true);
      std::string wrong = pause_for(ms(pause));
      site.wire->pause(false);
      return wrong;
    }
  }
}

std::string LedgerRun::reload(std::size_t i) {
  Site& site = sites_[i];
  if (!setup_.reload_under_traffic && !site.settled) {
    return "";  // it may not be complete yet, and would hand over nothing
  }
  note("reload", site.haproxy->name());
  const bool was_open = site.open;
  if (!setup_.reload_under_traffic) {
    close(site);
  }
  std::array<std::map<std::string, TableRow>, 2> before;
  for (std::size_t t = 0; t < kTables.size(); ++t) {
    before[t] = comparable(site.haproxy->show_table(fmt::format("lq/{}", kTables[t])));
  }
  if (!site.haproxy->reload()) {
    return "reload: no new process: " + site.haproxy->log();
  }
  std::string wrong;
  if (!setup_.reload_under_traffic) {
    // All is handed over, but for what expired.
    if (!wait_until([&] {
          wrong = check();
          bool same = true;
          for (std::size_t t = 0; t < kTables.size(); ++t) {
            const auto now = comparable(site.haproxy->show_table(fmt::format("lq/{}", kTables[t])));
            for (const auto& [key, row] : before[t]) {
              const auto at = now.find(key);
              same = same && (at == now.end() ? t == 1 : at->second == row);
            }
            same = same && (t == 1 || now.size() == before[t].size());
          }
          return same || !wrong.empty();
        })) {
      return "reload: the new process did not get the tables of the old one";
    }
  }
  site.open = was_open;
  return wrong;
}

std::string LedgerRun::kill_haproxy(std::size_t i) {
  Site& site = sites_[i];
  if (std::string wrong = settle(); !wrong.empty()) {
    return wrong;
  }
  note("kill HAProxy", site.haproxy->name());
  ::kill(static_cast<pid_t>(site.haproxy->worker_pid()), SIGKILL);
  site.haproxy->kill();
  site.settled = false;
  for (Site& other : sites_) {
    other.open = &other != &site;
  }
  if (pick(4) == 0) {
    if (std::string wrong = end_lineqd(true); !wrong.empty()) {
      return wrong;
    }
  }
  if (std::string wrong = pause_for(ms(pick(3) == 0 ? 0 : pick(2500))); !wrong.empty()) {
    return wrong;
  }
  if (!site.haproxy->start()) {
    return "HAProxy does not start: " + site.haproxy->log();
  }
  site.open = true;
  return "";
}

std::string LedgerRun::end_lineqd(bool kill) {
  note(kill ? "kill lineqd" : "stop lineqd", "");
  if (kill) {
    world_.kill_daemon();
  } else if (const auto code = world_.daemon.stop(); code != 0) {
    return fmt::format("lineqd ended with {}", code.value_or(-1));
  }
  if (std::string wrong = pause_for(ms(pick(2) * pick(2000))); !wrong.empty()) {
    return wrong;
  }
  return world_.start_daemon() ? "" : world_.trouble;
}

// --- what it says ---

void LedgerRun::note(std::string_view kind, std::string_view what) {
  const std::chrono::duration<double> at = std::chrono::steady_clock::now() - start_;
  ++accidents_[std::string(kind)];
  happened_.push_back(fmt::format("{:8.3f} {} {}", at.count(), kind, what));
}

std::string LedgerRun::accidents() const {
  std::string text;
  for (const auto& [kind, count] : accidents_) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", kind, count);
  }
  return text;
}

std::string LedgerRun::story() const {
  const std::chrono::duration<double> at = std::chrono::steady_clock::now() - start_;
  std::string text = fmt::format("seed {}, over after {:.3f} s\n", setup_.seed, at.count());
  for (const std::string& line : happened_) {
    text += "  " + line + "\n";
  }
  for (const Site& site : sites_) {
    for (const std::string_view table : kTables) {
      if (site.haproxy != nullptr) {
        text += fmt::format("{}: {}", site.haproxy->name(),
                            site.haproxy->command(fmt::format("show table lq/{}", table)));
      }
    }
  }
  text += "lineqd's log:\n";
  for (const std::string& line : lines_of(world_.daemon.err())) {
    text += "  " + line + "\n";
  }
  return text;
}

}  // namespace lineq::test
