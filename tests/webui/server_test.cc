#include "webui/net/server.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "shm/support/clock.h"
#include "tests/support/instance.h"
#include "tests/support/net.h"
#include "tests/support/websocket.h"
#include "tools/cli/log.h"
#include "webui/http/websocket.h"

namespace lineq::webnet {
namespace {

using test::Fd;
using test::Milliseconds;

// Blocks of 'x' until told to stop; counts them.
class Endless : public http::Stream {
 public:
  Endless(std::atomic<u64>& blocks, u64 limit) : blocks_(blocks), limit_(limit) {}
  Next next(std::string& out) override {
    out.append(kBlockBytes, 'x');
    return ++blocks_ >= limit_ ? Next::kEnd : Next::kMore;
  }

 private:
  std::atomic<u64>& blocks_;
  u64 limit_;
};

// Nothing for many steps, then one word.
class Late : public http::Stream {
 public:
  Next next(std::string& out) override {
    if (++steps_ < 1000) {
      return Next::kMore;
    }
    out = "late";
    return Next::kEnd;
  }

 private:
  int steps_ = 0;
};

class Aborted : public http::Stream {
 public:
  Next next(std::string& out) override {
    if (!begun_) {
      begun_ = true;
      out = "half";
      return Next::kMore;
    }
    return Next::kAborted;
  }

 private:
  bool begun_ = false;
};

// Decided when the test says so, or when its time is up.
class Soon : public http::Later {
 public:
  Soon(std::atomic<bool>& decided, std::atomic<u64>& asked) : decided_(decided), asked_(asked) {}
  u64 patience_ms() const override { return 60'000; }
  bool decide(bool last, http::Reply& out) override {
    ++asked_;
    if (!decided_ && !last) {
      return false;
    }
    out = http::text_reply(200, decided_ ? "decided" : "time is up");
    return true;
  }

 private:
  std::atomic<bool>& decided_;
  std::atomic<u64>& asked_;
};

// Says a word when it begins; counts those that are open.
class Words : public http::Events {
 public:
  explicit Words(std::atomic<int>& open) : open_(open) { ++open_; }
  ~Words() override { --open_; }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  Words(Words&&) = delete;
  Words& operator=(Words&&) = delete;
  void open(live::Listener& to) override { to.say("data: mine\n\n"); }

 private:
  std::atomic<int>& open_;
};

// Says what it hears; "flood" makes it talk without end, "bye" and "broken" end the conversation.
class Echo : public http::Messages {
 public:
  explicit Echo(std::atomic<u64>& said) : said_(said) {}
  void open(std::function<void()> wake) override { wake_ = std::move(wake); }
  Next next(std::string& out) override {
    if (broken_) {
      return std::exchange(parts_, parts_ + 1) == 0 ? (out = "half", Next::kPart) : Next::kBroken;
    }
    if (flood_) {
      out.assign(65536, 'f');
      ++said_;
      return Next::kPart;
    }
    if (words_.empty()) {
      return Next::kNothing;
    }
    out = std::move(words_.front());
    words_.erase(words_.begin());
    return Next::kWhole;
  }
  std::optional<std::pair<u16, std::string>> hear(std::string_view text) override {
    if (text == "bye") {
      return std::pair<u16, std::string>(http::kPolicyViolation, "so be it");
    }
    flood_ = text == "flood";
    broken_ = text == "broken";
    words_.emplace_back(text);
    wake_();
    return std::nullopt;
  }

