// The engine with a segment of its own and peers in memory: what lineqd does of a HAProxy's stream
// of updates, without sockets.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/engine/engine.h"
#include "shm/writer.h"

namespace lineq::bench {

// HAProxys that are connected and have nothing to teach; they acknowledge what is for them and
// throw it away.
class EngineWorld {
 public:
  EngineWorld(engine::ModeKind mode, u32 peers);
  EngineWorld(const EngineWorld&) = delete;
  EngineWorld& operator=(const EngineWorld&) = delete;
  ~EngineWorld();  // the segment is gone too

  // Why there is nothing to measure; empty if all is well.
  const std::string& trouble() const { return trouble_; }
  const std::string& instance() const { return instance_; }
  std::size_t peers() const { return peers_.size(); }
  // Peer `i` says this, at most what one read of a socket brings.
  void feed(std::size_t i, std::span<const u8> bytes) { engine_->feed(*peers_[i], bytes, now_); }
  // One turn of lineqd's loop, without acknowledgements; false when nothing more is to be done now.
  bool turn();
  // Until nothing is to be done now, with acknowledgements.
  void settle();
  // Entries live for an hour.
  void pass(u64 ms) { now_ += ms; }
  void tick() { engine_->tick(now_); }
  SegmentMs now() const { return now_; }
  u64 entries() const;
  engine::RoomControl& rooms() { return *engine_->rooms(); }  // mode vwr

 private:
  std::string instance_;
  std::string trouble_;
  std::unique_ptr<shm::Writer> writer_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<engine::Peer*> peers_;
  peers::OutputBuffer acks_;
  SegmentMs now_ = 0;
};

std::string uuid(u64 n);  // one for each number

// Bytes of updates of one table.
class UpdateStream {
 public:
  explicit UpdateStream(const shm::TableDefinition& table) : table_(table), shape_(table_) {}
  // The definition goes before the first one.
  void add(std::string_view key, std::span<const u64> cells);
  std::span<const u8> bytes() const { return out_.pending(); }
  void clear() { out_.clear(); }

 private:
  shm::TableDefinition table_;
  peers::RowShape shape_;
  peers::SentStrings sent_;
  peers::OutputBuffer out_;
  u32 last_id_ = 0;
};

// Of a table with string keys of 36 bytes and gpc1.
class UuidStream : public UpdateStream {
 public:
  UuidStream();
  void add(u64 n, u64 gpc1) { UpdateStream::add(uuid(n), {&gpc1, 1}); }
};

// Rounds of the same updates. Mode agg: the first of the peers sends, the others are told. Mode
// acc: all of them send the same keys. Every key is there already.
class EngineLoad {
 public:
  static constexpr u32 kKeys = 100'000;

  EngineLoad(engine::ModeKind mode, u32 peers);

  const std::string& trouble() const { return world_.trouble(); }
  // Who sends sends an update of every key, in random order; all that follows of them is done.
  void round();

 private:
  EngineWorld world_;
  bool all_send_;
  std::vector<std::vector<u8>> streams_;
  u32 rounds_ = 0;
};

}  // namespace lineq::bench
