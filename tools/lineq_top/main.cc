// lineq-top: who is there and what grows fastest, live on a terminal, or printed once, or as JSON.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "tools/cli/exit_codes.h"
#include "tools/cli/options.h"
#include "tools/cli/settings.h"
#include "tools/cli/text.h"
#include "tools/lineq_dump/format.h"
#include "tools/lineq_top/monitor.h"
#include "tools/lineq_top/screen.h"
#include "tools/lineq_top/terminal.h"
#include "tools/lineq_top/top_keys.h"
#include "tools/lineq_top/width.h"

namespace lineq::top {
namespace {

constexpr std::string_view kName = "lineq-top";

constexpr auto kOwnOptions = std::to_array<cli::Option>({
    {"once", '1', "", "print once, after one interval, and exit", ""},
    {"json", 'j', "", "print a line of JSON for each interval; with -1 one", ""},
    {"delay", 'd', "SECONDS", "interval between two looks, 0.1 to 3600", "1"},
    {"view", 'v', "VIEW", "tables, peers, keys or rooms; with -1 and -j: only this", "tables",
     "tables, peers, keys or rooms"},
    {"table", 't', "TABLE", "keys of this table, the largest values first", "the busiest"},
    {"sort", 's', "COLUMN", "sort by this column; of keys: by this data type", ""},
    {"filter", 'F', "TEXT", "only rows with TEXT in their first column", ""},
    {"limit", 'l', "N", "at most N keys, 1 to 10000", "100"},
});

constexpr auto kExamples = std::to_array<std::string_view>({
    "lineq-top                                  live; h shows the keys",
    "lineq-top -t src -s http_req_rate          who asks most",
    "lineq-top -v peers -d 5                    the HAProxys, every five seconds",
    "lineq-top -1 -t src -l 10                  once, with the ten busiest keys",
    "lineq-top -1 -j | jq '.peers[].lag'",
    "lineq-top -j -v rooms -d 60 >>rooms.jsonl",
});

constexpr double kMsPerSecond = 1000;

volatile std::sig_atomic_t stop_requested = 0;
volatile std::sig_atomic_t resized = 0;

void on_stop_signal(int) {
  stop_requested = 1;
}
void on_resize(int) {
  resized = 1;
}

// The signals are blocked but while the program waits, so none is missed.
sigset_t take_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = on_resize;
  ::sigaction(SIGWINCH, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t ours;
  sigset_t before;
  ::sigemptyset(&ours);
  for (const int signal : {SIGINT, SIGTERM, SIGWINCH}) {
    ::sigaddset(&ours, signal);
  }
  ::sigprocmask(SIG_BLOCK, &ours, &before);
  return before;
}

// False when `fd` has come to its end.
bool wait(int fd, short events, u64 ms, const sigset_t& mask) {
  pollfd watched{fd, events, 0};
  const timespec longest{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1000000};
  return ::ppoll(&watched, 1, &longest, &mask) <= 0 ||
         (watched.revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

struct Task {
  shm::Source source;
  bool once = false;
  bool json = false;
  bool table_given = false;
  std::optional<Page> view;
  Screen::Start start;
};

int fail(const Error& error) {
  if (error.code == ErrorCode::kInvalid) {
    return cli::usage_error(kName, error.what);
  }
  const std::string line = fmt::format("{}: {}\n", kName, cli::printable(error.what));
  std::fputs(line.c_str(), stderr);
  return error.code == ErrorCode::kForeign || error.code == ErrorCode::kDamaged
             ? cli::kExitDamaged
             : cli::kExitNotFound;
}

Result<Task> task_of(const cli::CommandLine& line) {
  const auto wrong = [](std::string_view option, std::string_view value, std::string_view allowed) {
    return Error{ErrorCode::kInvalid, fmt::format("--{}: '{}' is not allowed; allowed: {}", option,
                                                  cli::escaped(value), allowed)};
  };
  Task task;
  const Result<cli::Settings> settings = cli::load_settings(cli::Loader::kTool, line);
  if (!settings) {
    return settings.error();
  }
  task.source.instance = settings->instance;
  task.source.owner_uid = cli::segment_owner(*settings);
  task.once = line.has("once");
  task.json = line.has("json");
  task.table_given = line.has("table");
  task.start.table = line.value("table").value_or("");
  task.start.sort = line.value("sort").value_or("");
  task.start.filter = line.value("filter").value_or("");
  if (const auto text = line.value("view")) {
    task.view = page_by_name(*text);
    if (!task.view) {
      return wrong("view", *text, "tables, peers, keys or rooms");
    }
    if (task.table_given && *task.view != Page::kKeys) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("-t chooses the table of view keys, not of {}", *text)};
    }
  }
  task.start.page = task.view.value_or(task.table_given ? Page::kKeys : Page::kTables);
  if (const auto text = line.value("delay")) {
    const auto seconds = delay_from(*text);
    if (!seconds) {
      return wrong("delay", *text, "seconds, 0.1 to 3600");
    }
    task.start.delay = *seconds;
  }
  if (const auto text = line.value("limit")) {
    constexpr std::size_t kMost = 10000;
    std::size_t& limit = task.start.limit;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), limit);
    if (error != std::errc() || end != text->data() + text->size() || limit < 1 || limit > kMost) {
      return wrong("limit", *text, "a number of keys, 1 to 10000");
    }
  }
  return task;
}

