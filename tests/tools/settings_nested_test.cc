// The settings that are lists of objects: what is read, every mistake once, and what is shown.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include "tools/cli/settings.h"

namespace lineq::cli {
namespace {

using Verify = TlsSettings::Verify;

class NestedSettingsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/lineq-nested-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = directory_ + "/lineq.cfg";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }
  Result<Settings> load(std::string_view text, Loader loader = Loader::kDaemon,
                        std::vector<GivenOption> options = {}) {
    std::ofstream(path_, std::ios::binary) << text;
    CommandLine line;
    line.options = std::move(options);
    return load_settings(loader, line, path_);
  }
  // The error without the file's name.
  std::string mistake(std::string_view text) {
    const Result<Settings> settings = load(text);
    if (settings) {
      return "no mistake";
    }
    const std::string& what = settings.error().what;
    EXPECT_TRUE(what.starts_with(path_ + ":")) << what;
    return what.substr(std::min(what.size(), path_.size() + 1));
  }

  std::string directory_;
  std::string path_;
};

TEST_F(NestedSettingsTest, WithoutListenersTheFlatKeysAreOne) {
  const auto s = load(R"({"tcp_host": "::1", "tcp_port": 5, "peer_name": "p"})");
  ASSERT_TRUE(s.ok()) << s.error().what;
  ASSERT_EQ(s->listeners.size(), 1U);
  EXPECT_EQ(s->listeners[0].address.text, "[::1]:5");
  EXPECT_EQ(s->listeners[0].address.host, "::1");
  EXPECT_EQ(s->listeners[0].address.port, 5);
  EXPECT_EQ(s->listeners[0].name, "p");
  EXPECT_EQ(settings_json(*s).find("listeners"), std::string::npos);
  const auto unix_socket = load(R"({"tcp_host": "unix@/run/x"})");
  ASSERT_TRUE(unix_socket.ok());
  EXPECT_EQ(unix_socket->listeners[0].address.kind, PeerAddress::Kind::kUnix);
  EXPECT_EQ(unix_socket->listeners[0].address.host, "/run/x");
  const auto name = load("{}");
  ASSERT_TRUE(name.ok());
  EXPECT_EQ(name->listeners[0].address.text, "localhost:11111");
}

constexpr std::string_view kEverything = R"({
  "listeners": [
    {"address": "*:11111"},
    {"Address": "[::1]:11112", "name": "second",
     "tls": {"certificate": "/c.pem", "key": "/k.pem", "ca": "/ca.pem", "allowed_names": ["hap1", "hap2.example"]},
     "allowed_addresses": ["10.0.0.0/8", "::1", "unix"], "allowed_peers": ["hap1"],},
    {"address": "unix@/run/lineq/peers", "tls": {"certificate": "/c.pem", "ca": "/ca.pem", "verify": "optional"}},
    {"address": "abns@lineq", "tls": {"certificate": "/c.pem"}},
  ],
  "peers": [
    {"name": "hap1", "address": "10.0.0.7:10000"},
    {"name": "hap1", "address": "10.0.0.7:10001", "own_name": "second"},
    {"name": "hap2", "address": "hap2.example:10000", "tls": {"ca": "/ca.pem", "certificate": "/c.pem", "server_name": "x"}},
    {"name": "hap3", "address": "abnsz@hap3", "tls": {"verify": "none"}},
  ],
  "aggregate": [
    {"from": "src", "to": "src.aggr", "policy": "max"}, {"from": "any", "to": ".aggr"}, {"from": "x", "policy": "or"}
  ],
  "aggregate_interval_ms": "0", "ledger_expire": "7d"
})";

