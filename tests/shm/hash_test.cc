#include "shm/hash.h"

#include <array>

#include <gtest/gtest.h>

namespace lineq::shm {
namespace {

// Reference values from another implementation of SipHash-1-3 with an all-zero key over bytes 0, 1,
// 2, ...
TEST(HashTest, EqualsSipHash13) {
  std::array<u8, 64> input{};
  for (u8 i = 0; i < 64; ++i) {
    input[i] = i;
  }
  struct Vector {
    std::size_t bytes;
    u64 hash;
  };
  const Vector vectors[] = {
      {1, 0x68a914128e01e473ULL},  {2, 0x010bac45c41e3669ULL},  {3, 0x4d4c9a4a8ef6e0adULL},
      {4, 0x7cc43f98813e4dbdULL},  {5, 0x5abe2169dff36275ULL},  {6, 0xe3c25f87624f1cdbULL},
      {7, 0x2f098ab0c751325aULL},  {8, 0xead411e67ebe2eeaULL},  {9, 0x75927f9d95124362ULL},
      {12, 0xa6baf4fb0f9fe1c2ULL}, {15, 0xf30eb725bb91c9eaULL}, {16, 0x8972188433a5c5b7ULL},
      {17, 0x4883c49a2c009c1dULL}, {31, 0x169739443111d49bULL}, {32, 0x31ef8061c910629bULL},
      {36, 0xac77921fcc642bd3ULL}, {63, 0x385d3e39e5f37359ULL},
  };
  const SipHash13 hash(0, 0);
  for (const Vector& v : vectors) {
    EXPECT_EQ(hash({input.data(), v.bytes}), v.hash) << v.bytes;
  }
}

TEST(HashTest, TheKeyMatters) {
  const std::array<u8, 3> input{1, 2, 3};
  EXPECT_NE(SipHash13(1, 2)(input), SipHash13(2, 1)(input));
}

}  // namespace
}  // namespace lineq::shm
