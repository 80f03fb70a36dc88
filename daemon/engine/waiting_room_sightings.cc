#include <algorithm>
#include <bit>

#include "daemon/engine/waiting_room_parts.h"

namespace lineq::engine {

using shm::TableRole;
using shm::Visitor;
using shm::VisitorState;

namespace {

constexpr u32 kTooFar = u32{1} << 31;  // an expiry of this and more is broken (peers-protocol 9.2)
constexpr i32 kDeliveryMs = 20;        // a message to a HAProxy
constexpr std::size_t kCutAt = 31;     // string keys without `len`

// First cell of a column in rows of this definition; nothing: it has no such column.
std::optional<u32> cell_of(const shm::TableDefinition& definition, u32 column) {
  if (!definition.has(column)) {
    return std::nullopt;
  }
  u32 cell = 0;
  for (u64 left = definition.data_types & ((u64{1} << column) - 1); left != 0; left &= left - 1) {
    const auto bit = static_cast<u32>(std::countr_zero(left));
    cell += shm::wire_cells(shm::data_type(bit).kind) * definition.elements[bit];
  }
  return cell;
}

}  // namespace

// --- what HAProxys tell ---

void WaitingRoom::on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                             SegmentMs now) {
  switch (writer().table(table.table_no)->info().role) {
    case TableRole::kUsers:
      if (const auto users = users_of(table.table_no)) {
        users_updates(peer, table, *users, updates, now);
      }
      return;
    case TableRole::kRooms:
      rooms_updates(peer, table, updates, now);
      return;
    default:
      plain_.on_updates(peer, table, updates, now);
      return;
  }
}

void WaitingRoom::rooms_updates(Peer& peer, const PeerTable& table,
                                std::span<const peers::Update> updates, SegmentMs now) {
  const shm::TableDefinition& theirs = table.theirs->definition;
  const std::optional<u32> gpc0 = cell_of(theirs, shm::kGpc0);
  for (const peers::Update& update : updates) {
    Room* room = nullptr;
    if (theirs.key_type == shm::KeyType::kInteger && update.key.size() == 4) {
      const u32 number = u32{update.key[0]} << 24 | u32{update.key[1]} << 16 |
                         u32{update.key[2]} << 8 | u32{update.key[3]};
      room = number >= 1 && number <= rooms_.size() ? rooms_[number - 1].get() : nullptr;
    } else {
      const std::string_view name(reinterpret_cast<const char*>(update.key.data()),
                                  update.key.size());
      room = room_named(name, name.size() >= std::min<std::size_t>(kCutAt, theirs.key_capacity()));
    }
    if (room == nullptr) {
      unknown_room(peer, {reinterpret_cast<const char*>(update.key.data()), update.key.size()},
                   now);
    } else if (gpc0 && static_cast<u32>(update.cells[*gpc0]) != room->advertised) {
      room->shown_wrong = true;
    }
  }
}

void WaitingRoom::users_updates(Peer& peer, const PeerTable& table, u32 users,
                                std::span<const peers::Update> updates, SegmentMs now) {
  const shm::TableDefinition& theirs = table.theirs->definition;
  const std::optional<u32> gpc1 = cell_of(theirs, shm::kGpc1);
  const std::optional<u32> gpt0 = cell_of(theirs, shm::kGpt0);
  if (!gpc1) {
    return;
  }
  const shm::Table& ours = table_of(users);
  // Sweeps, so that cache misses of a batch overlap (shm-design 18).
  std::array<u32, shm::Table::kBatch> tags;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    tags[i] = ours.tag_of(updates[i].key);
    ours.prefetch(tags[i]);
  }
  std::array<u32, shm::Table::kBatch> slots;
  for (std::size_t i = 0; i < updates.size(); ++i) {
    slots[i] = ours.prefetch_slot(tags[i]);
  }
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const peers::Update& update = updates[i];
    const std::string_view key(reinterpret_cast<const char*>(update.key.data()), update.key.size());
    Entry entry;
    entry.place = Place(users, 0);
    entry.tag = tags[i];
    if (const auto slot = ours.find(tags[i], update.key, slots[i])) {
      entry = entry_at(Place(users, *slot), now);
    }
    const bool theirs_still = entry.exists && !shm::is_over(entry.visitor.state) &&
                              entry.visitor.state != VisitorState::kNone;
    Room* const room =
        theirs_still ? rooms_[entry.visitor.room.value].get() : room_of(key, theirs.key_capacity());
    if (room == nullptr) {
      // What a session is called is as secret as any login.
      unknown_room(peer, fmt::format("...{}", key.substr(std::min(key.rfind('@'), key.size()))),
                   now);
      continue;
    }
    if (room->closing) {
      continue;
    }
    Sighting s{.peer = peer,
               .room = *room,
               .users = users,
               .columns = *table.columns,
               .update = update,
               .now = now,
               .let_in = update.cells[*gpc1] != 0,
               .sent_away = gpt0 && update.cells[*gpt0] != 0,
               .live = !update.in_lesson && !update.repeat};
    if (!s.live) {
      s.age_ms.reset();
      if (update.timed && theirs.expire_ms != 0 && update.expire_ms < kTooFar) {
        const u64 age = theirs.expire_ms - std::min<u64>(update.expire_ms, theirs.expire_ms);
        s.age_ms = life(age);
      }
    }
    sighted(s, entry);
    if (entry.exists && peer.tracked()) {
      peer.set_holds(table.table_no, entry.place.slot(),
                     s.let_in == shm::holds_place(entry.visitor.state));
    }
  }
}

