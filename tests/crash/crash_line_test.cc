// Rooms, lines and visitors: every store of the writer in turn is the last one before death (build
// option crash_points). Afterwards every invariant holds, nobody lost a place, and the state is
// that before or after the operation under way.
#include <functional>
#include <map>

#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/intent.h"
#include "shm/line_count.h"
#include "tests/shm/visitors.h"

namespace lineq::shm {
namespace {

struct RoomModel {
  RoomSettings settings;
  u64 tail = 0;                        // next ticket
  std::map<u64, std::string> waiting;  // by ticket
  bool operator==(const RoomModel&) const = default;
};
struct Model {
  std::map<std::string, RoomModel> rooms;
  std::map<std::string, VisitorState> visitors;
  bool operator==(const Model&) const = default;
};

struct Operation {
  std::function<void(Writer&)> on_writer;
  std::function<void(Model&)> on_model;
};
using Script = std::vector<Operation>;

RoomNo room_of(const Writer& writer, const std::string& name) {
  for (const RoomNo room : writer.rooms()) {
    if (writer.room_settings(room).name == name) {
      return room;
    }
  }
  return RoomNo{0xffff};
}

Operation add(const std::string& room) {
  return {[=](Writer& w) { ASSERT_TRUE(w.add_room(room_settings(room), 0).ok()); },
          [=](Model& m) { m.rooms[room].settings = room_settings(room); }};
}
Operation change(const std::string& room) {
  RoomSettings rules = room_settings(room, 77);
  rules.message = std::string(255, 'm');
  rules.host = "example.org";
  rules.method = QueueingMethod::kRandom;
  rules.paused = true;
  return {[=](Writer& w) { w.set_room(room_of(w, room), rules); },
          [=](Model& m) { m.rooms[room].settings = rules; }};
}
Operation drop(const std::string& room) {
  return {[=](Writer& w) { w.drop_room(room_of(w, room)); },
          [=](Model& m) { m.rooms.erase(room); }};
}
Operation come(const std::string& room, const std::string& key) {
  return {[=](Writer& w) { join(w, room_of(w, room), key); },
          [=](Model& m) {
            m.rooms[room].waiting[m.rooms[room].tail++] = key;
            m.visitors[key] = VisitorState::kWaiting;
          }};
}
// The k-th who waits comes to `state`; k = 0 is the front.
Operation select(const std::string& room, u64 k, VisitorState state) {
  return {[=](Writer& w) {
            const RoomNo no = room_of(w, room);
            become(w, holder(w, no, *w.line(no).select(k)), state);
          },
          [=](Model& m) {
            const auto at = std::next(m.rooms[room].waiting.begin(), static_cast<long>(k));
            m.visitors[at->second] = state;
            m.rooms[room].waiting.erase(at);
          }};
}
Operation touch(const std::string& key, VisitorState state) {
  return {[=](Writer& w) { become(w, key, state); }, [=](Model& m) { m.visitors[key] = state; }};
}

// Begins `before` tickets short of a segment's end, of which the first `late` still wait.
Operation many(const std::string& room, u64 before) {
  const u64 count = kSegmentTickets - before;
  return {[=](Writer& w) {
            Line& line = w.line(room_of(w, room));
            for (u64 i = 0; i < count; ++i) {
              (void)line.next_ticket(0);
              Together in(w);
              in.join(line);
              in.land_quietly(0);
              Together out(w);
              out.leave(line, Ticket{i});
              out.land_quietly(0);
            }
          },
          [=](Model& m) { m.rooms[room].tail = count; }};
}

struct Story {
  Script prefill;  // before crashes begin
  Script script;
};

Story visits() {
  Story t;
  t.prefill = {add("a"), come("a", "old1@a"), come("a", "old2@a")};
  t.script = {
      come("a", "s1@a"),
      come("a", "s2@a"),
      select("a", 0, VisitorState::kGranted),
      select("a", 2, VisitorState::kGranted),  // any place
      touch("old1@a", VisitorState::kReady),
      touch("old1@a", VisitorState::kActive),
      come("a", "s3@a"),
      select("a", 1, VisitorState::kAbandoned),
      touch("old1@a", VisitorState::kExpired),
      come("a", "old1@a"),
      touch("s2@a", VisitorState::kFront),
      touch("s2@a", VisitorState::kGranted),
      select("a", 0, VisitorState::kGranted),
      select("a", 0, VisitorState::kGranted),
      select("a", 0, VisitorState::kRevoked),  // nobody waits now
      come("a", "s4@a"),
  };
  return t;
}

Story rooms() {
  Story t;
  t.prefill = {add("a"), come("a", "s1@a")};
  t.script = {add("b"),
              come("b", "s1@b"),
              change("a"),
              change("b"),
              select("b", 0, VisitorState::kRevoked),
              drop("b"),
              add("c"),
              come("c", "s1@c"),
              change("c")};
  return t;
}

// A line goes from one segment to the next, leaves the first behind, and from there to the third.
Story segments() {
  Story t;
  t.prefill = {add("a"), many("a", 3)};
  t.script = {come("a", "s1@a"),
              come("a", "s2@a"),
              come("a", "s3@a"),
              come("a", "s4@a"),
              come("a", "s5@a"),
              select("a", 1, VisitorState::kGranted),
              select("a", 0, VisitorState::kGranted),
              select("a", 1, VisitorState::kGranted),  // in the new segment
              select("a", 0, VisitorState::kGranted),  // the last in the old one
              select("a", 0, VisitorState::kGranted),
              come("a", "s6@a")};
  return t;
}

// The empty first segment serves again as the third.
Story recycling() {
  Story t;
  t.prefill = {add("a"), many("a", 1), come("a", "s1@a"), come("a", "s2@a")};
  t.prefill.push_back(select("a", 0, VisitorState::kGranted));
  const u64 count = kSegmentTickets - 2;
  t.prefill.push_back({[=](Writer& w) {
                         Line& line = w.line(room_of(w, "a"));
                         for (u64 i = 0; i < count; ++i) {
                           const Ticket ticket = *line.next_ticket(0);
                           Together in(w);
                           in.join(line);
                           in.land_quietly(0);
                           Together out(w);
                           out.leave(line, ticket);
                           out.land_quietly(0);
                         }
                       },
                       [=](Model& m) { m.rooms["a"].tail += count; }});
  t.script = {come("a", "s3@a"), come("a", "s4@a"), select("a", 0, VisitorState::kGranted),
              select("a", 0, VisitorState::kGranted), select("a", 0, VisitorState::kGranted)};
  return t;
}

// Run by a process that dies at the k-th crash point. False when it came to its end.
bool crash_at(const TempInstance& instance, const Story& test, u64 k, u32& progress) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto attached = Writer::attach(instance.options());
    if (!attached) {
      ::_exit(1);
    }
    Writer& writer = **attached;
    (void)visitors(writer);
    for (const Operation& operation : test.prefill) {
      operation.on_writer(writer);
    }
    crash_countdown = k;
    for (progress = 0; progress < test.script.size(); ++progress) {
      test.script[progress].on_writer(writer);
    }
    crash_countdown = 0;
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kCrashExit) << WEXITSTATUS(status);
  return WEXITSTATUS(status) == kCrashExit;
}

