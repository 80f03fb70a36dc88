// Three real HAProxys on one lineqd: every key type and every data type gets everywhere.
#include <array>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/world.h"

namespace lineq::test {
namespace {

class TablesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-a", full_config()), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-b", full_config()), nullptr) << world_.trouble;
    ASSERT_NE(world_.add(HaproxyVersion::k30, "hap-c", full_config()), nullptr) << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }

  // One request through HAProxy `i` for each key type, tracked in all_KEY and arr_KEY.
  void send_traffic(std::size_t i) {
    const u16 port = world_.at(i).http_port();
    for (const auto& [path, source] : std::vector<std::pair<std::string, std::string>>{
             {fmt::format("/string?k=user-{}&twice=1", i), ""},
             {"/ip", fmt::format("192.0.2.{}", i + 1)},
             {"/ipv6", fmt::format("2001:db8::{}", i + 1)},
             {fmt::format("/integer?k={}", 4294967290U + i), ""},
             {fmt::format("/binary?k=visitor-{}", i), ""},
             // Errors count in http_fail_*, and the key is another one.
             {fmt::format("/string?k=failed-{}&fail=1", i), ""}}) {
      const std::string header = source.empty() ? "" : fmt::format("x-src: {}\r\n", source);
      const int expected = path.find("fail=1") == std::string::npos ? 200 : 500;
      ASSERT_EQ(http_get(port, path, header).status, expected) << path;
    }
  }

  // What traffic cannot make: extreme values, in every column that can be set by hand.
  void set_extremes(std::size_t i) {
    Haproxy& haproxy = world_.at(i);
    const std::string values = fmt::format(
        "data.server_id -{} data.gpt0 4294967295 data.gpc0 240 data.gpc0_rate 17 data.conn_cnt "
        "2287 data.conn_rate 2288 data.sess_cnt 4294967294 data.sess_rate 264431 "
        "data.http_req_cnt 264432 data.http_req_rate 4294967295 data.http_err_cnt 239 "
        "data.http_err_rate 241 data.bytes_in_cnt -1 data.bytes_in_rate 7 "
        "data.bytes_out_cnt 9223372036854775807 data.bytes_out_rate 9 data.gpc1 1 data.gpc1_rate 2 "
        "data.http_fail_cnt 3 data.http_fail_rate 4",
        i + 5);
    EXPECT_EQ(haproxy.set_table("lq/all_string", fmt::format("extreme-{}", i), values), "");
    EXPECT_EQ(haproxy.set_table("lq/all_ip", fmt::format("255.255.255.{}", i), values), "");
    EXPECT_EQ(haproxy.set_table("lq/all_ipv6", fmt::format("ffff::{}", i), values), "");
    EXPECT_EQ(haproxy.set_table("lq/all_integer", fmt::format("{}", i), values), "");
  }

  World world_;
};

TEST_F(TablesTest, EveryKeyTypeAndDataTypeOfEachShowsTheSameOnTheOthers) {
  for (std::size_t i = 0; i < world_.count(); ++i) {
    send_traffic(i);
    set_extremes(i);
  }
  const std::map<std::string, std::size_t> rows{
      {"lq/all_string", 9},  {"lq/all_ip", 6},     {"lq/all_ipv6", 6}, {"lq/all_integer", 6},
      {"lq/all_binary", 3},  {"lq/arr_string", 6}, {"lq/arr_ip", 3},   {"lq/arr_ipv6", 3},
      {"lq/arr_integer", 3}, {"lq/arr_binary", 3}};
  for (const auto& [table, count] : rows) {
    EXPECT_EQ(world_.wait_same(table, count), "") << world_.story();
  }
  // The comparison above must not be one of zeros.
  const TableDump c = world_.at(2).show_table("lq/all_string");
  EXPECT_EQ(c.value("user-0", "gpc0"), "1");
  EXPECT_EQ(c.value("user-0", "gpc1"), "2");
  EXPECT_EQ(c.value("user-0", "gpt0"), "4711");
  EXPECT_EQ(c.value("user-0", "http_req_rate(3600000)"), "1");
  EXPECT_NE(c.value("user-0", "bytes_out_cnt"), "0");
  EXPECT_NE(c.value("user-0", "server_id"), "0");
  EXPECT_EQ(c.value("user-0", "server_key").substr(0, 1), "s");
  EXPECT_EQ(c.value("failed-0", "http_fail_cnt"), "1");
  EXPECT_EQ(c.value("extreme-1", "server_id"), "-6");
  EXPECT_EQ(c.value("extreme-0", "bytes_in_cnt"), "18446744073709551615");
  EXPECT_EQ(c.value("extreme-0", "bytes_out_cnt"), "9223372036854775807");
  EXPECT_EQ(c.value("extreme-0", "http_req_rate(3600000)"), "4294967295");
  const TableDump array = world_.at(0).show_table("lq/arr_string");
  EXPECT_EQ(array.value("user-2", "gpt2"), "77");
  EXPECT_EQ(array.value("user-2", "gpc3"), "1");
  EXPECT_EQ(array.value("user-2", "gpc1"), "0");
  EXPECT_EQ(array.value("user-2", "gpc0_rate(3600000)"), "1");
}

