#include "webui/live/positions.h"

#include <random>

#include "tests/webui/crowd.h"
#include "tests/webui/pages_test.h"
#include "webui/pages/json.h"

namespace lineq::live {
namespace {

using shm::Crowd;
using shm::VisitorState;

// An open page: keeps what it heard.
class Page final : public Listener {
 public:
  void hear(const Text& text) override { say(*text); }
  void say(std::string_view text) override {
    ASSERT_FALSE(slow) << "told while it was busy";
    heard += text;
  }
  bool busy() const override { return slow; }
  // ... and forgets it.
  std::string take() { return std::exchange(heard, {}); }
  u64 position() const {
    const std::size_t at = heard.rfind("\"n\":");
    return at == std::string::npos ? 0 : std::stoull(heard.substr(at + 4));
  }

  std::string heard;
  bool slow = false;
};

class PositionsTest : public pages::PagesTest {
 protected:
  struct Open {
    std::unique_ptr<Page> page = std::make_unique<Page>();
    std::unique_ptr<http::Events> events;
  };

  Positions& positions() {
    if (positions_ == nullptr) {
      positions_ = std::make_unique<Positions>(
          segment(), presence_, [](const View& view, u8 language, std::string& out) {
            out += fmt::format("{{\"standing\":{},\"n\":{},\"language\":{}}}",
                               static_cast<int>(view.standing), view.position, language);
          });
    }
    return *positions_;
  }
  Open open(std::string_view key, Positions::Dialect dialect = Positions::Dialect::kOurs) {
    tick();
    Open o;
    o.events = positions().seat(key, 3, dialect);
    o.events->open(*o.page);
    return o;
  }
  void tick() {
    if (writer_ != nullptr) {
      writer_->heartbeat(writer_->now());
    }
    segment().tick(clock_ms_);
    positions().tick(clock_ms_);
  }
  void second(u32 n = 1) {
    for (u32 i = 0; i < n; ++i) {
      clock_ms_ += 1000;
      tick();
      positions().begin_round(clock_ms_);
      while (!positions().step()) {
      }
    }
  }
  void TearDown() override { EXPECT_EQ(positions_ == nullptr ? 0 : positions_->size(), 0U); }

  Presence presence_;
  std::unique_ptr<Positions> positions_;
  u64 clock_ms_ = 1'000'000;
};

TEST_F(PositionsTest, TellsThePlaceAtOnceAndThenOnlyChanges) {
  Crowd crowd(*writer_);
  for (const char* v : {"a", "b", "c"}) {
    crowd.arrive(v);
  }
  Open c = open("c@shop");
  EXPECT_EQ(c.page->take(),
            "event: position\nid: 3\ndata: {\"standing\":1,\"n\":3,\"language\":3}\n\n");
  second(5);
  EXPECT_EQ(c.page->take(), "");
  crowd.become("a", VisitorState::kReady);
  second();
  EXPECT_EQ(c.page->position(), 2U);
}

TEST_F(PositionsTest, AtMostOneEventASecond) {
  Crowd crowd(*writer_);
  for (int i = 0; i < 20; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  Open last = open("v19@shop");
  last.page->take();
  second();
  for (int i = 0; i < 10; ++i) {
    crowd.become(fmt::format("v{}", i), VisitorState::kReady);
    tick();
  }
  EXPECT_EQ(last.page->take(), "");
  second();
  EXPECT_EQ(last.page->position(), 10U);
}

TEST_F(PositionsTest, ReadyIsToldWithTheNextTick) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  Open a = open("a@shop");
  a.page->take();
  crowd.become("a", VisitorState::kGranted);
  tick();
  EXPECT_EQ(a.page->heard.find("ready"), std::string::npos);
  crowd.become("a", VisitorState::kReady);
  tick();
  EXPECT_TRUE(a.page->heard.ends_with("event: ready\nid: 0\ndata: {\"state\":\"ready\"}\n\n"))
      << a.page->heard;
  a.page->take();
  crowd.become("a", VisitorState::kActive);
  second(3);
  EXPECT_EQ(a.page->take(), "") << "once";
}

TEST_F(PositionsTest, WhoIsInsideAlreadyIsReady) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  crowd.become("a", VisitorState::kActive);
  EXPECT_NE(open("a@shop").page->heard.find("event: ready"), std::string::npos);
}

TEST_F(PositionsTest, AVisitorMayBecomeKnownLater) {
  Crowd crowd(*writer_);
  Open a = open("a@shop");
  EXPECT_NE(a.page->take().find("\"standing\":0"), std::string::npos);
  crowd.arrive("a");
  tick();
  EXPECT_EQ(a.page->position(), 1U);
}

TEST_F(PositionsTest, APlaceThatIsGoneForGoodIsToldSo) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  Open a = open("a@shop");
  crowd.become("a", VisitorState::kAbandoned);
  second(4);
  EXPECT_EQ(a.page->heard.find("event: again"), std::string::npos);
  second(3);
  EXPECT_NE(a.page->take().find("event: again"), std::string::npos);
  second(3);
  EXPECT_EQ(a.page->take(), "");
}

TEST_F(PositionsTest, QuietStreamsAreKeptOpen) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  Open a = open("a@shop");
  second(1);
  a.page->take();
  second(14);
  EXPECT_EQ(a.page->take(), ": keepalive\n\n");
  second(15);
  EXPECT_EQ(a.page->take(), ": keepalive\n\n");
}

