// lineq-web: the segment on HTTP, for people and for those who wait. Reads, never writes; may be
// killed and restarted at any time.
#include <uv.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sys/resource.h>

#include "shm/support/clock.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/hangup.h"
#include "tools/cli/log.h"
#include "tools/cli/options.h"
#include "tools/cli/settings.h"
#include "tools/cli/systemd_notify.h"
#include "webui/live/changes.h"
#include "webui/live/presence.h"
#include "webui/live/segment.h"
#include "webui/net/control_client.h"
#include "webui/net/server.h"
#include "webui/pages/access.h"
#include "webui/pages/keys.h"
#include "webui/pages/legacy.h"
#include "webui/pages/push.h"
#include "webui/pages/rooms.h"
#include "webui/pages/site.h"
#include "webui/pages/waiting.h"

namespace lineq {
namespace {

// Who is called is told within so long.
constexpr u64 kTickMs = 50;
constexpr u64 kSecondMs = 1000;
// Descriptors for what is not a connection: segment objects, listeners, log, loop.
constexpr rlim_t kSpareDescriptors = 128;
constexpr std::string_view kName = "lineq-web";

// As many as the system allows; the number.
std::size_t raise_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

struct Caps {
  std::size_t connections;
  std::size_t per_address;
};

// Of the admin part where it has a listener of its own: kept for it, however many visitors come.
Caps admin_caps(std::size_t descriptors) {
  constexpr std::size_t kMost = 256;
  const std::size_t most = std::min(kMost, std::max<std::size_t>(descriptors / 4, 1));
  return {most, most};
}

Caps web_caps(const cli::Settings& settings, std::size_t descriptors) {
  std::size_t possible =
      descriptors > 2 * kSpareDescriptors ? descriptors - kSpareDescriptors : descriptors / 2;
  if (!settings.admin_host.empty()) {
    possible -= std::min(possible - 1, admin_caps(descriptors).connections);
  }
  Caps caps{};
  caps.connections = settings.web_max_connections == 0
                         ? possible
                         : std::min<std::size_t>(settings.web_max_connections, possible);
  // HAProxy in front is one address and brings all visitors: nearly all is its share, and some are
  // left for whoever looks at the status page.
  caps.per_address = settings.web_max_per_address == 0
                         ? std::max<std::size_t>(caps.connections / 16 * 15, 1)
                         : settings.web_max_per_address;
  return caps;
}

webnet::ServerOptions server_options(const std::string& host, u16 port, Caps caps) {
  webnet::ServerOptions options;
  options.host = host;
  options.port = port;
  if (const auto path = cli::unix_path(host)) {
    options.unix_path = *path;
  }
  options.max_connections = caps.connections;
  options.max_per_address = caps.per_address;
  return options;
}

// The loop's handles of this program, apart from the server's.
class Program {
 public:
  Program(uv_loop_t& loop, live::Segment& segment, live::Changes& changes, pages::Site& site,
          pages::WaitingRoom& waiting, webnet::ControlClient& control, webnet::Server& server,
          webnet::Server& admin, std::function<std::string()> reload)
      : loop_(loop),
        segment_(segment),
        changes_(changes),
        site_(site),
        waiting_(waiting),
        control_(control),
        server_(server),
        admin_(admin),
        reload_(std::move(reload)) {}

  void start(std::string_view status) {
    uv_timer_init(&loop_, &tick_);
    uv_timer_init(&loop_, &second_);
    uv_signal_init(&loop_, &term_);
    uv_signal_init(&loop_, &interrupt_);
    uv_signal_init(&loop_, &hangup_);
    tick_.data = second_.data = term_.data = interrupt_.data = hangup_.data = this;
    uv_timer_start(
        &tick_,
        [](uv_timer_t* t) {
          auto* p = static_cast<Program*>(t->data);
          p->systemd_.alive(monotonic_ms());
          p->segment_.tick(monotonic_ms());
          p->waiting_.positions().tick(monotonic_ms());
          if (!p->changes_.tick(monotonic_ms())) {
            p->server_.begin_work();
          }
        },
        kTickMs, kTickMs);
    uv_timer_start(
        &second_,
        [](uv_timer_t* t) {
          auto* p = static_cast<Program*>(t->data);
          p->site_.sample(monotonic_ms());
          p->waiting_.positions().begin_round(monotonic_ms());
          p->server_.begin_work();
          if (p->admin_.anybody(http::Channel::kStatus)) {
            p->admin_.publish(http::Channel::kStatus,
                              std::make_shared<const std::string>(p->site_.status_event()));
          }
        },
        kSecondMs, kSecondMs);
    for (auto [handle, number] : {std::pair(&term_, SIGTERM), std::pair(&interrupt_, SIGINT)}) {
      uv_signal_start(
          handle, [](uv_signal_t* s, int signal) { static_cast<Program*>(s->data)->stop(signal); },
          number);
    }
    uv_signal_start(
        &hangup_,
        [](uv_signal_t* s, int) {
          auto* p = static_cast<Program*>(s->data);
          p->systemd_.reloading();
          p->systemd_.ready(p->reload_());
        },
        SIGHUP);
    cli::release_hangup();
    systemd_.ready(status);
  }

