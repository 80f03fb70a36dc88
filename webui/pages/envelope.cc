#include "webui/pages/envelope.h"

#include <utility>

#include <fmt/core.h>
#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "webui/pages/access.h"
#include "webui/pages/json.h"

namespace lineq::pages {
namespace {

std::string notes(std::string_view sentence, u16 code) {
  if (sentence.empty()) {
    return "[]";
  }
  Json json;
  json.array();
  json.object();
  json.field("code", u64{code});
  json.field("message", sentence);
  json.end_object();
  json.end_array();
  return json.take();
}

u16 status_of(control::AnswerCode code) {
  switch (code) {
    case control::AnswerCode::kFine:
      return 200;
    case control::AnswerCode::kInvalid:
      return 400;
    case control::AnswerCode::kNotFound:
      return 404;
    case control::AnswerCode::kDenied:
      return 403;
    case control::AnswerCode::kUnsupported:
      return 409;
    case control::AnswerCode::kFailed:
      return 500;
  }
  return 500;
}

}  // namespace

std::string json_of(const rapidjson::Value& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
  value.Accept(json);
  return {buffer.GetString(), buffer.GetSize()};
}

http::Reply success(std::string_view result, std::string_view warning) {
  return http::json_reply(200,
                          fmt::format(R"({{"success":true,"errors":[],"messages":{},"result":{}}})",
                                      notes(warning, 200), result));
}

http::Reply failure(u16 status, std::string_view sentence) {
  return http::json_reply(
      status, fmt::format(R"({{"success":false,"errors":{},"messages":[],"result":null}})",
                          notes(sentence, status)));
}

http::Reply only(std::string_view methods) {
  http::Reply reply = failure(405, fmt::format("only {} is answered here", methods));
  reply.fields.emplace_back("Allow", methods);
  return reply;
}

http::Reply refused(const Error& error) {
  return failure(error.code == ErrorCode::kExhausted ? 413
                 : error.code == ErrorCode::kInvalid ? 400
                                                     : 503,
                 error.what);
}

http::Reply answered(const Result<control::Answer>& answer,
                     const std::function<std::string(rapidjson::Document&)>& shape) {
  if (!answer) {
    return refused(answer.error());
  }
  if (answer->code != control::AnswerCode::kFine) {
    return failure(status_of(answer->code), answer->error);
  }
  rapidjson::Document result;
  result.Parse<rapidjson::kParseIterativeFlag>(answer->result.data(), answer->result.size());
  if (result.HasParseError()) {
    return failure(502, "lineqd's answer cannot be read");
  }
  return success(shape(result), answer->warning);
}

http::Reply ask_for(const Ask& ask, const control::Command& command,
                    std::function<std::string(rapidjson::Document&)> shape) {
  return ask_lineqd(ask, command,
                    [shape = std::move(shape)](const Result<control::Answer>& answer) {
                      return answered(answer, shape);
                    });
}

Status read_object(std::string_view body, rapidjson::Document& document) {
  if (control::nested_too_deeply(body)) {
    return Error{ErrorCode::kInvalid, "the body is nested too deeply"};
  }
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      body.data(), body.size());
  if (document.HasParseError()) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("the body is not JSON at byte {}: {}", document.GetErrorOffset() + 1,
                             rapidjson::GetParseError_En(document.GetParseError()))};
  }
  if (!document.IsObject()) {
    return Error{ErrorCode::kInvalid, "the body is not a JSON object"};
  }
  return {};
}

std::optional<http::Reply> without_token(const http::Request& request,
                                         const std::string& token_file) {
  const Status allowed = has_token(request, token_file);
  if (allowed) {
    return std::nullopt;
  }
  const bool none = allowed.error().code == ErrorCode::kNotFound;
  http::Reply reply = failure(none ? 403 : 401, allowed.error().what);
  if (!none) {
    reply.fields.emplace_back("WWW-Authenticate", "Bearer realm=\"lineq\"");
  }
  return reply;
}

}  // namespace lineq::pages
