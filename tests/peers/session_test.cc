#include "daemon/peers/session.h"

#include <algorithm>

#include "tests/peers/support.h"

namespace lineq::peers {
namespace {

using shm::KeyType;
using test::Bytes;
using test::Diary;
using test::hex;
using test::StringTable;
using test::table_of;
using test::unhex;

constexpr u64 kStart = 5000000;
constexpr std::string_view kHello = "HAProxyS 2.1\nlineq\nhap1 17556 1\n";
constexpr std::string_view kHello20 = "HAProxyS 2.0\nlineq\nhap1 17556 1\n";

// Definition of table `id`: integer keys, gpc0, named /t<id>.
Bytes definition(u32 id) {
  OutputBuffer out;
  encode_definition(
      out, {id, table_of("/t" + std::to_string(id), KeyType::kInteger, 4, 1U << shm::kGpc0), 0});
  return {out.pending().begin(), out.pending().end()};
}

std::string hex_id(u32 id) {
  return hex(Bytes{static_cast<u8>(id >> 24), static_cast<u8>(id >> 16), static_cast<u8>(id >> 8),
                   static_cast<u8>(id)});
}
// Updates of such a table: key 5, gpc0 = 1.
Bytes update(u32 id) {
  return unhex("0a8009" + hex_id(id) + "0000000501");
}
Bytes timed(u32 id, u32 expire_ms = 30000) {
  return unhex("0a850d" + hex_id(id) + hex_id(expire_ms) + "0000000501");
}
Bytes incremental() {
  return unhex("0a81050000000501");
}

// A listener session with its owner.
class SessionTest : public testing::Test {
 protected:
  void start(std::string_view hello = kHello) {
    session = std::make_unique<Session>(config, strings, owner, kStart);
    if (!hello.empty()) {
      feed(test::bytes_of(hello));
    }
  }
  // Established, no lesson, nothing pending, nothing in the diary.
  void start_quietly(std::string_view hello = kHello) {
    config.request_lesson = false;
    start(hello);
    ASSERT_TRUE(session->established());
    sent();
    owner.lines.clear();
  }
  void feed(std::span<const u8> bytes) { session->feed(bytes, now); }
  void feed(std::initializer_list<Bytes> messages) {
    Bytes all;
    for (const Bytes& message : messages) {
      all.insert(all.end(), message.begin(), message.end());
    }
    feed(all);
  }
  // What was sent since the last call.
  std::string sent() {
    std::string text = hex(session->pending());
    session->consumed(session->pending().size());
    return text;
  }

