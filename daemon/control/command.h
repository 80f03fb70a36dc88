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
//
// Every command may have "by":"...", on whose behalf it is sent: it goes into the log.
// Answers:
//   {"ok":true,"result":...}                               and "warning":"..." where one is due
//   {"ok":false,"code":"invalid|not_found|denied|unsupported|failed","error":"one sentence"}
// A room in an answer: its fields, "configured":true or false, and "numbers":{...}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"
#include "shm/support/result.h"

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
