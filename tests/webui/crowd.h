// Visitors of a waiting room, put into the segment by hand as lineqd would.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "shm/visitor.h"
#include "tests/shm/segment.h"

namespace lineq::shm {

class Crowd {
 public:
  static RoomSettings settings(std::string name) {
    RoomSettings s;
    s.name = std::move(name);
    s.capacity = 2;
    return s;
  }

  explicit Crowd(Writer& writer, RoomSettings room = settings("shop"), u32 key_bytes = 73)
      : writer_(&writer), name_(room.name), key_bytes_(key_bytes) {
    const TableDefinition users = define("users", KeyType::kString, key_bytes, {kGpc1}, 86'400'000);
    users_ = writer.table_for(users, writer.now(), TableRole::kUsers)->table;
    room_ = *writer.add_room(room, writer.now());
  }

  RoomNo room() const { return room_; }
  // As HAProxy stores it: cut to what its table takes.
  std::string key(std::string_view session) const {
    return (std::string(session) + "@" + name_).substr(0, key_bytes_ - 1);
  }

  // A new visitor at the end of the line.
  Ticket arrive(std::string_view session) {
    const SegmentMs now = writer_->now();
    const std::string name = key(session);
    Line& line = writer_->line(room_);
    const Ticket ticket = *line.next_ticket(now);
    Visitor visitor;
    visitor.state = VisitorState::kWaiting;
    visitor.room = room_;
    visitor.ticket = ticket;
    visitor.since = writer_->room_time(now);
    visitor.deadline = visitor.since + 300'000;
    Together change(*writer_);
    u64* image = change.insert(*users_, bytes(name), users_->tag_of(bytes(name)), now);
    put_times(image, std::nullopt, tick_of(now));
    put(visitor, image);
    change.join(line);
    change.land_quietly(now);
    return ticket;
  }

  Visitor visitor(std::string_view session) const {
    const auto slot = users_->find(bytes(key(session)));
    return slot ? Visitor::of(users_->at(*slot)) : Visitor{};
  }

  // Any state after waiting; told to the feed.
  void become(std::string_view session, VisitorState state) {
    const SegmentMs now = writer_->now();
    const std::string name = key(session);
    const auto slot = users_->find(bytes(name));
    ASSERT_TRUE(slot);
    Visitor visitor = Visitor::of(users_->at(*slot));
    const bool was_waiting = visitor.state == VisitorState::kWaiting;
    visitor.state = state;
    visitor.since = writer_->room_time(now);
    visitor.deadline = visitor.since + 60'000;
    Together change(*writer_);
    put(visitor, change.update(*users_, *slot, users_->tag_of(bytes(name))));
    if (was_waiting) {
      change.leave(writer_->line(room_), visitor.ticket);
    }
    change.land(kNoPeer, now);
  }

  template <typename Change>
  void numbers(Change&& change) {
    RoomNumbers n = writer_->room_numbers(room_);
    change(n);
    writer_->set_room_numbers(room_, n);
  }
  template <typename Change>
  void rules(Change&& change) {
    RoomSettings s = writer_->room_settings(room_);
    change(s);
    writer_->set_room(room_, s);
  }
  // A steady stream of people is let in, so that an estimate can be made.
  void flows(u64 per_minute) {
    numbers([&](RoomNumbers& n) {
      n.admit_rate_milli = per_minute * 1000;
      n.arrive_rate_milli = per_minute * 1000;
      n.last_admitted_ms = writer_->now();
      n.counters[static_cast<std::size_t>(RoomCounter::admitted)] = 1000;
      n.counters[static_cast<std::size_t>(RoomCounter::granted)] = 1000;
    });
  }

 private:
  void put(const Visitor& visitor, u64* image) const {
    const std::size_t at = users_->info().geometry.ext_offset / 8;
    image[at] = visitor.word0();
    image[at + 1] = visitor.word1();
  }

  Writer* writer_;
  std::string name_;
  u32 key_bytes_;
  Table* users_ = nullptr;
  RoomNo room_{0};
};

}  // namespace lineq::shm
