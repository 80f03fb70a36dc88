// The threat model of the README with the real programs: what a reader can do to the segment, what
// may stand in /dev/shm when lineqd starts, what a web process that was taken over reaches, and
// that no secret is in any log.
#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/e2e/world.h"
#include "tests/support/certificates.h"

namespace lineq::test {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;
constexpr gid_t kGroup = 54321;  // as the group lineq is to lineq-web

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// One mapping of an object of the segment.
struct Mapping {
  std::string rights;  // as in "r--s"
  std::string flags;   // " rd sh mr me ms ..."
};

std::vector<Mapping> mappings(pid_t pid, const Instance& lineq) {
  std::vector<Mapping> found;
  const std::string object = fmt::format("/dev/shm/lineq.{}.", lineq.name());
  bool inside = false;
  for (const std::string& line : lines_of(read_file(fmt::format("/proc/{}/smaps", pid)))) {
    const std::size_t word = std::min(line.find(' '), line.size());
    constexpr std::string_view kFlags = "VmFlags:";
    if (line.find('-') < word && line.find(':') > word) {  // FROM-TO RIGHTS ... PATH
      inside = contains(line, object);
      if (inside) {
        found.push_back({line.substr(word + 1, 4), ""});
      }
    } else if (inside && line.starts_with(kFlags)) {
      found.back().flags = line.substr(kFlags.size());
    }
  }
  return found;
}

// How the objects of the segment that a process has open were opened: flags of open().
std::vector<int> openings(pid_t pid, const Instance& lineq) {
  std::vector<int> found;
  const std::string object = fmt::format("/dev/shm/lineq.{}.", lineq.name());
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), ignored)) {
    if (!fs::read_symlink(entry.path(), ignored).string().starts_with(object)) {
      continue;
    }
    const std::string info =
        read_file(fmt::format("/proc/{}/fdinfo/{}", pid, entry.path().filename().string()));
    constexpr std::string_view kFlags = "flags:\t";
    const std::size_t at = info.find(kFlags);
    EXPECT_NE(at, std::string::npos) << info;
    if (at != std::string::npos) {
      found.push_back(
          static_cast<int>(std::strtoul(info.c_str() + at + kFlags.size(), nullptr, 8)));
    }
  }
  return found;
}

// Something that may or may not succeed.
struct Attempt {
  std::string name;
  std::function<bool()> succeeds;
};

// The names of those that succeed in a process of nobody's in that group, as lineq-web is one.
std::string done_by_web(const std::vector<Attempt>& attempts) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return "no pipe";
  }
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(kGroup) != 0 || ::setuid(kNobody) != 0) {
      ::_exit(127);
    }
    std::string done;
    for (const Attempt& attempt : attempts) {
      done += attempt.succeeds() ? attempt.name + "\n" : "";
    }
    ::_exit(::write(ends[1], done.data(), done.size()) == static_cast<ssize_t>(done.size()) ? 0
                                                                                            : 1);
  }
  ::close(ends[1]);
  const Fd from(ends[0]);
  std::string done;
  char text[256];
  for (ssize_t n = 0; (n = ::read(from.get(), text, sizeof text)) > 0;) {
    done.append(text, static_cast<std::size_t>(n));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? done : "it died: " + done;
}

bool opens(const std::string& path, int flags) {
  const Fd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  return fd.valid();
}

class SecurityTest : public testing::Test {
 protected:
  std::string object(std::string_view name) const {
    return fmt::format("/dev/shm/lineq.{}.{}", world_.lineq.name(), name);
  }
  // One table with so many entries.
  void start_with_entries(int entries) {
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    const auto peer = world_.fake("hap");
    ASSERT_TRUE(peer->connect()) << peer->why_ended();
    peer->define(1, plain_table());
    for (int i = 0; i < entries; ++i) {
      peer->update(1, fmt::format("k-{}", i), plain_row(7));
    }
    ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << world_.story();
  }
  bool web_says(std::string_view target, std::string_view text) const {
    return wait_until(
        [&] { return contains(http_get(world_.lineq.web_port(), target).body, text); });
  }
  Finished top_once() { return run(world_.lineq.command(lineq_top_path(), {"-1", "-d", "0.1"})); }

  World world_;
};

