// One line per event, to stderr or to syslog: what happened, to whom, numbers with units, what
// follows. Nothing per update, ever.
//
//   cli::log_notice("peer {}: silent for {} s, closing", who, seconds);
//
// On stderr a line begins with systemd's <N> when the journal reads it (JOURNAL_STREAM names this
// very stderr), otherwise with UTC time, program and level. Control characters and bytes that are
// not UTF-8 are written as \xHH, so no peer can forge a line or steer a terminal.
// Any thread may log once log_setup() has returned.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#include "shm/support/ints.h"
#include "shm/support/result.h"

namespace lineq::cli {

enum class LogLevel : u8 {
  kErr = 3,
  kWarning = 4,
  kNotice = 5,
  kInfo = 6,
  kDebug = 7
};  // syslog's

std::string_view log_level_name(LogLevel level);

enum class LogTarget : u8 { kStderr, kSyslog };

struct LogSetup {
  std::string_view program = "lineq";
  LogLevel level = LogLevel::kInfo;
  LogTarget target = LogTarget::kStderr;
  u8 facility = 3;  // daemon; 16..23 are local0..local7
  std::string_view syslog_path = "/dev/log";
};

// Call once, before the first thread. A syslog that cannot be reached is no error: lines go to
// stderr until it can. Without this call everything of level info and above goes to stderr.
void log_setup(const LogSetup& setup);
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

void log_line(LogLevel level, fmt::string_view format, fmt::format_args args);

template <typename... Args>
void log_err(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kErr, format, fmt::make_format_args(args...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarning, format, fmt::make_format_args(args...));
}
template <typename... Args>
void log_notice(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kNotice, format, fmt::make_format_args(args...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, format, fmt::make_format_args(args...));
}
template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kDebug, format, fmt::make_format_args(args...));
}

// At most one line per second and key, for what strangers can provoke at will. One thread.
//
//   if (auto hidden = limit.admit(address, now)) log_warning("{}: ... ({} more)", ..., *hidden);
//
// Remembers the last kKeys keys; memory does not depend on how many there are.
class LogLimit {
 public:
  // nullopt: keep quiet. Otherwise log, and the number says how many were kept quiet since.
  std::optional<u64> admit(std::string_view key, u64 now_ms);

 private:
  static constexpr std::size_t kKeys = 64;
  static constexpr u64 kPeriodMs = 1000;
  struct Entry {
    u64 hash = 0;
    u64 since_ms = 0;
    u64 hidden = 0;
    bool used = false;
  };
  std::array<Entry, kKeys> entries_{};
};

// The line without its end as it would go to stderr; for tests.
std::string format_log_line(LogLevel level, std::string_view program, bool journal, u64 realtime_ms,
                            std::string_view message);

}  // namespace lineq::cli