TEST_F(NestedSettingsTest, EverythingIsRead) {
  const auto s = load(kEverything, Loader::kDaemon, {{"peer-name", "ours"}});
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_TRUE(s->warnings.empty());
  ASSERT_EQ(s->listeners.size(), 4U);
  EXPECT_EQ(s->listeners[0].name, "ours");
  EXPECT_FALSE(s->listeners[0].tls);
  const ListenerSettings& second = s->listeners[1];
  EXPECT_EQ(second.name, "second");
  ASSERT_TRUE(second.tls);
  EXPECT_EQ(second.tls->key, "/k.pem");
  EXPECT_EQ(second.tls->verify, Verify::kRequired);  // as there is a CA
  EXPECT_EQ(second.tls->allowed_names, (std::vector<std::string>{"hap1", "hap2.example"}));
  ASSERT_EQ(second.allowed_addresses.size(), 3U);
  EXPECT_TRUE(second.allowed_addresses[0].contains("10.9.9.9"));
  EXPECT_EQ(second.allowed_peers, (std::vector<std::string>{"hap1"}));
  EXPECT_EQ(s->listeners[2].tls->verify, Verify::kOptional);
  EXPECT_EQ(s->listeners[3].tls->verify, Verify::kNone);
  ASSERT_EQ(s->peers.size(), 4U);
  EXPECT_EQ(s->peers[0].own_name, "ours");
  EXPECT_EQ(s->peers[1].own_name, "second");
  EXPECT_EQ(s->peers[2].tls->verify, Verify::kRequired);
  EXPECT_EQ(s->peers[2].tls->server_name, "x");
  EXPECT_EQ(s->peers[3].tls->verify, Verify::kNone);
  ASSERT_EQ(s->aggregate.size(), 3U);
  EXPECT_EQ(s->aggregate[0].policy, AggregateRule::Policy::kMax);
  EXPECT_EQ(s->aggregate[1].to, ".aggr");
  EXPECT_EQ(s->aggregate[1].policy, AggregateRule::Policy::kLatest);
  EXPECT_EQ(s->aggregate[2].to, "");
  EXPECT_EQ(s->aggregate_interval_ms, 0U);
  EXPECT_EQ(s->ledger_expire_ms, 7U * 86400000);
}

TEST_F(NestedSettingsTest, WhatIsShownIsReadAsTheSame) {
  const auto s = load(kEverything);
  ASSERT_TRUE(s.ok()) << s.error().what;
  const std::string shown = settings_json(*s);
  const auto again = load(shown);
  ASSERT_TRUE(again.ok()) << again.error().what;
  EXPECT_EQ(settings_json(*again), shown);
  EXPECT_TRUE(again->warnings.empty());
  EXPECT_EQ(again->peers, s->peers);
}

TEST_F(NestedSettingsTest, OthersLeaveTheseKeysAlone) {
  for (const Loader loader : {Loader::kWeb, Loader::kTool}) {
    const auto s = load(R"({"listeners": [{"wrong": 1}], "peers": 7, "aggregate": {"a": [[]]},
                            "web_port": 77})",
                        loader);
    ASSERT_TRUE(s.ok()) << s.error().what;
    EXPECT_TRUE(s->warnings.empty());
    EXPECT_EQ(s->web_port, loader == Loader::kWeb ? 77 : 8060);
  }
}

TEST_F(NestedSettingsTest, TheWebServerKnowsWhereHaproxysConnectIfThatIsRight) {
  const auto s =
      load(R"({"listeners": [{"address": "10.0.0.5:7", "nme": 1}], "web_port": 77})", Loader::kWeb);
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_TRUE(s->warnings.empty());
  ASSERT_EQ(s->listeners.size(), 1U);
  EXPECT_EQ(s->listeners[0].address.text, "10.0.0.5:7");
  EXPECT_EQ(s->listeners[0].name, "lineq");
  for (const char* wrong : {R"({"listeners": 7, "web_port": 77})",
                            R"({"listeners": [{"address": "x"}], "web_port": 77})",
                            R"({"listeners": [[[[[[[[[[[1, {}]]]]]]]]]]], "web_port": 77})"}) {
    const auto other = load(wrong, Loader::kWeb);
    ASSERT_TRUE(other.ok()) << other.error().what;
    EXPECT_EQ(other->listeners[0].address.text, "localhost:11111");
    EXPECT_EQ(other->web_port, 77);
  }
}

