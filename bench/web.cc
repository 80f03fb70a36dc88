// lineq-web beside nginx sending the same bytes from a file, in turns in one run: what a CPU second
// of either sends. Usage: web [-r ROUNDS] [-e ENTRIES] [-w table|small] [-j FILE] LINEQ_WEB [NGINX]
//
// Makes a segment with a table of uuid keys and gpc1, starts lineq-web over it and nginx (one
// process, sendfile off, no access log) over files with lineq-web's own answers, and asks both:
//
//   table   /tables?table=bench, all entries: bytes per CPU second, and how much memory grew
//   others  one small JSON answer, on 64 connections kept alive: requests per CPU second
//
// CPU seconds are user and system time of the server's process. Medians of all rounds with the
// least and the most; to stdout as a table, with -j also as JSON.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "shm/writer.h"

namespace lineq {
namespace {

constexpr std::size_t kConnections = 64;
// One table is sent, and small answers are asked for, for so long per round and server.
constexpr int kTablesPerRound = 8;
constexpr auto kSmallTime = std::chrono::milliseconds(1500);

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "web: {}\n", what);
  std::exit(1);
}

// ---- the segment -------------------------------------------------------------------------------

std::string key_of(u64 n) {
  u64 x = n * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  return fmt::format("{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}", x >> 32, x >> 16 & 0xffff,
                     x >> 4 & 0xfff, n >> 36 & 0xfff, n & 0xffffffffffff);
}

class Segment {
 public:
  Segment(std::string name, u32 entries) : name_(std::move(name)) {
    auto attached = shm::Writer::attach({.instance = name_});
    if (!attached) {
      fail(attached.error().what);
    }
    writer_ = attached.take();
    fill(entries);
    heart_ = std::thread([this] {  // the only one that uses the writer from here on
      while (!stop_) {
        writer_->heartbeat(writer_->now());
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    });
  }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment(Segment&&) = delete;
  Segment& operator=(Segment&&) = delete;
  ~Segment() {
    stop_ = true;
    heart_.join();
    writer_.reset();
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
      if (file.path().filename().string().starts_with("lineq." + name_ + ".")) {
        std::filesystem::remove(file.path());
      }
    }
  }

 private:
  void fill(u32 entries) {
    shm::TableDefinition definition;
    definition.name = "bench";
    definition.key_type = shm::KeyType::kString;
    definition.key_bytes = 37;
    definition.expire_ms = 86'400'000;
    definition.data_types = u64{1} << shm::kGpc1;
    definition.elements[shm::kGpc1] = 1;
    shm::Table& table = *writer_->table_for(definition, writer_->now())->table;
    const shm::ColumnMap columns(definition, table.info());
    std::array<std::string, shm::Table::kBatch> keys;
    std::array<u64, shm::Table::kBatch> cells{};
    std::array<shm::Change, shm::Table::kBatch> changes;
    std::array<shm::Applied, shm::Table::kBatch> applied;
    for (u32 i = 0; i < entries;) {
      std::size_t batch = 0;
      for (; batch < keys.size() && i < entries; ++batch, ++i) {
        keys.at(batch) = key_of(i);
        cells.at(batch) = i % 7 == 0 ? i : 1;
        changes.at(batch).key = {reinterpret_cast<const u8*>(keys.at(batch).data()),
                                 keys.at(batch).size()};
        changes.at(batch).cells = &cells.at(batch);
      }
      table.apply(columns, std::span(changes).first(batch), kNoPeer, writer_->now(),
                  std::span(applied).first(batch));
      writer_->work_some();
    }
    while (!writer_->work_some()) {
    }
    writer_->heartbeat(writer_->now());
  }

  std::string name_;
  std::unique_ptr<shm::Writer> writer_;
  std::atomic<bool> stop_{false};
  std::thread heart_;
};

// ---- servers -----------------------------------------------------------------------------------

struct Server {
  std::string name;
  u16 port = 0;
  pid_t pid = -1;

  Server() = default;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;
  ~Server() {
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  void start(std::vector<std::string> arguments, const std::string& log) {
    pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      ::dup2(out, STDOUT_FILENO);
      ::dup2(out, STDERR_FILENO);
      std::vector<char*> words;
      words.reserve(arguments.size() + 1);
      for (std::string& argument : arguments) {
        words.push_back(argument.data());
      }
      words.push_back(nullptr);
      ::execvp(words[0], words.data());
      std::_Exit(127);
    }
  }

