#include "tests/support/cutter.h"

#include <poll.h>

#include <algorithm>
#include <array>

#include <sys/socket.h>

namespace lineq::test {

Cutter::Cutter(u16 to)
    : to_(to), port_(free_port()), listener_(listen_tcp(port_)), thread_([this] { serve(); }) {}

Cutter::~Cutter() {
  stop_ = true;
  thread_.join();
}

void Cutter::serve() {
  while (!stop_) {
    if (left_ == 0) {
      cuts_ += streams_.size();
      streams_.clear();
      left_ = kNever;
    }
    std::vector<pollfd> polled{{listener_.get(), POLLIN, 0}};
    for (const Stream& stream : streams_) {
      for (const Fd& end : stream.ends) {
        polled.push_back({paused_ ? -1 : end.get(), POLLIN, 0});
      }
    }
    constexpr int kLookMs = 10;
    if (::poll(polled.data(), polled.size(), kLookMs) <= 0) {
      continue;
    }
    for (std::size_t i = 0; i < streams_.size() && left_ != 0; ++i) {
      for (const std::size_t from : {0U, 1U}) {
        if (polled[1 + 2 * i + from].revents != 0 && !streams_[i].over) {
          pass(streams_[i], from);
        }
      }
    }
    std::erase_if(streams_, [](const Stream& stream) { return stream.over; });
    if ((polled[0].revents & POLLIN) != 0) {
      Stream stream;
      stream.ends[0] = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      stream.ends[1] = connect_tcp(to_);
      if (stream.ends[0].valid() && stream.ends[1].valid()) {
        streams_.push_back(std::move(stream));
      }
    }
  }
}

void Cutter::pass(Stream& stream, std::size_t from) {
  std::array<char, 4096> bytes;
  const i64 left = left_;
  const std::size_t most =
      left > 0 ? std::min<std::size_t>(bytes.size(), static_cast<std::size_t>(left)) : bytes.size();
  const ssize_t n = ::recv(stream.ends[from].get(), bytes.data(), most, MSG_DONTWAIT);
  if (n <= 0 || !send_all(stream.ends[1 - from],
                          std::string_view(bytes.data(), static_cast<std::size_t>(n)))) {
    stream.over = true;
    return;
  }
  if (left > 0) {
    i64 unchanged = left;
    left_.compare_exchange_strong(unchanged, left - n);
  }
}

}  // namespace lineq::test
