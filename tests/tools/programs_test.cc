// What all programs have in common: help, versions, refusals, exit codes, manual pages, completion.
#include <unistd.h>

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include "tests/tools/dump_support.h"

namespace lineq {
namespace {

using test::Finished;
using test::lines_of;

struct Program {
  std::string name;
  std::string path;
  std::string page;
};
std::vector<Program> programs() {
  return {{"lineqd", test::lineqd_path(), "lineqd.8"},
          {"lineq-web", test::lineq_web_path(), "lineq-web.8"},
          {"lineq-dump", test::lineq_dump_path(), "lineq-dump.1"},
          {"lineq-top", test::lineq_top_path(), "lineq-top.1"},
          {"lineqctl", test::lineqctl_path(), "lineqctl.1"}};
}

std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> found(1);
  for (const char c : line) {
    if (c == '\t') {
      found.emplace_back();
    } else {
      found.back() += c;
    }
  }
  return found;
}

class ProgramsTest : public testing::TestWithParam<std::size_t> {
 protected:
  Finished run(std::vector<std::string> words) {
    return test::run(lineq_.command(program_.path, std::move(words)));
  }
  Finished shell(const std::string& words) {
    return test::run(lineq_.command("/bin/sh", {"-c", words}));
  }
  // Rows of --help=words that begin with `kind`.
  std::vector<std::vector<std::string>> words(std::string_view kind) {
    std::vector<std::vector<std::string>> found;
    for (const std::string& line : lines_of(run({"--help=words"}).out)) {
      if (std::vector<std::string> row = fields(line); row.front() == kind) {
        found.push_back(std::move(row));
      }
    }
    return found;
  }

