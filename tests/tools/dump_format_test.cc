#include <random>

#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "tests/tools/dump_support.h"
#include "tools/lineq_dump/format.h"

namespace lineq::dump {
namespace {

using shm::KeyType;
using namespace std::string_literals;

std::string with(void (*put)(Output&, std::string_view), std::string_view text) {
  Capture capture;
  put(capture.out(), text);
  return capture.text();
}

TEST(DumpFormatTest, StringsAreEscapedAsHaproxyDoes) {
  // Each pair was seen in HAProxy 2.6's own output.
  EXPECT_EQ(with(put_text, "plain"), "plain");
  EXPECT_EQ(with(put_text, "a b"), "a\\ b");
  EXPECT_EQ(with(put_text, "x=y"), "x\\=y");
  EXPECT_EQ(with(put_text, "back\\slash"), "back\\\\slash");
  EXPECT_EQ(with(put_text,
                 "c\x01"
                 "d"),
            "c\\x01d");
  EXPECT_EQ(with(put_text, "e\x1b[31mf"), "e\\e[31mf");
  EXPECT_EQ(with(put_text, "u\xc3\xa9"), "u\\xC3\\xA9");
  EXPECT_EQ(with(put_text, "bad\xff"), "bad\\xFF");
  EXPECT_EQ(with(put_text, "del\x7f"), "del\\x7F");
  EXPECT_EQ(with(put_text, "q\"uote"), "q\"uote");
  EXPECT_EQ(with(put_text, "semi;x"), "semi;x");
  EXPECT_EQ(with(put_text, "\t\n\r\0"s), "\\t\\n\\r\\x00");
}

TEST(DumpFormatTest, AnyBytesComeBackFromTheirText) {
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& c : bytes) {
      c = random() % 3 == 0 ? "\\=x0tn \x1b"[random() % 8] : static_cast<char>(random());
    }
    const std::string text = with(put_text, bytes);
    EXPECT_EQ(unescape_text(text), bytes) << text;
    EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; }));
  }
}

TEST(DumpFormatTest, UnescapingTakesWhatIsNoEscapeAsItIs) {
  EXPECT_EQ(unescape_text("a\\"), "a\\");
  EXPECT_EQ(unescape_text("\\x"), "x");
  EXPECT_EQ(unescape_text("\\x4"), "x4");
  EXPECT_EQ(unescape_text("\\xg0"), "xg0");
  EXPECT_EQ(unescape_text("\\x-1"), "x-1");
  EXPECT_EQ(unescape_text("\\x414"), "A4");
}

TEST(DumpFormatTest, JsonIsAsciiAndParsesBackToTheText) {
  EXPECT_EQ(with(put_json, "a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(with(put_json, "\x1b\n\x7f"), R"("\u001b\u000a\u007f")");
  EXPECT_EQ(with(put_json, "\u00e9\u20ac"), R"("\u00e9\u20ac")");
  EXPECT_EQ(with(put_json, "\U0001f600"), R"("\ud83d\ude00")");
  EXPECT_EQ(with(put_json, "x\xffy"), R"("x\ufffdy")");
  std::mt19937 random(3);
  for (int i = 0; i < 3000; ++i) {
    std::string bytes(random() % 20, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random());
    }
    const std::string text = with(put_json, bytes);
    rapidjson::Document document;
    document.Parse<rapidjson::kParseValidateEncodingFlag>(text.data(), text.size());
    ASSERT_FALSE(document.HasParseError()) << text;
    ASSERT_TRUE(document.IsString());
    if (valid_utf8(bytes)) {
      EXPECT_EQ(std::string(document.GetString(), document.GetStringLength()), bytes);
    }
    EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; }));
  }
}

TEST(DumpFormatTest, Base64IsThatOfRfc4648) {
  EXPECT_EQ(with(put_base64, ""), "");
  EXPECT_EQ(with(put_base64, "f"), "Zg==");
  EXPECT_EQ(with(put_base64, "fo"), "Zm8=");
  EXPECT_EQ(with(put_base64, "foo"), "Zm9v");
  EXPECT_EQ(with(put_base64, "foobar"), "Zm9vYmFy");
  EXPECT_EQ(with(put_base64, "\xff\xfe\xfd"), "//79");
}