  u64 now = kStart;
  SessionConfig config;
  StringTable strings;
  Diary owner{strings};
  std::unique_ptr<Session> session;
};

// --- handshake ---

TEST_F(SessionTest, AListenerAnswersThenAsksForALessonAndShowsItIsAlive) {
  start();
  EXPECT_EQ(sent(),
            "3230300a"
            "0000"
            "0004");
  EXPECT_TRUE(session->established());
  EXPECT_TRUE(session->learning());
  EXPECT_EQ(owner.lines,
            (std::vector<std::string>{"hello 2.1 to lineq from hap1 pid 17556", "established"}));
  EXPECT_EQ(session->hello().pid, 17556U);
}

TEST_F(SessionTest, TheHelloMayEndInCrLf) {
  start("HAProxyS 2.1\r\nlineq\r\nhap1 1 1\r\n");
  EXPECT_TRUE(session->established());
  EXPECT_EQ(session->hello().target, "lineq");
}

TEST_F(SessionTest, MessagesMayFollowTheHelloInTheSameRead) {
  const std::string text = std::string(kHello) + std::string("\0\4", 2);
  start(text);
  EXPECT_EQ(session->counters().heartbeats_in, 1U);
}

TEST_F(SessionTest, TheOwnerMayAnswerAHelloWithAStatus) {
  owner.decision = HelloDecision::answer(kStatusTarget);
  start();
  EXPECT_EQ(sent(), hex(test::bytes_of("503\n")));
  EXPECT_TRUE(session->ended());
  EXPECT_FALSE(session->end_reason().empty());
  EXPECT_EQ(owner.count("established"), 0U);
}

TEST_F(SessionTest, TheOwnerMayCloseWithoutAnAnswer) {
  owner.decision = HelloDecision::close();
  start();
  EXPECT_EQ(sent(), "");
  EXPECT_TRUE(session->ended());
}

TEST_F(SessionTest, AMalformedHelloIsClosedWithoutAWord) {
  for (const char* hello : {"GET / HTTP/1.1\r\n", "HAProxyS 2.2\n", "HAProxyS 2.1\nlineq\nhap1\n",
                            "HAProxyS 2.1\nlineq\n 1 1\n", "\n"}) {
    owner.problems.clear();
    start(hello);
    EXPECT_EQ(sent(), "") << hello;
    EXPECT_TRUE(session->ended()) << hello;
    EXPECT_EQ(owner.problems, std::vector<Problem>{Problem::kBadHello}) << hello;
  }
}

TEST_F(SessionTest, AMalformedHelloGetsHaproxysStatusIfConfigured) {
  config.answer_bad_hello = true;
  start("HAProxyS 2.1\nlineq\n 1 1\n");
  EXPECT_EQ(sent(), hex(test::bytes_of("504\n")));
}

TEST_F(SessionTest, ALineMayHave16384BytesButNotMore) {
  const std::string head = "HAProxyS 2.1\nlineq\nhap1 ";
  start(head + std::string(kMaxLine - 6, 'x') + "\n");
  EXPECT_TRUE(session->established());
  start(head + std::string(kMaxLine - 5, 'x') + "\n");
  EXPECT_TRUE(session->ended());
  EXPECT_EQ(sent(), "");
  start("");
  for (size_t i = 0; i < kMaxLine; ++i) {
    EXPECT_FALSE(session->ended());
    feed(test::bytes_of("x"));
  }
  EXPECT_TRUE(session->ended()) << "no line end can come in time any more";
}

TEST_F(SessionTest, AHandshakeThatTakesTooLongEnds) {
  start("HAProxyS 2.1\nli");
  EXPECT_EQ(session->next_deadline(), kStart + 5000);
  session->tick(kStart + 4999);
  EXPECT_FALSE(session->ended());
  session->tick(kStart + 5000);
  EXPECT_TRUE(session->ended());
  EXPECT_EQ(sent(), "");
  EXPECT_EQ(session->end_reason(), "handshake not finished within 5000 ms");
}

TEST_F(SessionTest, AConnectorSendsItsHelloAndGoesOnAfterStatus200) {
  session = std::make_unique<Session>(config, Hello{1, "hap1", "lineq", 812}, strings, owner, now);
  EXPECT_EQ(sent(), hex(test::bytes_of("HAProxyS 2.1\nhap1\nlineq 812 1\n")));
  feed(test::bytes_of("20"));
  EXPECT_FALSE(session->established());
  feed(test::bytes_of("0 ok\r\n"));
  EXPECT_TRUE(session->established());
  EXPECT_EQ(session->status(), 200U);
  EXPECT_EQ(sent(), "00000004");
}

TEST_F(SessionTest, AConnectorThatIsRefusedTellsTheStatus) {
  session = std::make_unique<Session>(config, Hello{1, "hap1", "lineq", 812}, strings, owner, now);
  feed(test::bytes_of("504\n"));
  EXPECT_TRUE(session->ended());
  EXPECT_EQ(session->status(), 504U);
  EXPECT_EQ(owner.last(),
            "problem: hello to hap1 from lineq answered with \"504\" (our name is not known)");
}

// --- updates and acks ---

TEST_F(SessionTest, UpdatesAreToldThenAcknowledgedOncePerTableAndRead) {
  start_quietly();
  feed({definition(1), update(7), incremental(), definition(2), update(3), definition(1),
        incremental()});
  EXPECT_EQ(owner.lines,
            (std::vector<std::string>{"definition 1 /t1 key 2/4 types 4+0 expire 60000 cells 1",
                                      "update /t1 7 5: 1", "update /t1 8 5: 1",
                                      "definition 2 /t2 key 2/4 types 4+0 expire 60000 cells 1",
                                      "update /t2 3 5: 1", "update /t1 9 5: 1"}));
  EXPECT_EQ(sent(),
            "0a84050100000009"
            "0a84050200000003");
  feed({Bytes{0, 4}});
  EXPECT_EQ(sent(), "");
}

TEST_F(SessionTest, TheAckComesAfterTheOwnerGotTheUpdates) {
  class Watcher : public Diary {
   public:
    using Diary::Diary;
    void on_updates(SessionTable& table, std::span<const Update> updates) override {
      pending = session->pending().size();
      Diary::on_updates(table, updates);
    }
    Session* session = nullptr;
    size_t pending = 99;
  } watcher(strings);
  config.request_lesson = false;
  Session watched(config, strings, watcher, now);
  watcher.session = &watched;
  watched.feed(test::bytes_of(kHello), now);
  watched.consumed(watched.pending().size());
  watched.feed(definition(1), now);
  watched.feed(update(1), now);
  EXPECT_EQ(watcher.pending, 0U);
  EXPECT_EQ(watched.pending().size(), 8U);
}

TEST_F(SessionTest, ManyUpdatesComeInBatchesOf32) {
  start_quietly();
  Bytes all = definition(1);
  for (u32 id = 1; id <= 100; ++id) {
    const Bytes one = update(id);
    all.insert(all.end(), one.begin(), one.end());
  }
  feed(all);
  EXPECT_EQ(owner.count("update"), 100U);
  EXPECT_EQ(owner.most_updates, 32U);
  EXPECT_EQ(sent(), "0a84050100000064");
}

TEST_F(SessionTest, ASwitchSelectsATableDefinedBefore) {
  start_quietly();
  feed({definition(1), definition(2), unhex("0a830101"), update(4)});
  EXPECT_EQ(owner.last(), "update /t1 4 5: 1");
}

TEST_F(SessionTest, UpdatesWithoutATableAreIgnoredAndNotAcknowledged) {
  start_quietly();
  feed({update(1), unhex("0a8000")});
  EXPECT_EQ(session->counters().ignored, 2U);
  feed({definition(1), unhex("0a830109"), update(2)});
  EXPECT_EQ(owner.last(), "problem: switch to table 9, never defined");
  EXPECT_EQ(session->counters().ignored, 3U);
  EXPECT_EQ(sent(), "");
  EXPECT_FALSE(session->ended());
}

TEST_F(SessionTest, ABadDefinitionIsReportedOnceAndItsUpdatesIgnored) {
  start_quietly();
  Bytes bad_definition = unhex("0a82");
  const Bytes payload = unhex(
      "09"
      "03"
      "2f7431"
      "09"
      "04"
      "04"
      "00");
  bad_definition.push_back(static_cast<u8>(payload.size()));
  bad_definition.insert(bad_definition.end(), payload.begin(), payload.end());
  feed({bad_definition, update(1), bad_definition, update(2)});
  feed({bad_definition, update(3)});
  EXPECT_EQ(owner.lines, std::vector<std::string>{
                             "problem: definition ignored: table /t1: key type 9 (2 integer, "
                             "4 ip, 5 ipv6, 6 string, 7 binary are known)"});
  EXPECT_EQ(session->counters().ignored, 3U);
  EXPECT_EQ(sent(), "");
  // A good one brings the table back.
  feed({definition(1), update(4)});
  EXPECT_EQ(owner.last(), "update /t1 4 5: 1");
  EXPECT_EQ(sent(), "0a84050100000004");
}

TEST_F(SessionTest, ATableTheOwnerDoesNotTakeIsIgnored) {
  start_quietly();
  owner.take_tables = false;
  feed({definition(1), update(1), definition(1), update(2)});
  EXPECT_EQ(owner.count("definition"), 1U);
  EXPECT_EQ(session->counters().ignored, 2U);
  EXPECT_EQ(sent(), "");
}

TEST_F(SessionTest, ARepeatedDefinitionIsNoEventAChangedOneIs) {
  start_quietly();
  feed({definition(1), definition(1)});
  EXPECT_EQ(owner.count("definition"), 1U);
  OutputBuffer out;
  encode_definition(out, {1, table_of("/t1", KeyType::kInteger, 4, 6), 0});
  feed(out.pending());
  EXPECT_EQ(owner.count("definition"), 2U);
  EXPECT_EQ(session->tables().size(), 1U);
  feed(
      {unhex("0a800a"
             "00000007"
             "00000005"
             "0203")});
  EXPECT_EQ(owner.last(), "update /t1 7 5: 2 3");
}

TEST_F(SessionTest, TheLastNumberOfATableCountsAlsoInAcks) {
  start_quietly();
  OutputBuffer second;
  encode_definition(second, {8, table_of("/t1", KeyType::kInteger, 4, 4), 0});
  const Bytes moved(second.pending().begin(), second.pending().end());
  feed({definition(1), update(5), moved, incremental()});
  EXPECT_EQ(owner.last(), "update /t1 6 5: 1");
  EXPECT_EQ(sent(), "0a84050800000006");
  EXPECT_EQ(session->tables().size(), 1U);
  // The old number is nobody's now.
  feed({unhex("0a830101"), update(7)});
  EXPECT_EQ(session->counters().ignored, 1U);
}

TEST_F(SessionTest, ANameLosesTheNumberAnotherOneTakes) {
  start_quietly();
  OutputBuffer other;
  encode_definition(other, {1, table_of("/other", KeyType::kInteger, 4, 4), 0});
  const Bytes taken(other.pending().begin(), other.pending().end());
  feed({definition(1), update(1), taken, update(9)});
  EXPECT_EQ(owner.last(), "update /other 9 5: 1");
  EXPECT_EQ(sent(), "0a84050100000009");
  feed({definition(1), update(2)});
  EXPECT_EQ(owner.last(), "update /t1 2 5: 1");
  EXPECT_EQ(sent(), "0a84050100000002");
}

TEST_F(SessionTest, MoreTablesThanAllowedAreIgnored) {
  config.max_tables = 2;
  start_quietly();
  feed({definition(1), definition(2), definition(3), update(1), definition(3), definition(2),
        update(1)});
  EXPECT_EQ(owner.count("problem: definition ignored: table /t3: more than 2 tables"), 1U);
  EXPECT_EQ(session->tables().size(), 2U);
  EXPECT_EQ(session->counters().ignored, 1U);
  EXPECT_EQ(owner.last(), "update /t2 1 5: 1");
}

TEST_F(SessionTest, UnknownTypesAreReportedOnceAndTheKnownOnesRead) {
  start_quietly();
  // gpc0 and type 27, one parameter and three values of which nobody knows the meaning.
  const Bytes unknown = unhex(
      "0a820f01022f740204f4f1fefe0200"
      "1b0505");
  feed({unknown, unhex("0a800c"
                       "00000001"
                       "00000005"
                       "09"
                       "0a0b0c")});
  feed({unknown});
  EXPECT_EQ(owner.count("are not known, their values are ignored"), 1U);
  EXPECT_EQ(owner.last(), "update /t 1 5: 9");
  EXPECT_EQ(session->tables()[0]->unknown_types, u64{1} << 27);
}

TEST_F(SessionTest, WhatCameWholeBeforeAMalformedMessageCounts) {
  start_quietly();
  feed({definition(1), update(1), update(2), unhex("0a80080000000300000005")});
  EXPECT_EQ(owner.count("update /t1"), 2U);
  EXPECT_EQ(sent(),
            "0a84050100000002"
            "0100");
  EXPECT_TRUE(session->ended());
  EXPECT_EQ(session->end_reason(), "update of table /t1: 0 bytes left after 0 of 1 columns");
  feed({update(3)});
  EXPECT_EQ(session->counters().updates_in, 2U) << "deaf after the end";
}

TEST_F(SessionTest, UnknownMessagesAreSkipped) {
  start_quietly();
  feed({definition(1), unhex("0a8703010203"), unhex("4dc80401020304"), unhex("0005"), unhex("0a05"),
        unhex("0105"), unhex("018001ff"), update(1)});
  EXPECT_EQ(session->counters().skipped, 6U);
  EXPECT_EQ(owner.last(), "update /t1 1 5: 1");
}

TEST_F(SessionTest, MessagesTooShortForTheirFieldsEndTheSession) {
  for (const char* message : {"0a8300", "0a840401000000", "0a8200", "0a82050130616263"}) {
    owner.problems.clear();
    start_quietly();
    feed({unhex(message)});
    EXPECT_EQ(sent(), "0100") << message;
    EXPECT_EQ(owner.problems, std::vector<Problem>{Problem::kMalformed}) << message;
  }
}

TEST_F(SessionTest, ErrorsOfTheOtherSideAreReportedAndSurvived) {
  start_quietly();
  feed({unhex("01000101")});
  EXPECT_EQ(owner.problems, (std::vector{Problem::kRemoteError, Problem::kRemoteError}));
  EXPECT_FALSE(session->ended());
}

TEST_F(SessionTest, AMessageAboveTheLimitEndsTheSessionBeforeItArrives) {
  start_quietly();
  feed({unhex("0a80fcf0bc")});  // the length is not complete yet
  EXPECT_FALSE(session->ended());
  feed({unhex("1e")});
  EXPECT_EQ(sent(), "0101");
  EXPECT_TRUE(session->ended());
}

TEST_F(SessionTest, AMessageOf64KibIsTakenInAnySplit) {
  start_quietly();
  Bytes header = unhex("0ac8fb");
  const size_t payload = 65531;
  header.push_back(static_cast<u8>(((payload - 240) >> 4 & 0x7f) | 0x80));
  header.push_back(static_cast<u8>((((payload - 240) >> 4) - 128) >> 7));
  Bytes message = header;
  message.resize(header.size() + payload, 0x55);
  ASSERT_EQ(message.size(), 65536U);
  feed({message, definition(1)});
  EXPECT_EQ(session->counters().skipped, 1U);
  for (const u8 byte : message) {
    feed(Bytes{byte});
  }
  EXPECT_EQ(session->counters().skipped, 2U);
  EXPECT_FALSE(session->ended());
}

// --- lessons in which we learn ---

TEST_F(SessionTest, WhatBelongsToALessonIsMarkedAndNotAcknowledged) {
  start();
  sent();
  feed({definition(1), timed(3), timed(0x80000001), incremental()});
  EXPECT_EQ(owner.count(" lesson:"), 3U);
  EXPECT_EQ(owner.count("update /t1 3 5 expire 30000 lesson: 1"), 1U);
  EXPECT_EQ(owner.count("update /t1 2147483649 5 expire 30000 learned lesson: 1"), 1U);
  EXPECT_EQ(sent(), "");
  feed({unhex("0001")});
  EXPECT_EQ(owner.last(), "lesson end");
  EXPECT_EQ(sent(), "0003");
  EXPECT_FALSE(session->learning());
}

TEST_F(SessionTest, TheUntimedSecondCopyIsMarkedAsRepeatAndAcknowledged) {
  start();
  feed({definition(1), timed(1), timed(4), timed(0x80000009), unhex("0001")});
  sent();
  feed({update(1), incremental(), update(4), update(5), timed(2)});
  EXPECT_EQ(owner.count("update /t1 1 5 repeat: 1"), 1U);
  EXPECT_EQ(owner.count("update /t1 2 5 repeat: 1"), 1U);
  EXPECT_EQ(owner.count("update /t1 4 5 repeat: 1"), 1U);
  EXPECT_EQ(owner.count("update /t1 5 5: 1"), 1U) << "newer than the lesson";
  EXPECT_EQ(owner.count("update /t1 2 5 expire 30000: 1"), 1U) << "timed is no second copy";
  EXPECT_EQ(session->counters().repeats, 3U);
  EXPECT_EQ(sent(), "0a84050100000002");
}

TEST_F(SessionTest, ALessonOfLearnedEntriesOnlyHasNoSecondCopies) {
  start();
  feed({definition(1), timed(0x80000009), unhex("0001"), update(1)});
  EXPECT_EQ(owner.count("repeat"), 0U);
}

TEST_F(SessionTest, RepeatsAreCountedPerTable) {
  start();
  feed({definition(1), timed(9), definition(2), timed(2), unhex("0001"), definition(2), update(2),
        update(3), definition(1), update(9)});
  EXPECT_EQ(owner.count("update /t2 2 5 repeat: 1"), 1U);
  EXPECT_EQ(owner.count("update /t2 3 5: 1"), 1U);
  EXPECT_EQ(owner.count("update /t1 9 5 repeat: 1"), 1U);
}

TEST_F(SessionTest, IdsHalfARoundAfterALessonAreNotTakenForRepeats) {
  start();
  feed({definition(1), timed(9), unhex("0001")});
  for (const u32 id : {10U, 0x40000000U, 0x40000100U, 0x80000000U, 0x80000020U, 0xffffffffU, 5U}) {
    feed({update(id)});
  }
  EXPECT_EQ(owner.count("repeat"), 0U);
}

TEST_F(SessionTest, APartialLessonIsConfirmedToo) {
  start();
  sent();
  feed({unhex("0002")});
  EXPECT_EQ(owner.last(), "lesson end partial");
  EXPECT_EQ(sent(), "0003");
  EXPECT_TRUE(session->request_lesson());
  EXPECT_EQ(sent(), "0000");
}

TEST_F(SessionTest, AnUnaskedEndOfALessonIsConfirmed) {
  start_quietly();
  feed({unhex("00010002")});
  EXPECT_EQ(sent(), "00030003");
}

TEST_F(SessionTest, OneLessonIsAskedForAtATime) {
  start();
  sent();
  EXPECT_FALSE(session->request_lesson());
  EXPECT_EQ(sent(), "");
}

TEST_F(SessionTest, UpdatesBeforeAndAfterALessonInOneReadAreAcknowledged) {
  start_quietly();
  feed({definition(1), update(1)});
  EXPECT_EQ(sent(), "0a84050100000001");
  session->request_lesson();
  sent();
  feed({timed(1), timed(2), unhex("0001"), update(2)});
  EXPECT_EQ(sent(),
            "0003"
            "0a84050100000002");
}

// --- lessons in which we teach, and our updates ---

const shm::TableDefinition kOurs = table_of("ours", KeyType::kInteger, 4, 1U << shm::kGpc0);
const Bytes kKey{0, 0, 0, 9};

std::string ours_hex() {
  OutputBuffer out;
  encode_definition(out, {1, kOurs, 0});
  return hex(out.pending());
}

TEST_F(SessionTest, OurDefinitionGoesOutBeforeTheFirstUpdateAndAtEachChangeOfTable) {
  start_quietly();
  shm::TableDefinition other = kOurs;
  other.name = "also";
  session->define(1, kOurs);
  session->define(2, other);
  EXPECT_EQ(sent(), "") << "not before it is needed";
  const std::vector<u64> cells{7};
  EXPECT_EQ(session->update(1, kKey, cells, std::nullopt), 1U);
  EXPECT_EQ(session->update(1, kKey, cells, std::nullopt), 2U);
  EXPECT_EQ(session->update(2, kKey, cells, std::nullopt), 1U);
  EXPECT_EQ(session->update(1, kKey, cells, 500), 3U);
  OutputBuffer also;
  encode_definition(also, {2, other, 0});
  EXPECT_EQ(sent(), ours_hex() +
                        "0a8009000000010000000907"
                        "0a8009000000020000000907" +
                        hex(also.pending()) + "0a8009000000010000000907" + ours_hex() +
                        "0a850d00000003000001f40000000907");
  EXPECT_EQ(session->last_sent(1), 3U);
  EXPECT_EQ(session->last_sent(2), 1U);
}

TEST_F(SessionTest, AChangedDefinitionGoesOutAgainAndTheIdsGoOn) {
  start_quietly();
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, std::nullopt);
  sent();
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, std::nullopt);
  EXPECT_EQ(sent(), "0a8009000000020000000907") << "the same again changes nothing";
  session->define(1, table_of("ours", KeyType::kInteger, 4, 6));
  session->update(1, kKey, std::vector<u64>{7, 8}, std::nullopt);
  const std::string text = sent();
  EXPECT_EQ(text.substr(0, 4), "0a82");
  EXPECT_EQ(text.substr(text.size() - 26), "0a800a00000003000000090708");
}

