#include "tools/view/peer_tables.h"

#include "tests/shm/segment.h"
#include "tests/support/acc_segment.h"

namespace lineq::view {
namespace {

using shm::define;
using shm::KeyType;
using shm::PeerTableCounter;

class PeerTablesTest : public testing::Test {
 protected:
  void SetUp() override { writer_ = shm::attach(instance_); }

  PeerNo peer(std::string_view name, std::string_view address = "10.0.0.1", u64 pid = 7) {
    shm::PeerIdentity identity;
    identity.remote_name = name;
    identity.local_name = "lineq";
    identity.address = address;
    identity.remote_pid = pid;
    const PeerNo no = *writer_->peer_up(identity, writer_->now());
    writer_->set_peer_counter(no, shm::PeerCounter::lesson_in, 2);
    return no;
  }
  // As of `later` ms after now.
  std::vector<PeerTable> rows(u64 later = 0) {
    writer_->heartbeat(writer_->now());
    reader_ = std::make_unique<shm::Reader>(shm::Reader::open(instance_.source()).take());
    EXPECT_TRUE(reader_->refresh().ok());
    peers_ = reader_->peers();
    return peer_tables(*reader_, peers_, writer_->now() + later);
  }
  // "hap1 users: silent" of each that is wrong.
  std::vector<std::string> wrong(u64 later = 0) {
    std::vector<std::string> found;
    const std::vector<PeerTable> all = rows(later);
    for (const PeerTable& row : all) {
      EXPECT_EQ(row.wrong(), row.conflict || row.missing || row.silent);
      if (row.wrong()) {
        found.push_back(fmt::format("{} {}:{}{}{}", peers_[row.peer].remote_name,
                                    row.table->definition.name, row.conflict ? " conflict" : "",
                                    row.missing ? " missing" : "", row.silent ? " silent" : ""));
      }
    }
    return found;
  }
  using Words = std::vector<std::string>;

  shm::TempInstance instance_;
  std::unique_ptr<shm::Writer> writer_;
  std::unique_ptr<shm::Reader> reader_;
  std::vector<shm::PeerInfo> peers_;
  const shm::TableDefinition users_ = define("users", KeyType::kString, 37, {shm::kGpc1});
  const shm::TableDefinition src_ = define("/src", KeyType::kIp, 4, {shm::kHttpReqRate});
};

TEST_F(PeerTablesTest, NothingIsWrongWhenAllHaveTheSameTables) {
  for (const char* name : {"hap1", "hap2"}) {
    const PeerNo no = peer(name);
    test::announce(*writer_, no, users_);
    const u32 record = test::announce(*writer_, no, src_);
    writer_->set_peer_table_counter(record, PeerTableCounter::updates, 5);
  }
  EXPECT_EQ(wrong(), Words{});
  const auto all = rows();
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0].peer, 0U);
  EXPECT_EQ(all[0].table->definition.name, "users");
  EXPECT_TRUE(all[0].announced_ms.has_value());
  EXPECT_FALSE(all[0].updated_ms.has_value());
  EXPECT_EQ(all[1].updates, 5U);
  EXPECT_EQ(all[3].peer, 1U);
}

TEST_F(PeerTablesTest, ATableIsMissingOnlyWhereAllElseHasBeenTold) {
  const PeerNo one = peer("hap1");
  test::announce(*writer_, one, users_);
  test::announce(*writer_, one, src_);
  const PeerNo two = peer("hap2");
  test::announce(*writer_, two, users_);
  peer("bare");  // no table at all: nothing to compare
  EXPECT_EQ(wrong(), Words{"hap2 /src: missing"});
  writer_->set_peer_counter(two, shm::PeerCounter::lesson_in, 1);
  EXPECT_EQ(wrong(), Words{}) << "it is still telling";
  writer_->set_peer_counter(two, shm::PeerCounter::lesson_in, 3);
  EXPECT_EQ(wrong(), Words{"hap2 /src: missing"});
  writer_->peer_down(two, writer_->now());
  EXPECT_EQ(wrong(), Words{}) << "that it is away is another matter";
}

