// lineqd's control socket from a loop: lines out, answers back in order, nothing waits.
//
//   ControlClient control(loop, {.path = "/run/lineq/default.sock"});
//   control.send(R"({"command":"rooms"})", [](const Result<std::string>& line) { ... });
//   ... control.close();                    // before the loop ends
//
// Connects when there is something to say, and again after a pause when that fails or lineqd goes
// away. A line that was sent and not answered is never sent twice: whether lineqd has done it is
// not known, and its callback is told so. Bounded: lines pending, bytes of an answer, time to an
// answer. One thread: the loop's. Callbacks run from the loop or from close(), never inside send().
#pragma once

#include <uv.h>

#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "shm/support/ints.h"
#include "shm/support/result.h"

namespace lineq::webnet {

struct ControlOptions {
  std::string path;
  std::size_t max_pending = 256;     // lines without an answer
  std::size_t max_bytes = 8U << 20;  // of all of them
  std::size_t max_answer_bytes = 16U << 20;
  u64 answer_ms = 5000;  // from send() to the answer
  u64 retry_ms = 200;    // pause after a failed connection; doubles up to
  u64 max_retry_ms = 3000;
};

class ControlClient {
 public:
  // The answer's line without its end, or why there is none: kBusy too much is pending, kNotFound
  // lineqd cannot be reached, kSystem it went away or took too long.
  using Callback = std::function<void(const Result<std::string>&)>;

  // `loop` outlives the client.
  ControlClient(uv_loop_t& loop, ControlOptions options);
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;
  ControlClient(ControlClient&&) = delete;
  ControlClient& operator=(ControlClient&&) = delete;

  // `line`: one JSON object without an end of line.
  void send(std::string line, Callback callback);
  bool connected() const { return link_ != nullptr && link_->up; }
  std::size_t pending() const { return pending_.size(); }
  const std::string& path() const { return options_.path; }
  // Whatever is pending is told that this process ends. Nothing can be sent afterwards.
  void close();

 private:
  struct Pending {
    std::string line;
    Callback callback;
    u64 deadline = 0;
    bool sent = false;
    bool refused = false;  // by send(): too much is pending
  };
  // One connection; ends by itself when libuv has let go of the pipe.
  struct Link {
    uv_pipe_t pipe{};
    uv_connect_t request{};
    ControlClient* client = nullptr;  // null: nobody listens any more
    bool up = false;
  };
  struct Write;

  void connect();
  void on_connected(int status);
  void write_pending();
  void on_read(ssize_t n, const char* bytes);
  void drop_link();
  void lose(const std::string& why);
  void answer_first(const Result<std::string>& answer);
  void tick();
  void arm(u64 ms);

  uv_loop_t& loop_;
  ControlOptions options_;
  Link* link_ = nullptr;
  uv_timer_t timer_{};
  std::deque<Pending> pending_;  // the sent ones first
  std::size_t bytes_ = 0;
  std::string in_;
  std::string trouble_;  // why the last connection failed
  u64 next_attempt_ = 0;
  u64 retry_ms_ = 0;
  bool closed_ = false;
  std::string read_buffer_;
};

}  // namespace lineq::webnet
