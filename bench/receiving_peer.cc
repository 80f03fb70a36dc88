#include "bench/receiving_peer.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <fmt/format.h>
#include <sys/socket.h>

#include "shm/support/clock.h"

namespace lineq::bench {
namespace {

constexpr std::size_t kRead = 65536;

}  // namespace

ReceivingPeer::ReceivingPeer(Load whom) : load_(std::move(whom)), chunk_(kRead) {}

ReceivingPeer::~ReceivingPeer() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Status ReceivingPeer::connect(bool asks) {
  Result<int> fd = connect_to(load_.port);
  if (!fd) {
    return fd.error();
  }
  fd_ = *fd;
  peers::SessionConfig config;
  config.request_lesson = asks;
  const peers::Hello hello{1, load_.their_name, load_.our_name, static_cast<u32>(::getpid())};
  peers::SessionEvents& events = *this;  // a private base: make_unique could not convert
  session_ = std::make_unique<peers::Session>(config, hello, strings_, events, monotonic_ms());
  while (!session_->established()) {
    if (Status status = exchange(20); !status) {
      return status;
    }
  }
  return {};
}

Status ReceivingPeer::exchange(int wait_ms) {
  session_->tick(monotonic_ms());
  pollfd ready{fd_, static_cast<short>(session_->pending().empty() ? POLLIN : POLLIN | POLLOUT), 0};
  if (::poll(&ready, 1, wait_ms) < 0 && errno != EINTR) {
    return failed("poll");
  }
  const ssize_t n = ::recv(fd_, chunk_.data(), chunk_.size(), MSG_DONTWAIT);
  if (n == 0) {
    return Error{ErrorCode::kSystem,
                 fmt::format("the receiver closed the connection of {}", load_.our_name)};
  }
  if (n < 0 && errno != EAGAIN && errno != EINTR) {
    return failed("receive");
  }
  if (n > 0) {
    session_->feed({chunk_.data(), static_cast<std::size_t>(n)}, monotonic_ms());
  }
  if (const std::span<const u8> out = session_->pending(); !out.empty()) {
    const ssize_t sent = ::send(fd_, out.data(), out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    session_->consumed(sent > 0 ? static_cast<std::size_t>(sent) : 0);
  }
  return session_->ended() ? Status(Error{ErrorCode::kSystem, session_->end_reason()}) : Status();
}

void ReceivingPeer::on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) {
  static_cast<void>(table);
  rows_ += updates.size();
  if (!load_.stamped) {
    return;
  }
  latest_stamp_ = static_cast<u32>(updates.back().cells[0]);
  if (notes_ages_) {
    const u32 now = stamp_us();
    for (const peers::Update& update : updates) {
      if (ages_us_.size() < ages_us_.capacity()) {
        ages_us_.push_back(now - static_cast<u32>(update.cells[0]));
      }
    }
  }
}

}  // namespace lineq::bench
