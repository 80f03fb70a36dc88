// lineq-dump: shows what is in the segment, with or without lineqd.
#include <dirent.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <sys/stat.h>

#include "shm/reader.h"
#include "shm/verify.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"
#include "tools/cli/settings.h"
#include "tools/cli/text.h"
#include "tools/lineq_dump/follow.h"
#include "tools/lineq_dump/format.h"
#include "tools/lineq_dump/rooms.h"
#include "tools/lineq_dump/selection.h"

namespace lineq::dump {
namespace {

constexpr std::string_view kName = "lineq-dump";

constexpr auto kOwnOptions = std::to_array<cli::Option>({
    {"file", 'f', "PATH", "read a copy of a segment: its directory, or the root file in it", ""},
    {"table", 't', "TABLE", "entries of this table; as HAProxy names it, may be repeated", ""},
    {"all", 'a', "", "entries of all tables", ""},
    {"key", 'k', "KEY", "the entry of this key, as the output shows it", ""},
    {"output", 'o', "FORMAT", "text, json, jsonl or csv", "text", "text, json, jsonl or csv"},
    {"follow", 0, "", "go on and show every change", ""},
    {"acc", 0, "", "totals of mode acc, which only grow, instead of entries", ""},
    {"peer", 0, "NAME", "mode acc: entries as this HAProxy alone has them; NAME or NAME@ADDRESS",
     ""},
    {"peers", 0, "", "the HAProxys, the tables of each, and what is wrong", ""},
    {"rooms", 0, "", "the waiting rooms and their numbers", ""},
    {"queue", 0, "ROOM", "who waits for this room, in order, and who was called", ""},
    {"verify", 0, "", "check every invariant of the segment; exit code 3 = damaged", ""},
});

constexpr auto kExamples = std::to_array<std::string_view>({
    "lineq-dump                                   list the tables",
    "lineq-dump -t src_rates                      like `show table src_rates`",
    "lineq-dump -t src_rates -k 192.0.2.7         one entry",
    "lineq-dump -t src_rates data.http_req_rate gt 100 data.gpc0 eq 0",
    "lineq-dump -t users -o jsonl --follow        entries, then changes as they come",
    "lineq-dump -a -o json                        everything as one document",
    "lineq-dump --acc -t src_rates -o csv         totals to account with (mode acc)",
    "lineq-dump --peer hap1 -t src_rates          what hap1 alone has (mode acc)",
    "lineq-dump --queue shop -o csv               who waits for room shop, in order",
    "lineq-dump -f /var/tmp/crash --verify        check a copy of /dev/shm/lineq.*",
});

volatile std::sig_atomic_t stop_requested = 0;

void on_stop_signal(int) {
  stop_requested = 1;
}

void note(std::string_view sentence) {
  const std::string line = fmt::format("{}: {}\n", kName, cli::printable(sentence));
  std::fputs(line.c_str(), stderr);
}

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return cli::kExitUsage;
    case ErrorCode::kForeign:
    case ErrorCode::kDamaged:
      return cli::kExitDamaged;
    default:
      return cli::kExitNotFound;
  }
}

int fail(const Error& error) {
  if (error.code == ErrorCode::kInvalid) {
    return cli::usage_error(kName, error.what);
  }
  note(error.what);
  return exit_code_of(error.code);
}

// ---- where the segment is ----------------------------------------------------------------------

constexpr std::string_view kRootPrefix = "lineq.";
constexpr std::string_view kRootSuffix = ".root";

std::string_view instance_of_root(std::string_view file) {
  if (!file.starts_with(kRootPrefix) || !file.ends_with(kRootSuffix) ||
      file.size() <= kRootPrefix.size() + kRootSuffix.size()) {
    return {};
  }
  file.remove_prefix(kRootPrefix.size());
  file.remove_suffix(kRootSuffix.size());
  return file;
}

