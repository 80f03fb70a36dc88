#include "daemon/control/command.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tools/cli/text.h"

namespace lineq::control {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;
using Value = rapidjson::Value;

template <typename T>
struct Word {
  std::string_view text;
  T value;
};

constexpr auto kCommands =
    std::to_array<Word<CommandKind>>({{"info", CommandKind::kInfo},
                                      {"rooms", CommandKind::kRooms},
                                      {"room", CommandKind::kRoom},
                                      {"put_room", CommandKind::kPutRoom},
                                      {"change_room", CommandKind::kChangeRoom},
                                      {"remove_room", CommandKind::kRemoveRoom},
                                      {"admit", CommandKind::kAdmit},
                                      {"revoke", CommandKind::kRevoke},
                                      {"present", CommandKind::kPresent},
                                      {"tables", CommandKind::kTables},
                                      {"peers", CommandKind::kPeers},
                                      {"set_entry", CommandKind::kSetEntry},
                                      {"clear_table", CommandKind::kClearTable},
                                      {"log_level", CommandKind::kLogLevel},
                                      {"shutdown", CommandKind::kShutdown}});
constexpr auto kHows = std::to_array<Word<PutHow>>({{"update", PutHow::kUpdate},
                                                    {"replace", PutHow::kReplace},
                                                    {"create", PutHow::kCreate},
                                                    {"capacity", PutHow::kCapacity}});
constexpr auto kLevels = std::to_array<Word<cli::LogLevel>>({{"err", cli::LogLevel::kErr},
                                                             {"warning", cli::LogLevel::kWarning},
                                                             {"notice", cli::LogLevel::kNotice},
                                                             {"info", cli::LogLevel::kInfo},
                                                             {"debug", cli::LogLevel::kDebug}});
constexpr auto kCodes = std::to_array<Word<AnswerCode>>({{"invalid", AnswerCode::kInvalid},
                                                         {"not_found", AnswerCode::kNotFound},
                                                         {"denied", AnswerCode::kDenied},
                                                         {"unsupported", AnswerCode::kUnsupported},
                                                         {"failed", AnswerCode::kFailed}});

template <typename T, std::size_t N>
const Word<T>* find(const std::array<Word<T>, N>& words, std::string_view text) {
  const auto found =
      std::find_if(words.begin(), words.end(), [&](const Word<T>& w) { return w.text == text; });
  return found == words.end() ? nullptr : &*found;
}
template <typename T, std::size_t N>
std::string_view text_of(const std::array<Word<T>, N>& words, T value) {
  const auto found =
      std::find_if(words.begin(), words.end(), [&](const Word<T>& w) { return w.value == value; });
  return found == words.end() ? "" : found->text;
}

std::string_view text_of(const Value& value) {
  return {value.GetString(), value.GetStringLength()};
}

const Value* member(const Value& object, std::string_view name) {
  for (rapidjson::SizeType i = 0; i < object.MemberCount(); ++i) {
    const auto& m = object.MemberBegin()[i];
    if (text_of(m.name) == name) {
      return &m.value;
    }
  }
  return nullptr;
}

std::string json_of(const Value& value) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

Error invalid(std::string what) {
  return {ErrorCode::kInvalid, std::move(what)};
}

constexpr unsigned kFlags = rapidjson::kParseIterativeFlag;

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = cli::decode_utf8(text, at).length;
    if (length == 0) {
      return false;
    }
    at += length;
  }
  return true;
}

Status parse(std::string_view line, rapidjson::Document& document) {
  if (nested_too_deeply(line)) {
    return invalid("nested too deeply");
  }
  document.Parse<kFlags>(line.data(), line.size());
  if (document.HasParseError()) {
    return invalid(fmt::format("not JSON at byte {}: {}", document.GetErrorOffset() + 1,
                               rapidjson::GetParseError_En(document.GetParseError())));
  }
  return document.IsObject()
             ? Status()
             : Status(invalid(R"(a command is one JSON object: {"command":"info"})"));
}

// The members of one command, each taken once.
class Members {
 public:
  explicit Members(const Value& object) : object_(object) { taken_.emplace_back("command"); }

  const std::optional<Error>& error() const { return error_; }

