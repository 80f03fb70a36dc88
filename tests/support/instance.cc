#include "tests/support/instance.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <mutex>

#include <fmt/format.h>

#include "tests/support/http.h"
#include "tests/support/net.h"

namespace lineq::test {
namespace {

constexpr std::string_view kShmDir = "/dev/shm";
constexpr std::string_view kObjectPrefix = "lineq.test-";

std::string build_dir() {
  // This program is BUILD/tests/FOLDER/PROGRAM.
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
  return self.parent_path().parent_path().parent_path().string();
}

// What tests left that were killed: their names carry the process id.
void remove_orphans() {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kShmDir, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kObjectPrefix)) {
      const pid_t pid = std::atoi(name.c_str() + kObjectPrefix.size());
      if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) {
        ::unlink(entry.path().c_str());
      }
    }
  }
}

}  // namespace

TempDir::TempDir() {
  const char* base = std::getenv("TMPDIR");
  // Short: paths of Unix sockets end at 107 bytes.
  path_ = fmt::format("{}/lq-XXXXXX", base != nullptr && *base != '\0' ? base : "/tmp");
  if (::mkdtemp(path_.data()) == nullptr) {
    fmt::print(stderr, "cannot make a directory {}\n", path_);
    std::abort();
  }
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

TempInstance::TempInstance() {
  static std::once_flag once;
  std::call_once(once, remove_orphans);
  static std::atomic<u32> count{0};
  name_ = fmt::format("test-{}-{}", ::getpid(), ++count);
}

TempInstance::~TempInstance() {
  for (const std::string& object : objects()) {
    ::unlink(fmt::format("{}/{}", kShmDir, object).c_str());
  }
}

std::vector<std::string> TempInstance::objects() const {
  std::vector<std::string> names;
  const std::string prefix = fmt::format("lineq.{}.", name_);
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(kShmDir, ignored)) {
    if (const std::string name = entry.path().filename().string(); name.starts_with(prefix)) {
      names.push_back(name);
    }
  }
  return names;
}

std::string lineqd_path() {
  return build_dir() + "/daemon/lineqd";
}
std::string lineq_web_path() {
  return build_dir() + "/webui/lineq-web";
}
std::string lineq_dump_path() {
  return build_dir() + "/tools/lineq-dump";
}
std::string lineq_top_path() {
  return build_dir() + "/tools/lineq-top";
}
std::string lineqctl_path() {
  return build_dir() + "/tools/lineqctl";
}
std::string manual_path(std::string_view page) {
  return build_dir() + "/packaging/man/" + std::string(page);
}

std::string clock_shift_path() {
  return build_dir() + "/tests/support/libclock_shift.so";
}

Instance::Instance() : tcp_port_(free_port()), web_port_(free_port()) {
  // An empty file of settings: what the machine has in /etc must not matter.
  write_file(dir_.file("lineq.cfg"), "{}\n");
  std::filesystem::create_directory(dir_.file("state"));
  environment_ = {{"LINEQ_INSTANCE", name()},
                  {"LINEQ_CONTROL", dir_.file("control.sock")},
                  {"LINEQ_STATE_DIR", dir_.file("state")},
                  {"LINEQ_ADMIN_TOKEN_FILE", dir_.file("admin.token")},
                  {"SERVICE_TCP_HOST", "127.0.0.1"},
                  {"SERVICE_TCP_PORT", std::to_string(tcp_port_)},
                  {"SERVICE_WEB_HOST", "127.0.0.1"},
                  {"SERVICE_WEB_PORT", std::to_string(web_port_)},
                  {"LINEQ_LOG_LEVEL", "debug"}};
}

void Instance::set(std::string_view variable, std::string_view value) {
  for (auto& [key, old] : environment_) {
    if (key == variable) {
      old = value;
      return;
    }
  }
  environment_.emplace_back(variable, value);
}

Command Instance::command(std::string program, std::vector<std::string> options,
                          std::string_view output) const {
  Command command;
  command.words = std::move(options);
  command.words.insert(command.words.begin(), std::move(program));
  command.environment = environment_;
  command.output = output.empty() ? "" : dir_.file(output);
  return command;
}

Process Instance::start_lineqd(std::string_view output, std::vector<std::string> options) {
  options.insert(options.end(), {"-f", dir_.file("lineq.cfg")});
  return Process(command(lineqd_path(), std::move(options), output));
}

Process Instance::start_web(std::string_view output, std::vector<std::string> options) {
  options.insert(options.end(), {"-f", dir_.file("lineq.cfg")});
  return Process(command(lineq_web_path(), std::move(options), output));
}

bool Instance::wait_listening(Process& daemon, Milliseconds patience) const {
  // The control socket is opened last.
  const auto ready = [&] {
    return can_connect(tcp_port_) && connect_unix(dir_.file("control.sock")).get() >= 0;
  };
  return wait_until([&] { return ready() || !daemon.running(); }, patience) && daemon.running();
}

bool Instance::wait_web(Process& web, Milliseconds patience) const {
  return wait_until([&] { return http_get(web_port_, "/healthz").status == 200 || !web.running(); },
                    patience) &&
         web.running();
}

Finished Instance::dump(std::vector<std::string> options, Milliseconds patience) {
  return run(command(lineq_dump_path(), std::move(options)), patience);
}

std::string Instance::verify() {
  const Finished finished = dump({"--verify"});
  return finished.exit_code == 0
             ? ""
             : fmt::format("exit code {}: {}{}", finished.exit_code, finished.out, finished.err);
}

}  // namespace lineq::test
