#include "daemon/engine/store.h"

#include "tests/engine/world.h"

namespace lineq::test {
namespace {

// A segment that soon has no memory left.
struct StoreTest : ::testing::Test {
  void open(shm::WhenFull when_full) {
    engine::EngineOptions options;
    options.when_full = when_full;
    // Root, feed of 65536 records, dictionary, and little more.
    world = std::make_unique<World>(options, shm::WriterOptions{.memory_limit = u64{9} << 20});
    a = &world->connect("a");
    world->settle();
    a->define(1, string_table("t", 200, bit(shm::kGpc0), 60'000));
    world->settle();
  }
  // Fills until the table grows no more.
  void fill() {
    for (u64 last = ~u64{0}; world->table("t")->live() != last && next < 200'000;) {
      last = world->table("t")->live();
      for (u32 i = 0; i < 1000; ++i) {
        a->update(1, "key" + std::to_string(next++), {1});
      }
      world->pass(100);
    }
    ASSERT_LT(next, 200'000U);
  }

  std::unique_ptr<World> world;
  Hap* a = nullptr;
  u32 next = 0;
};

TEST_F(StoreTest, AFullTableMakesRoomByRemovingWhatIsNearestItsEnd) {
  open(shm::WhenFull::kEvict);
  fill();
  EXPECT_GT(world->table_counter("t", shm::TableCounter::evicted), 0U);
  EXPECT_EQ(world->table_counter("t", shm::TableCounter::refused), 0U);
  EXPECT_TRUE(world->entry("t", "key" + std::to_string(next - 1)));
  EXPECT_FALSE(world->entry("t", "key0"));
}

TEST_F(StoreTest, AFullTableRefusesWhenToldSo) {
  open(shm::WhenFull::kRefuse);
  fill();
  EXPECT_EQ(world->table_counter("t", shm::TableCounter::evicted), 0U);
  EXPECT_GT(world->table_counter("t", shm::TableCounter::refused), 0U);
  EXPECT_TRUE(world->entry("t", "key0"));
  // What is there goes on being updated, and what expires makes room.
  a->update(1, "key0", {77});
  world->settle();
  EXPECT_EQ(world->entry("t", "key0")->value(shm::kGpc0), 77U);
  world->pass(62'000);
  EXPECT_EQ(world->table("t")->live(), 0U);
  a->update(1, "again", {1});
  world->settle();
  EXPECT_TRUE(world->entry("t", "again"));
}

TEST_F(StoreTest, EntriesWithoutExpiryAreNotRemoved) {
  open(shm::WhenFull::kEvict);
  a->define(1, string_table("never", 200, bit(shm::kGpc0), 0));
  for (int round = 0; round < 60; ++round) {
    for (u32 i = 0; i < 1000; ++i) {
      a->update(1, "key" + std::to_string(next++), {1});
    }
    world->pass(100);
  }
  EXPECT_GT(world->table_counter("never", shm::TableCounter::refused), 0U);
  EXPECT_TRUE(world->entry("never", "key0"));
}

}  // namespace
}  // namespace lineq::test
