// A room's fields: all of them there and back, every mistake once, and the names others give them.
#include "tools/cli/room_settings.h"

#include <gtest/gtest.h>

namespace lineq::cli {
namespace {

std::string mistake(std::string_view json) {
  RoomSettings room;
  room.name = "shop";
  const RoomSettings before = room;
  const Status status = read_room(json, room);
  EXPECT_EQ(room, before);
  return status ? "no mistake" : status.error().what;
}

constexpr std::string_view kWholeRoom =
    R"({"name":"shop_example_com_","description":"the shop","host":"shop.example.com","path":"/buy",)"
    R"("additional_routes":[{"host":"www.example.com","path":"/"},{"host":"","path":"/sale"}],)"
    R"("total_active_users":200,"new_users_per_minute":60,"session_duration":0.5,)"
    R"("disable_session_renewal":true,"queueing_method":"random","queue_all":true,"suspended":true,)"
    R"("paused":true,"admission":"fast","queueing_status_code":429,"refresh_interval":5,)"
    R"("hold_seconds":100,"grace_seconds":30,"lapse":"drop","message":"Grüße \"an\" alle",)"
    R"("custom_page_html":"/etc/lineq/page.html","default_template_language":"de-DE"})";

TEST(RoomSettingsTest, AllFieldsThereAndBack) {
  RoomSettings room;
  const Status status = read_room(kWholeRoom, room);
  ASSERT_TRUE(status.ok()) << status.error().what;
  EXPECT_EQ(room.name, "shop_example_com_");
  EXPECT_EQ(room.path, "/buy");
  ASSERT_EQ(room.additional_routes.size(), 2U);
  EXPECT_EQ(room.additional_routes[1].path, "/sale");
  EXPECT_EQ(room.capacity, 200U);
  EXPECT_EQ(room.new_per_minute, 60U);
  EXPECT_EQ(room.session_ms, 30'000U);
  EXPECT_TRUE(room.fixed_session);
  EXPECT_EQ(room.method, shm::QueueingMethod::kRandom);
  EXPECT_TRUE(room.queue_all && room.suspended && room.paused && room.fast);
  EXPECT_EQ(room.status_code, 429U);
  EXPECT_EQ(room.refresh_ms, 5000U);
  EXPECT_EQ(room.hold_ms, 100'000U);
  EXPECT_EQ(room.grace_ms, 30'000U);
  EXPECT_EQ(room.lapse, shm::Lapse::kDrop);
  EXPECT_EQ(room.message, "Grüße \"an\" alle");
  EXPECT_EQ(room.template_path, "/etc/lineq/page.html");
  EXPECT_EQ(room.language, "de-DE");
  EXPECT_EQ(room_json(room), kWholeRoom);
}

TEST(RoomSettingsTest, WhatTheDefaultsShowReadsAsTheDefaults) {
  RoomSettings room;
  room.name = "a";
  RoomSettings again;
  const Status status = read_room(room_json(room), again);
  ASSERT_TRUE(status.ok()) << status.error().what;
  EXPECT_EQ(again, room);
  EXPECT_TRUE(check_room(again).ok());
}

TEST(RoomSettingsTest, FieldsThatAreNotThereStay) {
  RoomSettings room;
  ASSERT_TRUE(read_room(kWholeRoom, room).ok());
  ASSERT_TRUE(read_room(R"({"total_active_users": "7", "QUEUE_ALL": "off"})", room).ok());
  EXPECT_EQ(room.capacity, 7U);
  EXPECT_FALSE(room.queue_all);
  EXPECT_EQ(room.new_per_minute, 60U);
}

TEST(RoomSettingsTest, WhatOthersCallTheFields) {
  RoomSettings room;
  ASSERT_TRUE(read_room(R"({"C": 9, "N": 8, "S": 2})", room).ok());
  EXPECT_EQ(room.capacity, 9U);
  EXPECT_EQ(room.new_per_minute, 8U);
  EXPECT_EQ(room.session_ms, 120'000U);
  ASSERT_TRUE(read_room(R"({"activeUsers": 5, "session_seconds": 7})", room).ok());
  EXPECT_EQ(room.capacity, 5U);
  EXPECT_EQ(room.session_ms, 7000U);
  ASSERT_TRUE(read_room(R"({"vwr_active_users": 4, "vwr_users_path": "/x"})", room).ok());
  EXPECT_EQ(room.capacity, 4U);
  EXPECT_EQ(room.path, "/x");
}

TEST(RoomSettingsTest, WhatTheApiAddsIsReadOver) {
  EXPECT_EQ(mistake(R"({"id": "x", "numbers": {"active": 5}, "created_on": null})"), "no mistake");
}

TEST(RoomSettingsTest, EverySecondOfADayIsASession) {
  for (u32 seconds = 1; seconds <= 86400; seconds += seconds < 100 ? 1 : 97) {
    u32 ms = 0;
    ASSERT_TRUE(minutes(minutes_text(seconds * 1000), ms)) << seconds;
    ASSERT_EQ(ms, seconds * 1000);
  }
  u32 ms = 0;
  EXPECT_TRUE(minutes("0.017", ms));
  EXPECT_TRUE(minutes("1440", ms));
  EXPECT_EQ(ms, 86'400'000U);
  for (const char* wrong : {"0", "0.01", "1440.1", "-1", "", " 1", "1 ", "1e1", "nan", "inf", "1,5",
                            "99999999999999"}) {
    EXPECT_FALSE(minutes(wrong, ms)) << wrong;
  }
}

TEST(RoomSettingsTest, AMistakeNamesFieldValueAndWhatIsAllowed) {
  EXPECT_EQ(mistake(R"({"total_active_users": 0})"),
            "total_active_users: '0' is not allowed; allowed: 1 to 100000000");
  EXPECT_EQ(mistake(R"({"queueing_method": "lifo"})"),
            "queueing_method: 'lifo' is not allowed; allowed: fifo, random, passthrough or reject");
  EXPECT_EQ(mistake(R"({"paused": [1]})"),
            "paused: '[...]' is not allowed; allowed: true or false");
  EXPECT_EQ(mistake(R"({"total_activ_users": 5})"),
            "total_activ_users: a room has no such field; did you mean 'total_active_users'?");
  EXPECT_EQ(mistake(R"({"C": 5, "total_active_users": 6})"), "total_active_users: given twice");
  EXPECT_EQ(mistake(R"({"additional_routes": [{"host": "a b"}]})"),
            "additional_routes[0].host: 'a b' is not allowed; allowed: a host name of at most 255 "
            "characters, or empty for any");
  EXPECT_EQ(mistake(R"({"additional_routes": [{"hots": "a"}]})"),
            "additional_routes[0].hots: unknown field; a route has host and path");
  EXPECT_EQ(mistake("[1]"),
            R"(a room is one JSON object: {"name": "shop", "total_active_users": 100})");
  EXPECT_EQ(mistake(R"({"name")"),
            "not JSON at byte 8: Missing a colon after a name of object member.");
}

TEST(RoomSettingsTest, WhatIsNotAllowedIsRefused) {
  for (const char* wrong : {R"({"name": ""})",
                            R"({"name": "a@b"})",
                            R"({"name": "a/b"})",
                            R"({"name": ".."})",
                            R"({"name": "a b"})",
                            R"({"name": "a\u0000b"})",
                            R"({"name": "a\u001b"})",
                            R"({"name": "ä"})",
                            R"({"name": null})",
                            R"({"host": "a/b"})",
                            R"({"host": "a\"b"})",
                            R"({"path": "x"})",
                            R"({"path": "/a b"})",
                            R"({"path": "/a?b"})",
                            R"({"path": ""})",
                            R"({"total_active_users": -1})",
                            R"({"total_active_users": 1.5})",
                            R"({"total_active_users": 100000001})",
                            R"({"total_active_users": true})",
                            R"({"new_users_per_minute": 1000001})",
                            R"({"session_duration": 0})",
                            R"({"session_duration": 1441})",
                            R"({"session_seconds": 0})",
                            R"({"queue_all": "maybe"})",
                            R"({"queueing_status_code": 404})",
                            R"({"refresh_interval": 0})",
                            R"({"hold_seconds": 86401})",
                            R"({"grace_seconds": 3601})",
                            R"({"lapse": "never"})",
                            R"({"admission": "slow"})",
                            R"({"message": "a\u001b[2J"})",
                            R"({"message": "a\u202eb"})",
                            R"({"custom_page_html": "/etc/lineq/admin.token"})",
                            R"({"default_template_language": "e"})",
                            R"({"default_template_language": "en\n"})",
                            R"({"additional_routes": {}})",
                            R"({"additional_routes": [1]})",
                            R"({"additional_routes": [{"host": {}}]})"}) {
    EXPECT_NE(mistake(wrong).find("is not allowed; allowed: "), std::string::npos) << wrong;
  }
  EXPECT_NE(mistake(R"({"name": ")" + std::string(128, 'a') + "\"}"), "no mistake");
  EXPECT_NE(mistake(R"({"message": ")" + std::string(256, 'a') + "\"}"), "no mistake");
  EXPECT_NE(mistake(R"({"message": "a)"
                    "\xff"
                    "\"}"),
            "no mistake");
  EXPECT_NE(mistake(std::string(100000, '[')), "no mistake");
  EXPECT_NE(mistake(R"({"custom_page_html": ")" + std::string(kLongestPageHtml + 1, 'a') + "\"}"),
            "no mistake");
}

