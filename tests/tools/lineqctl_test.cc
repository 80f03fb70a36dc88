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

TEST(LineqctlWordsTest, EntriesHaveHaproxysWords) {
  EXPECT_EQ(line_of({"show", "peers"}), R"({"command":"peers"})");
  EXPECT_EQ(line_of({"show", "tables"}), R"({"command":"tables"})");
  EXPECT_EQ(line_of({"show", "table"}), R"({"command":"tables"})");
  EXPECT_EQ(line_of({"tables"}), R"({"command":"tables"})");
  EXPECT_EQ(line_of({"set", "table", "lq/t", "key", "10.0.0.1", "data.gpc0", "5", "data.gpc[1]",
                     "007", "expire", "9000"}),
            R"({"command":"set_entry","table":"lq/t","key":"10.0.0.1",)"
            R"("values":{"data.gpc0":5,"data.gpc[1]":"007"},"expire_ms":9000})");
  EXPECT_EQ(line_of({"set", "table", "t", "key", "k"}),
            R"({"command":"set_entry","table":"t","key":"k","values":{}})");
  // Bytes that are no text, and what was copied from an output.
  EXPECT_EQ(line_of({"clear", "table", "t", "key", "a\xff\x1b\\x41"}),
            R"({"command":"clear_table","table":"t","key":"a\\xff\\x1b\\x41"})");
  EXPECT_EQ(line_of({"clear", "table", "t"}), R"({"command":"clear_table","table":"t"})");
  const std::string filtered =
      R"({"command":"clear_table","table":"t","filters":["data.gpc0 gt 5","data.gpc1 eq 0"]})";
  EXPECT_EQ(line_of({"clear", "table", "t", "data.gpc0", "gt", "5", "data.gpc1", "eq", "0"}),
            filtered);
  EXPECT_EQ(line_of({"clear", "table", "t", "data.gpc0 gt 5", "data.gpc1", "eq", "0"}), filtered);
  EXPECT_EQ(line_of({"log-level"}), R"({"command":"log_level"})");
  EXPECT_EQ(line_of({"log-level", "debug"}), R"({"command":"log_level","level":"debug"})");
  EXPECT_EQ(line_of({"shutdown"}), R"({"command":"shutdown"})");
}

TEST(LineqctlWordsTest, ARoomMayBeCalledTable) {
  EXPECT_EQ(line_of({"set", "table", "C=5"}),
            R"({"command":"change_room","name":"table","change":{"C":"5"}})");
  EXPECT_EQ(line_of({"set", "table", "C=5", "N=6"}),
            R"({"command":"change_room","name":"table","change":{"C":"5","N":"6"}})");
  EXPECT_EQ(line_of({"set", "table", "a=b", "key", "k"}),
            R"({"command":"set_entry","table":"a=b","key":"k","values":{}})");
  EXPECT_EQ(line_of({"room", "table"}), R"({"command":"room","name":"table"})");
}

TEST(LineqctlWordsTest, EveryMistakeAboutEntriesSaysWhatWasMeant) {
  const std::string set =
      "set table takes T key K [data.X V]... [expire MS]: lineqctl set table T "
      "key K [data.X V]... [expire MS]";
  EXPECT_EQ(line_of({"set", "table"}), set);
  EXPECT_EQ(line_of({"set", "table", "t", "10.0.0.1"}), set);
  EXPECT_EQ(line_of({"set", "table", "t", "key"}), set);
  EXPECT_EQ(line_of({"set", "table", "t", "ptr", "0x5", "data.gpc0", "1"}),
            "ptr is an address in one HAProxy's memory; name the entry by its key");
  EXPECT_EQ(line_of({"set", "table", "t", "key", "k", "gpc0", "5"}),
            "'gpc0' is no data.TYPE followed by a value, as in data.gpc0 5");
  EXPECT_EQ(line_of({"set", "table", "t", "key", "k", "data.gpc0"}),
            "data.gpc0: a value is missing");
  EXPECT_EQ(line_of({"set", "table", "t", "key", "k", "expire", "1h"}),
            "expire: '1h' is no number of milliseconds, 1 or more");
  const std::string clear =
      "clear table takes T [key K | data.X OP V...]: lineqctl clear table T "
      "[key K | data.X OP V...]";
  EXPECT_EQ(line_of({"clear"}), clear);
  EXPECT_EQ(line_of({"clear", "counters"}), clear);
  EXPECT_EQ(line_of({"clear", "table", "t", "key", "k", "more"}), clear);
  EXPECT_EQ(line_of({"clear", "table", "t", "data.gpc0", "gt"}),
            "'data.gpc0 gt' is no condition, as in data.gpc0 gt 5, and no key, as in key 10.0.0.1");
  EXPECT_EQ(line_of({"show", "table", "t"}), "lineq-dump shows entries: lineq-dump -t t");
  EXPECT_EQ(line_of({"show", "table", "t", "data.gpc0", "gt", "5"}),
            "lineq-dump shows entries: lineq-dump -t t data.gpc0 gt 5 (a key: -k KEY)");
  EXPECT_EQ(line_of({"log-level", "loud"}),
            "'loud' is no log level; allowed: err, warning, notice, info, debug");
  EXPECT_EQ(line_of({"log-level", "debig"}),
            "'debig' is no log level; allowed: err, warning, notice, info, debug; did you mean "
            "'debug'?");
  EXPECT_EQ(line_of({"clear", "table", "t"}, true),
            "--all belongs to revoke; clear table T without more clears all of it");
}

