#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "webui/live/broadcast.h"
#include "webui/live/rates.h"
#include "webui/live/traffic.h"

namespace lineq::live {
namespace {

struct Ear : Listener {
  void hear(const Text& text) override {
    heard.push_back(*text);
    if (leave_from != nullptr) {
      leave_from->remove(*this);
    }
  }
  std::vector<std::string> heard;
  Broadcast* leave_from = nullptr;
};

Text text(std::string s) {
  return std::make_shared<const std::string>(std::move(s));
}

TEST(BroadcastTest, EveryListenerHearsARoundOnceInSlices) {
  Broadcast broadcast;
  std::vector<Ear> ears(10);
  for (Ear& ear : ears) {
    broadcast.add(ear);
  }
  broadcast.publish(text("a"));
  int steps = 1;
  while (!broadcast.step(3)) {
    ++steps;
  }
  EXPECT_EQ(steps, 4);
  for (const Ear& ear : ears) {
    EXPECT_EQ(ear.heard, std::vector<std::string>{"a"});
  }
  EXPECT_TRUE(broadcast.step(3));
}

TEST(BroadcastTest, ANewRoundOvertakesTheOld) {
  Broadcast broadcast;
  std::vector<Ear> ears(4);
  for (Ear& ear : ears) {
    broadcast.add(ear);
  }
  broadcast.publish(text("a"));
  EXPECT_FALSE(broadcast.step(2));
  broadcast.publish(text("b"));
  EXPECT_TRUE(broadcast.step(10));
  EXPECT_EQ(ears[3].heard, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(ears[0].heard, (std::vector<std::string>{"b"}));
}

TEST(BroadcastTest, ListenersComeAndGoInTheMiddleOfARound) {
  Broadcast broadcast;
  std::vector<Ear> ears(4);
  for (Ear& ear : ears) {
    broadcast.add(ear);
  }
  ears[3].leave_from = &broadcast;
  broadcast.publish(text("a"));
  EXPECT_FALSE(broadcast.step(1));  // the newest hears first, and leaves
  broadcast.remove(ears[2]);        // the next one
  Ear late;
  broadcast.add(late);
  EXPECT_TRUE(broadcast.step(10));
  EXPECT_EQ(ears[3].heard.size(), 1U);
  EXPECT_TRUE(ears[2].heard.empty());
  EXPECT_EQ(ears[1].heard.size(), 1U);
  EXPECT_EQ(ears[0].heard.size(), 1U);
  EXPECT_TRUE(late.heard.empty());
  EXPECT_EQ(broadcast.size(), 3U);
}

TEST(BroadcastTest, EitherSideMayEndFirst) {
  auto ear = std::make_unique<Ear>();
  {
    Broadcast broadcast;
    Ear other;
    broadcast.add(other);
    broadcast.add(*ear);
    EXPECT_TRUE(ear->listening());
  }
  EXPECT_FALSE(ear->listening());
  Broadcast second;
  second.add(*ear);
  ear.reset();
  EXPECT_TRUE(second.empty());
}

void round(Rates& rates, u64 ms, u64 identity, u64 a, u64 b = 0) {
  rates.begin(ms);
  rates.add(1, identity, {a, b});
  rates.end();
}

TEST(RatesTest, ARateIsTheMeanOfTheLastSeconds) {
  Rates rates;
  EXPECT_EQ(rates.per_second(1, 0), std::nullopt);
  round(rates, 1000, 7, 100, 5);
  EXPECT_EQ(rates.per_second(1, 0), std::nullopt);
  round(rates, 2000, 7, 150, 5);
  EXPECT_DOUBLE_EQ(*rates.per_second(1, 0), 50);
  EXPECT_DOUBLE_EQ(*rates.per_second(1, 1), 0);
  for (u64 s = 3; s < 60; ++s) {
    round(rates, s * 1000, 7, 150);
  }
  EXPECT_DOUBLE_EQ(*rates.per_second(1, 0), 0) << "what is long ago does not count";
}

TEST(RatesTest, AnotherIdentityOrAFallBeginsAnew) {
  Rates rates;
  round(rates, 1000, 7, 100);
  round(rates, 2000, 8, 200);
  EXPECT_EQ(rates.per_second(1, 0), std::nullopt);
  round(rates, 3000, 8, 10);
  EXPECT_EQ(rates.per_second(1, 0), std::nullopt);
  round(rates, 4000, 8, 20);
  EXPECT_DOUBLE_EQ(*rates.per_second(1, 0), 10);
}

TEST(RatesTest, WhatIsNotAddedIsForgotten) {
  Rates rates;
  round(rates, 1000, 7, 100);
  round(rates, 2000, 7, 200);
  rates.begin(3000);
  rates.end();
  EXPECT_EQ(rates.per_second(1, 0), std::nullopt);
}

TEST(TrafficTest, APointIsTheMeanOfItsTenSecondsAndAnHourIsKept) {
  Traffic traffic;
  constexpr u64 kStep = Traffic::kStepMs;
  for (u64 i = 0; i <= Traffic::kPoints + 5; ++i) {
    traffic.sample({i * 100, i * 250}, 1'000'000 + i * kStep);
    traffic.sample({i * 100 + 7, i * 250 + 7}, 1'000'000 + i * kStep + kStep / 2);  // too soon
  }
  const std::vector<Traffic::Point> points = traffic.points();
  ASSERT_EQ(points.size(), Traffic::kPoints);
  EXPECT_DOUBLE_EQ(points.front().in_per_s, 10);
  EXPECT_DOUBLE_EQ(points.back().out_per_s, 25);
  EXPECT_EQ(points.back().realtime_ms - points.front().realtime_ms, (Traffic::kPoints - 1) * kStep);
}

TEST(TrafficTest, TotalsThatFallAndAClockThatIsSetBackBeginAnew) {
  Traffic traffic;
  traffic.sample({1000, 0}, 100'000);
  traffic.sample({5, 0}, 110'000);  // another segment
  EXPECT_TRUE(traffic.points().empty());
  traffic.sample({25, 0}, 120'000);
  ASSERT_EQ(traffic.points().size(), 1U);
  EXPECT_DOUBLE_EQ(traffic.points().back().in_per_s, 2);
  traffic.sample({45, 0}, 50'000);
  EXPECT_EQ(traffic.points().size(), 1U);
  traffic.sample({65, 0}, 60'000);
  ASSERT_EQ(traffic.points().size(), 2U);
  EXPECT_DOUBLE_EQ(traffic.points().back().in_per_s, 2);
}

}  // namespace
}  // namespace lineq::live
