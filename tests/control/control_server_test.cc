// The control socket as its users see it: lines and answers, many at once, who does not read, who
// writes too much, and what may stand in the socket's place.
#include "daemon/net/control_server.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "shm/support/clock.h"
#include "tests/support/instance.h"

namespace lineq::net {
namespace {

int connect_to(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  timeval patience{20, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

void put(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

// One line without its end, or "" when the other side closed.
std::string line_of(int fd) {
  std::string line;
  char c = 0;
  while (::read(fd, &c, 1) == 1) {
    if (c == '\n') {
      return line;
    }
    line += c;
  }
  return "";
}

// A server with a loop in a thread of its own, as in lineqd: answers "<length of the line>".
class ControlServerTest : public testing::Test {
 protected:
  void SetUp() override { std::signal(SIGPIPE, SIG_IGN); }  // as lineqd does

  void start(ControlOptions options = {}) {
    options.path = path_;
    loop_.emplace([] { return SegmentMs{monotonic_ms()}; });
    auto server =
        ControlServer::listen(*loop_, options,
                              [this](std::string_view line, const control::Caller& caller,
                                     const ControlServer::Reply& reply) {
                                caller_ = caller;
                                if (line == "later") {
                                  later_ = reply;
                                  return;
                                }
                                reply(line == "much" ? std::string(std::size_t{1} << 20, 'x')
                                                     : std::to_string(line.size()));
                              });
    ASSERT_TRUE(server.ok()) << server.error().what;
    server_ = server.take();
    loop_->on_tick = [this] {
      server_->tick();
      if (later_ && answer_later_.exchange(false)) {
        std::exchange(later_, nullptr)("at last");
      }
      if (stop_) {
        server_->close();
        loop_->stop();
      }
    };
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (thread_.joinable()) {
      stop_ = true;
      thread_.join();
      server_.reset();
      loop_.reset();
    }
  }
  void TearDown() override { stop(); }

  test::TempDir dir_;
  std::string path_ = dir_.file("control.sock");
  std::optional<Loop> loop_;
  std::unique_ptr<ControlServer> server_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  control::Caller caller_;
  ControlServer::Reply later_;
  std::atomic<bool> answer_later_ = false;
};

TEST_F(ControlServerTest, AnAnswerMayTakeItsTimeAndKeepsItsPlace) {
  start();
  const int slow = connect_to(path_);
  const int other = connect_to(path_);
  put(slow, "later\nbehind\n");
  put(other, "abc\n");
  EXPECT_EQ(line_of(other), "3");  // nobody else waits
  char c = 0;
  EXPECT_EQ(::recv(slow, &c, 1, MSG_DONTWAIT), -1);
  answer_later_ = true;
  EXPECT_EQ(line_of(slow), "at last");
  EXPECT_EQ(line_of(slow), "6");
  ::close(slow);
  ::close(other);
}

TEST_F(ControlServerTest, WhoGoesAwayBeforeTheAnswerIsMissedByNobody) {
  start();
  const int gone = connect_to(path_);
  const int stays = connect_to(path_);
  put(gone, "later\n");
  put(stays, "x\n");
  EXPECT_EQ(line_of(stays), "1");
  ::close(gone);
  answer_later_ = true;
  EXPECT_TRUE(test::wait_until([&] { return !answer_later_; }));
  put(stays, "abc\n");
  EXPECT_EQ(line_of(stays), "3");
  ::close(stays);
}

TEST_F(ControlServerTest, ALineIsAnsweredByALine) {
  start();
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0660U);
  const int fd = connect_to(path_);
  ASSERT_GE(fd, 0);
  put(fd, "abc\n");
  EXPECT_EQ(line_of(fd), "3");
  // In pieces, several at once, with CR, and empty ones that are no line.
  put(fd, "ab");
  put(fd, "cd\r\n\n\n12");
  EXPECT_EQ(line_of(fd), "4");
  put(fd, "345\n1\n");
  EXPECT_EQ(line_of(fd), "5");
  EXPECT_EQ(line_of(fd), "1");
  ::close(fd);
  stop();
  EXPECT_EQ(caller_.uid, ::getuid());
  EXPECT_FALSE(caller_.user.empty());
  EXPECT_NE(std::find(caller_.groups.begin(), caller_.groups.end(), ::getgid()),
            caller_.groups.end());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// In a process with no rights but those of this group; errno of connect(), or 0.
int connect_as_group(const std::string& path, gid_t group) {
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::setgroups(0, nullptr) != 0 || ::setgid(group) != 0 || ::setuid(kNobody) != 0) {
      ::_exit(127);
    }
    const int fd = connect_to(path);
    ::_exit(fd >= 0 ? 0 : errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(ControlServerTest, ItsModeAndGroupSayWhoMayConnect) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to be somebody else";
  }
  constexpr gid_t kOurs = 54321;
  constexpr gid_t kOthers = 54322;
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  struct Case {
    u32 mode;
    int ours;
    int others;
  };
  for (const Case& c : {Case{0600, EACCES, EACCES}, Case{0660, 0, EACCES}, Case{0666, 0, 0}}) {
    stop_ = false;
    start({.path = {}, .mode = c.mode, .group = std::to_string(kOurs)});
    EXPECT_EQ(connect_as_group(path_, kOurs), c.ours) << c.mode;
    EXPECT_EQ(connect_as_group(path_, kOthers), c.others) << c.mode;
    stop();
  }
}

TEST_F(ControlServerTest, AGroupThatIsNotThereIsNamed) {
  loop_.emplace([] { return SegmentMs{monotonic_ms()}; });
  const auto server = ControlServer::listen(
      *loop_, {.path = path_, .group = "no-such-group"},
      [](std::string_view, const control::Caller&, const ControlServer::Reply&) {});
  ASSERT_FALSE(server.ok());
  EXPECT_NE(server.error().what.find("there is no group no-such-group"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path_));
  loop_->stop();
  loop_->run();
}

TEST_F(ControlServerTest, AHundredClientsAtOnce) {
  start();
  std::vector<int> clients;
  for (int i = 0; i < 100; ++i) {
    clients.push_back(connect_to(path_));
    ASSERT_GE(clients.back(), 0);
    put(clients.back(), std::string(static_cast<std::size_t>(i) + 1, 'a') + "\n");
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(line_of(clients[static_cast<std::size_t>(i)]), std::to_string(i + 1));
    ::close(clients[static_cast<std::size_t>(i)]);
  }
}

TEST_F(ControlServerTest, TooManyClientsAreToldSo) {
  start({.path = {}, .max_clients = 2});
  const int a = connect_to(path_);
  const int b = connect_to(path_);
  put(a, "x\n");
  put(b, "x\n");
  EXPECT_EQ(line_of(a), "1");
  EXPECT_EQ(line_of(b), "1");
  const int c = connect_to(path_);
  EXPECT_EQ(line_of(c),
            R"({"ok":false,"code":"failed","error":"too many connections to the control socket"})");
  EXPECT_EQ(line_of(c), "");
  for (const int fd : {a, b, c}) {
    ::close(fd);
  }
}

// Anybody may connect to a socket of mode 0666.
TEST_F(ControlServerTest, StrangersKeepNobodyOut) {
  std::atomic<int> others{0};
  // The first three are strangers.
  start({.path = {}, .max_clients = 4, .max_strangers = 2, .stranger = [&](const auto&) {
           return ++others <= 3;
         }});
  const int a = connect_to(path_);
  const int b = connect_to(path_);
  const int c = connect_to(path_);
  put(a, "x\n");
  put(b, "x\n");
  EXPECT_EQ(line_of(a), "1");  // they are heard, as they are to be told why they are refused
  EXPECT_EQ(line_of(b), "1");
  EXPECT_EQ(line_of(c),
            R"({"ok":false,"code":"failed","error":"too many connections to the control socket"})");
  EXPECT_EQ(line_of(c), "");
  const int d = connect_to(path_);
  put(d, "xy\n");
  EXPECT_EQ(line_of(d), "2");
  for (const int fd : {a, b, c, d}) {
    ::close(fd);
  }
  stop();
}

TEST_F(ControlServerTest, ALineHasALimit) {
  start();
  const int fd = connect_to(path_);
  put(fd, std::string(control::kLongestLine, 'a') + "\n");
  EXPECT_EQ(line_of(fd), "65536");
  put(fd, std::string(control::kLongestLine + 1, 'a'));
  EXPECT_EQ(line_of(fd),
            R"({"ok":false,"code":"invalid","error":"a line of more than 65536 bytes"})");
  EXPECT_EQ(line_of(fd), "");
  ::close(fd);
}

TEST_F(ControlServerTest, WhoDoesNotReadIsNotReadFromAndNobodyElseWaits) {
  start({.path = {}, .max_clients = 10, .max_unread_bytes = 4096, .max_unread_ms = 60000});
  const int slow = connect_to(path_);
  ::fcntl(slow, F_SETFL, O_NONBLOCK);
  // 5 MiB of lines would be 1 TiB of answers.
  std::string lines;
  for (int i = 0; i < (1 << 20); ++i) {
    lines += "much\n";
  }
  (void)!::send(slow, lines.data(), lines.size(), MSG_NOSIGNAL);
  const int quick = connect_to(path_);
  for (int i = 0; i < 10; ++i) {
    put(quick, "abc\n");
    EXPECT_EQ(line_of(quick), "3");
  }
  // What it does read continues where it was.
  ::fcntl(slow, F_SETFL, 0);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(line_of(slow).size(), std::size_t{1} << 20);
  }
  ::close(slow);
  ::close(quick);
}

TEST_F(ControlServerTest, WhoNeverReadsIsClosed) {
  start({.path = {}, .max_clients = 10, .max_unread_bytes = 4096, .max_unread_ms = 200});
  const int fd = connect_to(path_);
  put(fd, "much\nmuch\n");
  // Gone when the kernel says that nobody is there to write to.
  EXPECT_TRUE(test::wait_until(
      [&] { return ::send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE; }));
  ::close(fd);
}

TEST_F(ControlServerTest, OnlyADeadSocketIsReplaced) {
  start();
  Loop other([] { return SegmentMs{0}; });
  const auto answer = [](std::string_view, const control::Caller&,
                         const ControlServer::Reply& reply) { reply(""); };
  const auto busy = ControlServer::listen(other, {.path = path_}, answer);
  ASSERT_FALSE(busy.ok());
  EXPECT_EQ(busy.error().code, ErrorCode::kBusy);
  EXPECT_EQ(busy.error().what, "control socket " + path_ + ": another lineqd listens there");

  std::ofstream(dir_.file("file")) << "precious";
  const auto file = ControlServer::listen(other, {.path = dir_.file("file")}, answer);
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().what.find("no socket stands there"), std::string::npos);
  std::filesystem::create_symlink(dir_.file("nowhere"), dir_.file("link"));
  EXPECT_FALSE(ControlServer::listen(other, {.path = dir_.file("link")}, answer).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(dir_.file("link")));
  const auto missing = ControlServer::listen(other, {.path = dir_.file("no/x.sock")}, answer);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().what.find("No such file or directory"), std::string::npos);

  // Left over by a killed one.
  const std::string stale = dir_.file("stale.sock");
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, stale.data(), stale.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  auto replaced = ControlServer::listen(other, {.path = stale}, answer);
  ASSERT_TRUE(replaced.ok()) << replaced.error().what;
  // A successor's file is not ours to remove.
  std::filesystem::remove(stale);
  std::ofstream(stale) << "successor";
  (*replaced)->close();
  EXPECT_TRUE(std::filesystem::exists(stale));
  other.stop();
  other.run();
}

}  // namespace
}  // namespace lineq::net
