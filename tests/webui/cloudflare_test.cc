#include "webui/pages/cloudflare.h"

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "webui/pages/wait_values.h"

namespace lineq::pages {
namespace {

class CloudflareTest : public testing::Test {
 protected:
  CloudflareTest() {
    room_.settings.name = "shop";
    room_.settings.message = "Doors open at 10 <b>\"";
    room_.settings.refresh_ms = 20'000;
    wait_.room = &room_;
    wait_.state = WaitState::kWaiting;
    wait_.position = 12;
    wait_.queued = 40;
    wait_.known = true;
    wait_.low_s = 130;
    wait_.expected_s = 200;
    wait_.high_s = 290;
    wait_.quarter_s = 61;
    wait_.three_quarters_s = 300;
    wait_.refresh_s = 20;
    wait_.left_s = 300;
  }
  rapidjson::Document json() const {
    rapidjson::Document document;
    document.Parse(wait_json(wait_, languages()[0], 1'600'000'000'123).c_str());
    EXPECT_FALSE(document.HasParseError());
    return document;
  }

  shm::RoomInfo room_;
  Wait wait_;
};

TEST_F(CloudflareTest, HasEveryFieldOfItsTypeAndNoOther) {
  const rapidjson::Document document = json();
  const auto& cf = document["cfWaitingRoom"];
  const std::vector<std::pair<const char*, char>> fields{{"inWaitingRoom", 'b'},
                                                         {"waitTimeKnown", 'b'},
                                                         {"waitTime", 'n'},
                                                         {"waitTime25Percentile", 'n'},
                                                         {"waitTime50Percentile", 'n'},
                                                         {"waitTime75Percentile", 'n'},
                                                         {"waitTimeFormatted", 's'},
                                                         {"queueIsFull", 'b'},
                                                         {"queueAll", 'b'},
                                                         {"lastUpdated", 's'},
                                                         {"refreshIntervalSeconds", 'n'},
                                                         {"queueingMethod", 's'},
                                                         {"isFIFOQueue", 'b'},
                                                         {"isRandomQueue", 'b'},
                                                         {"isPassthroughQueue", 'b'},
                                                         {"isRejectQueue", 'b'},
                                                         {"isEventActive", 'b'},
                                                         {"isEventPrequeueing", 'b'},
                                                         {"timeUntilEventStart", 'n'},
                                                         {"timeUntilEventStartFormatted", 's'},
                                                         {"timeUntilEventEnd", 'n'},
                                                         {"timeUntilEventEndFormatted", 's'},
                                                         {"shuffleAtEventStart", 'b'}};
  EXPECT_EQ(cf.MemberCount(), fields.size());
  for (const auto& [name, type] : fields) {
    ASSERT_TRUE(cf.HasMember(name)) << name;
    const auto& value = cf[name];
    EXPECT_TRUE(type == 'b'   ? value.IsBool()
                : type == 'n' ? value.IsUint()
                              : value.IsString())
        << name;
  }
}

TEST_F(CloudflareTest, TimesAreMinutesThereAndSecondsHere) {
  const rapidjson::Document document = json();
  const auto& cf = document["cfWaitingRoom"];
  EXPECT_EQ(cf["waitTime"].GetUint(), 4U);
  EXPECT_STREQ(cf["waitTimeFormatted"].GetString(), "2 to 5 minutes");
  EXPECT_STREQ(cf["lastUpdated"].GetString(), "2020-09-13T12:26:40.123Z");
  EXPECT_EQ(cf["waitTime50Percentile"].GetUint(), 0U) << "of random order only";
  const auto& lineq = document["lineq"];
  EXPECT_STREQ(lineq["room"].GetString(), "shop");
  EXPECT_EQ(lineq["position"].GetUint(), 12U);
  EXPECT_EQ(lineq["ahead"].GetUint(), 11U);
  EXPECT_EQ(lineq["queued"].GetUint(), 40U);
  EXPECT_EQ(lineq["waitSeconds"].GetUint(), 200U);
  EXPECT_EQ(lineq["waitSecondsLow"].GetUint(), 130U);
  EXPECT_EQ(lineq["waitSecondsHigh"].GetUint(), 290U);
  EXPECT_STREQ(lineq["state"].GetString(), "waiting");
  EXPECT_TRUE(lineq["readyUntil"].IsNull());
  EXPECT_STREQ(lineq["placeKeptUntil"].GetString(), "2020-09-13T12:31:40.123Z");
  EXPECT_STREQ(lineq["message"].GetString(), "Doors open at 10 <b>\"");
}

TEST_F(CloudflareTest, RandomOrderHasPercentiles) {
  room_.settings.method = shm::QueueingMethod::kRandom;
  const rapidjson::Document document = json();
  const auto& cf = document["cfWaitingRoom"];
  EXPECT_EQ(cf["waitTime25Percentile"].GetUint(), 2U);
  EXPECT_EQ(cf["waitTime50Percentile"].GetUint(), 4U);
  EXPECT_EQ(cf["waitTime75Percentile"].GetUint(), 5U);
  EXPECT_TRUE(cf["isRandomQueue"].GetBool());
  EXPECT_FALSE(cf["isFIFOQueue"].GetBool());
  EXPECT_STREQ(cf["queueingMethod"].GetString(), "random");
}

TEST_F(CloudflareTest, WhatIsNotKnownIsSaidSo) {
  wait_ = {};
  const rapidjson::Document document = json();
  EXPECT_FALSE(document["cfWaitingRoom"]["waitTimeKnown"].GetBool());
  EXPECT_STREQ(document["cfWaitingRoom"]["waitTimeFormatted"].GetString(), "unavailable");
  const auto& lineq = document["lineq"];
  for (const char* name : {"room", "position", "ahead", "queued", "waitSeconds", "waitSecondsLow",
                           "waitSecondsHigh", "readyUntil", "placeKeptUntil"}) {
    EXPECT_TRUE(lineq[name].IsNull()) << name;
  }
}

TEST_F(CloudflareTest, WhoIsRejectedIsNotInTheRoom) {
  wait_.state = WaitState::kRejected;
  room_.settings.method = shm::QueueingMethod::kReject;
  const rapidjson::Document document = json();
  EXPECT_FALSE(document["cfWaitingRoom"]["inWaitingRoom"].GetBool());
  EXPECT_TRUE(document["cfWaitingRoom"]["queueIsFull"].GetBool());
  EXPECT_TRUE(document["cfWaitingRoom"]["isRejectQueue"].GetBool());
  EXPECT_STREQ(document["lineq"]["state"].GetString(), "rejected");
}

TEST_F(CloudflareTest, BytesThatAreNoTextDoNotBreakIt) {
  room_.settings.message = "caf\xc3\xa9 \xff\xfe";
  room_.settings.name = "\x80";
  const rapidjson::Document document = json();
  EXPECT_STREQ(document["lineq"]["message"].GetString(), "caf\xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd");
}

TEST(WaitValuesTest, EveryNameIsThereOnce) {
  const auto names = wait_names();
  for (std::size_t i = 0; i < names.size(); ++i) {
    ASSERT_FALSE(names[i].empty()) << i;
    ASSERT_EQ(std::count(names.begin(), names.end(), names[i]), 1) << names[i];
  }
}

}  // namespace
}  // namespace lineq::pages