  test::Instance lineq_;
  const Program program_ = programs()[GetParam()];
};

TEST_P(ProgramsTest, HelpHasEveryOptionAndExamples) {
  const Finished help = run({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_EQ(help.err, "");
  EXPECT_TRUE(help.out.starts_with("Usage: " + program_.name + " ")) << help.out;
  const std::size_t examples = help.out.find("\nExamples:\n  ");
  ASSERT_NE(examples, std::string::npos) << help.out;
  EXPECT_NE(help.out.find(program_.name, examples), std::string::npos) << help.out;
  const auto options = words("option");
  EXPECT_GE(options.size(), 5U);
  for (const auto& option : options) {
    ASSERT_EQ(option.size(), 5U);
    EXPECT_NE(help.out.find(" " + option[1]), std::string::npos) << option[1];
  }
  EXPECT_EQ(run({"-h"}).out, help.out);
}

TEST_P(ProgramsTest, TheVersionSaysWhatWasBuilt) {
  const Finished version = run({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  const std::vector<std::string> lines = lines_of(version.out);
  ASSERT_EQ(lines.size(), 3U) << version.out;
  EXPECT_EQ(lines[0], program_.name + " " LINEQ_VERSION);
  EXPECT_EQ(lines[1],
            fmt::format("segment layout {}, ABI {:016x}", shm::kLayoutVersion, shm::abi_hash()));
  EXPECT_TRUE(lines[2].starts_with("built with ")) << lines[2];
  EXPECT_NE(lines[2].find(", buildtype "), std::string::npos) << lines[2];
  EXPECT_EQ(run({"-V"}).out, version.out);
}

TEST_P(ProgramsTest, UnknownOptionsAreRefusedWithAHint) {
  const Finished mistyped = run({"--instanec", "x"});
  EXPECT_EQ(mistyped.exit_code, 1);
  EXPECT_EQ(mistyped.out, "");
  EXPECT_EQ(mistyped.err,
            fmt::format("{0}: unknown option '--instanec'; did you mean '--instance'? (see {0} "
                        "--help)\n",
                        program_.name));
  const Finished hostile = run({"--\x1b[2J\xff"});
  EXPECT_EQ(hostile.exit_code, 1);
  EXPECT_EQ(hostile.err,
            fmt::format("{0}: unknown option '--\\x1b[2J\\xff' (see {0} --help)\n", program_.name));
  const Finished value =
      program_.name == "lineqctl" ? run({"-n", "a/b", "rooms"}) : run({"-n", "a/b"});
  EXPECT_EQ(value.exit_code, 1);
  EXPECT_EQ(lines_of(value.err).size(), 1U) << value.err;
  EXPECT_NE(value.err.find("--instance: 'a/b' is not allowed; allowed: "), std::string::npos)
      << value.err;
}

TEST_P(ProgramsTest, AFullDiskIsAnError) {
  for (const std::string option : {"--help", "--version"}) {
    const Finished finished = shell(program_.path + " " + option + " >/dev/full");
    EXPECT_EQ(finished.exit_code, 1);
    EXPECT_EQ(finished.err, program_.name + ": cannot write the output: No space left on device\n");
  }
}

TEST_P(ProgramsTest, TheManualHasEveryOptionAndSection) {
  const std::string text = test::read_file(test::manual_path(program_.page));
  for (const std::string section : {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS",
                                    "FILES", "EXAMPLES", "SEE ALSO"}) {
    EXPECT_NE(text.find("\n.Sh " + section + "\n"), std::string::npos) << section;
  }
  EXPECT_EQ(text.find("\n@"), std::string::npos);
  for (const auto& option : words("option")) {
    const std::string item =
        fmt::format("{}Fl {}{}\n", option[2].empty() ? "" : fmt::format("Fl {} , ", option[2][1]),
                    option[1].substr(1), option[3].empty() ? "" : " Ar " + option[3]);
    EXPECT_NE(text.find("\n.It " + item), std::string::npos) << item;
  }
  for (const auto& verb : words("verb")) {
    EXPECT_NE(text.find("\n.It Cm " + verb[1]), std::string::npos) << verb[1];
  }
  // Examples are of this program.
  EXPECT_NE(text.find("$ " + program_.name, text.find(".Sh EXAMPLES")), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Programs, ProgramsTest, testing::Range(std::size_t{0}, std::size_t{5}),
                         [](const auto& which) {
                           std::string name = programs()[which.param].name;
                           std::erase(name, '-');
                           return name;
                         });

// ---- exit codes --------------------------------------------------------------------------------

TEST(ExitCodesTest, WithoutASegmentOrADaemonIt) {
  const test::Instance lineq;
  const auto run = [&](const std::string& program, std::vector<std::string> words) {
    return test::run(lineq.command(program, std::move(words)));
  };
  for (const Finished& finished :
       {run(test::lineq_dump_path(), {}), run(test::lineq_top_path(), {"-1"}),
        run(test::lineq_top_path(), {"-j"}), run(test::lineqctl_path(), {"rooms"})}) {
    EXPECT_EQ(finished.exit_code, 2);
    EXPECT_EQ(finished.out, "");
    EXPECT_EQ(lines_of(finished.err).size(), 1U) << finished.err;
  }
}

TEST(ExitCodesTest, AForeignSegmentIsDamaged) {
  dump::Segment segment;
  segment.drop(true);
  // Another layout version, behind the magic.
  const std::string root = fmt::format("/dev/shm/lineq.{}.root", segment.name());
  std::string bytes = test::read_file(root);
  bytes[offsetof(shm::RootHeader, layout_version)] = 99;
  test::write_file(root, bytes);
  for (const std::string& program : {test::lineq_dump_path(), test::lineq_top_path()}) {
    const Finished finished = test::run(segment.lineq.command(
        program, program == test::lineq_top_path() ? std::vector<std::string>{"-1"}
                                                   : std::vector<std::string>{}));
    EXPECT_EQ(finished.exit_code, 3) << finished.err;
    EXPECT_NE(finished.err.find("layout 99"), std::string::npos) << finished.err;
  }
}

// ---- manual pages ------------------------------------------------------------------------------

TEST(ManualTest, MandocHasNothingToSay) {
  if (::access("/usr/bin/mandoc", X_OK) != 0) {
    GTEST_SKIP() << "mandoc is not here";
  }
  std::vector<std::string> pages{"lineq.cfg.5", "lineq.7"};
  for (const Program& program : programs()) {
    pages.push_back(program.page);
  }
  for (const std::string& page : pages) {
    const Finished lint = test::run(
        {{"/usr/bin/mandoc", "-T", "lint", "-W", "warning", test::manual_path(page)}, {}, ""});
    EXPECT_EQ(lint.exit_code, 0) << page;
    EXPECT_EQ(lint.out + lint.err, "");
  }
}

void collect_keys(const rapidjson::Value& value, std::set<std::string>& keys) {
  if (value.IsArray()) {
    for (const auto& child : value.GetArray()) {
      collect_keys(child, keys);
    }
  } else if (value.IsObject()) {
    for (const auto& member : value.GetObject()) {
      keys.insert(member.name.GetString());
      collect_keys(member.value, keys);
    }
  }
}

TEST(ManualTest, EveryKeyOfTheConfigurationIsThere) {
  test::Instance lineq;
  test::write_file(lineq.file("all.cfg"), R"({
    "service_mode": "vwr",
    "listeners": [{"address": "127.0.0.1:1", "name": "a", "allowed_addresses": ["::1"],
                   "allowed_peers": ["b"]}],
    "peers": [{"name": "a", "address": "127.0.0.1:2", "own_name": "b"}],
    "aggregate": [{"from": "a", "to": "b", "policy": "max"}],
    "routes": [{"name": "shop", "host": "h", "additional_routes": [{"host": "i", "path": "/"}]}],
    "control_access": [{"who": "4711", "commands": ["ask"]}],
    "metrics_tables": [{"table": "a", "limit": 5, "data": ["gpc0"]}]
  })");
  // Checked and printed; TLS cannot be without files.
  const Finished shown =
      test::run(lineq.command(test::lineqd_path(), {"-f", lineq.file("all.cfg"), "-t"}));
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  rapidjson::Document document;
  document.Parse(shown.out.c_str());
  ASSERT_FALSE(document.HasParseError()) << shown.out;
  std::set<std::string> keys;
  collect_keys(document, keys);
  EXPECT_GE(keys.size(), 60U);
  for (const std::string key :
       {"certificate", "key", "ca", "verify", "allowed_names", "server_name"}) {
    keys.insert(key);  // of `tls`
  }
  const std::string page = test::read_file(test::manual_path("lineq.cfg.5"));
  for (const std::string& key : keys) {
    EXPECT_TRUE(page.find("\n.It Cm " + key + "\n") != std::string::npos ||
                page.find("\n.Cm " + key + " ") != std::string::npos ||
                page.find("\n.Cm " + key + "\n") != std::string::npos)
        << key << " is not in lineq.cfg(5)";
  }
  // Lists of objects have a section each.
  for (std::size_t at = page.find("\nSee below;"); at != std::string::npos;
       at = page.find("\nSee below;", at + 1)) {
    const std::size_t from = page.rfind(".It Cm ", at) + 7;
    const std::string key = page.substr(from, at - from);
    EXPECT_NE(page.find("\n.Ss " + key + "\n"), std::string::npos) << key << " is not explained";
  }
}

// ---- completion --------------------------------------------------------------------------------

class CompletionTest : public testing::Test {
 protected:
  // What bash offers for the last of `words`, sorted. The program is called by its path.
  std::vector<std::string> complete(const std::string& path, std::vector<std::string> words) {
    words.insert(words.begin(), path);
    std::string list;
    for (const std::string& word : words) {
      list += " '" + word + "'";
    }
    const Finished finished = test::run(segment_.lineq.command(
        "/bin/bash", {"-c", fmt::format("source {}/packaging/completions/lineq\n"
                                        "COMP_WORDS=({})\nCOMP_CWORD={}\n_lineq\n"
                                        "[ ${{#COMPREPLY[@]}} -eq 0 ] || "
                                        "printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                                        LINEQ_SOURCE_DIR, list, words.size() - 1)}));
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    std::vector<std::string> found = lines_of(finished.out);
    std::sort(found.begin(), found.end());
    return found;
  }
  using Words = std::vector<std::string>;

  dump::Segment segment_;
};

TEST_F(CompletionTest, OptionsAreThoseOfTheProgram) {
  for (const Program& program : programs()) {
    Words options;
    for (const std::string& line :
         lines_of(test::run(segment_.lineq.command(program.path, {"--help=words"})).out)) {
      if (const auto row = fields(line); row[0] == "option") {
        options.push_back(row[1]);
      }
    }
    std::sort(options.begin(), options.end());
    EXPECT_EQ(complete(program.path, {"--"}), options) << program.name;
    EXPECT_EQ(complete(program.path, {"--vers"}), Words{"--version"}) << program.name;
    const Finished registered = test::run(segment_.lineq.command(
        "/bin/bash", {"-c", fmt::format("source {}/packaging/completions/lineq; complete -p {}",
                                        LINEQ_SOURCE_DIR, program.name)}));
    EXPECT_EQ(registered.out, "complete -F _lineq " + program.name + "\n");
  }
}

TEST_F(CompletionTest, ValuesAreThoseAllowed) {
  EXPECT_EQ(complete(test::lineq_dump_path(), {"-o", ""}), (Words{"csv", "json", "jsonl", "text"}));
  EXPECT_EQ(complete(test::lineq_dump_path(), {"--output", "=", "js"}), (Words{"json", "jsonl"}));
  EXPECT_EQ(complete(test::lineqd_path(), {"--mode", ""}), (Words{"acc", "agg", "vwr"}));
  EXPECT_EQ(complete(test::lineqd_path(), {"--log-level", "=", ""}),
            (Words{"debug", "err", "info", "notice", "warning"}));
  EXPECT_EQ(complete(test::lineq_web_path(), {"--log-level", "w"}), Words{"warning"});
  EXPECT_EQ(complete(test::lineq_top_path(), {"-v", ""}),
            (Words{"keys", "peers", "rooms", "tables"}));
  EXPECT_EQ(complete(test::lineqctl_path(), {"-o", ""}), (Words{"json", "text"}));
  EXPECT_EQ(complete(test::lineqd_path(), {"--tcp-port", ""}), Words{});
}

TEST_F(CompletionTest, NamesComeFromTheSegment) {
  const std::string name = segment_.name();
  segment_.table(dump::table_of("src_rates", shm::KeyType::kIp, 4, "gpc0"));
  segment_.table(dump::table_of("/users", shm::KeyType::kString, 32, "gpc0"));
  // Words of a shell in a name are no words of ours.
  segment_.table(dump::table_of("$(touch /tmp/x);x", shm::KeyType::kString, 32, "gpc0"));
  shm::RoomSettings room;
  room.name = "shop";
  ASSERT_TRUE(segment_.writer->add_room(room, 0).ok());
  for (const Program& program : programs()) {
    EXPECT_EQ(complete(program.path, {"-n", name.substr(0, name.size() - 1)}).empty(), false);
    const Words instances = complete(program.path, {"--instance", name});
    EXPECT_NE(std::find(instances.begin(), instances.end(), name), instances.end());
  }
  const Words tables{"/users", "src_rates"};
  EXPECT_EQ(complete(test::lineq_dump_path(), {"-t", ""}), tables);
  EXPECT_EQ(complete(test::lineq_dump_path(), {"-n", "nobody", "-t", ""}), Words{});
  EXPECT_EQ(complete(test::lineq_dump_path(), {"--table", "=", "sr"}), Words{"src_rates"});
  EXPECT_EQ(complete(test::lineq_top_path(), {"-1", "-t", ""}), tables);
  EXPECT_EQ(complete(test::lineq_dump_path(), {"--queue", ""}), Words{"shop"});
}

TEST_F(CompletionTest, VerbsAndTheirWords) {
  shm::RoomSettings room;
  room.name = "shop";
  ASSERT_TRUE(segment_.writer->add_room(room, 0).ok());
  Words verbs;
  for (const std::string& line :
       lines_of(test::run(segment_.lineq.command(test::lineqctl_path(), {"--help=words"})).out)) {
    if (const auto row = fields(line); row[0] == "verb") {
      verbs.push_back(row[1].substr(0, row[1].find(' ')));
    }
  }
  std::sort(verbs.begin(), verbs.end());
  verbs.erase(std::unique(verbs.begin(), verbs.end()), verbs.end());
  EXPECT_GE(verbs.size(), 10U);
  Words offered = complete(test::lineqctl_path(), {""});
  offered.erase(std::unique(offered.begin(), offered.end()), offered.end());
  EXPECT_EQ(offered, verbs);
  EXPECT_EQ(complete(test::lineqctl_path(), {"-o", "json", "paus"}), Words{"pause"});
  EXPECT_EQ(complete(test::lineqctl_path(), {"pause", ""}), Words{"shop"});
  EXPECT_EQ(complete(test::lineqctl_path(), {"queue-all", "shop", ""}), (Words{"off", "on"}));
  EXPECT_EQ(complete(test::lineqctl_path(), {"log-level", ""}),
            complete(test::lineqd_path(), {"--log-level", ""}));
  segment_.table(dump::table_of("src", shm::KeyType::kIp, 4, "gpc0"));
  EXPECT_EQ(complete(test::lineqctl_path(), {"set", ""}), (Words{"shop", "table"}));
  EXPECT_EQ(complete(test::lineqctl_path(), {"clear", ""}), Words{"table"});
  EXPECT_EQ(complete(test::lineqctl_path(), {"clear", "table", ""}), Words{"src"});
  EXPECT_EQ(complete(test::lineqctl_path(), {"set", "table", "src", ""}), Words{"key"});
  EXPECT_EQ(complete(test::lineq_dump_path(), {"-t", "x", "data.gpc0", ""}),
            (Words{"eq", "ge", "gt", "le", "lt", "ne"}));
}

}  // namespace
}  // namespace lineq
