#include "tools/cli/settings.h"

#include <fcntl.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>

#include <fmt/core.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/prettywriter.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <sys/stat.h>

#include "tools/cli/mdoc.h"
#include "tools/cli/settings_nested.h"
#include "tools/cli/text.h"

namespace lineq::cli {
namespace {

constexpr std::size_t kLongestFile = std::size_t{1} << 20;
constexpr std::size_t kLongestUnixPath = 107;  // sockaddr_un less its NUL
constexpr std::size_t kLongestPath = 1000;
constexpr std::string_view kStateDir = "/var/lib/lineq";

// ---- values ------------------------------------------------------------------------------------

template <typename T>
bool number(std::string_view text, u64 least, u64 most, T& out) {
  u64 n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < least || n > most) {
    return false;
  }
  out = static_cast<T>(n);
  return true;
}

// 1048576, 512k, 64m, 2g
bool bytes(std::string_view text, u64& out) {
  u32 shift = 0;
  if (!text.empty()) {
    switch (text.back()) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      default:
        break;
    }
  }
  if (shift != 0) {
    text.remove_suffix(1);
  }
  u64 n = 0;
  if (!number(text, 0, std::numeric_limits<u64>::max() >> shift, n)) {
    return false;
  }
  out = n << shift;
  return true;
}

bool clean(std::string_view text, std::size_t longest) {
  return !text.empty() && text.size() <= longest &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) != 0x7f;
         });
}

bool instance_name(std::string_view text) {
  constexpr std::size_t kLongest = 64;
  return !text.empty() && text.size() <= kLongest && text != "." && text != ".." &&
         text.find_first_not_of(
             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") ==
             std::string_view::npos;
}

bool absolute_path(std::string_view text, std::size_t longest) {
  return text.starts_with('/') && text.size() <= longest &&
         text.find('\0') == std::string_view::npos;
}

bool host_name(std::string_view text) {
  constexpr std::size_t kLongest = 253;
  return clean(text, kLongest) && !text.starts_with("unix@");
}

struct Unit {
  char letter;
  u64 ms;
};
constexpr std::array<Unit, 4> kUnits{{{'d', 86400000}, {'h', 3600000}, {'m', 60000}, {'s', 1000}}};

// 0, 30s, 30m, 12h, 7d
bool duration(std::string_view text, u64 most_ms, u64& out) {
  if (text == "0") {
    out = 0;
    return true;
  }
  const auto* unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) {
    return !text.empty() && text.back() == u.letter;
  });
  u64 n = 0;
  if (unit == kUnits.end() || !number(text.substr(0, text.size() - 1), 1, most_ms / unit->ms, n)) {
    return false;
  }
  out = n * unit->ms;
  return true;
}

std::string duration_text(u64 ms) {
  for (const Unit& unit : kUnits) {
    if (ms != 0 && ms % unit.ms == 0) {
      return fmt::format("{}{}", ms / unit.ms, unit.letter);
    }
  }
  return "0";
}

template <typename T>
struct Word {
  std::string_view text;
  T value;
};

constexpr std::array<Word<Mode>, 3> kModes{
    {{"agg", Mode::kAggregate}, {"acc", Mode::kAccumulate}, {"vwr", Mode::kWaitingRoom}}};
constexpr std::array<Word<FullTable>, 2> kFullTable{
    {{"evict", FullTable::kEvict}, {"refuse", FullTable::kRefuse}}};
constexpr std::array<Word<u32>, 3> kControlModes{{{"0600", 0600}, {"0660", 0660}, {"0666", 0666}}};
constexpr std::array<Word<LogLevel>, 5> kLevels{{{"err", LogLevel::kErr},
                                                 {"warning", LogLevel::kWarning},
                                                 {"notice", LogLevel::kNotice},
                                                 {"info", LogLevel::kInfo},
                                                 {"debug", LogLevel::kDebug}}};

template <typename T, std::size_t N>
bool word(const std::array<Word<T>, N>& words, std::string_view text, T& out) {
  const auto found =
      std::find_if(words.begin(), words.end(), [&](const Word<T>& w) { return w.text == text; });
  if (found == words.end()) {
    return false;
  }
  out = found->value;
  return true;
}

template <typename T, std::size_t N>
std::string text_of(const std::array<Word<T>, N>& words, T value) {
  const auto found =
      std::find_if(words.begin(), words.end(), [&](const Word<T>& w) { return w.value == value; });
  return std::string(found == words.end() ? "?" : found->text);
}

constexpr u8 kLocal0 = 16;

