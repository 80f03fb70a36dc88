// Every struct that lies in shared memory. Any change here is a change of kLayoutVersion and of the
// golden ABI hash in tests/shm/layout_test.cc.
//
// Plain aggregates of fixed-width words, little-endian, no pointers, no std::atomic members; every
// access that may race goes through shm/words.h. Sizes and offsets are asserted below. All names
// are shm-design 2 and 3.
//
// Objects: `lineq.<instance>.root`, and `lineq.<instance>.<number, 8 hex digits>` for everything
// else. Numbers are never used twice, so a reader cannot map the wrong thing.
#pragma once

#include <cstddef>

#include "shm/counters.h"
#include "shm/geometry.h"
#include "shm/support/ints.h"

namespace lineq::shm {

inline constexpr u64 kMagic = 0x0100'0051'454e'494cULL;  // "LINEQ\0\0\1" in memory
inline constexpr u32 kLayoutVersion = 4;
inline constexpr u64 kPage = 4096;

inline constexpr u32 kMaxTables = 2048;      // parts and ledgers included
inline constexpr u32 kNoScope = 0xffffffff;  // TableDesc::scope_peer: nobody's alone
inline constexpr u32 kMaxRooms = 1024;
inline constexpr u32 kMaxPeers = 1024;
inline constexpr u32 kMaxPeerTables = 8192;
inline constexpr u32 kMaxObjects = 8192;
inline constexpr u32 kMaxChunks = 24;
inline constexpr u32 kChunk0Log2 =
    10;  // slots in the first chunk; chunk k >= 1 holds as many as all before it

enum class SegmentState : u32 { kNone, kCreating, kAttaching, kLive, kStopped, kRetired };
enum class ObjectState : u16 { kFree, kPreparing, kLive };
enum class ObjectKind : u16 { kNone, kFeed, kChunk, kIndex, kDictionary, kLine };
enum class TableState : u32 { kFree, kLive };
enum class TableRole : u32 {
  kPlain,  // what HAProxys have; in mode acc the sum of the parts
  kUsers,
  kRooms,
  kPart,    // mode acc: what one HAProxy has (scope_peer). ext[0]: session that told the entry last
  kLedger,  // mode acc: totals of all counters, which only grow
};
constexpr SlotForm form_of(TableRole role) {
  return role == TableRole::kUsers || role == TableRole::kPart ? SlotForm::kExtended
         : role == TableRole::kLedger                          ? SlotForm::kTotals
                                                               : SlotForm::kPlain;
}
enum class PeerState : u32 { kFree, kConnecting, kUp, kDown };
enum class PeerDirection : u32 { kIncoming, kOutgoing };

// A shared object by its number; 0 = none.
struct ObjRef {
  u32 object;
  u32 reserved;
};

struct alignas(64) RootHeader {
  // written once, before magic
  u64 magic;  // stored last, release
  u32 layout_version;
  u32 header_bytes;
  u64 abi_hash;
  u64 total_bytes;
  u64 boot_id[2];            // for people; zero where /proc/sys is hidden
  u64 created_realtime_ms;   // wall clock
  u64 created_monotonic_ms;  // zero of every SegmentMs and Tick
  u64 hash_key[2];           // SipHash key, random at creation
  u64 pad0[6];
  // who writes
  alignas(64) u32 state;  // SegmentState
  u32 writer_pid;         // for people; liveness uses the lock
  u64 writer_start_ms;    // SegmentMs
  u64 epoch;              // +1 at every attach: readers rescan when it changes
  u64 unclean_attaches;
  u64 pad1[4];
  // beats every 100 ms
  alignas(64) u64 heartbeat_ms;  // SegmentMs
  u64 loop_count;
  u64 pad2[6];
  // what to look at
  alignas(64) u64 objects_generation;  // +1 when an object is published or retired
  u64 directory_generation;            // +1 when a table, room or peer appears or goes
  u32 tables_high, rooms_high, peers_high, objects_high;
  u32 next_object;  // next object number
  u32 peer_tables_high;
  u32 next_table_id;
  u32 mode;  // what the plain tables mean: 0 nothing yet, otherwise the daemon's mode + 1
  // shift:32 | until:32, both Tick, one word so that a kill cannot part them. Room time = Tick -
  // shift: each attach, and a writer that stood still, adds now - max(last heartbeat, until) to
  // shift and makes until = now.
  u64 visit_clock;
  u64 pad3[1];
  // change feed (shm-design 14)
  alignas(64) u64 feed_intent;
  u64 feed_tail;
  ObjRef feed;
  u32 feed_log2;
  u32 reserved2;
  u64 pad4[4];
  // dictionary (shm-design 10)
  alignas(64) u64 dictionary_used;  // bytes; below it everything is immutable
  ObjRef dictionary;
  u64 dictionary_bytes;
  u64 pad5[5];
};

struct ObjDesc {
  u32 number;
  u16 state;  // ObjectState
  u16 kind;   // ObjectKind
  u64 bytes;
  u64 reserved_bytes;
  u32 owner;  // table number, or 0xffffffff
  u32 pad;
};

struct alignas(64) TableDesc {
  // definition, immutable once state is live
  u32 state;       // TableState; release / acquire
  u32 id;          // grows with each table made; (id, generation) names a table for ever
  u32 scope_peer;  // whose contribution (mode acc), or 0xffffffff
  u32 role;        // TableRole
  u64 generation;
  u32 key_type, key_bytes;  // as on the wire
  u64 data_types;
  u32 expire_ms;   // longest told by any HAProxy, 0 = never; its own atomic, the one field that may
                   // grow later
  u32 slot_bytes;  // stride
  u16 ext_offset, key_offset, used_bytes, chunk0_log2;
  u64 pad0;
  char name[256];
  u16 offset[64];
  u16 elements[64];
  u32 period_ms[64];
  alignas(64) ObjRef chunk[kMaxChunks];
  // The index, and while it grows the one twice as large. Numbers are never used twice, so two
  // equal looks at the pair saw one state; any prefix of the stores that change it is a state too
  // (no redo, no seqlock).
  alignas(64) ObjRef cur;
  ObjRef next;
  u64 migrated;  // buckets of cur already in next
  u64 pad2[5];
  alignas(64) u64 high_water;  // slots below are initialised; release / acquire
  u64 live;
  u64 pad3[6];
  alignas(64) u64 counters[16];  // TableCounter
  u8 reserved[768];
};

// One HAProxy. Names under `seq`; counters are single words.
struct alignas(64) PeerDesc {
  u32 seq;
  u32 state;         // PeerState, under seq
  u64 connected_ms;  // SegmentMs of the last change of state, under seq
  u32 direction, protocol_minor;
  u64 remote_pid;
  u64 epoch;  // +1 per session
  // Mode acc: the process whose counters go on (see PeerProcess), under seq.
  u32 process_pid;
  u32 candidate_pid;
  u64 process_epoch;
  u64 candidate_epoch;
  char remote_name[96];  // how it calls itself
  char local_name[96];   // what it calls us
  char address[64];
  u64 counters[24];  // PeerCounter
};

// One table of one HAProxy.
struct alignas(64) PeerTableDesc {
  u32 state;  // 0 free, 1 in use; release / acquire
  u32 peer;   // number
  u32 table;  // number
  u32 table_id;
  u64 counters[6];  // PeerTableCounter
};

// One waiting room. Rules and texts under `seq`; the numbers below are single words.
enum class RoomState : u32 { kFree, kLive };
struct alignas(64) RoomDesc {
  u32 seq;
  u32 state;             // RoomState
  u32 id;                // grows with each room made; (number, id) names a room for ever
  u32 method_and_lapse;  // QueueingMethod | Lapse << 8
  u32 flags;             // kRoomQueueAll ...
  u32 capacity, new_per_minute, session_ms, hold_ms, grace_ms, refresh_ms, status_code;
  ObjRef line;  // LineDir, 0 = nobody ever waited
  u64 pad0;
  char name[128];
  char host[256], path[256], message[256], template_path[256];
  char language[16];
  u64 pad1[6];
  alignas(64) u64 active;
  u64 ready, waiting, front, admit_rate_milli, arrive_rate_milli, oldest_since, last_admitted_ms;
  u64 pacing_tat_us;  // GCRA: theoretical arrival time of the next admission, microseconds since
                      // creation
  u64 pad2[7];
  alignas(64) u64 counters[16];                // RoomCounter
  u64 wait_histogram[20], stay_histogram[20];  // buckets of kRoomHistogramBounds; [19]: sum in ms
  u64 pad3[24];
};
inline constexpr u32 kRoomQueueAll = 1, kRoomSuspended = 2, kRoomPaused = 4, kRoomFast = 8,
                     kRoomFixedSession = 16;

// A room's line (shm/line.h): the directory, and a segment for each 2^18 tickets.
inline constexpr u32 kSegmentTickets = 1U << 18;
inline constexpr u32 kLineSegments = 1024;
struct alignas(64) LineDir {
  u64 head;  // no ticket below waits
  u64 pad0[7];
  u64 tail;  // next ticket
  u64 pad1[7];
  u32 group[kLineSegments / 16];  // waiting in 16 segments
  u32 count[kLineSegments];       // waiting in segment s, ring index s % 1024
  ObjRef segment[kLineSegments];  // where it is, 0 = none
};
struct alignas(64) LineSegment {
  u32 per16k[kSegmentTickets / 16384];
  u16 per1k[kSegmentTickets / 1024];
  u64 bits[kSegmentTickets / 64];
};

// The redo record: a change's whole outcome, written before the change is made (shm-design 15).
inline constexpr u32 kIntentParts = 4;
inline constexpr u32 kIntentWords = 2 * kMaxSlotBytes / 8;
enum class PartKind : u32 { kNone, kUpdate, kInsert, kErase };
struct IntentPart {
  u32 kind;  // PartKind
  u32 table;
  u32 slot;
  u32 words;  // of the image
  u32 tag;    // of the key
  u32 pad;
};
struct alignas(64) Intent {
  u64 op;  // 0 none, 1 pending; stored after everything else, cleared last
  u32 parts;
  u32 line_op;
  u32 room;
  u32 pad0;
  u64 ticket;
  u64 pad1[4];
  IntentPart part[kIntentParts];
  u64 pad2[4];
  u64 image[kIntentWords];  // of the parts, one after the other
};

// Where everything lies in the root object.
struct RootLayout {
  RootHeader header;
  alignas(64) u64 counters[64];  // DaemonCounter
  alignas(64) Intent intent;
  alignas(64) ObjDesc objects[kMaxObjects];
  alignas(64) TableDesc tables[kMaxTables];
  alignas(64) PeerDesc peers[kMaxPeers];
  alignas(64) PeerTableDesc peer_tables[kMaxPeerTables];
  alignas(64) RoomDesc rooms[kMaxRooms];
};

// Slot header words. Everything from word 1 on is accessed as u64.
inline constexpr u32 kMetaLive = 1;  // bits 0-1: state
inline constexpr u32 kMetaStateMask = 3;
inline constexpr u32 kMetaNeverExpires = 4;  // bit 2
inline constexpr u32 kMetaKeyShift = 16;     // bits 16-31: key length

// A bucket of the index (shm-design 7). word: tag << 32 | (slot + 1), 0 = empty.
inline constexpr u32 kBucketWords = 7;
struct alignas(64) Bucket {
  u64 passed;
  u64 word[kBucketWords];
};

static_assert(sizeof(ObjRef) == 8 && sizeof(ObjDesc) == 32);
static_assert(sizeof(RootHeader) == 448);
static_assert(sizeof(TableDesc) == 2048);
static_assert(offsetof(TableDesc, name) == 64 && offsetof(TableDesc, offset) == 320);
static_assert(offsetof(TableDesc, chunk) == 832 && offsetof(TableDesc, cur) == 1024);
static_assert(offsetof(TableDesc, high_water) == 1088 && offsetof(TableDesc, counters) == 1152);
static_assert(sizeof(PeerDesc) == 512 && offsetof(PeerDesc, counters) == 320);
static_assert(sizeof(PeerTableDesc) == 64);
static_assert(sizeof(RoomDesc) == 2048);
static_assert(sizeof(LineDir) == 12672 && sizeof(LineSegment) == 33344);
static_assert(static_cast<u32>(RoomCounter::kCount) <= 16);
static_assert(sizeof(Intent) == 8384 && offsetof(Intent, image) == 192);
static_assert(sizeof(Bucket) == 64);
static_assert(static_cast<u32>(DaemonCounter::kCount) <= 64);
static_assert(static_cast<u32>(TableCounter::kCount) <= 16);
static_assert(static_cast<u32>(PeerCounter::kCount) <= 24);
static_assert(static_cast<u32>(PeerTableCounter::kCount) <= 6);

inline constexpr u64 kRootBytes = u64{15} << 19;
static_assert(sizeof(RootLayout) <= kRootBytes);

// FNV-1a over sizes, offsets and the data type list: catches what a version number forgets.
u64 abi_hash();

}  // namespace lineq::shm
