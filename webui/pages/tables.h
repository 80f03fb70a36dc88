// GET /tables: all entries of all tables, streamed from a scan with flat memory.
//
// The original's shape: {"mode":"tables","<table>":{"expiry":ms,"type":"string","vtypes":"gpc1  ",
// "entries":[{"id":base64,"key":text,"value":"1\t"}]}}; with a limit, `next` beside the entries of
// the table where the page ends. format=v2: tables as a list, values by name and type, and the time
// an entry has left; with peers=1 in mode acc also what each HAProxy has, by its name. Keys and
// names are escaped text (cli::escaped), so the answer is UTF-8 whatever a stranger put into a
// cookie; `id` holds the bytes. In v2 each table says how many entries were looked at for this page
// (`scanned`) and how many of them matched; of a sorted page, all that match.
//
// A sorted page looks at the whole table, in slices, and keeps the page. Few are made at one time;
// others wait for their turn, and get 503 when it does not come.
//
// GET /acc: the totals of mode acc, which only grow:
// {"mode":"acc","tables":{"<table>":{"type":"ip",
// "counters":["http_req_cnt"],"entries":[{"key":"192.0.2.1","http_req_cnt":123}]}}}; filters and
// pages as above. In mode agg there are none: {"mode":"acc","tables":{}}.
#pragma once

#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/segment.h"

namespace lineq::pages {

// Sorted pages that are being made.
struct Sorts {
  static constexpr std::size_t kMost = 4;
  std::size_t running = 0;
};

// `segment` and `sorts` outlive the reply.
http::Reply tables_reply(live::Segment& segment, const http::Request& request, Sorts& sorts);
http::Reply totals_reply(live::Segment& segment, const http::Request& request, Sorts& sorts);

}  // namespace lineq::pages
