// Numbers and descriptions of the counters in counters.def.
#pragma once

#include <array>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::shm {

enum class DaemonCounter : u16 {
#define LINEQ_DAEMON_COUNTER(name, kind, unit, help) name,
#include "shm/counters.def"
#undef LINEQ_DAEMON_COUNTER
  kCount
};

enum class TableCounter : u16 {
#define LINEQ_TABLE_COUNTER(name, kind, unit, help) name,
#include "shm/counters.def"
#undef LINEQ_TABLE_COUNTER
  kCount
};

enum class PeerCounter : u16 {
#define LINEQ_PEER_COUNTER(name, kind, unit, help) name,
#include "shm/counters.def"
#undef LINEQ_PEER_COUNTER
  kCount
};

enum class PeerTableCounter : u16 {
#define LINEQ_PEER_TABLE_COUNTER(name, kind, unit, help) name,
#include "shm/counters.def"
#undef LINEQ_PEER_TABLE_COUNTER
  kCount
};

enum class RoomCounter : u16 {
#define LINEQ_ROOM_COUNTER(name, kind, unit, help) name,
#include "shm/counters.def"
#undef LINEQ_ROOM_COUNTER
  kCount
};

enum class CounterKind : u8 { kCounter, kGauge };

struct CounterInfo {
  std::string_view name;
  CounterKind kind;
  std::string_view unit;
  std::string_view help;
};

inline constexpr std::array kDaemonCounters{
#define LINEQ_DAEMON_COUNTER(name, kind, unit, help) \
  CounterInfo{#name, CounterKind::kind, unit, help},
#include "shm/counters.def"
#undef LINEQ_DAEMON_COUNTER
};

inline constexpr std::array kTableCounters{
#define LINEQ_TABLE_COUNTER(name, kind, unit, help) \
  CounterInfo{#name, CounterKind::kind, unit, help},
#include "shm/counters.def"
#undef LINEQ_TABLE_COUNTER
};

inline constexpr std::array kPeerCounters{
#define LINEQ_PEER_COUNTER(name, kind, unit, help) \
  CounterInfo{#name, CounterKind::kind, unit, help},
#include "shm/counters.def"
#undef LINEQ_PEER_COUNTER
};

inline constexpr std::array kPeerTableCounters{
#define LINEQ_PEER_TABLE_COUNTER(name, kind, unit, help) \
  CounterInfo{#name, CounterKind::kind, unit, help},
#include "shm/counters.def"
#undef LINEQ_PEER_TABLE_COUNTER
};

inline constexpr std::array kRoomCounters{
#define LINEQ_ROOM_COUNTER(name, kind, unit, help) \
  CounterInfo{#name, CounterKind::kind, unit, help},
#include "shm/counters.def"
#undef LINEQ_ROOM_COUNTER
};

}  // namespace lineq::shm
