#include "webui/pages/room_status.h"

#include "tests/webui/pages_test.h"
#include "webui/pages/metrics.h"

namespace lineq::pages {
namespace {

using testing::Test;

class RoomStatusTest : public PagesTest {
 protected:
  RoomNo add(std::string name, u32 capacity = 5) {
    shm::RoomSettings settings;
    settings.name = std::move(name);
    settings.host = "example.com";
    settings.capacity = capacity;
    return *writer_->add_room(settings, now());
  }
  void fill(RoomNo room, u64 active, u64 called) {
    shm::RoomNumbers numbers = writer_->room_numbers(room);
    numbers.active = active;
    numbers.ready = called;
    writer_->set_room_numbers(room, numbers);
  }
  std::string rooms_text() {
    Json json;
    json.object();
    rooms_part(json, *segment().reader());
    json.end_object();
    return json.take();
  }
};

TEST_F(RoomStatusTest, TellsRulesNumbersAndStateInOrderOfName) {
  const RoomNo b = add("b");
  add("a\xff\"<script>");
  fill(b, 4, 1);
  const std::string text = rooms_text();
  EXPECT_LT(text.find(R"("name":"a\\xff\"<script>")"), text.find(R"("name":"b")")) << text;
  EXPECT_NE(text.find(R"("state":"open","method":"fifo")"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("capacity":5,"new_per_minute":0)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("active":4,"called":1,"waiting":0)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"("oldest_ms":null)"), std::string::npos) << text;
}

TEST_F(RoomStatusTest, TheStrongestRuleIsTheState) {
  shm::RoomSettings settings;
  settings.name = "r";
  const RoomNo room = *writer_->add_room(settings, now());
  for (const auto& [rule, word] : {std::pair{&shm::RoomSettings::paused, "paused"},
                                   std::pair{&shm::RoomSettings::queue_all, "queue_all"},
                                   std::pair{&shm::RoomSettings::suspended, "suspended"}}) {
    settings.*rule = true;
    writer_->set_room(room, settings);
    const std::string text = rooms_text();
    EXPECT_NE(text.find(std::string(R"("state":")") + word), std::string::npos) << text;
  }
}

TEST_F(RoomStatusTest, KeepsAnHourOfEachRoomAndForgetsRoomsThatAreGone) {
  const RoomNo room = add("r");
  live::RoomHistory history;
  constexpr u64 kStep = live::RoomHistory::kStepMs;
  for (u64 i = 0; i < live::RoomHistory::kPoints + 10; ++i) {
    fill(room, i, 0);
    history.sample(*segment().reader(), 1'000'000 + i * kStep);
    history.sample(*segment().reader(), 1'000'000 + i * kStep + kStep / 2);  // too soon
  }
  const shm::RoomInfo info = segment().reader()->rooms().front();
  const auto points = history.points(info);
  ASSERT_EQ(points.size(), live::RoomHistory::kPoints);
  EXPECT_EQ(points.front().active, 10U);
  EXPECT_EQ(points.back().active, live::RoomHistory::kPoints + 9);
  EXPECT_EQ(points.back().realtime_ms - points.front().realtime_ms,
            (live::RoomHistory::kPoints - 1) * kStep);

  writer_->drop_room(room);
  add("r");
  history.sample(*segment().reader(), 1'000'000'000);
  EXPECT_TRUE(history.points(info).empty());
  EXPECT_EQ(history.points(segment().reader()->rooms().front()).size(), 1U);
}

TEST_F(RoomStatusTest, HistoryAnswersForTheRoomAsked) {
  fill(add("r 1"), 3, 2);
  live::RoomHistory history;
  history.sample(*segment().reader(), 1'000'000);
  http::Reply reply = history_reply(segment(), history, request("/status/history?room=r%201"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, R"({"room":"r 1","step_ms":10000,"points":[[1000000,3,2,0]]})");
  EXPECT_EQ(history_reply(segment(), history, request("/status/history?room=x")).status, 404);
  EXPECT_EQ(history_reply(segment(), history, request("/status/history")).status, 404);
  EXPECT_EQ(history_reply(segment(), history, request("/status/history?page=1")).status, 400);
}

TEST_F(RoomStatusTest, MetricsHaveEveryNumberOfARoom) {
  const RoomNo room = add("r");
  fill(room, 3, 2);
  writer_->add_room_counter(room, shm::RoomCounter::issued, 7);
  writer_->add_room_wait(room, 1'500);
  writer_->add_room_wait(room, 700);
  writer_->add_room_stay(room, 100'000'000);
  const std::string text = metrics_text(segment(), {}, 0);
  for (const std::string_view line :
       {R"(lineq_room_capacity{room="r"} 5)", R"(lineq_room_active{room="r"} 3)",
        R"(lineq_room_ready{room="r"} 2)", R"(lineq_room_queued{room="r"} 0)",
        R"(lineq_room_issued_total{room="r"} 7)", R"(lineq_room_over_limit_total{room="r"} 0)",
        R"(lineq_room_fifo_inversions_total{room="r"} 0)",
        R"(lineq_room_oldest_waiter_seconds{room="r"} 0.000)",
        R"(lineq_room_wait_seconds_bucket{room="r",le="1"} 1)",
        R"(lineq_room_wait_seconds_bucket{room="r",le="2"} 2)",
        R"(lineq_room_wait_seconds_bucket{room="r",le="+Inf"} 2)",
        R"(lineq_room_wait_seconds_sum{room="r"} 2.200)",
        R"(lineq_room_wait_seconds_count{room="r"} 2)",
        R"(lineq_room_stay_seconds_bucket{room="r",le="21600"} 0)",
        R"(lineq_room_stay_seconds_bucket{room="r",le="+Inf"} 1)"}) {
    EXPECT_NE(text.find(std::string(line) + "\n"), std::string::npos) << line;
  }
  EXPECT_NE(text.find("# TYPE lineq_room_wait_seconds histogram"), std::string::npos);
}

}  // namespace
}  // namespace lineq::pages
