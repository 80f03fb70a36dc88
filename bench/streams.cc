// Open waiting pages on one lineq-web: memory of each, how long it takes to tell all of them a new
// place, how long a page and JSON take meanwhile, and how soon a called visitor hears of it.
// Usage: streams LINEQ_WEB [STREAMS [PUSHES]]
//
// Makes a segment with as many visitors waiting, starts the given lineq-web over it, and opens the
// streams from a few processes. One who leaves the head of the line moves everybody up by one:
// that is a push. Numbers to stdout.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "shm/visitor.h"
#include "shm/writer.h"

namespace lineq {
namespace {

constexpr u32 kProcesses = 3;
constexpr u32 kMaxStreams = 19'000;

u64 now_us() {
  timespec ts{};
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<u64>(ts.tv_sec) * 1'000'000 + static_cast<u64>(ts.tv_nsec) / 1000;
}

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "streams: {}\n", what);
  std::_Exit(1);
}

// What the client processes tell the first one.
struct Shared {
  std::atomic<u64> open{0};
  std::atomic<u64> events{0};  // of positions
  std::atomic<u64> first_us{~u64{0}};
  std::atomic<u64> last_us{0};
  std::atomic<u64> ready_us{0};
  std::atomic<u64> lost{0};
};

int connect_to(u16 port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail(fmt::format("cannot connect: {}", std::strerror(errno)));
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

std::size_t count(std::string_view text, std::string_view word) {
  std::size_t n = 0;
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string_view::npos;
       at += word.size()) {
    ++n;
  }
  return n;
}

// Opens streams `begin`..`end` and listens until it is killed.
[[noreturn]] void listen_to(Shared& shared, u16 port, u32 begin, u32 end) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (u32 i = begin; i < end; ++i) {
    const int fd = connect_to(port);
    const std::string request = fmt::format(
        "GET / HTTP/1.1\r\nHost: shop.example\r\nX-LineQ-Key: {:036}@shop\r\n"
        "Accept: text/event-stream\r\n\r\n",
        i);
    if (::write(fd, request.data(), request.size()) != static_cast<ssize_t>(request.size())) {
      fail("a request was not taken");
    }
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    ++shared.open;
  }
  std::array<epoll_event, 512> events{};
  std::array<char, 16384> buffer{};
  for (;;) {
    const int n = ::epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
      const ssize_t got = ::read(fd, buffer.data(), buffer.size());
      if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
          ++shared.lost;
          ::close(fd);
        }
        continue;
      }
      const u64 now = now_us();
      const std::string_view text(buffer.data(), static_cast<std::size_t>(got));
      if (const std::size_t told = count(text, "event: position"); told > 0) {
        shared.events += told;
        u64 first = shared.first_us;
        while (now < first && !shared.first_us.compare_exchange_weak(first, now)) {
        }
        u64 last = shared.last_us;
        while (now > last && !shared.last_us.compare_exchange_weak(last, now)) {
        }
      }
      if (text.find("event: ready") != std::string_view::npos) {
        shared.ready_us = now;
      }
    }
  }
}

// A room whose line is the test's to move.
class Line {
 public:
  explicit Line(const std::string& instance) {
    shm::WriterOptions options;
    options.instance = instance;
    options.feed_log2 = 18;
    auto writer = shm::Writer::attach(options);
    if (!writer) {
      fail(writer.error().what);
    }
    writer_ = writer.take();
    shm::TableDefinition users;
    users.name = "users";
    users.key_type = shm::KeyType::kString;
    users.key_bytes = 73;
    users.expire_ms = 86'400'000;
    users.data_types = u64{1} << shm::kGpc1;
    users.elements[shm::kGpc1] = 1;
    users_ = writer_->table_for(users, writer_->now(), shm::TableRole::kUsers)->table;
    shm::RoomSettings room;
    room.name = "shop";
    room.capacity = 20;
    room_ = *writer_->add_room(room, writer_->now());
  }

  void arrive(u32 i) {
    const SegmentMs now = writer_->now();
    const std::string key = key_of(i);
    shm::Line& line = writer_->line(room_);
    shm::Visitor visitor;
    visitor.state = shm::VisitorState::kWaiting;
    visitor.room = room_;
    visitor.ticket = *line.next_ticket(now);
    visitor.since = writer_->room_time(now);
    visitor.deadline = visitor.since + 300'000;
    shm::Together change(*writer_);
    u64* image = change.insert(*users_, bytes(key), users_->tag_of(bytes(key)), now);
    shm::put_times(image, std::nullopt, tick_of(now));
    put(visitor, image);
    change.join(line);
    change.land_quietly(now);
    writer_->work_some();
  }
  void become(u32 i, shm::VisitorState state) {
    const SegmentMs now = writer_->now();
    const std::string key = key_of(i);
    const u32 slot = *users_->find(bytes(key));
    shm::Visitor visitor = shm::Visitor::of(users_->at(slot));
    shm::Together change(*writer_);
    const Ticket ticket = visitor.ticket;
    visitor.state = state;
    put(visitor, change.update(*users_, slot, users_->tag_of(bytes(key))));
    change.leave(writer_->line(room_), ticket);
    change.land(kNoPeer, now);
  }
  void beat() {
    const SegmentMs now = writer_->now();
    writer_->heartbeat(now);
    shm::RoomNumbers numbers = writer_->room_numbers(room_);
    numbers.active = 20;
    numbers.admit_rate_milli = 600'000;
    numbers.arrive_rate_milli = 600'000;
    numbers.last_admitted_ms = now;
    numbers.counters[static_cast<std::size_t>(shm::RoomCounter::admitted)] = 1000;
    numbers.counters[static_cast<std::size_t>(shm::RoomCounter::granted)] = 1000;
    writer_->set_room_numbers(room_, numbers);
  }