  void text(std::string_view name, std::string& out, bool needed, std::size_t longest) {
    const Value* value = take(name, needed);
    if (value == nullptr) {
      return;
    }
    if (!value->IsString() || value->GetStringLength() > longest ||
        (needed && value->GetStringLength() == 0)) {
      return refuse(name, fmt::format("a string of {} to {} bytes", needed ? 1 : 0, longest));
    }
    out = text_of(*value);
  }
  void object(std::string_view name, std::string& out) {
    const Value* value = take(name, true);
    if (value != nullptr && !value->IsObject()) {
      return refuse(name, "an object with fields of a room");
    }
    if (value != nullptr) {
      out = json_of(*value);
    }
  }
  void number(std::string_view name, u32& out) {
    const Value* value = take(name, true);
    if (value != nullptr && (!value->IsUint() || value->GetUint() == 0)) {
      return refuse(name, "a number from 1 to 4294967295");
    }
    if (value != nullptr) {
      out = value->GetUint();
    }
  }
  void flag(std::string_view name, bool& out) {
    const Value* value = take(name, false);
    if (value != nullptr && !value->IsBool()) {
      return refuse(name, "true or false");
    }
    if (value != nullptr) {
      out = value->GetBool();
    }
  }
  void maybe_text(std::string_view name, std::optional<std::string>& out, std::size_t longest) {
    if (member(object_, name) != nullptr) {
      text(name, out.emplace(), true, longest);
    } else {
      taken_.push_back(name);
    }
  }
  void maybe_number(std::string_view name, std::optional<u32>& out) {
    if (member(object_, name) != nullptr) {
      number(name, out.emplace());
    } else {
      taken_.push_back(name);
    }
  }
  void values(std::string_view name, std::vector<EntryValue>& out) {
    const Value* value = take(name, true);
    if (value == nullptr) {
      return;
    }
    if (!value->IsObject()) {
      return refuse(name, R"(an object as {"gpc0":5})");
    }
    out.reserve(value->MemberCount());
    for (rapidjson::SizeType i = 0; i < value->MemberCount(); ++i) {
      const auto& m = value->MemberBegin()[i];
      const bool whole = m.value.IsUint64() || m.value.IsInt64();
      if (!whole && !m.value.IsString()) {
        return refuse(fmt::format("{}.{}", name, cli::escaped(text_of(m.name).substr(0, 100))),
                      "a whole number or a server's name");
      }
      out.push_back(
          {std::string(text_of(m.name)), whole ? json_of(m.value) : std::string(text_of(m.value))});
    }
  }
  void level(std::string_view name, std::optional<cli::LogLevel>& out) {
    const Value* value = take(name, false);
    if (value == nullptr) {
      return;
    }
    const Word<cli::LogLevel>* word = value->IsString() ? find(kLevels, text_of(*value)) : nullptr;
    if (word == nullptr) {
      return refuse(name, "err, warning, notice, info or debug");
    }
    out = word->value;
  }
  void texts(std::string_view name, std::vector<std::string>& out, bool needed = true) {
    const Value* value = take(name, needed);
    if (value == nullptr) {
      return;
    }
    const bool list = value->IsArray() && std::all_of(value->Begin(), value->End(),
                                                      [](const Value& v) { return v.IsString(); });
    if (!list) {
      return refuse(name, "a list of strings");
    }
    out.reserve(value->Size());
    for (const Value& v : value->GetArray()) {
      out.emplace_back(text_of(v));
    }
  }
  void how(std::string_view name, PutHow& out) {
    const Value* value = take(name, false);
    if (value == nullptr) {
      return;
    }
    const Word<PutHow>* word = value->IsString() ? find(kHows, text_of(*value)) : nullptr;
    if (word == nullptr) {
      return refuse(name, "update, replace, create or capacity");
    }
    out = word->value;
  }

  void nothing_else(std::string_view command) {
    for (rapidjson::SizeType i = 0; i < object_.MemberCount() && !error_; ++i) {
      const std::string_view key = text_of(object_.MemberBegin()[i].name);
      if (std::find(taken_.begin(), taken_.end(), key) == taken_.end()) {
        error_ =
            invalid(fmt::format("{}: {} takes no such member{}", cli::escaped(key.substr(0, 100)),
                                command, cli::suggestion(key, taken_)));
      }
    }
  }

 private:
  const Value* take(std::string_view name, bool needed) {
    taken_.push_back(name);
    if (error_) {
      return nullptr;
    }
    const Value* value = member(object_, name);
    if (value == nullptr && needed) {
      error_ = invalid(fmt::format("{}: is missing", name));
    }
    return value;
  }
  void refuse(std::string_view name, std::string_view allowed) {
    error_ = invalid(fmt::format("{}: allowed: {}", name, allowed));
  }

