// Sixteen bytes at once, in the vector registers every machine we build for has: is there anything
// in a text that has to be escaped? Of text.cc and entry_text.cc.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <span>
#ifdef __x86_64__
#include <tmmintrin.h>
#endif

#include "shm/support/ints.h"

namespace lineq::pages {

using Bytes16 = signed char __attribute__((vector_size(16)));
using Found16 = signed char __attribute__((vector_size(16)));  // -1 where it is true, else 0

inline Bytes16 load16(const char* from) {
  Bytes16 v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store16(Bytes16 v, char* to) {
  std::memcpy(to, &v, sizeof v);
}
inline bool any(Found16 found) {
  const auto halves = std::bit_cast<std::array<u64, 2>>(found);
  return (halves[0] | halves[1]) != 0;
}

// Bytes that JSON wants escaped in a string.
inline Found16 not_json(Bytes16 v) {
  return ((v & -0x20) == 0) | (v == '"') | (v == '\\');
}
// ... and those that we escape ourselves (cli::escaped): all that is not printable ASCII.
inline Found16 not_plain(Bytes16 v) {
  // Signed: what is above 0x7f is below 0.
  return (v < 0x20) | (v == 0x7f) | (v == '"') | (v == '\\');
}

#ifdef __x86_64__
// Every processor of the last fifteen years can do that; asked with __builtin_cpu_supports().
#define LINEQ_SSSE3 [[gnu::target("ssse3")]]

// The lower twelve bytes as sixteen digits of base64, as W. Mula found out.
LINEQ_SSSE3 inline Bytes16 digits_of(__m128i in) {
  in = _mm_shuffle_epi8(in, _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
  const __m128i high =
      _mm_mulhi_epu16(_mm_and_si128(in, _mm_set1_epi32(0x0fc0fc00)), _mm_set1_epi32(0x04000040));
  const __m128i low =
      _mm_mullo_epi16(_mm_and_si128(in, _mm_set1_epi32(0x003f03f0)), _mm_set1_epi32(0x01000010));
  const __m128i six = _mm_or_si128(high, low);
  // What to add: 0: small letters, 1 to 10: digits, 11 and 12: the signs, 13: capital letters.
  const __m128i kind =
      _mm_or_si128(_mm_subs_epu8(six, _mm_set1_epi8(51)),
                   _mm_and_si128(_mm_cmpgt_epi8(_mm_set1_epi8(26), six), _mm_set1_epi8(13)));
  constexpr char kNine = '0' - 52;
  const __m128i offsets = _mm_setr_epi8('a' - 26, kNine, kNine, kNine, kNine, kNine, kNine, kNine,
                                        kNine, kNine, kNine, '+' - 62, '/' - 63, 'A', 0, 0);
  const __m128i more = _mm_shuffle_epi8(offsets, kind);
  Bytes16 digits;
  Bytes16 offset;
  std::memcpy(&digits, &six, sizeof digits);
  std::memcpy(&offset, &more, sizeof offset);
  return digits + offset;
}

// As many twelves as there are; how many bytes that was.
LINEQ_SSSE3 inline std::size_t put_twelves(std::span<const u8> bytes, char* to) {
  std::size_t at = 0;
  __m128i block;
  for (; bytes.size() - at >= sizeof block; at += 12, to += sizeof block) {
    std::memcpy(&block, bytes.data() + at, sizeof block);
    store16(digits_of(block), to);
  }
  if (at > 0 && bytes.size() - at >= 12) {  // reads four bytes in front instead of behind
    std::memcpy(&block, bytes.data() + at - 4, sizeof block);
    store16(digits_of(_mm_srli_si128(block, 4)), to);
    at += 12;
  }
  return at;
}
#endif

}  // namespace lineq::pages
