#include "webui/live/changes.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "shm/support/assert.h"

namespace lineq::live {
namespace {

constexpr std::size_t kBatch = 1024;

u64 key_of(u16 table, u32 slot) {
  return u64{table} << 32 | slot;
}
bool ends_entry(shm::FeedKind kind) {
  return kind == shm::FeedKind::kErase || kind == shm::FeedKind::kExpire;
}

}  // namespace

Changes::Follower::~Follower() {
  if (of_ != nullptr) {
    of_->remove(*this);
  }
}

Changes::~Changes() {
  LINEQ_ASSERT(first_ == nullptr);
}

void Changes::add(Follower& follower, bool every) {
  remove(follower);
  if (first_ == nullptr) {
    begin();
  }
  follower.of_ = this;
  follower.every_ = every;
  follower.before_ = nullptr;
  follower.after_ = first_;
  if (first_ != nullptr) {
    first_->before_ = &follower;
  }
  first_ = &follower;
  ++size_;
  every_ += every ? 1U : 0U;
}

void Changes::remove(Follower& follower) {
  if (follower.of_ != this) {
    return;
  }
  if (next_ == &follower) {
    next_ = follower.after_;
  }
  (follower.before_ == nullptr ? first_ : follower.before_->after_) = follower.after_;
  if (follower.after_ != nullptr) {
    follower.after_->before_ = follower.before_;
  }
  follower.of_ = nullptr;
  follower.before_ = follower.after_ = nullptr;
  --size_;
  every_ -= follower.every_ ? 1U : 0U;
  if (every_ == 0) {
    forget_all();
  }
}

// The first one came: what was before is of no interest.
void Changes::begin() {
  records_.resize(kBatch);
  if (const shm::Reader* reader = segment_.reader(); reader != nullptr) {
    restart(*reader);
  }
}

void Changes::restart(const shm::Reader& reader) {
  generation_ = segment_.generation();
  epoch_ = reader.epoch();
  cursor_ = reader.feed_end();
  target_ = cursor_.position;
  ++life_;
  forget_all();
  see_directory(reader);
}

void Changes::see_directory(const shm::Reader& reader) {
  u64 signature = reinterpret_cast<u64>(reader.tables().data()) + generation_;
  for (const shm::TableInfo& table : reader.tables()) {
    for (const u64 part : {u64{table.no}, u64{table.id}, table.generation}) {
      signature = (signature ^ part) * 0x100000001b3;
    }
  }
  if (signature == signature_) {
    return;
  }
  signature_ = signature;
  ++directory_;
  visible_.fill(false);
  for (const shm::TableInfo& table : reader.tables()) {
    visible_.at(table.no & (kTables - 1)) = true;
  }
}

bool Changes::tick(u64 now_ms) {
  ++ticks_;
  if (first_ == nullptr || segment_.reader() == nullptr) {
    return true;
  }
  // Taken before the tables are looked at anew: every record up to here is of a table we then know.
  const u64 target = segment_.reader()->feed_end().position;
  segment_.tick(now_ms);
  const shm::Reader& reader = *segment_.reader();
  if (generation_ != segment_.generation() || epoch_ != reader.epoch()) {
    restart(reader);
  } else {
    see_directory(reader);
    target_ = target;
  }
  return look();
}

bool Changes::step() {
  if (first_ == nullptr || segment_.reader() == nullptr || cursor_.position >= target_ ||
      generation_ != segment_.generation()) {
    return true;  // what is new the next tick sees
  }
  return look();
}

bool Changes::look() {
  const bool done = follow(*segment_.reader());
  tell_followers();
  return done;
}

void Changes::tell_followers() {
  for (next_ = first_; next_ != nullptr;) {
    Follower& now = *next_;
    next_ = now.after_;
    now.looked();
  }
}

bool Changes::follow(shm::Reader& reader) {
  const u64 slice = at_;
  for (std::size_t n = 0; n < kStep; n += kBatch) {
    if (cursor_.position >= target_) {
      return true;
    }
    const std::size_t left = target_ - cursor_.position;
    const shm::Followed followed =
        reader.follow(cursor_, std::span(records_).first(std::min(left, records_.size())));
    if (followed.overrun) {
      restart(reader);
      return true;
    }
    for (u32 i = 0; i < followed.records; ++i) {
      note(reader, records_[i], slice);
    }
  }
  return cursor_.position >= target_;
}

// `slice`: now() when this slice began. Nobody has walked since.
void Changes::note(shm::Reader& reader, const shm::FeedRecord& record, u64 slice) {
  const u16 table = record.table & (kTables - 1);
  if (record.kind > shm::FeedKind::kExpire || !visible_[table]) {
    return;
  }
  if (every_ == 0) {
    last_[table] = ++at_;
    return;
  }
  const u64 key = key_of(table, record.slot);
  const auto known = newest_.find(key);
  if (ends_entry(record.kind)) {
    if (known != newest_.end()) {
      outdate(known->second);
      newest_.erase(known);
    }
    last_[table] = ++at_;
    // Taken again already: then the newcomer is told, by a record that follows.
    if (auto removed = removed_key(reader, record); removed != nullptr) {
      push({at_, record.slot, table, false, std::move(removed)});
    }
    return;
  }
  if (known != newest_.end() && known->second > slice) {
    return;  // will be told anyway, with what it is then
  }
  last_[table] = ++at_;
  if (known != newest_.end()) {
    outdate(known->second);
    known->second = at_;
  } else {
    newest_.emplace(key, at_);
  }
  push({at_, record.slot, table, false, nullptr});
}

// A slot that was freed keeps the key until it is taken again; only its length is gone. Null: it is
// taken already.
std::unique_ptr<std::string> Changes::removed_key(shm::Reader& reader,
                                                  const shm::FeedRecord& record) {
  const auto& tables = reader.tables();
  const auto info =
      std::lower_bound(tables.begin(), tables.end(), record.table,
                       [](const shm::TableInfo& table, u16 number) { return table.no < number; });
  if (info == tables.end() || info->no != record.table) {
    return nullptr;
  }
  shm::SlotCopy copy;
  shm::EntryView entry;
  if (reader.read_slot(*info, record.slot, copy, entry) != shm::Lookup::kAbsent ||
      entry.words() == nullptr || entry.live()) {
    return nullptr;
  }
  const char* at = reinterpret_cast<const char*>(entry.words()) + info->geometry.key_offset;
  std::size_t bytes = info->geometry.key_capacity;
  if (info->definition.key_type == shm::KeyType::kString) {
    bytes = ::strnlen(at, bytes);
  }
  return bytes == 0 ? nullptr : std::make_unique<std::string>(at, bytes);
}

void Changes::push(Change change) {
  key_bytes_ += change.removed == nullptr ? 0 : change.removed->size();
  list_.push_back(std::move(change));
  ++live_;
  while (live_ > kKept || key_bytes_ > kKeyBytes) {
    drop_oldest();
  }
  if (list_.size() >= 2 * kKept) {
    list_.erase(list_.begin(), list_.begin() + static_cast<std::ptrdiff_t>(front_));
    std::erase_if(list_, [](const Change& c) { return c.stale; });
    front_ = 0;
  }
}

void Changes::drop_oldest() {
  Change& oldest = list_[front_++];
  if (oldest.stale) {
    return;
  }
  --live_;
  forgotten_[oldest.table] = forgotten_any_ = oldest.at;
  if (oldest.removed == nullptr) {
    newest_.erase(key_of(oldest.table, oldest.slot));
  } else {
    key_bytes_ -= oldest.removed->size();
    oldest.removed.reset();
  }
}

void Changes::outdate(u64 at) {
  const auto old =
      std::lower_bound(list_.begin() + static_cast<std::ptrdiff_t>(front_), list_.end(), at,
                       [](const Change& c, u64 position) { return c.at < position; });
  LINEQ_ASSERT(old != list_.end() && old->at == at);
  old->stale = true;
  --live_;
}

void Changes::forget_all() {
  // Given back, not only emptied.
  std::vector<Change>().swap(list_);
  std::unordered_map<u64, u64>().swap(newest_);
  front_ = live_ = key_bytes_ = 0;
}

bool Changes::walk(u64& position, u32 looks, const std::function<bool(const Change&)>& tell) const {
  auto it = std::upper_bound(list_.begin() + static_cast<std::ptrdiff_t>(front_), list_.end(),
                             position, [](u64 p, const Change& c) { return p < c.at; });
  for (; it != list_.end(); ++it) {
    if (looks-- == 0 || (!it->stale && !tell(*it))) {
      return false;
    }
    position = it->at;
  }
  position = at_;
  return true;
}

}  // namespace lineq::live
