#include "webui/live/positions.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "shm/support/assert.h"
#include "webui/http/sse.h"

namespace lineq::live {
namespace {

constexpr std::size_t kRecords = 4096;
// Records followed in one tick; the rest in the next.
constexpr std::size_t kMaxBatches = 32;
// Seats without a place that are looked up in one tick.
constexpr std::size_t kLooks = 512;
// Steps told to the original's page at one time.
constexpr u64 kMaxSteps = 1000;
constexpr u32 kMaxPresenceSeconds = 30;
constexpr u64 kUntold = ~u64{0};

u32 fnv(std::string_view text) {
  u32 h = 2166136261U;
  for (const char c : text) {
    h = (h ^ static_cast<u8>(c)) * 16777619U;
  }
  return h;
}

u32 left(Tick deadline, Tick now) {
  const i32 d = tick_diff(deadline, now);
  return d > 0 ? static_cast<u32>(d) : 0;
}

}  // namespace

View view_of(const shm::Reader& reader, const Sight& sight, u64 position, const shm::RoomInfo* room,
             const shm::RoomNumbers* numbers) {
  View view;
  view.standing = sight.standing;
  view.room = room;
  view.numbers = numbers;
  view.position = position;
  const Tick now = reader.room_time();
  if (sight.standing != Standing::kUnknown) {
    view.waited_ms = left(now, sight.visitor.since);
    view.left_ms = left(sight.visitor.deadline, now);
  }
  view.daemon_away = reader.liveness() != shm::Liveness::kAlive;
  return view;
}

// One open stream.
class Positions::Seat final : public http::Events {
 public:
  Seat(Positions& owner, std::string_view key, u8 language, Dialect dialect)
      : owner_(owner),
        key_(std::make_unique<char[]>(key.size())),
        key_bytes_(static_cast<u16>(key.size())),
        language_(language),
        dialect_(dialect) {
    std::memcpy(key_.get(), key.data(), key.size());
  }
  ~Seat() override { owner_.leave(*this); }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  Seat(Seat&&) = delete;
  Seat& operator=(Seat&&) = delete;

  void open(Listener& to) override {
    to_ = &to;
    owner_.enter(*this);
  }
  std::string_view key() const { return {key_.get(), key_bytes_}; }

