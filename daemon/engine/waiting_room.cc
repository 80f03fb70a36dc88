#include <algorithm>

#include "daemon/engine/waiting_room_parts.h"

namespace lineq::engine {

using shm::RoomCounter;
using shm::TableRole;
using shm::Visitor;
using shm::VisitorState;

namespace {

constexpr u64 kColumns = u64{1} << shm::kGpc1 | u64{1} << shm::kGpt0;
constexpr u32 kCallsATurn = 256;
constexpr u32 kCallsOfOneRoom = 64;  // then another room has its turn
constexpr u32 kSweepSlots = 4096;    // of users tables, a turn
constexpr u64 kAckMs = 3000;  // a HAProxy that does not acknowledge for so long is not waited for
constexpr u64 kPublishMs = 100;
constexpr u64 kIdleMs = 1000;  // numbers of rooms in which nothing happens: rates fall
constexpr u64 kHourMs = 3'600'000;
constexpr u64 kLeastLearnMs = 10'000;  // after the loss of all state
constexpr u64 kStopMs = 1000;          // a clean stop takes no longer
constexpr std::size_t kMostSent = 1U << 20;
constexpr u32 kEnoughStays = 20;
constexpr u64 kEnoughCalls = 20;

std::string_view bare(std::string_view name) {
  return name.starts_with('/') ? name.substr(1) : name;
}

}  // namespace

// --- start ---

WaitingRoom::WaitingRoom(Store& store, const PeerBook& book, const Relay& relay,
                         const WaitingRoomOptions& options, SegmentMs now)
    : store_(store),
      book_(book),
      relay_(relay),
      options_(options),
      plain_(store, book),
      dice_(options.seed),
      started_ms_(now) {
  options_.room_table = bare(options_.room_table);
  options_.users_table = bare(options_.users_table);
  adopt(now);
}

WaitingRoom::~WaitingRoom() = default;

void WaitingRoom::adopt(SegmentMs now) {
  // What a table is for may be another thing than in an earlier configuration.
  const std::vector<u16> numbers = writer().tables();
  for (const u16 no : numbers) {
    const shm::TableInfo& info = writer().table(no)->info();
    if (info.role == TableRole::kLedger) {
      continue;
    }
    const Result<TableRole> role = role_of(info.definition);
    if (!role || *role != info.role) {
      cli::log_warning(
          "table {}: the configuration says it is for something else now, its {} entries are "
          "dropped",
          info.definition.name, writer().table(no)->live());
      store_.forget(no);
      writer().drop_table(no);
    }
  }
  const std::vector<RoomNo> rooms = writer().rooms();
  for (const RoomNo no : rooms) {
    cli::RoomSettings settings;
    static_cast<shm::RoomSettings&>(settings) = writer().room_settings(no);
    Room& room = add(no, settings);
    const shm::RoomNumbers had = writer().room_numbers(no);
    room.last_admitted_ms = had.last_admitted_ms;
    room.pacing.restore(writer().room_pacing(no));
    if (had.counter(RoomCounter::granted) >= kEnoughCalls) {  // before it was what rules promise
      room.admissions.restore(static_cast<double>(had.admit_rate_milli) / 1000, now);
    }
    room.arrivals.restore(static_cast<double>(had.arrive_rate_milli) / 1000, now);
    const shm::RoomHistogram stays = writer().room_stay(no);
    for (const u64 bucket : stays.buckets) {
      room.stays += bucket;
    }
    room.stay_ms = static_cast<double>(stays.sum_ms);
  }
  resumed_ = !options_.state_lost;
  for (const u16 no : writer().tables()) {
    shm::Table& table = *writer().table(no);
    if (table.info().role == TableRole::kRooms) {
      room_tables_.push_back(no);
    } else if (table.info().role == TableRole::kUsers) {
      if (const Result<u32> users = add_users(table)) {
        adopt_visitors(*users, false, now);
      }
    }
  }
  adopt_fronts();
  for (const auto& room : rooms_) {
    if (room != nullptr) {
      resumed_ &= room->taken() == 0 && room->front == 0 && writer().line(room->no).waiting() == 0;
    }
  }
  adopt_peers(now);
  for (const auto& room : rooms_) {
    if (room != nullptr) {
      advertise(*room, true, now);
      publish(*room, now);
      look_at(*room);
    }
  }
}

// HAProxys that were connected not long ago: they may know more than the segment does.
void WaitingRoom::adopt_peers(SegmentMs now) {
  SegmentMs last = 0;
  for (const shm::PeerBefore& before : writer().peers_before()) {
    last = std::max(last, before.up ? 0 : before.since_ms);
  }
  const bool stopped = writer().attached_as() == shm::Attach::kClean;
  for (const shm::PeerBefore& before : writer().peers_before()) {
    PeerState& state = state_of(before.no);
    state.was_up = true;
    state.down_ms = before.up ? now : std::min(before.since_ms, now);
    // A clean stop ends all sessions.
    if (before.up || (stopped && last - before.since_ms < kStopMs)) {
      expected_.push_back(before.no);
      state.down_ms = now;
    }
  }
}

WaitingRoom::Room& WaitingRoom::add(RoomNo no, const cli::RoomSettings& settings) {
  if (rooms_.size() <= no.value) {
    rooms_.resize(no.value + std::size_t{1});
  }
  rooms_[no.value] = std::make_unique<Room>();
  Room& room = *rooms_[no.value];
  room.no = no;
  room.settings = settings;
  room.pacing.set_limit(settings.new_per_minute);
  by_name_[settings.name] = &room;
  return room;
}

// Entries of one users table as an earlier process left them, or as they were moved here.
void WaitingRoom::adopt_visitors(u32 users, bool moved, SegmentMs now) {
  const shm::Table& table = table_of(users);
  for (u32 slot = 0; slot < table.high_water(); ++slot) {
    if (!table.at(slot).live()) {
      continue;
    }
    Entry entry = entry_at(Place(users, slot), now);
    const Visitor& v = entry.visitor;
    if (!shm::waits(v.state) && !shm::holds_place(v.state)) {
      continue;
    }
    Room* const room = v.room.value < rooms_.size() ? rooms_[v.room.value].get() : nullptr;
    if (room == nullptr ||
        (v.state == VisitorState::kWaiting && !writer().line(room->no).has(v.ticket))) {
      // Removed while lineqd was killed.
      writer().table(users_[users].table_no)->erase(slot, shm::FeedKind::kErase, kNoPeer, now);
      continue;
    }
    if (v.state == VisitorState::kWaiting) {
      room->book.put(v.ticket, entry.place);
    } else if (v.state == VisitorState::kFront) {
      room->fronts.push_back({entry.place, v.ticket});
    } else if (v.state == VisitorState::kGranted) {
      // After a start nobody is there yet who could acknowledge.
      start_pending(entry.place, *room, false, ~u64{0}, now);
    }
    if (moved) {
      continue;
    }
    const auto remember = [&] {
      const i32 ago = tick_diff(room_now(now), v.since);
      if (ago >= 0 && static_cast<u64>(ago) < now) {
        room->pacing.remember(now - static_cast<u32>(ago), now);
      }
    };
    switch (v.state) {
      case VisitorState::kFront:
        ++room->front;
        break;
      case VisitorState::kGranted:
      case VisitorState::kReady:
        ++room->called;
        remember();
        break;
      case VisitorState::kActive:
        ++room->active;
        remember();
        break;
      default:
        break;
    }
  }
}

// In the order in which they began to wait there.
void WaitingRoom::adopt_fronts() {
  for (const auto& room : rooms_) {
    if (room == nullptr) {
      continue;
    }
    const auto since = [&](const Room::Front& f) {
      return Visitor::of(table_of(f.place.users()).at(f.place.slot())).since;
    };
    std::sort(room->fronts.begin(), room->fronts.end(),
              [&](const Room::Front& a, const Room::Front& b) {
                const i32 order = tick_diff(since(a), since(b));
                return order != 0 ? order < 0 : a.ticket.value < b.ticket.value;
              });
  }
}

// --- tables ---

Result<TableRole> WaitingRoom::role_of(const shm::TableDefinition& definition) const {
  const std::string_view name = bare(definition.name);
  if (name == options_.users_table) {
    if (definition.key_type != shm::KeyType::kString || !definition.has(shm::kGpc1)) {
      return Error{
          ErrorCode::kInvalid,
          fmt::format("table {} is the users table of mode vwr (setting users_table) and has to be "
                      "'type string' with 'store gpc1', this one is of type {} {} gpc1",
                      definition.name, shm::key_type_name(definition.key_type),
                      definition.has(shm::kGpc1) ? "with" : "without")};
    }
    return TableRole::kUsers;
  }
  if (name == options_.room_table) {
    const bool key = definition.key_type == shm::KeyType::kString ||
                     definition.key_type == shm::KeyType::kInteger;
    if (!key || !definition.has(shm::kGpc0)) {
      return Error{
          ErrorCode::kInvalid,
          fmt::format(
              "table {} is the room table of mode vwr (setting room_table) and has to be "
              "'type string' or 'type integer' with 'store gpc0', this one is of type {} {} gpc0",
              definition.name, shm::key_type_name(definition.key_type),
              definition.has(shm::kGpc0) ? "with" : "without")};
    }
    return TableRole::kRooms;
  }
  return TableRole::kPlain;
}

u64 WaitingRoom::columns_out() const {
  return kColumns;
}

bool WaitingRoom::sends(const shm::EntryView& entry) const {
  return Visitor::of(entry).told;
}

std::string WaitingRoom::outlet(const shm::TableInfo& table) const {
  return table.role == TableRole::kPart || table.role == TableRole::kLedger ? ""
                                                                            : table.definition.name;
}

Status WaitingRoom::may_edit(const shm::TableInfo& table) const {
  if (table.role == TableRole::kUsers) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("table {} holds the visitors of the waiting rooms: use revoke ROOM "
                             "SESSION, revoke ROOM --all or admit ROOM N",
                             table.definition.name)};
  }
  if (table.role == TableRole::kRooms) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("table {} holds the rules of the waiting rooms: use set ROOM C=N, "
                             "create ROOM or remove ROOM",
                             table.definition.name)};
  }
  return {};
}