TEST_F(NestedSettingsTest, UnknownSubKeysWarnWithASuggestion) {
  const auto s = load(
      "{\"peers\": [{\"name\": \"a\", \"adress\": 5, \"address\": \"b:1\",\n"
      "\"tls\": {\"verify\": \"none\", \"cert\\u001b\": [{}]}}]}");
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->warnings, (std::vector<std::string>{
                             path_ + ":1: peers[0].adress: unknown key, ignored; did you mean "
                                     "'address'?",
                             path_ + ":2: peers[0].tls.cert\\x1b: unknown key, ignored"}));
  const auto top = load(R"({"listener": []})");
  ASSERT_TRUE(top.ok());
  EXPECT_EQ(top->warnings, (std::vector<std::string>{path_ + ":1: listener: unknown key, ignored; "
                                                             "did you mean 'listeners'?"}));
}

TEST_F(NestedSettingsTest, EveryMistakeNamesPlacePathValueAndWhatIsAllowed) {
  EXPECT_EQ(mistake("{\"peers\": [{\"name\": \"a\", \"address\": \"b:1\"},\n"
                    "  {\"name\": \"hap2\", \"address\": \"10.0.0.7\"}]}"),
            "2: peers[1].address: '10.0.0.7' is not allowed; allowed: HOST:PORT, [IPV6]:PORT, "
            "unix@/PATH, abns@NAME or abnsz@NAME");
  struct Case {
    const char* text;
    const char* error;
  };
  for (
      const auto& [text, error] : std::initializer_list<Case>{
          {R"({"listeners": 5})", "1: listeners: '5' is not allowed; allowed: a list with"},
          {R"({"listeners": {}})", "1: listeners: '{...}' is not allowed; allowed: a list with"},
          {R"({"listeners": []})", "1: listeners: '[...]' is not allowed; allowed: a list with"},
          {R"({"listeners": [7]})", R"(1: listeners[0]: '7' is not allowed; allowed: {"address":)"},
          {R"({"listeners": [{}]})", "1: listeners[0].address: is missing; where to listen"},
          {R"({"listeners": [{"address": "x"}]})",
           "1: listeners[0].address: 'x' is not allowed; allowed: HOST:PORT, *:PORT"},
          {R"({"listeners": [{"address": ["x"]}]})",
           "1: listeners[0].address: '[...]' is not allowed; allowed: HOST:PORT"},
          {R"({"listeners": [{"address": "x:1", "ADDRESS": "x:2"}]})",
           "1: listeners[0].address: given twice"},
          {R"({"listeners": [{"address": "x:1"}, {"address": "x:1"}]})",
           "1: listeners[1].address: 'x:1' is given twice"},
          {R"({"listeners": [{"address": "x:1", "name": "a b"}]})",
           "1: listeners[0].name: 'a b' is not allowed; allowed: 1 to 95 printable"},
          {R"({"listeners": [{"address": "x:1", "tls": true}]})",
           R"(1: listeners[0].tls: 'true' is not allowed; allowed: {"certificate": FILE)"},
          {R"({"listeners": [{"address": "x:1", "tls": {}}]})",
           "1: listeners[0].tls.certificate: is missing; a TLS listener needs one"},
          {R"({"listeners": [{"address": "x:1", "tls": {"certificate": ""}}]})",
           "1: listeners[0].tls.certificate: '' is not allowed; allowed: the path of a PEM file"},
          {R"({"listeners": [{"address": "x:1", "tls": {"certificate": "c", "verify": "yes"}}]})",
           "1: listeners[0].tls.verify: 'yes' is not allowed; allowed: required, optional or none"},
          {R"({"listeners": [{"address": "x:1", "tls": {"certificate": "c", "verify": "required"}}]})",
           "1: listeners[0].tls.ca: is missing; 'verify' needs one"},
          {R"({"listeners": [{"address": "x:1", "tls": {"certificate": "c", "allowed_names": ["a"]}}]})",
           "1: listeners[0].tls.allowed_names: '[...]' is not allowed; allowed: names together"},
          {R"({"listeners": [{"address": "x:1", "tls": {"certificate": "c", "allowed_names": "a"}}]})",
           "1: listeners[0].tls.allowed_names: 'a' is not allowed; allowed: a list of names"},
          {R"({"listeners": [{"address": "x:1", "allowed_addresses": ["10.0.0.0/8", "10.0.0.0/40"]}]})",
           "1: listeners[0].allowed_addresses[1]: '10.0.0.0/40' is not allowed; allowed: "
           "10.0.0.0/8"},
          {R"({"listeners": [{"address": "x:1", "allowed_peers": [""]}]})",
           "1: listeners[0].allowed_peers[0]: '' is not allowed; allowed: names of HAProxys"},
          {R"({"listeners": [{"address": "x:1"}], "listeners": []})", "1: listeners: given twice"},
          {R"({"peers": "hap1"})", "1: peers: 'hap1' is not allowed; allowed: a list of HAProxys"},
          {R"({"peers": [{"address": "x:1"}]})", "1: peers[0].name: is missing; how the HAProxy"},
          {R"({"peers": [{"name": "a"}]})", "1: peers[0].address: is missing; where the HAProxy"},
          {R"({"peers": [{"name": "a", "address": "*:1"}]})",
           "1: peers[0].address: '*:1' is not allowed; allowed: HOST:PORT, [IPV6]:PORT"},
          {R"({"peers": [{"name": "a", "address": "x:1", "own_name": 5.5, "own_name": ""}]})",
           "1: peers[0].own_name: given twice"},
          {R"({"peers": [{"name": "a", "address": "x:1"}, {"name": "a", "address": "x:2"}]})",
           "1: peers[1].name: 'a' is given twice"},
          {R"({"peers": [{"name": "a", "address": "x:1", "tls": {"verify": "optional"}}]})",
           "1: peers[0].tls.verify: 'optional' is not allowed; allowed: required or none"},
          {R"({"peers": [{"name": "a", "address": "x:1", "tls": {}}]})",
           R"(1: peers[0].tls.ca: is missing; or "verify": "none")"},
          {R"({"peers": [{"name": "a", "address": "x:1", "tls": {"ca": "c", "key": "k"}}]})",
           "1: peers[0].tls.certificate: is missing; the key"},
          {R"({"peers": [{"name": "a", "address": "abns@x", "tls": {"ca": "c"}}]})",
           "1: peers[0].tls.server_name: is missing; the address has no host name"},
          {R"({"aggregate": [{}]})", "1: aggregate[0].from: is missing; the table to add up"},
          {R"({"aggregate": [{"from": "any", "to": "aggr"}]})",
           R"(1: aggregate[0].to: 'aggr' is not allowed; allowed: for "from": "any" a suffix)"},
          {R"({"aggregate": [{"from": "a", "to": "a"}]})",
           "1: aggregate[0].to: 'a' is not allowed; allowed: another table"},
          {R"({"aggregate": [{"from": "a b"}]})",
           "1: aggregate[0].from: 'a b' is not allowed; allowed: the name of a table"},
          {R"({"aggregate": [{"from": "a"}, {"from": "a", "to": "b"}]})",
           "1: aggregate[1].from: 'a' is given twice"},
          {R"({"aggregate": [{"from": "a", "policy": "sum"}]})",
           "1: aggregate[0].policy: 'sum' is not allowed; allowed: latest, max or or"},
          {R"({"aggregate": [[[[[[[[[1]]]]]]]]]})", "1: aggregate: nested deeper than 8 levels"},
          {R"({"aggregate_interval_ms": 60001})",
           "1: aggregate_interval_ms: '60001' is not allowed; allowed: 0 to 60000"},
          {R"({"ledger_expire": "25d"})",
           "1: ledger_expire: '25d' is not allowed; allowed: 0 (for"},
          {R"({"ledger_expire": "7"})", "1: ledger_expire: '7' is not allowed"},
          {R"({"ledger_expire": "0h"})", "1: ledger_expire: '0h' is not allowed"}}) {
    const std::string what = mistake(text);
    EXPECT_TRUE(what.starts_with(error)) << text << "\n" << what << "\n" << error;
  }
}

