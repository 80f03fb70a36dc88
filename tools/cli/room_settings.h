// A waiting room's rules as people write them: in the configuration (`routes`), in the body of the
// room API, on lineqctl's command line, and in the file that lineqd keeps. JSON with Cloudflare's
// field names (waiting-room 6) and our own beside them.
//
//   name, description, host, path, additional_routes [{host, path}], total_active_users,
//   new_users_per_minute, session_duration (minutes, may have a fraction), disable_session_renewal,
//   queueing_method, queue_all, suspended, queueing_status_code, refresh_interval (seconds),
//   custom_page_html, default_template_language
//   ours: session_seconds, paused, admission (strict or fast), lapse, hold_seconds, grace_seconds,
//   message
//   also understood: C, N, S (minutes), activeUsers and the original's vwr_* of a route
//
// Values may be strings wherever a number or true and false is meant; names of fields are read
// without regard to case.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/room.h"
#include "shm/support/result.h"

namespace lineq::cli {

struct RoomRoute {
  std::string host;
  std::string path = "/";
  friend bool operator==(const RoomRoute&, const RoomRoute&) = default;
};

struct RoomSettings : shm::RoomSettings {
  std::vector<RoomRoute> additional_routes;  // that lead to this room too
  std::string description;                   // for operators
  // The page itself, when custom_page_html is not a path; lineqd makes it a file (template_path).
  std::string page_html;

  friend bool operator==(const RoomSettings&, const RoomSettings&) = default;
};

inline constexpr std::size_t kMostRoutes = 64;  // of a room
inline constexpr std::size_t kLongestPageHtml = std::size_t{40} << 10;

// "example.com", "/shop/" -> "example_com_shop_": what HAProxy's rules call the room of a route.
std::string room_name_of(std::string_view host, std::string_view path);

// One JSON object: the fields it has go into `room`, others stay. An Error names field, value and
// what is allowed, and leaves `room` as it was; unknown fields are an error with a suggestion.
// What room_json() and the API add to a room (id, numbers) is read over.
Status read_room(std::string_view json, RoomSettings& room);
// One field from its text. kNotFound: there is no such field.
Status set_room_field(std::string_view field, std::string_view text, RoomSettings& room);
// What set_room_field() cannot see: that there is a name, and that fields fit each other.
Status check_room(const RoomSettings& room);
// "fifo", as in a room's rules.
std::string_view queueing_method_name(shm::QueueingMethod method);
// All fields, in a fixed order, in one line.
std::string room_json(const RoomSettings& room);

// Every field of a room as items of a list in mdoc, for lineq.cfg(5).
std::string room_manual();

// "0.5" -> 30000; false: not a number of minutes from a second to a day.
bool minutes(std::string_view text, u32& ms);
std::string minutes_text(u32 ms);  // "0.5"

}  // namespace lineq::cli
