// lineq-dump --follow: prints entries as they change, until stopped.
//
// The change feed says which slots to look at; what is printed is the entry as it is then, so many
// changes within a look are one line. After the feed has lapped us, or lineqd has come back, the
// tables are scanned for what changed meanwhile; nothing stays unseen but intermediate values.
#pragma once

#include <csignal>
#include <functional>
#include <map>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "shm/reader.h"
#include "tools/lineq_dump/format.h"
#include "tools/lineq_dump/selection.h"

namespace lineq::dump {

// One sentence for the user.
using Note = std::function<void(std::string_view)>;

class Follower {
 public:
  // `picks` as pick() gave them for `selection`. `show_present`: begin with the entries that are
  // there.
  Follower(shm::Reader& reader, Printer& printer, Output& out, const Selection& selection,
           std::vector<Pick> picks, bool show_present, Note note);

  // Goes on until *stop is set, nobody reads the output any more, or it cannot be written: `out`
  // knows.
  void run(const volatile std::sig_atomic_t* stop, int out_fd);

  // One look at the feed.
  void turn();

 private:
  using TableKey = std::pair<u32, u64>;  // id and generation: a table for ever

  // What happened to one slot since the last look.
  struct Change {
    std::size_t pick = 0;
    u32 slot = 0;
    std::string_view ended;  // how the entry that was there went; empty = it did not
    bool present = false;    // ... and something is there after that
  };

  void look_again();
  void scan_all(std::optional<Tick> since);
  void scan(const Pick& pick, std::optional<Tick> since);
  void collect(std::span<const shm::FeedRecord> records);
  void add(u16 table, u32 slot, shm::FeedKind kind);
  void show_changes();
  void show_change(const Change& change, shm::SlotCopy& copy);
  void show(const Pick& pick, const shm::EntryView& entry, Tick now);
  void show_gone(const Pick& pick, u32 slot, std::string_view why);
  void head(const Pick& pick);
  bool wanted(const Pick& pick, const shm::EntryView& entry, Tick now) const;
  bool was_shown(const Pick& pick, u32 slot);

  shm::Reader& reader_;
  Printer& printer_;
  Output& out_;
  const Selection& selection_;
  Note note_;
  std::vector<Pick> picks_;
  std::vector<std::size_t> pick_of_table_;       // by table number
  std::map<TableKey, std::vector<bool>> shown_;  // by slot; a table that is here has been seen
  const shm::TableInfo* head_ = nullptr;
  shm::FeedCursor cursor_;
  Tick last_look_ = 0;
  shm::Liveness liveness_;
  bool gone_ = false;  // the segment, told to the user
  std::vector<shm::FeedRecord> records_;
  std::vector<Change> changes_;
  std::unordered_map<u64, std::size_t> change_of_slot_;
  std::vector<shm::FeedRecord> busy_;  // to be looked at again
};

// "lineqd is down since 2026-11-22 12:10:35 (3m20s)", empty while it is alive.
std::string liveness_sentence(const shm::Reader& reader);

}  // namespace lineq::dump
