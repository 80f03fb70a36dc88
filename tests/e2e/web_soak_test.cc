// lineq-web restarted again and again under 1,000 open WebSockets and event streams: the clients
// come back each time, and no HAProxy notices.
//   LINEQ_SOAK_RESTARTS (50; 10 with a sanitizer), LINEQ_SOAK_CLIENTS (1000, one half of each kind)
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <vector>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "shm/reader.h"
#include "tests/e2e/world.h"
#include "tests/support/sanitizer.h"
#include "tests/support/websocket.h"

namespace lineq::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRestarts = kSanitized ? 10 : 50;

std::size_t setting(const char* name, std::size_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoul(text, nullptr, 10);
}

// Many clients on one epoll. Each connects again as soon as it is cut off.
class Clients {
 public:
  Clients(u16 port, std::size_t n) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    address_.sin_family = AF_INET;
    address_.sin_port = htons(port);
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    all_.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      all_[i].websocket = i % 2 == 0;
    }
  }

  // Everybody connects (again) and waits for the first words.
  bool wait_back(Milliseconds patience = kPatience) {
    return pump([&] { return back_ == all_.size(); }, patience);
  }
  // All WebSockets hear this.
  bool wait_heard(std::string word, Milliseconds patience = kPatience) {
    word_ = std::move(word);
    heard_ = 0;
    for (Client& client : all_) {
      client.heard = false;
      look(client);
    }
    return pump([&] { return heard_ == (all_.size() + 1) / 2; }, patience);
  }
  // Until nobody is connected any more, and nobody tries.
  bool wait_cut_off(const std::function<bool()>& ended, Milliseconds patience = kPatience) {
    hold_ = true;
    const bool done = pump(
        [&] {
          return ended() && std::all_of(all_.begin(), all_.end(),
                                        [](const Client& c) { return !c.fd.valid(); });
        },
        patience);
    hold_ = false;
    return done;
  }

  std::size_t back() const { return back_; }
  std::size_t told_to_go() const { return told_to_go_; }  // by a close with 1001, or by `retry:`

 private:
  struct Client {
    Fd fd;
    bool websocket = false;
    bool back = false;
    bool heard = false;
    bool bid_farewell = false;
    std::string in;
    Clock::time_point next_try;
  };

  bool pump(const std::function<bool()>& done, Milliseconds patience) {
    const Clock::time_point until = Clock::now() + patience;
    std::array<epoll_event, 256> events{};
    while (!done()) {
      if (Clock::now() > until) {
        return false;
      }
      for (std::size_t i = 0; i < all_.size() && !hold_; ++i) {
        if (!all_[i].fd.valid() && all_[i].next_try <= Clock::now()) {
          connect(i);
        }
      }
      const int n = ::epoll_wait(epoll_.get(), events.data(), events.size(), 5);
      for (int e = 0; e < n; ++e) {
        serve(all_[events.at(static_cast<std::size_t>(e)).data.u64]);
      }
    }
    return true;
  }

  void connect(std::size_t i) {
    Client& client = all_[i];
    client.fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(client.fd.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_) !=
            0 ||
        !send_all(client.fd, client.websocket
                                 ? websocket_request("/ws")
                                 : "GET /status/events HTTP/1.1\r\nHost: localhost\r\n\r\n")) {
      return lost(client);
    }
    ::fcntl(client.fd.get(), F_SETFL, O_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, client.fd.get(), &event);
  }

  void lost(Client& client) {
    client.fd.reset();
    back_ -= client.back ? 1U : 0U;
    told_to_go_ += client.bid_farewell ? 1U : 0U;
    client.back = client.bid_farewell = false;
    client.in.clear();
    client.next_try = Clock::now() + Milliseconds(20);
  }

  void serve(Client& client) {
    for (;;) {
      std::array<char, 65536> chunk{};
      const ssize_t n = ::recv(client.fd.get(), chunk.data(), chunk.size(), 0);
      if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
          lost(client);
        }
        return;
      }
      client.in.append(chunk.data(), static_cast<std::size_t>(n));
      look(client);
    }
  }

  void look(Client& client) {
    const auto has = [&](std::string_view word) {
      return client.in.find(word) != std::string::npos;
    };
    const bool first = client.websocket ? has(R"({"mode":"tables",)") && client.in.ends_with("}")
                                        : has("event: status");
    if (!client.back && first) {
      client.back = true;
      ++back_;
    }
    if (client.back && client.websocket && !client.heard && !word_.empty() && has(word_)) {
      client.heard = true;
      ++heard_;
    }
    client.bid_farewell = client.bid_farewell ||
                          (client.websocket ? has("\x03\xe9lineq-web ends") : has("retry: 3000"));
    constexpr std::size_t kEnough = 20'000;
    if (client.in.size() > kEnough) {
      client.in.erase(0, client.in.size() - kEnough / 2);
    }
  }

  Fd epoll_;
  sockaddr_in address_{};
  std::vector<Client> all_;
  std::size_t back_ = 0;
  std::size_t heard_ = 0;
  std::size_t told_to_go_ = 0;
  std::string word_;
  bool hold_ = false;
};

