#include "daemon/engine/expiry.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace lineq::engine {
namespace {

// 32 random bits at a time.
class Random {
 public:
  explicit Random(u32 seed) : engine_(seed) {}
  u32 operator()() { return static_cast<u32>(engine_()); }

 private:
  std::mt19937 engine_;
};

// Deadlines as slots would hold them.
struct Slots {
  std::map<std::pair<u16, u32>, Tick> deadline;
  std::vector<std::pair<u16, u32>> over;
  Tick now = 0;

  std::optional<Tick> look(u16 table, u32 slot) {
    const auto at = deadline.find({table, slot});
    if (at == deadline.end()) {
      return std::nullopt;
    }
    if (!tick_passed(at->second, now)) {
      return at->second;
    }
    over.emplace_back(table, slot);
    deadline.erase(at);
    return std::nullopt;
  }
  bool advance(ExpiryWheel& wheel, Tick to, u32 budget = 1'000'000'000) {
    now = to;
    return wheel.advance(to, budget, [&](u16 table, u32 slot) { return look(table, slot); });
  }
};

TEST(ExpiryTest, AnEntryIsOverSoonAfterItsDeadlineAndNeverBefore) {
  for (const Tick life : {1U, 63U, 64U, 65U, 1000U, 65'471U, 65'472U, 65'473U, 70'000U, 4'190'208U,
                          4'200'000U, 90'000'000U, 300'000'000U, 2'000'000'000U}) {
    const Tick start = 4'294'000'000U;  // wraps on the way
    ExpiryWheel wheel(start);
    Slots slots;
    slots.deadline[{7, 3}] = start + life;
    wheel.arm(7, 3, start + life);
    ASSERT_TRUE(slots.advance(wheel, start + life - 1));
    EXPECT_TRUE(slots.over.empty()) << life;
    ASSERT_TRUE(slots.advance(wheel, start + life + 128));
    EXPECT_EQ(slots.over.size(), 1U) << life;
  }
}

TEST(ExpiryTest, AnUpdateThatOnlyMovesTheDeadlineNeedsNoRecord) {
  ExpiryWheel wheel(0);
  Slots slots;
  slots.deadline[{0, 0}] = 10'000;
  wheel.arm(0, 0, 10'000);
  for (Tick now = 0; now < 200'000; now += 1000) {
    slots.deadline[{0, 0}] = now + 10'000;
    wheel.arm(0, 0, now + 10'000);
    ASSERT_TRUE(slots.advance(wheel, now));
    ASSERT_LE(wheel.records(), 1U);
  }
  ASSERT_TRUE(slots.advance(wheel, 300'000));
  EXPECT_EQ(slots.over.size(), 1U);
  EXPECT_EQ(wheel.records(), 0U);
}

TEST(ExpiryTest, WorkIsSplitByTheBudget) {
  ExpiryWheel wheel(0);
  Slots slots;
  for (u32 slot = 0; slot < 10'000; ++slot) {
    slots.deadline[{1, slot}] = 500;
    wheel.arm(1, slot, 500);
  }
  u32 turns = 1;
  while (!slots.advance(wheel, 1000, 100)) {
    EXPECT_LE(slots.over.size(), 100U * turns);
    ++turns;
  }
  EXPECT_EQ(slots.over.size(), 10'000U);
  EXPECT_GE(turns, 100U);
}

TEST(ExpiryTest, TheNearestEntryIsTakenFirst) {
  ExpiryWheel wheel(0);
  Slots slots;
  Random random(5);
  for (u32 slot = 0; slot < 1000; ++slot) {
    const Tick deadline = 100 + random() % 60'000;
    slots.deadline[{1, slot}] = deadline;
    wheel.arm(1, slot, deadline);
  }
  Tick last = 0;
  for (u32 i = 0; i < 1000; ++i) {
    const auto slot = wheel.take_nearest(1, 10, [&](u32 s) {
      return std::optional<Tick>(slots.deadline.at({1, s}));
    });
    ASSERT_TRUE(slot);
    const Tick deadline = slots.deadline.at({1, *slot});
    EXPECT_GE(deadline + 64, last);
    last = deadline;
    slots.deadline.erase({1, *slot});
  }
  EXPECT_FALSE(wheel.take_nearest(1, 10, [](u32) { return std::optional<Tick>(0); }));
}

TEST(ExpiryTest, TheNearestIsFoundAfterItsNeighboursMovedOn) {
  ExpiryWheel wheel(0);
  std::map<u32, Tick> deadline;
  for (u32 slot = 0; slot < 50; ++slot) {
    deadline[slot] = 1000;
    wheel.arm(1, slot, 1000);
  }
  for (u32 slot = 0; slot < 50; ++slot) {
    deadline[slot] = slot == 17 ? 2'000'000 : 8'000'000;
  }
  const auto slot =
      wheel.take_nearest(1, 1000, [&](u32 s) { return std::optional<Tick>(deadline.at(s)); });
  EXPECT_EQ(slot, 17U);
}

TEST(ExpiryTest, AForgottenTableFiresNoMore) {
  ExpiryWheel wheel(0);
  Slots slots;
  for (u32 slot = 0; slot < 100; ++slot) {
    for (const u16 table : {u16{1}, u16{2}}) {
      slots.deadline[{table, slot}] = 500 + slot * 1000;
      wheel.arm(table, slot, 500 + slot * 1000);
    }
  }
  wheel.forget(1);
  EXPECT_EQ(wheel.records(), 100U);
  ASSERT_TRUE(slots.advance(wheel, 200'000));
  EXPECT_EQ(slots.over.size(), 100U);
  EXPECT_EQ(slots.over.front().first, 2);
}

// Against the naive model: everything whose deadline has passed by more than a bucket is over,
// nothing else, whatever happens to deadlines meanwhile.
TEST(ExpiryTest, AgreesWithANaiveModel) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(seed);
  Random random(seed);
  Tick now = random();
  ExpiryWheel wheel(now);
  Slots slots;
  const std::array<Tick, 5> lives{200, 20'000, 70'000, 5'000'000, 400'000'000};
  for (int step = 0; step < 20'000; ++step) {
    const u32 what = random() % 100;
    const std::pair<u16, u32> at{static_cast<u16>(random() % 3), random() % 500};
    if (what < 70) {
      const Tick deadline = now + 1 + random() % lives[random() % lives.size()];
      const auto known = slots.deadline.find(at);
      // An engine arms a new entry and one whose deadline moved to an earlier time.
      if (known == slots.deadline.end() || tick_diff(deadline, known->second) < 0) {
        wheel.arm(at.first, at.second, deadline);
      }
      slots.deadline[at] = deadline;
    } else if (what < 80) {
      slots.deadline.erase(at);
    } else {
      now += random() % (what < 99 ? 3'000 : 3'000'000);
      ASSERT_TRUE(slots.advance(wheel, now));
      for (const auto& [slot, deadline] : slots.deadline) {
        ASSERT_FALSE(tick_passed(deadline + 64, now)) << "step " << step << " slot " << slot.second;
      }
    }
  }
  while (!slots.deadline.empty()) {
    now += 50'000'000;
    ASSERT_TRUE(slots.advance(wheel, now));
  }
  EXPECT_EQ(wheel.records(), 0U);
}

}  // namespace
}  // namespace lineq::engine