shm::Table& WaitingRoom::table_of(u32 users) const {
  return *writer().table(users_[users].table_no);
}

std::optional<u32> WaitingRoom::users_of(u16 table_no) const {
  for (u32 i = 0; i < users_.size(); ++i) {
    if (users_[i].table_no == table_no) {
      return i;
    }
  }
  return std::nullopt;
}

Result<u32> WaitingRoom::add_users(const shm::Table& table) {
  if (const auto known = users_of(table.info().no)) {
    return *known;
  }
  if (users_.size() == Place::kMaxTables) {
    return Error{
        ErrorCode::kExhausted,
        fmt::format("there are {} users tables that differ in key length already", users_.size())};
  }
  users_.emplace_back();
  users_.back().table_no = table.info().no;
  return static_cast<u32>(users_.size() - 1);
}

Status WaitingRoom::on_table(Peer& peer, const PeerTable& table, SegmentMs now) {
  static_cast<void>(peer);
  shm::Table& ours = *writer().table(table.table_no);
  if (ours.info().role == TableRole::kUsers) {
    if (const Result<u32> users = add_users(ours); !users) {
      return users.error();
    }
  } else if (ours.info().role == TableRole::kRooms &&
             std::find(room_tables_.begin(), room_tables_.end(), table.table_no) ==
                 room_tables_.end()) {
    room_tables_.push_back(table.table_no);
    for (const auto& room : rooms_) {
      if (room != nullptr) {
        advertise_in(*room, ours, now);
      }
    }
  }
  return {};
}