 private:
  std::atomic<u64>& said_;
  std::function<void()> wake_;
  std::vector<std::string> words_;
  bool flood_ = false;
  bool broken_ = false;
  int parts_ = 0;
};

// A server on a loop of its own thread.
class Running {
 public:
  explicit Running(ServerOptions options) {
    router_.add("/hello", [](const http::Request&) { return http::text_reply(200, "hello"); });
    router_.add("/big", [](const http::Request&) {
      http::Reply reply;
      reply.body = std::string(8 << 20, 'b');
      return reply;
    });
    router_.add("/endless", [this](const http::Request&) {
      http::Reply reply;
      reply.stream = std::make_unique<Endless>(blocks, stream_blocks);
      return reply;
    });
    router_.add("/late", [](const http::Request&) {
      http::Reply reply;
      reply.stream = std::make_unique<Late>();
      return reply;
    });
    router_.add("/aborted", [](const http::Request&) {
      http::Reply reply;
      reply.stream = std::make_unique<Aborted>();
      return reply;
    });
    router_.add("/events", [](const http::Request&) {
      http::Reply reply;
      reply.type = "text/event-stream";
      reply.channel = http::Channel::kStatus;
      reply.body = "data: first\n\n";
      return reply;
    });
    router_.add("/soon", [this](const http::Request&) {
      http::Reply reply;
      reply.later = std::make_unique<Soon>(decided, asked);
      return reply;
    });
    router_.add("/words", [this](const http::Request&) {
      http::Reply reply;
      reply.type = "text/event-stream";
      reply.body = "retry: 5\n\n";
      reply.events = std::make_unique<Words>(open_words);
      return reply;
    });
    router_.add("/ws", [this](const http::Request& request) {
      if (auto refused = http::refuse_websocket(request)) {
        return std::move(*refused);
      }
      http::Reply reply;
      reply.status = 101;
      reply.body = http::upgrade_head(*request.field("Sec-WebSocket-Key"));
      reply.messages = std::make_unique<Echo>(said);
      return reply;
    });
    router_.set_visitors([](const http::Request& request) {
      return http::text_reply(404, fmt::format("{} {}", request.path, request.body));
    });
    std::promise<Status> listening;
    thread_ = std::thread([this, options = std::move(options), &listening] {
      uv_loop_init(&loop_);
      async_.data = this;
      uv_async_init(&loop_, &async_, [](uv_async_t* a) { static_cast<Running*>(a->data)->work(); });
      {
        Server server(loop_, router_, options);
        server_ = &server;
        Status outcome = server.listen();
        const bool fine = outcome.ok();
        port = server.port();
        shared = server.shared();
        listening.set_value(std::move(outcome));
        if (!fine) {
          server.stop();
          uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
        }
        uv_run(&loop_, UV_RUN_DEFAULT);
      }
      ended = true;
      EXPECT_EQ(uv_loop_close(&loop_), 0) << "a handle was left open";
    });
    status = listening.get_future().get();
  }
  ~Running() {
    if (status) {
      stop();
      on_loop([this] { uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr); });
    }
    thread_.join();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  Running(Running&&) = delete;
  Running& operator=(Running&&) = delete;

  // Runs on the loop's thread; returns when it is done.
  void on_loop(std::function<void()> work) {
    std::promise<void> done;
    {
      const std::lock_guard lock(mutex_);
      work_.emplace_back([&] {
        work();
        done.set_value();
      });
    }
    uv_async_send(&async_);
    done.get_future().wait();
  }
  void publish(std::string text) {
    on_loop([&] {
      server_->publish(http::Channel::kStatus,
                       std::make_shared<const std::string>(std::move(text)));
    });
  }
  void stop() {
    on_loop([this] { server_->stop(); });
  }
  http::Stats stats() {
    http::Stats stats;
    on_loop([&] { stats = server_->stats(); });
    return stats;
  }

  std::atomic<u64> blocks{0};
  std::atomic<u64> said{0};  // parts, by Echo
  u64 stream_blocks = 1000000000;
  std::atomic<bool> decided{false};
  std::atomic<u64> asked{0};
  std::atomic<int> open_words{0};
  std::atomic<bool> ended{false};
  u16 port = 0;
  bool shared = false;
  Status status;

 private:
  void work() {
    std::vector<std::function<void()>> now;
    {
      const std::lock_guard lock(mutex_);
      now.swap(work_);
    }
    for (const auto& work : now) {
      work();
    }
  }

