// One entry of a table.
//
//   GET    /tables/{t}/keys/{k}   {"table":"t","type":"ip","id":...,"key":...,"expires_ms":...,
//                                 "age_ms":...,"values":{"gpc0":5}}: an entry of
//                                 /tables?format=v2; with ?peers=1 also what each HAProxy has
//   PUT    /tables/{t}/keys/{k}   {"values":{"gpc0":5,"gpc[2]":7},"expire_ms":60000}: sets these,
//                                 makes the entry if there is none; result {"created":true}
//   DELETE /tables/{t}/keys/{k}   result {"cleared":1}
//
// {t} and {k} are percent-decoded once: a table as in /tables (the leading '/' may be left out, and
// is %2F otherwise), a key as it is shown. PUT and DELETE take the admin token and are done by
// lineqd, which tells all HAProxys. Errors, and what PUT and DELETE answer, are in the envelope of
// the room API (envelope.h).
#pragma once

#include <string>

#include "webui/http/router.h"
#include "webui/live/segment.h"
#include "webui/pages/ask.h"

namespace lineq::pages {

// `segment` outlives the router. `token_file`: see access.h.
void add_keys(http::Router& router, live::Segment& segment, std::string token_file, Ask ask);

}  // namespace lineq::pages
