#include "daemon/engine/engine.h"

#include <algorithm>

#include <fmt/format.h>

#include "daemon/engine/aggregate.h"

namespace lineq::engine {
namespace {

std::string columns_text(const shm::TableDefinition& definition, u64 of) {
  std::string text;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if ((of >> bit & 1) == 0) {
      continue;
    }
    text += fmt::format("{}{}", text.empty() ? "" : ", ", shm::data_type(bit).name);
    if (shm::data_type(bit).array) {
      text += fmt::format("[{}]", definition.elements[bit]);
    }
    if (shm::data_type(bit).kind == shm::ValueKind::kRate) {
      text += fmt::format("({} ms)", definition.period_ms[bit]);
    }
  }
  return text.empty() ? "no columns" : text;
}

std::string definition_text(const shm::TableDefinition& d) {
  return fmt::format("type {} of {} bytes, {}, expiry {}", shm::key_type_name(d.key_type),
                     d.key_capacity(), columns_text(d, d.data_types),
                     d.expire_ms == 0 ? "never" : fmt::format("{} ms", d.expire_ms));
}

// What follows from a problem, for the log.
std::string_view consequence(peers::Problem problem) {
  switch (problem) {
    case peers::Problem::kBadHello:
    case peers::Problem::kRefused:
    case peers::Problem::kSilent:
      return "closing";
    case peers::Problem::kMalformed:
    case peers::Problem::kTooLarge:
      return "closing with an error message";
    case peers::Problem::kBadDefinition:
    case peers::Problem::kUnknownTable:
      return "its updates are ignored";
    case peers::Problem::kUnknownTypes:
      return "the other columns are exchanged";
    case peers::Problem::kRemoteError:
      return "it will probably close";
    case peers::Problem::kRowTooLarge:
      return "the row is left out";
  }
  return "";
}

bool ends_session(peers::Problem problem) {
  return problem == peers::Problem::kBadHello || problem == peers::Problem::kRefused ||
         problem == peers::Problem::kSilent || problem == peers::Problem::kMalformed ||
         problem == peers::Problem::kTooLarge;
}

}  // namespace

// The segment's dictionary as the codec knows it.
class Engine::Dictionary final : public peers::Strings {
 public:
  explicit Dictionary(shm::Writer& writer) : writer_(writer) {}
  u32 intern(std::string_view text) override { return writer_.intern(text); }
  std::string_view text(u32 id) override { return writer_.dictionary_text(id); }

 private:
  shm::Writer& writer_;
};

namespace {

// What plain tables hold differs from mode to mode: values of another one are worth nothing, and
// dangerous when they are sent. Ledgers stay.
shm::Writer& of_mode(shm::Writer& writer, ModeKind mode) {
  const u32 number = static_cast<u32>(mode) + 1;
  if (writer.mode() != 0 && writer.mode() != number) {
    const std::vector<RoomNo> rooms = writer.rooms();
    for (const RoomNo room : rooms) {
      writer.drop_room(room);
    }
    const std::vector<u16> numbers = writer.tables();
    for (const u16 no : numbers) {
      if (writer.table(no)->info().role != shm::TableRole::kLedger) {
        writer.drop_table(no);
      }
    }
    cli::log_warning("the segment was of another mode: its tables are dropped, totals are kept");
  }
  writer.set_mode(number);
  return writer;
}

// Those that HAProxys have, and not what we made of them.
bool is_theirs(const shm::TableInfo& table) {
  return table.role != shm::TableRole::kPart && table.role != shm::TableRole::kLedger;
}

std::unique_ptr<Mode> make_mode(const EngineOptions& options, Store& store, const PeerBook& book,
                                const Relay& relay, SegmentMs now) {
  if (options.mode == ModeKind::kWaitingRoom) {
    return std::make_unique<WaitingRoom>(store, book, relay, options.waiting_room, now);
  }
  if (options.mode == ModeKind::kAccumulate) {
    return std::make_unique<Accumulate>(store, book, options.accumulate, now);
  }
  return std::make_unique<Aggregate>(store, book);
}

// A part that is evicted would count twice when it comes again.
shm::WhenFull when_full(const EngineOptions& options) {
  return options.mode == ModeKind::kAccumulate ? shm::WhenFull::kRefuse : options.when_full;
}

}  // namespace

