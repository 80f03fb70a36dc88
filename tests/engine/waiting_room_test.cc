// Rules and transitions of the waiting room, one at a time, with HAProxys that behave.
#include "daemon/engine/waiting_room.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/engine/room_world.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::VisitorState;

constexpr u64 kSession = 60'000;
constexpr u64 kAllowance = 2000;
constexpr u64 kGrace = 60'000;
constexpr u64 kHold = 300'000;

// One room, one HAProxy, in which `anna` is inside if the room has one place.
struct WaitingRoomTest : ::testing::Test {
  explicit WaitingRoomTest(u32 places = 1) : capacity(places) {}
  void SetUp() override {
    w.put(a_room("shop", capacity));
    gate = &w.gate();
  }
  void enter(const std::string& key) {
    gate->request(key);
    w.settle();
    gate->request(key);
    w.settle();
    ASSERT_EQ(w.state(key), VisitorState::kActive) << key;
  }
  void request(const std::string& key) {
    gate->request(key);
    w.settle();
  }
  cli::RoomSettings rules() { return *w.control().find("shop"); }
  u32 capacity;
  RoomWorld w;
  Gate* gate = nullptr;
};
struct RoomOfTwoTest : WaitingRoomTest {
  RoomOfTwoTest() : WaitingRoomTest(2) {}
};

// --- the way of one visitor ---

TEST_F(WaitingRoomTest, AVisitorWhoFindsAPlaceIsCalledAtOnce) {
  EXPECT_FALSE(gate->request("anna@shop"));
  w.settle();
  EXPECT_TRUE(gate->may_enter("anna@shop"));
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
  EXPECT_TRUE(gate->request("anna@shop"));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.numbers().active, 1U);
  EXPECT_EQ(w.count(RoomCounter::issued), 1U);
  EXPECT_EQ(w.count(RoomCounter::granted), 1U);
  EXPECT_EQ(w.count(RoomCounter::admitted), 1U);
  w.check();
}

TEST_F(WaitingRoomTest, WhoComesWhenItIsFullWaitsAndIsCalledWhenSomebodyLeaves) {
  enter("anna@shop");
  request("bert@shop");
  request("carl@shop");
  EXPECT_EQ(w.position("bert@shop"), 1U);
  EXPECT_EQ(w.position("carl@shop"), 2U);
  w.pass(kSession + kAllowance - 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  w.pass(400);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_FALSE(gate->may_enter("anna@shop"));
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
  EXPECT_TRUE(gate->may_enter("bert@shop"));
  EXPECT_EQ(w.position("carl@shop"), 1U);
  EXPECT_EQ(w.count(RoomCounter::fifo_inversions), 0U);
  w.check();
}

TEST_F(WaitingRoomTest, EachRequestRenewsTheSession) {
  enter("anna@shop");
  for (int i = 0; i < 5; ++i) {
    w.pass(kSession - 1000);
    request("anna@shop");
    EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  }
  w.pass(kSession + kAllowance + 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_EQ(w.count(RoomCounter::expired), 1U);
}

TEST_F(WaitingRoomTest, AFixedSessionEndsWhateverTheVisitorDoes) {
  cli::RoomSettings room = rules();
  room.fixed_session = true;
  w.put(room);
  enter("anna@shop");
  for (int i = 0; i < 5; ++i) {
    w.pass(kSession / 5 - 100);
    request("anna@shop");
  }
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  w.pass(800);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
}

// A call that arrived late looks like a visit to who learns it afterwards.
TEST_F(WaitingRoomTest, AFixedSessionThatOnlyALessonToldOfBeginsWhenTheVisitorIsSeen) {
  cli::RoomSettings room = rules();
  room.fixed_session = true;
  w.put(room);
  enter("anna@shop");
  request("bert@shop");
  gate->stall(true);
  room.capacity = 2;
  w.put(room);
  w.pass(500);
  gate->stall(false);
  w.pass(100);
  ASSERT_EQ(w.state("bert@shop"), VisitorState::kReady);
  gate->disconnect();
  w.pass(100);
  gate->connect();
  w.pass(kSession - 5000);
  ASSERT_EQ(w.state("bert@shop"), VisitorState::kActive) << "may be inside";
  request("bert@shop");
  w.pass(kSession - 500);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kActive);
  request("bert@shop");
  w.pass(1000);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kExpired);
  w.check();
}

