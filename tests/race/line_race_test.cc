// Ranks beside a writer. Some tickets are watched: the writer says how many before each of them are
// about to leave and how many have left, so a rank that was true at some instant of a call lies
// between what was true before it and what was true after it, and never rises from call to call.
#include <array>
#include <atomic>
#include <bit>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>
#include <unordered_map>

#include "shm/line_count.h"
#include "shm/object.h"
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

constexpr u64 kRunMs = 1500;
constexpr u64 kWaiting = 60'000;
constexpr u64 kChangesWatched = 40'000;
constexpr std::size_t kWatched = 8;

struct Watched {
  std::atomic<u64> ticket{0};
  std::atomic<u64> rank{0};     // when the watch began
  std::atomic<u64> leaving{0};  // since then, before it
  std::atomic<u64> left{0};
};

class Crowd {
 public:
  Crowd() {
    RoomSettings settings;
    settings.name = "shop";
    room_ = *writer->add_room(settings, 0);
  }
  Line& line() { return writer->line(room_); }

  // Many come and go, and the head moves on.
  void drift() {
    while (line().waiting() < kWaiting) {
      join();
    }
    for (u64 i = 0; i < kSegmentTickets / 3; ++i) {
      leave(*line().front());
      join();
    }
  }
  void watch() {
    for (std::size_t i = 0; i < kWatched; ++i) {
      const u64 rank = (i + 1) * kWaiting / kWatched - 1;
      Watched& w = watched[i];
      w.ticket.store(line().select(rank)->value, std::memory_order_relaxed);
      w.rank.store(rank, std::memory_order_relaxed);
      w.leaving.store(0, std::memory_order_relaxed);
      w.left.store(0, std::memory_order_relaxed);
    }
    generation.fetch_add(1, std::memory_order_release);
  }
  void unwatch() { generation.fetch_add(1, std::memory_order_release); }
  // One leaves, one comes; the watched ones stay.
  void change() {
    const Ticket out = *line().select(random_() % line().waiting());
    for (const Watched& w : watched) {
      if (w.ticket.load(std::memory_order_relaxed) == out.value) {
        return;
      }
    }
    const auto count = [&](std::atomic<u64> Watched::*counter) {
      for (Watched& w : watched) {
        if (out.value < w.ticket.load(std::memory_order_relaxed)) {
          (w.*counter).fetch_add(1, std::memory_order_seq_cst);
        }
      }
    };
    count(&Watched::leaving);
    leave(out);
    count(&Watched::left);
    join();
  }

  TempInstance instance;
  std::unique_ptr<Writer> writer = attach(instance);
  std::array<Watched, kWatched> watched;
  std::atomic<u64> generation{0};  // even: nobody is watched

 private:
  void join() {
    ASSERT_TRUE(line().next_ticket(0));
    Together change(*writer);
    change.join(line());
    change.land_quietly(0);
  }
  void leave(Ticket ticket) {
    Together change(*writer);
    change.leave(line(), ticket);
    change.land_quietly(0);
  }

  RoomNo room_{0};
  std::mt19937_64 random_{1};
};

struct Outcome {
  std::atomic<u64> checked{0};
  std::atomic<u64> wrong{0};
};

// `make_rank()` on each reader's thread gives a function (tickets, ranks).
template <typename MakeRank>
void contend(Crowd& crowd, Outcome& outcome, MakeRank make_rank) {
  std::atomic<bool> stop{false};
  const auto read = [&] {
    auto rank = make_rank();
    std::array<u64, kWatched> last{};
    u64 watching = 0;
    for (u32 round = 0; !stop.load(std::memory_order_relaxed); ++round) {
      const u64 generation = crowd.generation.load(std::memory_order_acquire);
      std::array<Ticket, kWatched> tickets;
      std::array<u64, kWatched> most;
      std::array<u64, kWatched> ranks;
      for (std::size_t i = 0; i < kWatched; ++i) {
        const Watched& w = crowd.watched[i];
        tickets[i] = Ticket{w.ticket.load(std::memory_order_relaxed)};
        most[i] = w.rank.load(std::memory_order_relaxed) - w.left.load(std::memory_order_seq_cst);
      }
      // All of them in one pass, or one alone.
      const std::size_t first = round % 2 == 0 ? 0 : round / 2 % kWatched;
      const std::size_t count = round % 2 == 0 ? kWatched : 1;
      rank(std::span<const Ticket>(tickets).subspan(first, count),
           std::span<u64>(ranks).subspan(first, count));
      std::array<u64, kWatched> least;
      for (std::size_t i = 0; i < kWatched; ++i) {
        const Watched& w = crowd.watched[i];
        least[i] =
            w.rank.load(std::memory_order_relaxed) - w.leaving.load(std::memory_order_seq_cst);
      }
      std::atomic_thread_fence(std::memory_order_acquire);
      if (generation % 2 == 0 || crowd.generation.load(std::memory_order_acquire) != generation) {
        continue;
      }
      if (watching != generation) {
        watching = generation;
        last.fill(~u64{0});
      }
      for (std::size_t i = first; i < first + count; ++i) {
        const bool right = least[i] <= ranks[i] && ranks[i] <= most[i] && ranks[i] <= last[i];
        last[i] = ranks[i];
        outcome.wrong.fetch_add(right ? 0 : 1, std::memory_order_relaxed);
        outcome.checked.fetch_add(1, std::memory_order_relaxed);
      }
    }
  };
  crowd.drift();
  std::array<std::thread, 2> readers{std::thread(read), std::thread(read)};
  const u64 end = monotonic_ms() + kRunMs;
  while (monotonic_ms() < end) {
    crowd.drift();
    crowd.watch();
    for (u64 i = 0; i < kChangesWatched; ++i) {
      crowd.change();
    }
    crowd.unwatch();
  }
  stop.store(true, std::memory_order_relaxed);
  for (std::thread& reader : readers) {
    reader.join();
  }
}

