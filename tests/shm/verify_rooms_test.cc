// What verify() says of rooms: nothing of healthy ones, and the name of what is broken.
#include <fcntl.h>

#include <random>

#include <sys/mman.h>

#include "tests/shm/visitors.h"

namespace lineq::shm {
namespace {

constexpr u32 kVisitorCount = 3000;

// A dead segment with a room of 3000 visitors, and write access to its objects as a vandal would
// have.
class VerifyRoomsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto writer = attach(instance_);
    room_ = *writer->add_room(room_settings("shop", 20), 0);
    for (u32 i = 0; i < kVisitorCount; ++i) {
      join(*writer, room_, fmt::format("s-{}@shop", i));
    }
    for (u32 i = 0; i < 20; ++i) {
      become(*writer, fmt::format("s-{}@shop", i),
             i < 10 ? VisitorState::kActive : VisitorState::kGranted);
    }
    for (u32 i = 100; i < 200; ++i) {
      become(*writer, fmt::format("s-{}@shop", i), VisitorState::kAbandoned);
    }
    writer->heartbeat(writer->now());
    layout_ = map<RootLayout>(".root");
    desc_ = &layout_->rooms[room_.value];
    dir_ = map<LineDir>(fmt::format(".{:08x}", desc_->line.object));
    segment_ = map<LineSegment>(fmt::format(".{:08x}", dir_->segment[0].object));
    slots_ = map<u8>(fmt::format(".{:08x}", layout_->tables[0].chunk[0].object));
    ext_ = layout_->tables[0].ext_offset;
  }

  template <typename T>
  T* map(const std::string& suffix) {
    for (const auto& path : instance_.objects()) {
      if (path.string().ends_with(suffix)) {
        const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        void* at = ::mmap(nullptr, std::filesystem::file_size(path), PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd, 0);
        ::close(fd);
        return static_cast<T*>(at);
      }
    }
    return nullptr;
  }
  u64* visitor(u32 slot) {
    return reinterpret_cast<u64*>(slots_ + u64{slot} * layout_->tables[0].slot_bytes + ext_);
  }
  std::string found() { return findings(instance_); }
  bool finds(std::string_view text) { return found().find(text) != std::string::npos; }
  std::string remarks() {
    auto reader = Reader::open(instance_.source());
    std::string text;
    for (const Finding& remark : verify(*reader).remarks) {
      text += fmt::format("{}: {}\n", remark.invariant, remark.what);
    }
    return text;
  }

  TempInstance instance_;
  RoomNo room_{0};
  RootLayout* layout_ = nullptr;
  RoomDesc* desc_ = nullptr;
  LineDir* dir_ = nullptr;
  LineSegment* segment_ = nullptr;
  u8* slots_ = nullptr;
  u32 ext_ = 0;
};

TEST_F(VerifyRoomsTest, AHealthyRoomIsClean) {
  EXPECT_EQ(found(), "");
  EXPECT_EQ(remarks(), "");
}

TEST_F(VerifyRoomsTest, AVisitorWithoutABitIsNamed) {
  segment_->bits[10] &= ~u64{1};
  EXPECT_TRUE(finds("line-visitor: table users slot 640: waits with ticket 640")) << found();
  EXPECT_TRUE(finds("line-counts")) << found();
}

TEST_F(VerifyRoomsTest, ABitWithoutAVisitorIsNamed) {
  segment_->bits[2] |= u64{1} << 22;  // 150 has abandoned
  EXPECT_TRUE(finds("line-bit: room shop: ticket 150 waits and is no visitor's")) << found();
}

TEST_F(VerifyRoomsTest, TicketsOutsideTheLineAreNamed) {
  segment_->bits[0] |= 1;                      // below head
  segment_->bits[kVisitorCount / 64 + 1] = 1;  // behind tail
  EXPECT_TRUE(finds("line-bounds")) << found();
  dir_->head = 1;
  EXPECT_TRUE(finds("line-head: room shop: nobody waits at head 1")) << found();
  dir_->head = dir_->tail + 1;
  EXPECT_TRUE(finds("line-bounds: room shop: head 3001 tail 3000")) << found();
}

