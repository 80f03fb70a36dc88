// The configuration of all programs: defaults < file < environment < command line.
//
// One row per setting (settings.cc) gives its key in the file, its environment variable, its
// option, what is allowed and how it is shown; --help, errors and `lineqd -t` follow from it.
// The file is JSON with comments and trailing commas; keys without regard to case; numbers may be
// strings. A wrong value ends in an Error that says where, which key, which value and what is
// allowed; an unknown key is a warning.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"
#include "shm/support/result.h"
#include "tools/cli/log.h"
#include "tools/cli/options.h"

namespace lineq::cli {

inline constexpr u32 kHeartbeatMs = 3000;  // of the peers protocol; HAProxy closes after 5 s
inline constexpr std::string_view kDefaultSettingsFile = "/etc/lineq/lineq.cfg";

enum class Mode : u8 { kAggregate, kAccumulate, kWaitingRoom };
enum class FullTable : u8 { kEvict, kRefuse };

struct LogDestination {
  LogTarget target = LogTarget::kStderr;
  u8 facility = 3;
};

struct Settings {
  std::string instance = "default";  // 1..64 of [A-Za-z0-9_.-]
  std::string control;               // path of the control socket; empty until loaded
  std::string tcp_host = "localhost";
  u16 tcp_port = 11111;
  std::string web_host = "localhost";  // or unix@/path, then web_port means nothing
  u16 web_port = 8060;
  u32 web_max_connections = 0;  // 0 = what the descriptors allow
  u32 web_max_per_address = 0;  // 0 = half of them
  Mode mode = Mode::kAggregate;
  std::string peer_name = "lineq";  // what HAProxys call us in their peers section
  u32 max_message_bytes = 65536;    // largest peers message accepted
  u64 memory_limit_bytes = 0;       // of the segment; 0 = none
  u32 feed_log2 = 22;               // records in the change ring, as a power of two
  u32 silent_peer_ms = 10000;       // a peer silent for longer is closed
  FullTable full_table = FullTable::kEvict;
  std::optional<u32> shm_owner;  // uid; unset = owner of the control socket's directory
  LogLevel log_level = LogLevel::kInfo;
  LogDestination log;

  std::vector<std::string> warnings;  // odd but not wrong; main logs each
};

// Who loads: the settings that concern it are its options and are checked; others are left alone,
// so that a tool works beside a file it does not understand in full.
enum class Loader : u8 {
  kDaemon = 1,
  kWeb = 2,
  kTool = 4,  // reads the segment; a default file it may not read is skipped
};

// The options for a Program's table: one per setting of this loader, and -f/--config for the daemon
// and the web server. Lives for ever.
std::vector<Option> setting_options(Loader loader);

// `file` overrides the default path and must then exist. The default file may be missing.
Result<Settings> load_settings(Loader loader, const CommandLine& line,
                               std::string_view default_file = kDefaultSettingsFile);

// The effective configuration as a file: `lineqd -t`.
std::string settings_json(const Settings& settings);

// Checks and strips "unix@": the socket's path, or nullopt when `host` is a name or an address.
std::optional<std::string_view> unix_path(std::string_view host);

// The uid readers insist on: the configured one, otherwise the owner of the control socket's
// directory, otherwise (no such directory) their own.
u32 segment_owner(const Settings& settings);

LogSetup log_setup_of(const Settings& settings, std::string_view program);

std::string_view mode_name(Mode mode);  // "agg", "acc", "vwr"

}  // namespace lineq::cli
