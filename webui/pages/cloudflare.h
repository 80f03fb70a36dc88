// For apps: the object that Cloudflare's waiting room answers with, field by field, and beside it
// what only LineQ knows (waiting-room 5).
#pragma once

#include <string>

#include "webui/pages/wait_values.h"

namespace lineq::pages {

// {"cfWaitingRoom":{...},"lineq":{...}}. Times in minutes as there, in seconds as ours.
std::string wait_json(const Wait& wait, const Language& language, u64 realtime_ms);

}  // namespace lineq::pages
