#include "daemon/control/handler.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>

#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tools/cli/log.h"
#include "tools/cli/text.h"

namespace lineq::control {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

Answer fine(std::string result) {
  return {AnswerCode::kFine, {}, std::move(result), {}};
}
Answer no(AnswerCode code, std::string why) {
  return {code, std::move(why), {}, {}};
}
Answer no(const Error& error) {
  return no(error.code == ErrorCode::kInvalid    ? AnswerCode::kInvalid
            : error.code == ErrorCode::kNotFound ? AnswerCode::kNotFound
                                                 : AnswerCode::kFailed,
            error.what);
}

std::string quoted(std::string_view text) {
  rapidjson::StringBuffer buffer;
  Writer json(buffer);
  json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  return {buffer.GetString(), buffer.GetSize()};
}

std::string json_of(const rapidjson::Value& value) {
  rapidjson::StringBuffer buffer;
  Writer json(buffer);
  value.Accept(json);
  return {buffer.GetString(), buffer.GetSize()};
}

// What differs between two rooms: two JSON objects with the fields concerned, and the same for a
// person. Fields of a room are always in the same order.
struct Difference {
  std::string before;
  std::string after;
  std::string told;
  bool none() const { return told.empty(); }
};

Difference difference(const cli::RoomSettings& before, const cli::RoomSettings& after) {
  constexpr std::size_t kTold = 80;
  rapidjson::Document a;
  rapidjson::Document b;
  a.Parse(cli::room_json(before).c_str());
  b.Parse(cli::room_json(after).c_str());
  Difference found{"{", "{", ""};
  for (rapidjson::SizeType i = 0; i < a.MemberCount(); ++i) {
    const auto& was = a.MemberBegin()[i];
    const auto& is = b.MemberBegin()[i];
    if (was.value == is.value) {
      continue;
    }
    const std::string_view key(was.name.GetString(), was.name.GetStringLength());
    const std::string old_text = json_of(was.value);
    const std::string new_text = json_of(is.value);
    const std::string_view comma = found.none() ? "" : ",";
    found.before += fmt::format("{}\"{}\":{}", comma, key, old_text);
    found.after += fmt::format("{}\"{}\":{}", comma, key, new_text);
    found.told += fmt::format("{}{} {} -> {}", found.none() ? "" : ", ", key,
                              old_text.substr(0, kTold), new_text.substr(0, kTold));
  }
  found.before += '}';
  found.after += '}';
  return found;
}

const cli::RoomSettings* find_in(const std::vector<cli::RoomSettings>& rooms,
                                 std::string_view name) {
  const auto found = std::find_if(rooms.begin(), rooms.end(),
                                  [&](const cli::RoomSettings& r) { return r.name == name; });
  return found == rooms.end() ? nullptr : &*found;
}

// "olga (uid 1000) for web"
std::string who(const Caller& caller, std::string_view by) {
  return fmt::format("{} (uid {}){}{}", caller.user, caller.uid, by.empty() ? "" : " for ",
                     cli::printable(by));
}

std::string_view level_in_force() {
  using cli::LogLevel;
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kNotice, LogLevel::kWarning}) {
    if (cli::log_enabled(level)) {
      return cli::log_level_name(level);
    }
  }
  return cli::log_level_name(LogLevel::kErr);
}

// "2026-11-22T18:40:00.123Z"
std::string time_text(u64 realtime_ms) {
  const auto seconds = static_cast<std::time_t>(realtime_ms / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     realtime_ms % 1000);
}

}  // namespace

Handler::Handler(HandlerOptions options, Policy policy, engine::RoomControl* rooms)
    : options_(std::move(options)), policy_(std::move(policy)), rooms_(rooms) {}

// ---- rooms of the configuration ----------------------------------------------------------------

void Handler::start(std::vector<KeptRoom> kept, const std::vector<cli::RoomSettings>& configured,
                    bool implied, SegmentMs now) {
  if (rooms_ == nullptr) {
    return;
  }
  take_over(std::move(kept), configured, implied, now);
}

std::size_t Handler::reload(const std::vector<cli::RoomSettings>& configured, bool implied,
                            SegmentMs now) {
  if (rooms_ == nullptr) {
    return 0;
  }
  std::vector<KeptRoom> known;
  for (const cli::RoomSettings& room : rooms_->rooms()) {
    KeptRoom& kept = known.emplace_back(KeptRoom{room, {}});
    if (const cli::RoomSettings* said = find_in(configured_, room.name); said != nullptr) {
      kept.configured = *said;
    }
  }
  return take_over(std::move(known), configured, implied, now);
}