Engine::Engine(shm::Writer& writer, const EngineOptions& options, SegmentMs now)
    : writer_(writer),
      options_(options),
      now_(now),
      store_(of_mode(writer, options.mode), when_full(options), now),
      mode_(make_mode(options, store_, book_, relay_, now)),
      relay_(writer, book_, *mode_, options.relay),
      editor_(store_, book_, relay_, *mode_),
      dictionary_(std::make_unique<Dictionary>(writer)) {
  if (options.mode == ModeKind::kAccumulate) {
    options_.session.elapsed = peers::Elapsed::kAsIs;  // an impossible one is refused and reported
  }
}

Engine::~Engine() = default;

// --- connections ---

Peer* Engine::open(Endpoint endpoint, SegmentMs now) {
  now_ = now;
  writer_.add_counter(shm::DaemonCounter::connections_accepted);
  if (book_.strangers() >= options_.max_strangers) {
    // Who means well says hello at once: the one that has waited longest makes room.
    Peer& oldest = *book_.oldest_stranger();
    say("strangers",
        fmt::format("{}: no hello after {} ms and {} connections wait for theirs, closing",
                    oldest.who, now - oldest.opened_ms, options_.max_strangers));
    oldest.reported_over = true;
    oldest.session.end("made room for a newer connection");
  }
  if (book_.all().size() >= std::size_t{options_.max_peers} + options_.max_strangers) {
    say("peers", fmt::format("peer {}: {} connections are open, closing it", endpoint.text,
                             book_.all().size()));
    writer_.add_counter(shm::DaemonCounter::connections_refused);
    return nullptr;
  }
  return &book_.add(
      std::make_unique<Peer>(*this, options_.session, *dictionary_, std::move(endpoint), now));
}

Peer* Engine::dial(Endpoint endpoint, const peers::Hello& own, SegmentMs now) {
  now_ = now;
  if (book_.all().size() >= std::size_t{options_.max_peers} + options_.max_strangers) {
    return nullptr;
  }
  return &book_.add(
      std::make_unique<Peer>(*this, options_.session, own, *dictionary_, std::move(endpoint), now));
}

void Engine::turned_away() {
  writer_.add_counter(shm::DaemonCounter::connections_accepted);
  writer_.add_counter(shm::DaemonCounter::connections_refused);
}

void Engine::feed(Peer& peer, std::span<const u8> bytes, SegmentMs now) {
  now_ = now;
  peer.session.feed(bytes, now);
}

// The segment no longer counts it as connected.
void Engine::leave(Peer& peer) {
  if (peer.no == kNoPeer) {
    return;
  }
  publish(peer);
  for (const auto c : {shm::PeerCounter::lesson_in, shm::PeerCounter::lesson_out,
                       shm::PeerCounter::lag, shm::PeerCounter::pending_bytes}) {
    writer_.set_peer_counter(peer.no, c, 0);
  }
  mode_->on_down(peer, now_);
  writer_.peer_down(peer.no, now_);
  book_.over(peer);
}

void Engine::close(Peer& peer, std::string_view why, SegmentMs now) {
  now_ = now;
  const bool ended = peer.session.ended();
  const std::string_view reason = ended ? std::string_view(peer.session.end_reason()) : why;
  if (peer.no == kNoPeer && peer.outgoing) {
    cli::log_debug("{}: no session: {}", peer.who, reason);
  } else if (peer.no == kNoPeer) {
    writer_.add_counter(shm::DaemonCounter::connections_refused);
    if (!peer.reported_over) {
      cli::log_debug("{}: gone before its hello: {}", peer.who, reason);
    }
  } else {
    const peers::SessionCounters& c = peer.session.counters();
    say_of(peer, "over",
           fmt::format("session over after {} ms: {}; {} updates in, {} out", now - peer.opened_ms,
                       reason, c.updates_in, c.updates_out),
           peer.fault ? cli::LogLevel::kWarning : cli::LogLevel::kNotice);
    if (book_.by_no(peer.no) == &peer) {
      leave(peer);
    }
  }
  book_.remove(peer);
}

// --- time ---