  uv_loop_t loop_{};
  uv_async_t async_{};
  http::Router router_;
  Server* server_ = nullptr;
  std::mutex mutex_;
  std::vector<std::function<void()>> work_;
  std::thread thread_;
};

ServerOptions quick() {
  cli::set_log_level(cli::LogLevel::kErr);
  ServerOptions options;
  options.host = "127.0.0.1";
  options.port = 0;
  options.sweep_ms = 20;
  return options;
}

std::string get(std::string_view path, std::string_view fields = "") {
  return fmt::format("GET {} HTTP/1.1\r\nHost: a\r\n{}\r\n", path, fields);
}

std::size_t count(std::string_view text, std::string_view word) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string_view::npos;
       at += word.size()) {
    ++n;
  }
  return n;
}

// Sends, and gives everything the server says until it closes.
std::string ask(const Running& server, std::string_view bytes) {
  const Fd fd = test::connect_tcp(server.port);
  EXPECT_TRUE(test::send_all(fd, bytes));
  const test::Received received = test::receive_all(fd);
  EXPECT_TRUE(received.closed) << received.bytes.substr(0, 500);
  return received.bytes;
}

// Reads until `word` is there.
std::string read_until(const Fd& fd, std::string_view word) {
  std::string all;
  while (all.find(word) == std::string::npos) {
    const std::string more = test::receive_some(fd);
    if (more.empty()) {
      ADD_FAILURE() << "no '" << word << "' in: " << all.substr(0, 500);
      break;
    }
    all += more;
  }
  return all;
}

TEST(ServerTest, AnswersOneRequestAfterTheOtherOnAConnection) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(test::send_all(fd, get("/hello")));
    EXPECT_NE(read_until(fd, "hello\n").find("Connection: keep-alive"), std::string::npos);
  }
}

