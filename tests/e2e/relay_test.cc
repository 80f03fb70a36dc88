// What lineqd passes on, and what it does not. Fake peers, because they see every byte.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

class RelayTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(world_.start_daemon()) << world_.trouble; }

  World world_;
};

TEST_F(RelayTest, AnUpdateReachesTheOthersAndNotItsOrigin) {
  const auto writer = world_.fake("writer");
  const auto reader = world_.fake("reader");
  ASSERT_TRUE(writer->connect()) << writer->why_ended();
  ASSERT_TRUE(reader->connect()) << reader->why_ended();
  writer->define(1, plain_table());
  for (u64 n = 0; n < 1000; ++n) {
    ASSERT_NE(writer->update(1, fmt::format("key-{}", n % 100), plain_row(n, 7)), 0U);
    if (n % 50 == 0) {
      ASSERT_TRUE(writer->pump());
    }
  }
  ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); })) << writer->why_ended();
  ASSERT_TRUE(reader->pump_until([&] {
    const ReceivedRow* last = reader->row("/plain", "key-99");
    return reader->rows("/plain").size() == 100 && last != nullptr && last->cells[0] == 999;
  })) << world_.story();
  for (u64 key = 0; key < 100; ++key) {
    const ReceivedRow* row = reader->row("/plain", fmt::format("key-{}", key));
    ASSERT_NE(row, nullptr);
    EXPECT_EQ(row->cells, plain_row(900 + key, 7));
  }
  // The other way round, and then everything that could come back has come back.
  reader->define(1, plain_table());
  ASSERT_NE(reader->update(1, "answer", plain_row(1)), 0U);
  ASSERT_TRUE(reader->pump_until([&] { return reader->all_acked(); }));
  ASSERT_TRUE(writer->pump_until([&] { return writer->row("/plain", "answer") != nullptr; }));
  EXPECT_EQ(writer->updates_received(), 1U);
  EXPECT_EQ(reader->row("/plain", "answer"), nullptr);
}

TEST_F(RelayTest, SeveralPeersOfOneNameEachGetTheOthersUpdates) {
  // Every pod of a deployment calls itself "local".
  const auto setup = [&](u32 pid) {
    FakePeerSetup s;
    s.port = world_.lineq.tcp_port();
    s.name = "local";
    s.pid = pid;
    return s;
  };
  FakePeer one(setup(101));
  FakePeer two(setup(102));
  ASSERT_TRUE(one.connect()) << one.why_ended();
  ASSERT_TRUE(two.connect()) << two.why_ended();
  one.define(1, plain_table());
  ASSERT_NE(one.update(1, "k", plain_row(5)), 0U);
  ASSERT_TRUE(one.pump_until([&] { return one.all_acked(); }));
  EXPECT_TRUE(two.pump_until([&] { return two.row("/plain", "k") != nullptr; }));
  EXPECT_TRUE(one.connected());
  EXPECT_EQ(one.updates_received(), 0U);
}

TEST_F(RelayTest, AResyncRequestIsAnsweredWithEverythingAndTheLifeThatIsLeft) {
  const auto writer = world_.fake("writer");
  ASSERT_TRUE(writer->connect());
  writer->define(1, plain_table(3600000));
  const std::vector<u64> row = plain_row(3, 4);
  const std::string key = "short";
  ASSERT_NE(writer->session()->update(1, {reinterpret_cast<const u8*>(key.data()), key.size()}, row,
                                      30000),
            0U);
  ASSERT_NE(writer->update(1, "long", plain_row(1, 2)), 0U);
  ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); }));

  const auto reader = world_.fake("reader", true);
  ASSERT_TRUE(reader->connect());
  ASSERT_TRUE(reader->pump_until([&] { return reader->lessons_finished() > 0; }));
  ASSERT_EQ(reader->rows("/plain").size(), 2U);
  const ReceivedRow* short_lived = reader->row("/plain", "short");
  EXPECT_EQ(short_lived->cells, plain_row(3, 4));
  EXPECT_TRUE(short_lived->timed);
  EXPECT_LE(short_lived->expire_ms, 30000U);
  EXPECT_GT(short_lived->expire_ms, 10000U);
  const ReceivedRow* long_lived = reader->row("/plain", "long");
  EXPECT_TRUE(long_lived->timed);
  EXPECT_LE(long_lived->expire_ms, 3600000U);
  EXPECT_GT(long_lived->expire_ms, 3500000U);
}