bool log_destination(std::string_view text, LogDestination& out) {
  constexpr std::string_view kLocal = "syslog:local";
  if (text == "stderr") {
    out = {};
    return true;
  }
  if (text == "syslog") {
    out = {LogTarget::kSyslog, 3};
    return true;
  }
  u8 local = 0;
  if (!text.starts_with(kLocal) || text.size() != kLocal.size() + 1 ||
      !number(text.substr(kLocal.size()), 0, 7, local)) {
    return false;
  }
  out = {LogTarget::kSyslog, static_cast<u8>(kLocal0 + local)};
  return true;
}

std::string log_destination_text(LogDestination log) {
  if (log.target == LogTarget::kStderr) {
    return "stderr";
  }
  return log.facility >= kLocal0 ? fmt::format("syslog:local{}", log.facility - kLocal0) : "syslog";
}

bool owner(std::string_view text, std::optional<u32>& out) {
  u32 uid = 0;
  if (number(text, 0, std::numeric_limits<u32>::max() - 1, uid)) {
    out = uid;
    return true;
  }
  if (!clean(text, 32)) {
    return false;
  }
  const passwd* user = ::getpwnam(std::string(text).c_str());
  if (user == nullptr) {
    return false;
  }
  out = user->pw_uid;
  return true;
}

// ---- the table ---------------------------------------------------------------------------------

constexpr u8 kD = static_cast<u8>(Loader::kDaemon);
constexpr u8 kW = static_cast<u8>(Loader::kWeb);
constexpr u8 kT = static_cast<u8>(Loader::kTool);

struct Row {
  std::string_view key;  // in the file
  const char* environment;
  std::string_view option;  // long option
  char letter;
  std::string_view argument;
  std::string_view standard;  // shown in the help
  std::string_view allowed;   // completes "allowed: "
  std::string_view help;
  u8 loaders;
  bool is_number;  // how it is shown as JSON
  bool (*set)(Settings&, std::string_view);
  std::string (*show)(const Settings&);  // "" = unset
};

constexpr std::size_t kLongestTableName = 95;  // what the segment keeps of it
constexpr std::string_view kTableName = "the name of a table, 1 to 95 characters without blanks";
constexpr std::string_view kMinutes = "minutes, from a second (0.017) to a day (1440)";
constexpr std::string_view kUsers = "1 to 100000000";

constexpr std::string_view kModeKey = "service_mode";

bool set_users(Settings& s, std::string_view v) {
  s.total_users_given = true;
  return number(v, 1, 100'000'000, s.total_users);
}
constexpr std::string_view kPeerName = "1 to 128 printable characters without blanks";
bool set_peer_name(Settings& s, std::string_view v) {
  s.peer_name = v;
  return clean(v, 128);
}

std::string shown_elsewhere(const Settings&) {
  return {};
}

