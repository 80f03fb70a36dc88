// lineq-top as its users run it: printed, as JSON, and typed into on a terminal (tmux).
#include <unistd.h>

#include <csignal>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "tests/tools/dump_support.h"
#include "tests/tools/tmux.h"

namespace lineq::top {
namespace {

using shm::KeyType;
using test::Finished;
using test::lines_of;
using test::Tmux;
using test::wait_until;

class TopProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    segment_.put(src_, "often", {3, 0, 60, 0});
    segment_.put(src_, "seldom", {9, 0, 5, 0});
    segment_.put(src_, "ev\x1b]0;x\x07\xff", {1, 0, 1, 0});
    shm::RoomSettings room;
    room.name = "shop";
    ASSERT_TRUE(segment_.writer->add_room(room, 0).ok());
    segment_.beat();
  }
  Finished top(std::vector<std::string> options) {
    options.insert(options.end(), {"-d", "0.1"});
    return test::run(segment_.lineq.command(test::lineq_top_path(), std::move(options)));
  }
  static rapidjson::Document parsed(const std::string& text) {
    rapidjson::Document document;
    document.Parse(text.c_str());
    EXPECT_FALSE(document.HasParseError()) << text;
    return document;
  }

  dump::Segment segment_;
  const shm::TableDefinition src_ =
      dump::table_of("src", KeyType::kString, 64, "gpc0,http_req_rate(60000)");
};

TEST_F(TopProgramTest, OnceIsText) {
  const Finished once = top({"-1"});
  EXPECT_EQ(once.exit_code, 0) << once.err;
  EXPECT_EQ(once.err, "");
  EXPECT_TRUE(once.out.starts_with("instance " + segment_.name() + ": lineqd ")) << once.out;
  for (const std::string part : {"\npeers: none\n", "\ntables\nTABLE ", "\nsrc    string        3 ",
                                 "\nrooms\nROOM ", "\nshop  fifo "}) {
    EXPECT_NE(once.out.find(part), std::string::npos) << part << " in " << once.out;
  }
  EXPECT_EQ(once.out.find("keys of"), std::string::npos);

  const Finished keys = top({"-1", "-t", "src", "-v", "keys", "-s", "gpc0", "-l", "2"});
  EXPECT_EQ(keys.exit_code, 0) << keys.err;
  const std::vector<std::string> lines = lines_of(keys.out);
  ASSERT_EQ(lines.size(), 8U) << keys.out;
  EXPECT_EQ(lines[3], "keys of src by gpc0");
  EXPECT_TRUE(lines[5].starts_with("seldom     9 ")) << keys.out;
  EXPECT_TRUE(lines[6].starts_with("often      3 ")) << keys.out;
}

TEST_F(TopProgramTest, HostileKeysSteerNoTerminal) {
  for (const std::string format : {"-1", "-1j"}) {
    const Finished keys = top({format, "-t", "src", "-F", "EV"});
    EXPECT_EQ(keys.exit_code, 0);
    EXPECT_EQ(keys.out.find('\x1b'), std::string::npos);
    EXPECT_EQ(keys.out.find('\x07'), std::string::npos);
    EXPECT_EQ(keys.out.find('\xff'), std::string::npos);
    EXPECT_NE(
        keys.out.find(format == "-1" ? "ev\\x1b]0;x\\x07\\xff" : "ev\\\\x1b]0;x\\\\x07\\\\xff"),
        std::string::npos)
        << keys.out;
    EXPECT_EQ(keys.out.find("seldom"), std::string::npos) << keys.out;
  }
}

TEST_F(TopProgramTest, JsonIsOneObjectOrOneALine) {
  const Finished once = top({"-1", "-j", "-t", "src"});
  EXPECT_EQ(once.exit_code, 0) << once.err;
  const rapidjson::Document all = parsed(once.out);
  EXPECT_EQ(all["instance"].GetString(), segment_.name());
  EXPECT_TRUE(all["daemon"].HasMember("heartbeat_age_ms"));
  EXPECT_EQ(all["entries"].GetUint64(), 3U);
  EXPECT_EQ(all["updates_in_per_second"].GetDouble(), 0);
  EXPECT_EQ(all["peers"].Size(), 0U);
  EXPECT_STREQ(all["tables"][0]["name"].GetString(), "src");
  EXPECT_EQ(all["tables"][0]["updates_per_second"].GetDouble(), 0);
  EXPECT_STREQ(all["rooms"][0]["name"].GetString(), "shop");
  EXPECT_TRUE(all["rooms"][0]["oldest_waiter_ms"].IsNull());
  EXPECT_STREQ(all["keys"]["sorted_by"].GetString(), "http_req_rate");
  EXPECT_STREQ(all["keys"]["rows"][0]["key"].GetString(), "often");
  EXPECT_EQ(all["keys"]["rows"][0]["gpc0"].GetUint64(), 3U);

  const Finished rooms = top({"-1j", "-v", "rooms"});
  EXPECT_FALSE(parsed(rooms.out).HasMember("tables"));

  // A line an interval, until nobody reads any more, or until told.
  const Finished three = test::run(segment_.lineq.command(
      "/bin/bash", {"-c", "set -o pipefail; " + test::lineq_top_path() + " -j -d 0.1 | head -3"}));
  EXPECT_EQ(three.exit_code, 0);
  EXPECT_EQ(three.err, "");
  ASSERT_EQ(lines_of(three.out).size(), 3U);
  for (const std::string& line : lines_of(three.out)) {
    parsed(line);
  }
  test::Process running(segment_.lineq.command(test::lineq_top_path(), {"-j", "-d", "0.1"}, "top"));
  EXPECT_TRUE(wait_until([&] { return !running.out().empty(); }));
  EXPECT_EQ(running.stop(), 0);
}

