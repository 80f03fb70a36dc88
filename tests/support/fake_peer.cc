#include "tests/support/fake_peer.h"

#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "shm/support/clock.h"

namespace lineq::test {

u32 MemoryStrings::intern(std::string_view text) {
  if (const auto found = ids_.find(text); found != ids_.end()) {
    return found->second;
  }
  const auto id = static_cast<u32>(texts_.size());
  texts_.emplace_back(text);
  ids_.emplace(text, id);
  return id;
}

std::string_view MemoryStrings::text(u32 id) {
  return id < texts_.size() ? std::string_view(texts_[id]) : std::string_view();
}

FakePeer::FakePeer(FakePeerSetup setup) : setup_(std::move(setup)) {}

FakePeer::~FakePeer() = default;

bool FakePeer::connect(Milliseconds patience) {
  disconnect();
  fd_ = connect_tcp(setup_.port);
  if (setup_.receive_buffer != 0) {
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &setup_.receive_buffer,
                 sizeof setup_.receive_buffer);
  }
  if (!fd_.valid()) {
    why_ended_ = "no connection";
    return false;
  }
  peers::SessionConfig config;
  config.request_lesson = setup_.request_lesson;
  peers::Hello hello;
  hello.target = setup_.target;
  hello.name = setup_.name;
  hello.pid = setup_.pid;
  why_ended_.clear();
  peers::SessionEvents& events = *this;  // a private base: make_unique could not convert
  session_ = std::make_unique<peers::Session>(config, hello, strings_, events, monotonic_ms());
  return pump_until([this] { return connected(); }, patience);
}

bool FakePeer::connected() const {
  return session_ != nullptr && session_->established();
}

void FakePeer::disconnect() {
  session_.reset();
  fd_.reset();
}

void FakePeer::lost(const std::string& why) {
  why_ended_ = session_ != nullptr && session_->ended() ? session_->end_reason() : why;
  disconnect();
}

void FakePeer::define(u32 table, const shm::TableDefinition& definition) {
  own_[table] = definition;
  if (connected()) {
    session_->define(table, definition);
  }
}

u32 FakePeer::update(u32 table, std::string_view key, std::span<const u64> cells) {
  if (!connected()) {
    return 0;
  }
  const std::span<const u8> bytes(reinterpret_cast<const u8*>(key.data()), key.size());
  return session_->update(table, bytes, cells, std::nullopt);
}

bool FakePeer::all_acked() const {
  if (!connected()) {
    return false;
  }
  for (const auto& [number, definition] : own_) {
    if (session_->last_acked(number) != session_->last_sent(number)) {
      return false;
    }
  }
  return true;
}

std::size_t FakePeer::unsent_bytes() const {
  return session_ == nullptr ? 0 : session_->pending().size();
}

bool FakePeer::write_pending() {
  while (!session_->pending().empty()) {
    const std::span<const u8> bytes = session_->pending();
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      return errno == EAGAIN || errno == EINTR;
    }
    session_->consumed(static_cast<std::size_t>(n));
  }
  return true;
}

void FakePeer::pump_out_only() {
  if (session_ != nullptr) {
    session_->tick(monotonic_ms());
    write_pending();
  }
}