TEST(ServerTest, AnswersRequestsSentTogetherInOrder) {
  Running server(quick());
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    bytes += get(fmt::format("/r{}.", i));
  }
  const std::string all = ask(server, bytes + get("/hello", "Connection: close\r\n"));
  std::size_t at = 0;
  for (int i = 0; i < 300; ++i) {
    at = all.find(fmt::format("/r{}.", i), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_EQ(count(all, "HTTP/1.1 404"), 300U);
  EXPECT_TRUE(all.ends_with("hello\n"));
}

TEST(ServerTest, HeadHasTheFieldsOfGetAndNoBody) {
  Running server(quick());
  const std::string all =
      ask(server, "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_NE(all.find("Content-Length: 6\r\n"), std::string::npos);
  EXPECT_TRUE(all.ends_with("\r\n\r\n"));
  const std::string stream =
      ask(server, "HEAD /endless HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(stream.ends_with("\r\n\r\n"));
}

TEST(ServerTest, NothingBehindARefusedRequestIsEverARequest) {
  Running server(quick());
  for (const std::string& bad : std::vector<std::string>{
           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
           "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n"}) {
    const std::string all = ask(server, bad + get("/hello"));
    EXPECT_EQ(count(all, "HTTP/1.1 "), 1U) << bad;
    EXPECT_TRUE(all.starts_with("HTTP/1.1 400 ")) << bad;
    EXPECT_NE(all.find("Connection: close\r\n"), std::string::npos) << bad;
  }
  EXPECT_EQ(server.stats().errors, 5U);
}

TEST(ServerTest, ABodyWithGetIsNoSecondRequest) {
  Running server(quick());
  const std::string inner = get("/hello");
  const std::string all =
      ask(server, get("/hello", fmt::format("Content-Length: {}\r\n", inner.size())) + inner);
  EXPECT_EQ(count(all, "HTTP/1.1 "), 1U);
  EXPECT_NE(all.find("Connection: close\r\n"), std::string::npos);
}

TEST(ServerTest, ReadsBodiesOfOtherMethodsAndGoesOn) {
  Running server(quick());
  const std::string all =
      ask(server,
          "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
          "POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n" +
              get("/hello", "Connection: close\r\n"));
  EXPECT_NE(all.find("/p abc\n"), std::string::npos);
  EXPECT_NE(all.find("/q def\n"), std::string::npos);
  EXPECT_TRUE(all.ends_with("hello\n"));
}

TEST(ServerTest, TellsAWaitingClientToSendItsBody) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(fd,
                             "POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                             "Content-Length: 3\r\n\r\n"));
  read_until(fd, "HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_TRUE(test::send_all(fd, "abc"));
  read_until(fd, "/p abc\n");
}

TEST(ServerTest, AClientThatHalfClosesStillGetsItsAnswer) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(fd, get("/big", "Connection: close\r\n")));
  ::shutdown(fd.get(), SHUT_WR);
  const test::Received received = test::receive_all(fd);
  EXPECT_GT(received.bytes.size(), 8U << 20);
}

TEST(ServerTest, StreamsInChunksOrUntilTheEndOfTheConnection) {
  Running server(quick());
  server.stream_blocks = 3;
  const std::string chunked = ask(server, get("/endless", "Connection: close\r\n"));
  EXPECT_EQ(count(chunked, fmt::format("{:x}\r\nxxx", http::Stream::kBlockBytes)), 3U);
  EXPECT_TRUE(chunked.ends_with("x\r\n0\r\n\r\n"));
  server.blocks = 0;
  const std::string plain = ask(server, "GET /endless HTTP/1.0\r\n\r\n");
  EXPECT_EQ(plain.size() - plain.find("\r\n\r\n") - 4, 3U * http::Stream::kBlockBytes);
  EXPECT_NE(plain.find("Connection: close"), std::string::npos);
  EXPECT_EQ(count(ask(server, get("/late", "Connection: close\r\n")), "4\r\nlate\r\n0\r\n"), 1U);
}

TEST(ServerTest, AStreamThatCannotBeFinishedLooksUnfinished) {
  Running server(quick());
  const std::string all = ask(server, get("/aborted"));
  EXPECT_NE(all.find("half"), std::string::npos);
  EXPECT_FALSE(all.ends_with("0\r\n\r\n"));
}

TEST(ServerTest, AConnectionGoesOnBehindAStream) {
  Running server(quick());
  server.stream_blocks = 2;
  const std::string all = ask(server, get("/endless") + get("/hello", "Connection: close\r\n"));
  EXPECT_TRUE(all.ends_with("hello\n"));
}

TEST(ServerTest, ASilentClientIsClosed) {
  ServerOptions options = quick();
  options.head_ms = 100;
  Running server(options);
  const Fd fd = test::connect_tcp(server.port);
  EXPECT_TRUE(test::receive_all(fd).closed);
}

TEST(ServerTest, OneByteAtATimeDoesNotMoveTheDeadline) {
  ServerOptions options = quick();
  options.head_ms = 300;
  Running server(options);
  const Fd fd = test::connect_tcp(server.port);
  const u64 begin = monotonic_ms();
  std::string answer;
  // Never idle for long, never done.
  for (const char c : get("/" + std::string(2000, 'a'))) {
    test::send_all(fd, std::string_view(&c, 1));
    answer = test::receive_some(fd, Milliseconds(20));
    if (!answer.empty()) {
      break;
    }
  }
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
  EXPECT_GE(monotonic_ms() - begin, 250U);
  EXPECT_LT(monotonic_ms() - begin, 5000U);
}

TEST(ServerTest, ASlowBodyIsCutOff) {
  ServerOptions options = quick();
  options.body_ms = 100;
  Running server(options);
  const std::string all = ask(server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nab");
  EXPECT_TRUE(all.starts_with("HTTP/1.1 408 "));
}

TEST(ServerTest, AnIdleConnectionIsClosed) {
  ServerOptions options = quick();
  options.idle_ms = 100;
  Running server(options);
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(fd, get("/hello")));
  EXPECT_TRUE(test::receive_all(fd).closed);
}

TEST(ServerTest, AReaderThatTakesNothingIsCutOffAndHoldsUpNobody) {
  ServerOptions options = quick();
  options.write_ms = 400;
  Running server(options);
  const Fd stuck = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(stuck, get("/endless")));
  read_until(stuck, "xxxx");
  const std::string other = ask(server, get("/hello", "Connection: close\r\n"));
  EXPECT_TRUE(other.ends_with("hello\n"));
  EXPECT_TRUE(test::wait_until([&] { return server.stats().connections == 0; }));
  // What it was sent ahead is what the kernel took, and one block.
  EXPECT_LT(server.blocks.load(), 400U);
}

TEST(ServerTest, ASlowReaderIsServedAsLongAsItReads) {
  ServerOptions options = quick();
  options.write_ms = 300;
  Running server(options);
  const Fd fd = test::connect_tcp(server.port);
  int small = 4096;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  ASSERT_TRUE(test::send_all(fd, get("/endless")));
  const u64 begin = monotonic_ms();
  std::array<char, 65536> buffer{};
  while (monotonic_ms() - begin < 1500) {
    const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    ASSERT_GT(n, 0) << "cut off after " << monotonic_ms() - begin << " ms";
    ::usleep(20000);  // the reader's slowness is what is tested
  }
}

TEST(ServerTest, EveryEventListenerHears) {
  Running server(quick());
  std::vector<Fd> fds;
  for (int i = 0; i < 20; ++i) {
    fds.push_back(test::connect_tcp(server.port));
    ASSERT_TRUE(test::send_all(fds.back(), get("/events")));
    read_until(fds.back(), "data: first\n\n");
  }
  EXPECT_EQ(server.stats().streams, 20U);
  server.publish("data: second\n\n");
  for (const Fd& fd : fds) {
    read_until(fd, "data: second\n\n");
  }
  fds.clear();
  EXPECT_TRUE(test::wait_until([&] { return server.stats().streams == 0; }));
}

TEST(ServerTest, AStuckEventListenerSkipsStatesAndCostsNothing) {
  Running server(quick());
  const Fd stuck = test::connect_tcp(server.port);
  const Fd quick_one = test::connect_tcp(server.port);
  for (const Fd* fd : {&stuck, &quick_one}) {
    ASSERT_TRUE(test::send_all(*fd, get("/events")));
    read_until(*fd, "data: first\n\n");
  }
  const std::string padding(100000, 'p');
  for (int i = 0; i < 200; ++i) {
    server.publish(fmt::format("data: {} {}\n\n", i, padding));
    read_until(quick_one, "p\n\n");
  }
  // It wakes up: what was under way, and the newest, but not all of 20 MB.
  std::string all;
  while (all.find("data: 199 ") == std::string::npos) {
    const std::string more = test::receive_some(stuck);
    ASSERT_FALSE(more.empty());
    all += more;
  }
  EXPECT_LT(all.size(), 10U << 20);
}

bool eventually(const std::function<bool()>& condition) {
  const u64 end = monotonic_ms() + 10'000;
  while (!condition() && monotonic_ms() < end) {
    std::this_thread::yield();
  }
  return condition();
}

TEST(ServerTest, AnAnswerMayBePutOffAndTheConnectionGoesOn) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(fd, get("/soon") + get("/hello")));
  ASSERT_TRUE(eventually([&] { return server.asked > 3; }));
  server.decided = true;
  const std::string all = read_until(fd, "hello\n");
  EXPECT_LT(all.find("decided"), all.find("hello"));
  ASSERT_TRUE(test::send_all(fd, get("/hello")));
  read_until(fd, "hello\n");
}