TEST_F(WaitingRoomTest, WhoseSessionEndedQueuesAnewAtTheEnd) {
  enter("anna@shop");
  request("bert@shop");
  w.pass(kSession + kAllowance + 200);
  request("anna@shop");
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kWaiting);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, WhoIsSilentLosesThePlaceInTheLine) {
  enter("anna@shop");
  request("bert@shop");
  request("carl@shop");
  for (u64 t = 0; t < kHold + 1000; t += 30'000) {
    request("anna@shop");
    request("carl@shop");
    w.pass(30'000);
  }
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kAbandoned);
  EXPECT_EQ(w.position("carl@shop"), 1U);
  EXPECT_EQ(w.count(RoomCounter::abandoned), 1U);
  w.check();
}

TEST_F(WaitingRoomTest, AnOpenPageIsPresence) {
  enter("anna@shop");
  request("bert@shop");
  const std::vector<std::string_view> keys{"bert@shop", "nobody@shop", "", "@", "anna@shop"};
  for (u64 t = 0; t < 2 * kHold; t += 50'000) {
    w.control().present(keys, w.now());
    request("anna@shop");
    w.pass(50'000);
  }
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
}

// --- called and not come ---

TEST_F(WaitingRoomTest, WhoDoesNotComeIsCalledOnceMoreBeforeTheOthersAndThenIsOut) {
  request("anna@shop");
  request("bert@shop");
  const auto before = w.position("bert@shop");
  w.pass(kGrace + 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady) << "again";
  EXPECT_TRUE(w.visitor("anna@shop")->again);
  EXPECT_EQ(w.position("bert@shop"), before);
  EXPECT_EQ(w.count(RoomCounter::lapsed), 1U);
  w.pass(kGrace + 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kLapsed);
  EXPECT_FALSE(gate->may_enter("anna@shop"));
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
  w.check();
}

TEST_F(WaitingRoomTest, RequeueTailPutsBehindTheOthers) {
  cli::RoomSettings room = rules();
  room.lapse = shm::Lapse::kRequeueTail;
  w.put(room);
  request("anna@shop");
  request("bert@shop");
  w.pass(kGrace + 200);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
  EXPECT_EQ(w.position("anna@shop"), 1U);
  EXPECT_FALSE(gate->may_enter("anna@shop"));
  w.check();
}

TEST_F(WaitingRoomTest, DropForgetsWhoDoesNotCome) {
  cli::RoomSettings room = rules();
  room.lapse = shm::Lapse::kDrop;
  w.put(room);
  request("anna@shop");
  w.pass(kGrace + 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kLapsed);
  EXPECT_EQ(w.holders(), 0U);
}

// --- several HAProxys, late messages ---

TEST_F(WaitingRoomTest, AGrantIsReadyWhenAllHaproxysHaveAcknowledgedIt) {
  Gate& other = w.gate("other", 2);
  other.stall(true);
  request("anna@shop");
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kGranted);
  EXPECT_TRUE(gate->may_enter("anna@shop"));
  other.stall(false);
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
  EXPECT_TRUE(other.may_enter("anna@shop"));
}

TEST_F(WaitingRoomTest, AHaproxyThatDoesNotAnswerIsWaitedForThreeSeconds) {
  Gate& other = w.gate("other", 2);
  other.stall(true);
  request("anna@shop");
  w.pass(2800);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kGranted);
  w.pass(400);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, AHaproxyThatGoesAwayIsNotWaitedFor) {
  Gate& other = w.gate("other", 2);
  other.stall(true);
  request("anna@shop");
  other.disconnect();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, TheOtherHaproxyLetsInToo) {
  Gate& other = w.gate("other", 2);
  request("anna@shop");
  EXPECT_TRUE(other.request("anna@shop"));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
}

