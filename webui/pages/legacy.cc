#include "webui/pages/legacy.h"

#include <algorithm>

#include <fmt/core.h>
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tools/cli/room_settings.h"
#include "tools/cli/text.h"
#include "webui/pages/access.h"
#include "webui/pages/json.h"

namespace lineq::pages {
namespace {

http::Reply refused(u16 status, std::string_view sentence) {
  http::Reply reply = http::text_reply(status, sentence);
  reply.fields.emplace_back("X-Content-Type-Options", "nosniff");
  return reply;
}

http::Reply created() {
  return http::json_reply(200, "{\"status\":\"success\",\"message\":\"Tables Updated\"}\n");
}

// As Go reads into a struct: names without regard to case, what is missing is zero, what is not
// known is read over, what stands behind the object too. False: not JSON, or not of these types.
struct Body {
  std::string name;
  std::string path;
  std::string host;
  i64 active_users = 0;
};

bool read_body(std::string_view text, Body& body) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseStopWhenDoneFlag |
                 rapidjson::kParseValidateEncodingFlag>(text.data(), text.size());
  if (document.HasParseError() || !document.IsObject()) {
    return false;
  }
  for (rapidjson::SizeType i = 0; i < document.MemberCount(); ++i) {
    const auto& member = document.MemberBegin()[i];
    const std::string_view key(member.name.GetString(), member.name.GetStringLength());
    const rapidjson::Value& value = member.value;
    if (value.IsNull()) {
      continue;
    }
    if (cli::equal_ignoring_case(key, "activeUsers")) {
      if (!value.IsInt64()) {
        return false;
      }
      body.active_users = value.GetInt64();
      continue;
    }
    std::string* const out = cli::equal_ignoring_case(key, "name")   ? &body.name
                             : cli::equal_ignoring_case(key, "path") ? &body.path
                             : cli::equal_ignoring_case(key, "host") ? &body.host
                                                                     : nullptr;
    if (out != nullptr) {
      if (!value.IsString()) {
        return false;
      }
      out->assign(value.GetString(), value.GetStringLength());
    }
  }
  return true;
}

}  // namespace

http::Reply get_config_reply(const LegacySettings& settings) {
  constexpr u32 kMinute = 60'000;
  Json json;
  json.object();
  json.field("status", "OK");
  json.field("message", "Config Retrieved Successfully");
  json.field("lineq_room_table", settings.room_table);
  json.field("lineq_user_table", settings.users_table);
  json.field("lineq_session_duration",
             std::max<u64>(1, (u64{settings.session_ms} + kMinute - 1) / kMinute));
  json.end_object();
  return http::json_reply(200, json.take());
}

http::Reply create_reply(const http::Request& request, live::Segment& segment, const Ask& ask) {
  if (const Status s = is_operator(request, segment.reader()); !s) {
    return refused(403, s.error().what);
  }
  if (request.method != http::Method::kPost) {
    return refused(405, "Invalid request method");
  }
  Body body;
  if (!read_body(request.body, body)) {
    return refused(400, "Error decoding JSON request body");
  }
  cli::RoomSettings room;
  body.path = body.path.empty() ? "/" : body.path;
  body.name = body.name.empty() ? cli::room_name_of(body.host, body.path) : body.name;
  for (const auto& [field, text] : {std::pair<std::string_view, std::string>("name", body.name),
                                    {"host", body.host},
                                    {"path", body.path},
                                    {"activeUsers", std::to_string(body.active_users)}}) {
    if (const Status s = cli::set_room_field(field, text, room); !s) {
      return refused(400, s.error().what);
    }
  }
  Json json;
  json.object();
  json.field("name", room.name);
  json.field("host", room.host);
  json.field("path", room.path);
  json.field("total_active_users", u64{room.capacity});
  json.end_object();
  control::Command command;
  command.kind = control::CommandKind::kPutRoom;
  command.how = control::PutHow::kCapacity;
  command.room = json.take();
  command.by = "the operator";
  return ask_lineqd(
      ask, command,
      [](const Result<control::Answer>& answer) {
        if (!answer) {
          return refused(503, answer.error().what);
        }
        return answer->code == control::AnswerCode::kFine      ? created()
               : answer->code == control::AnswerCode::kInvalid ? refused(400, answer->error)
                                                               : refused(503, answer->error);
      },
      // The operator does not ask again when it is refused.
      created);
}

void add_legacy(http::Router& router, LegacySettings settings, live::Segment& segment, Ask ask) {
  router.add("/getConfig", [settings = std::move(settings)](const http::Request&) {
    return get_config_reply(settings);
  });
  router.add_any("/create", [&segment, ask = std::move(ask)](const http::Request& request) {
    return create_reply(request, segment, ask);
  });
}

}  // namespace lineq::pages
