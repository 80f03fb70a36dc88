// The first entries of a table in some order, picked out of a scan: memory for two pages, whatever
// the table holds.
//
// The order is total: by the value asked for, then by key, then by slot. So a page that begins
// behind the last entry of the page before loses and doubles nothing as long as values stay. An
// entry whose value changes between two pages is where its new value puts it: it may be on both, or
// on neither.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/entry_view.h"
#include "shm/support/clock.h"
#include "tools/view/columns.h"
#include "tools/view/filter.h"

namespace lineq::pages {

struct Order {
  enum class By : u8 { kKey, kExpiry, kColumn };
  By by = By::kKey;
  std::string column;  // kColumn: view::Column::name
  bool descending = false;
};
// "-gpc0", "key"
std::string order_text(const Order& order);

// Where an entry stands. Texts are cut, so that a place fits into a URL; entries that agree so far
// are in order of slot.
inline constexpr std::size_t kMostOfText = 480;
struct Place {
  view::Number number;  // the value; of expiry: the segment's time at which it ends
  std::string text;     // ... of server_key
  std::string key;
  u32 slot = 0;
};

class Ranking {
 public:
  // `column` with By::kColumn. Only what stands behind `after` is ranked.
  Ranking(Order order, std::optional<view::Column> column, std::size_t most,
          std::optional<Place> after);

  // `text_of` as of view::Filter::matches. The entry is copied if it is among the first so far.
  template <typename TextOf>
  void offer(const shm::EntryView& entry, SegmentMs now, const TextOf& text_of) {
    std::string_view text;
    if (column_ && column_->kind == shm::ValueKind::kDictionary) {
      text = text_of(static_cast<u32>(entry.value(column_->bit)));
    }
    place(entry, now, text);
  }

  // After the last offer.
  void finish();
  std::size_t size() const { return used_; }
  bool more() const { return behind_ > used_; }  // entries that did not find room
  // In order; valid as long as the ranking.
  shm::EntryView entry(std::size_t i, const shm::TableDefinition& definition,
                       const shm::Geometry& geometry) const;
  Tick seen(std::size_t i) const { return kept_[i].seen; }  // the time its value was looked at
  const Place& last() const { return kept_[used_ - 1].at; }

 private:
  struct Spot {  // a Place that owns nothing
    view::Number number;
    std::string_view text;
    std::string_view key;
    u32 slot = 0;
  };
  struct Kept {
    Place at;
    Tick seen = 0;
    std::vector<u64> words;
  };
  static Spot spot(const Place& place) { return {place.number, place.text, place.key, place.slot}; }
  bool before(const Spot& a, const Spot& b) const;
  void place(const shm::EntryView& entry, SegmentMs now, std::string_view text);
  void keep_the_first();

  Order order_;
  std::optional<view::Column> column_;
  std::size_t most_;
  std::optional<Place> after_;
  // In no order until finish(). With twice as many as a page holds, the second half in order is
  // dropped: cheaper than a heap when many an entry is better than those before. Dropped ones leave
  // their memory to others.
  std::vector<Kept> kept_;
  std::size_t used_ = 0;
  bool bounded_ = false;  // kept_[most_ - 1] is the last of a full page
  u64 behind_ = 0;        // entries offered that stand behind `after_`
};

}  // namespace lineq::pages