void Engine::tick(SegmentMs now) {
  now_ = now;
  writer_.heartbeat(now);
  constexpr u64 kTryTablesMs = 2000;
  const bool try_tables = now - tables_tried_ms_ >= kTryTablesMs;
  if (try_tables) {
    tables_tried_ms_ = now;
  }
  for (const auto& peer : book_.all()) {
    peer->session.tick(now);
    if (!peer->session.established()) {
      continue;
    }
    end_of_lesson(*peer);
    if (try_tables) {
      try_tables_again(*peer);
      if (peer->session.ended()) {
        continue;
      }
    }
    if (mode_->ask_again(*peer, now) && peer->session.request_lesson()) {
      cli::log_info("{}: asking it once more for all it has", peer->who);
      peer->in.phase = Inbound::Phase::kTeaching;
      peer->in.asked_again = true;
      peer->in.started_ms = peer->in.last_ms = now;
    }
    if (peer->pending_bytes() > options_.max_unread_bytes) {
      cli::log_warning("{}: {} bytes wait for it and it takes none, closing", peer->who,
                       peer->pending_bytes());
      peer->session.end("it does not read");
      continue;
    }
    publish(*peer);
  }
  mode_->tick(now);
  constexpr u64 kLookForSilenceMs = 5000;
  if (now - silence_looked_ms_ >= kLookForSilenceMs) {
    silence_looked_ms_ = now;
    look_for_silence();
  }
}

void Engine::resume(u64 away_ms, SegmentMs now) {
  now_ = now;
  cli::log_warning(
      "lineqd stood still for {} ms: stopped, suspended or starved of processor time; rooms and "
      "the patience with HAProxys go on as if it had not passed",
      away_ms);
  writer_.resume(now);
  store_.resume(now);
  for (const auto& peer : book_.all()) {
    peer->session.excuse(away_ms);
    peer->in.last_ms += away_ms;
  }
  mode_->on_resume(away_ms);
}

// A lesson that is over, or of which nothing more comes.
void Engine::end_of_lesson(Peer& peer) {
  using Phase = Inbound::Phase;
  Inbound& in = peer.in;
  const u64 silent_ms = now_ - in.last_ms;
  if (in.phase == Phase::kLive ||
      silent_ms <
          (in.phase == Phase::kRepeating ? options_.lesson_pause_ms : options_.lesson_silence_ms)) {
    return;
  }
  if (in.phase == Phase::kTeaching && in.push_due) {
    cli::log_notice(
        "{}: asked to teach us {} ms ago, it is silent about it; pushing what it may lack",
        peer.who, now_ - in.started_ms);
  }
  in.phase = Phase::kLive;
  live(peer);
  if (in.push_due) {
    relay_.push_difference(peer);
  } else {
    in.held.clear();
  }
}

void Engine::turn(SegmentMs now) {
  now_ = now;
  more_ = !store_.expire(now, options_.expiry_looks, [&](shm::Table& table, u32 slot) {
    return mode_->on_expired(table, slot, now);
  });
  more_ |= !mode_->turn(now);
  more_ |= !editor_.turn(now);
  more_ |= !writer_.work_some();
  relay_.pump(now);
}

