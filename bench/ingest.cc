// Updates per second that a receiver takes from its peers, and the CPU time it spends on a million
// of them: lineqd or a real HAProxy, by the same bytes.
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench/load_peer.h"
#include "bench/measured_process.h"
#include "bench/numbers.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"

namespace lineq::bench {
namespace {

constexpr std::string_view kName = "ingest";
constexpr u32 kMostPeers = 16;  // that the configuration for a HAProxy names

constexpr auto kOptions = std::to_array<cli::Option>({
    {"port", 'p', "PORT", "where the receiver listens on 127.0.0.1", "11111"},
    {"pid", 0, "PID", "the receiver's process, for its CPU time", "who listens on the port"},
    {"shape", 's', "SHAPE",
     "uuid: string keys, gpc1; ip: ip keys, two counters, two rates; visitor: who waits for room "
     "shop",
     "uuid"},
    {"ids", 'i', "IDS", "incremental or absolute update ids", "incremental"},
    {"keys", 'k', "N", "different keys", "1000000"},
    {"updates", 'u', "N", "updates after every key was inserted once", "5000000"},
    {"senders", 'c', "N", "connections that share the keys and updates", "1"},
    {"our-name", 0, "NAME", "what we call ourselves", "bench"},
    {"their-name", 0, "NAME", "what we call the receiver", "lineq"},
    {"output", 'o', "FORMAT", "text or json", "text"},
    {"print-haproxy-cfg", 0, "", "print the configuration of a HAProxy that can be the receiver",
     ""},
});
constexpr auto kExamples = std::to_array<std::string_view>({
    "ingest -p 11111                              lineqd on its usual port",
    "ingest -p 2311 --print-haproxy-cfg > h.cfg; haproxy -db -f h.cfg & ingest -p 2311",
});
constexpr cli::Program kProgram{
    kName,    "[OPTION]...", "Streams stick-table updates to a receiver and measures it.",
    kOptions, kExamples,     false};

// ---- report ------------------------------------------------------------------------------------

struct Phase {
  std::string_view name;
  Measured measured;
  std::optional<double> cpu;  // of the receiver

