// lineqd -c: a HAProxy configuration for the waiting rooms (waiting-room 8). The same file serves
// on every HAProxy. No haproxy.cfg of somebody else is ever overwritten.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/result.h"
#include "tools/cli/room_settings.h"
#include "tools/cli/settings.h"

namespace lineq::daemon {

// Longest keys of the two tables: a session id, '@' and the longest name of a room. The same for
// all rooms, so that HAProxys agree on the tables whatever rooms come and go.
inline constexpr u32 kRoomKeyLength = 127;
inline constexpr u32 kSessionIdLength = 64;
inline constexpr u32 kUsersKeyLength = kSessionIdLength + 1 + kRoomKeyLength;

struct HaproxyChoices {
  std::string room_table = "room";
  std::string users_table = "timestamps";
  std::string bind = ":8080";  // whatever HAProxy takes after `bind`
  std::vector<std::string> origins{"127.0.0.1:8000"};
  // While no lineq-web answers: newcomers pass to the site (true), or get a 503 (false). Those
  // inside stay inside either way.
  bool fail_open = false;
};

// The name of a room's cookie.
std::string cookie_name(std::string_view room);

// The configuration's text. An Error names what HAProxy's rules cannot express, and what can be.
Result<std::string> haproxy_config(const cli::Settings& settings,
                                   std::span<const cli::RoomSettings> rooms,
                                   const HaproxyChoices& choices);

// Whether `text` is as haproxy_config() wrote it: what may be replaced without asking.
bool is_unchanged_haproxy_config(std::string_view text);

// Writes `text` to `path` in one step. A file that is there is replaced if it is unchanged since
// it was generated, or if `force`.
Status write_haproxy_config(const std::string& path, std::string_view text, bool force);

}  // namespace lineq::daemon