 private:
  static std::string key_of(u32 i) { return fmt::format("{:036}@shop", i); }
  static std::span<const u8> bytes(const std::string& key) {
    return {reinterpret_cast<const u8*>(key.data()), key.size()};
  }
  void put(const shm::Visitor& visitor, u64* image) const {
    const std::size_t at = users_->info().geometry.ext_offset / 8;
    image[at] = visitor.word0();
    image[at + 1] = visitor.word1();
  }

  std::unique_ptr<shm::Writer> writer_;
  shm::Table* users_ = nullptr;
  RoomNo room_{0};
};

u64 rss_kib(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) {
      return std::stoull(line.substr(8));
    }
  }
  return 0;
}
double cpu_seconds(pid_t pid) {
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  text.erase(0, text.rfind(')') + 2);
  u64 user = 0;
  u64 system = 0;
  std::sscanf(text.c_str(), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

// Asks one after the other on one connection; latencies in microseconds.
class Asker {
 public:
  Asker(u16 port, u32 visitor, const char* accept) {
    request_ = fmt::format(
        "GET / HTTP/1.1\r\nHost: shop.example\r\nX-LineQ-Key: {:036}@shop\r\nAccept: {}\r\n\r\n",
        visitor, accept);
    thread_ = std::thread([this, port] {
      const int fd = connect_to(port);
      while (!stop_) {
        const u64 before = now_us();
        ask(fd);
        times_.push_back(now_us() - before);
        // A busy visitor, not a load test.
        ::usleep(2000);
      }
      ::close(fd);
    });
  }
  std::vector<u64> finish() {
    stop_ = true;
    thread_.join();
    std::sort(times_.begin(), times_.end());
    return times_;
  }

 private:
  void ask(int fd) {
    if (::write(fd, request_.data(), request_.size()) != static_cast<ssize_t>(request_.size())) {
      fail("a request was not taken");
    }
    std::string answer;
    std::array<char, 65536> buffer{};
    for (;;) {
      const ssize_t n = ::read(fd, buffer.data(), buffer.size());
      if (n <= 0) {
        fail("an answer was not given");
      }
      answer.append(buffer.data(), static_cast<std::size_t>(n));
      const std::size_t head = answer.find("\r\n\r\n");
      const std::size_t length = answer.find("Content-Length: ");
      if (head != std::string::npos && length != std::string::npos &&
          answer.size() >= head + 4 + std::stoul(answer.substr(length + 16))) {
        return;
      }
    }
  }

  std::string request_;
  std::atomic<bool> stop_{false};
  std::vector<u64> times_;
  std::thread thread_;
};

std::string percentiles(const std::vector<u64>& sorted) {
  if (sorted.empty()) {
    return "none";
  }
  const auto at = [&](double q) {
    return static_cast<double>(
               sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))]) /
           1000;
  };
  return fmt::format("median {:.1f} ms, 99 % {:.1f} ms, worst {:.1f} ms of {}", at(0.5), at(0.99),
                     at(1), sorted.size());
}

pid_t start_web(const char* program, const std::string& instance, u16 port,
                const std::string& config) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setenv("LINEQ_INSTANCE", instance.c_str(), 1);
    ::setenv("LINEQ_CONTROL", (config + ".sock").c_str(), 1);
    ::setenv("SERVICE_WEB_HOST", "127.0.0.1", 1);
    ::setenv("SERVICE_WEB_PORT", std::to_string(port).c_str(), 1);
    ::execl(program, program, "-f", config.c_str(), static_cast<char*>(nullptr));
    std::_Exit(127);
  }
  return pid;
}

bool listening(u16 port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool up = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return up;
}

template <typename Condition>
void wait_for(Line& line, const char* what, Condition&& condition, u64 limit_ms = 60'000) {
  const u64 end = now_us() + limit_ms * 1000;
  while (!condition()) {
    if (now_us() > end) {
      fail(fmt::format("waited in vain for {}", what));
    }
    line.beat();
    ::usleep(2000);
  }
}

