// The places of all open waiting pages, told as they change. No socket.
//
//   auto events = positions.seat(key, language, Seat::Dialect::kOurs);  // a stream begins
//   every 50 ms:  positions.tick(now)          who was called is told at once
//   every second: positions.begin_round(now)   one pass over each line that somebody watches
//   until true:   positions.step()             tells kSlice of them what changed for them
//
// A stream hears `event: position` at most once a second and only when it has changed, `event:
// ready` once, `event: again` when its place is gone for good (the page asks anew), and a comment
// every kKeepaliveSeconds. Slow readers miss positions, never the last one. A few hundred bytes a
// stream; work is done in slices so that requests are answered in between. One thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "webui/http/response.h"
#include "webui/live/broadcast.h"
#include "webui/live/presence.h"
#include "webui/live/segment.h"
#include "webui/live/sight.h"

namespace lineq::live {

// What there is to say to one visitor.
struct View {
  Standing standing = Standing::kUnknown;
  const shm::RoomInfo* room = nullptr;  // null: not known
  const shm::RoomNumbers* numbers = nullptr;
  u64 position = 0;   // 1 = next; 0 = not known, or not waiting
  u32 waited_ms = 0;  // room time since it came
  u32 left_ms = 0;    // room time until the deadline of its state
  bool daemon_away = false;
};
View view_of(const shm::Reader& reader, const Sight& sight, u64 position, const shm::RoomInfo* room,
             const shm::RoomNumbers* numbers);

class Positions {
 public:
  static constexpr std::size_t kSlice = 256;
  static constexpr u32 kKeepaliveSeconds = 15;
  // Unknown for so long while lineqd runs: the page has to ask again.
  static constexpr u32 kAgainSeconds = 5;

  enum class Dialect : u8 {
    kOurs,
    kOriginal,  // `data: <position>`, then `data: DEC` for each step
  };
  // The text of one event, in a language of the teller's: appended to `out`.
  using Teller = std::function<void(const View& view, u8 language, std::string& out)>;

  // All outlive the positions, which outlive every seat.
  Positions(Segment& segment, Presence& presence, Teller teller);
  ~Positions();
  Positions(const Positions&) = delete;
  Positions& operator=(const Positions&) = delete;
  Positions(Positions&&) = delete;
  Positions& operator=(Positions&&) = delete;

  std::unique_ptr<http::Events> seat(std::string_view key, u8 language, Dialect dialect);
  std::size_t size() const { return size_; }

  void tick(u64 now_ms);
  // No-op while the last round is under way. `more` through step().
  void begin_round(u64 now_ms);
  bool step();

  u64 events() const { return events_; }  // told so far, keepalives not counted

 private:
  class Seat;
  enum class Where : u8 { kNowhere, kLine, kElsewhere, kDone };
  struct List {
    Seat* first = nullptr;
  };

  void put(Seat& seat, Where where);
  void take_out(Seat& seat);
  void enter(Seat& seat);  // it may hear now
  void leave(Seat& seat);
  void remember(Seat& seat, const Sight& sight);
  void look_at(Seat& seat);
  bool rested(const Seat& seat) const;
  void tell(Seat& seat, u64 position);
  void tell_original(Seat& seat, u64 position);
  void tell_ready(Seat& seat);
  void take_turn(Seat& seat);  // in a round
  void note_presence(Seat& seat);
  void follow_feed();
  void take_ranks();
  const shm::RoomNumbers* numbers_of(const shm::RoomInfo* room);
  Seat** bucket(u16 table, u32 slot);
  void grow_buckets();
  void unhash(Seat& seat);

  Segment& segment_;
  Presence& presence_;
  Teller teller_;
  std::size_t size_ = 0;
  List lists_[4];
  Seat* next_ = nullptr;  // whose turn it is in the round
  Where walking_ = Where::kNowhere;
  std::vector<Seat*> buckets_;  // by table and slot
  u64 generation_ = 0;
  u64 epoch_ = 0;
  shm::FeedCursor cursor_;
  bool look_all_ = false;
  u32 now_ms_ = 0;
  u32 now_s_ = 0;
  u64 events_ = 0;
  // Scratch of a round.
  std::vector<Seat*> order_;
  std::vector<Ticket> tickets_;
  std::vector<u64> ranks_;
  std::vector<shm::FeedRecord> records_;
  std::string data_;
  std::string event_;
  shm::RoomNumbers numbers_;
  const shm::RoomInfo* numbers_room_ = nullptr;
};

}  // namespace lineq::live
