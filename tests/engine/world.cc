#include "tests/engine/world.h"

#include <algorithm>

#include "shm/support/assert.h"

namespace lineq::test {

u64 bit(u32 data_type) {
  return u64{1} << data_type;
}

shm::TableDefinition counters_table(std::string name, u64 expire_ms) {
  return string_table(std::move(name), 31, bit(shm::kGpc0) | bit(shm::kGpc1), expire_ms);
}

// --- Hap ---

Hap::Hap(const peers::Hello& hello, std::string from, SegmentMs now) : address(std::move(from)) {
  peers::SessionConfig config;
  config.request_lesson = false;
  peers::SessionEvents& events = *this;
  session = std::make_unique<peers::Session>(config, hello, strings_, events, now);
}

Hap::Hap(std::string at, SegmentMs now) : address(std::move(at)) {
  peers::SessionConfig config;
  config.request_lesson = false;
  peers::SessionEvents& events = *this;
  session = std::make_unique<peers::Session>(config, strings_, events, now);
}

void Hap::define(u32 table, const shm::TableDefinition& definition) {
  session->define(table, definition);
  if (session->established()) {
    session->announce(table);
  }
}

void Hap::update(u32 table, std::string_view key, std::vector<u64> cells,
                 std::optional<u32> expire_ms) {
  LINEQ_ASSERT(session->update(table, {reinterpret_cast<const u8*>(key.data()), key.size()}, cells,
                               expire_ms) != 0);
}

u64 Hap::times(std::string_view key) const {
  return static_cast<u64>(
      std::count_if(rows.begin(), rows.end(), [&](const Row& row) { return row.key == key; }));
}

const Hap::Row* Hap::last(std::string_view key) const {
  const auto at =
      std::find_if(rows.rbegin(), rows.rend(), [&](const Row& row) { return row.key == key; });
  return at == rows.rend() ? nullptr : &*at;
}

std::unordered_map<std::string_view, const Hap::Row*> Hap::last_of_each() const {
  std::unordered_map<std::string_view, const Row*> last;
  for (const Row& row : rows) {
    last[row.key] = &row;
  }
  return last;
}

peers::HelloDecision Hap::on_hello(const peers::Hello&) {
  return peers::HelloDecision::accept();
}

bool Hap::on_definition(peers::SessionTable& table) {
  definitions[table.definition.name] = table.definition;
  return true;
}

void Hap::on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) {
  for (const peers::Update& update : updates) {
    rows.push_back(
        {table.definition.name,
         std::string(reinterpret_cast<const char*>(update.key.data()), update.key.size()),
         {update.cells, update.cells + table.definition.cells()},
         update.timed,
         update.expire_ms,
         table.definition.data_types});
  }
}

void Hap::on_ack(u32 our_table, u32 update_id) {
  acked[our_table] = update_id;
}

void Hap::on_resync_request() {
  if (teach) {
    teach();
  } else {
    session->finish_lesson();
  }
}

void Hap::on_lesson_end(bool) {
  ++lessons_finished;
}

// --- World ---

World::World(const engine::EngineOptions& options, shm::WriterOptions segment)
    : options_(options), segment_(std::move(segment)) {
  cli::set_log_level(cli::LogLevel::kErr);
  segment_.instance = instance_.name();
  segment_.feed_log2 = 16;
  auto attached = shm::Writer::attach(segment_);
  LINEQ_ASSERT(attached.ok());
  writer_ = attached.take();
  engine_ = std::make_unique<engine::Engine>(*writer_, options_, now_);
}

void World::restart() {
  for (const auto& hap : haps_) {
    hap->peer = nullptr;
  }
  engine_.reset();
  writer_->heartbeat(0);  // this clock is ahead of the machine's, which looks like another boot
  writer_.reset();
  auto attached = shm::Writer::attach(segment_);
  LINEQ_ASSERT(attached.ok() && attached.value()->attached_as() == shm::Attach::kRecovered);
  writer_ = attached.take();
  engine_ = std::make_unique<engine::Engine>(*writer_, options_, now_);
}

Hap& World::connect(std::string_view name, u32 pid, std::string_view address,
                    std::string_view target) {
  return connect(name, pid, engine::Endpoint{0, std::string(address), std::string(address)},
                 target);
}