std::size_t Handler::take_over(std::vector<KeptRoom> kept,
                               const std::vector<cli::RoomSettings>& configured, bool implied,
                               SegmentMs now) {
  const std::vector<cli::RoomSettings> before = configured_;
  configured_ = configured;
  implied_.clear();
  for (const cli::RoomSettings& room : rooms_->rooms()) {
    const auto same = [&](const KeptRoom& k) { return k.room.name == room.name; };
    const auto found = std::find_if(kept.begin(), kept.end(), same);
    if (found == kept.end()) {
      kept.push_back({room, {}});
    } else {
      // The engine's is what was in force; the file adds what a segment has no place for.
      static_cast<shm::RoomSettings&>(found->room) = static_cast<const shm::RoomSettings&>(room);
    }
  }
  for (const cli::RoomSettings& said : configured) {
    const auto same = [&](const KeptRoom& k) { return k.room.name == said.name; };
    const auto found = std::find_if(kept.begin(), kept.end(), same);
    if (found == kept.end()) {
      if (!implied || kept.empty()) {
        kept.push_back({said, said});
      } else {
        configured_.clear();
      }
      continue;
    }
    if (!found->configured) {
      found->room = said;
    } else if (const Difference news = difference(*found->configured, said); !news.none()) {
      // What was valid in the configuration is valid here.
      if (const Status s = cli::read_room(news.after, found->room); !s) {
        cli::log_warning("room {}: {}", said.name, s.error().what);
      }
    }
  }
  std::size_t changed = 0;
  for (KeptRoom& each : kept) {
    cli::RoomSettings& room = each.room;
    if (const Status s = keep_page(room); !s) {
      cli::log_warning("room {}: {}; it gets the standard page", room.name, s.error().what);
      room.page_html.clear();
      room.template_path.clear();
    }
    const cli::RoomSettings* there = rooms_->find(room.name);
    if (there != nullptr && *there == room) {
      continue;
    }
    ++changed;
    const std::string told = there == nullptr ? fmt::format("at most {} inside", room.capacity)
                                              : difference(*there, room).told;
    if (const Status s = rooms_->put(room, now); !s) {
      cli::log_err("room {}: {}", room.name, s.error().what);
    } else if (!told.empty()) {
      cli::log_notice("room {}: {}, {}", room.name, told,
                      is_configured(room.name) ? "by the configuration" : "as it was kept");
    }
  }
  if (implied && configured_.size() == 1) {
    implied_ = configured_.front().name;
    drop_implied(now);
  }
  for (const cli::RoomSettings& gone : before) {
    if (find_in(configured_, gone.name) == nullptr && rooms_->find(gone.name) != nullptr) {
      cli::log_notice("room {} is no longer in the configuration and stays until it is removed",
                      gone.name);
    }
  }
  if (const std::string trouble = save(); !trouble.empty()) {
    cli::log_warning("rooms are not kept: {}", trouble);
  }
  return changed;
}

// A room that nobody asked for, made because there was none, is in the way as soon as there is one:
// users keys that name no room belong to the only room.
void Handler::drop_implied(SegmentMs now) {
  if (implied_.empty() || rooms_->rooms().size() < 2) {
    return;
  }
  const shm::RoomNumbers numbers = rooms_->numbers(implied_);
  if (numbers.active + numbers.ready + numbers.waiting + numbers.front != 0 ||
      numbers.counter(shm::RoomCounter::issued) != 0) {
    return;
  }
  if (rooms_->remove(implied_, now)) {
    cli::log_info("room {} gives way to others, as it was never used", implied_);
    std::erase_if(configured_, [&](const cli::RoomSettings& r) { return r.name == implied_; });
    implied_.clear();
  }
}

Status Handler::keep_page(cli::RoomSettings& room) const {
  if (room.page_html.empty()) {
    return {};
  }
  if (!options_.state) {
    return Error{ErrorCode::kSystem,
                 "custom_page_html: there is no state directory to keep a page in; give the path "
                 "of a file"};
  }
  Result<std::string> path = options_.state->save_page(room.name, room.page_html);
  if (!path) {
    return path.error();
  }
  room.template_path = path.take();
  room.page_html.clear();
  return {};
}

bool Handler::is_configured(std::string_view name) const {
  return find_in(configured_, name) != nullptr;
}