TEST(UpdateIdTest, OursSkipZeroWhenTheyWrap) {
  EXPECT_EQ(next_update_id(0), 1U);
  EXPECT_EQ(next_update_id(7), 8U);
  EXPECT_EQ(next_update_id(0xffffffff), 1U);
}

TEST(UpdateIdTest, NewerIsASignedComparison) {
  EXPECT_TRUE(id_after(8, 7));
  EXPECT_FALSE(id_after(7, 7));
  EXPECT_TRUE(id_after(1, 0xffffffff));
  EXPECT_FALSE(id_after(0xffffffff, 1));
}

TEST_F(SessionTest, AnEmptyTableIsAnnounced) {
  start_quietly();
  session->define(1, kOurs);
  session->announce(1);
  EXPECT_EQ(sent(), ours_hex());
  session->update(1, kKey, std::vector<u64>{7}, std::nullopt);
  EXPECT_EQ(sent(), "0a8009000000010000000907") << "it is selected already";
}

TEST_F(SessionTest, A20PeerGetsNoTimedUpdates) {
  start_quietly(kHello20);
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, 500);
  EXPECT_EQ(sent(), ours_hex() + "0a8009000000010000000907");
}

TEST_F(SessionTest, AnExpiryThatHaproxyWouldTakeForThePastIsCut) {
  start_quietly();
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, 0xffffffff);
  EXPECT_EQ(sent(), ours_hex() + "0a850d000000017fffffff0000000907");
}

