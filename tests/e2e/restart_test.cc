// HAProxys and lineqd come and go.
#include <csignal>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

class RestartTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  }
  void add_two(bool master_worker = false) {
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config(), master_worker), nullptr)
        << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config(), master_worker), nullptr)
        << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }
  void fill(std::size_t i, const std::string& prefix, int count) {
    for (int n = 0; n < count; ++n) {
      ASSERT_EQ(world_.at(i).set_table("lq/plain", fmt::format("{}-{}", prefix, n),
                                       fmt::format("data.gpc0 {} data.gpc1 {}", n + 1, 2 * n)),
                "");
    }
  }

  World world_;
};

TEST_F(RestartTest, ARestartedHaproxyComesUpWithFullTables) {
  add_two();
  fill(0, "a", 50);
  fill(1, "b", 50);
  ASSERT_EQ(world_.wait_same("lq/plain", 100), "") << world_.story();
  for (std::size_t i = 0; i < 2; ++i) {
    const auto before = comparable(world_.at(i).show_table("lq/plain"));
    world_.at(i).kill();
    ASSERT_TRUE(world_.at(i).start()) << world_.at(i).log();
    EXPECT_TRUE(wait_until([&] {
      return comparable(world_.at(i).show_table("lq/plain")) == before;
    })) << world_.at(i).command("show table lq/plain").substr(0, 1000)
        << world_.story();
  }
}

TEST_F(RestartTest, AllHaproxysMayRestartAtOnceAndFindTheirTables) {
  add_two();
  fill(0, "a", 50);
  ASSERT_EQ(world_.wait_same("lq/plain", 50), "") << world_.story();
  world_.at(0).kill();
  world_.at(1).kill();
  EXPECT_EQ(world_.lineq.verify(), "");
  ASSERT_TRUE(world_.at(0).start());
  ASSERT_TRUE(world_.at(1).start());
  EXPECT_EQ(world_.wait_same("lq/plain", 50), "") << world_.story();
}

TEST_F(RestartTest, AReloadKeepsTheTablesAndTheSessionComesBack) {
  add_two(true);
  fill(0, "a", 30);
  fill(1, "b", 30);
  ASSERT_EQ(world_.wait_same("lq/plain", 60), "") << world_.story();
  std::size_t rows = 60;
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_TRUE(world_.at(i).reload()) << world_.at(i).log();
    ASSERT_TRUE(world_.at(i).wait_peer()) << world_.at(i).peer().text << world_.story();
    ASSERT_EQ(world_.wait_same("lq/plain", rows), "") << world_.story();
    // And it is a full member again, both ways.
    fill(i, fmt::format("after-{}", i), 5);
    fill(1 - i, fmt::format("other-{}", i), 5);
    rows += 10;
    ASSERT_EQ(world_.wait_same("lq/plain", rows), "") << world_.story();
  }
}

TEST_F(RestartTest, AKilledLineqdComesBackWithEveryEntryAndItsHaproxys) {
  add_two();
  fill(0, "a", 100);
  ASSERT_EQ(world_.wait_same("lq/plain", 100), "") << world_.story();
  world_.kill_daemon();
  // The segment is readable while nobody writes it.
  const Finished dead = world_.lineq.dump({"-t", "/plain"});
  EXPECT_EQ(dead.exit_code, 0) << dead.err;
  EXPECT_EQ(parse_show_table(dead.out).rows.size(), 100U);
  EXPECT_EQ(world_.lineq.verify(), "");
  // HAProxys go on alone.
  fill(0, "alone-a", 5);
  fill(1, "alone-b", 5);
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  EXPECT_EQ(world_.lineq.verify(), "");
  EXPECT_GE(parse_show_table(world_.lineq.dump({"-t", "/plain"}).out).rows.size(), 100U);
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_EQ(world_.wait_same("lq/plain", 110), "") << world_.story();
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(RestartTest, SigtermEndsCleanlyAndTheNextLineqdGoesOn) {
  add_two();
  fill(0, "a", 10);
  ASSERT_EQ(world_.wait_same("lq/plain", 10), "") << world_.story();
  EXPECT_EQ(world_.daemon.stop(), 0) << world_.story();
  EXPECT_FALSE(can_connect(world_.lineq.tcp_port()));
  EXPECT_EQ(world_.lineq.verify(), "");
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  EXPECT_EQ(world_.wait_same("lq/plain", 10), "") << world_.story();
}

TEST_F(RestartTest, ASecondLineqdOnTheSameInstanceIsRefused) {
  add_two();
  const std::vector<std::string> sessions = world_.sessions();
  world_.lineq.set("SERVICE_TCP_PORT", std::to_string(free_port()));
  Process second = world_.lineq.start_lineqd("second");
  EXPECT_EQ(second.wait(), 2) << second.err();
  EXPECT_NE(second.err().find(world_.lineq.name()), std::string::npos) << second.err();
  EXPECT_EQ(lines_of(second.err()).size(), 1U) << second.err();
  EXPECT_TRUE(world_.daemon.running());
  fill(0, "a", 3);
  EXPECT_EQ(world_.wait_same("lq/plain", 3), "");
  EXPECT_EQ(world_.sessions(), sessions);
}

TEST_F(RestartTest, ABusyPortIsNamedAndNothingIsDisturbed) {
  Instance other;
  other.set("SERVICE_TCP_PORT", std::to_string(world_.lineq.tcp_port()));
  Process second = other.start_lineqd("second");
  const std::optional<int> code = second.wait();
  ASSERT_TRUE(code.has_value());
  EXPECT_NE(*code, 0);
  EXPECT_NE(second.err().find(std::to_string(world_.lineq.tcp_port())), std::string::npos)
      << second.err();
}

}  // namespace
}  // namespace lineq::test