bool FakePeer::pump(Milliseconds how_long) {
  const auto deadline = std::chrono::steady_clock::now() + how_long;
  std::array<u8, 65536> chunk{};
  while (session_ != nullptr) {
    session_->tick(monotonic_ms());
    if (!write_pending()) {
      lost("connection closed while writing");
      return false;
    }
    if (session_->ended()) {
      lost("ended");
      return false;
    }
    const auto left =
        std::chrono::duration_cast<Milliseconds>(deadline - std::chrono::steady_clock::now());
    const bool more_to_write = !session_->pending().empty();
    pollfd entry{fd_.get(), static_cast<short>(POLLIN | (more_to_write ? POLLOUT : 0)), 0};
    constexpr i64 kLongestPause = 100;  // heartbeats are due now and then
    const auto pause = static_cast<int>(std::clamp<i64>(left.count(), 0, kLongestPause));
    const int ready = ::poll(&entry, 1, pause);
    if (ready > 0 && (entry.revents & ~POLLOUT) != 0) {
      const ssize_t n = ::recv(fd_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        lost(n == 0 ? "closed by the other side" : std::strerror(errno));
        return false;
      }
      if (n > 0) {
        session_->feed({chunk.data(), static_cast<std::size_t>(n)}, monotonic_ms());
        continue;
      }
    }
    if (left.count() <= 0 && ready <= 0) {
      return true;
    }
  }
  return false;
}

bool FakePeer::pump_until(const std::function<bool()>& condition, Milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    constexpr Milliseconds kStep{2};
    if (!pump(kStep) || std::chrono::steady_clock::now() >= deadline) {
      return condition();
    }
  }
  return true;
}

const FakePeer::Rows& FakePeer::rows(const std::string& table) const {
  static const Rows none;
  const auto found = rows_.find(table);
  return found == rows_.end() ? none : found->second;
}

const ReceivedRow* FakePeer::row(const std::string& table, const std::string& key) const {
  const Rows& all = rows(table);
  const auto found = all.find(key);
  return found == all.end() ? nullptr : &found->second;
}

peers::HelloDecision FakePeer::on_hello(const peers::Hello&) {
  return peers::HelloDecision::close();  // never asked: this side dials
}

void FakePeer::on_established() {
  for (const auto& [number, definition] : own_) {
    session_->define(number, definition);
  }
}

bool FakePeer::on_definition(peers::SessionTable& table) {
  definitions_[table.definition.name] = table.definition;
  return true;
}

void FakePeer::on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) {
  Rows* rows = setup_.keep_rows ? &rows_[table.definition.name] : nullptr;
  for (const peers::Update& update : updates) {
    ++updates_received_;
    if (on_update_do) {
      on_update_do(table, update);
    }
    if (rows != nullptr) {
      ReceivedRow& row =
          (*rows)[std::string(reinterpret_cast<const char*>(update.key.data()), update.key.size())];
      row.cells.assign(update.cells, update.cells + table.definition.cells());
      row.expire_ms = update.expire_ms;
      row.timed = update.timed;
      row.arrival = updates_received_;
      ++row.times;
    }
  }
}

void FakePeer::on_resync_request() {
  ++resync_requests_;
  if (on_resync_request_do) {
    on_resync_request_do();
  } else {
    session_->finish_lesson();
  }
}

void FakePeer::on_lesson_end(bool) {
  ++lessons_finished_;
}

void FakePeer::on_problem(peers::Problem, std::string_view sentence) {
  problems_.emplace_back(sentence);
}

shm::TableDefinition string_table(std::string name, u32 length, u64 data_types, u64 expire_ms) {
  shm::TableDefinition definition;
  definition.name = std::move(name);
  definition.key_type = shm::KeyType::kString;
  definition.key_bytes = length + 1;
  definition.data_types = data_types;
  definition.expire_ms = expire_ms;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (definition.has(bit)) {
      definition.elements[bit] = 1;
      definition.period_ms[bit] = shm::data_type(bit).kind == shm::ValueKind::kRate ? 10000 : 0;
    }
  }
  return definition;
}

shm::TableDefinition integer_table(std::string name, u64 data_types, u64 expire_ms) {
  shm::TableDefinition definition = string_table(std::move(name), 4, data_types, expire_ms);
  definition.key_type = shm::KeyType::kInteger;
  definition.key_bytes = 4;
  return definition;
}

std::string integer_key(u32 value) {
  std::string key(4, '\0');
  const u32 wire = htonl(value);
  std::memcpy(key.data(), &wire, sizeof wire);
  return key;
}

}  // namespace lineq::test
