// The segment as everybody but lineqd sees it: mapped read-only, no lock, no registration, nothing
// the writer can feel.
//
//   auto reader = Reader::open({.instance = "default"});        // or {.directory = "/tmp/copy",
//   .instance = "default"} reader->refresh();                                          // once a
//   tick: two loads when nothing changed for (const TableInfo& t : reader->tables()) { ... } Scan
//   scan; while (!reader->scan(t, scan, 4096, [&](const EntryView& e) { ... })) {}
//
// One Reader belongs to one thread. It survives the daemon's death, restart and replacement of the
// segment: refresh() says so. Nothing in the segment is trusted: numbers, offsets and lengths are
// checked against the mappings before use.
//
// Contract of a scan (shm-design 9): every entry passed was once whole; an entry present from
// before the first step to after the last is passed exactly once; an entry inserted or erased
// meanwhile may or may not be passed; there is no point-in-time view across entries.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shm/entry_view.h"
#include "shm/feed.h"
#include "shm/liveness.h"
#include "shm/room.h"
#include "shm/support/clock.h"
#include "shm/support/result.h"

namespace lineq::shm {

// Where a segment is.
struct Source {
  std::string directory;  // empty: shared memory; else a directory with copies of the objects
  std::string instance = "default";
  u64 patience_ms = 0;  // how long to wait for a segment to appear and become ready
  i64 owner_uid =
      -1;  // accept only objects of this user; -1 = any (a squatted name is then not noticed)
};

enum class Lookup : u8 {
  kFound,
  kAbsent,
  kBusy,  // the writer is inside this slot and was preempted there; come back later
};

struct Refreshed {
  bool replaced = false;   // another segment: forget everything
  bool epoch = false;      // the daemon attached anew: forget feed cursors, rescan
  bool directory = false;  // tables() or peers may have changed; TableInfo references are invalid
};

struct TableStats {
  u64 live = 0;        // entries
  u64 high_water = 0;  // slots ever used
  u64 slots = 0;       // slots the chunks of this table can hold
  u64 bytes = 0;       // reserved memory of its chunks and index
  u32 expire_ms = 0;
  std::array<u64, static_cast<std::size_t>(TableCounter::kCount)> counters{};
  u64 counter(TableCounter c) const { return counters[static_cast<std::size_t>(c)]; }
};

struct PeerInfo {
  u16 no = 0;
  PeerState state = PeerState::kFree;
  PeerDirection direction = PeerDirection::kIncoming;
  u64 connected_ms = 0;  // SegmentMs of the last change of state
  u64 remote_pid = 0;
  u64 epoch = 0;
  u32 protocol_minor = 0;
  std::string remote_name;  // bytes from the network: escape before showing
  std::string local_name;
  std::string address;
  std::array<u64, static_cast<std::size_t>(PeerCounter::kCount)> counters{};
  u64 counter(PeerCounter c) const { return counters[static_cast<std::size_t>(c)]; }
};

// One table of one HAProxy: what it announced and when it told something last.
struct PeerTableInfo {
  u16 peer = 0;   // PeerInfo::no
  u16 table = 0;  // TableInfo::no
  std::array<u64, static_cast<std::size_t>(PeerTableCounter::kCount)> counters{};
  u64 counter(PeerTableCounter c) const { return counters[static_cast<std::size_t>(c)]; }
};

// One waiting room, as of the last refresh().
struct RoomInfo {
  RoomNo no{0};
  u32 id = 0;  // (no, id) names a room for ever
  RoomSettings settings;
};

// State of one scan, also usable as a page cursor: `next` survives restarts of the reader.
struct Scan {
  u32 next = 0;              // first slot not looked at
  std::vector<u32> busy;     // to be visited again at the end
  bool expired_too = false;  // also entries whose life is over
};

class Reader {
 public:
  // kNotFound: no segment; kForeign: another layout (the sentence says which); kDamaged:
  // contradicts itself; kSystem: the system refused (permission: the sentence names the group).
  static Result<Reader> open(const Source& source);

  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader();

  // Once a tick. An error means the segment is gone and no other is there yet: keep showing the old
  // one and try again.
  Result<Refreshed> refresh();

