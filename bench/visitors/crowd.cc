#include "bench/visitors/crowd.h"

#include <uv.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <queue>
#include <random>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <sys/resource.h>

namespace lineq::bench {
namespace {

bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

constexpr u64 kMs = 1'000'000;  // of uv_hrtime()

bool same_letters(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) ==
                  std::tolower(static_cast<unsigned char>(y));
         });
}

// Calls `take(name, value)` for each header of a head.
template <typename Take>
void each_header(std::string_view head, Take take) {
  std::size_t at = head.find("\r\n");
  while (at != std::string_view::npos && at + 2 < head.size()) {
    at += 2;
    const std::size_t end = std::min(head.find("\r\n", at), head.size());
    const std::string_view line = head.substr(at, end - at);
    if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
      std::string_view value = line.substr(colon + 1);
      while (value.starts_with(' ')) {
        value.remove_prefix(1);
      }
      take(line.substr(0, colon), value);
    }
    at = end;
  }
}

u64 number(std::string_view text, int base = 10) {
  u64 value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

// An answer as it comes in, piece by piece.
class Incoming {
 public:
  int status = 0;
  std::string location;
  bool waits = false;  // of lineq-web: LineQ-Room is there
  u64 position = 0;
  std::vector<std::pair<std::string, std::string>> cookies;
  bool close = false;  // the connection ends with it

  bool has_head() const { return has_head_; }
  bool complete() const { return complete_; }
  bool ends_with_connection() const { return has_head_ && !chunked_ && !has_length_; }

  // Takes bytes; `on_body` gets the body's.
  void feed(std::string_view bytes, const std::function<void(std::string_view)>& on_body) {
    pending_ += bytes;
    if (!has_head_) {
      const std::size_t end = pending_.find("\r\n\r\n");
      if (end == std::string::npos) {
        return;
      }
      read_head(std::string_view(pending_).substr(0, end + 2));
      pending_.erase(0, end + 4);
      has_head_ = true;
    }
    std::size_t used = 0;
    while (!complete_ && step(used, on_body)) {
    }
    pending_.erase(0, used);
  }

 private:
  void read_head(std::string_view head) {
    if (head.starts_with("HTTP/1.") && head.size() > 12) {
      status = static_cast<int>(number(head.substr(9, 3)));
    }
    each_header(head, [&](std::string_view name, std::string_view value) {
      if (same_letters(name, "content-length")) {
        has_length_ = true;
        left_ = number(value);
      } else if (same_letters(name, "transfer-encoding")) {
        chunked_ = value.find("chunked") != std::string_view::npos;
      } else if (same_letters(name, "location")) {
        location = value;
      } else if (same_letters(name, "lineq-room")) {
        waits = true;
      } else if (same_letters(name, "lineq-position")) {
        position = number(value);
      } else if (same_letters(name, "connection")) {
        close = same_letters(value, "close");
      } else if (same_letters(name, "set-cookie")) {
        const std::string_view pair = value.substr(0, value.find(';'));
        const std::size_t equals = pair.find('=');
        if (equals != std::string_view::npos) {
          cookies.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
        }
      }
    });
    if (status == 204 || status == 304) {
      has_length_ = true;
    }
    complete_ = has_length_ && left_ == 0;
  }

  // One chunk line or one stretch of body; false when bytes are missing.
  bool step(std::size_t& used, const std::function<void(std::string_view)>& on_body) {
    const std::string_view rest = std::string_view(pending_).substr(used);
    if (chunked_ && left_ == 0) {
      const std::size_t end = rest.find("\r\n", after_chunk_ ? 2 : 0);
      if (end == std::string_view::npos) {
        return false;
      }
      left_ = number(rest.substr(after_chunk_ ? 2 : 0, end), 16);
      if (left_ == 0 && rest.size() < end + 4) {
        return false;
      }
      used += end + 2;
      after_chunk_ = true;
      if (left_ == 0) {
        complete_ = true;  // trailers are not used by anybody here
        used = pending_.size();
      }
      return true;
    }
    const std::size_t take = ends_with_connection()
                                 ? rest.size()
                                 : static_cast<std::size_t>(std::min<u64>(left_, rest.size()));
    if (take == 0) {
      return false;
    }
    on_body(rest.substr(0, take));
    used += take;
    left_ -= std::min<u64>(left_, take);
    complete_ = has_length_ && left_ == 0;
    return true;
  }

  std::string pending_;
  bool has_head_ = false;
  bool complete_ = false;
  bool chunked_ = false;
  bool after_chunk_ = false;
  bool has_length_ = false;
  u64 left_ = 0;
};

// A connection of a visitor; closes and deletes itself when it is let go.
struct Wire {
  uv_tcp_t tcp{};
  uv_connect_t connect{};
  u16 port = 0;
  bool connected = false;
  bool fresh = true;                               // nothing has been answered on it yet
  std::string out;                                 // to send once connected
  std::function<void(std::string_view)> on_bytes;  // empty = the end
  std::string buffer;
};

struct Write {
  uv_write_t request{};
  std::string bytes;
};

void close_wire(Wire* wire) {
  wire->on_bytes = nullptr;
  if (uv_is_closing(reinterpret_cast<uv_handle_t*>(&wire->tcp)) == 0) {
    uv_close(reinterpret_cast<uv_handle_t*>(&wire->tcp),
             [](uv_handle_t* handle) { delete static_cast<Wire*>(handle->data); });
  }
}

void tell_end(Wire* wire) {
  if (wire->on_bytes) {
    const auto on_bytes = std::move(wire->on_bytes);
    wire->on_bytes = nullptr;
    on_bytes({});
  }
}

void write_to(uv_stream_t* stream, std::string bytes) {
  auto* write = new Write{{}, std::move(bytes)};
  write->request.data = write;
  const uv_buf_t buffer =
      uv_buf_init(write->bytes.data(), static_cast<unsigned int>(write->bytes.size()));
  if (uv_write(&write->request, stream, &buffer, 1,
               [](uv_write_t* request, int) { delete static_cast<Write*>(request->data); }) != 0) {
    delete write;
  }
}

void give_buffer(std::string& store, uv_buf_t* buffer) {
  store.resize(16384);
  *buffer = uv_buf_init(store.data(), static_cast<unsigned int>(store.size()));
}

Wire* open_wire(uv_loop_t* loop, u16 port) {
  auto* wire = new Wire;
  wire->port = port;
  wire->tcp.data = wire;
  uv_tcp_init(loop, &wire->tcp);
  uv_tcp_nodelay(&wire->tcp, 1);
  wire->connect.data = wire;
  sockaddr_in address{};
  uv_ip4_addr("127.0.0.1", port, &address);
  const auto connected = [](uv_connect_t* request, int status) {
    auto* self = static_cast<Wire*>(request->data);
    if (status != 0) {
      if (status != UV_ECANCELED) {
        tell_end(self);
      }
      return;
    }
    self->connected = true;
    auto* stream = reinterpret_cast<uv_stream_t*>(&self->tcp);
    uv_read_start(
        stream,
        [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
          give_buffer(static_cast<Wire*>(handle->data)->buffer, buffer);
        },
        [](uv_stream_t* from, ssize_t size, const uv_buf_t* buffer) {
          auto* reading = static_cast<Wire*>(from->data);
          if (size < 0) {
            tell_end(reading);
          } else if (size > 0 && reading->on_bytes) {
            const auto on_bytes = reading->on_bytes;  // it may replace itself
            on_bytes({buffer->base, static_cast<std::size_t>(size)});
          }
        });
    write_to(stream, std::exchange(self->out, {}));
  };
  if (uv_tcp_connect(&wire->connect, &wire->tcp, reinterpret_cast<const sockaddr*>(&address),
                     connected) != 0) {
    wire->port = 0;  // the caller sees it
  }
  return wire;
}

void say(Wire* wire, std::string bytes) {
  if (wire->connected) {
    write_to(reinterpret_cast<uv_stream_t*>(&wire->tcp), std::move(bytes));
  } else {
    wire->out += bytes;
  }
}

enum class Stage : u8 { kComing, kWaiting, kInside, kDone };

struct Visitor {
  const CrowdPlan* plan = nullptr;
  u32 number = 0;
  Stage stage = Stage::kComing;
  bool asks = false;     // an answer is awaited
  bool leaves = false;   // the request under way is the last
  bool retried = false;  // on a fresh connection, as a kept one was gone
  bool silent = false;
  u32 redirects = 0;   // in a row
  std::string target;  // asked for
  u16 port = 0;
  u64 due = 0;      // when the next step is
  u64 give_up = 0;  // 0 = never
  u64 arrived = 0;
  u64 entered = 0;
  u64 position = 0;
  Wire* wire = nullptr;
  Wire* stream = nullptr;
  std::string tail;  // of the stream: words may be cut
  std::unique_ptr<Incoming> answer;
  std::unique_ptr<Incoming> stream_answer;
  std::vector<std::pair<std::string, std::string>> cookies;
};

// One session as the site sees it.
struct Session {
  u64 first = 0;
  u64 last = 0;
  bool ended = false;  // by a word of the site
};

struct Client {
  uv_tcp_t tcp{};
  std::string in;
  std::string buffer;
  struct Site* site = nullptr;
};

struct Stay {
  u64 from = 0;
  u64 to = 0;
};

struct Site {
  uv_tcp_t listener{};
  std::map<std::string, Session> sessions;
  std::vector<Stay> stays;  // over ones
  std::vector<u64> leavings;
  std::vector<u64> entries;
  u32 intruders = 0;
  u64 session_ns = 0;

  void ask(Client& client, std::string_view head) {
    const u64 now = uv_hrtime();
    std::string session;
    each_header(head, [&](std::string_view name, std::string_view value) {
      if (same_letters(name, "cookie")) {
        session = value;
      }
    });
    const std::string_view line = head.substr(0, head.find('\r'));
    const bool leave = line.find("leave=1") != std::string_view::npos;
    if (line.find("health") == std::string_view::npos) {
      Session& s = sessions[session];
      if (s.ended) {
        ++intruders;
      } else if (s.first != 0 && now > s.last + session_ns) {
        stays.push_back({s.first, s.last + session_ns});
        s.first = 0;
      }
      if (s.first == 0) {
        s.first = now;
        entries.push_back(now);
      }
      s.last = now;
      if (leave) {
        s.ended = true;
        leavings.push_back(now);
      }
    }
    write_to(reinterpret_cast<uv_stream_t*>(&client.tcp),
             fmt::format("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{}\r\nshop\n",
                         leave ? "LineQ-Command: revoke\r\n" : ""));
  }

  bool listen(uv_loop_t* loop, u16 port) {
    uv_tcp_init(loop, &listener);
    listener.data = this;
    sockaddr_in address{};
    uv_ip4_addr("127.0.0.1", port, &address);
    return uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0) == 0 &&
           uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 1024, [](uv_stream_t* server, int) {
             static_cast<Site*>(server->data)->accept(server);
           }) == 0;
  }

  void accept(uv_stream_t* server) {
    auto* client = new Client;
    client->site = this;
    client->tcp.data = client;
    uv_tcp_init(server->loop, &client->tcp);
    auto* stream = reinterpret_cast<uv_stream_t*>(&client->tcp);
    if (uv_accept(server, stream) != 0) {
      close(client);
      return;
    }
    uv_tcp_nodelay(&client->tcp, 1);
    uv_read_start(
        stream,
        [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
          give_buffer(static_cast<Client*>(handle->data)->buffer, buffer);
        },
        [](uv_stream_t* from, ssize_t size, const uv_buf_t* buffer) {
          auto* reading = static_cast<Client*>(from->data);
          if (size < 0) {
            close(reading);
            return;
          }
          reading->in.append(buffer->base, static_cast<std::size_t>(size));
          for (std::size_t end = reading->in.find("\r\n\r\n"); end != std::string::npos;
               end = reading->in.find("\r\n\r\n")) {
            const std::string head = reading->in.substr(0, end + 2);
            reading->in.erase(0, end + 4);
            reading->site->ask(*reading, head);
          }
        });
  }
  static void close(Client* client) {
    uv_close(reinterpret_cast<uv_handle_t*>(&client->tcp),
             [](uv_handle_t* handle) { delete static_cast<Client*>(handle->data); });
  }

  // Silent leavers are inside until nothing of them is expected any more.
  u32 most_inside() const {
    std::vector<std::pair<u64, int>> steps;
    for (const Stay& stay : stays) {
      steps.emplace_back(stay.from, 1);
      steps.emplace_back(stay.to, -1);
    }
    for (const auto& [cookie, s] : sessions) {
      steps.emplace_back(s.first, 1);
      steps.emplace_back(s.ended ? s.last : s.last + session_ns, -1);
    }
    std::sort(steps.begin(), steps.end());  // those who leave first, at the same instant
    int inside = 0;
    int most = 0;
    for (const auto& [when, step] : steps) {
      inside += step;
      most = std::max(most, inside);
    }
    return static_cast<u32>(most);
  }
};

