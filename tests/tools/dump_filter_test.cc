#include <random>

#include <gtest/gtest.h>

#include "tests/tools/dump_support.h"
#include "tools/view/filter.h"

namespace lineq::dump {
namespace {

using shm::KeyType;
using view::Filter;
using view::Number;
using view::Operator;
using view::parse_filters;

std::string mistake(const std::vector<std::string>& words) {
  const auto parsed = parse_filters(words);
  return parsed ? "no mistake" : parsed.error().what;
}

TEST(DumpFilterTest, WordsAndWholeConditionsMeanTheSame) {
  for (const auto& words :
       std::vector<std::vector<std::string>>{{"data.gpc0", "gt", "5", "data.gpc1", "le", "-7"},
                                             {"data.gpc0 gt 5", "data.gpc1 le -7"},
                                             {"data.gpc0 gt 5 data.gpc1 le -7"},
                                             {" data.gpc0\tgt", "5", "gpc1 le", " -7"}}) {
    const auto parsed = parse_filters(words);
    ASSERT_TRUE(parsed.ok()) << parsed.error().what;
    ASSERT_EQ(parsed->size(), 2U);
    EXPECT_EQ(parsed->at(0).name, "gpc0");
    EXPECT_EQ(parsed->at(0).op, Operator::kGt);
    EXPECT_EQ(parsed->at(0).value, Number::of(5));
    EXPECT_EQ(parsed->at(1).name, "gpc1");
    EXPECT_EQ(parsed->at(1).op, Operator::kLe);
    EXPECT_EQ(parsed->at(1).value, Number::of_signed(-7));
  }
}

TEST(DumpFilterTest, NamesAreThoseOfTheOutputAndThoseWithAnIndex) {
  const std::vector<std::pair<std::string, std::string>> names{
      {"gpc0", "gpc0"},
      {"gpc[0]", "gpc0"},
      {"gpc17", "gpc17"},
      {"gpt[3]", "gpt3"},
      {"gpc0_rate", "gpc0_rate"},
      {"gpc_rate[0]", "gpc0_rate"},
      {"gpc3_rate(10000)", "gpc3_rate"},
      {"gpc_rate[99]", "gpc99_rate"},
      {"http_req_rate(10000)", "http_req_rate"},
      {"bytes_out_cnt", "bytes_out_cnt"},
      {"server_name", "server_key"}};
  for (const auto& [given, canonical] : names) {
    const auto parsed = parse_filters(std::vector<std::string>{"data." + given, "eq", "1"});
    ASSERT_TRUE(parsed.ok()) << given << ": " << parsed.error().what;
    EXPECT_EQ(parsed->front().name, canonical);
  }
}

TEST(DumpFilterTest, AMistakeIsNamedInOneSentence) {
  EXPECT_EQ(mistake({"data.gcp0", "gt", "5"}), "unknown data type 'gcp0'; did you mean 'gpc0'?");
  EXPECT_EQ(mistake({"data.gpc", "gt", "5"}),
            "'gpc' is an array: say which element, as in 'gpc[0]'");
  EXPECT_EQ(mistake({"data.gpc[100]", "gt", "5"}), "unknown data type 'gpc[100]'");
  EXPECT_EQ(mistake({"room", "data.gpc0", "gt", "5"}),
            "unexpected word 'room'; a filter is data.TYPE OPERATOR VALUE");
  EXPECT_EQ(mistake({"data.gpc0"}),
            "filter 'data.gpc0': an operator is missing, it is one of eq, ne, le, ge, lt, gt");
  EXPECT_EQ(mistake({"data.gpc0", ">", "5"}),
            "filter 'data.gpc0': unknown operator '>', it is one of eq, ne, le, ge, lt, gt");
  EXPECT_EQ(mistake({"data.gpc0", "gt"}),
            "filter 'data.gpc0 gt': a value is missing, it is an integer");
  EXPECT_EQ(mistake({"data.gpc0", "gt", "0x5"}),
            "filter 'data.gpc0 gt': bad value '0x5', it is an integer");
  EXPECT_EQ(mistake({"data.gpc0", "gt", "18446744073709551616"}),
            "filter 'data.gpc0 gt': bad value '18446744073709551616', it is an integer");
  EXPECT_EQ(mistake({"data.http_req_rate(10s)", "gt", "5"}),
            "'data.http_req_rate(10s)': the period in parentheses is a number of milliseconds");
  EXPECT_EQ(mistake({"data.server_key", "gt", "web"}),
            "filter 'data.server_key': a server's name can only be compared by eq and ne");
}

TEST(DumpFilterTest, HostileWordsAreRefusedAndShownHarmlessly) {
  for (const std::string word : {"data.\x1b[31m",
                                 "data.gpc0\nroot",
                                 "data.[",
                                 "data.]",
                                 "data.gpc[",
                                 "data.gpc]",
                                 "data.gpc[]",
                                 "data.gpc[-1]",
                                 "data.gpc[00000000000000000000001]x",
                                 "data._rate",
                                 "data.gpc_rate[",
                                 "data.gpc0(",
                                 "data.gpc0()",
                                 "data.(",
                                 "data.)",
                                 "data.",
                                 "data.gpc4294967296",
                                 "data.gpc\xff",
                                 "\xff\xfe",
                                 "[0]",
                                 "data.gpc_rate[0](",
                                 "data.gpc99999999999_rate"}) {
    const std::string what = mistake({word, "gt", "5"});
    EXPECT_NE(what, "no mistake") << word;
    EXPECT_EQ(what.find_first_of("\x1b\n\xff"), std::string::npos) << what;
  }
  EXPECT_LT(mistake({"data." + std::string(100000, 'x'), "gt", "5"}).size(), 200U);
  EXPECT_LT(mistake({"data.gpc0", std::string(100000, 'x'), "5"}).size(), 250U);
  EXPECT_LT(mistake({"data.gpc0", "gt", std::string(100000, '9')}).size(), 200U);
}

TEST(DumpFilterTest, RandomWordsNeverDoMoreThanFail) {
  constexpr std::string_view kLetters = "gpct0189_rate[]().data-+eq \t\x01\xff";
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::string> words(random() % 5);
    for (std::string& word : words) {
      word = random() % 2 == 0 ? "data.gpc" : "";
      for (std::size_t n = random() % 12; n != 0; --n) {
        word += kLetters[random() % kLetters.size()];
      }
    }
    const auto parsed = parse_filters(words);
    if (!parsed) {
      EXPECT_FALSE(parsed.error().what.empty());
    }
  }
}

TEST(DumpFilterTest, BindingSaysWhatATableLacks) {
  const auto table = table_of("t1", KeyType::kIp, 4, "gpc0,http_req_rate(10000)");
  const auto bind = [&](const std::string& words) {
    const auto parsed = parse_filters(std::vector<std::string>{words});
    const auto bound = Filter::bind(parsed.value(), table);
    return bound ? "fine" : bound.error().what;
  };
  EXPECT_EQ(bind("data.gpc0 gt 5 data.http_req_rate(10000) eq 0"), "fine");
  EXPECT_EQ(bind("data.gpc[0] gt 5"), "fine");
  EXPECT_EQ(bind("data.gpc1 gt 5"), "table t1 does not store gpc1");
  EXPECT_EQ(bind("data.http_req_rate(1000) gt 5"),
            "table t1 stores http_req_rate(10000), not http_req_rate(1000)");
}

class DumpFilterMatchTest : public testing::Test {
 protected:
  bool matches(const shm::TableDefinition& table, const std::string& key,
               const std::string& words) {
    auto reader = segment_.reader();
    const shm::TableInfo* info = reader.find_table(table.name);
    const auto parsed = parse_filters(std::vector<std::string>{words});
    EXPECT_TRUE(parsed.ok()) << parsed.error().what;
    const auto filter = Filter::bind(parsed.value(), info->definition);
    EXPECT_TRUE(filter.ok()) << filter.error().what;
    shm::SlotCopy copy;
    shm::EntryView entry;
    const std::span<const u8> bytes{reinterpret_cast<const u8*>(key.data()), key.size()};
    EXPECT_EQ(reader.lookup(*info, bytes, copy, entry), shm::Lookup::kFound);
    return filter->matches(entry, tick_of(reader.now()),
                           [&](u32 id) { return reader.dictionary_text(id); });
  }

