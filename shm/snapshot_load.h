// Fills a new segment from a snapshot (snapshot.h). Part of Writer: included by writer.cc and
// snapshot_load.cc alone.
//
// Nothing in the file is trusted beyond its checksums: whatever it says, the segment stays whole.
// After an error the segment is half filled and has to go.
#pragma once

#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "shm/snapshot_format.h"
#include "shm/writer.h"

namespace lineq::shm {

// The file as blocks whose checksums are right.
class SnapshotFile {
 public:
  struct Block {
    BlockKind kind;
    std::string_view payload;  // valid until the next one
  };

  explicit SnapshotFile(std::string path);
  ~SnapshotFile();
  SnapshotFile(const SnapshotFile&) = delete;
  SnapshotFile& operator=(const SnapshotFile&) = delete;
  SnapshotFile(SnapshotFile&&) = delete;
  SnapshotFile& operator=(SnapshotFile&&) = delete;

  Status head();                        // first
  Result<std::optional<Block>> next();  // nullopt: all of it was there
  Error at(const Error& error) const;   // says where the last block began
  u64 bytes() const { return bytes_; }

 private:
  std::string_view take(std::size_t n);
  Error unreadable() const;

  std::string path_;
  int fd_;
  int error_ = 0;
  u64 bytes_ = 0;
  u64 begin_ = 0;   // of the last block
  u64 offset_ = 0;  // what is read
  u32 number_ = 0;
  BlockKind last_ = BlockKind::kNone;
  std::unique_ptr<char[]> buffer_;
  std::size_t have_ = 0;
  std::size_t at_ = 0;
};

class SnapshotLoader {
 public:
  // `writer` has a segment that is new, empty, and seen by nobody.
  SnapshotLoader(Writer& writer, Restored& restored) : writer_(writer), restored_(restored) {}

  // kNotFound: no such file; kForeign: another version's, or another instance's; kDamaged: the
  // sentence says where and what; kSystem: it cannot be read.
  Status load(const std::string& path);
  bool begun() const { return begun_; }  // the segment is not as it was

 private:
  struct Into {
    Table* table = nullptr;  // no memory for it: its entries are refused
    TableInfo info;
    std::vector<PackedColumn> columns;
    std::size_t row_bytes = 0;
  };
  struct Row {
    Tick expire;
    Tick updated;
    bool never;
    u64 ext[2];
    const char* values;
    std::span<const u8> key;
    u32 tag;
  };
  struct LineTail {
    RoomNo room;
    u64 tail;
  };

  Status block(BlockKind kind, std::string_view payload);
  Status head(Unpacker& in);
  Status strings(Unpacker& in);
  Status table(Unpacker& in);
  Status entries(Unpacker& in);
  Status peer(Unpacker& in);
  Status room(Unpacker& in);
  Status end(Unpacker& in);
  bool parse(const Into& into, Unpacker& in, Row& row) const;
  void put(Into& into, const Row& row);
  Status fill_lines();

  Writer& writer_;
  Restored& restored_;
  u64 file_bytes_ = 0;
  bool begun_ = false;
  u64 rows_ = 0;
  i64 gap_ms_ = 0;  // of the wall clock, since it was made
  Tick made_tick_ = 0;
  SegmentMs now_ = 0;
  Restored found_;
  std::vector<Into> tables_;  // by their number in the file
  std::unordered_map<u32, u32> strings_;
  std::vector<LineTail> lines_;
};

}  // namespace lineq::shm
