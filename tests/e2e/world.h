// The world of most end-to-end tests: one lineqd, lineq-web if wanted, and real HAProxys A, B, C.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/fake_peer.h"
#include "tests/support/haproxy.h"
#include "tests/support/http.h"
#include "tests/support/instance.h"

namespace lineq::test {

// Columns of every data type that 2.6's `store` accepts together, with periods so long that a rate
// reads the same for the whole test. gpt, gpc and gpc_rate exclude their single forms and get
// tables of their own.
inline constexpr std::string_view kAllTypes =
    "server_id,gpt0,gpc0,gpc0_rate(1h),conn_cnt,conn_rate(1h),conn_cur,sess_cnt,sess_rate(1h),"
    "http_req_cnt,http_req_rate(1h),http_err_cnt,http_err_rate(1h),bytes_in_cnt,bytes_in_rate(1h),"
    "bytes_out_cnt,bytes_out_rate(1h),gpc1,gpc1_rate(1h),server_key,http_fail_cnt,http_fail_rate("
    "1h)";
inline constexpr std::string_view kArrayTypes = "gpt(3),gpc(4),gpc_rate(2,1h)";

// Tables all_KEY and arr_KEY in the peers section "lq" for KEY = string, ip, ipv6, integer, binary,
// and a small one "plain" (string, gpc0 and gpc1).
std::string full_config();
// "plain" only.
std::string plain_config();
std::vector<std::string> full_tables();  // "lq/all_string", ...

class World {
 public:
  World();

  Instance lineq;
  Process daemon;
  Process web;
  HttpBackend backend;

  bool start_daemon();  // and waits for its port
  bool start_web();
  // Kills lineqd as hard as it gets.
  void kill_daemon() { daemon.kill(); }

  // Makes and starts one; it is not waited for its session. Null and a reason in `trouble` if not.
  // `values`: more placeholders of the configuration, beside {tcp} and {backend}.
  Haproxy* add(HaproxyVersion version, const std::string& name, const std::string& config,
               bool master_worker = false, std::map<std::string, std::string> values = {});
  Haproxy& at(std::size_t i) { return *haproxys_[i]; }
  std::size_t count() const { return haproxys_.size(); }
  // All have a session with lineqd, seen from HAProxy's side.
  bool wait_sessions(Milliseconds patience = kPatience);
  std::vector<std::string> sessions() const;

  // Waits until all HAProxys show the same rows in `table`, `rows` of them; "" or a description of
  // the first difference.
  std::string wait_same(const std::string& table, std::size_t rows,
                        Milliseconds patience = kPatience) const;

  // A fake peer of this lineqd.
  std::unique_ptr<FakePeer> fake(const std::string& name, bool request_lesson = false,
                                 bool keep_rows = true) const;

  // Lines of lineqd's log with `text` in them.
  std::vector<std::string> log_lines(std::string_view text) const;
  // Everything that helps to understand a failure.
  std::string story() const;

  std::string trouble;

 private:
  std::vector<std::unique_ptr<Haproxy>> haproxys_;
};

// For ASSERT_TRUE(have_haproxys()): both versions are there. The harness's own tests say which.
bool have_haproxys();

// `text` with `from`, which must be in it, replaced once.
std::string with(std::string text, std::string_view from, std::string_view to);
// The decimal number `text` begins with, or 0.
u64 number(const std::string& text);

// Table "/plain" as a fake peer defines it, and one row of it.
shm::TableDefinition plain_table(u64 expire_ms = 3600000);
std::vector<u64> plain_row(u64 gpc0, u64 gpc1 = 0);

}  // namespace lineq::test
