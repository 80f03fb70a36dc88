#include "tools/cli/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <mutex>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "shm/support/clock.h"
#include "tools/cli/text.h"

namespace lineq::cli {
namespace {

constexpr std::size_t kLongestMessage = 8192;

struct State {
  std::string program = "lineq";
  std::string syslog_path;
  LogTarget target = LogTarget::kStderr;
  u8 facility = 3;
  bool journal = false;
  std::atomic<LogLevel> level{LogLevel::kInfo};
  std::mutex syslog_mutex;
  int syslog_fd = -1;  // guarded by syslog_mutex
};

State& state() {
  static State the_state;
  return the_state;
}

// JOURNAL_STREAM is "device:inode" of the journal's socket. It is inherited by programs whose
// stderr goes elsewhere, so the numbers have to match.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat info {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &info) != 0) {
    return false;
  }
  return fmt::format("{}:{}", info.st_dev, info.st_ino) == stream;
}

void write_stderr(std::string_view line) {
  // One write a line, so lines of several threads and processes do not mix. A full pipe or a gone
  // reader must not hold up the program: the line is lost.
  while (::write(STDERR_FILENO, line.data(), line.size()) < 0 && errno == EINTR) {
  }
}

int connect_syslog(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return -1;
  }
  std::memcpy(&address.sun_path[0], path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // The socket interface wants it this way.
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (fd >= 0 && ::connect(fd, generic, sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  return fd;
}

bool send_syslog(State& s, LogLevel level, std::string_view message) {
  const time_t now = ::time(nullptr);
  tm local{};
  ::localtime_r(&now, &local);
  std::array<char, 32> stamp{};
  // RFC 3164's form; independent of the locale, which the programs never set.
  const std::size_t length = ::strftime(stamp.data(), stamp.size(), "%b %e %H:%M:%S", &local);
  const std::string datagram =
      fmt::format("<{}>{} {}[{}]: {}", s.facility * 8 + static_cast<int>(level),
                  std::string_view(stamp.data(), length), s.program, ::getpid(), message);
  const std::lock_guard lock(s.syslog_mutex);
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (s.syslog_fd < 0) {
      s.syslog_fd = connect_syslog(s.syslog_path);
    }
    if (s.syslog_fd < 0) {
      return false;
    }
    if (::send(s.syslog_fd, datagram.data(), datagram.size(), MSG_NOSIGNAL) >= 0) {
      return true;
    }
    if (errno == EAGAIN || errno == ENOBUFS) {
      return false;  // full: do not wait for the logger
    }
    ::close(s.syslog_fd);  // restarted logger: connect again
    s.syslog_fd = -1;
  }
  return false;
}

}  // namespace

std::string_view log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kErr:
      return "err";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kNotice:
      return "notice";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kDebug:
      return "debug";
  }
  return "unknown";
}

void log_setup(const LogSetup& setup) {
  State& s = state();
  s.program = setup.program;
  s.syslog_path = setup.syslog_path;
  s.target = setup.target;
  s.facility = setup.facility;
  s.level = setup.level;
  s.journal = stderr_is_journal();
}

void set_log_level(LogLevel level) {
  state().level = level;
}

bool log_enabled(LogLevel level) {
  return level <= state().level.load(std::memory_order_relaxed);
}

std::string format_log_line(LogLevel level, std::string_view program, bool journal, u64 realtime_ms,
                            std::string_view message) {
  if (journal) {
    return fmt::format("<{}>{}", static_cast<int>(level), message);
  }
  const auto seconds = static_cast<time_t>(realtime_ms / 1000);
  tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {} {}: {}", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     realtime_ms % 1000, program, log_level_name(level), message);
}

void log_line(LogLevel level, fmt::string_view format, fmt::format_args args) {
  if (!log_enabled(level)) {
    return;
  }
  State& s = state();
  std::string message = printable(fmt::vformat(format, args));
  if (message.size() > kLongestMessage) {
    message.resize(kLongestMessage);
    message += "...";
  }
  if (s.target == LogTarget::kSyslog && send_syslog(s, level, message)) {
    return;
  }
  write_stderr(format_log_line(level, s.program, s.journal, realtime_ms(), message) + "\n");
}

std::optional<u64> LogLimit::admit(std::string_view key, u64 now_ms) {
  const u64 hash = std::hash<std::string_view>{}(key);
  Entry* oldest = entries_.data();
  for (Entry& entry : entries_) {
    if (entry.used && entry.hash == hash) {
      if (now_ms - entry.since_ms < kPeriodMs) {
        ++entry.hidden;
        return std::nullopt;
      }
      const u64 hidden = entry.hidden;
      entry = {hash, now_ms, 0, true};
      return hidden;
    }
    if (entry.since_ms < oldest->since_ms || !entry.used) {
      oldest = &entry;
    }
  }
  // Many keys within one second get no more lines than there are places.
  if (oldest->used && now_ms - oldest->since_ms < kPeriodMs) {
    ++oldest->hidden;
    return std::nullopt;
  }
  *oldest = {hash, now_ms, 0, true};
  return 0;
}

}  // namespace lineq::cli