void WaitingRoom::on_replaced(u16 old_no, const shm::Table& table, SegmentMs now) {
  std::replace(room_tables_.begin(), room_tables_.end(), old_no, table.info().no);
  const auto users = users_of(old_no);
  if (!users) {
    return;
  }
  // Slots mean other entries now. What is not acknowledged is looked for by the relay anew.
  users_[*users] = {};
  users_[*users].table_no = table.info().no;
  for (auto at = pending_.begin(); at != pending_.end();) {
    if (Place place; place.word = at->first, place.users() == *users) {
      at->second.room->leaving -= at->second.leaving ? 1U : 0U;
      at = pending_.erase(at);
    } else {
      ++at;
    }
  }
  for (const auto& state : peers_) {
    if (state == nullptr) {
      continue;
    }
    std::erase_if(state->unacked, [&](const auto& one) {
      Place place;
      place.word = one.first;
      return place.users() == *users;
    });
    if (*users < state->sent.size()) {
      state->sent[*users].clear();
    }
  }
  for (const auto& room : rooms_) {
    if (room != nullptr) {
      std::erase_if(room->fronts,
                    [&](const Room::Front& front) { return front.place.users() == *users; });
    }
  }
  adopt_visitors(*users, true, now);
  adopt_fronts();
}

WaitingRoom::Entry WaitingRoom::entry_at(Place place, SegmentMs now) const {
  const shm::Table& table = table_of(place.users());
  const shm::EntryView view = table.at(place.slot());
  return {.place = place,
          .tag = table.tag_of(view.key()),
          .exists = true,
          .gone = view.expired(tick_of(now)),
          .updated = view.updated_tick(),
          .visitor = Visitor::of(view)};
}

