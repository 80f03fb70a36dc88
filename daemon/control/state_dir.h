// What lineqd keeps in its state directory: the rooms, their pages, and the log of changes.
//
//   rooms.json       all rooms, and for those of the configuration what it said of them
//   pages/NAME.html  pages that came as text
//   events.jsonl     one line per change; events.jsonl.1 is what was before the last MiB
//
// A file is replaced whole (written beside, synced, renamed) or not at all. One thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/result.h"
#include "tools/cli/room_settings.h"

namespace lineq::control {

struct KeptRoom {
  cli::RoomSettings room;
  // What the configuration said when it was last read; unset: the room was made while running.
  std::optional<cli::RoomSettings> configured;
};

class StateDir {
 public:
  // Makes the directory if only its last part is missing. An Error: nothing can be kept there.
  static Result<StateDir> open(std::string path);

  const std::string& path() const { return path_; }

  // No file: no rooms. kDamaged: the file could not be understood and was set aside under the name
  // that the sentence tells.
  Result<std::vector<KeptRoom>> load_rooms() const;
  Status save_rooms(const std::vector<KeptRoom>& rooms) const;
  // The file's path.
  Result<std::string> save_page(std::string_view room, std::string_view html) const;

  static constexpr std::size_t kMostEventBytes = std::size_t{1} << 20;
  // `line`: JSON without an end of line.
  Status append_event(std::string_view line) const;

 private:
  explicit StateDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace lineq::control
