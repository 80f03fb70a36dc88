// Who is connected: one Peer for each connection, with what it announced and what it has been told.
// One thread, no socket, no clock.
//
// Words: a *shape* is a set of columns with their array lengths. HAProxys usually agree on it; when
// they do not, the relay has to know whose columns a change touched.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/peers/session.h"
#include "shm/writer.h"

namespace lineq::engine {

class Engine;

// Where a HAProxy comes from, as far as we can know, or where it was dialled; and what it has to
// say in its hello.
struct Endpoint {
  u32 listener = 0;                             // which of our listeners took the connection
  std::string address;                          // "10.0.0.7", "unix"
  std::string text;                             // for people: "10.0.0.7:41234"
  std::string own_name = {};                    // ours there; empty = EngineOptions::own_name
  std::vector<std::string> allowed_peers = {};  // names that are let in; empty = all
};

// Who a HAProxy is, beyond one session.
struct Identity {
  std::string remote_name;
  std::string local_name;  // what it calls us
  std::string address;     // without a port
  u32 pid = 0;             // 0: not known, as we dialled
  bool single = false;     // one that we dial: there is no other of these names
};

// A set of columns.
struct Shape {
  u64 data_types = 0;
  std::array<u16, shm::kDataTypes> elements{};

  static Shape of(const shm::TableDefinition& definition);
  // Every element of `other` is here too.
  bool covers(const Shape& other) const;
  friend bool operator==(const Shape&, const Shape&) = default;
};

// The shapes of one table, and which HAProxy has which. Remembered beyond a HAProxy's session, as
// its changes may still have to be relayed.
class Shapes {
 public:
  static constexpr u8 kUnknown = 0xff;

  void set(PeerNo peer, const Shape& shape);
  u8 of(PeerNo peer) const {
    return peer.value < by_peer_.size() ? by_peer_[peer.value] : kUnknown;
  }
  const Shape& shape(u8 number) const { return shapes_[number]; }
  bool uniform() const { return shapes_.size() <= 1; }
  // What `newer` wrote includes what `older` wrote.
  bool covers(u8 newer, u8 older) const {
    return newer == older ||
           (newer != kUnknown && older != kUnknown && shapes_[newer].covers(shapes_[older]));
  }

 private:
  std::vector<Shape> shapes_;
  std::vector<u8> by_peer_;
};

// A set of slot numbers.
class SlotSet {
 public:
  void set(u32 slot) {
    if (words_.size() <= slot / 64) {
      words_.resize(slot / 64 + 1024);
    }
    words_[slot / 64] |= u64{1} << slot % 64;
  }
  void clear(u32 slot) {
    if (slot / 64 < words_.size()) {
      words_[slot / 64] &= ~(u64{1} << slot % 64);
    }
  }
  bool has(u32 slot) const {
    return slot / 64 < words_.size() && (words_[slot / 64] >> slot % 64 & 1) != 0;
  }

 private:
  std::vector<u64> words_;
};

// A table as one HAProxy announced it, and where its updates go.
struct PeerTable {
  u16 table_no = 0;  // kNoTable: it is an echo, its updates go nowhere
  const peers::SessionTable* theirs = nullptr;
  std::optional<shm::ColumnMap> columns;  // not of an echo
  // Last update acknowledged to the same process in an earlier session.
  std::optional<u32> acked_before;
  // What is told about it (shm::PeerTableCounter), as far as it is not in the segment yet.
  std::optional<u32> record;
  u64 updates = 0;
  u64 refused_values = 0;
  SegmentMs last_update_ms = 0;
  bool silence_told = false;
};

// How a row of ours is turned into cells for one HAProxy.
struct Variant {
  struct Op {
    shm::ValueKind kind;
    u16 offset;  // in the slot
    u16 count;   // elements
  };
  shm::TableDefinition definition;  // as sent
  std::vector<Op> ops;
};

// What one HAProxy is sent of one table.
struct Outgoing {
  u32 table_id = 0;  // TableInfo::id; another one under the same number is another table
  bool wanted = true;
  const Variant* defined = nullptr;              // the one its session knows
  std::unique_ptr<Variant> full;                 // all columns it may be sent
  std::vector<std::unique_ptr<Variant>> shapes;  // those a HAProxy of that shape wrote
};

// A walk over all slots of all tables, in slices.
struct Walk {
  bool active = false;
  u32 table = 0;  // number
  u32 slot = 0;
  u64 rows = 0;  // sent
};

// Where the relay stands with one HAProxy (see relay.h).
struct Outbound {
  u64 cursor = 0;      // next feed record to look at
  Tick caught_up = 0;  // all records from the cursor on are of this time or later
  u64 mark = 0;        // once the cursor has passed this position
  Tick mark_tick = 0;  // ... caught_up is this
  Walk lesson;         // everything, because it asked
  Walk difference;     // what it lacks, after it taught us
  Walk catch_up;       // what changed since `since`, because it fell behind the feed
  Tick since = 0;
  std::vector<Outgoing> tables;  // by table number
};

// What one HAProxy teaches us.
//
// It teaches, then repeats without expiry what it had not been acknowledged before, then goes on
// live (peers-protocol 7.3). Values are read when a row is sent: a repetition of a row that was
// changed meanwhile is news under an old id.
struct Inbound {
  enum class Phase : u8 { kTeaching, kRepeating, kLive };

