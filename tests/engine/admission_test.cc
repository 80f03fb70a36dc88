#include "daemon/engine/admission.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace lineq::test {
namespace {

using engine::advertised_places;
using engine::Dice;
using engine::Flow;
using engine::flow_of;
using engine::Place;
using engine::TicketBook;
using shm::QueueingMethod;

TEST(AdmissionTest, SuspendedGoesBeforeQueueAllAndThatBeforeTheMethod) {
  shm::RoomSettings room;
  EXPECT_EQ(flow_of(room), Flow::kPlaces);
  room.method = QueueingMethod::kPassthrough;
  EXPECT_EQ(flow_of(room), Flow::kAll);
  room.method = QueueingMethod::kReject;
  EXPECT_EQ(flow_of(room), Flow::kNobody);
  EXPECT_FALSE(engine::takes_newcomers(room));
  room.queue_all = true;
  EXPECT_TRUE(engine::takes_newcomers(room));
  room.method = QueueingMethod::kPassthrough;
  EXPECT_EQ(flow_of(room), Flow::kNobody);
  room.suspended = true;
  EXPECT_EQ(flow_of(room), Flow::kAll);
}

TEST(AdmissionTest, HaproxysAreOfferedPlacesOnlyWhenTheyMayAdmit) {
  shm::RoomSettings room;
  room.capacity = 5;
  EXPECT_EQ(advertised_places(room, 0, 0), 0U);
  room.fast = true;
  EXPECT_EQ(advertised_places(room, 0, 0), 5U);
  EXPECT_EQ(advertised_places(room, 4, 0), 1U);
  EXPECT_EQ(advertised_places(room, 7, 0), 0U);
  EXPECT_EQ(advertised_places(room, 4, 1), 0U);
  room.paused = true;
  EXPECT_EQ(advertised_places(room, 0, 0), 0U);
  room.suspended = true;
  EXPECT_EQ(advertised_places(room, 9, 9), 5U);
}

TEST(AdmissionTest, DiceAreFairAndRepeatable) {
  Dice dice(7);
  Dice same(7);
  std::map<u64, int> seen;
  for (int i = 0; i < 70'000; ++i) {
    const u64 n = dice.below(7);
    EXPECT_EQ(n, same.below(7));
    ++seen[n];
  }
  ASSERT_EQ(seen.size(), 7U);
  for (const auto& [number, times] : seen) {
    EXPECT_NEAR(times, 10'000, 400) << number;
  }
}

TEST(TicketBookTest, IsAMapByTicket) {
  std::mt19937 random(3);
  TicketBook book;
  std::map<u64, u32> model;
  u64 tail = 5'000'000;
  for (int i = 0; i < 200'000; ++i) {
    if (random() % 2 == 0 || model.empty()) {
      const Place place(static_cast<u32>(random() % 16), static_cast<u32>(random() % 1'000'000));
      const u64 ticket = random() % 50 == 0 ? tail - random() % 1000 : tail;
      tail += ticket == tail ? 1 : 0;
      book.put(Ticket{ticket}, place);
      model[ticket] = place.word;
    } else {
      auto at = model.lower_bound(tail - random() % 2000);
      at = at == model.end() ? model.begin() : at;
      EXPECT_EQ(book.place(Ticket{at->first}).word, at->second);
      book.take(Ticket{at->first});
      EXPECT_FALSE(book.has(Ticket{at->first}));
      model.erase(at);
    }
  }
  for (const auto& [ticket, word] : model) {
    ASSERT_TRUE(book.has(Ticket{ticket}));
    EXPECT_EQ(book.place(Ticket{ticket}).word, word);
  }
}

TEST(TicketBookTest, RemembersWhatAVisitorWasTold) {
  TicketBook book;
  book.put(Ticket{9}, Place(1, 2));
  EXPECT_FALSE(TicketBook::was_told(book.told_to(Ticket{9})));
  book.tell(Ticket{9}, TicketBook::told(100, 3600));
  const TicketBook::Told told = book.told_to(Ticket{9});
  EXPECT_TRUE(TicketBook::was_told(told));
  EXPECT_TRUE(TicketBook::held(told, 100));
  EXPECT_TRUE(TicketBook::held(told, 3600));
  EXPECT_FALSE(TicketBook::held(told, 98));
  EXPECT_FALSE(TicketBook::held(told, 3603));
  EXPECT_TRUE(TicketBook::held(TicketBook::told(0, 0), 0));
}

}  // namespace
}  // namespace lineq::test
