#include "tools/cli/systemd_notify.h"

#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace lineq::cli {
namespace {

// In systemd's place: a datagram socket in the abstract namespace, of this test's own.
class SystemdNotifyTest : public testing::Test {
 protected:
  SystemdNotifyTest() : name_(fmt::format("@lineq-notify-{}", ::getpid())) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(&address.sun_path[1], name_.data() + 1, name_.size() - 1);
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address),
                     static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size())),
              0);
    ::setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  }
  ~SystemdNotifyTest() override {
    ::close(fd_);
    for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) {
      ::unsetenv(variable);
    }
  }

  // All that was sent: a datagram is there as soon as it is sent.
  std::vector<std::string> told() const {
    std::vector<std::string> all;
    std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n < 0) {
        return all;
      }
      all.emplace_back(buffer.data(), static_cast<std::size_t>(n));
    }
  }

 private:
  std::string name_;
  int fd_ = -1;
};

TEST_F(SystemdNotifyTest, TellsWhatTheProgramDoes) {
  const SystemdNotify systemd;
  systemd.ready("listening on 127.0.0.1:8060");
  systemd.reloading();
  systemd.stopping();
  const std::vector<std::string> told = this->told();
  ASSERT_EQ(told.size(), 3U);
  EXPECT_EQ(told[0], "READY=1\nSTATUS=listening on 127.0.0.1:8060");
  EXPECT_TRUE(told[1].starts_with("RELOADING=1\nMONOTONIC_USEC=")) << told[1];
  EXPECT_EQ(told[2], "STOPPING=1\nSTATUS=stopping");
}

// What comes from a file must not become an assignment of its own.
TEST_F(SystemdNotifyTest, AStatusIsOneLine) {
  const SystemdNotify systemd;
  systemd.ready("wrong: 'a\nMAINPID=1\n'");
  EXPECT_EQ(told(), std::vector<std::string>{"READY=1\nSTATUS=wrong: 'a"});
}

TEST_F(SystemdNotifyTest, WhatTakesLongAsksForTimeOnceASecond) {
  SystemdNotify systemd;
  for (u64 now = 10'000; now < 12'500; now += 100) {
    systemd.still("loading a snapshot", now);
  }
  const std::vector<std::string> told = this->told();
  ASSERT_EQ(told.size(), 3U);
  EXPECT_EQ(told[0], "EXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1\nSTATUS=loading a snapshot");
}

TEST_F(SystemdNotifyTest, FeedsTheWatchdogThreeTimesAnInterval) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  SystemdNotify systemd;
  for (u64 now = 5; now < 9005; now += 100) {
    systemd.alive(now);
  }
  EXPECT_EQ(told(), std::vector<std::string>(9, "WATCHDOG=1"));
}

TEST_F(SystemdNotifyTest, FeedsTheWatchdogFromTheFirstMomentOn) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  SystemdNotify systemd;
  systemd.alive(0);
  EXPECT_EQ(told().size(), 1U);
}

TEST_F(SystemdNotifyTest, LongStartsAndStopsAskForTimeOnceASecond) {
  SystemdNotify systemd;
  for (u64 now = 5000; now < 7000; now += 100) {
    systemd.still("loading a snapshot", now);
  }
  EXPECT_EQ(told(), std::vector<std::string>(
                        2, "EXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1\nSTATUS=loading a snapshot"));
}

TEST_F(SystemdNotifyTest, WithoutAWatchdogThereIsNothingToFeed) {
  SystemdNotify systemd;
  systemd.alive(1000);
  EXPECT_TRUE(told().empty());
}

TEST_F(SystemdNotifyTest, SomebodyElsesWatchdogIsLeftAlone) {
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  SystemdNotify somebody;
  somebody.alive(1000);
  EXPECT_TRUE(told().empty());
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  SystemdNotify us;
  us.alive(1000);
  EXPECT_EQ(told().size(), 1U);
}

TEST_F(SystemdNotifyTest, WithoutSystemdNothingHappens) {
  for (const char* path : {"", "relative", "/nowhere/at/all"}) {
    ::setenv("NOTIFY_SOCKET", path, 1);
    SystemdNotify systemd;
    systemd.ready("x");
    systemd.alive(1);
  }
  ::setenv("NOTIFY_SOCKET", ("/" + std::string(200, 'x')).c_str(), 1);
  const SystemdNotify systemd;
  systemd.ready("x");
  ::unsetenv("NOTIFY_SOCKET");
  const SystemdNotify nobody;
  nobody.stopping();
  EXPECT_TRUE(told().empty());
}

}  // namespace
}  // namespace lineq::cli
