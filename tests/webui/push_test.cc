#include "webui/pages/push.h"

#include <functional>
#include <map>
#include <random>
#include <utility>

#include <fmt/format.h>
#include <rapidjson/document.h>

#include "tests/support/process.h"
#include "tests/webui/pages_test.h"
#include "webui/http/websocket.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

constexpr std::string_view kFields =
    "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

std::string base64(std::string_view bytes) {
  std::string out;
  append_base64({reinterpret_cast<const u8*>(bytes.data()), bytes.size()}, out);
  return out;
}

// A client of /ws without a socket: takes what there is to say when a test wants it.
class Client {
 public:
  explicit Client(http::Reply reply) : messages_(std::move(reply.messages)) {
    messages_->open([this] { awake_ = true; });
  }

  // All messages until there is nothing to say; nothing if nobody said that there may be something.
  std::vector<std::string> take() {
    std::vector<std::string> all;
    if (!std::exchange(awake_, false)) {
      return all;
    }
    for (int i = 0; i < 100'000; ++i) {
      std::string out;
      switch (messages_->next(out)) {
        case http::Messages::Next::kNothing:
          EXPECT_TRUE(out.empty());
          return all;
        case http::Messages::Next::kLater:
          EXPECT_TRUE(out.empty());
          break;
        case http::Messages::Next::kPart:
          part_ += out;
          ++parts_;
          break;
        case http::Messages::Next::kWhole:
          all.push_back(std::exchange(part_, {}) + out);
          break;
        case http::Messages::Next::kBroken:
          all.emplace_back("<broken>");
          return all;
      }
      largest_ = std::max(largest_, out.size());
    }
    ADD_FAILURE() << "it never ends";
    return all;
  }
  // One call of next(), for those who take slowly.
  http::Messages::Next next(std::string& out) { return messages_->next(out); }
  bool awake() const { return awake_; }
  std::optional<std::pair<u16, std::string>> say(std::string_view text) {
    return messages_->hear(text);
  }
  int watch(std::string_view table, const std::vector<std::string>& keys) {
    std::string ids;
    for (const std::string& key : keys) {
      ids += fmt::format("{}\"{}\"", ids.empty() ? "" : ",", base64(key));
    }
    const auto close = say(fmt::format(R"({{"watch":{{"table":"{}","ids":[{}]}}}})", table, ids));
    return close ? close->first : 0;
  }
  std::size_t parts() const { return parts_; }
  std::size_t largest() const { return largest_; }

 private:
  std::unique_ptr<http::Messages> messages_;
  bool awake_ = false;
  std::string part_;
  std::size_t parts_ = 0;
  std::size_t largest_ = 0;
};

using Texts = std::vector<std::string>;

class PushTest : public PagesTest {
 protected:
  static http::Request upgrade(std::string_view query) {
    http::RequestParser parser;
    parser.feed(fmt::format("GET /ws{} HTTP/1.1\r\n{}\r\n", query, kFields));
    EXPECT_EQ(parser.state(), http::RequestParser::State::kDone);
    return parser.take();
  }
  Push& push() {
    if (push_ == nullptr) {
      changes_ = std::make_unique<live::Changes>(segment());
      push_ = std::make_unique<Push>(*segment_, *changes_);
    }
    segment();
    return *push_;
  }
  http::Reply answer(std::string_view query) { return push().answer(upgrade(query)); }
  std::unique_ptr<Client> client(std::string_view query) {
    http::Reply reply = answer(query);
    EXPECT_EQ(reply.status, 101) << reply.body;
    return std::make_unique<Client>(std::move(reply));
  }
  // One that has taken what there is at first.
  std::unique_ptr<Client> listener(std::string_view query = "?initial=0") {
    auto made = client(query);
    made->take();
    return made;
  }
  void tick(int n = 1) {
    for (; n > 0; --n) {
      if (!changes_->tick(clock_ += 50)) {
        while (!changes_->step()) {
        }
      }
    }
  }
  void drop(const shm::TableDefinition& definition, std::string_view key,
            shm::FeedKind kind = shm::FeedKind::kErase) {
    shm::Table& t = table(definition);
    const auto slot = t.find(t.tag_of(shm::bytes(key)), shm::bytes(key));
    ASSERT_TRUE(slot.has_value());
    t.erase(*slot, kind, kNoPeer, now());
  }

  std::unique_ptr<live::Changes> changes_;
  std::unique_ptr<Push> push_;
  const shm::TableDefinition users_ =
      shm::define("/users", shm::KeyType::kString, 33, {shm::kGpc1}, 3'600'000);
  const shm::TableDefinition ips_ = shm::define("/ips", shm::KeyType::kIp, 4, {shm::kGpc0}, 0);
};