TEST_F(SessionTest, ARowThatDoesNotFitIsRefusedAndCounted) {
  start_quietly();
  session->define(1, table_of("ours", KeyType::kString, 20000, 1U << shm::kGpc0));
  EXPECT_EQ(session->update(1, Bytes(17000, 'k'), std::vector<u64>{7}, std::nullopt), 0U);
  EXPECT_EQ(session->counters().refused, 1U);
  EXPECT_EQ(owner.problems, std::vector<Problem>{Problem::kRowTooLarge});
  EXPECT_EQ(session->last_sent(1), 0U);
}

TEST_F(SessionTest, AcksOfOursAreToldOnce) {
  start_quietly();
  session->define(1, kOurs);
  for (int i = 0; i < 5; ++i) {
    session->update(1, kKey, std::vector<u64>{7}, std::nullopt);
  }
  feed({unhex("0a84050100000003"), unhex("0a84050100000003"), unhex("0a84050100000005")});
  EXPECT_EQ(owner.lines, (std::vector<std::string>{"ack 1 3", "ack 1 5"}));
  EXPECT_EQ(session->last_acked(1), 5U);
  EXPECT_EQ(session->counters().acks_dropped, 1U);
}

TEST_F(SessionTest, ByteSwappedAcksAndThoseOfForeignTablesAreDropped) {
  // peers-protocol 6.3
  start_quietly();
  session->define(1, kOurs);
  for (int i = 0; i < 5; ++i) {
    session->update(1, kKey, std::vector<u64>{7}, std::nullopt);
  }
  feed({unhex("0a84050100000002"), unhex("0a84050102000000"), unhex("0a84050101000001"),
        unhex("0a84050900000001"), unhex("0a84050100000001"), unhex("0a84050100000000"),
        unhex("0a84050180000003"), unhex("0a840efff0fefefefefefefe0e00000001"),
        unhex("0a84050100000006")});
  EXPECT_EQ(owner.count("ack"), 1U);
  EXPECT_EQ(session->last_acked(1), 2U);
  EXPECT_FALSE(session->ended());
}