double quantile_ms(std::vector<u64> values, double q) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const auto at = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  return static_cast<double>(values[at]) / static_cast<double>(kMs);
}

}  // namespace

std::string CrowdResult::json() const {
  std::string kinds;
  for (const auto& [kind, count] : errors) {
    kinds += fmt::format("{}\"{}\":{}", kinds.empty() ? "" : ",", kind, count);
  }
  return fmt::format(
      "{{\"seconds\":{:.1f},\"arrived\":{},\"served\":{},\"gave_up\":{},\"errors\":{{{}}},"
      "\"most_inside\":{},\"sessions\":{},\"intruders\":{},\"wait_p50_ms\":{:.0f},"
      "\"wait_p99_ms\":{:.0f},\"positions_risen\":{},\"cookies_changed\":{},"
      "\"refill_p50_ms\":{:.0f},\"refill_p99_ms\":{:.0f}}}",
      seconds, numbers.arrived, numbers.left, numbers.gave_up, kinds, most_inside, sessions,
      intruders, wait_p50_ms, wait_p99_ms, positions_risen, cookies_changed, refill_p50_ms,
      refill_p99_ms);
}

struct Crowd::State {
  uv_loop_t loop{};
  uv_async_t wake{};
  uv_timer_t timer{};
  Site site;
  bool has_site = false;
  bool trouble = false;