// The file's keys tcp_host .. service_mode, target_port and vwr_*, and SERVICE_*, are those of the
// original LineQ.
constexpr auto kRows = std::to_array<Row>({
    {"instance", "LINEQ_INSTANCE", "instance", 'n', "NAME", "default",
     "1 to 64 of A-Z a-z 0-9 _ . -", "which LineQ: names the segment and the control socket",
     kD | kW | kT, false,
     [](Settings& s, std::string_view v) {
       s.instance = v;
       return instance_name(v);
     },
     [](const Settings& s) { return s.instance; }},
    {"control", "LINEQ_CONTROL", "control", 0, "PATH", "/run/lineq/INSTANCE.sock",
     "an absolute path of at most 107 bytes",
     "control socket; the owner of its directory owns the segment", kD | kW | kT, false,
     [](Settings& s, std::string_view v) {
       s.control = v;
       s.control_given = true;
       return absolute_path(v, kLongestUnixPath);
     },
     [](const Settings& s) { return s.control; }},
    {"control_mode", "LINEQ_CONTROL_MODE", "control-mode", 0, "MODE", "0660", "0600, 0660 or 0666",
     "who may connect to the control socket; what for, is another question (control_access)", kD,
     false, [](Settings& s, std::string_view v) { return word(kControlModes, v, s.control_mode); },
     [](const Settings& s) { return text_of(kControlModes, s.control_mode); }},
    {"control_group", "LINEQ_CONTROL_GROUP", "control-group", 0, "GROUP",
     "lineq-admin, if there is one", "a group's name or number, 1 to 32 characters",
     "group of the control socket", kD, false,
     [](Settings& s, std::string_view v) {
       s.control_group = v;
       return clean(v, 32);
     },
     [](const Settings& s) { return s.control_group; }},
    {"state_dir", "LINEQ_STATE_DIR", "state-dir", 0, "PATH", "/var/lib/lineq", "an absolute path",
     "where snapshots, rooms made while running and the log of changes are kept", kD, false,
     [](Settings& s, std::string_view v) {
       s.state_dir = v;
       s.state_dir_given = true;
       return absolute_path(v, kLongestPath);
     },
     [](const Settings& s) { return s.state_dir; }},
    {"snapshot_seconds", "LINEQ_SNAPSHOT_SECONDS", "snapshot-seconds", 0, "N", "60", "0 to 86400",
     "write a snapshot of all tables and rooms to state_dir so often, and at a clean stop, for "
     "when "
     "shared memory is empty after a reboot; 0: none is written, and none is loaded",
     kD, true,
     [](Settings& s, std::string_view v) { return number(v, 0, 86400, s.snapshot_seconds); },
     [](const Settings& s) { return std::to_string(s.snapshot_seconds); }},
    {"admin_token_file", "LINEQ_ADMIN_TOKEN_FILE", "admin-token-file", 0, "PATH",
     "/etc/lineq/admin.token", "an absolute path", "token that changes of rooms over HTTP need", kW,
     false,
     [](Settings& s, std::string_view v) {
       s.admin_token_file = v;
       return absolute_path(v, kLongestPath);
     },
     [](const Settings& s) { return s.admin_token_file; }},
    {"tcp_host", "SERVICE_TCP_HOST", "tcp-host", 0, "HOST", "localhost",
     "a host name, an address, or unix@/PATH", "where HAProxys connect", kD | kW, false,
     [](Settings& s, std::string_view v) {
       s.tcp_host = v;
       return host_name(v) || unix_path(v).has_value();
     },
     [](const Settings& s) { return s.tcp_host; }},
    {"tcp_port", "SERVICE_TCP_PORT", "tcp-port", 0, "PORT", "11111", "a port, 1 to 65535",
     "port for HAProxys' peers connections", kD | kW, true,
     [](Settings& s, std::string_view v) { return number(v, 1, 65535, s.tcp_port); },
     [](const Settings& s) { return std::to_string(s.tcp_port); }},
    {"web_host", "SERVICE_WEB_HOST", "web-host", 0, "HOST", "localhost",
     "a host name, an address, or unix@/PATH", "where lineq-web listens", kW, false,
     [](Settings& s, std::string_view v) {
       s.web_host = v;
       return host_name(v) || unix_path(v).has_value();
     },
     [](const Settings& s) { return s.web_host; }},
    {"web_port", "SERVICE_WEB_PORT", "web-port", 0, "PORT", "8060", "a port, 1 to 65535",
     "port of lineq-web", kW, true,
     [](Settings& s, std::string_view v) { return number(v, 1, 65535, s.web_port); },
     [](const Settings& s) { return std::to_string(s.web_port); }},
    {"admin_host", "LINEQ_ADMIN_HOST", "admin-host", 0, "HOST", "with the waiting rooms",
     "a host name, an address, or unix@/PATH",
     "where lineq-web answers status page, tables, metrics and API, and nowhere else", kW, false,
     [](Settings& s, std::string_view v) {
       s.admin_host = v;
       return host_name(v) || unix_path(v).has_value();
     },
     [](const Settings& s) { return s.admin_host; }},
    {"admin_port", "LINEQ_ADMIN_PORT", "admin-port", 0, "PORT", "8061", "a port, 1 to 65535",
     "port of admin_host", kW, true,
     [](Settings& s, std::string_view v) { return number(v, 1, 65535, s.admin_port); },
     [](const Settings& s) { return std::to_string(s.admin_port); }},
    {"web_max_connections", "LINEQ_WEB_MAX_CONNECTIONS", "web-max-connections", 0, "N",
     "what the descriptors allow", "a number of connections; 0 = what the descriptors allow",
     "most clients of lineq-web at a time", kW, true,
     [](Settings& s, std::string_view v) { return number(v, 0, 1000000, s.web_max_connections); },
     [](const Settings& s) { return std::to_string(s.web_max_connections); }},
    {"web_max_per_address", "LINEQ_WEB_MAX_PER_ADDRESS", "web-max-per-address", 0, "N",
     "15/16 of them", "a number of connections; 0 = 15/16 of web_max_connections",
     "most of these from one address", kW, true,
     [](Settings& s, std::string_view v) { return number(v, 0, 1000000, s.web_max_per_address); },
     [](const Settings& s) { return std::to_string(s.web_max_per_address); }},
    {kModeKey, "SERVICE_MODE", "mode", 0, "MODE", "agg", "agg, acc or vwr",
     "what to do with the tables", kD, false,
     [](Settings& s, std::string_view v) { return word(kModes, v, s.mode); },
     [](const Settings& s) { return text_of(kModes, s.mode); }},
    {"target_port", "SERVICE_TARGET_PORT", "target-port", 0, "PORT", "80", "a port, 1 to 65535",
     "mode vwr: port of the site, for the configuration that -c writes", kD, true,
     [](Settings& s, std::string_view v) { return number(v, 1, 65535, s.target_port); },
     [](const Settings& s) { return std::to_string(s.target_port); }},
    {"vwr_room_table", "SERVICE_VWR_ROOM_TABLE", "room-table", 0, "TABLE", "room", kTableName,
     "mode vwr: HAProxy's table of rooms", kD | kW, false,
     [](Settings& s, std::string_view v) {
       s.room_table = v;
       return clean(v, kLongestTableName);
     },
     [](const Settings& s) { return s.room_table; }},
    {"vwr_users_table", "SERVICE_VWR_USERS_TABLE", "users-table", 0, "TABLE",
     "timestamps; with a file that says service_mode vwr: user", kTableName,
     "mode vwr: HAProxy's table of visitors", kD | kW, false,
     [](Settings& s, std::string_view v) {
       s.users_table = v;
       return clean(v, kLongestTableName);
     },
     [](const Settings& s) { return s.users_table; }},
    {"vwr_session_duration", "SERVICE_VWR_SESSION_DURATION", "session-duration", 0, "MINUTES", "1",
     kMinutes, "mode vwr: a visitor may be idle for so long, where a room does not say", kD | kW,
     true, [](Settings& s, std::string_view v) { return minutes(v, s.session_ms); },
     [](const Settings& s) { return minutes_text(s.session_ms); }},
    {"vwr_total_users", "SERVICE_VWR_TOTAL_USERS", "total-users", 0, "N", "1", kUsers,
     "mode vwr: most visitors on the site at a time, where a room does not say", kD, true,
     set_users, [](const Settings& s) { return std::to_string(s.total_users); }},
    // Other names of these two and of peer_name in versions of the original.
    {"service_name", nullptr, "", 0, "", "", kPeerName, "", kD | kW, false, set_peer_name,
     shown_elsewhere},
    {"vwr_inactivity_duration", nullptr, "", 0, "", "", kMinutes, "", kD | kW, true,
     [](Settings& s, std::string_view v) { return minutes(v, s.session_ms); }, shown_elsewhere},
    {"vwr_active_users", "SERVICE_VWR_TOTAL_ACTIVE_USERS", "", 0, "", "", kUsers, "", kD, true,
     set_users, shown_elsewhere},
    {"peer_name", "LINEQ_PEER_NAME", "peer-name", 0, "NAME", "lineq", kPeerName,
     "our name in HAProxy's peers section", kD | kW, false, set_peer_name,
     [](const Settings& s) { return s.peer_name; }},
    {"max_message_bytes", "LINEQ_MAX_MESSAGE_BYTES", "max-message-bytes", 0, "BYTES", "65536",
     "16384 to 16777216", "largest peers message accepted", kD, true,
     [](Settings& s, std::string_view v) {
       return number(v, 16384, 16777216, s.max_message_bytes);
     },
     [](const Settings& s) { return std::to_string(s.max_message_bytes); }},
    {"memory_limit", "LINEQ_MEMORY_LIMIT", "memory-limit", 0, "BYTES", "0",
     "a number of bytes, or with k, m or g; 0 = none", "most memory the segment may take", kD, true,
     [](Settings& s, std::string_view v) { return bytes(v, s.memory_limit_bytes); },
     [](const Settings& s) { return std::to_string(s.memory_limit_bytes); }},
    {"feed_log2", "LINEQ_FEED_LOG2", "feed-log2", 0, "N", "22", "16 to 26",
     "size of the change ring: 2^N records of 8 bytes", kD, true,
     [](Settings& s, std::string_view v) { return number(v, 16, 26, s.feed_log2); },
     [](const Settings& s) { return std::to_string(s.feed_log2); }},
    {"silent_peer_ms", "LINEQ_SILENT_PEER_MS", "silent-peer-ms", 0, "MS", "10000",
     "5000 to 3600000", "close a HAProxy that has been silent for so long", kD, true,
     [](Settings& s, std::string_view v) { return number(v, 5000, 3600000, s.silent_peer_ms); },
     [](const Settings& s) { return std::to_string(s.silent_peer_ms); }},
    {"full_table", "LINEQ_FULL_TABLE", "full-table", 0, "POLICY", "evict", "evict or refuse",
     "a new key in a full table: evict the oldest, or refuse it", kD, false,
     [](Settings& s, std::string_view v) { return word(kFullTable, v, s.full_table); },
     [](const Settings& s) { return text_of(kFullTable, s.full_table); }},
    {"aggregate_interval_ms", "LINEQ_AGGREGATE_INTERVAL_MS", "aggregate-interval-ms", 0, "MS", "50",
     "0 to 60000", "mode acc: send at most one sum per key in so long", kD, true,
     [](Settings& s, std::string_view v) { return number(v, 0, 60000, s.aggregate_interval_ms); },
     [](const Settings& s) { return std::to_string(s.aggregate_interval_ms); }},
    {"ledger_expire", "LINEQ_LEDGER_EXPIRE", "ledger-expire", 0, "TIME", "0",
     "0 (for ever), or a time like 30m, 12h or 7d, at most 24d",
     "mode acc: drop totals that have not grown for so long", kD, false,
     [](Settings& s, std::string_view v) {
       return duration(v, 24 * kUnits[0].ms, s.ledger_expire_ms);
     },
     [](const Settings& s) { return duration_text(s.ledger_expire_ms); }},
    {"shm_owner", "LINEQ_SHM_OWNER", "shm-owner", 0, "USER",
     "owner of the control socket's directory", "a user name or a uid",
     "user whose segment is trusted", kW | kT, true,
     [](Settings& s, std::string_view v) { return owner(v, s.shm_owner); },
     [](const Settings& s) { return s.shm_owner ? std::to_string(*s.shm_owner) : std::string(); }},
    {"log_level", "LINEQ_LOG_LEVEL", "log-level", 0, "LEVEL", "info",
     "err, warning, notice, info or debug", "least important line that is logged", kD | kW, false,
     [](Settings& s, std::string_view v) { return word(kLevels, v, s.log_level); },
     [](const Settings& s) { return text_of(kLevels, s.log_level); }},
    {"log", "LINEQ_LOG", "log", 0, "TARGET", "stderr",
     "stderr, syslog, or syslog:local0 to syslog:local7", "where log lines go", kD | kW, false,
     [](Settings& s, std::string_view v) { return log_destination(v, s.log); },
     [](const Settings& s) { return log_destination_text(s.log); }},
});