  double cpu_seconds() const {
    std::ifstream stat(fmt::format("/proc/{}/stat", pid));
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    if (text.empty()) {
      fail(name + " is gone");
    }
    text.erase(0, text.rfind(')') + 2);
    u64 user = 0;
    u64 system = 0;
    std::sscanf(text.c_str(), "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                &system);
    return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  // Its own memory: pages of the segment are not counted.
  u64 memory_kib() const {
    std::ifstream status(fmt::format("/proc/{}/status", pid));
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("RssAnon:")) {
        return std::stoull(line.substr(8));
      }
    }
    return 0;
  }
};

int try_connect(u16 port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return -1;
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

int connect_to(const Server& server) {
  const int fd = try_connect(server.port);
  if (fd < 0) {
    fail(fmt::format("cannot connect to {}: {}", server.name, std::strerror(errno)));
  }
  return fd;
}

void send_all(int fd, std::string_view text) {
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    fail("a request was not taken");
  }
}

u16 free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), bytes) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    fail("no free port");
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

void wait_until_it_listens(const Server& server, const std::string& log) {
  const auto end = Clock::now() + std::chrono::seconds(20);
  while (Clock::now() < end && ::waitpid(server.pid, nullptr, WNOHANG) == 0) {
    if (const int fd = try_connect(server.port); fd >= 0) {
      ::close(fd);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  fail(fmt::format("{} does not answer; see {}", server.name, log));
}

// ---- asking ------------------------------------------------------------------------------------

// The body of an answer whose end is the end of the connection.
std::string body_of(const Server& server, const std::string& path) {
  const int fd = connect_to(server);
  send_all(fd, fmt::format("GET {} HTTP/1.0\r\nHost: bench\r\n\r\n", path));
  std::string all;
  std::vector<char> buffer(1U << 20);
  for (ssize_t n = 0; (n = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    all.append(buffer.data(), static_cast<std::size_t>(n));
  }
  ::close(fd);
  const std::size_t head = all.find("\r\n\r\n");
  if (!all.starts_with("HTTP/1.1 200") || head == std::string::npos) {
    fail(fmt::format("{} {}: {}", server.name, path, all.substr(0, 200)));
  }
  return all.substr(head + 4);
}

// Takes a long answer and throws it away; memory of the server is looked at now and then.
void drain(const Server& server, const std::string& path, std::size_t at_least, u64& most_kib) {
  const int fd = connect_to(server);
  send_all(fd, fmt::format("GET {} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", path));
  std::size_t bytes = 0;
  std::size_t looked = 0;
  std::vector<char> buffer(1U << 18);
  for (ssize_t n = 0; (n = ::read(fd, buffer.data(), buffer.size())) > 0;) {
    bytes += static_cast<std::size_t>(n);
    if (bytes - looked > (8U << 20)) {
      looked = bytes;
      most_kib = std::max(most_kib, server.memory_kib());
    }
  }
  ::close(fd);
  if (bytes < at_least) {
    fail(fmt::format("{} sent {} bytes of {}", server.name, bytes, at_least));
  }
}

// Requests answered in kSmallTime on connections that are kept.
class Asker {
 public:
  Asker(const Server& server, const std::string& path)
      : request_(fmt::format("GET {} HTTP/1.1\r\nHost: bench\r\n\r\n", path)),
        epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    for (Open& open : open_) {
      open.fd = connect_to(server);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &open;
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, open.fd, &event);
    }
    // Every answer is as long as the first.
    send_all(open_[0].fd, request_);
    std::string answer;
    while (answer_bytes_ == 0) {
      const ssize_t n = ::read(open_[0].fd, buffer_.data(), buffer_.size());
      if (n <= 0) {
        fail(fmt::format("{} {}: no answer", server.name, path));
      }
      answer.append(buffer_.data(), static_cast<std::size_t>(n));
      const std::size_t head = answer.find("\r\n\r\n");
      const std::size_t length = answer.find("Content-Length: ");
      if (head != std::string::npos && length < head) {
        answer_bytes_ = head + 4 + std::stoul(answer.substr(length + 16));
      }
    }
    if (!answer.starts_with("HTTP/1.1 200") || answer.size() != answer_bytes_) {
      fail(fmt::format("{} {}: {}", server.name, path, answer.substr(0, 200)));
    }
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  Asker(Asker&&) = delete;
  Asker& operator=(Asker&&) = delete;
  ~Asker() {
    for (const Open& open : open_) {
      ::close(open.fd);
    }
    ::close(epoll_);
  }

  u64 run() {
    for (const Open& open : open_) {
      send_all(open.fd, request_);
    }
    const auto end = Clock::now() + kSmallTime;
    std::size_t under_way = open_.size();
    u64 answered = 0;
    std::array<epoll_event, kConnections> events{};
    while (under_way > 0) {
      const bool go_on = Clock::now() < end;
      const int n = ::epoll_wait(epoll_, events.data(), events.size(), 5000);
      if (n <= 0) {
        fail("no answer for five seconds");
      }
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        Open& open = *static_cast<Open*>(events.at(i).data.ptr);
        const ssize_t got = ::read(open.fd, buffer_.data(), buffer_.size());
        if (got <= 0) {
          fail("a connection was closed");
        }
        open.bytes += static_cast<std::size_t>(got);
        if (open.bytes < answer_bytes_) {
          continue;
        }
        if (open.bytes != answer_bytes_) {
          fail("answers of different length");
        }
        open.bytes = 0;
        ++answered;
        if (go_on) {
          send_all(open.fd, request_);
        } else {
          --under_way;
        }
      }
    }
    return answered;
  }

 private:
  struct Open {
    int fd = -1;
    std::size_t bytes = 0;
  };
  std::string request_;
  std::array<Open, kConnections> open_{};
  std::vector<char> buffer_ = std::vector<char>(65536);
  int epoll_ = -1;
  std::size_t answer_bytes_ = 0;
};

// ---- results -----------------------------------------------------------------------------------

struct Spread {
  double median = 0;
  double least = 0;
  double most = 0;
};

Spread spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return {(values[(n - 1) / 2] + values[n / 2]) / 2, values.front(), values.back()};
}

