#include "tools/cli/options.h"

#include <getopt.h>

#include <algorithm>
#include <cstdio>

#include <fmt/core.h>

#include "tools/cli/exit_codes.h"
#include "tools/cli/text.h"

namespace lineq::cli {
namespace {

constexpr Option kHelp{"help", 'h', "", "print this and exit", ""};
constexpr Option kVersion{"version", 'V', "", "print version and build, and exit", ""};

std::vector<Option> with_standard_options(const Program& program) {
  std::vector<Option> all(program.options.begin(), program.options.end());
  all.push_back(kHelp);
  all.push_back(kVersion);
  return all;
}

std::vector<std::string_view> long_names(std::span<const Option> options) {
  std::vector<std::string_view> names;
  names.reserve(options.size());
  for (const Option& option : options) {
    names.push_back(option.name);
  }
  return names;
}

// What getopt stumbled over, as a sentence.
Error mistake(int code, int letter, std::string_view word, std::span<const Option> all) {
  const bool is_long = word.starts_with("--");
  const std::string_view name =
      is_long ? word.substr(
                    2, word.find('=') == std::string_view::npos ? word.size() : word.find('=') - 2)
              : word;
  const std::string shown =
      is_long ? "--" + escaped(name) : "-" + escaped(std::string(1, static_cast<char>(letter)));
  if (code == ':') {
    return {ErrorCode::kInvalid, fmt::format("option '{}' needs a value", shown)};
  }
  const auto exact = std::find_if(all.begin(), all.end(),
                                  [&](const Option& option) { return option.name == name; });
  if (is_long && exact != all.end()) {
    return {ErrorCode::kInvalid, fmt::format("option '{}' takes no value", shown)};
  }
  if (!is_long) {
    return {ErrorCode::kInvalid, fmt::format("unknown option '{}'", shown)};
  }
  const auto begins = std::count_if(
      all.begin(), all.end(), [&](const Option& option) { return option.name.starts_with(name); });
  if (begins > 1) {
    return {ErrorCode::kInvalid, fmt::format("option '{}' is not unique", shown)};
  }
  const std::vector<std::string_view> names = long_names(all);
  const std::string_view meant = nearest(name, names);
  return {ErrorCode::kInvalid,
          fmt::format("unknown option '{}'{}", shown,
                      meant.empty() ? "" : fmt::format("; did you mean '--{}'?", meant))};
}

}  // namespace

std::optional<std::string_view> CommandLine::value(std::string_view name) const {
  const auto found = std::find_if(options.rbegin(), options.rend(),
                                  [&](const GivenOption& option) { return option.name == name; });
  return found == options.rend() ? std::nullopt : std::optional<std::string_view>(found->value);
}

std::vector<std::string_view> CommandLine::values(std::string_view name) const {
  std::vector<std::string_view> found;
  for (const GivenOption& option : options) {
    if (option.name == name) {
      found.push_back(option.value);
    }
  }
  return found;
}

Result<CommandLine> parse_command_line(const Program& program, int argc, char* const* argv) {
  constexpr int kFirstLong = 256;  // above every letter
  const std::vector<Option> all = with_standard_options(program);
  std::string letters = ":";
  std::vector<std::string> names;  // getopt wants C strings
  std::vector<option> longs;
  names.reserve(all.size());
  for (const Option& entry : all) {
    names.emplace_back(entry.name);
    const int has_argument = entry.argument.empty() ? no_argument : required_argument;
    const int code = kFirstLong + static_cast<int>(longs.size());
    longs.push_back({names.back().c_str(), has_argument, nullptr, code});
    if (entry.letter != 0) {
      letters += entry.letter;
      letters += has_argument == required_argument ? ":" : "";
    }
  }
  longs.push_back({nullptr, 0, nullptr, 0});

  CommandLine line;
  optind = 0;  // GNU: start anew
  opterr = 0;
  for (;;) {
    const int word = std::max(optind, 1);
    const int code = ::getopt_long(argc, argv, letters.c_str(), longs.data(), nullptr);
    if (code == -1) {
      break;
    }
    if (code == '?' || code == ':') {
      // For a long option getopt has already moved past the word; operands may have been skipped.
      const int at = std::clamp(optind - 1, word, std::max(argc - 1, 1));
      return mistake(code, optopt, at < argc ? argv[at] : "", all);
    }
    const auto found = code >= kFirstLong
                           ? all.begin() + (code - kFirstLong)
                           : std::find_if(all.begin(), all.end(),
                                          [&](const Option& o) { return o.letter == code; });
    LINEQ_ASSERT(found != all.end());
    line.options.push_back({found->name, optarg != nullptr ? optarg : ""});
  }
  line.operands.assign(argv + optind, argv + argc);
  if (!program.operands && !line.operands.empty() && !line.has("help") && !line.has("version")) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("unexpected word '{}'", escaped(line.operands.front()))};
  }
  return line;
}

std::string help_text(const Program& program) {
  std::string out =
      fmt::format("Usage: {} {}\n{}\n\nOptions:\n", program.name, program.usage, program.purpose);
  const std::vector<Option> all = with_standard_options(program);
  const auto left_column = [](const Option& option) {
    return fmt::format("  {}--{}{}{}",
                       option.letter != 0 ? fmt::format("-{}, ", option.letter) : "    ",
                       option.name, option.argument.empty() ? "" : " ", option.argument);
  };
  std::size_t width = 0;
  for (const Option& option : all) {
    width = std::max(width, left_column(option).size());
  }
  for (const Option& option : all) {
    out += fmt::format("{:<{}}  {}{}\n", left_column(option), width, option.help,
                       option.standard.empty() ? "" : fmt::format(" [{}]", option.standard));
  }
  if (!program.examples.empty()) {
    out += "\nExamples:\n";
    for (const std::string_view example : program.examples) {
      out += fmt::format("  {}\n", example);
    }
  }
  return out;
}

std::string version_text(const Program& program) {
#if defined(__clang__)
  constexpr std::string_view kCompiler;  // its version text names it
#else
  constexpr std::string_view kCompiler = "gcc ";
#endif
  return fmt::format("{} {}\nbuilt with {}{}\n", program.name, LINEQ_VERSION, kCompiler,
                     __VERSION__);
}

int usage_error(std::string_view program, std::string_view what) {
  const std::string line =
      fmt::format("{}: {} (see {} --help)\n", program, printable(what), program);
  std::fputs(line.c_str(), stderr);
  return kExitUsage;
}

CommandLine read_command_line(const Program& program, int argc, char* const* argv) {
  Result<CommandLine> parsed = parse_command_line(program, argc, argv);
  if (!parsed) {
    CommandLine failed;
    failed.exit_code = usage_error(program.name, parsed.error().what);
    return failed;
  }
  CommandLine line = parsed.take();
  if (line.has("help") || line.has("version")) {
    const std::string text = line.has("help") ? help_text(program) : version_text(program);
    std::fputs(text.c_str(), stdout);
    line.exit_code = std::fflush(stdout) == 0 ? kExitFine : kExitUsage;
  }
  return line;
}

}  // namespace lineq::cli
