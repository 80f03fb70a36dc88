#include <algorithm>

#include "daemon/engine/waiting_room_parts.h"

namespace lineq::engine {

using shm::RoomCounter;
using shm::Visitor;
using shm::VisitorState;

namespace {

constexpr u32 kMostOverMs = 86'400'000;
constexpr u32 kHoldLookMs = 1000;

}  // namespace

// --- changes of state ---

// The entry says `next` from now on, with the other columns as `s` told them. An entry that does
// not exist is made, with the key of `s`. False: there is no memory, nothing happened.
bool WaitingRoom::write(Entry& entry, const Visitor& next, Tell tell, SegmentMs now,
                        const Sighting* s) {
  shm::Table& table = table_of(entry.place.users());
  const shm::Geometry& geometry = table.info().geometry;
  const Visitor& old = entry.visitor;
  shm::Together change(writer());
  u64* const image = entry.exists ? change.update(table, entry.place.slot(), entry.tag)
                                  : change.insert(table, s->update.key, entry.tag, now);
  if (image == nullptr) {
    return false;
  }
  if (!entry.exists) {
    if (change.slot(0) >= Place::kMaxSlots) {
      return false;
    }
    entry.place = Place(entry.place.users(), change.slot(0));
  }
  const Tick tick = tick_of(now);
  if (s != nullptr) {
    shm::put_cells(s->columns, s->update.cells, tick, image);
  }
  put32(image, geometry.offset[shm::kGpc1], shm::holds_place(next.state) ? 1 : 0);
  if (geometry.offset[shm::kGpt0] != 0) {
    put32(image, geometry.offset[shm::kGpt0], 0);
  }
  image[geometry.ext_offset / 8] = next.word0();
  image[geometry.ext_offset / 8 + 1] = next.word1();
  // Acknowledged by all is no news about the visitor.
  const bool same_time = old.state == VisitorState::kGranted && next.state == VisitorState::kReady;
  const Tick seen = s != nullptr ? tick - s->age() : tick;
  const Tick updated = !entry.exists ? seen
                       : same_time   ? entry.updated
                       : next.state == old.state && s != nullptr && !s->live
                           ? (tick_diff(seen, entry.updated) > 0 ? seen : entry.updated)
                           : tick;
  Tick due = next.deadline + store_.room_shift();
  if (shm::is_over(next.state)) {
    // So that HAProxys that come later can still be told.
    const u32 own = table.expire_ms() == 0 ? kMostOverMs : table.expire_ms();
    due = tick + (next.told ? std::clamp(own, kLeastOverMs, kMaxLifeMs) : kLeastOverMs);
    shm::put_times(image, due, updated);
  } else {
    shm::put_times(image, std::nullopt, updated);
  }
  const bool waited = entry.exists && old.state == VisitorState::kWaiting;
  if (next.state == VisitorState::kWaiting && !waited) {
    change.join(writer().line(next.room));
  } else if (waited && next.state != VisitorState::kWaiting) {
    change.leave(writer().line(old.room), old.ticket);
  }
  switch (tell) {
    case Tell::kNobody:
      change.land_quietly(now);
      break;
    case Tell::kReaders:
      change.land(kReadersOnly, now);
      break;
    case Tell::kAll:
      change.land(kNoPeer, now);
      break;
  }
  store_.arm(table.info().no, entry.place.slot(), due);
  entry.exists = true;
  entry.gone = false;
  entry.updated = updated;
  entry.visitor = next;
  return true;
}

bool WaitingRoom::join(const Sighting& s, Entry& entry) {
  Room& room = s.room;
  if (!takes_newcomers(room.settings)) {
    count(room, RoomCounter::rejected);
    return false;
  }
  const auto ticket = writer().line(room.no).next_ticket(s.now);
  const Tick now = room_now(s.now);
  const Visitor v{.state = VisitorState::kWaiting,
                  .told = entry.exists && !entry.gone && entry.visitor.told,
                  .room = room.no,
                  .ticket = ticket.value_or(Ticket{0}),
                  .deadline = now + life(room.settings.hold_ms) - s.age(),
                  .since = now};
  if (!ticket || !write(entry, v, Tell::kNobody, s.now, &s)) {
    count(room, RoomCounter::join_refused);
    if (const auto hidden = limit_.admit(room.settings.name, s.now)) {
      cli::log_err("room {}: no memory for more visitors, {} wait ({} more before)",
                   room.settings.name, writer().line(room.no).waiting(), *hidden);
    }
    return false;
  }
  users_[s.users].see(entry.place.slot(), s.peer.no);
  count(room, RoomCounter::issued);
  room.arrivals.event(s.now);
  room.book.put(*ticket, entry.place);
  tell_estimate(room, *ticket, s.now);
  look_at(room);
  return true;
}

// Seen: the present state lasts longer. `life_ms` 0: it does not.
void WaitingRoom::prolong(const Sighting& s, Entry& entry, u32 life_ms, Tell tell) {
  Visitor next = entry.visitor;
  if (life_ms != 0) {
    const Tick until = room_now(s.now) + life(life_ms) - s.age();
    next.deadline = tick_diff(until, next.deadline) > 0 ? until : next.deadline;
  }
  (void)write(entry, next, tell, s.now, &s);
}

// Of somebody who waited and is now elsewhere.
void WaitingRoom::left(Room& room, const Visitor& visitor) {
  if (visitor.state == VisitorState::kWaiting) {
    room.book.take(visitor.ticket);
  } else if (visitor.state == VisitorState::kFront) {
    --room.front;
  }
}

void WaitingRoom::call(Room& room, Entry& entry, SegmentMs now) {
  const Visitor old = entry.visitor;
  const i32 waited = std::max(0, tick_diff(room_now(now), old.since));
  if (old.state == VisitorState::kWaiting) {
    if (room.settings.method == shm::QueueingMethod::kFifo) {
      if (room.called_high && old.ticket.value < room.called_high->value) {
        count(room, RoomCounter::fifo_inversions);
      }
      if (!room.called_high || old.ticket.value > room.called_high->value) {
        room.called_high = old.ticket;
      }
    }
    const TicketBook::Told told = room.book.told_to(old.ticket);
    if (TicketBook::was_told(told)) {
      count(room, RoomCounter::estimates);
      if (TicketBook::held(told, waited / 1000.0)) {
        count(room, RoomCounter::estimates_held);
      }
    }
  }
  left(room, old);
  Visitor next = old;
  next.state = VisitorState::kGranted;
  next.told = true;
  next.since = room_now(now);
  next.deadline = next.since + life(room.settings.grace());
  (void)write(entry, next, Tell::kAll, now);
  ++room.called;
  room.pacing.admitted(now);
  writer().set_room_pacing(room.no, room.pacing.tat_us());
  room.admissions.event(now);
  room.last_admitted_ms = now;
  count(room, RoomCounter::granted);
  writer().add_room_wait(room.no, static_cast<u32>(waited));
  start_pending(entry.place, room, false, connected_bits(entry.place.users()), now);
  room.changed = true;
}

// Called, and came.
void WaitingRoom::enter(const Sighting& s, Entry& entry) {
  Room& room = s.room;
  drop_pending(entry.place);
  Visitor next = entry.visitor;
  next.state = VisitorState::kActive;
  next.again = room.settings.fixed_session && !s.live;
  next.since = room_now(s.now);
  const u32 life_ms = room.settings.fixed_session
                          ? life(room.settings.session_ms)
                          : life(u64{room.settings.session_ms} + options_.allowance_ms) - s.age();
  next.deadline = next.since + life_ms;
  (void)write(entry, next, Tell::kReaders, s.now, &s);
  users_[s.users].see(entry.place.slot(), s.peer.no);
  --room.called;
  ++room.active;
  count(room, RoomCounter::admitted);
  room.changed = true;
}

// Inside without having been called, and may stay.
void WaitingRoom::adopt_session(const Sighting& s, Entry& entry) {
  Room& room = s.room;
  const Visitor old = entry.exists ? entry.visitor : Visitor{};
  const Tick now = room_now(s.now);
  Visitor next = old;
  next.state = VisitorState::kActive;
  next.again = false;
  next.told = true;
  next.room = room.no;
  next.since = now;
  next.deadline = now + life(u64{room.settings.session_ms} + options_.allowance_ms) - s.age();
  if (!write(entry, next, Tell::kAll, s.now, &s)) {
    count(room, RoomCounter::join_refused);
    return;
  }
  left(room, old);
  drop_pending(entry.place);
  users_[s.users].see(entry.place.slot(), s.peer.no);
  ++room.active;
  const bool by_itself = s.live && (room.settings.fast || flow_of(room.settings) == Flow::kAll);
  if (by_itself) {
    room.admissions.event(s.now);
    room.last_admitted_ms = s.now;
    room.pacing.admitted(s.now);
  }
  count(room, by_itself ? RoomCounter::admitted : RoomCounter::adopted);
  look_at(room);
}

// Inside and there is no place: waits before all others.
void WaitingRoom::refuse(const Sighting& s, Entry& entry) {
  Room& room = s.room;
  const bool known = entry.exists && !entry.gone;
  const bool in_front = known && entry.visitor.state == VisitorState::kFront;
  if (!in_front) {
    count(room, RoomCounter::over_limit);
  }
  // A ticket first: it says who came first.
  if (!known || !shm::waits(entry.visitor.state)) {
    if (!join(s, entry)) {
      Visitor over{.state = VisitorState::kRevoked, .told = true, .room = room.no};
      over.deadline = over.since = room_now(s.now);
      (void)write(entry, over, Tell::kAll, s.now, &s);
      return;
    }
  }
  const Visitor old = entry.visitor;
  Visitor next = old;
  next.state = VisitorState::kFront;
  next.told = true;
  next.deadline = room_now(s.now) + life(room.settings.hold_ms);
  next.since = in_front ? old.since : room_now(s.now);
  (void)write(entry, next, Tell::kAll, s.now, &s);
  if (!in_front) {
    left(room, old);
    ++room.front;
    room.fronts.push_back({entry.place, next.ticket});
  }
  look_at(room);
}

// Of somebody who held a place.
void WaitingRoom::end(Room& room, Entry& entry, VisitorState how, SegmentMs now) {
  const Visitor old = entry.visitor;
  Visitor next = old;
  next.state = how;
  next.since = next.deadline = room_now(now);
  (void)write(entry, next, Tell::kAll, now);
  if (old.state == VisitorState::kActive) {
    const i32 stayed = std::max(0, tick_diff(room_now(now), old.since));
    writer().add_room_stay(room.no, static_cast<u32>(stayed));
    ++room.stays;
    room.stay_ms += stayed;
    --room.active;
  } else {
    --room.called;
  }
  count(room, how == VisitorState::kExpired  ? RoomCounter::expired
              : how == VisitorState::kLapsed ? RoomCounter::lapsed
                                             : RoomCounter::revoked);
  users_[entry.place.users()].see(entry.place.slot(), kNoPeer);
  start_pending(entry.place, room, true, connected_bits(entry.place.users()), now);
  look_at(room);
}

// Called, and did not come.
void WaitingRoom::lapse(Room& room, Entry& entry, SegmentMs now) {
  const Visitor old = entry.visitor;
  if (old.again || room.settings.lapse == shm::Lapse::kDrop) {
    end(room, entry, VisitorState::kLapsed, now);
    return;
  }
  const bool front = room.settings.lapse == shm::Lapse::kRequeueHead;
  const auto ticket = front ? old.ticket : writer().line(room.no).next_ticket(now);
  if (!ticket) {
    count(room, RoomCounter::join_refused);
    end(room, entry, VisitorState::kLapsed, now);
    return;
  }
  Visitor next = old;
  next.state = front ? VisitorState::kFront : VisitorState::kWaiting;
  next.again = true;
  next.ticket = *ticket;
  next.since = room_now(now);
  next.deadline = next.since + life(room.settings.hold_ms);
  (void)write(entry, next, Tell::kAll, now);
  --room.called;
  if (front) {
    ++room.front;
    room.fronts.push_back({entry.place, next.ticket});
  } else {
    count(room, RoomCounter::issued);
    room.book.put(next.ticket, entry.place);
  }
  count(room, RoomCounter::lapsed);
  start_pending(entry.place, room, true, connected_bits(entry.place.users()), now);
  look_at(room);
}

// Of somebody who waited.
void WaitingRoom::dismiss(Room& room, Entry& entry, VisitorState how, SegmentMs now) {
  const Visitor old = entry.visitor;
  Visitor next = old;
  next.state = how;
  next.since = next.deadline = room_now(now);
  (void)write(entry, next, Tell::kReaders, now);
  left(room, old);
  if (how == VisitorState::kAbandoned) {
    count(room, RoomCounter::abandoned);
  }
  look_at(room);
}

std::optional<Tick> WaitingRoom::on_expired(shm::Table& table, u32 slot, SegmentMs now) {
  const auto users = users_of(table.info().no);
  if (!table.at(slot).never_expires() || !users) {
    table.erase(slot, shm::FeedKind::kExpire, kNoPeer, now);
    return std::nullopt;
  }
  const Place place(*users, slot);
  Entry entry = entry_at(place, now);
  Room* const room = rooms_[entry.visitor.room.value].get();
  if (shm::holds_place(entry.visitor.state)) {
    if (const auto until = held_until(*room, place, now)) {
      return until;
    }
  }
  if (entry.visitor.state == VisitorState::kActive) {
    end(*room, entry, VisitorState::kExpired, now);
  } else if (shm::called(entry.visitor.state)) {
    lapse(*room, entry, now);
  } else {
    dismiss(*room, entry, VisitorState::kAbandoned, now);
  }
  return store_.deadline_of(table, table.at(slot));
}

// The session is over for all we know, or the visitor who was called did not come; but the HAProxy
// that saw the visitor last may know better, and cannot tell.
std::optional<Tick> WaitingRoom::held_until(const Room& room, Place place, SegmentMs now) const {
  const u64 life_ms = u64{room.settings.session_ms} + options_.allowance_ms;
  const auto unsure = [&](const std::unique_ptr<PeerState>& state) {
    return state != nullptr &&
           (state->up ? !state->taught : state->was_up && now < state->down_ms + life_ms);
  };
  const PeerNo last = users_[place.users()].seen_by(place.slot());
  // Seen before our start only: through any of them.
  const bool hold = last.value < peers_.size() ? unsure(peers_[last.value])
                                               : std::any_of(peers_.begin(), peers_.end(), unsure);
  return hold ? std::optional(tick_of(now) + kHoldLookMs) : std::nullopt;
}

}  // namespace lineq::engine
