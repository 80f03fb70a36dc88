// The hard arguments of the segment, for every execution that C++'s memory model allows of a few
// steps: a reader of a slot never sees half an update, a rank is one that was true, a feed record
// is never taken for another, an entry that is there is found. Each also without one of the orders
// in the code, which must be noticed: what is explored is not empty.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "shm/feed.h"
#include "shm/index.h"
#include "shm/line_count.h"
#include "shm/seqlock.h"

namespace lineq::shm {
namespace {

using model::Explorer;
using model::Without;

class ModelTest : public testing::Test {
 protected:
  ModelTest() { start(Without::kNothing); }
  ~ModelTest() override { model::explorer_place() = nullptr; }

  // From here on nothing has been stored yet.
  Explorer& start(Without without) {
    explorer_ = std::make_unique<Explorer>();
    explorer_->without = without;
    model::explorer_place() = explorer_.get();
    return *explorer_;
  }

 private:
  std::unique_ptr<Explorer> explorer_;
};

// --- seqlock ---

struct Slot {
  u32 seq = 0;
  std::array<u64, 3> words{};
};

// Update `k`: all words say k.
void write(Slot& slot, u64 k, std::size_t words) {
  seqlock_write(slot.seq, [&] {
    for (std::size_t i = 0; i < words; ++i) {
      store_relaxed(slot.words[i], k);
    }
  });
}

std::optional<u64> read(const Slot& slot, std::size_t words, bool& torn) {
  std::array<u64, 3> copy{};
  const bool whole = seqlock_read(slot.seq, [&] {
    for (std::size_t i = 0; i < words; ++i) {
      copy[i] = load_relaxed(slot.words[i]);
    }
  });
  if (!whole) {
    return std::nullopt;
  }
  torn = torn || std::count(copy.begin(), copy.begin() + static_cast<long>(words), copy[0]) !=
                     static_cast<long>(words);
  return copy[0];
}

using SeqlockModelTest = ModelTest;

TEST_F(SeqlockModelTest, AReadIsOfOneUpdateWhole) {
  Explorer& explorer = start(Without::kNothing);
  Slot slot;
  explorer.record([&] {
    write(slot, 1, 3);
    write(slot, 2, 3);
  });
  bool torn = false;
  std::set<u64> seen;
  const u64 runs = explorer.explore([&] { seen.insert(read(slot, 3, torn).value()); });
  EXPECT_FALSE(torn);
  EXPECT_EQ(seen, (std::set<u64>{0, 1, 2}));
  EXPECT_GT(runs, 2U);
}

TEST_F(SeqlockModelTest, ALaterReadIsNeverOfAnOlderUpdate) {
  Explorer& explorer = start(Without::kNothing);
  Slot slot;
  explorer.record([&] {
    write(slot, 1, 2);
    write(slot, 2, 2);
  });
  bool torn = false;
  std::set<std::pair<u64, u64>> seen;
  explorer.explore([&] {
    const u64 first = read(slot, 2, torn).value();
    seen.emplace(first, read(slot, 2, torn).value());
  });
  EXPECT_FALSE(torn);
  EXPECT_EQ(seen, (std::set<std::pair<u64, u64>>{{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}}));
}

// The writer is killed after its first word; the next one writes the image of its redo record.
TEST_F(SeqlockModelTest, AnUpdateThatAKillInterruptedIsNeverSeen) {
  Explorer& explorer = start(Without::kNothing);
  Slot slot;
  explorer.record([&] {
    store_relaxed(slot.seq, slot.seq | 1);
    publish_fence();
    store_relaxed(slot.words[0], 1);
    write(slot, 1, 3);
    write(slot, 2, 3);
  });
  bool torn = false;
  std::set<u64> seen;
  explorer.explore([&] { seen.insert(read(slot, 3, torn).value()); });
  EXPECT_FALSE(torn);
  EXPECT_EQ(seen, (std::set<u64>{0, 1, 2}));
}

TEST_F(SeqlockModelTest, EachOrderIsNeeded) {
  for (const Without without :
       {Without::kPublishFence, Without::kObserveFence, Without::kRelease, Without::kAcquire}) {
    Explorer& explorer = start(without);
    Slot slot;
    explorer.record([&] {
      write(slot, 1, 3);
      write(slot, 2, 3);
    });
    bool torn = false;
    explorer.explore([&] { (void)read(slot, 3, torn); });
    EXPECT_TRUE(torn) << static_cast<int>(without);
  }
}

// --- the line ---

// As Line does it (shm/line.cc), without objects: segments are numbered pieces of memory.
class LineModel {
 public:
  explicit LineModel(u64 head, u64 tail) {
    dir_->head = head;
    dir_->tail = tail;
  }