struct Line {
  std::string what;
  std::string path;
  std::string unit;
  std::size_t bytes = 0;  // of the body
  std::vector<double> web;
  std::vector<double> nginx;
  u64 grown_kib = 0;
};

void print(const std::vector<Line>& lines) {
  fmt::print("medians (least..most); x = how many times nginx's\n");
  fmt::print("{:<8} {:>10} {:<22} {:>32} {:>32} {:>6}\n", "what", "bytes", "per CPU second",
             "lineq-web", "nginx", "x");
  for (const Line& line : lines) {
    const Spread web = spread(line.web);
    const Spread nginx = spread(line.nginx);
    const auto text = [](const Spread& s) {
      return fmt::format("{:.0f} ({:.0f}..{:.0f})", s.median, s.least, s.most);
    };
    fmt::print("{:<8} {:>10} {:<22} {:>32} {:>32} {:>6.2f}\n", line.what, line.bytes, line.unit,
               text(web), text(nginx), web.median / nginx.median);
  }
}

void write_json(const std::vector<Line>& lines, const std::string& file) {
  std::ofstream out(file);
  out << "[";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    const auto object = [](const Spread& s) {
      return fmt::format(R"({{"median":{:.1f},"least":{:.1f},"most":{:.1f}}})", s.median, s.least,
                         s.most);
    };
    const Spread web = spread(line.web);
    const Spread nginx = spread(line.nginx);
    out << fmt::format(
        R"({}{{"what":"{}","path":"{}","bytes":{},"unit":"{} per CPU second","lineq_web":{},"nginx":{},)"
        R"("ratio":{:.3f},"rounds":{},"memory_grown_kib":{}}})",
        i == 0 ? "" : ",\n ", line.what, line.path, line.bytes, line.unit, object(web),
        object(nginx), web.median / nginx.median, line.web.size(), line.grown_kib);
  }
  out << "]\n";
  if (!out.flush()) {
    fail("cannot write " + file);
  }
}

void write_file(const std::string& file, std::string_view text) {
  std::ofstream out(file, std::ios::binary);
  out << text;
  if (!out.flush()) {
    fail("cannot write " + file);
  }
}

// ---- the run -----------------------------------------------------------------------------------

struct Options {
  int rounds = 5;
  u32 entries = 1'000'000;
  std::string only;  // "table", "small"; empty: both
  std::string json;
  std::string web;
  std::string nginx = "nginx";
};