TEST_F(SecurityTest, ReadersHaveNothingOfTheSegmentWritable) {
  start_with_entries(20000);
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  ASSERT_TRUE(web_says("/tables?table=/plain&limit=10", "k-"));
  Process dump(world_.lineq.command(lineq_dump_path(), {"-t", "/plain", "--follow"}, "dump"));
  Process top(world_.lineq.command(lineq_top_path(), {"-j", "-t", "/plain", "-d", "0.1"}, "top"));
  ASSERT_TRUE(wait_until([&] { return contains(dump.out(), "k-1"); })) << dump.err();
  ASSERT_TRUE(wait_until([&] { return contains(top.out(), "k-1"); })) << top.err();
  const std::vector<std::pair<const char*, pid_t>> readers{
      {"lineq-web", world_.web.pid()}, {"lineq-dump", dump.pid()}, {"lineq-top", top.pid()}};
  for (const auto& [name, pid] : readers) {
    const auto mapped = mappings(pid, world_.lineq);
    EXPECT_GE(mapped.size(), 3U) << name;
    for (const Mapping& mapping : mapped) {
      EXPECT_EQ(mapping.rights, "r--s") << name;
      // No mprotect() makes it writable: what it maps was not opened for writing. The rights of the
      // file do not help here, as root has them all.
      EXPECT_TRUE(contains(mapping.flags, " mr")) << name << mapping.flags;
      EXPECT_FALSE(contains(mapping.flags, " mw")) << name << mapping.flags;
    }
    const auto opened = openings(pid, world_.lineq);
    EXPECT_GE(opened.size(), 3U) << name;
    for (const int flags : opened) {
      EXPECT_EQ(flags & O_ACCMODE, O_RDONLY) << name;
    }
  }
  // It would be seen.
  const auto written = mappings(world_.daemon.pid(), world_.lineq);
  EXPECT_TRUE(std::any_of(written.begin(), written.end(), [](const Mapping& mapping) {
    return mapping.rights == "rw-s" && contains(mapping.flags, " mw");
  }));
}

TEST_F(SecurityTest, AWebProcessThatWasTakenOverReadsAsksAndChangesNothing) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to be somebody else";
  }
  write_file(world_.lineq.file("lineq.cfg"),
             R"({"control_mode": "0666", "snapshot_seconds": 1,
                 "control_access": [{"who": "65534", "commands": ["ask", "present"]}]})");
  start_with_entries(100);
  const std::string state = world_.lineq.file("state");
  ASSERT_TRUE(wait_until([&] { return fs::exists(state + "/snapshot"); })) << world_.story();
  // As packages have it: the state is its group's to look at.
  ASSERT_EQ(::chmod(world_.lineq.dir().path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(state.c_str(), 0750), 0);
  ASSERT_EQ(::chown(state.c_str(), 0, kGroup), 0);
  for (const std::string& name : world_.lineq.objects()) {
    ASSERT_EQ(::chown(("/dev/shm/" + name).c_str(), 0, kGroup), 0);
  }
  const pid_t daemon = world_.daemon.pid();
  const std::string control = world_.lineq.file("control.sock");
  const auto command = [&](const std::string& line) {
    const Fd fd = connect_unix(control);
    return send_all(fd, line + "\n") && contains(receive_some(fd), R"("ok":true)");
  };
  const std::string root = object("root");
  EXPECT_EQ(done_by_web({
                {"reads", [&] { return opens(root, O_RDONLY); }},
                {"looks at the state", [&] { return opens(state, O_RDONLY | O_DIRECTORY); }},
                {"asks", [&] { return command(R"({"command":"info"})"); }},
            }),
            "reads\nlooks at the state\nasks\n");

  std::vector<Attempt> attempts{
      {"makes a file of the state", [&] { return opens(state + "/x", O_WRONLY | O_CREAT); }},
      {"takes the control socket away", [&] { return ::unlink(control.c_str()) == 0; }},
      {"signals lineqd", [&] { return ::kill(daemon, 0) == 0; }},
      {"traces lineqd", [&] { return ::ptrace(PTRACE_SEIZE, daemon, nullptr, nullptr) == 0; }},
      {"writes lineqd's memory",
       [&] { return opens(fmt::format("/proc/{}/mem", daemon), O_RDWR); }},
      {"opens lineqd's descriptors",
       [&] { return opens(fmt::format("/proc/{}/fd/3", daemon), O_RDONLY); }},
  };
  for (const char* line :
       {R"({"command":"shutdown"})", R"({"command":"log_level","level":"debug"})",
        R"({"command":"clear_table","table":"/plain"})",
        R"({"command":"set_entry","table":"/plain","key":"k-1","values":{"gpc0":"1"}})"}) {
    attempts.push_back({line, [&command, line] { return command(line); }});
  }
  std::vector<std::string> files{state + "/snapshot"};
  for (const std::string& name : world_.lineq.objects()) {
    files.push_back("/dev/shm/" + name);
  }
  EXPECT_GE(files.size(), 5U);
  for (const std::string& file : files) {
    const auto attempt = [&](std::string_view what, std::function<bool()> succeeds) {
      attempts.push_back({fmt::format("{} {}", what, file), std::move(succeeds)});
    };
    attempt("writes", [&file] { return opens(file, O_WRONLY); });
    attempt("maps", [&file] { return opens(file, O_RDWR); });
    attempt("truncates", [&file] { return ::truncate(file.c_str(), 0) == 0; });
    attempt("opens up", [&file] { return ::chmod(file.c_str(), 0666) == 0; });
    attempt("removes", [&file] { return ::unlink(file.c_str()) == 0; });
    attempt("renames", [&file] { return ::rename(file.c_str(), (file + ".x").c_str()) == 0; });
  }
  EXPECT_EQ(done_by_web(attempts), "");
  EXPECT_TRUE(world_.daemon.running());
  EXPECT_EQ(world_.lineq.verify(), "");
}

