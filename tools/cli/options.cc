#include "tools/cli/options.h"

#include <getopt.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "shm/layout.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/mdoc.h"
#include "tools/cli/text.h"

namespace lineq::cli {
namespace {

constexpr Option kHelp{"help", 'h', "", "print this and exit", ""};
constexpr Option kVersion{"version", 'V', "", "print version and build, and exit", ""};
// Asked for by the build and by the shell's completion, not by people.
constexpr std::string_view kHelpMan = "--help=man";
constexpr std::string_view kHelpWords = "--help=words";

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
  if (!program.verbs.empty()) {
    out += "\nCommands:\n";
    std::size_t verb_width = 0;
    const auto left = [](const Verb& verb) {
      return fmt::format("  {} {}", verb.name, verb.operands);
    };
    for (const Verb& verb : program.verbs) {
      verb_width = std::max(verb_width, left(verb).size());
    }
    for (const Verb& verb : program.verbs) {
      out += fmt::format("{:<{}}  {}\n", left(verb), verb_width, verb.help);
    }
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
  return fmt::format("{} {}\nsegment layout {}, ABI {:016x}\nbuilt with {}{}, {}\n", program.name,
                     LINEQ_VERSION, shm::kLayoutVersion, shm::abi_hash(), kCompiler, __VERSION__,
                     LINEQ_BUILD);
}

std::vector<std::string_view> choices(std::string_view allowed) {
  std::vector<std::string_view> words;
  while (!allowed.empty()) {
    const std::size_t end = std::min(allowed.find(", "), allowed.find(" or "));
    const std::string_view word = allowed.substr(0, end);
    if (word.empty() || word.find(' ') != std::string_view::npos) {
      return {};
    }
    words.push_back(word);
    if (end == std::string_view::npos) {
      break;
    }
    allowed.remove_prefix(end + (allowed[end] == ',' ? 2 : 4));
  }
  return words.size() < 2 ? std::vector<std::string_view>() : words;
}

std::string man_text(const Program& program) {
  // "one line" as a sentence.
  const auto sentence = [](std::string_view text) {
    std::string out = mdoc_escaped(text);
    if (!out.empty()) {
      out.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(out.front())));
    }
    return out + (out.ends_with('.') ? "\n" : ".\n");
  };
  std::string out;
  if (!program.verbs.empty()) {
    out += "The commands:\n.Bl -tag -width Ds\n";
    for (const Verb& verb : program.verbs) {
      out += fmt::format(".It Cm {}", verb.name);
      out += verb.operands.empty() ? "" : fmt::format(" Ar {}", mdoc_escaped(verb.operands));
      out += "\n" + sentence(verb.help);
    }
    out += ".El\n.Pp\nThe options:\n";
  }
  out += ".Bl -tag -width Ds\n";
  for (const Option& option : with_standard_options(program)) {
    out += ".It ";
    out += option.letter != 0 ? fmt::format("Fl {} , ", option.letter) : "";
    out += fmt::format("Fl -{}", option.name);
    out += option.argument.empty() ? "" : fmt::format(" Ar {}", option.argument);
    out += "\n" + sentence(option.help);
    if (!option.allowed.empty() && option.help.find(option.allowed) == std::string_view::npos) {
      out += sentence(fmt::format("Allowed: {}", option.allowed));
    }
    if (!option.standard.empty()) {
      out += sentence(fmt::format("The default is {}", option.standard));
    }
  }
  return out + ".El\n";
}

std::string words_text(const Program& program) {
  std::string out;
  for (const Option& option : with_standard_options(program)) {
    out += fmt::format("option\t--{}\t{}\t{}\t{}\n", option.name,
                       option.letter != 0 ? fmt::format("-{}", option.letter) : "", option.argument,
                       fmt::join(choices(option.allowed), ","));
  }
  for (const Verb& verb : program.verbs) {
    out += fmt::format("verb\t{}\t{}\n", verb.name, verb.operands);
  }
  return out;
}

int usage_error(std::string_view program, std::string_view what) {
  const std::string line =
      fmt::format("{}: {} (see {} --help)\n", program, printable(what), program);
  std::fputs(line.c_str(), stderr);
  return kExitUsage;
}

int print_out(std::string_view program, std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) {
    return kExitFine;
  }
  const std::string line =
      fmt::format("{}: cannot write the output: {}\n", program, std::strerror(errno));
  std::fputs(line.c_str(), stderr);
  return kExitUsage;
}

CommandLine read_command_line(const Program& program, int argc, char* const* argv) {
  const auto print = [&](const std::string& text) { return print_out(program.name, text); };
  if (argc == 2 && (argv[1] == kHelpMan || argv[1] == kHelpWords)) {
    CommandLine asked;
    asked.exit_code = print(argv[1] == kHelpMan ? man_text(program) : words_text(program));
    return asked;
  }
  Result<CommandLine> parsed = parse_command_line(program, argc, argv);
  if (!parsed) {
    CommandLine failed;
    failed.exit_code = usage_error(program.name, parsed.error().what);
    return failed;
  }
  CommandLine line = parsed.take();
  if (line.has("help") || line.has("version")) {
    line.exit_code = print(line.has("help") ? help_text(program) : version_text(program));
  }
  return line;
}

}  // namespace lineq::cli