void start_both(const Options& options, const std::string& instance, const std::string& work,
                Server& web, Server& nginx) {
  write_file(work + "/lineq.cfg", "{}\n");
  web.name = "lineq-web";
  web.port = free_port();
  web.start(
      {options.web, "-f", work + "/lineq.cfg", "-n", instance, "--control", work + "/control.sock",
       "--web-host", "127.0.0.1", "--web-port", std::to_string(web.port)},
      work + "/web.log");
  wait_until_it_listens(web, work + "/web.log");

  nginx.name = "nginx";
  nginx.port = free_port();
  std::string temporary;
  for (const char* kind : {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"}) {
    temporary += fmt::format("  {}_temp_path {}/{};\n", kind, work, kind);
  }
  write_file(
      work + "/nginx.conf",
      fmt::format("daemon off;\nmaster_process off;\nworker_processes 1;\npid {0}/nginx.pid;\n"
                  "error_log {0}/error.log;\nevents {{ worker_connections 1024; }}\n"
                  "http {{\n{1}  access_log off;\n  sendfile off;\n  tcp_nodelay on;\n"
                  "  keepalive_requests 1000000000;\n  default_type application/json;\n"
                  "  server {{ listen 127.0.0.1:{2}; root {0}/files; }}\n}}\n",
                  work, temporary, nginx.port));
  nginx.start({options.nginx, "-p", work, "-c", work + "/nginx.conf", "-e", work + "/error.log"},
              work + "/nginx.log");
  wait_until_it_listens(nginx, work + "/nginx.log");
}

double bytes_per_second(const Server& server, const std::string& path, Line& line) {
  u64 most_kib = 0;
  const u64 before_kib = server.memory_kib();
  const double cpu = server.cpu_seconds();
  for (int i = 0; i < kTablesPerRound; ++i) {
    drain(server, path, line.bytes, most_kib);
  }
  if (path == line.path) {  // lineq-web's, not the file's
    line.grown_kib = std::max(line.grown_kib, std::max(most_kib, before_kib) - before_kib);
  }
  return static_cast<double>(line.bytes) * kTablesPerRound / (server.cpu_seconds() - cpu);
}

double requests_per_second(const Server& server, const std::string& path) {
  Asker asker(server, path);
  const double cpu = server.cpu_seconds();
  const u64 answered = asker.run();
  return static_cast<double>(answered) / (server.cpu_seconds() - cpu);
}

void measure(const Options& options, const std::string& instance, const std::string& work) {
  const Segment segment(instance, options.entries);
  Server web;
  Server nginx;
  std::filesystem::create_directory(work + "/files");
  start_both(options, instance, work, web, nginx);

  std::vector<Line> lines;
  if (options.only != "small") {
    lines.push_back({"table", "/tables?table=bench", "bytes", 0, {}, {}, 0});
  }
  if (options.only != "table") {
    lines.push_back({"version", "/version", "requests", 0, {}, {}, 0});
  }
  // nginx sends what lineq-web answered, by the name of the line.
  for (Line& line : lines) {
    const std::string body = body_of(web, line.path);
    line.bytes = body.size();
    write_file(fmt::format("{}/files/{}", work, line.what), body);
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (Line& line : lines) {
      for (const Server* server : {&web, &nginx}) {
        const bool is_web = server == &web;
        const std::string path = is_web ? line.path : "/" + line.what;
        const double value = line.unit == "bytes" ? bytes_per_second(*server, path, line)
                                                  : requests_per_second(*server, path);
        (is_web ? line.web : line.nginx).push_back(value);
      }
    }
    fmt::print(stderr, "web: round {} of {} done\n", round + 1, options.rounds);
  }

  fmt::print("{} entries, {} rounds in turns, {} connections for small answers, on {} cores\n",
             options.entries, options.rounds, kConnections, std::thread::hardware_concurrency());
  print(lines);
  for (const Line& line : lines) {
    if (line.unit == "bytes") {
      fmt::print("memory of lineq-web during {}: at most {} KiB more than before\n", line.what,
                 line.grown_kib);
    }
  }
  if (!options.json.empty()) {
    write_json(lines, options.json);
  }
}

template <typename Number>
Number number(const char* text, Number most) {
  Number n = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, n);
  if (error != std::errc() || stop != end || n < 1 || n > most) {
    fail(fmt::format("'{}' is not allowed; allowed: 1 to {}", text, most));
  }
  return n;
}

Options options_of(int argc, char** argv) {
  Options options;
  for (int c = 0; (c = ::getopt(argc, argv, "r:e:j:w:")) != -1;) {
    switch (c) {
      case 'r':
        options.rounds = number<int>(optarg, 1000);
        break;
      case 'e':
        options.entries = number<u32>(optarg, 50'000'000);
        break;
      case 'w':
        options.only = optarg;
        if (options.only != "table" && options.only != "small") {
          fail(fmt::format("-w '{}' is not allowed; allowed: table, small", optarg));
        }
        break;
      case 'j':
        options.json = optarg;
        break;
      default:
        std::exit(1);
    }
  }
  if (optind >= argc) {
    fail("usage: web [-r ROUNDS] [-e ENTRIES] [-w table|small] [-j FILE] LINEQ_WEB [NGINX]");
  }
  options.web = argv[optind];
  if (optind + 1 < argc) {
    options.nginx = argv[optind + 1];
  }
  return options;
}

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  const lineq::Options options = lineq::options_of(argc, argv);
  const std::string instance = "bench-web-" + std::to_string(::getpid());
  const std::string work = std::filesystem::temp_directory_path() / instance;
  std::filesystem::create_directory(work);
  lineq::measure(options, instance, work);
  std::filesystem::remove_all(work);
}
