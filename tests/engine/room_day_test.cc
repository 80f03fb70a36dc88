// A day of a ticket shop with 100,000 visitors on a virtual clock: the night is quiet, at ten the
// sale begins, in the evening it is empty again. What visitors are shown has to be true: positions
// are the true ranks and never grow, and the range that was told when they came holds for most.
#include <cmath>
#include <deque>
#include <map>
#include <queue>
#include <random>

#include <fmt/format.h>

#include "tests/engine/room_world.h"
#include "tools/view/wait_estimate.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::VisitorState;

constexpr SegmentMs kHourMs = 3'600'000;

// Visitors a minute at this time of the day.
double arrivals(SegmentMs ms) {
  const double hour = static_cast<double>(ms) / kHourMs;
  const double base = 20 + 40 * std::exp(-std::pow((hour - 13) / 4, 2));
  const double sale = hour > 10 ? 400 * std::exp(-(hour - 10) / 2.2) : 0;
  return base + sale;
}

class Day {
 public:
  explicit Day(shm::QueueingMethod method) : random_(11) {
    cli::RoomSettings room = a_room("shop", 300);
    room.session_ms = 60'000;
    room.hold_ms = 24 * 3'600'000;  // nobody leaves: what they were told is compared
    room.refresh_ms = 20'000;
    room.method = method;
    world_.put(room);
    gate_ = &world_.gate();
    gate_->operator_rules = false;
    start_ = world_.now();
  }

  void run(std::size_t visitors) {
    while (came_ < visitors || !waiting_.empty() || !inside_.empty()) {
      const SegmentMs day = world_.now() - start_;
      const double due = came_ < visitors ? arrivals(day % (24 * kHourMs)) / 60 : 0;
      for (u64 n = std::poisson_distribution<u64>(due)(random_); n > 0 && came_ < visitors; --n) {
        arrive();
      }
      act();
      world_.settle();
      called();
      if (++seconds_ % 30 == 0) {
        positions();
        if (::testing::Test::HasFatalFailure()) {
          return;
        }
      }
      gate_->hap().rows.clear();
      world_.World::pass(500);
      called();
      gate_->hap().rows.clear();
      world_.World::pass(500);
    }
    world_.check();
  }

  double coverage() const { return static_cast<double>(held_) / static_cast<double>(told_); }
  u64 told() const { return told_; }
  double counted() {
    return static_cast<double>(world_.count(RoomCounter::estimates_held)) /
           static_cast<double>(world_.count(RoomCounter::estimates));
  }
  u64 most() const { return most_; }
  RoomWorld& world() { return world_; }

 private:
  struct Guest {
    SegmentMs came = 0;
    u64 position = 0;
    std::optional<view::WaitRange> range;
  };

  void arrive() {
    const std::string key = fmt::format("v{}@shop", came_++);
    gate_->tell(key, 0, 0);
    if (world_.state(key) != VisitorState::kWaiting) {
      return;
    }
    // As a page would do it, from the numbers in the segment.
    Guest guest{.came = world_.now(), .position = world_.position(key), .range = {}};
    const shm::RoomNumbers n = world_.writer().room_numbers(world_.writer().rooms().front());
    guest.range =
        view::wait_estimate(*world_.control().find("shop"), n, guest.position, world_.now());
    waiting_.emplace(world_.visitor(key)->ticket.value, std::pair(key, guest));
  }

  // Those who are inside come again and leave.
  void act() {
    while (!inside_.empty() && inside_.top().first <= world_.now()) {
      const std::string key = inside_.top().second;
      inside_.pop();
      SegmentMs& until = stays_[key];
      if (until <= world_.now()) {
        stays_.erase(key);
        continue;
      }
      gate_->tell(key, 0, 1);
      inside_.emplace(std::min(until, world_.now() + 20'000 + random_() % 20'000), key);
    }
  }

  void called() {
    for (const Hap::Row& row : gate_->hap().rows) {
      if (row.table != "user" || row.cells.at(1) != 1 || stays_.contains(row.key)) {
        continue;
      }
      // Comes at once; stays two minutes on average.
      stays_[row.key] =
          world_.now() + 2000 +
          static_cast<u64>(std::exponential_distribution<double>(1 / 120'000.0)(random_));
      inside_.emplace(world_.now(), row.key);
      leave_line(row.key);
    }
    most_ = std::max<u64>(most_, waiting_.size());
  }

  void leave_line(const std::string& key) {
    const auto v = world_.visitor(key);
    const auto at = waiting_.find(v->ticket.value);
    if (at == waiting_.end()) {
      return;
    }
    const Guest& guest = at->second.second;
    if (guest.range) {
      ++told_;
      const double waited = static_cast<double>(world_.now() - guest.came) / 1000;
      held_ += waited >= guest.range->low_s - 1 && waited <= guest.range->high_s + 1 ? 1U : 0U;
    }
    waiting_.erase(at);
  }

  void positions() {
    u64 rank = 0;
    for (auto& [ticket, one] : waiting_) {
      auto& [key, guest] = one;
      const u64 position =
          *world_.writer().line(world_.writer().rooms().front()).rank_of(Ticket{ticket}) + 1;
      ASSERT_EQ(position, ++rank) << key;
      ASSERT_LE(position, guest.position) << key;
      guest.position = position;
    }
  }

  RoomWorld world_;
  Gate* gate_ = nullptr;
  std::mt19937_64 random_;
  SegmentMs start_ = 0;
  std::size_t came_ = 0;
  u64 seconds_ = 0;
  std::map<u64, std::pair<std::string, Guest>> waiting_;  // by ticket
  std::map<std::string, SegmentMs> stays_;                // inside: until when
  std::priority_queue<std::pair<SegmentMs, std::string>,
                      std::vector<std::pair<SegmentMs, std::string>>, std::greater<>>
      inside_;
  u64 told_ = 0;
  u64 held_ = 0;
  u64 most_ = 0;
};

void report(const char* name, Day& day) {
  fmt::print(
      "{}: {} of those who waited were told a range, {:.1f} % waited so long; lineqd counts "
      "{:.1f} %; at most {} waited\n",
      name, day.told(), 100 * day.coverage(), 100 * day.counted(), day.most());
}

TEST(SlowRoomDayTest, WhatVisitorsAreShownIsTrue) {
  Day day(shm::QueueingMethod::kFifo);
  day.run(100'000);
  report("fifo", day);
  EXPECT_GT(day.told(), 20'000U);
  EXPECT_GE(day.coverage(), 0.75);
  EXPECT_LE(day.coverage(), 0.90);
  EXPECT_NEAR(day.counted(), day.coverage(), 0.03);
  EXPECT_EQ(day.world().count(RoomCounter::fifo_inversions), 0U);
  EXPECT_EQ(day.world().count(RoomCounter::over_limit), 0U);
  EXPECT_EQ(day.world().count(RoomCounter::issued), 100'000U);
  EXPECT_EQ(day.world().count(RoomCounter::admitted), 100'000U);
}

}  // namespace
}  // namespace lineq::test
