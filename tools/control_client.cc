#include "tools/control_client.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

namespace lineq::tools {
namespace {

constexpr std::size_t kLongestAnswer = std::size_t{64} << 20;

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& path, int patience_ms) {
  ControlClient client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (client.fd_ < 0) {
    return Error{ErrorCode::kSystem, fmt::format("no socket: {}", std::strerror(errno))};
  }
  const timeval patience{patience_ms / 1000, (patience_ms % 1000) * 1000L};
  ::setsockopt(client.fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(client.fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{ErrorCode::kInvalid, fmt::format("control socket {}: the path is too long", path)};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(client.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    return client;
  }
  const int number = errno;
  const std::string_view hint = number == ENOENT ? "; does lineqd run, and on this instance (-n)?"
                                : number == ECONNREFUSED ? "; lineqd does not run any more"
                                : number == EACCES ? "; it takes root or a member of its group"
                                                   : "";
  return Error{
      number == ENOENT || number == ECONNREFUSED ? ErrorCode::kNotFound : ErrorCode::kSystem,
      fmt::format("control socket {}: {}{}", path, std::strerror(number), hint)};
}

ControlClient::~ControlClient() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Result<control::Answer> ControlClient::ask(const control::Command& command) {
  const Result<std::string> line = exchange(control::command_json(command));
  return line ? control::parse_answer(*line) : Result<control::Answer>(line.error());
}

Result<std::string> ControlClient::exchange(std::string_view line) {
  const std::string sent = std::string(line) + "\n";
  std::string_view left = sent;
  while (!left.empty()) {
    const ssize_t n = ::send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return Error{ErrorCode::kSystem, fmt::format("lineqd went away: {}", std::strerror(errno))};
    }
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  std::array<char, 65536> chunk{};
  std::size_t looked = 0;
  for (;;) {
    const std::size_t end = in_.find('\n', looked);
    if (end != std::string::npos) {
      std::string answer = in_.substr(0, end);
      in_.erase(0, end + 1);
      return answer;
    }
    looked = in_.size();
    const ssize_t n = ::recv(fd_, chunk.data(), chunk.size(), 0);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0 || in_.size() > kLongestAnswer) {
      const bool late = n < 0 && errno == EAGAIN;
      return Error{ErrorCode::kSystem,
                   n > 0 ? std::string("lineqd's answer does not end")
                         : fmt::format("lineqd {} before it answered; whether the command was "
                                       "carried out is not known",
                                       late ? "took too long" : "went away")};
    }
    in_.append(chunk.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace lineq::tools
