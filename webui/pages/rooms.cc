#include "webui/pages/rooms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <rapidjson/document.h>

#include "tools/cli/room_settings.h"
#include "tools/cli/text.h"
#include "webui/pages/envelope.h"
#include "webui/pages/json.h"

namespace lineq::pages {
namespace {

using control::Command;
using control::CommandKind;
using http::Method;
using rapidjson::Value;

constexpr std::string_view kPath = "/waiting_rooms";
constexpr std::string_view kBelow = "/waiting_rooms/";
constexpr std::string_view kBy = "the room API";

http::Reply ask_room(const Ask& ask, Command command,
                     std::function<std::string(rapidjson::Document&)> shape) {
  command.by = kBy;
  return ask_for(ask, command, std::move(shape));
}

// ---- rooms in answers --------------------------------------------------------------------------

// Cloudflare's clients look rooms up by id; ours is the name.
void add_id(Value& room, rapidjson::Document& document) {
  if (room.IsObject() && room.HasMember("name")) {
    Value name(room["name"], document.GetAllocator());
    room.AddMember("id", name, document.GetAllocator());
  }
}

std::string one_room(rapidjson::Document& room) {
  add_id(room, room);
  return json_of(room);
}

std::string all_rooms(rapidjson::Document& rooms) {
  if (rooms.IsArray()) {
    for (Value& room : rooms.GetArray()) {
      add_id(room, rooms);
    }
  }
  return json_of(rooms);
}

u64 number(const Value& object, const char* name) {
  return object.IsObject() && object.HasMember(name) && object[name].IsUint64()
             ? object[name].GetUint64()
             : 0;
}
bool is_true(const Value& object, const char* name) {
  return object.IsObject() && object.HasMember(name) && object[name].IsTrue();
}

// Cloudflare's waiting_rooms/{id}/status, and our numbers beside it.
std::string room_status(rapidjson::Document& room) {
  const Value none;
  const Value& numbers = room.IsObject() && room.HasMember("numbers") ? room["numbers"] : none;
  const u64 queued = number(numbers, "waiting") + number(numbers, "front");
  const Value& rate =
      numbers.IsObject() && numbers.HasMember("admit_rate") ? numbers["admit_rate"] : none;
  const double per_minute = rate.IsNumber() ? rate.GetDouble() : 0.0;
  Json json;
  json.object();
  json.field("status", is_true(room, "suspended")                  ? "suspended"
                       : queued != 0 || is_true(room, "queue_all") ? "queueing"
                                                                   : "not_queueing");
  json.field("event_id", "");
  json.field("estimated_queued_users", queued);
  json.field("estimated_total_active_users", number(numbers, "active"));
  json.key("max_estimated_time_minutes");
  if (queued == 0) {
    json.number(0);
  } else if (per_minute > 0) {
    json.number(static_cast<u64>(std::ceil(static_cast<double>(queued) / per_minute)));
  } else {
    json.null();  // nobody is called
  }
  json.end_object();
  std::string text = json.take();
  text.pop_back();
  return text + ",\"numbers\":" + json_of(numbers) + "}";
}

std::string as_it_is(rapidjson::Document& result) {
  return json_of(result);
}

// ---- bodies ------------------------------------------------------------------------------------

std::optional<std::string> text_member(const Value& object, const char* name) {
  if (!object.HasMember(name) || !object[name].IsString()) {
    return std::nullopt;
  }
  return std::string(object[name].GetString(), object[name].GetStringLength());
}

Command of_room(CommandKind kind, std::string name) {
  Command command;
  command.kind = kind;
  command.name = std::move(name);
  return command;
}

Command changing(std::string name, std::string_view field, bool on) {
  Command command = of_room(CommandKind::kChangeRoom, std::move(name));
  command.room = fmt::format(R"({{"{}":{}}})", field, on);
  return command;
}

constexpr auto kActions = std::to_array<std::string_view>(
    {"pause", "resume", "admit", "queue_all", "suspend", "revoke", "revoke_all", "message", "set"});

// {"action":"admit","n":5} -> a command.
Result<Command> action_of(const std::string& name, rapidjson::Document& body) {
  const auto wrong = [](std::string what) { return Error{ErrorCode::kInvalid, std::move(what)}; };
  const std::string action = text_member(body, "action").value_or("");
  const auto on = [&]() -> Result<bool> {
    if (!body.HasMember("on")) {
      return true;
    }
    if (!body["on"].IsBool()) {
      return wrong("on: allowed: true or false");
    }
    return body["on"].GetBool();
  };
  if (action == "pause" || action == "resume") {
    return changing(name, "paused", action == "pause");
  }
  if (action == "queue_all" || action == "suspend") {
    const Result<bool> wanted = on();
    return wanted ? Result<Command>(
                        changing(name, action == "suspend" ? "suspended" : "queue_all", *wanted))
                  : wanted.error();
  }
  if (action == "admit") {
    Command command = of_room(CommandKind::kAdmit, name);
    const char* const key = body.HasMember("n") ? "n" : "count";
    command.n = !body.HasMember(key) ? 1 : body[key].IsUint() ? body[key].GetUint() : 0;
    return command.n == 0 ? Result<Command>(wrong("n: allowed: a number of visitors, 1 or more"))
                          : command;
  }
  if (action == "revoke" || action == "revoke_all") {
    Command command = of_room(CommandKind::kRevoke, name);
    command.all = action == "revoke_all";
    command.session = command.all ? "" : text_member(body, "session").value_or("");
    return !command.all && command.session.empty()
               ? Result<Command>(wrong("session: is missing; whose session ends?"))
               : command;
  }
  if (action == "message") {
    const std::optional<std::string> text = text_member(body, "text");
    if (!text) {
      return wrong("text: is missing; empty takes the message away");
    }
    Command command = of_room(CommandKind::kChangeRoom, name);
    Json json;
    json.object();
    json.field("message", *text);
    json.end_object();
    command.room = json.take();
    return command;
  }
  if (action == "set") {
    Command command = of_room(CommandKind::kChangeRoom, name);
    body.RemoveMember("action");
    command.room = json_of(body);
    return command;
  }
  return wrong(fmt::format("action: '{}' is none; allowed: {}{}",
                           cli::escaped(std::string_view(action).substr(0, 100)),
                           "pause, resume, admit, queue_all, suspend, revoke, revoke_all, message, "
                           "set",
                           cli::suggestion(action, kActions)));
}

// ---- requests ----------------------------------------------------------------------------------

http::Reply put_room(const std::string& name, rapidjson::Document& body, control::PutHow how,
                     const Ask& ask) {
  if (!name.empty()) {
    const std::optional<std::string> given = text_member(body, "name");
    if (body.HasMember("name") && given != name) {
      return failure(400, "name: the body and the path name different rooms");
    }
    if (!given) {
      Value key("name");
      Value text(name.data(), static_cast<rapidjson::SizeType>(name.size()), body.GetAllocator());
      body.AddMember(key, text, body.GetAllocator());
    }
  }
  Command command;
  command.kind = CommandKind::kPutRoom;
  command.how = how;
  command.room = json_of(body);
  return ask_room(ask, std::move(command), one_room);
}

http::Reply collection(const http::Request& request, rapidjson::Document& body, const Ask& ask) {
  if (request.method == Method::kGet || request.method == Method::kHead) {
    return ask_room(ask, of_room(CommandKind::kRooms, ""), all_rooms);
  }
  return request.method == Method::kPost ? put_room("", body, control::PutHow::kCreate, ask)
                                         : only("GET, HEAD, POST");
}

http::Reply single(const http::Request& request, const std::string& name, rapidjson::Document& body,
                   const Ask& ask) {
  switch (request.method) {
    case Method::kGet:
    case Method::kHead:
      return ask_room(ask, of_room(CommandKind::kRoom, name), one_room);
    case Method::kPut:
      return put_room(name, body, control::PutHow::kReplace, ask);
    case Method::kPatch: {
      Command command = of_room(CommandKind::kChangeRoom, name);
      command.room = json_of(body);
      return ask_room(ask, std::move(command), one_room);
    }
    case Method::kDelete:
      return ask_room(ask, of_room(CommandKind::kRemoveRoom, name), [name](rapidjson::Document&) {
        Json json;
        json.object();
        json.field("id", name);
        json.end_object();
        return json.take();
      });
    default:
      return only("GET, HEAD, PUT, PATCH, DELETE");
  }
}

http::Reply act(const std::string& name, rapidjson::Document& body, const Ask& ask) {
  Result<Command> command = action_of(name, body);
  if (!command) {
    return refused(command.error());
  }
  return ask_room(ask, command.take(),
                  command->kind == CommandKind::kChangeRoom ? one_room : as_it_is);
}

}  // namespace

http::Reply rooms_reply(const http::Request& request, const std::string& token_file,
                        const Ask& ask) {
  const bool asks = request.method == Method::kGet || request.method == Method::kHead;
  rapidjson::Document body;
  if (!asks) {
    if (std::optional<http::Reply> no = without_token(request, token_file)) {
      return std::move(*no);
    }
    const bool bodiless = request.method == Method::kDelete && request.body.empty();
    if (const Status s = bodiless ? Status() : read_object(request.body, body); !s) {
      return refused(s.error());
    }
  }
  if (request.path == kPath) {
    return collection(request, body, ask);
  }
  std::string_view rest = request.path.substr(kBelow.size());
  const std::size_t slash = rest.find('/');
  const std::string name = http::percent_decoded(rest.substr(0, slash), false);
  const std::string_view what =
      slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  if (cli::RoomSettings tried; !cli::set_room_field("name", name, tried)) {
    return failure(404, fmt::format("there is no room '{}'", cli::escaped(name.substr(0, 200))));
  }
  if (what.empty()) {
    return single(request, name, body, ask);
  }
  if (what == "status") {
    return asks ? ask_room(ask, of_room(CommandKind::kRoom, name), room_status) : only("GET, HEAD");
  }
  if (what == "actions") {
    return request.method == Method::kPost ? act(name, body, ask) : only("POST");
  }
  return failure(404, "a room has /status, /preview and /actions");
}

void add_rooms(http::Router& router, std::string token_file, Ask ask, Preview preview) {
  const auto handler = [token_file = std::move(token_file), ask = std::move(ask),
                        preview = std::move(preview)](const http::Request& request) {
    constexpr std::string_view kPreview = "/preview";
    const bool asks = request.method == Method::kGet || request.method == Method::kHead;
    if (preview && asks && request.path.starts_with(kBelow) && request.path.ends_with(kPreview) &&
        request.path.size() > kBelow.size() + kPreview.size()) {
      std::string_view name = request.path.substr(kBelow.size());
      name.remove_suffix(kPreview.size());
      return preview(http::percent_decoded(name, false), request);
    }
    return rooms_reply(request, token_file, ask);
  };
  router.add_any(kPath, handler);
  router.add_below(kBelow, handler);
}

}  // namespace lineq::pages
