#include "tests/e2e/world.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace lineq::test {
namespace {

constexpr std::string_view kHead = R"(
global
    localpeer {name}
    stats socket {stats} level admin
    maxconn 500

defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s

peers lq
    bind 127.0.0.1:{peers}
    server {name}
    server lineq 127.0.0.1:{tcp}
    table plain type string len 64 size 100k expire 1h store gpc0,gpc1
)";

constexpr std::string_view kPlainFrontend = R"(
frontend fe
    bind 127.0.0.1:{http}
    http-request track-sc0 url_param(k) table lq/plain
    http-request sc-inc-gpc0(0)
    default_backend be

backend be
    server s1 127.0.0.1:{backend}
)";

struct Key {
  std::string_view name;
  std::string_view type;
  std::string_view sample;  // what is tracked
};

constexpr std::array<Key, 5> kKeys{{{"string", "string len 64", "url_param(k)"},
                                    {"ip", "ip", "src"},
                                    {"ipv6", "ipv6", "src"},
                                    {"integer", "integer", "url_param(k)"},
                                    {"binary", "binary len 20", "url_param(k),sha1"}}};

std::string describe_difference(const std::map<std::string, TableRow>& a,
                                const std::map<std::string, TableRow>& b) {
  for (const auto& [key, row] : a) {
    const auto other = b.find(key);
    if (other == b.end()) {
      return fmt::format("key {} is missing", key);
    }
    for (const auto& [column, value] : row) {
      const auto cell = other->second.find(column);
      const std::string there = cell == other->second.end() ? "nothing" : cell->second;
      if (there != value) {
        return fmt::format("key {}: {} is {}, not {}", key, column, there, value);
      }
    }
  }
  return a.size() == b.size() ? "" : fmt::format("{} rows, not {}", b.size(), a.size());
}

}  // namespace

std::string full_config() {
  std::string text(kHead);
  for (const Key& key : kKeys) {
    text += fmt::format("    table all_{} type {} size 10k expire 1h store {}\n", key.name,
                        key.type, kAllTypes);
    text += fmt::format("    table arr_{} type {} size 10k expire 1h store {}\n", key.name,
                        key.type, kArrayTypes);
  }
  text += R"(
frontend fe
    bind 127.0.0.1:{http}
    http-request set-src hdr(x-src) if { hdr(x-src) -m found }
)";
  for (const Key& key : kKeys) {
    text += fmt::format(
        "    http-request track-sc0 {} table lq/all_{} if {{ path /{} }}\n"
        "    http-request track-sc1 {} table lq/arr_{} if {{ path /{} }}\n",
        key.sample, key.name, key.name, key.sample, key.name, key.name);
  }
  text += R"(
    http-request track-sc2 url_param(k) table lq/plain if { path /plain }
    http-request sc-inc-gpc0(2)
    http-request sc-inc-gpc0(0)
    http-request sc-inc-gpc1(0) if { url_param(twice) -m found }
    http-request sc-inc-gpc1(0)
    http-request sc-set-gpt0(0) 4711
    http-request sc-inc-gpc(0,1)
    http-request sc-inc-gpc(3,1)
    http-request sc-set-gpt(2,1) 77
    default_backend be

backend be
    balance roundrobin
)";
  for (const Key& key : kKeys) {
    text += fmt::format("    stick store-request {} table lq/all_{} if {{ path /{} }}\n",
                        key.sample, key.name, key.name);
  }
  text += R"(
    server s1 127.0.0.1:{backend}
    server s2 127.0.0.1:{backend}
    server s3 127.0.0.1:{backend} id 4242
)";
  return text;
}

std::string plain_config() {
  return std::string(kHead) + std::string(kPlainFrontend);
}

std::vector<std::string> full_tables() {
  std::vector<std::string> names;
  for (const Key& key : kKeys) {
    names.push_back(fmt::format("lq/all_{}", key.name));
    names.push_back(fmt::format("lq/arr_{}", key.name));
  }
  return names;
}

World::World() = default;

bool World::start_daemon() {
  daemon = lineq.start_lineqd();
  if (!lineq.wait_listening(daemon)) {
    trouble = "lineqd does not listen: " + daemon.err();
    return false;
  }
  return true;
}

