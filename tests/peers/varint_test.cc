#include "daemon/peers/varint.h"

#include <array>
#include <limits>
#include <random>
#include <utility>

#include "tests/peers/support.h"

namespace lineq::peers {
namespace {

using test::Bytes;
using test::hex;
using test::unhex;

constexpr u64 kMax = std::numeric_limits<u64>::max();

Bytes encoded(u64 value) {
  Bytes bytes(varint_size(value));
  EXPECT_EQ(encode_varint(value, bytes.data()), bytes.data() + bytes.size()) << value;
  return bytes;
}

const u8* decoded(const Bytes& bytes, u64& value) {
  return decode_varint(bytes.data(), bytes.data() + bytes.size(), value);
}

TEST(VarintTest, EncodesTheTableOfTheReference) {
  // peers-protocol 2.3
  const std::pair<u64, const char*> cases[] = {
      {0, "00"},
      {239, "ef"},
      {240, "f000"},
      {241, "f100"},
      {255, "ff00"},
      {256, "f001"},
      {4660, "f49401"},
      {2287, "ff7f"},
      {2288, "f08000"},
      {2289, "f18000"},
      {264431, "ffff7f"},
      {264432, "f0808000"},
      {33818863, "ffffff7f"},
      {33818864, "f080808000"},
      {0xffffffff, "fff0fefe7e"},
      {0x100000000, "f0f1fefe7e"},
      {4328786159, "ffffffff7f"},
      {4328786160, "f08080808000"},
      {kMax >> 1, "fff0fefefefefefefe06"},
      {(kMax >> 1) + 1, "f0f1fefefefefefefe06"},
      {kMax - 1, "fef0fefefefefefefe0e"},
      {kMax, "fff0fefefefefefefe0e"},
      {1161999626690365679, "ffffffffffffffff7f"},
      {1161999626690365680, "f0808080808080808000"},
  };
  for (const auto& [value, bytes] : cases) {
    EXPECT_EQ(hex(encoded(value)), bytes) << value;
    u64 back = 0;
    EXPECT_NE(decoded(unhex(bytes), back), nullptr) << bytes;
    EXPECT_EQ(back, value) << bytes;
  }
}

TEST(VarintTest, RoundTripsAroundEveryPowerOfTwo) {
  for (u32 bit = 0; bit < 64; ++bit) {
    for (u64 near = 0; near < 600; ++near) {
      const u64 value = (u64{1} << bit) + near - 300;
      const Bytes bytes = encoded(value);
      u64 back = ~value;
      EXPECT_EQ(decoded(bytes, back), bytes.data() + bytes.size());
      ASSERT_EQ(back, value);
    }
  }
}

TEST(VarintTest, RoundTripsRandomValuesOfEveryWidth) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200000; ++i) {
    const u64 value = random() >> (random() % 64);
    const Bytes bytes = encoded(value);
    u64 back = ~value;
    ASSERT_EQ(decoded(bytes, back), bytes.data() + bytes.size());
    ASSERT_EQ(back, value);
  }
}

TEST(VarintTest, SizeChangesExactlyAtTheBorders) {
  const std::array<u64, 9> borders{
      240,          2288,           264432,           33818864,           4328786160,
      554084600048, 70922828777712, 9078122083518704, 1161999626690365680};
  for (size_t i = 0; i < borders.size(); ++i) {
    EXPECT_EQ(varint_size(borders[i] - 1), i + 1);
    EXPECT_EQ(varint_size(borders[i]), i + 2);
  }
  EXPECT_EQ(varint_size(kMax), kMaxVarint);
}

TEST(VarintTest, EveryStringOfUpToThreeBytesHasItsOwnValue) {
  // Overlong forms do not exist: what decodes encodes back to the same bytes.
  for (u32 word = 0; word < 1U << 24; ++word) {
    const std::array<u8, 3> bytes{static_cast<u8>(word >> 16), static_cast<u8>(word >> 8),
                                  static_cast<u8>(word)};
    u64 value = 0;
    const u8* const end = decode_varint(bytes.data(), bytes.data() + bytes.size(), value);
    if (end == nullptr) {
      continue;
    }
    std::array<u8, kMaxVarint> back{};
    const auto size = static_cast<size_t>(encode_varint(value, back.data()) - back.data());
    ASSERT_EQ(size, static_cast<size_t>(end - bytes.data())) << word;
    ASSERT_TRUE(std::equal(bytes.data(), end, back.data())) << word;
  }
}

TEST(VarintTest, RefusesInputThatEndsInside) {
  for (const u64 value : {u64{240}, u64{2288}, u64{264432}, kMax}) {
    Bytes bytes = encoded(value);
    while (!bytes.empty()) {
      bytes.pop_back();
      u64 back = 77;
      EXPECT_EQ(decoded(bytes, back), nullptr);
      EXPECT_EQ(back, 77U);
    }
  }
}

TEST(VarintTest, RefusesWhatDoesNotFitInto64Bits) {
  u64 value = 77;
  EXPECT_EQ(decoded(unhex("f0f1fefefefefefefe0e"), value), nullptr);  // 2^64
  EXPECT_EQ(decoded(unhex("f080808080808080800f"), value), nullptr);  // tenth byte too large
  EXPECT_EQ(decoded(unhex("f080808080808080807f"), value), nullptr);
  EXPECT_EQ(decoded(unhex("f08080808080808080"
                          "8000"),
                    value),
            nullptr);                                                 // eleven bytes
  EXPECT_EQ(decoded(unhex("ffffffffffffffffff0e"), value), nullptr);  // carry
  EXPECT_EQ(decoded(unhex("ffffffffffffffffffffffff"), value), nullptr);
}

}  // namespace
}  // namespace lineq::peers