  Positions& owner_;
  Listener* to_ = nullptr;
  Seat* before_ = nullptr;
  Seat* after_ = nullptr;
  Seat* chain_ = nullptr;  // next in the bucket
  std::unique_ptr<char[]> key_;
  u64 ticket_ = 0;
  u64 rank_ = 0;        // of this round
  u64 told_ = kUntold;  // position the page shows
  u32 slot_ = 0;
  Tick since_ = 0;
  Tick deadline_ = 0;
  u32 told_hash_ = 0;
  u32 said_s_ = 0;     // last words, a comment included
  u32 told_ms_ = 0;    // last event
  u32 present_s_ = 0;  // last report
  u32 unknown_s_ = 0;  // since when
  u16 key_bytes_;
  u16 stored_bytes_ = 0;  // of it, as the table has it
  u16 table_ = Sight::kNoTable;
  u16 room_ = 0;
  u8 language_;
  Dialect dialect_;
  Standing standing_ = Standing::kUnknown;
  Where where_ = Where::kNowhere;
  bool reported_ = false;
};

Positions::Positions(Segment& segment, Presence& presence, Teller teller)
    : segment_(segment),
      presence_(presence),
      teller_(std::move(teller)),
      buckets_(64),
      records_(kRecords) {}

Positions::~Positions() {
  LINEQ_ASSERT(size_ == 0);
}

std::unique_ptr<http::Events> Positions::seat(std::string_view key, u8 language, Dialect dialect) {
  constexpr std::size_t kLongest = 512;
  return std::make_unique<Seat>(*this, key.substr(0, kLongest), language, dialect);
}

void Positions::put(Seat& seat, Where where) {
  if (seat.where_ == where) {
    return;
  }
  take_out(seat);
  seat.where_ = where;
  if (where == Where::kNowhere) {
    return;
  }
  List& list = lists_[static_cast<std::size_t>(where)];
  seat.before_ = nullptr;
  seat.after_ = list.first;
  if (list.first != nullptr) {
    list.first->before_ = &seat;
  }
  list.first = &seat;  // in front of a round under way
}

void Positions::take_out(Seat& seat) {
  if (seat.where_ == Where::kNowhere) {
    return;
  }
  if (next_ == &seat) {
    next_ = seat.after_;
  }
  List& list = lists_[static_cast<std::size_t>(seat.where_)];
  (seat.before_ == nullptr ? list.first : seat.before_->after_) = seat.after_;
  if (seat.after_ != nullptr) {
    seat.after_->before_ = seat.before_;
  }
  seat.before_ = seat.after_ = nullptr;
  seat.where_ = Where::kNowhere;
}

void Positions::enter(Seat& seat) {
  ++size_;
  seat.said_s_ = now_s_;
  seat.unknown_s_ = now_s_;
  grow_buckets();
  put(seat, Where::kElsewhere);
  look_at(seat);
}

void Positions::leave(Seat& seat) {
  if (seat.to_ == nullptr) {
    return;  // never entered
  }
  --size_;
  unhash(seat);
  take_out(seat);
}

Positions::Seat** Positions::bucket(u16 table, u32 slot) {
  const u32 h = (slot * 2654435761U) ^ (u32{table} * 40503U);
  return &buckets_[(h ^ h >> 15) & (buckets_.size() - 1)];
}

void Positions::unhash(Seat& seat) {
  if (seat.table_ == Sight::kNoTable) {
    return;
  }
  Seat** at = bucket(seat.table_, seat.slot_);
  while (*at != &seat) {
    at = &(*at)->chain_;
  }
  *at = seat.chain_;
  seat.table_ = Sight::kNoTable;
}

void Positions::grow_buckets() {
  if (size_ <= buckets_.size() * 2) {
    return;
  }
  std::vector<Seat*> old(buckets_.size() * 2);
  old.swap(buckets_);
  for (Seat* seat : old) {
    while (seat != nullptr) {
      Seat* const next = seat->chain_;
      Seat** to = bucket(seat->table_, seat->slot_);
      seat->chain_ = *to;
      *to = seat;
      seat = next;
    }
  }
}

void Positions::remember(Seat& seat, const Sight& sight) {
  if (seat.standing_ != Standing::kUnknown && sight.standing == Standing::kUnknown) {
    seat.unknown_s_ = now_s_;
  }
  if (seat.ticket_ != sight.visitor.ticket.value) {
    seat.rank_ = shm::Reader::kNoRank;  // of another ticket
  }
  seat.standing_ = sight.standing;
  seat.ticket_ = sight.visitor.ticket.value;
  seat.room_ = sight.visitor.room.value;
  seat.since_ = sight.visitor.since;
  seat.deadline_ = sight.visitor.deadline;
  seat.stored_bytes_ = sight.key_bytes;
  if (seat.table_ != sight.table || seat.slot_ != sight.slot) {
    unhash(seat);
    if (sight.table != Sight::kNoTable) {
      seat.table_ = sight.table;
      seat.slot_ = sight.slot;
      Seat** at = bucket(seat.table_, seat.slot_);
      seat.chain_ = *at;
      *at = &seat;
    }
  }
  put(seat, sight.standing == Standing::kWaiting ? Where::kLine : Where::kElsewhere);
}

const shm::RoomNumbers* Positions::numbers_of(const shm::RoomInfo* room) {
  if (room == nullptr) {
    return nullptr;
  }
  if (numbers_room_ != room) {
    numbers_ = segment_.reader()->numbers(*room);
    numbers_room_ = room;
  }
  return &numbers_;
}

// How it stands with this one now; tells what is new and urgent.
void Positions::look_at(Seat& seat) {
  shm::Reader* reader = segment_.reader();
  if (reader == nullptr || seat.where_ == Where::kDone) {
    return;
  }
  const Standing before = seat.standing_;
  remember(seat, look(*reader, seat.key()));
  if (may_enter(seat.standing_)) {
    return tell_ready(seat);
  }
  if (seat.standing_ == before && seat.told_ != kUntold) {
    return;
  }
  u64 position = 0;
  if (seat.standing_ == Standing::kWaiting) {
    const shm::RoomInfo* room = room_of(*reader, RoomNo{seat.room_});
    const auto rank = room == nullptr ? std::nullopt : reader->rank_of(*room, Ticket{seat.ticket_});
    if (!rank) {
      return;  // it is leaving the line this moment
    }
    position = *rank + 1;
  } else if (seat.standing_ == Standing::kFront) {
    position = 1;
  }
  tell(seat, position);
}

// One event a round, and a round every second; its turn in a round comes sooner or later.
bool Positions::rested(const Seat& seat) const {
  constexpr u32 kRestMs = 500;
  return now_ms_ - seat.told_ms_ >= kRestMs;
}

void Positions::tell(Seat& seat, u64 position) {
  if (seat.dialect_ == Dialect::kOriginal) {
    return tell_original(seat, position);
  }
  if (seat.to_->busy()) {
    return;
  }
  const shm::Reader& reader = *segment_.reader();
  Sight sight;
  sight.standing = seat.standing_;
  sight.visitor.since = seat.since_;
  sight.visitor.deadline = seat.deadline_;
  const shm::RoomInfo* room = nullptr;
  if (seat.standing_ != Standing::kUnknown) {
    room = room_of(reader, RoomNo{seat.room_});
  } else {
    room = reader.find_room(shm::split_users_key(seat.key()).room);
  }
  data_.clear();
  teller_(view_of(reader, sight, position, room, numbers_of(room)), seat.language_, data_);
  const u32 hash = fnv(data_);
  if (seat.told_ != kUntold && hash == seat.told_hash_) {
    return;
  }
  seat.told_hash_ = hash;
  seat.told_ = position;
  seat.told_ms_ = now_ms_;
  seat.said_s_ = now_s_;
  ++events_;
  seat.to_->say(http::sse_event("position", fmt::format_int(position).str(), data_));
}

void Positions::tell_original(Seat& seat, u64 position) {
  if (seat.to_->busy() || (position == 0 && seat.standing_ != Standing::kReady)) {
    return;
  }
  event_.clear();
  if (seat.told_ == kUntold || position > seat.told_) {
    event_ = fmt::format("data: {}\n\n", position);
    seat.told_ = position;
  } else {
    const u64 steps = std::min(seat.told_ - position, kMaxSteps);
    for (u64 i = 0; i < steps; ++i) {
      event_ += "data: DEC\n\n";
    }
    seat.told_ -= steps;
  }
  if (event_.empty()) {
    return;
  }
  seat.told_ms_ = now_ms_;
  seat.said_s_ = now_s_;
  ++events_;
  seat.to_->say(event_);
}

void Positions::tell_ready(Seat& seat) {
  put(seat, Where::kDone);
  seat.said_s_ = now_s_;
  ++events_;
  if (seat.dialect_ == Dialect::kOriginal) {
    std::string steps = seat.told_ == kUntold ? "data: 1\n\n" : "";
    const u64 left_over = seat.told_ == kUntold ? 1 : std::min(seat.told_, kMaxSteps);
    for (u64 i = 0; i < left_over; ++i) {
      steps += "data: DEC\n\n";
    }
    return seat.to_->say(steps);
  }
  seat.to_->say("event: ready\nid: 0\ndata: {\"state\":\"ready\"}\n\n");
}

void Positions::tick(u64 now_ms) {
  now_ms_ = static_cast<u32>(now_ms);
  now_s_ = static_cast<u32>(now_ms / 1000);
  numbers_room_ = nullptr;
  shm::Reader* reader = segment_.reader();
  if (reader == nullptr) {
    return;
  }
  if (generation_ != segment_.generation() || epoch_ != reader->epoch()) {
    generation_ = segment_.generation();
    epoch_ = reader->epoch();
    cursor_ = reader->feed_end();
    look_all_ = true;
  }
  follow_feed();
  // Few, unless a crowd has just come: their turn comes round.
  std::size_t looks = 0;
  Seat* seat = lists_[static_cast<std::size_t>(Where::kElsewhere)].first;
  while (seat != nullptr && looks++ < kLooks) {
    Seat* const after = seat->after_;
    look_at(*seat);
    seat = after;
  }
}

void Positions::follow_feed() {
  shm::Reader& reader = *segment_.reader();
  std::array<bool, 4096> users{};
  for (const shm::TableInfo& table : reader.tables()) {
    users.at(table.no & 0xfff) = table.role == shm::TableRole::kUsers;
  }
  for (std::size_t batch = 0; batch < kMaxBatches; ++batch) {
    const shm::Followed followed = reader.follow(cursor_, records_);
    if (followed.overrun) {
      look_all_ = true;
    }
    for (u32 i = 0; i < followed.records; ++i) {
      const shm::FeedRecord& record = records_[i];
      if (!users.at(record.table)) {
        continue;
      }
      for (Seat* seat = *bucket(record.table, record.slot); seat != nullptr;) {
        Seat* const next = seat->chain_;
        const bool this_one = seat->table_ == record.table && seat->slot_ == record.slot;
        if (this_one) {
          look_at(*seat);
        }
        // Looking may have moved it to another bucket, with a chain of its own.
        seat = next;
      }
    }
    if (followed.records < records_.size()) {
      return;
    }
  }
}

void Positions::begin_round(u64 now_ms) {
  now_ms_ = static_cast<u32>(now_ms);
  now_s_ = static_cast<u32>(now_ms / 1000);
  if (walking_ != Where::kNowhere || segment_.reader() == nullptr) {
    return;
  }
  if (!look_all_) {
    take_ranks();
  }
  walking_ = Where::kLine;
  next_ = lists_[static_cast<std::size_t>(Where::kLine)].first;
}

void Positions::take_ranks() {
  shm::Reader& reader = *segment_.reader();
  order_.clear();
  for (Seat* s = lists_[static_cast<std::size_t>(Where::kLine)].first; s != nullptr;
       s = s->after_) {
    order_.push_back(s);
  }
  std::sort(order_.begin(), order_.end(), [](const Seat* a, const Seat* b) {
    return a->room_ != b->room_ ? a->room_ < b->room_ : a->ticket_ < b->ticket_;
  });
  for (std::size_t begin = 0; begin < order_.size();) {
    const u16 no = order_[begin]->room_;
    std::size_t end = begin;
    tickets_.clear();
    for (; end < order_.size() && order_[end]->room_ == no; ++end) {
      tickets_.emplace_back(order_[end]->ticket_);
    }
    ranks_.assign(tickets_.size(), shm::Reader::kNoRank);
    if (const shm::RoomInfo* room = room_of(reader, RoomNo{no}); room != nullptr) {
      reader.ranks_of(*room, tickets_, ranks_);
    }
    for (std::size_t i = begin; i < end; ++i) {
      order_[i]->rank_ = ranks_[i - begin];
    }
    begin = end;
  }
  order_.clear();  // nobody in it may be used later
}

bool Positions::step() {
  numbers_room_ = nullptr;
  std::size_t left_over = kSlice;
  while (walking_ != Where::kNowhere) {
    while (next_ != nullptr) {
      if (left_over-- == 0) {
        return false;
      }
      Seat& seat = *next_;
      next_ = seat.after_;
      take_turn(seat);
    }
    if (walking_ == Where::kDone) {
      walking_ = Where::kNowhere;
      look_all_ = false;
      presence_.flush();
      break;
    }
    walking_ = static_cast<Where>(static_cast<u8>(walking_) + 1);
    next_ = lists_[static_cast<std::size_t>(walking_)].first;
  }
  return true;
}

void Positions::take_turn(Seat& seat) {
  if (segment_.reader() == nullptr) {
    return;
  }
  if (seat.where_ == Where::kLine) {
    if (look_all_ || seat.rank_ == shm::Reader::kNoRank) {
      look_at(seat);
      const shm::RoomInfo* room = room_of(*segment_.reader(), RoomNo{seat.room_});
      const auto rank = seat.where_ != Where::kLine || room == nullptr
                            ? std::nullopt
                            : segment_.reader()->rank_of(*room, Ticket{seat.ticket_});
      seat.rank_ = rank.value_or(shm::Reader::kNoRank);
    }
    if (seat.where_ == Where::kLine && seat.rank_ != shm::Reader::kNoRank && rested(seat)) {
      tell(seat, seat.rank_ + 1);
    }
  } else if (seat.where_ == Where::kElsewhere) {
    look_at(seat);
    const bool lost = seat.standing_ == Standing::kUnknown && seat.dialect_ == Dialect::kOurs &&
                      now_s_ - seat.unknown_s_ >= kAgainSeconds &&
                      segment_.reader()->liveness() == shm::Liveness::kAlive;
    if (lost && seat.where_ == Where::kElsewhere) {
      put(seat, Where::kDone);
      seat.said_s_ = now_s_;
      seat.to_->say("event: again\ndata: {}\n\n");
    } else if (seat.where_ == Where::kElsewhere && rested(seat)) {
      tell(seat, seat.standing_ == Standing::kFront ? 1 : 0);
    }
  }
  note_presence(seat);
  if (now_s_ - seat.said_s_ >= kKeepaliveSeconds) {
    if (!seat.to_->busy()) {
      seat.to_->say(": keepalive\n\n");
    }
    seat.said_s_ = now_s_;
  }
}

void Positions::note_presence(Seat& seat) {
  if (!is_waiting(seat.standing_)) {
    return;
  }
  const shm::RoomInfo* room = room_of(*segment_.reader(), RoomNo{seat.room_});
  if (room == nullptr) {
    return;
  }
  const u32 pause = std::clamp<u32>(room->settings.hold_ms / 5000, 1, kMaxPresenceSeconds);
  if ((!seat.reported_ || now_s_ - seat.present_s_ >= pause) &&
      presence_.add(seat.key().substr(0, seat.stored_bytes_))) {
    seat.reported_ = true;
    seat.present_s_ = now_s_;
  }
}

}  // namespace lineq::live
