// Mode vwr: the waiting rooms (waiting-room 1-4, 7). A visitor is an entry of a users table; who
// may enter is decided here and told to all HAProxys as gpc1 = 1.
//
// Always: ACTIVE + READY (called) <= C, whatever disconnects or dies. Tables that are neither the
// room table nor the users table are kept as in mode agg.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/engine/mode.h"
#include "daemon/engine/store.h"
#include "tools/cli/room_settings.h"

namespace lineq::engine {

struct WaitingRoomOptions {
  std::string room_table = "room";
  std::string users_table = "timestamps";
  u64 seed = 1;             // of the random queueing method
  u32 allowance_ms = 2000;  // network and clocks: spec's delta
  // The segment is new although rooms existed before: what HAProxys still hold is waited for.
  bool state_lost = false;
};

// What operators and the site do to rooms. `what` of an Error is one sentence for them.
class RoomControl {
 public:
  RoomControl() = default;
  RoomControl(const RoomControl&) = delete;
  RoomControl& operator=(const RoomControl&) = delete;
  virtual ~RoomControl() = default;

  virtual std::vector<cli::RoomSettings> rooms() const = 0;
  virtual const cli::RoomSettings* find(std::string_view name) const = 0;
  virtual shm::RoomNumbers numbers(std::string_view name) const = 0;
  // A new room, or other rules for one that is there: its queue and sessions stay as they are.
  virtual Status put(const cli::RoomSettings& room, SegmentMs now) = 0;
  // Waiting visitors are sent away, sessions end.
  virtual Status remove(std::string_view name, SegmentMs now) = 0;
  // Calls the next `n` whatever pacing says and though the room is paused, but never beyond its
  // capacity. How many were called.
  virtual Result<u32> admit(std::string_view name, u32 n, SegmentMs now) = 0;
  // Ends the session of this users key (with or without "@room"), or all: how many held a place.
  virtual Result<u64> revoke(std::string_view name, std::string_view session, SegmentMs now) = 0;
  virtual Result<u64> revoke_all(std::string_view name, SegmentMs now) = 0;
  // Users keys whose pages are open: they are present.
  virtual void present(std::span<const std::string_view> keys, SegmentMs now) = 0;
};

}  // namespace lineq::engine