// By a key as people and pages know it, which HAProxys may have cut.
std::optional<WaitingRoom::Entry> WaitingRoom::find_entry(std::string_view key,
                                                          SegmentMs now) const {
  for (u32 users = 0; users < users_.size(); ++users) {
    const shm::Table& table = table_of(users);
    const std::string_view cut = key.substr(0, table.info().definition.key_capacity());
    const auto slot = table.find({reinterpret_cast<const u8*>(cut.data()), cut.size()});
    if (slot) {
      Entry entry = entry_at(Place(users, *slot), now);
      if (!entry.gone) {
        return entry;
      }
    }
  }
  return std::nullopt;
}

// --- acknowledgements ---

WaitingRoom::PeerState& WaitingRoom::state_of(PeerNo peer) {
  if (peers_.size() <= peer.value) {
    peers_.resize(peer.value + std::size_t{1});
  }
  if (peers_[peer.value] == nullptr) {
    peers_[peer.value] = std::make_unique<PeerState>();
  }
  return *peers_[peer.value];
}

u64 WaitingRoom::connected_bits(u32 users) const {
  u64 bits = 0;
  for (const auto& peer : book_.all()) {
    if (peer->no.value < peers_.size() && peers_[peer->no.value] != nullptr &&
        book_.by_no(peer->no) == peer.get() && peer->table(users_[users].table_no) != nullptr) {
      bits |= peers_[peer->no.value]->bit;
    }
  }
  return bits;
}

void WaitingRoom::start_pending(Place place, Room& room, bool leaving, u64 bits, SegmentMs now) {
  drop_pending(place);
  pending_[place.word] = {bits, &room, now, leaving};
  room.leaving += leaving ? 1U : 0U;
  if (bits == 0) {
    finish_pending(place, now);
  } else {
    pending_order_.emplace_back(now, place);
  }
}

void WaitingRoom::drop_pending(Place place) {
  if (const auto at = pending_.find(place.word); at != pending_.end()) {
    at->second.room->leaving -= at->second.leaving ? 1U : 0U;
    pending_.erase(at);
  }
}

