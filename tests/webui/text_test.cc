#include "webui/pages/text.h"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "webui/pages/json.h"

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

TEST(TextTest, Base64AsSlowlyAsItCanBeDone) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::mt19937 random(3);
  for (std::size_t n = 0; n < 200; ++n) {
    std::vector<u8> bytes(n);  // on the heap to the byte: a sanitizer sees what is read beyond
    std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<u8>(random()); });
    std::string want;
    for (std::size_t bit = 0; bit < n * 8; bit += 6) {
      u32 digit = 0;
      for (std::size_t i = bit; i < bit + 6; ++i) {
        digit = digit << 1 | (i < n * 8 ? u32{bytes[i / 8]} >> (7 - i % 8) & 1 : 0);
      }
      want += kDigits[digit];
    }
    want.append((4 - want.size() % 4) % 4, '=');
    std::string out = "kept";
    append_base64(bytes, out);
    EXPECT_EQ(out, "kept" + want) << n;
    EXPECT_EQ(base64_bytes(n), want.size());
  }
}

// What rapidjson's Writer makes of it is what clients have always been given.
TEST(TextTest, JsonStringsAsRapidjsonWritesThem) {
  std::mt19937 random(4);
  for (int round = 0; round < 3000; ++round) {
    std::string text(random() % 70, 'x');
    for (u32 i = random() % 4; i > 0 && !text.empty(); --i) {
      text[random() % text.size()] = static_cast<char>(random() % 128);
    }
    if (round % 5 == 0) {
      text += "caf\xc3\xa9";
    }
    rapidjson::StringBuffer buffer;
    rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
    writer.String(text.c_str(), static_cast<rapidjson::SizeType>(text.size()));
    std::string out;
    append_json_string(text, out);
    EXPECT_EQ(out, buffer.GetString());
  }
}

TEST(TextTest, PlainTextIsNotCopied) {
  std::mt19937 random(5);
  std::string scratch;
  for (std::size_t n = 0; n < 60; ++n) {
    const std::string text(n, '"');
    EXPECT_EQ(escaped_view(text, scratch).data(), text.data());
    for (std::size_t at = 0; at < n; ++at) {
      for (const char c : {'\\', '\x1f', '\x7f', '\x80', '\xff'}) {
        std::string other = text;
        other[at] = c;
        EXPECT_NE(escaped_view(other, scratch), other) << n << ' ' << at;
      }
    }
  }
}

TEST(JsonTest, AsRapidjsonWritesIt) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  writer.SetMaxDecimalPlaces(1);
  Json json;
  writer.StartObject();
  json.object();
  writer.Key("empty");
  json.key("empty");
  writer.StartArray();
  json.array();
  writer.EndArray();
  json.end_array();
  writer.Key("values");
  json.key("values");
  writer.StartArray();
  json.array();
  for (const double d : {0.0, -0.0, 0.04, 0.05, 1.25, -3.99, 1e21, 123456789.96, 5e-324}) {
    writer.Double(d);
    json.decimal(d);
  }
  for (const u64 n : {u64{0}, u64{9}, u64{10}, ~u64{0}}) {
    writer.Uint64(n);
    json.number(n);
    writer.Int64(static_cast<i64>(n));
    json.signed_number(static_cast<i64>(n));
  }
  writer.StartObject();
  json.object();
  writer.EndObject();
  json.end_object();
  writer.Bool(true);
  json.boolean(true);
  writer.Null();
  json.null();
  json.raw(",{}");
  writer.StartObject();
  writer.EndObject();
  json.text("");
  writer.String("");
  writer.EndArray();
  json.end_array();
  writer.EndObject();
  json.end_object();
  EXPECT_EQ(json.take(), buffer.GetString());
}

TEST(JsonTest, PiecesMakeTheSameDocument) {
  Json json;
  json.array();
  std::string all = json.take();
  json.raw(",1");
  json.take(all);
  EXPECT_EQ(json.bytes(), 0U);
  json.number(2);
  json.decimal(std::nullopt);
  json.take(all);
  json.end_array();
  json.take(all);
  EXPECT_EQ(all, "[1,2,null]");
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
