// Rooms of the Writer: their rules, numbers and lines.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "shm/line_state.h"
#include "shm/room_words.h"
#include "shm/seqlock.h"

namespace lineq::shm {
namespace {

template <std::size_t N>
void put_text(char (&to)[N], std::string_view text) {
  std::memcpy(to, text.data(), std::min(text.size(), N - 1));
}

// As they lie under the sequence; the rest of the record is zero.
RoomDesc rules_of(const RoomSettings& s, u32 id) {
  RoomDesc d{};
  d.state = static_cast<u32>(RoomState::kLive);
  d.id = id;
  d.method_and_lapse = static_cast<u32>(s.method) | static_cast<u32>(s.lapse) << 8;
  d.flags = (s.queue_all ? kRoomQueueAll : 0) | (s.suspended ? kRoomSuspended : 0) |
            (s.paused ? kRoomPaused : 0) | (s.fast ? kRoomFast : 0) |
            (s.fixed_session ? kRoomFixedSession : 0);
  d.capacity = s.capacity;
  d.new_per_minute = s.new_per_minute;
  d.session_ms = s.session_ms;
  d.hold_ms = s.hold_ms;
  d.grace_ms = s.grace_ms;
  d.refresh_ms = s.refresh_ms;
  d.status_code = s.status_code;
  put_text(d.name, s.name);
  put_text(d.host, s.host);
  put_text(d.path, s.path);
  put_text(d.message, s.message);
  put_text(d.template_path, s.template_path);
  put_text(d.language, s.language);
  return d;
}

void store_rules(RoomDesc& to, const u64* image) {
  u64* words = reinterpret_cast<u64*>(&to);
  seqlock_write(to.seq, [&] {
    store_point();
    store_relaxed(to.state, static_cast<u32>(image[0] >> 32));
    for (u32 i = 1; i < kRuleWords; ++i) {
      if (i != kLineWord) {
        store_relaxed(words[i], image[i]);
        store_point();
      }
    }
  });
}

void bump(u64& word, u64 by) {
  store_relaxed(word, word + by);
}

void add_to_histogram(u64 (&cells)[20], u64 ms) {
  const auto bucket =
      std::lower_bound(kRoomHistogramBounds.begin(), kRoomHistogramBounds.end(), ms,
                       [](u32 bound, u64 value) { return u64{bound} * 1000 < value; });
  bump(cells[bucket - kRoomHistogramBounds.begin()], 1);
  bump(cells[std::size(cells) - 1], ms);
}

}  // namespace

// The rules change as a whole, whatever the writer dies of.
void Writer::write_rules(RoomNo room, const RoomDesc& rules) {
  Intent& intent = state_->layout->intent;
  std::memcpy(intent.image, &rules, u64{kRuleWords} * 8);
  intent.parts = 0;
  intent.line_op = static_cast<u32>(LineOp::kRules);
  intent.room = room.value;
  crash_point();
  store_release(intent.op, 1);
  crash_point();
  store_rules(state_->layout->rooms[room.value], intent.image);
  crash_point();
  intent.line_op = static_cast<u32>(LineOp::kNone);
  crash_point();
  store_release(intent.op, 0);
  crash_point();
}

void Writer::tell_room(RoomNo room) {
  state_->bump_directory();
  state_->feed.append({room.value, 0, FeedKind::kRoom, kNoPeer.value});
}

Result<RoomNo> Writer::add_room(const RoomSettings& settings, SegmentMs /*now*/) {
  State& s = *state_;
  RootHeader& h = s.header();
  if (settings.name.empty() || settings.name.size() >= sizeof(RoomDesc::name)) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("room name of {} bytes (1 to {} are allowed)", settings.name.size(),
                             sizeof(RoomDesc::name) - 1)};
  }
  for (const RoomNo other : s.rooms) {
    if (room_settings(other).name == settings.name) {
      return Error{ErrorCode::kInvalid, fmt::format("room {} is there already", settings.name)};
    }
  }
  // Numbers go round before one is used again, as tables' do.
  u32 no = h.rooms_high;
  u32 id = 0;
  for (u32 i = 0; i < h.rooms_high; ++i) {
    const RoomDesc& desc = s.layout->rooms[i];
    id = std::max(id, desc.id);
    if (h.rooms_high == kMaxRooms && no == kMaxRooms &&
        desc.state == static_cast<u32>(RoomState::kFree)) {
      no = i;
    }
  }
  if (no == kMaxRooms) {
    return Error{ErrorCode::kExhausted,
                 fmt::format("room {}: {} rooms exist already", settings.name, kMaxRooms)};
  }
  const RoomNo room{static_cast<u16>(no)};
  RoomDesc& desc = s.layout->rooms[no];
  store_relaxed(desc.line.object, 0);
  u64* words = reinterpret_cast<u64*>(&desc);
  for (u32 i = kRuleWords; i < sizeof(RoomDesc) / 8; ++i) {
    store_relaxed(words[i], 0);
  }
  crash_point();
  put_room(room, id + 1, settings);
  tell_room(room);
  return room;
}