constexpr Option kConfigOption{"config", 'f', "FILE", "configuration file", kDefaultSettingsFile};

Error wrong(std::string_view where, std::string_view key, std::string_view value,
            std::string_view allowed) {
  constexpr std::size_t kShown = 100;
  return {ErrorCode::kInvalid, fmt::format("{}: {}: '{}{}' is not allowed; allowed: {}", where, key,
                                           escaped(value.substr(0, kShown)),
                                           value.size() > kShown ? "..." : "", allowed)};
}

// ---- the file ----------------------------------------------------------------------------------

struct SettingsFile {
  std::string path;
  std::string text;

  std::string at(std::size_t offset) const {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size()));
    return fmt::format("{}:{}", path, std::count(text.begin(), end, '\n') + 1);
  }
};

// Takes rapidjson's events: flat values at once, nested ones as a tree of their own. Stops (returns
// false) at the first error.
class FileHandler {
 public:
  FileHandler(Loader loader, const SettingsFile& file, const rapidjson::MemoryStream& stream,
              Settings& settings)
      : loader_(loader), file_(file), stream_(stream), settings_(settings) {}

  const std::optional<Error>& error() const { return error_; }

  // NOLINTBEGIN(readability-identifier-naming): rapidjson calls these by name.
  bool Null() { return value("null"); }
  bool Bool(bool b) { return value(b ? "true" : "false"); }
  bool RawNumber(const char* text, rapidjson::SizeType n, bool) { return value({text, n}); }
  bool String(const char* text, rapidjson::SizeType n, bool) { return value({text, n}); }
  // Numbers come as text; the interface wants these all the same.
  bool Int(int n) { return value(std::to_string(n)); }
  bool Uint(unsigned n) { return value(std::to_string(n)); }
  bool Int64(i64 n) { return value(std::to_string(n)); }
  bool Uint64(u64 n) { return value(std::to_string(n)); }
  bool Double(double n) { return value(std::to_string(n)); }

