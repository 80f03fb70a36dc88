#include "daemon/net/peer_connector.h"

#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace lineq::net {
namespace {

constexpr u64 kAttemptMs = 5000;
constexpr u64 kJitterMs = 500;
constexpr u64 kErrorStatusMs = 30000;
constexpr std::size_t kMostAddresses = 16;

}  // namespace

PeerConnector::PeerConnector(Loop& loop, engine::Engine& engine, cli::DialSettings settings,
                             std::shared_ptr<TlsContext> tls)
    : loop_(loop),
      engine_(engine),
      settings_(std::move(settings)),
      who_(fmt::format("peer {} ({}, dialled)", settings_.address.text, settings_.name)),
      tls_(std::move(tls)),
      next_ms_(loop.now()),
      random_(std::random_device{}()) {
  resolve_.data = this;
}

PeerConnector::~PeerConnector() {
  close("lineqd stops");
  while (!closed()) {
    uv_run(loop_.uv(), UV_RUN_ONCE);
  }
}

engine::Identity PeerConnector::identity_of(const cli::DialSettings& settings) {
  return {settings.name, settings.own_name, settings.address.identity(), 0, true};
}

u64 PeerConnector::random_ms(u64 least, u64 most) {
  return std::uniform_int_distribution<u64>(least, most)(random_);
}

// --- attempts ---

void PeerConnector::tick() {
  std::erase_if(closing_, [](const auto& c) { return c->closed(); });
  for (const auto& connection : closing_) {
    connection->tick();
  }
  if (stopping_) {
    return;
  }
  const SegmentMs now = loop_.now();
  if (!trying_) {
    if (now < next_ms_) {
      return;
    }
    if (engine_.book().connected(settings_.own_name, settings_.name)) {
      pause(now + random_ms(50, 2049));
    } else if (!resolving_) {
      start();
    }
    return;
  }
  if (!established_ && now - started_ms_ >= kAttemptMs) {
    const std::string why =
        fmt::format("waited {} ms for {}", kAttemptMs,
                    current_ == nullptr ? std::string_view("the addresses of its name")
                                        : current_->waits_for());
    addresses_.clear();
    if (current_ != nullptr) {
      current_->close(why);  // flush() sees it
    } else {
      fail(why);
    }
  }
}

