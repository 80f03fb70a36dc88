// Who is still there -> lineqd. An open page sends nothing through HAProxy, so whoever waits with
// one would seem to be silent; lineq-web says otherwise, in batches over the control socket.
//
//   {"command":"present","keys":["<session>@<room>", ...],"by":"lineq-web"}
//
// Bounded: kBatch keys or kBatchBytes a line (a line of the control socket has its limit),
// kInFlight lines without an answer. What does not fit is refused and offered again by its owner a
// second later. No socket.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"

namespace lineq::live {

class Presence {
 public:
  static constexpr std::size_t kBatch = 500;
  static constexpr std::size_t kBatchBytes = std::size_t{24}
                                             << 10;  // of keys; escaped they may be twice that
  static constexpr std::size_t kInFlight = 8;
  // Sends a line; `done` says whether lineqd took it, now or later. Presence outlives it.
  using Send = std::function<void(std::string line, std::function<void(bool taken)> done)>;

  void set_send(Send send) { send_ = std::move(send); }
  // False: not now, offer it again.
  bool add(std::string_view key);
  // Sends what was added. Once a second, and after an add() that filled a batch by itself.
  void flush();

  u64 reported() const { return reported_; }  // keys that lineqd took

 private:
  Send send_;
  std::vector<std::string> batch_;
  std::size_t bytes_ = 0;
  std::size_t in_flight_ = 0;
  u64 reported_ = 0;
};

}  // namespace lineq::live
