// The configuration of all programs: defaults < file < environment < command line.
//
// One row per setting (settings.cc) gives its key in the file, its environment variable, its
// option, what is allowed and how it is shown; --help, errors and `lineqd -t` follow from it.
// Settings that are lists of objects (settings_nested.cc) are in the file only.
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
#include "tools/cli/addresses.h"
#include "tools/cli/log.h"
#include "tools/cli/options.h"
#include "tools/cli/room_settings.h"

namespace lineq::cli {

inline constexpr u32 kHeartbeatMs = 3000;  // of the peers protocol; HAProxy closes after 5 s
inline constexpr std::string_view kDefaultSettingsFile = "/etc/lineq/lineq.cfg";
inline constexpr std::string_view kDefaultRoom = "default";

enum class Mode : u8 { kAggregate, kAccumulate, kWaitingRoom };
enum class FullTable : u8 { kEvict, kRefuse };

struct LogDestination {
  LogTarget target = LogTarget::kStderr;
  u8 facility = 3;
};

// Of one listener or one HAProxy to dial. Files are PEM.
struct TlsSettings {
  enum class Verify : u8 { kRequired, kOptional, kNone };

  std::string certificate;  // ours: chain and, unless `key` is given, its key, as HAProxy's crt
  std::string key;
  std::string ca;                 // that signed theirs
  Verify verify = Verify::kNone;  // listener: kRequired if there is a `ca`; dialled: required
  std::vector<std::string> allowed_names;  // listener: names in their certificate; empty = any
  std::string server_name;  // dialled: SNI and the name checked; empty = that of the address

  friend bool operator==(const TlsSettings&, const TlsSettings&) = default;
};

// Where HAProxys connect.
struct ListenerSettings {
  PeerAddress address;
  std::string name;  // our own name there, line 2 of their hello; never empty once loaded
  std::optional<TlsSettings> tls;
  std::vector<AddressRange> allowed_addresses;  // empty = all
  std::vector<std::string> allowed_peers;       // names in the hello; empty = all
};

// A HAProxy to dial.
struct DialSettings {
  std::string name;  // of the HAProxy, line 2 of our hello
  PeerAddress address;
  std::string own_name;  // line 3; never empty once loaded
  std::optional<TlsSettings> tls;

  friend bool operator==(const DialSettings& a, const DialSettings& b) {
    return a.name == b.name && a.address.text == b.address.text && a.own_name == b.own_name &&
           a.tls == b.tls;
  }
};

// Mode acc: which tables are added up, where the sums go, and what happens to what has no sum.
struct AggregateRule {
  enum class Policy : u8 { kLatest, kMax, kOr };

  std::string from;  // a table's name, or "any"
  std::string to;    // of the table that gets the sums; for "any" a suffix, ".aggr"; empty = none
  Policy policy = Policy::kLatest;
};

// Who may give which commands over the control socket, beside root, lineqd's own user, the group
// lineq-admin (all of it) and the group lineq (asking).
struct ControlAccess {
  std::string who;  // as written: "lineq-web", "4711", or a group: "@ops", "@4712"
  bool group = false;
  std::optional<u32> id;              // uid or gid; unset: there is nobody of that name here
  std::vector<std::string> commands;  // names, "ask" or "all"

  friend bool operator==(const ControlAccess&, const ControlAccess&) = default;
};

// A table whose entries /metrics shows one by one.
struct MetricsTable {
  std::string table;              // its name
  u32 limit = 100;                // entries, those with the highest values of the first of `data`
  std::vector<std::string> data;  // data types as written: "gpc0", "gpc[1]"; empty: all numbers

  friend bool operator==(const MetricsTable&, const MetricsTable&) = default;
};

struct Settings {
  std::string instance = "default";  // 1..64 of [A-Za-z0-9_.-]
  std::string control;               // path of the control socket; empty until loaded
  bool control_given = false;
  u32 control_mode = 0660;    // of the control socket
  std::string control_group;  // its group; empty = lineq-admin if there is one
  std::vector<ControlAccess> control_access;
  // Rooms made while running, and the log of what operators did; empty until loaded.
  std::string state_dir;
  bool state_dir_given = false;
  u32 snapshot_seconds = 60;  // 0: none are written, and none is loaded
  std::string admin_token_file = "/etc/lineq/admin.token";  // of the room API
  std::string tcp_host = "localhost";
  u16 tcp_port = 11111;
  std::string web_host = "localhost";  // or unix@/path, then web_port means nothing
  u16 web_port = 8060;
  std::string admin_host;  // as web_host; empty = the admin part is where web_host is
  u16 admin_port = 8061;
  u32 web_max_connections = 0;  // 0 = what the descriptors allow
  std::vector<MetricsTable> metrics_tables;
  u32 web_max_per_address = 0;  // 0 = 15/16 of them: one HAProxy brings all visitors
  Mode mode = Mode::kAggregate;
  std::string peer_name = "lineq";  // what HAProxys call us in their peers section
  u32 max_message_bytes = 65536;    // largest peers message accepted
  u64 memory_limit_bytes = 0;       // of the segment; 0 = none
  u32 feed_log2 = 22;               // records in the change ring, as a power of two
  u32 silent_peer_ms = 10000;       // a peer silent for longer is closed
  FullTable full_table = FullTable::kEvict;
  u32 aggregate_interval_ms = 50;  // at most one sum per key is sent in so long
  u64 ledger_expire_ms = 0;        // totals untouched for so long are dropped; 0 = kept for ever
  // Where HAProxys connect: never empty once loaded. Without the key `listeners` the one that
  // tcp_host, tcp_port and peer_name describe.
  std::vector<ListenerSettings> listeners;
  bool listeners_given = false;
  std::vector<DialSettings> peers;
  std::vector<AggregateRule> aggregate;
  // Mode vwr.
  u16 target_port = 80;             // of the site, for `lineqd -c`
  std::string room_table = "room";  // what HAProxys call the two tables
  // Empty until loaded: "user" if the file itself says service_mode vwr, otherwise "timestamps".
  std::string users_table;
  u32 session_ms = 60'000;  // of rooms that do not say
  u32 total_users = 1;      // the same
  bool total_users_given = false;
  // `routes`; without any, in mode vwr, one room "default" of the two settings above.
  std::vector<RoomSettings> rooms;
  bool rooms_given = false;
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

// The keys of `loader` whose values differ, those that are lists included.
std::vector<std::string_view> changed_settings(Loader loader, const Settings& a, const Settings& b);

// Every key of the file as items of a list in mdoc, for lineq.cfg(5).
std::string settings_manual();

// Checks and strips "unix@": the socket's path, or nullopt when `host` is a name or an address.
std::optional<std::string_view> unix_path(std::string_view host);

// The uid readers insist on: the configured one, otherwise the owner of the control socket's
// directory, otherwise (no such directory) their own.
u32 segment_owner(const Settings& settings);

LogSetup log_setup_of(const Settings& settings, std::string_view program);

std::string_view mode_name(Mode mode);  // "agg", "acc", "vwr"

}  // namespace lineq::cli
