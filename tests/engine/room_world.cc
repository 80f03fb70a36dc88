#include "tests/engine/room_world.h"

#include "shm/verify.h"

namespace lineq::test {

using shm::Visitor;
using shm::VisitorState;

namespace {

constexpr u32 kRooms = 1;
constexpr u32 kUsers = 2;

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

}  // namespace

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

Gate::Gate(RoomWorld& world, std::string name, u32 pid, shm::TableDefinition users)
    : world_(world), name_(std::move(name)), pid_(pid), users_(std::move(users)) {}

void Gate::connect() {
  hap_ = &world_.connect(name_, pid_);
  seen_ = 0;
  hap_->teach = [this] { teach(); };
  world_.settle();
}

void Gate::disconnect() {
  if (connected()) {
    look();
    world_.disconnect(*hap_);
  }
}

void Gate::die() {
  disconnect();
  ++pid_;
  rows_.clear();
  rooms_.clear();
  last_id_ = 0;
}

void Gate::reload() {
  disconnect();
  ++pid_;
  last_id_ = 0;
  for (auto& [key, row] : rows_) {
    row.learned = true;
  }
}

void Gate::look() {
  if (hap_ == nullptr) {
    return;
  }
  for (; seen_ < hap_->rows.size(); ++seen_) {
    const Hap::Row& sent = hap_->rows[seen_];
    if (sent.table == "room") {
      rooms_[sent.key] = sent.cells[0];
    } else if (sent.table == users_.name && sent.cells.size() == 2) {
      const u64 age =
          sent.timed && sent.expire_ms < users_.expire_ms ? users_.expire_ms - sent.expire_ms : 0;
      Row& row = rows_[sent.key];
      row = {sent.cells[0], sent.cells[1], world_.now() - age, true, row.id};
    }
  }
}

Gate::Row& Gate::row_of(std::string_view key) {
  look();
  Row& row = rows_[std::string(key.substr(0, users_.key_capacity()))];
  if (world_.now() - row.touched >= users_.expire_ms) {
    row = {};
  }
  return row;
}

bool Gate::request(std::string_view key) {
  Row& row = row_of(key);
  const std::size_t at = key.rfind('@');
  const u64 free = at == std::string_view::npos ? 0 : places(key.substr(at + 1));
  if (operator_rules && row.gpc1 == 0 && free > 0) {
    row.gpc1 = 1;
  }
  touch(key, row);
  return row.gpc1 != 0;
}

bool Gate::may_enter(std::string_view key) {
  return row_of(key).gpc1 != 0;
}

u64 Gate::places(std::string_view room) {
  look();
  const auto at = rooms_.find(room.substr(0, 31));
  return at == rooms_.end() ? 0 : at->second;
}

void Gate::end_session(std::string_view key) {
  Row& row = row_of(key);
  row.gpt0 = 1;
  touch(key, row);
}

void Gate::tell(std::string_view key, u64 gpt0, u64 gpc1) {
  Row& row = row_of(key);
  row.gpt0 = gpt0;
  row.gpc1 = gpc1;
  touch(key, row);
}

void Gate::tell_room(std::string_view key, u64 gpc0) {
  define(kRooms);
  const shm::TableDefinition d = rooms_table();
  peers::SentStrings sent;
  MemoryStrings strings;
  const std::vector<u64> cells{gpc0};
  ASSERT_TRUE(peers::encode_update(out_, peers::kUpdate, ++last_id_, 0, d, peers::RowShape(d),
                                   bytes_of(key), cells, sent, strings));
  send();
}

void Gate::touch(std::string_view key, Row& row) {
  row.touched = world_.now();
  row.learned = false;
  row.id = ++last_id_;
  if (connected()) {
    define(kUsers);
    encode(peers::kUpdate, key.substr(0, users_.key_capacity()), row);
    send();
  }
}

void Gate::define(u32 table) {
  peers::encode_definition(out_,
                           {.table_id = table, .table = table == kRooms ? rooms_table() : users_});
}

void Gate::encode(u8 type, std::string_view key, const Row& row) {
  peers::SentStrings sent;
  MemoryStrings strings;
  const std::vector<u64> cells{row.gpt0, row.gpc1};
  const u64 left = row.touched + users_.expire_ms - world_.now();
  ASSERT_TRUE(peers::encode_update(out_, type, row.id | (row.learned ? 0x8000'0000U : 0U),
                                   static_cast<u32>(left), users_, peers::RowShape(users_),
                                   bytes_of(key), cells, sent, strings));
}

void Gate::teach() {
  look();
  std::erase_if(rows_, [&](const auto& one) {
    return world_.now() - one.second.touched >= users_.expire_ms;
  });
  define(kRooms);
  define(kUsers);
  for (const auto& [key, row] : rows_) {
    encode(peers::kTimedUpdate, key, row);
  }
  peers::encode_control(out_, peers::Control::kResyncFinished);
  for (const auto& [key, row] : rows_) {
    if (!row.learned) {
      encode(peers::kUpdate, key, row);
    }
  }
  send();
}

void Gate::send() {
  if (connected() && hap_->peer->session.established()) {
    world_.engine().feed(*hap_->peer, out_.pending(), world_.now());
  }
  out_.consumed(out_.size());
}

// --- RoomWorld ---

engine::EngineOptions RoomWorld::options(engine::WaitingRoomOptions rooms) {
  engine::EngineOptions options;
  options.mode = engine::ModeKind::kWaitingRoom;
  rooms.users_table = "user";
  options.waiting_room = std::move(rooms);
  options.session.dead_ms = 60'000;  // who is stalled says nothing
  return options;
}

RoomWorld::RoomWorld(engine::WaitingRoomOptions rooms, shm::WriterOptions segment)
    : World(options(std::move(rooms)), std::move(segment)) {}

void RoomWorld::put(const cli::RoomSettings& room) {
  const Status done = control().put(room, now());
  ASSERT_TRUE(done) << done.error().what;
  settle();
}

Gate& RoomWorld::new_gate(std::string_view name, u32 pid, const shm::TableDefinition& users) {
  return *gates_.emplace_back(std::make_unique<Gate>(*this, std::string(name), pid, users));
}

Gate& RoomWorld::gate(std::string_view name, u32 pid, const shm::TableDefinition& users) {
  Gate& gate = new_gate(name, pid, users);
  gate.connect();
  pass(1000);  // the repetitions after its lesson are over
  return gate;
}

void RoomWorld::pass(u64 ms) {
  while (ms > 0) {
    const u64 step = std::min<u64>(ms, 100);
    World::pass(step);
    for (const auto& gate : gates_) {
      gate->look();
    }
    ms -= step;
  }
}

void RoomWorld::settle() {
  World::settle();
  for (const auto& gate : gates_) {
    gate->look();
  }
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
  return rank ? *rank + 1 : 0;
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

void RoomWorld::check(bool limit_too) {
  pass(1000);  // numbers are published
  auto reader = shm::Reader::open({.directory = "", .instance = instance()});
  ASSERT_TRUE(reader.ok());
  const shm::VerifyReport report = shm::verify(*reader);
  for (const shm::Finding& finding : report.findings) {
    ADD_FAILURE() << finding.invariant << ": " << finding.what;
  }
  for (const shm::Finding& remark : report.remarks) {
    if (limit_too || remark.invariant != "over_limit") {
      ADD_FAILURE() << remark.invariant << ": " << remark.what;
    }
  }
}

}  // namespace lineq::test
