// A load generator that looks like a HAProxy: connects as a peer, says hello, answers a resync
// request with "that was all", and then streams updates of one table as fast as the receiver takes
// them, until the last one is acknowledged.
//
// Rows are encoded while the receiver works, so on one core both share it; sender_cpu_seconds
// tells.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/peers/decoder.h"
#include "daemon/peers/encoder.h"
#include "shm/geometry.h"
#include "shm/support/ints.h"
#include "shm/support/result.h"

namespace lineq::bench {

enum class Shape : u8 {
  kUuid,     // string keys of 36 bytes, gpc1: a visitor of a waiting room
  kIp,       // ip keys, gpc0, conn_cnt, http_req_rate, bytes_out_rate: a rate limit
  kVisitor,  // string keys of up to 72 bytes, SESSION@shop, gpc1: who waits for room shop, as
             // lineq-operator's HAProxy tells of them
};
enum class Ids : u8 {
  kAbsolute,     // each update carries its id, as HAProxy sends at a low rate
  kIncremental,  // the id of all but every 200th is the one before plus 1, as HAProxy does in
                 // batches
};

struct Load {
  u16 port = 0;
  std::string our_name = "bench";
  std::string their_name = "lineq";
  Shape shape = Shape::kUuid;
  Ids ids = Ids::kIncremental;
  u32 keys = 1000000;
  u32 first_key = 0;        // others' keys come before
  u64 rate = 0;             // of update(), updates a second; 0 = as fast as the receiver takes them
  bool stamped = false;     // uuid: gpc1 is stamp_us() of when the update was made
  u32 patience_ms = 60000;  // without any progress
};

shm::TableDefinition table_of(Shape shape);

u64 mixed(u64 x);             // a number for each number, as good as random
std::string uuid_key(u64 n);  // the key of number n

// Microseconds of CLOCK_MONOTONIC, which wrap after 71 minutes.
u32 stamp_us();

Error failed(std::string_view what);  // with what errno says
// A socket to 127.0.0.1:port, without delay.
Result<int> connect_to(u16 port);

struct Measured {
  u64 updates = 0;
  double seconds = 0;             // first byte sent to last ack received
  double sender_cpu_seconds = 0;  // of the calling thread
};

class LoadPeer {
 public:
  explicit LoadPeer(const Load& load);
  LoadPeer(const LoadPeer&) = delete;
  LoadPeer& operator=(const LoadPeer&) = delete;
  ~LoadPeer();

  // Connects and waits until the receiver is done with its questions.
  Status connect();
  // `updates` of keys in an order that looks random, or of every key once.
  Result<Measured> fill() { return stream(load_.keys, true); }
  Result<Measured> update(u64 updates) { return stream(updates, false); }
  // Of the last update.
  u32 last_stamp() const { return last_stamp_; }

 private:
  Result<Measured> stream(u64 updates, bool each_once);
  void encode_some(u64 updates, bool each_once);
  u64 due(u64 updates) const;
  Status exchange(u64 wait_us);
  Status read_some();
  Status on_frame(const peers::Frame& frame);
  void say(peers::Control control);

  Load load_;
  peers::Definition definition_;
  peers::RowShape row_;
  peers::SentStrings sent_strings_;
  std::vector<u8> keys_;
  u32 key_size_;
  int fd_ = -1;
  peers::OutputBuffer out_;
  std::vector<u8> in_;
  bool status_seen_ = false;
  bool lesson_wanted_ = false;
  bool lesson_confirmed_ = false;
  u64 last_said_ms_ = 0;
  u32 last_id_ = 0;
  u32 last_ack_ = 0;
  u32 last_stamp_ = 0;
  u64 sent_ = 0;
  u64 begin_us_ = 0;
  u64 random_ = 0;
};

}  // namespace lineq::bench
