#include "bench/load_peer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "shm/support/clock.h"

namespace lineq::bench {
namespace {

constexpr std::size_t kChunk = 65536;  // encoded ahead of the socket
constexpr std::size_t kRead = 65536;
constexpr u32 kBatch = 200;  // HAProxy's tune.peers.max-updates-at-once
constexpr u64 kHeartbeatMs = 3000;
constexpr u64 kBurstUs = 200;  // of a paced sender, which sleeps in between
constexpr u32 kTableId = 1;
constexpr u64 kQuestionsMs = 1500;  // a receiver that asks does so by then

// The dictionary of a peer without server names.
class NoStrings : public peers::Strings {
 public:
  u32 intern(std::string_view) override { return 0; }
  std::string_view text(u32) override { return {}; }
};

u64 now_us() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<u64>(ts.tv_sec) * 1'000'000 + static_cast<u64>(ts.tv_nsec) / 1000;
}

double own_cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

Error failed(std::string_view what) {
  return {ErrorCode::kSystem, fmt::format("{}: {}", what, std::strerror(errno))};
}

Result<int> connect_to(u16 port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    Error error = failed(fmt::format("port {}", port));
    if (fd >= 0) {
      ::close(fd);
    }
    return error;
  }
  const int yes = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return fd;
}

u64 mixed(u64 x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::string uuid_key(u64 n) {
  const u64 a = mixed(n);
  return fmt::format("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xfff,
                     a >> 4 & 0xfff, mixed(a) >> 16);
}

u32 stamp_us() {
  return static_cast<u32>(now_us());
}

shm::TableDefinition table_of(Shape shape) {
  shm::TableDefinition table;
  const bool ip = shape == Shape::kIp;
  // Names as they travel: with a slash for a `table` line of a peers section, without for a
  // backend.
  table.name = ip ? "/bench_ip" : shape == Shape::kUuid ? "/bench_uuid" : "user";
  table.key_type = ip ? shm::KeyType::kIp : shm::KeyType::kString;
  table.key_bytes = ip ? 4 : shape == Shape::kUuid ? 37 : 73;
  table.expire_ms = 3600000;
  const auto add = [&](u32 bit, u32 period_ms) {
    table.data_types |= u64{1} << bit;
    table.elements[bit] = 1;
    table.period_ms[bit] = period_ms;
  };
  if (!ip) {
    add(shm::kGpc1, 0);
  } else {
    add(shm::kGpc0, 0);
    add(shm::kConnCnt, 0);
    add(shm::kHttpReqRate, 10000);
    add(*shm::data_type_by_name("bytes_out_rate"), 60000);
  }
  return table;
}

LoadPeer::LoadPeer(const Load& load)
    : load_(load), definition_{kTableId, table_of(load.shape), 0}, row_(definition_.table) {
  constexpr std::string_view kRoom = "@shop";
  const bool ip = load.shape == Shape::kIp;
  const bool visitor = load.shape == Shape::kVisitor;
  key_size_ = ip ? 4 : visitor ? 36 + u32{kRoom.size()} : 36;
  keys_.resize(std::size_t{load.keys} * key_size_);
  for (u32 i = 0; i < load.keys; ++i) {
    u8* const at = keys_.data() + std::size_t{i} * key_size_;
    if (!ip) {
      const std::string text = uuid_key(u64{load.first_key} + i);
      std::memcpy(at, text.data(), text.size());
      if (visitor) {
        std::memcpy(at + text.size(), kRoom.data(), kRoom.size());
      }
    } else {
      const u32 address = htonl(0x0a000000U + load.first_key + i);
      std::memcpy(at, &address, key_size_);
    }
  }
}

LoadPeer::~LoadPeer() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Status LoadPeer::connect() {
  Result<int> fd = connect_to(load_.port);
  if (!fd) {
    return fd.error();
  }
  fd_ = *fd;
  peers::encode_hello(out_, {1, load_.their_name, load_.our_name, static_cast<u32>(::getpid())});
  const u64 begin = monotonic_ms();
  u64 settled = 0;
  for (;;) {
    if (Status status = exchange(20'000); !status) {
      return status;
    }
    const u64 now = monotonic_ms();
    if (!status_seen_) {
      if (now - begin > load_.patience_ms) {
        return Error{ErrorCode::kSystem, "no answer to our hello"};
      }
      continue;
    }
    settled = settled == 0 ? now : settled;
    // It wants a lesson at once, or not at all; updates inside one would not be acknowledged.
    if (lesson_confirmed_ || (!lesson_wanted_ && now - settled > kQuestionsMs)) {
      return {};
    }
    if (now - settled > load_.patience_ms) {
      return Error{ErrorCode::kSystem, "the receiver does not confirm the end of its resync"};
    }
  }
}

Result<Measured> LoadPeer::stream(u64 updates, bool each_once) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const double cpu_begin = own_cpu_seconds();
  peers::encode_definition(out_, definition_);
  sent_ = 0;
  begin_us_ = now_us();
  u64 next_burst = begin_us_;
  u64 progress_ms = monotonic_ms();
  u32 progress_ack = last_ack_;
  while (sent_ < updates || !out_.empty() || last_ack_ != last_id_) {
    const u64 sent_before = sent_;
    const bool paced = load_.rate != 0 && !each_once && sent_ < updates;
    if (paced && now_us() >= next_burst) {
      next_burst = now_us() + kBurstUs;
      encode_some(due(updates), false);
    } else if (!paced && out_.size() < kChunk / 2) {
      encode_some(updates, each_once);
    }
    const std::size_t before = out_.size();
    const u64 at = now_us();
    const u64 wait_us = !paced ? 100'000 : at < next_burst ? next_burst - at : 0;
    if (const Status status = exchange(wait_us); !status) {
      return status.error();
    }
    const u64 now = monotonic_ms();
    if (sent_ != sent_before || out_.size() != before || last_ack_ != progress_ack) {
      progress_ms = now;
      progress_ack = last_ack_;
    } else if (now - progress_ms > load_.patience_ms) {
      return Error{ErrorCode::kSystem,
                   fmt::format("no progress for {} s: id {} sent, {} acknowledged",
                               load_.patience_ms / 1000, last_id_, last_ack_)};
    }
  }
  return Measured{updates, std::chrono::duration<double>(Clock::now() - begin).count(),
                  own_cpu_seconds() - cpu_begin};
}

// How many of `updates` are to be sent by now.
u64 LoadPeer::due(u64 updates) const {
  if (load_.rate == 0) {
    return updates;
  }
  const double seconds = static_cast<double>(now_us() - begin_us_) / 1e6;
  return std::min(updates, static_cast<u64>(seconds * static_cast<double>(load_.rate)) + 1);
}

// Until `updates` are sent or in out_.
void LoadPeer::encode_some(u64 updates, bool each_once) {
  NoStrings strings;
  std::array<u64, 8> cells{};
  while (sent_ < updates && out_.size() < kChunk) {
    const u64 i = each_once ? sent_ : mixed(++random_) % load_.keys;
    const std::span<const u8> key(keys_.data() + i * key_size_, key_size_);
    if (load_.shape == Shape::kVisitor) {
      cells = {0};  // seen, not inside
    } else if (load_.shape == Shape::kUuid) {
      last_stamp_ = load_.stamped ? stamp_us() : sent_ & 1;
      cells = {last_stamp_};
    } else {
      cells = {sent_ & 0xff, sent_, sent_ & 0xfff, 7, 5, sent_ & 0xfff, 70000, 50000};
    }
    ++last_id_;
    // The last one is absolute: HAProxy >= 3.3 answers incremental ones with a wrong id.
    const bool absolute =
        load_.ids == Ids::kAbsolute || sent_ % kBatch == 0 || sent_ + 1 == updates;
    peers::encode_update(out_, absolute ? peers::kUpdate : peers::kIncremental, last_id_, 0,
                         definition_.table, row_, key, {cells.data(), row_.cells()}, sent_strings_,
                         strings);
    ++sent_;
  }
}

// Writes what can be written and reads what is there; waits for one of both.
Status LoadPeer::exchange(u64 wait_us) {
  if (status_seen_ && monotonic_ms() - last_said_ms_ > kHeartbeatMs) {
    say(peers::Control::kHeartbeat);
  }
  pollfd ready{fd_, static_cast<short>(out_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
  const timespec wait{static_cast<time_t>(wait_us / 1'000'000),
                      static_cast<long>(wait_us % 1'000'000 * 1000)};
  if (::ppoll(&ready, 1, &wait, nullptr) < 0 && errno != EINTR) {
    return failed("poll");
  }
  if ((ready.revents & POLLOUT) != 0) {
    const std::span<const u8> bytes = out_.pending();
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      return failed("the receiver closed");
    }
    out_.consumed(n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  return (ready.revents & (POLLIN | POLLHUP | POLLERR)) != 0 ? read_some() : Status();
}

Status LoadPeer::read_some() {
  const std::size_t have = in_.size();
  in_.resize(have + kRead);
  const ssize_t n = ::recv(fd_, in_.data() + have, kRead, MSG_DONTWAIT);
  in_.resize(have + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  if (n == 0) {
    return Error{ErrorCode::kSystem, "the receiver closed the connection"};
  }
  if (n < 0 && errno != EAGAIN && errno != EINTR) {
    return failed("receive");
  }
  std::span<const u8> rest = in_;
  if (!status_seen_) {
    const std::string_view text(reinterpret_cast<const char*>(in_.data()), in_.size());
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
      return {};
    }
    if (peers::decode_status(text.substr(0, end)) != peers::kStatusOk) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("our hello was answered {}; the receiver must "
                               "be called {} and know a peer {}",
                               text.substr(0, end), load_.their_name, load_.our_name)};
    }
    status_seen_ = true;
    say(peers::Control::kHeartbeat);
    rest = rest.subspan(end + 1);
  }
  peers::Frame frame;
  while (peers::read_frame(rest, peers::kMaxMessageIn, frame) == peers::FrameStatus::kWhole) {
    if (Status status = on_frame(frame); !status) {
      return status;
    }
    rest = rest.subspan(frame.bytes);
  }
  in_.erase(in_.begin(), in_.end() - static_cast<std::ptrdiff_t>(rest.size()));
  return {};
}

Status LoadPeer::on_frame(const peers::Frame& frame) {
  if (frame.cls == peers::kClassError) {
    return Error{ErrorCode::kInvalid, fmt::format("the receiver reports error {}", frame.type)};
  }
  if (frame.cls == peers::kClassControl) {
    switch (static_cast<peers::Control>(frame.type)) {
      case peers::Control::kResyncRequest:
        lesson_wanted_ = true;
        peers::encode_definition(out_, definition_);
        say(peers::Control::kResyncFinished);
        break;
      case peers::Control::kResyncFinished:
      case peers::Control::kResyncPartial:
        say(peers::Control::kResyncConfirmed);
        break;
      case peers::Control::kResyncConfirmed:
        lesson_confirmed_ = true;
        break;
      case peers::Control::kHeartbeat:
        break;
    }
    return {};
  }
  peers::Ack ack;
  if (frame.cls == peers::kClassTable && frame.type == peers::kAck &&
      peers::decode_ack(frame.payload, ack) && ack.table_id == kTableId) {
    last_ack_ = ack.update_id;
  }
  return {};  // what it teaches us is not our business
}

void LoadPeer::say(peers::Control control) {
  peers::encode_control(out_, control);
  last_said_ms_ = monotonic_ms();
}

}  // namespace lineq::bench