void WaitingRoom::sighted(const Sighting& s, Entry& entry) {
  if (s.repeat()) {
    return;  // told once already, and better: with the time
  }
  if (!entry.exists || entry.visitor.state == VisitorState::kNone) {
    stranger(s, entry);
  } else if (shm::waits(entry.visitor.state)) {
    waiting(s, entry);
  } else if (shm::called(entry.visitor.state)) {
    called(s, entry);
  } else if (entry.visitor.state == VisitorState::kActive) {
    active(s, entry);
  } else {
    over(s, entry);
  }
}

// Whether it tells of something that came after what the entry says.
bool WaitingRoom::is_news(const Sighting& s, const Entry& entry) const {
  if (s.live) {
    return true;
  }
  if (!s.age_ms) {
    return !s.update.learned;
  }
  // Our message touched the row when it came, and left it HAProxy's own if it was before. Later
  // than that it was the visitor.
  const i32 later = tick_diff(tick_of(s.now) - *s.age_ms, entry.updated);
  return s.update.learned || entry.visitor.told ? later > kDeliveryMs : later >= 0;
}

// Said before it had what we told of this visitor last.
bool WaitingRoom::is_late(const Sighting& s, const Entry& entry) const {
  if (!entry.visitor.told || !s.live) {
    return false;
  }
  const PeerState* const state =
      s.peer.no.value < peers_.size() ? peers_[s.peer.no.value].get() : nullptr;
  return s.peer.out.catch_up.active ||
         relay_.owes(s.peer, table_of(entry.place.users()), entry.place.slot()) ||
         (state != nullptr && state->unacked.contains(entry.place.word));
}

bool WaitingRoom::is_leaving(const Entry& entry) const {
  const auto at = pending_.find(entry.place.word);
  return at != pending_.end() && at->second.leaving;
}

// The place that was taken away is not free yet; unless fewer are allowed by now.
bool WaitingRoom::may_take_back(const Room& room, const Entry& entry) const {
  return is_leaving(entry) && room.taken() <= room.settings.capacity;
}

void WaitingRoom::stranger(const Sighting& s, Entry& entry) {
  const cli::RoomSettings& rules = s.room.settings;
  if (!s.let_in) {
    if (!s.update.learned && (s.live || s.age_ms.value_or(0) < rules.hold_ms)) {
      (void)join(s, entry);
    }
    return;
  }
  if (s.age() < u64{rules.session_ms} + options_.allowance_ms) {
    let_in_unasked(s, entry);
    return;
  }
  // A session that ended while nobody looked. Another HAProxy may know better.
  Visitor v{.state = VisitorState::kExpired, .told = true, .room = s.room.no};
  v.deadline = v.since = room_now(s.now);
  (void)write(entry, v, Tell::kNobody, s.now, &s);
}

void WaitingRoom::waiting(const Sighting& s, Entry& entry) {
  const bool news = is_news(s, entry);
  if (s.let_in && news) {
    if (!is_late(s, entry)) {
      let_in_unasked(s, entry);
      return;
    }
    if (may_take_back(s.room, entry) && !s.update.learned) {
      adopt_session(s, entry);  // came at the last moment; the place is still there
      return;
    }
  }
  if (news && !(s.let_in && !s.live)) {
    users_[s.users].see(entry.place.slot(), s.peer.no);
    prolong(s, entry, s.room.settings.hold_ms, Tell::kNobody);
  }
}

