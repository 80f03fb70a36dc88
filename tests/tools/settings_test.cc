#include "tools/cli/settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace lineq::cli {
namespace {

class SettingsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/lineq-settings-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = directory_ + "/lineq.cfg";
    for (const char* variable :
         {"LINEQ_INSTANCE", "LINEQ_CONTROL", "SERVICE_TCP_HOST", "SERVICE_TCP_PORT",
          "SERVICE_WEB_HOST", "SERVICE_WEB_PORT", "SERVICE_MODE", "LINEQ_PEER_NAME",
          "LINEQ_SHM_OWNER", "LINEQ_LOG", "LINEQ_LOG_LEVEL", "LINEQ_STATE_DIR",
          "LINEQ_ADMIN_TOKEN_FILE", "SERVICE_VWR_SESSION_DURATION", "SERVICE_VWR_TOTAL_USERS",
          "SERVICE_VWR_TOTAL_ACTIVE_USERS", "SERVICE_VWR_ROOM_TABLE", "SERVICE_VWR_USERS_TABLE",
          "SERVICE_TARGET_PORT"}) {
      ::unsetenv(variable);
    }
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }

  void write(std::string_view text) { std::ofstream(path_, std::ios::binary) << text; }

  Result<Settings> load(Loader loader = Loader::kDaemon, std::vector<GivenOption> options = {}) {
    CommandLine line;
    line.options = std::move(options);
    return load_settings(loader, line, path_);
  }
  std::string mistake(std::string_view text, Loader loader = Loader::kDaemon) {
    write(text);
    const Result<Settings> settings = load(loader);
    return settings ? "no mistake" : settings.error().what;
  }

  std::string directory_;
  std::string path_;
};

TEST_F(SettingsTest, WithoutAFileTheDefaultsHold) {
  const Result<Settings> s = load();
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->instance, "default");
  EXPECT_EQ(s->control, "/run/lineq/default.sock");
  EXPECT_EQ(s->tcp_host, "localhost");
  EXPECT_EQ(s->tcp_port, 11111);
  EXPECT_EQ(s->web_host, "localhost");
  EXPECT_EQ(s->web_port, 8060);
  EXPECT_EQ(s->mode, Mode::kAggregate);
  EXPECT_EQ(s->peer_name, "lineq");
  EXPECT_EQ(s->max_message_bytes, 65536U);
  EXPECT_EQ(s->memory_limit_bytes, 0U);
  EXPECT_EQ(s->feed_log2, 22U);
  EXPECT_EQ(s->silent_peer_ms, 10000U);
  EXPECT_EQ(s->snapshot_seconds, 60U);
  EXPECT_EQ(s->full_table, FullTable::kEvict);
  EXPECT_TRUE(s->warnings.empty());
}

TEST_F(SettingsTest, TheOriginalsFileIsUnderstood) {
  write(R"({
    "tcp_host": "10.0.0.1", "TCP_PORT": "10000", "web_port": 9090, "Service_Mode": "agg",
    "service_name": "lineQ",
    "vwr_inactivity_duration": 5,
    "routes": {"shop": {"vwr_active_users": 20, "path": "/"}}, "target_port": "8080"
  })");
  const Result<Settings> s = load();
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->tcp_host, "10.0.0.1");
  EXPECT_EQ(s->tcp_port, 10000);
  EXPECT_EQ(s->web_port, 9090);
  EXPECT_EQ(s->peer_name, "lineQ");
  EXPECT_TRUE(s->warnings.empty());
  EXPECT_EQ(s->target_port, 8080);
  EXPECT_EQ(s->session_ms, 300'000U);
  ASSERT_EQ(s->rooms.size(), 1U);
  EXPECT_EQ(s->rooms[0].name, "shop");
  EXPECT_EQ(s->rooms[0].capacity, 20U);
  EXPECT_EQ(s->rooms[0].session_ms, 300'000U);
}

TEST_F(SettingsTest, CommentsAndTrailingCommasAreAllowed) {
  write("// ours\n{ /* port */ \"tcp_port\": 1234, # no\n }");
  EXPECT_FALSE(load().ok());
  write("// ours\n{ /* port */ \"tcp_port\": 1234, // yes\n }");
  const Result<Settings> s = load();
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->tcp_port, 1234);
}

