#include <algorithm>

#include "daemon/engine/waiting_room_parts.h"

namespace lineq::engine {

using shm::Visitor;
using shm::VisitorState;

namespace {

constexpr u64 kFewRows = 10;  // of the table with lineq-operator's `size 10`

}  // namespace

// --- operators ---

std::vector<cli::RoomSettings> WaitingRoom::rooms() const {
  std::vector<cli::RoomSettings> all;
  for (const auto& [name, room] : by_name_) {
    all.push_back(room->settings);
  }
  return all;
}

const cli::RoomSettings* WaitingRoom::find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &at->second->settings;
}

shm::RoomNumbers WaitingRoom::numbers(std::string_view name) const {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) {
    return {};
  }
  const Room& room = *at->second;
  shm::RoomNumbers n = writer().room_numbers(room.no);
  n.active = room.active;
  n.ready = room.called;
  n.waiting = writer().line(room.no).waiting();
  n.front = room.front;
  return n;
}

namespace {

Error no_such_room(std::string_view name) {
  return {ErrorCode::kNotFound, fmt::format("there is no room '{}'", peers::printable(name))};
}

}  // namespace

Status WaitingRoom::put(const cli::RoomSettings& settings, SegmentMs now) {
  if (const auto at = by_name_.find(settings.name); at != by_name_.end()) {
    Room& room = *at->second;
    if (room.settings.method != settings.method) {
      room.called_high.reset();
    }
    room.settings = settings;
    room.pacing.set_limit(settings.new_per_minute);
    writer().set_room(room.no, settings);
    look_at(room);
    return {};
  }
  for (const auto& room : rooms_) {
    if (room != nullptr && room->closing && room->settings.name == settings.name) {
      (void)sweep(*room, ~u32{0}, now);
      break;
    }
  }
  const Result<RoomNo> no = writer().add_room(settings, now);
  if (!no) {
    return no.error();
  }
  Room& room = add(*no, settings);
  if (by_name_.size() == kFewRows + 1) {
    cli::log_warning(
        "room {} is the eleventh: HAProxys whose room table has 'size 10', as lineq-operator "
        "writes it, "
        "forget one of them again and again",
        settings.name);
  }
  advertise(room, true, now);
  publish(room, now);
  look_at(room);
  return {};
}

Status WaitingRoom::remove(std::string_view name, SegmentMs now) {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) {
    return no_such_room(name);
  }
  Room& room = *at->second;
  by_name_.erase(at);
  room.closing = true;
  closing_.push_back(&room);
  advertise(room, true, now);
  return {};
}

Result<u32> WaitingRoom::admit(std::string_view name, u32 n, SegmentMs now) {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) {
    return no_such_room(name);
  }
  Room& room = *at->second;
  if (!may_call(now)) {
    return Error{ErrorCode::kBusy,
                 "lineqd has just started and learns from the HAProxys who is inside: try again in "
                 "a few seconds"};
  }
  u32 called = 0;
  while (called < n && room.taken() < room.settings.capacity && call_next(room, now)) {
    ++called;
  }
  look_at(room);
  return called;
}

Result<u64> WaitingRoom::revoke(std::string_view name, std::string_view session, SegmentMs now) {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) {
    return no_such_room(name);
  }
  Room& room = *at->second;
  u64 ended = 0;
  for (const std::string& key :
       {std::string(session), fmt::format("{}@{}", session, room.settings.name)}) {
    if (auto entry = find_entry(key, now);
        entry && shm::holds_place(entry->visitor.state) && entry->visitor.room == room.no) {
      end(room, *entry, VisitorState::kRevoked, now);
      ++ended;
    }
  }
  return ended;
}

Result<u64> WaitingRoom::revoke_all(std::string_view name, SegmentMs now) {
  const auto at = by_name_.find(name);
  if (at == by_name_.end()) {
    return no_such_room(name);
  }
  Room& room = *at->second;
  u64 ended = 0;
  for (u32 users = 0; users < users_.size(); ++users) {
    const shm::Table& table = table_of(users);
    for (u32 slot = 0; slot < table.high_water() && room.active + room.called != 0; ++slot) {
      const shm::EntryView view = table.at(slot);
      if (!view.live()) {
        continue;
      }
      const Visitor v = Visitor::of(view);
      if (v.room == room.no && shm::holds_place(v.state)) {
        Entry entry = entry_at(Place(users, slot), now);
        end(room, entry, VisitorState::kRevoked, now);
        ++ended;
      }
    }
  }
  return ended;
}

void WaitingRoom::present(std::span<const std::string_view> keys, SegmentMs now) {
  for (const std::string_view key : keys) {
    auto entry = find_entry(key, now);
    if (!entry || !shm::waits(entry->visitor.state)) {
      continue;
    }
    const Room& room = *rooms_[entry->visitor.room.value];
    const Tick until = room_now(now) + life(room.settings.hold_ms);
    if (tick_diff(until, entry->visitor.deadline) > 0) {
      Visitor next = entry->visitor;
      next.deadline = until;
      (void)write(*entry, next, Tell::kNobody, now);
    }
  }
}

}  // namespace lineq::engine