TEST_F(WaitingRoomTest, APlaceIsFreeWhenAllHaproxysKnowThatItIsTaken) {
  Gate& other = w.gate("other", 2);
  enter("anna@shop");
  request("bert@shop");
  other.stall(true);
  ASSERT_EQ(*w.control().revoke("shop", "anna@shop", w.now()), 1U);
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kRevoked);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  other.stall(false);
  w.settle();
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, WhoComesAtTheLastMomentKeepsThePlace) {
  enter("anna@shop");
  request("bert@shop");
  gate->stall(true);
  w.pass(kSession + kAllowance + 200);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_TRUE(gate->request("anna@shop")) << "it does not know yet";
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  gate->stall(false);
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_TRUE(gate->may_enter("anna@shop"));
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  w.check();
}

TEST_F(WaitingRoomTest, AfterARevocationALateRequestIsIgnored) {
  enter("anna@shop");
  gate->stall(true);
  ASSERT_TRUE(w.control().revoke("shop", "anna", w.now()).ok());
  w.settle();
  EXPECT_TRUE(gate->request("anna@shop"));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kRevoked);
  gate->stall(false);
  w.settle();
  EXPECT_FALSE(gate->request("anna@shop"));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady) << "queued anew, and there is room";
}

TEST_F(WaitingRoomTest, ALateRequestOfAWaiterIsNoRevocation) {
  gate->stall(true);
  request("anna@shop");
  request("anna@shop");  // gpc1 = 0, sent before the grant came
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kGranted);
  gate->stall(false);
  w.settle();
  EXPECT_EQ(gate->times("anna@shop"), 1U) << "it is on its way and is not sent again";
  EXPECT_TRUE(gate->may_enter("anna@shop"));
}

TEST_F(WaitingRoomTest, AGrantThatAHaproxyHasLostIsSentAgain) {
  request("anna@shop");
  gate->purge("anna@shop");
  EXPECT_FALSE(gate->request("anna@shop"));
  w.settle();
  EXPECT_TRUE(gate->may_enter("anna@shop"));
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
  request("anna@shop");
  gate->purge("anna@shop");
  EXPECT_FALSE(gate->request("anna@shop"));
  w.settle();
  EXPECT_TRUE(gate->may_enter("anna@shop"));
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.count(RoomCounter::issued), 1U);
}

TEST_F(WaitingRoomTest, WaitersAreNobodysBusinessButOurs) {
  Gate& other = w.gate("other", 2);
  enter("anna@shop");
  for (int i = 0; i < 20; ++i) {
    request(fmt::format("v{}@shop", i));
  }
  EXPECT_EQ(other.hap().rows.size(), 1U + 1U) << "the room's row and anna's";
}

TEST_F(WaitingRoomTest, APurgedVisitorIsTaughtToAHaproxyThatRestarts) {
  enter("anna@shop");
  gate->die();
  gate->connect();
  gate->hap().session->request_lesson();
  w.pass(1000);
  EXPECT_TRUE(gate->may_enter("anna@shop"));
}

// --- keys and names ---

TEST_F(WaitingRoomTest, AKeyWithoutARoomBelongsToTheOnlyOne) {
  request("anna");
  EXPECT_EQ(w.state("anna"), VisitorState::kReady);
  w.put(a_room("second", 1));
  request("bert");
  EXPECT_EQ(w.state("bert"), VisitorState::kNone);
  EXPECT_EQ(w.counter(shm::DaemonCounter::unknown_rooms), 1U);
}

TEST_F(WaitingRoomTest, AKeyOfAnUnknownRoomIsCountedAndNotKept) {
  for (const char* key : {"anna@nowhere", "anna@", "@", "a@shop@", "anna@sho", "anna@shop2"}) {
    request(key);
    EXPECT_FALSE(w.entry("user", key)) << key;
  }
  EXPECT_EQ(w.counter(shm::DaemonCounter::unknown_rooms), 6U);
  EXPECT_EQ(w.holders(), 0U);
  w.check();
}

