#include "webui/live/presence.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

namespace lineq::live {
namespace {

struct Wire {
  std::vector<std::string> lines;
  std::vector<std::function<void(bool)>> waiting;
  Presence::Send send() {
    return [this](std::string line, std::function<void(bool)> done) {
      lines.push_back(std::move(line));
      waiting.push_back(std::move(done));
    };
  }
};

TEST(PresenceTest, KeysGoOutInBatches) {
  Wire wire;
  Presence presence;
  presence.set_send(wire.send());
  for (std::size_t i = 0; i < Presence::kBatch + 1; ++i) {
    EXPECT_TRUE(presence.add(fmt::format("v{}@shop", i)));
  }
  EXPECT_EQ(wire.lines.size(), 1U);
  presence.flush();
  presence.flush();
  ASSERT_EQ(wire.lines.size(), 2U);
  EXPECT_EQ(wire.lines[1], R"({"command":"present","keys":["v500@shop"],"by":"lineq-web"})");
  for (const auto& done : wire.waiting) {
    done(true);
  }
  EXPECT_EQ(presence.reported(), Presence::kBatch + 1);
}

TEST(PresenceTest, NoMoreLinesThanLineqdAnswers) {
  Wire wire;
  Presence presence;
  presence.set_send(wire.send());
  std::size_t taken = 0;
  for (std::size_t i = 0; i < 100 * Presence::kBatch; ++i) {
    taken += presence.add(fmt::format("v{}@shop", i)) ? 1U : 0U;
  }
  EXPECT_EQ(wire.lines.size(), Presence::kInFlight);
  EXPECT_EQ(taken, Presence::kInFlight * Presence::kBatch);
  wire.waiting[0](false);
  EXPECT_EQ(presence.reported(), 0U);
  EXPECT_TRUE(presence.add("again@shop"));
}

TEST(PresenceTest, NobodyIsReportedToNobody) {
  Presence presence;
  EXPECT_FALSE(presence.add("a@shop"));
  presence.flush();
}

TEST(PresenceTest, KeysOfStrangersStayInsideTheirQuotes) {
  Wire wire;
  Presence presence;
  presence.set_send(wire.send());
  const std::string evil = "\"],\"command\":\"revoke\",\"x\":[\"\\\n\r\t\x01<script>@shop";
  presence.add(evil);
  presence.flush();
  ASSERT_EQ(wire.lines.size(), 1U);
  EXPECT_EQ(wire.lines[0].find('\n'), std::string::npos);
  rapidjson::Document document;
  document.Parse(wire.lines[0].c_str());
  ASSERT_FALSE(document.HasParseError());
  EXPECT_STREQ(document["command"].GetString(), "present");
  ASSERT_EQ(document["keys"].Size(), 1U);
  EXPECT_EQ(document["keys"][0].GetString(), evil);
}

TEST(PresenceTest, OneWhoseKeyIsNoTextSpoilsNobodysBatch) {
  Wire wire;
  Presence presence;
  presence.set_send(wire.send());
  EXPECT_TRUE(presence.add("\xff\xfe@shop"));
  EXPECT_TRUE(presence.add("caf\xc3\xa9@shop"));
  presence.flush();
  ASSERT_EQ(wire.lines.size(), 1U);
  EXPECT_EQ(wire.lines[0],
            "{\"command\":\"present\",\"keys\":[\"caf\xc3\xa9@shop\"],"
            "\"by\":\"lineq-web\"}");
}

TEST(PresenceTest, LongKeysMakeSmallerBatches) {
  Wire wire;
  Presence presence;
  presence.set_send(wire.send());
  for (int i = 0; i < 60; ++i) {
    presence.add(std::string(500, '"') + "@shop");
  }
  presence.flush();
  ASSERT_EQ(wire.lines.size(), 2U);
  for (const std::string& line : wire.lines) {
    EXPECT_LT(line.size(), std::size_t{64} << 10);
  }
}

}  // namespace
}  // namespace lineq::live