TEST_F(TablesTest, EveryDataTypeReachesRealHaproxysUnderABinaryKeyToo) {
  // HAProxy's own command line cannot set binary keys, so a fake peer sends the extremes.
  shm::TableDefinition table;
  table.name = "/all_binary";
  table.key_type = shm::KeyType::kBinary;
  table.key_bytes = 20;
  table.expire_ms = 3600000;
  for (u32 bit = 0; bit <= 21; ++bit) {  // server_id to http_fail_rate
    table.data_types |= u64{1} << bit;
    table.elements[bit] = 1;
    table.period_ms[bit] = shm::data_type(bit).kind == shm::ValueKind::kRate ? 3600000 : 0;
  }
  const auto peer = world_.fake("sender");
  ASSERT_TRUE(peer->connect()) << peer->why_ended() << world_.story();
  peer->define(1, table);
  std::vector<u64> cells;
  for (u32 bit = 0; bit <= 21; ++bit) {
    if (bit == shm::kConnCur) {
      cells.push_back(0);  // HAProxy does not learn it
    } else if (shm::data_type(bit).kind == shm::ValueKind::kRate) {
      cells.insert(cells.end(), {1000, 100 + bit, 0});
    } else if (shm::data_type(bit).kind == shm::ValueKind::kDictionary) {
      cells.push_back(peer->strings().intern("origin-7"));
    } else {
      cells.push_back(bit + 1);
    }
  }
  std::string key("\0\x01\xff zeros\n in\0 it", 17);
  key.resize(20);
  ASSERT_NE(peer->update(1, key, cells), 0U);
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << peer->why_ended();
  EXPECT_EQ(world_.wait_same("lq/all_binary", 1), "") << world_.story();
  const TableDump dump = world_.at(2).show_table("lq/all_binary");
  ASSERT_EQ(dump.rows.size(), 1U);
  const std::string shown = dump.rows.begin()->first;
  EXPECT_TRUE(shown.starts_with("0001FF")) << shown;
  EXPECT_EQ(dump.value(shown, "server_id"), "1");
  EXPECT_EQ(dump.value(shown, "server_key"), "origin-7");
  EXPECT_EQ(dump.value(shown, "http_fail_cnt"), "21");
  EXPECT_EQ(dump.value(shown, "http_fail_rate(3600000)"), "121");
}

