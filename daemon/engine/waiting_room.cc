#include "daemon/engine/waiting_room.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "tools/view/wait_estimate.h"

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
constexpr u32 kLeastOverMs = 60'000;   // what became of somebody is kept for so long at least
constexpr u32 kMostOverMs = 86'400'000;
constexpr u32 kMaxLifeMs = 0x7fff'0000;  // ticks compare over at most 24.8 days
constexpr u32 kTooFar = u32{1} << 31;  // an expiry of this and more is broken (peers-protocol 9.2)
constexpr u32 kHoldLookMs = 1000;
constexpr u64 kStopMs = 1000;       // a clean stop takes no longer
constexpr i32 kDeliveryMs = 20;     // a message to a HAProxy
constexpr u64 kFewRows = 10;        // of the table with lineq-operator's `size 10`
constexpr std::size_t kCutAt = 31;  // string keys without `len`
constexpr std::size_t kMostSent = 1U << 20;
constexpr u32 kEnoughStays = 20;
constexpr u64 kEnoughCalls = 20;

std::string_view bare(std::string_view name) {
  return name.starts_with('/') ? name.substr(1) : name;
}

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

void put32(u64* image, u32 offset, u32 value) {
  std::memcpy(reinterpret_cast<u8*>(image) + offset, &value, sizeof value);
}

u32 life(u64 ms) {
  return static_cast<u32>(std::min<u64>(ms, kMaxLifeMs));
}

}  // namespace

struct WaitingRoom::Room {
  RoomNo no{0};
  cli::RoomSettings settings;
  u64 active = 0;
  u64 called = 0;
  u64 leaving = 0;  // places that were taken away and are not free yet
  u64 front = 0;
  struct Front {
    Place place;
    Ticket ticket;
  };
  std::deque<Front> fronts;  // those who are not there any more are found out when it is their turn
  TicketBook book;
  Pacing pacing;
  EventRate admissions;
  EventRate arrivals;
  u64 stays = 0;
  double stay_ms = 0;  // sum
  SegmentMs last_admitted_ms = 0;
  std::optional<Ticket> called_high;  // of the line, since the method is fifo
  bool due = false;
  bool paced = false;
  SegmentMs paced_until = 0;
  bool changed = true;  // numbers
  SegmentMs published_ms = 0;
  u64 advertised = 0;
  SegmentMs advertised_ms = 0;
  bool shown_wrong = false;  // a HAProxy has another number
  bool closing = false;
  u32 sweep_users = 0;
  u32 sweep_slot = 0;

  u64 taken() const { return active + called + leaving; }
};

struct WaitingRoom::UsersTable {
  u16 table_no = 0;
  // By slot: through whom a visitor was seen last. In pieces, so that growth never
  // copies.
  static constexpr u32 kLog2 = 12;
  std::vector<std::unique_ptr<u16[]>> seen;

  PeerNo seen_by(u32 slot) const {
    const u32 piece = slot >> kLog2;
    return piece < seen.size() && seen[piece] != nullptr
               ? PeerNo{seen[piece][slot & ((1U << kLog2) - 1)]}
               : kNoPeer;
  }
  void see(u32 slot, PeerNo peer) {
    const u32 piece = slot >> kLog2;
    if (piece >= seen.size()) {
      if (peer == kNoPeer) {
        return;
      }
      seen.resize(piece + std::size_t{1});
    }
    if (seen[piece] == nullptr) {
      seen[piece] = std::make_unique<u16[]>(std::size_t{1} << kLog2);
      std::fill_n(seen[piece].get(), std::size_t{1} << kLog2, kNoPeer.value);
    }
    seen[piece][slot & ((1U << kLog2) - 1)] = peer.value;
  }
};

struct WaitingRoom::PeerState {
  bool up = false;
  bool was_up = false;
  bool taught = false;
  SegmentMs down_ms = 0;
  u64 bit = 0;  // in Pending::bits while it is up; 0: there are more than 64, it is not waited for
  struct Sent {
    u32 id;
    Place place;
  };
  std::vector<std::deque<Sent>> sent;    // by users table: not acknowledged yet, in order
  std::unordered_map<u32, u32> unacked;  // Place::word -> last id it was sent under
};

// One update of a users table.
struct WaitingRoom::Sighting {
  Peer& peer;
  Room& room;
  u32 users;
  const shm::ColumnMap& columns;
  const peers::Update& update;
  SegmentMs now;
  bool let_in = false;            // gpc1 = 1
  bool sent_away = false;         // by the site: gpt0 = 1
  bool live = true;               // it happens now
  std::optional<u32> age_ms = 0;  // since the HAProxy touched it; nothing: it does not say

  u32 age() const { return age_ms.value_or(0); }
  bool repeat() const { return update.repeat; }
};

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
  for (std::size_t i = 0; i < updates.size(); ++i) {
    ours.prefetch_slot(tags[i]);
  }
  for (std::size_t i = 0; i < updates.size(); ++i) {
    const peers::Update& update = updates[i];
    const std::string_view key(reinterpret_cast<const char*>(update.key.data()), update.key.size());
    Entry entry;
    entry.place = Place(users, 0);
    entry.tag = tags[i];
    if (const auto slot = ours.find(tags[i], update.key)) {
      entry = entry_at(Place(users, *slot), now);
    }
    const bool theirs_still = entry.exists && !shm::is_over(entry.visitor.state) &&
                              entry.visitor.state != VisitorState::kNone;
    Room* const room =
        theirs_still ? rooms_[entry.visitor.room.value].get() : room_of(key, theirs.key_capacity());
    if (room == nullptr) {
      unknown_room(peer, key, now);
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
  const bool news = is_news(s, entry);
  const bool late = is_late(s, entry);
  if (s.sent_away && news && !late) {
    end(s.room, entry, VisitorState::kRevoked, s.now);
  } else if (s.let_in && news) {
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
  next.again = false;
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