TEST_F(NestedSettingsTest, DurationsAreShownAsWritten) {
  for (const std::string text : {"0", "30s", "30m", "12h", "24d"}) {
    const auto s = load(R"({"ledger_expire": ")" + text + R"("})");
    ASSERT_TRUE(s.ok()) << s.error().what;
    EXPECT_NE(settings_json(*s).find(R"("ledger_expire": ")" + text + R"(")"), std::string::npos);
  }
}

// ---- rooms and access --------------------------------------------------------------------------

TEST_F(NestedSettingsTest, RoomsAreRead) {
  const auto s = load(R"({"service_mode": "vwr",
    "routes": [
      {"name": "shop", "host": "shop.example", "total_active_users": 100,
       "additional_routes": [{"host": "www.shop.example", "path": "/buy"}]},
      {"host": "tickets.example", "path": "/live/", "queueing_method": "random"}],
    "vwr_total_users": 7, "vwr_session_duration": "5"})");
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_TRUE(s->warnings.empty());
  ASSERT_EQ(s->rooms.size(), 2U);
  EXPECT_EQ(s->rooms[0].name, "shop");
  EXPECT_EQ(s->rooms[0].capacity, 100U);
  EXPECT_EQ(s->rooms[0].session_ms, 300'000U);
  ASSERT_EQ(s->rooms[0].additional_routes.size(), 1U);
  EXPECT_EQ(s->rooms[0].additional_routes[0].host, "www.shop.example");
  EXPECT_EQ(s->rooms[1].name, "tickets_example_live_");
  EXPECT_EQ(s->rooms[1].capacity, 7U);
  const auto again = load(settings_json(*s));
  ASSERT_TRUE(again.ok()) << again.error().what;
  EXPECT_EQ(again->rooms, s->rooms);
  EXPECT_TRUE(again->warnings.empty());
}

