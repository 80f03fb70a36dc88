// The contract of the control socket (shm-design 16): one JSON object a line, one line back, in
// order. No socket here.
//
//   {"command":"info"}                                     what runs
//   {"command":"rooms"}                                    all rooms
//   {"command":"room","name":"shop"}
//   {"command":"put_room","room":{...},"how":"update"}     a new room, or other rules for one
//   {"command":"change_room","name":"shop","change":{...}} fields of tools/cli/room_settings.h
//   {"command":"remove_room","name":"shop"}
//   {"command":"admit","name":"shop","n":10}               calls the next ones at once
//   {"command":"revoke","name":"shop","session":"..."}     or "all":true
//   {"command":"present","keys":["<session>@shop", ...]}   users keys whose pages are open
//   {"command":"tables"}  {"command":"peers"}              what the daemon itself knows of them
//   {"command":"set_entry","table":"/t","key":"10.0.0.1","values":{"gpc0":5,"gpc[2]":7},
//    "expire_ms":60000}                                    result {"created":true}
//   {"command":"clear_table","table":"/t"}                 all of it, or "key":"10.0.0.1", or
//                                                          "filters":["data.gpc0 gt 5", ...];
//                                                          result {"cleared":12}
//   {"command":"log_level","level":"debug"}                until the next reload; without "level"
//                                                          only asks; result {"level":"debug"}
//   {"command":"shutdown"}                                 as SIGTERM
//
// Keys of entries are text as shown: cli::escaped(shm::key_text). Tables have the name that goes
// over the wire, with or without the '/' before it. Values are whole numbers, also as text, and
// names of servers.
// An answer may come after many turns of the daemon (clear_table); commands that the same client
// sent behind it wait.
//
// Every command may have "by":"...", on whose behalf it is sent: it goes into the log.
// Answers:
//   {"ok":true,"result":...}                               and "warning":"..." where one is due
//   {"ok":false,"code":"invalid|not_found|denied|unsupported|failed","error":"one sentence"}
// A room in an answer: its fields, "configured":true or false, and "numbers":{...}.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"
#include "shm/support/result.h"
#include "tools/cli/log.h"

namespace lineq::control {

inline constexpr std::size_t kLongestLine = std::size_t{64} << 10;  // of a command

enum class CommandKind : u8 {
  kInfo,
  kRooms,
  kRoom,
  kPutRoom,
  kChangeRoom,
  kRemoveRoom,
  kAdmit,
  kRevoke,
  kPresent,
  kTables,
  kPeers,
  kSetEntry,
  kClearTable,
  kLogLevel,
  kShutdown,  // the last one
};

std::string_view command_name(CommandKind kind);
// Changes nothing and tells everything but secrets.
bool only_asks(CommandKind kind);

// What put_room does about a room of that name.
enum class PutHow : u8 {
  kUpdate,    // the fields given change, others stay
  kReplace,   // fields that are not given go back to their defaults
  kCreate,    // an error if it is there
  kCapacity,  // of one that is there only total_active_users changes (the operator's /create)
};

struct EntryValue {
  std::string name;   // of a column: "gpc0", "gpc[2]"
  std::string value;  // a number in digits, or a server's name
  friend bool operator==(const EntryValue&, const EntryValue&) = default;
};

struct Command {
  CommandKind kind = CommandKind::kInfo;
  std::string by;
  std::string name;  // of the room
  std::string room;  // put_room, change_room: a JSON object
  PutHow how = PutHow::kUpdate;
  u32 n = 0;                      // admit
  std::string session;            // revoke
  bool all = false;               // revoke
  std::vector<std::string> keys;  // present
  std::string table;              // set_entry, clear_table
  // ... its key as shown; clear_table: not set = all that the filters leave
  std::optional<std::string> key;
  std::vector<EntryValue> values;      // set_entry
  std::optional<u32> expire_ms;        // set_entry; not set: what the table says
  std::vector<std::string> filters;    // clear_table
  std::optional<cli::LogLevel> level;  // log_level; not set: which one is in force
};

// An Error is one sentence for the sender.
Result<Command> parse_command(std::string_view line);
// Without an end of line.
std::string command_json(const Command& command);

enum class AnswerCode : u8 { kFine, kInvalid, kNotFound, kDenied, kUnsupported, kFailed };

struct Answer {
  AnswerCode code = AnswerCode::kFine;
  std::string error;    // if not kFine
  std::string result;   // JSON; empty = null
  std::string warning;  // done, but
};

Result<Answer> parse_answer(std::string_view line);
std::string answer_json(const Answer& answer);

// JSON (or what claims to be) in which something lies deeper than commands, answers and rooms go:
// whoever writes a parsed value out again recurses.
bool nested_too_deeply(std::string_view text);

}  // namespace lineq::control
