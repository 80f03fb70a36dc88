#include "tests/engine/room_world.h"

#include "shm/verify.h"

namespace lineq::test {

using shm::Visitor;
using shm::VisitorState;

shm::TableDefinition users_table(u64 expire_ms, std::string name) {
  return string_table(std::move(name), 72, bit(shm::kGpt0) | bit(shm::kGpc1), expire_ms);
}

shm::TableDefinition rooms_table(std::string name) {
  return string_table(std::move(name), 31, bit(shm::kGpc0), 86'400'000);
}

cli::RoomSettings a_room(std::string name, u32 capacity) {
  cli::RoomSettings room;
  room.name = std::move(name);
  room.capacity = capacity;
  return room;
}

// --- Gate ---

void Gate::look() {
  for (; seen_ < hap_->rows.size(); ++seen_) {
    const Hap::Row& row = hap_->rows[seen_];
    if (row.table == "room") {
      rooms[row.key] = row.cells[0];
    } else if (row.table == "user" && row.cells.size() == 2) {
      Row& mine = users[row.key];
      mine = {row.cells[0], row.cells[1], world_->now(), true};
    }
  }
}

void Gate::tell(const std::string& key, const Row& row) {
  hap_->update(kUsers, key, {row.gpt0, row.gpc1});
}

bool Gate::request(std::string_view key) {
  look();
  Row& row = users[std::string(key)];
  const std::size_t at = key.rfind('@');
  const u64 free = at == std::string_view::npos ? 0 : places(key.substr(at + 1));
  if (operator_rules && row.gpc1 == 0 && free > 0) {
    row.gpc1 = 1;
  }
  row.touched = world_->now();
  row.learned = false;
  tell(std::string(key), row);
  return row.gpc1 == 1 || (operator_rules && free > 0);
}

bool Gate::may_enter(std::string_view key) {
  look();
  const auto at = users.find(key);
  return at != users.end() && at->second.gpc1 == 1;
}

u64 Gate::places(std::string_view room) {
  look();
  const auto at = rooms.find(room.substr(0, 31));
  return at == rooms.end() ? 0 : at->second;
}

void Gate::purge(std::string_view key) {
  look();
  users.erase(std::string(key));
}

void Gate::end_session(std::string_view key) {
  look();
  Row& row = users[std::string(key)];
  row.gpt0 = 1;
  row.touched = world_->now();
  row.learned = false;
  tell(std::string(key), row);
}

void Gate::teach() {
  look();
  hap_->session->announce(kRooms);
  hap_->session->announce(kUsers);
  for (const auto& [key, row] : users) {
    const u64 age = world_->now() - row.touched;
    const u64 expire = users_table().expire_ms;
    if (age < expire) {
      hap_->update(kUsers, key, {row.gpt0, row.gpc1}, static_cast<u32>(expire - age));
    }
  }
  hap_->finish_lesson();
}

// --- RoomWorld ---

engine::EngineOptions RoomWorld::options(engine::WaitingRoomOptions rooms) {
  engine::EngineOptions options;
  options.mode = engine::ModeKind::kWaitingRoom;
  rooms.users_table = "user";
  options.waiting_room = std::move(rooms);
  return options;
}

RoomWorld::RoomWorld(engine::WaitingRoomOptions rooms, shm::WriterOptions segment)
    : World(options(std::move(rooms)), std::move(segment)) {}

void RoomWorld::put(const cli::RoomSettings& room) {
  const Status done = control().put(room, now());
  ASSERT_TRUE(done) << done.error().what;
  settle();
}

Gate RoomWorld::gate(std::string_view name, u32 pid, const shm::TableDefinition& users) {
  Hap& hap = connect(name, pid);
  hap.define(Gate::kRooms, rooms_table());
  hap.define(Gate::kUsers, users);
  settle();
  hap.session->announce(Gate::kRooms);
  hap.session->announce(Gate::kUsers);
  pass(1000);  // the repetitions after its lesson are over
  return {*this, hap};
}

std::optional<Visitor> RoomWorld::visitor(std::string_view key) {
  const auto found = entry("user", key);
  if (!found) {
    return std::nullopt;
  }
  return Visitor::of(*found);
}

VisitorState RoomWorld::state(std::string_view key) {
  const auto found = visitor(key);
  return found ? found->state : VisitorState::kNone;
}

u64 RoomWorld::position(std::string_view key) {
  const auto v = visitor(key);
  if (!v || !shm::waits(v->state)) {
    return 0;
  }
  if (v->state == VisitorState::kFront) {
    return 1;
  }
  const auto rank = writer().line(v->room).rank_of(v->ticket);
  return rank ? *rank + 1 + writer().room_numbers(v->room).front : 0;
}

u64 RoomWorld::holders() {
  u64 n = 0;
  const shm::Table* const users = table("user");
  for (u32 slot = 0; users != nullptr && slot < users->high_water(); ++slot) {
    const shm::EntryView view = users->at(slot);
    n += view.live() && shm::holds_place(Visitor::of(view).state) ? 1U : 0U;
  }
  return n;
}

void RoomWorld::check() {
  pass(1000);  // numbers are published
  auto reader = shm::Reader::open({.directory = "", .instance = instance()});
  ASSERT_TRUE(reader.ok());
  const shm::VerifyReport report = shm::verify(*reader);
  for (const shm::Finding& finding : report.findings) {
    ADD_FAILURE() << finding.invariant << ": " << finding.what;
  }
  for (const auto& remark : report.remarks) {
    ADD_FAILURE() << remark.invariant << ": " << remark.what;
  }
}

}  // namespace lineq::test
