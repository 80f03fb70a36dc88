#include "tools/cli/text.h"

#include <array>

#include <gtest/gtest.h>

namespace lineq::cli {
namespace {

TEST(TextTest, PlainTextAndUtf8Stay) {
  EXPECT_EQ(printable("key=a b"), "key=a b");
  EXPECT_EQ(printable("K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x90\x98"),
            "K\xc3\xb6ln \xe2\x82\xac \xf0\x9f\x90\x98");
}

TEST(TextTest, ControlCharactersAreWrittenInHex) {
  EXPECT_EQ(printable("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
  EXPECT_EQ(printable(std::string_view("\0x", 2)), "\\x00x");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");  // C1: CSI
}

TEST(TextTest, BytesThatAreNotUtf8AreWrittenInHex) {
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\xc3"), "\\xc3");                             // cut
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(printable("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
  EXPECT_EQ(printable("\xc3(x"), "\\xc3(x");
}

TEST(TextTest, CharactersThatReorderTextAreWrittenInHex) {
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a\\xe2\\x80\\xae"
            "b");                                           // U+202E
  EXPECT_EQ(printable("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");  // U+2028
  EXPECT_EQ(printable("\xe2\x81\xa6"), "\\xe2\\x81\\xa6");  // U+2066
}

TEST(TextTest, EscapedTellsABackslashFromAnEscape) {
  EXPECT_EQ(escaped("\\x0a"), "\\\\x0a");
  EXPECT_EQ(escaped("\n"), "\\x0a");
  EXPECT_EQ(printable("\\"), "\\");
}

TEST(TextTest, NearestForgivesATypoAndNoMore) {
  constexpr std::array<std::string_view, 3> kWords{"tcp_port", "web_port", "instance"};
  EXPECT_EQ(nearest("tcp_prot", kWords), "tcp_port");
  EXPECT_EQ(nearest("Instnace", kWords), "instance");
  EXPECT_EQ(nearest("elephant", kWords), "");
  EXPECT_EQ(nearest("", kWords), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), kWords), "");
  EXPECT_EQ(suggestion("webport", kWords), "; did you mean 'web_port'?");
  EXPECT_EQ(suggestion("zzz", kWords), "");
}

TEST(TextTest, EqualIgnoringCaseComparesWholeWords) {
  EXPECT_TRUE(equal_ignoring_case("TCP_Port", "tcp_port"));
  EXPECT_FALSE(equal_ignoring_case("tcp", "tcp_port"));
}

}  // namespace
}  // namespace lineq::cli
