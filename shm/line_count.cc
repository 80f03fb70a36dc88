#include "shm/line_count.h"

#include <bit>

// x86-64 as everybody has it counts bits in a dozen steps; almost every processor has one
// instruction for it. Sanitizers do not bear functions that are chosen while the program is loaded.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(LINEQ_TSAN)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer) && \
    !__has_feature(memory_sanitizer)
#define LINEQ_POPCNT [[gnu::target_clones("popcnt", "default")]]
#endif
#else
#define LINEQ_POPCNT [[gnu::target_clones("popcnt", "default")]]
#endif
#endif
#ifndef LINEQ_POPCNT
#define LINEQ_POPCNT
#endif

namespace lineq::shm {
namespace {

constexpr u32 kWordsPer16k = 16384 / 64;
constexpr u32 kWordsPer1k = 1024 / 64;
constexpr u32 kFarWords = 24;  // about what starting anew costs

}  // namespace

LINEQ_POPCNT
u64 count_to(const LineSegment& segment, SegmentCursor& cursor, u32 place) {
  const u32 target = place / 64;
  if (target < cursor.word || target - cursor.word > kFarWords) {
    cursor = {};
    for (u32 i = 0; i < target / kWordsPer16k; ++i) {
      cursor.before += load_relaxed(segment.per16k[i]);
    }
    const u32 of_16k = target / kWordsPer16k * (kWordsPer16k / kWordsPer1k);
    for (u32 i = of_16k; i < target / kWordsPer1k; ++i) {
      cursor.before += load_relaxed(segment.per1k[i]);
    }
    cursor.word = target / kWordsPer1k * kWordsPer1k;
  }
  for (; cursor.word < target; ++cursor.word) {
    cursor.before += static_cast<u64>(std::popcount(load_relaxed(segment.bits[cursor.word])));
  }
  const u64 bits = load_relaxed(segment.bits[target]);
  const u32 bit = place % 64;
  if ((bits >> bit & 1) == 0) {
    return kNotWaiting;
  }
  return cursor.before + static_cast<u64>(std::popcount(bits & ((u64{1} << bit) - 1)));
}

}  // namespace lineq::shm
