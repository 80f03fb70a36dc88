// Sends a crowd to a site with a waiting room and says how it fared; with --site-port it is the
// site, too, and knows who was inside when.
//
//   crowd --haproxy 8080,8081 --visitors 200 --span 2000 --poll 1000
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <thread>

#include <fmt/format.h>

#include "bench/visitors/crowd.h"
#include "tools/cli/options.h"

namespace lineq {
namespace {

constexpr cli::Option kOptions[] = {
    {"haproxy", 'p', "PORTS", "HAProxys' ports on this machine, with commas", "8080"},
    {"visitors", 'v', "N", "how many come", "100"},
    {"span", 0, "MS", "in which they come", "1000"},
    {"host", 0, "NAME", "the site's host", "shop.example"},
    {"path", 0, "PATH", "what they ask for", "/"},
    {"poll", 0, "MS", "between two questions of one who waits", "1000"},
    {"stream", 0, "PATH", "listen to the event stream there instead", ""},
    {"visit", 0, "MS", "how long one is inside", "2000"},
    {"every", 0, "MS", "between two requests of one inside", "200"},
    {"silent", 0, "PERCENT", "leave without a word", "0"},
    {"leaving", 0, "PERCENT", "give up while waiting", "0"},
    {"site-port", 0, "PORT", "be the site, there", ""},
    {"capacity", 0, "N", "of the room: for the times of refilling", "0"},
    {"patience", 0, "S", "give up after so long", "600"},
    {"json", 'o', "FILE", "write the result there", ""},
};
constexpr std::string_view kExamples[] = {"crowd -p 8080,8081 -v 1000 --visit 3000"};
constexpr cli::Program kProgram{
    "crowd", "[OPTION]...", "Virtual visitors of a site with a waiting room.", kOptions, kExamples};

bool number(const cli::CommandLine& line, std::string_view option, u32& value) {
  const auto given = line.value(option);
  if (!given) {
    return true;
  }
  const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), value);
  if (error == std::errc() && end == given->data() + given->size()) {
    return true;
  }
  cli::usage_error("crowd", fmt::format("--{}: '{}' is not a number", option, *given));
  return false;
}

bool ports_of(std::string_view text, std::vector<u16>& ports) {
  while (!text.empty()) {
    u16 port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || port == 0) {
      return false;
    }
    ports.push_back(port);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.empty() && text.front() != ',') {
      return false;
    }
    text.remove_prefix(std::min<std::size_t>(1, text.size()));
  }
  return !ports.empty();
}

int run(int argc, char** argv) {
  const cli::CommandLine line = cli::read_command_line(kProgram, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  bench::CrowdPlan plan;
  plan.visitors = 100;
  plan.visit_ms = 2000;
  plan.request_every_ms = 200;
  u32 site = 0;
  u32 capacity = 0;
  u32 patience = 600;
  for (const auto& [option, value] : {std::pair("visitors", &plan.visitors),
                                      {"span", &plan.span_ms},
                                      {"poll", &plan.poll_ms},
                                      {"visit", &plan.visit_ms},
                                      {"every", &plan.request_every_ms},
                                      {"silent", &plan.silent_percent},
                                      {"leaving", &plan.leaving_percent},
                                      {"site-port", &site},
                                      {"capacity", &capacity},
                                      {"patience", &patience}}) {
    if (!number(line, option, *value)) {
      return 1;
    }
  }
  if (!ports_of(line.value("haproxy").value_or("8080"), plan.ports)) {
    return cli::usage_error("crowd", "--haproxy wants ports, as 8080,8081");
  }
  plan.host = line.value("host").value_or(plan.host);
  plan.path = line.value("path").value_or(plan.path);
  plan.stream = line.value("stream").value_or("");

  bench::Crowd crowd(static_cast<u16>(site));
  crowd.send(plan);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(patience);
  while (!crowd.wait_finished(std::chrono::seconds(1)) &&
         std::chrono::steady_clock::now() < deadline) {
    const bench::CrowdNumbers now = crowd.numbers();
    fmt::print(stderr, "\r{} came: {} wait, {} inside, {} served, {} gave up, {} errors  ",
               now.arrived, now.waiting, now.inside, now.left, now.gave_up, now.errors);
  }
  const bench::CrowdResult result = crowd.result(capacity);
  fmt::print(stderr, "\n");
  fmt::print("{}\n", result.json());
  if (const auto path = line.value("json")) {
    std::FILE* file = std::fopen(std::string(*path).c_str(), "we");
    if (file == nullptr) {
      return cli::usage_error("crowd", fmt::format("cannot write {}", *path));
    }
    fmt::print(file, "{}\n", result.json());
    std::fclose(file);
  }
  return result.numbers.finished() == plan.visitors ? 0 : 2;
}

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  return lineq::run(argc, argv);
}
