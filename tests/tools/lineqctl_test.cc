// lineqctl: its words, its answers for people, and the program against a lineqd of the test's own.
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/instance.h"
#include "tools/control_client.h"
#include "tools/lineqctl/output.h"
#include "tools/lineqctl/words.h"

namespace lineq::ctl {
namespace {

std::string line_of(const std::vector<std::string>& words, bool all = false) {
  const Result<control::Command> command = command_of(words, all);
  return command ? control::command_json(*command) : command.error().what;
}

TEST(LineqctlWordsTest, EveryWordIsACommand) {
  EXPECT_EQ(line_of({"rooms"}), R"({"command":"rooms"})");
  EXPECT_EQ(line_of({"show", "rooms"}), R"({"command":"rooms"})");
  EXPECT_EQ(line_of({"info"}), R"({"command":"info"})");
  EXPECT_EQ(line_of({"room", "shop"}), R"({"command":"room","name":"shop"})");
  EXPECT_EQ(line_of({"pause", "shop"}),
            R"({"command":"change_room","name":"shop","change":{"paused":"true"}})");
  EXPECT_EQ(line_of({"resume", "shop"}),
            R"({"command":"change_room","name":"shop","change":{"paused":"false"}})");
  EXPECT_EQ(line_of({"admit", "shop"}), R"({"command":"admit","name":"shop","n":1})");
  EXPECT_EQ(line_of({"admit", "shop", "10"}), R"({"command":"admit","name":"shop","n":10})");
  EXPECT_EQ(line_of({"queue-all", "shop", "on"}),
            R"({"command":"change_room","name":"shop","change":{"queue_all":"true"}})");
  EXPECT_EQ(line_of({"suspend", "shop", "off"}),
            R"({"command":"change_room","name":"shop","change":{"suspended":"false"}})");
  EXPECT_EQ(line_of({"revoke", "shop", "4711"}),
            R"({"command":"revoke","name":"shop","session":"4711"})");
  EXPECT_EQ(line_of({"revoke", "shop"}, true), R"({"command":"revoke","name":"shop","all":true})");
  EXPECT_EQ(line_of({"message", "shop", "back", "\"soon\""}),
            R"({"command":"change_room","name":"shop","change":{"message":"back \"soon\""}})");
  EXPECT_EQ(line_of({"message", "shop"}),
            R"({"command":"change_room","name":"shop","change":{"message":""}})");
  EXPECT_EQ(line_of({"set", "shop", "C=200", "host=a.example"}),
            R"({"command":"change_room","name":"shop","change":{"C":"200","host":"a.example"}})");
  EXPECT_EQ(line_of({"create", "shop", "C=200"}),
            R"({"command":"put_room","room":{"name":"shop","C":"200"},"how":"create"})");
  EXPECT_EQ(line_of({"remove", "shop"}), R"({"command":"remove_room","name":"shop"})");
}

TEST(LineqctlWordsTest, EveryMistakeSaysWhatWasMeant) {
  EXPECT_EQ(line_of({}), "a command is missing: rooms, room NAME, pause NAME, ...");
  EXPECT_EQ(line_of({"puase", "shop"}), "'puase' is no command; did you mean 'pause'?");
  EXPECT_EQ(line_of({"pause"}), "pause takes NAME: lineqctl pause NAME");
  EXPECT_EQ(line_of({"rooms", "x"}), "rooms takes nothing else: lineqctl rooms");
  EXPECT_EQ(line_of({"queue-all", "shop"}),
            "queue-all takes NAME on|off: lineqctl queue-all NAME on|off");
  EXPECT_EQ(line_of({"admit", "shop", "many"}), "'many' is no number of visitors, 1 or more");
  EXPECT_EQ(line_of({"admit", "shop", "0"}), "'0' is no number of visitors, 1 or more");
  EXPECT_EQ(line_of({"admit"}), "admit takes NAME [N]: lineqctl admit NAME [N]");
  EXPECT_EQ(line_of({"revoke", "shop"}),
            "revoke takes NAME SESSION|--all: lineqctl revoke NAME SESSION|--all");
  EXPECT_EQ(line_of({"pause", "shop"}, true), "--all belongs to revoke, not to pause");
  EXPECT_EQ(line_of({"set", "shop", "C"}), "'C' is no FIELD=VALUE, as in C=200");
  EXPECT_EQ(line_of({"set", "shop", "C=0"}),
            "total_active_users: '0' is not allowed; allowed: 1 to 100000000");
  EXPECT_EQ(line_of({"set", "shop", "total_active_user=5"}),
            "total_active_user: a room has no such field; did you mean 'total_active_users'?");
  EXPECT_TRUE(line_of({"create", "a@b"}).starts_with("name: 'a@b' is not allowed"));
  EXPECT_TRUE(line_of({"message", "shop", "a\x1b[2J"}).starts_with("message: 'a\\x1b[2J' is not"));
}

