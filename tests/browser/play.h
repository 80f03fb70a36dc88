// How a browser test moves a segment: words on stdin, a line each, answered by `ok`; `quit`, or the
// end of stdin, ends the program and leaves nothing behind.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

#include <fmt/format.h>

namespace lineq::test {

// A Scene is made of the instance's name; obey(line) is false when it does not know the word;
// tick() is called every 100 ms.
template <typename Scene>
void obey_stdin(Scene& scene) {
  std::string pending;
  for (;;) {
    pollfd in{STDIN_FILENO, POLLIN, 0};
    if (::poll(&in, 1, 100) > 0) {
      std::array<char, 4096> buffer{};
      const ssize_t n = ::read(STDIN_FILENO, buffer.data(), buffer.size());
      if (n <= 0) {
        return;
      }
      pending.append(buffer.data(), static_cast<std::size_t>(n));
      for (std::size_t end = 0; (end = pending.find('\n')) != std::string::npos;) {
        const std::string line = pending.substr(0, end);
        pending.erase(0, end + 1);
        if (line == "quit") {
          return;
        }
        if (!scene.obey(line)) {
          fmt::print(stderr, "what is '{}'?\n", line);
          std::exit(1);
        }
        fmt::print("ok\n");
        std::fflush(stdout);
      }
    }
    scene.tick();
  }
}

template <typename Scene>
int play(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: {} INSTANCE\n", argc > 0 ? argv[0] : "scene");
    return 1;
  }
  const std::string instance = argv[1];
  {
    Scene scene(instance);
    obey_stdin(scene);
  }
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().starts_with("lineq." + instance + ".")) {
      std::filesystem::remove(entry.path());
    }
  }
  return 0;
}

}  // namespace lineq::test