// A record that is zero behind its rules becomes this room's.
void Writer::put_room(RoomNo room, u32 id, const RoomSettings& settings) {
  State& s = *state_;
  RootHeader& h = s.header();
  const u32 no = room.value;
  write_rules(room, rules_of(settings, id));
  if (no >= h.rooms_high) {
    store_release(h.rooms_high, no + 1);
    crash_point();
    s.lines.resize(no + 1);
  }
  s.lines[no].reset(new Line(std::make_unique<Line::Parts>(s, room)));
  const auto behind = std::find_if(s.rooms.begin(), s.rooms.end(),
                                   [&](RoomNo other) { return other.value > room.value; });
  s.rooms.insert(behind, room);
}

void Writer::set_room(RoomNo room, const RoomSettings& settings) {
  const RoomDesc& desc = state_->layout->rooms[room.value];
  RoomDesc rules = rules_of(settings, desc.id);
  std::memcpy(rules.name, desc.name, sizeof rules.name);
  write_rules(room, rules);
  tell_room(room);
}

void Writer::drop_room(RoomNo room) {
  State& s = *state_;
  RoomDesc rules{};
  rules.id = s.layout->rooms[room.value].id;
  write_rules(room, rules);
  s.lines[room.value]->parts_->drop_all();
  s.lines[room.value].reset();
  std::erase(s.rooms, room);
  tell_room(room);
}

const std::vector<RoomNo>& Writer::rooms() const {
  return state_->rooms;
}
RoomSettings Writer::room_settings(RoomNo room) const {
  return settings_of(state_->layout->rooms[room.value]);
}
Line& Writer::line(RoomNo room) {
  LINEQ_ASSERT(room.value < state_->lines.size() && state_->lines[room.value] != nullptr);
  return *state_->lines[room.value];
}

// --- numbers
// -------------------------------------------------------------------------------------------------------

RoomNumbers Writer::room_numbers(RoomNo room) const {
  return numbers_of(state_->layout->rooms[room.value]);
}

void Writer::set_room_numbers(RoomNo room, const RoomNumbers& n) {
  RoomDesc& d = state_->layout->rooms[room.value];
  store_relaxed(d.active, n.active);
  store_relaxed(d.ready, n.ready);
  store_relaxed(d.front, n.front);
  store_relaxed(d.admit_rate_milli, n.admit_rate_milli);
  store_relaxed(d.arrive_rate_milli, n.arrive_rate_milli);
  store_relaxed(d.oldest_since, n.oldest_since);
  store_relaxed(d.last_admitted_ms, n.last_admitted_ms);
  for (std::size_t i = 0; i < n.counters.size(); ++i) {
    store_relaxed(d.counters[i], n.counters[i]);
  }
}

