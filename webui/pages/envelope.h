// Answers of the paths that change something, in Cloudflare's envelope:
// {"success":true,"errors":[],"messages":[],"result":...}
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <rapidjson/document.h>

#include "shm/support/result.h"
#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/pages/ask.h"

namespace lineq::pages {

// `result` is JSON; `warning` becomes a message.
http::Reply success(std::string_view result, std::string_view warning);
http::Reply failure(u16 status, std::string_view sentence);
// 405; `methods` as in Allow.
http::Reply only(std::string_view methods);
// Of a request, or of asking lineqd.
http::Reply refused(const Error& error);
// The answer to a request that may not change anything; nullopt: it brings the admin token.
std::optional<http::Reply> without_token(const http::Request& request,
                                         const std::string& token_file);

// What lineqd said, `shape` applied to the result.
http::Reply answered(const Result<control::Answer>& answer,
                     const std::function<std::string(rapidjson::Document&)>& shape);
// Asks lineqd and puts what `shape` makes of the result into the envelope.
http::Reply ask_for(const Ask& ask, const control::Command& command,
                    std::function<std::string(rapidjson::Document&)> shape);

// A body that is a JSON object.
Status read_object(std::string_view body, rapidjson::Document& document);
std::string json_of(const rapidjson::Value& value);

}  // namespace lineq::pages