TEST_F(PushTest, RefusesAWrongRequestInASentence) {
  set(users_, "u", {1});
  const auto refused = [&](std::string_view query) {
    const http::Reply reply = answer(query);
    return fmt::format("{} {}", reply.status, reply.body);
  };
  EXPECT_EQ(refused("?format=v3"), "400 format: 'v3' is not allowed; allowed: v1, v2\n");
  EXPECT_EQ(refused("?initial=yes"), "400 initial: 'yes' is not allowed; allowed: 0, 1\n");
  EXPECT_EQ(refused("?tabel=users"),
            "400 'tabel' is not known here; known: table, format, initial\n");
  EXPECT_EQ(refused("?table=users&table=none%0a"), "404 There is no table 'none\\x0a'.\n");
  std::string many = "?";
  for (std::size_t i = 0; i <= Push::kMaxTables; ++i) {
    many += "table=users&";
  }
  EXPECT_EQ(refused(many), "400 table: at most 100 may be named; none means all\n");
  EXPECT_EQ(push().answer(request("/ws")).status, 426);
  writer_.reset();
  instance_.remove();
  live::Segment nowhere(instance_.source());
  nowhere.tick(1);
  live::Changes none(nowhere);
  EXPECT_EQ(Push(nowhere, none).answer(upgrade("")).status, 503);
}

TEST_F(PushTest, TellsTheTablesOnceAndThenWhatChanges) {
  set(users_, "anna", {1});
  set(ips_, std::string("\x7f\0\0\1", 4), {7});
  const auto c = client("");
  const Texts first = c->take();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0], tables());
  tick();
  EXPECT_EQ(c->take(), Texts());
  set(users_, "anna", {2});
  tick();
  EXPECT_EQ(
      c->take(),
      Texts{R"({"mode":"update","/users":{"expiry":3600000,"type":"string","vtypes":"gpc1  ",)"
            R"("entries":[{"id":"YW5uYQ==","key":"anna","value":"2\t"}]}})"});
  set(users_, "bert", {5});
  set(ips_, std::string("\x7f\0\0\1", 4), {8});
  tick();
  EXPECT_EQ(
      c->take(),
      (Texts{R"({"mode":"update","/users":{"expiry":3600000,"type":"string","vtypes":"gpc1  ",)"
             R"("entries":[{"id":"YmVydA==","key":"bert","value":"5\t"}]}})",
             R"({"mode":"update","/ips":{"expiry":0,"type":"ip","vtypes":"gpc0  ",)"
             R"("entries":[{"id":"fwAAAQ==","key":"127.0.0.1","value":"8\t"}]}})"}));
}

TEST_F(PushTest, TellsTypedValuesOfTheTablesAskedFor) {
  set(users_, "anna", {1});
  set(ips_, std::string("\x7f\0\0\1", 4), {7});
  const auto c = client("?table=users&table=%2Fips&format=v2");
  const Texts first = c->take();
  ASSERT_EQ(first.size(), 2U);
  EXPECT_NE(first[0].find(R"("tables":[{"table":"/users",)"), std::string::npos) << first[0];
  EXPECT_NE(first[1].find(R"("tables":[{"table":"/ips",)"), std::string::npos) << first[1];
  const auto users = listener("?table=users&initial=0&format=v2");
  set(ips_, std::string("\x7f\0\0\1", 4), {8});
  tick();
  EXPECT_FALSE(users->awake());
  const Texts typed = c->take();
  ASSERT_EQ(typed.size(), 1U);
  EXPECT_TRUE(typed[0].starts_with(
      R"({"mode":"update","format":2,"table":"/ips","entries":[{"id":"fwAAAQ==",)"
      R"("key":"127.0.0.1","expires_ms":null,"age_ms":)"))
      << typed[0];
  EXPECT_TRUE(typed[0].ends_with(R"(,"values":{"gpc0":8}}]})")) << typed[0];
  set(users_, "anna", {3});
  tick();
  rapidjson::Document d;
  d.Parse(users->take().at(0).c_str());
  const auto& entry = d["entries"][0];
  EXPECT_STREQ(d["table"].GetString(), "/users");
  EXPECT_EQ(entry["values"]["gpc1"].GetInt(), 3);
  EXPECT_GT(entry["expires_ms"].GetInt(), 3'500'000);
}