TEST_F(SessionTest, ARequestIsAnsweredWhenTheOwnerHasTaughtAll) {
  start_quietly();
  feed({unhex("0000")});
  EXPECT_EQ(owner.last(), "resync request");
  EXPECT_TRUE(session->teaching());
  EXPECT_EQ(sent(), "");
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, 1000);
  session->finish_lesson();
  EXPECT_FALSE(session->teaching());
  EXPECT_EQ(sent(), ours_hex() +
                        "0a850d00000001000003e80000000907"
                        "0001");
  // No ack came, as from HAProxy >= 3.3; the confirmation stands for it.
  feed({unhex("0003")});
  EXPECT_EQ(owner.lines, (std::vector<std::string>{"resync request", "ack 1 1", "confirmed"}));
  feed({unhex("0003")});
  EXPECT_EQ(owner.last(), "confirmed");
  EXPECT_EQ(owner.count("confirmed"), 1U) << "not one more than lessons";
}

TEST_F(SessionTest, WhatFollowedTheLessonIsNotAcknowledgedByItsConfirmation) {
  start_quietly();
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, 1000);
  session->finish_lesson();
  session->update(1, kKey, std::vector<u64>{8}, std::nullopt);
  feed({unhex("0003")});
  EXPECT_EQ(session->last_acked(1), 1U);
  feed({unhex("0a84050100000002")});
  EXPECT_EQ(owner.last(), "ack 1 2");
}

