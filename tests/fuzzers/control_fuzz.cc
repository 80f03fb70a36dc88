// Arbitrary bytes as lines of the control socket and as bodies of the room API. Checked, besides
// the sanitizers:
//  - every line is answered by one line that whoever asked can read;
//  - a command that is understood is the same when it is written and read again;
//  - a room that is accepted is valid, and the same when it is written and read again;
//  - rooms keep their names, and there are no two of one name.
//
// The input is lines; each is taken as a command, and as a room.

#include <set>
#include <string>
#include <string_view>

#include "daemon/control/handler.h"
#include "shm/support/assert.h"
#include "tests/control/fake_rooms.h"
#include "tools/cli/log.h"

namespace lineq::control {
namespace {

void as_command(std::string_view line) {
  const Result<Command> command = parse_command(line);
  if (!command) {
    LINEQ_ASSERT(!command.error().what.empty());
    return;
  }
  const std::string text = command_json(*command);
  LINEQ_ASSERT(text.find('\n') == std::string::npos);
  const Result<Command> again = parse_command(text);
  LINEQ_ASSERT(again.ok());
  LINEQ_ASSERT(command_json(*again) == text);
}

void as_room(std::string_view json) {
  cli::RoomSettings room;
  if (!cli::read_room(json, room) || !cli::check_room(room)) {
    return;
  }
  LINEQ_ASSERT(!room.name.empty() && room.name.size() <= 127);
  LINEQ_ASSERT(room.capacity != 0 && room.session_ms >= 1000 && room.hold_ms > room.refresh_ms);
  LINEQ_ASSERT(room.message.size() <= 255 && room.template_path.size() <= 255);
  cli::RoomSettings again;
  LINEQ_ASSERT(cli::read_room(cli::room_json(room), again).ok());
  if (!room.page_html.empty()) {
    again.template_path = room.template_path;  // the text wins where it is shown
  }
  LINEQ_ASSERT(again == room);
}

void run(std::string_view input) {
  cli::set_log_level(cli::LogLevel::kErr);
  test::FakeRooms rooms;
  HandlerOptions options;
  options.instance = "fuzz";
  options.mode = "vwr";
  Handler handler(std::move(options), Policy(0, {}, {}), &rooms);
  handler.start({}, {test::room_called("shop", 5)}, true, 1);
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    const std::string_view line = input.substr(0, end);
    input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
    as_command(line);
    as_room(line);
    std::string answer;
    handler.answer(line, {0, {}, "root"}, 1000,
                   [&](std::string text) { answer = std::move(text); });
    LINEQ_ASSERT(answer.find('\n') == std::string::npos);
    LINEQ_ASSERT(parse_answer(answer).ok());
    std::set<std::string> names;
    for (const cli::RoomSettings& room : rooms.kept) {
      LINEQ_ASSERT(cli::check_room(room).ok());
      LINEQ_ASSERT(names.insert(room.name).second);
    }
  }
}

}  // namespace
}  // namespace lineq::control

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lineq::control::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