TEST_F(WaitingRoomTest, TheLastAtCounts) {
  w.put(a_room("second", 1));
  request("evil@second@shop");
  EXPECT_EQ(w.numbers("shop").ready, 1U);
  EXPECT_EQ(w.numbers("second").ready, 0U);
}

TEST_F(WaitingRoomTest, NamesThatHaproxyHasCutAreFoundByTheirBeginning) {
  const std::string name = "a_very_long_room_name_of_a_shop_with_many_words_x";
  w.put(a_room(name, 1));
  request("anna@" + name.substr(0, 31));
  EXPECT_EQ(w.numbers(name).ready, 1U);
  gate->tell_room(name.substr(0, 31), 0);
  w.settle();
  EXPECT_EQ(w.counter(shm::DaemonCounter::unknown_rooms), 0U);
  w.put(a_room(name.substr(0, 40) + "another", 1));
  request("bert@" + name.substr(0, 31));
  EXPECT_EQ(w.counter(shm::DaemonCounter::unknown_rooms), 1U) << "either of two";
}

TEST_F(WaitingRoomTest, TablesThatCannotBeWhatTheyAreCalledAreIgnored) {
  Hap& hap = w.connect("odd", 9);
  hap.define(1, string_table("user", 72, bit(shm::kGpc0)));
  hap.define(2, integer_table("user", bit(shm::kGpc1)));
  hap.define(3, string_table("room", 31, bit(shm::kGpc1)));
  w.settle();
  hap.session->announce(1);
  hap.update(1, "anna@shop", {1});
  hap.update(2, integer_key(7), {1});
  hap.update(3, "shop", {1});
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kNone);
  EXPECT_EQ(w.numbers().active, 0U);
  w.check();
}