TEST(DumpFormatTest, CsvFieldsAreQuotedWhenTheyMustBe) {
  EXPECT_EQ(with(put_csv, "plain"), "plain");
  EXPECT_EQ(with(put_csv, "a,b"), "\"a,b\"");
  EXPECT_EQ(with(put_csv, "a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(with(put_csv, "a\nb"), "\"a\nb\"");
  EXPECT_EQ(with(put_csv, " a"), "\" a\"");
}

TEST(DumpFormatTest, TextLongerThanTheBufferComesOutWhole) {
  std::string text;
  for (int i = 0; i < 50000; ++i) {
    text += std::to_string(i);
  }
  EXPECT_EQ(with(put_text, text), text);
}

class DumpPrinterTest : public testing::Test {
 protected:
  // Everything of all tables.
  std::string print(Format format) {
    auto reader = segment_.reader();
    Capture capture;
    Printer printer(format, capture.out(), reader);
    std::vector<const shm::TableInfo*> tables;
    for (const shm::TableInfo& table : reader.tables()) {
      tables.push_back(&table);
    }
    printer.begin(tables, true);
    for (const shm::TableInfo* table : tables) {
      printer.table(*table);
      shm::Scan scan;
      while (!reader.scan(*table, scan, 4096, [&](const shm::EntryView& entry) {
        printer.entry(entry, tick_of(reader.now()));
        return true;
      })) {
      }
    }
    printer.end();
    return capture.text();
  }
  rapidjson::Document json(const std::string& text) {
    rapidjson::Document document;
    document.Parse(text.c_str());
    EXPECT_FALSE(document.HasParseError()) << text;
    return document;
  }

  Segment segment_;
};

TEST_F(DumpPrinterTest, EveryKeyTypeLooksLikeHaproxys) {
  segment_.put_text(table_of("/i", KeyType::kInteger, 4, "gpc0", 0), "4294967295", {1});
  segment_.put_text(table_of("/v4", KeyType::kIp, 4, "gpc0", 0), "192.0.2.1", {1});
  segment_.put_text(table_of("/v6", KeyType::kIpv6, 16, "gpc0", 0), "2001:db8::1", {1});
  segment_.put_text(table_of("/v4in6", KeyType::kIpv6, 16, "gpc0", 0), "::ffff:1.2.3.4", {1});
  segment_.put_text(table_of("/b", KeyType::kBinary, 4, "gpc0", 0), "DEADBEEF", {1});
  segment_.put_text(table_of("s", KeyType::kString, 16, "gpc0", 0), "/str/1", {1});
  const std::string text = print(Format::kText);
  for (const std::string line :
       {"type: integer, size:", ": key=4294967295 use=0 exp=0 gpc0=1\n",
        "# table: /v4, type: ip, size:", ": key=192.0.2.1 use=0 exp=0 gpc0=1\n",
        "type: ipv6, size:", ": key=2001:db8::1 use=0 exp=0 gpc0=1\n",
        ": key=::ffff:1.2.3.4 use=0 exp=0 gpc0=1\n", "type: binary, size:",
        ": key=DEADBEEF use=0 exp=0 gpc0=1\n", "# table: s, type: string, size:",
        ", used:1\n0x600000000: key=/str/1 use=0 exp=0 gpc0=1\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "not in\n" << text;
  }
  auto reader = segment_.reader();
  for (const shm::TableInfo& table : reader.tables()) {
    shm::Scan scan;
    EXPECT_TRUE(reader.scan(table, scan, 10, [&](const shm::EntryView& entry) {
      Capture capture;
      put_key_text(capture.out(), entry);
      EXPECT_EQ(capture.text(), shm::key_text(table.definition, entry.key()));
      return true;
    }));
  }
}

TEST_F(DumpPrinterTest, ColumnsStandInHaproxysOrderAndForm) {
  const auto table =
      table_of("t", KeyType::kString, 16,
               "server_id,gpt0,gpc0,gpc0_rate(60000),conn_cur,bytes_in_cnt,server_key", 0);
  segment_.put(table, "k",
               {static_cast<u64>(i64{-5}), 1, 4294967295, 0, 7, 0, 3, ~u64{0},
                segment_.writer->intern("web 1")});
  segment_.put(table, "none", {0, 0, 0, 0, 0, 0, 0, 0, 0});
  const std::string text = print(Format::kText);
  EXPECT_NE(text.find(": key=k use=0 exp=0 server_id=-5 gpt0=1 gpc0=4294967295 gpc0_rate(60000)=7"
                      " conn_cur=3 bytes_in_cnt=18446744073709551615 server_key=web\\ 1\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(" bytes_in_cnt=0 server_key=-\n"), std::string::npos) << text;
}

TEST_F(DumpPrinterTest, ArraysAreOneColumnAnElementInTextAndArraysInJson) {
  const auto table = table_of("t", KeyType::kString, 16, "gpt(3),gpc(2),gpc_rate(2,60000)", 0);
  segment_.put(table, "/arr/1", {0, 0, 77, 5, 6, 0, 2, 0, 0, 3, 0});
  const std::string text = print(Format::kText);
  EXPECT_NE(text.find("key=/arr/1 use=0 exp=0 gpt0=0 gpt1=0 gpt2=77 gpc0=5 gpc1=6"
                      " gpc0_rate(60000)=2 gpc1_rate(60000)=3\n"),
            std::string::npos)
      << text;
  const std::string line = print(Format::kJsonLines);
  EXPECT_NE(line.find(R"("expire_ms":null,"data":{"gpt":[0,0,77],"gpc":[5,6],"gpc_rate":[2,3]}})"),
            std::string::npos)
      << line;
  json(line);
}

TEST_F(DumpPrinterTest, JsonIsOneDocumentWithTablesAndEntries) {
  const auto first = table_of("t1", KeyType::kString, 16, "gpc0,http_req_rate(60000)");
  segment_.put(first, "a", {1, 0, 2, 0});
  segment_.put(first, "b\xff", {3, 0, 4, 0});
  segment_.table(table_of("empty", KeyType::kIp, 4, "gpc(2)", 0));
  const rapidjson::Document document = json(print(Format::kJson));
  const auto& tables = document["tables"];
  ASSERT_EQ(tables.Size(), 2U);
  EXPECT_STREQ(tables[0]["table"].GetString(), "t1");
  EXPECT_STREQ(tables[0]["type"].GetString(), "string");
  EXPECT_EQ(tables[0]["key_bytes"].GetUint(), 16U);
  EXPECT_EQ(tables[0]["expire_ms"].GetUint(), 3600000U);
  EXPECT_EQ(tables[0]["used"].GetUint(), 2U);
  EXPECT_EQ(tables[0]["store"][1]["period_ms"].GetUint(), 60000U);
  const auto& entries = tables[0]["entries"];
  ASSERT_EQ(entries.Size(), 2U);
  EXPECT_STREQ(entries[0]["key"].GetString(), "a");
  EXPECT_FALSE(entries[0].HasMember("key_base64"));
  EXPECT_EQ(entries[0]["data"]["http_req_rate"].GetUint(), 2U);
  EXPECT_LE(entries[0]["expire_ms"].GetUint(), 3600000U);
  EXPECT_STREQ(entries[1]["key"].GetString(), "b\xef\xbf\xbd");
  EXPECT_STREQ(entries[1]["key_base64"].GetString(), "Yv8=");
  EXPECT_TRUE(tables[1]["expire_ms"].IsNull());
  EXPECT_EQ(tables[1]["store"][0]["elements"].GetUint(), 2U);
  EXPECT_EQ(tables[1]["entries"].Size(), 0U);
}

TEST_F(DumpPrinterTest, CsvHasOneHeaderForAllTables) {
  segment_.put(table_of("a", KeyType::kString, 32, "gpc0,gpc1", 0), "x,\"y\"", {1, 2});
  segment_.put(table_of("a", KeyType::kString, 32, "gpc0,gpc1", 0), "esc\x1b", {1, 2});
  segment_.put_text(table_of("b", KeyType::kIp, 4, "gpc1,http_req_rate(60000)", 0), "10.0.0.1",
                    {0, 4, 0, 3});
  EXPECT_EQ(print(Format::kCsv),
            "table,key,key_base64,expire_ms,gpc0,gpc1,http_req_rate(60000)\r\n"
            "a,\"x,\"\"y\"\"\",,,1,2,\r\n"
            "a,esc\\x1b,ZXNjGw==,,1,2,\r\n"
            "b,10.0.0.1,,,,3,4\r\n");
}

TEST_F(DumpPrinterTest, AStrangersWordsNeverReachTheTerminalRaw) {
  const std::string right_to_left = std::string("\xe2\x80") + '\xae';
  const std::string evil = "\x1b]0;owned\x07\r\n" + right_to_left + "\x9b";
  const auto table = table_of("t" + evil, KeyType::kString, 64, "server_key", 0);
  segment_.put(table, evil, {segment_.writer->intern(evil)});
  for (const Format format : {Format::kText, Format::kJson, Format::kJsonLines, Format::kCsv}) {
    const std::string text = print(format);
    EXPECT_EQ(text.find_first_of("\x1b\x07\x9b"), std::string::npos);
    EXPECT_EQ(text.find(right_to_left), std::string::npos);
  }
  EXPECT_EQ(test::lines_of(print(Format::kText)).size(), 2U);
  EXPECT_EQ(test::lines_of(print(Format::kJsonLines)).size(), 1U);
}

TEST_F(DumpPrinterTest, PeersAreATableForPeopleAndJsonForPrograms) {
  const auto peer = segment_.writer->peer_up(
      {.remote_name = "hap1\x1b", .local_name = "lineq", .address = "10.0.0.7", .remote_pid = 812},
      segment_.writer->now());
  ASSERT_TRUE(peer.ok());
  segment_.writer->add_peer_counter(*peer, shm::PeerCounter::updates_in, 42);
  segment_.writer->set_peer_counter(*peer, shm::PeerCounter::lesson_in, 2);
  auto reader = segment_.reader();
  const auto print_as = [&](Format format) {
    Capture capture;
    print_peers(format, capture.out(), reader);
    return capture.text();
  };
  const auto lines = test::lines_of(print_as(Format::kText));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_TRUE(lines[0].starts_with("NAME"));
  EXPECT_TRUE(lines[1].starts_with("hap1\\x1b  lineq"));
  for (const std::string word : {" 10.0.0.7 ", " 812 ", " up ", " 42 ", " complete "}) {
    EXPECT_NE(lines[1].find(word), std::string::npos) << lines[1];
  }
  const rapidjson::Document document = json(print_as(Format::kJson));
  const auto& row = document["peers"][0];
  EXPECT_STREQ(row["name"].GetString(), "hap1\x1b");
  EXPECT_STREQ(row["state"].GetString(), "up");
  EXPECT_EQ(row["pid"].GetUint(), 812U);
  EXPECT_EQ(row["updates_in"].GetUint(), 42U);
  EXPECT_TRUE(row["last_message_age_ms"].IsNull() || row["last_message_age_ms"].IsUint());
  json(print_as(Format::kJsonLines));
  const auto csv = test::lines_of(print_as(Format::kCsv));
  ASSERT_EQ(csv.size(), 2U);
  EXPECT_EQ(std::count(csv[0].begin(), csv[0].end(), ','),
            std::count(csv[1].begin(), csv[1].end(), ','));
}

TEST_F(DumpPrinterTest, FindingsArePrintedOnePerLine) {
  shm::VerifyReport report;
  report.tables = 2;
  report.entries = 5;
  const auto print_as = [&](Format format) {
    Capture capture;
    print_report(format, capture.out(), report);
    return capture.text();
  };
  EXPECT_EQ(print_as(Format::kText), "5 entries in 2 tables: no finding\n");
  report.findings.push_back({"index-complete", "table t: key \x1b"});
  EXPECT_EQ(print_as(Format::kText),
            "index-complete: table t: key \\x1b\n5 entries in 2 tables: 1 finding\n");
  EXPECT_STREQ(json(print_as(Format::kJson))["findings"][0]["invariant"].GetString(),
               "index-complete");
  EXPECT_EQ(print_as(Format::kCsv), "invariant,finding\r\nindex-complete,table t: key \\x1b\r\n");
}

}  // namespace
}  // namespace lineq::dump