Model read_all(Writer& writer) {
  Model model;
  const Table& table = visitors(writer);
  for (const RoomNo room : writer.rooms()) {
    const Line& line = writer.line(room);
    RoomModel& m = model.rooms[writer.room_settings(room).name];
    m.settings = writer.room_settings(room);
    for (u64 k = 0; k < line.waiting(); ++k) {
      const Ticket ticket = *line.select(k);
      EXPECT_EQ(line.rank_of(ticket), k);
      m.waiting[ticket.value] = holder(writer, room, ticket);
    }
    EXPECT_EQ(line.front(), line.select(0));
  }
  for (u32 slot = 0; slot < table.high_water(); ++slot) {
    const EntryView entry = table.at(slot);
    if (entry.live()) {
      const Visitor v = Visitor::of(entry);
      model.visitors[std::string(entry.key_chars())] = v.state;
      EXPECT_EQ(entry.value(kGpc1), holds_place(v.state) ? 1U : 0U) << entry.key_chars();
    }
  }
  return model;
}

void check(const TempInstance& instance, const Story& test, u32 progress) {
  ASSERT_EQ(findings(instance), "") << "before the repair";
  auto writer = attach(instance);
  ASSERT_EQ(writer->attached_as(), Attach::kRecovered) << writer->attach_note();
  ASSERT_EQ(findings(instance), "") << "after the repair";
  Model before;
  for (const Operation& operation : test.prefill) {
    operation.on_model(before);
  }
  for (u32 i = 0; i < progress && i < test.script.size(); ++i) {
    test.script[i].on_model(before);
  }
  Model after = before;
  if (progress < test.script.size()) {
    test.script[progress].on_model(after);
  }
  Model found = read_all(*writer);
  // Tails are compared by the tickets that are given next.
  bool is_before = true;
  bool is_after = true;
  for (auto& [name, room] : found.rooms) {
    const RoomNo no = room_of(*writer, name);
    const auto next = writer->line(no).next_ticket(1);
    ASSERT_TRUE(next);
    is_before &= before.rooms.contains(name) && before.rooms[name].tail == next->value;
    is_after &= after.rooms.contains(name) && after.rooms[name].tail == next->value;
    room.tail = next->value;
  }
  ASSERT_TRUE((is_before && found == before) || (is_after && found == after))
      << "in the middle of operation " << progress;
  // And life goes on.
  const RoomNo room = room_of(*writer, "a");
  join(*writer, room, "afterwards@a");
  join(*writer, room, "later@a");
  while (const auto front = writer->line(room).front()) {
    become(*writer, holder(*writer, room, *front), VisitorState::kGranted);
  }
  writer->stop();
  writer.reset();
  ASSERT_EQ(findings(instance), "");
}

