// Entries in the original's shape, many of them: {"id":"...","key":"...","value":"1\t"}. What a
// column is and where it lies in a slot is looked up once per table, not once per entry.
#pragma once

#include <string_view>
#include <vector>

#include "shm/entry_view.h"
#include "tools/view/columns.h"

namespace lineq::pages {

class EntryText {
 public:
  EntryText() = default;
  // Of a table whose entries are HAProxy's own (SlotForm::kTotals has no shape here).
  EntryText(const shm::TableInfo& table, const std::vector<view::Column>& columns);

  // The object behind a comma (Json::raw), good until the next call. Empty: a key that has to be
  // escaped, or a table with names of servers in it, is for the general way.
  std::string_view of(const shm::EntryView& entry, Tick now);

 private:
  struct Cell {
    shm::ValueKind kind = shm::ValueKind::kU32;
    u32 offset = 0;
    u32 period_ms = 0;
  };

  bool able_ = false;
  shm::KeyType key_type_ = shm::KeyType::kString;
  std::vector<Cell> cells_;
  std::vector<char> buffer_;  // room for the longest entry
};

}  // namespace lineq::pages
