// The commands about tables, entries and HAProxys on a real engine: what they take, what they
// answer, and every mistake as one sentence.
#include "daemon/control/entries.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/engine/world.h"

namespace lineq::control {
namespace {

using test::bit;
using test::Hap;
using test::World;

class EntriesTest : public testing::Test {
 protected:
  EntriesTest() {
    hap_ = &world_.connect("hap1", 77, "10.0.0.1");
    world_.settle();
  }
  // As over the control socket; "" if there is no answer after all turns.
  std::string say(std::string_view line) {
    const Result<Command> command = parse_command(line);
    if (!command) {
      return command.error().what;
    }
    std::string said;
    entries_.run(*command, world_.now(), [&](const Answer& answer) {
      said = answer.code == AnswerCode::kFine ? answer.result : answer.error;
    });
    world_.settle();
    return said;
  }
  std::string set(std::string_view key, std::string_view values, std::string_view more = "") {
    return say(fmt::format(R"({{"command":"set_entry","table":"t","key":"{}","values":{{{}}}{}}})",
                           key, values, more));
  }
  std::string clear(std::string_view more) {
    return say(fmt::format(R"({{"command":"clear_table","table":"t"{}}})", more));
  }
  void define(shm::KeyType type, u32 key_bytes) {
    shm::TableDefinition d;
    d.name = "/t";
    d.key_type = type;
    d.key_bytes = key_bytes;
    d.expire_ms = 60'000;
    for (const u32 b :
         {u32{shm::kServerId}, u32{shm::kGpt0}, u32{shm::kConnCur}, u32{shm::kHttpReqRate},
          u32{shm::kBytesInCnt}, u32{shm::kServerKey}, u32{shm::kGpc}}) {
      d.data_types |= bit(b);
      d.elements[b] = b == shm::kGpc ? 3 : 1;
    }
    d.period_ms[shm::kHttpReqRate] = 10'000;
    hap_->define(1, d);
    hap_->session->announce(1);
    world_.settle();
    world_.pass(2000);
    hap_->rows.clear();
  }

