// GET /tables: all entries of all tables, streamed from a scan with flat memory.
//
// The original's shape: {"mode":"tables","<table>":{"expiry":ms,"type":"string","vtypes":"gpc1  ",
// "entries":[{"id":base64,"key":text,"value":"1\t"}]}}; with a limit, `next` beside the entries of
// the table where the page ends. format=v2: tables as a list, values by name and type, and the time
// an entry has left. Keys and names are escaped text (cli::escaped), so the answer is UTF-8
// whatever a stranger put into a cookie; `id` holds the bytes.
#pragma once

#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/segment.h"

namespace lineq::pages {

// `segment` outlives the reply's stream.
http::Reply tables_reply(live::Segment& segment, const http::Request& request);

}  // namespace lineq::pages