  const Value& object_;
  std::vector<std::string_view> taken_;
  std::optional<Error> error_;
};

void put(Writer& json, std::string_view key, std::string_view text) {
  json.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}
void put_raw(Writer& json, std::string_view key, std::string_view text) {
  json.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  json.RawValue(text.data(), text.size(), rapidjson::kObjectType);
}

constexpr std::size_t kLongestName = 255;  // longer than any room's; the engine decides
constexpr std::size_t kLongestSession = 4096;
constexpr std::size_t kLongestBy = 200;
constexpr std::size_t kLongestKey = std::size_t{4} * 4096;  // a row's bytes, all of them escaped

// As a number where it is one, so that what is read again is the same.
void put_value(Writer& json, const EntryValue& value) {
  json.Key(value.name.data(), static_cast<rapidjson::SizeType>(value.name.size()));
  const std::string& text = value.value;
  const char* const end = text.data() + text.size();
  u64 natural = 0;
  i64 negative = 0;
  if (std::from_chars(text.data(), end, natural).ptr == end && std::to_string(natural) == text) {
    json.Uint64(natural);
  } else if (std::from_chars(text.data(), end, negative).ptr == end &&
             std::to_string(negative) == text) {
    json.Int64(negative);
  } else {
    json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  }
}

void put_entry(Writer& json, const Command& command) {
  put(json, "table", command.table);
  if (command.key) {
    put(json, "key", *command.key);
  }
  if (command.kind == CommandKind::kSetEntry) {
    json.Key("values");
    json.StartObject();
    for (const EntryValue& value : command.values) {
      put_value(json, value);
    }
    json.EndObject();
  }
  if (command.expire_ms) {
    json.Key("expire_ms");
    json.Uint(*command.expire_ms);
  }
  if (!command.filters.empty()) {
    json.Key("filters");
    json.StartArray();
    for (const std::string& filter : command.filters) {
      json.String(filter.data(), static_cast<rapidjson::SizeType>(filter.size()));
    }
    json.EndArray();
  }
}

}  // namespace

bool nested_too_deeply(std::string_view text) {
  constexpr int kDeepest = 16;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      i += c == '\\' ? 1U : 0U;
      quoted = c != '"';
      continue;
    }
    quoted = c == '"';
    depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
    if (depth > kDeepest) {
      return true;
    }
  }
  return false;
}

std::string_view command_name(CommandKind kind) {
  return text_of(kCommands, kind);
}

bool only_asks(CommandKind kind) {
  return kind == CommandKind::kInfo || kind == CommandKind::kRooms || kind == CommandKind::kRoom ||
         kind == CommandKind::kTables || kind == CommandKind::kPeers;
}

Result<Command> parse_command(std::string_view line) {
  rapidjson::Document document;
  if (Status s = parse(line, document); !s) {
    return s.error();
  }
  const Value* name = member(document, "command");
  if (name == nullptr || !name->IsString()) {
    return invalid(R"(command: is missing; a command names itself, {"command":"info"})");
  }
  const Word<CommandKind>* word = find(kCommands, text_of(*name));
  if (word == nullptr) {
    std::vector<std::string_view> names;
    std::transform(kCommands.begin(), kCommands.end(), std::back_inserter(names),
                   [](const auto& w) { return w.text; });
    return invalid(fmt::format("command: '{}' is none; allowed: {}{}",
                               cli::escaped(text_of(*name).substr(0, 100)), fmt::join(names, ", "),
                               cli::suggestion(text_of(*name), names)));
  }
  // Keys are whatever strangers put into cookies: one of them must not spoil those beside it.
  if (word->value != CommandKind::kPresent && !is_utf8(line)) {
    return invalid("not UTF-8");
  }
  Command command;
  command.kind = word->value;
  Members members(document);
  members.text("by", command.by, false, kLongestBy);
  switch (command.kind) {
    case CommandKind::kInfo:
    case CommandKind::kRooms:
    case CommandKind::kTables:
    case CommandKind::kPeers:
    case CommandKind::kShutdown:
      break;
    case CommandKind::kRoom:
    case CommandKind::kRemoveRoom:
      members.text("name", command.name, true, kLongestName);
      break;
    case CommandKind::kPutRoom:
      members.object("room", command.room);
      members.how("how", command.how);
      break;
    case CommandKind::kChangeRoom:
      members.text("name", command.name, true, kLongestName);
      members.object("change", command.room);
      break;
    case CommandKind::kAdmit:
      members.text("name", command.name, true, kLongestName);
      members.number("n", command.n);
      break;
    case CommandKind::kRevoke:
      members.text("name", command.name, true, kLongestName);
      members.flag("all", command.all);
      members.text("session", command.session, !command.all, kLongestSession);
      break;
    case CommandKind::kPresent:
      members.texts("keys", command.keys);
      break;
    case CommandKind::kSetEntry:
      members.text("table", command.table, true, kLongestName);
      members.text("key", command.key.emplace(), true, kLongestKey);
      members.values("values", command.values);
      members.maybe_number("expire_ms", command.expire_ms);
      break;
    case CommandKind::kClearTable:
      members.text("table", command.table, true, kLongestName);
      members.maybe_text("key", command.key, kLongestKey);
      members.texts("filters", command.filters, false);
      break;
    case CommandKind::kLogLevel:
      members.level("level", command.level);
      break;
  }
  members.nothing_else(word->text);
  if (members.error()) {
    return *members.error();
  }
  if (command.all && !command.session.empty()) {
    return invalid("session: not together with all");
  }
  if (command.key && !command.filters.empty()) {
    return invalid("filters: not together with key");
  }
  return command;
}

