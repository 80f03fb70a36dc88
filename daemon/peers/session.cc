#include "daemon/peers/session.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "shm/support/assert.h"

namespace lineq::peers {
namespace {

// Definitions longer than this are not kept to be recognised. No real one comes near it.
constexpr size_t kMaxKeptDefinition = 2048;

// A time to live above this is far future or the past, depending on the HAProxy (9.2).
constexpr u32 kMaxExpireMs = std::numeric_limits<i32>::max();

constexpr u64 kNever = std::numeric_limits<u64>::max();

u64 elapsed(u64 now, u64 since) {
  return now > since ? now - since : 0;
}

bool same_bytes(std::span<const u8> a, std::span<const u8> b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

// Remembers `payload` to know it again, if it is of a sensible size.
void keep(std::vector<u8>& kept, std::span<const u8> payload) {
  kept.clear();
  if (payload.size() <= kMaxKeptDefinition) {
    kept.assign(payload.begin(), payload.end());
  }
}

bool same_definition(const shm::TableDefinition& a, const shm::TableDefinition& b) {
  return a.name == b.name && a.key_type == b.key_type && a.key_bytes == b.key_bytes &&
         a.data_types == b.data_types && a.expire_ms == b.expire_ms && a.elements == b.elements &&
         a.period_ms == b.period_ms;
}

std::string list_of_types(u64 types) {
  std::string list;
  for (u32 bit = 0; bit < 64; ++bit) {
    if ((types >> bit & 1) != 0) {
      list += fmt::format("{}{}", list.empty() ? "" : ", ", bit);
    }
  }
  return list;
}

}  // namespace

Session::Session(const SessionConfig& config, Strings& strings, SessionEvents& events, u64 now_ms)
    : config_(config),
      strings_(strings),
      events_(events),
      state_(State::kHello),
      now_ms_(now_ms),
      started_ms_(now_ms),
      last_received_ms_(now_ms),
      last_sent_ms_(now_ms) {}

Session::Session(const SessionConfig& config, const Hello& own, Strings& strings,
                 SessionEvents& events, u64 now_ms)
    : Session(config, strings, events, now_ms) {
  state_ = State::kStatus;
  hello_ = own;
  encode_hello(out_, own);
  counters_.bytes_out = out_.size();
}

Session::~Session() = default;

// --- input ---

void Session::feed(std::span<const u8> bytes, u64 now_ms) {
  now_ms_ = now_ms;
  if (ended() || bytes.empty()) {
    return;
  }
  last_received_ms_ = now_ms;
  excused_ms_ = 0;
  counters_.bytes_in += bytes.size();

  // What was left unfinished gets just the bytes it misses; all others are used where they lie.
  bool tail_done = tail_.empty();
  while (!tail_done && !bytes.empty() && !ended()) {
    const std::span<const u8> more = bytes.first(missing(bytes));
    tail_.insert(tail_.end(), more.begin(), more.end());
    bytes = bytes.subspan(more.size());
    tail_done = step(tail_) != 0;
  }
  while (tail_done && !bytes.empty() && !ended()) {
    const size_t used = step(bytes);
    if (used == 0) {
      break;
    }
    bytes = bytes.subspan(used);
  }
  // Acknowledged only after the owner has it. The batch may point into tail_ and `bytes`.
  flush();
  send_acks();
  if (ended()) {
    tail_.clear();
  } else if (tail_done) {
    tail_.assign(bytes.begin(), bytes.end());
  }
}

// How much of `bytes` the unfinished tail can use at once.
size_t Session::missing(std::span<const u8> bytes) const {
  if (state_ == State::kEstablished) {
    return std::min(need_ - tail_.size(), bytes.size());
  }
  const auto newline = std::find(bytes.begin(), bytes.end(), u8{'\n'});
  return static_cast<size_t>(newline - bytes.begin()) + (newline != bytes.end() ? 1 : 0);
}

size_t Session::step(std::span<const u8> in) {
  if (state_ != State::kEstablished) {
    return step_line(in);
  }
  Frame frame;
  switch (read_frame(in, config_.max_message, frame)) {
    case FrameStatus::kWhole:
      ++counters_.messages_in;
      on_frame(frame);
      return frame.bytes;
    case FrameStatus::kUnfinished:
      need_ = frame.bytes;
      return 0;
    case FrameStatus::kMalformed:
      protocol_error(ProtocolError::kProtocol,
                     frame.cls == kClassReserved
                         ? "message of the reserved class 255"
                         : fmt::format("message of class {} type {}: a length of more than 5 bytes",
                                       frame.cls, frame.type));
      return 0;
    case FrameStatus::kTooLarge:
      protocol_error(ProtocolError::kSizeLimit,
                     fmt::format("message of class {} type {}: larger than {} bytes", frame.cls,
                                 frame.type, config_.max_message));
      return 0;
  }
  return 0;
}

size_t Session::step_line(std::span<const u8> in) {
  const auto newline = std::find(in.begin(), in.end(), u8{'\n'});
  const auto size = static_cast<size_t>(newline - in.begin());
  if (size >= kMaxLine) {
    finish(state_ == State::kHello ? Problem::kBadHello : Problem::kRefused,
           fmt::format("handshake: a line longer than {} bytes", kMaxLine));
    return 0;
  }
  if (newline == in.end()) {
    need_ = in.size() + 1;
    return 0;
  }
  std::string_view line{reinterpret_cast<const char*>(in.data()), size};
  if (!line.empty() && line.back() == '\r') {
    line.remove_suffix(1);
  }
  if (state_ == State::kStatus) {
    on_status(line);
  } else {
    on_hello_line(line);
  }
  return size + 1;
}

void Session::flush() {
  if (!batch_.empty() && !ended()) {
    events_.on_updates(*batch_table_, batch_.updates());
  }
  batch_.clear();
}

void Session::send_acks() {
  for (SessionTable* const table : acks_due_) {
    if (table->ack_due && !ended()) {
      send([&](OutputBuffer& out) { encode_ack(out, {table->remote_id, table->ack_id}); });
      ++counters_.acks_out;
    }
    table->ack_due = false;
  }
  acks_due_.clear();
}

// --- handshake (peers-protocol 1) ---

void Session::on_hello_line(std::string_view line) {
  switch (line_no_++) {
    case 0: {
      const HelloError error = decode_hello_version(line, hello_.minor);
      if (error == HelloError::kProtocol) {
        bad_hello(kStatusProtocol, fmt::format(R"(hello: "{}" where "{} 2.1" should be)",
                                               printable(line), kProtocolName));
      } else if (error == HelloError::kVersion) {
        bad_hello(kStatusVersion, fmt::format("hello: version \"{}\" (2.0 and 2.1 are known)",
                                              printable(line.substr(kProtocolName.size() + 1))));
      }
      return;
    }
    case 1:
      hello_.target = line;
      return;
    default:
      on_names(line);
      return;
  }
}

void Session::on_names(std::string_view line) {
  if (decode_hello_names(line, hello_) != HelloError::kNone) {
    bad_hello(kStatusProtocol,
              fmt::format("hello: \"{}\" where name and process id should be", printable(line)));
    return;
  }
  if (hello_.name.empty()) {
    bad_hello(kStatusUnknown, "hello: the caller's name is empty");
    return;
  }
  const HelloDecision decision = events_.on_hello(hello_);
  if (ended()) {
    return;
  }
  switch (decision.kind) {
    case HelloDecision::Kind::kAccept:
      send([](OutputBuffer& out) { encode_status(out, kStatusOk); });
      establish();
      return;
    case HelloDecision::Kind::kStatus:
      send([&](OutputBuffer& out) { encode_status(out, decision.status); });
      end(fmt::format("hello of {} answered with status {}", printable(hello_.name),
                      decision.status));
      return;
    case HelloDecision::Kind::kClose:
      end(fmt::format("hello of {} not accepted", printable(hello_.name)));
      return;
  }
}

void Session::on_status(std::string_view line) {
  status_ = decode_status(line);
  if (status_ == kStatusOk) {
    establish();
    return;
  }
  const std::string_view meaning = status_ == kStatusTryAgain   ? " (it has a session with us)"
                                   : status_ == kStatusProtocol ? " (malformed hello)"
                                   : status_ == kStatusVersion  ? " (version not known)"
                                   : status_ == kStatusTarget   ? " (not its name)"
                                   : status_ == kStatusUnknown  ? " (our name is not known)"
                                                                : "";
  finish(Problem::kRefused,
         fmt::format("hello to {} from {} answered with \"{}\"{}", printable(hello_.target),
                     printable(hello_.name), printable(line), meaning));
}

void Session::bad_hello(u32 status, std::string sentence) {
  if (config_.answer_bad_hello) {
    send([&](OutputBuffer& out) { encode_status(out, status); });
  }
  finish(Problem::kBadHello, std::move(sentence));
}

void Session::establish() {
  state_ = State::kEstablished;
  if (config_.request_lesson) {
    request_lesson();
  }
  // Without it HAProxy may judge a session dead that just survived a collision (1.6, 8.3).
  heartbeat();
  events_.on_established();
}

// --- messages ---

void Session::on_frame(const Frame& frame) {
  switch (frame.cls) {
    case kClassControl:
      on_control(frame.type);
      return;
    case kClassError:
      if (frame.type <= static_cast<u8>(ProtocolError::kSizeLimit)) {
        problem(Problem::kRemoteError,
                frame.type == static_cast<u8>(ProtocolError::kProtocol)
                    ? "the other side reports a protocol error"
                    : "the other side reports a message above its size limit");
        return;
      }
      break;
    case kClassTable:
      switch (frame.type) {
        case kUpdate:
        case kIncremental:
        case kTimedUpdate:
        case kTimedIncremental:
          on_update(frame);
          return;
        case kDefinition:
          on_definition(frame.payload);
          return;
        case kSwitch:
          on_switch(frame.payload);
          return;
        case kAck:
          on_ack(frame.payload);
          return;
        default:
          break;
      }
      break;
    default:
      break;
  }
  ++counters_.skipped;
}

void Session::on_control(u8 type) {
  switch (static_cast<Control>(type)) {
    case Control::kResyncRequest:
      flush();
      if (!ended()) {
        teaching_ = true;
        events_.on_resync_request();
      }
      return;
    case Control::kResyncFinished:
      on_lesson_end(false);
      return;
    case Control::kResyncPartial:
      on_lesson_end(true);
      return;
    case Control::kResyncConfirmed:
      on_resync_confirmed();
      return;
    case Control::kHeartbeat:
      ++counters_.heartbeats_in;
      return;
  }
  ++counters_.skipped;
}

void Session::on_lesson_end(bool partial) {
  flush();
  if (ended()) {
    return;
  }
  learning_ = false;
  ++counters_.lessons_in;
  // Asked for or not: without it HAProxy never pushes to us again (7.3).
  send_control(Control::kResyncConfirmed);
  events_.on_lesson_end(partial);
}

void Session::on_resync_confirmed() {
  flush();
  if (ended() || unconfirmed_ == 0) {
    return;
  }
  --unconfirmed_;
  // It is sent after everything before the end of the lesson was applied.
  std::vector<std::pair<u32, u32>> acked;
  for (auto& [our_table, own] : own_) {
    if (id_after(own.taught, own.last_acked) && !id_after(own.taught, own.last_sent)) {
      own.last_acked = own.taught;
      acked.emplace_back(our_table, own.taught);
    }
  }
  for (const auto& [our_table, update_id] : acked) {
    events_.on_ack(our_table, update_id);
  }
  events_.on_resync_confirmed();
}

void Session::on_definition(std::span<const u8> payload) {
  ++counters_.definitions_in;
  // HAProxy repeats the definition at each change of table: know it again without parsing it.
  u64 id = 0;
  if (decode_switch(payload, id) && id <= std::numeric_limits<u32>::max()) {
    const auto known = by_id_.find(static_cast<u32>(id));
    if (known != by_id_.end() && same_bytes(known->second->payload, payload)) {
      selected_ = known->second->usable ? known->second : nullptr;
      return;
    }
  }
  flush();
  if (ended()) {
    return;
  }
  selected_ = nullptr;
  Definition definition;
  std::string why;
  const DefinitionVerdict verdict = decode_definition(payload, definition, why);
  if (verdict == DefinitionVerdict::kMalformed) {
    protocol_error(ProtocolError::kProtocol, fmt::format("definition: {}", why));
    return;
  }
  SessionTable* const table = place_of(definition.table_id, definition.table.name);
  if (table == nullptr) {
    if (verdict == DefinitionVerdict::kGood) {
      why = fmt::format("table {}: more than {} tables", printable(definition.table.name),
                        config_.max_tables);
    }
    if (!same_bytes(last_bad_definition_, payload)) {
      keep(last_bad_definition_, payload);
      problem(Problem::kBadDefinition, fmt::format("definition ignored: {}", why));
    }
    return;
  }
  keep(table->payload, payload);
  table->usable = false;
  if (verdict == DefinitionVerdict::kUnusable) {
    problem(Problem::kBadDefinition, fmt::format("definition ignored: {}", why));
    return;
  }
  const u64 unknown_before = std::exchange(table->unknown_types, definition.unknown_types);
  table->definition = std::move(definition.table);
  table->shape = RowShape(table->definition);
  if ((table->unknown_types & ~unknown_before) != 0) {
    problem(Problem::kUnknownTypes,
            fmt::format("table {}: data types {} are not known, their values are ignored",
                        printable(table->definition.name), list_of_types(table->unknown_types)));
  }
  table->usable = !ended() && events_.on_definition(*table);
  if (table->usable) {
    selected_ = table;
  }
}

// The table of that name, with that number from now on (4.5: the last number counts; a name loses
// the number another one takes). Null when the name is missing or no table more is kept.
SessionTable* Session::place_of(u32 remote_id, const std::string& name) {
  if (name.empty()) {
    return nullptr;
  }
  SessionTable*& table = by_name_[name];
  if (table == nullptr) {
    if (tables_.size() >= config_.max_tables) {
      by_name_.erase(name);
      return nullptr;
    }
    tables_.push_back(std::make_unique<SessionTable>());
    table = tables_.back().get();
    table->index = static_cast<u32>(tables_.size() - 1);
    table->definition.name = name;
  } else if (const auto old = by_id_.find(table->remote_id);
             old != by_id_.end() && old->second == table) {
    by_id_.erase(old);
  }
  SessionTable*& holder = by_id_[remote_id];
  if (holder != nullptr) {
    holder->ack_due = false;
    holder->payload.clear();
  }
  holder = table;
  table->remote_id = remote_id;
  return table;
}

void Session::on_switch(std::span<const u8> payload) {
  u64 id = 0;
  if (!decode_switch(payload, id)) {
    protocol_error(ProtocolError::kProtocol, "switch without a table number");
    return;
  }
  selected_ = nullptr;
  const auto known =
      id <= std::numeric_limits<u32>::max() ? by_id_.find(static_cast<u32>(id)) : by_id_.end();
  if (known == by_id_.end()) {
    problem(Problem::kUnknownTable, fmt::format("switch to table {}, never defined", id));
  } else if (known->second->usable) {
    selected_ = known->second;
  }
}

void Session::on_ack(std::span<const u8> payload) {
  Ack ack;
  if (!decode_ack(payload, ack)) {
    protocol_error(ProtocolError::kProtocol,
                   fmt::format("ack: {} bytes are too short", payload.size()));
    return;
  }
  ++counters_.acks_in;
  OwnTable* const own = ack.table_id <= std::numeric_limits<u32>::max()
                            ? own_table(static_cast<u32>(ack.table_id))
                            : nullptr;
  // Not between the last ack and the last id sent: byte-swapped by HAProxy >= 3.3 (6.3), or a
  // repetition.
  if (own == nullptr || !id_after(ack.update_id, own->last_acked) ||
      id_after(ack.update_id, own->last_sent)) {
    ++counters_.acks_dropped;
    return;
  }
  own->last_acked = ack.update_id;
  flush();
  if (!ended()) {
    events_.on_ack(static_cast<u32>(ack.table_id), ack.update_id);
  }
}

void Session::on_update(const Frame& frame) {
  if (selected_ == nullptr) {
    ++counters_.ignored;
    return;
  }
  SessionTable& table = *selected_;
  if (batch_table_ != &table || !batch_.fits(table.shape.cells())) {
    flush();
    batch_table_ = &table;
    if (ended()) {
      return;
    }
  }
  Update& update = batch_.next();
  RowTrouble trouble;
  if (!decode_update(frame.type, frame.payload, table.last_id, table.definition, table.shape,
                     received_, strings_, config_.elapsed, update, batch_.next_cells(), trouble)) {
    const std::string name = printable(table.definition.name);
    protocol_error(ProtocolError::kProtocol,
                   trouble.in_key
                       ? fmt::format("update of table {}: {} bytes end before or in the key", name,
                                     trouble.left)
                       : fmt::format("update of table {}: {} bytes left after {} of {} columns",
                                     name, trouble.left, trouble.columns, trouble.of));
    return;
  }
  mark(table, update);
  batch_.add(table.shape.cells());
  ++table.updates;
  ++counters_.updates_in;
  table.last_id = update.id;
  if (!learning_) {
    table.ack_id = update.id;
    if (!table.ack_due) {
      table.ack_due = true;
      acks_due_.push_back(&table);
    }
  }
}

// What the lesson says about this update (7.3).
void Session::mark(SessionTable& table, Update& update) {
  update.in_lesson = learning_;
  update.repeat = false;
  if (learning_) {
    if (!update.learned && (!table.has_lesson_high || id_after(update.id, table.lesson_high))) {
      table.has_lesson_high = true;
      table.lesson_high = update.id;
    }
    return;
  }
  if (!table.has_lesson_high || update.timed) {
    return;
  }
  if (!id_after(update.id, table.lesson_high)) {
    update.repeat = true;
    ++counters_.repeats;
  } else if (update.id - table.lesson_high > u32{1} << 30) {
    // Long past it. Half a round later new ids would look like old ones.
    table.has_lesson_high = false;
  }
}

void Session::problem(Problem problem, std::string_view sentence) {
  ++counters_.problems;
  events_.on_problem(problem, sentence);
}

void Session::finish(Problem what, std::string sentence) {
  end(std::move(sentence));
  problem(what, end_reason_);
}

void Session::protocol_error(ProtocolError error, std::string sentence) {
  // What came whole before it counts, and is acknowledged.
  flush();
  if (ended()) {
    return;
  }
  send_acks();
  send([&](OutputBuffer& out) { encode_error(out, error); });
  finish(error == ProtocolError::kProtocol ? Problem::kMalformed : Problem::kTooLarge,
         std::move(sentence));
}

// --- time ---

void Session::tick(u64 now_ms) {
  now_ms_ = now_ms;
  if (ended()) {
    return;
  }
  if (!established()) {
    if (elapsed(now_ms, started_ms_) >= config_.handshake_ms) {
      finish(Problem::kSilent,
             fmt::format("handshake not finished within {} ms", config_.handshake_ms));
    }
    return;
  }
  if (elapsed(now_ms, last_received_ms_ + excused_ms_) >= config_.dead_ms) {
    finish(Problem::kSilent, fmt::format("silent for {} ms", config_.dead_ms));
    return;
  }
  // With bytes still waiting another two would not arrive earlier.
  if (out_.empty() && elapsed(now_ms, last_sent_ms_) >= config_.heartbeat_ms) {
    heartbeat();
  }
}

void Session::excuse(u64 ms) {
  started_ms_ += ms;
  excused_ms_ += ms;
}

u64 Session::next_deadline() const {
  if (ended()) {
    return kNever;
  }
  if (!established()) {
    return started_ms_ + config_.handshake_ms;
  }
  const u64 dead = last_received_ms_ + excused_ms_ + config_.dead_ms;
  return out_.empty() ? std::min(dead, last_sent_ms_ + config_.heartbeat_ms) : dead;
}

void Session::end(std::string reason) {
  if (!ended()) {
    state_ = State::kEnded;
    end_reason_ = std::move(reason);
  }
}

// --- sending ---

void Session::swap_output(OutputBuffer& empty) {
  LINEQ_ASSERT(empty.empty());
  out_.swap(empty);
}

template <typename Encode>
void Session::send(Encode&& encode) {
  const size_t before = out_.size();
  encode(out_);
  counters_.bytes_out += out_.size() - before;
  counters_.messages_out += established() ? 1U : 0U;
  last_sent_ms_ = now_ms_;
}

void Session::send_control(Control control) {
  send([&](OutputBuffer& out) { encode_control(out, control); });
}

Session::OwnTable* Session::own_table(u32 our_table) {
  if (our_table != own_selected_ || own_current_ == nullptr) {
    const auto found = own_.find(our_table);
    return found == own_.end() ? nullptr : &found->second;
  }
  return own_current_;
}

void Session::define(u32 our_table, const shm::TableDefinition& definition) {
  LINEQ_ASSERT(our_table != 0);
  OwnTable& own = own_[our_table];
  if (!same_definition(own.definition, definition)) {
    own.definition = definition;
    own.shape = RowShape(definition);
    own.announced = false;
  }
}

void Session::announce(u32 our_table) {
  OwnTable* const own = own_table(our_table);
  LINEQ_ASSERT(own != nullptr);
  if (established()) {
    announce(our_table, *own);
  }
}

void Session::announce(u32 our_table, OwnTable& own) {
  send([&](OutputBuffer& out) { encode_definition(out, {our_table, own.definition, 0}); });
  ++counters_.definitions_out;
  own.announced = true;
  own_selected_ = our_table;
  own_current_ = &own;
}

u32 Session::update(u32 our_table, std::span<const u8> key, std::span<const u64> cells,
                    std::optional<u32> expire_ms) {
  OwnTable* const own = own_table(our_table);
  LINEQ_ASSERT(own != nullptr);
  if (!established()) {
    return 0;
  }
  if (!own->announced || own_selected_ != our_table) {
    announce(our_table, *own);
  }
  const u32 id = next_update_id(own->last_sent);
  // A 2.0 peer knows no timed messages (1.3).
  const u8 type = expire_ms.has_value() && hello_.minor >= 1 ? kTimedUpdate : kUpdate;
  const size_t before = out_.size();
  if (!encode_update(out_, type, id, std::min(expire_ms.value_or(0), kMaxExpireMs), own->definition,
                     own->shape, key, cells, sent_strings_, strings_)) {
    ++counters_.refused;
    problem(
        Problem::kRowTooLarge,
        fmt::format("update of table {} not sent: a key of {} bytes for one of {}, or a row that "
                    "does not fit into {} bytes",
                    printable(own->definition.name), key.size(), own->definition.key_bytes,
                    kMaxMessageOut));
    return 0;
  }
  counters_.bytes_out += out_.size() - before;
  ++counters_.messages_out;
  ++counters_.updates_out;
  last_sent_ms_ = now_ms_;
  own->last_sent = id;
  return id;
}

u32 Session::last_sent(u32 our_table) const {
  const auto found = own_.find(our_table);
  return found == own_.end() ? 0 : found->second.last_sent;
}

u32 Session::last_acked(u32 our_table) const {
  const auto found = own_.find(our_table);
  return found == own_.end() ? 0 : found->second.last_acked;
}

bool Session::request_lesson() {
  if (!established() || learning_) {
    return false;
  }
  learning_ = true;
  for (const std::unique_ptr<SessionTable>& table : tables_) {
    table->has_lesson_high = false;
  }
  send_control(Control::kResyncRequest);
  return true;
}

void Session::finish_lesson(bool partial) {
  if (!established()) {
    return;
  }
  teaching_ = false;
  if (unconfirmed_++ == 0) {
    for (auto& [our_table, own] : own_) {
      own.taught = own.last_sent;
    }
  }
  ++counters_.lessons_out;
  send_control(partial ? Control::kResyncPartial : Control::kResyncFinished);
}

void Session::heartbeat() {
  if (established()) {
    ++counters_.heartbeats_out;
    send_control(Control::kHeartbeat);
  }
}

}  // namespace lineq::peers