void WaitingRoom::finish_pending(Place place, SegmentMs now) {
  const auto at = pending_.find(place.word);
  Room& room = *at->second.room;
  const bool leaving = at->second.leaving;
  drop_pending(place);
  if (leaving) {
    look_at(room);
    return;
  }
  Entry entry = entry_at(place, now);
  if (entry.visitor.state == VisitorState::kGranted) {
    Visitor next = entry.visitor;
    next.state = VisitorState::kReady;
    (void)write(entry, next, Tell::kReaders, now);
  }
}

void WaitingRoom::on_sent(Peer& peer, const shm::Table& table, u32 slot, u32 id) {
  const auto users = users_of(table.info().no);
  if (!users) {
    return;
  }
  PeerState& state = state_of(peer.no);
  if (state.sent.size() <= *users) {
    state.sent.resize(*users + std::size_t{1});
  }
  std::deque<PeerState::Sent>& sent = state.sent[*users];
  const Place place(*users, slot);
  sent.push_back({id, place});
  state.unacked[place.word] = id;
  if (sent.size() > kMostSent) {
    // It acknowledges nothing: the oldest one counts as lost.
    const PeerState::Sent lost = sent.front();
    sent.pop_front();
    if (const auto at = state.unacked.find(lost.place.word);
        at != state.unacked.end() && at->second == lost.id) {
      state.unacked.erase(at);
    }
  }
}

void WaitingRoom::on_acked(Peer& peer, u16 table_no, u32 id, SegmentMs now) {
  const auto users = users_of(table_no);
  PeerState& state = state_of(peer.no);
  if (!users || *users >= state.sent.size()) {
    return;
  }
  std::deque<PeerState::Sent>& sent = state.sent[*users];
  while (!sent.empty() && !peers::id_after(sent.front().id, id)) {
    const PeerState::Sent one = sent.front();
    sent.pop_front();
    const auto at = state.unacked.find(one.place.word);
    if (at == state.unacked.end() || at->second != one.id) {
      continue;  // a newer row of the same visitor follows
    }
    state.unacked.erase(at);
    const auto pending = pending_.find(one.place.word);
    // What it has is the newest only if nothing is on its way.
    if (pending != pending_.end() && !relay_.owes(peer, table_of(*users), one.place.slot())) {
      pending->second.bits &= ~state.bit;
      if (pending->second.bits == 0) {
        finish_pending(one.place, now);
      }
    }
  }
}

void WaitingRoom::on_up(Peer& peer, SegmentMs now) {
  static_cast<void>(now);
  PeerState& state = state_of(peer.no);
  state.sent.clear();
  state.unacked.clear();
  state.up = state.was_up = true;
  state.taught = false;
  if (state.bit == 0 && free_bits_ != 0) {
    state.bit = free_bits_ & (~free_bits_ + 1);
    free_bits_ &= ~state.bit;
  }
}

void WaitingRoom::on_taught(Peer& peer, bool partial, SegmentMs now) {
  static_cast<void>(now);
  if (!partial) {
    taught_ = true;
  }
  static_cast<void>(peer);
}

void WaitingRoom::on_live(Peer& peer, SegmentMs now) {
  static_cast<void>(now);
  state_of(peer.no).taught = true;
  std::erase(expected_, peer.no);
}

void WaitingRoom::on_down(Peer& peer, SegmentMs now) {
  PeerState& state = state_of(peer.no);
  state.up = state.taught = false;
  state.down_ms = now;
  state.sent.clear();
  state.unacked.clear();
  const u64 bit = std::exchange(state.bit, 0);
  free_bits_ |= bit;
  std::vector<u32> done;
  for (auto& [word, pending] : pending_) {
    // Somebody sent away may go on there until it is back: that place waits a little.
    if (!pending.leaving && (pending.bits & bit) != 0) {
      pending.bits &= ~bit;
      if (pending.bits == 0) {
        done.push_back(word);
      }
    }
  }
  std::sort(done.begin(), done.end());
  for (const u32 word : done) {
    Place place;
    place.word = word;
    finish_pending(place, now);
  }
}