void WaitingRoom::called(const Sighting& s, Entry& entry) {
  const cli::RoomSettings& rules = s.room.settings;
  const u64 life_ms = u64{rules.session_ms} + options_.allowance_ms;
  const bool news = is_news(s, entry);
  const bool late = is_late(s, entry);
  if (s.sent_away && news && !late) {
    end(s.room, entry, VisitorState::kRevoked, s.now);
  } else if (s.let_in && news && (rules.fixed_session || s.age() < life_ms)) {
    // A visit so long ago is over: more likely it is our call, which came late and looks the same.
    enter(s, entry);
  } else if (!s.let_in && s.live && !late) {
    // Its table had no room for the entry, or somebody else wrote it.
    (void)write(entry, entry.visitor, Tell::kAll, s.now, &s);
  }
}

void WaitingRoom::active(const Sighting& s, Entry& entry) {
  const bool news = is_news(s, entry);
  const bool late = is_late(s, entry);
  if (!news || (!s.let_in && !s.live)) {
    return;
  }
  if (s.sent_away && !late) {
    end(s.room, entry, VisitorState::kRevoked, s.now);
    return;
  }
  users_[s.users].see(entry.place.slot(), s.peer.no);
  if (s.room.settings.fixed_session && entry.visitor.again && s.let_in) {
    Visitor next = entry.visitor;
    next.again = !s.live;
    next.since = room_now(s.now);
    next.deadline = next.since + life(s.room.settings.session_ms);
    (void)write(entry, next, Tell::kReaders, s.now, &s);
    return;
  }
  const u32 life_ms = s.room.settings.fixed_session
                          ? 0
                          : life(u64{s.room.settings.session_ms} + options_.allowance_ms);
  prolong(s, entry, life_ms, s.let_in || late ? Tell::kNobody : Tell::kAll);
}

void WaitingRoom::over(const Sighting& s, Entry& entry) {
  const bool late = is_late(s, entry);
  if (!s.let_in) {
    // In a lesson the row that we took the place from looks like one that its visitor touched: ours
    // was the last message, the row is still HAProxy's own. Who is really there asks again soon.
    const bool lives = s.live || (entry.gone && s.age_ms && *s.age_ms < s.room.settings.hold_ms);
    if (!s.update.learned && lives) {
      (void)join(s, entry);
    }
    return;
  }
  if (entry.gone) {
    stranger(s, entry);
    return;
  }
  const bool by_us = entry.visitor.state == VisitorState::kRevoked;
  if (may_take_back(s.room, entry) && s.live && !by_us) {
    adopt_session(s, entry);  // came at the last moment; the place is still there
    return;
  }
  // Without a time an old entry cannot be told from a new one.
  if (late || !is_news(s, entry) || (!s.live && !s.age_ms) ||
      s.age() >= u64{s.room.settings.session_ms} + options_.allowance_ms) {
    return;
  }
  if (by_us && !s.room.settings.fast && flow_of(s.room.settings) != Flow::kAll) {
    if (s.live && !s.peer.tracked()) {
      (void)write(entry, entry.visitor, Tell::kAll, s.now);
    }
    return;
  }
  let_in_unasked(s, entry);
}

// Somebody without a place is inside: learned back, or let in by a HAProxy.
void WaitingRoom::let_in_unasked(const Sighting& s, Entry& entry) {
  const Room& room = s.room;
  const u64 own = entry.exists && is_leaving(entry) ? 1 : 0;
  if (flow_of(room.settings) == Flow::kAll || room.taken() - own < room.settings.capacity) {
    adopt_session(s, entry);
  } else {
    refuse(s, entry);
  }
}

WaitingRoom::Room* WaitingRoom::room_of(std::string_view key, std::size_t capacity) {
  if (key.find('@') == std::string_view::npos) {
    return by_name_.size() == 1 ? by_name_.begin()->second : nullptr;
  }
  const std::string_view name = shm::split_users_key(key).room;
  return room_named(name, key.size() >= capacity || name.size() >= kCutAt);
}

WaitingRoom::Room* WaitingRoom::room_named(std::string_view name, bool may_be_cut) {
  if (const auto exact = by_name_.find(name); exact != by_name_.end()) {
    return exact->second;
  }
  if (!may_be_cut || name.empty()) {
    return nullptr;
  }
  const auto first = by_name_.lower_bound(name);
  if (first == by_name_.end() || !first->first.starts_with(name)) {
    return nullptr;
  }
  const auto second = std::next(first);
  return second != by_name_.end() && second->first.starts_with(name) ? nullptr : first->second;
}

void WaitingRoom::unknown_room(const Peer& peer, std::string_view key, SegmentMs now) {
  writer().add_counter(shm::DaemonCounter::unknown_rooms);
  if (const auto hidden = limit_.admit(peer.who, now)) {
    cli::log_warning("{}: key {} names no room of ours; ignored ({} more before)", peer.who,
                     peers::printable(key), *hidden);
  }
}

}  // namespace lineq::engine
