#include "webui/pages/room_status.h"

#include <algorithm>

#include "tools/cli/room_settings.h"
#include "tools/cli/text.h"
#include "webui/http/router.h"

namespace lineq::pages {
namespace {

// What the room does to newcomers, in the order in which rules override each other.
std::string_view state_of(const shm::RoomSettings& room) {
  return room.suspended   ? "suspended"
         : room.queue_all ? "queue_all"
         : room.paused    ? "paused"
                          : "open";
}

void room(Json& json, const shm::RoomInfo& info, const shm::Reader& reader) {
  const shm::RoomSettings& settings = info.settings;
  const shm::RoomNumbers numbers = reader.numbers(info);
  json.object();
  json.field("name", cli::escaped(settings.name));
  json.field("host", cli::escaped(settings.host));
  json.field("path", cli::escaped(settings.path));
  json.field("state", state_of(settings));
  json.field("method", cli::queueing_method_name(settings.method));
  json.field("message", cli::escaped(settings.message));
  json.flag("fast", settings.fast);
  json.field("capacity", u64{settings.capacity});
  json.field("new_per_minute", u64{settings.new_per_minute});
  json.field("session_ms", u64{settings.session_ms});
  json.field("active", numbers.active);
  json.field("called", numbers.ready);
  json.field("waiting", numbers.waiting + numbers.front);
  json.decimal("admit_per_min", static_cast<double>(numbers.admit_rate_milli) / 1000.0);
  json.decimal("arrive_per_min", static_cast<double>(numbers.arrive_rate_milli) / 1000.0);
  const bool anybody = numbers.waiting + numbers.front != 0;
  const i32 oldest = tick_diff(reader.room_time(), static_cast<Tick>(numbers.oldest_since));
  json.maybe("oldest_ms",
             anybody ? std::optional(static_cast<u64>(std::max(oldest, 0))) : std::nullopt);
  const SegmentMs now = reader.now();
  json.maybe("admitted_ms", numbers.last_admitted_ms == 0
                                ? std::nullopt
                                : std::optional(now - std::min(now, numbers.last_admitted_ms)));
  for (std::size_t i = 0; i < shm::kRoomCounters.size(); ++i) {
    json.field(shm::kRoomCounters.at(i).name, numbers.counters.at(i));
  }
  json.end_object();
}

}  // namespace

void rooms_part(Json& json, const shm::Reader& reader) {
  std::vector<const shm::RoomInfo*> rooms;
  for (const shm::RoomInfo& info : reader.rooms()) {
    rooms.push_back(&info);
  }
  std::sort(rooms.begin(), rooms.end(),
            [](const auto* a, const auto* b) { return a->settings.name < b->settings.name; });
  json.key("rooms");
  json.array();
  for (const shm::RoomInfo* info : rooms) {
    room(json, *info, reader);
  }
  json.end_array();
}

http::Reply history_reply(const live::Segment& segment, const live::RoomHistory& history,
                          const http::Request& request) {
  std::string name;
  for (const auto& [key, value] : http::query_pairs(request.query)) {
    if (key != "room") {
      return http::text_reply(400, "unknown parameter; allowed: room=NAME");
    }
    name = value;
  }
  const shm::Reader* reader = segment.reader();
  const auto rooms = reader == nullptr ? std::vector<shm::RoomInfo>{} : reader->rooms();
  const auto found = std::find_if(rooms.begin(), rooms.end(), [&](const shm::RoomInfo& info) {
    return cli::escaped(info.settings.name) == name;
  });
  if (found == rooms.end()) {
    return http::text_reply(404, "there is no such room");
  }
  Json json;
  json.object();
  json.field("room", name);
  json.field("step_ms", live::RoomHistory::kStepMs);
  json.key("points");
  json.array();
  for (const live::RoomHistory::Point& point : history.points(*found)) {
    json.array();
    json.number(point.realtime_ms);
    json.number(point.active);
    json.number(point.called);
    json.number(point.queued);
    json.end_array();
  }
  json.end_array();
  json.end_object();
  return http::json_reply(200, json.take());
}

}  // namespace lineq::pages