  Segment segment_;
};

TEST_F(DumpFilterMatchTest, EveryOperatorComparesAsNumbersDo) {
  const auto table = table_of("t", KeyType::kString, 8, "gpc0");
  segment_.put(table, "k", {5});
  const std::vector<std::tuple<std::string, bool, bool, bool>> rows{
      // against   4      5      6
      {"eq", false, true, false}, {"ne", true, false, true},  {"le", false, true, true},
      {"ge", true, true, false},  {"lt", false, false, true}, {"gt", true, false, false}};
  for (const auto& [op, four, five, six] : rows) {
    EXPECT_EQ(matches(table, "k", "data.gpc0 " + op + " 4"), four) << op;
    EXPECT_EQ(matches(table, "k", "data.gpc0 " + op + " 5"), five) << op;
    EXPECT_EQ(matches(table, "k", "data.gpc0 " + op + " 6"), six) << op;
  }
}

TEST_F(DumpFilterMatchTest, TheWholeRangeOfEveryKindIsCompared) {
  const auto table =
      table_of("t", KeyType::kString, 8, "server_id,gpc0,bytes_in_cnt,http_req_rate(60000)");
  const u64 minus_five = static_cast<u64>(i64{-5});
  segment_.put(table, "k", {minus_five, 0xffffffff, 0, 7, 0, ~u64{0}});
  EXPECT_TRUE(matches(table, "k", "data.server_id eq -5"));
  EXPECT_TRUE(matches(table, "k", "data.server_id lt 0 data.server_id gt -6"));
  EXPECT_TRUE(matches(table, "k", "data.gpc0 eq 4294967295"));
  EXPECT_TRUE(matches(table, "k", "data.gpc0 gt -1"));
  EXPECT_TRUE(matches(table, "k", "data.bytes_in_cnt eq 18446744073709551615"));
  EXPECT_TRUE(matches(table, "k", "data.bytes_in_cnt gt -9223372036854775808"));
  EXPECT_TRUE(matches(table, "k", "data.http_req_rate eq 7"));
  EXPECT_FALSE(matches(table, "k", "data.http_req_rate gt 7"));
}

TEST_F(DumpFilterMatchTest, AllConditionsMustHold) {
  const auto table = table_of("t", KeyType::kString, 8, "gpc0,gpc1,conn_cnt,sess_cnt,gpt0");
  segment_.put(table, "k", {1, 2, 3, 4, 5});
  const std::string five = "data.gpt0 eq 1 data.gpc0 eq 2 data.conn_cnt eq 3 data.sess_cnt eq 4";
  EXPECT_TRUE(matches(table, "k", five + " data.gpc1 eq 5"));
  EXPECT_FALSE(matches(table, "k", five + " data.gpc1 eq 6"));
}

TEST_F(DumpFilterMatchTest, ArraysAndSingleCountersAnswerToBothNames) {
  const auto array = table_of("a", KeyType::kString, 8, "gpc(3),gpc_rate(2,60000)");
  segment_.put(array, "k", {10, 11, 12, 0, 20, 0, 0, 21, 0});
  EXPECT_TRUE(matches(array, "k", "data.gpc0 eq 10 data.gpc[2] eq 12 data.gpc2 eq 12"));
  EXPECT_TRUE(matches(array, "k", "data.gpc_rate[0] eq 20 data.gpc1_rate(60000) eq 21"));
  const auto single = table_of("s", KeyType::kString, 8, "gpc0,gpc0_rate(60000)");
  segment_.put(single, "k", {10, 0, 20, 0});
  EXPECT_TRUE(matches(single, "k", "data.gpc[0] eq 10 data.gpc_rate[0] eq 20"));
}

TEST_F(DumpFilterMatchTest, ServersAreComparedByName) {
  const auto table = table_of("t", KeyType::kString, 8, "server_key");
  segment_.put(table, "k", {segment_.writer->intern("web1")});
  segment_.put(table, "none", {0});
  EXPECT_TRUE(matches(table, "k", "data.server_key eq web1"));
  EXPECT_TRUE(matches(table, "k", "data.server_key ne web2"));
  EXPECT_FALSE(matches(table, "k", "data.server_key eq -"));
  EXPECT_TRUE(matches(table, "none", "data.server_key eq -"));
}

}  // namespace
}  // namespace lineq::dump
