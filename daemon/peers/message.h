// The messages of the peers protocol as plain values (peers-protocol 1 to 5), and their numbers.
// No bytes here: decoder.h and encoder.h turn these into bytes and back.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/geometry.h"
#include "shm/support/ints.h"

namespace lineq::peers {

// --- handshake (1) ---

inline constexpr std::string_view kProtocolName = "HAProxyS";
inline constexpr size_t kMaxLine = 16384;  // of a hello or status line, its end included

struct Hello {
  u32 minor = 1;       // of version 2: 0 or 1
  std::string target;  // line 2: the name of the peer being called
  std::string name;    // line 3: the caller's own name
  u32 pid = 0;         // line 3; 0 when the caller sent no number there
};

enum StatusCode : u32 {
  kStatusOk = 200,
  kStatusTryAgain = 300,  // HAProxy gives up after any of these (1.4)
  kStatusProtocol = 501,  // line 1 or 3 malformed
  kStatusVersion = 502,
  kStatusTarget = 503,   // line 2 is not our name
  kStatusUnknown = 504,  // line 3 is nobody we know
};

// --- framing (2) ---

enum MessageClass : u8 {
  kClassControl = 0,
  kClassError = 1,
  kClassTable = 10,
  kClassReserved = 255,
};

enum class Control : u8 {
  kResyncRequest = 0,
  kResyncFinished = 1,
  kResyncPartial = 2,
  kResyncConfirmed = 3,
  kHeartbeat = 4,
};

enum class ProtocolError : u8 { kProtocol = 0, kSizeLimit = 1 };

enum TableMessage : u8 {
  kUpdate = 128,
  kIncremental = 129,  // never sent by LineQ: HAProxy >= 3.3 answers with a wrong ack (6.3)
  kDefinition = 130,
  kSwitch = 131,
  kAck = 132,
  kTimedUpdate = 133,
  kTimedIncremental = 134,  // never sent by LineQ
};

constexpr bool is_timed(u8 type) {
  return type == kTimedUpdate || type == kTimedIncremental;
}
constexpr bool is_incremental(u8 type) {
  return type == kIncremental || type == kTimedIncremental;
}

// What we send, all told, header included: a little more hangs a HAProxy, a lot more closes (2.4).
inline constexpr u32 kMaxMessageOut = 16384;
// What we take by default: a HAProxy may run a bigger tune.bufsize.
inline constexpr u32 kMaxMessageIn = 65536;

// --- stick tables (3 to 5) ---

struct Definition {
  u32 table_id = 0;            // the sender's number
  shm::TableDefinition table;  // known data types only; period_ms 0 = the sender did not say
  u64 unknown_types = 0;       // bits above the known ones; their values are skipped
};

struct Ack {
  u64 table_id = 0;  // the number in the definition of the one who receives the ack
  u32 update_id = 0;
};

// One row of a table, on its way in. Points into the read buffer and the batch: valid during
// SessionEvents::on_updates() only.
struct Update {
  u32 id = 0;
  u32 expire_ms = 0;       // as on the wire, any 32 bits; meaningful if timed
  bool timed = false;      // the entry has expire_ms left; otherwise its life starts anew
  bool learned = false;    // bit 31 of the id: the sender has it from somebody else (3.4)
  bool in_lesson = false;  // arrived between our resync request and the end of the lesson
  bool repeat = false;     // second, untimed copy of a taught entry: do not extend its life (7.3)
  // integer and ip: 4 bytes as on the wire; ipv6: 16; binary: key_bytes; string: without NUL, at
  // most key_bytes - 1, may be empty.
  std::span<const u8> key;
  // definition.cells() values in the order of the definition: bits ascending, elements ascending,
  // a rate as elapsed, curr, prev. Types of 32 bits are cut to their low 32 bits (server_id too:
  // read it as i32). A dictionary value is an id of Strings, 0 = no or unknown value: keep what is
  // there.
  const u64* cells = nullptr;
};

// a is newer than b, for counters that wrap (3.4).
constexpr bool id_after(u32 a, u32 b) {
  return static_cast<i32>(a - b) > 0;
}

// The id of the next update of ours: 1 and up, 0 is never used (3.4).
constexpr u32 next_update_id(u32 last) {
  return last + 1 == 0 ? 1 : last + 1;
}

// --- rows ---

// The columns of a definition as the codec walks them: neighbours of one kind are one run.
class RowShape {
 public:
  struct Run {
    shm::ValueKind kind;
    u32 count;  // elements, not cells
  };

  RowShape() = default;
  explicit RowShape(const shm::TableDefinition& table);

  std::span<const Run> runs() const { return runs_; }
  u32 cells() const { return cells_; }

 private:
  std::vector<Run> runs_;
  u32 cells_ = 0;
};

// Cells of the widest possible row: every type, arrays at kMaxElements.
inline constexpr u32 kMaxRowCells = 544;

// `text` from outside for a log line: control characters, quotes and bytes above 0x7e as \xNN, cut
// after 80 bytes.
std::string printable(std::string_view text);

}  // namespace lineq::peers