TEST_F(SessionTest, ALessonMayBePartial) {
  start_quietly();
  session->finish_lesson(true);
  EXPECT_EQ(sent(), "0002");
}

TEST_F(SessionTest, BothSidesMayTeachAtOnce) {
  start();
  sent();
  feed({unhex("0000"), definition(1), timed(1)});
  session->finish_lesson();
  feed({unhex("0003"), unhex("0001"), update(1)});
  EXPECT_EQ(sent(),
            "0001"
            "0003"
            "0a84050100000001");
  EXPECT_EQ(owner.count("repeat"), 1U);
}

// --- timers ---

TEST_F(SessionTest, AHeartbeatEndsThreeSecondsOfSilence) {
  start_quietly();
  EXPECT_EQ(session->next_deadline(), kStart + 3000);
  session->tick(kStart + 2999);
  EXPECT_EQ(sent(), "");
  session->tick(kStart + 3000);
  EXPECT_EQ(sent(), "0004");
  EXPECT_EQ(session->next_deadline(), kStart + 6000);
}

TEST_F(SessionTest, AnythingSentIsAsGoodAsAHeartbeat) {
  start_quietly();
  now = kStart + 2000;
  feed({definition(1), update(1)});
  sent();
  session->tick(kStart + 4999);
  EXPECT_EQ(sent(), "");
  session->tick(kStart + 5000);
  EXPECT_EQ(sent(), "0004");
}

