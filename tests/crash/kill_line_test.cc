// kill -9 at random moments while visitors come, are called and leave: nobody's state or ticket is
// other than acknowledged, lines and visitors agree.
#include <unordered_map>

#include "shm/words.h"
#include "tests/crash/kill.h"
#include "tests/shm/visitors.h"

namespace lineq::shm {
namespace {

constexpr u32 kKeys = 20'000;

// Visitor::word0 as told and as it shall be; 0 = never came.
struct Journal {
  u64 acknowledged[kKeys];
  u64 intended[kKeys];
};

[[noreturn]] void come_and_leave(Writer& writer, Journal& journal, u64 seed) {
  if (writer.rooms().empty()) {
    (void)writer.add_room(room_settings("shop"), 0);
  }
  const RoomNo room = writer.rooms().front();
  Table& table = visitors(writer);
  Line& line = writer.line(room);
  std::mt19937_64 random(seed);
  std::unordered_map<u64, u32> holders;  // by ticket
  for (u32 n = 0; n < kKeys; ++n) {
    const Visitor v = Visitor::of(journal.acknowledged[n], 0);
    if (v.state == VisitorState::kWaiting) {
      holders.emplace(v.ticket.value, n);
    }
  }
  for (;;) {
    u32 n = static_cast<u32>(random() % kKeys);
    std::string key = fmt::format("{}@shop", n);
    u32 tag = table.tag_of(bytes(key));
    auto slot = table.find(tag, bytes(key));
    Visitor v = slot ? Visitor::of(table.at(*slot)) : Visitor{};
    Together change(writer);
    if (v.state != VisitorState::kWaiting) {
      const auto ticket = line.next_ticket(0);
      if (!ticket) {
        ::_exit(2);
      }
      v = {.state = VisitorState::kWaiting,
           .room = room,
           .ticket = *ticket,
           .deadline = 5,
           .since = 5};
      change.join(line);
      holders.emplace(ticket->value, n);
    } else {
      if (random() % 3 != 0) {
        // Not this one but the first in the line.
        n = holders.at(line.front()->value);
        key = fmt::format("{}@shop", n);
        tag = table.tag_of(bytes(key));
        slot = table.find(tag, bytes(key));
        v = Visitor::of(table.at(*slot));
      }
      change.leave(line, v.ticket);
      holders.erase(v.ticket.value);
      v.state = random() % 2 == 0 ? VisitorState::kGranted : VisitorState::kAbandoned;
    }
    u64* image = slot ? change.update(table, *slot, tag) : change.insert(table, bytes(key), tag, 0);
    put_visitor(table, image, v);
    store_release(journal.intended[n], v.word0());
    change.land(kNoPeer, 5);
    store_release(journal.acknowledged[n], v.word0());
  }
}

TEST(SlowKillTest, NobodyLosesAPlaceWhateverIsKilled) {
  TempInstance instance;
  const Shared<Journal> journal;
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  u64 redone = 0;
  for (u64 round = 1; round <= 300; ++round) {
    work_and_kill(instance, random, [&](Writer& w) { come_and_leave(w, *journal, round); });
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_EQ(findings(instance), "") << "before the repair, round " << round;

    auto writer = attach(instance);
    ASSERT_EQ(writer->attached_as(), Attach::kRecovered) << writer->attach_note();
    const Table& table = visitors(*writer);
    u64 waiting = 0;
    for (u32 n = 0; n < kKeys; ++n) {
      const auto slot = table.find(bytes(fmt::format("{}@shop", n)));
      const Visitor v = slot ? Visitor::of(table.at(*slot)) : Visitor{};
      const u64 word = slot ? v.word0() : 0;
      ASSERT_TRUE(word == journal->acknowledged[n] || word == journal->intended[n]) << n;
      redone += journal->acknowledged[n] != journal->intended[n] ? 1U : 0U;
      journal->acknowledged[n] = word;
      journal->intended[n] = word;
      if (v.state == VisitorState::kWaiting) {
        ++waiting;
        ASSERT_TRUE(writer->line(v.room).has(v.ticket)) << n;
      }
    }
    ASSERT_TRUE(writer->rooms().empty() || writer->line(RoomNo{0}).waiting() == waiting);
    writer.reset();
  }
  EXPECT_EQ(findings(instance), "");
  EXPECT_GT(redone, 0U);
}

}  // namespace
}  // namespace lineq::shm
