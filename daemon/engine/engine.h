// lineqd without sockets and without a clock: bytes from connections and milliseconds in, changes
// of the segment and bytes for connections out. Same input, same output. One thread.
//
// The owner does:
//   accepted       Peer* p = engine.open(endpoint, now)
//   connected      Peer* p = engine.dial(endpoint, our hello, now)
//   bytes came     engine.feed(*p, bytes, now)
//   every 100 ms   engine.tick(now)
//   end of a turn  engine.turn(now); write what each p->session has pending; if engine.busy(), do
//                  not wait for anything before the next turn
//   p ended, or the connection is gone: engine.close(*p, why, now)
// Engine ends sessions by itself too: look at session.ended() of all at the end of a turn.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>

#include "daemon/engine/accumulate.h"
#include "daemon/engine/editor.h"
#include "daemon/engine/mode.h"
#include "daemon/engine/peer_book.h"
#include "daemon/engine/relay.h"
#include "daemon/engine/store.h"
#include "daemon/engine/waiting_room.h"
#include "tools/cli/log.h"

namespace lineq::engine {

// Numbers as in the segment (shm::Writer::mode), less one.
enum class ModeKind : u8 { kAggregate, kAccumulate, kWaitingRoom };

struct EngineOptions {
  ModeKind mode = ModeKind::kAggregate;
  AccumulateOptions accumulate;
  WaitingRoomOptions waiting_room;
  std::string own_name = "lineq";  // what HAProxys call us
  peers::SessionConfig session;
  shm::WhenFull when_full = shm::WhenFull::kEvict;
  u32 lesson_silence_ms = 10000;  // a lesson of which nothing more comes for so long is over
  // After a lesson and its repetitions: pause before the difference is pushed. HAProxy sends what
  // it changed meanwhile only then, and must not get the older values first.
  u32 lesson_pause_ms = 500;
  u32 max_strangers = 128;  // connections without a valid hello; the oldest gives way
  u32 max_peers = shm::kMaxPeers;
  std::size_t max_unread_bytes = std::size_t{1} << 20;  // a peer that reads so little is closed
  u32 expiry_looks = 1024;                              // entries looked at in one turn
  u32 silence_ms = 300000;  // a HAProxy that says nothing of a table for so long, while others do
  RelayLimits relay;
};

class Engine {
 public:
  Engine(shm::Writer& writer, const EngineOptions& options, SegmentMs now);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // A new connection. Null: too many, close it.
  Peer* open(Endpoint endpoint, SegmentMs now);
  // A connection that we made, ready for the hello `own`. What goes wrong before the session is
  // established is in the session and not in the log, as whoever dials tries again and again.
  Peer* dial(Endpoint endpoint, const peers::Hello& own, SegmentMs now);
  // The HAProxys that may be dialled. When one of them calls us, it is the same HAProxy.
  void set_dialled(std::vector<Identity> dialled) { dialled_ = std::move(dialled); }
  // A connection was closed before open(), for where it came from.
  void turned_away();
  void feed(Peer& peer, std::span<const u8> bytes, SegmentMs now);
  // The connection is gone, or its session has ended and was written out. `why` is for the log and
  // is used when the session itself does not know. Destroys the peer.
  void close(Peer& peer, std::string_view why, SegmentMs now);

  void tick(SegmentMs now);
  void turn(SegmentMs now);
  // The process stood still for so long, until now: stopped, suspended, starved. Before anything
  // else is done. What HAProxys and visitors did not do in that time is not held against them.
  void resume(u64 away_ms, SegmentMs now);
  bool busy() const { return more_ || relay_.ready(); }
  // The next turn has something to do in so many milliseconds, whatever happens.
  std::optional<u64> next_ms() const { return mode_->next_ms(now_); }

  // What operators do to waiting rooms; null in other modes. A turn has to follow.
  RoomControl* rooms() { return mode_->room_control(); }
  // ... and to entries.
  Editor& editor() { return editor_; }

  const PeerBook& book() const { return book_; }
  const Relay& relay() const { return relay_; }

  // --- from Peer: events of its session ---
  peers::HelloDecision on_hello(Peer& peer, const peers::Hello& hello);
  void on_established(Peer& peer);
  bool on_definition(Peer& peer, peers::SessionTable& theirs);
  void on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates);
  void on_ack(Peer& peer, u32 our_table, u32 update_id);
  void on_resync_request(Peer& peer);
  void on_lesson_end(Peer& peer, bool partial);
  void on_resync_confirmed(Peer& peer);
  void on_problem(Peer& peer, peers::Problem problem, std::string_view sentence);

 private:
  class Dictionary;

  bool admit(Peer& peer);
  void leave(Peer& peer);
  void compare(Peer& peer, const shm::TableDefinition& theirs, const shm::Table& table, bool wider,
               u64 expiry_before);
  void conflict(Peer& peer, const shm::Table& table, std::string_view sentence);
  void publish(Peer& peer);
  void say_of(const Peer& peer, std::string_view kind, std::string_view sentence,
              cli::LogLevel level = cli::LogLevel::kWarning);
  void say(std::string_view key, std::string_view line,
           cli::LogLevel level = cli::LogLevel::kWarning);
  void replace_namesakes(const Peer& peer);
  void end_of_lesson(Peer& peer);
  void live(Peer& peer);
  void compare_outlets(Peer& peer);
  void look_for_silence();
  bool no_table(Peer& peer, peers::SessionTable& theirs, const Error& error);
  void try_tables_again(Peer& peer);

  shm::Writer& writer_;
  EngineOptions options_;
  SegmentMs now_;
  Store store_;
  PeerBook book_;
  std::unique_ptr<Mode> mode_;
  Relay relay_;
  Editor editor_;
  std::unique_ptr<Dictionary> dictionary_;
  std::vector<Identity> dialled_;
  cli::LogLimit limit_;
  bool more_ = false;
  SegmentMs silence_looked_ms_ = 0;
  SegmentMs tables_tried_ms_ = 0;
  std::unordered_set<std::string> replaced_;  // processes that gave way to a namesake
};

}  // namespace lineq::engine
