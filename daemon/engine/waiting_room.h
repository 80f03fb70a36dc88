// Mode vwr: the waiting rooms (waiting-room 1-4, 7). A visitor is an entry of a users table; who
// may enter is decided here and told to all HAProxys as gpc1 = 1.
//
// Always: ACTIVE + READY (called) <= C, whatever disconnects or dies. A place that was taken away
// is free once all connected HAProxys have acknowledged it, so that nobody slips in meanwhile.
// Tables that are neither the room table nor the users table are kept as in mode agg.
//
// The truth is in the segment: the state of each visitor and the line. What is kept here is derived
// from it at start (rebuild), or is nothing that a restart may not forget: who has acknowledged
// what, through which HAProxy somebody was seen last, rates.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/engine/admission.h"
#include "daemon/engine/aggregate.h"
#include "daemon/engine/estimate.h"
#include "daemon/engine/mode.h"
#include "daemon/engine/pacing.h"
#include "daemon/engine/relay.h"
#include "daemon/engine/store.h"
#include "shm/visitor.h"
#include "tools/cli/log.h"
#include "tools/cli/room_settings.h"

namespace lineq::engine {

struct WaitingRoomOptions {
  std::string room_table = "room";
  std::string users_table = "timestamps";
  u64 seed = 1;             // of the random queueing method
  u32 allowance_ms = 2000;  // network and clocks: spec's delta
  // The segment is new although rooms existed before: what HAProxys still hold is waited for.
  bool state_lost = false;
};

// What operators and the site do to rooms. `what` of an Error is one sentence for them.
class RoomControl {
 public:
  RoomControl() = default;
  RoomControl(const RoomControl&) = delete;
  RoomControl& operator=(const RoomControl&) = delete;
  virtual ~RoomControl() = default;

  virtual std::vector<cli::RoomSettings> rooms() const = 0;
  virtual const cli::RoomSettings* find(std::string_view name) const = 0;
  virtual shm::RoomNumbers numbers(std::string_view name) const = 0;
  // A new room, or other rules for one that is there: its queue and sessions stay as they are.
  virtual Status put(const cli::RoomSettings& room, SegmentMs now) = 0;
  // Waiting visitors are sent away, sessions end.
  virtual Status remove(std::string_view name, SegmentMs now) = 0;
  // Calls the next `n` whatever pacing says and though the room is paused, but never beyond its
  // capacity. How many were called.
  virtual Result<u32> admit(std::string_view name, u32 n, SegmentMs now) = 0;
  // Ends the session of this users key (with or without "@room"), or all: how many held a place.
  virtual Result<u64> revoke(std::string_view name, std::string_view session, SegmentMs now) = 0;
  virtual Result<u64> revoke_all(std::string_view name, SegmentMs now) = 0;
  // Users keys whose pages are open: they are present.
  virtual void present(std::span<const std::string_view> keys, SegmentMs now) = 0;
};

class WaitingRoom final : public Mode, public RoomControl {
 public:
  WaitingRoom(Store& store, const PeerBook& book, const Relay& relay,
              const WaitingRoomOptions& options, SegmentMs now);
  ~WaitingRoom() override;
  WaitingRoom(const WaitingRoom&) = delete;
  WaitingRoom& operator=(const WaitingRoom&) = delete;

  // Mode
  Result<shm::TableRole> role_of(const shm::TableDefinition& definition) const override;
  u64 columns_out() const override;
  bool sends(const shm::EntryView& entry) const override;
  std::string outlet(const shm::TableInfo& table) const override;
  Status may_edit(const shm::TableInfo& table) const override;
  RoomControl* room_control() override { return this; }
  Status on_table(Peer& peer, const PeerTable& table, SegmentMs now) override;
  void on_replaced(u16 old_no, const shm::Table& table, SegmentMs now) override;
  void on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                  SegmentMs now) override;
  std::optional<Tick> on_expired(shm::Table& table, u32 slot, SegmentMs now) override;
  void on_sent(Peer& peer, const shm::Table& table, u32 slot, u32 id) override;
  void on_acked(Peer& peer, u16 table_no, u32 id, SegmentMs now) override;
  void on_up(Peer& peer, SegmentMs now) override;
  void on_taught(Peer& peer, bool partial, SegmentMs now) override;
  void on_live(Peer& peer, SegmentMs now) override;
  void on_down(Peer& peer, SegmentMs now) override;
  void on_resume(u64 away_ms) override;
  bool turn(SegmentMs now) override;
  void tick(SegmentMs now) override;
  std::optional<u64> next_ms(SegmentMs now) const override;

  // RoomControl
  std::vector<cli::RoomSettings> rooms() const override;
  const cli::RoomSettings* find(std::string_view name) const override;
  shm::RoomNumbers numbers(std::string_view name) const override;
  Status put(const cli::RoomSettings& settings, SegmentMs now) override;
  Status remove(std::string_view name, SegmentMs now) override;
  Result<u32> admit(std::string_view name, u32 n, SegmentMs now) override;
  Result<u64> revoke(std::string_view name, std::string_view session, SegmentMs now) override;
  Result<u64> revoke_all(std::string_view name, SegmentMs now) override;
  void present(std::span<const std::string_view> keys, SegmentMs now) override;

 private:
  struct Room;
  struct UsersTable;
  struct PeerState;
  struct Sighting;