TEST(ServerTest, MoreThanMayBePutOffIsDecidedAtOnce) {
  ServerOptions options = quick();
  options.max_held = 1;
  Running server(options);
  const Fd first = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(first, get("/soon")));
  ASSERT_TRUE(eventually([&] { return server.asked > 1; }));
  const Fd second = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(second, get("/soon")));
  read_until(second, "time is up");
  server.decided = true;
  read_until(first, "decided");
}

TEST(ServerTest, AnAnswerPutOffForSomebodyWhoLeavesIsForgotten) {
  Running server(quick());
  {
    const Fd fd = test::connect_tcp(server.port);
    ASSERT_TRUE(test::send_all(fd, get("/soon", "Connection: close\r\n")));
    ASSERT_TRUE(eventually([&] { return server.asked > 1; }));
  }
  server.decided = true;
  EXPECT_TRUE(eventually([&] { return server.stats().connections == 0; }));
}

TEST(ServerTest, StopDecidesWhatIsPutOff) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(fd, get("/soon")));
  ASSERT_TRUE(eventually([&] { return server.asked > 1; }));
  server.stop();
  read_until(fd, "time is up");
  EXPECT_TRUE(test::receive_all(fd).closed);
}

TEST(ServerTest, AStreamOfOnesOwnEndsWithItsConnection) {
  Running server(quick());
  {
    const Fd fd = test::connect_tcp(server.port);
    ASSERT_TRUE(test::send_all(fd, get("/words")));
    const std::string all = read_until(fd, "data: mine\n\n");
    EXPECT_NE(all.find("retry: 5\n\n"), std::string::npos);
    EXPECT_EQ(server.stats().streams, 1U);
    EXPECT_EQ(server.open_words, 1);
  }
  EXPECT_TRUE(eventually([&] { return server.stats().streams == 0 && server.open_words == 0; }));
  const std::string head =
      ask(server, "HEAD /words HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_TRUE(eventually([&] { return server.open_words == 0; }));
}

TEST(ServerTest, MoreConnectionsThanAllowedAreToldSo) {
  ServerOptions options = quick();
  options.max_connections = 3;
  Running server(options);
  std::vector<Fd> fds;
  for (int i = 0; i < 3; ++i) {
    fds.push_back(test::connect_tcp(server.port));
    ASSERT_TRUE(test::send_all(fds.back(), get("/hello")));
    read_until(fds.back(), "hello\n");
  }
  {
    const Fd fourth = test::connect_tcp(server.port);
    EXPECT_TRUE(test::receive_all(fourth).bytes.starts_with("HTTP/1.1 503 "));
  }
  fds.pop_back();
  EXPECT_TRUE(test::wait_until(
      [&] { return ask(server, get("/hello", "Connection: close\r\n")).ends_with("hello\n"); }));
}

Fd connect_from(u16 port, const char* source) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, source, &address.sin_addr);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  address.sin_port = htons(port);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST(ServerTest, OneAddressCannotTakeAllConnections) {
  ServerOptions options = quick();
  options.max_per_address = 2;
  Running server(options);
  const Fd a = connect_from(server.port, "127.0.0.2");
  const Fd b = connect_from(server.port, "127.0.0.2");
  const Fd c = connect_from(server.port, "127.0.0.2");
  EXPECT_TRUE(test::receive_all(c).bytes.starts_with("HTTP/1.1 503 "));
  const Fd d = connect_from(server.port, "127.0.0.3");
  ASSERT_TRUE(test::send_all(d, get("/hello")));
  read_until(d, "hello\n");
}