// Counters of a session, as far as they moved, into the segment.
void Engine::publish(Peer& peer) {
  using D = shm::DaemonCounter;
  using P = shm::PeerCounter;
  const peers::SessionCounters& now = peer.session.counters();
  peers::SessionCounters& then = peer.reported;
  const auto add = [&](P counter, u64 peers::SessionCounters::*member) {
    writer_.add_peer_counter(peer.no, counter, now.*member - then.*member);
    return now.*member - then.*member;
  };
  writer_.add_counter(D::bytes_in, add(P::bytes_in, &peers::SessionCounters::bytes_in));
  writer_.add_counter(D::bytes_out, add(P::bytes_out, &peers::SessionCounters::bytes_out));
  writer_.add_counter(D::updates_in, add(P::updates_in, &peers::SessionCounters::updates_in));
  writer_.add_counter(D::updates_out, add(P::updates_out, &peers::SessionCounters::updates_out));
  add(P::acks_in, &peers::SessionCounters::acks_in);
  add(P::acks_out, &peers::SessionCounters::acks_out);
  add(P::definitions_in, &peers::SessionCounters::definitions_in);
  add(P::heartbeats_in, &peers::SessionCounters::heartbeats_in);
  add(P::resyncs_out, &peers::SessionCounters::lessons_out);
  const auto lesson_out = now.lessons_out != then.lessons_out ? 2U
                          : peer.session.teaching()           ? 1U
                                                              : 0U;
  if (lesson_out != 0) {
    writer_.set_peer_counter(peer.no, P::lesson_out, lesson_out);
  }
  then = now;
  writer_.set_peer_counter(peer.no, P::last_received_ms, peer.session.last_received_ms());
  writer_.set_peer_counter(peer.no, P::lag, relay_.lag(peer));
  writer_.set_peer_counter(peer.no, P::pending_bytes, peer.pending_bytes());
  for (const auto& table : peer.tables()) {
    if (table == nullptr || !table->record) {
      continue;
    }
    using T = shm::PeerTableCounter;
    const auto add_up = [&](T counter, u64& more) {
      if (more != 0) {
        writer_.set_peer_table_counter(*table->record, counter,
                                       writer_.peer_table_counter(*table->record, counter) + more);
        more = 0;
      }
    };
    if (table->updates != 0) {
      writer_.set_peer_table_counter(*table->record, T::last_update_ms, table->last_update_ms);
    }
    add_up(T::updates, table->updates);
    add_up(T::refused_values, table->refused_values);
  }
}

// --- events ---

peers::HelloDecision Engine::on_hello(Peer& peer, const peers::Hello& hello) {
  peer.who = fmt::format("peer {} ({}, pid {})", peer.endpoint.text, hello.name, hello.pid);
  const Endpoint& endpoint = peer.endpoint;
  const std::string& own = endpoint.own_name.empty() ? options_.own_name : endpoint.own_name;
  if (hello.target != own) {
    writer_.add_counter(shm::DaemonCounter::handshake_errors);
    say_of(peer, "name",
           fmt::format("calls for a peer '{}', our name is '{}' (setting peer_name), closing",
                       hello.target, own));
    peer.reported_over = true;
    // Not 503: after an error status it would never come back (peers-protocol 1.4).
    return peers::HelloDecision::close();
  }
  const std::vector<std::string>& allowed = endpoint.allowed_peers;
  if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), hello.name) == allowed.end()) {
    // One line a second for the address, whatever names it tries.
    say(fmt::format("allowed_peers {}", endpoint.address),
        fmt::format("{}: '{}' is not among allowed_peers ({}), closing", peer.who, hello.name,
                    fmt::join(allowed, ", ")));
    peer.reported_over = true;
    return peers::HelloDecision::close();
  }
  peer.identity = {hello.name, hello.target, endpoint.address, hello.pid, false};
  for (const Identity& known : dialled_) {
    if (known.local_name == hello.target && known.remote_name == hello.name) {
      peer.identity.address = known.address;
      peer.identity.single = true;
    }
  }
  return admit(peer) ? peers::HelloDecision::accept() : peers::HelloDecision::close();
}

// The HAProxy has a new session, so that older ones of it are dead or dying (peers-protocol 1.6).
// False = there is no room in the segment's directory, which the log says.
bool Engine::admit(Peer& peer) {
  while (Peer* const old = book_.predecessor(peer)) {
    old->session.end(old->outgoing || peer.outgoing ? "it has a newer session with us"
                                                    : "the same process has a newer session");
    leave(*old);
  }
  if (options_.mode == ModeKind::kAccumulate) {
    replace_namesakes(peer);
  }
  const Identity& id = peer.identity;
  const Result<PeerNo> no = writer_.peer_up(
      {.remote_name = id.remote_name,
       .local_name = id.local_name,
       .address = id.address,
       .remote_pid = id.pid,
       .direction = peer.outgoing ? shm::PeerDirection::kOutgoing : shm::PeerDirection::kIncoming,
       .protocol_minor = peer.session.hello().minor},
      now_);
  if (!no) {
    say_of(peer, "directory", fmt::format("{}, closing", no.error().what));
    peer.reported_over = true;
    return false;
  }
  book_.established(peer, *no);
  return true;
}

