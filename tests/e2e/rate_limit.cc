#include "tests/e2e/rate_limit.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

namespace lineq::test {
namespace {

constexpr u32 kExamplePeriodS = 10;
constexpr u64 kExampleLimit = 600;

std::string replaced(std::string text, std::string_view from, std::string_view to,
                     std::string& trouble) {
  std::size_t at = text.find(from);
  if (at == std::string::npos) {
    trouble += fmt::format("the example has no \"{}\"\n", from);
  }
  for (; at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

// --- load ---

Load::Load(const std::array<u16, 3>& ports) {
  for (std::size_t i = 0; i < ports.size(); ++i) {
    threads_[i] = std::thread([this, i, port = ports[i]] { run(i, port); });
  }
}

Load::~Load() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    thread.join();
  }
}

void Load::rate(std::size_t i, double per_second) {
  const std::lock_guard lock(mutex_);
  rates_[i] = per_second;
  changed_.notify_all();
}

void Load::all(double per_second) {
  for (std::size_t i = 0; i < rates_.size(); ++i) {
    rate(i, per_second);
  }
}

std::vector<Load::Request> Load::requests(std::size_t i) const {
  const std::lock_guard lock(mutex_);
  return requests_[i];
}

u64 Load::refused(std::size_t i) const {
  const std::lock_guard lock(mutex_);
  return static_cast<u64>(std::count_if(requests_[i].begin(), requests_[i].end(),
                                        [](const Request& r) { return r.status == 429; }));
}

void Load::run(std::size_t i, u16 port) {
  SteadyTime next = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const double rate = rates_[i];
    if (rate <= 0) {
      changed_.wait(lock);
      next = std::chrono::steady_clock::now();
      continue;
    }
    lock.unlock();
    const HttpAnswer answer = http_get(port, "/");
    const SteadyTime now = std::chrono::steady_clock::now();
    lock.lock();
    requests_[i].push_back({now, answer.status});
    next += std::chrono::duration_cast<std::chrono::steady_clock::duration>(
        std::chrono::duration<double>(1 / rate));
    changed_.wait_until(lock, next, [&] { return stop_ || rates_[i] != rate; });
    next = std::max(next, now);
  }
}

u64 haproxy_rate(const std::vector<Load::Request>& requests, Milliseconds period, SteadyTime at) {
  // peers-protocol 5.3
  const auto ms = [](SteadyTime::duration d) {
    return std::chrono::duration_cast<Milliseconds>(d).count();
  };
  const auto p = period.count();
  SteadyTime start{};
  i64 curr = 0;
  i64 prev = 0;
  for (const Load::Request& request : requests) {
    if (request.when > at) {
      break;
    }
    const i64 e = ms(request.when - start);
    if (e < p) {
      ++curr;
    } else if (e < 2 * p) {
      prev = curr;
      curr = 1;
      start += period;
    } else {
      prev = 0;
      curr = 1;
      start = request.when;
    }
  }
  const i64 e = ms(at - start);
  const i64 value = e <= p       ? (prev * (p - e) + curr * p) / p
                    : e <= 2 * p ? curr * (2 * p - e) / p
                                 : 0;
  return static_cast<u64>(value);
}

// --- the example ---

RateLimit::RateLimit(u32 period_s)
    : period(period_s * 1000), limit(kExampleLimit * period_s / kExamplePeriodS) {}

std::string RateLimit::start() {
  std::string trouble;
  write_file(world.lineq.file("lineq.cfg"),
             read_file(LINEQ_SOURCE_DIR "/packaging/examples/lineq-acc.cfg"));
  if (!world.start_daemon()) {
    return world.trouble;
  }
  std::string config = read_file(LINEQ_SOURCE_DIR "/packaging/examples/rate-limit.cfg");
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"localpeer hap1", "localpeer {name}\n    stats socket {stats} level admin"},
           {"bind 127.0.0.1:10000", "bind 127.0.0.1:{peers}"},
           {"server hap1 ", "server {name} "},
           {"127.0.0.1:11111", "127.0.0.1:{tcp}"},
           {"bind :8080", "bind 127.0.0.1:{http}"},
           {"127.0.0.1:8000", "127.0.0.1:{backend}"},
           {"http_req_rate(10s)", fmt::format("http_req_rate({}ms)", period.count())},
           {"gt 600", fmt::format("gt {}", limit)}}) {
    config = replaced(config, from, to, trouble);
  }
  for (const auto& [version, name] :
       {std::pair{HaproxyVersion::k26, "hap-a"}, std::pair{HaproxyVersion::k30, "hap-b"},
        std::pair{HaproxyVersion::k26, "hap-c"}}) {
    if (world.add(version, name, config) == nullptr) {
      return trouble + world.trouble;
    }
  }
  return trouble + (world.wait_sessions() ? "" : world.trouble);
}

u64 RateLimit::shown(std::size_t i, const std::string& table) {
  const std::string value = world.at(i).show_table(table).value(
      "127.0.0.1", fmt::format("http_req_rate({})", period.count()));
  return std::strtoull(value.c_str(), nullptr, 10);
}

}  // namespace lineq::test