TEST_F(SessionTest, NoHeartbeatsPileUpBehindBytesThatAreStillWaiting) {
  start_quietly();
  session->heartbeat();
  session->tick(kStart + 3000);
  session->tick(kStart + 6000);
  EXPECT_EQ(sent(), "0004");
}

TEST_F(SessionTest, SilenceOfTheOtherSideEndsTheSession) {
  start_quietly();
  now = kStart + 4000;
  feed({Bytes{0}});
  session->tick(kStart + 13999);
  EXPECT_FALSE(session->ended());
  session->tick(kStart + 14000);
  EXPECT_TRUE(session->ended());
  EXPECT_EQ(session->end_reason(), "silent for 10000 ms");
  EXPECT_EQ(owner.problems, std::vector<Problem>{Problem::kSilent});
  EXPECT_EQ(session->next_deadline(), ~u64{0});
}

TEST_F(SessionTest, AClockThatStandsStillOrGoesBackDoesNoHarm) {
  start_quietly();
  session->tick(kStart - 100000);
  EXPECT_FALSE(session->ended());
  EXPECT_EQ(sent(), "");
}

// --- the owner interferes ---

TEST_F(SessionTest, TheOwnerMayEndTheSessionInAnyEvent) {
  class Ender : public Diary {
   public:
    using Diary::Diary;
    bool on_definition(SessionTable& table) override {
      Diary::on_definition(table);
      return end_in != "definition" || finish();
    }
    void on_updates(SessionTable& table, std::span<const Update> updates) override {
      Diary::on_updates(table, updates);
      if (end_in == "updates") {
        finish();
      }
    }
    void on_resync_request() override {
      Diary::on_resync_request();
      if (end_in == "request") {
        finish();
      }
    }
    void on_established() override {
      Diary::on_established();
      if (end_in == "established") {
        finish();
      }
    }
    bool finish() {
      session->end("enough");
      return true;
    }
    std::string end_in;
    Session* session = nullptr;
  };
  for (const char* where : {"established", "definition", "updates", "request"}) {
    Ender ender(strings);
    ender.end_in = where;
    Session ending(SessionConfig{}, strings, ender, now);
    ender.session = &ending;
    ending.feed(test::bytes_of(kHello), now);
    Bytes all = definition(1);
    for (const Bytes& more : {update(1), Bytes{0, 0}, update(2), Bytes{0xff, 0}}) {
      all.insert(all.end(), more.begin(), more.end());
    }
    ending.feed(all, now);
    EXPECT_TRUE(ending.ended()) << where;
    EXPECT_EQ(ending.end_reason(), "enough") << where;
    EXPECT_TRUE(ender.problems.empty()) << where;
    EXPECT_LE(ender.count("update /t1"), 1U) << where;
  }
}

