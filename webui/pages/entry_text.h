// Entries in the original's shape, many of them: {"id":"...","key":"...","value":"1\t"}. What a
// column is and where it lies in a slot is looked up once per table, not once per entry.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "shm/entry_view.h"
#include "tools/view/columns.h"

namespace lineq::pages {

class EntryText {
 public:
  EntryText() = default;
  // Of a table whose entries are HAProxy's own (SlotForm::kTotals has no shape here).
  EntryText(const shm::TableInfo& table, const std::vector<view::Column>& columns);

  // Puts the object behind those that wait here, each behind a comma (Json::raw). False, and it did
  // not: a key that has to be escaped, or a table with names of servers in it, is for the general
  // way, after those that wait.
  bool add(const shm::EntryView& entry, Tick now);
  // A few objects: they are copied on while they are in the nearest cache.
  bool full() const { return used_ >= kFull; }
  std::string_view take() { return {buffer_.data(), std::exchange(used_, 0)}; }

 private:
  struct Cell {
    shm::ValueKind kind = shm::ValueKind::kU32;
    u32 offset = 0;
    u32 period_ms = 0;
  };

  bool add_quick(const shm::EntryView& entry, Tick now);
  // What comes behind the id.
  bool add_rest(const shm::EntryView& entry, Tick now, char* to);

  static constexpr std::size_t kFull = 2048;

  bool able_ = false;
  bool quick_ = false;  // this processor has what add_quick() takes
  std::size_t used_ = 0;
  shm::KeyType key_type_ = shm::KeyType::kString;
  std::vector<Cell> cells_;
  std::vector<char> buffer_;  // room for kFull, and the longest entry behind it
};

}  // namespace lineq::pages