void PeerConnector::start() {
  trying_ = true;
  established_ = false;
  started_ms_ = loop_.now();
  addresses_.clear();
  problems_.clear();
  if (settings_.address.kind != cli::PeerAddress::Kind::kTcp) {
    next_address();
    return;
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  const int code = uv_getaddrinfo(
      loop_.uv(), &resolve_,
      [](uv_getaddrinfo_t* request, int status, addrinfo* found) {
        static_cast<PeerConnector*>(request->data)->resolved(status, found);
        uv_freeaddrinfo(found);
      },
      settings_.address.host.c_str(), std::to_string(settings_.address.port).c_str(), &hints);
  if (code != 0) {
    fail(uv_strerror(code));
  } else {
    resolving_ = true;
  }
}

void PeerConnector::resolved(int status, const addrinfo* found) {
  resolving_ = false;
  if (stopping_ || !trying_ || current_ != nullptr) {
    return;  // the attempt was given up meanwhile
  }
  if (status != 0) {
    fail(fmt::format("name not resolved: {}", uv_strerror(status)));
    return;
  }
  for (const addrinfo* a = found; a != nullptr && addresses_.size() < kMostAddresses;
       a = a->ai_next) {
    sockaddr_storage& address = addresses_.emplace_back();
    std::memcpy(&address, a->ai_addr, a->ai_addrlen);
  }
  std::reverse(addresses_.begin(), addresses_.end());  // taken from the end
  next_address();
}

void PeerConnector::next_address() {
  DialTarget target;
  target.endpoint.listener = ~0U;
  target.endpoint.address = settings_.address.identity();
  target.endpoint.text = settings_.address.text;
  target.hello.target = settings_.name;
  target.hello.name = settings_.own_name;
  target.hello.pid = static_cast<u32>(::getpid());
  target.tls = tls_;
  if (settings_.address.kind != cli::PeerAddress::Kind::kTcp) {
    current_ = PeerConnection::dial(loop_, engine_, settings_.address, std::move(target));
    return;
  }
  if (addresses_.empty()) {
    fail("its name has no address");
    return;
  }
  const sockaddr_storage address = addresses_.back();
  addresses_.pop_back();
  // For the log: which of several addresses it is.
  if (const std::string numeric = address_text(address); numeric != settings_.address.text) {
    target.endpoint.text += fmt::format(" [{}]", numeric);
  }
  current_ = PeerConnection::dial(loop_, engine_, address, std::move(target));
}

void PeerConnector::flush() {
  for (const auto& connection : closing_) {
    connection->flush();
  }
  if (current_ == nullptr) {
    return;
  }
  current_->flush();
  if (!established_ && current_->peer() != nullptr && current_->peer()->no != kNoPeer) {
    established_ = true;
    if (failures_ != 0) {
      cli::log_notice("{}: reached after {} attempts that failed", who_, failures_);
    }
    failures_ = 0;
    last_failure_.clear();
  }
  if (current_->outcome()) {
    const ConnectionOutcome outcome = *current_->outcome();
    closing_.push_back(std::move(current_));
    over(outcome);
  }
}

// The connection has ended; `outcome` says how.
void PeerConnector::over(const ConnectionOutcome& outcome) {
  if (stopping_) {
    return;
  }
  if (outcome.established || engine_.book().connected(settings_.own_name, settings_.name)) {
    pause(loop_.now() + random_ms(50, 2049));
    return;
  }
  if (outcome.status != 0) {
    fail(fmt::format("{}; {}", outcome.reason, advice(outcome.status)), true);
    return;
  }
  problems_ += fmt::format("{}{}", problems_.empty() ? "" : "; ", outcome.reason);
  if (!addresses_.empty()) {
    next_address();
  } else {
    fail(problems_);
  }
}

void PeerConnector::fail(const std::string& why, bool error_status) {
  ++failures_;
  const u64 after_ms = error_status ? kErrorStatusMs : kAttemptMs;
  pause(started_ms_ + after_ms + random_ms(0, kJitterMs));
  if (why != last_failure_) {
    last_failure_ = why;
    cli::log_warning("{}: {}; trying again every {} s", who_, why, after_ms / 1000);
  }
}

void PeerConnector::pause(SegmentMs until) {
  trying_ = false;
  established_ = false;
  next_ms_ = until;
}

// What has to be changed where.
std::string PeerConnector::advice(u32 status) const {
  switch (status) {
    case peers::kStatusTarget:
      return fmt::format("its own name is not '{}': correct `name` here, or its localpeer",
                         settings_.name);
    case peers::kStatusUnknown:
      return fmt::format("its peers section has no `server {}`: add it, or correct `own_name` here",
                         settings_.own_name);
    case peers::kStatusTryAgain:
      return fmt::format("'{}' is its own name: `own_name` here must be another one",
                         settings_.own_name);
    default:
      return "is that the peers port of a HAProxy?";
  }
}

// --- end ---

void PeerConnector::close(std::string_view why) {
  stopping_ = true;
  trying_ = false;
  if (resolving_) {
    uv_cancel(reinterpret_cast<uv_req_t*>(&resolve_));
  }
  if (current_ != nullptr) {
    current_->close(why);
    closing_.push_back(std::move(current_));
  }
}

bool PeerConnector::closed() const {
  return current_ == nullptr && !resolving_ &&
         std::all_of(closing_.begin(), closing_.end(), [](const auto& c) { return c->closed(); });
}

}  // namespace lineq::net