// Visitors' deadlines are in room time. The rest is patience with HAProxys, which could not be
// heard.
void WaitingRoom::on_resume(u64 away_ms) {
  started_ms_ += away_ms;
  for (const auto& state : peers_) {
    if (state != nullptr && !state->up && state->was_up) {
      state->down_ms += away_ms;
    }
  }
  for (auto& [word, pending] : pending_) {
    pending.since += away_ms;
  }
  for (auto& [since, place] : pending_order_) {
    since += away_ms;
  }
}

// --- admission ---

// After a start: whether it is known who is inside.
bool WaitingRoom::may_call(SegmentMs now) {
  if (resumed_) {
    return true;
  }
  const u64 since = now - started_ms_;
  const bool teaching = std::any_of(peers_.begin(), peers_.end(), [](const auto& state) {
    return state != nullptr && state->up && !state->taught;
  });
  if (options_.state_lost) {
    resumed_ = since >= kLeastLearnMs && taught_ && !teaching;
  } else {
    resumed_ = since >= options_.allowance_ms || (taught_ && !teaching && expected_.empty());
  }
  if (resumed_) {
    cli::log_notice("who is inside is known after {} ms: visitors are called", since);
  }
  return resumed_;
}

void WaitingRoom::look_at(Room& room) {
  room.changed = true;
  if (!room.due) {
    room.due = true;
    due_.push_back(&room);
  }
}

bool WaitingRoom::turn(SegmentMs now) {
  std::erase_if(paced_, [&](Room* room) {
    if (room->paced_until > now) {
      return false;
    }
    room->paced = false;
    look_at(*room);
    return true;
  });
  bool done = true;
  // By number: sweep() takes out the one that is done.
  // NOLINTNEXTLINE(modernize-loop-convert)
  for (std::size_t i = 0; i < closing_.size(); ++i) {
    done = sweep(*closing_[i], kSweepSlots, now) && done;
  }
  u32 budget = kCallsATurn;
  if (!may_call(now)) {
    return done;
  }
  for (std::size_t rooms = due_.size(); rooms > 0 && budget > 0; --rooms) {
    Room& room = *due_.front();
    due_.pop_front();
    room.due = false;
    const u64 before = room.called;
    if (!admit_some(room, std::min(budget, kCallsOfOneRoom), now)) {
      look_at(room);
      done = false;
    }
    const u64 called = room.called - std::min(before, room.called);
    budget -= static_cast<u32>(std::min<u64>(budget, called));
    advertise(room, false, now);
    if (called != 0 || now - room.published_ms >= kPublishMs) {
      publish(room, now);
    }
  }
  return done && due_.empty();
}

// False: there are more to call.
bool WaitingRoom::admit_some(Room& room, u32 budget, SegmentMs now) {
  const Flow flow = room.closing ? Flow::kNobody : flow_of(room.settings);
  for (; flow != Flow::kNobody; --budget) {
    if (room.front == 0 && writer().line(room.no).waiting() == 0) {
      return true;
    }
    if (flow == Flow::kPlaces) {
      if (room.taken() >= room.settings.capacity) {
        return true;
      }
      if (const auto until = room.pacing.next(now)) {
        room.paced_until = *until;
        if (!room.paced) {
          room.paced = true;
          paced_.push_back(&room);
        }
        return true;
      }
    }
    if (budget == 0) {
      return false;
    }
    if (!call_next(room, now)) {
      return true;
    }
  }
  return true;
}