  bool StartObject() { return open("{...}"); }
  bool StartArray() { return open("[...]"); }
  bool EndObject(rapidjson::SizeType) { return close(); }
  bool EndArray(rapidjson::SizeType) { return close(); }

  bool Key(const char* text, rapidjson::SizeType n, bool) {
    const std::string_view key(text, n);
    if (depth_ != 1) {
      if (in_tree()) {
        member_key_ = key;
      }
      return true;
    }
    row_ = nullptr;
    nested_ = nullptr;
    skip_ = false;
    const auto found = std::find_if(kRows.begin(), kRows.end(), [&](const Row& row) {
      return equal_ignoring_case(row.key, key);
    });
    if (found != kRows.end()) {
      const auto i = static_cast<std::size_t>(found - kRows.begin());
      if (seen_[i]) {
        return fail({ErrorCode::kInvalid, fmt::format("{}: {}: given twice", here(), found->key)});
      }
      seen_[i] = true;
      row_ = &*found;
      // The daemon checks the whole file, the others what concerns them.
      skip_ = loader_ != Loader::kDaemon && (found->loaders & static_cast<u8>(loader_)) == 0 &&
              !(loader_ == Loader::kWeb && found->key == kModeKey);  // names the users table
      return true;
    }
    const std::span<const NestedRow> nested = nested_rows();
    const auto tree = std::find_if(nested.begin(), nested.end(), [&](const NestedRow& row) {
      return equal_ignoring_case(row.key, key);
    });
    if (tree != nested.end()) {
      bool& seen = nested_seen_[static_cast<std::size_t>(tree - nested.begin())];
      if (seen) {
        return fail({ErrorCode::kInvalid, fmt::format("{}: {}: given twice", here(), tree->key)});
      }
      seen = true;
      nested_ = &*tree;
      skip_ = loader_ != Loader::kDaemon && !for_the_web(*tree) &&
              !(loader_ == Loader::kWeb && tree->key == kMetricsTablesKey);
      return true;
    }
    skip_ = true;
    if (loader_ == Loader::kTool) {
      return true;
    }
    std::vector<std::string_view> keys;
    keys.reserve(kRows.size() + nested.size());
    for (const Row& row : kRows) {
      keys.push_back(row.key);
    }
    for (const NestedRow& row : nested) {
      keys.push_back(row.key);
    }
    settings_.warnings.push_back(fmt::format("{}: {}: unknown key, ignored{}", here(),
                                             escaped(key.substr(0, 100)), suggestion(key, keys)));
    return true;
  }

