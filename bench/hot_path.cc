// Usage: hot_path relay|add_up PEERS ROUNDS
//
// Rounds of 100,000 updates through the engine (engine_load.h), and nothing else: for tools that
// count instructions or look where they go. bench/instructions takes the difference of two runs.
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "bench/engine_load.h"

int main(int argc, char** argv) {
  using namespace lineq;
  const auto number = [&](int i) {
    u32 n = 0;
    std::from_chars(argv[i], argv[i] + std::strlen(argv[i]), n);
    return n;
  };
  const std::string_view what = argc == 4 ? argv[1] : "";
  if ((what != "relay" && what != "add_up") || number(2) == 0 || number(3) == 0) {
    fmt::print(stderr, "usage: hot_path relay|add_up PEERS ROUNDS\n");
    return 1;
  }
  bench::EngineLoad load(
      what == "relay" ? engine::ModeKind::kAggregate : engine::ModeKind::kAccumulate, number(2));
  if (!load.trouble().empty()) {
    fmt::print(stderr, "hot_path: {}\n", load.trouble());
    return 1;
  }
  for (u32 i = number(3); i > 0; --i) {
    load.round();
  }
  return 0;
}
