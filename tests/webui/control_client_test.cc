#include "webui/net/control_client.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shm/support/clock.h"
#include "tests/support/instance.h"
#include "tests/support/net.h"

namespace lineq::webnet {
namespace {

using test::Fd;

// A lineqd that says what the test wants, driven by hand: nothing in here waits.
class FakeDaemon {
 public:
  explicit FakeDaemon(const std::string& path) : path_(path) { listen(); }

  void listen() {
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ::unlink(path_.c_str());
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener_.get(), 8), 0);
  }
  void stop_listening() {
    listener_.reset();
    ::unlink(path_.c_str());
  }
  void hang_up() {
    client_.reset();
    heard_.clear();
  }
  // The whole lines received since the connection began.
  std::vector<std::string> lines() {
    if (!client_.valid() && listener_.valid()) {
      client_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    }
    std::array<char, 65536> buffer{};
    for (ssize_t n = 0;
         client_.valid() && (n = ::read(client_.get(), buffer.data(), buffer.size())) > 0;) {
      heard_.append(buffer.data(), static_cast<std::size_t>(n));
    }
    std::vector<std::string> found;
    std::size_t begin = 0;
    for (std::size_t end = 0; (end = heard_.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      found.push_back(heard_.substr(begin, end - begin));
    }
    return found;
  }
  void say(std::string_view bytes) { ASSERT_TRUE(test::send_all(client_, bytes)); }

 private:
  std::string path_;
  Fd listener_;
  Fd client_;
  std::string heard_;
};

class ControlClientTest : public testing::Test {
 protected:
  void SetUp() override {
    uv_loop_init(&loop_);
    options_.path = dir_.file("control.sock");
    options_.retry_ms = 1;
    options_.max_retry_ms = 4;
  }
  void TearDown() override {
    if (client_) {
      client_->close();
    }
    uv_run(&loop_, UV_RUN_DEFAULT);
    client_.reset();
    EXPECT_EQ(uv_loop_close(&loop_), 0) << "a handle was left open";
  }
  ControlClient& client() {
    if (!client_) {
      client_.emplace(loop_, options_);
    }
    return *client_;
  }
  // The answers so far, in the order in which they came: "line" or "!sentence".
  void ask(std::string line) {
    client().send(std::move(line), [this](const Result<std::string>& answer) {
      answers_.push_back(answer ? *answer : "!" + answer.error().what);
    });
  }
  bool until(const std::function<bool()>& condition) {
    const u64 end = monotonic_ms() + 10'000;
    while (!condition()) {
      if (monotonic_ms() > end) {
        return false;
      }
      uv_run(&loop_, UV_RUN_NOWAIT);
    }
    return true;
  }
  bool heard(std::size_t lines) {
    return until([&] { return daemon_->lines().size() >= lines; });
  }
  bool answered(std::size_t n) {
    return until([&] { return answers_.size() >= n; });
  }

