#include "shm/crc32c.h"

#include <cstring>

#include <boost/crc.hpp>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace lineq::shm {

u32 crc32c_by_table(u32 crc, const void* data, std::size_t bytes) {
  // The initial remainder is told unreflected and the result is inverted.
  using Crc = boost::crc_optimal<32, 0x1EDC6F41, 0, 0xffffffff, true, true>;
  u32 reflected = 0;
  for (u32 bit = 0, from = ~crc; bit < 32; ++bit, from >>= 1) {
    reflected = reflected << 1 | (from & 1);
  }
  Crc c(reflected);
  c.process_bytes(data, bytes);
  return c.checksum();
}

#if defined(__x86_64__)
namespace {

__attribute__((target("sse4.2"))) u32 crc32c_sse(u32 crc, const void* data, std::size_t bytes) {
  const u8* at = static_cast<const u8*>(data);
  u64 rest = ~crc;
  for (; bytes >= 8; bytes -= 8, at += 8) {
    u64 word = 0;
    std::memcpy(&word, at, sizeof word);
    rest = _mm_crc32_u64(rest, word);
  }
  auto last = static_cast<u32>(rest);
  for (; bytes != 0; --bytes, ++at) {
    last = _mm_crc32_u8(last, *at);
  }
  return ~last;
}

}  // namespace

u32 crc32c(u32 crc, const void* data, std::size_t bytes) {
  static const bool knows = __builtin_cpu_supports("sse4.2") != 0;
  return knows ? crc32c_sse(crc, data, bytes) : crc32c_by_table(crc, data, bytes);
}
#else
u32 crc32c(u32 crc, const void* data, std::size_t bytes) {
  return crc32c_by_table(crc, data, bytes);
}
#endif

}  // namespace lineq::shm
