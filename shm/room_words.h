// A room's record as plain values: what Writer and Reader share. Included by writer_rooms.cc and
// reader_rooms.cc alone.
#pragma once

#include <cstring>
#include <string>

#include "shm/room.h"
#include "shm/words.h"

namespace lineq::shm {

// How far room time lies behind the segment's, by RootHeader::visit_clock.
constexpr u32 shift_of(u64 visit_clock) {
  return static_cast<u32>(visit_clock >> 32);
}

// `d` is the writer's own or a private copy.
inline RoomSettings settings_of(const RoomDesc& d) {
  const auto text = [](const auto& from) {
    return std::string(from, ::strnlen(from, sizeof from));
  };
  const u32 method = d.method_and_lapse & 0xff;
  const u32 lapse = d.method_and_lapse >> 8 & 0xff;
  RoomSettings s;
  s.name = text(d.name);
  s.host = text(d.host);
  s.path = text(d.path);
  s.message = text(d.message);
  s.template_path = text(d.template_path);
  s.language = text(d.language);
  s.method = method <= static_cast<u32>(QueueingMethod::kReject)
                 ? static_cast<QueueingMethod>(method)
                 : QueueingMethod::kFifo;
  s.lapse =
      lapse <= static_cast<u32>(Lapse::kDrop) ? static_cast<Lapse>(lapse) : Lapse::kRequeueHead;
  s.queue_all = (d.flags & kRoomQueueAll) != 0;
  s.suspended = (d.flags & kRoomSuspended) != 0;
  s.paused = (d.flags & kRoomPaused) != 0;
  s.fast = (d.flags & kRoomFast) != 0;
  s.fixed_session = (d.flags & kRoomFixedSession) != 0;
  s.capacity = d.capacity;
  s.new_per_minute = d.new_per_minute;
  s.session_ms = d.session_ms;
  s.hold_ms = d.hold_ms;
  s.grace_ms = d.grace_ms;
  s.refresh_ms = d.refresh_ms;
  s.status_code = d.status_code;
  return s;
}

inline RoomNumbers numbers_of(const RoomDesc& d) {
  RoomNumbers n;
  n.active = load_relaxed(d.active);
  n.ready = load_relaxed(d.ready);
  n.waiting = load_relaxed(d.waiting);
  n.front = load_relaxed(d.front);
  n.admit_rate_milli = load_relaxed(d.admit_rate_milli);
  n.arrive_rate_milli = load_relaxed(d.arrive_rate_milli);
  n.oldest_since = load_relaxed(d.oldest_since);
  n.last_admitted_ms = load_relaxed(d.last_admitted_ms);
  for (std::size_t i = 0; i < n.counters.size(); ++i) {
    n.counters[i] = load_relaxed(d.counters[i]);
  }
  return n;
}

inline RoomHistogram histogram_of(const u64 (&cells)[20]) {
  RoomHistogram h;
  for (std::size_t i = 0; i < h.buckets.size(); ++i) {
    h.buckets[i] = load_relaxed(cells[i]);
  }
  h.sum_ms = load_relaxed(cells[std::size(cells) - 1]);
  return h;
}

}  // namespace lineq::shm
