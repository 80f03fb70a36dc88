// The segment as lineqd owns it: create or re-attach, tables, peers, counters, feed, dictionary.
// One thread.
//
//   auto writer = Writer::attach({.instance = "default"});   // kBusy: another lineqd runs
//   writer->for_each_table(...)                              // what an earlier process left
//   Table& t = *writer->table_for(definition, now);
//   writer->heartbeat();                                     // every 100 ms
//   writer->stop();                                          // clean stop: state kStopped
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shm/feed.h"
#include "shm/line.h"
#include "shm/room.h"
#include "shm/support/result.h"
#include "shm/table.h"

namespace lineq::shm {

class SnapshotLoader;

enum class WhenFull : u8 { kEvict, kRefuse };

struct WriterOptions {
  std::string instance = "default";
  u64 memory_limit = 0;  // bytes of all objects together, 0 = what /dev/shm has
  u32 feed_log2 = 22;    // 16..26
  WhenFull when_full = WhenFull::kEvict;
  // Files a new segment is filled from, the best first; those that cannot be used are passed over.
  // A segment that is there and whole is never touched by them. Nobody can open the segment before
  // it is filled: a kill meanwhile leaves nothing that could be taken for all there was.
  std::vector<std::string> snapshots{};
  std::function<void()> progress{};  // once in a while, as long as that takes
};

// What there has to be of shared memory before the first table.
u64 least_segment_bytes(u32 feed_log2);

// What became of WriterOptions::snapshots.
struct Restored {
  std::string path;    // empty: nothing was loaded
  bool clean = false;  // made at a clean stop
  u64 made_ms = 0;     // wall clock
  u64 age_ms = 0;      // 0 also when the wall clock was set back
  u64 took_ms = 0;
  u64 bytes = 0;
  u64 tables = 0;
  u64 entries = 0;
  u64 expired = 0;  // entries whose life was over by now
  u64 refused = 0;  // ... for which there was no memory
  u64 rooms = 0;
  struct Rejected {
    std::string path;
    Error error;  // kNotFound: no such file
  };
  std::vector<Rejected> rejected;
};

// How the segment was found.
enum class Attach : u8 {
  kCreated,    // there was none
  kClean,      // left by a clean stop
  kRecovered,  // left by a kill: intent redone, derived state recomputed
  kReplaced,   // foreign or damaged: retired and created anew; attach_note() says why
};

// What a HAProxy is called; bytes from the network.
struct PeerIdentity {
  std::string_view remote_name;
  std::string_view local_name;
  std::string_view address;  // without the port for incoming connections
  u64 remote_pid = 0;
  PeerDirection direction = PeerDirection::kIncoming;
  u32 protocol_minor = 1;
};

// Mode acc: whose counters a HAProxy's parts are. A reloaded HAProxy is a new process with the old
// one's counters; a restarted one begins at zero. Until that is clear it is a candidate.
struct PeerProcess {
  u32 pid = 0;              // 0 = not known
  u64 epoch = 0;            // first session of it, or of whom it inherited from; 0 = new record
  u32 candidate_pid = 0;    // 0 = not known
  u64 candidate_epoch = 0;  // its first session; 0 = there is no candidate
};

// A HAProxy known to an earlier process.
struct PeerBefore {
  PeerNo no;
  bool up = false;         // was connected when that process was killed
  SegmentMs since_ms = 0;  // down since; when up, since the attach
};

class Object;

// Result of table_for.
struct TableFor {
  Table* table = nullptr;
  bool created = false;
  bool replaced = false;  // the definition added columns: all entries were moved to a table with
                          // the union, `table`
  u16 old_no = 0;         // when replaced: the table that is gone
};

class Writer {
 public:
  // kBusy: another lineqd owns this instance; kSystem, kExhausted: what the system said.
  static Result<std::unique_ptr<Writer>> attach(const WriterOptions& options);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  Writer(Writer&&) = delete;
  Writer& operator=(Writer&&) = delete;

  Attach attached_as() const;
  const std::string& attach_note() const;  // one sentence for the log
  // A reader had locked the root so that no writer could: it was moved away from that lock.
  bool root_moved() const;
  // A restored segment counts as attached: kClean or kRecovered.
  const Restored& restored() const;
  SegmentMs now() const;  // reads the clock: once a loop turn
  void heartbeat(SegmentMs now);
  // The process itself stood still since the last heartbeat: so did room time.
  void resume(SegmentMs now);
  void stop();  // heartbeat, state kStopped; the segment stays
  // What the plain tables of the segment mean, in the daemon's numbers; 0 = nothing yet.
  u32 mode() const;
  void set_mode(u32 mode);