constexpr std::string_view kRoom =
    R"({"name":"shop","description":"","queueing_method":"fifo","queue_all":false,"suspended":false,)"
    R"("paused":true,"total_active_users":200,"numbers":{"active":150,"ready":2,"waiting":1000,)"
    R"("front":1,"admit_rate":12.25,"oldest_waiter_seconds":600,"counters":{"issued":5}}})";

std::string text_of(control::CommandKind kind, std::string result) {
  control::Command command;
  command.kind = kind;
  return answer_text(command, {control::AnswerCode::kFine, {}, std::move(result), {}});
}

TEST(LineqctlOutputTest, RoomsAreATable) {
  EXPECT_EQ(text_of(control::CommandKind::kRooms, "[" + std::string(kRoom) + "]"),
            "ROOM  STATE   INSIDE  LIMIT  CALLED  WAITING  PER MIN  OLDEST\n"
            "shop  paused     150    200       2     1001     12.2     10m\n");
  EXPECT_EQ(text_of(control::CommandKind::kRooms, "[]"),
            "There is no room. Make one: lineqctl create shop host=shop.example C=100\n");
}

TEST(LineqctlOutputTest, ARoomIsLines) {
  const std::string text = text_of(control::CommandKind::kRoom, std::string(kRoom));
  EXPECT_TRUE(text.starts_with("name: shop\nqueueing_method: fifo\n")) << text;
  EXPECT_NE(text.find("\nnumbers:\n  active: 150\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  counters:\n    issued: 5\n"), std::string::npos) << text;
}

TEST(LineqctlOutputTest, WhatWasDoneIsALine) {
  EXPECT_EQ(text_of(control::CommandKind::kAdmit, R"({"admitted":5})"), "5 called\n");
  EXPECT_EQ(text_of(control::CommandKind::kRevoke, R"({"revoked":5})"), "5 ended\n");
  EXPECT_EQ(text_of(control::CommandKind::kRemoveRoom, "null"), "done\n");
  EXPECT_EQ(text_of(control::CommandKind::kChangeRoom, std::string(kRoom)),
            "shop: paused, limit 200\n");
  // Whatever comes is shown, and steers no terminal.
  EXPECT_EQ(text_of(control::CommandKind::kInfo, R"({"a":"\u001b[2J"})"), "a: \\x1b[2J\n");
  EXPECT_EQ(text_of(control::CommandKind::kRooms, "5"), "done\n");
}

// Takes one connection and answers each line with the next answer; "" closes instead.
class OneAnswer {
 public:
  OneAnswer(const std::string& path, std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 5), 0);
    thread_ = std::thread([this] { serve(); });
  }
  OneAnswer(const OneAnswer&) = delete;
  OneAnswer& operator=(const OneAnswer&) = delete;
  ~OneAnswer() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string asked() {
    ::shutdown(fd_, SHUT_RDWR);
    if (thread_.joinable()) {
      thread_.join();
      thread_ = std::thread([] {});
    }
    return asked_;
  }

 private:
  void serve() {
    const int client = ::accept(fd_, nullptr, nullptr);
    std::array<char, 4096> chunk{};
    while (client >= 0 && asked_.find('\n') == std::string::npos) {
      const ssize_t n = ::read(client, chunk.data(), chunk.size());
      if (n <= 0) {
        break;
      }
      asked_.append(chunk.data(), static_cast<std::size_t>(n));
    }
    if (client >= 0) {
      (void)!::send(client, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      ::close(client);
    }
  }

  int fd_ = -1;
  std::string answer_;
  std::string asked_;
  std::thread thread_;
};