  double rate() const { return static_cast<double>(measured.updates) / measured.seconds; }
  std::optional<double> cpu_per_million() const {
    return cpu ? std::optional(*cpu * 1e6 / static_cast<double>(measured.updates)) : std::nullopt;
  }
};

void print_text(const Phase& phase) {
  fmt::print(
      "{:<8} {:>10} in {:7.3f} s = {:>10.0f} /s   receiver {} CPU-s per million   sender {:.3f}"
      " CPU-s\n",
      phase.name, phase.measured.updates, phase.measured.seconds, phase.rate(),
      phase.cpu ? fmt::format("{:.3f}", *phase.cpu_per_million()) : "?",
      phase.measured.sender_cpu_seconds);
}

std::string_view shape_name(Shape shape) {
  return shape == Shape::kUuid ? "uuid" : shape == Shape::kIp ? "ip" : "visitor";
}

std::string json_of(const Phase& phase) {
  return fmt::format(
      R"("{}":{{"updates":{},"seconds":{:.6f},"per_second":{:.0f},"cpu_seconds_per_million":{},)"
      R"("sender_cpu_seconds":{:.3f}}})",
      phase.name, phase.measured.updates, phase.measured.seconds, phase.rate(),
      phase.cpu ? fmt::format("{:.4f}", *phase.cpu_per_million()) : "null",
      phase.measured.sender_cpu_seconds);
}

// A receiver that takes what we send: it must know us as a peer, and a rule must use the table.
std::string haproxy_config(const Load& load) {
  const bool uuid = load.shape == Shape::kUuid;
  std::string others;  // of `ingest --senders`, `relay --receivers`
  for (u32 i = 1; i <= kMostPeers; ++i) {
    others += fmt::format("    server {}-{} 127.0.0.1:9\n", load.our_name, i);
  }
  return fmt::format(
      "global\n"
      "    localpeer {0}\n"
      "    nbthread 1\n"
      "\n"
      "defaults\n"
      "    mode http\n"
      "    timeout connect 1s\n"
      "    timeout client 10s\n"
      "    timeout server 10s\n"
      "\n"
      "peers lq\n"
      "    bind 127.0.0.1:{1}\n"
      "    server {0}\n"
      "    server {2} 127.0.0.1:9\n"
      "{5}"
      "    table {3}\n"
      "\n"
      "frontend fe\n"
      "    bind unix@/tmp/{0}-{1}.sock\n"
      "    http-request track-sc0 {4}\n",
      load.their_name, load.port, load.our_name,
      uuid
          ? fmt::format("bench_uuid type string len 36 size {} expire 1h store gpc1", load.keys)
          : fmt::format("bench_ip type ip size {} expire 1h store gpc0,conn_cnt,http_req_rate(10s),"
                        "bytes_out_rate(1m)",
                        load.keys),
      uuid ? "path table lq/bench_uuid" : "src table lq/bench_ip", others);
}

// ---- main --------------------------------------------------------------------------------------

struct Wishes {
  Load load;
  u64 updates = 5000000;
  u32 senders = 1;
  std::optional<long> pid;
  bool json = false;
};

Result<Wishes> wishes_of(const cli::CommandLine& line) {
  const auto invalid = [](std::string_view what) {
    return Error{ErrorCode::kInvalid, std::string(what)};
  };
  Wishes wishes;
  wishes.load.port = 11111;
  long pid = 0;
  if (!number(line, "port", 1, 65535, wishes.load.port) ||
      !number(line, "keys", 1, 1U << 24, wishes.load.keys) ||
      !number(line, "updates", 0, 1U << 31, wishes.updates) ||
      !number(line, "senders", 1, kMostPeers, wishes.senders) ||
      !number(line, "pid", 1, 1U << 30, pid)) {
    return invalid(
        "port, pid, keys (to 16777216), updates (to 2^31) and senders (to 16) are numbers");
  }
  if (pid != 0) {
    wishes.pid = pid;
  }
  const std::string_view shape = line.value("shape").value_or("uuid");
  const std::string_view ids = line.value("ids").value_or("incremental");
  const std::string_view output = line.value("output").value_or("text");
  if (shape != "uuid" && shape != "ip" && shape != "visitor") {
    return invalid("a shape is uuid, ip or visitor");
  }
  if (ids != "incremental" && ids != "absolute") {
    return invalid("ids are incremental or absolute");
  }
  if (output != "text" && output != "json") {
    return invalid("output is text or json");
  }
  wishes.load.shape = shape == "uuid" ? Shape::kUuid : shape == "ip" ? Shape::kIp : Shape::kVisitor;
  wishes.load.ids = ids == "absolute" ? Ids::kAbsolute : Ids::kIncremental;
  wishes.load.our_name = line.value("our-name").value_or(wishes.load.our_name);
  wishes.load.their_name = line.value("their-name").value_or(wishes.load.their_name);
  wishes.json = output == "json";
  return wishes;
}

int fail(std::string_view what) {
  fmt::print(stderr, "{}: {}\n", kName, what);
  return cli::kExitNotFound;
}

using Senders = std::vector<std::unique_ptr<LoadPeer>>;

// All of them at once, each on a thread of its own: who waits for others would fall silent.
template <typename Do>
void at_once(const Senders& senders, Do&& action) {
  std::vector<std::thread> threads;
  threads.reserve(senders.size());
  for (std::size_t i = 0; i < senders.size(); ++i) {
    threads.emplace_back([&, i] { action(i); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

Status connect(const Senders& senders) {
  std::vector<Status> results(senders.size());
  at_once(senders, [&](std::size_t i) { results[i] = senders[i]->connect(); });
  for (const Status& one : results) {
    if (!one) {
      return one;
    }
  }
  return {};
}

Result<Measured> stream(const Senders& senders, bool inserts, u64 updates) {
  std::vector<Result<Measured>> results(senders.size(), Measured{});
  const auto begin = std::chrono::steady_clock::now();
  at_once(senders, [&](std::size_t i) {
    results[i] = inserts ? senders[i]->fill() : senders[i]->update(updates / senders.size());
  });
  Measured all;
  all.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (const Result<Measured>& one : results) {
    if (!one) {
      return one.error();
    }
    all.updates += one->updates;
    all.sender_cpu_seconds += one->sender_cpu_seconds;
  }
  return all;
}

int measure(const Wishes& wishes) {
  Senders senders;
  for (u32 i = 0; i < wishes.senders; ++i) {
    Load load = wishes.load;
    load.keys = wishes.load.keys / wishes.senders;
    load.first_key = i * load.keys;
    if (i > 0) {
      load.our_name += fmt::format("-{}", i);
    }
    senders.push_back(std::make_unique<LoadPeer>(load));
  }
  if (const Status status = connect(senders); !status) {
    return fail(status.error().what);
  }
  const std::optional<long> pid = wishes.pid ? wishes.pid : pid_of_listener(wishes.load.port);
  const auto receiver_cpu = [&] { return pid ? cpu_seconds(*pid) : std::nullopt; };
  std::vector<Phase> phases;
  for (const bool inserts : {true, false}) {
    const std::optional<double> before = receiver_cpu();
    const Result<Measured> measured = stream(senders, inserts, wishes.updates);
    if (!measured) {
      return fail(measured.error().what);
    }
    const std::optional<double> after = receiver_cpu();
    phases.push_back({inserts ? "insert" : "update", *measured,
                      before && after ? std::optional(*after - *before) : std::nullopt});
    if (!wishes.json) {
      print_text(phases.back());
    }
    if (wishes.updates == 0) {
      break;
    }
  }
  if (wishes.json) {
    std::string json = fmt::format(R"({{"shape":"{}","ids":"{}","keys":{},"senders":{})",
                                   shape_name(wishes.load.shape),
                                   wishes.load.ids == Ids::kAbsolute ? "absolute" : "incremental",
                                   wishes.load.keys, wishes.senders);
    for (const Phase& phase : phases) {
      json += "," + json_of(phase);
    }
    fmt::print("{}}}\n", json);
  }
  return std::fflush(stdout) == 0 ? cli::kExitFine : fail("cannot write the output");
}

int run(int argc, char** argv) {
  const cli::CommandLine line = cli::read_command_line(kProgram, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  const Result<Wishes> wishes = wishes_of(line);
  if (!wishes) {
    return cli::usage_error(kName, wishes.error().what);
  }
  if (line.has("print-haproxy-cfg")) {
    if (wishes->load.shape == Shape::kVisitor) {
      return cli::usage_error(kName, "visitors are for lineqd in mode vwr");
    }
    fmt::print("{}", haproxy_config(wishes->load));
    return cli::kExitFine;
  }
  return measure(*wishes);
}

}  // namespace
}  // namespace lineq::bench

int main(int argc, char** argv) {
  return lineq::bench::run(argc, argv);
}
