// Garbage, truncated and oversized input on the peers port: never stops the daemon, never disturbs
// another peer, and leaves one log line that says who, what and why.
#include <array>
#include <random>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "daemon/peers/varint.h"
#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

constexpr std::string_view kHello = "HAProxyS 2.1\nlineq\nstranger 17 1\n";

// address:port as lineqd sees it
std::string source_of(const Fd& fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  std::array<char, INET_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
  return fmt::format("{}:{}", text.data(), ntohs(address.sin_port));
}

std::string bytes(std::initializer_list<int> values) {
  std::string result;
  for (const int value : values) {
    result += static_cast<char>(value);
  }
  return result;
}

// A frame of the stick-table class with a short payload.
std::string table_frame(int type, std::string_view payload) {
  return bytes({0x0a, type, static_cast<int>(payload.size())}) + std::string(payload);
}

std::string varint(u64 value) {
  std::array<u8, peers::kMaxVarint> out{};
  u8* const end = peers::encode_varint(value, out.data());
  return {out.data(), end};
}

// As the HAProxys define "/plain": number 1, string of 65 bytes, gpc0 and gpc1, an hour.
std::string good_definition() {
  return table_frame(0x82, bytes({1, 6}) + "/plain" + bytes({6, 65}) +
                               varint(u64{1} << shm::kGpc0 | u64{1} << shm::kGpc1) +
                               varint(3600000));
}

struct Attack {
  std::string name;
  std::string input;
  bool after_hello = false;      // sent when the session is established
  std::string answer_ends_with;  // last bytes before the connection is closed, if any are due
};

