#include "daemon/engine/peer_book.h"

#include <algorithm>

#include <fmt/format.h>

#include "daemon/engine/engine.h"

namespace lineq::engine {

Shape Shape::of(const shm::TableDefinition& definition) {
  Shape shape{definition.data_types, {}};
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    shape.elements[bit] = definition.has(bit) ? definition.elements[bit] : u16{0};
  }
  return shape;
}

bool Shape::covers(const Shape& other) const {
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (elements[bit] < other.elements[bit]) {
      return false;
    }
  }
  return (other.data_types & ~data_types) == 0;
}

void Shapes::set(PeerNo peer, const Shape& shape) {
  if (by_peer_.size() <= peer.value) {
    by_peer_.resize(peer.value + std::size_t{1}, kUnknown);
  }
  auto at = std::find(shapes_.begin(), shapes_.end(), shape);
  if (at == shapes_.end() && shapes_.size() < kUnknown) {
    at = shapes_.insert(at, shape);
  }
  by_peer_[peer.value] = at == shapes_.end() ? kUnknown : static_cast<u8>(at - shapes_.begin());
}

// --- Peer ---

Peer::Peer(Engine& engine, const peers::SessionConfig& config, peers::Strings& strings,
           Endpoint where, SegmentMs now)
    : session(config, strings, *this, now),
      endpoint(std::move(where)),
      who(fmt::format("peer {}", endpoint.text)),
      opened_ms(now),
      engine_(engine) {}

Peer::Peer(Engine& engine, const peers::SessionConfig& config, const peers::Hello& own,
           peers::Strings& strings, Endpoint where, SegmentMs now)
    : session(config, own, strings, *this, now),
      endpoint(std::move(where)),
      who(fmt::format("peer {} ({}, dialled)", endpoint.text, own.target)),
      opened_ms(now),
      outgoing(true),
      identity{own.target, own.name, endpoint.address, 0, true},
      engine_(engine) {}

void Peer::set_holds(u16 table_no, u32 slot, bool holds) {
  if (in.held.size() <= table_no) {
    if (!holds) {
      return;
    }
    in.held.resize(table_no + std::size_t{1});
  }
  if (holds) {
    in.held[table_no].set(slot);
  } else {
    in.held[table_no].clear(slot);
  }
}

peers::HelloDecision Peer::on_hello(const peers::Hello& hello) {
  return engine_.on_hello(*this, hello);
}
void Peer::on_established() {
  engine_.on_established(*this);
}
bool Peer::on_definition(peers::SessionTable& table) {
  return engine_.on_definition(*this, table);
}
void Peer::on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) {
  engine_.on_updates(*this, *static_cast<PeerTable*>(table.owner), updates);
}
void Peer::on_ack(u32 our_table, u32 update_id) {
  engine_.on_ack(*this, our_table, update_id);
}
void Peer::on_resync_request() {
  engine_.on_resync_request(*this);
}
void Peer::on_lesson_end(bool partial) {
  engine_.on_lesson_end(*this, partial);
}
void Peer::on_resync_confirmed() {
  engine_.on_resync_confirmed(*this);
}
void Peer::on_problem(peers::Problem problem, std::string_view sentence) {
  engine_.on_problem(*this, problem, sentence);
}

// --- PeerBook ---

namespace {

// Lines of a hello hold no newline.
std::string process_of(const Peer& peer) {
  const Identity& id = peer.identity;
  return fmt::format("{}\n{}\n{}\n{}\n{}", peer.endpoint.listener, id.address, id.local_name,
                     id.remote_name, id.pid);
}

// Waits for a hello.
bool is_stranger(const Peer& peer) {
  return peer.no == kNoPeer && !peer.outgoing && !peer.session.ended();
}

bool same_names(const Identity& a, const Identity& b) {
  return a.local_name == b.local_name && a.remote_name == b.remote_name;
}

}  // namespace

Peer& PeerBook::add(std::unique_ptr<Peer> peer) {
  peers_.push_back(std::move(peer));
  return *peers_.back();
}

void PeerBook::remove(Peer& peer) {
  if (by_no(peer.no) == &peer) {
    by_no_[peer.no.value] = nullptr;
  }
  std::erase_if(peers_, [&](const auto& p) { return p.get() == &peer; });
}

std::size_t PeerBook::strangers() const {
  return static_cast<std::size_t>(
      std::count_if(peers_.begin(), peers_.end(), [](const auto& p) { return is_stranger(*p); }));
}

Peer* PeerBook::oldest_stranger() const {
  const auto at =
      std::find_if(peers_.begin(), peers_.end(), [](const auto& p) { return is_stranger(*p); });
  return at == peers_.end() ? nullptr : at->get();
}