  // From other threads.
  std::mutex mutex;
  std::vector<std::function<void()>> work;
  std::atomic<u32> arrived{0}, waiting{0}, inside{0}, left{0}, gave_up{0}, errors{0}, sent{0};

  // The loop's own.
  std::deque<CrowdPlan> plans;
  std::deque<Visitor> visitors;
  using Due = std::pair<u64, u32>;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> dues;
  std::mt19937_64 random{1};
  std::map<std::string, u32> kinds;
  std::vector<u64> waits;
  u32 positions_risen = 0;
  u32 cookies_changed = 0;
  u64 began = 0;
  u64 last_left = 0;

  void run();
  void later(Visitor& v, u64 when) {
    v.due = when;
    dues.emplace(when, v.number);
  }
  void turn();
  void step(Visitor& v, u64 now);
  void ask(Visitor& v, std::string_view target);
  void send_request(Visitor& v);
  void hear(Visitor& v, std::string_view bytes);
  void answered(Visitor& v);
  void failed(Visitor& v, std::string_view kind);
  void waits_now(Visitor& v);
  void open_stream(Visitor& v);
  void end_stream(Visitor& v);
  void finish(Visitor& v, std::atomic<u32>& as);
  void change_port(Visitor& v);
  std::string head(const Visitor& v, std::string_view target, std::string_view more) const;
};