TEST(ServerTest, SeveralServersShareAPort) {
  Running first(quick());
  EXPECT_FALSE(first.shared);
  ServerOptions options = quick();
  options.port = first.port;
  Running second(options);
  ASSERT_TRUE(second.status.ok()) << second.status.error().what;
  EXPECT_TRUE(second.shared);
  EXPECT_TRUE(test::wait_until([&] {
    ask(first, get("/hello", "Connection: close\r\n"));
    return first.stats().requests > 0 && second.stats().requests > 0;
  }));
}

TEST(ServerTest, ABusyPortIsNamed) {
  const u16 port = test::free_port();
  const Fd other = test::listen_tcp(port);
  ServerOptions options = quick();
  options.port = port;
  Running server(options);
  ASSERT_FALSE(server.status.ok());
  EXPECT_EQ(server.status.error().what,
            fmt::format("cannot listen on 127.0.0.1:{}: address already in use", port));
}

TEST(ServerTest, AnUnknownHostIsNamed) {
  ServerOptions options = quick();
  options.host = "no-such-host.invalid";
  Running server(options);
  ASSERT_FALSE(server.status.ok());
  EXPECT_NE(server.status.error().what.find("no-such-host.invalid"), std::string::npos);
}

TEST(ServerTest, ListensOnAUnixSocketAndTakesAStaleOneOver) {
  const test::TempDir dir;
  ServerOptions options = quick();
  options.unix_path = dir.file("web.sock");
  {
    // A socket file without a process behind it.
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    Fd stale(fd);
    struct {
      sa_family_t family = AF_UNIX;
      char path[108]{};
    } address;
    options.unix_path.copy(&address.path[0], sizeof address.path - 1);
    ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  Running server(options);
  ASSERT_TRUE(server.status.ok()) << server.status.error().what;
  const Fd fd = test::connect_unix(options.unix_path);
  ASSERT_TRUE(test::send_all(fd, get("/hello")));
  read_until(fd, "hello\n");
  Running second(options);
  ASSERT_FALSE(second.status.ok());
  EXPECT_NE(second.status.error().what.find("another process"), std::string::npos);
  EXPECT_EQ(::access(options.unix_path.c_str(), F_OK), 0) << "the loser must not unlink it";
  test::write_file(dir.file("plain"), "x");
  options.unix_path = dir.file("plain");
  Running third(options);
  EXPECT_FALSE(third.status.ok());
  EXPECT_EQ(test::read_file(dir.file("plain")), "x");
}

TEST(ServerTest, StopFinishesAnswersAndTellsEventReadersToComeBack) {
  ServerOptions options = quick();
  options.retry_ms = 1234;
  Running server(options);
  const Fd idle = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(idle, get("/hello")));
  read_until(idle, "hello\n");
  const Fd events = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(events, get("/events")));
  read_until(events, "first");
  server.stream_blocks = 400;
  const Fd stream = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(stream, get("/endless")));
  read_until(stream, "xxxx");
  server.stop();
  EXPECT_FALSE(test::can_connect(server.port));
  EXPECT_TRUE(test::receive_all(idle).closed);
  const test::Received goodbye = test::receive_all(events);
  EXPECT_TRUE(goodbye.closed);
  EXPECT_TRUE(goodbye.bytes.ends_with("retry: 1234\n\n")) << goodbye.bytes;
  EXPECT_TRUE(test::receive_all(stream).bytes.ends_with("0\r\n\r\n"));
}