  Liveness liveness() const;
  // The segment's clock. While the daemon is down or stalled time stands still at its last
  // heartbeat + kStallMs, so that nothing seems to expire because the daemon is away. For a copied
  // segment: the time of its last heartbeat.
  SegmentMs now() const;
  u64 heartbeat_age_ms() const;
  const RootHeader& header() const;  // racing words only through shm/words.h
  u64 epoch() const;
  u64 counter(DaemonCounter c) const;
  u64 segment_bytes() const;  // reserved memory of all objects

  // As of the last refresh(), in order of number. In mode acc an entry of these is the sum over all
  // HAProxys.
  const std::vector<TableInfo>& tables() const;
  // Mode acc: what each HAProxy has (kPart), and the totals (kLedger). Same names as above.
  const std::vector<TableInfo>& hidden_tables() const;
  // ... of one of tables(); null = there is none.
  const TableInfo* part_of(const TableInfo& table, u16 peer) const;
  const TableInfo* ledger_of(const TableInfo& table) const;
  const TableInfo* find_table(
      std::string_view name) const;  // exact name on the wire, or without the leading '/'
  TableStats stats(const TableInfo& table) const;
  std::vector<PeerInfo> peers() const;  // all that are not free
  std::vector<PeerTableInfo> peer_tables() const;

  const std::vector<RoomInfo>& rooms() const;  // in order of number
  // By exact name, then by a prefix of 31 bytes and more (HAProxy cuts keys) if only one room has
  // it.
  const RoomInfo* find_room(std::string_view name) const;
  RoomNumbers numbers(const RoomInfo& room) const;
  RoomHistogram wait_histogram(const RoomInfo& room) const;
  RoomHistogram stay_histogram(const RoomInfo& room) const;
  // How many wait before this ticket; nullopt: it does not wait (any more). True at some instant of
  // the call, and never more than an earlier call said.
  std::optional<u64> rank_of(const RoomInfo& room, Ticket ticket);
  // The same for many in ascending order, in one pass over the line; kNoRank for those that do not
  // wait.
  static constexpr u64 kNoRank = ~u64{0};
  void ranks_of(const RoomInfo& room, std::span<const Ticket> tickets, std::span<u64> ranks);
  // Now, as visitors' deadlines count (visitor.h).
  Tick room_time() const;

  // Exact key as stored (see EntryView::key). On kFound `copy` holds the slot and the view stays
  // valid as long as it does.
  Lookup lookup(const TableInfo& table, std::span<const u8> key, SlotCopy& copy, EntryView& out);
  // The slot a feed record names. kAbsent when it is free or expired.
  Lookup read_slot(const TableInfo& table, u32 slot, SlotCopy& copy, EntryView& out);

  // Visits at most `max_slots` slots from scan.next on and calls `visit` for each live entry
  // (unexpired, unless scan says otherwise); true when done. The view is valid during the call
  // only. `visit` returns false to stop early (scan.next then stands behind the entry).
  bool scan(const TableInfo& table, Scan& scan, u32 max_slots,
            const std::function<bool(const EntryView&)>& visit);

  // Text of a dictionary id (server_key); empty for 0 and for ids that are not there.
  std::string_view dictionary_text(u32 id) const;

  FeedCursor feed_end() const;  // a cursor at the tail: only changes from now on
  Followed follow(FeedCursor& cursor, std::span<FeedRecord> out) const;
  u64 feed_lag(const FeedCursor& cursor) const;

 private:
  friend class SnapshotWriter;
  friend class Verifier;
  struct State;
  explicit Reader(std::unique_ptr<State> state);
  const TableInfo* hidden_of(const TableInfo& table, TableRole role, u32 scope_peer) const;
  std::unique_ptr<State> state_;
};

// What `key=` of HAProxy's show table prints, and back: integers decimal, addresses as text, binary
// in capital hex, strings as they are.
std::string key_text(const TableDefinition& definition, std::span<const u8> key);
Result<std::string> key_from_text(const TableDefinition& definition, std::string_view text);

}  // namespace lineq::shm