void measure(const char* program, u32 streams, u32 pushes, const std::string& instance,
             const std::string& config) {
  std::ofstream(config) << "{}\n";
  Line line(instance);
  const u32 ready_tests = 40;
  const u32 visitors = streams + pushes + 2;
  // The first ones have no page: they leave, one at each push.
  for (u32 i = 0; i < visitors; ++i) {
    line.arrive(i);
    if (i % 1000 == 0) {
      line.beat();
    }
  }
  u16 port = 0;
  for (port = static_cast<u16>(21000 + ::getpid() % 9000); listening(port); ++port) {
  }
  auto* shared = new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared;
  const pid_t web = start_web(program, instance, port, config);
  wait_for(line, "lineq-web", [&] { return listening(port); });
  {  // the first page: what is allocated once
    Asker asker(port, visitors - 1, "text/html");
    ::usleep(200'000);
    asker.finish();
  }
  const u64 before_kib = rss_kib(web);
  const u32 first = pushes + 1;
  for (u32 p = 0; p < kProcesses; ++p) {
    if (::fork() == 0) {
      listen_to(*shared, port, first + streams * p / kProcesses,
                first + streams * (p + 1) / kProcesses);
    }
  }
  const u64 begun = now_us();
  wait_for(line, "all streams", [&] { return shared->open == streams; });
  wait_for(line, "all first places", [&] { return shared->events >= streams; });
  fmt::print("{} streams opened and told their place in {:.1f} s\n", streams,
             static_cast<double>(now_us() - begun) / 1e6);
  const u64 opened_kib = rss_kib(web);

  Asker page(port, visitors - 1, "text/html");
  Asker json(port, visitors - 1, "application/json");
  std::vector<u64> spans;
  const double cpu = cpu_seconds(web);
  for (u32 i = 0; i < pushes; ++i) {
    // Between two rounds: what is left of the one before must not count as the beginning.
    u64 told = ~u64{0};
    u64 since = 0;
    wait_for(line, "silence", [&] {
      if (told != shared->events) {
        told = shared->events;
        since = now_us();
      }
      return now_us() - since > 250'000;
    });
    shared->first_us = ~u64{0};
    line.become(i, shm::VisitorState::kAbandoned);
    wait_for(line, "everybody's new place", [&] { return shared->events >= told + streams; });
    spans.push_back(shared->last_us - shared->first_us);
  }
  const double cpu_push = (cpu_seconds(web) - cpu) / pushes;
  std::sort(spans.begin(), spans.end());
  fmt::print("a push to all, from the first to the last: {}; {:.0f} ms CPU, pages included\n",
             percentiles(spans), cpu_push * 1000);
  fmt::print("page meanwhile: {}\n", percentiles(page.finish()));
  fmt::print("JSON meanwhile: {}\n", percentiles(json.finish()));

  std::vector<u64> ready;
  for (u32 i = 0; i < std::min(ready_tests, streams); ++i) {
    shared->ready_us = 0;
    const u64 called = now_us();
    line.become(first + i, shm::VisitorState::kReady);
    wait_for(line, "a called visitor", [&] { return shared->ready_us != 0; });
    ready.push_back(shared->ready_us - called);
  }
  std::sort(ready.begin(), ready.end());
  fmt::print("ready in the segment -> event at the browser, everybody moving up: {}\n",
             percentiles(ready));
  const u64 after_kib = rss_kib(web);
  fmt::print(
      "memory: {} KiB before, {} KiB with all open ({} bytes a stream), {} KiB after the "
      "pushes ({} bytes a stream); lost streams: {}\n",
      before_kib, opened_kib, (opened_kib - before_kib) * 1024 / streams, after_kib,
      (after_kib - before_kib) * 1024 / streams, shared->lost.load());
  ::kill(web, SIGKILL);
}

int run(int argc, char** argv) {
  if (argc < 2 || argc > 4) {
    fmt::print(stderr, "usage: streams LINEQ_WEB [STREAMS [PUSHES]]\n");
    return 1;
  }
  const u32 streams = argc > 2 ? static_cast<u32>(std::strtoul(argv[2], nullptr, 10)) : 15'000;
  const u32 pushes = argc > 3 ? static_cast<u32>(std::strtoul(argv[3], nullptr, 10)) : 10;
  if (streams == 0 || streams > kMaxStreams || pushes == 0 || pushes > 1000) {
    fmt::print(stderr, "streams: 1 to {} streams, 1 to 1000 pushes\n", kMaxStreams);
    return 1;
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < streams + 500) {
    fmt::print("skipped: {} file descriptors are allowed, {} are needed\n", limit.rlim_cur,
               streams + 500);
    return 0;
  }
  const std::string instance = fmt::format("streams-{}", ::getpid());
  const std::string config = fmt::format("/tmp/lineq-{}.cfg", instance);
  const auto clean_up = [&] {
    std::filesystem::remove(config);
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      if (entry.path().filename().string().starts_with("lineq." + instance + ".")) {
        std::filesystem::remove(entry.path());
      }
    }
  };
  // In a process of its own: whatever happens there, nothing is left behind.
  const pid_t worker = ::fork();
  if (worker == 0) {
    measure(argv[1], streams, pushes, instance, config);
    std::fflush(stdout);
    std::_Exit(0);
  }
  int status = 0;
  ::waitpid(worker, &status, 0);
  clean_up();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  return lineq::run(argc, argv);
}