 private:
  // A second signal ends the program at once: nobody catches it any more.
  void stop(int signal) {
    cli::log_notice("{}: closing, {} connections open", ::strsignal(signal),
                    server_.stats().connections);
    systemd_.stopping();
    server_.stop();
    admin_.stop();  // the same, or its own
    control_.close();
    for (uv_handle_t* handle :
         {reinterpret_cast<uv_handle_t*>(&tick_), reinterpret_cast<uv_handle_t*>(&second_),
          reinterpret_cast<uv_handle_t*>(&term_), reinterpret_cast<uv_handle_t*>(&interrupt_),
          reinterpret_cast<uv_handle_t*>(&hangup_)}) {
      uv_close(handle, nullptr);
    }
  }

  uv_loop_t& loop_;
  live::Segment& segment_;
  live::Changes& changes_;
  pages::Site& site_;
  pages::WaitingRoom& waiting_;
  webnet::ControlClient& control_;
  webnet::Server& server_;
  webnet::Server& admin_;  // where the admin part is: `server_`, or one of its own
  std::function<std::string()> reload_;
  cli::SystemdNotify systemd_;
  uv_timer_t tick_{};
  uv_timer_t second_{};
  uv_signal_t term_{};
  uv_signal_t interrupt_{};
  uv_signal_t hangup_{};
};

// What the status page tells somebody to write into a HAProxy: the first place of lineqd's that
// takes TCP without TLS.
pages::ConnectHint connect_hint(const cli::Settings& settings) {
  const auto plain = std::find_if(settings.listeners.begin(), settings.listeners.end(),
                                  [](const cli::ListenerSettings& l) {
                                    return l.address.kind == cli::PeerAddress::Kind::kTcp && !l.tls;
                                  });
  return plain == settings.listeners.end()
             ? pages::ConnectHint{settings.peer_name, settings.tcp_host, settings.tcp_port}
             : pages::ConnectHint{plain->name, plain->address.host, plain->address.port};
}

// What is in force, and may be meant otherwise.
std::vector<std::string> warnings_of(const cli::Settings& settings) {
  std::vector<std::string> all = settings.warnings;
  if (std::string loose = pages::loose_token_file(settings.admin_token_file); !loose.empty()) {
    all.push_back(std::move(loose));
  }
  return all;
}

// SIGHUP: takes over what can change while running, says what cannot, and keeps what it has when
// the new configuration is wrong. What became of it.
std::string reload(const cli::CommandLine& line, cli::Settings& settings, pages::Site& site,
                   webnet::Server& server, std::size_t descriptors) {
  Result<cli::Settings> fresh = cli::load_settings(cli::Loader::kWeb, line);
  if (!fresh) {
    std::string news = "SIGHUP: configuration kept as it was: " + fresh.error().what;
    cli::log_err("{}", news);
    return news;
  }
  for (const std::string& warning : warnings_of(*fresh)) {
    cli::log_warning("{}", warning);
  }
  settings.log_level = fresh->log_level;
  settings.log = fresh->log;
  settings.web_max_connections = fresh->web_max_connections;
  settings.web_max_per_address = fresh->web_max_per_address;
  settings.tcp_host = fresh->tcp_host;
  settings.tcp_port = fresh->tcp_port;
  settings.peer_name = fresh->peer_name;
  settings.listeners = std::move(fresh->listeners);
  cli::log_setup(cli::log_setup_of(settings, kName));
  site.set_connect(connect_hint(settings));
  const Caps caps = web_caps(settings, descriptors);
  server.set_caps(caps.connections, caps.per_address);
  const auto kept = cli::changed_settings(cli::Loader::kWeb, settings, *fresh);
  std::string news = fmt::format(
      "SIGHUP: configuration read again: log level is {}, {} connections at most, {} of an address",
      cli::log_level_name(settings.log_level), caps.connections, caps.per_address);
  if (kept.empty()) {
    cli::log_notice("{}", news);
  } else {
    cli::log_warning("{}; a restart, which disturbs no HAProxy, is needed for: {}", news,
                     fmt::join(kept, ", "));
  }
  return news;
}

// 0, or what to exit with.
int listen(webnet::Server& server, const cli::Settings& settings, std::string_view what,
           std::string_view hint) {
  if (const Status status = server.listen(); !status) {
    cli::log_err("{} ({} change the address)", status.error().what, hint);
    return cli::kExitUsage;
  }
  for (const std::string& address : server.addresses()) {
    cli::log_notice("lineq-web {}, instance {}: {} on {}{}", LINEQ_VERSION, settings.instance, what,
                    address, server.shared() ? ", shared with another process" : "");
  }
  return cli::kExitFine;
}

int run(const cli::CommandLine& given, cli::Settings settings) {
  for (const std::string& warning : warnings_of(settings)) {
    cli::log_warning("{}", warning);
  }
  std::signal(SIGPIPE, SIG_IGN);
  uv_loop_t loop{};
  uv_loop_init(&loop);

  shm::Source source;
  source.instance = settings.instance;
  live::Segment segment(std::move(source), [&] { return cli::segment_owner(settings); });
  pages::Site site(segment, connect_hint(settings));
  if (!settings.metrics_tables.empty()) {
    auto keys = pages::KeyExport::of(segment, settings.metrics_tables);
    if (!keys) {
      return cli::usage_error(kName, keys.error().what);
    }
    site.set_key_export(keys.take());
  }
  live::Changes changes(segment);
  pages::Push push(segment, changes);
  live::Presence presence;
  pages::WaitingRoom waiting(segment, presence);
  // Without a listener of its own the admin part is on the visitors' router.
  const bool apart = !settings.admin_host.empty();
  http::Router visitors;
  http::Router admin_router;
  http::Router& router = apart ? admin_router : visitors;
  if (apart) {
    site.add_health_to(visitors);
  }
  site.add_to(router);
  router.add("/ws", [&](const http::Request& request) { return push.answer(request); });
  visitors.set_visitors([&](const http::Request& request) { return waiting.answer(request); });
  webnet::ControlClient control(loop, {.path = settings.control});
  presence.set_send([&](std::string line, std::function<void(bool)> done) {
    control.send(std::move(line), [done = std::move(done)](const Result<std::string>& answer) {
      done(answer.ok() && answer->find("\"ok\":true") != std::string::npos);
    });
  });
  const pages::Ask ask = [&](std::string line,
                             std::function<void(const Result<std::string>&)> done) {
    control.send(std::move(line), std::move(done));
  };
  pages::add_rooms(router, settings.admin_token_file, ask,
                   [&](std::string_view name, const http::Request& request) {
                     return waiting.preview(name, request);
                   });
  pages::add_keys(router, segment, settings.admin_token_file, ask);
  pages::add_legacy(router, {settings.room_table, settings.users_table, settings.session_ms},
                    segment, ask);
  const std::size_t descriptors = raise_descriptors();
  webnet::Server server(
      loop, visitors,
      server_options(settings.web_host, settings.web_port, web_caps(settings, descriptors)));
  server.set_work([&] {
    const bool told = waiting.positions().step();
    return changes.step() && told;
  });
  site.set_stats(server.stats());
  std::unique_ptr<webnet::Server> own;
  if (apart) {
    webnet::ServerOptions options =
        server_options(settings.admin_host, settings.admin_port, admin_caps(descriptors));
    options.stats = &server.stats();
    own = std::make_unique<webnet::Server>(loop, admin_router, std::move(options));
  }
  webnet::Server& admin = apart ? *own : server;
  segment.tick(monotonic_ms());
  site.sample(monotonic_ms());
  int exit_code = listen(server, settings, "listening",
                         "SERVICE_WEB_HOST and SERVICE_WEB_PORT, or --web-host and --web-port,");
  if (exit_code == cli::kExitFine && apart) {
    exit_code = listen(admin, settings, "admin part listening",
                       "LINEQ_ADMIN_HOST and LINEQ_ADMIN_PORT, or --admin-host and --admin-port,");
  }
  if (exit_code != cli::kExitFine) {
    control.close();
    return exit_code;
  }
  Program program(loop, segment, changes, site, waiting, control, server, admin,
                  [&] { return reload(given, settings, site, server, descriptors); });
  program.start(fmt::format("listening on {}", fmt::join(server.addresses(), ", ")));
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  cli::log_notice("stopped");
  return cli::kExitFine;
}

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  using namespace lineq;
  cli::hold_hangup();
  std::vector<cli::Option> options = cli::setting_options(cli::Loader::kWeb);
  options.push_back(
      {"check", 't', "", "check the configuration, print what holds, and end", "", ""});
  static constexpr std::array<std::string_view, 3> kExamples{
      "lineq-web --web-port 8080", "lineq-web -n shop --web-host unix@/run/lineq/web.sock",
      "lineq-web -t -f /etc/lineq/lineq.cfg"};
  const cli::Program program{kName, "[OPTION]...",
                             "Shows the stick tables, peers and health of a LineQ on HTTP: /status "
                             "for people, /tables, /metrics, /healthz, /readyz, /version.",
                             options, kExamples};
  const cli::CommandLine line = cli::read_command_line(program, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  Result<cli::Settings> settings = cli::load_settings(cli::Loader::kWeb, line);
  if (!settings) {
    return cli::usage_error(kName, settings.error().what);
  }
  if (line.has("check")) {
    for (const std::string& warning : warnings_of(*settings)) {
      fmt::print(stderr, "{}: {}\n", kName, warning);
    }
    return cli::print_out(kName, cli::settings_json(*settings));
  }
  cli::log_setup(cli::log_setup_of(*settings, kName));
  return run(line, settings.take());
}
