// A real HAProxy for tests: Debian's 2.6, or 3.0 as put beside it by get-haproxy-3.0.
//
// The configuration is a text with placeholders; every HAProxy has its own name, ports, stats
// socket and directory of files in the test's directory.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shm/support/ints.h"
#include "tests/support/instance.h"
#include "tests/support/process.h"

namespace lineq::test {

enum class HaproxyVersion { k26, k30 };

// The program; empty when this machine has none. LINEQ_HAPROXY_26 and LINEQ_HAPROXY_30 override
// where it is looked for.
std::string haproxy_path(HaproxyVersion version);
std::string_view haproxy_version_name(HaproxyVersion version);  // "2.6", "3.0"

// One row of `show table`: column -> value, the key apart. Names as printed:
// "http_req_rate(10000)".
using TableRow = std::map<std::string, std::string>;

struct TableDump {
  std::string type;
  u64 size = 0;
  u64 used = 0;
  std::map<std::string, TableRow> rows;  // by key as printed

  // Value of one column, "" when there is none.
  std::string value(const std::string& key, const std::string& column) const;
};

TableDump parse_show_table(std::string_view text);

// The rows without what differs between two HAProxys by nature: use, exp, shard, and the columns
// named. For EXPECT_EQ.
std::map<std::string, TableRow> comparable(const TableDump& dump,
                                           const std::vector<std::string>& without = {});

// One remote peer in `show peers`.
struct PeerStatus {
  bool established = false;
  std::string last_status;  // ESTA, CONN, NAME, ...
  std::string context;      // address of the session's state in HAProxy
  u64 new_conn = 0;         // sessions opened so far
  u64 collisions = 0;
  u64 protocol_errors = 0;
  u64 no_heartbeat = 0;
  std::string text;  // the whole block

  // Equal as long as it is one and the same session.
  std::string session() const;
};

PeerStatus parse_show_peers(std::string_view text, std::string_view peer);

class Haproxy {
 public:
  struct Setup {
    HaproxyVersion version = HaproxyVersion::k26;
    std::string name;    // localpeer
    std::string config;  // placeholders: {name} {stats} {peers} {http} and those of `values`
    std::map<std::string, std::string> values;
    bool master_worker = false;  // for reload()
  };

  Haproxy(const TempDir& dir, Setup setup);

  // Starts it and waits for its stats socket; false with its words in error() when it does not.
  bool start();
  // Master-worker: a new process takes over, waits until it does.
  bool reload();
  void kill() { process_.kill(); }
  bool running() { return process_.running(); }

  const std::string& name() const { return setup_.name; }
  u16 http_port() const { return http_port_; }
  u16 peers_port() const { return peers_port_; }
  pid_t pid() const { return process_.pid(); }
  std::string log() const { return process_.out() + process_.err(); }

  // One command on the stats socket; the answer, or "" when there is none.
  std::string command(std::string_view words) const;
  TableDump show_table(std::string_view table) const;
  PeerStatus peer(std::string_view name = "lineq") const;
  bool wait_peer(Milliseconds patience = kPatience, std::string_view name = "lineq") const;
  // "" when it worked.
  std::string set_table(std::string_view table, std::string_view key, std::string_view values);
  std::string clear_table(std::string_view table, std::string_view key = "");
  u64 worker_pid() const;  // the process that answers on the stats socket

 private:
  Setup setup_;
  std::string directory_;
  std::string config_path_;
  std::string stats_path_;
  u16 peers_port_;
  u16 http_port_;
  Process process_;
};

}  // namespace lineq::test