// A copy: `path` is a directory or a root file. The only instance of a directory need not be named.
Result<shm::Source> find_copy(const std::string& path, std::optional<std::string_view> instance) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: {}", path, std::strerror(errno))};
  }
  shm::Source source;
  if (!S_ISDIR(info.st_mode)) {
    const std::size_t slash = path.rfind('/');
    source.directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const std::string_view file =
        std::string_view(path).substr(slash == std::string::npos ? 0 : slash + 1);
    source.instance = instance_of_root(file);
    if (source.instance.empty()) {
      return Error{
          ErrorCode::kInvalid,
          fmt::format("{}: not the root of a segment, it is called lineq.NAME.root", path)};
    }
    return source;
  }
  source.directory = path;
  std::vector<std::string> found;
  if (DIR* directory = ::opendir(path.c_str())) {
    while (const dirent* entry = ::readdir(directory)) {
      if (const std::string_view name = instance_of_root(entry->d_name); !name.empty()) {
        found.emplace_back(name);
      }
    }
    ::closedir(directory);
  } else {
    return Error{ErrorCode::kSystem, fmt::format("{}: {}", path, std::strerror(errno))};
  }
  if (instance) {
    source.instance = *instance;
  } else if (found.size() == 1) {
    source.instance = found.front();
  } else if (found.size() > 1) {
    std::sort(found.begin(), found.end());
    return Error{ErrorCode::kInvalid, fmt::format("{}: several segments, choose one with -n: {}",
                                                  path, fmt::join(found, ", "))};
  }
  return source;
}

Result<shm::Source> find_source(const cli::CommandLine& line) {
  const Result<cli::Settings> settings = cli::load_settings(cli::Loader::kTool, line);
  if (!settings) {
    return settings.error();
  }
  if (const auto path = line.value("file")) {
    const bool named = line.has("instance") || settings->instance != cli::Settings{}.instance;
    return find_copy(std::string(*path),
                     named ? std::optional<std::string_view>(settings->instance) : std::nullopt);
  }
  shm::Source source;
  source.instance = settings->instance;
  source.owner_uid = cli::segment_owner(*settings);
  return source;
}

// ---- what is to be done ------------------------------------------------------------------------

struct Task {
  Format format = Format::kText;
  Selection selection;
  bool list = false;  // tables without their entries
  bool follow = false;
  bool peers = false;
  bool verify = false;
  bool rooms = false;
  std::optional<std::string> queue;  // of this room
};

Result<Task> task_of(const cli::CommandLine& line) {
  const auto invalid = [](std::string what) { return Error{ErrorCode::kInvalid, std::move(what)}; };
  Task task;
  const std::string_view format = line.value("output").value_or("text");
  const std::optional<Format> known = format_by_name(format);
  if (!known) {
    return invalid(
        fmt::format("unknown format '{}': it is text, json, jsonl or csv", cli::escaped(format)));
  }
  task.format = *known;
  task.follow = line.has("follow");
  task.peers = line.has("peers");
  task.verify = line.has("verify");
  task.rooms = line.has("rooms");
  if (const auto room = line.value("queue")) {
    task.queue = *room;
  }

  Result<std::vector<Condition>> conditions = view::parse_filters(line.operands);
  if (!conditions) {
    return conditions.error();
  }
  task.selection.conditions = conditions.take();
  for (const std::string_view table : line.values("table")) {
    task.selection.tables.emplace_back(table);
  }
  task.selection.key = line.value("key");
  if (line.has("acc")) {
    task.selection.aspect = Aspect::kTotals;
  } else if (line.has("peer")) {
    task.selection.aspect = Aspect::kPeer;
    task.selection.peer = *line.value("peer");
  }
  const bool aspect = task.selection.aspect != Aspect::kTable;
  const bool entries = !task.selection.tables.empty() || task.selection.key || line.has("all") ||
                       !task.selection.conditions.empty() || aspect;
  task.list = !entries;

  if (line.has("acc") && line.has("peer")) {
    return invalid("--acc and --peer do not go together: totals are of all HAProxys");
  }
  if (aspect && task.follow) {
    return invalid("--follow shows tables, not --acc or --peer");
  }

  std::vector<std::string_view> views;
  for (const std::string_view view : {"peers", "verify", "rooms", "queue"}) {
    if (line.has(view)) {
      views.push_back(view);
    }
  }
  if (views.size() > 1) {
    return invalid(fmt::format("--{} and --{} do not go together", views[0], views[1]));
  }
  if (!views.empty() && (entries || task.follow)) {
    return invalid(
        fmt::format("--{} takes no table, key, filter, --acc, --peer or --follow", views[0]));
  }
  if (line.has("all") && !task.selection.tables.empty()) {
    return invalid("-a and -t do not go together");
  }
  if (task.follow && line.has("file")) {
    return invalid("--follow: a copy does not change");
  }
  if (task.follow && task.format != Format::kText && task.format != Format::kJsonLines) {
    return invalid("--follow prints text or jsonl");
  }
  return task;
}

