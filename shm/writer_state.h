// What Writer, Table and SnapshotLoader share. Writer thread only; included by their sources alone.
#pragma once

#include <deque>
#include <optional>

#include "shm/dictionary.h"
#include "shm/hash.h"
#include "shm/index.h"
#include "shm/object.h"
#include "shm/provisioner.h"
#include "shm/writer.h"

namespace lineq::shm {

struct Writer::State {
  WriterOptions options;
  Object root;
  RootLayout* layout = nullptr;
  std::unique_ptr<Provisioner> provisioner;
  Object feed_object;
  Feed feed;
  std::unique_ptr<Dictionary> dictionary;
  std::vector<std::unique_ptr<Table>>
      tables;  // by number; before `provisioner` dies they wait for their jobs
  std::vector<u16> live_tables;
  std::vector<std::unique_ptr<Line>> lines;  // by room number
  std::vector<RoomNo> rooms;                 // live ones
  Attach attached_as = Attach::kCreated;
  std::vector<PeerBefore> peers_before;
  std::string attach_note;
  bool root_moved = false;
  Restored restored;

  RootHeader& header() { return layout->header; }

  // Directory of objects. A new one is `preparing` until published; what is still preparing at the
  // next attach is unlinked.
  std::optional<u32> prepare_object(ObjectKind kind, u32 owner,
                                    u64 bytes);  // index; nullopt: directory full
  void publish_object(u32 index, u64 reserved);
  void forget_object(u32 index);  // after unlinking
  std::optional<u32> object_index(u32 number) const;
  std::string name_of(u32 index) const {
    return object_name(options.instance, layout->objects[index].number);
  }

  void bump_directory();
};

struct Table::Parts {
  Parts(TableDesc& d, const u64 (&key)[2]) : desc(d), hash(key[0], key[1]) {}

  TableDesc& desc;
  SipHash13 hash;

  std::array<Object, kMaxChunks> chunks;
  std::array<u32, kMaxChunks> chunk_object{};  // index in the object directory
  u32 chunk_count = 0;
  u64 usable = 0;  // slots whose memory is reserved
  std::deque<u32> free;
  Provisioner::Ticket slot_job;
  u32 slot_job_object = 0;
  bool slot_job_creates = false;
  u64 slots_retry_ms = 0;  // after a refusal by the system: not before

  // Index pair.
  BucketIndex cur;
  BucketIndex next;
  Object cur_object;
  Object next_object;
  u32 cur_dir = 0;
  u32 next_dir = 0;
  u64 cur_used = 0;
  u64 next_used = 0;
  Provisioner::Ticket index_job;
  u32 index_job_object = 0;
  u32 index_job_log2 = 0;
  u64 index_retry_ms = 0;
};

}  // namespace lineq::shm