std::string Handler::save() const {
  if (!options_.state) {
    return {};
  }
  std::vector<KeptRoom> kept;
  for (const cli::RoomSettings& room : rooms_->rooms()) {
    KeptRoom& each = kept.emplace_back(KeptRoom{room, {}});
    if (const cli::RoomSettings* said = find_in(configured_, room.name); said != nullptr) {
      each.configured = *said;
    }
  }
  const Status saved = options_.state->save_rooms(kept);
  return saved ? "" : saved.error().what;
}

// ---- commands ----------------------------------------------------------------------------------

void Handler::answer(std::string_view line, const Caller& caller, SegmentMs now,
                     const Reply& reply) {
  const Result<Command> command = parse_command(line);
  if (!command) {
    return reply(answer_json(no(command.error())));
  }
  if (!policy_.allows(caller, command->kind)) {
    if (const auto hidden = refusals_.admit(caller.user, now)) {
      const std::string more = *hidden == 0 ? "" : fmt::format(" ({} more before)", *hidden);
      cli::log_warning("control: {} (uid {}) may not {}{}", caller.user, caller.uid,
                       command_name(command->kind), more);
    }
    return reply(answer_json(no(
        AnswerCode::kDenied,
        fmt::format("{} (uid {}) may not do that: {} takes root, group lineq-admin{} or an entry "
                    "of control_access",
                    cli::printable(caller.user), caller.uid, command_name(command->kind),
                    only_asks(command->kind) ? ", group lineq" : ""))));
  }
  switch (command->kind) {
    case CommandKind::kTables:
    case CommandKind::kPeers:
    case CommandKind::kSetEntry:
    case CommandKind::kClearTable:
      return run_entries(*command, caller, now, reply);
    case CommandKind::kShutdown:
      if (!options_.stop) {
        return reply(answer_json(no(AnswerCode::kUnsupported, "nothing runs that could stop")));
      }
      cli::log_notice("shutdown, by {}", who(caller, command->by));
      reply(answer_json(fine({})));
      return options_.stop();
    default:
      return reply(answer_json(run(*command, caller, now)));
  }
}

// Keys may be secrets: the log has numbers.
void Handler::run_entries(const Command& command, const Caller& caller, SegmentMs now,
                          const Reply& reply) const {
  if (!options_.entries) {
    return reply(answer_json(no(AnswerCode::kUnsupported, "there are no tables here")));
  }
  options_.entries(
      command, now, [command, reply, by = who(caller, command.by)](const Answer& answer) {
        if (!only_asks(command.kind) && answer.code == AnswerCode::kFine) {
          cli::log_notice(
              "table {}: {}{} {}, by {}", cli::printable(command.table), command_name(command.kind),
              command.key               ? " of one key"
              : command.filters.empty() ? ""
                                        : fmt::format(" with {} filters", command.filters.size()),
              answer.result, by);
        }
        reply(answer_json(answer));
      });
}

Answer Handler::run(const Command& command, const Caller& caller, SegmentMs now) {
  if (command.kind == CommandKind::kInfo) {
    return info();
  }
  if (command.kind == CommandKind::kLogLevel) {
    return log_level(command, caller);
  }
  if (rooms_ == nullptr) {
    return no(AnswerCode::kUnsupported,
              fmt::format("this lineqd runs in mode {}, which has no rooms; they need service_mode "
                          "vwr",
                          options_.mode));
  }
  if (!command.name.empty() && rooms_->find(command.name) == nullptr) {
    const std::vector<cli::RoomSettings> rooms = rooms_->rooms();
    std::vector<std::string_view> names;
    names.reserve(rooms.size());
    for (const cli::RoomSettings& room : rooms) {
      names.emplace_back(room.name);
    }
    return no(AnswerCode::kNotFound,
              fmt::format("there is no room '{}'{}", cli::escaped(command.name),
                          cli::suggestion(command.name, names)));
  }
  switch (command.kind) {
    case CommandKind::kInfo:
      break;
    case CommandKind::kRooms:
      return all_rooms(now);
    case CommandKind::kRoom:
      return fine(room_answer(*rooms_->find(command.name), now));
    case CommandKind::kPutRoom:
      return put_room(command, caller, now);
    case CommandKind::kChangeRoom:
      return change_room(command, caller, now);
    case CommandKind::kRemoveRoom:
      return remove_room(command, caller, now);
    case CommandKind::kAdmit:
      return admit(command, caller, now);
    case CommandKind::kRevoke:
      return revoke(command, caller, now);
    case CommandKind::kPresent: {
      const std::vector<std::string_view> keys(command.keys.begin(), command.keys.end());
      rooms_->present(keys, now);
      return fine({});
    }
    default:
      break;  // see answer()
  }
  return info();
}