TEST_F(SettingsTest, TheCommandLineBeatsTheEnvironmentBeatsTheFile) {
  write(R"({"tcp_port": 1, "web_port": 1, "instance": "file", "service_mode": "acc"})");
  ::setenv("SERVICE_TCP_PORT", "2", 1);
  ::setenv("LINEQ_INSTANCE", "environment", 1);
  ::setenv("SERVICE_WEB_PORT", "", 1);  // empty is unset
  const Result<Settings> s = load(Loader::kDaemon, {{"instance", "line"}});
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->instance, "line");
  EXPECT_EQ(s->control, "/run/lineq/line.sock");
  EXPECT_EQ(s->tcp_port, 2);
  EXPECT_EQ(s->web_port, 1);
  EXPECT_EQ(s->mode, Mode::kAccumulate);
  ::unsetenv("SERVICE_TCP_PORT");
  ::unsetenv("LINEQ_INSTANCE");
  ::unsetenv("SERVICE_WEB_PORT");
}

// Each setting said in all three places, one after the other.
struct Said {
  const char* key;
  const char* environment;
  const char* option;
  const char* file;  // as JSON
  const char* variable;
  const char* line;
};
constexpr std::array kSaid = std::to_array<Said>({
    {"instance", "LINEQ_INSTANCE", "instance", "\"a\"", "b", "c"},
    {"control", "LINEQ_CONTROL", "control", "\"/a\"", "/b", "/c"},
    {"control_mode", "LINEQ_CONTROL_MODE", "control-mode", "\"0600\"", "0666", "0660"},
    {"control_group", "LINEQ_CONTROL_GROUP", "control-group", "\"a\"", "b", "3"},
    {"state_dir", "LINEQ_STATE_DIR", "state-dir", "\"/a\"", "/b", "/c"},
    {"admin_token_file", "LINEQ_ADMIN_TOKEN_FILE", "admin-token-file", "\"/a\"", "/b", "/c"},
    {"tcp_host", "SERVICE_TCP_HOST", "tcp-host", "\"a\"", "b", "unix@/c"},
    {"tcp_port", "SERVICE_TCP_PORT", "tcp-port", "\"1\"", "2", "3"},
    {"web_host", "SERVICE_WEB_HOST", "web-host", "\"a\"", "b", "unix@/c"},
    {"web_port", "SERVICE_WEB_PORT", "web-port", "1", "2", "3"},
    {"admin_host", "LINEQ_ADMIN_HOST", "admin-host", "\"a\"", "b", "unix@/c"},
    {"admin_port", "LINEQ_ADMIN_PORT", "admin-port", "\"1\"", "2", "3"},
    {"web_max_connections", "LINEQ_WEB_MAX_CONNECTIONS", "web-max-connections", "1", "2", "3"},
    {"web_max_per_address", "LINEQ_WEB_MAX_PER_ADDRESS", "web-max-per-address", "1", "2", "3"},
    {"service_mode", "SERVICE_MODE", "mode", "\"acc\"", "vwr", "agg"},
    {"target_port", "SERVICE_TARGET_PORT", "target-port", "1", "2", "3"},
    {"vwr_room_table", "SERVICE_VWR_ROOM_TABLE", "room-table", "\"a\"", "b", "c"},
    {"vwr_users_table", "SERVICE_VWR_USERS_TABLE", "users-table", "\"a\"", "b", "c"},
    {"vwr_session_duration", "SERVICE_VWR_SESSION_DURATION", "session-duration", "2", "3", "4"},
    {"vwr_total_users", "SERVICE_VWR_TOTAL_USERS", "total-users", "2", "3", "4"},
    {"peer_name", "LINEQ_PEER_NAME", "peer-name", "\"a\"", "b", "c"},
    {"max_message_bytes", "LINEQ_MAX_MESSAGE_BYTES", "max-message-bytes", "16385", "16386",
     "16387"},
    {"memory_limit", "LINEQ_MEMORY_LIMIT", "memory-limit", "1", "2", "3"},
    {"feed_log2", "LINEQ_FEED_LOG2", "feed-log2", "16", "17", "18"},
    {"snapshot_seconds", "LINEQ_SNAPSHOT_SECONDS", "snapshot-seconds", "0", "1", "86400"},
    {"silent_peer_ms", "LINEQ_SILENT_PEER_MS", "silent-peer-ms", "5001", "5002", "5003"},
    {"full_table", "LINEQ_FULL_TABLE", "full-table", "\"refuse\"", "evict", "refuse"},
    {"aggregate_interval_ms", "LINEQ_AGGREGATE_INTERVAL_MS", "aggregate-interval-ms", "1", "2",
     "3"},
    {"ledger_expire", "LINEQ_LEDGER_EXPIRE", "ledger-expire", "\"1s\"", "2s", "3s"},
    {"shm_owner", "LINEQ_SHM_OWNER", "shm-owner", "1", "2", "3"},
    {"log_level", "LINEQ_LOG_LEVEL", "log-level", "\"err\"", "warning", "debug"},
    {"log", "LINEQ_LOG", "log", "\"syslog\"", "syslog:local1", "syslog:local2"},
});

