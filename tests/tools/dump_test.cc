// lineq-dump as its users run it.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <random>

#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <sys/stat.h>

#include "tests/tools/dump_support.h"

namespace lineq::dump {
namespace {

using shm::KeyType;
using test::Finished;
using test::lines_of;

class DumpTest : public testing::Test {
 protected:
  // Lines of entries without address, use and exp.
  static std::vector<std::string> entries(const Finished& finished) {
    std::vector<std::string> found;
    for (const std::string& line : lines_of(finished.out)) {
      if (line.starts_with("0x")) {
        const std::size_t key = line.find("key=");
        const std::size_t use = line.find(" use=0 exp=");
        const std::size_t rest = line.find(' ', use + 8);
        found.push_back(line.substr(key, use - key) +
                        (rest == std::string::npos ? "" : line.substr(rest)));
      }
    }
    return found;
  }
  using Lines = std::vector<std::string>;

  Segment segment_;
  const shm::TableDefinition t1_ =
      table_of("t1", KeyType::kString, 32, "gpc0,http_req_rate(60000)");
};

TEST_F(DumpTest, WithoutATableItListsThem) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  segment_.table(table_of("/t2", KeyType::kIp, 4, "gpc0"));
  const Finished list = segment_.dump({});
  EXPECT_EQ(list.exit_code, 0);
  EXPECT_EQ(list.err, "");
  const Lines lines = lines_of(list.out);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_TRUE(lines[0].starts_with("# table: t1, type: string, size:"));
  EXPECT_TRUE(lines[0].ends_with(", used:1"));
  EXPECT_TRUE(lines[1].starts_with("# table: /t2, type: ip, size:"));
  for (const std::string format : {"json", "jsonl", "csv"}) {
    const Finished finished = segment_.dump({"-o", format});
    EXPECT_EQ(finished.exit_code, 0);
    EXPECT_EQ(lines_of(finished.out).size(), format == "jsonl" ? 2U
                                             : format == "csv" ? 3U
                                                               : 4U)
        << finished.out;
  }
}

TEST_F(DumpTest, ATableIsFoundUnderEveryNameHaproxyHasForIt) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  segment_.put(table_of("/t2", KeyType::kString, 32, "gpc0"), "b", {1});
  for (const std::string name : {"/t2", "t2", "lq/t2"}) {
    EXPECT_EQ(entries(segment_.dump({"-t", name})), Lines{"key=b gpc0=1"}) << name;
  }
  EXPECT_EQ(entries(segment_.dump({"-t", "t1"})), Lines{"key=a gpc0=1 http_req_rate(60000)=2"});
  const Finished wrong = segment_.dump({"-t", "t3"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_EQ(wrong.err, "lineq-dump: no table 't3'; did you mean 't1'?\n");
  EXPECT_EQ(wrong.out, "");
}

TEST_F(DumpTest, TwoTablesOfOneNameAreBothShown) {
  segment_.put_text(table_of("t", KeyType::kIp, 4, "gpc0"), "10.0.0.1", {1});
  segment_.put_text(table_of("t", KeyType::kIpv6, 16, "gpc0"), "2001:db8::1", {2});
  EXPECT_EQ(entries(segment_.dump({"-t", "t"})),
            (Lines{"key=10.0.0.1 gpc0=1", "key=2001:db8::1 gpc0=2"}));
  EXPECT_EQ(entries(segment_.dump({"-t", "t", "-k", "2001:db8::1"})),
            Lines{"key=2001:db8::1 gpc0=2"});
}

TEST_F(DumpTest, AKeyIsGivenAsItIsShown) {
  const auto strings = table_of("s", KeyType::kString, 32, "gpc0");
  segment_.put(strings, "a b=c\\d\x1b\xff", {1});
  segment_.put(strings, "plain", {2});
  segment_.put_text(table_of("i", KeyType::kInteger, 4, "gpc0"), "4294967295", {3});
  segment_.put_text(table_of("b", KeyType::kBinary, 4, "gpc0"), "DEADBEEF", {4});
  segment_.put_text(table_of("v6", KeyType::kIpv6, 16, "gpc0"), "2001:db8::1", {5});
  const std::string shown = R"(a\ b\=c\\d\e\xFF)";
  EXPECT_EQ(entries(segment_.dump({"-t", "s", "-k", shown})), Lines{"key=" + shown + " gpc0=1"});
  EXPECT_EQ(entries(segment_.dump({"-t", "s", "-k", "a b=c\\d\x1b\xff"})),
            Lines{"key=" + shown + " gpc0=1"});
  EXPECT_EQ(entries(segment_.dump({"-t", "i", "-k", "4294967295"})),
            Lines{"key=4294967295 gpc0=3"});
  EXPECT_EQ(entries(segment_.dump({"-t", "b", "-k", "deadbeef"})), Lines{"key=DEADBEEF gpc0=4"});
  EXPECT_EQ(entries(segment_.dump({"-t", "v6", "-k", "2001:DB8:0::1"})),
            Lines{"key=2001:db8::1 gpc0=5"});
  // Without a table: wherever it may be.
  EXPECT_EQ(entries(segment_.dump({"-k", "plain"})), Lines{"key=plain gpc0=2"});
}

TEST_F(DumpTest, AKeyThatIsNotThereOrCannotBeIsSaid) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  segment_.put_text(table_of("i", KeyType::kInteger, 4, "gpc0"), "5", {3});
  const Finished missing = segment_.dump({"-t", "t1", "-k", "x\x1b"});
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_EQ(missing.err, "lineq-dump: no entry with key 'x\\x1b'\n");
  for (const std::string key : {"x", "-1", "4294967296", "5x", "", " 5", "0x5"}) {
    const Finished wrong = segment_.dump({"-t", "i", "-k", key});
    EXPECT_EQ(wrong.exit_code, 1) << key;
    EXPECT_EQ(lines_of(wrong.err).size(), 1U) << wrong.err;
  }
}

TEST_F(DumpTest, FiltersSelectEntries) {
  for (u64 i = 0; i < 10; ++i) {
    segment_.put(t1_, "k" + std::to_string(i), {i, 0, 10 * i, 0});
  }
  segment_.put(table_of("ids", KeyType::kString, 32, "server_id"), "minus",
               {static_cast<u64>(i64{-5})});
  EXPECT_EQ(entries(segment_.dump({"-t", "t1", "data.gpc0", "gt", "8"})),
            Lines{"key=k9 gpc0=9 http_req_rate(60000)=90"});
  EXPECT_EQ(entries(segment_.dump({"-t", "t1", "data.gpc0 gt 3", "data.gpc0 lt 7", "data.gpc0 ne 5",
                                   "data.http_req_rate(60000) ge 60"})),
            Lines{"key=k6 gpc0=6 http_req_rate(60000)=60"});
  // Without a table: all that store the type. A negative value is no option.
  EXPECT_EQ(entries(segment_.dump({"data.server_id", "lt", "-4"})),
            Lines{"key=minus server_id=-5"});
  const Finished none = segment_.dump({"-t", "t1", "data.gpc0", "gt", "100"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(lines_of(none.out).size(), 1U);
  const Finished absent = segment_.dump({"-t", "t1", "data.gpc1", "gt", "1"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_EQ(absent.err, "lineq-dump: table t1 does not store gpc1 (see lineq-dump --help)\n");
}

TEST_F(DumpTest, JsonParsesAsAWholeOrLineByLine) {
  segment_.put(t1_, "a\"\x1b", {1, 0, 2, 0});
  segment_.put(t1_, "b\xff", {1, 0, 2, 0});
  segment_.put_text(table_of("/t2", KeyType::kIp, 4, "gpc(2)"), "10.0.0.1", {3, 4});
  rapidjson::Document document;
  document.Parse(segment_.dump({"-a", "-o", "json"}).out.c_str());
  ASSERT_FALSE(document.HasParseError());
  EXPECT_EQ(document["tables"][0]["entries"].Size(), 2U);
  EXPECT_EQ(document["tables"][1]["entries"][0]["data"]["gpc"][1].GetUint(), 4U);
  const Lines lines = lines_of(segment_.dump({"-a", "-o", "jsonl"}).out);
  ASSERT_EQ(lines.size(), 3U);
  for (const std::string& line : lines) {
    EXPECT_FALSE(document.Parse(line.c_str()).HasParseError()) << line;
    EXPECT_TRUE(document.HasMember("table"));
  }
  for (const auto& nothing :
       std::vector<Lines>{{"-t", "t1", "-k", "nope"}, {"-t", "t1", "data.gpc0 gt 9"}}) {
    Lines options = nothing;
    options.insert(options.end(), {"-o", "json"});
    EXPECT_FALSE(document.Parse(segment_.dump(options).out.c_str()).HasParseError());
  }
}

TEST_F(DumpTest, ExpiredEntriesAreNotShown) {
  segment_.put(t1_, "short", {1, 0, 2, 0}, 0);
  segment_.put(t1_, "long", {1, 0, 2, 0}, 60000);
  EXPECT_EQ(entries(segment_.dump({"-t", "t1"})).size(), 1U);
  EXPECT_EQ(segment_.dump({"-t", "t1", "-k", "short"}).exit_code, 2);
}

TEST_F(DumpTest, ADeadDaemonIsSaidAndItsTablesAreShown) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  segment_.drop();
  const Finished killed = segment_.dump({"-t", "t1"});
  EXPECT_EQ(killed.exit_code, 0);
  EXPECT_EQ(entries(killed), Lines{"key=a gpc0=1 http_req_rate(60000)=2"});
  EXPECT_TRUE(killed.err.starts_with("lineq-dump: lineqd is down since 20")) << killed.err;
  EXPECT_EQ(lines_of(killed.err).size(), 1U);
  EXPECT_EQ(segment_.dump({"--verify"}).exit_code, 0);
}

TEST_F(DumpTest, NoSegmentIsNotFound) {
  const Finished none = segment_.dump({"-n", "no-such-instance"});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_EQ(lines_of(none.err).size(), 1U);
  EXPECT_NE(none.err.find("no-such-instance"), std::string::npos);
}

TEST_F(DumpTest, ACopyIsReadByDirectoryOrByItsRoot) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  const test::TempDir copy;
  for (const std::string& object : segment_.lineq.objects()) {
    std::filesystem::copy_file("/dev/shm/" + object, copy.file(object));
  }
  segment_.put(t1_, "a", {7, 0, 2, 0});
  const Lines then{"key=a gpc0=1 http_req_rate(60000)=2"};
  EXPECT_EQ(entries(segment_.dump({"-f", copy.path(), "-t", "t1"})), then);
  EXPECT_EQ(entries(segment_.dump({"-f", copy.file("lineq." + segment_.name() + ".root"), "-a"})),
            then);
  EXPECT_EQ(segment_.dump({"-f", copy.path(), "--verify"}).exit_code, 0);
  // Its only segment need not be named.
  const test::Command unnamed = segment_.lineq.command(
      "/usr/bin/env",
      {"-u", "LINEQ_INSTANCE", test::lineq_dump_path(), "-f", copy.path(), "-t", "t1"});
  EXPECT_EQ(entries(test::run(unnamed)), then);
  std::filesystem::copy_file(copy.file("lineq." + segment_.name() + ".root"),
                             copy.file("lineq.another.root"));
  const Finished two = test::run(unnamed);
  EXPECT_EQ(two.exit_code, 1);
  EXPECT_NE(two.err.find("choose one with -n: another, " + segment_.name()), std::string::npos);
}

TEST_F(DumpTest, WhatIsNoCopyIsRefused) {
  const test::TempDir dir;
  const std::string name = "lineq." + segment_.name() + ".root";
  EXPECT_EQ(segment_.dump({"-f", dir.file("absent")}).exit_code, 2);
  EXPECT_EQ(segment_.dump({"-f", dir.path()}).exit_code, 2);
  test::write_file(dir.file("notes.txt"), "x");
  EXPECT_EQ(segment_.dump({"-f", dir.file("notes.txt")}).exit_code, 1);
  for (const std::string_view text :
       {"", "LINEQ", "not a segment, but long enough to be looked at"}) {
    test::write_file(dir.file(name), text);
    const Finished finished = segment_.dump({"-f", dir.path()});
    EXPECT_TRUE(finished.exit_code == 2 || finished.exit_code == 3) << finished.exit_code;
    EXPECT_EQ(lines_of(finished.err).size(), 1U) << finished.err;
  }
  std::string root = test::read_file("/dev/shm/" + name);
  root.replace(8, 4, "\xff\xff\x00\x00", 4);
  test::write_file(dir.file(name), root);
  const Finished foreign = segment_.dump({"-f", dir.path(), "-a"});
  EXPECT_EQ(foreign.exit_code, 3);
  EXPECT_NE(foreign.err.find("layout 65535"), std::string::npos) << foreign.err;
}

TEST_F(DumpTest, VerifyFindsDamageInACopy) {
  for (int i = 0; i < 100; ++i) {
    segment_.put(t1_, "key" + std::to_string(i), {1, 0, 2, 0});
  }
  const Finished clean = segment_.dump({"--verify"});
  EXPECT_EQ(clean.exit_code, 0) << clean.out;
  EXPECT_EQ(clean.out, "100 entries in 1 tables: no finding\n");
  const test::TempDir copy;
  for (const std::string& object : segment_.lineq.objects()) {
    std::string bytes = test::read_file("/dev/shm/" + object);
    for (std::size_t at = 0; (at = bytes.find("key42", at)) != std::string::npos; ++at) {
      bytes[at] = 'K';
    }
    test::write_file(copy.file(object), bytes);
  }
  const Finished damaged = segment_.dump({"-f", copy.path(), "--verify"});
  EXPECT_EQ(damaged.exit_code, 3);
  EXPECT_GE(lines_of(damaged.out).size(), 2U) << damaged.out;
  rapidjson::Document document;
  document.Parse(segment_.dump({"-f", copy.path(), "--verify", "-o", "json"}).out.c_str());
  ASSERT_FALSE(document.HasParseError());
  EXPECT_FALSE(document["clean"].GetBool());
}

TEST_F(DumpTest, AnyDamageOfACopyIsSurvived) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  segment_.put(table_of("/t2", KeyType::kString, 255, "server_key"), "b",
               {segment_.writer->intern("web")});
  std::vector<std::pair<std::string, std::string>> objects;
  for (const std::string& object : segment_.lineq.objects()) {
    objects.emplace_back(object, test::read_file("/dev/shm/" + object));
  }
  std::mt19937 random(5);
  for (int i = 0; i < 40; ++i) {
    const test::TempDir copy;
    for (const auto& [name, bytes] : objects) {
      std::string damaged = bytes;
      if (i % 4 == 3) {
        damaged.resize(random() % damaged.size());
      }
      // Near the places that are used: the first 16 KiB, and the table records.
      for (int n = 0; n < 60 && !damaged.empty(); ++n) {
        damaged[random() % std::min<std::size_t>(damaged.size(), 1U << (10 + random() % 10))] =
            static_cast<char>(random());
      }
      if (!damaged.empty() && name.ends_with(".root")) {
        damaged.replace(0, 64, bytes, 0, 64);  // the header is believed, or nothing is looked at
      }
      test::write_file(copy.file(name), damaged);
    }
    for (const Lines& what : std::vector<Lines>{{"-a"}, {"--verify"}, {"--peers"}, {"-k", "a"}}) {
      Lines options{"-f", copy.path()};
      options.insert(options.end(), what.begin(), what.end());
      const Finished finished = segment_.dump(options);
      EXPECT_GE(finished.exit_code, 0) << i << what.front();
      EXPECT_LE(finished.exit_code, 3) << i << what.front() << finished.err;
    }
  }
}

TEST_F(DumpTest, UsageErrorsAreOneLineWithAHint) {
  for (const Lines& options : std::vector<Lines>{{"-o", "xml"},
                                                 {"--peers", "--verify"},
                                                 {"--peers", "-t", "t"},
                                                 {"-a", "-t", "t"},
                                                 {"--follow", "-o", "json"},
                                                 {"--follow", "-f", "/tmp"},
                                                 {"--verify", "data.gpc0 gt 5"},
                                                 {"data.gcp0", "gt", "5"},
                                                 {"--tabel", "x"},
                                                 {"-t"},
                                                 {"-n", "bad/name"}}) {
    const Finished finished = segment_.dump(options);
    EXPECT_EQ(finished.exit_code, 1) << options.front();
    EXPECT_EQ(finished.out, "");
    ASSERT_EQ(lines_of(finished.err).size(), 1U) << finished.err;
    EXPECT_TRUE(finished.err.ends_with(" (see lineq-dump --help)\n")) << finished.err;
  }
  const Finished help = segment_.dump({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("Examples:"), std::string::npos);
}

TEST_F(DumpTest, AFullDiskIsAnError) {
  segment_.put(t1_, "a", {1, 0, 2, 0});
  for (const std::string words :
       {"", "-a", "-a -o json", "-a -o jsonl", "-a -o csv", "-o csv", "-t t1 -k a", "--peers",
        "--peers -o json", "--verify", "--verify -o json", "--rooms", "-a --follow",
        "-a -o jsonl --follow", "--help", "--version"}) {
    segment_.beat();
    test::Command command = segment_.lineq.command(
        "/bin/sh", {"-c", test::lineq_dump_path() + " " + words + " >/dev/full"});
    const Finished finished = test::run(command);
    EXPECT_EQ(finished.exit_code, 1) << words;
    EXPECT_EQ(finished.err, "lineq-dump: cannot write the output: No space left on device\n")
        << words;
  }
}

TEST_F(DumpTest, AReaderThatHasEnoughEndsItQuietly) {
  for (int i = 0; i < 5000; ++i) {
    segment_.put(t1_, "key" + std::to_string(i), {1, 0, 2, 0});
  }
  for (const std::string more : {"", " --follow"}) {
    segment_.beat();
    const Finished finished = test::run(segment_.lineq.command(
        "/bin/bash",
        {"-c", "set -o pipefail; " + test::lineq_dump_path() + " -t t1" + more + " | head -3"}));
    EXPECT_EQ(finished.exit_code, 0) << more;
    EXPECT_EQ(finished.err, "");
    EXPECT_EQ(lines_of(finished.out).size(), 3U);
  }
}

TEST_F(DumpTest, FollowNoticesThatNobodyReadsWithoutAChange) {
  segment_.table(t1_);
  const Finished finished = test::run(segment_.lineq.command(
      "/bin/bash", {"-c", test::lineq_dump_path() + " -t t1 --follow | exec 0<&-; wait"}));
  EXPECT_EQ(finished.exit_code, 0);
  EXPECT_EQ(finished.err, "");
}

TEST_F(DumpTest, FollowShowsChangesUntilInterrupted) {
  segment_.put(t1_, "first", {1, 0, 2, 0});
  test::Process follow = segment_.start({"-t", "t1", "--follow"});
  const auto shows = [&](std::string_view text) {
    return test::wait_until([&] {
      segment_.beat();
      return follow.out().find(text) != std::string::npos;
    });
  };
  EXPECT_TRUE(shows("key=first ")) << follow.err();
  segment_.put(t1_, "second", {2, 0, 2, 0});
  EXPECT_TRUE(shows("key=second use=0 exp=3")) << follow.err();
  segment_.drop();
  EXPECT_TRUE(follow.wait_for_err("lineqd is down since"));
  segment_.attach();
  EXPECT_TRUE(follow.wait_for_err("lineqd is back"));
  segment_.put(t1_, "third", {2, 0, 2, 0});
  EXPECT_TRUE(shows("key=third "));
  follow.signal(SIGINT);
  EXPECT_EQ(follow.wait(), 0);
}

TEST_F(DumpTest, FollowOutlivesAReplacedSegment) {
  segment_.put(t1_, "first", {1, 0, 2, 0});
  test::Process follow = segment_.start({"-t", "t1", "--follow", "-o", "jsonl"});
  ASSERT_TRUE(test::wait_until([&] { return follow.out().find("first") != std::string::npos; }));
  segment_.drop();
  for (const std::string& object : segment_.lineq.objects()) {
    std::filesystem::remove("/dev/shm/" + object);
  }
  EXPECT_TRUE(follow.wait_for_err("waiting for lineqd to come back")) << follow.err();
  segment_.attach();
  segment_.put(t1_, "anew", {1, 0, 2, 0});
  EXPECT_TRUE(test::wait_until([&] { return follow.out().find("anew") != std::string::npos; }))
      << follow.err();
  follow.signal(SIGTERM);
  EXPECT_EQ(follow.wait(), 0);
}

TEST_F(DumpTest, ManyEntriesComeOutWholeAndOnce) {
  constexpr u64 kEntries = 300000;
  const auto table = table_of("big", KeyType::kInteger, 4, "gpc0,gpc1");
  shm::Table& to = segment_.table(table);
  const shm::ColumnMap columns(table, to.info());
  std::array<shm::Change, shm::Table::kBatch> changes;
  std::array<shm::Applied, shm::Table::kBatch> applied;
  std::array<std::array<u8, 4>, shm::Table::kBatch> keys;
  std::array<std::array<u64, 2>, shm::Table::kBatch> cells;
  const u64 now = segment_.writer->now();
  for (u64 at = 0; at < kEntries; at += changes.size()) {
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const u64 n = at + i;
      keys[i] = {static_cast<u8>(n >> 24), static_cast<u8>(n >> 16), static_cast<u8>(n >> 8),
                 static_cast<u8>(n)};
      cells[i] = {n, 1};
      changes[i].key = keys[i];
      changes[i].cells = cells[i].data();
    }
    to.apply(columns, changes, kNoPeer, now, applied);
  }
  const Finished finished = segment_.dump({"-t", "big", "-o", "csv"});
  EXPECT_EQ(finished.exit_code, 0);
  const Lines lines = lines_of(finished.out);
  ASSERT_EQ(lines.size(), kEntries + 1);
  std::vector<bool> seen(kEntries);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const std::size_t n = std::stoul(lines[i].substr(4));
    ASSERT_LT(n, kEntries);
    EXPECT_FALSE(seen[n]);
    seen[n] = true;
    EXPECT_TRUE(lines[i].find("," + std::to_string(n) + ",1") != std::string::npos) << lines[i];
  }
}

}  // namespace
}  // namespace lineq::dump
