// Sixteen bytes at once, in the vector registers every machine we build for has: is there anything
// in a text that has to be escaped? Of text.cc and entry_text.cc.
#pragma once

#include <array>
#include <bit>
#include <cstring>

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

}  // namespace lineq::pages