class CrashLineTest : public testing::Test {
 protected:
  void SetUp() override {
    progress_ = static_cast<u32*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(progress_, MAP_FAILED);
  }
  void TearDown() override { ::munmap(progress_, 4096); }

  u64 enumerate(const Story& test, u64 stride = 1) {
    u64 crashes = 0;
    for (u64 k = 1;; k += stride) {
      TempInstance instance;
      SCOPED_TRACE(fmt::format("crash point {}", k));
      const bool crashed = crash_at(instance, test, k, *progress_);
      check(instance, test, *progress_);
      if (!crashed || HasFatalFailure()) {
        return crashes;
      }
      ++crashes;
    }
  }

  u32* progress_ = nullptr;
};

TEST_F(CrashLineTest, EveryStoreOfEveryVisit) {
  EXPECT_GT(enumerate(visits()), 300U);
}

TEST_F(CrashLineTest, EveryStoreOfARoomsRules) {
  EXPECT_GT(enumerate(rooms()), 500U);
}

TEST_F(CrashLineTest, FromOneSegmentToTheNext) {
  EXPECT_GT(enumerate(segments()), 200U);
}

TEST_F(CrashLineTest, ASegmentUsedAgain) {
  EXPECT_GT(enumerate(recycling()), 80U);
}

// Dying again while making whole what the first death left.
TEST_F(CrashLineTest, ACrashDuringRecovery) {
  const Story test = visits();
  u64 crashes = 0;
  for (u64 k = 5; k < 300; k += 11) {
    for (u64 j = 1;; ++j) {
      TempInstance instance;
      SCOPED_TRACE(fmt::format("crash point {}, then {} of the recovery", k, j));
      ASSERT_TRUE(crash_at(instance, test, k, *progress_));
      const pid_t child = ::fork();
      if (child == 0) {
        crash_countdown = j;
        const auto writer = Writer::attach(instance.options());
        ::_exit(writer.ok() ? 0 : 1);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      ASSERT_TRUE(WIFEXITED(status));
      check(instance, test, *progress_);
      if (HasFatalFailure() || WEXITSTATUS(status) == 0) {
        break;
      }
      ++crashes;
    }
  }
  EXPECT_GT(crashes, 50U);
}

// Time that a second attach finds must not count what the first has counted already.
TEST_F(CrashLineTest, RoomTimeIsCountedOnce) {
  for (u64 j = 1;; ++j) {
    TempInstance instance;
    SCOPED_TRACE(fmt::format("crash point {} of the recovery", j));
    constexpr u64 kAwayMs = 30;
    Tick time = 0;
    u64 since = 0;
    {
      auto writer = attach(instance);
      const SegmentMs now = writer->now();
      writer->heartbeat(now);
      time = writer->room_time(now);
      since = monotonic_ms();
    }
    while (monotonic_ms() < since + kAwayMs) {
    }
    const pid_t child = ::fork();
    if (child == 0) {
      crash_countdown = j;
      const auto writer = Writer::attach(instance.options());
      ::_exit(writer.ok() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    const auto writer = attach(instance);
    const i32 passed = tick_diff(writer->room_time(writer->now()), time);
    ASSERT_GE(passed, 0);
    ASSERT_LE(static_cast<u64>(passed), monotonic_ms() - since - kAwayMs);
    if (WEXITSTATUS(status) == 0) {
      break;
    }
  }
}

}  // namespace
}  // namespace lineq::shm
