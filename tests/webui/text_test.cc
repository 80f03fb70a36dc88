#include "webui/pages/text.h"

#include <random>

#include <gtest/gtest.h>

namespace lineq::pages {
namespace {

std::string base64(std::string_view bytes) {
  std::string out;
  append_base64({reinterpret_cast<const u8*>(bytes.data()), bytes.size()}, out);
  return out;
}

TEST(TextTest, Base64AsInItsRfc) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foob"), "Zm9vYg==");
  EXPECT_EQ(base64("\xff\xfe\xfd"), "//79");
}

TEST(TextTest, Base64ComesBack) {
  std::mt19937 random(1);
  for (std::size_t n = 0; n < 50; ++n) {
    std::string bytes;
    for (std::size_t i = 0; i < n; ++i) {
      bytes += static_cast<char>(random());
    }
    std::string back;
    ASSERT_TRUE(base64_decoded(base64(bytes), back));
    EXPECT_EQ(back, bytes);
  }
  std::string out;
  EXPECT_FALSE(base64_decoded("a", out));
  EXPECT_FALSE(base64_decoded("ab*d", out));
  EXPECT_TRUE(base64_decoded("Zg", out)) << "padding may be missing";
}

TEST(TextTest, EscapedBytesComeBack) {
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    std::string bytes;
    const std::size_t n = random() % 12;
    for (std::size_t i = 0; i < n; ++i) {
      bytes += random() % 3 == 0 ? static_cast<char>(random()) : "\\x4a1"[random() % 5];
    }
    std::string scratch;
    EXPECT_EQ(unescaped(escaped_view(bytes, scratch)), bytes);
  }
  EXPECT_EQ(unescaped("a\\b\\x4"), "a\\b\\x4") << "no escape, so it stands for itself";
}

}  // namespace
}  // namespace lineq::pages
