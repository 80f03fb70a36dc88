// SipHash-1-3 and what the index takes of it. Keyed, because keys are chosen by strangers (Aumasson
// and Bernstein, 2012).
#pragma once

#include <bit>
#include <cstring>
#include <span>

#include "shm/support/ints.h"

namespace lineq::shm {

class SipHash13 {
 public:
  constexpr SipHash13(u64 k0, u64 k1) : k0_(k0), k1_(k1) {}

  u64 operator()(std::span<const u8> bytes) const {
    State s{k0_ ^ 0x736f6d6570736575ULL, k1_ ^ 0x646f72616e646f6dULL, k0_ ^ 0x6c7967656e657261ULL,
            k1_ ^ 0x7465646279746573ULL};
    const u8* p = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 8; p += 8, left -= 8) {
      s.absorb(load<u64>(p));
    }
    s.absorb(u64{bytes.size() & 0xff} << 56 | tail(p, left, bytes.size() >= 8));
    s.v2 ^= 0xff;
    s.round();
    s.round();
    s.round();
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
  }

 private:
  struct State {
    u64 v0, v1, v2, v3;
    void round() {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
    void absorb(u64 word) {
      v3 ^= word;
      round();
      v0 ^= word;
    }
  };

  template <typename T>
  static T load(const u8* p) {
    T word;
    std::memcpy(&word, p, sizeof word);
    return word;
  }

  // The last 0 to 7 bytes, little-endian. Fixed-size loads: a memcpy of variable length costs four
  // times the hash.
  static u64 tail(const u8* p, std::size_t left, bool has_eight_before) {
    if (left == 0) {
      return 0;
    }
    if (has_eight_before) {
      return load<u64>(p + left - 8) >> (8 * (8 - left));
    }
    u64 word = 0;
    std::size_t shift = 0;
    if ((left & 4) != 0) {
      word = load<u32>(p);
      p += 4;
      shift = 32;
    }
    if ((left & 2) != 0) {
      word |= u64{load<u16>(p)} << shift;
      p += 2;
      shift += 16;
    }
    if ((left & 1) != 0) {
      word |= u64{*p} << shift;
    }
    return word;
  }

  u64 k0_;
  u64 k1_;
};

// The part of a hash an index word carries; its low bits are also the home bucket.
inline u32 index_tag(u64 hash) {
  return static_cast<u32>(hash);
}

}  // namespace lineq::shm