  Phase phase = Phase::kTeaching;
  bool push_due = true;        // it still has to get what it lacks
  bool asked_again = false;    // this is not the first lesson of the session
  SegmentMs started_ms = 0;    // the lesson was asked for
  SegmentMs last_ms = 0;       // something of the lesson, or a repetition, came last
  u64 end_position = ~u64{0};  // its changes before this feed position were lessons
  std::vector<SlotSet> held;   // by table number: slots that have the values it told last
};

class Peer final : public peers::SessionEvents {
 public:
  Peer(Engine& engine, const peers::SessionConfig& config, peers::Strings& strings, Endpoint where,
       SegmentMs now);
  // Outgoing: `own` is our hello.
  Peer(Engine& engine, const peers::SessionConfig& config, const peers::Hello& own,
       peers::Strings& strings, Endpoint where, SegmentMs now);

  peers::Session session;
  const Endpoint endpoint;
  std::string who;  // "peer 10.0.0.7:41234 (hap1, pid 812)"
  const SegmentMs opened_ms;
  const bool outgoing = false;
  Identity identity;    // once its hello is known
  PeerNo no = kNoPeer;  // once established

  Inbound in;
  Outbound out;
  std::vector<peers::SessionTable*> waiting;  // its tables for which there was no memory
  bool reported_over = false;                 // the log says already why it is not let in
  bool fault = false;                         // its session ends for something it did wrong
  std::size_t queued_bytes = 0;               // handed to the network and not taken by it yet
  peers::SessionCounters reported{};          // counters as last added to the segment

  // Its definition of a table of ours, or null.
  const PeerTable* table(u16 table_no) const {
    return table_no < by_table_.size() ? by_table_[table_no] : nullptr;
  }
  const std::vector<std::unique_ptr<PeerTable>>& tables() const { return tables_; }
  std::size_t pending_bytes() const { return session.pending().size() + queued_bytes; }
  bool holds(u16 table_no, u32 slot) const {
    return table_no < in.held.size() && in.held[table_no].has(slot);
  }
  void set_holds(u16 table_no, u32 slot, bool holds);
  // Whether `held` is kept.
  bool tracked() const { return in.phase != Inbound::Phase::kLive || out.difference.active; }

 private:
  friend class PeerBook;

  // SessionEvents: all handed to the engine.
  peers::HelloDecision on_hello(const peers::Hello& hello) override;
  void on_established() override;
  bool on_definition(peers::SessionTable& table) override;
  void on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) override;
  void on_ack(u32 our_table, u32 update_id) override;
  void on_resync_request() override;
  void on_lesson_end(bool partial) override;
  void on_resync_confirmed() override;
  void on_problem(peers::Problem problem, std::string_view sentence) override;

  Engine& engine_;
  std::vector<std::unique_ptr<PeerTable>> tables_;  // by SessionTable::index
  std::vector<PeerTable*> by_table_;                // by table number
};

class PeerBook {
 public:
  Peer& add(std::unique_ptr<Peer> peer);
  void remove(Peer& peer);

  const std::vector<std::unique_ptr<Peer>>& all() const { return peers_; }
  std::size_t strangers() const;  // without a valid hello yet
  Peer* oldest_stranger() const;
  // A peer whose session `newer` replaces: same listener, names, process and address
  // (peers-protocol 1.6). Several with one name live side by side, except for those that we dial:
  // of them the names are enough, and an attempt that has no answer yet is replaced too.
  Peer* predecessor(const Peer& newer) const;
  // A peer of the same listener, names and address, and another process.
  Peer* namesake(const Peer& newer) const;
  // A HAProxy of that name has a session with us under that name of ours.
  bool connected(std::string_view local_name, std::string_view remote_name) const;
  Peer* by_no(PeerNo no) const { return no.value < by_no_.size() ? by_no_[no.value] : nullptr; }

  void established(Peer& peer, PeerNo no);
  // Its session is over: keeps what the next one of the same process has to know.
  void over(Peer& peer);
  // `theirs` lives in table `table` from now on. Also for a changed definition.
  PeerTable& bind(Peer& peer, peers::SessionTable& theirs, const shm::TableInfo& table);
  // `theirs` is only a table that it is sent.
  void bind_echo(Peer& peer, peers::SessionTable& theirs);
  // Entries of `old_no` have moved to `table`: what was cached of it is made anew.
  void rebind(u16 old_no, const shm::TableInfo& table);

  const Shapes& shapes(u16 table_no) const { return shapes_[table_no]; }

 private:
  static void unbind(Peer& peer, const PeerTable* table);

  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<Peer*> by_no_;
  std::vector<Shapes> shapes_ = std::vector<Shapes>(shm::kMaxTables);

  // Last id acknowledged, by process and table. HAProxy goes on counting
  // from one session to the next (peers-protocol 6.2).
  static constexpr std::size_t kMaxAcked = 4096;
  std::unordered_map<std::string, u32> acked_;
};

}  // namespace lineq::engine