Hap& World::connect(std::string_view name, u32 pid, const engine::Endpoint& from,
                    std::string_view target) {
  peers::Hello hello;
  hello.target = target;
  hello.name = name;
  hello.pid = pid;
  haps_.push_back(std::make_unique<Hap>(hello, from.address, now_));
  Hap& hap = *haps_.back();
  hap.peer = engine_->open(from, now_);
  LINEQ_ASSERT(hap.peer != nullptr);
  return hap;
}

Hap& World::dial(std::string_view name, std::string_view address, std::string_view own_name) {
  peers::Hello own;
  own.target = name;
  own.name = own_name;
  haps_.push_back(std::make_unique<Hap>(std::string(address), now_));
  Hap& hap = *haps_.back();
  hap.peer = engine_->dial({0, std::string(address), std::string(address)}, own, now_);
  LINEQ_ASSERT(hap.peer != nullptr);
  return hap;
}

engine::Peer* World::stranger(std::string_view address) {
  return engine_->open({0, std::string(address), std::string(address)}, now_);
}

void World::disconnect(Hap& hap) {
  engine_->close(*hap.peer, "gone", now_);
  hap.peer = nullptr;
}

// What a connection does at the end of a turn. True when bytes moved.
bool World::exchange(Hap& hap) {
  if (hap.peer == nullptr) {
    return false;
  }
  bool moved = false;
  if (const auto bytes = hap.session->pending(); !bytes.empty()) {
    const std::size_t n = bytes.size();
    engine_->feed(*hap.peer, bytes, now_);
    hap.session->consumed(n);
    moved = true;
  }
  if (const auto bytes = hap.peer->session.pending(); hap.reads && !bytes.empty()) {
    const std::size_t n = bytes.size();
    hap.session->feed(bytes, now_);
    hap.peer->session.consumed(n);
    moved = true;
  }
  if (hap.peer->session.ended()) {
    disconnect(hap);
    moved = true;
  }
  return moved;
}

void World::settle() {
  bool moved = true;
  for (int turns = 0; moved || engine_->busy(); ++turns) {
    LINEQ_ASSERT(turns < 100'000);
    engine_->turn(now_);
    moved = false;
    for (const auto& hap : haps_) {
      moved |= exchange(*hap);
    }
  }
}

void World::pass(u64 ms) {
  for (const SegmentMs end = now_ + ms; now_ < end;) {
    now_ = std::min(end, now_ + 100);
    engine_->tick(now_);
    for (const auto& hap : haps_) {
      if (hap->peer != nullptr) {
        hap->session->tick(now_);
      }
    }
    settle();
  }
}

void World::stand_still(u64 ms) {
  pass(100);  // it has ticked until then
  now_ += ms;
  engine_->resume(ms, now_);
  for (const auto& hap : haps_) {
    hap->session->excuse(ms);
  }
}

shm::Table* World::table(std::string_view name) {
  for (const u16 no : writer_->tables()) {
    const shm::TableInfo& info = writer_->table(no)->info();
    if (info.role != shm::TableRole::kPart && info.role != shm::TableRole::kLedger &&
        info.definition.name == name) {
      return writer_->table(no);
    }
  }
  return nullptr;
}

std::optional<shm::EntryView> World::entry(std::string_view name, std::string_view key) {
  const shm::Table* t = table(name);
  if (t == nullptr) {
    return std::nullopt;
  }
  const auto slot = t->find({reinterpret_cast<const u8*>(key.data()), key.size()});
  if (!slot || t->at(*slot).expired(tick_of(now_))) {
    return std::nullopt;
  }
  return t->at(*slot);
}

u64 World::counter(shm::DaemonCounter c) {
  auto reader = shm::Reader::open({.directory = "", .instance = instance_.name()});
  LINEQ_ASSERT(reader.ok());
  return reader->counter(c);
}

u64 World::table_counter(std::string_view name, shm::TableCounter c) {
  auto reader = shm::Reader::open({.directory = "", .instance = instance_.name()});
  LINEQ_ASSERT(reader.ok());
  const shm::TableInfo* info = reader->find_table(name);
  LINEQ_ASSERT(info != nullptr);
  return reader->stats(*info).counter(c);
}

}  // namespace lineq::test
