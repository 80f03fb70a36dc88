// The segment, looked at again and again: who is there, what grows, how fast. One thread.
//
// lineq-top may be there before lineqd, outlives it, and finds it again: look() attaches,
// refreshes, attaches anew. While the daemon is away the last state stays readable; the overview
// says so.
#pragma once

#include <optional>
#include <string>

#include "shm/reader.h"
#include "tools/lineq_top/grid.h"
#include "tools/lineq_top/rates.h"

namespace lineq::top {

// The lines above everything else.
struct Overview {
  std::string instance;
  std::string state = "absent";  // of lineqd: alive, stalled, restarting, down; absent: no segment
  std::string trouble;  // why there is no segment, or why this one is not the daemon's any more
  std::string mode;     // "agg", "acc", "vwr", "" as long as no daemon said
  std::optional<u64> heartbeat_age_ms;
  std::optional<u64> up_ms;
  u64 pid = 0;
  u64 memory_bytes = 0;
  std::optional<double> in_per_second;
  std::optional<double> out_per_second;
  u64 peers = 0;
  u64 peers_up = 0;
  u64 tables = 0;
  u64 entries = 0;
  u64 rooms = 0;
  u64 waiting = 0;
};

struct Picture {
  Overview overview;
  Grid tables;
  Grid peers;
  Grid rooms;
};

class Monitor {
 public:
  explicit Monitor(shm::Source source);

  // Attaches or refreshes. `generation` grows when everything known before means nothing any more.
  void attach();
  shm::Reader* reader() { return reader_ ? &*reader_ : nullptr; }
  u64 generation() const { return generation_; }
  // Why there is no segment; kNotFound also before the first attach().
  const std::optional<Error>& trouble() const { return trouble_; }

  // attach(), then everything as it is now; rates are since the look before.
  const Picture& look(u64 now_ms);
  const Picture& picture() const { return picture_; }

 private:
  void overview();
  void tables();
  void peers();
  void rooms();

  shm::Source source_;
  std::optional<shm::Reader> reader_;
  std::optional<Error> trouble_;
  u64 generation_ = 0;
  Rates rates_;
  Picture picture_;
};

}  // namespace lineq::top