TEST(RoomSettingsTest, APageIsAPathOrAText) {
  RoomSettings room;
  ASSERT_TRUE(read_room(R"({"custom_page_html": "<p>{{position}}</p>"})", room).ok());
  EXPECT_EQ(room.page_html, "<p>{{position}}</p>");
  ASSERT_TRUE(read_room(R"({"custom_page_html": "/p.html"})", room).ok());
  EXPECT_EQ(room.page_html, "");
  EXPECT_EQ(room.template_path, "/p.html");
  ASSERT_TRUE(read_room(R"({"custom_page_html": ""})", room).ok());
  EXPECT_EQ(room.template_path, "");
}

TEST(RoomSettingsTest, FieldsHaveToFitEachOther) {
  RoomSettings room;
  EXPECT_EQ(check_room(room).error().what, "name: is missing; every room needs one");
  room.name = "a";
  room.hold_ms = 20'000;
  EXPECT_EQ(check_room(room).error().what,
            "hold_seconds: '20' is not allowed; allowed: more than refresh_interval, which is 20: "
            "between two looks at the page nobody is seen");
}

TEST(RoomSettingsTest, ARoomIsCalledAsHaproxysRulesCallIt) {
  EXPECT_EQ(room_name_of("example.com", "/shop/"), "example_com_shop_");
  EXPECT_EQ(room_name_of("example.com", "/"), "example_com_");
}

}  // namespace
}  // namespace lineq::cli