TEST_F(PushTest, TellsAnEntryThatChangedOftenOnceWithItsNewestValue) {
  const auto c = listener();
  for (u64 i = 1; i <= 5000; ++i) {
    set(users_, "anna", {i});
    set(users_, "bert", {i});
    if (i % 100 == 0) {
      tick();
    }
  }
  EXPECT_EQ(changes_->kept(), 2U);
  set(users_, "anna", {6000});  // the feed has not been looked at, the value is told all the same
  const Texts said = c->take();
  ASSERT_EQ(said.size(), 1U);
  rapidjson::Document d;
  d.Parse(said[0].c_str());
  ASSERT_EQ(d["/users"]["entries"].Size(), 2U);
  EXPECT_NE(said[0].find(R"("key":"anna","value":"6000\t")"), std::string::npos) << said[0];
  EXPECT_NE(said[0].find(R"("key":"bert","value":"5000\t")"), std::string::npos) << said[0];
}

TEST_F(PushTest, TellsWhatIsRemovedByItsId) {
  set(users_, "anna", {1});
  set(users_, "bert", {1});
  set(ips_, std::string("\x7f\0\0\1", 4), {7});
  const auto old = listener();
  const auto typed = listener("?initial=0&format=v2");
  drop(users_, "anna", shm::FeedKind::kExpire);
  drop(users_, "bert");
  drop(ips_, std::string("\x7f\0\0\1", 4));
  tick();
  EXPECT_EQ(old->take(), (Texts{R"({"mode":"remove","/users":{"ids":["YW5uYQ==","YmVydA=="]}})",
                                R"({"mode":"remove","/ips":{"ids":["fwAAAQ=="]}})"}));
  EXPECT_EQ(typed->take(),
            (Texts{R"({"mode":"remove","format":2,"table":"/users","ids":["YW5uYQ==","YmVydA=="]})",
                   R"({"mode":"remove","format":2,"table":"/ips","ids":["fwAAAQ=="]})"}));
  // An entry that came back is told in this order.
  set(users_, "bert", {2});
  tick();
  drop(users_, "bert");
  tick();
  set(users_, "bert", {3});
  tick();
  const Texts said = old->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_NE(said[0].find("remove"), std::string::npos);
  EXPECT_NE(said[1].find(R"("value":"3\t")"), std::string::npos);
}