TEST_F(VerifyRoomsTest, EveryCountIsLookedAt) {
  for (u32* word : {&segment_->per16k[0], &segment_->per16k[7], &dir_->count[0], &dir_->count[900],
                    &dir_->group[0], &dir_->group[63]}) {
    ++*word;
    EXPECT_NE(found(), "");
    --*word;
  }
  for (u16* word : {&segment_->per1k[0], &segment_->per1k[255]}) {
    ++*word;
    EXPECT_TRUE(finds("line-counts")) << found();
    --*word;
  }
  ++desc_->waiting;
  EXPECT_TRUE(finds("line-counts: room shop: says 2881 wait, counts 2880, has 2880")) << found();
  --desc_->waiting;
  EXPECT_EQ(found(), "");
}

TEST_F(VerifyRoomsTest, TwoVisitorsWithOneTicketAreNamed) {
  visitor(500)[0] = visitor(501)[0];
  EXPECT_TRUE(finds("ticket-unique: table users slot 501: ticket 501")) << found();
  EXPECT_TRUE(finds("line-bit: room shop: ticket 500")) << found();
}

TEST_F(VerifyRoomsTest, ATicketThatWasNeverGivenIsNamed) {
  visitor(500)[0] =
      Visitor{.state = VisitorState::kWaiting, .room = room_, .ticket = Ticket{1 << 30}}.word0();
  EXPECT_TRUE(finds("line-visitor: table users slot 500: waits with ticket 1073741824")) << found();
  visitor(501)[0] |= u64{15} << 60;
  EXPECT_TRUE(finds("visitor-state: table users slot 501: state 15")) << found();
}

TEST_F(VerifyRoomsTest, AMissingLineIsNamed) {
  const u32 object = dir_->segment[0].object;
  dir_->segment[0].object = 0;
  EXPECT_TRUE(finds("line-segment: room shop: segment 0 cannot be opened")) << found();
  dir_->segment[0].object = object;
  desc_->line.object = 0;
  EXPECT_TRUE(finds("line-there: room shop: 2880 wait and there is no line")) << found();
}

TEST_F(VerifyRoomsTest, RulesThatStayHalfWrittenAreNamed) {
  desc_->seq |= 1;
  EXPECT_TRUE(finds("room-sequence: room number 0")) << found();
}

TEST_F(VerifyRoomsTest, MoreInsideThanAllowedIsARemark) {
  desc_->capacity = 19;
  EXPECT_EQ(found(), "");
  EXPECT_EQ(remarks(), "over_limit: room shop: 10 inside and 10 called, 19 are allowed\n");
}

// Whatever the bytes are: no crash, no endless loop.
TEST_F(VerifyRoomsTest, RandomDamageNeverCrashesAReader) {
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  u8* const areas[] = {reinterpret_cast<u8*>(desc_), reinterpret_cast<u8*>(dir_),
                       reinterpret_cast<u8*>(dir_), reinterpret_cast<u8*>(segment_), slots_};
  const u64 sizes[] = {sizeof(RoomDesc), sizeof(LineDir), 192, sizeof(LineSegment), 65536};
  for (int round = 0; round < 200; ++round) {
    const u64 area = random() % std::size(areas);
    areas[area][random() % sizes[area]] = static_cast<u8>(random());
    auto reader = Reader::open(instance_.source());
    ASSERT_TRUE(reader.ok());
    (void)verify(*reader);
    for (const RoomInfo& room : reader->rooms()) {
      (void)reader->numbers(room);
      const std::array<Ticket, 4> tickets{Ticket{0}, Ticket{2000}, Ticket{random()},
                                          Ticket{~u64{0}}};
      std::array<u64, 4> ranks{};
      reader->ranks_of(room, tickets, ranks);
    }
    (void)reader->find_room("shop");
  }
}

}  // namespace
}  // namespace lineq::shm