int run_list(const Task& task, Output& out, const shm::Reader& reader) {
  std::vector<const shm::TableInfo*> tables;
  for (const shm::TableInfo& table : reader.tables()) {
    tables.push_back(&table);
  }
  Printer printer(task.format, out, reader);
  printer.begin(tables, false);
  for (const shm::TableInfo* table : tables) {
    printer.table(*table);
  }
  printer.end();
  return cli::kExitFine;
}

void print_table(const Pick& pick, Printer& printer, Output& out, shm::Reader& reader) {
  printer.table(*pick.table);
  const auto show = [&](const shm::EntryView& entry, Tick now) {
    if (pick.filter.matches(entry, now, texts_of(reader))) {
      printer.entry(entry, now);
    }
    return !out.failed();
  };
  if (const std::size_t busy = patient_scan(reader, *pick.table, show); busy != 0) {
    note(fmt::format("table {}: {} entries were left half-written and are not shown",
                     pick.table->definition.name, busy));
  }
}

// The entries with the key asked for; true when there is one, shown or not.
bool print_key(const Pick& pick, Printer& printer, shm::Reader& reader) {
  bool any = false;
  bool head = false;
  shm::SlotCopy copy;
  shm::EntryView entry;
  for (const std::string& key : pick.keys) {
    const shm::Lookup found = patient_lookup(reader, *pick.table, key, copy, entry);
    if (found == shm::Lookup::kBusy) {
      note(fmt::format("table {}: the entry was left half-written and cannot be shown",
                       pick.table->definition.name));
    }
    any = any || found != shm::Lookup::kAbsent;
    const Tick now = tick_of(reader.now());
    if (found == shm::Lookup::kFound && pick.filter.matches(entry, now, texts_of(reader))) {
      if (!head) {
        printer.table(*pick.table);
        head = true;
      }
      printer.entry(entry, now);
    }
  }
  return any;
}

struct Shown {
  std::string name;
  u16 no;
  u32 id;
};

// A scan of a table that is gone ends early. True when all tables are still what they were.
bool still_there(const std::vector<Shown>& shown, shm::Reader& reader) {
  const auto refreshed = reader.refresh();  // ends the life of what points into the directory
  bool all = true;
  for (const Shown& table : shown) {
    const auto same = [&](const shm::TableInfo& info) {
      return info.no == table.no && info.id == table.id;
    };
    if (refreshed &&
        (refreshed->replaced || (std::ranges::none_of(reader.tables(), same) &&
                                 std::ranges::none_of(reader.hidden_tables(), same)))) {
      note(
          fmt::format("table {}: it was replaced while it was shown, some of its entries may be "
                      "missing: try again",
                      table.name));
      all = false;
    }
  }
  return all;
}

int run_entries(const Task& task, Output& out, shm::Reader& reader) {
  Result<std::vector<Pick>> picks = pick(task.selection, reader);
  if (!picks) {
    return fail(picks.error());
  }
  Printer printer(task.format, out, reader);
  std::vector<const shm::TableInfo*> tables;
  for (const Pick& pick : *picks) {
    tables.push_back(pick.table);
  }
  printer.begin(tables, true);
  std::vector<Shown> shown;
  bool found = !task.selection.key;
  for (const Pick& pick : *picks) {
    if (out.failed()) {
      break;
    }
    if (task.selection.key) {
      found = print_key(pick, printer, reader) || found;
    } else {
      shown.push_back({pick.table->definition.name, pick.table->no, pick.table->id});
      print_table(pick, printer, out, reader);
    }
  }
  printer.end();
  if (!out.failed() && !still_there(shown, reader)) {
    return cli::kExitNotFound;
  }
  if (!found) {
    note(fmt::format("no entry with key '{}'", *task.selection.key));
    return cli::kExitNotFound;
  }
  return cli::kExitFine;
}

