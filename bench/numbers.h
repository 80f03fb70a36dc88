// Numbers on the command lines of benchmarks.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "shm/support/ints.h"
#include "tools/cli/options.h"

namespace lineq::bench {

// `out` stays as it is without the option; false if it is no number from `least` to `most`.
template <typename T>
bool number(const cli::CommandLine& line, std::string_view option, u64 least, u64 most, T& out) {
  const std::optional<std::string_view> text = line.value(option);
  if (!text) {
    return true;
  }
  u64 n = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  out = static_cast<T>(n);
  return error == std::errc() && end == text->data() + text->size() && n >= least && n <= most;
}

}  // namespace lineq::bench
