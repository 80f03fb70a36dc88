// Child processes of tests: started with their output in files, waited for with a deadline, and
// never left behind: killed by the destructor, and by the kernel when the test itself dies.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "shm/support/ints.h"

namespace lineq::test {

using Milliseconds = std::chrono::milliseconds;

// Generous: a loaded machine or a sanitizer build is slow, a passing test never waits so long.
inline constexpr Milliseconds kPatience{20000};

// Asks `condition` every few milliseconds until it holds or `patience` is over.
bool wait_until(const std::function<bool()>& condition, Milliseconds patience = kPatience);

struct Command {
  std::vector<std::string> words;  // program and arguments; the program is a path
  std::vector<std::pair<std::string, std::string>> environment;  // beside the test's own
  std::string output;  // files OUTPUT.out and OUTPUT.err; appended to when they exist
};

class Process {
 public:
  Process() = default;
  // Starts it. A program that cannot be executed ends at once with exit code 127.
  explicit Process(const Command& command);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();  // SIGKILL if it still runs

  pid_t pid() const { return pid_; }
  bool running();
  void signal(int number) const;
  // Waits for its end: the exit code, or 128 + signal; nullopt when it still runs.
  std::optional<int> wait(Milliseconds patience = kPatience);
  // SIGKILL, and waits.
  void kill();
  // SIGTERM, and waits; SIGKILL and nullopt when it does not end.
  std::optional<int> stop(Milliseconds patience = kPatience);

  std::string out() const;
  std::string err() const;
  bool wait_for_err(std::string_view text, Milliseconds patience = kPatience);

 private:
  std::string output_;
  pid_t pid_ = -1;
  std::optional<int> exit_code_;
};

// Runs a command to its end.
struct Finished {
  int exit_code = -1;  // -1: took longer than `patience` and was killed
  std::string out;
  std::string err;
};
Finished run(const Command& command, Milliseconds patience = std::chrono::minutes(2));

std::string read_file(const std::string& path);
void write_file(const std::string& path, std::string_view text);
std::vector<std::string> lines_of(std::string_view text);

// Of a running process, from /proc.
u64 resident_kib(pid_t pid);
u64 anonymous_kib(pid_t pid);  // without mapped files: what a reader itself has taken
u64 open_files(pid_t pid);
double cpu_seconds(pid_t pid);

}  // namespace lineq::test
