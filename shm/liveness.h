// What to tell people about the writer.
#pragma once

#include <string_view>

#include "shm/layout.h"

namespace lineq::shm {

inline constexpr u64 kStallMs = 2000;

enum class Liveness : u8 { kAlive, kStalled, kDown, kRestarting };

constexpr Liveness liveness_of(bool lock_held, SegmentState state, u64 heartbeat_age_ms) {
  if (!lock_held) {
    return Liveness::kDown;
  }
  if (state == SegmentState::kAttaching || state == SegmentState::kCreating) {
    return Liveness::kRestarting;
  }
  return heartbeat_age_ms < kStallMs ? Liveness::kAlive : Liveness::kStalled;
}

constexpr std::string_view liveness_name(Liveness l) {
  switch (l) {
    case Liveness::kAlive:
      return "alive";
    case Liveness::kStalled:
      return "stalled";
    case Liveness::kDown:
      return "down";
    case Liveness::kRestarting:
      return "restarting";
  }
  return "unknown";
}

}  // namespace lineq::shm