// What a HAProxy has counted is told by its name: of two processes of one name the newer one is the
// heir, and the older one's session is about to end. Unless that one comes back: then two HAProxys
// have one name.
void Engine::replace_namesakes(const Peer& peer) {
  constexpr std::size_t kMaxReplaced = 4096;
  const auto process = [](const Identity& id) {
    return fmt::format("{}\n{}\n{}\n{}", id.local_name, id.remote_name, id.address, id.pid);
  };
  while (Peer* const old = book_.namesake(peer)) {
    if (replaced_.count(process(peer.identity)) != 0) {
      say_of(peer, "namesake",
             fmt::format("another HAProxy, pid {}, has the same name and address: what they count "
                         "gets mixed up; give each its own name (localpeer)",
                         old->identity.pid),
             cli::LogLevel::kErr);
      return;
    }
    if (replaced_.size() > kMaxReplaced) {
      replaced_.clear();
    }
    replaced_.insert(process(old->identity));
    old->session.end("a newer process of this HAProxy has a session");
    leave(*old);
  }
}

void Engine::on_established(Peer& peer) {
  using P = shm::PeerCounter;
  if (peer.outgoing && !admit(peer)) {
    peer.session.end("there is no room for it");
    return;
  }
  writer_.set_peer_counter(peer.no, P::lesson_in, 1);
  writer_.set_peer_counter(peer.no, P::lesson_out, 0);
  peer.in.started_ms = peer.in.last_ms = now_;
  // Which tables it has is told anew.
  for (const u16 no : writer_.tables()) {
    const shm::TableInfo& table = writer_.table(no)->info();
    if (is_theirs(table)) {
      if (const auto record = writer_.find_peer_table(peer.no, table)) {
        writer_.set_peer_table_counter(*record, shm::PeerTableCounter::announced_ms, 0);
        writer_.set_peer_table_counter(*record, shm::PeerTableCounter::conflict, 0);
      }
    }
  }
  mode_->on_up(peer, now_);
  relay_.start(peer, now_);
  say_of(peer, "established",
         fmt::format("session established, protocol 2.{}; asking it for all it has",
                     peer.session.hello().minor),
         cli::LogLevel::kNotice);
}

void Engine::on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates) {
  if (updates.front().in_lesson || updates.front().repeat || updates.back().repeat) {
    peer.in.last_ms = now_;
  }
  if (table.table_no == kNoTable.value) {
    // What it learned from us comes back in lessons only (peers-protocol 3.4).
    if (!updates.back().in_lesson && !updates.back().repeat) {
      const std::string& name = table.theirs->definition.name;
      say_of(
          peer, fmt::format("echo {}", name),
          fmt::format("its rules change table {}, which gets sums from us: they should only look "
                      "it up; ignored",
                      name));
    }
    return;
  }
  table.updates += updates.size();
  table.last_update_ms = now_;
  if (table.silence_told) {
    table.silence_told = false;
    cli::log_notice("{}: tells of table {} again", peer.who, table.theirs->definition.name);
  }
  mode_->on_updates(peer, table, updates, now_);
}

void Engine::on_ack(Peer& peer, u32 our_table, u32 update_id) {
  const shm::Table* const table = writer_.table(static_cast<u16>(our_table - 1));  // see Relay
  if (table != nullptr && table->info().role == shm::TableRole::kUsers) {
    mode_->on_acked(peer, table->info().no, update_id, now_);
  }
}

void Engine::on_resync_request(Peer& peer) {
  cli::log_info("{}: asks for everything", peer.who);
  mode_->on_asked(peer, now_);
  relay_.teach(peer);
}

void Engine::on_lesson_end(Peer& peer, bool partial) {
  writer_.add_peer_counter(peer.no, shm::PeerCounter::resyncs_in);
  writer_.set_peer_counter(peer.no, shm::PeerCounter::lesson_in, partial ? 3 : 2);
  if (peer.in.end_position == ~u64{0}) {
    peer.in.end_position = writer_.feed().tail();
    cli::log_info("{}: has taught us all it has{} in {} ms, {} updates", peer.who,
                  partial ? ", not being complete itself," : "", now_ - peer.in.started_ms,
                  peer.session.counters().updates_in);
  }
  if (peer.in.phase == Inbound::Phase::kTeaching) {
    peer.in.phase = Inbound::Phase::kRepeating;
    peer.in.last_ms = now_;
    peer.out.tables.clear();  // which tables it has is known now
  }
  mode_->on_taught(peer, partial, now_);
}