Answer Handler::log_level(const Command& command, const Caller& caller) {
  if (command.level) {
    cli::log_notice("log level is {} until the configuration is read again, by {}",
                    cli::log_level_name(*command.level), who(caller, command.by));
    cli::set_log_level(*command.level);
  }
  return fine(fmt::format(R"({{"level":"{}"}})", level_in_force()));
}

Answer Handler::info() const {
  return fine(fmt::format(
      R"({{"program":"lineqd","version":"{}","pid":{},"instance":{},"mode":"{}","rooms":{},)"
      R"("state_dir":{},"log_level":"{}"{}}})",
      LINEQ_VERSION, ::getpid(), quoted(options_.instance), options_.mode,
      rooms_ == nullptr ? 0 : rooms_->rooms().size(),
      options_.state ? quoted(options_.state->path()) : "null", level_in_force(),
      options_.snapshots ? R"(,"snapshots":)" + options_.snapshots() : ""));
}

Answer Handler::all_rooms(SegmentMs now) const {
  std::string list = "[";
  for (const cli::RoomSettings& room : rooms_->rooms()) {
    list += list.size() == 1 ? "" : ",";
    list += room_answer(room, now);
  }
  return fine(list + "]");
}

std::string Handler::room_answer(const cli::RoomSettings& room, SegmentMs now) const {
  const shm::RoomNumbers n = rooms_->numbers(room.name);
  std::string text = cli::room_json(room);
  text.pop_back();
  text += fmt::format(R"(,"configured":{},"numbers":{{"active":{},"ready":{},"waiting":{},)"
                      R"("front":{},"admit_rate":{},"arrive_rate":{})",
                      is_configured(room.name), n.active, n.ready, n.waiting, n.front,
                      static_cast<double>(n.admit_rate_milli) / 1000,
                      static_cast<double>(n.arrive_rate_milli) / 1000);
  if (n.waiting + n.front != 0 && options_.room_time) {
    const Tick waits = options_.room_time(now) - static_cast<Tick>(n.oldest_since);
    text += fmt::format(R"(,"oldest_waiter_seconds":{})", waits / 1000);
  } else {
    text += R"(,"oldest_waiter_seconds":0)";
  }
  text += fmt::format(R"(,"seconds_since_admission":{})",
                      n.last_admitted_ms == 0
                          ? "null"
                          : std::to_string((now - std::min<u64>(now, n.last_admitted_ms)) / 1000));
  text += R"(,"counters":{)";
  for (std::size_t i = 0; i < n.counters.size(); ++i) {
    text +=
        fmt::format("{}\"{}\":{}", i == 0 ? "" : ",", shm::kRoomCounters[i].name, n.counters[i]);
  }
  return text + "}}}";
}

Answer Handler::put_room(const Command& command, const Caller& caller, SegmentMs now) {
  cli::RoomSettings room;
  room.session_ms = options_.default_session_ms;
  room.capacity = options_.default_capacity;
  const cli::RoomSettings fresh = room;
  if (const Status s = cli::read_room(command.room, room); !s) {
    return no(s.error());
  }
  if (room.name.empty()) {
    return no(AnswerCode::kInvalid, "name: is missing; every room needs one");
  }
  const cli::RoomSettings* found = rooms_->find(room.name);
  if (found != nullptr && found->name == room.name) {
    const cli::RoomSettings before = *found;
    cli::RoomSettings after = before;
    switch (command.how) {
      case PutHow::kCreate:
        return no(AnswerCode::kInvalid,
                  fmt::format("name: there is a room '{}' already", room.name));
      case PutHow::kReplace:
        after = room;
        break;
      case PutHow::kCapacity:
        after.capacity = room.capacity;
        break;
      case PutHow::kUpdate:
        if (const Status s = cli::read_room(command.room, after); !s) {
          return no(s.error());
        }
        break;
    }
    return change(before, std::move(after), command, caller, now);
  }
  if (const Status s = cli::check_room(room); !s) {
    return no(s.error());
  }
  if (const Status s = keep_page(room); !s) {
    return no(s.error());
  }
  if (const Status s = rooms_->put(room, now); !s) {
    return no(s.error());
  }
  drop_implied(now);
  Answer answer = fine(room_answer(room, now));
  answer.warning = record({"create", room.name, "", cli::room_json(room),
                           fmt::format("made, at most {} inside", room.capacity)},
                          caller, command.by);
  return answer;
}

