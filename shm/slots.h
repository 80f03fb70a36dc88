// Slot number -> chunk and address. Chunk 0 holds 2^c slots, chunk k >= 1 as many as all before it:
// slots never move.
#pragma once

#include <array>
#include <bit>
#include <cstdlib>
#include <memory>

#include "shm/layout.h"
#include "shm/support/assert.h"
#include "shm/words.h"

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

// Where the writer has the slots of a table, and beside each the position of its newest feed record
// (low 32 bits, in the writer's own memory).
class SlotMap {
 public:
  // False: no memory.
  [[nodiscard]] bool add_chunk(u32 k, const u8* chunk, u32 slot_bytes) {
    slot_bytes_ = slot_bytes;
    base_[k] = reinterpret_cast<std::uintptr_t>(chunk) - chunk_start(k) * slot_bytes;
    // calloc hands out untouched zero pages: no pause for a large chunk.
    last_[k].reset(static_cast<u32*>(std::calloc(chunk_slots(k), sizeof(u32))));
    return last_[k] != nullptr;
  }
  u64* words(u32 slot) const {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a pre-biased pointer would leave its mapping
    return reinterpret_cast<u64*>(base_[chunk_of(slot)] + std::uintptr_t{slot} * slot_bytes_);
  }
  u32& last_record(u32 slot) const {
    const u32 k = chunk_of(slot);
    return last_[k][slot - chunk_start(k)];
  }
  // The first `bytes` of the slot.
  void prefetch(u32 slot, u32 bytes) const {
    const auto* const at = reinterpret_cast<const u8*>(words(slot));
    for (u32 line = 0; line < bytes; line += 64) {
      prefetch_for_write(at + line);
    }
  }

 private:
  struct Free {
    void operator()(u32* p) const { std::free(p); }
  };
  // Addresses as integers, pre-biased, so that slot i is at base_[k] + i * slot_bytes_.
  std::array<std::uintptr_t, kMaxChunks> base_{};
  std::array<std::unique_ptr<u32[], Free>, kMaxChunks> last_;
  u32 slot_bytes_ = 0;
};

}  // namespace lineq::shm