TEST_F(PeerTablesTest, AnotherKeyUnderTheNameIsNoMissingTable) {
  test::announce(*writer_, peer("hap1"), users_);
  const u32 record = test::announce(*writer_, peer("hap2", "10.0.0.2"),
                                    define("users", KeyType::kString, 17, {shm::kGpc1}));
  writer_->set_peer_table_counter(record, PeerTableCounter::conflict, 1);
  EXPECT_EQ(wrong(), Words{"hap2 users: conflict"});
}

TEST_F(PeerTablesTest, SilentIsWhoSaysNothingWhileOthersDo) {
  const u32 one = test::announce(*writer_, peer("hap1"), users_);
  const u32 two = test::announce(*writer_, peer("hap2"), users_);
  const u64 later = kSilentMs + 10'000;
  EXPECT_EQ(wrong(later), Words{}) << "nobody says anything";
  const SegmentMs now = writer_->now();
  writer_->set_peer_table_counter(one, PeerTableCounter::last_update_ms, now + later - 5'000);
  EXPECT_EQ(wrong(later), Words{"hap2 users: silent"}) << "never, since it has the table";
  writer_->set_peer_table_counter(two, PeerTableCounter::last_update_ms, now + 1);
  EXPECT_EQ(wrong(later), Words{"hap2 users: silent"});
  writer_->set_peer_table_counter(two, PeerTableCounter::last_update_ms, now + 20'000);
  EXPECT_EQ(wrong(later), Words{}) << "not for long enough";
  writer_->set_peer_table_counter(two, PeerTableCounter::last_update_ms, now + 1);
  writer_->set_peer_table_counter(one, PeerTableCounter::last_update_ms, now + later - 70'000);
  EXPECT_EQ(wrong(later), Words{}) << "the others have stopped too";
}

TEST_F(PeerTablesTest, WithoutADaemonNobodyIsToBlame) {
  test::announce(*writer_, peer("hap1"), users_);
  const PeerNo two = peer("hap2");
  test::announce(*writer_, two, src_);
  EXPECT_EQ(wrong().size(), 2U);
  writer_.reset();
  reader_ = std::make_unique<shm::Reader>(shm::Reader::open(instance_.source()).take());
  EXPECT_TRUE(reader_->refresh().ok());
  for (const PeerTable& row : peer_tables(*reader_, reader_->peers(), reader_->now())) {
    EXPECT_FALSE(row.wrong());
  }
}

TEST_F(PeerTablesTest, LabelsTellHaproxysApartAndFindThem) {
  peer("hap1");
  peer("local", "10.0.0.1", 1);
  peer("local", "10.0.0.2", 1);
  peer("twin", "10.0.0.3", 1);
  peer("twin", "10.0.0.3", 2);
  peer("bell\x07", "10.0.0.4");
  rows();
  EXPECT_EQ(peer_labels(peers_), (Words{"hap1", "local@10.0.0.1", "local@10.0.0.2",
                                        "twin@10.0.0.3#3", "twin@10.0.0.3#4", "bell\\x07"}));
  EXPECT_EQ(*find_peer(peers_, "hap1"), 0U);
  EXPECT_EQ(*find_peer(peers_, "hap1@10.0.0.1"), 0U);
  EXPECT_EQ(*find_peer(peers_, "local@10.0.0.2"), 2U);
  EXPECT_EQ(*find_peer(peers_, "twin@10.0.0.3#4"), 4U);
  EXPECT_EQ(*find_peer(peers_, "bell\\x07"), 5U);
  EXPECT_EQ(find_peer(peers_, "local").error().what,
            "several HAProxys are called 'local': local@10.0.0.1, local@10.0.0.2");
  const Error none = find_peer(peers_, "hap9").error();
  EXPECT_EQ(none.code, ErrorCode::kNotFound);
  EXPECT_TRUE(none.what.starts_with("no HAProxy 'hap9'; there are: hap1, local@10.0.0.1"));
  EXPECT_EQ(find_peer({}, "x").error().what, "no HAProxy 'x': none has been connected yet");
}

}  // namespace
}  // namespace lineq::view
