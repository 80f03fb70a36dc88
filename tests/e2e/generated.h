// What `lineqd -c` writes, with the addresses of a test, for Haproxy::Setup::config.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/haproxy_config.h"

namespace lineq::test {

// Places for {name}, {stats}, {peers}, {http}, {tcp}, {web} and {backend}.
std::string generated_config(const std::vector<cli::RoomSettings>& rooms,
                             daemon::HaproxyChoices choices = {});

cli::RoomSettings a_room(std::string name, std::string host = "", std::string path = "/");

}  // namespace lineq::test