// In the effective configuration: one key a line.
std::string in_force(const Settings& settings, std::string_view key) {
  const std::string json = settings_json(settings);
  const std::string name = "  \"" + std::string(key) + "\": ";
  const std::size_t at = json.find(name);
  if (at == std::string::npos) {
    return "";
  }
  std::string value = json.substr(at + name.size(), json.find('\n', at) - at - name.size());
  std::erase(value, '"');
  std::erase(value, ',');
  return value;
}

TEST_F(SettingsTest, EverySettingFollowsTheSamePrecedence) {
  for (const Said& said : kSaid) {
    SCOPED_TRACE(said.key);
    ::unsetenv(said.environment);
    ::unlink(path_.c_str());
    // Concerned: the daemon, or if not it the web server.
    const std::vector<Option> daemons = setting_options(Loader::kDaemon);
    const bool daemon = std::any_of(daemons.begin(), daemons.end(),
                                    [&](const Option& o) { return o.name == said.option; });
    const Loader loader = daemon ? Loader::kDaemon : Loader::kWeb;
    std::string text(said.file);
    std::erase(text, '"');
    const Result<Settings> standard = load(loader);
    ASSERT_TRUE(standard.ok()) << standard.error().what;
    EXPECT_NE(in_force(*standard, said.key), text);
    std::string upper(said.key);
    std::transform(upper.begin(), upper.end(), upper.begin(), [](char c) {
      return static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    });
    write("{ /* any case */ \"" + upper + "\": " + said.file + ", }");
    const Result<Settings> file = load(loader);
    ASSERT_TRUE(file.ok()) << file.error().what;
    EXPECT_EQ(in_force(*file, said.key), text);
    EXPECT_TRUE(file->warnings.empty());
    ::setenv(said.environment, said.variable, 1);
    const Result<Settings> environment = load(loader);
    ASSERT_TRUE(environment.ok()) << environment.error().what;
    EXPECT_EQ(in_force(*environment, said.key), said.variable);
    const Result<Settings> line = load(loader, {{said.option, said.line}});
    ASSERT_TRUE(line.ok()) << line.error().what;
    EXPECT_EQ(in_force(*line, said.key), said.line);
    const auto changed = changed_settings(loader, *environment, *line);
    EXPECT_NE(std::find(changed.begin(), changed.end(), said.key), changed.end());
    ::unsetenv(said.environment);
  }
  // None is left out.
  for (const Loader loader : {Loader::kDaemon, Loader::kWeb}) {
    for (const Option& option : setting_options(loader)) {
      EXPECT_TRUE(option.name == "config" ||
                  std::any_of(kSaid.begin(), kSaid.end(),
                              [&](const Said& said) { return option.name == said.option; }))
          << option.name;
    }
  }
}