// Whoever reads the root can lock it for reading; while lineqd is away nothing stands against that.
TEST_F(SecurityTest, AReadersLockDoesNotKeepLineqdOut) {
  start_with_entries(100);
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  ASSERT_TRUE(web_says("/tables?table=/plain&limit=10", "k-"));
  world_.kill_daemon();
  const Fd reader(::open(object("root").c_str(), O_RDONLY | O_CLOEXEC));
  struct flock lock {};
  lock.l_type = F_RDLCK;
  ASSERT_EQ(::fcntl(reader.get(), F_OFD_SETLK, &lock), 0);
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  EXPECT_EQ(world_.log_lines("it was taken away from that lock").size(), 1U) << world_.story();
  EXPECT_EQ(world_.lineq.verify(), "");
  EXPECT_TRUE(contains(world_.lineq.dump({"-t", "/plain", "-k", "k-99"}).out, "gpc0=7"));
  // Who has the old one notices, and shows what the new lineqd does.
  const auto peer = world_.fake("hap");
  ASSERT_TRUE(peer->connect()) << peer->why_ended();
  peer->define(1, plain_table());
  peer->update(1, "news", plain_row(8));
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << world_.story();
  EXPECT_TRUE(web_says("/tables?table=/plain", "news"));
}

TEST_F(SecurityTest, ASegmentOfSomebodyElseIsTakenByNobody) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to give something away";
  }
  start_with_entries(10);
  EXPECT_EQ(world_.daemon.stop(), 0);
  const auto give_to = [&](uid_t user) {
    for (const std::string& name : world_.lineq.objects()) {
      ASSERT_EQ(::chown(("/dev/shm/" + name).c_str(), user, 0), 0);
    }
  };
  give_to(kNobody);
  Process daemon = world_.lineq.start_lineqd("refused");
  EXPECT_EQ(daemon.wait(), 1);
  EXPECT_TRUE(contains(
      daemon.err(),
      fmt::format("shared memory object lineq.{}.root: file, owner 65534 mode 640, not ours (owner "
                  "0 mode 640): somebody took the name",
                  world_.lineq.name())))
      << daemon.err();
  const std::string refused = fmt::format(
      "shared memory object lineq.{}.root: owner 65534, expected 0", world_.lineq.name());
  const Finished dump = world_.lineq.dump({"-t", "/plain"});
  EXPECT_NE(dump.exit_code, 0);
  EXPECT_EQ(dump.out, "");
  EXPECT_TRUE(contains(dump.err, refused)) << dump.err;
  const Finished top = top_once();
  EXPECT_NE(top.exit_code, 0);
  EXPECT_TRUE(contains(top.err, refused)) << top.out << top.err;
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  EXPECT_TRUE(world_.web.wait_for_err(refused)) << world_.web.err();
  EXPECT_EQ(http_get(world_.lineq.web_port(), "/readyz").status, 503);
  EXPECT_FALSE(contains(http_get(world_.lineq.web_port(), "/tables?table=/plain").body, "k-1"));
  // It was for no other reason.
  give_to(0);
  EXPECT_TRUE(web_says("/tables?table=/plain", "k-1"));
  EXPECT_TRUE(contains(world_.lineq.dump({"-t", "/plain"}).out, "k-1"));
  EXPECT_TRUE(world_.start_daemon()) << world_.trouble;
}