  // Before anything is recorded.
  void waits_already(u64 ticket) {
    count_in(*dir_, of(ticket), ticket);
    waiting_.insert(ticket);
    history_.assign(1, waiting_);
  }
  void join() {
    const u64 ticket = dir_->tail;
    count_in(*dir_, of(ticket), ticket);
    store_release(dir_->tail, ticket + 1);
    waiting_.insert(ticket);
    history_.push_back(waiting_);
  }
  void leave(u64 ticket) {
    count_out(*dir_, of(ticket), ticket);
    waiting_.erase(ticket);
    history_.push_back(waiting_);
    if (ticket != dir_->head) {
      return;
    }
    const u64 head = waiting_.empty() ? dir_->tail : *waiting_.begin();
    const u64 old = segment_of(dir_->head);
    store_release(dir_->head, head);
    for (u64 s = old; s < segment_of(head); ++s) {
      if (u32& object = dir_->segment[ring_of(s)].object; object != 0) {
        spare_ = object;
        store_release(object, 0);
      }
    }
  }

  u64 rank(u64 ticket) const {
    const Ticket one{ticket};
    u64 rank = 0;
    count_ranks(*dir_,
                [&](u64 no) {
                  const u32 object = load_acquire(dir_->segment[ring_of(no)].object);
                  return object == 0 ? nullptr : pieces_[object - 1].get();
                },
                {&one, 1}, {&rank, 1});
    return rank;
  }
  // Everything that was true of this ticket at some instant.
  std::set<u64> true_ranks(u64 ticket) const {
    std::set<u64> ranks;
    for (const std::set<u64>& then : history_) {
      const auto at = then.find(ticket);
      ranks.insert(at == then.end() ? kNotWaiting
                                    : static_cast<u64>(std::distance(then.begin(), at)));
    }
    return ranks;
  }
  u32 pieces() const { return static_cast<u32>(pieces_.size()); }

 private:
  LineSegment& of(u64 ticket) {
    u32& object = dir_->segment[ring_of(segment_of(ticket))].object;
    if (object == 0) {
      u32 piece = std::exchange(spare_, 0);
      if (piece == 0) {
        pieces_.push_back(std::make_unique<LineSegment>());
        piece = static_cast<u32>(pieces_.size());
      }
      publish_fence();
      store_release(object, piece);
    }
    return *pieces_[object - 1];
  }

  std::unique_ptr<LineDir> dir_ = std::make_unique<LineDir>();
  std::vector<std::unique_ptr<LineSegment>> pieces_;
  u32 spare_ = 0;
  std::set<u64> waiting_;
  std::vector<std::set<u64>> history_;
};

class LineModelTest : public ModelTest {
 protected:
  // What two ranks of this ticket, one after the other, are in all executions; true when each was
  // true at some instant and the second is not larger.
  bool explore(Explorer& explorer, const LineModel& line, u64 ticket) {
    const std::set<u64> allowed = line.true_ranks(ticket);
    const bool joins_late = !joined_before_;
    bool good = true;
    seen_.clear();
    explorer.explore([&] {
      const u64 first = line.rank(ticket);
      const u64 second = line.rank(ticket);
      seen_.insert(first);
      good = good && allowed.contains(first) && allowed.contains(second);
      // From "not yet" to a rank, from a rank to a lower one, from a rank to "no more".
      if (first == kNotWaiting) {
        good = good && (joins_late || second == kNotWaiting);
      } else if (second != kNotWaiting) {
        good = good && second <= first;
      } else {
        good = good && allowed.contains(kNotWaiting);
      }
    });
    return good;
  }