TEST_F(SettingsTest, AWrongValueNamesPlaceKeyValueAndWhatIsAllowed) {
  EXPECT_EQ(mistake("{\n \"tcp_port\": 99999}"),
            path_ + ":2: tcp_port: '99999' is not allowed; allowed: a port, 1 to 65535");
  EXPECT_EQ(mistake("{\"TCP_port\": \"no\x1b\"}").find("not JSON") != std::string::npos, true);
  EXPECT_EQ(mistake("{\"tcp_port\": \"\\u001b[2J\"}"),
            path_ + ":1: tcp_port: '\\x1b[2J' is not allowed; allowed: a port, 1 to 65535");
  EXPECT_EQ(mistake("{\"service_mode\":\n\n\"avr\"}"),
            path_ + ":3: service_mode: 'avr' is not allowed; allowed: agg, acc or vwr");
  EXPECT_EQ(mistake(R"({"instance": "a/b"})"),
            path_ + ":1: instance: 'a/b' is not allowed; allowed: 1 to 64 of A-Z a-z 0-9 _ . -");
  for (const char* wrong : {R"({"tcp_port": 0})",
                            R"({"tcp_port": -1})",
                            R"({"tcp_port": 1.5})",
                            R"({"tcp_port": 1e3})",
                            R"({"tcp_port": null})",
                            R"({"tcp_port": true})",
                            R"({"tcp_port": [1]})",
                            R"({"tcp_port": {"a": 1}})",
                            R"({"tcp_port": " 1"})",
                            R"({"tcp_port": ""})",
                            R"({"feed_log2": 15})",
                            R"({"feed_log2": 27})",
                            R"({"memory_limit": "1t"})",
                            R"({"memory_limit": "99999999999g"})",
                            R"({"memory_limit": "k"})",
                            R"({"instance": ".."})",
                            R"({"control": "relative.sock"})",
                            R"({"web_host": "unix@relative"})",
                            R"({"tcp_host": "unix@x"})",
                            R"({"log": "syslog:local8"})",
                            R"({"log_level": "loud"})",
                            R"({"peer_name": "a b"})",
                            R"({"shm_owner": "nobody-has-this-name"})"}) {
    EXPECT_NE(mistake(wrong).find("is not allowed; allowed: "), std::string::npos) << wrong;
  }
}

TEST_F(SettingsTest, AWrongValueFromElsewhereNamesItsSource) {
  ::setenv("SERVICE_WEB_PORT", "http", 1);
  const Result<Settings> e = load();
  ::unsetenv("SERVICE_WEB_PORT");
  ASSERT_FALSE(e.ok());
  EXPECT_EQ(e.error().what,
            "environment: SERVICE_WEB_PORT: 'http' is not allowed; allowed: a port, 1 to 65535");
  const Result<Settings> c = load(Loader::kDaemon, {{"tcp-port", "0"}});
  ASSERT_FALSE(c.ok());
  EXPECT_EQ(c.error().what,
            "command line: --tcp-port: '0' is not allowed; allowed: a port, 1 to 65535");
}

TEST_F(SettingsTest, WhatIsNotAnObjectOfSettingsIsRefusedWithItsLine) {
  EXPECT_NE(mistake("").find("not JSON"), std::string::npos);
  EXPECT_NE(mistake("[1]").find("one JSON object"), std::string::npos);
  EXPECT_NE(mistake("7").find("one JSON object"), std::string::npos);
  EXPECT_NE(mistake("{\"a\"").find("not JSON"), std::string::npos);
  EXPECT_TRUE(mistake("{\n\n\"tcp_port\" 5}").starts_with(path_ + ":3: not JSON: "));
  EXPECT_NE(mistake(std::string_view("{}\0{", 4)).find("NUL"), std::string::npos);
  EXPECT_EQ(mistake("{\"tcp_port\": 5,\n\"TCP_PORT\": 6}"), path_ + ":2: tcp_port: given twice");
  EXPECT_NE(mistake("{\"tcp_host\": \"\xff\"}").find("not JSON"), std::string::npos);
  EXPECT_NE(mistake(std::string(2000000, ' ')).find("larger than"), std::string::npos);
  // Deep nesting is read without recursion.
  EXPECT_NE(mistake("{\"x\": " + std::string(500000, '[')).find("not JSON"), std::string::npos);
}

