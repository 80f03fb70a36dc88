#include "tests/support/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>

extern char** environ;

namespace lineq::test {
namespace {

std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view entry = *variable;
    const std::string_view name = entry.substr(0, entry.find('='));
    bool replaced = false;
    for (const auto& [key, value] : command.environment) {
      replaced = replaced || key == name;
    }
    if (!replaced) {
      all.emplace_back(entry);
    }
  }
  for (const auto& [key, value] : command.environment) {
    all.push_back(key + "=" + value);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  result.reserve(words.size() + 1);
  for (std::string& word : words) {
    result.push_back(word.data());
  }
  result.push_back(nullptr);
  return result;
}

// In the child. Only calls that are safe between fork and exec.
[[noreturn]] void become(char* const* argv, char* const* envp, int out, int err, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(127);  // the test died before prctl
  }
  const int in = ::open("/dev/null", O_RDONLY);
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(argv[0], argv, envp);
  constexpr std::string_view kFailed = "cannot execute the program\n";
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, kFailed.data(), kFailed.size());
  ::_exit(127);
}

std::string proc_file(pid_t pid, std::string_view name) {
  return read_file(fmt::format("/proc/{}/{}", pid, name));
}

u64 status_kib(pid_t pid, std::string_view key) {
  for (const std::string& line : lines_of(proc_file(pid, "status"))) {
    if (line.starts_with(key)) {
      return std::strtoull(line.c_str() + key.size(), nullptr, 10);
    }
  }
  return 0;
}

}  // namespace

bool wait_until(const std::function<bool()>& condition, Milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  constexpr Milliseconds kFirst{1};
  constexpr Milliseconds kLongest{20};
  for (Milliseconds pause = kFirst;; pause = std::min(pause * 2, kLongest)) {
    if (condition()) {
      return true;
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(pause);
  }
}

Process::Process(const Command& command) : output_(command.output) {
  std::vector<std::string> words = command.words;
  std::vector<std::string> environment = environment_of(command);
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(environment);
  const auto open_output = [](const std::string& path) {
    constexpr mode_t kMode = 0644;
    return ::open(path.empty() ? "/dev/null" : path.c_str(),
                  O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, kMode);
  };
  const int out = open_output(output_.empty() ? "" : output_ + ".out");
  const int err = open_output(output_.empty() ? "" : output_ + ".err");
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    become(argv.data(), envp.data(), out, err, parent);
  }
  ::close(out);
  ::close(err);
  if (pid_ < 0) {
    exit_code_ = 127;
  }
}

Process::Process(Process&& other) noexcept
    : output_(std::move(other.output_)),
      pid_(std::exchange(other.pid_, -1)),
      exit_code_(other.exit_code_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill();
    output_ = std::move(other.output_);
    pid_ = std::exchange(other.pid_, -1);
    exit_code_ = other.exit_code_;
  }
  return *this;
}

Process::~Process() {
  kill();
}

bool Process::running() {
  return pid_ > 0 && !wait(Milliseconds(0)).has_value();
}

void Process::signal(int number) const {
  if (pid_ > 0 && !exit_code_) {
    ::kill(pid_, number);
  }
}

std::optional<int> Process::wait(Milliseconds patience) {
  if (pid_ <= 0) {
    return exit_code_;
  }
  wait_until(
      [this] {
        int status = 0;
        if (!exit_code_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
          exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        return exit_code_.has_value();
      },
      patience);
  return exit_code_;
}

void Process::kill() {
  if (pid_ > 0 && !exit_code_) {
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

std::optional<int> Process::stop(Milliseconds patience) {
  signal(SIGTERM);
  const std::optional<int> code = wait(patience);
  kill();
  return code;
}

std::string Process::out() const {
  return read_file(output_ + ".out");
}

std::string Process::err() const {
  return read_file(output_ + ".err");
}

bool Process::wait_for_err(std::string_view text, Milliseconds patience) {
  return wait_until([&] { return err().find(text) != std::string::npos || !running(); },
                    patience) &&
         err().find(text) != std::string::npos;
}

Finished run(const Command& command, Milliseconds patience) {
  std::string name = "/tmp/lineq-run-XXXXXX";
  Command with_output = command;
  if (command.output.empty()) {
    if (::mkdtemp(name.data()) == nullptr) {
      return {};
    }
    with_output.output = name + "/run";
  }
  Finished finished;
  {
    Process process(with_output);
    const std::optional<int> code = process.wait(patience);
    process.kill();
    finished = {code.value_or(-1), process.out(), process.err()};
  }
  if (command.output.empty()) {
    ::unlink((with_output.output + ".out").c_str());
    ::unlink((with_output.output + ".err").c_str());
    ::rmdir(name.c_str());
  }
  return finished;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_file(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

u64 resident_kib(pid_t pid) {
  return status_kib(pid, "VmRSS:");
}

u64 anonymous_kib(pid_t pid) {
  return status_kib(pid, "RssAnon:");
}

u64 open_files(pid_t pid) {
  DIR* directory = ::opendir(fmt::format("/proc/{}/fd", pid).c_str());
  u64 count = 0;
  while (directory != nullptr && ::readdir(directory) != nullptr) {
    ++count;
  }
  if (directory != nullptr) {
    ::closedir(directory);
  }
  return count < 2 ? 0 : count - 2;  // . and ..
}

double cpu_seconds(pid_t pid) {
  const std::string stat = proc_file(pid, "stat");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) {
    return 0;
  }
  std::istringstream rest(stat.substr(name_end + 1));
  std::string word;
  double ticks = 0;
  // Fields 14 and 15 (utime, stime); the first word here is field 3.
  for (int field = 3; field <= 15 && rest >> word; ++field) {
    if (field >= 14) {
      ticks += std::strtod(word.c_str(), nullptr);
    }
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace lineq::test