int run_follow(const Task& task, Output& out, shm::Reader& reader) {
  Result<std::vector<Pick>> picks = pick(task.selection, reader);
  if (!picks) {
    return fail(picks.error());
  }
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  Printer printer(task.format, out, reader);
  printer.begin({}, true);
  Follower follower(reader, printer, out, task.selection, picks.take(), !task.list, note);
  follower.run(&stop_requested, STDOUT_FILENO);
  return cli::kExitFine;
}

int run_queue(const Task& task, Output& out, shm::Reader& reader) {
  const shm::RoomInfo* room = reader.find_room(*task.queue);
  if (room == nullptr) {
    std::vector<std::string_view> names;
    for (const shm::RoomInfo& other : reader.rooms()) {
      names.push_back(other.settings.name);
    }
    note(names.empty()
             ? std::string("there are no rooms")
             : fmt::format("no room '{}'; there are: {}", *task.queue, fmt::join(names, ", ")));
    return cli::kExitNotFound;
  }
  if (const std::size_t busy = print_queue(task.format, out, reader, *room); busy != 0) {
    note(fmt::format("{} visitors were left half-written and are not shown", busy));
  }
  return cli::kExitFine;
}

int run_task(const Task& task, Output& out, shm::Reader& reader) {
  if (task.verify) {
    const shm::VerifyReport report = shm::verify(reader);
    print_report(task.format, out, report);
    return report.clean() ? cli::kExitFine : cli::kExitDamaged;
  }
  if (task.peers) {
    print_peers(task.format, out, reader);
    return cli::kExitFine;
  }
  if (task.rooms) {
    print_rooms(task.format, out, reader);
    return cli::kExitFine;
  }
  if (task.queue) {
    return run_queue(task, out, reader);
  }
  if (task.follow) {
    return run_follow(task, out, reader);
  }
  return task.list ? run_list(task, out, reader) : run_entries(task, out, reader);
}

int run(int argc, char** argv) {
  std::vector<cli::Option> options = cli::setting_options(cli::Loader::kTool);
  options.insert(options.end(), kOwnOptions.begin(), kOwnOptions.end());
  const cli::Program program{kName,
                             "[OPTION]... [data.TYPE OPERATOR VALUE]...",
                             "Shows the stick tables that lineqd keeps, also when it is not "
                             "running. Operators of filters: "
                             "eq ne le ge lt gt.",
                             options,
                             kExamples,
                             true};

  // The value of a filter may be negative, and is no option: `data.server_id eq -5`.
  std::vector<std::string> negative;
  negative.reserve(static_cast<std::size_t>(argc));
  std::vector<char*> words(argv, argv + argc);
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i][0] == '-' && view::operator_by_name(words[i - 1])) {
      words[i] = negative.emplace_back(fmt::format(" {}", words[i])).data();
    }
  }
  words.push_back(nullptr);
  const cli::CommandLine line = cli::read_command_line(program, argc, words.data());
  if (line.exit_code) {
    return *line.exit_code;
  }
  const Result<Task> task = task_of(line);
  if (!task) {
    return fail(task.error());
  }
  const Result<shm::Source> source = find_source(line);
  if (!source) {
    return fail(source.error());
  }
  Result<shm::Reader> reader = shm::Reader::open(*source);
  if (!reader) {
    return fail(reader.error());
  }
  if (source->directory.empty()) {
    if (const std::string sentence = liveness_sentence(*reader); !sentence.empty()) {
      note(sentence + "; this is what it left");
    }
  }

  Output out(STDOUT_FILENO, &stop_requested);
  const int code = run_task(*task, out, *reader);
  out.flush();
  // Somebody who has read enough (`| head`), or our own end: nothing to say.
  if (out.failed() && out.error_number() != EPIPE && out.error_number() != EINTR) {
    note(fmt::format("cannot write the output: {}", std::strerror(out.error_number())));
    return cli::kExitUsage;
  }
  return code;
}

}  // namespace
}  // namespace lineq::dump

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return lineq::dump::run(argc, argv);
}