// False: nobody waits.
bool WaitingRoom::call_next(Room& room, SegmentMs now) {
  while (!room.fronts.empty()) {
    const Room::Front first = room.fronts.front();
    room.fronts.pop_front();
    const shm::EntryView view = table_of(first.place.users()).at(first.place.slot());
    if (!view.live()) {
      continue;
    }
    Entry entry = entry_at(first.place, now);
    if (entry.visitor.state == VisitorState::kFront && entry.visitor.room == room.no &&
        entry.visitor.ticket == first.ticket) {
      call(room, entry, now);
      return true;
    }
  }
  const shm::Line& line = writer().line(room.no);
  const u64 waiting = line.waiting();
  if (waiting == 0) {
    return false;
  }
  const auto ticket = room.settings.method == shm::QueueingMethod::kRandom
                          ? line.select(dice_.below(waiting))
                          : line.front();
  if (!ticket || !room.book.has(*ticket)) {
    return false;
  }
  Entry entry = entry_at(room.book.place(*ticket), now);
  call(room, entry, now);
  return true;
}

// Sends the visitors of a removed room away. True: all are, and the room is gone.
bool WaitingRoom::sweep(Room& room, u32 budget, SegmentMs now) {
  for (; room.sweep_users < users_.size(); ++room.sweep_users, room.sweep_slot = 0) {
    const shm::Table& table = table_of(room.sweep_users);
    for (; room.sweep_slot < table.high_water(); ++room.sweep_slot, --budget) {
      if (budget == 0) {
        return false;
      }
      if (!table.at(room.sweep_slot).live()) {
        continue;
      }
      Entry entry = entry_at(Place(room.sweep_users, room.sweep_slot), now);
      if (entry.visitor.room != room.no) {
        continue;
      }
      if (shm::holds_place(entry.visitor.state)) {
        end(room, entry, VisitorState::kRevoked, now);
      } else if (shm::waits(entry.visitor.state)) {
        dismiss(room, entry, VisitorState::kRevoked, now);
      }
    }
  }
  std::erase_if(pending_, [&](const auto& one) { return one.second.room == &room; });
  std::erase(due_, &room);
  std::erase(paced_, &room);
  std::erase(closing_, &room);
  const RoomNo no = room.no;
  writer().drop_room(no);
  rooms_[no.value].reset();
  return true;
}

void WaitingRoom::tell_estimate(Room& room, Ticket ticket, SegmentMs now) {
  const shm::RoomNumbers n = numbers_of(room, now);
  if (const auto range = view::wait_estimate(room.settings, n, n.waiting + n.front, now)) {
    room.book.tell(ticket, TicketBook::told(range->low_s, range->high_s));
  }
}

// --- numbers ---

void WaitingRoom::count(const Room& room, RoomCounter c) const {
  writer().add_room_counter(room.no, c);
}

shm::RoomNumbers WaitingRoom::numbers_of(const Room& room, SegmentMs now) const {
  const shm::Line& line = writer().line(room.no);
  shm::RoomNumbers n;
  n.active = room.active;
  n.ready = room.called;
  n.waiting = line.waiting();
  n.front = room.front;
  const double mean = room.stays >= kEnoughStays ? room.stay_ms / static_cast<double>(room.stays)
                                                 : room.settings.session_ms;
  n.admit_rate_milli =
      static_cast<u64>(1000 * admission_rate(room.admissions, now, room.settings.capacity,
                                             room.settings.new_per_minute, mean));
  n.arrive_rate_milli = static_cast<u64>(1000 * room.arrivals.per_minute(now));
  n.last_admitted_ms = room.last_admitted_ms;
  return n;
}

void WaitingRoom::publish(Room& room, SegmentMs now) {
  shm::RoomNumbers n = numbers_of(room, now);
  std::optional<Tick> oldest;
  const auto look = [&](Place place) {
    const Tick since = Visitor::of(table_of(place.users()).at(place.slot())).since;
    if (!oldest || tick_diff(since, *oldest) < 0) {
      oldest = since;
    }
  };
  if (const auto first = writer().line(room.no).front(); first && room.book.has(*first)) {
    look(room.book.place(*first));
  }
  if (room.front != 0 && !room.fronts.empty()) {
    look(room.fronts.front().place);
  }
  n.oldest_since = oldest.value_or(0);
  n.counters = writer().room_numbers(room.no).counters;
  writer().set_room_numbers(room.no, n);
  room.published_ms = now;
  room.changed = false;
}

