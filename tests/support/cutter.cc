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
    bool waits = false;
    for (const Stream& stream : streams_) {
      for (const std::size_t from : {0U, 1U}) {
        const bool reads = !paused_ && !stream.ended[from];
        polled.push_back({reads ? stream.ends[from].get() : -1, POLLIN, 0});
        waits = waits || !stream.under_way[from].empty();
      }
    }
    constexpr int kLookMs = 10;
    if (::poll(polled.data(), polled.size(), waits ? 1 : kLookMs) < 0) {
      continue;
    }
    const Time now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      for (const std::size_t from : {0U, 1U}) {
        if (polled[1 + 2 * i + from].revents != 0 && left_ != 0) {
          take(streams_[i], from, now);
        }
        if (!paused_ && !streams_[i].over) {
          deliver(streams_[i], from, now);
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

void Cutter::take(Stream& stream, std::size_t from, Time now) {
  std::array<char, 4096> bytes;
  const i64 left = left_;
  const std::size_t most =
      left > 0 ? std::min<std::size_t>(bytes.size(), static_cast<std::size_t>(left)) : bytes.size();
  const ssize_t n = ::recv(stream.ends[from].get(), bytes.data(), most, MSG_DONTWAIT);
  Time due = now;
  if (delay_ms_ != 0) {
    due += Milliseconds(delay_ms_ + std::uniform_int_distribution<i64>(0, jitter_ms_)(random_));
  }
  std::deque<Piece>& under_way = stream.under_way[from];
  if (!under_way.empty()) {
    due = std::max(due, under_way.back().due);
  }
  stream.ended[from] = n <= 0;
  const auto size = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  under_way.push_back({due, std::string(bytes.data(), size)});
  if (left > 0 && n > 0) {
    i64 unchanged = left;
    left_.compare_exchange_strong(unchanged, left - n);
  }
}

void Cutter::deliver(Stream& stream, std::size_t from, Time now) {
  std::deque<Piece>& under_way = stream.under_way[from];
  while (!under_way.empty() && under_way.front().due <= now) {
    const std::string bytes = std::move(under_way.front().bytes);
    under_way.pop_front();
    if (bytes.empty() || !send_all(stream.ends[1 - from], bytes)) {
      stream.over = true;
      return;
    }
  }
}

}  // namespace lineq::test
