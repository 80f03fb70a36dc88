// Interned strings (server keys): an append-only arena of {u32 bytes, u32 hash, characters},
// 8-aligned. An id is offset / 8, 0 = none. Everything below `used` is immutable, so readers need
// no lock (shm-design 10).
#pragma once

#include <string_view>
#include <unordered_map>

#include "shm/layout.h"
#include "shm/object.h"
#include "shm/support/result.h"

namespace lineq::shm {

inline constexpr u64 kDictionaryBytes = u64{16} << 20;
inline constexpr u64 kDictionaryStep = u64{256} << 10;
inline constexpr std::size_t kDictionaryStrings = 65536;
inline constexpr std::size_t kDictionaryText = 1024;  // longest string kept

// Text of `id` in an arena of which `used` bytes are published; empty when there is none. Any
// reader.
std::string_view dictionary_text(const u8* arena, u64 mapped, u64 used, u32 id);

// Writer.
class Dictionary {
 public:
  // Takes over an arena of which `header.dictionary_used` bytes are filled and
  // header.dictionary_bytes are reserved.
  Dictionary(RootHeader& header, Object object);

  // 0 when the text is empty or too long, or nothing more fits.
  u32 intern(std::string_view text);
  std::string_view text(u32 id) const;

 private:
  RootHeader& header_;
  Object object_;
  std::unordered_map<std::string_view, u32> ids_;  // views into the arena
};

}  // namespace lineq::shm
