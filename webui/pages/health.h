// GET /healthz, /readyz, /version: for supervisors and load balancers.
#pragma once

#include "webui/http/response.h"
#include "webui/live/segment.h"

namespace lineq::pages {

http::Reply health_reply();
// 200 when a segment is attached, lineqd's heartbeat is fresh and a HAProxy is in sync; otherwise
// 503, and the body says what is missing.
http::Reply ready_reply(const live::Segment& segment);
http::Reply version_reply(const live::Segment& segment);

}  // namespace lineq::pages