// ---- printed ------------------------------------------------------------------------------------

// A page of the picture; null for keys.
const Grid* grid_of(const Picture& picture, Page page) {
  switch (page) {
    case Page::kTables:
      return &picture.tables;
    case Page::kPeers:
      return &picture.peers;
    case Page::kRooms:
      return &picture.rooms;
    case Page::kKeys:
      break;
  }
  return nullptr;
}

std::vector<Page> pages_of(const Task& task) {
  if (task.view) {
    return {*task.view};
  }
  std::vector<Page> pages{Page::kPeers, Page::kTables, Page::kRooms};
  if (task.table_given) {
    pages.push_back(Page::kKeys);
  }
  return pages;
}

// The column asked for must be in one of the pages; of keys only the segment knows.
Status check_sort(const Task& task, const Picture& picture, const std::vector<Page>& pages) {
  if (task.start.sort.empty()) {
    return {};
  }
  std::vector<std::string_view> names;
  for (const Page page : pages) {
    const Grid* grid = grid_of(picture, page);
    if (grid == nullptr || find_column(*grid, task.start.sort)) {
      return {};
    }
    for (const Column& column : grid->columns) {
      names.emplace_back(column.name);
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return Error{ErrorCode::kInvalid,
               fmt::format("no column '{}'{}; there are {}", cli::escaped(task.start.sort),
                           cli::suggestion(task.start.sort, names), fmt::join(names, ", "))};
}

// As the screen would, without one.
Grid arranged(const Task& task, const Grid& grid, Page page) {
  Grid copy = grid;
  filter_rows(copy, task.start.filter);
  auto column = task.start.sort.empty() ? std::nullopt : find_column(copy, task.start.sort);
  if (!column && page != Page::kPeers) {
    column = find_column(copy, page == Page::kTables ? "updates_per_second" : "waiting");
  }
  sort_rows(copy, column.value_or(0), false);
  return copy;
}

void put_json(dump::Output& out, const Task& task, const Picture& picture,
              const std::vector<Page>& pages, const TopKeys& keys) {
  const Overview& o = picture.overview;
  bool first = true;
  const auto field = [&](std::string_view name, const Cell& value) {
    out.put(first ? "" : ",");
    first = false;
    dump::put_json(out, name);
    out.put(':');
    print_json(out, value);
  };
  const auto cell = [](const auto& value) { return value ? Cell(*value) : Cell(); };
  const auto text = [](const std::string& t) { return t.empty() ? Cell() : Cell(t); };
  out.put('{');
  field("time_ms", realtime_ms());
  field("instance", o.instance);
  out.put(",\"daemon\":{");
  first = true;
  field("state", o.state);
  field("trouble", text(o.trouble));
  field("mode", text(o.mode));
  field("pid", o.pid == 0 ? Cell() : Cell(o.pid));
  field("heartbeat_age_ms", cell(o.heartbeat_age_ms));
  field("up_ms", cell(o.up_ms));
  out.put('}');
  field("memory_bytes", o.memory_bytes);
  field("updates_in_per_second", cell(o.in_per_second));
  field("updates_out_per_second", cell(o.out_per_second));
  field("entries", o.entries);
  for (const Page page : pages) {
    out.put(",\"");
    out.put(kPageNames.at(static_cast<std::size_t>(page)));
    out.put("\":");
    if (const Grid* grid = grid_of(picture, page)) {
      print_json(out, arranged(task, *grid, page));
    } else {
      out.put("{\"table\":");
      print_json(out, text(keys.table()));
      out.put(",\"sorted_by\":");
      print_json(out, text(keys.column()));
      out.put(",\"rows\":");
      print_json(out, keys.grid());
      out.put('}');
    }
  }
  out.put("}\n");
}

void put_text(dump::Output& out, const Task& task, const Picture& picture,
              const std::vector<Page>& pages, const TopKeys& keys) {
  const Overview& o = picture.overview;
  const auto shown = [](const auto& value, Unit unit) {
    return cell_text(value ? Cell(*value) : Cell(), unit);
  };
  out.put(fmt::format("instance {}: lineqd {}, heartbeat {} ago, up {}{}{}\n", o.instance, o.state,
                      shown(o.heartbeat_age_ms, Unit::kDuration), shown(o.up_ms, Unit::kDuration),
                      o.mode.empty() ? "" : ", mode " + o.mode,
                      o.trouble.empty() ? "" : "; " + o.trouble));
  out.put(fmt::format("updates/s {} in {} out, memory {}, {}/{} HAProxys up, {} entries\n\n",
                      shown(o.in_per_second, Unit::kRate), shown(o.out_per_second, Unit::kRate),
                      cell_text(o.memory_bytes, Unit::kBytes), o.peers_up, o.peers, o.entries));
  for (const Page page : pages) {
    const std::string_view name = kPageNames.at(static_cast<std::size_t>(page));
    const Grid* grid = grid_of(picture, page);
    const Grid shown_grid = grid != nullptr ? arranged(task, *grid, page) : keys.grid();
    const std::string title = grid != nullptr
                                  ? std::string(name)
                                  : fmt::format("keys of {} by {}", keys.table(), keys.column());
    if (shown_grid.rows.empty()) {
      out.put(fmt::format("{}: none\n\n", title));
    } else {
      print_text(out, title, shown_grid);
    }
  }
}

int run_printed(const Task& task, Monitor& monitor, const sigset_t& mask) {
  const std::vector<Page> pages = pages_of(task);
  if (Status sortable = check_sort(task, monitor.picture(), pages); !sortable) {
    return fail(sortable.error());
  }
  monitor.look(monotonic_ms());
  if (monitor.reader() == nullptr) {
    return fail(*monitor.trouble());
  }
  const bool with_keys = std::find(pages.begin(), pages.end(), Page::kKeys) != pages.end();
  const bool sort_is_for_keys = std::none_of(pages.begin(), pages.end(), [&](Page page) {
    const Grid* grid = grid_of(monitor.picture(), page);
    return grid != nullptr && !task.start.sort.empty() && find_column(*grid, task.start.sort);
  });
  Screen::Start start = task.start;
  start.page = Page::kKeys;
  start.sort = sort_is_for_keys ? task.start.sort : "";
  const Screen chooser(start);
  TopKeys keys;
  u64 generation = monitor.generation();
  dump::Output out(STDOUT_FILENO, &stop_requested);
  const auto interval = static_cast<u64>(task.start.delay * kMsPerSecond);
  for (u64 due = monotonic_ms() + interval;; due += interval) {
    while (stop_requested == 0 && monotonic_ms() < due) {
      // Whoever read the output may go away before there is something to write.
      if (!wait(STDOUT_FILENO, 0, due - std::min(due, monotonic_ms()), mask)) {
        return cli::kExitFine;
      }
    }
    if (stop_requested != 0) {
      return cli::kExitFine;
    }
    const Picture& picture = monitor.look(monotonic_ms());
    if (with_keys) {
      if (generation != monitor.generation()) {
        generation = monitor.generation();
        keys.forget();
      }
      keys.choose(chooser.wanted(picture));
      keys.begin();
      constexpr u32 kSlots = 65536;
      while (stop_requested == 0 && !keys.step(*monitor.reader(), kSlots)) {
      }
      if (keys.trouble() && (task.once || !keys.any())) {
        return fail(*keys.trouble());
      }
    }
    task.json ? put_json(out, task, picture, pages, keys)
              : put_text(out, task, picture, pages, keys);
    if (!out.flush()) {
      // Somebody who has read enough (`| head`), or our own end: nothing to say.
      return out.error_number() == EPIPE || out.error_number() == EINTR
                 ? static_cast<int>(cli::kExitFine)
                 : fail({ErrorCode::kInvalid, fmt::format("cannot write the output: {}",
                                                          std::strerror(out.error_number()))});
    }
    if (task.once) {
      return cli::kExitFine;
    }
  }
}

// ---- live ---------------------------------------------------------------------------------------

constexpr u64 kFirstIntervalMs = 300;  // rates need two looks, and people do not like to wait
constexpr u64 kAttachMs = 250;         // how often a segment that is not there is looked for
constexpr u32 kSlots = 8192;           // looked at at once, a few milliseconds
constexpr u64 kScanMs = 10;            // a slice of a large table ...
constexpr u64 kRestMs = 20;            // ... and what is left to others before the next

class Live {
 public:
  Live(const Task& task, Monitor& monitor, Terminal& terminal, const sigset_t& mask)
      : monitor_(monitor), terminal_(terminal), mask_(mask), screen_(task.start) {}

  void run() {
    look(monotonic_ms());
    due_ms_ = monotonic_ms() + std::min(interval(), kFirstIntervalMs);
    while (stop_requested == 0 && !screen_.quit()) {
      terminal_.paint(
          screen_.lines(monitor_.picture(), keys_, terminal_.width(), terminal_.height()));
      if (!wait(STDIN_FILENO, POLLIN, patience(monotonic_ms()), mask_)) {
        return;  // the terminal is gone
      }
      if (resized != 0) {
        resized = 0;
        terminal_.resize();
      }
      const double delay = screen_.delay();
      while (const auto key = terminal_.key()) {
        screen_.key(*key, monitor_.picture(), keys_);
      }
      const u64 now = monotonic_ms();
      if (screen_.delay() != delay) {
        due_ms_ = std::min(due_ms_, now + interval());
      }
      if (now >= due_ms_ && !screen_.paused()) {
        look(now);
        due_ms_ = now + interval();
      }
      if (screen_.wants_keys() && monitor_.reader() != nullptr) {
        keys_.choose(screen_.wanted(monitor_.picture()));
        scan(now);
      }
    }
  }

 private:
  u64 interval() const {
    const auto asked = static_cast<u64>(screen_.delay() * kMsPerSecond);
    return monitor_.reader() == nullptr ? std::min(asked, kAttachMs) : asked;
  }

  u64 patience(u64 now) const {
    constexpr u64 kForEver = 60'000;
    const u64 until_due = screen_.paused() ? kForEver : due_ms_ - std::min(due_ms_, now);
    return scanning_ ? std::min(until_due, kRestMs) : until_due;
  }

  void look(u64 now) {
    monitor_.look(now);
    if (generation_ != monitor_.generation()) {
      generation_ = monitor_.generation();
      keys_.forget();
    }
    keys_.begin();
  }

  void scan(u64 now) {
    scanning_ = true;
    while (scanning_ && monotonic_ms() - now < kScanMs) {
      scanning_ = !keys_.step(*monitor_.reader(), kSlots);
    }
  }

  Monitor& monitor_;
  Terminal& terminal_;
  const sigset_t& mask_;
  Screen screen_;
  TopKeys keys_;
  u64 generation_ = 0;
  u64 due_ms_ = 0;
  bool scanning_ = false;
};

int run_live(Task task, Monitor& monitor, const sigset_t& mask) {
  if (task.start.page != Page::kKeys) {
    if (Status sortable = check_sort(task, monitor.picture(), {task.start.page}); !sortable) {
      return fail(sortable.error());
    }
  }
  monitor.attach();
  if (const auto& trouble = monitor.trouble();
      trouble && (trouble->code == ErrorCode::kForeign || trouble->code == ErrorCode::kDamaged)) {
    return fail(*trouble);  // waiting does not help
  }
  Result<std::unique_ptr<Terminal>> terminal = Terminal::open();
  if (!terminal) {
    return fail(terminal.error());
  }
  task.start.utf8 = utf8_locale();
  Live(task, monitor, **terminal, mask).run();
  return cli::kExitFine;
}

int run(int argc, char** argv) {
  std::setlocale(LC_CTYPE, "");
  std::vector<cli::Option> options = cli::setting_options(cli::Loader::kTool);
  options.insert(options.end(), kOwnOptions.begin(), kOwnOptions.end());
  const cli::Program program{
      kName, "[OPTION]...",
      "Shows HAProxys, tables by their rate of change, the keys with the largest values, and "
      "waiting rooms, live. Reads the segment itself, also when lineqd is not running.",
      options, kExamples};
  const cli::CommandLine line = cli::read_command_line(program, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  Result<Task> task = task_of(line);
  if (!task) {
    return fail(task.error());
  }
  const sigset_t mask = take_signals();
  Monitor monitor(task->source);
  return task->once || task->json ? run_printed(*task, monitor, mask)
                                  : run_live(task.take(), monitor, mask);
}

}  // namespace
}  // namespace lineq::top

int main(int argc, char** argv) {
  return lineq::top::run(argc, argv);
}