TEST(ServerTest, StopWaitsNoLongerThanItsLimit) {
  ServerOptions options = quick();
  options.drain_ms = 200;
  Running server(options);
  const Fd stuck = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(stuck, get("/endless")));
  read_until(stuck, "xxxx");
  server.stop();
  EXPECT_TRUE(test::wait_until([&] { return server.stats().connections == 0; }));
}

TEST(ServerTest, ManyClientsAtOnce) {
  Running server(quick());
  std::vector<Fd> fds;
  for (int i = 0; i < 300; ++i) {
    fds.push_back(test::connect_tcp(server.port));
    ASSERT_TRUE(fds.back().valid());
  }
  for (const Fd& fd : fds) {
    ASSERT_TRUE(test::send_all(fd, get("/hello", "Connection: close\r\n")));
  }
  for (const Fd& fd : fds) {
    EXPECT_TRUE(test::receive_all(fd).bytes.ends_with("hello\n"));
  }
}

// ---- WebSockets
// ----------------------------------------------------------------------------------

using test::websocket_frame;
using test::WebSocketClient;

TEST(ServerTest, TalksOverAWebSocket) {
  ServerOptions options = quick();
  options.linger_ms = 50;
  Running server(options);
  WebSocketClient client(server.port, "/ws");
  ASSERT_EQ(client.status(), 101) << client.head();
  EXPECT_EQ(server.stats().websockets, 1U);
  ASSERT_TRUE(client.say("hello"));
  EXPECT_EQ(client.next().payload, "hello");
  ASSERT_TRUE(client.send(websocket_frame(0x89, "are you there?")));
  const WebSocketClient::Message pong = client.next();
  EXPECT_EQ(pong.opcode, 10);
  EXPECT_EQ(pong.payload, "are you there?");
  const std::string big(65536, 'b');
  ASSERT_TRUE(client.say(big));
  EXPECT_EQ(client.next().payload, big);
  ASSERT_TRUE(client.send(websocket_frame(0x88, "\x03\xe8 done")));
  EXPECT_EQ(client.next().close_code(), 1000);
  EXPECT_TRUE(test::receive_all(client.fd()).closed);
  EXPECT_TRUE(test::wait_until([&] { return server.stats().connections == 0; }));
  EXPECT_EQ(server.stats().websockets, 0U);
}

TEST(ServerTest, TakesFramesThatCameWithTheHandshake) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(
      fd, get("/hello") + test::websocket_request("/ws") + websocket_frame(0x81, "early")));
  EXPECT_NE(read_until(fd,
                       "\x81\x05"
                       "early")
                .find("101 Switching"),
            std::string::npos);
}

TEST(ServerTest, RefusesAWebSocketAndGoesOnWithTheConnection) {
  Running server(quick());
  const Fd fd = test::connect_tcp(server.port);
  ASSERT_TRUE(test::send_all(
      fd, get("/ws") + test::websocket_request("/ws", "Origin: http://evil.example\r\n") +
              get("/hello")));
  const std::string all = read_until(fd, "hello\n");
  EXPECT_NE(all.find("HTTP/1.1 426 Upgrade Required"), std::string::npos) << all;
  EXPECT_NE(all.find("HTTP/1.1 403 Forbidden"), std::string::npos) << all;
}