std::string Crowd::State::head(const Visitor& v, std::string_view target,
                               std::string_view more) const {
  std::string cookies;
  for (const auto& [name, value] : v.cookies) {
    cookies += fmt::format("{}{}={}", cookies.empty() ? "Cookie: " : "; ", name, value);
  }
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n{}{}{}\r\n", target, v.plan->host, more,
                     cookies, cookies.empty() ? "" : "\r\n");
}

void Crowd::State::change_port(Visitor& v) {
  const auto& ports = v.plan->ports;
  const auto at = std::find(ports.begin(), ports.end(), v.port);
  v.port = at == ports.end() || at + 1 == ports.end() ? ports.front() : *(at + 1);
}

void Crowd::State::ask(Visitor& v, std::string_view target) {
  if (v.plan->roam) {
    v.port = v.plan->ports[random() % v.plan->ports.size()];
  }
  v.retried = false;
  v.target = target;
  send_request(v);
}

void Crowd::State::send_request(Visitor& v) {
  if (v.wire != nullptr && v.wire->port != v.port) {
    close_wire(std::exchange(v.wire, nullptr));
  }
  if (v.wire == nullptr) {
    v.wire = open_wire(&loop, v.port);
    if (v.wire->port == 0) {
      failed(v, "no connection");
      return;
    }
  }
  v.answer = std::make_unique<Incoming>();
  v.asks = true;
  // libuv's handles outlive the visitor's interest, never the visitor: deque elements stay.
  v.wire->on_bytes = [this, &v](std::string_view bytes) { hear(v, bytes); };
  say(v.wire, head(v, v.target, ""));
  later(v, uv_hrtime() + u64{v.plan->timeout_ms} * kMs);
}

