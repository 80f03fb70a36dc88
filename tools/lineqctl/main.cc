// lineqctl: what an operator says to a running lineqd, over its control socket.
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"
#include "tools/cli/settings.h"
#include "tools/cli/text.h"
#include "tools/control_client.h"
#include "tools/lineqctl/output.h"
#include "tools/lineqctl/words.h"

namespace lineq {
namespace {

constexpr std::string_view kName = "lineqctl";
constexpr std::string_view kExamples[] = {
    "lineqctl show peers",
    "lineqctl set table visits key 10.0.0.1 data.gpc0 5 data.http_req_cnt 0",
    "lineqctl clear table visits key 10.0.0.1",
    "lineqctl -- clear table cookies key -x7                # behind --, a '-' begins no option",
    "lineqctl clear table visits data.gpc0 gt 5",
    "lineqctl rooms",
    "lineqctl create shop host=shop.example C=200 N=60 S=5",
    "lineqctl pause shop",
    "lineqctl set shop C=300 queueing_method=random",
    "lineqctl message shop \"Doors open at ten.\"",
    "lineqctl admit shop 10",
    "lineqctl revoke shop --all",
    "lineqctl -o json room shop",
};

std::vector<cli::Option> all_options() {
  std::vector<cli::Option> options = cli::setting_options(cli::Loader::kTool);
  // The socket's own permissions decide, not who owns a segment.
  std::erase_if(options, [](const cli::Option& o) { return o.name == "shm-owner"; });
  options.push_back({"output", 'o', "FORMAT", "text or json", "text", "text or json"});
  options.push_back({"all", 0, "", "revoke: every session", ""});
  options.push_back({"by", 0, "WHO", "on whose behalf, for the log of changes", "SUDO_USER"});
  return options;
}

int exit_code_of(control::AnswerCode code) {
  return code == control::AnswerCode::kFine       ? cli::kExitFine
         : code == control::AnswerCode::kNotFound ? cli::kExitNotFound
                                                  : cli::kExitUsage;
}

int fail(int code, std::string_view what) {
  fmt::print(stderr, "{}: {}\n", kName, cli::printable(what));
  return code;
}

int talk(const std::string& path, const control::Command& command, bool json) {
  // Clearing ten million entries takes its time.
  constexpr int kClearPatienceMs = 600'000;
  const bool clears = command.kind == control::CommandKind::kClearTable;
  Result<tools::ControlClient> client = tools::ControlClient::connect(
      path, clears ? kClearPatienceMs : tools::ControlClient::kPatienceMs);
  if (!client) {
    return fail(client.error().code == ErrorCode::kNotFound ? cli::kExitNotFound : cli::kExitUsage,
                client.error().what);
  }
  const Result<control::Answer> answer = client->ask(command);
  if (!answer) {
    return fail(answer.error().code == ErrorCode::kDamaged ? cli::kExitDamaged : cli::kExitNotFound,
                answer.error().what);
  }
  if (answer->code != control::AnswerCode::kFine) {
    return fail(exit_code_of(answer->code), answer->error);
  }
  if (!answer->warning.empty()) {
    fmt::print(stderr, "{}: {}\n", kName, cli::printable(answer->warning));
  }
  return cli::print_out(kName, json ? answer->result + "\n" : ctl::answer_text(command, *answer));
}

int run(int argc, char** argv) {
  const std::vector<cli::Option> options = all_options();
  const cli::Program program{kName,
                             "[OPTION]... COMMAND",
                             "Asks a running lineqd about what it keeps, and steers it.",
                             options,
                             kExamples,
                             true,
                             ctl::verbs()};
  const cli::CommandLine line = cli::read_command_line(program, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  const std::string_view format = line.value("output").value_or("text");
  if (format != "text" && format != "json") {
    return cli::usage_error(
        kName, fmt::format("-o '{}' is not allowed; allowed: text or json", cli::escaped(format)));
  }
  Result<control::Command> command = ctl::command_of(line.operands, line.has("all"));
  if (!command) {
    return cli::usage_error(kName, command.error().what);
  }
  const char* sudo = std::getenv("SUDO_USER");
  command->by = line.value("by").value_or(sudo == nullptr ? "" : sudo);
  const Result<cli::Settings> settings = cli::load_settings(cli::Loader::kTool, line);
  if (!settings) {
    return fail(cli::kExitUsage, settings.error().what);
  }
  return talk(settings->control, *command, format == "json");
}

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  return lineq::run(argc, argv);
}
