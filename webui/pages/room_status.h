// The rooms on the status page: their part of /status.json, and the history that the chart shows.
#pragma once

#include "shm/reader.h"
#include "webui/http/request.h"
#include "webui/http/response.h"
#include "webui/live/room_history.h"
#include "webui/live/segment.h"
#include "webui/pages/json.h"

namespace lineq::pages {

// "rooms": [...], in order of name.
void rooms_part(Json& json, const shm::Reader& reader);

// GET /status/history?room=NAME: points of ten seconds each, oldest first.
http::Reply history_reply(const live::Segment& segment, const live::RoomHistory& history,
                          const http::Request& request);

}  // namespace lineq::pages
