// One entry of a table: typed access to the words of a slot.
//
// A view does not own the words. Readers look at a private copy (Reader fills it), the writer looks
// at the slot itself. All accessors are bounds-safe against damaged words: key lengths are clamped
// to the geometry.
#pragma once

#include <array>
#include <cstring>
#include <span>
#include <string_view>

#include "shm/geometry.h"
#include "shm/layout.h"
#include "shm/rate.h"

namespace lineq::shm {

// A table as readers see it. Valid until the next Reader::refresh() that reports `directory`.
struct TableInfo {
  u16 no = 0;  // index in the directory
  u32 id = 0;
  u64 generation = 0;
  u32 scope_peer = kNoScope;
  TableRole role = TableRole::kPlain;
  TableDefinition definition;
  Geometry geometry;
};

class EntryView {
 public:
  EntryView() = default;
  EntryView(const TableDefinition* definition, const Geometry* geometry, const u64* words, u32 slot)
      : definition_(definition), geometry_(geometry), words_(words), slot_(slot) {}

  u32 slot() const { return slot_; }
  bool live() const { return (meta() & kMetaStateMask) == kMetaLive; }
  bool never_expires() const { return (meta() & kMetaNeverExpires) != 0; }
  Tick expire_tick() const { return static_cast<Tick>(words_[1]); }
  Tick updated_tick() const { return static_cast<Tick>(words_[1] >> 32); }
  bool expired(Tick now) const { return !never_expires() && tick_passed(expire_tick(), now); }
  // Milliseconds left to live; 0 when expired or when the entry never expires.
  u32 expire_left_ms(Tick now) const {
    const i32 left = tick_diff(expire_tick(), now);
    return never_expires() || left < 0 ? 0 : static_cast<u32>(left);
  }

  // Key bytes as stored: integer 4 bytes big-endian, ip 4, ipv6 16, string without NUL, binary
  // zero-filled.
  std::span<const u8> key() const {
    const u32 bytes = meta() >> kMetaKeyShift;
    return {reinterpret_cast<const u8*>(words_) + geometry_->key_offset,
            bytes < geometry_->key_capacity ? bytes : geometry_->key_capacity};
  }
  std::string_view key_chars() const {
    const auto k = key();
    return {reinterpret_cast<const char*>(k.data()), k.size()};
  }

  // What the owner of an extended slot keeps there; i is 0 or 1.
  u64 ext(u32 i) const { return words_[geometry_->ext_offset / 8 + i]; }

  const TableDefinition& definition() const { return *definition_; }
  const Geometry& geometry() const { return *geometry_; }
  const u64* words() const { return words_; }
  bool has(u32 bit) const { return definition_->has(bit); }

  // Value of element `i` of column `bit`, which must be in the definition and not a rate:
  // counters as they are, server_id sign-extended to 64 bits, server_key as dictionary id.
  u64 value(u32 bit, u32 i = 0) const {
    if (geometry_->form == SlotForm::kTotals) {
      return read<u64>(geometry_->offset[bit] + 8 * i);
    }
    switch (data_type(bit).kind) {
      case ValueKind::kU64:
        return read<u64>(geometry_->offset[bit] + 8 * i);
      case ValueKind::kS32:
        return static_cast<u64>(
            static_cast<i64>(static_cast<i32>(read<u32>(geometry_->offset[bit]))));
      default:
        return read<u32>(geometry_->offset[bit] + 4 * i);
    }
  }
  // Element `i` of a rate column.
  Rate rate(u32 bit, u32 i = 0) const {
    const u32 at = geometry_->offset[bit] + 12 * i;
    return {read<u32>(at), read<u32>(at + 4), read<u32>(at + 8)};
  }
  u64 rate_now(u32 bit, u32 i, Tick now) const {
    return rate_value(rate(bit, i), definition_->period_ms[bit], now);
  }

 private:
  u32 meta() const { return static_cast<u32>(words_[0] >> 32); }
  template <typename T>
  T read(u32 at) const {
    T value;
    std::memcpy(&value, reinterpret_cast<const u8*>(words_) + at, sizeof value);
    return value;
  }

  const TableDefinition* definition_ = nullptr;
  const Geometry* geometry_ = nullptr;
  const u64* words_ = nullptr;
  u32 slot_ = 0;
};

// Storage for a private copy of one slot.
using SlotCopy = std::array<u64, kMaxSlotBytes / 8>;

}  // namespace lineq::shm