// Tells HAProxys how many they may let in on their own. `again`: also if they know.
void WaitingRoom::advertise(Room& room, bool again, SegmentMs now) {
  const u64 waiting = writer().line(room.no).waiting() + room.front;
  const u64 places = room.closing ? 0 : advertised_places(room.settings, room.taken(), waiting);
  if (places == room.advertised && !again) {
    return;
  }
  room.advertised = places;
  room.advertised_ms = now;
  room.shown_wrong = false;
  for (const u16 no : room_tables_) {
    advertise_in(room, *writer().table(no), now);
  }
}

void WaitingRoom::advertise_in(const Room& room, shm::Table& table, SegmentMs now) {
  const shm::TableDefinition& d = table.info().definition;
  std::array<u8, 4> number{};
  std::span<const u8> key;
  if (d.key_type == shm::KeyType::kInteger) {
    const u32 n = room.no.value + 1U;
    number = {static_cast<u8>(n >> 24), static_cast<u8>(n >> 16), static_cast<u8>(n >> 8),
              static_cast<u8>(n)};
    key = number;
  } else {
    const std::string& name = room.settings.name;
    key = {reinterpret_cast<const u8*>(name.data()),
           std::min<std::size_t>(name.size(), d.key_capacity())};
  }
  const u32 tag = table.tag_of(key);
  const auto slot = table.find(tag, key);
  shm::Together change(writer());
  u64* const image = slot ? change.update(table, *slot, tag) : change.insert(table, key, tag, now);
  if (image == nullptr) {
    return;  // comes again within the hour
  }
  put32(image, table.info().geometry.offset[shm::kGpc0], static_cast<u32>(room.advertised));
  std::optional<Tick> deadline;
  if (room.closing) {
    deadline = tick_of(now) + kLeastOverMs;
  }
  shm::put_times(image, deadline, tick_of(now));
  const u32 at = slot.value_or(change.slot(0));
  change.land(kNoPeer, now);
  if (deadline) {
    store_.arm(table.info().no, at, *deadline);
  }
}

void WaitingRoom::tick(SegmentMs now) {
  while (!pending_order_.empty() && now - pending_order_.front().first >= kAckMs) {
    const auto [since, place] = pending_order_.front();
    pending_order_.pop_front();
    if (const auto at = pending_.find(place.word);
        at != pending_.end() && at->second.since == since) {
      finish_pending(place, now);
    }
  }
  u64 again_ms = kHourMs;
  for (const u16 no : room_tables_) {
    if (const u32 expire = writer().table(no)->expire_ms(); expire != 0) {
      again_ms = std::clamp<u64>(expire / 2, kPublishMs, again_ms);
    }
  }
  const bool idle_too = now - published_ms_ >= kIdleMs;
  if (idle_too) {
    published_ms_ = now;
  }
  for (const auto& room : rooms_) {
    if (room == nullptr) {
      continue;
    }
    if (room->shown_wrong || now - room->advertised_ms >= again_ms) {
      advertise(*room, true, now);
    }
    if (idle_too || (room->changed && now - room->published_ms >= kPublishMs)) {
      publish(*room, now);
    }
  }
}

std::optional<u64> WaitingRoom::next_ms(SegmentMs now) const {
  std::optional<u64> next;
  const auto at = [&](SegmentMs ms) {
    const u64 in = ms > now ? ms - now : 0;
    next = std::min(next.value_or(in), in);
  };
  for (const Room* room : paced_) {
    at(room->paced_until);
  }
  if (!resumed_ && !due_.empty() && now < started_ms_ + options_.allowance_ms) {
    at(started_ms_ + options_.allowance_ms);
  }
  return next;
}

}  // namespace lineq::engine