Peer* PeerBook::predecessor(const Peer& newer) const {
  const Identity& id = newer.identity;
  const auto at = std::find_if(peers_.begin(), peers_.end(), [&](const auto& p) {
    if (p.get() == &newer || p->session.ended() || !same_names(p->identity, id) ||
        (p->no == kNoPeer && !p->outgoing)) {
      return false;
    }
    return id.single || (p->endpoint.listener == newer.endpoint.listener &&
                         p->identity.address == id.address && p->identity.pid == id.pid);
  });
  return at == peers_.end() ? nullptr : at->get();
}

Peer* PeerBook::namesake(const Peer& newer) const {
  const Identity& id = newer.identity;
  const auto at = std::find_if(peers_.begin(), peers_.end(), [&](const auto& p) {
    return p.get() != &newer && p->no != kNoPeer && !p->session.ended() &&
           same_names(p->identity, id) && p->endpoint.listener == newer.endpoint.listener &&
           p->identity.address == id.address && p->identity.pid != id.pid;
  });
  return at == peers_.end() ? nullptr : at->get();
}

bool PeerBook::connected(std::string_view local_name, std::string_view remote_name) const {
  return std::any_of(peers_.begin(), peers_.end(), [&](const auto& p) {
    return p->no != kNoPeer && !p->session.ended() && p->identity.local_name == local_name &&
           p->identity.remote_name == remote_name;
  });
}

void PeerBook::established(Peer& peer, PeerNo no) {
  peer.no = no;
  if (by_no_.size() <= no.value) {
    by_no_.resize(no.value + std::size_t{1});
  }
  by_no_[no.value] = &peer;
}

void PeerBook::over(Peer& peer) {
  if (acked_.size() > kMaxAcked) {
    acked_.clear();  // then own rows of the next lesson count as news
  }
  for (const auto& table : peer.tables_) {
    // Of whom we dialled we do not know whether it is the same process the next time.
    if (table != nullptr && table->theirs->ack_id != 0 && !peer.outgoing) {
      acked_[process_of(peer) + '\n' + table->theirs->definition.name] = table->theirs->ack_id;
    }
  }
}

PeerTable& PeerBook::bind(Peer& peer, peers::SessionTable& theirs, const shm::TableInfo& table) {
  if (peer.tables_.size() <= theirs.index) {
    peer.tables_.resize(theirs.index + std::size_t{1});
  }
  std::unique_ptr<PeerTable>& place = peer.tables_[theirs.index];
  unbind(peer, place.get());
  place = std::make_unique<PeerTable>(PeerTable{.table_no = table.no,
                                                .theirs = &theirs,
                                                .columns = shm::ColumnMap(theirs.definition, table),
                                                .acked_before = std::nullopt,
                                                .record = std::nullopt});
  if (const auto acked = acked_.find(process_of(peer) + '\n' + theirs.definition.name);
      acked != acked_.end()) {
    place->acked_before = acked->second;
  }
  theirs.owner = place.get();
  if (peer.by_table_.size() <= table.no) {
    peer.by_table_.resize(table.no + std::size_t{1});
  }
  peer.by_table_[table.no] = place.get();
  peer.out.tables.clear();  // made from what it had announced before
  shapes_[table.no].set(peer.no, Shape::of(theirs.definition));
  return *place;
}

void PeerBook::bind_echo(Peer& peer, peers::SessionTable& theirs) {
  if (peer.tables_.size() <= theirs.index) {
    peer.tables_.resize(theirs.index + std::size_t{1});
  }
  std::unique_ptr<PeerTable>& place = peer.tables_[theirs.index];
  unbind(peer, place.get());
  place = std::make_unique<PeerTable>(PeerTable{.table_no = kNoTable.value,
                                                .theirs = &theirs,
                                                .columns = std::nullopt,
                                                .acked_before = std::nullopt,
                                                .record = std::nullopt});
  theirs.owner = place.get();
  peer.out.tables.clear();
}

void PeerBook::unbind(Peer& peer, const PeerTable* table) {
  if (table != nullptr && table->table_no < peer.by_table_.size() &&
      peer.by_table_[table->table_no] == table) {
    peer.by_table_[table->table_no] = nullptr;
  }
}

void PeerBook::rebind(u16 old_no, const shm::TableInfo& table) {
  shapes_[table.no] = std::exchange(shapes_[old_no], {});
  for (const auto& peer : peers_) {
    if (old_no < peer->in.held.size()) {
      peer->in.held[old_no] = {};  // slot numbers mean other entries now
    }
    if (old_no < peer->out.tables.size()) {
      peer->out.tables[old_no] = {};
    }
    if (old_no >= peer->by_table_.size() || peer->by_table_[old_no] == nullptr) {
      continue;
    }
    PeerTable* moved = std::exchange(peer->by_table_[old_no], nullptr);
    moved->table_no = table.no;
    moved->columns.emplace(moved->theirs->definition, table);
    if (peer->by_table_.size() <= table.no) {
      peer->by_table_.resize(table.no + std::size_t{1});
    }
    peer->by_table_[table.no] = moved;
  }
}

}  // namespace lineq::engine
