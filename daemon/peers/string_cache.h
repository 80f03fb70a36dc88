// Dictionary values (server_key): 128 ids for each session and direction, shared by all tables
// (peers-protocol 5.4). Between the caches and the rest of the program strings are known by the id
// that `Strings` gave them.
#pragma once

#include <array>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::peers {

inline constexpr u32 kCachedStrings = 128;  // wire ids 1..128

// The program's dictionary. Ids are small numbers that stay valid; 0 = no value.
class Strings {
 public:
  Strings() = default;
  Strings(const Strings&) = delete;
  Strings& operator=(const Strings&) = delete;
  virtual ~Strings() = default;

  // 0 when the dictionary is full.
  virtual u32 intern(std::string_view text) = 0;
  // Empty for 0 and for ids never given out. Valid until the next intern().
  virtual std::string_view text(u32 id) = 0;
};

// What the other side has told us: wire id -> id of Strings. Empty at session start.
class ReceivedStrings {
 public:
  static constexpr bool valid(u64 wire_id) { return wire_id >= 1 && wire_id <= kCachedStrings; }

  // 0 = never told. HAProxy does send such ids (5.4), so that is no error.
  u32 at(u64 wire_id) const { return ids_[wire_id - 1]; }
  void put(u64 wire_id, u32 id) { ids_[wire_id - 1] = id; }

 private:
  std::array<u32, kCachedStrings> ids_{};
};

// What the other side knows from us: a ring of wire ids, 1 to 128 and over again. A value goes out
// in full the first time and after its place was taken by another one, else as its wire id alone.
class SentStrings {
 public:
  struct Place {
    u32 wire_id;
    bool known;  // the other side has it: the id alone is enough
  };

  // Where `id` is, or would be put next. Changes nothing: the message may still be refused.
  Place find(u32 id) const {
    for (u32 i = 0; i < kCachedStrings; ++i) {
      if (ids_[i] == id) {
        return {i + 1, true};
      }
    }
    return {next_ + 1, false};
  }
  // The message with `id` in full at `place` has been written.
  void put(Place place, u32 id) {
    ids_[place.wire_id - 1] = id;
    next_ = place.wire_id % kCachedStrings;
  }

 private:
  std::array<u32, kCachedStrings> ids_{};
  u32 next_ = 0;
};

}  // namespace lineq::peers