bool World::start_web() {
  web = lineq.start_web();
  if (!lineq.wait_web(web)) {
    trouble = "lineq-web does not answer: " + web.err();
    return false;
  }
  return true;
}

Haproxy* World::add(HaproxyVersion version, const std::string& name, const std::string& config,
                    bool master_worker, std::map<std::string, std::string> values) {
  Haproxy::Setup setup;
  setup.version = version;
  setup.name = name;
  setup.config = config;
  setup.master_worker = master_worker;
  setup.values = std::move(values);
  setup.values.insert(
      {{"tcp", std::to_string(lineq.tcp_port())}, {"backend", std::to_string(backend.port())}});
  haproxys_.push_back(std::make_unique<Haproxy>(lineq.dir(), std::move(setup)));
  if (!haproxys_.back()->start()) {
    trouble = fmt::format("HAProxy {} does not start: {}", name, haproxys_.back()->log());
    return nullptr;
  }
  return haproxys_.back().get();
}

bool World::wait_sessions(Milliseconds patience) {
  for (const auto& haproxy : haproxys_) {
    if (!haproxy->wait_peer(patience)) {
      trouble = fmt::format("HAProxy {} has no session: {}{}", haproxy->name(),
                            haproxy->peer().text, story());
      return false;
    }
  }
  return true;
}

std::vector<std::string> World::sessions() const {
  std::vector<std::string> all;
  for (const auto& haproxy : haproxys_) {
    all.push_back(haproxy->name() + ": " + haproxy->peer().session());
  }
  return all;
}

std::string World::wait_same(const std::string& table, std::size_t rows,
                             Milliseconds patience) const {
  std::string difference;
  wait_until(
      [&] {
        const auto first = comparable(haproxys_.front()->show_table(table));
        difference = first.size() == rows
                         ? ""
                         : fmt::format("{}: {} rows on {}, not {}", table, first.size(),
                                       haproxys_.front()->name(), rows);
        for (std::size_t i = 1; i < haproxys_.size() && difference.empty(); ++i) {
          difference = describe_difference(first, comparable(haproxys_[i]->show_table(table)));
          if (!difference.empty()) {
            difference = fmt::format("{}: {} against {}: {}", table, haproxys_[i]->name(),
                                     haproxys_.front()->name(), difference);
          }
        }
        return difference.empty();
      },
      patience);
  return difference;
}

std::unique_ptr<FakePeer> World::fake(const std::string& name, bool request_lesson,
                                      bool keep_rows) const {
  FakePeerSetup setup;
  setup.port = lineq.tcp_port();
  setup.name = name;
  setup.request_lesson = request_lesson;
  setup.keep_rows = keep_rows;
  return std::make_unique<FakePeer>(setup);
}

std::vector<std::string> World::log_lines(std::string_view text) const {
  std::vector<std::string> found;
  for (const std::string& line : lines_of(daemon.err())) {
    if (line.find(text) != std::string::npos) {
      found.push_back(line);
    }
  }
  return found;
}

std::string World::story() const {
  const std::vector<std::string> lines = lines_of(daemon.err());
  constexpr std::size_t kLast = 25;
  constexpr std::size_t kLongestLine = 200;
  std::string text = "\nlineqd's log:\n";
  for (std::size_t i = lines.size() > kLast ? lines.size() - kLast : 0; i < lines.size(); ++i) {
    text += "  " + lines[i].substr(0, kLongestLine) + "\n";
  }
  return text;
}

bool have_haproxys() {
  return !haproxy_path(HaproxyVersion::k26).empty() && !haproxy_path(HaproxyVersion::k30).empty();
}

shm::TableDefinition plain_table(u64 expire_ms) {
  return string_table("/plain", 64, u64{1} << shm::kGpc0 | u64{1} << shm::kGpc1, expire_ms);
}

std::vector<u64> plain_row(u64 gpc0, u64 gpc1) {
  return {gpc0, gpc1};
}

std::string with(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) {
    text.replace(at, from.size(), to);
  }
  return text;
}

u64 number(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 10);
}

}  // namespace lineq::test