  // NOLINTEND(readability-identifier-naming)

 private:
  std::string here() const { return file_.at(stream_.Tell()); }

  bool fail(Error error) {
    error_ = std::move(error);
    return false;
  }

  bool not_an_object() {
    return fail({ErrorCode::kInvalid,
                 fmt::format("{}: a configuration is one JSON object: {{\"tcp_port\": 11111, ...}}",
                             here())});
  }

  bool value(std::string_view text) {
    if (depth_ == 0) {
      return not_an_object();
    }
    if (in_tree()) {
      add(Node::Kind::kScalar, text);
      return true;
    }
    if (depth_ > 1 || skip_) {
      return true;
    }
    if (nested_ != nullptr) {
      return for_the_web(*nested_) || fail(wrong(here(), nested_->key, text, nested_->allowed));
    }
    if (!row_->set(settings_, text)) {
      return fail(wrong(here(), row_->key, text, row_->allowed));
    }
    return true;
  }

  bool open(std::string_view shown) {
    if (depth_ == 0 && shown.front() != '{') {
      return not_an_object();
    }
    if (in_tree() || (depth_ == 1 && !skip_ && nested_ != nullptr)) {
      if (open_.size() == kDeepestNode && for_the_web(*nested_)) {
        open_.clear();
        skip_ = true;
        ++depth_;
        return true;
      }
      if (open_.size() == kDeepestNode) {
        return fail({ErrorCode::kInvalid, fmt::format("{}: {}: nested deeper than {} levels",
                                                      here(), nested_->key, kDeepestNode)});
      }
      Node& node = add(shown.front() == '{' ? Node::Kind::kObject : Node::Kind::kArray, "");
      open_.push_back(&node);
    } else if (depth_ == 1 && !skip_) {
      return fail(wrong(here(), row_->key, shown, row_->allowed));
    }
    ++depth_;
    return true;
  }

  bool close() {
    --depth_;
    if (!in_tree()) {
      return true;
    }
    open_.pop_back();
    if (!open_.empty()) {
      return true;
    }
    const std::function<std::string(std::size_t)> where = [this](std::size_t offset) {
      return file_.at(offset);
    };
    if (for_the_web(*nested_)) {
      Settings tried;
      if (nested_->read(tree_, where, tried)) {
        settings_.listeners = std::move(tried.listeners);
        settings_.listeners_given = tried.listeners_given;
      }
      return true;
    }
    const Status read = nested_->read(tree_, where, settings_);
    return read ? true : fail(read.error());
  }

  // lineq-web shows where HAProxys connect; whether all of that is right is the daemon's business.
  bool for_the_web(const NestedRow& row) const {
    return loader_ == Loader::kWeb && row.key == kListenersKey;
  }

  bool in_tree() const { return !open_.empty(); }