class LineqctlTest : public testing::Test {
 protected:
  test::Finished run(std::vector<std::string> words) {
    return test::run(lineq_.command(test::lineqctl_path(), std::move(words)));
  }
  std::string socket() const { return lineq_.file("control.sock"); }

  test::Instance lineq_;
};

TEST_F(LineqctlTest, AsksAndShows) {
  OneAnswer daemon(socket(), R"({"ok":true,"result":{"admitted":7},"warning":"careful"})"
                             "\n");
  const test::Finished done = run({"admit", "shop", "7", "--by", "anna"});
  EXPECT_EQ(done.exit_code, 0) << done.err;
  EXPECT_EQ(done.out, "7 called\n");
  EXPECT_EQ(done.err, "lineqctl: careful\n");
  EXPECT_EQ(daemon.asked(), R"({"command":"admit","name":"shop","n":7,"by":"anna"})"
                            "\n");
}

TEST_F(LineqctlTest, ShowsJsonAsItIs) {
  OneAnswer daemon(socket(), R"({"ok":true,"result":[{"name":"a"}]})"
                             "\n");
  const test::Finished done = run({"-o", "json", "rooms"});
  EXPECT_EQ(done.exit_code, 0);
  EXPECT_EQ(done.out, "[{\"name\":\"a\"}]\n");
}

TEST_F(LineqctlTest, TheExitCodeTellsWhatKindOfNo) {
  const auto answered = [&](const std::string& answer) {
    std::filesystem::remove(socket());
    OneAnswer daemon(socket(), answer);
    const test::Finished done = run({"rooms"});
    EXPECT_EQ(done.out, "");
    EXPECT_TRUE(done.err.starts_with("lineqctl: ")) << done.err;
    return done.exit_code;
  };
  EXPECT_EQ(answered("{\"ok\":false,\"code\":\"not_found\",\"error\":\"none\"}\n"), 2);
  EXPECT_EQ(answered("{\"ok\":false,\"code\":\"denied\",\"error\":\"no\"}\n"), 1);
  EXPECT_EQ(answered("{\"ok\":false,\"code\":\"unsupported\",\"error\":\"no\"}\n"), 1);
  EXPECT_EQ(answered("what?\n"), 3);
  EXPECT_EQ(answered(""), 2);
}

TEST_F(LineqctlTest, WithoutADaemonItSaysSo) {
  const test::Finished done = run({"rooms"});
  EXPECT_EQ(done.exit_code, 2);
  EXPECT_EQ(done.err, "lineqctl: control socket " + socket() +
                          ": No such file or directory; does lineqd run, and on this instance "
                          "(-n)?\n");
}

TEST_F(LineqctlTest, AMistakeIsFoundBeforeAnybodyIsAsked) {
  const test::Finished word = run({"roms"});
  EXPECT_EQ(word.exit_code, 1);
  EXPECT_EQ(word.err,
            "lineqctl: 'roms' is no command; did you mean 'rooms'? (see lineqctl --help)\n");
  EXPECT_EQ(run({"-o", "xml", "rooms"}).exit_code, 1);
  const test::Finished help = run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("queue-all NAME on|off"), std::string::npos);
  EXPECT_NE(help.out.find("lineqctl create shop host=shop.example"), std::string::npos);
}

}  // namespace
}  // namespace lineq::ctl
