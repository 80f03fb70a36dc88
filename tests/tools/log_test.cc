#include "tools/cli/log.h"

#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace lineq::cli {
namespace {

class LogTest : public testing::Test {
 protected:
  void TearDown() override {
    ::unsetenv("JOURNAL_STREAM");
    log_setup({});
  }
};

TEST_F(LogTest, ALineHasTimeProgramAndLevel) {
  EXPECT_EQ(format_log_line(LogLevel::kWarning, "lineqd", false, 1700000000123, "hello"),
            "2023-11-14T22:13:20.123Z lineqd warning: hello");
}

TEST_F(LogTest, UnderTheJournalALineHasItsPriority) {
  EXPECT_EQ(format_log_line(LogLevel::kErr, "lineqd", true, 0, "hello"), "<3>hello");
  EXPECT_EQ(format_log_line(LogLevel::kDebug, "lineqd", true, 0, "hello"), "<7>hello");
}

TEST_F(LogTest, TheJournalIsRecognisedByThisVeryStderr) {
  testing::internal::CaptureStderr();
  struct stat info {};
  ASSERT_EQ(::fstat(STDERR_FILENO, &info), 0);
  ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", info.st_dev, info.st_ino).c_str(), 1);
  log_setup({});
  log_notice("peer {} is back", "a");
  ::setenv("JOURNAL_STREAM", "1:1", 1);
  log_setup({});
  log_notice("peer {} is back", "b");
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(out.starts_with("<5>peer a is back\n")) << out;
  EXPECT_NE(out.find("lineq notice: peer b is back\n"), std::string::npos) << out;
}

TEST_F(LogTest, LinesBelowTheLevelAreNotWritten) {
  log_setup({.level = LogLevel::kWarning});
  testing::internal::CaptureStderr();
  log_notice("no");
  log_warning("yes");
  set_log_level(LogLevel::kDebug);
  log_debug("now");
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_EQ(out.find("no\n"), std::string::npos);
  EXPECT_NE(out.find("warning: yes\n"), std::string::npos);
  EXPECT_NE(out.find("debug: now\n"), std::string::npos);
  EXPECT_FALSE(LogLevel::kErr > LogLevel::kDebug);
}

TEST_F(LogTest, NoStrangerCanForgeALine) {
  testing::internal::CaptureStderr();
  log_info("hello from {}", "x\n2023-11-14 lineqd info: all is well\x1b[2J");
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(out.begin(), out.end(), '\n'), 1);
  EXPECT_NE(out.find("x\\x0a2023"), std::string::npos);
  EXPECT_EQ(out.find('\x1b'), std::string::npos);
}

TEST_F(LogTest, ALongLineIsCut) {
  testing::internal::CaptureStderr();
  log_info("{}", std::string(1000000, 'x'));
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_LT(out.size(), 9000U);
  EXPECT_TRUE(out.ends_with("xxx...\n"));
}

TEST_F(LogTest, SyslogGetsADatagramAndAnAbsentSyslogIsReplacedByStderr) {
  std::string directory = testing::TempDir() + "/lineq-log-XXXXXX";
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  const std::string path = directory + "/log";
  log_setup(
      {.program = "lineqd", .target = LogTarget::kSyslog, .facility = 18, .syslog_path = path});
  testing::internal::CaptureStderr();
  log_err("nobody listens");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("nobody listens"), std::string::npos);

  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(fd, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(&address.sun_path[0], path.data(), path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  testing::internal::CaptureStderr();
  log_err("somebody does");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  pollfd ready{fd, POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 5000), 1);
  std::array<char, 512> buffer{};
  const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
  ASSERT_GT(n, 0);
  const std::string got(buffer.data(), static_cast<std::size_t>(n));
  EXPECT_TRUE(got.starts_with("<147>")) << got;  // local2 * 8 + err
  EXPECT_TRUE(got.ends_with(fmt::format(" lineqd[{}]: somebody does", ::getpid()))) << got;
  ::close(fd);
  ::unlink(path.c_str());
  ::rmdir(directory.c_str());
}

TEST(LogLimitTest, OneLineASecondAndKeyWithTheNumberKeptQuiet) {
  LogLimit limit;
  EXPECT_EQ(limit.admit("10.0.0.1", 5000), 0U);
  EXPECT_EQ(limit.admit("10.0.0.1", 5001), std::nullopt);
  EXPECT_EQ(limit.admit("10.0.0.1", 5999), std::nullopt);
  EXPECT_EQ(limit.admit("10.0.0.2", 5999), 0U);
  EXPECT_EQ(limit.admit("10.0.0.1", 6000), 2U);
  EXPECT_EQ(limit.admit("10.0.0.1", 6500), std::nullopt);
  EXPECT_EQ(limit.admit("10.0.0.1", 9000), 1U);
  EXPECT_EQ(limit.admit("10.0.0.1", 90000), 0U);
}

TEST(LogLimitTest, ManyKeysGetNoMoreLinesThanThereArePlaces) {
  LogLimit limit;
  int lines = 0;
  for (int i = 0; i < 10000; ++i) {
    lines += limit.admit(std::to_string(i), 100).has_value() ? 1 : 0;
  }
  EXPECT_EQ(lines, 64);
  EXPECT_TRUE(limit.admit("later", 2000).has_value());
}

}  // namespace
}  // namespace lineq::cli