void Crowd::State::hear(Visitor& v, std::string_view bytes) {
  if (!v.asks) {  // a kept connection ends, or says what nobody asked
    close_wire(std::exchange(v.wire, nullptr));
    return;
  }
  if (bytes.empty()) {
    const bool kept = !v.wire->fresh && !v.answer->has_head();
    const bool whole = v.answer->ends_with_connection();
    const bool refused = !v.wire->connected;
    close_wire(std::exchange(v.wire, nullptr));
    if (whole) {
      answered(v);
    } else if (kept && !v.retried) {
      v.retried = true;  // as browsers do: it was closed while idle
      send_request(v);
    } else {
      failed(v, refused ? "refused" : "cut off");
    }
    return;
  }
  v.answer->feed(bytes, [](std::string_view) {});
  if (v.answer->complete()) {
    v.wire->fresh = false;
    if (v.answer->close) {
      close_wire(std::exchange(v.wire, nullptr));
    }
    answered(v);
  }
}

void Crowd::State::failed(Visitor& v, std::string_view kind) {
  v.asks = false;
  v.leaves = false;
  if (v.wire != nullptr) {
    close_wire(std::exchange(v.wire, nullptr));
  }
  ++errors;
  ++kinds[std::string(kind)];
  change_port(v);
  constexpr u64 kAgain = 500 * kMs;
  later(v, uv_hrtime() + kAgain);
}

void Crowd::State::answered(Visitor& v) {
  v.asks = false;
  const u64 now = uv_hrtime();
  Incoming& a = *v.answer;
  for (auto& [name, value] : a.cookies) {
    const auto old = std::find_if(v.cookies.begin(), v.cookies.end(),
                                  [&n = name](const auto& cookie) { return cookie.first == n; });
    if (old == v.cookies.end()) {
      v.cookies.emplace_back(name, value);
    } else if (old->second != value) {
      ++cookies_changed;
      old->second = value;
    }
  }
  if (a.status == 303 || a.status == 307) {
    constexpr u32 kLoop = 20;
    if (++v.redirects > kLoop) {
      failed(v, "redirected for ever");
      return;
    }
    const std::string target = a.location.empty() ? v.plan->path : a.location;
    ask(v, target);
    return;
  }
  v.redirects = 0;
  if (a.waits) {
    if (v.stage == Stage::kInside) {
      // Thrown out while the visit went on; waits again.
      ++kinds["thrown out"];
      --inside;
      ++waiting;
      v.stage = Stage::kWaiting;
      v.position = 0;
      v.leaves = false;
    }
    if (v.position != 0 && a.position > v.position) {
      ++positions_risen;
    }
    v.position = a.position;
    waits_now(v);
    return;
  }
  if (a.status != 200) {
    failed(v, fmt::format("status {}", a.status));
    return;
  }
  if (v.stage != Stage::kInside) {
    v.stage = Stage::kInside;
    --waiting;
    ++inside;
    v.entered = now;
    waits.push_back(now - v.arrived);
    end_stream(v);
  }
  if (v.leaves) {
    finish(v, left);
    return;
  }
  later(v, now + u64{v.plan->request_every_ms} * kMs);
}

