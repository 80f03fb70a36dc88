// Mode acc: the sum over all HAProxys of each entry, in the table that carries their name. Sums are
// made from the parts whenever one of these has changed, at most once in an interval for each
// entry, and reach the HAProxys under another name (rules) through the feed and the relay.
//
// What a part adds: nothing when its life is over or its HAProxy's process is a newer one than the
// one that told it; conn_cur only while the HAProxy is connected. Counters are added and stop at
// their largest value, rates are added as rates (shm/rate.h). Tags, server_id and server_key cannot
// be added: a policy chooses.
// One thread, no clock.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/engine/store.h"
#include "daemon/peers/message.h"

namespace lineq::engine {

enum class Policy : u8 {
  kLatest,  // of the HAProxy that told something last
  kMax,
  kOr,  // bit by bit; server_key: the latest
};

// Configuration: the sums of a table go to HAProxys as another one.
struct AggregateRule {
  // Name of a table: "src" is the backend's or the peers section's ("/src" on the wire), "/src"
  // only the latter. "any": all that are not themselves the `to` of a rule.
  std::string from;
  std::string to;  // name of the table; with "any" a suffix; empty: sums are kept, and not sent
  Policy policy = Policy::kLatest;
};

// What becomes of table `name`: the first rule that fits.
struct Outlet {
  std::string to;  // on the wire; empty: nothing is sent
  Policy policy = Policy::kLatest;
};
Outlet outlet_of(std::span<const AggregateRule> rules, std::string_view name);
// Whether sums go to HAProxys as `name`.
bool is_outlet(std::span<const AggregateRule> rules, std::string_view name);

// What one HAProxy has of one table.
struct Part {
  u16 table_no = 0;
  PeerNo peer;
  u64 since = 0;  // session: what was told in an earlier one is of another process
  bool up = false;
  bool left_out = false;  // about to be dropped
};

class Sums {
 public:
  Sums(Store& store, std::vector<AggregateRule> rules, u32 interval_ms);

  std::span<const AggregateRule> rules() const { return rules_; }
  // Parts of `table`, a plain table; the caller keeps them up to date.
  std::vector<Part>& parts(u16 table);
  // The table has another number now.
  void replaced(u16 old_no, u16 no);

  // A part of this entry has changed. A new entry gets its sum at once.
  void touch(shm::Table& table, u32 tag, std::span<const u8> key, SegmentMs now);
  // The life of a sum is over: made again if there are parts, otherwise all HAProxys are told
  // zeros, and then it is erased.
  void expired(shm::Table& table, u32 slot, SegmentMs now);

  // Makes what is due, at most `budget` sums. True when nothing due is left.
  bool turn(SegmentMs now, u32 budget);
  // Something becomes due within so many milliseconds.
  std::optional<u64> next_ms(SegmentMs now) const;

 private:
  static constexpr u32 kBuckets = 64;

  struct Column {
    u32 bit;
    u16 elements;
  };
  struct Summed {
    u32 id = 0;  // of the table these are of
    Policy policy = Policy::kLatest;
    std::vector<Part> parts;
    std::vector<Column> columns;
    std::optional<shm::ColumnMap> identity;
    std::vector<u64> marked;  // by slot
  };
  struct Due {
    u16 table;
    u32 slot;
  };

  Summed& summed(u16 no);
  Summed& summed(const shm::Table& table);
  void mark(Summed& s, const shm::Table& table, u32 slot, SegmentMs now);
  bool make(Summed& s, shm::Table& table, u32 tag, std::span<const u8> key, SegmentMs now);
  void gather(const Summed& s, u32 tag, std::span<const u8> key, SegmentMs now);
  void add_up(const Summed& s, const shm::Table& table, SegmentMs now);
  u64 chosen(Policy policy, u32 bit, u32 i) const;
  void write(const Summed& s, shm::Table& table, std::span<const u8> key,
             std::optional<u32> life_ms, SegmentMs now);

  Store& store_;
  std::vector<AggregateRule> rules_;
  u32 interval_ms_;
  u32 bucket_ms_;
  std::vector<Summed> tables_;  // by number

  // What waits: due now, and by the time it becomes due.
  std::vector<Due> ready_;
  std::size_t ready_at_ = 0;  // those before it are done
  std::array<std::vector<Due>, kBuckets> later_;
  u64 bucket_ = 0;  // all before this one are empty
  u64 waiting_ = 0;

  // Of one sum, while it is made.
  struct Entry {
    shm::EntryView view;
    bool up;
  };
  std::vector<Entry> entries_;
  std::vector<shm::RatePart> rates_;
  std::array<u64, peers::kMaxRowCells> cells_{};
};

}  // namespace lineq::engine
