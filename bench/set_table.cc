#include "bench/set_table.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <sys/socket.h>

namespace lineq::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr u32 kCommandsALine = 100;  // HAProxy reads lines of at most tune.bufsize, 16 KiB
constexpr auto kBurst = std::chrono::microseconds(200);
constexpr int kPatienceMs = 60'000;

class StatsSocket {
 public:
  explicit StatsSocket(int fd) : fd_(fd) {}
  StatsSocket(const StatsSocket&) = delete;
  StatsSocket& operator=(const StatsSocket&) = delete;
  ~StatsSocket() { ::close(fd_); }

  // Until all of `text` is written; answers that are there are looked at.
  Status say(std::string_view text) {
    while (!text.empty()) {
      pollfd ready{fd_, POLLIN | POLLOUT, 0};
      if (::poll(&ready, 1, kPatienceMs) <= 0) {
        return Error{ErrorCode::kSystem, "the stats socket takes nothing"};
      }
      if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
        if (Status status = listen(); !status) {
          return status;
        }
      }
      if ((ready.revents & POLLOUT) != 0) {
        const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
          return failed("the stats socket");
        }
        text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
      }
    }
    return {};
  }
  // Until HAProxy has done everything.
  Status quit() {
    if (Status status = say("quit\n"); !status) {
      return status;
    }
    while (!over_) {
      pollfd ready{fd_, POLLIN, 0};
      if (::poll(&ready, 1, kPatienceMs) <= 0) {
        return Error{ErrorCode::kSystem, "no end of the stats socket"};
      }
      if (Status status = listen(); !status) {
        return status;
      }
    }
    return {};
  }

 private:
  // An empty line and a prompt are all that `set table` answers when it is content.
  Status listen() {
    std::array<char, 65536> chunk;
    const ssize_t n = ::recv(fd_, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (n < 0) {
      return errno == EAGAIN || errno == EINTR ? Status() : Status(failed("the stats socket"));
    }
    over_ = n == 0;
    const std::string_view text(chunk.data(), static_cast<std::size_t>(n));
    if (const std::size_t at = text.find_first_not_of("\n> "); at != std::string_view::npos) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("the stats socket says: {}", text.substr(at, 200))};
    }
    return {};
  }

  int fd_;
  bool over_ = false;
};

}  // namespace

Result<Measured> set_table(const Load& load, u16 stats_port, u64 updates, u32& last_stamp) {
  std::vector<std::string> keys;
  keys.reserve(load.keys);
  for (u32 i = 0; i < load.keys; ++i) {
    keys.push_back(uuid_key(i));
  }
  const Result<int> fd = connect_to(stats_port);
  if (!fd) {
    return fd.error();
  }
  StatsSocket socket(*fd);
  if (const Status status = socket.say("prompt\n"); !status) {
    return status.error();
  }
  const auto begin = Clock::now();
  u64 random = 0;
  std::string line;
  for (u64 sent = 0; sent < updates;) {
    u64 due = updates;
    if (load.rate != 0) {
      std::this_thread::sleep_for(kBurst);
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      due = std::min(updates, static_cast<u64>(seconds * static_cast<double>(load.rate)) + 1);
    }
    while (sent < due) {
      line.clear();
      for (u32 i = 0; i < kCommandsALine && sent < due; ++i, ++sent) {
        last_stamp = stamp_us();
        line += fmt::format("{}set table lq/bench_uuid key {} data.gpc1 {}", i == 0 ? "" : ";",
                            keys[mixed(++random) % keys.size()], last_stamp);
      }
      line += '\n';
      if (const Status status = socket.say(line); !status) {
        return status.error();
      }
    }
  }
  if (const Status status = socket.quit(); !status) {
    return status.error();
  }
  return Measured{updates, std::chrono::duration<double>(Clock::now() - begin).count(), 0};
}

}  // namespace lineq::bench