std::vector<Attack> attacks() {
  std::vector<Attack> all{
      {"an HTTP request", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", false, ""},
      {"an empty line", "\n", false, ""},
      {"a wrong protocol name", "haproxys 2.1\nlineq\nx 1 1\n", false, ""},
      {"another version", "HAProxyS 3.0\nlineq\nx 1 1\n", false, ""},
      {"a name that is not ours", "HAProxyS 2.1\nelephant\nx 1 1\n", false, ""},
      {"a hello without an end", std::string(200000, 'A'), false, ""},
      {"a hello line of controls", "HAProxyS 2.1\nlineq\n\x1b[2J\x01\n", false, ""},
      {"binary garbage",
       std::string("\x00\xff\x00\xff\x80\x0a\x0a\x0a", 8) + std::string(500, '\xee'), false, ""},
      {"class 255", bytes({0xff, 0x01}), true, bytes({1, 0})},
      {"a length that does not end", bytes({0x0a, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
       true, bytes({1, 0})},
      {"a message above the limit", bytes({0x0a, 0x80, 0xf0, 0xf1, 0xfe, 0x7e}), true,
       bytes({1, 1})},
      {"a definition cut short", table_frame(0x82, bytes({1, 6}) + "/pla"), true, bytes({1, 0})},
      {"an update cut short", good_definition() + table_frame(0x80, bytes({0, 0})), true,
       bytes({1, 0})},
      {"an update whose key is longer than the message",
       good_definition() + table_frame(0x80, bytes({0, 0, 0, 1, 60}) + "short"), true,
       bytes({1, 0})},
      {"an ack cut short", table_frame(0x84, bytes({1, 0})), true, bytes({1, 0})},
  };
  return all;
}

class HostileTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
    sessions_ = world_.sessions();
  }

  // The others have not noticed anything, and everything still works.
  void expect_undisturbed() {
    static int count = 0;
    const std::string key = fmt::format("alive-{}", ++count);
    ASSERT_TRUE(world_.daemon.running()) << world_.story();
    ASSERT_EQ(world_.at(0).set_table("lq/plain", key, "data.gpc0 1"), "");
    EXPECT_TRUE(wait_until([&] {
      return world_.at(1).show_table("lq/plain").value(key, "gpc0") == "1";
    })) << world_.story();
    EXPECT_EQ(world_.sessions(), sessions_) << world_.story();
  }

  // The daemon says the same about one address once a second at most, so every attack comes from
  // an address of its own.
  static std::string next_source() {
    static int count = 0;
    ++count;
    return fmt::format("127.1.{}.{}", count / 250, count % 250 + 1);
  }

  Fd stranger() { return connect_tcp(world_.lineq.tcp_port(), next_source()); }

  // A connection with its handshake behind it.
  Fd established() {
    Fd fd = stranger();
    if (!fd.valid() || !send_all(fd, kHello)) {
      return {};
    }
    std::string answer;
    while (answer.find('\n') == std::string::npos) {
      const std::string more = receive_some(fd);
      if (more.empty()) {
        return {};
      }
      answer += more;
    }
    return answer.starts_with("200") ? std::move(fd) : Fd();
  }

  // The lines that complain about this connection.
  std::vector<std::string> complaints(const std::string& source) {
    std::vector<std::string> found;
    for (const std::string& line : world_.log_lines(source)) {
      if (line.find(" err: ") != std::string::npos ||
          line.find(" warning: ") != std::string::npos) {
        found.push_back(line);
      }
    }
    return found;
  }

  World world_;
  std::vector<std::string> sessions_;
};

TEST_F(HostileTest, EachAttackIsAnsweredOrClosedAndLoggedOnce) {
  for (const Attack& attack : attacks()) {
    const Fd fd = attack.after_hello ? established() : stranger();
    ASSERT_TRUE(fd.valid()) << attack.name << world_.story();
    const std::string source = source_of(fd);
    // Closed while still sending is as good as closed after it.
    send_all(fd, attack.input);
    const Received received = receive_all(fd);
    EXPECT_TRUE(received.closed) << attack.name << world_.story();
    if (!attack.answer_ends_with.empty() && !received.bytes.empty()) {
      EXPECT_TRUE(received.bytes.ends_with(attack.answer_ends_with)) << attack.name;
    }
    EXPECT_TRUE(wait_until([&] { return !complaints(source).empty(); }))
        << attack.name << ": no line about " << source << world_.story();
    EXPECT_EQ(complaints(source).size(), 1U)
        << attack.name << ":\n"
        << fmt::format("{}", fmt::join(complaints(source), "\n"));
    for (const std::string& line : lines_of(world_.daemon.err())) {
      EXPECT_EQ(line.find('\x1b'), std::string::npos) << attack.name;
    }
  }
  expect_undisturbed();
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(HostileTest, ATruncatedSessionIsJustOver) {
  // Every prefix of a good conversation, then the connection ends.
  const std::string good = std::string(kHello) + good_definition() +
                           table_frame(0x80, bytes({0, 0, 0, 1, 3}) + "key" + bytes({1, 2}));
  for (std::size_t length = 0; length <= good.size(); ++length) {
    const Fd fd = stranger();
    ASSERT_TRUE(fd.valid());
    ASSERT_TRUE(send_all(fd, std::string_view(good).substr(0, length)));
  }
  expect_undisturbed();
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(HostileTest, AHelloMayArriveByteByByte) {
  const Fd fd = stranger();
  for (const char c : kHello) {
    ASSERT_TRUE(send_all(fd, std::string_view(&c, 1)));
  }
  EXPECT_TRUE(receive_some(fd).starts_with("200\n"));
}

TEST_F(HostileTest, RandomBytesInASessionNeverStopTheDaemon) {
  std::random_device device;
  const u32 seed = device();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 100; ++round) {
    const Fd fd = established();
    ASSERT_TRUE(fd.valid()) << world_.story();
    std::string input = good_definition();
    for (int message = 0; message < 20; ++message) {
      // Frames that look right around contents that are not.
      const int type = 0x80 + static_cast<int>(random() % 8);
      std::string payload(random() % 200, '\0');
      for (char& c : payload) {
        c = static_cast<char>(random() % 3 == 0 ? random() % 8 : random());
      }
      input += table_frame(type, payload);
    }
    send_all(fd, input);
  }
  expect_undisturbed();
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(HostileTest, DefinitionsThatCannotBeHeldAreIgnoredAndLogged) {
  const auto peer = world_.fake("odd");
  ASSERT_TRUE(peer->connect());
  // A table whose key alone is larger than a slot may be.
  const Fd fd = established();
  ASSERT_TRUE(fd.valid());
  const std::string source = source_of(fd);
  // key type 7 (binary), key length 60000, gpc0
  ASSERT_TRUE(
      send_all(fd, table_frame(0x82, bytes({1, 4}) + "/big" + bytes({7, 0xf0, 0xd7, 0x1c, 4, 0}))));
  EXPECT_TRUE(wait_until([&] { return !complaints(source).empty(); })) << world_.story();
  EXPECT_TRUE(peer->pump(Milliseconds(50)));
  expect_undisturbed();
}

TEST_F(HostileTest, ManyTablesOfOnePeerEndSomewhere) {
  const Fd fd = established();
  ASSERT_TRUE(fd.valid());
  std::string input;
  for (int i = 0; i < 3000; ++i) {
    const std::string name = fmt::format("/t{:05}", i);
    input +=
        table_frame(0x82, bytes({0xf0 | (i & 15), i >> 4 & 127, 7}).substr(0, 2) +
                              bytes({static_cast<int>(name.size())}) + name + bytes({6, 33, 4, 0}));
  }
  send_all(fd, input);
  expect_undisturbed();
  EXPECT_EQ(world_.lineq.verify(), "");
}

TEST_F(HostileTest, SlowAConnectionThatSaysNothingIsClosed) {
  const Fd silent = stranger();
  const Fd half = stranger();
  ASSERT_TRUE(send_all(half, "HAProxyS 2.1\nli"));
  const Fd later = established();
  EXPECT_TRUE(receive_all(silent).closed);
  EXPECT_TRUE(receive_all(half).closed);
  EXPECT_TRUE(receive_all(later).closed);  // established, then silent for 10 s
  EXPECT_FALSE(complaints(source_of(later)).empty());
  expect_undisturbed();
}

}  // namespace
}  // namespace lineq::test