void Crowd::State::waits_now(Visitor& v) {
  if (!v.plan->stream.empty() && v.stream == nullptr) {
    open_stream(v);
  }
  // Who listens asks rarely, as the page does.
  const u64 poll = u64{v.plan->poll_ms} * (v.stream != nullptr ? 20 : 1);
  later(v, uv_hrtime() + poll * kMs);
}

void Crowd::State::open_stream(Visitor& v) {
  Wire* wire = open_wire(&loop, v.port);
  if (wire->port == 0) {
    close_wire(wire);
    return;
  }
  v.stream = wire;
  v.stream_answer = std::make_unique<Incoming>();
  v.tail.clear();
  wire->on_bytes = [this, &v](std::string_view bytes) {
    bool ready = false;
    if (!bytes.empty()) {
      v.stream_answer->feed(bytes, [&](std::string_view body) {
        v.tail += body;
        ready = ready || v.tail.find("event: ready") != std::string::npos;
        if (v.tail.size() > 64) {
          v.tail.erase(0, v.tail.size() - 64);
        }
      });
    }
    const bool refused = v.stream_answer->has_head() && v.stream_answer->status != 200;
    if (ready || refused || bytes.empty() || v.stream_answer->complete()) {
      if (!ready) {
        ++kinds["stream ended"];
      }
      end_stream(v);
      if (v.stage == Stage::kWaiting && !v.asks) {
        constexpr u64 kReconnect = 1000;
        later(v, uv_hrtime() + (ready ? 0 : kReconnect) * kMs);
      }
    }
  };
  say(wire, head(v, v.plan->stream, "Accept: text/event-stream\r\n"));
}

void Crowd::State::end_stream(Visitor& v) {
  if (v.stream != nullptr) {
    close_wire(std::exchange(v.stream, nullptr));
  }
}

void Crowd::State::finish(Visitor& v, std::atomic<u32>& as) {
  --(v.stage == Stage::kInside ? inside : waiting);
  v.stage = Stage::kDone;
  v.due = 0;
  end_stream(v);
  if (v.wire != nullptr) {
    close_wire(std::exchange(v.wire, nullptr));
  }
  last_left = uv_hrtime();
  ++as;
}

void Crowd::State::step(Visitor& v, u64 now) {
  const CrowdPlan& plan = *v.plan;
  if (v.asks) {
    failed(v, "late");
    return;
  }
  switch (v.stage) {
    case Stage::kComing:
      v.stage = Stage::kWaiting;
      v.arrived = now;
      ++arrived;
      ++waiting;
      if (random() % 100 < plan.leaving_percent) {
        v.give_up = now + (1 + random() % std::max(plan.patience_ms, 1U)) * kMs;
      }
      v.silent = random() % 100 < plan.silent_percent;
      ask(v, plan.path);
      return;
    case Stage::kWaiting:
      if (v.give_up != 0 && now >= v.give_up) {
        finish(v, gave_up);
        return;
      }
      ask(v, plan.path);
      return;
    case Stage::kInside:
      v.leaves = now >= v.entered + u64{plan.visit_ms} * kMs;
      ask(v, v.leaves && !v.silent ? plan.path + "?leave=1" : plan.path);
      return;
    case Stage::kDone:
      return;
  }
}

void Crowd::State::turn() {
  {
    std::vector<std::function<void()>> todo;
    {
      const std::lock_guard lock(mutex);
      todo.swap(work);
    }
    for (const auto& task : todo) {
      task();
    }
  }
  const u64 now = uv_hrtime();
  while (!dues.empty() && dues.top().first <= now) {
    const auto [when, who] = dues.top();
    dues.pop();
    if (Visitor& v = visitors[who]; v.due == when) {
      step(v, now);
    }
  }
}

void Crowd::State::run() {
  uv_run(&loop, UV_RUN_DEFAULT);
  // Everything that is still open.
  uv_walk(
      &loop,
      [](uv_handle_t* handle, void* self) {
        auto* state = static_cast<State*>(self);
        if (uv_is_closing(handle) != 0) {
          return;
        }
        if (handle->type != UV_TCP ||
            handle == reinterpret_cast<uv_handle_t*>(&state->site.listener)) {
          uv_close(handle, nullptr);
          return;
        }
        const bool visitor =
            std::any_of(state->visitors.begin(), state->visitors.end(), [&](const Visitor& v) {
              return (v.wire != nullptr &&
                      handle == reinterpret_cast<uv_handle_t*>(&v.wire->tcp)) ||
                     (v.stream != nullptr &&
                      handle == reinterpret_cast<uv_handle_t*>(&v.stream->tcp));
            });
        uv_close(
            handle, visitor ? [](uv_handle_t* h) { delete static_cast<Wire*>(h->data); }
                            : [](uv_handle_t* h) { delete static_cast<Client*>(h->data); });
      },
      this);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
}

