// The keys of one table with the largest values of one data type.
//
// A table may have ten million entries: they are looked at in slices, the screen goes on meanwhile
// with the result of the round before, and what is kept is no more than `limit` entries. An entry
// counts with its value at the moment it was looked at.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "shm/reader.h"
#include "tools/lineq_top/grid.h"
#include "tools/view/columns.h"

namespace lineq::top {

class TopKeys {
 public:
  struct Choice {
    std::string table;   // as its user names it; empty = none
    std::string column;  // a data type as `show table` names it; empty = the first rate, or counter
    bool reverse = false;  // the smallest
    std::string filter;    // only keys, as shown, with this in them
    std::size_t limit = 100;

    friend bool operator==(const Choice&, const Choice&) = default;
  };

  // Another choice begins anew; the same one changes nothing.
  void choose(const Choice& choice);
  const Choice& choice() const { return choice_; }
  // Drops everything: the segment is another one.
  void forget();

  // Begins another round, unless one is under way.
  void begin();
  // Looks at `slots` more; true when no round is under way (any more).
  bool step(shm::Reader& reader, u32 slots);

  // Of the last whole round.
  const Grid& grid() const { return grid_; }
  bool any() const { return any_; }
  const std::string& table() const { return shown_table_; }    // its name, escaped; empty = none
  const std::string& column() const { return shown_column_; }  // what is ranked by
  // Data types that can be chosen.
  const std::vector<std::string>& columns() const { return rankable_; }
  // kNotFound: no such table, or it has no such data type.
  const std::optional<Error>& trouble() const { return trouble_; }
  // Of the round under way; 100 when none is.
  u32 percent() const { return percent_; }

 private:
  struct Entry {
    u64 rank = 0;
    u32 slot = 0;
    std::vector<Cell> row;
  };

  // The table chosen; null and trouble() when there is none.
  const shm::TableInfo* bind(shm::Reader& reader);
  void consider(shm::Reader& reader, const shm::EntryView& entry, Tick now);
  u64 rank(const shm::EntryView& entry, Tick now) const;
  void finish();
  void fail(Error error);

  Choice choice_;
  bool running_ = false;
  bool any_ = false;
  u32 percent_ = 100;
  shm::Scan scan_;
  u64 moved_ms_ = 0;  // when the round last came forward
  u32 table_id_ = 0;
  std::vector<view::Column> columns_;
  std::size_t ranked_ = 0;   // index in columns_
  std::vector<Entry> heap_;  // the least of those kept on top
  Grid grid_;
  std::string shown_table_;
  std::string shown_column_;
  std::vector<std::string> rankable_;
  std::optional<Error> trouble_;
};

}  // namespace lineq::top
