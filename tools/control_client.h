// lineqd's control socket from a program that has nothing else to do: one command, one answer.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "daemon/control/command.h"
#include "shm/support/result.h"

namespace lineq::tools {

class ControlClient {
 public:
  static constexpr int kPatienceMs = 10000;  // for connecting, and for each answer

  // kNotFound: nobody listens there.
  static Result<ControlClient> connect(const std::string& path, int patience_ms = kPatienceMs);
  ControlClient(ControlClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ControlClient& operator=(ControlClient&&) = delete;
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;
  ~ControlClient();

  // What lineqd says to a command, yes or no; an Error when it says nothing that can be read.
  Result<control::Answer> ask(const control::Command& command);
  // Lines without their ends.
  Result<std::string> exchange(std::string_view line);

 private:
  explicit ControlClient(int fd) : fd_(fd) {}
  int fd_;
  std::string in_;
};

}  // namespace lineq::tools