TEST_F(PositionsTest, ASlowReaderGetsTheNewestPlaceOnly) {
  Crowd crowd(*writer_);
  for (int i = 0; i < 10; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  Open last = open("v9@shop");
  last.page->take();
  last.page->slow = true;
  for (int i = 0; i < 5; ++i) {
    crowd.become(fmt::format("v{}", i), VisitorState::kReady);
    second();
  }
  last.page->slow = false;
  second();
  EXPECT_EQ(last.page->take(),
            "event: position\nid: 5\ndata: {\"standing\":1,\"n\":5,\"language\":3}\n\n");
}

TEST_F(PositionsTest, TheOriginalsPageCountsDown) {
  Crowd crowd(*writer_);
  for (int i = 0; i < 5; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  Open last = open("v4@shop", Positions::Dialect::kOriginal);
  EXPECT_EQ(last.page->take(), "data: 5\n\n");
  second();
  EXPECT_EQ(last.page->take(), "");
  crowd.become("v0", VisitorState::kReady);
  crowd.become("v1", VisitorState::kReady);
  second();
  EXPECT_EQ(last.page->take(), "data: DEC\n\ndata: DEC\n\n");
  crowd.become("v4", VisitorState::kReady);
  tick();
  EXPECT_EQ(last.page->take(), "data: DEC\n\ndata: DEC\n\ndata: DEC\n\n");
}

TEST_F(PositionsTest, TwoPagesOfOneVisitorBothHear) {
  Crowd crowd(*writer_);
  crowd.arrive("a");
  Open one = open("a@shop");
  Open two = open("a@shop");
  crowd.become("a", VisitorState::kReady);
  tick();
  EXPECT_NE(one.page->heard.find("event: ready"), std::string::npos);
  EXPECT_NE(two.page->heard.find("event: ready"), std::string::npos);
}

TEST_F(PositionsTest, AnotherDaemonFindsTheSamePlaces) {
  auto crowd = std::make_unique<Crowd>(*writer_);
  for (const char* v : {"a", "b"}) {
    crowd->arrive(v);
  }
  Open b = open("b@shop");
  b.page->take();
  writer_.reset();
  second(2);
  EXPECT_EQ(b.page->heard.find("again"), std::string::npos);
  writer_ = shm::attach(instance_);
  second(10);
  EXPECT_EQ(b.page->heard.find("again"), std::string::npos) << b.page->heard;
  EXPECT_TRUE(b.page->position() == 2 || b.page->heard.empty());
}

TEST_F(PositionsTest, AReplacedSegmentBeginsAnew) {
  {
    Crowd crowd(*writer_);
    crowd.arrive("a");
    crowd.arrive("b");
  }
  Open b = open("b@shop");
  b.page->take();
  writer_.reset();
  instance_.remove();
  writer_ = shm::attach(instance_);
  Crowd crowd(*writer_);
  crowd.arrive("b");
  // The reader looks for another segment now and then only.
  const u64 end = monotonic_ms() + 10'000;
  while (b.page->position() != 1 && monotonic_ms() < end) {
    second();
  }
  EXPECT_EQ(b.page->position(), 1U) << b.page->heard;
}

// Any crowd, any order of events: every page shows its true rank after a round, and its number
// never grows.
TEST_F(PositionsTest, AgreesWithTheTruthForACrowd) {
  Crowd crowd(*writer_);
  constexpr int kVisitors = 3000;
  for (int i = 0; i < kVisitors; ++i) {
    crowd.arrive(fmt::format("v{}", i));
  }
  std::vector<bool> waiting(kVisitors, true);
  std::vector<Open> pages(kVisitors);
  std::vector<u64> shown(kVisitors, ~u64{0});
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int i = 0; i < kVisitors; i += 1 + static_cast<int>(random() % 3)) {
    pages[static_cast<std::size_t>(i)] = open(fmt::format("v{}@shop", i));
  }
  for (int round = 0; round < 20; ++round) {
    for (int k = 0; k < 100; ++k) {
      const std::size_t i = random() % kVisitors;
      if (waiting[i]) {
        waiting[i] = false;
        crowd.become(fmt::format("v{}", i),
                     random() % 2 == 0 ? VisitorState::kReady : VisitorState::kAbandoned);
      }
      if (random() % 10 == 0) {
        pages[random() % kVisitors] = {};
      }
      if (random() % 10 == 0) {
        tick();
      }
    }
    second();
    u64 rank = 0;
    for (std::size_t i = 0; i < kVisitors; ++i) {
      rank += waiting[i] ? 1U : 0U;
      if (pages[i].events == nullptr) {
        continue;
      }
      const std::string& heard = pages[i].page->heard;
      if (waiting[i]) {
        const u64 n = pages[i].page->position();
        ASSERT_EQ(n, rank) << i << ": " << heard;
        ASSERT_LE(n, shown[i]);
        shown[i] = n;
      }
    }
  }
  pages.clear();
}

// Presence.

TEST_F(PositionsTest, OpenPagesOfThoseWhoWaitAreReported) {
  Crowd crowd(*writer_);
  std::vector<std::string> lines;
  presence_.set_send([&](std::string line, const std::function<void(bool)>& done) {
    lines.push_back(std::move(line));
    done(true);
  });
  crowd.arrive("a");
  crowd.arrive("b");
  crowd.become("b", VisitorState::kReady);
  Open a = open("a@shop");
  Open b = open("b@shop");
  Open stranger = open("nobody@shop");
  second();
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0], R"({"command":"present","keys":["a@shop"],"by":"lineq-web"})");
  second(29);
  EXPECT_EQ(lines.size(), 1U);
  second(2);
  EXPECT_EQ(lines.size(), 2U);
}

}  // namespace
}  // namespace lineq::live
