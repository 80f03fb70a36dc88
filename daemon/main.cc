// lineqd: keeps HAProxys' stick tables in a shared-memory segment and in step with each other.
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include <fmt/format.h>

#include "daemon/control/entries.h"
#include "daemon/control/handler.h"
#include "daemon/haproxy_config.h"
#include "daemon/net/control_server.h"
#include "daemon/net/loop.h"
#include "daemon/net/peer_net.h"
#include "daemon/snapshots.h"
#include "tools/cli/exit_codes.h"
#include "tools/cli/hangup.h"
#include "tools/cli/settings.h"
#include "tools/cli/systemd_notify.h"

namespace lineq {
namespace {

constexpr std::string_view kExamples[] = {
    "lineqd -f /etc/lineq/lineq.cfg",
    "lineqd -t                                      # check the configuration and print it",
    "lineqd --mode vwr -c --origin 10.0.0.8:80      # write haproxy.cfg for the waiting rooms",
    "SERVICE_TCP_HOST=10.0.0.5 LINEQ_INSTANCE=test lineqd --log-level debug",
};

std::vector<cli::Option> all_options() {
  std::vector<cli::Option> options = cli::setting_options(cli::Loader::kDaemon);
  options.push_back({"check", 't', "", "check the configuration, print it and exit", ""});
  options.push_back({"haproxy-config", 'c', "", "write haproxy.cfg for the rooms and exit", ""});
  options.push_back({"stdout", 0, "", "-c: print it instead", ""});
  options.push_back({"force", 0, "", "-c: replace a haproxy.cfg that was changed by hand", ""});
  options.push_back({"bind", 0, "ADDRESS", "-c: where HAProxy listens", ":8080"});
  options.push_back({"origin", 0, "ADDRESS", "-c: a server of the site, may be repeated",
                     "127.0.0.1:TARGET_PORT"});
  options.push_back({"fail-open", 0, "", "-c: let all pass while lineq-web is down", ""});
  return options;
}

engine::ModeKind mode_of(const cli::Settings& settings) {
  switch (settings.mode) {
    case cli::Mode::kAggregate:
      return engine::ModeKind::kAggregate;
    case cli::Mode::kAccumulate:
      return engine::ModeKind::kAccumulate;
    case cli::Mode::kWaitingRoom:
      return engine::ModeKind::kWaitingRoom;
  }
  return engine::ModeKind::kAggregate;
}

shm::WhenFull when_full(const cli::Settings& settings) {
  return settings.full_table == cli::FullTable::kEvict ? shm::WhenFull::kEvict
                                                       : shm::WhenFull::kRefuse;
}

engine::AccumulateOptions accumulate_options(const cli::Settings& settings) {
  engine::AccumulateOptions options;
  options.interval_ms = settings.aggregate_interval_ms;
  options.ledger_expire_ms = settings.ledger_expire_ms;
  for (const cli::AggregateRule& rule : settings.aggregate) {
    using From = cli::AggregateRule::Policy;
    options.rules.push_back({rule.from, rule.to,
                             rule.policy == From::kMax  ? engine::Policy::kMax
                             : rule.policy == From::kOr ? engine::Policy::kOr
                                                        : engine::Policy::kLatest});
  }
  return options;
}

// The one room that is there because nobody said anything.
bool room_implied(const cli::Settings& settings) {
  return settings.mode == cli::Mode::kWaitingRoom && !settings.total_users_given &&
         settings.rooms.size() == 1 && settings.rooms.front().name == cli::kDefaultRoom;
}

// The configured rooms as they are by now, and those that were made while running.
std::vector<cli::RoomSettings> rooms_by_now(const cli::Settings& settings) {
  std::vector<cli::RoomSettings> rooms = settings.rooms;
  if (::access(settings.state_dir.c_str(), R_OK | X_OK) != 0) {
    return rooms;
  }
  const Result<control::StateDir> state = control::StateDir::open(settings.state_dir);
  Result<std::vector<control::KeptRoom>> kept =
      state ? state->load_rooms() : Result<std::vector<control::KeptRoom>>(state.error());
  if (!kept) {
    fmt::print(stderr, "lineqd: {}; rooms made while running are left out\n", kept.error().what);
    return rooms;
  }
  const auto made_while_running = [](const control::KeptRoom& k) { return !k.configured; };
  if (room_implied(settings) && std::any_of(kept->begin(), kept->end(), made_while_running)) {
    rooms.clear();
  }
  for (const control::KeptRoom& each : *kept) {
    const auto same = std::find_if(rooms.begin(), rooms.end(), [&](const cli::RoomSettings& room) {
      return room.name == each.room.name;
    });
    if (same == rooms.end()) {
      if (made_while_running(each)) {
        rooms.push_back(each.room);
      }
    } else if (each.configured == *same) {
      *same = each.room;
    }
  }
  return rooms;
}

// lineqd -c.
int write_haproxy(const cli::CommandLine& line, const cli::Settings& settings) {
  daemon::HaproxyChoices choices;
  choices.room_table = settings.room_table;
  choices.users_table = settings.users_table;
  choices.bind = line.value("bind").value_or(choices.bind);
  choices.fail_open = line.has("fail-open");
  choices.origins = {fmt::format("127.0.0.1:{}", settings.target_port)};
  if (const auto given = line.values("origin"); !given.empty()) {
    choices.origins.assign(given.begin(), given.end());
  }
  const std::vector<cli::RoomSettings> rooms = rooms_by_now(settings);
  const Result<std::string> text = daemon::haproxy_config(settings, rooms, choices);
  if (!text) {
    return cli::usage_error("lineqd", text.error().what);
  }
  if (line.has("stdout")) {
    return cli::print_out("lineqd", *text);
  }
  if (const Status written = daemon::write_haproxy_config("haproxy.cfg", *text, line.has("force"));
      !written) {
    fmt::print(stderr, "lineqd: {}\n", written.error().what);
    return cli::kExitUsage;
  }
  return cli::print_out("lineqd", fmt::format("haproxy.cfg written for {} room{}\n", rooms.size(),
                                              rooms.size() == 1 ? "" : "s"));
}

control::Policy policy_of(const cli::Settings& settings) {
  return {::geteuid(), control::Policy::standard_groups(), settings.control_access};
}

// What lineqd keeps beside the segment; mode vwr.
struct Kept {
  std::optional<control::StateDir> state;
  std::vector<control::KeptRoom> rooms;
};

Kept open_state(const cli::Settings& settings) {
  Kept kept;
  if (settings.mode != cli::Mode::kWaitingRoom) {
    return kept;
  }
  Result<control::StateDir> state = control::StateDir::open(settings.state_dir);
  if (!state) {
    cli::log_warning("{}; rooms made while running and the log of changes are not kept",
                     state.error().what);
    return kept;
  }
  kept.state = state.take();
  Result<std::vector<control::KeptRoom>> rooms = kept.state->load_rooms();
  if (rooms) {
    kept.rooms = rooms.take();
  } else {
    cli::log_err("{}; rooms made while running have to be made again", rooms.error().what);
  }
  return kept;
}

engine::WaitingRoomOptions waiting_room_options(const cli::Settings& settings,
                                                const shm::Writer& writer, const Kept& kept) {
  engine::WaitingRoomOptions options;
  options.room_table = settings.room_table;
  options.users_table = settings.users_table;
  options.seed = realtime_ms() * 1'000'003 + static_cast<u64>(::getpid());
  const bool fresh = writer.attached_as() == shm::Attach::kCreated ||
                     writer.attached_as() == shm::Attach::kReplaced;
  options.state_lost = fresh && !kept.rooms.empty();
  return options;
}

control::HandlerOptions handler_options(const cli::Settings& settings, const shm::Writer& writer,
                                        std::optional<control::StateDir> state) {
  control::HandlerOptions options;
  options.instance = settings.instance;
  options.mode = cli::mode_name(settings.mode);
  options.state = std::move(state);
  options.default_session_ms = settings.session_ms;
  options.default_capacity = settings.total_users;
  options.realtime_ms = realtime_ms;
  options.room_time = [&writer](SegmentMs now) { return writer.room_time(now); };
  return options;
}

// Null: without a control socket, as nobody asked for one in this place.
Result<std::unique_ptr<net::ControlServer>> open_control(net::Loop& loop, control::Handler& handler,
                                                         const cli::Settings& settings) {
  Result<std::unique_ptr<net::ControlServer>> server = net::ControlServer::listen(
      loop,
      {.path = settings.control,
       .mode = settings.control_mode,
       .group = settings.control_group,
       .stranger = [&](const control::Caller& caller) { return handler.stranger(caller); }},
      [&](std::string_view line, const control::Caller& caller, const auto& reply) {
        handler.answer(line, caller, loop.now(), reply);
      });
  if (!server && !settings.control_given && server.error().code != ErrorCode::kBusy) {
    cli::log_warning("{}; running without one", server.error().what);
    return std::unique_ptr<net::ControlServer>();
  }
  return server;
}

daemon::SnapshotOptions snapshot_options(const cli::Settings& settings) {
  return {settings.instance, settings.state_dir, settings.state_dir_given,
          settings.snapshot_seconds};
}

// SIGHUP: takes over what can change while running and says what cannot. What became of it.
std::string reload(const cli::CommandLine& line, cli::Settings& settings, net::PeerNet& net,
                   control::Handler& handler, SegmentMs now) {
  const Result<cli::Settings> fresh = cli::load_settings(cli::Loader::kDaemon, line);
  if (!fresh) {
    std::string news = "configuration kept as it was: " + fresh.error().what;
    cli::log_err("{}", news);
    return news;
  }
  const Result<bool> taken = net.reload(*fresh);
  if (!taken) {
    std::string news = "configuration and certificates kept as they were: " + taken.error().what;
    cli::log_err("{}", news);
    return news;
  }
  for (const std::string& warning : fresh->warnings) {
    cli::log_warning("{}", warning);
  }
  settings.log_level = fresh->log_level;
  settings.peer_name = fresh->peer_name;
  settings.peers = fresh->peers;
  settings.control_access = fresh->control_access;
  handler.set_policy(policy_of(settings));
  if (settings.mode == fresh->mode) {
    settings.rooms = fresh->rooms;
    settings.rooms_given = fresh->rooms_given;
    settings.total_users = fresh->total_users;
    settings.total_users_given = fresh->total_users_given;
    settings.session_ms = fresh->session_ms;
    const std::size_t rooms = handler.reload(settings.rooms, room_implied(settings), now);
    if (rooms != 0) {
      cli::log_notice("{} rooms made or changed", rooms);
    }
  }
  if (*taken) {
    settings.listeners = fresh->listeners;
    settings.listeners_given = fresh->listeners_given;
  }
  cli::set_log_level(settings.log_level);
  std::string news =
      fmt::format("configuration and certificates read again: log level is {}, {} to dial",
                  cli::log_level_name(settings.log_level), settings.peers.size());
  if (!*taken) {
    cli::log_warning("{}; the listeners' addresses need a restart to change", news);
  } else {
    cli::log_notice("{}", news);
  }
  if (const auto kept = cli::changed_settings(cli::Loader::kDaemon, settings, *fresh);
      !kept.empty()) {
    cli::log_warning("configuration: a restart is needed for: {}", fmt::join(kept, ", "));
  }
  return news;
}

int serve(const cli::CommandLine& line, cli::Settings settings) {
  cli::SystemdNotify systemd;
  Result<std::unique_ptr<shm::Writer>> attached = shm::Writer::attach(
      {.instance = settings.instance,
       .memory_limit = settings.memory_limit_bytes,
       .feed_log2 = settings.feed_log2,
       .when_full = when_full(settings),
       .snapshots = daemon::snapshots_to_load(snapshot_options(settings)),
       .progress = [&] { systemd.still("loading a snapshot", monotonic_ms()); }});
  if (!attached) {
    const bool busy = attached.error().code == ErrorCode::kBusy;
    cli::log_err("{}{}",
                 busy ? fmt::format("another lineqd runs on instance {}", settings.instance)
                      : attached.error().what,
                 attached.error().code == ErrorCode::kExhausted
                     ? fmt::format("; an empty segment takes {} bytes: make room in /dev/shm (or "
                                   "in memory_limit), or make feed_log2 smaller",
                                   shm::least_segment_bytes(settings.feed_log2))
                     : "");
    return busy ? cli::kExitNotFound : cli::kExitUsage;
  }
  shm::Writer& writer = **attached;
  cli::log_line(writer.attached_as() == shm::Attach::kReplaced ? cli::LogLevel::kWarning
                                                               : cli::LogLevel::kNotice,
                "{}", fmt::make_format_args(writer.attach_note()));
  if (writer.root_moved()) {
    cli::log_warning(
        "segment {}: a process that may only read it had locked it, which would keep lineqd out: "
        "it was taken away from that lock",
        settings.instance);
  }
  daemon::tell_restored(writer.restored());

  engine::EngineOptions options;
  options.mode = mode_of(settings);
  options.accumulate = accumulate_options(settings);
  options.own_name = settings.peer_name;
  options.session.max_message = settings.max_message_bytes;
  options.session.heartbeat_ms = cli::kHeartbeatMs;
  options.session.dead_ms = settings.silent_peer_ms;
  options.when_full = when_full(settings);
  // The segment's objects need descriptors too; without any left libuv closes connections silently.
  const u64 descriptors = net::raise_descriptor_limit();
  options.max_peers = static_cast<u32>(std::min<u64>(options.max_peers, descriptors / 2));
  options.max_strangers = static_cast<u32>(std::min<u64>(options.max_strangers, descriptors / 8));
  Kept kept = open_state(settings);
  options.waiting_room = waiting_room_options(settings, writer, kept);
  engine::Engine engine(writer, options, writer.now());

  net::Loop loop([&writer] { return writer.now(); });
  auto opened = net::PeerNet::open(loop, engine, settings);
  if (!opened) {
    cli::log_err("{}", opened.error().what);
    writer.stop();
    return cli::kExitUsage;
  }
  net::PeerNet& net = **opened;

  control::Entries entries(engine, writer);
  bool shutdown = false;
  control::HandlerOptions handling = handler_options(settings, writer, std::move(kept.state));
  handling.entries = [&](const control::Command& command, SegmentMs now, auto done) {
    entries.run(command, now, done);
  };
  handling.stop = [&] { shutdown = true; };
  daemon::Snapshots snapshots(writer, snapshot_options(settings));
  handling.snapshots = [&] { return snapshots.info(); };
  control::Handler handler(std::move(handling), policy_of(settings), engine.rooms());
  handler.start(std::move(kept.rooms), settings.rooms, room_implied(settings), loop.now());
  auto control = open_control(loop, handler, settings);
  if (!control) {
    cli::log_err("{}", control.error().what);
    net.close("lineqd stops");
    loop.stop();
    loop.run();
    writer.stop();
    return control.error().code == ErrorCode::kBusy ? cli::kExitNotFound : cli::kExitUsage;
  }

  const auto stop = [&] {
    cli::log_notice("stopping: {} connections are closed", engine.book().all().size());
    systemd.stopping();
    net.close("lineqd stops");
    if (*control) {
      (*control)->close();
    }
    loop.stop();
  };
  loop.on_late = [&](u64 ms) { engine.resume(ms, loop.now()); };
  loop.on_turn = [&] {
    engine.turn(loop.now());
    net.flush();
    if (const auto ms = engine.next_ms()) {
      loop.wake_in(*ms);
    }
    return engine.busy();
  };
  loop.on_tick = [&] {
    net.tick();  // first, as it knows better what a connection waits for
    engine.tick(loop.now());
    if (*control) {
      (*control)->tick();
    }
    systemd.alive(loop.now());
    snapshots.tick();
    if (shutdown) {
      stop();
    }
  };
  loop.on_signal(SIGTERM, stop);
  loop.on_signal(SIGINT, stop);
  loop.on_signal(SIGHUP, [&] {
    systemd.reloading();
    systemd.ready(reload(line, settings, net, handler, loop.now()));
  });
  cli::release_hangup();

  const std::string ready = fmt::format(
      "ready: instance {}, mode {}, peer name {}, listening on {}, {} to dial", settings.instance,
      cli::mode_name(settings.mode), settings.peer_name, net.addresses(), settings.peers.size());
  cli::log_notice("{}", ready);
  systemd.ready(ready);
  loop.run();
  // The lock is held and the heart beats: nobody else takes the segment, nobody thinks it hangs.
  snapshots.stop([&] {
    writer.heartbeat(writer.now());
    systemd.still("writing the last snapshot", monotonic_ms());
  });
  writer.stop();
  cli::log_notice("stopped");
  return cli::kExitFine;
}

int run(int argc, char** argv) {
  const std::vector<cli::Option> options = all_options();
  const cli::Program program{
      "lineqd", "[OPTION]...",
      "Takes stick tables of any number of HAProxys over the peers protocol, keeps them in shared "
      "memory and keeps the HAProxys in step.",
      options, kExamples};
  const cli::CommandLine line = cli::read_command_line(program, argc, argv);
  if (line.exit_code) {
    return *line.exit_code;
  }
  const bool writes = line.has("haproxy-config");
  Result<cli::Settings> settings = cli::load_settings(cli::Loader::kDaemon, line);
  if (!settings) {
    fmt::print(stderr, "lineqd: {}\n", settings.error().what);
    return cli::kExitUsage;
  }
  if (line.has("check") || writes) {
    for (const std::string& warning : settings->warnings) {
      fmt::print(stderr, "lineqd: {}\n", warning);
    }
    if (writes) {
      return write_haproxy(line, *settings);
    }
    if (const Status readable = net::PeerNet::check_certificates(*settings); !readable) {
      fmt::print(stderr, "lineqd: {}\n", readable.error().what);
      return cli::kExitUsage;
    }
    return cli::print_out("lineqd", cli::settings_json(*settings));
  }
  cli::log_setup(cli::log_setup_of(*settings, "lineqd"));
  for (const std::string& warning : settings->warnings) {
    cli::log_warning("{}", warning);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a snapshot beyond the limit is an error like any other
  return serve(line, settings.take());
}

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  lineq::cli::hold_hangup();
  return lineq::run(argc, argv);
}