// Nobody waits for it, follows it, or takes it for memory.
TEST_F(SecurityTest, WhatElseStandsAtTheNameIsNamedAndLeftAlone) {
  Instance other;
  Process good = other.start_lineqd();
  ASSERT_TRUE(other.wait_listening(good)) << good.err();
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  const std::string root = object("root");
  const std::vector<Attempt> cases{
      {"FIFO", [&] { return ::mkfifo(root.c_str(), 0640) == 0; }},
      {"symbolic link",
       [&] {
         const std::string to = fmt::format("/dev/shm/lineq.{}.root", other.name());
         return ::symlink(to.c_str(), root.c_str()) == 0;
       }},
      {"directory", [&] { return ::mkdir(root.c_str(), 0755) == 0; }},
  };
  for (const Attempt& c : cases) {
    ASSERT_TRUE(c.succeeds()) << c.name;
    const std::string sentence =
        fmt::format("shared memory object lineq.{}.root: ", world_.lineq.name());
    EXPECT_TRUE(world_.web.wait_for_err(sentence + "a " + c.name)) << world_.web.err();
    EXPECT_EQ(http_get(world_.lineq.web_port(), "/healthz").status, 200) << c.name;
    Process daemon = world_.lineq.start_lineqd("refused " + c.name);
    EXPECT_EQ(daemon.wait(), 1) << c.name;
    EXPECT_TRUE(contains(daemon.err(), sentence + c.name)) << daemon.err();
    for (const Finished& reader : {world_.lineq.dump({}), top_once()}) {
      EXPECT_GT(reader.exit_code, 0) << c.name;
      EXPECT_TRUE(contains(reader.err, sentence + "a " + c.name)) << reader.err;
    }
    EXPECT_TRUE(fs::exists(fs::symlink_status(root))) << c.name;
    fs::remove(root);
  }
  EXPECT_TRUE(good.running());
  EXPECT_TRUE(world_.start_daemon()) << world_.trouble;
}

class SecretsTest : public SecurityTest {
 protected:
  static constexpr std::string_view kToken =
      "b5c1f0a9d2e84736a1b0c9d8e7f6a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4";
  static constexpr std::string_view kWrong =
      "b5c1f0a9d2e84736a1b0c9d8e7f6a5b4ffffffffffffffffffffffffffffffff";
  static constexpr std::string_view kSession = "anna-0123456789abcdef";

  HttpAnswer http(std::string_view line, std::string_view fields, std::string_view body = "") {
    const Fd fd = connect_tcp(world_.lineq.web_port());
    send_all(fd, fmt::format("{} HTTP/1.1\r\nHost: lineq\r\nConnection: close\r\n{}"
                             "Content-Length: {}\r\n\r\n{}",
                             line, fields, body.size(), body));
    HttpAnswer answer;
    answer.body = receive_all(fd).bytes;
    constexpr std::string_view kVersion = "HTTP/1.1 ";
    answer.status = answer.body.starts_with(kVersion)
                        ? static_cast<int>(number(answer.body.substr(kVersion.size())))
                        : 0;
    said_ += answer.body;
    return answer;
  }
  void keep(const Finished& finished) { said_ += finished.out + finished.err; }

  std::string said_;  // to whom asked over HTTP, and by the programs on their output
};

