// Commands and what becomes of them, on rooms without an engine: answers, the log of changes, what
// is kept, and how configuration and operators share a room.
#include "daemon/control/handler.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/control/fake_rooms.h"
#include "tests/support/instance.h"
#include "tools/cli/log.h"

namespace lineq::control {
namespace {

using test::room_called;

const Caller kRoot{0, {0}, "root"};

class HandlerTest : public testing::Test {
 protected:
  void SetUp() override {
    cli::set_log_level(cli::LogLevel::kInfo);
    begin(true);
  }

  // A daemon's start; `kept` in the directory is what the one before left.
  void begin(bool with_state, const std::vector<cli::RoomSettings>& configured = {},
             bool implied = false) {
    HandlerOptions options;
    options.instance = "test";
    options.mode = "vwr";
    options.default_session_ms = 300'000;
    options.realtime_ms = [] { return u64{1'795'286'400'123}; };
    options.room_time = [](SegmentMs now) { return static_cast<Tick>(now); };
    std::vector<KeptRoom> kept;
    if (with_state) {
      options.state = StateDir::open(dir_.file("state")).take();
      kept = options.state->load_rooms().take();
    }
    handler_.emplace(std::move(options), Policy(100, {}, {}), &rooms_);
    handler_->start(std::move(kept), configured, implied, 1000);
  }
  void restart(const std::vector<cli::RoomSettings>& configured = {}, bool implied = false) {
    rooms_.forget();
    begin(true, configured, implied);
  }