TEST(ServerTest, ClosesAWebSocketWithTheReason) {
  Running server(quick());
  const auto code = [&](std::string_view bytes) {
    WebSocketClient client(server.port, "/ws");
    EXPECT_TRUE(client.send(bytes));
    const int answer = client.next().close_code();
    EXPECT_TRUE(test::receive_all(client.fd()).closed);
    return answer;
  };
  EXPECT_EQ(code(websocket_frame(0x81, "not masked", false)), 1002);
  EXPECT_EQ(code(websocket_frame(0x82, "binary")), 1003);
  EXPECT_EQ(code(websocket_frame(0x81, "\xff")), 1007);
  EXPECT_EQ(code(websocket_frame(0x81, "bye")), 1008);
  EXPECT_EQ(code(websocket_frame(0x81, std::string(70'000, 'x'))), 1009);
  WebSocketClient broken(server.port, "/ws");
  ASSERT_TRUE(broken.say("broken"));
  EXPECT_EQ(broken.next().close_code(), 1012);
  EXPECT_EQ(server.stats().websockets, 0U);
}

TEST(ServerTest, AsksASilentWebSocketAndClosesOneThatIsGone) {
  ServerOptions options = quick();
  options.ping_ms = 50;
  options.pong_ms = 200;
  Running server(options);
  WebSocketClient alive(server.port, "/ws");
  WebSocketClient gone(server.port, "/ws");
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(alive.next(test::kPatience, false).opcode, 9);
    ASSERT_TRUE(alive.send(websocket_frame(0x8a, "")));
  }
  EXPECT_EQ(gone.next(test::kPatience, false).opcode, 9);
  EXPECT_TRUE(test::receive_all(gone.fd()).closed);
  ASSERT_TRUE(alive.say("still"));
  EXPECT_EQ(alive.wait_for("still"), "still");
}

TEST(ServerTest, AWebSocketThatTakesNothingCostsNothingAndIsClosed) {
  ServerOptions options = quick();
  options.write_ms = 300;
  Running server(options);
  WebSocketClient stuck(server.port, "/ws");
  WebSocketClient other(server.port, "/ws");
  ASSERT_TRUE(stuck.say("flood"));
  EXPECT_TRUE(test::wait_until([&] { return server.said > 3; }));
  for (int i = 0; i < 20; ++i) {  // nobody else waits for it
    ASSERT_TRUE(other.say("quick"));
    EXPECT_EQ(other.wait_for("quick"), "quick");
  }
  EXPECT_TRUE(test::wait_until([&] { return server.stats().websockets == 1; }));
  // What the kernel's buffers took, and no more.
  EXPECT_LT(server.said, 500U);
}

// Pongs that are not taken are not made either.
TEST(ServerTest, AFloodOfPingsMustTakeItsAnswers) {
  ServerOptions options = quick();
  options.write_ms = 300;
  Running server(options);
  WebSocketClient client(server.port, "/ws");
  std::string pings;
  for (int i = 0; i < 500; ++i) {
    pings += websocket_frame(0x89, std::string(125, 'p'));
  }
  // For 64 MB of answers, which it does not read.
  std::size_t at = 0;
  std::size_t left = 1000 * pings.size();
  EXPECT_TRUE(test::wait_until([&] {
    ssize_t n = 1;
    while (n > 0 && left > 0) {
      n = ::send(client.fd().get(), pings.data() + at, std::min(pings.size() - at, left),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) {
        at = (at + static_cast<std::size_t>(n)) % pings.size();
        left -= static_cast<std::size_t>(n);
      }
    }
    return server.stats().websockets == 0;
  }));
  EXPECT_GT(left, 0U);
}

TEST(ServerTest, WebSocketsAreToldWhenTheServerStops) {
  auto server = std::make_unique<Running>(quick());
  WebSocketClient idle(server->port, "/ws");
  WebSocketClient talking(server->port, "/ws");
  ASSERT_EQ(talking.status(), 101);
  ASSERT_TRUE(talking.say("flood"));
  EXPECT_TRUE(test::wait_until([&] { return server->said > 3; }));
  server->stop();
  EXPECT_EQ(idle.next().close_code(), 1001);
  // Between two fragments, too.
  EXPECT_EQ(talking.next().close_code(), 1001);
  EXPECT_TRUE(test::receive_all(idle.fd()).closed);
  EXPECT_TRUE(test::receive_all(talking.fd()).closed);
  EXPECT_TRUE(test::wait_until([&] { return server->stats().websockets == 0; }));
}

}  // namespace
}  // namespace lineq::webnet
