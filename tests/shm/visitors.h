// Visitors of waiting rooms, written as the daemon writes them.
#pragma once

#include "shm/visitor.h"
#include "tests/shm/segment.h"

namespace lineq::shm {

inline const TableDefinition kVisitors = define("users", KeyType::kString, 73, {kGpc1});

inline RoomSettings room_settings(std::string name, u32 capacity = 2) {
  RoomSettings s;
  s.name = std::move(name);
  s.capacity = capacity;
  return s;
}

inline Table& visitors(Writer& writer) {
  return *writer.table_for(kVisitors, 0, TableRole::kUsers)->table;
}

inline void put_visitor(const Table& table, u64* image, const Visitor& v) {
  put_times(image, is_over(v.state) ? std::optional(Tick{1'000'000}) : std::nullopt, v.since);
  const u32 ext = table.info().geometry.ext_offset / 8;
  image[ext] = v.word0();
  image[ext + 1] = v.word1();
  const u64 gpc1 = holds_place(v.state) ? 1 : 0;
  put_cells(ColumnMap(kVisitors, table.info()), &gpc1, v.since, image);
}

// Comes to the room for the first time, or anew after it was over.
inline Ticket join(Writer& writer, RoomNo room, std::string_view key, SegmentMs now = 5) {
  Table& table = visitors(writer);
  const auto ticket = writer.line(room).next_ticket(now);
  EXPECT_TRUE(ticket);
  const Tick time = writer.room_time(now);
  const u32 tag = table.tag_of(bytes(key));
  const auto old = table.find(tag, bytes(key));
  Together change(writer);
  u64* image = old ? change.update(table, *old, tag) : change.insert(table, bytes(key), tag, now);
  put_visitor(table, image,
              {.state = VisitorState::kWaiting,
               .room = room,
               .ticket = *ticket,
               .deadline = time + 300'000,
               .since = time});
  change.join(writer.line(room));
  change.land_quietly(now);
  return *ticket;
}

// To another state; out of the line if that is where they were.
inline void become(Writer& writer, std::string_view key, VisitorState state, SegmentMs now = 6) {
  Table& table = visitors(writer);
  const u32 tag = table.tag_of(bytes(key));
  const u32 slot = *table.find(tag, bytes(key));
  Visitor v = Visitor::of(table.at(slot));
  Together change(writer);
  u64* image = change.update(table, slot, tag);
  if (v.state == VisitorState::kWaiting) {
    change.leave(writer.line(v.room), v.ticket);
  }
  v.state = state;
  v.since = writer.room_time(now);
  put_visitor(table, image, v);
  change.land(kNoPeer, now);
}

// The key of who holds this ticket.
inline std::string holder(Writer& writer, RoomNo room, Ticket ticket) {
  Table& table = visitors(writer);
  for (u32 slot = 0; slot < table.high_water(); ++slot) {
    const EntryView entry = table.at(slot);
    const Visitor v = Visitor::of(entry);
    if (entry.live() && v.state == VisitorState::kWaiting && v.room == room && v.ticket == ticket) {
      return std::string(entry.key_chars());
    }
  }
  return {};
}

}  // namespace lineq::shm
