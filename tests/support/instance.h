// A LineQ of a test's own: private instance name, directory, ports, and nothing left behind.
//
//   Instance lineq;
//   Process daemon = lineq.start_lineqd();
//   ASSERT_TRUE(lineq.wait_ready(daemon));
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"
#include "tests/support/process.h"

namespace lineq::test {

// A directory that is removed with everything in it.
class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

// A private instance name, and no object of it in /dev/shm afterwards.
class TempInstance {
 public:
  TempInstance();
  TempInstance(const TempInstance&) = delete;
  TempInstance& operator=(const TempInstance&) = delete;
  ~TempInstance();
  const std::string& name() const { return name_; }
  std::vector<std::string> objects() const;  // names in /dev/shm

 private:
  std::string name_;
};

// Where the programs under test are: the build directory this test was built in.
std::string lineqd_path();
std::string lineq_web_path();
std::string lineq_dump_path();
std::string lineq_top_path();
std::string lineqctl_path();
std::string clock_shift_path();                  // for LD_PRELOAD, see clock_shift.cc
std::string manual_path(std::string_view page);  // "lineqd.8"

class Instance {
 public:
  Instance();

  const std::string& name() const { return instance_.name(); }
  const TempDir& dir() const { return dir_; }
  u16 tcp_port() const { return tcp_port_; }
  u16 web_port() const { return web_port_; }
  std::string file(std::string_view name) const { return dir_.file(name); }
  std::vector<std::string> objects() const { return instance_.objects(); }

  // Settings for all programs started after this, as environment variables.
  void set(std::string_view variable, std::string_view value);

  // Started, not yet ready. Output goes to NAME.out and NAME.err in dir().
  Process start_lineqd(std::string_view output = "lineqd", std::vector<std::string> options = {});
  Process start_web(std::string_view output = "lineq-web", std::vector<std::string> options = {});
  Command command(std::string program, std::vector<std::string> options,
                  std::string_view output = "") const;

  // The peers port is open; false when the daemon ended or takes too long.
  bool wait_listening(Process& daemon, Milliseconds patience = kPatience) const;
  bool wait_web(Process& web, Milliseconds patience = kPatience) const;  // 200 on /healthz

  Finished dump(std::vector<std::string> options, Milliseconds patience = std::chrono::minutes(2));
  // "" when lineq-dump --verify finds nothing wrong; otherwise what it says.
  std::string verify();

 private:
  TempInstance instance_;
  TempDir dir_;
  u16 tcp_port_ = 0;
  u16 web_port_ = 0;
  std::vector<std::pair<std::string, std::string>> environment_;
};

}  // namespace lineq::test
