#include "tools/lineqctl/words.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include <fmt/format.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tools/cli/log.h"
#include "tools/cli/room_settings.h"
#include "tools/cli/text.h"

namespace lineq::ctl {
namespace {

using control::Command;
using control::CommandKind;
using Words = std::span<const std::string>;

constexpr auto kVerbs = std::to_array<Verb>({
    {"rooms", "", "all rooms with their numbers"},
    {"room", "NAME", "one room: rules and numbers"},
    {"info", "", "which lineqd answers"},
    {"peers", "", "the HAProxys as lineqd sees them now"},
    {"tables", "", "their tables; lineq-dump -t TABLE shows entries"},
    {"set table", "T key K [data.X V]... [expire MS]", "change or make an entry, on all HAProxys"},
    {"clear table", "T [key K | data.X OP V...]", "remove entries: one, those that match, all"},
    {"pause", "NAME", "call nobody; sessions go on"},
    {"resume", "NAME", "call visitors again"},
    {"admit", "NAME [N]", "call the next N (1) at once, up to the limit"},
    {"queue-all", "NAME on|off", "everybody queues, nobody enters"},
    {"suspend", "NAME on|off", "the room does nothing, all pass"},
    {"revoke", "NAME SESSION|--all", "end a session, or all"},
    {"message", "NAME [TEXT]", "text for everybody who waits; none takes it away"},
    {"set", "NAME FIELD=VALUE...", "other rules: C=200 N=60 S=5 queueing_method=random"},
    {"create", "NAME [FIELD=VALUE]...", "a new room"},
    {"remove", "NAME", "send those who wait away and end all sessions"},
    {"log-level", "[LEVEL]", "err, warning, notice, info or debug, until SIGHUP"},
    {"shutdown", "", "end lineqd, as SIGTERM does"},
});

// Words that stand alone.
constexpr auto kAlone =
    std::to_array<std::pair<std::string_view, CommandKind>>({{"rooms", CommandKind::kRooms},
                                                             {"info", CommandKind::kInfo},
                                                             {"peers", CommandKind::kPeers},
                                                             {"tables", CommandKind::kTables},
                                                             {"shutdown", CommandKind::kShutdown}});

Error usage(const Verb& verb) {
  return {ErrorCode::kInvalid,
          fmt::format("{} takes {}: lineqctl {}{}{}", verb.name,
                      verb.operands.empty() ? "nothing else" : verb.operands, verb.name,
                      verb.operands.empty() ? "" : " ", verb.operands)};
}

std::string object(std::span<const std::pair<std::string_view, std::string_view>> fields) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
  json.StartObject();
  for (const auto& [key, value] : fields) {
    json.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
    json.String(value.data(), static_cast<rapidjson::SizeType>(value.size()));
  }
  json.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

Command change(const std::string& name, std::string_view field, std::string_view value) {
  Command command;
  command.kind = CommandKind::kChangeRoom;
  command.name = name;
  const std::pair<std::string_view, std::string_view> fields[] = {{field, value}};
  command.room = object(fields);
  return command;
}

Command named(CommandKind kind, Words words) {
  Command command;
  command.kind = kind;
  command.name = words.empty() ? "" : words[0];
  return command;
}

Result<Command> on_off(const Verb& verb, Words words, std::string_view field) {
  if (words.size() != 2 || (words[1] != "on" && words[1] != "off")) {
    return usage(verb);
  }
  return change(words[0], field, words[1] == "on" ? "true" : "false");
}

// FIELD=VALUE...: looked at here too, so that a mistake is found before anything is sent.
Result<Command> fields(const Verb& verb, CommandKind kind, Words words) {
  if (words.empty() || (kind == CommandKind::kChangeRoom && words.size() < 2)) {
    return usage(verb);
  }
  std::vector<std::pair<std::string_view, std::string_view>> given;
  cli::RoomSettings tried;
  if (kind == CommandKind::kPutRoom) {
    given.emplace_back("name", words[0]);
    if (Status s = cli::set_room_field("name", words[0], tried); !s) {
      return s.error();
    }
  }
  for (const std::string& word : words.subspan(1)) {
    const std::size_t equal = word.find('=');
    if (equal == std::string::npos) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("'{}' is no FIELD=VALUE, as in C=200", cli::escaped(word))};
    }
    const std::string_view field = std::string_view(word).substr(0, equal);
    const std::string_view value = std::string_view(word).substr(equal + 1);
    if (Status s = cli::set_room_field(field, value, tried); !s) {
      return s.error();
    }
    given.emplace_back(field, value);
  }
  Command command = named(kind, words);
  command.room = object(given);
  if (kind == CommandKind::kPutRoom) {
    command.name.clear();
    command.how = control::PutHow::kCreate;
  }
  return command;
}