TEST_F(SettingsTest, AnUnknownKeyWarnsWithASuggestion) {
  write("{\"tcp_prot\": [1, {\"tcp_port\": 5}],\n \"colour\": \"red\"}");
  const Result<Settings> s = load();
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->tcp_port, 11111);
  EXPECT_EQ(s->warnings, (std::vector<std::string>{
                             path_ + ":1: tcp_prot: unknown key, ignored; did you mean 'tcp_port'?",
                             path_ + ":2: colour: unknown key, ignored"}));
}

TEST_F(SettingsTest, AGivenFileMustExist) {
  const Result<Settings> s = load(Loader::kDaemon, {{"config", "/nonexistent/lineq.cfg"}});
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().what, "/nonexistent/lineq.cfg: No such file or directory");
  EXPECT_FALSE(load(Loader::kDaemon, {{"config", directory_}}).ok());
}

TEST_F(SettingsTest, AToolTakesWhatConcernsItAndLeavesTheRest) {
  write(R"({"instance": "blue", "feed_log2": "wrong", "what": 1})");
  const Result<Settings> s = load(Loader::kTool);
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->instance, "blue");
  EXPECT_TRUE(s->warnings.empty());
  EXPECT_FALSE(load(Loader::kDaemon).ok());
  EXPECT_TRUE(load(Loader::kWeb).ok());
}

TEST_F(SettingsTest, MemoryLimitTakesSuffixes) {
  for (const auto& [text, value] : std::vector<std::pair<std::string, u64>>{
           {"4096", 4096}, {"512k", 524288}, {"64M", 67108864}, {"2g", 2147483648}}) {
    const Result<Settings> s = load(Loader::kDaemon, {{"memory-limit", text}});
    ASSERT_TRUE(s.ok()) << s.error().what;
    EXPECT_EQ(s->memory_limit_bytes, value);
  }
}

TEST_F(SettingsTest, AUnixSocketIsAPlaceToListen) {
  const Result<Settings> s = load(Loader::kWeb, {{"web-host", "unix@/run/lineq/web.sock"}});
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(unix_path(s->web_host), "/run/lineq/web.sock");
  EXPECT_EQ(unix_path("localhost"), std::nullopt);
}

TEST_F(SettingsTest, TheEffectiveConfigurationIsAFileThatLoadsTheSame) {
  write(R"({"tcp_port": "4321", "web_host": "unix@/a \"b\"", "memory_limit": "1k",
            "log": "syslog:local3", "shm_owner": 0, "full_table": "refuse"})");
  const Result<Settings> first = load();
  ASSERT_TRUE(first.ok()) << first.error().what;
  const std::string json = settings_json(*first);
  EXPECT_NE(json.find("\"tcp_port\": 4321,"), std::string::npos) << json;
  EXPECT_NE(json.find("\"memory_limit\": 1024,"), std::string::npos) << json;
  write(json);
  const Result<Settings> second = load();
  ASSERT_TRUE(second.ok()) << second.error().what;
  EXPECT_EQ(settings_json(*second), json);
  EXPECT_TRUE(second->warnings.empty());
}

TEST_F(SettingsTest, TheSegmentsOwnerIsConfiguredOrThatOfTheSocketsDirectory) {
  Settings s;
  s.control = directory_ + "/x.sock";
  EXPECT_EQ(segment_owner(s), ::geteuid());
  s.shm_owner = 4711;
  EXPECT_EQ(segment_owner(s), 4711U);
  const Result<Settings> named = load(Loader::kTool, {{"shm-owner", "root"}});
  ASSERT_TRUE(named.ok()) << named.error().what;
  EXPECT_EQ(segment_owner(*named), 0U);
}

