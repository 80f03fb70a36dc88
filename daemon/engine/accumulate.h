// Mode acc: what each HAProxy has is kept apart (parts), added up (sums.h), and counted for ever
// (ledgers). Nothing goes back into the tables it came from.
//
// Three tables in the segment for each table of the HAProxys, with the same keys:
//   part    one for each HAProxy: its values as it told them last. An entry stays for a while after
//           its life is over, and until its HAProxy has told all it has after it was away: it is
//           what later values are compared with.
//   ledger  for each counter all that was ever counted, in 64 bits
//   sum     the plain table: what the living parts add up to
// A part and its total change together (shm::Together) before the update is acknowledged, so a kill
// at any instant counts neither twice nor less.
//
// Which process told it. Counters of a restarted HAProxy begin at 0, those of a reloaded one go on
// where the old process was. Both are a process of a new pid, and a HAProxy that we called does not
// even tell its pid. So a session begins with a *candidate*: as long as nothing proves that it
// begins at 0, its values are taken as those of the process before it, which never counts too much;
// what that may have missed is remembered (doubts) and added when it turns out that it did begin at
// 0.
//   goes on      a row it says it learned from another process: only the one before it can have
//                taught it, as LineQ teaches no source tables
//   begins at 0  it asked us to teach it, which an heir never does (peers-protocol 7.5); or, when
//                it has told all it has, counters of most living entries are lower than before; or,
//                with another pid, an entry is missing, which is enough for the sums and not for
//                the doubts
// An heir may come to us, and count, before the old process has handed over its table, which then
// overwrites what the heir counted (peers-protocol 7.5). It says that it is not complete: it is
// asked again until it is, and what speaks for a beginning at 0 counts in a lesson that began after
// that. Meanwhile a candidate's row that fell is left alone: either it will be overwritten, or all
// is told once more when the counters are known to have begun at 0.
// One thread, no clock.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "daemon/engine/mode.h"
#include "daemon/engine/store.h"
#include "daemon/engine/sums.h"

namespace lineq::engine {

struct AccumulateOptions {
  std::vector<AggregateRule> rules;
  u32 interval_ms = 50;  // at most one sum of an entry in so long
  u64 ledger_expire_ms =
      0;  // totals of an entry nobody counts any more are kept so long; 0: for ever
};

class Accumulate final : public Mode {
 public:
  Accumulate(Store& store, const PeerBook& book, const AccumulateOptions& options, SegmentMs now);

  Status on_table(Peer& peer, const PeerTable& table, SegmentMs now) override;
  void on_replaced(u16 old_no, const shm::Table& table, SegmentMs now) override;
  void on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                  SegmentMs now) override;
  std::optional<Tick> on_expired(shm::Table& table, u32 slot, SegmentMs now) override;
  void on_up(Peer& peer, SegmentMs now) override;
  void on_asked(Peer& peer, SegmentMs now) override;
  void on_taught(Peer& peer, bool partial, SegmentMs now) override;
  void on_live(Peer& peer, SegmentMs now) override;
  void on_down(Peer& peer, SegmentMs now) override;
  void on_resume(u64 away_ms) override;
  bool ask_again(Peer& peer, SegmentMs now) override;
  bool turn(SegmentMs now) override;
  void tick(SegmentMs now) override;
  std::optional<u64> next_ms(SegmentMs now) const override { return sums_.next_ms(now); }
  std::string outlet(const shm::TableInfo& table) const override;
  Status may_edit(const shm::TableInfo& table) const override;
  bool is_echo(std::string_view name) const override { return is_outlet(sums_.rules(), name); }

 private:
  // A counter of a HAProxy's definition.
  struct Counter {
    bool wide;  // 64 bits
    u16 cell;
    u16 part;    // offset in the part's slot
    u16 ledger;  // offset in the ledger's slot
    u16 count;   // elements
  };
  // How rows of one HAProxy go into its part.
  struct Intake {
    shm::TableDefinition definition;  // as it announced it
    u16 part_no = 0;
    u16 ledger_no = 0;  // kNoTable: nothing in it counts
    std::optional<shm::ColumnMap> columns;
    std::vector<Counter> counters;
    std::vector<u16> rates;  // cells at which they begin
    bool announced = false;  // in this session
  };
  // What a candidate may have counted and was taken for its predecessor's.
  struct Doubt {
    u16 part_no;
    u32 slot;
    u16 ledger;
    u64 last;
    bool of_candidate;  // an earlier one, whom this one may be the heir of all the same
  };
  // One HAProxy's session, or what is known of it between two.
  struct Told {
    u64 epoch = 0;  // of the session
    shm::PeerProcess process;
    u64 undecided = 0;  // since this session nobody was anything but a candidate
    bool up = false;
    bool asked = false;
    bool taught = false;    // the lesson is over
    bool complete = false;  // it has all it will ever have of another process
    bool sure = false;      // and had it when it was asked
    bool verify = false;    // something speaks for a beginning at 0
    bool heir = false;      // it has rows it learned from the process before
    bool lower = false;     // most living entries fell
    bool left_out = false;  // rows that have to be told again
    bool settled = false;   // its repetitions after that too
    u64 fell_rows = 0;      // of the lesson: living entries with a counter that fell
    u64 kept_rows = 0;      // of all its lessons: those without
    SegmentMs taught_ms = 0;
    SegmentMs up_ms = 0;
    SegmentMs down_ms = 0;
    std::vector<Doubt> doubts;
    std::vector<std::optional<Intake>> intake;  // by plain table

    bool candidate() const { return process.candidate_epoch != 0; }
  };
  // Every entry of a part is looked at, in slices.
  enum class Why : u8 {
    kSum,     // its sums are made anew
    kSweep,   // what an earlier process told goes
    kForget,  // all goes, and then the table
  };
  struct Walk {
    u16 part_no;
    u32 id;
    u16 table_no;
    Why why;
    u32 slot = 0;
  };

  Told& told(PeerNo peer);
  Part* part(u16 table_no, PeerNo peer);
  u16& plain_of(u16 part_no);
  void bind(Intake& intake);
  // Where a key's entries are, if they are there: to be verified.
  struct Likely {
    u32 tag = 0;
    u32 part = shm::Table::kNoSlot;
    u32 ledger = shm::Table::kNoSlot;
  };
  void one(Peer& peer, Told& t, PeerTable& table, const Intake& intake, const peers::Update& update,
           const Likely& likely, SegmentMs now);
  const u64* checked(Peer& peer, PeerTable& table, const Intake& intake, const u64* cells,
                     SegmentMs now);
  bool missing(const Told& t, SegmentMs now) const;
  void decide(const Peer& peer, Told& t, bool fresh, std::string_view why, SegmentMs now);
  void settle_doubts(Told& t, SegmentMs now);
  void forget(PeerNo peer);
  void start_walk(const Part& part, u16 table_no, Why why);
  bool walk(Walk& walk, u32& budget, SegmentMs now);
  void adopt(SegmentMs now);

  Store& store_;
  const PeerBook& book_;
  u64 ledger_expire_ms_;
  Sums sums_;
  std::vector<std::unique_ptr<Told>> told_;
  std::vector<u16> plain_of_;  // by the number of a part's table
  std::deque<Walk> walks_;
  std::vector<u64> checked_;
  cli::LogLimit limit_;
};

}  // namespace lineq::engine