// It has told all it has, and goes on with what changes.
void Engine::live(Peer& peer) {
  mode_->on_live(peer, now_);
  if (peer.in.asked_again) {
    return;  // all that follows has been said
  }
  compare_outlets(peer);
  for (const u16 no : writer_.tables()) {
    const shm::TableInfo& table = writer_.table(no)->info();
    if (!is_theirs(table) || peer.table(no) != nullptr) {
      continue;
    }
    const auto others = std::count_if(book_.all().begin(), book_.all().end(), [&](const auto& p) {
      return p->session.established() && p->table(no) != nullptr;
    });
    const auto tables = peer.session.tables();
    const bool other_key = std::any_of(tables.begin(), tables.end(), [&](const auto& t) {
      return t->definition.name == table.definition.name;
    });
    if (others != 0 && !other_key) {
      cli::log_warning("{}: has no table {}, which {} other{} announced", peer.who,
                       table.definition.name, others, others == 1 ? " has" : "s have");
    }
  }
}

// The tables that are sent sums: whether they can hold them.
void Engine::compare_outlets(Peer& peer) {
  for (const u16 no : writer_.tables()) {
    const shm::TableInfo& table = writer_.table(no)->info();
    const shm::TableDefinition& ours = table.definition;
    const std::string name = mode_->outlet(table);
    if (name.empty() || name == ours.name || peer.table(no) == nullptr) {
      continue;
    }
    const auto tables = peer.session.tables();
    const auto at = std::find_if(tables.begin(), tables.end(),
                                 [&](const auto& t) { return t->definition.name == name; });
    if (at == tables.end()) {
      cli::log_notice("{}: has no table {}, so it does not get the sums of {}", peer.who, name,
                      ours.name);
      continue;
    }
    const shm::TableDefinition& theirs = (*at)->definition;
    std::string differences;
    if (theirs.key_type != ours.key_type || theirs.key_bytes != ours.key_bytes) {
      differences = fmt::format(
          "the key of {} is {} of {} bytes and not {} of {}, so it does not "
          "get the sums",
          name, shm::key_type_name(theirs.key_type), theirs.key_capacity(),
          shm::key_type_name(ours.key_type), ours.key_capacity());
    } else {
      for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
        if (theirs.has(bit) && !ours.has(bit)) {
          differences +=
              fmt::format("{}{} of {} stays 0, {} has none", differences.empty() ? "" : "; ",
                          shm::data_type(bit).name, name, ours.name);
        } else if (theirs.has(bit) && theirs.period_ms[bit] != ours.period_ms[bit]) {
          differences += fmt::format("{}{} of {} is per {} ms, that of {} per {} ms",
                                     differences.empty() ? "" : "; ", shm::data_type(bit).name,
                                     name, theirs.period_ms[bit], ours.name, ours.period_ms[bit]);
        }
      }
    }
    if (!differences.empty()) {
      conflict(peer, *writer_.table(no), differences);
    }
  }
}

// A HAProxy that says nothing of a table while others do: its traffic may go elsewhere, or its
// rules do not track.
void Engine::look_for_silence() {
  constexpr u64 kTalksMs = 60'000;
  for (const auto& peer : book_.all()) {
    if (!peer->session.established() || peer->in.phase != Inbound::Phase::kLive) {
      continue;
    }
    for (const auto& table : peer->tables()) {
      if (table == nullptr || table->table_no == kNoTable.value || table->silence_told) {
        continue;
      }
      const SegmentMs since = std::max(table->last_update_ms, peer->opened_ms);
      if (now_ - since < options_.silence_ms) {
        continue;
      }
      const Peer* talker = nullptr;
      for (const auto& other : book_.all()) {
        const PeerTable* const theirs = other->table(table->table_no);
        if (other != peer && theirs != nullptr && theirs->last_update_ms > since &&
            now_ - theirs->last_update_ms < kTalksMs) {
          talker = other.get();
        }
      }
      if (talker != nullptr) {
        table->silence_told = true;
        cli::log_warning("{}: silent on table {} for {} s, while others ({}) tell of it", peer->who,
                         table->theirs->definition.name, (now_ - since) / 1000, talker->who);
      }
    }
  }
}