TEST_F(NestedSettingsTest, AnEmptyListOfRoutesIsTheDefaultRoom) {
  const auto s = load(R"({"service_mode": "vwr", "routes": []})");
  ASSERT_TRUE(s.ok());
  ASSERT_EQ(s->rooms.size(), 1U);
  EXPECT_EQ(s->rooms[0].name, kDefaultRoom);
}

TEST_F(NestedSettingsTest, MistakesInRoomsSayWhere) {
  EXPECT_EQ(mistake("{\"routes\": [\n{\"name\": \"a\",\n\"total_active_users\": 0}]}"),
            "3: routes[0].total_active_users: '0' is not allowed; allowed: 1 to 100000000");
  EXPECT_EQ(
      mistake("{\"routes\": {\"a\": \n{\"lapse\": []}}}"),
      "2: routes.a.lapse: '[...]' is not allowed; allowed: requeue_head, requeue_tail or drop");
  EXPECT_TRUE(
      mistake(R"({"routes": {"a@b": {}}})").starts_with("1: routes.a@b.name: 'a@b' is not"));
  EXPECT_EQ(mistake(R"({"routes": [{"name": "a"}, {"name": "a"}]})"),
            "1: routes[1].name: 'a' is given twice");
  EXPECT_EQ(mistake(R"({"routes": [{"name": "a", "NAME": "b"}]})"),
            "1: routes[0].NAME: given twice");
  EXPECT_EQ(mistake(R"({"routes": [{"path": "/"}]})"),
            "1: routes[0].name: is missing; or a host and a path to make it of");
  EXPECT_TRUE(mistake(R"({"routes": [5]})").starts_with("1: routes[0]: '5' is not allowed"));
  EXPECT_TRUE(mistake(R"({"routes": 5})").starts_with("1: routes: '5' is not allowed"));
  EXPECT_TRUE(
      mistake(R"({"routes": [{"name": "a", "hold_seconds": 5}]})")
          .starts_with("1: routes[0].hold_seconds: '5' is not allowed; allowed: more than"));
  EXPECT_TRUE(mistake(R"({"routes": [{"name": "a", "additional_routes": [{"path": "x"}]}]})")
                  .starts_with("1: routes[0].additional_routes[0].path: 'x' is not allowed"));
  EXPECT_TRUE(mistake(R"({"routes": [{"name": "a", "additional_routes": [{"port": 5}]}]})")
                  .starts_with("1: routes[0].additional_routes[0].port: '5' is not allowed"));
  EXPECT_TRUE(mistake(R"({"routes": [{"name": "a", "additional_routes": 5}]})")
                  .starts_with("1: routes[0].additional_routes: '5' is not allowed"));
  const auto s = load(R"({"routes": [{"name": "a", "total_activ_users": 5}]})");
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->warnings, std::vector<std::string>{
                             path_ + ":1: routes[0].total_activ_users: a room has no such field; "
                                     "did you mean 'total_active_users'?; ignored"});
}