TEST_F(SessionTest, NothingIsSentAfterTheEnd) {
  start_quietly();
  session->define(1, kOurs);
  session->end("enough");
  EXPECT_EQ(session->update(1, kKey, std::vector<u64>{7}, std::nullopt), 0U);
  session->announce(1);
  session->finish_lesson();
  session->heartbeat();
  EXPECT_FALSE(session->request_lesson());
  session->tick(now + 100000);
  EXPECT_EQ(sent(), "");
  EXPECT_EQ(session->end_reason(), "enough");
}

TEST_F(SessionTest, SwappedOutputGoesOnWithTheOtherBuffer) {
  start();
  OutputBuffer writing;
  session->swap_output(writing);
  EXPECT_EQ(hex(writing.pending()), "3230300a00000004");
  EXPECT_TRUE(session->pending().empty());
  session->heartbeat();
  writing.clear();
  session->swap_output(writing);
  EXPECT_EQ(hex(writing.pending()), "0004");
}

TEST_F(SessionTest, CountersCount) {
  start_quietly();
  session->define(1, kOurs);
  session->update(1, kKey, std::vector<u64>{7}, std::nullopt);
  feed({definition(1), update(1), update(2), unhex("0004"), unhex("0a84050100000001")});
  const SessionCounters& c = session->counters();
  EXPECT_EQ(c.messages_in, 5U);
  EXPECT_EQ(c.updates_in, 2U);
  EXPECT_EQ(c.definitions_in, 1U);
  EXPECT_EQ(c.heartbeats_in, 1U);
  EXPECT_EQ(c.acks_in, 1U);
  EXPECT_EQ(c.acks_out, 1U);
  EXPECT_EQ(c.updates_out, 1U);
  EXPECT_EQ(c.definitions_out, 1U);
  EXPECT_EQ(c.messages_out, 4U) << "heartbeat, definition, update, ack";
  EXPECT_EQ(c.bytes_in, kHello.size() + definition(1).size() + 24 + 2 + 8);
  EXPECT_EQ(c.bytes_out, 4U + 2 + ours_hex().size() / 2 + 12 + 8);
}

// --- two sessions with each other ---

TEST(SessionPairTest, TwoSessionsTeachEachOtherAndAgree) {
  StringTable strings_a;
  StringTable strings_b;
  Diary a(strings_a);
  Diary b(strings_b);
  Session listener(SessionConfig{}, strings_a, a, kStart);
  Session connector(SessionConfig{}, Hello{1, "lineq", "hap1", 7}, strings_b, b, kStart);
  const auto pump = [&] {
    while (!listener.pending().empty() || !connector.pending().empty()) {
      OutputBuffer out;
      connector.swap_output(out);
      listener.feed(out.pending(), kStart);
      out.clear();
      listener.swap_output(out);
      connector.feed(out.pending(), kStart);
    }
  };
  pump();
  EXPECT_EQ(a.last(), "resync request");
  EXPECT_EQ(b.last(), "resync request");
  const auto teach = [](Session& session, StringTable& strings) {
    session.define(3, table_of("t", KeyType::kString, 65, 1U << shm::kServerKey | 1U));
    for (const char* server : {"web", "api", "web"}) {
      session.update(3, test::bytes_of(server),
                     std::vector<u64>{0xfffffffe, strings.intern(server)}, 7000);
    }
    session.finish_lesson();
  };
  strings_a.intern("takes id 1, so that ids differ");
  teach(listener, strings_a);
  teach(connector, strings_b);
  pump();
  for (const Diary* diary : {&a, &b}) {
    EXPECT_EQ(diary->count("update t 3 web expire 7000 lesson: 4294967294 \"web\""), 1U);
    EXPECT_EQ(diary->count("update t 2 api expire 7000 lesson: 4294967294 \"api\""), 1U);
    EXPECT_EQ(diary->count("ack 3 3"), 1U);
    EXPECT_EQ(diary->count("confirmed"), 1U);
    EXPECT_TRUE(diary->problems.empty());
  }
  EXPECT_FALSE(listener.learning() || connector.learning());
}

}  // namespace
}  // namespace lineq::peers
