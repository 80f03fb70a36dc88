// A waiting room as the segment knows it: its rules, as every reader sees them, and its numbers.
// Plain values (spec: waiting-room 1, 6, 9).
#pragma once

#include <array>
#include <string>

#include "shm/counters.h"
#include "shm/support/ints.h"
#include "shm/support/strong.h"

namespace lineq::shm {

enum class QueueingMethod : u8 { kFifo, kRandom, kPassthrough, kReject };

// What becomes of a visitor who was called and did not come.
enum class Lapse : u8 {
  kRequeueHead,  // once more before all others, then at the end
  kRequeueTail,
  kDrop,
};

struct RoomSettings {
  std::string name;  // 1..127 bytes, as in users keys behind the last '@'
  std::string host;  // of the site; empty = any
  std::string path = "/";
  std::string message;        // the operator's, to everybody who waits; at most 255 bytes
  std::string template_path;  // file of the page instead of our own; empty = none
  std::string language;       // of the page when the browser asks for none we have; empty = "en"
  QueueingMethod method = QueueingMethod::kFifo;
  Lapse lapse = Lapse::kRequeueHead;
  bool queue_all = false;      // nobody enters, everybody queues
  bool suspended = false;      // the room does nothing, all pass
  bool paused = false;         // nobody is called; sessions go on
  bool fast = false;           // HAProxy admits on its own while places are free
  bool fixed_session = false;  // a session ends `session_ms` after it began, whatever happens
  u32 capacity = 1;            // C: most visitors inside
  u32 new_per_minute = 0;      // N: most admissions in any 60 s; 0 = no limit
  u32 session_ms = 60'000;     // S
  u32 hold_ms = 300'000;       // H: how long a silent waiter keeps the place
  u32 grace_ms = 0;            // G: to show up when called; 0 = max(3 K, 60 s)
  u32 refresh_ms = 20'000;     // K: how often pages ask
  u32 status_code = 200;       // of answers while queued: 200, 202, 429 or 503

  u32 grace() const {
    const u32 least = 3 * refresh_ms < 60'000 ? 60'000 : 3 * refresh_ms;
    return grace_ms != 0 ? grace_ms : least;
  }
  friend bool operator==(const RoomSettings&, const RoomSettings&) = default;
};

// Upper bounds of the histograms' buckets, in seconds; the last bucket has none.
inline constexpr std::array<u32, 15> kRoomHistogramBounds{
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600};
struct RoomHistogram {
  std::array<u64, kRoomHistogramBounds.size() + 1> buckets{};  // not cumulated
  u64 sum_ms = 0;
};

// Numbers that the daemon keeps in the segment; each is a word of its own.
struct RoomNumbers {
  u64 active = 0;             // inside
  u64 ready = 0;              // called, not inside yet (granted or ready)
  u64 waiting = 0;            // in the line
  u64 front = 0;              // called once, did not come, wait before the line
  u64 admit_rate_milli = 0;   // admissions a minute, x1000
  u64 arrive_rate_milli = 0;  // arrivals a minute, x1000
  u64 oldest_since =
      0;  // room time (Tick) since which the oldest waiter waits; only if waiting + front != 0
  u64 last_admitted_ms = 0;  // SegmentMs; 0 = never
  std::array<u64, static_cast<std::size_t>(RoomCounter::kCount)> counters{};
  u64 counter(RoomCounter c) const { return counters[static_cast<std::size_t>(c)]; }
};

}  // namespace lineq::shm
