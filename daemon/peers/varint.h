// HAProxy's variable-length integers (peers-protocol 2.3).
//
// Below 240 one byte. Otherwise each further byte is *added* at its shift and keeps its top bit,
// so every value has exactly one encoding and every byte string one value. At most 10 bytes.
#pragma once

#include "shm/support/ints.h"

namespace lineq::peers {

inline constexpr size_t kMaxVarint = 10;

// Bytes that encode_varint() writes for `value`.
constexpr size_t varint_size(u64 value) {
  if (value < 0xf0) {
    return 1;
  }
  size_t size = 2;
  for (value = (value - 0xf0) >> 4; value >= 0x80; value = (value - 0x80) >> 7) {
    ++size;
  }
  return size;
}

// Writes `value` at `out`, which has room for varint_size(value) bytes; returns the end.
constexpr u8* encode_varint(u64 value, u8* out) {
  if (value < 0xf0) {
    *out++ = static_cast<u8>(value);
    return out;
  }
  *out++ = static_cast<u8>(value | 0xf0);
  for (value = (value - 0xf0) >> 4; value >= 0x80; value = (value - 0x80) >> 7) {
    *out++ = static_cast<u8>(value | 0x80);
  }
  *out++ = static_cast<u8>(value);
  return out;
}

namespace detail {
// The part of decode_varint() that is not worth inlining everywhere: first byte 0xf0 or more.
constexpr const u8* decode_long_varint(const u8* at, const u8* end, u64& value) {
  u64 sum = *at++;
  for (u32 shift = 4; shift < 60; shift += 7) {
    if (at == end) {
      return nullptr;
    }
    const u8 byte = *at++;
    sum += u64{byte} << shift;
    if (byte < 0x80) {
      value = sum;
      return at;
    }
  }
  // The tenth byte: beyond 0x0e, or with a carry, the value would not fit into 64 bits.
  if (at == end || *at > 0x0e || __builtin_add_overflow(sum, u64{*at} << 60, &sum)) {
    return nullptr;
  }
  value = sum;
  return at + 1;
}
}  // namespace detail

// Reads one varint from [at, end) into `value`; returns the byte after it, or nullptr when the
// input ends inside it or it does not fit into 64 bits. `value` is untouched then.
constexpr const u8* decode_varint(const u8* at, const u8* end, u64& value) {
  if (at == end) {
    return nullptr;
  }
  if (*at < 0xf0) [[likely]] {
    value = *at;
    return at + 1;
  }
  return detail::decode_long_varint(at, end, value);
}

}  // namespace lineq::peers