// Where this process, that is the writer, has mapped an object: ThreadSanitizer sees nothing across
// two mappings.
const void* mapping_of(const std::string& object) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with("/" + object)) {
      u64 address = 0;
      std::istringstream(line) >> std::hex >> address;
      // NOLINTNEXTLINE(performance-no-int-to-ptr): it comes as text
      return reinterpret_cast<const void*>(address);
    }
  }
  return nullptr;
}

// The writer's own mapping of the line. Segments of a line this short are used again and never
// unmapped.
class OneMapping {
 public:
  explicit OneMapping(const Crowd& crowd) : instance_(crowd.instance.name()) {
    const auto* root = static_cast<const RootLayout*>(mapping_of(root_name(instance_)));
    dir_ = static_cast<const LineDir*>(
        mapping_of(object_name(instance_, load_acquire(root->rooms[0].line.object))));
  }
  const LineDir& dir() const { return *dir_; }
  const LineSegment* segment(u64 no) {
    const u32 number = load_acquire(dir_->segment[ring_of(no)].object);
    if (number == 0) {
      return nullptr;
    }
    const void*& at = segments_[number];
    if (at == nullptr) {
      at = mapping_of(object_name(instance_, number));
    }
    return static_cast<const LineSegment*>(at);
  }

 private:
  std::string instance_;
  const LineDir* dir_ = nullptr;
  std::unordered_map<u32, const void*> segments_;
};

TEST(LineRaceTest, ARankWasTrueDuringTheCall) {
  Crowd crowd;
  crowd.drift();
  Outcome outcome;
  contend(crowd, outcome, [&] {
    return [mapping = OneMapping(crowd)](std::span<const Ticket> tickets,
                                         std::span<u64> ranks) mutable {
      count_ranks(
          mapping.dir(), [&](u64 no) { return mapping.segment(no); }, tickets, ranks);
    };
  });
  EXPECT_EQ(outcome.wrong, 0U);
  EXPECT_GT(outcome.checked, 1000U);
}

TEST(LineRaceTest, AReadersRankWasTrueDuringTheCall) {
  Crowd crowd;
  Outcome outcome;
  contend(crowd, outcome, [&] {
    auto reader = Reader::open(crowd.instance.source());
    return [reader = std::make_shared<Reader>(reader.take())](std::span<const Ticket> tickets,
                                                              std::span<u64> ranks) {
      (void)reader->refresh();
      reader->ranks_of(reader->rooms().at(0), tickets, ranks);
    };
  });
  EXPECT_EQ(outcome.wrong, 0U);
  EXPECT_GT(outcome.checked, 1000U);
}

// The same check must find a reader that counts who waits behind and subtracts, or it proves
// nothing: later tickets come in between.
TEST(LineRaceTest, TheCheckFindsARankBySubtraction) {
  Crowd crowd;
  crowd.drift();
  Outcome outcome;
  contend(crowd, outcome, [&] {
    return [mapping = OneMapping(crowd)](std::span<const Ticket> tickets,
                                         std::span<u64> ranks) mutable {
      const LineDir& dir = mapping.dir();
      for (std::size_t i = 0; i < tickets.size(); ++i) {
        const u64 ticket = tickets[i].value;
        const u64 first = segment_of(load_acquire(dir.head));
        const u64 last = segment_of(load_acquire(dir.tail));
        u64 behind = 0;
        for (u64 s = segment_of(ticket); s <= last; ++s) {
          const LineSegment* segment = mapping.segment(s);
          for (u32 word = s == segment_of(ticket) ? place_of(ticket) / 64 : 0;
               segment != nullptr && word < kSegmentTickets / 64; ++word) {
            const bool own = s * kSegmentTickets + u64{word} * 64 == ticket / 64 * 64;
            const u64 mask = own ? ~u64{0} << ticket % 64 : ~u64{0};
            behind += static_cast<u64>(std::popcount(load_relaxed(segment->bits[word]) & mask));
          }
        }
        ranks[i] = count_segments(dir, first, last + 1) - behind;
      }
    };
  });
  EXPECT_GT(outcome.wrong, 0U);
}

}  // namespace
}  // namespace lineq::shm