TEST_F(WaitingRoomTest, NamesWithASlashAreTheSameTables) {
  Hap& hap = w.connect("slash", 9);
  hap.define(1, users_table(300'000, "/user"));
  w.settle();
  hap.update(1, "anna@shop", {0, 0});
  w.settle();
  EXPECT_EQ(w.numbers().ready, 1U);
  EXPECT_EQ(hap.definitions["/user"].key_bytes, 73U) << "as it announced it";
  ASSERT_NE(hap.last("anna@shop"), nullptr);
  EXPECT_EQ(hap.last("anna@shop")->cells.at(1), 1U);
}

TEST_F(WaitingRoomTest, OtherTablesAreKeptInStep) {
  Hap& a = w.connect("a", 11);
  Hap& b = w.connect("b", 12);
  for (Hap* hap : {&a, &b}) {
    hap->define(5, counters_table("t"));
  }
  w.pass(1000);
  a.update(5, "k", {3, 4});
  w.settle();
  ASSERT_NE(b.last("k"), nullptr);
  EXPECT_EQ(b.last("k")->cells, (std::vector<u64>{3, 4}));
}

// --- the room table ---

TEST_F(WaitingRoomTest, StrictRoomsOfferNothing) {
  EXPECT_EQ(gate->places("shop"), 0U);
}

TEST_F(RoomOfTwoTest, FastRoomsOfferWhatIsFreeAndNeverLessThanNothing) {
  cli::RoomSettings room = rules();
  room.fast = true;
  w.put(room);
  EXPECT_EQ(gate->places("shop"), 2U);
  EXPECT_TRUE(gate->request("anna@shop"));
  EXPECT_TRUE(gate->request("bert@shop"));
  EXPECT_TRUE(gate->request("carl@shop")) << "all at once: the room table is old";
  w.settle();
  EXPECT_EQ(gate->places("shop"), 0U);
  EXPECT_EQ(w.numbers().active, 2U);
  EXPECT_EQ(w.count(RoomCounter::over_limit), 1U);
  EXPECT_EQ(w.count(RoomCounter::admitted), 2U);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kFront);
  EXPECT_FALSE(gate->may_enter("carl@shop"));
  EXPECT_EQ(w.holders(), 2U);
  w.check();
}

TEST_F(WaitingRoomTest, AHaproxyThatShowsAnotherNumberIsToldAgain) {
  const u64 before = gate->hap().times("shop");
  gate->tell_room("shop", 7);
  w.settle();
  w.pass(200);
  EXPECT_EQ(gate->places("shop"), 0U);
  EXPECT_EQ(gate->hap().times("shop"), before + 1);
  EXPECT_EQ(w.entry("room", "shop")->value(shm::kGpc0), 0U);
}

TEST_F(WaitingRoomTest, RoomsAreAdvertisedEveryHour) {
  const u64 before = gate->hap().times("shop");
  for (int i = 0; i < 62; ++i) {
    w.pass(60'000);
  }
  EXPECT_EQ(gate->hap().times("shop"), before + 1);
}

TEST_F(WaitingRoomTest, AnIntegerRoomTableHasTheNumberOfTheRoom) {
  Hap& hap = w.connect("int", 5);
  hap.define(1, integer_table("room", bit(shm::kGpc0)));
  w.settle();
  hap.session->announce(1);
  w.settle();
  ASSERT_NE(hap.last(integer_key(1)), nullptr);
  EXPECT_EQ(hap.last(integer_key(1))->cells.at(0), 0U);
}

// --- rules that change ---

TEST_F(RoomOfTwoTest, LoweringTheCapacityEvictsNobodyAndAdmitsNobody) {
  enter("anna@shop");
  enter("bert@shop");
  request("carl@shop");
  cli::RoomSettings room = rules();
  room.capacity = 1;
  w.put(room);
  EXPECT_EQ(w.numbers().active, 2U);
  w.pass(kSession - 1000);
  request("bert@shop");
  w.pass(kAllowance + 2000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kWaiting);
  room.capacity = 2;
  w.put(room);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, PausedRoomsCallNobodyAndSessionsGoOn) {
  cli::RoomSettings room = rules();
  room.paused = true;
  w.put(room);
  request("anna@shop");
  EXPECT_EQ(w.position("anna@shop"), 1U);
  EXPECT_EQ(*w.control().admit("shop", 5, w.now()), 1U);
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
  request("bert@shop");
  EXPECT_EQ(*w.control().admit("shop", 5, w.now()), 0U) << "never beyond the capacity";
  room.paused = false;
  w.put(room);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  w.check();
}

TEST_F(WaitingRoomTest, SuspendedRoomsLetAllPass) {
  request("anna@shop");
  request("bert@shop");
  cli::RoomSettings room = rules();
  room.suspended = true;
  w.put(room);
  EXPECT_TRUE(gate->may_enter("bert@shop"));
  EXPECT_GT(gate->places("shop"), 0U);
  EXPECT_TRUE(gate->request("carl@shop"));
  w.settle();
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kActive);
  EXPECT_EQ(w.count(RoomCounter::over_limit), 0U);
  room.suspended = false;
  w.put(room);
  EXPECT_EQ(gate->places("shop"), 0U);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kActive);
  request("dora@shop");
  EXPECT_EQ(w.state("dora@shop"), VisitorState::kWaiting);
  w.check(false);
}

TEST_F(WaitingRoomTest, PassthroughCountsAndRejectTurnsAway) {
  cli::RoomSettings room = rules();
  room.method = shm::QueueingMethod::kPassthrough;
  w.put(room);
  gate->operator_rules = false;
  request("anna@shop");
  request("bert@shop");
  EXPECT_EQ(w.numbers().ready, 2U);
  room.method = shm::QueueingMethod::kReject;
  w.put(room);
  request("carl@shop");
  EXPECT_FALSE(w.entry("user", "carl@shop"));
  EXPECT_EQ(w.count(RoomCounter::rejected), 1U);
  EXPECT_TRUE(gate->request("anna@shop"));
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
}