TEST_F(TopProgramTest, ADeadDaemonIsSaid) {
  segment_.drop();
  const Finished once = top({"-1j"});
  EXPECT_EQ(once.exit_code, 0) << once.err;
  EXPECT_STREQ(parsed(once.out)["daemon"]["state"].GetString(), "down");
  EXPECT_NE(top({"-1"}).out.find("lineqd down"), std::string::npos);
}

TEST_F(TopProgramTest, MistakesAreOneLineWithWhatIsAllowed) {
  const auto mistake = [&](std::vector<std::string> options, int code) {
    const Finished finished =
        test::run(segment_.lineq.command(test::lineq_top_path(), std::move(options)));
    EXPECT_EQ(finished.exit_code, code) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_EQ(lines_of(finished.err).size(), 1U) << finished.err;
    return finished.err;
  };
  EXPECT_EQ(mistake({"-1", "-d", "0"}, 1),
            "lineq-top: --delay: '0' is not allowed; allowed: seconds, 0.1 to 3600 (see lineq-top "
            "--help)\n");
  EXPECT_NE(mistake({"-1", "-d", "nan"}, 1).find("allowed: seconds"), std::string::npos);
  EXPECT_NE(mistake({"-1", "-v", "keyz"}, 1).find("allowed: tables, peers, keys or rooms"),
            std::string::npos);
  EXPECT_NE(mistake({"-1", "-l", "0"}, 1).find("1 to 10000"), std::string::npos);
  EXPECT_NE(mistake({"-1", "-s", "updatez_per_second"}, 1)
                .find("no column 'updatez_per_second'; did you mean 'updates_per_second'?"),
            std::string::npos);
  EXPECT_NE(mistake({"-1", "-v", "rooms", "-t", "src"}, 1).find("-t chooses"), std::string::npos);
  EXPECT_NE(mistake({"-1", "word"}, 1).find("unexpected word 'word'"), std::string::npos);
  EXPECT_EQ(mistake({"-1", "-d", "0.1", "-t", "scr"}, 2),
            "lineq-top: no table 'scr'; did you mean 'src'?\n");
  EXPECT_EQ(mistake({"-1", "-d", "0.1", "-t", "src", "-s", "gpc9"}, 2),
            "lineq-top: table src has no 'gpc9'; did you mean 'gpc0'?; it has gpc0, "
            "http_req_rate\n");
  // No terminal: said, not drawn into a file.
  EXPECT_NE(mistake({}, 1).find("have to be a terminal; -1 prints once"), std::string::npos);
}

TEST_F(TopProgramTest, AFullDiskIsAnError) {
  for (const std::string words : {"-1", "-1j", "-j", "-1 -t src"}) {
    const Finished finished = test::run(segment_.lineq.command(
        "/bin/sh", {"-c", test::lineq_top_path() + " -d 0.1 " + words + " >/dev/full"}));
    EXPECT_EQ(finished.exit_code, 1) << words;
    EXPECT_NE(finished.err.find("cannot write the output: No space left on device"),
              std::string::npos)
        << finished.err;
  }
}

// ---- on a terminal -----------------------------------------------------------------------------

class TopTerminalTest : public TopProgramTest {
 protected:
  void SetUp() override {
    if (!Tmux::here()) {
      GTEST_SKIP() << "tmux is not here";
    }
    TopProgramTest::SetUp();
  }
  void start(const std::string& options, std::string_view locale = "C.UTF-8") {
    ASSERT_TRUE(tmux_.start(options, locale));
  }
  std::string screen() { return tmux_.screen(); }
  bool shows(std::string_view text) { return tmux_.shows(text); }
  void type(const std::vector<std::string>& keys) { tmux_.type(keys); }
  void tmux(std::vector<std::string> words) { tmux_.run(std::move(words)); }
  void ended(std::string_view how) {
    EXPECT_TRUE(shows(how));
    const std::string all = screen();
    EXPECT_TRUE(all.starts_with("before\n")) << "the screen before is back: " << all;
    EXPECT_TRUE(wait_until([&] { return tmux_.settings_are_back(); }));
  }

