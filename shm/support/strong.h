// Strong<Tag, T>: a number with a meaning. Compares and hashes; no arithmetic across meanings.
#pragma once

#include <compare>
#include <functional>

#include "shm/support/ints.h"

namespace lineq {

template <typename Tag, typename T>
struct Strong {
  T value{};

  constexpr Strong() = default;
  constexpr explicit Strong(T v) : value(v) {}
  friend constexpr auto operator<=>(Strong, Strong) = default;
};

using SlotNo = Strong<struct SlotNoTag, u32>;    // a slot of one table; never moves while it lives
using TableNo = Strong<struct TableNoTag, u16>;  // index in the segment's table directory
using PeerNo = Strong<struct PeerNoTag, u16>;    // index in the segment's peer directory
using RoomNo = Strong<struct RoomNoTag, u16>;    // index in the segment's room directory
using Ticket = Strong<struct TicketTag, u64>;    // place in a room's line; 48 bits, never reused

inline constexpr PeerNo kNoPeer{0xffff};  // origin of changes made by lineqd itself
inline constexpr TableNo kNoTable{0xffff};

}  // namespace lineq

template <typename Tag, typename T>
struct std::hash<lineq::Strong<Tag, T>> {
  std::size_t operator()(lineq::Strong<Tag, T> s) const noexcept { return std::hash<T>{}(s.value); }
};