  test::TempDir dir_;
  uv_loop_t loop_{};
  ControlOptions options_;
  std::optional<ControlClient> client_;
  std::optional<FakeDaemon> daemon_;
  std::vector<std::string> answers_;
};

TEST_F(ControlClientTest, AnswersComeInTheOrderOfTheQuestions) {
  daemon_.emplace(options_.path);
  ask("one");
  ask("two");
  ASSERT_TRUE(heard(2));
  EXPECT_EQ(daemon_->lines(), (std::vector<std::string>{"one", "two"}));
  daemon_->say("first\nsec");
  ASSERT_TRUE(answered(1));
  ask("three");
  ASSERT_TRUE(heard(3));
  daemon_->say("ond\r\nthird\n");
  ASSERT_TRUE(answered(3));
  EXPECT_EQ(answers_, (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_EQ(client().pending(), 0U);
}

TEST_F(ControlClientTest, NeverCallsBackFromInsideSend) {
  options_.max_pending = 0;
  bool inside = true;
  bool called = false;
  client().send("x", [&](const Result<std::string>& answer) {
    called = true;
    EXPECT_FALSE(inside);
    EXPECT_EQ(answer.error().code, ErrorCode::kBusy);
  });
  inside = false;
  EXPECT_TRUE(until([&] { return called; }));
}

TEST_F(ControlClientTest, ALineWaitsForADaemonThatIsNotThereYet) {
  ask("early");
  for (int i = 0; i < 20; ++i) {
    uv_run(&loop_, UV_RUN_ONCE);
  }
  EXPECT_TRUE(answers_.empty());
  daemon_.emplace(options_.path);
  ASSERT_TRUE(heard(1));
  daemon_->say("late but here\n");
  ASSERT_TRUE(answered(1));
  EXPECT_EQ(answers_[0], "late but here");
}

TEST_F(ControlClientTest, SaysWhereNobodyAnswered) {
  options_.answer_ms = 20;
  ask("anybody?");
  ASSERT_TRUE(answered(1));
  EXPECT_NE(answers_[0].find(options_.path), std::string::npos) << answers_[0];
  EXPECT_EQ(answers_[0][0], '!');
}

TEST_F(ControlClientTest, ALineIsNeverSentTwice) {
  daemon_.emplace(options_.path);
  ask("admit one");
  ASSERT_TRUE(heard(1));
  ask("second");
  ASSERT_TRUE(heard(2));
  daemon_->hang_up();
  ASSERT_TRUE(answered(2));
  EXPECT_NE(answers_[0].find("not known"), std::string::npos) << answers_[0];
  // The next one finds the new daemon; the lost ones do not come again.
  ask("third");
  ASSERT_TRUE(heard(1));
  EXPECT_EQ(daemon_->lines(), (std::vector<std::string>{"third"}));
  daemon_->say("fine\n");
  ASSERT_TRUE(answered(3));
  EXPECT_EQ(answers_[2], "fine");
}

TEST_F(ControlClientTest, GivesUpOnADaemonThatTakesTooLong) {
  daemon_.emplace(options_.path);
  options_.answer_ms = 300;
  ask("slow");
  ASSERT_TRUE(heard(1));
  ASSERT_TRUE(answered(1));
  EXPECT_NE(answers_[0].find("too long"), std::string::npos) << answers_[0];
  daemon_->hang_up();
  ask("again");
  ASSERT_TRUE(heard(1));
  daemon_->say("good\n");
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(answers_[1], "good");
}

TEST_F(ControlClientTest, MuchThatWaitsIsRefusedAndNotKept) {
  options_.max_pending = 3;
  for (int i = 0; i < 5; ++i) {
    ask(fmt::format("{}", i));
  }
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(client().pending(), 3U);
  daemon_.emplace(options_.path);
  ASSERT_TRUE(heard(3));
  daemon_->say("a\nb\nc\n");
  ASSERT_TRUE(answered(5));
  EXPECT_EQ(answers_[2], "a");
}

TEST_F(ControlClientTest, AnswersBeyondTheLimitEndTheConnection) {
  options_.max_answer_bytes = 1000;
  daemon_.emplace(options_.path);
  ask("rooms");
  ASSERT_TRUE(heard(1));
  daemon_->say(std::string(2000, 'x'));
  ASSERT_TRUE(answered(1));
  EXPECT_NE(answers_[0].find("longer than 1000 bytes"), std::string::npos) << answers_[0];
}

TEST_F(ControlClientTest, WordsNobodyAskedForEndTheConnection) {
  daemon_.emplace(options_.path);
  ask("one");
  ASSERT_TRUE(heard(1));
  daemon_->say("fine\nand another thing\n");
  ASSERT_TRUE(answered(1));
  EXPECT_TRUE(until([&] { return !client().connected(); }));
  daemon_->hang_up();
  ask("two");
  ASSERT_TRUE(heard(1));
  daemon_->say("well\n");
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(answers_[1], "well");
}

TEST_F(ControlClientTest, ClosingTellsThoseWhoWait) {
  daemon_.emplace(options_.path);
  ask("one");
  ASSERT_TRUE(heard(1));
  ask("two");
  client().close();
  EXPECT_EQ(answers_, (std::vector<std::string>{"!this process ends", "!this process ends"}));
}

TEST_F(ControlClientTest, ManyLinesThroughASlowDaemon) {
  options_.max_pending = 20'000;
  daemon_.emplace(options_.path);
  std::string said;
  for (int i = 0; i < 10'000; ++i) {
    ask(fmt::format("{:0100}", i));
    said += fmt::format("answer {}\n", i);
  }
  ASSERT_TRUE(heard(10'000));
  daemon_->say(said);
  ASSERT_TRUE(answered(10'000));
  EXPECT_EQ(answers_[9999], "answer 9999");
}

}  // namespace
}  // namespace lineq::webnet