TEST_F(RelayTest, AnExpiredEntryIsGoneForReadersAndForLessons) {
  const auto writer = world_.fake("writer");
  ASSERT_TRUE(writer->connect());
  writer->define(1, plain_table(1000));
  ASSERT_NE(writer->update(1, "k", plain_row(1)), 0U);
  ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); }));
  EXPECT_TRUE(writer->pump_until([&] {
    const Finished dump = world_.lineq.dump({"-t", "/plain"});
    return dump.exit_code == 0 && parse_show_table(dump.out).rows.empty();
  }));
  const auto reader = world_.fake("reader", true);
  ASSERT_TRUE(reader->connect());
  ASSERT_TRUE(reader->pump_until([&] { return reader->lessons_finished() > 0; }));
  EXPECT_TRUE(reader->rows("/plain").empty());
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(RelayTest, LineqdAsksEveryNewPeerForEverything) {
  const auto peer = world_.fake("teacher");
  peer->define(1, plain_table());
  peer->on_resync_request_do = [&] {
    for (u64 n = 0; n < 500; ++n) {
      peer->update(1, fmt::format("taught-{}", n), plain_row(n));
    }
    peer->session()->finish_lesson();
  };
  ASSERT_TRUE(peer->connect());
  ASSERT_TRUE(peer->pump_until([&] { return peer->resync_requests() > 0; })) << world_.story();
  EXPECT_TRUE(peer->pump_until([&] {
    return parse_show_table(world_.lineq.dump({"-t", "/plain"}).out).rows.size() == 500;
  })) << world_.story();
}

TEST_F(RelayTest, AReceiverThatHangsCostsBoundedMemoryAndGetsTheLatestInTheEnd) {
  constexpr u64 kKeys = 20000;
  constexpr u64 kRounds = 40;
  const auto writer = world_.fake("writer");
  const auto slow = world_.fake("slow");
  const auto witness = world_.fake("witness", false, false);
  ASSERT_TRUE(writer->connect());
  ASSERT_TRUE(slow->connect());
  ASSERT_TRUE(witness->connect());
  writer->define(1, plain_table());
  const auto write_round = [&](u64 round) {
    for (u64 key = 0; key < kKeys; ++key) {
      writer->update(1, fmt::format("a-key-of-some-length-{:06}", key), plain_row(round, key));
      if (key % 1000 == 999) {
        slow->pump_out_only();  // alive, but it reads nothing
        if (!writer->pump() || !witness->pump()) {
          return false;
        }
      }
    }
    return writer->pump_until([&] {
      slow->pump_out_only();
      witness->pump();
      return writer->all_acked();
    });
  };
  ASSERT_TRUE(write_round(1)) << writer->why_ended();  // the segment has its size now
  const u64 before = anonymous_kib(world_.daemon.pid());
  for (u64 round = 2; round <= kRounds; ++round) {
    ASSERT_TRUE(write_round(round)) << writer->why_ended() << world_.story();
  }
  const u64 after = anonymous_kib(world_.daemon.pid());
  constexpr u64 kAllowedKib = 16 * 1024;
  EXPECT_LT(after, before + kAllowedKib) << "from " << before << " KiB";
  // What the kernel's buffers held came first; then the latest of every key, not all of them.
  ASSERT_TRUE(slow->connected() && slow->pump_until([&] {
    const auto& rows = slow->rows("/plain");
    return rows.size() == kKeys && std::all_of(rows.begin(), rows.end(), [](const auto& row) {
             return row.second.cells[0] == kRounds;
           });
  })) << slow->why_ended()
      << world_.story();
  EXPECT_LT(slow->updates_received(), kKeys * kRounds / 2);
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(RelayTest, APeerThatWasAwayGetsWhatItMissed) {
  const auto writer = world_.fake("writer");
  const auto reader = world_.fake("reader");
  ASSERT_TRUE(writer->connect());
  ASSERT_TRUE(reader->connect());
  writer->define(1, plain_table());
  ASSERT_NE(writer->update(1, "before", plain_row(1)), 0U);
  ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); }));
  ASSERT_TRUE(reader->pump_until([&] { return reader->row("/plain", "before") != nullptr; }));
  reader->disconnect();
  ASSERT_NE(writer->update(1, "meanwhile", plain_row(2)), 0U);
  ASSERT_TRUE(writer->pump_until([&] { return writer->all_acked(); }));
  ASSERT_TRUE(reader->connect());
  EXPECT_TRUE(reader->pump_until([&] { return reader->row("/plain", "meanwhile") != nullptr; }))
      << world_.story();
}

}  // namespace
}  // namespace lineq::test
