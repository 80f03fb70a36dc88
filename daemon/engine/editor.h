// What operators do to entries of HAProxys' tables: set one, remove one, remove many in slices.
//
// A change is LineQ's own: all HAProxys are told. Nothing in the peers protocol removes an entry
// (peers-protocol 9.4), so an entry that is removed here is told once more with all values zero and
// a life of one millisecond: HAProxy reads zeros from then on and frees the entry when its clean-up
// comes by. A HAProxy that is away keeps its entry and brings it back. One thread, no clock.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/engine/mode.h"
#include "daemon/engine/relay.h"
#include "daemon/engine/store.h"

namespace lineq::engine {

// One element of a column. Rates: events in the period that begins now. server_key: id in the
// dictionary, not 0.
struct CellValue {
  u32 bit = 0;
  u32 element = 0;
  u64 value = 0;
};

class Editor {
 public:
  Editor(Store& store, const PeerBook& book, Relay& relay, const Mode& mode)
      : store_(store), book_(book), relay_(relay), mode_(mode) {}

  // By the name on the wire, without its leading '/', or as HAProxy shows it ("section/t1"). An
  // Error is one sentence: there is none, there are two, or this mode does not let operators change
  // its entries.
  Result<shm::Table*> find(std::string_view name) const;

  // What is not named stays, or is 0 in a new entry. Without `expire_ms` the table's expiry begins
  // anew; with it the entry's life may become shorter. True: the entry is new.
  Result<bool> set(shm::Table& table, std::span<const u8> key, std::span<const CellValue> values,
                   std::optional<u32> expire_ms, SegmentMs now);

  // False: there is no such entry.
  bool clear(shm::Table& table, std::span<const u8> key, SegmentMs now);

  using Matches = std::function<bool(const shm::EntryView& entry, Tick now)>;
  // How many were removed; an Error when the table is gone meanwhile.
  using Done = std::function<void(const Result<u64>& cleared)>;
  // Removes entries that match (empty: all) in turns to come. Each is gone entirely or not at all,
  // whenever lineqd ends; entries that come meanwhile may stay.
  void clear(shm::Table& table, Matches matches, Done done);

  // A slice of that. True when nothing is left to do, or nothing can be done before HAProxys have
  // taken what waits for them.
  bool turn(SegmentMs now);
  bool idle() const { return jobs_.empty(); }
  // Entries of `old_no` have moved to `table`.
  void replaced(u16 old_no, const shm::Table& table);

 private:
  struct Job {
    u16 table_no;
    u32 table_id;
    std::string name;
    Matches matches;
    Done done;
    u32 slot = 0;
    u32 end = 0;
    u64 cleared = 0;
    u64 untold = 0;          // times a HAProxy took nothing and was passed over
    SegmentMs stuck_ms = 0;  // a HAProxy takes nothing since then; 0: all do
  };

  u32 remove(shm::Table& table, u32 slot, SegmentMs now);
  bool waits(Job& job, SegmentMs now) const;
  void finish(const Result<u64>& result);

  Store& store_;
  const PeerBook& book_;
  Relay& relay_;
  const Mode& mode_;
  std::deque<Job> jobs_;
};

}  // namespace lineq::engine