  World world_;
  Entries entries_{world_.engine(), world_.writer()};
  Hap* hap_ = nullptr;
};

TEST_F(EntriesTest, ValuesAreSetByTheirNames) {
  define(shm::KeyType::kString, 32);
  EXPECT_EQ(set("k", R"("gpt0":5,"data.gpc[2]":7,"gpc1":"8","server_id":-3,"http_req_rate":9,)"
                     R"("bytes_in_cnt":18446744073709551615,"server_key":"web\\\\x41")"),
            R"({"created":true})");
  const auto entry = world_.entry("/t", "k");
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->value(shm::kGpt0), 5U);
  EXPECT_EQ(entry->value(shm::kGpc, 0), 0U);
  EXPECT_EQ(entry->value(shm::kGpc, 1), 8U);
  EXPECT_EQ(entry->value(shm::kGpc, 2), 7U);
  EXPECT_EQ(static_cast<i64>(entry->value(shm::kServerId)), -3);
  EXPECT_EQ(entry->value(shm::kBytesInCnt), ~u64{0});
  EXPECT_EQ(entry->rate_now(shm::kHttpReqRate, 0, tick_of(world_.now())), 9U);
  EXPECT_EQ(world_.writer().dictionary_text(static_cast<u32>(entry->value(shm::kServerKey))),
            "web\\x41");
  EXPECT_EQ(set("k", R"("gpt0":0)", R"(,"expire_ms":500)"), R"({"created":false})");
  EXPECT_EQ(world_.entry("/t", "k")->expire_left_ms(tick_of(world_.now())), 500U);
  EXPECT_EQ(hap_->times("k"), 2U);
}

TEST_F(EntriesTest, AWrongValueIsNamed) {
  define(shm::KeyType::kString, 6);
  EXPECT_EQ(set("k", R"("gpt0":4294967296)"),
            "gpt0: '4294967296' is not allowed; allowed: a number from 0 to 4294967295");
  EXPECT_EQ(set("k", R"("gpt0":-1)"),
            "gpt0: '-1' is not allowed; allowed: a number from 0 to 4294967295");
  EXPECT_EQ(set("k", R"("server_id":2147483648)"),
            "server_id: '2147483648' is not allowed; allowed: a number from -2147483648 to "
            "2147483647");
  EXPECT_EQ(set("k", R"("gpt0":"\u001b[2J")"),
            "gpt0: '\\x1b[2J' is not allowed; allowed: a number from 0 to 4294967295");
  EXPECT_EQ(set("k", R"("conn_cur":1)"),
            "conn_cur: HAProxy counts it itself and takes it from nobody");
  EXPECT_EQ(set("k", R"("server_key":"-")"),
            "server_key: allowed: a server's name; the peers protocol cannot take one away");
  EXPECT_EQ(set("k", R"("gpc1_rate":1)"), "table /t does not store gpc1_rate");
  EXPECT_EQ(set("k", R"("gpc[3]":1)"), "table /t does not store gpc3");
  EXPECT_NE(set("k", R"("gpcc":1)").find("gpcc"), std::string::npos);
  EXPECT_EQ(set("toolong", ""), R"(key "toolong" of table /t: at most 5 bytes are allowed)");
  EXPECT_EQ(set("a\\\\x00", ""), "key of table /t: a string has no NUL byte");
  EXPECT_EQ(set("k", "", R"(,"expire_ms":60001)"),
            "expire: table /t takes at most its own 60000 ms, HAProxys would cut 60001 ms to that");
  EXPECT_EQ(world_.table("/t")->live(), 0U);  // nothing of it was done
  EXPECT_EQ(say(R"({"command":"set_entry","table":"u","key":"k","values":{}})"),
            "there is no table 'u'");
}

TEST_F(EntriesTest, KeysAreWhatIsShown) {
  define(shm::KeyType::kIpv6, 16);
  EXPECT_EQ(set("2001:db8::1", ""), R"({"created":true})");
  EXPECT_EQ(set("2001:0db8:0::1", ""), R"({"created":false})");
  EXPECT_EQ(set("10.0.0.1", ""), R"(key "10.0.0.1" of table /t: an IPv6 address is allowed)");
  EXPECT_EQ(clear(R"(,"key":"2001:db8::1")"), R"({"cleared":1})");
  EXPECT_EQ(clear(R"(,"key":"2001:db8::1")"), R"({"cleared":0})");
}

TEST_F(EntriesTest, FiltersAreThoseOfShowTable) {
  define(shm::KeyType::kInteger, 4);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(set(std::to_string(i),
                  fmt::format(R"("gpt0":{},"gpc2":{},"server_key":"s{}")", i, i % 2, i % 5)),
              R"({"created":true})");
  }
  EXPECT_EQ(clear(R"(,"filters":["data.gpt0 gt 5","data.gpc[2] eq 0"])"), R"({"cleared":2})");
  EXPECT_EQ(clear(R"(,"filters":["data.server_key eq s1"])"), R"({"cleared":1})");  // 6 is gone
  EXPECT_EQ(clear(R"(,"filters":["data.gpc1_rate gt 5"])"), "table /t does not store gpc1_rate");
  EXPECT_EQ(clear(R"(,"filters":["data.gpt0 above 5"])"),
            "filter 'data.gpt0': unknown operator 'above', it is one of eq, ne, le, ge, lt, gt");
  EXPECT_EQ(clear(""), R"({"cleared":7})");
  EXPECT_EQ(world_.table("/t")->live(), 0U);
}

TEST_F(EntriesTest, TablesAndPeersAreWhatTheDaemonKnows) {
  EXPECT_EQ(say(R"({"command":"tables"})"), "[]");
  define(shm::KeyType::kString, 32);
  set("k", "");
  EXPECT_EQ(
      say(R"({"command":"tables"})"),
      R"x([{"table":"/t","type":"string","length":31,"used":1,"expire_ms":60000,"data":["server_id",)x"
      R"x("gpt0","conn_cur","http_req_rate(10000)","bytes_in_cnt","server_key","gpc0","gpc1",)x"
      R"x("gpc2"],"peers":1}])x");
  const std::string peers = say(R"({"command":"peers"})");
  EXPECT_TRUE(peers.starts_with(
      R"([{"name":"hap1","own_name":"lineq","address":"10.0.0.1","pid":77,"direction":"in",)"
      R"("status":"ESTA","connected_ms":)"))
      << peers;
  EXPECT_NE(peers.find(R"("lesson_in":"complete","lesson_out":"none","updates_in":0,)"
                       R"("updates_out":1,"lag":0,"pending_bytes":0,"tables":1}])"),
            std::string::npos)
      << peers;
  // A name of a HAProxy is whatever it says.
  world_.connect("\x1b[2J\xff", 1, "10.0.0.2");
  world_.settle();
  EXPECT_NE(say(R"({"command":"peers"})").find(R"("name":"\\x1b[2J\\xff")"), std::string::npos);
}

}  // namespace
}  // namespace lineq::control