void Writer::add_room_counter(RoomNo room, RoomCounter c, u64 by) {
  bump(state_->layout->rooms[room.value].counters[static_cast<u32>(c)], by);
}
RoomHistogram Writer::room_wait(RoomNo room) const {
  return histogram_of(state_->layout->rooms[room.value].wait_histogram);
}
RoomHistogram Writer::room_stay(RoomNo room) const {
  return histogram_of(state_->layout->rooms[room.value].stay_histogram);
}
void Writer::add_room_wait(RoomNo room, u64 ms) {
  add_to_histogram(state_->layout->rooms[room.value].wait_histogram, ms);
}
void Writer::add_room_stay(RoomNo room, u64 ms) {
  add_to_histogram(state_->layout->rooms[room.value].stay_histogram, ms);
}
u64 Writer::room_pacing(RoomNo room) const {
  return state_->layout->rooms[room.value].pacing_tat_us;
}
void Writer::set_room_pacing(RoomNo room, u64 tat_us) {
  store_relaxed(state_->layout->rooms[room.value].pacing_tat_us, tat_us);
}

Tick Writer::room_time(SegmentMs now) const {
  return tick_of(now) - shift_of(state_->layout->header.visit_clock);
}

// --- recovery
// ------------------------------------------------------------------------------------------------------

// Rules whole, lines mapped. What the redo record says about a line comes after the entries.
Status Writer::adopt_rooms() {
  State& s = *state_;
  RootHeader& h = s.header();
  const Intent& intent = s.layout->intent;
  if (h.rooms_high > kMaxRooms) {
    return Error{ErrorCode::kDamaged, fmt::format("{} rooms", h.rooms_high)};
  }
  // A room that was being added lies just behind the last one.
  if (intent.op == 1 && intent.line_op == static_cast<u32>(LineOp::kRules) &&
      intent.room < kMaxRooms && intent.room <= h.rooms_high) {
    RoomDesc& desc = s.layout->rooms[intent.room];
    store_rules(desc, intent.image);
    crash_point();
    if (intent.room == h.rooms_high) {
      store_release(h.rooms_high, intent.room + 1);
      crash_point();
    }
  }
  // ... or its rules stand already and only the bound is missing.
  if (h.rooms_high < kMaxRooms &&
      s.layout->rooms[h.rooms_high].state == static_cast<u32>(RoomState::kLive)) {
    store_release(h.rooms_high, h.rooms_high + 1);
  }
  s.lines.resize(h.rooms_high);
  for (u32 no = 0; no < h.rooms_high; ++no) {
    RoomDesc& desc = s.layout->rooms[no];
    if (desc.state != static_cast<u32>(RoomState::kLive)) {
      store_release(desc.line.object, 0);
      continue;
    }
    const RoomNo room{static_cast<u16>(no)};
    auto parts = std::make_unique<Line::Parts>(s, room);
    if (Status adopted = parts->adopt(); !adopted) {
      return adopted;
    }
    s.lines[no].reset(new Line(std::move(parts)));
    s.rooms.push_back(room);
  }
  return {};
}

void Writer::redo_line() {
  const Intent& intent = state_->layout->intent;
  const auto op = static_cast<LineOp>(intent.line_op);
  if ((op == LineOp::kJoin || op == LineOp::kLeave) && intent.room < state_->lines.size() &&
      state_->lines[intent.room] != nullptr) {
    state_->lines[intent.room]->parts_->redo(op, intent.ticket);
  }
}

bool Writer::line_uses(u32 dir) const {
  const u32 room = state_->layout->objects[dir].owner - kMaxTables;
  return room < state_->lines.size() && state_->lines[room] != nullptr &&
         state_->lines[room]->parts_->uses(dir);
}

// Room time stands still from the last heartbeat to here; what an attach that died before its first
// heartbeat added is not added again.
void Writer::stop_room_time(SegmentMs now) {
  RootHeader& h = state_->header();
  const Tick until = static_cast<Tick>(h.visit_clock);
  const SegmentMs counted = now - u64{tick_of(now) - until};  // never later than now
  const SegmentMs from = std::max(h.heartbeat_ms, counted);
  const u64 away = now > from ? now - from : 0;
  const Tick shift = shift_of(h.visit_clock) + static_cast<Tick>(away);
  store_release(h.visit_clock, u64{shift} << 32 | tick_of(now));
  crash_point();
}

}  // namespace lineq::shm
