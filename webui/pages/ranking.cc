#include "webui/pages/ranking.h"

#include <algorithm>
#include <compare>
#include <utility>

namespace lineq::pages {

std::string order_text(const Order& order) {
  std::string text = order.descending ? "-" : "";
  switch (order.by) {
    case Order::By::kKey:
      return text + "key";
    case Order::By::kExpiry:
      return text + "expiry";
    case Order::By::kColumn:
      break;
  }
  return text + order.column;
}

Ranking::Ranking(Order order, std::optional<view::Column> column, std::size_t most,
                 std::optional<Place> after)
    : order_(std::move(order)),
      column_(std::move(column)),
      most_(std::max<std::size_t>(most, 1)),
      after_(std::move(after)) {}

bool Ranking::before(const Spot& a, const Spot& b) const {
  if (!(a.number == b.number)) {
    return std::is_lt(a.number <=> b.number) != order_.descending;
  }
  if (const int by = a.text.compare(b.text); by != 0) {
    return order_.descending ? by > 0 : by < 0;
  }
  if (const int by = a.key.compare(b.key); by != 0) {
    return by < 0;
  }
  return a.slot < b.slot;
}

void Ranking::place(const shm::EntryView& entry, SegmentMs now, std::string_view text) {
  Spot at;
  at.key = entry.key_chars().substr(0, kMostOfText);
  at.slot = entry.slot();
  at.text = text.substr(0, kMostOfText);
  switch (order_.by) {
    case Order::By::kKey:
      at.text = at.key;
      break;
    case Order::By::kExpiry:
      at.number = view::Number::of(
          entry.never_expires() ? ~u64{0} : now + entry.expire_left_ms(tick_of(now)));
      break;
    case Order::By::kColumn:
      if (column_->kind != shm::ValueKind::kDictionary) {
        at.number = view::number_of(entry, *column_, tick_of(now));
      }
      break;
  }
  if (after_ && !before(spot(*after_), at)) {
    return;
  }
  ++behind_;
  if (bounded_ && !before(at, spot(kept_[most_ - 1].at))) {
    return;
  }
  if (used_ == kept_.size()) {
    kept_.emplace_back();
  }
  Kept& kept = kept_[used_++];
  kept.at.number = at.number;
  kept.at.text = at.text;
  kept.at.key = at.key;
  kept.at.slot = at.slot;
  kept.seen = tick_of(now);
  kept.words.assign(entry.words(), entry.words() + entry.geometry().slot_bytes / sizeof(u64));
  if (used_ == 2 * most_) {
    keep_the_first();
  }
}

void Ranking::keep_the_first() {
  const auto begin = kept_.begin();
  std::nth_element(begin, begin + static_cast<std::ptrdiff_t>(most_ - 1),
                   begin + static_cast<std::ptrdiff_t>(used_),
                   [this](const Kept& a, const Kept& b) { return before(spot(a.at), spot(b.at)); });
  used_ = most_;
  bounded_ = true;
}

void Ranking::finish() {
  if (used_ > most_) {
    keep_the_first();
  }
  std::sort(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(used_),
            [this](const Kept& a, const Kept& b) { return before(spot(a.at), spot(b.at)); });
}

shm::EntryView Ranking::entry(std::size_t i, const shm::TableDefinition& definition,
                              const shm::Geometry& geometry) const {
  return {&definition, &geometry, kept_[i].words.data(), kept_[i].at.slot};
}

}  // namespace lineq::pages