TEST_F(TablesTest, EveryArrayElementReachesRealHaproxysUnderEveryKeyType) {
  // HAProxy's own command line cannot set elements of arrays, so a fake peer does.
  struct Case {
    std::string table;
    shm::KeyType type;
    u32 key_bytes;
    std::string key;    // as on the wire
    std::string shown;  // as HAProxy prints it, its beginning
  };
  const std::string binary("\0\xff\0 a key with zeros\0", 20);
  const std::vector<Case> cases{
      {"arr_string", shm::KeyType::kString, 65, "a key", "a\\ key"},
      {"arr_ip", shm::KeyType::kIp, 4, std::string("\xc0\0\2\1", 4), "192.0.2.1"},
      {"arr_ipv6", shm::KeyType::kIpv6, 16,
       std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07", 16), "2001:db8::7"},
      {"arr_integer", shm::KeyType::kInteger, 4, integer_key(4294967295U), "4294967295"},
      {"arr_binary", shm::KeyType::kBinary, 20, binary, "00FF0020"}};
  const auto peer = world_.fake("sender");
  ASSERT_TRUE(peer->connect()) << peer->why_ended() << world_.story();
  u32 number = 0;
  for (const Case& c : cases) {
    shm::TableDefinition table;
    table.name = "/" + c.table;
    table.key_type = c.type;
    table.key_bytes = c.key_bytes;
    table.expire_ms = 3600000;
    table.data_types = u64{1} << shm::kGpt | u64{1} << shm::kGpc | u64{1} << shm::kGpcRate;
    table.elements[shm::kGpt] = 3;
    table.elements[shm::kGpc] = 4;
    table.elements[shm::kGpcRate] = 2;
    table.period_ms[shm::kGpcRate] = 3600000;
    peer->define(++number, table);
    ASSERT_NE(peer->update(number, c.key,
                           std::vector<u64>{4294967295U, 0, 240,            // gpt
                                            1, 4294967295U, 0, 2288,        // gpc
                                            1000, 5, 0, 1000, 264432, 0}),  // gpc_rate
              0U);
  }
  ASSERT_TRUE(peer->pump_until([&] { return peer->all_acked(); })) << peer->why_ended();
  const std::map<std::string, std::string> expected{
      {"gpt0", "4294967295"},          {"gpt1", "0"}, {"gpt2", "240"},  {"gpc0", "1"},
      {"gpc1", "4294967295"},          {"gpc2", "0"}, {"gpc3", "2288"}, {"gpc0_rate(3600000)", "5"},
      {"gpc1_rate(3600000)", "264432"}};
  for (const Case& c : cases) {
    EXPECT_EQ(world_.wait_same("lq/" + c.table, 1), "") << world_.story();
    for (std::size_t i = 0; i < world_.count(); ++i) {
      const auto rows = comparable(world_.at(i).show_table("lq/" + c.table));
      ASSERT_EQ(rows.size(), 1U) << c.table;
      EXPECT_TRUE(rows.begin()->first.starts_with(c.shown)) << rows.begin()->first;
      EXPECT_EQ(rows.begin()->second, expected) << c.table << " on " << world_.at(i).name();
    }
  }
}

// Columns that 2.6 does not know.
class GlitchTest : public testing::Test {
 protected:
  static constexpr std::string_view kTable =
      "    table glitch type ip size 10k expire 1h store gpc0,glitch_cnt,glitch_rate(1h)\n";

  void SetUp() override {
    if (!have_haproxys()) {
      GTEST_SKIP() << "HAProxy 2.6 or 3.0 is not here";
    }
    ASSERT_TRUE(world_.start_daemon()) << world_.trouble;
    std::string old = plain_config();
    old.insert(old.find("    table plain"),
               "    table glitch type ip size 10k expire 1h store gpc0\n");
    std::string config = plain_config();
    config.insert(config.find("    table plain"), kTable);
    config += R"(
frontend h2
    bind 127.0.0.1:{h2} proto h2
    tcp-request connection track-sc0 src table lq/glitch
    http-request return status 200
)";
    for (const char* name : {"hap-a", "hap-b"}) {
      h2_ports_.push_back(free_port());
      ASSERT_NE(world_.add(HaproxyVersion::k30, name, config, false,
                           {{"h2", std::to_string(h2_ports_.back())}}),
                nullptr)
          << world_.trouble;
    }
    ASSERT_NE(world_.add(HaproxyVersion::k26, "hap-old", old), nullptr) << world_.trouble;
    ASSERT_TRUE(world_.wait_sessions()) << world_.trouble;
  }

  World world_;
  std::vector<u16> h2_ports_;
};