  Tmux tmux_{segment_.lineq};
};

TEST_F(TopTerminalTest, TypedInto) {
  start("");
  EXPECT_TRUE(shows("[tables 1]"));
  EXPECT_TRUE(shows("src    string"));
  type({"k"});
  EXPECT_TRUE(shows("[keys of src]"));
  EXPECT_TRUE(shows("HTTP_REQ_RATEv"));
  const std::string keys = screen();
  EXPECT_LT(keys.find("\noften "), keys.find("\nseldom ")) << keys;
  EXPECT_NE(keys.find("ev\\x1b]0;x\\x07\\xff"), std::string::npos) << keys;
  type({"s", "gpc0", "Enter"});
  EXPECT_TRUE(shows("GPC0v"));
  EXPECT_TRUE(wait_until([&] {
    const std::string sorted = screen();
    return sorted.find("\nseldom ") < sorted.find("\noften ");
  })) << screen();
  type({"f", "sel", "Enter"});
  EXPECT_TRUE(wait_until([&] { return screen().find("often") == std::string::npos; }));
  type({"r"});
  EXPECT_TRUE(shows("shop"));
  type({"?"});
  EXPECT_TRUE(shows("seconds between two looks"));
  type({"Escape", "p"});
  EXPECT_TRUE(shows("No HAProxy has connected yet."));
  type({"BTab"});
  EXPECT_TRUE(shows("[tables 1]"));
  // A narrow window, and a wide one again.
  tmux({"resize-window", "-x", "40", "-y", "10"});
  EXPECT_TRUE(wait_until([&] {
    const std::vector<std::string> lines = lines_of(screen());
    return lines.size() == 10 && lines[9].starts_with("h help  q quit") && lines[9].size() <= 40;
  })) << screen();
  EXPECT_TRUE(shows("src "));
  tmux({"resize-window", "-x", "120", "-y", "30"});
  EXPECT_TRUE(shows("CONFLICTS"));
  type({"q"});
  ended("ended 0");
}

TEST_F(TopTerminalTest, TheSegmentComesGoesAndIsReplaced) {
  segment_.drop(true);
  for (const std::string& object : segment_.lineq.objects()) {
    ::unlink(("/dev/shm/" + object).c_str());
  }
  start("");
  EXPECT_TRUE(shows("waiting for a segment"));
  segment_.attach();
  segment_.put(src_, "often", {3, 0, 60, 0});
  EXPECT_TRUE(shows("src    string"));
  EXPECT_TRUE(shows("lineqd "));
  segment_.drop();
  EXPECT_TRUE(shows("lineqd is DOWN, heartbeat "));
  EXPECT_TRUE(shows("src    string"));
  for (const std::string& object : segment_.lineq.objects()) {
    ::unlink(("/dev/shm/" + object).c_str());
  }
  segment_.attach();
  segment_.put(dump::table_of("another", KeyType::kString, 32, "gpc0"), "a", {1});
  EXPECT_TRUE(shows("another string"));
  type({"q"});
  ended("ended 0");
}

TEST_F(TopTerminalTest, TheTerminalIsAsBeforeHoweverItEnds) {
  for (const auto& [signal, how] :
       {std::pair{SIGTERM, "ended 0"}, std::pair{SIGINT, "ended 0"},
        std::pair{SIGSEGV, "ended 139"}, std::pair{SIGBUS, "ended 135"}}) {
    start("-t src");
    EXPECT_TRUE(shows("[keys of src]"));
    const pid_t process = tmux_.pid();
    ASSERT_GT(process, 0);
    ::kill(process, signal);
    ended(how);
    tmux({"kill-server"});
  }
}

TEST_F(TopTerminalTest, ATerminalWithoutUtf8GetsAscii) {
  segment_.put(src_, "\xc3\xa9t\xc3\xa9", {1, 0, 90, 0});
  start("-t src", "C");
  EXPECT_TRUE(shows("\\xc3\\xa9t\\xc3\\xa9"));
  type({"C-c"});
  ended("ended 0");
  tmux({"kill-server"});
  start("-t src");
  EXPECT_TRUE(shows("\xc3\xa9t\xc3\xa9"));
}

TEST_F(TopTerminalTest, ATerminalThatCannotPlaceTheCursorIsRefused) {
  start("; TERM=dumb " + test::lineq_top_path());
  EXPECT_TRUE(shows("[tables 1]"));
  type({"q"});
  EXPECT_TRUE(shows("terminal 'dumb' (TERM) cannot place the cursor"));
  EXPECT_TRUE(shows("ended 1"));
}

}  // namespace
}  // namespace lineq::top
