// The control socket: a Unix stream socket, a command a line, an answer a line (daemon/control).
// Who calls is what the kernel says when the connection is made. One thread: the loop's.
//
// Bounded: connections, the length of a line, and answers that nobody reads: whoever does not read
// is not read from, and closed after a while. The socket's file is 0660 and replaced only when
// nobody listens behind it; anything else in its place is left alone.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/control/policy.h"
#include "daemon/net/loop.h"
#include "shm/support/result.h"
#include "tools/cli/log.h"
#include "tools/sockets/acceptor.h"

namespace lineq::net {

struct ControlOptions {
  std::string path;
  u32 mode = 0660;         // of the socket's file: who may connect; the policy says what for
  std::string group = {};  // ... its group, by name or number; empty: lineq-admin if it exists
  std::size_t max_clients = 128;
  // Of these, so many may be ones who are there to be refused: a mode of 0666 lets anybody connect,
  // and nobody shall keep the others out.
  std::size_t max_strangers = 16;
  std::function<bool(const control::Caller&)> stranger = {};
  std::size_t max_unread_bytes = std::size_t{1} << 20;  // then a client is not read from
  SegmentMs max_unread_ms = 30000;                      // ... and closed after so long
};

class ControlServer {
 public:
  // Line in, line out; without their ends. The reply is given once, now or in a later turn; until
  // then nothing more is read from this client. Nobody hears it if the client is gone.
  using Reply = std::function<void(std::string line)>;
  using Answer =
      std::function<void(std::string_view line, const control::Caller& caller, const Reply& reply)>;

  // kBusy: somebody listens there. kNotFound, kSystem: the directory is missing, is not writable,
  // or something else stands there.
  static Result<std::unique_ptr<ControlServer>> listen(Loop& loop, ControlOptions options,
                                                       Answer answer);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  ControlServer(ControlServer&&) = delete;
  ControlServer& operator=(ControlServer&&) = delete;

  void tick();   // now and then
  void close();  // removes the file; destroy after the loop has ended
  std::size_t clients() const { return clients_.size(); }

 private:
  struct Client;
  struct Write;

  ControlServer(Loop& loop, ControlOptions options, Answer answer);
  Status open();
  void accept(int fd);
  void run_short(int fd, const std::string& why);
  void reply(u64 number, std::string line);
  void write(Client& client, std::string line);
  void watch(Client& client);
  void end(Client& client);

  Loop& loop_;
  ControlOptions options_;
  Answer answer_;
  std::optional<sockets::Acceptor> acceptor_;
  u64 device_ = 0, inode_ = 0;  // of the file, so that only ours is removed
  std::vector<std::unique_ptr<Client>> clients_;
  u64 accepted_ = 0;
  bool closed_ = false;
  cli::LogLimit limit_;
};

// Of a connected Unix socket.
control::Caller caller_of(int fd);

}  // namespace lineq::net