TEST_F(NestedSettingsTest, TablesForTheMetricsAreTheWebServers) {
  constexpr const char* kText = R"({"metrics_tables": [
    {"table": "/visits", "limit": 10, "data": ["gpc0", "http_req_rate"]}, {"table": "users"}]})";
  for (const Loader loader : {Loader::kWeb, Loader::kDaemon}) {
    const auto s = load(kText, loader);
    ASSERT_TRUE(s.ok()) << s.error().what;
    ASSERT_EQ(s->metrics_tables.size(), 2U);
    EXPECT_EQ(s->metrics_tables[0], (MetricsTable{"/visits", 10, {"gpc0", "http_req_rate"}}));
    EXPECT_EQ(s->metrics_tables[1], (MetricsTable{"users", 100, {}}));
    const auto again = load(settings_json(*s), loader);
    ASSERT_TRUE(again.ok()) << again.error().what;
    EXPECT_EQ(again->metrics_tables, s->metrics_tables);
  }
  EXPECT_TRUE(load(R"({"metrics_tables": 7})", Loader::kTool).ok());
  const auto wrong = [&](const char* text, const char* says) {
    for (const Loader loader : {Loader::kWeb, Loader::kDaemon}) {
      const auto s = load(text, loader);
      ASSERT_FALSE(s.ok()) << text;
      EXPECT_NE(s.error().what.find(says), std::string::npos) << s.error().what;
    }
  };
  wrong(R"({"metrics_tables": 7})", "metrics_tables: '7' is not allowed; allowed: a list of");
  wrong(R"({"metrics_tables": [{}]})", "metrics_tables[0].table: is missing");
  wrong(R"({"metrics_tables": [{"table": "a b"}]})",
        "metrics_tables[0].table: 'a b' is not allowed");
  wrong(R"({"metrics_tables": [{"table": "t", "limit": 0}]})",
        "metrics_tables[0].limit: '0' is not allowed; allowed: 1 to 1000 entries");
  wrong(R"({"metrics_tables": [{"table": "t", "limit": 1001}]})", "allowed: 1 to 1000 entries");
  wrong(R"({"metrics_tables": [{"table": "t", "limit": "5x"}]})", "allowed: 1 to 1000 entries");
  wrong(R"({"metrics_tables": [{"table": "t"}, {"table": "t"}]})",
        "metrics_tables[1].table: 't' is given twice");
  wrong(R"({"metrics_tables": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]})",
        "a list of at most 16 tables");
}

TEST_F(NestedSettingsTest, WhoMayControlIsRead) {
  const auto s = load(R"({"control_access": [{"who": "4711", "commands": ["ask", "set_entry"]},
      {"who": "@root", "commands": ["all"]}, {"who": "nobody-of-this-name", "commands": ["all"]}]})");
  ASSERT_TRUE(s.ok()) << s.error().what;
  ASSERT_EQ(s->control_access.size(), 3U);
  EXPECT_EQ(s->control_access[0].id, 4711U);
  EXPECT_FALSE(s->control_access[0].group);
  EXPECT_EQ(s->control_access[0].commands, (std::vector<std::string>{"ask", "set_entry"}));
  EXPECT_TRUE(s->control_access[1].group);
  EXPECT_EQ(s->control_access[1].id, 0U);
  EXPECT_EQ(s->control_access[2].id, std::nullopt);
  EXPECT_EQ(s->warnings.size(), 1U);
  const auto again = load(settings_json(*s));
  ASSERT_TRUE(again.ok()) << again.error().what;
  EXPECT_EQ(again->control_access, s->control_access);
  EXPECT_TRUE(mistake(R"({"control_access": [{"who": "x", "commands": ["fly"]}]})")
                  .starts_with("1: control_access[0].commands[0]: 'fly' is not allowed"));
  EXPECT_EQ(mistake(R"({"control_access": [{"commands": []}]})"),
            "1: control_access[0].who: is missing; a user, or @ and a group");
}

}  // namespace
}  // namespace lineq::cli
