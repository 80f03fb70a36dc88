// Commands -> what the daemon does. No socket, no clock of its own. One thread.
//
// Rooms come from three places: what the engine still has of an earlier run, what the state
// directory keeps, and the configuration. For a room that the configuration names, a field that
// changed in the configuration since it was last read wins; what an operator changed meanwhile
// stays otherwise. Rooms made while running persist. Every change is one line in the log and one in
// the state directory's events.jsonl: who, when, which room, before, after.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/control/command.h"
#include "daemon/control/policy.h"
#include "daemon/control/state_dir.h"
#include "daemon/engine/waiting_room.h"
#include "tools/cli/log.h"

namespace lineq::control {

struct HandlerOptions {
  std::string instance;
  std::string mode;                 // as info tells it
  std::optional<StateDir> state;    // unset: nothing is kept
  u32 default_session_ms = 60'000;  // of new rooms
  u32 default_capacity = 1;
  std::function<u64()> realtime_ms;          // wall clock, for the log of changes
  std::function<Tick(SegmentMs)> room_time;  // as visitors' deadlines count
  // tables, peers, set_entry, clear_table: calls `done` once, now or in a later turn (entries.h).
  using Done = std::function<void(Answer answer)>;
  std::function<void(const Command& command, SegmentMs now, Done done)> entries;
  std::function<void()> stop;              // soon, so that the answer still goes out
  std::function<std::string()> snapshots;  // for `info`: a JSON object
};

class Handler {
 public:
  // `rooms`: null in other modes than vwr. Outlives the handler.
  Handler(HandlerOptions options, Policy policy, engine::RoomControl* rooms);

  // At the start: `kept` is what StateDir::load_rooms() gave. `implied`: the configuration has no
  // room and the only one in `configured` is there so that there is one; it gives way to others.
  void start(std::vector<KeptRoom> kept, const std::vector<cli::RoomSettings>& configured,
             bool implied, SegmentMs now);
  // SIGHUP. How many rooms were made or changed.
  std::size_t reload(const std::vector<cli::RoomSettings>& configured, bool implied, SegmentMs now);
  void set_policy(Policy policy) { policy_ = std::move(policy); }
  bool stranger(const Caller& caller) const { return policy_.stranger(caller); }

  // One line to answer one line; both without their ends. `reply` is called once, now or in a
  // later turn.
  using Reply = std::function<void(std::string line)>;
  void answer(std::string_view line, const Caller& caller, SegmentMs now, const Reply& reply);

 private:
  struct Change {
    std::string_view action;
    std::string_view room;
    std::string before;  // JSON or empty
    std::string after;
    std::string told;  // for the log
  };

  Answer run(const Command& command, const Caller& caller, SegmentMs now);
  void run_entries(const Command& command, const Caller& caller, SegmentMs now,
                   const Reply& reply) const;
  static Answer log_level(const Command& command, const Caller& caller);
  Answer info() const;
  Answer all_rooms(SegmentMs now) const;
  Answer put_room(const Command& command, const Caller& caller, SegmentMs now);
  Answer change_room(const Command& command, const Caller& caller, SegmentMs now);
  Answer change(const cli::RoomSettings& before, cli::RoomSettings after, const Command& command,
                const Caller& caller, SegmentMs now);
  Answer remove_room(const Command& command, const Caller& caller, SegmentMs now);
  Answer admit(const Command& command, const Caller& caller, SegmentMs now);
  Answer revoke(const Command& command, const Caller& caller, SegmentMs now);

  std::size_t take_over(std::vector<KeptRoom> kept,
                        const std::vector<cli::RoomSettings>& configured, bool implied,
                        SegmentMs now);
  Status keep_page(cli::RoomSettings& room) const;
  bool is_configured(std::string_view name) const;
  std::string room_answer(const cli::RoomSettings& room, SegmentMs now) const;
  void drop_implied(SegmentMs now);
  // "" or what could not be kept.
  std::string save() const;
  std::string record(const Change& change, const Caller& caller, const std::string& by) const;

  HandlerOptions options_;
  Policy policy_;
  cli::LogLimit refusals_;
  engine::RoomControl* rooms_;
  std::vector<cli::RoomSettings> configured_;  // what the configuration says
  std::string implied_;  // name of the room that is there only so that there is one
};

}  // namespace lineq::control