TEST_F(PushTest, ASlowReaderIsSentTheTablesAgainAndHoldsUpNobody) {
  set(users_, "first", {1});
  const auto slow = listener("?table=users");
  set(ips_, "\1\2\3\4", {1});
  const auto quiet = listener("?table=ips&initial=0");
  tick();
  const auto quick = listener();
  std::size_t heard = 0;
  const u32 many = live::Changes::kKept + 1000;
  for (u32 i = 0; i < many; ++i) {
    set(users_, fmt::format("{:08}", i), {i});
    if (i % 10'000 == 0 || i + 1 == many) {
      tick();
      for (const std::string& text : quick->take()) {
        rapidjson::Document d;
        d.Parse(text.c_str());
        ASSERT_STREQ(d["mode"].GetString(), "update");
        heard += d["/users"]["entries"].Size();
      }
    }
  }
  EXPECT_EQ(heard, many);
  EXPECT_LE(quick->largest(), 40'000U);
  EXPECT_EQ(changes_->kept(), live::Changes::kKept);
  const Texts said = slow->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_EQ(said[0], R"({"mode":"resync"})");
  EXPECT_EQ(said[1], tables("?table=users"));
  EXPECT_GT(slow->parts(), 10U);
  EXPECT_LE(slow->largest(), http::Stream::kBlockBytes + 10'000);
  // What is lost of one table is no matter to who listens to another.
  set(ips_, "\1\2\3\4", {2});
  tick();
  EXPECT_EQ(quiet->take().size(), 1U);
  EXPECT_EQ(slow->take(), Texts());
}

TEST_F(PushTest, TellsWhatChangedWhileTheTablesWereTold) {
  for (u32 i = 0; i < 5000; ++i) {
    set(users_, fmt::format("{:08}", i), {i});
  }
  const auto c = client("");
  std::string part;
  ASSERT_EQ(c->next(part), http::Messages::Next::kPart);
  set(users_, "00000000", {77});
  tick();
  const Texts said = c->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_TRUE(said[0].ends_with("}]}}"));
  EXPECT_NE(said[1].find(R"("key":"00000000","value":"77\t")"), std::string::npos);
}

TEST_F(PushTest, ARestartedDaemonAndALappedFeedMeanResync) {
  set(users_, "anna", {1});
  const auto c = listener("?table=users");
  const auto bare = listener("?initial=0");
  writer_.reset();
  writer_ = shm::attach(instance_);
  tick();
  Texts said = c->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_EQ(said[0], R"({"mode":"resync"})");
  EXPECT_EQ(said[1], tables("?table=users"));
  EXPECT_EQ(bare->take(), Texts{R"({"mode":"resync"})"});
  for (u64 i = 0; i < 70'000; ++i) {  // the ring has 65536
    set(users_, "anna", {i});
  }
  tick();
  said = c->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_NE(said[1].find(R"("value":"69999\t")"), std::string::npos) << said[1];
  EXPECT_EQ(bare->take(), Texts{R"({"mode":"resync"})"});
  set(users_, "anna", {1});
  tick();
  EXPECT_EQ(c->take().size(), 1U);
}

TEST_F(PushTest, GoesOnWithAnotherSegment) {
  set(users_, "anna", {1});
  const auto c = listener("?table=users");
  const auto half = client("");
  for (u32 i = 0; i < 5000; ++i) {
    set(users_, fmt::format("{:08}", i), {i});
  }
  std::string part;
  ASSERT_EQ(half->next(part), http::Messages::Next::kPart);
  writer_.reset();
  instance_.remove();
  writer_ = shm::attach(instance_);
  set(users_, "bert", {2});
  const u64 before = segment_->generation();
  ASSERT_TRUE(test::wait_until([&] {  // it looks for another one once a second
    segment();
    return segment_->generation() != before;
  }));
  tick();
  const Texts said = c->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_EQ(said[0], R"({"mode":"resync"})");
  EXPECT_NE(said[1].find("bert"), std::string::npos);
  EXPECT_EQ(said[1].find("anna"), std::string::npos);
  EXPECT_EQ(half->take(), Texts{"<broken>"});
  set(users_, "carl", {3});
  tick();
  EXPECT_EQ(c->take().size(), 1U);
}

TEST_F(PushTest, TellsOfATableThatComesLater) {
  set(users_, "anna", {1});
  const auto c = listener();
  set(ips_, "\1\2\3\4", {1});
  tick(2);
  const Texts said = c->take();
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find("/ips"), std::string::npos);
}

TEST_F(PushTest, AWatcherHearsOfItsEntriesOnly) {
  set(users_, "anna", {1});
  set(users_, "bert", {1});
  const auto c = listener("?table=users&format=v2&initial=0");
  EXPECT_EQ(c->watch("users", {"anna", "carl"}), 0);
  Texts said = c->take();  // as they are now
  ASSERT_EQ(said.size(), 2U);
  EXPECT_NE(said[0].find(R"("key":"anna")"), std::string::npos) << said[0];
  EXPECT_EQ(said[1], fmt::format(R"({{"mode":"remove","format":2,"table":"/users","ids":["{}"]}})",
                                 base64("carl")));
  set(users_, "bert", {2});
  tick(2 * Push::kWatchTicks);
  EXPECT_EQ(c->take(), Texts());
  set(users_, "carl", {4});
  drop(users_, "anna");
  set(users_, "dora", {4});  // in anna's slot
  tick(Push::kWatchTicks);
  said = c->take();
  ASSERT_EQ(said.size(), 2U);
  EXPECT_NE(said[0].find(R"("key":"carl")"), std::string::npos) << said[0];
  EXPECT_EQ(said[0].find("dora"), std::string::npos) << said[0];
  EXPECT_NE(said[1].find(base64("anna")), std::string::npos) << said[1];
  // Also after the daemon was away, and when changes were lost.
  writer_.reset();
  writer_ = shm::attach(instance_);
  for (u64 i = 0; i < 70'000; ++i) {
    set(users_, "carl", {i});
  }
  tick(Push::kWatchTicks);
  said = c->take();
  ASSERT_EQ(said.size(), 1U);
  EXPECT_NE(said[0].find(R"("gpc1":69999)"), std::string::npos) << said[0];
  EXPECT_EQ(changes_->kept(), 0U);
  // The last watch counts, and without one everything is heard again.
  EXPECT_EQ(c->watch("/users", {"bert"}), 0);
  EXPECT_EQ(c->take().size(), 1U);
  EXPECT_FALSE(c->say(R"({"watch":null})").has_value());
  EXPECT_EQ(c->take(), Texts{R"({"mode":"resync"})"});
  set(users_, "anna", {9});
  tick();
  EXPECT_EQ(c->take().size(), 1U);
}

TEST_F(PushTest, AWatcherIsServedAFewTimesASecond) {
  set(users_, "anna", {1});
  const auto c = listener("?table=users&initial=0");
  EXPECT_EQ(c->watch("users", {"anna"}), 0);
  c->take();
  int heard = 0;
  for (u64 i = 0; i < 40; ++i) {
    set(users_, "anna", {i});
    tick();
    heard += static_cast<int>(c->take().size());
  }
  EXPECT_EQ(heard, 10);
}

TEST_F(PushTest, ClosesOnWhatItDoesNotUnderstand) {
  set(users_, "anna", {1});
  const auto c = listener();
  const auto wrong = [&](std::string_view text) {
    const auto close = c->say(text);
    return close ? fmt::format("{} {}", close->first, close->second) : "";
  };
  EXPECT_EQ(wrong("hello"), "1008 no JSON: Invalid value. at byte 0");
  const std::string known =
      R"(1008 only {"watch":{"table":"name","ids":[base64,...]}} is understood)";
  for (const char* text : {"{}", "[]", "1", R"({"watch":null,"more":1})", R"({"wotch":null})"}) {
    EXPECT_EQ(wrong(text), known) << text;
  }
  const std::string shape = "1008 watch: an object with table, a text, and ids, a list of base64";
  for (const char* text :
       {R"({"watch":1})", R"({"watch":{}})", R"({"watch":{"table":"users"}})",
        R"({"watch":{"table":1,"ids":[]}})", R"({"watch":{"table":"users","ids":{}}})",
        R"({"watch":{"table":"users","ids":[],"x":1}})"}) {
    EXPECT_EQ(wrong(text), shape) << text;
  }
  EXPECT_EQ(wrong(R"({"watch":{"table":"none","ids":[]}})"),
            "1008 watch: there is no table 'none' here");
  EXPECT_EQ(wrong(R"({"watch":{"table":"users","ids":["YW5uYQ==","?"]}})"),
            "1008 watch: id 1 is not base64");
  EXPECT_EQ(wrong(R"({"watch":{"table":"users","ids":[7]}})"), "1008 watch: id 0 is not base64");
  EXPECT_EQ(c->watch("users", std::vector<std::string>(Push::kMaxWatched, "a")), 0);
  EXPECT_EQ(c->watch("users", std::vector<std::string>(Push::kMaxWatched + 1, "a")), 1008);
  EXPECT_TRUE(wrong(std::string(60'000, '[')).starts_with("1008 no JSON"));
  set(ips_, "\1\2\3\4", {1});
  tick();
  const auto ips = listener("?table=ips");
  EXPECT_EQ(ips->watch("users", {"a"}), 1008);
}

TEST_F(PushTest, NobodyListensAndNothingIsKept) {
  set(users_, "anna", {1});
  {
    const auto c = listener();
    set(users_, "anna", {2});
    tick();
    EXPECT_EQ(changes_->kept(), 1U);
    EXPECT_EQ(changes_->followers(), 1U);
  }
  EXPECT_EQ(changes_->followers(), 0U);
  EXPECT_EQ(changes_->kept(), 0U);
}

// Against a copy that a client keeps: whatever happens, it ends up like the table.
TEST_F(PushTest, ACopyOfTheTableStaysTrueToIt) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  std::map<std::string, u64> truth;
  std::map<std::string, std::string> copy;
  set(users_, "k0", {0});
  truth["k0"] = 0;
  const auto c = client("?table=users");
  const auto hear = [&] {
    for (const std::string& text : c->take()) {
      rapidjson::Document d;
      d.Parse(text.c_str());
      const std::string mode = d["mode"].GetString();
      if (mode == "tables") {
        copy.clear();
      }
      if (mode == "remove") {
        for (const auto& id : d["/users"]["ids"].GetArray()) {
          copy.erase(id.GetString());
        }
      } else if (mode != "resync") {
        for (const auto& e : d["/users"]["entries"].GetArray()) {
          copy[e["id"].GetString()] = e["value"].GetString();
        }
      }
    }
  };
  for (int round = 0; round < 400; ++round) {
    for (auto i = random() % 30; i > 0; --i) {
      const std::string key = fmt::format("k{}", random() % 50);
      if (random() % 3 == 0) {
        if (truth.erase(key) != 0) {
          drop(users_, key);
          tick();  // a slot that is taken again at once tells no removal
        }
      } else {
        const u64 value = random() % 1000;
        truth[key] = value;
        set(users_, key, {value});
      }
    }
    tick();
    if (random() % 3 == 0) {
      hear();
    }
  }
  tick();
  hear();
  ASSERT_EQ(copy.size(), truth.size());
  for (const auto& [key, value] : truth) {
    EXPECT_EQ(copy[base64(key)], fmt::format("{}\t", value)) << key;
  }
}

}  // namespace
}  // namespace lineq::pages