Answer Handler::change_room(const Command& command, const Caller& caller, SegmentMs now) {
  const cli::RoomSettings before = *rooms_->find(command.name);
  cli::RoomSettings after = before;
  if (const Status s = cli::read_room(command.room, after); !s) {
    return no(s.error());
  }
  return change(before, std::move(after), command, caller, now);
}

Answer Handler::change(const cli::RoomSettings& before, cli::RoomSettings after,
                       const Command& command, const Caller& caller, SegmentMs now) {
  if (after.name != before.name) {
    return no(AnswerCode::kInvalid,
              fmt::format("name: room '{}' keeps its name; visitors' keys carry it", before.name));
  }
  if (const Status s = cli::check_room(after); !s) {
    return no(s.error());
  }
  if (const Status s = keep_page(after); !s) {
    return no(s.error());
  }
  const Difference news = difference(before, after);
  if (news.none()) {
    return fine(room_answer(before, now));
  }
  if (const Status s = rooms_->put(after, now); !s) {
    return no(s.error());
  }
  if (implied_ == after.name) {
    implied_.clear();  // somebody means it
  }
  Answer answer = fine(room_answer(after, now));
  answer.warning =
      record({"change", after.name, news.before, news.after, news.told}, caller, command.by);
  return answer;
}

Answer Handler::remove_room(const Command& command, const Caller& caller, SegmentMs now) {
  const cli::RoomSettings before = *rooms_->find(command.name);
  if (const Status s = rooms_->remove(before.name, now); !s) {
    return no(s.error());
  }
  Answer answer = fine({});
  answer.warning =
      record({"remove", before.name, cli::room_json(before), "", "removed"}, caller, command.by);
  if (is_configured(before.name) && answer.warning.empty()) {
    answer.warning = "the room is in the configuration: it comes back when that is read again";
  }
  return answer;
}

Answer Handler::admit(const Command& command, const Caller& caller, SegmentMs now) {
  const std::string name = rooms_->find(command.name)->name;
  const Result<u32> called = rooms_->admit(name, command.n, now);
  if (!called) {
    return no(called.error());
  }
  Answer answer = fine(fmt::format(R"({{"admitted":{}}})", *called));
  answer.warning =
      record({"admit", name, "", fmt::format(R"({{"n":{},"admitted":{}}})", command.n, *called),
              fmt::format("{} admitted of {} asked for", *called, command.n)},
             caller, command.by);
  return answer;
}

Answer Handler::revoke(const Command& command, const Caller& caller, SegmentMs now) {
  const std::string name = rooms_->find(command.name)->name;
  const Result<u64> ended =
      command.all ? rooms_->revoke_all(name, now) : rooms_->revoke(name, command.session, now);
  if (!ended) {
    return no(ended.error());
  }
  Answer answer = fine(fmt::format(R"({{"revoked":{}}})", *ended));
  const std::string which = command.all ? "all sessions" : "session " + quoted(command.session);
  answer.warning = record({"revoke", name, "",
                           fmt::format(R"({{"session":{},"revoked":{}}})",
                                       command.all ? "null" : quoted(command.session), *ended),
                           fmt::format("{} revoked, {} held a place", which, *ended)},
                          caller, command.by);
  return answer;
}

std::string Handler::record(const Change& change, const Caller& caller,
                            const std::string& by) const {
  cli::log_notice("room {}: {}, by {}", change.room, change.told, who(caller, by));
  if (!options_.state) {
    return {};
  }
  const Status noted = options_.state->append_event(fmt::format(
      R"({{"time":"{}","uid":{},"user":{},"by":{},"room":{},"action":"{}","before":{},"after":{}}})",
      time_text(options_.realtime_ms ? options_.realtime_ms() : 0), caller.uid, quoted(caller.user),
      by.empty() ? "null" : quoted(by), quoted(change.room), change.action,
      change.before.empty() ? "null" : change.before,
      change.after.empty() ? "null" : change.after));
  if (!noted) {
    cli::log_warning("the log of changes: {}", noted.error().what);
  }
  const std::string trouble = save();
  if (trouble.empty()) {
    return noted ? "" : "in force, but not in the log of changes: " + noted.error().what;
  }
  cli::log_warning("rooms are not kept: {}", trouble);
  return "in force until lineqd ends, as it could not be kept: " + trouble;
}

}  // namespace lineq::control
