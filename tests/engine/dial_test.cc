// Sessions that we dial, beside those that HAProxys open: collisions, identity, access.
#include <gtest/gtest.h>

#include "tests/engine/world.h"

namespace lineq::test {
namespace {

class DialTest : public testing::Test {
 protected:
  void SetUp() override { world_.engine().set_dialled({{"hap1", "lineq", "10.0.0.1", 0, true}}); }
  static bool lives(const Hap& hap) {
    return hap.peer != nullptr && hap.peer->session.established();
  }
  shm::PeerInfo record(const Hap& hap) {
    auto reader = shm::Reader::open({.directory = "", .instance = world_.instance()});
    LINEQ_ASSERT(reader.ok());
    for (const shm::PeerInfo& peer : reader->peers()) {
      if (peer.no == hap.peer->no.value) {
        return peer;
      }
    }
    return {};
  }

  World world_;
};

TEST_F(DialTest, ADialledSessionIsOneLikeAnyOther) {
  Hap& dialled = world_.dial("hap1");
  Hap& other = world_.connect("hap2", 7, "10.0.0.2");
  world_.settle();
  ASSERT_TRUE(lives(dialled));
  EXPECT_EQ(dialled.session->hello().target, "hap1");
  EXPECT_EQ(dialled.session->hello().name, "lineq");
  dialled.define(1, counters_table());
  other.define(1, counters_table());
  world_.settle();
  dialled.update(1, "a", {1, 2});
  other.update(1, "b", {3, 4});
  world_.pass(15000);
  ASSERT_NE(other.last("a"), nullptr);
  ASSERT_NE(dialled.last("b"), nullptr);
  EXPECT_EQ(other.last("a")->cells, (std::vector<u64>{1, 2}));
  const shm::PeerInfo view = record(dialled);
  EXPECT_EQ(view.remote_name, "hap1");
  EXPECT_EQ(view.local_name, "lineq");
  EXPECT_EQ(view.address, "10.0.0.1");
  EXPECT_EQ(view.direction, shm::PeerDirection::kOutgoing);
}

TEST_F(DialTest, TheNewestHelloWinsInEitherDirection) {
  Hap& first = world_.dial("hap1");
  world_.settle();
  ASSERT_TRUE(lives(first));
  const PeerNo no = first.peer->no;
  // It calls us, from whatever address: ours to it is over, in the same record.
  Hap& second = world_.connect("hap1", 5, "10.9.9.9");
  world_.settle();
  EXPECT_FALSE(lives(first));
  ASSERT_TRUE(lives(second));
  EXPECT_EQ(second.peer->no, no);
  EXPECT_EQ(record(second).address, "10.0.0.1");
  EXPECT_EQ(record(second).direction, shm::PeerDirection::kIncoming);
  EXPECT_TRUE(world_.engine().book().connected("lineq", "hap1"));
  // An answer to ours ends the one it opened before.
  Hap& third = world_.dial("hap1");
  world_.settle();
  EXPECT_FALSE(lives(second));
  ASSERT_TRUE(lives(third));
  EXPECT_EQ(third.peer->no, no);
  // And another process of it, which calls.
  Hap& fourth = world_.connect("hap1", 6, "10.0.0.1");
  world_.settle();
  EXPECT_FALSE(lives(third));
  EXPECT_TRUE(lives(fourth));
  world_.disconnect(fourth);
  EXPECT_FALSE(world_.engine().book().connected("lineq", "hap1"));
}

TEST_F(DialTest, AnAttemptWithoutAnAnswerGivesWayToo) {
  Hap& attempt = world_.dial("hap1");
  attempt.reads = false;  // its hello does not arrive
  world_.settle();
  ASSERT_NE(attempt.peer, nullptr);
  Hap& caller = world_.connect("hap1", 5, "10.0.0.1");
  world_.settle();
  EXPECT_EQ(attempt.peer, nullptr);
  EXPECT_TRUE(lives(caller));
}

TEST_F(DialTest, OtherNamesAreNotTouched) {
  Hap& dialled = world_.dial("hap1");
  Hap& other = world_.connect("hap2", 5, "10.0.0.1");
  Hap& twin_a = world_.connect("hap3", 5, "10.0.0.3");
  Hap& twin_b = world_.connect("hap3", 5, "10.0.0.4");
  world_.settle();
  EXPECT_TRUE(lives(dialled));
  EXPECT_TRUE(lives(other));
  EXPECT_TRUE(lives(twin_a));  // of whom we do not dial several may have one name
  EXPECT_TRUE(lives(twin_b));
}

TEST_F(DialTest, AnAttemptIsNoStranger) {
  Hap& attempt = world_.dial("hap1");
  attempt.reads = false;
  for (int i = 0; i < 300; ++i) {
    world_.stranger();
  }
  world_.settle();
  EXPECT_NE(attempt.peer, nullptr);
  const u64 refused = world_.counter(shm::DaemonCounter::connections_refused);
  world_.disconnect(attempt);
  EXPECT_EQ(world_.counter(shm::DaemonCounter::connections_refused), refused);
}

TEST_F(DialTest, NamesAndAddressesThatAreNotAllowedAreCounted) {
  const u64 refused = world_.counter(shm::DaemonCounter::connections_refused);
  world_.engine().turned_away();
  EXPECT_EQ(world_.counter(shm::DaemonCounter::connections_refused), refused + 1);
  engine::Endpoint where{0, "10.0.0.1", "10.0.0.1:1", "ours", {"hap1", "hap2"}};
  Hap& stranger = world_.connect("hap3", 1, where, "ours");
  Hap& misled = world_.connect("hap2", 1, where, "lineq");
  Hap& good = world_.connect("hap2", 1, where, "ours");
  world_.settle();
  EXPECT_EQ(stranger.peer, nullptr);
  EXPECT_EQ(stranger.session->status(), 0U);  // no error status
  EXPECT_EQ(misled.peer, nullptr);
  EXPECT_TRUE(lives(good));
  EXPECT_EQ(world_.counter(shm::DaemonCounter::connections_refused), refused + 3);
}

}  // namespace
}  // namespace lineq::test
