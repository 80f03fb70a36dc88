// A waiting room's rules as people write them: in the configuration (`routes`), in the body of the
// room API, and in the file that lineqd keeps. JSON with Cloudflare's field names (waiting-room 6).
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

  friend bool operator==(const RoomSettings&, const RoomSettings&) = default;
};

// "example.com", "/shop/" -> "example_com_shop_": what HAProxy's rules call the room of a route.
std::string room_name_of(std::string_view host, std::string_view path);

// One JSON object: the fields it has go into `room`, others stay. An Error names field, value and
// what is allowed; unknown fields are an error with a suggestion.
Status read_room(std::string_view json, RoomSettings& room);
// All fields, in a fixed order.
std::string room_json(const RoomSettings& room);

}  // namespace lineq::cli