TEST_F(SecretsTest, NoneIsInALogOrAnAnswer) {
  const Authority authority(world_.lineq.dir(), "authority");
  const std::string pem = authority.make("lineqd.pem", "lineq", "DNS:lineq.example");
  const std::string own = world_.lineq.file("lineq.cfg");
  const u16 tls_port = free_port();
  write_file(own, fmt::format(R"({{"service_mode": "vwr", "snapshot_seconds": 0,
    "listeners": [{{"address": "127.0.0.1:{}"}},
                  {{"address": "127.0.0.1:{}", "tls": {{"certificate": "{}", "ca": "{}"}}}}],
    "routes": [{{"name": "shop", "queue_all": true}}, {{"name": "club"}}]}})",
                              world_.lineq.tcp_port(), tls_port, pem, authority.ca()));
  write_file(world_.lineq.file("admin.token"), std::string(kToken) + "\n");
  ASSERT_EQ(::chmod(world_.lineq.file("admin.token").c_str(), 0644), 0);
  ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
  ASSERT_TRUE(world_.start_web()) << world_.trouble;
  EXPECT_TRUE(world_.web.wait_for_err("mode 644, every user of this machine can read it"));

  // Visitors: by the tables, one in no room of ours and one in none at all, and by their browsers.
  const auto peer = world_.fake("hap");
  ASSERT_TRUE(peer->connect()) << peer->why_ended();
  peer->define(1, string_table("user", 73, u64{1} << shm::kGpc1));
  peer->define(2, plain_table());
  const std::vector<u64> waits{0};
  for (const char* room : {"@shop", "@nowhere", ""}) {
    peer->update(1, std::string(kSession) + room, waits);
    ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << world_.story();
  }
  peer->update(2, "k", plain_row(1));
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << world_.story();
  EXPECT_EQ(world_.log_lines("key ...@nowhere names no room of ours").size(), 1U) << world_.story();
  const std::string visitor = fmt::format(
      "X-Forwarded-For: 10.0.0.1\r\nCookie: sessionid={0}\r\nX-LineQ-Key: {0}@shop\r\n", kSession);
  EXPECT_EQ(http("GET /", visitor).status, 200);
  http("GET /nothing?x=1", visitor);

  // The token, right and wrong, where it belongs and where it does not.
  const auto bearer = [](std::string_view token) {
    return fmt::format("Authorization: Bearer {}\r\n", token);
  };
  const std::string change = R"({"message":"hello"})";
  EXPECT_EQ(http("PATCH /waiting_rooms/shop", bearer(kToken), change).status, 200);
  EXPECT_EQ(http("PATCH /waiting_rooms/shop", bearer(kToken), R"({"capacity":"x"})").status, 400);
  EXPECT_EQ(http("PUT /tables/plain/keys/k", bearer(kToken), R"({"values":{"gpc0":5}})").status,
            200);
  for (const std::string& wrong :
       {bearer(kWrong), bearer(std::string(kToken) + "x"), bearer(kToken) + bearer(kToken),
        fmt::format("Authorization: Basic {}\r\n", kToken)}) {
    EXPECT_EQ(http("PATCH /waiting_rooms/shop", wrong, change).status, 401) << wrong;
  }
  http(fmt::format("GET /status?token={}", kToken), "");
  http(fmt::format("PATCH /waiting_rooms/shop?token={}", kToken), "", change);
  http("PATCH /waiting_rooms/shop", bearer(kToken) + "Content-Length: 1\r\n", change);
  // Somebody who does not speak TLS, and one who has no certificate.
  {
    const Fd stranger = connect_tcp(tls_port);
    send_all(stranger, "GET / HTTP/1.0\r\n\r\n");
    receive_all(stranger);
  }
  keep(run(
      {.words = {"/usr/bin/openssl", "s_client", "-connect", fmt::format("127.0.0.1:{}", tls_port)},
       .environment = {},
       .output = ""}));
  EXPECT_TRUE(wait_until([&] { return !world_.log_lines("TLS").empty(); })) << world_.story();

  for (const char* page : {"/status", "/status.json", "/metrics", "/version", "/openapi.json",
                           "/getConfig", "/waiting_rooms", "/readyz"}) {
    http(fmt::format("GET {}", page), "");
  }
  for (const char* option : {"-t", "--help"}) {
    keep(run(world_.lineq.command(lineqd_path(), {option, "-f", own})));
    keep(run(world_.lineq.command(lineq_web_path(), {option, "-f", own})));
  }
  for (const char* words : {"info", "rooms", "peers", "tables"}) {
    keep(run(world_.lineq.command(lineqctl_path(), {words})));
  }
  world_.daemon.signal(SIGHUP);
  world_.web.signal(SIGHUP);
  EXPECT_TRUE(world_.daemon.wait_for_err("configuration and certificates read again"));
  EXPECT_TRUE(world_.web.wait_for_err("configuration read again"));
  EXPECT_EQ(world_.web.stop(), 0);
  EXPECT_EQ(world_.daemon.stop(), 0);

  const std::string logs = world_.daemon.err() + world_.daemon.out() + world_.web.err() +
                           world_.web.out() + read_file(world_.lineq.file("state/events.jsonl"));
  EXPECT_TRUE(contains(logs, R"("after":{"message":"hello"})")) << logs;
  EXPECT_TRUE(contains(said_, "admin.token")) << "the file's name is none";
  // Of the wrong ones, too: they may have been right yesterday. Halves, as somebody may have cut.
  for (const std::string_view secret :
       {kToken.substr(0, 32), kToken.substr(32), kWrong.substr(32)}) {
    EXPECT_FALSE(contains(logs, secret)) << secret;
    EXPECT_FALSE(contains(said_, secret)) << secret;
  }
  EXPECT_FALSE(contains(logs, kSession));
  std::size_t lines = 0;
  bool inside = false;
  for (const std::string& line : lines_of(read_file(pem))) {
    inside = (inside || contains(line, "BEGIN PRIVATE KEY")) && !contains(line, "END PRIVATE KEY");
    if (inside && !line.starts_with("-----")) {
      ++lines;
      EXPECT_FALSE(contains(logs, line));
      EXPECT_FALSE(contains(said_, line));
    }
  }
  EXPECT_GE(lines, 2U);
  EXPECT_FALSE(contains(logs + said_, "PRIVATE KEY"));
}

}  // namespace
}  // namespace lineq::test