std::string command_json(const Command& command) {
  rapidjson::StringBuffer buffer;
  Writer json(buffer);
  json.StartObject();
  put(json, "command", command_name(command.kind));
  if (!command.name.empty()) {
    put(json, "name", command.name);
  }
  if (command.kind == CommandKind::kPutRoom) {
    put_raw(json, "room", command.room);
    put(json, "how", text_of(kHows, command.how));
  } else if (command.kind == CommandKind::kChangeRoom) {
    put_raw(json, "change", command.room);
  } else if (command.kind == CommandKind::kAdmit) {
    json.Key("n");
    json.Uint(command.n);
  } else if (command.kind == CommandKind::kRevoke && command.all) {
    json.Key("all");
    json.Bool(true);
  } else if (command.kind == CommandKind::kRevoke) {
    put(json, "session", command.session);
  } else if (command.kind == CommandKind::kPresent) {
    json.Key("keys");
    json.StartArray();
    for (const std::string& key : command.keys) {
      json.String(key.data(), static_cast<rapidjson::SizeType>(key.size()));
    }
    json.EndArray();
  } else if (command.kind == CommandKind::kSetEntry || command.kind == CommandKind::kClearTable) {
    put_entry(json, command);
  } else if (command.level) {
    put(json, "level", text_of(kLevels, *command.level));
  }
  if (!command.by.empty()) {
    put(json, "by", command.by);
  }
  json.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string answer_json(const Answer& answer) {
  rapidjson::StringBuffer buffer;
  Writer json(buffer);
  json.StartObject();
  json.Key("ok");
  json.Bool(answer.code == AnswerCode::kFine);
  if (answer.code == AnswerCode::kFine) {
    put_raw(json, "result", answer.result.empty() ? "null" : answer.result);
    if (!answer.warning.empty()) {
      put(json, "warning", answer.warning);
    }
  } else {
    put(json, "code", text_of(kCodes, answer.code));
    put(json, "error", answer.error);
  }
  json.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

Result<Answer> parse_answer(std::string_view line) {
  constexpr std::string_view kWhat = "lineqd's answer cannot be read";
  rapidjson::Document document;
  if (!is_utf8(line)) {  // its result goes into pages as it is
    return Error{ErrorCode::kDamaged, fmt::format("{}: it is not UTF-8", kWhat)};
  }
  if (Status s = parse(line, document); !s) {
    return Error{ErrorCode::kDamaged, fmt::format("{}: {}", kWhat, s.error().what)};
  }
  Answer answer;
  const auto text = [&](std::string_view name, std::string& out) {
    if (const Value* value = member(document, name); value != nullptr && value->IsString()) {
      out = text_of(*value);
    }
  };
  const Value* ok = member(document, "ok");
  if (ok == nullptr || !ok->IsBool()) {
    return Error{ErrorCode::kDamaged, fmt::format("{}: it has no 'ok'", kWhat)};
  }
  if (ok->GetBool()) {
    const Value* result = member(document, "result");
    answer.result = result == nullptr ? "null" : json_of(*result);
    text("warning", answer.warning);
    return answer;
  }
  std::string code;
  text("code", code);
  text("error", answer.error);
  const Word<AnswerCode>* word = find(kCodes, code);
  answer.code = word == nullptr ? AnswerCode::kFailed : word->value;
  return answer;
}

}  // namespace lineq::control