TEST(LineqctlWordsTest, EveryMistakeSaysWhatWasMeant) {
  EXPECT_EQ(line_of({}),
            "a command is missing: show peers, show tables, set table, rooms, pause NAME, ...");
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

TEST(LineqctlOutputTest, TablesAndPeersAreTables) {
  EXPECT_EQ(text_of(control::CommandKind::kTables,
                    R"x([{"table":"/visits","type":"ip","length":4,"used":12,"expire_ms":600000,)x"
                    R"x("data":["gpc0","http_req_rate(10000)"],"peers":2},)x"
                    R"x({"table":"t\u001b","type":"string","length":31,"used":1234567,)x"
                    R"x("expire_ms":0,"data":[],"peers":0}])x"),
            "TABLE    TYPE           EXPIRE     USED  PEERS  DATA\n"
            "/visits  ip                10m       12      2  gpc0,http_req_rate(10000)\n"
            "t\\x1b    string len 31   never  1234567      0\n");
  EXPECT_EQ(text_of(control::CommandKind::kTables, "[]"),
            "There is no table: no HAProxy has announced one yet.\n");
  EXPECT_EQ(
      text_of(control::CommandKind::kPeers,
              R"([{"name":"hap1","address":"10.0.0.1:4711","pid":812,"status":"ESTA",)"
              R"("connected_ms":7300000,"silent_ms":300,"lesson_in":"complete",)"
              R"("lesson_out":"none","updates_in":5,"updates_out":1000,"lag":0,"tables":3},)"
              R"({"name":"","address":"10.0.0.22:1","pid":0,"status":"CONN","connected_ms":10,)"
              R"("silent_ms":10,"lesson_in":"none","lesson_out":"none"}])"),
      "PEER  ADDRESS        STATUS  TAUGHT US  LEARNED  PID  SINCE  SILENT  IN   OUT  LAG  TABLES\n"
      "hap1  10.0.0.1:4711  ESTA    complete   none     812     2h    0.3s   5  1000    0       3\n"
      "-     10.0.0.22:1    CONN    none       none       -   0.0s    0.0s   0     0    0       "
      "0\n");
  EXPECT_EQ(text_of(control::CommandKind::kPeers, "[]"), "No HAProxy is connected.\n");
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
  EXPECT_EQ(text_of(control::CommandKind::kSetEntry, R"({"created":true})"), "made\n");
  EXPECT_EQ(text_of(control::CommandKind::kSetEntry, R"({"created":false})"), "changed\n");
  EXPECT_EQ(text_of(control::CommandKind::kClearTable, R"({"cleared":1})"), "1 entry cleared\n");
  EXPECT_EQ(text_of(control::CommandKind::kClearTable, R"({"cleared":0})"), "0 entries cleared\n");
  EXPECT_EQ(text_of(control::CommandKind::kLogLevel, R"({"level":"debug"})"), "debug\n");
  EXPECT_EQ(text_of(control::CommandKind::kShutdown, "null"), "lineqd ends\n");
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
