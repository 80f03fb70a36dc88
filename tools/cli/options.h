// The command line of every program: one table gives getopt_long, --help, the manual page's
// OPTIONS, the shell's completion, and errors that fit in a line. Every program has -h/--help and
// -V/--version without listing them; `--help=man` and `--help=words`, alone, are for those who
// build and complete.
//
//   constexpr cli::Option kOptions[] = {{"table", 't', "TABLE", "only this table"}, ...};
//   constexpr cli::Program kProgram{"lineq-dump", "[OPTION]... [FILTER]...", "...", kOptions, ...};
//   const cli::CommandLine line = cli::read_command_line(kProgram, argc, argv);
//   if (line.exit_code) return *line.exit_code;
//   if (line.has("verify")) ...
//
// Single-threaded: getopt_long keeps its state in globals.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/result.h"

namespace lineq::cli {

struct Option {
  std::string_view name;      // long, without dashes
  char letter = 0;            // short, 0 = none
  std::string_view argument;  // its name in the help; empty = the option takes none
  std::string_view help;      // one line
  std::string_view standard;  // default as shown in the help, may be empty
  // "text, json or csv"; words like these are completed, anything else is only for people.
  std::string_view allowed = {};
};

// What may stand as first operand, where a program has verbs.
struct Verb {
  std::string_view name;
  std::string_view operands;  // as the help shows them
  std::string_view help;      // one line
};

struct Program {
  std::string_view name;     // "lineq-dump"
  std::string_view usage;    // what follows the name in the usage line
  std::string_view purpose;  // one sentence
  std::span<const Option> options;
  std::span<const std::string_view> examples;  // whole command lines
  bool operands = false;  // takes words that are not options; otherwise one is an error
  std::span<const Verb> verbs = {};
};

struct GivenOption {
  std::string_view name;
  std::string value;
};

struct CommandLine {
  std::vector<GivenOption> options;   // in the order given
  std::vector<std::string> operands;  // the rest
  std::optional<int> exit_code;       // set: main returns it at once

  bool has(std::string_view name) const { return value(name).has_value(); }
  // The last one given wins.
  std::optional<std::string_view> value(std::string_view name) const;
  std::vector<std::string_view> values(std::string_view name) const;
};

// Parses. --help and --version print to stdout and set exit_code 0; a mistake prints one line to
// stderr and sets exit_code 1.
CommandLine read_command_line(const Program& program, int argc, char* const* argv);

// The parts of it, for tests and the manual.
Result<CommandLine> parse_command_line(const Program& program, int argc, char* const* argv);
std::string help_text(const Program& program);
std::string version_text(const Program& program);
// mdoc: the list of verbs, if there are any, and that of options.
std::string man_text(const Program& program);
// For the shell, tabs between the fields: "option --output -o FORMAT text,json", "verb pause NAME".
std::string words_text(const Program& program);
// The words of "text, json or csv"; none when it is not a list of words.
std::vector<std::string_view> choices(std::string_view allowed);

// Text to stdout, all of it. Otherwise (the disk is full) a line on stderr. Returns the exit code.
int print_out(std::string_view program, std::string_view text);

// One line to stderr: "lineq-dump: unknown data type 'gpc9' (see lineq-dump --help)".
// Returns the exit code to end with.
int usage_error(std::string_view program, std::string_view what);

}  // namespace lineq::cli
