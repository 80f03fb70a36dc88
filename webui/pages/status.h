// What /status shows, as JSON: served at /status.json, sent as events to open pages.
#pragma once

#include <string>

#include "webui/http/response.h"
#include "webui/http/stats.h"
#include "webui/live/rates.h"
#include "webui/live/segment.h"
#include "webui/live/traffic.h"

namespace lineq::pages {

// Where a HAProxy would connect to, for the lines to paste.
struct ConnectHint {
  std::string name = "lineq";
  std::string host = "localhost";
  u16 port = 11111;
};

// Takes the counters of peers and tables into `rates`. Once a second.
void sample_rates(const live::Segment& segment, live::Rates& rates, u64 now_ms);

std::string status_json(const live::Segment& segment, const live::Rates& rates,
                        const http::Stats& stats, const ConnectHint& connect,
                        u64 start_realtime_ms);

// GET /status/history: points of ten seconds each, oldest first.
http::Reply traffic_reply(const live::Traffic& traffic);

}  // namespace lineq::pages