TEST_F(GlitchTest, GlitchesOfTrafficAndOfTheCommandLineReachTheOtherHaproxy) {
  // A request on stream 2, which only a server may open.
  const Fd fd = connect_tcp(h2_ports_[0]);
  using std::string_view_literals::operator""sv;
  ASSERT_TRUE(send_all(fd,
                       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                       "\0\0\0\x04\0\0\0\0\0"
                       "\0\0\1\1\5\0\0\0\2\x82"sv));
  ASSERT_EQ(world_.at(0).set_table("lq/glitch", "192.0.2.1",
                                   "data.gpc0 7 data.glitch_cnt 4294967295 data.glitch_rate 240"),
            "");
  ASSERT_EQ(
      world_.at(1).set_table("lq/glitch", "192.0.2.2", "data.glitch_cnt 1 data.glitch_rate 2"), "");
  std::map<std::string, TableRow> first;
  EXPECT_TRUE(wait_until([&] {
    first = comparable(world_.at(0).show_table("lq/glitch"));
    return first.size() == 3 && comparable(world_.at(1).show_table("lq/glitch")) == first;
  })) << world_.at(0).command("show table lq/glitch")
      << world_.at(1).command("show table lq/glitch") << world_.story();
  EXPECT_EQ(first["127.0.0.1"]["glitch_cnt"], "1");
  EXPECT_EQ(first["127.0.0.1"]["glitch_rate(3600000)"], "1");
  EXPECT_EQ(first["192.0.2.1"]["glitch_cnt"], "4294967295");
  EXPECT_EQ(first["192.0.2.1"]["glitch_rate(3600000)"], "240");
  EXPECT_EQ(first["192.0.2.2"]["glitch_cnt"], "1");
  // 2.6 has what it knows, and when it counts on, the glitches stay.
  EXPECT_TRUE(wait_until([&] {
    return world_.at(2).show_table("lq/glitch").value("192.0.2.1", "gpc0") == "7";
  })) << world_.story();
  ASSERT_EQ(world_.at(2).set_table("lq/glitch", "192.0.2.1", "data.gpc0 8"), "");
  EXPECT_TRUE(wait_until([&] {
    return world_.at(1).show_table("lq/glitch").value("192.0.2.1", "gpc0") == "8";
  })) << world_.story();
  EXPECT_EQ(world_.at(1).show_table("lq/glitch").value("192.0.2.1", "glitch_cnt"), "4294967295");
}

TEST_F(TablesTest, LineqDumpPrintsWhatShowTablePrints) {
  send_traffic(0);
  set_extremes(1);
  for (const std::string& table : full_tables()) {
    const std::string name = table.substr(table.find('/'));
    std::string difference;
    const bool same = wait_until([&] {
      const Finished dump = world_.lineq.dump({"-t", name});
      const auto ours = comparable(parse_show_table(dump.out));
      const auto theirs = comparable(world_.at(2).show_table(table));
      difference = fmt::format("{}: {}{}\nagainst\n{}", table, dump.out, dump.err,
                               world_.at(2).command("show table " + table));
      return ours == theirs && !ours.empty();
    });
    EXPECT_TRUE(same) << difference;
  }
}

// What scripts do with `show table`, as one finds it in people's crontabs.
constexpr std::array<std::string_view, 5> kAwkLines{
    // Who is there.
    "/^0x/ { print $2 }",
    // Column by name, whatever its place.
    "/key=/ { k = \"\"; for (i = 1; i <= NF; i++) { split($i, f, \"=\"); if (f[1] == \"key\") k = "
    "f[2]; if (f[1] ~ /^gpc0$|^http_req_cnt$|^gpt0$|^server_key$|^bytes_in_cnt$/) print k, $i } }",
    // Rates, whose names carry their period.
    "match($0, /http_req_rate\\([0-9]+\\)=[0-9]+/) { print $2, substr($0, RSTART, RLENGTH) }",
    // A sum.
    "BEGIN { RS = \" \" } /^gpc1=/ { sub(/gpc1=/, \"\"); s += $1 } END { print s + 0 }",
    // How many.
    "/^# table:/ { n = $0; sub(/.*used:/, \"\", n); print $5, n }",
};