Result<Command> admit(const Verb& verb, Words words) {
  Command command = named(CommandKind::kAdmit, words);
  command.n = 1;
  if (words.size() == 2) {
    const std::string& text = words[1];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), command.n);
    if (error != std::errc() || end != text.data() + text.size() || command.n == 0) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("'{}' is no number of visitors, 1 or more", cli::escaped(text))};
    }
  }
  return words.empty() || words.size() > 2 ? Result<Command>(usage(verb)) : command;
}

Result<Command> revoke(const Verb& verb, Words words, bool all) {
  Command command = named(CommandKind::kRevoke, words);
  command.all = all;
  if (words.size() != (all ? 1U : 2U)) {
    return usage(verb);
  }
  if (!all) {
    command.session = words[1];
  }
  return command;
}

Result<Command> message(const Verb& verb, Words words) {
  if (words.empty()) {
    return usage(verb);
  }
  std::string text;
  for (const std::string& word : words.subspan(1)) {
    text += text.empty() ? word : " " + word;
  }
  cli::RoomSettings tried;
  if (Status s = cli::set_room_field("message", text, tried); !s) {
    return s.error();
  }
  return change(words[0], "message", text);
}

Error invalid(std::string what) {
  return {ErrorCode::kInvalid, std::move(what)};
}

// A word of the shell as it may stand in JSON: bytes that are no text become \\xHH, which lineqd
// reads as those bytes. What the user has written so himself stays.
std::string as_text(const std::string& word) {
  return cli::printable(word);
}

// `words` from "table" on, as for HAProxy's command line.
Result<Command> set_table(const Verb& verb, Words words) {
  if (words.size() < 4 || words[2] != "key") {
    return words.size() >= 3 && words[2] == "ptr"
               ? invalid("ptr is an address in one HAProxy's memory; name the entry by its key")
               : usage(verb);
  }
  Command command;
  command.kind = CommandKind::kSetEntry;
  command.table = as_text(words[1]);
  command.key = as_text(words[3]);
  for (std::size_t i = 4; i < words.size(); i += 2) {
    const std::string& word = words[i];
    const bool expire = word == "expire";
    if (!expire && !word.starts_with("data.")) {
      return invalid(fmt::format("'{}' is no data.TYPE followed by a value, as in data.gpc0 5",
                                 cli::escaped(word)));
    }
    if (i + 1 == words.size()) {
      return invalid(fmt::format("{}: a value is missing", cli::escaped(word)));
    }
    const std::string& value = words[i + 1];
    if (!expire) {
      command.values.push_back({as_text(word), as_text(value)});
      continue;
    }
    u32 ms = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), ms);
    if (error != std::errc() || end != value.data() + value.size() || ms == 0) {
      return invalid(
          fmt::format("expire: '{}' is no number of milliseconds, 1 or more", cli::escaped(value)));
    }
    command.expire_ms = ms;
  }
  return command;
}

Result<Command> clear_table(const Verb& verb, Words words) {
  if (words.size() < 2 || words[0] != "table") {
    return usage(verb);
  }
  Command command;
  command.kind = CommandKind::kClearTable;
  command.table = as_text(words[1]);
  words = words.subspan(2);
  if (words.empty()) {
    return command;
  }
  if (words[0] == "ptr") {
    return invalid("ptr is an address in one HAProxy's memory; name the entry by its key");
  }
  if (words[0] == "key") {
    if (words.size() != 2) {
      return usage(verb);
    }
    command.key = as_text(words[1]);
    return command;
  }
  // A condition may be one word or three.
  std::string condition;
  std::size_t parts = 0;
  for (const std::string& word : words) {
    condition += (condition.empty() ? "" : " ") + as_text(word);
    parts += word.find(' ') == std::string::npos ? 1U : 3U;
    if (parts >= 3) {
      command.filters.push_back(std::exchange(condition, {}));
      parts = 0;
    }
  }
  if (!condition.empty()) {
    return invalid(
        fmt::format("'{}' is no condition, as in data.gpc0 gt 5, and no key, as in key "
                    "10.0.0.1",
                    cli::escaped(condition)));
  }
  return command;
}

