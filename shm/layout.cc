#include "shm/layout.h"

namespace lineq::shm {
namespace {

class Fnv {
 public:
  constexpr void add(u64 value) {
    for (int i = 0; i < 8; ++i) {
      hash_ = (hash_ ^ (value >> (8 * i) & 0xff)) * 0x100000001b3ULL;
    }
  }
  constexpr u64 value() const { return hash_; }

 private:
  u64 hash_ = 0xcbf29ce484222325ULL;
};

}  // namespace

u64 abi_hash() {
  Fnv h;
  h.add(kLayoutVersion);
  for (const u64 size :
       {sizeof(RootLayout), sizeof(RootHeader), sizeof(ObjDesc), sizeof(TableDesc),
        sizeof(PeerDesc), sizeof(PeerTableDesc), sizeof(RoomDesc), sizeof(Intent),
        sizeof(IntentPart), sizeof(Bucket), sizeof(LineDir), sizeof(LineSegment)}) {
    h.add(size);
  }
  for (const u64 offset : {offsetof(RootHeader, state),
                           offsetof(RootHeader, heartbeat_ms),
                           offsetof(RootHeader, objects_generation),
                           offsetof(RootHeader, feed_intent),
                           offsetof(RootHeader, dictionary_used),
                           offsetof(RootLayout, counters),
                           offsetof(RootLayout, intent),
                           offsetof(RootLayout, objects),
                           offsetof(RootLayout, tables),
                           offsetof(RootLayout, peers),
                           offsetof(RootLayout, peer_tables),
                           offsetof(RootLayout, rooms),
                           offsetof(TableDesc, key_type),
                           offsetof(TableDesc, expire_ms),
                           offsetof(TableDesc, name),
                           offsetof(TableDesc, chunk),
                           offsetof(TableDesc, cur),
                           offsetof(TableDesc, high_water),
                           offsetof(TableDesc, counters),
                           offsetof(PeerDesc, process_pid),
                           offsetof(PeerDesc, remote_name),
                           offsetof(PeerTableDesc, counters),
                           offsetof(PeerDesc, counters),
                           offsetof(RoomDesc, line),
                           offsetof(RoomDesc, name),
                           offsetof(RoomDesc, language),
                           offsetof(RoomDesc, active),
                           offsetof(RoomDesc, counters),
                           offsetof(RoomDesc, wait_histogram),
                           offsetof(LineDir, count),
                           offsetof(LineSegment, bits),
                           offsetof(Intent, part),
                           offsetof(Intent, image)}) {
    h.add(offset);
  }
  for (const DataType& type : data_types()) {
    for (const char c : type.name) {
      h.add(static_cast<u8>(c));
    }
    h.add(static_cast<u64>(type.kind) << 1 | u64{type.array});
  }
  for (const u64 constant : {u64{kMaxTables}, u64{kMaxPeers}, u64{kMaxPeerTables}, u64{kMaxRooms},
                             u64{kMaxObjects}, u64{kMaxChunks}, u64{kChunk0Log2}, u64{kBucketWords},
                             u64{kMaxSlotBytes}, u64{kMetaNeverExpires}, u64{kMetaKeyShift}}) {
    h.add(constant);
  }
  return h.value();
}

}  // namespace lineq::shm