TEST_F(SettingsTest, AWaitingRoomNeedsNoConfiguration) {
  ::setenv("SERVICE_MODE", "vwr", 1);
  const Result<Settings> bare = load();
  ::setenv("SERVICE_VWR_TOTAL_USERS", "20", 1);
  ::setenv("SERVICE_VWR_SESSION_DURATION", "0.5", 1);
  ::setenv("SERVICE_VWR_USERS_TABLE", "visitors", 1);
  ::setenv("SERVICE_VWR_ROOM_TABLE", "rooms", 1);
  const Result<Settings> s = load();
  ::setenv("SERVICE_VWR_SESSION_DURATION", "0", 1);
  const Result<Settings> wrong = load();
  for (const char* variable : {"SERVICE_MODE", "SERVICE_VWR_TOTAL_USERS", "SERVICE_VWR_ROOM_TABLE",
                               "SERVICE_VWR_USERS_TABLE", "SERVICE_VWR_SESSION_DURATION"}) {
    ::unsetenv(variable);
  }
  ASSERT_TRUE(bare.ok()) << bare.error().what;
  EXPECT_EQ(bare->room_table, "room");
  EXPECT_EQ(bare->users_table, "timestamps");
  EXPECT_FALSE(bare->rooms_given);
  EXPECT_FALSE(bare->total_users_given);
  ASSERT_EQ(bare->rooms.size(), 1U);
  EXPECT_EQ(bare->rooms[0].name, kDefaultRoom);
  EXPECT_EQ(bare->rooms[0].capacity, 1U);
  EXPECT_EQ(bare->rooms[0].session_ms, 60'000U);
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->room_table, "rooms");
  EXPECT_EQ(s->users_table, "visitors");
  EXPECT_TRUE(s->total_users_given);
  ASSERT_EQ(s->rooms.size(), 1U);
  EXPECT_EQ(s->rooms[0].capacity, 20U);
  EXPECT_EQ(s->rooms[0].session_ms, 30'000U);
  EXPECT_EQ(settings_json(*s).find("routes"), std::string::npos);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().what,
            "environment: SERVICE_VWR_SESSION_DURATION: '0' is not allowed; allowed: minutes, from "
            "a second (0.017) to a day (1440)");
}

TEST_F(SettingsTest, TheUsersTableIsCalledAsTheOriginalDidWithAFile) {
  write(R"({"service_mode": "vwr"})");
  const Result<Settings> s = load();
  ASSERT_TRUE(s.ok()) << s.error().what;
  EXPECT_EQ(s->users_table, "user");
  const Result<Settings> web = load(Loader::kWeb);
  ASSERT_TRUE(web.ok()) << web.error().what;
  EXPECT_EQ(web->users_table, "user");
}

TEST_F(SettingsTest, AnInstanceOfItsOwnHasAStateOfItsOwn) {
  const Result<Settings> first = load();
  const Result<Settings> second = load(Loader::kDaemon, {{"instance", "blue"}});
  const Result<Settings> third =
      load(Loader::kDaemon, {{"instance", "blue"}, {"state-dir", "/srv/lineq"}});
  ASSERT_TRUE(first.ok() && second.ok() && third.ok());
  EXPECT_EQ(first->state_dir, "/var/lib/lineq");
  EXPECT_EQ(second->state_dir, "/var/lib/lineq/blue");
  EXPECT_FALSE(second->state_dir_given);
  EXPECT_EQ(third->state_dir, "/srv/lineq");
  EXPECT_TRUE(third->state_dir_given);
}

TEST_F(SettingsTest, EachProgramHasTheOptionsThatConcernIt) {
  const auto has = [](Loader loader, std::string_view name) {
    const std::vector<Option> options = setting_options(loader);
    return std::any_of(options.begin(), options.end(),
                       [&](const Option& o) { return o.name == name; });
  };
  EXPECT_TRUE(has(Loader::kDaemon, "tcp-port"));
  EXPECT_FALSE(has(Loader::kDaemon, "web-port"));
  EXPECT_TRUE(has(Loader::kWeb, "web-port"));
  EXPECT_TRUE(has(Loader::kTool, "shm-owner"));
  EXPECT_FALSE(has(Loader::kTool, "config"));  // -f is a copied segment there
  for (const Loader loader : {Loader::kDaemon, Loader::kWeb, Loader::kTool}) {
    EXPECT_TRUE(has(loader, "instance"));
  }
}

}  // namespace
}  // namespace lineq::cli