  bool joined_before_ = true;
  std::set<u64> seen_;
};

constexpr u64 kSegment = kSegmentTickets;

TEST_F(LineModelTest, RanksInOneSegmentWereTrueAndNeverRise) {
  Explorer& explorer = start(Without::kNothing);
  LineModel line(0, 1030);
  for (const u64 ticket : {0U, 3U, 70U, 1023U, 1024U, 1028U}) {
    line.waits_already(ticket);
  }
  explorer.record([&] {
    line.leave(3);
    line.leave(1024);
    line.join();
    line.leave(0);
    line.leave(70);
  });
  EXPECT_TRUE(explore(explorer, line, 1028));
  EXPECT_EQ(seen_, (std::set<u64>{1, 2, 3, 4, 5}));
  EXPECT_TRUE(explore(explorer, line, 1023));
  // Of one that left meanwhile.
  EXPECT_TRUE(explore(explorer, line, 70));
  EXPECT_EQ(seen_, (std::set<u64>{0, 1, 2, kNotWaiting}));
  // And of one that came meanwhile.
  joined_before_ = false;
  EXPECT_TRUE(explore(explorer, line, 1030));
  EXPECT_TRUE(seen_.contains(kNotWaiting));
}

// Sixteen segments are counted in one word until head is among them, then each by itself.
TEST_F(LineModelTest, ARankDoesNotRiseWhenHeadMovesIntoAGroup) {
  for (const Without without : {Without::kNothing, Without::kRelease, Without::kObserveFence}) {
    Explorer& explorer = start(without);
    const u64 mine = 33 * kSegment + 5;
    LineModel line(15 * kSegment, mine + 1);
    for (const u64 ticket : {15 * kSegment, 20 * kSegment, 20 * kSegment + 9, mine}) {
      line.waits_already(ticket);
    }
    explorer.record([&] {
      line.leave(15 * kSegment);
      line.leave(20 * kSegment + 9);
    });
    EXPECT_EQ(explore(explorer, line, mine), without == Without::kNothing)
        << static_cast<int>(without);
    EXPECT_EQ(seen_, (std::set<u64>{1, 2, 3}));
  }
}

// A segment that head has left is used again for later tickets, at once.
TEST_F(LineModelTest, BitsOfASegmentsNextLifeAreNobodysRank) {
  for (const Without without :
       {Without::kNothing, Without::kPublishFence, Without::kObserveFence}) {
    Explorer& explorer = start(without);
    const u64 mine = 5;
    LineModel line(mine, 2 * kSegment);
    line.waits_already(mine);
    line.waits_already(kSegment + 7);
    explorer.record([&] {
      line.leave(mine);
      for (int i = 0; i < 6; ++i) {
        line.join();
      }
    });
    ASSERT_EQ(line.pieces(), 2U);  // the first one's memory is the third one's
    EXPECT_EQ(explore(explorer, line, mine), without == Without::kNothing)
        << static_cast<int>(without);
    EXPECT_TRUE(seen_.contains(0) && seen_.contains(kNotWaiting));
  }
}

// --- the change feed ---

using FeedModelTest = ModelTest;

TEST_F(FeedModelTest, ARecordIsTheOneOfItsPositionOrTheReaderIsTold) {
  for (const Without without :
       {Without::kNothing, Without::kPublishFence, Without::kObserveFence}) {
    Explorer& explorer = start(without);
    auto header = std::make_unique<RootHeader>();
    std::array<u64, 4> ring{};
    Feed feed(header.get(), ring.data(), 2);
    const auto append = [&](u32 n) {
      for (u32 i = 0; i < n; ++i) {
        feed.append({static_cast<u32>(feed.tail()), 1, FeedKind::kUpdate, 7});
      }
    };
    append(4);
    explorer.record([&] { append(3); });
    bool right = true;
    bool overrun = false;
    std::set<u32> got;
    explorer.explore([&] {
      FeedCursor cursor{1};
      for (int look = 0; look < 2; ++look) {
        std::array<FeedRecord, 3> out{};
        const u64 from = cursor.position;
        const Followed followed = follow(*header, ring.data(), 2, cursor, out);
        overrun = overrun || followed.overrun;
        got.insert(followed.records);
        for (u32 i = 0; i < followed.records; ++i) {
          right = right && out[i].slot == from + i;
        }
      }
    });
    EXPECT_EQ(right, without == Without::kNothing) << static_cast<int>(without);
    EXPECT_TRUE(overrun);
    EXPECT_EQ(got, (std::set<u32>{0, 1, 2, 3}));
  }
}

// --- the index ---

using IndexModelTest = ModelTest;

TEST_F(IndexModelTest, AnEntryThatIsThereIsFoundWhateverComesAndGoesAroundIt) {
  Explorer& explorer = start(Without::kNothing);
  auto buckets = std::make_unique<std::array<Bucket, 2>>();
  BucketIndex index(buckets->data(), 1);
  // Tags with their home in bucket 0; slot and tag are the same number.
  const auto tag = [](u32 n) { return 2 * n; };
  for (u32 n = 1; n <= kBucketWords + 1; ++n) {
    index.put(tag(n), tag(n));
  }
  constexpr u32 kLast = kBucketWords + 1;  // in the other bucket
  explorer.record([&] {
    index.remove(tag(2), tag(2));
    index.put(tag(100), tag(100));
    index.put(tag(101), tag(101));
    index.remove(tag(101), tag(101));
    index.remove(tag(3), tag(3));
  });
  const auto find = [&](u32 n) {
    return index.find(tag(n), [&](u32 slot) { return slot == tag(n); });
  };
  bool there = true;
  std::set<bool> came;
  std::set<bool> went;
  explorer.explore([&] {
    there = there && find(kLast) == tag(kLast) && find(4) == tag(4);
    came.insert(find(100).has_value());
    went.insert(find(2).has_value());
  });
  EXPECT_TRUE(there);
  EXPECT_EQ(came, (std::set<bool>{false, true}));
  EXPECT_EQ(went, (std::set<bool>{false, true}));
}

}  // namespace
}  // namespace lineq::shm