TEST_F(TablesTest, ScriptsMadeForShowTableDoTheSameWithLineqDump) {
  send_traffic(0);
  send_traffic(2);
  set_extremes(1);
  std::string script;
  for (const std::string_view line : kAwkLines) {
    script += fmt::format("echo =; awk '{}' \"$1\" | sort\n", line);
  }
  // What all of them print, one after the other.
  const auto awk = [&](const std::string& text) {
    write_file(world_.lineq.file("shown"), text);
    const Finished ran = run({{"/bin/sh", "-c", script, "sh", world_.lineq.file("shown")}, {}, ""});
    EXPECT_EQ(ran.err, "");
    return ran.out;
  };
  for (const std::size_t haproxy : {0U, 2U}) {  // 2.6 and 3.0
    for (const std::string& table : full_tables()) {
      std::string ours;
      std::string theirs;
      const bool same = wait_until([&] {
        ours = awk(world_.lineq.dump({"-t", table}).out);
        theirs = awk(world_.at(haproxy).command("show table " + table));
        return ours == theirs;
      });
      EXPECT_TRUE(same) << table << ": " << ours << "against\n" << theirs;
      // Each of them found something; an array table has no http_req_rate.
      EXPECT_EQ(ours.find("=\n=\n") != std::string::npos, table.find("arr_") != std::string::npos)
          << table << ": " << ours;
    }
  }
}

TEST_F(TablesTest, FiltersMadeForShowTableOrCopiedFromTheOutputSelectTheSame) {
  send_traffic(0);
  set_extremes(1);
  const auto keys = [](const TableDump& dump) {
    std::vector<std::string> found;
    for (const auto& [key, row] : dump.rows) {
      found.push_back(key);
    }
    return found;
  };
  // HAProxy takes one filter, or four in 2.6 too.
  for (const std::string filter :
       {"data.gpc0 gt 0", "data.gpc0 eq 240", "data.gpt0 ge 4711", "data.http_req_rate le 1",
        "data.conn_cnt ne 0", "data.gpc0 gt 0 data.http_req_rate lt 100",
        "data.server_id lt 0 data.gpc1 eq 1 data.gpc0 gt 5 data.http_fail_cnt ge 3"}) {
    std::vector<std::string> words{"-t", "lq/all_string"};
    for (std::size_t at = 0; at != std::string::npos; at = filter.find(' ', at + 1)) {
      const std::size_t from = at == 0 ? 0 : at + 1;
      words.push_back(filter.substr(from, filter.find(' ', from) - from));
    }
    for (const std::size_t haproxy : {0U, 2U}) {
      std::vector<std::string> ours;
      std::vector<std::string> theirs;
      const bool same = wait_until([&] {
        ours = keys(parse_show_table(world_.lineq.dump(words).out));
        theirs = keys(
            parse_show_table(world_.at(haproxy).command("show table lq/all_string " + filter)));
        return ours == theirs && !ours.empty();
      });
      EXPECT_TRUE(same) << filter << ": " << fmt::format("{}", fmt::join(ours, " ")) << " against "
                        << fmt::format("{}", fmt::join(theirs, " "));
    }
  }
  // All that a line shows, as conditions: that line.
  for (const std::string& table : full_tables()) {
    const TableDump all = parse_show_table(world_.lineq.dump({"-t", table}).out);
    ASSERT_FALSE(all.rows.empty()) << table;
    for (const auto& [key, row] : all.rows) {
      std::vector<std::string> words{"-t", table};
      for (const auto& [column, value] : row) {
        if (column != "use" && column != "exp" && column != "shard" && value != "-") {
          words.insert(words.end(), {column, "eq", value});
        }
      }
      const Finished one = world_.lineq.dump(words);
      EXPECT_EQ(one.exit_code, 0) << one.err;
      EXPECT_EQ(parse_show_table(one.out).rows.count(key), 1U) << key << ": " << one.out;
    }
  }
}

TEST_F(TablesTest, AChangeOfALearnedEntryGoesTheSameWay) {
  // A row without connection and byte counters: nothing about it changes after the answer, which
  // would overwrite the next HAProxy's count.
  int requests = 0;
  for (int round = 1; round <= 5; ++round) {
    for (std::size_t i = 0; i < world_.count(); ++i) {
      ASSERT_EQ(http_get(world_.at(i).http_port(), "/plain?k=shared").status, 200);
      const std::string expected = std::to_string(++requests);
      for (std::size_t j = 0; j < world_.count(); ++j) {
        ASSERT_TRUE(wait_until([&] {
          return world_.at(j).show_table("lq/plain").value("shared", "gpc0") == expected;
        })) << "round "
            << round << " from " << i << " on " << j << ": "
            << world_.at(j).command("show table lq/plain") << world_.story();
      }
    }
  }
}

}  // namespace
}  // namespace lineq::test
