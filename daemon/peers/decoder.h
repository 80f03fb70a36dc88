// Bytes to messages. Free functions without state, and the batch that collects decoded rows.
//
// Everything here works on whole messages; cutting a stream into them for any split of the input is
// read_frame() plus the unfinished tail that Session keeps. Nothing is copied: payloads and keys
// point into the input. Nothing allocates except decode_definition().
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "daemon/peers/message.h"
#include "daemon/peers/string_cache.h"

namespace lineq::peers {

// --- frames (2) ---

enum class FrameStatus {
  kWhole,
  kUnfinished,  // `bytes` says how many are needed before it is worth trying again
  kMalformed,   // class 255, or a length that takes more than 5 bytes
  kTooLarge,    // more than max_message; known before the payload has arrived
};

struct Frame {
  u8 cls = 0;
  u8 type = 0;
  std::span<const u8> payload;  // empty for types below 128
  size_t bytes = 0;             // of the whole message
};

FrameStatus read_frame(std::span<const u8> in, u32 max_message, Frame& frame);

// --- handshake lines (1.1), each without its \n ---

enum class HelloError { kNone, kProtocol, kVersion };

HelloError decode_hello_version(std::string_view line, u32& minor);  // line 1
HelloError decode_hello_names(std::string_view line, Hello& hello);  // line 3: name, pid
u32 decode_status(std::string_view line);  // the leading number, 0 when there is none

// --- table messages ---

enum class DefinitionVerdict {
  kGood,
  kUnusable,   // to be ignored with its updates (4.5); `why` says what is wrong
  kMalformed,  // payload too short for its fields: protocol error
};

// `out` is complete when good. When unusable, table_id and table.name are set if they could be.
DefinitionVerdict decode_definition(std::span<const u8> payload, Definition& out, std::string& why);

bool decode_switch(std::span<const u8> payload, u64& table_id);
bool decode_ack(std::span<const u8> payload, Ack& ack);

// What to do with the elapsed field of a rate: as it is, or 2^31 and more taken as 0 (5.3).
enum class Elapsed { kAsIs, kClean };

// Where a malformed row broke off.
struct RowTrouble {
  u32 columns = 0;      // elements read completely, the key not counted
  u32 of = 0;           // elements the definition asks for
  size_t left = 0;      // bytes left at that place
  bool in_key = false;  // not even the key was there
};

// Decodes a payload of type 128, 129, 133 or 134 into `update` and `cells` (shape.cells() of them).
// `last_id` is the id before this one, for the incremental types. Sets id, expire_ms, timed,
// learned, key and cells of `update`. False = malformed, `trouble` says where.
bool decode_update(u8 type, std::span<const u8> payload, u32 last_id,
                   const shm::TableDefinition& table, const RowShape& shape,
                   ReceivedStrings& received, Strings& strings, Elapsed elapsed, Update& update,
                   u64* cells, RowTrouble& trouble);

// Up to 32 rows of one table with their cells; full when either runs out.
class UpdateBatch {
 public:
  static constexpr u32 kUpdates = 32;
  static constexpr u32 kCells = 2048;
  static_assert(kCells >= kMaxRowCells);

  // Room for one more row of `cells` cells?
  bool fits(u32 cells) const { return count_ < kUpdates && used_ + cells <= kCells; }
  // The place of the next row, if it fits; nothing is taken until add().
  Update& next() { return updates_[count_]; }
  u64* next_cells() { return cells_.data() + used_; }
  void add(u32 cells) {
    ++count_;
    used_ += cells;
  }
  bool empty() const { return count_ == 0; }
  std::span<const Update> updates() const { return {updates_.data(), count_}; }
  void clear() { count_ = used_ = 0; }

 private:
  std::array<Update, kUpdates> updates_{};
  std::array<u64, kCells> cells_{};
  u32 count_ = 0;
  u32 used_ = 0;
};

}  // namespace lineq::peers