  std::string say(std::string_view line, const Caller& caller = kRoot) {
    std::string said;
    handler_->answer(line, caller, 10'000, [&](std::string answer) { said = std::move(answer); });
    return said;
  }
  static bool fine(const std::string& answer) { return answer.starts_with(R"({"ok":true,)"); }
  std::vector<std::string> events() const {
    std::ifstream file(dir_.file("state/events.jsonl"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
      lines.push_back(line);
    }
    return lines;
  }

  test::TempDir dir_;
  test::FakeRooms rooms_;
  std::optional<Handler> handler_;
};

constexpr std::string_view kShop =
    R"({"command":"put_room","room":{"name":"shop","total_active_users":20}})";

TEST_F(HandlerTest, ARoomIsMadeAskedForAndRemoved) {
  const std::string made = say(kShop);
  ASSERT_TRUE(fine(made)) << made;
  ASSERT_EQ(rooms_.kept.size(), 1U);
  EXPECT_EQ(rooms_.kept[0].capacity, 20U);
  EXPECT_EQ(rooms_.kept[0].session_ms, 300'000U);
  shm::RoomNumbers& numbers = rooms_.counted["shop"];
  numbers.active = 3;
  numbers.waiting = 2;
  numbers.oldest_since = 4000;
  numbers.admit_rate_milli = 1500;
  numbers.last_admitted_ms = 7000;
  numbers.counters[0] = 77;
  const std::string room = say(R"({"command":"room","name":"shop"})");
  EXPECT_TRUE(room.starts_with(R"({"ok":true,"result":{"name":"shop",)")) << room;
  EXPECT_NE(room.find(R"("total_active_users":20,)"), std::string::npos) << room;
  EXPECT_NE(room.find(R"("configured":false,"numbers":{"active":3,"ready":0,"waiting":2,"front":0,)"
                      R"("admit_rate":1.5,"arrive_rate":0,"oldest_waiter_seconds":6,)"
                      R"("seconds_since_admission":3,"counters":{"issued":77,)"),
            std::string::npos)
      << room;
  const std::string all = say(R"({"command":"rooms"})");
  EXPECT_TRUE(all.starts_with(R"({"ok":true,"result":[{"name":"shop",)")) << all;
  EXPECT_EQ(say(R"({"command":"remove_room","name":"shop"})"), R"({"ok":true,"result":null})");
  EXPECT_TRUE(rooms_.kept.empty());
  EXPECT_EQ(say(R"({"command":"rooms"})"), R"({"ok":true,"result":[]})");
}

TEST_F(HandlerTest, PuttingTheSameAgainChangesNothing) {
  ASSERT_TRUE(fine(say(kShop)));
  const int puts = rooms_.puts;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(fine(say(kShop)));
  }
  EXPECT_EQ(rooms_.puts, puts);
  EXPECT_EQ(events().size(), 1U);
}

TEST_F(HandlerTest, HowARoomIsPut) {
  ASSERT_TRUE(
      fine(say(R"({"command":"put_room","room":{"name":"shop","host":"a","message":"m"}})")));
  ASSERT_TRUE(fine(say(R"({"command":"put_room","room":{"name":"shop","host":"b"}})")));
  EXPECT_EQ(rooms_.kept[0].message, "m");
  EXPECT_EQ(rooms_.kept[0].host, "b");
  EXPECT_EQ(say(R"({"command":"put_room","room":{"name":"shop"},"how":"create"})"),
            R"({"ok":false,"code":"invalid","error":"name: there is a room 'shop' already"})");
  ASSERT_TRUE(fine(say(
      R"({"command":"put_room","room":{"name":"shop","host":"c","total_active_users":7},"how":"capacity"})")));
  EXPECT_EQ(rooms_.kept[0].host, "b");
  EXPECT_EQ(rooms_.kept[0].capacity, 7U);
  ASSERT_TRUE(fine(say(R"({"command":"put_room","room":{"name":"shop"},"how":"replace"})")));
  EXPECT_EQ(rooms_.kept[0].message, "");
  EXPECT_EQ(rooms_.kept[0].host, "");
  EXPECT_EQ(rooms_.kept[0].capacity, 1U);
}

TEST_F(HandlerTest, FieldsOfARoomChangeAndTheLogTellsWhoAndWhat) {
  ASSERT_TRUE(fine(say(kShop)));
  ASSERT_TRUE(fine(say(
      R"({"command":"change_room","name":"shop","change":{"C":"50","paused":true},"by":"anna at the desk"})")));
  EXPECT_EQ(rooms_.kept[0].capacity, 50U);
  EXPECT_TRUE(rooms_.kept[0].paused);
  const std::vector<std::string> lines = events();
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_TRUE(lines[0].starts_with(
      R"({"time":"2026-11-21T18:40:00.123Z","uid":0,"user":"root","by":null,"room":"shop","action":"create","before":null,"after":{"name":"shop",)"))
      << lines[0];
  EXPECT_EQ(
      lines[1],
      R"({"time":"2026-11-21T18:40:00.123Z","uid":0,"user":"root","by":"anna at the desk","room":"shop","action":"change","before":{"total_active_users":20,"paused":false},"after":{"total_active_users":50,"paused":true}})");
}

TEST_F(HandlerTest, CallingAndEndingSessions) {
  ASSERT_TRUE(fine(say(kShop)));
  EXPECT_EQ(say(R"({"command":"admit","name":"shop","n":10})"),
            R"({"ok":true,"result":{"admitted":3}})");
  EXPECT_EQ(say(R"({"command":"revoke","name":"shop","session":"4711"})"),
            R"({"ok":true,"result":{"revoked":1}})");
  EXPECT_EQ(say(R"({"command":"revoke","name":"shop","all":true})"),
            R"({"ok":true,"result":{"revoked":5}})");
  EXPECT_EQ(say(R"({"command":"revoke","name":"shop","session":"nobody"})"),
            R"({"ok":false,"code":"not_found","error":"there is no session 'nobody'"})");
  EXPECT_EQ(say(R"({"command":"present","keys":["a@shop","b@shop"]})"),
            R"({"ok":true,"result":null})");
  EXPECT_EQ(rooms_.asked,
            (std::vector<std::string>{"admit shop 10", "revoke shop 4711", "revoke_all shop",
                                      "revoke shop nobody", "present a@shop", "present b@shop"}));
  EXPECT_EQ(events().size(), 4U);
}

TEST_F(HandlerTest, WhatIsWrongIsOneSentence) {
  ASSERT_TRUE(fine(say(kShop)));
  EXPECT_TRUE(say("nonsense").starts_with(R"({"ok":false,"code":"invalid","error":"not JSON)"));
  EXPECT_EQ(
      say(R"({"command":"room","name":"shpo"})"),
      R"({"ok":false,"code":"not_found","error":"there is no room 'shpo'; did you mean 'shop'?"})");
  EXPECT_EQ(
      say(R"({"command":"change_room","name":"shop","change":{"name":"other"}})"),
      R"({"ok":false,"code":"invalid","error":"name: room 'shop' keeps its name; visitors' keys carry it"})");
  EXPECT_EQ(
      say(R"({"command":"change_room","name":"shop","change":{"C":0}})"),
      R"({"ok":false,"code":"invalid","error":"total_active_users: '0' is not allowed; allowed: 1 to 100000000"})");
  EXPECT_EQ(say(R"({"command":"put_room","room":{}})"),
            R"({"ok":false,"code":"invalid","error":"name: is missing; every room needs one"})");
  rooms_.full = true;
  EXPECT_EQ(say(R"({"command":"put_room","room":{"name":"x"}})"),
            R"({"ok":false,"code":"failed","error":"there is no place for more rooms"})");
  EXPECT_EQ(events().size(), 1U);
}

TEST_F(HandlerTest, WhoMayNotIsToldSo) {
  const Caller eve{1000, {1000}, "eve"};
  EXPECT_EQ(
      say(R"({"command":"admit","name":"shop","n":1})", eve),
      R"({"ok":false,"code":"denied","error":"eve (uid 1000) may not do that: admit takes root, group lineq-admin or an entry of control_access"})");
  EXPECT_TRUE(rooms_.asked.empty());
}

TEST_F(HandlerTest, OtherModesHaveNoRooms) {
  HandlerOptions options;
  options.instance = "i";
  options.mode = "agg";
  Handler handler(std::move(options), Policy(100, {}, {}), nullptr);
  const auto ask = [&](std::string_view line) {
    std::string said;
    handler.answer(line, kRoot, 0, [&](std::string answer) { said = std::move(answer); });
    return said;
  };
  handler.start({}, {room_called("x")}, false, 0);
  EXPECT_EQ(handler.reload({room_called("x")}, false, 0), 0U);
  EXPECT_EQ(
      ask(R"({"command":"rooms"})"),
      R"({"ok":false,"code":"unsupported","error":"this lineqd runs in mode agg, which has no rooms; they need service_mode vwr"})");
  const std::string info = ask(R"({"command":"info"})");
  EXPECT_NE(info.find(R"("instance":"i","mode":"agg","rooms":0,"state_dir":null,"log_level":")"),
            std::string::npos)
      << info;
}

// ---- what persists -----------------------------------------------------------------------------

TEST_F(HandlerTest, RoomsMadeWhileRunningComeBack) {
  ASSERT_TRUE(fine(say(R"({"command":"put_room","room":{"name":"shop","description":"d"}})")));
  restart();
  ASSERT_EQ(rooms_.kept.size(), 1U);
  EXPECT_EQ(rooms_.kept[0].description, "d");
  ASSERT_TRUE(fine(say(R"({"command":"remove_room","name":"shop"})")));
  restart();
  EXPECT_TRUE(rooms_.kept.empty());
}

TEST_F(HandlerTest, WhatAnOperatorChangedStaysUntilTheConfigurationSaysOtherwise) {
  restart({room_called("shop", 10)});
  ASSERT_TRUE(
      fine(say(R"({"command":"change_room","name":"shop","change":{"C":50,"paused":true}})")));
  restart({room_called("shop", 10)});
  ASSERT_EQ(rooms_.kept.size(), 1U);
  EXPECT_EQ(rooms_.kept[0].capacity, 50U);
  EXPECT_TRUE(rooms_.kept[0].paused);
  restart({room_called("shop", 30)});
  EXPECT_EQ(rooms_.kept[0].capacity, 30U);
  EXPECT_TRUE(rooms_.kept[0].paused);
  // A room that was made while running and then written down is what is written.
  ASSERT_TRUE(fine(say(R"({"command":"put_room","room":{"name":"new","C":5}})")));
  restart({room_called("shop", 30), room_called("new", 6)});
  EXPECT_EQ(rooms_.find("new")->capacity, 6U);
}

TEST_F(HandlerTest, ReadingTheConfigurationAgainTakesItOver) {
  restart({room_called("shop", 10)});
  ASSERT_TRUE(fine(say(R"({"command":"change_room","name":"shop","change":{"paused":true}})")));
  EXPECT_EQ(handler_->reload({room_called("shop", 10)}, false, 2000), 0U);
  EXPECT_EQ(handler_->reload({room_called("shop", 11), room_called("more")}, false, 2000), 2U);
  EXPECT_EQ(rooms_.find("shop")->capacity, 11U);
  EXPECT_TRUE(rooms_.find("shop")->paused);
  EXPECT_NE(rooms_.find("more"), nullptr);
  // What is no longer written down stays until somebody removes it.
  EXPECT_EQ(handler_->reload({room_called("more")}, false, 3000), 0U);
  EXPECT_NE(rooms_.find("shop"), nullptr);
  EXPECT_EQ(
      say(R"({"command":"remove_room","name":"more"})"),
      R"({"ok":true,"result":null,"warning":"the room is in the configuration: it comes back when that is read again"})");
  EXPECT_EQ(say(R"({"command":"remove_room","name":"shop"})"), R"({"ok":true,"result":null})");
}

TEST_F(HandlerTest, WhatTheEngineStillHasIsNewerThanTheFile) {
  ASSERT_TRUE(
      fine(say(R"({"command":"put_room","room":{"name":"shop","C":5,"description":"d"}})")));
  rooms_.forget();
  rooms_.kept = {room_called("shop", 9), room_called("from-the-segment", 4)};
  begin(true);
  EXPECT_EQ(rooms_.find("shop")->capacity, 9U);
  EXPECT_EQ(rooms_.find("shop")->description, "d");
  EXPECT_EQ(rooms_.find("from-the-segment")->capacity, 4U);
}

TEST_F(HandlerTest, TheRoomNobodyAskedForGivesWay) {
  restart({room_called("default")}, true);
  ASSERT_EQ(rooms_.kept.size(), 1U);
  ASSERT_TRUE(fine(say(kShop)));
  ASSERT_EQ(rooms_.kept.size(), 1U);
  EXPECT_EQ(rooms_.kept[0].name, "shop");
  restart({room_called("default")}, true);
  ASSERT_EQ(rooms_.kept.size(), 1U);
  EXPECT_EQ(rooms_.kept[0].name, "shop");
}

TEST_F(HandlerTest, ARoomInUseDoesNotGiveWay) {
  restart({room_called("default")}, true);
  rooms_.counted["default"].waiting = 1;
  ASSERT_TRUE(fine(say(kShop)));
  EXPECT_EQ(rooms_.kept.size(), 2U);
  restart({room_called("default", 5)}, false);
  ASSERT_TRUE(fine(say(R"({"command":"put_room","room":{"name":"third"}})")));
  EXPECT_EQ(rooms_.kept.size(), 3U);
}

TEST_F(HandlerTest, APageThatCameAsTextBecomesAFile) {
  ASSERT_TRUE(
      fine(say(R"({"command":"put_room","room":{"name":"shop","custom_page_html":"<p>hi"}})")));
  const std::string path = dir_.file("state/pages/shop.html");
  EXPECT_EQ(rooms_.kept[0].template_path, path);
  EXPECT_EQ(rooms_.kept[0].page_html, "");
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  EXPECT_EQ(text.str(), "<p>hi");
}

TEST_F(HandlerTest, WithoutAStateDirectoryEverythingElseWorks) {
  rooms_.forget();
  begin(false);
  ASSERT_TRUE(fine(say(kShop)));
  const std::string page =
      say(R"({"command":"change_room","name":"shop","change":{"custom_page_html":"<p>"}})");
  EXPECT_NE(page.find("there is no state directory"), std::string::npos) << page;
}

TEST_F(HandlerTest, WhatCouldNotBeKeptIsSaid) {
  std::filesystem::remove_all(dir_.file("state"));
  const std::string answer = say(kShop);
  EXPECT_TRUE(fine(answer));
  EXPECT_NE(answer.find(R"("warning":"in force until lineqd ends, as it could not be kept: )"),
            std::string::npos)
      << answer;
}

TEST_F(HandlerTest, EntriesAreAnsweredNowOrLaterAndTheLogHasNoKeys) {
  HandlerOptions options;
  std::vector<std::string> asked;
  HandlerOptions::Done later;
  options.entries = [&](const Command& command, SegmentMs, HandlerOptions::Done done) {
    asked.push_back(command_json(command));
    if (command.kind == CommandKind::kClearTable) {
      later = std::move(done);
    } else {
      done({AnswerCode::kFine, {}, "[]", {}});
    }
  };
  handler_.emplace(std::move(options), Policy(100, {}, {}), nullptr);  // any mode
  EXPECT_EQ(say(R"({"command":"tables"})"), R"({"ok":true,"result":[]})");
  EXPECT_EQ(say(R"({"command":"peers"})"), R"({"ok":true,"result":[]})");
  const std::string clear = R"({"command":"clear_table","table":"t","key":"s3cret"})";
  std::string said;
  handler_->answer(clear, kRoot, 10'000, [&](std::string answer) { said = std::move(answer); });
  EXPECT_EQ(said, "");
  testing::internal::CaptureStderr();
  later({AnswerCode::kFine, {}, R"({"cleared":1})", {}});
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(said, R"({"ok":true,"result":{"cleared":1}})");
  EXPECT_NE(log.find("table t: clear_table of one key {\"cleared\":1}, by root (uid 0)\n"),
            std::string::npos)
      << log;
  EXPECT_EQ(asked.back(), clear);
  const Caller eve{1000, {5}, "eve"};
  EXPECT_TRUE(say(clear, eve).starts_with(R"({"ok":false,"code":"denied")"));
  EXPECT_TRUE(say(R"({"command":"shutdown"})", eve).starts_with(R"({"ok":false,"code":"denied")"));
  EXPECT_EQ(asked.size(), 3U);
}

TEST_F(HandlerTest, TheLogLevelChangesAndIsTold) {
  ASSERT_TRUE(cli::log_enabled(cli::LogLevel::kInfo));
  EXPECT_EQ(say(R"({"command":"log_level"})"), R"({"ok":true,"result":{"level":"info"}})");
  EXPECT_EQ(say(R"({"command":"log_level","level":"warning"})"),
            R"({"ok":true,"result":{"level":"warning"}})");
  EXPECT_FALSE(cli::log_enabled(cli::LogLevel::kInfo));
  EXPECT_NE(say(R"({"command":"info"})").find(R"("log_level":"warning"})"), std::string::npos);
  cli::set_log_level(cli::LogLevel::kInfo);
}

TEST_F(HandlerTest, AnEndIsAnsweredFirst) {
  HandlerOptions options;
  std::string order;
  options.stop = [&] { order += "stop "; };
  handler_.emplace(std::move(options), Policy(100, {}, {}), nullptr);
  handler_->answer(R"({"command":"shutdown"})", kRoot, 10'000,
                   [&](const std::string& answer) { order += answer + " "; });
  EXPECT_EQ(order, R"({"ok":true,"result":null} stop )");
}

}  // namespace
}  // namespace lineq::control
