// lineqd -c: HAProxy 2.6 and 3.0 take what it writes without a word, and what they could not take
// is refused here.
#include "daemon/haproxy_config.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "tests/support/haproxy.h"
#include "tests/support/instance.h"

namespace lineq::daemon {
namespace {

using cli::RoomSettings;
using test::HaproxyVersion;

RoomSettings room(std::string name, std::string host = "", std::string path = "/") {
  RoomSettings settings;
  settings.name = std::move(name);
  settings.host = std::move(host);
  settings.path = std::move(path);
  return settings;
}

std::size_t times(std::string_view text, std::string_view what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos;
       at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

class HaproxyConfigTest : public testing::Test {
 protected:
  std::string text() {
    const Result<std::string> made = haproxy_config(settings_, rooms_, choices_);
    EXPECT_TRUE(made) << (made ? "" : made.error().what);
    return made ? *made : "";
  }
  std::string refusal() {
    const Result<std::string> made = haproxy_config(settings_, rooms_, choices_);
    EXPECT_FALSE(made) << *made;
    return made ? "" : made.error().what;
  }
  // What both HAProxys say about it: nothing, not even a warning.
  std::string complaints() {
    const std::string config = text();
    std::string said;
    for (const HaproxyVersion version : {HaproxyVersion::k26, HaproxyVersion::k30}) {
      const std::string program = test::haproxy_path(version);
      if (program.empty()) {
        continue;  // the harness's own tests say so
      }
      test::write_file(dir_.file("haproxy.cfg"), config);
      const test::Finished finished =
          test::run({.words = {program, "-c", "-dW", "-f", dir_.file("haproxy.cfg")},
                     .environment = {},
                     .output = {}});
      if (finished.exit_code != 0 || finished.err.find("WARNING") != std::string::npos ||
          finished.err.find("ALERT") != std::string::npos) {
        said += finished.out + finished.err + config;
      }
    }
    return said;
  }

  test::TempDir dir_;
  cli::Settings settings_;
  std::vector<RoomSettings> rooms_{room("shop")};
  HaproxyChoices choices_;
};

TEST_F(HaproxyConfigTest, OneRoomForEverythingIsAccepted) {
  EXPECT_EQ(complaints(), "");
  EXPECT_EQ(text().find("lineq_host"), std::string::npos) << "no rule without use";
  EXPECT_EQ(text().find("sc-inc-gpc1"), std::string::npos) << "only lineqd lets in";
}

TEST_F(HaproxyConfigTest, ManyRoomsOnHostsAndPathsAreAcceptedLongestPathFirst) {
  rooms_ = {room("all"), room("example_com_", "Example.com"),
            room("tickets", "example.com", "/tickets"), room("vip", "example.com", "/tickets/vip/"),
            room("other-host", "shop.example.org")};
  rooms_[2].additional_routes = {{"example.com", "/karten"}, {"www.example.com", "/tickets"}};
  rooms_[4].fast = true;
  EXPECT_EQ(complaints(), "");
  const std::string config = text();
  const std::size_t vip = config.find("-m beg '/tickets/vip/'");
  const std::size_t tickets =
      config.find("'example.com' } { var(txn.lineq_path) -m beg '/tickets/'");
  const std::size_t site = config.find("str(example_com_)");
  const std::size_t any = config.find("set-var(txn.lineq_room) str(all)");
  EXPECT_LT(vip, tickets);
  EXPECT_LT(tickets, site);
  EXPECT_LT(site, any);
  EXPECT_LT(any, config.size());
  EXPECT_EQ(times(config, "sc-inc-gpc1"), 1U);
  // One cookie for /tickets and /karten of one host, another for the other host.
  EXPECT_NE(config.find("lineq_tickets=%[var(txn.lineq_id)]; Path=/;"), std::string::npos);
  EXPECT_NE(config.find("lineq_tickets=%[var(txn.lineq_id)]; Path=/tickets;"), std::string::npos);
  EXPECT_NE(config.find("lineq_vip=%[var(txn.lineq_id)]; Path=/tickets/vip;"), std::string::npos);
}

TEST_F(HaproxyConfigTest, AHundredRoomsWithOddPathsAreAccepted) {
  rooms_.clear();
  for (int i = 0; i < 100; ++i) {
    rooms_.push_back(room("room_" + std::to_string(i), "host" + std::to_string(i % 10) + ".example",
                          "/a(b)*+=:@!&~/" + std::to_string(i)));
  }
  rooms_.push_back(room(std::string(127, 'r'), std::string(253, 'h'), "/événement"));
  EXPECT_EQ(complaints(), "");
  EXPECT_NE(text().find("Path=/%%C3%%A9v%%C3%%A9nement;"), std::string::npos);
}

TEST_F(HaproxyConfigTest, AddressesOfEveryKindAreAccepted) {
  settings_.tcp_host = "unix@/run/lineq/peers.sock";
  settings_.web_host = "unix@/run/lineq/web.sock";
  EXPECT_EQ(complaints(), "");
  EXPECT_NE(text().find("server lineq unix@/run/lineq/peers.sock"), std::string::npos);
  EXPECT_NE(text().find("server lineq-web unix@/run/lineq/web.sock"), std::string::npos);
  settings_.tcp_host = "::";
  settings_.web_host = "*";
  EXPECT_EQ(complaints(), "");
  EXPECT_NE(text().find("server lineq [::1]:11111"), std::string::npos);
  EXPECT_NE(text().find("server lineq-web 127.0.0.1:8060"), std::string::npos);
}

TEST_F(HaproxyConfigTest, TheFirstListenerWithoutTlsIsTaken) {
  cli::ListenerSettings tls;
  tls.address = *cli::PeerAddress::parse("*:11112");
  tls.name = "secret";
  tls.tls = cli::TlsSettings{};
  settings_.listeners = {tls};
  EXPECT_NE(refusal().find("every listener wants TLS"), std::string::npos);
  cli::ListenerSettings plain;
  plain.address = *cli::PeerAddress::parse("*:22222");
  plain.name = "lineq1";
  plain.allowed_peers = {"hap1", "hap2"};
  settings_.listeners.push_back(plain);
  EXPECT_EQ(complaints(), "");
  EXPECT_NE(text().find("server lineq1 127.0.0.1:22222"), std::string::npos);
  EXPECT_NE(text().find("localpeer hap1"), std::string::npos);
}

TEST_F(HaproxyConfigTest, ChoicesAreAccepted) {
  choices_ = {.room_table = "rooms",
              .users_table = "user",
              .bind = "127.0.0.1:8080",
              .origins = {"127.0.0.1:8001 maxconn 100", "127.0.0.1:8002"},
              .fail_open = true};
  EXPECT_EQ(complaints(), "");
  EXPECT_NE(text().find("nbsrv(lineq_wait) gt 0"), std::string::npos);
  EXPECT_NE(text().find("backend rooms"), std::string::npos);
  EXPECT_NE(text().find("table user "), std::string::npos);
}

TEST_F(HaproxyConfigTest, TheUsersTableOutlivesTheLongestSession) {
  rooms_ = {room("short"), room("long", "long.example")};
  rooms_[1].session_ms = 3'600'000;
  EXPECT_NE(text().find("expire 3660s"), std::string::npos);
  rooms_[1].session_ms = 4'294'967'295;
  EXPECT_NE(text().find("expire 2073600s"), std::string::npos) << "HAProxy's timers end at 24 days";
  EXPECT_EQ(complaints(), "");
}

TEST_F(HaproxyConfigTest, NamesThatCouldBreakOutAreRefused) {
  const auto refused = [&](const RoomSettings& bad, std::string_view with) {
    rooms_ = {bad};
    const std::string why = refusal();
    EXPECT_NE(why.find(with), std::string::npos) << why;
    EXPECT_NE(why.find("allowed: "), std::string::npos) << why;
    EXPECT_EQ(why.find('\n'), std::string::npos);
  };
  for (const char* name : {"", "a b", "a)", "a\n    http-request deny", "a'", "a\"", "a@b", "a%[b]",
                           "-i", "a#b", "a;b", "\xc3\xa4"}) {
    refused(room(name), "room '");
  }
  refused(room(std::string(128, 'a')), "room '");
  for (const char* host : {"a b", "a'", "-m", "*.example.com", "a\nb", "a}b"}) {
    refused(room("r", host), "host '");
  }
  for (const char* path : {"shop", "/a b", "/a'b", "/a\"b", "/a%20b", "/a//b", "/a/../b", "/a;b",
                           "/a\\b", "/a\nb", "/a$b", "/a#b", "/a?b"}) {
    refused(room("r", "", path), "path '");
  }
  RoomSettings more = room("r");
  more.additional_routes = {{"h", "/a'"}};
  refused(more, "path '");
}

TEST_F(HaproxyConfigTest, ContradictionsAreRefused) {
  rooms_ = {room("a", "h", "/x"), room("b", "H", "/x/")};
  EXPECT_NE(refusal().find("rooms 'a' and 'b' have the same host 'h'"), std::string::npos);
  rooms_ = {room("a"), room("a", "h")};
  EXPECT_NE(refusal().find("'a' is there twice"), std::string::npos);
  rooms_ = {};
  EXPECT_NE(refusal().find("no waiting room"), std::string::npos);
  rooms_ = {room("a")};
  choices_.users_table = "room";
  EXPECT_NE(refusal().find("both 'room'"), std::string::npos);
  choices_.users_table = "lineq_site";
  EXPECT_NE(refusal().find("another section"), std::string::npos);
  choices_.users_table = "users";
  choices_.bind = ":80\n";
  EXPECT_NE(refusal().find("bind"), std::string::npos);
  choices_.bind = ":80";
  choices_.origins = {"a\"b"};
  EXPECT_NE(refusal().find("origin"), std::string::npos);
}

// The examples are what the program writes now.
TEST_F(HaproxyConfigTest, TheExamplesAreUpToDate) {
  for (const char* name : {"waiting-room.cfg", "waiting-rooms.cfg"}) {
    const std::string examples = LINEQ_SOURCE_DIR "/packaging/examples/";
    const test::Finished done = test::run(
        {.words = {test::lineqd_path(), "-f", examples + "lineq-" + name, "-c", "--stdout"},
         .environment = {},
         .output = {}});
    EXPECT_EQ(done.exit_code, 0) << done.err;
    EXPECT_EQ(done.err, "");
    EXPECT_EQ(done.out, test::read_file(examples + name)) << name;
  }
}

TEST_F(HaproxyConfigTest, OnlyItsOwnUnchangedFileIsReplaced) {
  const std::string path = dir_.file("out.cfg");
  const std::string first = text();
  ASSERT_TRUE(is_unchanged_haproxy_config(first));
  ASSERT_TRUE(write_haproxy_config(path, first, false));
  choices_.bind = ":80";
  const std::string second = text();
  ASSERT_NE(first, second);
  EXPECT_TRUE(write_haproxy_config(path, second, false));
  EXPECT_EQ(test::read_file(path), second);

  for (const std::string& foreign : {second + "# mine\n", std::string("global\n"), std::string()}) {
    test::write_file(path, foreign);
    const Status refused = write_haproxy_config(path, first, false);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().what.find("--force"), std::string::npos);
    EXPECT_EQ(test::read_file(path), foreign);
  }
  EXPECT_TRUE(write_haproxy_config(path, first, true));
  EXPECT_EQ(test::read_file(path), first);

  const Status nowhere = write_haproxy_config(dir_.file("no/such/out.cfg"), first, false);
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().what.find("No such file"), std::string::npos);
}

}  // namespace
}  // namespace lineq::daemon