  // A visitor's entry: where it is and what it says, as last read or written.
  struct Entry {
    Place place;
    u32 tag = 0;
    bool exists = false;
    bool gone = false;  // past its life and not collected yet
    Tick updated = 0;   // when it was changed last; of the segment
    shm::Visitor visitor;
  };
  // Who is told of a change.
  enum class Tell { kNobody, kReaders, kAll };
  // HAProxys that have not acknowledged yet that somebody was called, or sent away.
  struct Pending {
    u64 bits = 0;  // PeerState::bit of each
    Room* room = nullptr;
    SegmentMs since = 0;
    bool leaving = false;
  };

  // --- start
  void adopt(SegmentMs now);
  void adopt_peers(SegmentMs now);
  Room& add(RoomNo no, const cli::RoomSettings& settings);
  void adopt_visitors(u32 users, bool moved, SegmentMs now);
  void adopt_fronts();

  // --- tables
  shm::Table& table_of(u32 users) const;
  std::optional<u32> users_of(u16 table_no) const;
  Result<u32> add_users(const shm::Table& table);
  Entry entry_at(Place place, SegmentMs now) const;
  std::optional<Entry> find_entry(std::string_view key, SegmentMs now) const;

  // --- what HAProxys tell
  void users_updates(Peer& peer, const PeerTable& table, u32 users,
                     std::span<const peers::Update> updates, SegmentMs now);
  void rooms_updates(Peer& peer, const PeerTable& table, std::span<const peers::Update> updates,
                     SegmentMs now);
  void sighted(const Sighting& s, Entry& entry);
  void stranger(const Sighting& s, Entry& entry);
  void waiting(const Sighting& s, Entry& entry);
  void called(const Sighting& s, Entry& entry);
  void active(const Sighting& s, Entry& entry);
  void over(const Sighting& s, Entry& entry);
  void let_in_unasked(const Sighting& s, Entry& entry);
  bool is_news(const Sighting& s, const Entry& entry) const;
  bool is_late(const Sighting& s, const Entry& entry) const;
  bool is_leaving(const Entry& entry) const;
  bool may_take_back(const Room& room, const Entry& entry) const;
  Room* room_of(std::string_view key, std::size_t capacity);
  Room* room_named(std::string_view name, bool may_be_cut);
  void unknown_room(const Peer& peer, std::string_view key, SegmentMs now);

  // --- changes of state; each is one step in the segment
  bool write(Entry& entry, const shm::Visitor& next, Tell tell, SegmentMs now,
             const Sighting* s = nullptr);
  bool join(const Sighting& s, Entry& entry);
  void prolong(const Sighting& s, Entry& entry, u32 life_ms, Tell tell);
  void call(Room& room, Entry& entry, SegmentMs now);
  void enter(const Sighting& s, Entry& entry);
  void adopt_session(const Sighting& s, Entry& entry);
  void refuse(const Sighting& s, Entry& entry);
  void end(Room& room, Entry& entry, shm::VisitorState how, SegmentMs now);
  void lapse(Room& room, Entry& entry, SegmentMs now);
  void dismiss(Room& room, Entry& entry, shm::VisitorState how, SegmentMs now);
  void left(Room& room, const shm::Visitor& visitor);
  std::optional<Tick> held_until(const Room& room, Place place, SegmentMs now) const;

  // --- acknowledgements
  u64 connected_bits(u32 users) const;
  void start_pending(Place place, Room& room, bool leaving, u64 bits, SegmentMs now);
  void drop_pending(Place place);
  void finish_pending(Place place, SegmentMs now);
  PeerState& state_of(PeerNo peer);

  // --- admission
  bool may_call(SegmentMs now);
  void look_at(Room& room);
  bool admit_some(Room& room, u32 budget, SegmentMs now);
  bool call_next(Room& room, SegmentMs now);
  bool sweep(Room& room, u32 budget, SegmentMs now);
  void tell_estimate(Room& room, Ticket ticket, SegmentMs now);

  // --- numbers
  void advertise(Room& room, bool again, SegmentMs now);
  void advertise_in(const Room& room, shm::Table& table, SegmentMs now);
  shm::RoomNumbers numbers_of(const Room& room, SegmentMs now) const;
  void publish(Room& room, SegmentMs now);
  void count(const Room& room, shm::RoomCounter c) const;

  Tick room_now(SegmentMs now) const { return tick_of(now) - store_.room_shift(); }
  shm::Writer& writer() const { return store_.writer(); }

  Store& store_;
  const PeerBook& book_;
  const Relay& relay_;
  WaitingRoomOptions options_;
  Aggregate plain_;
  Dice dice_;

  std::vector<std::unique_ptr<Room>> rooms_;  // by number
  std::map<std::string, Room*, std::less<>> by_name_;
  std::deque<Room*> due_;       // somebody may be called, or numbers changed; Room::due
  std::vector<Room*> paced_;    // the next one may be called at Room::paced_until
  std::vector<Room*> closing_;  // removed; their visitors are sent away
  std::vector<UsersTable> users_;
  std::vector<u16> room_tables_;
  std::vector<std::unique_ptr<PeerState>> peers_;  // by number
  u64 free_bits_ = ~u64{0};                        // for PeerState::bit

  std::unordered_map<u32, Pending> pending_;  // by Place::word
  std::deque<std::pair<SegmentMs, Place>> pending_order_;

  SegmentMs started_ms_;
  bool resumed_ = false;          // visitors may be called, for good
  bool taught_ = false;           // some HAProxy has told all it has
  std::vector<PeerNo> expected_;  // HAProxys that were connected before the start and are not back
  SegmentMs published_ms_ = 0;
  cli::LogLimit limit_;
};

}  // namespace lineq::engine