TEST_F(WaitingRoomTest, QueueAllLetsNobodyIn) {
  cli::RoomSettings room = rules();
  room.queue_all = true;
  w.put(room);
  request("anna@shop");
  EXPECT_EQ(w.position("anna@shop"), 1U);
  room.queue_all = false;
  w.put(room);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, PacingSpreadsAdmissionsAndWakesUpByItself) {
  cli::RoomSettings room = rules();
  room.capacity = 100;
  room.new_per_minute = 30;
  w.put(room);
  for (int i = 0; i < 50; ++i) {
    gate->request(fmt::format("v{}@shop", i));
  }
  w.settle();
  EXPECT_EQ(w.numbers().ready, 3U) << "a tenth at once";
  ASSERT_TRUE(w.engine().next_ms());
  EXPECT_LE(*w.engine().next_ms(), 2000U);
  w.pass(30'000);
  EXPECT_NEAR(static_cast<double>(w.numbers().ready), 18, 1);
  w.pass(29'000);
  EXPECT_LE(w.numbers().ready, 30U);
}

TEST_F(WaitingRoomTest, RandomCallsEverybodySoonerOrLater) {
  cli::RoomSettings room = rules();
  room.method = shm::QueueingMethod::kRandom;
  room.paused = true;
  w.put(room);
  for (int i = 0; i < 40; ++i) {
    request(fmt::format("v{}@shop", i));
  }
  room.paused = false;
  room.capacity = 10;
  w.put(room);
  u64 late = 0;
  for (int i = 10; i < 40; ++i) {
    late += w.state(fmt::format("v{}@shop", i)) == VisitorState::kReady ? 1U : 0U;
  }
  EXPECT_EQ(w.numbers().ready, 10U);
  EXPECT_GE(late, 3U) << "not the first ten";
  EXPECT_EQ(w.numbers().waiting, 30U);
  w.check();
}

// --- operators and the site ---

TEST_F(WaitingRoomTest, TheSiteEndsASession) {
  enter("anna@shop");
  request("bert@shop");
  gate->end_session("anna@shop");
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kRevoked);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
  EXPECT_FALSE(gate->may_enter("anna@shop"));
  EXPECT_EQ(gate->hap().last("anna@shop")->cells, (std::vector<u64>{0, 0}));
  EXPECT_EQ(w.count(RoomCounter::revoked), 1U);
}

TEST_F(RoomOfTwoTest, RevokeAllEndsAllSessionsAndNobodysWait) {
  enter("anna@shop");
  request("bert@shop");
  request("carl@shop");
  EXPECT_EQ(*w.control().revoke_all("shop", w.now()), 2U);
  w.settle();
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kRevoked);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, UnknownRoomsAreAnError) {
  EXPECT_EQ(w.control().revoke("nix", "a", w.now()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(w.control().admit("nix", 1, w.now()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(w.control().revoke_all("nix", w.now()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(w.control().remove("nix", w.now()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(w.control().find("nix"), nullptr);
  EXPECT_FALSE(w.control().put(a_room(""), w.now()));
  EXPECT_FALSE(w.control().put(a_room(std::string(200, 'x')), w.now()));
}

TEST_F(WaitingRoomTest, PutAgainChangesRulesAndNothingElse) {
  enter("anna@shop");
  request("bert@shop");
  const shm::RoomNumbers before = w.numbers();
  for (int i = 0; i < 3; ++i) {
    w.put(rules());
  }
  EXPECT_EQ(w.numbers().active, before.active);
  EXPECT_EQ(w.numbers().waiting, before.waiting);
  EXPECT_EQ(w.position("bert@shop"), 1U);
}

TEST_F(RoomOfTwoTest, ARemovedRoomSendsItsVisitorsAway) {
  w.put(a_room("other", 1));
  enter("anna@shop");
  request("bert@shop");
  request("carl@shop");
  request("olga@other");
  ASSERT_TRUE(w.control().remove("shop", w.now()));
  EXPECT_EQ(w.control().find("shop"), nullptr);
  w.settle();
  EXPECT_FALSE(gate->may_enter("anna@shop"));
  EXPECT_FALSE(gate->may_enter("bert@shop"));
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kRevoked);
  EXPECT_EQ(w.state("olga@other"), VisitorState::kReady);
  EXPECT_EQ(w.holders(), 1U);
  w.put(a_room("shop", 1));
  request("carl@shop");
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kReady);
  w.check();
}

TEST_F(WaitingRoomTest, ARoomOfTheSameNameRightAfterItsRemovalBeginsEmpty) {
  enter("anna@shop");
  request("bert@shop");
  ASSERT_TRUE(w.control().remove("shop", w.now()));
  ASSERT_TRUE(w.control().put(a_room("shop", 1), w.now()));
  w.settle();
  EXPECT_EQ(w.numbers().active, 0U);
  EXPECT_EQ(w.numbers().waiting, 0U);
  request("dora@shop");
  EXPECT_EQ(w.state("dora@shop"), VisitorState::kReady);
  w.check();
}

// --- connections that break, starts ---

TEST_F(WaitingRoomTest, PlacesOfADisconnectedHaproxyAreHeld) {
  Gate& other = w.gate("other", 2);
  other.request("anna@shop");
  w.settle();
  other.request("anna@shop");
  w.settle();
  request("bert@shop");
  w.pass(kSession / 2);
  other.disconnect();
  w.pass(kSession / 2 + kAllowance + 1000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive) << "its HAProxy may know better";
  EXPECT_TRUE(other.request("anna@shop"));
  w.pass(10'000);
  other.connect();
  w.pass(2000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  w.pass(kSession - 15'000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive) << "as the HAProxy told";
  w.pass(10'000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
}

TEST_F(WaitingRoomTest, AHaproxyThatDoesNotComeBackIsWaitedForASession) {
  Gate& other = w.gate("other", 2);
  other.request("anna@shop");
  w.settle();
  other.request("anna@shop");
  w.settle();
  request("bert@shop");
  w.pass(kSession / 2);
  other.disconnect();
  w.pass(kSession + kAllowance - 1000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  w.pass(3000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
}

TEST_F(RoomOfTwoTest, AKilledLineqdGoesOnWithAllTicketsAndPlaces) {
  enter("anna@shop");
  request("bert@shop");
  request("carl@shop");
  request("dora@shop");
  const auto ticket = w.visitor("dora@shop")->ticket;
  w.restart();
  EXPECT_EQ(w.numbers().active, 1U);
  EXPECT_EQ(w.numbers().ready, 1U);
  EXPECT_EQ(w.numbers().waiting, 2U);
  EXPECT_EQ(w.visitor("dora@shop")->ticket, ticket);
  gate->connect();
  w.pass(2000);
  EXPECT_EQ(w.position("dora@shop"), 2U);
  request("emil@shop");
  EXPECT_EQ(w.position("emil@shop"), 3U);
  request("bert@shop");
  EXPECT_EQ(w.numbers().active, 2U);
  w.check();
}

TEST_F(RoomOfTwoTest, AfterAStartNobodyIsCalledBeforeTheHaproxysAreBack) {
  enter("anna@shop");
  w.restart();
  Gate& other = w.new_gate("other", 9);
  other.connect();
  other.request("bert@shop");
  w.settle();
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  EXPECT_EQ(w.control().admit("shop", 1, w.now()).error().code, ErrorCode::kBusy);
  w.pass(kAllowance + 100);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
}

TEST_F(RoomOfTwoTest, AfterAStartTheFirstLessonsAreEnough) {
  enter("anna@shop");
  w.restart();
  gate->connect();
  gate->request("bert@shop");
  w.pass(800);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
}

TEST_F(RoomOfTwoTest, WhoEnteredWhileLineqdWasAwayIsInside) {
  request("anna@shop");
  w.restart();
  w.pass(100);
  EXPECT_TRUE(gate->request("anna@shop"));
  w.pass(100);
  gate->connect();
  w.pass(1000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
}

TEST(WaitingRoomStartTest, ALostStateIsLearnedBack) {
  engine::WaitingRoomOptions options;
  options.state_lost = true;
  RoomWorld w(options);
  w.put(a_room("shop", 2));
  Gate& gate = w.new_gate("a", 1);
  gate.request("anna@shop");
  gate.tell("anna@shop", 0, 1);
  gate.tell("bert@shop", 0, 0);
  gate.connect();
  w.pass(1000);
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kActive);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting) << "there is a place, but who knows";
  EXPECT_EQ(w.count(RoomCounter::adopted), 1U);
  Gate& other = w.new_gate("b", 2);
  other.tell("carl@shop", 0, 1);
  other.tell("dora@shop", 0, 1);
  other.connect();
  w.pass(1000);
  EXPECT_EQ(w.state("carl@shop"), VisitorState::kActive);
  EXPECT_EQ(w.state("dora@shop"), VisitorState::kFront) << "beyond the limit";
  EXPECT_FALSE(other.may_enter("dora@shop"));
  EXPECT_EQ(w.count(RoomCounter::over_limit), 1U);
  EXPECT_EQ(w.holders(), 2U);
  w.pass(9000);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kWaiting);
  w.check();
}

TEST(WaitingRoomStartTest, SessionsThatEndedLongAgoAreNotLearnedBack) {
  RoomWorld w;
  w.put(a_room("shop", 2));
  Gate& gate = w.new_gate("a", 1);
  gate.tell("anna@shop", 0, 1);
  w.pass(kSession + kAllowance + 1000);
  gate.connect();
  w.pass(2000);
  EXPECT_EQ(w.holders(), 0U);
  EXPECT_FALSE(gate.may_enter("anna@shop")) << "it is told so";
}

TEST_F(WaitingRoomTest, WhatAHaproxyMissedWhileItWasAwayItIsTold) {
  Gate& other = w.gate("other", 2);
  enter("anna@shop");
  other.disconnect();
  w.pass(kSession + kAllowance + 1000);
  w.pass(kSession);
  ASSERT_EQ(w.state("anna@shop"), VisitorState::kExpired);
  EXPECT_TRUE(other.may_enter("anna@shop"));
  other.connect();
  w.pass(2000);
  EXPECT_FALSE(other.may_enter("anna@shop"));
  EXPECT_EQ(w.state("anna@shop"), VisitorState::kExpired);
}

TEST_F(WaitingRoomTest, AColumnThatComesLaterLosesNobody) {
  enter("anna@shop");
  request("bert@shop");
  request("carl@shop");
  Hap& hap = w.connect("wide", 7);
  hap.define(1, string_table("user", 72, bit(shm::kGpt0) | bit(shm::kGpc1) | bit(shm::kHttpReqCnt),
                             300'000));
  w.settle();
  hap.session->announce(1);
  w.settle();
  EXPECT_EQ(w.numbers().active, 1U);
  EXPECT_EQ(w.position("carl@shop"), 2U);
  request("anna@shop");
  w.pass(kSession + kAllowance + 500);
  EXPECT_EQ(w.state("bert@shop"), VisitorState::kReady);
  w.check();
}

TEST_F(WaitingRoomTest, TheHistogramsTellOfWaitAndStay) {
  enter("anna@shop");
  request("bert@shop");
  w.pass(kSession + kAllowance + 200);
  const RoomNo no = w.writer().rooms().front();
  EXPECT_EQ(w.writer().room_wait(no).buckets[0], 1U);
  EXPECT_EQ(w.writer().room_wait(no).buckets[7], 1U);
  EXPECT_EQ(w.writer().room_stay(no).buckets[7], 1U);
  EXPECT_NEAR(static_cast<double>(w.writer().room_stay(no).sum_ms), kSession + kAllowance, 300);
}

TEST_F(WaitingRoomTest, ManyVisitorsAtOnceAreCalledInTheOrderOfTheirArrival) {
  cli::RoomSettings room = rules();
  room.capacity = 1500;
  w.put(room);
  for (int i = 0; i < 2000; ++i) {
    gate->request(fmt::format("v{}@shop", i));
  }
  w.settle();
  EXPECT_EQ(w.numbers().ready, 1500U);
  EXPECT_EQ(w.state("v1499@shop"), VisitorState::kReady);
  EXPECT_EQ(w.position("v1500@shop"), 1U);
  EXPECT_EQ(w.count(RoomCounter::fifo_inversions), 0U);
}

}  // namespace
}  // namespace lineq::test
