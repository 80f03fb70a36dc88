// The two calls of lineq-operator, answered byte for byte as the original does.
#pragma once

#include <string>

#include "webui/http/router.h"
#include "webui/live/segment.h"
#include "webui/pages/ask.h"

namespace lineq::pages {

struct LegacySettings {
  std::string room_table;
  std::string users_table;
  u32 session_ms = 60'000;
};

// GET /getConfig: at once, lineqd or not.
http::Reply get_config_reply(const LegacySettings& settings);

// POST /create: a room; of one that is there only the capacity changes. `segment` outlives the
// router.
http::Reply create_reply(const http::Request& request, live::Segment& segment, const Ask& ask);

void add_legacy(http::Router& router, LegacySettings settings, live::Segment& segment, Ask ask);

}  // namespace lineq::pages