Crowd::Crowd(u16 site_port) : state_(std::make_unique<State>()) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  State& s = *state_;
  uv_loop_init(&s.loop);
  s.began = uv_hrtime();
  uv_async_init(&s.loop, &s.wake,
                [](uv_async_t* async) { static_cast<State*>(async->data)->turn(); });
  s.wake.data = &s;
  uv_timer_init(&s.loop, &s.timer);
  s.timer.data = &s;
  constexpr u64 kTurnMs = 5;
  uv_timer_start(
      &s.timer, [](uv_timer_t* timer) { static_cast<State*>(timer->data)->turn(); }, kTurnMs,
      kTurnMs);
  if (site_port != 0) {
    s.has_site = true;
    s.trouble = !s.site.listen(&s.loop, site_port);
  }
  thread_ = std::thread([&s] { s.run(); });
}

Crowd::~Crowd() {
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    s.work.emplace_back([&s] { uv_stop(&s.loop); });
  }
  uv_async_send(&s.wake);
  thread_.join();
}

void Crowd::send(const CrowdPlan& plan) {
  State& s = *state_;
  s.sent += plan.visitors;
  {
    const std::lock_guard lock(s.mutex);
    s.work.emplace_back([&s, plan] {
      const CrowdPlan& kept = s.plans.emplace_back(plan);
      s.site.session_ns = u64{plan.session_ms} * kMs;
      s.random.seed(plan.seed);
      const u64 now = uv_hrtime();
      for (u32 i = 0; i < plan.visitors; ++i) {
        Visitor& v = s.visitors.emplace_back();
        v.plan = &kept;
        v.number = static_cast<u32>(s.visitors.size() - 1);
        v.port = kept.ports[i % kept.ports.size()];
        s.later(v, now + u64{plan.span_ms} * kMs * i / plan.visitors);
      }
    });
  }
  uv_async_send(&s.wake);
}

CrowdNumbers Crowd::numbers() const {
  const State& s = *state_;
  return {s.arrived, s.waiting, s.inside, s.left, s.gave_up, s.errors};
}

bool Crowd::wait_finished(std::chrono::milliseconds patience) {
  return wait_until([&] { return numbers().finished() == state_->sent; }, patience);
}

CrowdResult Crowd::result(u32 capacity) {
  State& s = *state_;
  CrowdResult result;
  std::atomic<bool> done{false};
  {
    const std::lock_guard lock(s.mutex);
    s.work.emplace_back([&] {
      result.errors = s.kinds;
      result.most_inside = s.site.most_inside();
      result.sessions = static_cast<u32>(s.site.sessions.size());
      result.intruders = s.site.intruders;
      result.wait_p50_ms = quantile_ms(s.waits, 0.5);
      result.wait_p99_ms = quantile_ms(s.waits, 0.99);
      result.positions_risen = s.positions_risen;
      result.cookies_changed = s.cookies_changed;
      result.seconds = static_cast<double>(s.last_left - s.began) / 1e9;
      std::vector<u64> refills;
      for (std::size_t i = 0;
           capacity != 0 && i < s.site.leavings.size() && i + capacity < s.site.entries.size();
           ++i) {
        const u64 entry = s.site.entries[i + capacity];
        const u64 leaving = s.site.leavings[i];
        refills.push_back(entry > leaving ? entry - leaving : 0);
      }
      result.refill_p50_ms = quantile_ms(refills, 0.5);
      result.refill_p99_ms = quantile_ms(refills, 0.99);
      done = true;
    });
  }
  uv_async_send(&s.wake);
  wait_until([&] { return done.load(); }, std::chrono::minutes(1));
  result.numbers = numbers();
  return result;
}

}  // namespace lineq::bench
