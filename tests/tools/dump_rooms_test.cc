// Waiting rooms as users of lineq-dump see them: beside the daemon, after its death, from a copy.
#include <algorithm>
#include <filesystem>

#include <rapidjson/document.h>

#include "shm/visitor.h"
#include "tests/tools/dump_support.h"

namespace lineq::dump {
namespace {

using shm::Visitor;
using shm::VisitorState;
using test::Finished;
using test::lines_of;

class DumpRoomsTest : public testing::Test {
 protected:
  RoomNo room(std::string name) {
    shm::RoomSettings settings;
    settings.name = std::move(name);
    settings.capacity = 3;
    return *segment_.writer->add_room(settings, 0);
  }
  // A visitor in any state; those that wait join the line.
  void visitor(RoomNo room, std::string_view key, VisitorState state, u32 since_ms_ago) {
    shm::Writer& writer = *segment_.writer;
    shm::Table& table = *writer.table_for(users_, 0, shm::TableRole::kUsers)->table;
    const std::span<const u8> bytes(reinterpret_cast<const u8*>(key.data()), key.size());
    const SegmentMs now = writer.now();
    const Tick time = writer.room_time(now);
    const auto ticket = *writer.line(room).next_ticket(now);
    shm::Together change(writer);
    u64* image = change.insert(table, bytes, table.tag_of(bytes), now);
    shm::put_times(image, std::nullopt, tick_of(now));
    const Visitor v{.state = state,
                    .again = state == VisitorState::kFront,
                    .room = room,
                    .ticket = ticket,
                    .deadline = time + 300'000,
                    .since = time - since_ms_ago};
    image[table.info().geometry.ext_offset / 8] = v.word0();
    image[table.info().geometry.ext_offset / 8 + 1] = v.word1();
    if (state == VisitorState::kWaiting) {
      change.join(writer.line(room));
    }
    change.land_quietly(now);
  }
  void fill() {
    const RoomNo shop = room("shop");
    const RoomNo other = room("other room");
    visitor(shop, "later@shop", VisitorState::kWaiting, 1000);
    visitor(shop, "inside@shop", VisitorState::kActive, 1000);
    visitor(shop, "called@shop", VisitorState::kGranted, 1000);
    visitor(shop, "gone@shop", VisitorState::kAbandoned, 1000);
    visitor(shop, "missed@shop", VisitorState::kFront, 200'000);
    visitor(other, "elsewhere@other room", VisitorState::kWaiting, 1000);
    visitor(shop, "last \xff<script>\n@shop", VisitorState::kWaiting, 1000);
    shm::RoomNumbers numbers = segment_.writer->room_numbers(shop);
    numbers.active = 1;
    numbers.ready = 1;
    numbers.front = 1;
    numbers.oldest_since = segment_.writer->room_time(segment_.writer->now()) - 200'000;
    segment_.writer->set_room_numbers(shop, numbers);
    segment_.beat();
  }
  static rapidjson::Document parsed(const std::string& text) {
    rapidjson::Document document;
    document.Parse(text.c_str());
    EXPECT_FALSE(document.HasParseError()) << text;
    return document;
  }

  Segment segment_;
  const shm::TableDefinition users_ = table_of("users", shm::KeyType::kString, 73, "gpc1");
};

TEST_F(DumpRoomsTest, TheQueueIsShownInOrder) {
  fill();
  const Finished text = segment_.dump({"--queue", "shop"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  const auto lines = lines_of(text.out);
  ASSERT_EQ(lines.size(), 6U) << text.out;
  EXPECT_EQ(lines[0], "# room: shop, mode: fifo, active:1/3, called:1, front:1, waiting:2");
  EXPECT_TRUE(lines[1].starts_with(" POSITION        TICKET  STATE "));
  EXPECT_TRUE(lines[2].starts_with("        -") && lines[2].ends_with("  called@shop"));
  EXPECT_TRUE(lines[3].starts_with("        1") && lines[3].ends_with("  missed@shop"));
  EXPECT_NE(lines[3].find("  front        3m2"), std::string::npos) << lines[3];
  EXPECT_TRUE(lines[4].starts_with("        2             0  waiting ") &&
              lines[4].ends_with("  later@shop"));
  EXPECT_TRUE(lines[5].starts_with("        3") &&
              lines[5].ends_with(R"(  last\ \xFF<script>\n@shop)"))
      << lines[5];
}

TEST_F(DumpRoomsTest, TheQueueAsData) {
  fill();
  const auto json = parsed(segment_.dump({"--queue", "shop", "-o", "json"}).out);
  EXPECT_STREQ(json["room"].GetString(), "shop");
  EXPECT_EQ(json["waiting"].GetUint(), 2U);
  EXPECT_GE(json["oldest_waiter_ms"].GetUint(), 200'000U);
  ASSERT_EQ(json["visitors"].Size(), 4U);
  EXPECT_TRUE(json["visitors"][0]["position"].IsNull());
  EXPECT_STREQ(json["visitors"][0]["state"].GetString(), "granted");
  EXPECT_EQ(json["visitors"][1]["position"].GetUint(), 1U);
  EXPECT_TRUE(json["visitors"][1]["again"].GetBool());
  EXPECT_GT(json["visitors"][2]["left_ms"].GetUint(), 200'000U);
  EXPECT_TRUE(json["visitors"][3].HasMember("key_base64"));
  const Finished lines = segment_.dump({"--queue", "shop", "-o", "jsonl"});
  ASSERT_EQ(lines_of(lines.out).size(), 4U);
  for (const std::string& line : lines_of(lines.out)) {
    EXPECT_STREQ(parsed(line)["room"].GetString(), "shop");
  }
  const Finished csv = segment_.dump({"--queue", "other room", "-o", "csv"});
  ASSERT_EQ(lines_of(csv.out).size(), 2U) << csv.out;
  EXPECT_TRUE(
      csv.out.starts_with("room,position,ticket,state,again,since_ms,left_ms,key\r\n"
                          "other room,1,0,waiting,false,"));
  EXPECT_TRUE(csv.out.ends_with(",elsewhere@other room\r\n"));
}

TEST_F(DumpRoomsTest, RoomsAreListed) {
  EXPECT_EQ(lines_of(segment_.dump({"--rooms"}).out).size(), 1U);
  fill();
  const auto lines = lines_of(segment_.dump({"--rooms"}).out);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_TRUE(lines[1].starts_with("shop                  fifo                   1/3"));
  EXPECT_NE(lines[1].find("  3m2"), std::string::npos) << lines[1];
  const auto json = parsed(segment_.dump({"--rooms", "-o", "json"}).out);
  ASSERT_EQ(json["rooms"].Size(), 2U);
  EXPECT_EQ(json["rooms"][0]["total_active_users"].GetUint(), 3U);
  EXPECT_EQ(json["rooms"][1]["admitted"].GetUint(), 0U);
  EXPECT_EQ(lines_of(segment_.dump({"--rooms", "-o", "csv"}).out).size(), 3U);
  EXPECT_EQ(lines_of(segment_.dump({"--rooms", "-o", "jsonl"}).out).size(), 2U);
}

TEST_F(DumpRoomsTest, AFullDiskIsAnError) {
  fill();
  for (const std::string what : {"--queue shop -o ", "--rooms -o "}) {
    for (const std::string format : {"text", "json", "jsonl", "csv"}) {
      segment_.beat();
      const Finished finished = test::run(segment_.lineq.command(
          "/bin/sh", {"-c", test::lineq_dump_path() + " " + what + format + " >/dev/full"}));
      EXPECT_EQ(finished.exit_code, 1) << what << format;
      EXPECT_EQ(finished.err, "lineq-dump: cannot write the output: No space left on device\n");
    }
  }
}

TEST_F(DumpRoomsTest, NothingAStrangerChoseSteersATerminalInAnyView) {
  const std::string evil =
      std::string("\x1b]0;owned\x07\x1b[2J\r\n\x7f\x9b") + "\xe2\x80\xae" + "\xff\xc2\x9b" + "31m";
  fill();
  visitor(room("r2"), evil + "@r2", VisitorState::kWaiting, 1000);
  const auto table = table_of("t" + evil, shm::KeyType::kString, 64, "server_key", 0);
  segment_.put(table, evil, {segment_.writer->intern(evil)});
  ASSERT_TRUE(segment_.writer
                  ->peer_up({.remote_name = "hap" + evil,
                             .local_name = evil,
                             .address = "unix@" + evil,
                             .remote_pid = 1},
                            segment_.writer->now())
                  .ok());
  segment_.beat();
  std::vector<std::vector<std::string>> views{{},
                                              {"-a"},
                                              {"--peers"},
                                              {"--rooms"},
                                              {"--queue", "r2"},
                                              {"--verify"},
                                              {"-t", "t" + evil, "-k", evil}};
  for (const auto& view : views) {
    for (const std::string format : {"text", "json", "jsonl", "csv"}) {
      std::vector<std::string> words = view;
      words.insert(words.end(), {"-o", format});
      const Finished shown = segment_.dump(words);
      EXPECT_EQ(shown.exit_code, 0) << shown.err;
      for (const std::string& text : {shown.out, shown.err}) {
        std::string lines = text;
        std::erase(lines, '\n');
        if (format == "csv") {
          std::erase(lines, '\r');  // as RFC 4180 ends lines
        }
        // Plain ASCII: no control character, no C1, nothing that reorders, no broken UTF-8.
        EXPECT_TRUE(
            std::all_of(lines.begin(), lines.end(), [](char c) { return c >= ' ' && c < '\x7f'; }))
            << format << ": " << text;
      }
    }
  }
  // What is not there is named as harmlessly.
  for (const auto& words : std::vector<std::vector<std::string>>{{"-t", evil},
                                                                 {"-k", evil + "x"},
                                                                 {"--queue", evil},
                                                                 {"--peer", evil},
                                                                 {evil},
                                                                 {"-o", evil}}) {
    segment_.beat();  // nothing to say about a lineqd that is silent
    const Finished refused = segment_.dump(words);
    EXPECT_NE(refused.exit_code, 0);
    EXPECT_EQ(lines_of(refused.err).size(), 1U) << refused.err;
    EXPECT_EQ(refused.err.find_first_of("\x1b\x07\x7f\x9b\xff\r"), std::string::npos)
        << refused.err;
  }
}

TEST_F(DumpRoomsTest, AnUnknownRoomIsAnswered) {
  Finished finished = segment_.dump({"--queue", "shop"});
  EXPECT_EQ(finished.exit_code, 2);
  EXPECT_EQ(finished.err, "lineq-dump: there are no rooms\n");
  fill();
  finished = segment_.dump({"--queue", "shup"});
  EXPECT_EQ(finished.exit_code, 2);
  EXPECT_EQ(finished.err, "lineq-dump: no room 'shup'; there are: shop, other room\n");
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(segment_.dump({"--queue", "shop", "-a"}).exit_code, 1);
  EXPECT_EQ(segment_.dump({"--queue", "shop", "--peers"}).exit_code, 1);
}

TEST_F(DumpRoomsTest, WithoutTheDaemonAndFromACopy) {
  fill();
  segment_.drop();
  const Finished dead = segment_.dump({"--queue", "shop", "-o", "csv"});
  EXPECT_EQ(dead.exit_code, 0);
  EXPECT_NE(dead.err.find("this is what it left"), std::string::npos);
  EXPECT_EQ(lines_of(dead.out).size(), 5U);
  const test::TempDir copy;
  for (const std::string& object : segment_.lineq.objects()) {
    std::filesystem::copy("/dev/shm/" + object, copy.path());
  }
  const Finished copied = segment_.dump({"-f", copy.path(), "--queue", "shop", "-o", "csv"});
  EXPECT_EQ(copied.exit_code, 0) << copied.err;
  EXPECT_EQ(lines_of(copied.out).size(), 5U);
  const Finished verified = segment_.dump({"-f", copy.path(), "--verify"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out;
  EXPECT_NE(verified.out.find(": no finding"), std::string::npos) << verified.out;
}

TEST_F(DumpRoomsTest, MoreInsideThanAllowedIsARemarkOfVerify) {
  fill();
  shm::RoomSettings settings = segment_.writer->room_settings(RoomNo{0});
  settings.capacity = 1;
  segment_.writer->set_room(RoomNo{0}, settings);
  const Finished verified = segment_.dump({"--verify"});
  EXPECT_EQ(verified.exit_code, 0) << verified.out;
  EXPECT_TRUE(verified.out.starts_with(
      "remark: over_limit: room shop: 1 inside and 1 called, 1 are allowed\n"))
      << verified.out;
  const auto json = parsed(segment_.dump({"--verify", "-o", "json"}).out);
  EXPECT_TRUE(json["clean"].GetBool());
  EXPECT_STREQ(json["remarks"][0]["invariant"].GetString(), "over_limit");
}

}  // namespace
}  // namespace lineq::dump
