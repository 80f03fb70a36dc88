// A terminal of tmux's with lineq-top on it: typed into, and its screen read.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/instance.h"

namespace lineq::test {

class Tmux {
 public:
  static bool here() { return ::access("/usr/bin/tmux", X_OK) == 0; }

  explicit Tmux(const Instance& lineq) : lineq_(lineq) {}
  Tmux(const Tmux&) = delete;
  Tmux& operator=(const Tmux&) = delete;
  ~Tmux() { run({"kill-server"}); }

  Finished run(std::vector<std::string> words) {
    words.insert(words.begin(),
                 {"-u", "-S", lineq_.file(fmt::format("tmux{}", starts_)), "-f", "/dev/null"});
    Command command = lineq_.command("/usr/bin/tmux", std::move(words));
    command.environment.emplace_back("LC_ALL", "C.UTF-8");
    return test::run(command);
  }
  // lineq-top, looking every tenth of a second, in a terminal of 100 columns and 24 lines. Before
  // it the word "before" stands there, afterwards "ended" and its exit code.
  // Each in a server of its own: one that is about to end would take the next along.
  bool start(const std::string& options, std::string_view locale = "C.UTF-8") {
    run({"kill-server"});
    ++starts_;
    ::unlink(lineq_.file("stty.after").c_str());
    const Finished started =
        run({"new-session", "-d", "-x", "100", "-y", "24",
             fmt::format("export LC_ALL={}; echo before; stty -g >{}; {} -d 0.1 {}; echo ended $?; "
                         "stty -g >{}; read x",
                         locale, lineq_.file("stty.before"), lineq_top_path(), options,
                         lineq_.file("stty.after"))});
    EXPECT_EQ(started.exit_code, 0) << started.err;
    return started.exit_code == 0;
  }
  std::string screen() { return run({"capture-pane", "-p"}).out; }
  // Waits for it.
  bool shows(std::string_view text) {
    const bool shown = wait_until([&] { return screen().find(text) != std::string::npos; });
    EXPECT_TRUE(shown) << "not there: " << text << "\n" << screen();
    return shown;
  }
  void type(const std::vector<std::string>& keys) {
    std::vector<std::string> words{"send-keys"};
    words.insert(words.end(), keys.begin(), keys.end());
    run(words);
  }
  // Of lineq-top.
  pid_t pid() {
    const Finished shell = run({"list-panes", "-F", "#{pane_pid}"});
    const Finished children =
        test::run({{"/usr/bin/pgrep", "-P", lines_of(shell.out).at(0), "-x", "lineq-top"}, {}, ""});
    return children.out.empty() ? -1 : std::atoi(children.out.c_str());
  }
  bool settings_are_back() const {
    const std::string before = read_file(lineq_.file("stty.before"));
    return !before.empty() && read_file(lineq_.file("stty.after")) == before;
  }

 private:
  const Instance& lineq_;
  int starts_ = 0;
};

}  // namespace lineq::test
