#include "bench/measured_process.h"

#include <dirent.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace lineq::bench {
namespace {

// The inode of the socket that listens on `port`.
std::optional<std::string> listening_inode(u16 port) {
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::string number, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
      words >> number >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
          timeout >> inode;
      if (state == "0A" && local.ends_with(fmt::format(":{:04X}", port))) {
        return inode;
      }
    }
  }
  return std::nullopt;
}

bool has_socket(const std::string& pid, const std::string& inode) {
  const std::string directory = "/proc/" + pid + "/fd";
  const std::string wanted = "socket:[" + inode + "]";
  DIR* const fds = ::opendir(directory.c_str());
  if (fds == nullptr) {
    return false;
  }
  bool found = false;
  while (const dirent* entry = found ? nullptr : ::readdir(fds)) {
    std::array<char, 64> target{};
    const std::string link = directory + "/" + entry->d_name;
    const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
    found = n > 0 && std::string_view(target.data(), static_cast<std::size_t>(n)) == wanted;
  }
  ::closedir(fds);
  return found;
}

}  // namespace

std::optional<long> pid_of_listener(u16 port) {
  const std::optional<std::string> inode = listening_inode(port);
  std::optional<long> pid;
  DIR* const processes = inode ? ::opendir("/proc") : nullptr;
  while (const dirent* entry = processes != nullptr ? ::readdir(processes) : nullptr) {
    const long candidate = std::strtol(entry->d_name, nullptr, 10);
    if (candidate > pid.value_or(0) && has_socket(entry->d_name, *inode)) {
      pid = candidate;
    }
  }
  if (processes != nullptr) {
    ::closedir(processes);
  }
  return pid;
}

std::optional<double> cpu_seconds(long pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) {
    return std::nullopt;
  }
  std::istringstream words(line.substr(name_end + 1));
  std::string word;
  constexpr int kBeforeUtime = 11;  // state is the first
  for (int i = 0; i < kBeforeUtime; ++i) {
    words >> word;
  }
  double user = 0;
  double system = 0;
  words >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace lineq::bench
