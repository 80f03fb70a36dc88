// The long ones of mode acc: totals against the truth for two minutes, and the error of pushed
// rates over a minute.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/ledger_run.h"
#include "tests/e2e/rate_limit.h"

namespace lineq::test {
namespace {

using std::chrono::seconds;

// LINEQ_SEED repeats a run, as far as timing allows.
u64 seed() {
  const char* const given = std::getenv("LINEQ_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

class SlowLedgerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
  }
};

TEST_F(SlowLedgerTest, TotalsAreTheTruthAfterTwoMinutesOfAccidents) {
  LedgerRun run({.seed = seed(), .brief_expire_s = 30});
  ASSERT_EQ(run.start(), "") << run.story();
  ASSERT_EQ(run.run(seconds(120)), "") << run.story();
  ASSERT_EQ(run.finish(), "") << run.story();
  EXPECT_EQ(run.total(), run.requests());
  fmt::print("{} requests; {}\n", run.requests(), run.accidents());
}

TEST_F(SlowLedgerTest, ReloadsUnderTrafficNeverCountTwice) {
  LedgerRun run({.seed = seed(), .reload_under_traffic = true});
  ASSERT_EQ(run.start(), "") << run.story();
  ASSERT_EQ(run.run(seconds(40)), "") << run.story();
  fmt::print("{} of {} requests counted; {}\n", run.total(), run.requests(), run.accidents());
}

// How far the sum that HAProxys look up is from the truth, in per cent of the truth.
class Error {
 public:
  void add(u64 is, u64 truth) {
    const double error =
        std::abs(static_cast<double>(is) - static_cast<double>(truth)) / static_cast<double>(truth);
    sum_ += 100 * error;
    worst_ = std::max(worst_, 100 * error);
    ++samples_;
  }
  double mean() const { return samples_ == 0 ? 0 : sum_ / static_cast<double>(samples_); }
  double worst() const { return worst_; }
  u64 samples() const { return samples_; }

 private:
  double sum_ = 0;
  double worst_ = 0;
  u64 samples_ = 0;
};

struct RateErrors {
  Error formula;  // against HAProxy's formula over the requests really sent to each of them
  Error sliding;  // against the number of requests in the period before
};

// For so long, several times a second on each HAProxy. `step` may change the load.
RateErrors measure(RateLimit& example, const Load& load, seconds how_long,
                   const std::function<void(u64 second)>& step) {
  RateErrors errors;
  const SteadyTime start = std::chrono::steady_clock::now();
  u64 stepped = 0;
  for (SteadyTime now = start; now < start + how_long; now = std::chrono::steady_clock::now()) {
    if (const auto second = static_cast<u64>((now - start) / seconds(1)); second >= stepped) {
      step(second);
      stepped = second + 1;
    }
    for (std::size_t i = 0; i < 3; ++i) {
      const u64 is = example.shown(i, "src.aggr");
      const SteadyTime at = std::chrono::steady_clock::now();
      u64 formula = 0;
      u64 sliding = 0;
      for (std::size_t j = 0; j < 3; ++j) {
        const auto requests = load.requests(j);
        formula += haproxy_rate(requests, example.period, at);
        sliding += static_cast<u64>(std::count_if(
            requests.begin(), requests.end(),
            [&](const Load::Request& r) { return r.when <= at && r.when > at - example.period; }));
      }
      errors.formula.add(is, formula);
      errors.sliding.add(is, sliding);
    }
    const SteadyTime next = now + Milliseconds(150);
    wait_until([&] { return std::chrono::steady_clock::now() >= next; });
  }
  return errors;
}

void report(std::string_view load, const RateErrors& errors) {
  fmt::print(
      "sum of three rates, {}: {} samples in a minute; error against HAProxy's formula over what "
      "was sent: mean {:.2f} %, worst {:.2f} %; against the requests of the last ten seconds: mean "
      "{:.2f} %, worst {:.2f} %\n",
      load, errors.formula.samples(), errors.formula.mean(), errors.formula.worst(),
      errors.sliding.mean(), errors.sliding.worst());
}

TEST_F(SlowLedgerTest, TheRateLimitExampleRefusesByTheTrueSumOverAMinute) {
  RateLimit example(10);
  ASSERT_EQ(example.start(), "");
  Load load(example.ports());
  const auto refused = [&] { return load.refused(0) + load.refused(1) + load.refused(2); };
  // Below the limit: 45 a second of 60.
  load.all(15);
  ASSERT_TRUE(wait_until([&] { return load.requests(0).size() >= 225; }, seconds(40)));
  EXPECT_EQ(refused(), 0U) << example.world.story();

  // Each alone is far below, together they are above.
  load.all(30);
  ASSERT_TRUE(
      wait_until([&] { return load.refused(0) > 0 && load.refused(1) > 0 && load.refused(2) > 0; },
                 seconds(20)));
  SteadyTime first = SteadyTime::max();
  SteadyTime last = SteadyTime::min();
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(example.shown(i, "src"), example.limit);
    const auto requests = load.requests(i);
    const auto at = std::find_if(requests.begin(), requests.end(),
                                 [](const Load::Request& r) { return r.status == 429; });
    first = std::min(first, at->when);
    last = std::max(last, at->when);
  }
  fmt::print("the first refusals came within {} ms\n",
             std::chrono::duration_cast<Milliseconds>(last - first).count());
  EXPECT_LT(last - first, seconds(1));
  ASSERT_TRUE(wait_until([&] { return load.requests(0).back().when > first + 2 * example.period; },
                         seconds(40)));

  const std::array<u64, 3> before{load.refused(0), load.refused(1), load.refused(2)};
  const std::array<std::size_t, 3> sent{load.requests(0).size(), load.requests(1).size(),
                                        load.requests(2).size()};
  const RateErrors steady = measure(example, load, seconds(60), [](u64) {});
  report("30 a second each", steady);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto requests = load.requests(i);
    EXPECT_GE(load.refused(i) - before[i] + 1, requests.size() - sent[i]) << "all of them";
  }
  EXPECT_GT(steady.formula.samples(), 300U);
  EXPECT_LT(steady.formula.mean(), 2);
  EXPECT_LT(steady.formula.worst(), 10);

  std::mt19937_64 random(seed());
  const RateErrors uneven = measure(example, load, seconds(60), [&](u64 second) {
    for (std::size_t i = 0; i < 3 && second % 2 == 0; ++i) {
      load.rate(i, static_cast<double>(2 + random() % 60));
    }
  });
  report("each between 2 and 61 a second, another every two seconds", uneven);
  EXPECT_LT(uneven.formula.mean(), 5);
  EXPECT_LT(uneven.formula.worst(), 25);

  load.all(0);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(
        wait_until([&] { return http_get(example.world.at(i).http_port(), "/").status == 200; },
                   3 * example.period))
        << example.world.story();
  }
}

}  // namespace
}  // namespace lineq::test