void Engine::on_resync_confirmed(Peer& peer) {
  cli::log_debug("{}: has confirmed the end of our lesson", peer.who);
}

void Engine::on_problem(Peer& peer, peers::Problem problem, std::string_view sentence) {
  if (peer.outgoing && peer.no == kNoPeer) {
    return;  // see dial()
  }
  switch (problem) {
    case peers::Problem::kMalformed:
    case peers::Problem::kTooLarge:
      writer_.add_counter(shm::DaemonCounter::protocol_errors);
      if (peer.no != kNoPeer) {
        writer_.add_peer_counter(peer.no, shm::PeerCounter::protocol_errors);
      }
      break;
    case peers::Problem::kRemoteError:
      writer_.add_counter(shm::DaemonCounter::errors_received);
      break;
    case peers::Problem::kBadHello:
      writer_.add_counter(shm::DaemonCounter::handshake_errors);
      break;
    case peers::Problem::kSilent:
      if (peer.no == kNoPeer) {
        writer_.add_counter(shm::DaemonCounter::handshake_errors);
      }
      break;
    default:
      break;
  }
  if (ends_session(problem)) {
    peer.fault = true;
    if (peer.no != kNoPeer) {
      return;  // close() says it
    }
    peer.reported_over = true;
  }
  say_of(peer, fmt::format("problem {}", static_cast<int>(problem)),
         fmt::format("{}; {}", sentence, consequence(problem)));
}

// At most one line a second of one kind about one HAProxy, whatever it does.
void Engine::say_of(const Peer& peer, std::string_view kind, std::string_view sentence,
                    cli::LogLevel level) {
  say(fmt::format("{} {} {}", kind, peer.endpoint.address,
                  peer.outgoing ? peer.identity.remote_name : peer.session.hello().name),
      fmt::format("{}: {}", peer.who, sentence), level);
}

void Engine::say(std::string_view key, std::string_view line, cli::LogLevel level) {
  if (const auto hidden = limit_.admit(key, now_)) {
    const std::string more = *hidden == 0 ? "" : fmt::format(" ({} more before)", *hidden);
    cli::log_line(level, "{}{}", fmt::make_format_args(line, more));
  }
}

// --- definitions ---

bool Engine::on_definition(Peer& peer, peers::SessionTable& theirs) {
  peer.in.last_ms = now_;
  const shm::TableDefinition& d = theirs.definition;
  if (mode_->is_echo(d.name)) {
    book_.bind_echo(peer, theirs);
    return true;
  }
  const Result<shm::TableRole> role = mode_->role_of(d);
  if (!role) {
    say(fmt::format("table {}", d.name),
        fmt::format("{}: {}; its updates are ignored", peer.who, role.error().what));
    return false;
  }
  std::optional<u64> expiry_before;
  for (const u16 no : writer_.tables()) {
    const shm::TableInfo& info = writer_.table(no)->info();
    const shm::TableDefinition& known = info.definition;
    if (info.role == *role && known.name == d.name && known.key_type == d.key_type &&
        known.key_bytes == d.key_bytes) {
      expiry_before = known.expire_ms;
    }
  }
  const Result<shm::TableFor> made = writer_.table_for(d, now_, *role);
  if (!made) {
    return no_table(peer, theirs, made.error());
  }
  shm::Table& table = *made->table;
  if (made->created) {
    cli::log_info("{}: brings table {}: {}", peer.who, d.name,
                  definition_text(table.info().definition));
  }
  if (made->replaced) {
    store_.replaced(made->old_no, table);
    book_.rebind(made->old_no, table.info());
    mode_->on_replaced(made->old_no, table, now_);
    editor_.replaced(made->old_no, table);
    relay_.table_replaced(now_);
  }
  PeerTable& bound = book_.bind(peer, theirs, table.info());
  bound.record = writer_.peer_table(peer.no, table.info());
  if (bound.record) {
    writer_.set_peer_table_counter(*bound.record, shm::PeerTableCounter::announced_ms, now_);
    bound.last_update_ms =
        writer_.peer_table_counter(*bound.record, shm::PeerTableCounter::last_update_ms);
  }
  if (const Status taken = mode_->on_table(peer, bound, now_); !taken) {
    return no_table(peer, theirs, taken.error());
  }
  compare(peer, d, table, made->replaced, expiry_before.value_or(d.expire_ms));
  return true;
}