  // Tables. The same name with another key type or key length is another table: both live side by
  // side and never mix. Columns are united: a definition with columns (or longer arrays) the table
  // lacks makes a wider table and moves all entries there; the old Table is gone. A longer expiry
  // is remembered. Rate periods of the first definition stay.
  // Parts and ledgers (`role`, with the HAProxy they belong to or kNoScope) are tables of their own
  // beside the one that HAProxys have, and are united the same way.
  Result<TableFor> table_for(const TableDefinition& definition, SegmentMs now,
                             TableRole role = TableRole::kPlain, u32 scope = kNoScope);
  void drop_table(u16 no);                 // with all its entries
  Table* table(u16 no);                    // nullptr = no such table
  const std::vector<u16>& tables() const;  // numbers of live tables

  // Peers: the record of a HAProxy. Reuses the record of the same (names, address, pid), else of
  // the same (names, address) that is down, else a free one, else the one that is down longest.
  // kExhausted at kMaxPeers connected.
  Result<PeerNo> peer_up(const PeerIdentity& identity, SegmentMs now);
  void peer_down(PeerNo peer, SegmentMs now);
  // As the process before this one left them.
  const std::vector<PeerBefore>& peers_before() const;
  u64 peer_epoch(PeerNo peer) const;  // number of its session
  u64 peer_pid(PeerNo peer) const;    // 0 = not known
  PeerProcess peer_process(PeerNo peer) const;
  void set_peer_process(PeerNo peer, PeerProcess process);
  // The record of one table of one HAProxy. peer_table() makes it if there is none; nullopt: there
  // is no room for more.
  std::optional<u32> find_peer_table(PeerNo peer, const TableInfo& table) const;
  std::optional<u32> peer_table(PeerNo peer, const TableInfo& table);
  u64 peer_table_counter(u32 index, PeerTableCounter c) const;
  void set_peer_table_counter(u32 index, PeerTableCounter c, u64 value);
  u64 peer_counter(PeerNo peer, PeerCounter c) const;
  void set_peer_counter(PeerNo peer, PeerCounter c, u64 value);
  void add_peer_counter(PeerNo peer, PeerCounter c, u64 by = 1);

  // Rooms. Their numbers in the segment are what the owner last set, but for `waiting`, which is
  // the line's. Visitors' states are entries of users tables (visitor.h) and are the owner's
  // business. kInvalid: name empty, too long or there already; kExhausted: kMaxRooms.
  Result<RoomNo> add_room(const RoomSettings& settings, SegmentMs now);
  void set_room(RoomNo room, const RoomSettings& settings);  // the name stays
  void drop_room(RoomNo room);                               // its line too; numbers are forgotten
  const std::vector<RoomNo>& rooms() const;                  // live ones, in order of number
  RoomSettings room_settings(RoomNo room) const;
  Line& line(RoomNo room);
  RoomNumbers room_numbers(RoomNo room) const;
  void set_room_numbers(RoomNo room, const RoomNumbers& numbers);  // gauges; counters as well
  void add_room_counter(RoomNo room, RoomCounter c, u64 by = 1);
  RoomHistogram room_wait(RoomNo room) const;
  RoomHistogram room_stay(RoomNo room) const;
  void add_room_wait(RoomNo room, u64 ms);
  void add_room_stay(RoomNo room, u64 ms);
  // What pacing has to remember beyond a kill: microseconds since creation, 0 = nothing.
  u64 room_pacing(RoomNo room) const;
  void set_room_pacing(RoomNo room, u64 tat_us);
  // See visitor.h. A tick of room time and one of the segment's differ by the same amount until the
  // next attach or resume().
  Tick room_time(SegmentMs now) const;

  void set_counter(DaemonCounter c, u64 value);
  void add_counter(DaemonCounter c, u64 by = 1);
  void add_table_counter(u16 table, TableCounter c, u64 by = 1);

  Feed& feed();

  // Dictionary (server keys). 0 when it is full: the value is then stored as none and counted.
  u32 intern(std::string_view text);
  std::string_view dictionary_text(u32 id) const;

  // Idle work, bounded: growing indexes. True when nothing is left.
  bool work_some();

 private:
  friend class Line;
  friend class SnapshotLoader;
  friend class Table;
  friend class Together;
  struct State;
  explicit Writer(std::unique_ptr<State> state);

  Status create();
  Status adopt();
  void go_live();
  bool referenced(u32 dir) const;
  static Result<Object> retire(const std::string& instance, Object& old);
  static void remove_objects(const std::string& instance, const Object& root);

  Result<std::unique_ptr<Table>> open_table(u16 no);
  Result<Table*> make_table(const TableDefinition& definition, TableRole role, u32 scope,
                            u64 expected);
  void move_peer_tables(u16 old_no, u32 old_id, const TableInfo& table);
  void publish_table(u16 no);
  void free_table(u16 no);

  void put_room(RoomNo room, u32 id, const RoomSettings& settings);
  void write_rules(RoomNo room, const RoomDesc& rules);
  void tell_room(RoomNo room);
  Status adopt_rooms();
  void redo_line();
  bool line_uses(u32 dir) const;
  void stop_room_time(SegmentMs now);

  std::unique_ptr<State> state_;
};

}  // namespace lineq::shm
