#include "tests/e2e/generated.h"

#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {

std::string generated_config(const std::vector<cli::RoomSettings>& rooms,
                             daemon::HaproxyChoices choices) {
  choices.bind = "127.0.0.1:{http}";
  choices.origins = {"127.0.0.1:8000"};
  const Result<std::string> made = daemon::haproxy_config(cli::Settings(), rooms, choices);
  EXPECT_TRUE(made) << (made ? "" : made.error().what);
  if (!made) {
    return {};
  }
  std::string text = *made;
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"localpeer local", "localpeer local\n    stats socket {stats} level admin"},
           {"127.0.0.1:10000", "127.0.0.1:{peers}"},
           {"127.0.0.1:11111", "127.0.0.1:{tcp}"},
           {"127.0.0.1:8060", "127.0.0.1:{web}"},
           {"127.0.0.1:8000", "127.0.0.1:{backend}"}}) {
    text = with(std::move(text), from, to);
  }
  return text;
}

cli::RoomSettings a_room(std::string name, std::string host, std::string path) {
  cli::RoomSettings room;
  room.name = std::move(name);
  room.host = std::move(host);
  room.path = std::move(path);
  return room;
}

}  // namespace lineq::test