  // A pointer into open_ stays good: only the innermost open node gets children.
  Node& add(Node::Kind kind, std::string_view text) {
    Node node;
    node.kind = kind;
    node.offset = stream_.Tell();
    node.text = text;
    if (open_.empty()) {
      tree_ = std::move(node);
      return tree_;
    }
    node.key = std::exchange(member_key_, {});
    return open_.back()->children.emplace_back(std::move(node));
  }

  Loader loader_;
  const SettingsFile& file_;
  const rapidjson::MemoryStream& stream_;
  Settings& settings_;
  std::array<bool, kRows.size()> seen_{};
  const Row* row_ = nullptr;
  std::array<bool, 8> nested_seen_{};
  const NestedRow* nested_ = nullptr;
  Node tree_;
  std::vector<Node*> open_;  // from tree_ down to the innermost
  std::string member_key_;
  bool skip_ = false;
  u32 depth_ = 0;
  std::optional<Error> error_;
};

Status parse_file(Loader loader, const SettingsFile& file, Settings& settings) {
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseCommentsFlag |
                              rapidjson::kParseTrailingCommasFlag |
                              rapidjson::kParseNumbersAsStringsFlag |
                              rapidjson::kParseValidateEncodingFlag;
  if (const std::size_t nul = file.text.find('\0'); nul != std::string::npos) {
    // The parser would take it for the end.
    return Error{ErrorCode::kInvalid, fmt::format("{}: a NUL byte; not a text file", file.at(nul))};
  }
  rapidjson::MemoryStream stream(file.text.data(), file.text.size());
  rapidjson::Reader reader;
  FileHandler handler(loader, file, stream, settings);
  const rapidjson::ParseResult result = reader.Parse<kFlags>(stream, handler);
  if (handler.error()) {
    return *handler.error();
  }
  if (result.IsError()) {
    return Error{ErrorCode::kInvalid, fmt::format("{}: not JSON: {}", file.at(result.Offset()),
                                                  rapidjson::GetParseError_En(result.Code()))};
  }
  return {};
}

struct ReadOutcome {
  Status status;
  int error_number = 0;
};

ReadOutcome read_file(SettingsFile& file) {
  const auto refuse = [&](int number) {
    return ReadOutcome{Error{number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kSystem,
                             fmt::format("{}: {}", printable(file.path), std::strerror(number))},
                       number};
  };
  // O_NONBLOCK: a FIFO in this place must not hold up the start.
  const int fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return refuse(errno);
  }
  struct stat info {};
  int failure = ::fstat(fd, &info) != 0 ? errno : 0;
  if (failure == 0 && S_ISDIR(info.st_mode)) {
    failure = EISDIR;
  }
  std::array<char, 65536> chunk{};
  while (failure == 0 && file.text.size() <= kLongestFile) {
    const ssize_t n = ::read(fd, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      failure = n < 0 ? errno : 0;
      break;
    }
    file.text.append(chunk.data(), static_cast<std::size_t>(n));
  }
  ::close(fd);
  if (failure != 0) {
    return refuse(failure);
  }
  if (file.text.size() > kLongestFile) {
    return {Error{ErrorCode::kInvalid,
                  fmt::format("{}: larger than {} bytes", printable(file.path), kLongestFile)},
            EFBIG};
  }
  return {};
}

Status load_file(Loader loader, const std::string& path, bool required, Settings& settings) {
  SettingsFile file{path, {}};
  const ReadOutcome read = read_file(file);
  if (!read.status) {
    const bool skip = !required && (read.error_number == ENOENT || read.error_number == ENOTDIR ||
                                    (loader == Loader::kTool && read.error_number == EACCES));
    return skip ? Status() : read.status;
  }
  return parse_file(loader, file, settings);
}

bool concerns(const Row& row, Loader loader) {
  return (row.loaders & static_cast<u8>(loader)) != 0;
}

}  // namespace

std::vector<Option> setting_options(Loader loader) {
  std::vector<Option> options;
  if (loader != Loader::kTool) {
    options.push_back(kConfigOption);
  }
  for (const Row& row : kRows) {
    if (concerns(row, loader) && !row.option.empty()) {
      options.push_back(
          {row.option, row.letter, row.argument, row.help, row.standard, row.allowed});
    }
  }
  return options;
}

