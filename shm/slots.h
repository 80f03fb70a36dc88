// Slot number -> chunk and address. Chunk 0 holds 2^c slots, chunk k >= 1 as many as all before it:
// slots never move.
#pragma once

#include <bit>

#include "shm/layout.h"

namespace lineq::shm {

constexpr u32 chunk_of(u32 slot) {
  return static_cast<u32>(32 - std::countl_zero(slot >> kChunk0Log2));
}
constexpr u64 chunk_start(u32 chunk) {
  return chunk == 0 ? 0 : u64{1} << (kChunk0Log2 + chunk - 1);
}
constexpr u64 chunk_slots(u32 chunk) {
  return chunk == 0 ? u64{1} << kChunk0Log2 : u64{1} << (kChunk0Log2 + chunk - 1);
}

static_assert(chunk_of(0) == 0 && chunk_of(1023) == 0 && chunk_of(1024) == 1 &&
              chunk_of(2047) == 1);
static_assert(chunk_of(2048) == 2 && chunk_start(2) == 2048 && chunk_slots(2) == 2048);
static_assert(chunk_of(0xffffffff) < kMaxChunks);

// First byte of a slot in its chunk.
constexpr u64 slot_offset(u32 slot, u32 slot_bytes) {
  return (slot - chunk_start(chunk_of(slot))) * slot_bytes;
}

}  // namespace lineq::shm
