#include "daemon/engine/sums.h"

#include <algorithm>
#include <limits>

namespace lineq::engine {
namespace {

// How long a sum of nothing is kept, so that all HAProxys hear of it.
constexpr u32 kZeroLifeMs = 10'000;

bool matches(const AggregateRule& rule, std::string_view name) {
  return name == rule.from ||
         (!rule.from.starts_with('/') && name.starts_with('/') && name.substr(1) == rule.from);
}

u64 add_saturating(u64 a, u64 b, u64 most) {
  return a > most - std::min(b, most) ? most : a + b;
}

bool all_zero(const shm::EntryView& entry) {
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    for (u32 i = 0; entry.has(bit) && i < entry.definition().elements[bit]; ++i) {
      if (shm::data_type(bit).kind == shm::ValueKind::kRate) {
        if (const shm::Rate rate = entry.rate(bit, i); rate.curr != 0 || rate.prev != 0) {
          return false;
        }
      } else if (bit != shm::kServerKey && entry.value(bit, i) != 0) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

Outlet outlet_of(std::span<const AggregateRule> rules, std::string_view name) {
  if (is_outlet(rules, name)) {
    return {};
  }
  for (const AggregateRule& rule : rules) {
    if (rule.from == "any") {
      return {rule.to.empty() ? "" : std::string(name) + rule.to, rule.policy};
    }
    if (matches(rule, name)) {
      const bool slash = name.starts_with('/') && !rule.from.starts_with('/') && !rule.to.empty() &&
                         !rule.to.starts_with('/');
      return {(slash ? "/" : "") + rule.to, rule.policy};
    }
  }
  return {};
}

bool is_outlet(std::span<const AggregateRule> rules, std::string_view name) {
  return std::any_of(rules.begin(), rules.end(), [&](const AggregateRule& rule) {
    if (rule.to.empty()) {
      return false;
    }
    if (rule.from == "any") {
      return name.size() > rule.to.size() && name.ends_with(rule.to);
    }
    return name == rule.to || (!rule.from.starts_with('/') && !rule.to.starts_with('/') &&
                               name.starts_with('/') && name.substr(1) == rule.to);
  });
}

Sums::Sums(Store& store, std::vector<AggregateRule> rules, u32 interval_ms)
    : store_(store),
      rules_(std::move(rules)),
      interval_ms_(interval_ms),
      // One bucket more than the longest wait needs, as the present one is under way.
      bucket_ms_(interval_ms / (kBuckets - 2) + 1) {}

Sums::Summed& Sums::summed(u16 no) {
  if (tables_.size() <= no) {
    tables_.resize(no + std::size_t{1});
  }
  return tables_[no];
}

// With what is derived from the table's definition.
Sums::Summed& Sums::summed(const shm::Table& table) {
  Summed& s = summed(table.info().no);
  if (s.id == table.info().id) [[likely]] {
    return s;
  }
  const shm::TableDefinition& d = table.info().definition;
  s.id = table.info().id;
  s.policy = outlet_of(rules_, d.name).policy;
  s.columns.clear();
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (d.has(bit)) {
      s.columns.push_back({bit, d.elements[bit]});
    }
  }
  s.identity.emplace(d, table.info());
  s.marked.clear();
  return s;
}

std::vector<Part>& Sums::parts(u16 table) {
  return summed(table).parts;
}

void Sums::replaced(u16 old_no, u16 no) {
  std::vector<Part> parts = std::move(summed(old_no).parts);
  summed(old_no) = {};
  summed(no).parts = std::move(parts);
}

// --- when ---

void Sums::touch(shm::Table& table, u32 tag, std::span<const u8> key, SegmentMs now) {
  Summed& s = summed(table);
  if (const auto slot = table.find(tag, key)) {
    mark(s, table, *slot, now);
  } else {
    (void)make(s, table, tag, key, now);
  }
}

void Sums::mark(Summed& s, const shm::Table& table, u32 slot, SegmentMs now) {
  if (s.marked.size() <= slot / 64) {
    s.marked.resize(slot / 64 + 1024);
  }
  u64& word = s.marked[slot / 64];
  if ((word >> slot % 64 & 1) != 0) {
    return;
  }
  word |= u64{1} << slot % 64;
  const Due due{table.info().no, slot};
  const i32 ago = tick_diff(tick_of(now), table.at(slot).updated_tick());
  if (ago < 0 || static_cast<u32>(ago) >= interval_ms_) {
    ready_.push_back(due);
    return;
  }
  if (waiting_ == 0) {
    bucket_ = now / bucket_ms_;
  }
  ++waiting_;
  later_[(now + interval_ms_ - static_cast<u32>(ago)) / bucket_ms_ % kBuckets].push_back(due);
}

std::optional<u64> Sums::next_ms(SegmentMs now) const {
  if (waiting_ == 0) {
    return std::nullopt;
  }
  for (u64 b = bucket_; b < bucket_ + kBuckets; ++b) {
    if (!later_[b % kBuckets].empty()) {
      const u64 end = (b + 1) * bucket_ms_;
      return end > now ? end - now : 0;
    }
  }
  return 0;
}

bool Sums::turn(SegmentMs now, u32 budget) {
  // A bucket is due when all of it is. After a long sleep all are.
  for (u32 i = 0; waiting_ != 0 && i < kBuckets && (bucket_ + 1) * bucket_ms_ <= now; ++i) {
    std::vector<Due>& bucket = later_[bucket_++ % kBuckets];
    waiting_ -= bucket.size();
    ready_.insert(ready_.end(), bucket.begin(), bucket.end());
    bucket.clear();
  }
  for (; budget > 0 && ready_at_ < ready_.size(); --budget) {
    const Due due = ready_[ready_at_++];
    shm::Table* const table = store_.writer().table(due.table);
    if (table == nullptr || due.slot >= table->high_water()) {
      continue;  // replaced by a wider one, whose sums are all made anew
    }
    Summed& s = summed(*table);
    if (due.slot / 64 >= s.marked.size() || (s.marked[due.slot / 64] >> due.slot % 64 & 1) == 0) {
      continue;
    }
    s.marked[due.slot / 64] &= ~(u64{1} << due.slot % 64);
    const shm::EntryView entry = table->at(due.slot);
    if (entry.live()) {
      // By copy: the slot is written from it.
      const std::string key(entry.key_chars());
      const std::span<const u8> bytes{reinterpret_cast<const u8*>(key.data()), key.size()};
      (void)make(s, *table, table->tag_of(bytes), bytes, now);
    }
  }
  if (ready_at_ == ready_.size()) {
    ready_.clear();
    ready_at_ = 0;
  }
  return ready_.empty();
}

// --- what ---

void Sums::gather(const Summed& s, u32 tag, std::span<const u8> key, SegmentMs now) {
  entries_.clear();
  for (const Part& part : s.parts) {
    const shm::Table* const table = part.left_out ? nullptr : store_.writer().table(part.table_no);
    const auto slot = table == nullptr ? std::nullopt : table->find(tag, key);
    if (!slot) {
      continue;
    }
    const shm::EntryView view = table->at(*slot);
    if (!view.expired(tick_of(now)) && view.ext(0) >= part.since) {
      entries_.push_back({view, part.up});
    }
  }
}

// A value that is not added: one of the parts', or a mixture.
u64 Sums::chosen(Policy policy, u32 bit, u32 i) const {
  const shm::ValueKind kind = shm::data_type(bit).kind;
  if (kind == shm::ValueKind::kDictionary) {
    policy = Policy::kLatest;  // numbers of texts: the largest means nothing
  }
  u64 value = 0;
  std::optional<Tick> told;
  for (const Entry& entry : entries_) {
    const shm::EntryView& view = entry.view;
    if (!view.has(bit) || i >= view.definition().elements[bit]) {
      continue;
    }
    const u64 theirs = view.value(bit, i);
    switch (policy) {
      case Policy::kLatest:
        if (kind == shm::ValueKind::kDictionary && theirs == 0) {
          break;
        }
        if (!told || tick_diff(view.updated_tick(), *told) > 0) {
          told = view.updated_tick();
          value = theirs;
        }
        break;
      case Policy::kMax:
        // server_id is signed and sign-extended.
        if (!told || static_cast<i64>(theirs) > static_cast<i64>(value)) {
          told = view.updated_tick();
          value = theirs;
        }
        break;
      case Policy::kOr:
        value |= theirs;
        break;
    }
  }
  return value;
}

void Sums::add_up(const Summed& s, const shm::Table& table, SegmentMs now) {
  const shm::TableDefinition& d = table.info().definition;
  u64* cell = cells_.data();
  for (const Column& column : s.columns) {
    const shm::DataType& type = shm::data_type(column.bit);
    for (u32 i = 0; i < column.elements; ++i) {
      if (type.kind == shm::ValueKind::kRate) {
        rates_.clear();
        for (const Entry& entry : entries_) {
          const shm::TableDefinition& theirs = entry.view.definition();
          if (theirs.has(column.bit) && i < theirs.elements[column.bit]) {
            rates_.push_back({entry.view.rate(column.bit, i), theirs.period_ms[column.bit]});
          }
        }
        const shm::Rate sum = shm::add_rates(rates_, d.period_ms[column.bit], tick_of(now));
        *cell++ = tick_of(now) - sum.start;
        *cell++ = sum.curr;
        *cell++ = sum.prev;
        continue;
      }
      if (!type.additive) {
        *cell++ = chosen(s.policy, column.bit, i);
        continue;
      }
      const u64 most = type.kind == shm::ValueKind::kU64 ? std::numeric_limits<u64>::max()
                                                         : std::numeric_limits<u32>::max();
      u64 sum = 0;
      for (const Entry& entry : entries_) {
        if (entry.view.has(column.bit) && i < entry.view.definition().elements[column.bit] &&
            (!type.local || entry.up)) {
          sum = add_saturating(sum, entry.view.value(column.bit, i), most);
        }
      }
      *cell++ = sum;
    }
  }
}

// True when the entry has parts.
bool Sums::make(Summed& s, shm::Table& table, u32 tag, std::span<const u8> key, SegmentMs now) {
  gather(s, tag, key, now);
  if (entries_.empty()) {
    if (const auto slot = table.find(tag, key); slot && !all_zero(table.at(*slot))) {
      add_up(s, table, now);
      write(s, table, key, kZeroLifeMs, now);
    }
    return false;
  }
  add_up(s, table, now);
  std::optional<u32> life = 0;
  for (const Entry& entry : entries_) {
    if (entry.view.never_expires()) {
      life = std::nullopt;
      break;
    }
    life = std::max(*life, entry.view.expire_left_ms(tick_of(now)));
  }
  write(s, table, key, life, now);
  return true;
}

void Sums::write(const Summed& s, shm::Table& table, std::span<const u8> key,
                 std::optional<u32> life_ms, SegmentMs now) {
  const shm::Change change{.key = key,
                           .cells = cells_.data(),
                           .merge = shm::Merge::kOverwrite,
                           .timed = life_ms.has_value(),
                           .expire_ms = life_ms.value_or(0)};
  shm::Applied applied;
  store_.apply(table, *s.identity, {&change, 1}, kNoPeer, now, {&applied, 1});
}

void Sums::expired(shm::Table& table, u32 slot, SegmentMs now) {
  Summed& s = summed(table);
  const shm::EntryView entry = table.at(slot);
  const bool told = all_zero(entry);
  const std::string key(entry.key_chars());
  const std::span<const u8> bytes{reinterpret_cast<const u8*>(key.data()), key.size()};
  if (!make(s, table, table.tag_of(bytes), bytes, now) && told) {
    if (slot / 64 < s.marked.size()) {
      s.marked[slot / 64] &= ~(u64{1} << slot % 64);
    }
    table.erase(slot, shm::FeedKind::kExpire, kNoPeer, now);
  }
}

}  // namespace lineq::engine