std::string seen_by_lineqd(const std::string& instance) {
  shm::Source source;
  source.instance = instance;
  auto reader = shm::Reader::open(source);
  if (!reader) {
    return reader.error().what;
  }
  std::string text;
  for (const shm::PeerInfo& peer : reader->peers()) {
    text += fmt::format("{} epoch {} since {} state {}; ", peer.remote_name, peer.epoch,
                        peer.connected_ms, static_cast<u32>(peer.state));
  }
  return text;
}

TEST(WebSoakTest, ClientsComeBackAfterEachRestartAndNoHaproxyNotices) {
  if (!have_haproxys()) {
    GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
  }
  const std::size_t restarts = setting("LINEQ_SOAK_RESTARTS", kRestarts);
  const std::size_t clients = setting("LINEQ_SOAK_CLIENTS", 1000);
  World world;
  ASSERT_TRUE(world.start_daemon()) << world.trouble;
  ASSERT_TRUE(world.start_web()) << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k26, "hap-a", plain_config()), nullptr) << world.trouble;
  ASSERT_NE(world.add(HaproxyVersion::k30, "hap-b", plain_config()), nullptr) << world.trouble;
  ASSERT_TRUE(world.wait_sessions()) << world.trouble;
  ASSERT_EQ(world.at(0).set_table("lq/plain", "round", "data.gpc0 1"), "");
  ASSERT_TRUE(wait_until([&] {
    return http_get(world.lineq.web_port(), "/tables").body.find("round") != std::string::npos;
  }));
  const std::vector<std::string> sessions = world.sessions();
  const std::string known = seen_by_lineqd(world.lineq.name());

  Clients all(world.lineq.web_port(), clients);
  ASSERT_TRUE(all.wait_back()) << all.back() << " of " << clients;
  std::vector<double> times;
  std::size_t polite = 0;
  for (std::size_t i = 1; i <= restarts; ++i) {
    const bool term = i % 2 == 0;
    const std::size_t before = all.told_to_go();
    world.web.signal(term ? SIGTERM : SIGKILL);
    ASSERT_TRUE(all.wait_cut_off([&] { return !world.web.running(); })) << "restart " << i;
    if (term) {
      EXPECT_EQ(world.web.wait(), 0) << world.web.err();
      EXPECT_EQ(all.told_to_go() - before, clients) << "restart " << i;
      ++polite;
    }
    const Clock::time_point begin = Clock::now();
    world.web = world.lineq.start_web();
    ASSERT_TRUE(all.wait_back()) << "restart " << i << ": " << all.back() << " of " << clients
                                 << "\n"
                                 << world.web.err();
    times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    // ... and hear what a HAProxy learns, which has been there all the time.
    ASSERT_EQ(world.at(i % 2).set_table("lq/plain", "round", fmt::format("data.gpc0 {}", 1000 + i)),
              "");
    ASSERT_TRUE(all.wait_heard(fmt::format(R"("value":"{}\t)", 1000 + i))) << "restart " << i;
    ASSERT_EQ(world.sessions(), sessions) << "restart " << i;
    ASSERT_EQ(seen_by_lineqd(world.lineq.name()), known) << "restart " << i;
  }
  EXPECT_EQ(world.log_lines("closing").size(), 0U) << world.story();
  std::sort(times.begin(), times.end());
  fmt::print(
      "{} restarts ({} by SIGTERM), {} clients: all back after {:.2f} s (median), {:.2f} s "
      "(longest)\n",
      restarts, polite, clients, times[times.size() / 2], times.back());
}

}  // namespace
}  // namespace lineq::test