// A table for which there is no memory is tried again; it will have missed updates by then.
bool Engine::no_table(Peer& peer, peers::SessionTable& theirs, const Error& error) {
  const bool later = error.code == ErrorCode::kExhausted;
  if (later && std::ranges::find(peer.waiting, &theirs) != peer.waiting.end()) {
    return false;  // told
  }
  if (later) {
    peer.waiting.push_back(&theirs);
  }
  say(fmt::format("table {}", theirs.definition.name),
      fmt::format("{}: {}; its updates are ignored{}", peer.who, error.what,
                  later ? " until there is some" : ""));
  return false;
}

// What it told of these tables meanwhile was not kept: its next session begins with all it has.
void Engine::try_tables_again(Peer& peer) {
  std::erase_if(peer.waiting, [&](peers::SessionTable* table) {
    if (!on_definition(peer, *table)) {
      return false;
    }
    cli::log_notice("{}: table {}: there is memory for it now", peer.who, table->definition.name);
    peer.session.end("it has to tell anew what there was no memory for");
    return true;
  });
}

// Says what this definition has otherwise than the table that all share (peers-protocol 4.5).
void Engine::compare(Peer& peer, const shm::TableDefinition& theirs, const shm::Table& table,
                     bool wider, u64 expiry_before) {
  const shm::TableDefinition& ours = table.info().definition;
  std::string differences;
  const auto say = [&](std::string_view sentence) {
    differences += fmt::format("{}{}", differences.empty() ? "" : "; ", sentence);
  };
  if (wider) {
    say(fmt::format("it brings new columns or longer arrays, the table now has {}",
                    columns_text(ours, ours.data_types)));
  }
  if (const u64 lacking = ours.data_types & ~theirs.data_types; lacking != 0) {
    say(fmt::format("it has no {}, which others have", columns_text(ours, lacking)));
  }
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!theirs.has(bit) || !ours.has(bit)) {
      continue;
    }
    const std::string_view name = shm::data_type(bit).name;
    if (theirs.elements[bit] < ours.elements[bit]) {
      say(fmt::format("its {} has {} elements, others have {}", name, theirs.elements[bit],
                      ours.elements[bit]));
    }
    if (theirs.period_ms[bit] != 0 && theirs.period_ms[bit] != ours.period_ms[bit]) {
      say(fmt::format(
          "its {} counts per {} ms, others per {} ms, so its numbers mean something else", name,
          theirs.period_ms[bit], ours.period_ms[bit]));
    }
  }
  if (theirs.expire_ms != expiry_before) {
    say(fmt::format("its expiry is {} ms, that of others {} ms (0 = never), the longer one counts",
                    theirs.expire_ms, expiry_before));
  }
  for (const u16 no : writer_.tables()) {
    const shm::TableDefinition& other = writer_.table(no)->info().definition;
    if (no != table.info().no && is_theirs(writer_.table(no)->info()) &&
        other.name == theirs.name) {
      say(fmt::format("its key is {} of {} bytes, others have {} of {} bytes, which is kept apart",
                      shm::key_type_name(theirs.key_type), theirs.key_capacity(),
                      shm::key_type_name(other.key_type), other.key_capacity()));
    }
  }
  if (!differences.empty()) {
    conflict(peer, table, differences);
  }
}

void Engine::conflict(Peer& peer, const shm::Table& table, std::string_view sentence) {
  writer_.add_table_counter(table.info().no, shm::TableCounter::conflicts);
  writer_.add_counter(shm::DaemonCounter::definition_conflicts);
  if (const PeerTable* const bound = peer.table(table.info().no);
      bound != nullptr && bound->record) {
    writer_.set_peer_table_counter(*bound->record, shm::PeerTableCounter::conflict, 1);
  }
  const std::string& name = table.info().definition.name;
  say_of(peer, fmt::format("conflict {}", name),
         fmt::format("its table {} differs: {}", name, sentence));
}

}  // namespace lineq::engine