Result<Command> log_level(const Verb& verb, Words words) {
  Command command;
  command.kind = CommandKind::kLogLevel;
  if (words.empty()) {
    return command;
  }
  using cli::LogLevel;
  std::vector<std::string_view> names;
  for (const LogLevel level :
       {LogLevel::kErr, LogLevel::kWarning, LogLevel::kNotice, LogLevel::kInfo, LogLevel::kDebug}) {
    names.push_back(cli::log_level_name(level));
    if (words[0] == names.back()) {
      command.level = level;
    }
  }
  if (words.size() > 1) {
    return usage(verb);
  }
  return command.level
             ? Result<Command>(command)
             : invalid(fmt::format("'{}' is no log level; allowed: {}{}", cli::escaped(words[0]),
                                   fmt::join(names, ", "), cli::suggestion(words[0], names)));
}

// A room may be called `table`: its rules have a '=' where an entry has its table's name.
bool means_entry(Words words) {
  return words.size() > 1 && words[0] == "set" && words[1] == "table" &&
         !(words.size() > 2 && words[2].find('=') != std::string::npos &&
           (words.size() == 3 || words[3] != "key"));
}

const Verb* find_verb(std::string_view name) {
  const auto* found =
      std::find_if(kVerbs.begin(), kVerbs.end(), [&](const Verb& v) { return v.name == name; });
  return found == kVerbs.end() ? nullptr : &*found;
}

Result<Command> plain(const Verb& verb, CommandKind kind, Words words, std::size_t count) {
  return words.size() == count ? Result<Command>(named(kind, words)) : usage(verb);
}

Result<Command> paused(const Verb& verb, Words words) {
  if (words.size() != 1) {
    return usage(verb);
  }
  return change(words[0], "paused", verb.name == "pause" ? "true" : "false");
}

}  // namespace

std::span<const Verb> verbs() {
  return kVerbs;
}

Result<Command> command_of(Words words, bool all) {
  if (!words.empty() && words[0] == "show") {
    words = words.subspan(1);
    if (!words.empty() && words[0] == "table") {
      if (words.size() > 1) {
        return invalid(fmt::format("lineq-dump shows entries: lineq-dump -t {}{}",
                                   fmt::join(words.subspan(1), " "),
                                   words.size() > 2 ? " (a key: -k KEY)" : ""));
      }
      return plain(*find_verb("tables"), CommandKind::kTables, {}, 0);
    }
  }
  if (words.empty()) {
    return Error{
        ErrorCode::kInvalid,
        "a command is missing: show peers, show tables, set table, rooms, pause NAME, ..."};
  }
  if (means_entry(words)) {
    words = words.subspan(1);
    return all ? invalid("--all belongs to revoke, not to set table")
               : set_table(*find_verb("set table"), words);
  }
  if (words[0] == "clear") {
    words = words.subspan(1);
    return all ? invalid("--all belongs to revoke; clear table T without more clears all of it")
               : clear_table(*find_verb("clear table"), words);
  }
  const Verb* verb = find_verb(words[0]);
  if (verb == nullptr) {
    std::vector<std::string_view> names;
    std::transform(kVerbs.begin(), kVerbs.end(), std::back_inserter(names),
                   [](const Verb& v) { return v.name; });
    return Error{ErrorCode::kInvalid, fmt::format("'{}' is no command{}", cli::escaped(words[0]),
                                                  cli::suggestion(words[0], names))};
  }
  const std::string_view name = verb->name;
  words = words.subspan(1);
  if (all && name != "revoke") {
    return Error{ErrorCode::kInvalid, fmt::format("--all belongs to revoke, not to {}", name)};
  }
  const auto alone = std::find_if(kAlone.begin(), kAlone.end(),
                                  [&](const auto& each) { return each.first == name; });
  if (alone != kAlone.end()) {
    return plain(*verb, alone->second, words, 0);
  }
  if (name == "log-level") {
    return log_level(*verb, words);
  }
  if (name == "room" || name == "remove") {
    return plain(*verb, name == "room" ? CommandKind::kRoom : CommandKind::kRemoveRoom, words, 1);
  }
  if (name == "pause" || name == "resume") {
    return paused(*verb, words);
  }
  if (name == "queue-all" || name == "suspend") {
    return on_off(*verb, words, name == "suspend" ? "suspended" : "queue_all");
  }
  if (name == "set" || name == "create") {
    return fields(*verb, name == "set" ? CommandKind::kChangeRoom : CommandKind::kPutRoom, words);
  }
  if (name == "admit") {
    return admit(*verb, words);
  }
  return name == "revoke" ? revoke(*verb, words, all) : message(*verb, words);
}

}  // namespace lineq::ctl