Result<Settings> load_settings(Loader loader, const CommandLine& line,
                               std::string_view default_file) {
  Settings settings;
  const std::optional<std::string_view> given =
      loader == Loader::kTool ? std::nullopt : line.value(kConfigOption.name);
  if (Status s =
          load_file(loader, std::string(given.value_or(default_file)), given.has_value(), settings);
      !s) {
    return s.error();
  }
  const Mode mode_in_file = settings.mode;
  for (const Row& row : kRows) {
    const char* text = row.environment == nullptr ? nullptr : std::getenv(row.environment);
    // An empty variable is the shell's way to say unset.
    if (text != nullptr && *text != '\0' && (loader == Loader::kDaemon || concerns(row, loader)) &&
        !row.set(settings, text)) {
      return wrong("environment", row.environment, text, row.allowed);
    }
  }
  for (const Row& row : kRows) {
    const std::optional<std::string_view> text =
        concerns(row, loader) && !row.option.empty() ? line.value(row.option) : std::nullopt;
    if (text && !row.set(settings, *text)) {
      return wrong("command line", fmt::format("--{}", row.option), *text, row.allowed);
    }
  }
  if (settings.control.empty()) {
    settings.control = fmt::format("/run/lineq/{}.sock", settings.instance);
  }
  if (settings.state_dir.empty()) {
    settings.state_dir = kStateDir;
    if (settings.instance != "default") {
      settings.state_dir += '/' + settings.instance;
    }
  }
  if (settings.users_table.empty()) {
    settings.users_table = mode_in_file == Mode::kWaitingRoom ? "user" : "timestamps";
  }
  complete_nested(settings);
  return settings;
}

std::string settings_json(const Settings& settings) {
  rapidjson::StringBuffer buffer;
  rapidjson::PrettyWriter<rapidjson::StringBuffer> writer(buffer);
  writer.SetIndent(' ', 2);
  writer.StartObject();
  for (const Row& row : kRows) {
    const std::string text = row.show(settings);
    if (text.empty()) {
      continue;
    }
    writer.Key(row.key.data(), static_cast<rapidjson::SizeType>(row.key.size()));
    if (row.is_number) {
      writer.RawValue(text.data(), text.size(), rapidjson::kNumberType);
    } else {
      writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    }
  }
  for (const NestedRow& row : nested_rows()) {
    row.show(settings, writer);
  }
  writer.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

std::vector<std::string_view> changed_settings(Loader loader, const Settings& a,
                                               const Settings& b) {
  std::vector<std::string_view> keys;
  for (const Row& row : kRows) {
    if (concerns(row, loader) && row.show(a) != row.show(b)) {
      keys.push_back(row.key);
    }
  }
  const auto shown = [](const NestedRow& row, const Settings& of) {
    rapidjson::StringBuffer buffer;
    JsonWriter writer(buffer);
    writer.StartObject();
    row.show(of, writer);
    writer.EndObject();
    return std::string(buffer.GetString(), buffer.GetSize());
  };
  for (const NestedRow& row : nested_rows()) {
    if (shown(row, a) != shown(row, b)) {
      keys.push_back(row.key);
    }
  }
  return keys;
}

std::string settings_manual() {
  std::string out;
  const auto sentence = [](std::string text) {
    text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
    return mdoc_escaped(text) + ".\n";
  };
  for (const Row& row : kRows) {
    out += fmt::format(".It Cm {}\n", row.key);
    out += row.help.empty() ? "An old name, still understood.\n" : sentence(std::string(row.help));
    out += sentence(fmt::format("Allowed: {}", row.allowed));
    if (!row.standard.empty()) {
      out += sentence(fmt::format("The default is {}", row.standard));
    }
    if (row.environment != nullptr) {
      out += fmt::format("Environment:\n.Ev {} .\n", row.environment);
    }
    if (!row.option.empty()) {
      out += fmt::format("Option:\n.Fl -{} .\n", row.option);
    }
  }
  for (const NestedRow& row : nested_rows()) {
    out += fmt::format(".It Cm {}\nSee below; {}.\n", row.key, mdoc_escaped(row.allowed));
  }
  return out;
}

std::optional<std::string_view> unix_path(std::string_view host) {
  constexpr std::string_view kPrefix = "unix@";
  if (!host.starts_with(kPrefix)) {
    return std::nullopt;
  }
  host.remove_prefix(kPrefix.size());
  return absolute_path(host, kLongestUnixPath) ? std::optional(host) : std::nullopt;
}

u32 segment_owner(const Settings& settings) {
  if (settings.shm_owner) {
    return *settings.shm_owner;
  }
  const std::size_t slash = settings.control.rfind('/');
  const std::string directory =
      slash == std::string::npos || slash == 0 ? "/" : settings.control.substr(0, slash);
  struct stat info {};
  return ::stat(directory.c_str(), &info) == 0 ? info.st_uid : ::geteuid();
}

LogSetup log_setup_of(const Settings& settings, std::string_view program) {
  LogSetup setup;
  setup.program = program;
  setup.level = settings.log_level;
  setup.target = settings.log.target;
  setup.facility = settings.log.facility;
  return setup;
}

std::string_view mode_name(Mode mode) {
  return kModes[static_cast<std::size_t>(mode)].text;
}

}  // namespace lineq::cli
