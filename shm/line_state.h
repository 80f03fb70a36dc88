// What Line, Writer, Together and SnapshotLoader share. Included by line.cc, writer_rooms.cc,
// table.cc and snapshot_load.cc alone.
#pragma once

#include <vector>

#include "shm/intent.h"
#include "shm/line.h"
#include "shm/line_count.h"
#include "shm/writer_state.h"

namespace lineq::shm {

// RoomDesc up to its numbers: what is written under its sequence, through the redo record.
inline constexpr u32 kRuleWords = offsetof(RoomDesc, active) / 8;
inline constexpr u32 kLineWord = offsetof(RoomDesc, line) / 8;  // but for this one
static_assert(kRuleWords <= kIntentWords);

struct Line::Parts {
  // A shared object, and its index in the object directory.
  struct Piece {
    Object object;
    u32 dir = 0;
  };

  Parts(Writer::State& s, RoomNo number)
      : state(s), desc(s.layout->rooms[number.value]), room(number) {}

  Writer::State& state;
  RoomDesc& desc;
  RoomNo room;
  Piece directory;
  std::vector<Piece> segments;  // by ring index
  Piece spare;                  // left behind, without a bit; the next one to be used
  SegmentMs retry_ms = 0;       // after the system refused memory: not before

  LineDir* dir() const { return reinterpret_cast<LineDir*>(directory.object.data()); }
  LineSegment* segment(u64 no) const {
    return reinterpret_cast<LineSegment*>(segments[ring_of(no)].object.data());
  }
  bool make(Piece& piece, u64 bytes);
  bool make_directory();
  bool make_segment(u64 no);
  void leave_behind(u64 no);
  void drop(Piece& piece);
  void drop_all();  // the room is gone

  u64 first_from(u64 ticket) const;  // that waits; tail = none
  void move_head();
  void recount(u64 segment_no);

  // An empty line becomes one in which these wait, in ascending order, and `tail` comes next.
  // kDamaged: they span too much, or are not in order.
  Status fill(std::span<const u64> tickets, u64 tail);

  // After a kill. kDamaged: what is there contradicts itself.
  Status adopt();
  void redo(LineOp op, u64 ticket);
  bool uses(u32 dir_index) const;
};

}  // namespace lineq::shm
