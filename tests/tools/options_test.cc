#include "tools/cli/options.h"

#include <array>

#include <gtest/gtest.h>

namespace lineq::cli {
namespace {

constexpr std::array<Option, 3> kOptions{{{"table", 't', "TABLE", "only this table", ""},
                                          {"output", 'o', "FORMAT", "text or json", "text"},
                                          {"verify", 0, "", "check every invariant", ""}}};
constexpr std::array<std::string_view, 1> kExamples{"lineq-dump -t room"};
constexpr Program kProgram{
    "lineq-dump", "[OPTION]... [FILTER]...", "Shows the tables.", kOptions, kExamples, true};

Result<CommandLine> parse(std::vector<const char*> words, bool operands = true) {
  Program program = kProgram;
  program.operands = operands;
  words.insert(words.begin(), "lineq-dump");
  std::vector<char*> argv;
  for (const char* word : words) {
    argv.push_back(const_cast<char*>(word));
  }
  argv.push_back(nullptr);
  return parse_command_line(program, static_cast<int>(words.size()), argv.data());
}

std::string mistake(std::vector<const char*> words, bool operands = true) {
  const Result<CommandLine> line = parse(std::move(words), operands);
  return line ? "no mistake" : line.error().what;
}

TEST(OptionsTest, ShortLongAndJoinedFormsMeanTheSame) {
  for (const auto& words : std::vector<std::vector<const char*>>{
           {"-t", "room"}, {"-troom"}, {"--table", "room"}, {"--table=room"}}) {
    const Result<CommandLine> line = parse(words);
    ASSERT_TRUE(line.ok());
    EXPECT_EQ(line->value("table"), "room");
    EXPECT_FALSE(line->has("verify"));
  }
}

TEST(OptionsTest, OptionsAndOperandsMayMix) {
  const Result<CommandLine> line = parse({"data.gpc0", "--verify", "gt", "-o", "json", "--", "-5"});
  ASSERT_TRUE(line.ok());
  EXPECT_TRUE(line->has("verify"));
  EXPECT_EQ(line->value("output"), "json");
  EXPECT_EQ(line->operands, (std::vector<std::string>{"data.gpc0", "gt", "-5"}));
}

TEST(OptionsTest, TheLastOfARepeatedOptionWinsAndAllAreKept) {
  const Result<CommandLine> line = parse({"-t", "a", "-t", "b"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->value("table"), "b");
  EXPECT_EQ(line->values("table"), (std::vector<std::string_view>{"a", "b"}));
}

TEST(OptionsTest, AnUnknownOptionIsNamedWithASuggestion) {
  EXPECT_EQ(mistake({"--tabel", "x"}), "unknown option '--tabel'; did you mean '--table'?");
  EXPECT_EQ(mistake({"word", "--tabel=x"}), "unknown option '--tabel'; did you mean '--table'?");
  EXPECT_EQ(mistake({"--zzzzzz"}), "unknown option '--zzzzzz'");
  EXPECT_EQ(mistake({"word", "word", "-q"}), "unknown option '-q'");
  EXPECT_EQ(mistake({"--ve"}), "option '--ve' is not unique");  // verify, version
  EXPECT_EQ(mistake({"--a\nb"}), "unknown option '--a\\x0ab'");
}

TEST(OptionsTest, AMissingOrUnwantedValueIsNamed) {
  EXPECT_EQ(mistake({"-t"}), "option '-t' needs a value");
  EXPECT_EQ(mistake({"--table"}), "option '--table' needs a value");
  EXPECT_EQ(mistake({"--verify=yes"}), "option '--verify' takes no value");
}

TEST(OptionsTest, AWordIsAMistakeWhereNoneIsTaken) {
  EXPECT_EQ(mistake({"word"}, false), "unexpected word 'word'");
  EXPECT_EQ(mistake({"word"}, true), "no mistake");
}

TEST(OptionsTest, HelpShowsEveryOptionItsDefaultAndTheExamples) {
  EXPECT_EQ(help_text(kProgram),
            "Usage: lineq-dump [OPTION]... [FILTER]...\n"
            "Shows the tables.\n"
            "\n"
            "Options:\n"
            "  -t, --table TABLE    only this table\n"
            "  -o, --output FORMAT  text or json [text]\n"
            "      --verify         check every invariant\n"
            "  -h, --help           print this and exit\n"
            "  -V, --version        print version and build, and exit\n"
            "\n"
            "Examples:\n"
            "  lineq-dump -t room\n");
}

TEST(OptionsTest, VersionNamesProgramAndCompiler) {
  const std::string text = version_text(kProgram);
  EXPECT_TRUE(text.starts_with("lineq-dump " LINEQ_VERSION "\n")) << text;
  EXPECT_NE(text.find("\nsegment layout "), std::string::npos) << text;
  EXPECT_NE(text.find(", ABI "), std::string::npos) << text;
  EXPECT_NE(text.find("\nbuilt with "), std::string::npos) << text;
  EXPECT_NE(text.find(", buildtype "), std::string::npos) << text;
}

TEST(OptionsTest, ChoicesAreListsOfWordsOnly) {
  using Words = std::vector<std::string_view>;
  EXPECT_EQ(choices("text, json, jsonl or csv"), (Words{"text", "json", "jsonl", "csv"}));
  EXPECT_EQ(choices("evict or refuse"), (Words{"evict", "refuse"}));
  for (const std::string_view none :
       {"", "a port, 1 to 65535", "16 to 26", "one", "a, ", "a or "}) {
    EXPECT_EQ(choices(none), Words{}) << none;
  }
}

TEST(OptionsTest, TheManualHasEveryOptionAndVerb) {
  constexpr std::array<Option, 2> kFew{
      {{"output", 'o', "FORMAT", "how to print", "text", "text or json"},
       {"odd", 0, "", ".dots and \\ backslashes", ""}}};
  constexpr std::array<Verb, 1> kVerbs{{{"pause", "NAME", "call nobody"}}};
  Program program = kProgram;
  program.options = kFew;
  program.verbs = kVerbs;
  EXPECT_EQ(man_text(program),
            "The commands:\n.Bl -tag -width Ds\n.It Cm pause Ar NAME\nCall nobody.\n.El\n.Pp\n"
            "The options:\n.Bl -tag -width Ds\n"
            ".It Fl o , Fl -output Ar FORMAT\nHow to print.\nAllowed: text or json.\n"
            "The default is text.\n"
            ".It Fl -odd\n\\&.dots and \\e backslashes.\n"
            ".It Fl h , Fl -help\nPrint this and exit.\n"
            ".It Fl V , Fl -version\nPrint version and build, and exit.\n"
            ".El\n");
  EXPECT_EQ(words_text(program),
            "option\t--output\t-o\tFORMAT\ttext,json\n"
            "option\t--odd\t\t\t\n"
            "option\t--help\t-h\t\t\n"
            "option\t--version\t-V\t\t\n"
            "verb\tpause\tNAME\n");
}

TEST(OptionsTest, TheFormsForTheBuildAndTheShellStandAlone) {
  for (const char* form : {"--help=man", "--help=words"}) {
    std::array<char*, 4> argv{const_cast<char*>("lineq-dump"), const_cast<char*>(form),
                              const_cast<char*>("-t"), nullptr};
    testing::internal::CaptureStdout();
    EXPECT_EQ(read_command_line(kProgram, 2, argv.data()).exit_code, 0);
    EXPECT_NE(testing::internal::GetCapturedStdout().find("output"), std::string::npos);
    testing::internal::CaptureStderr();
    EXPECT_EQ(read_command_line(kProgram, 3, argv.data()).exit_code, 1);
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "lineq-dump: option '--help' takes no value (see lineq-dump --help)\n");
  }
}

TEST(OptionsTest, AMistakeEndsTheProgramWithOneLineAndExitCode1) {
  std::array<char*, 3> argv{const_cast<char*>("lineq-dump"), const_cast<char*>("--tabel"), nullptr};
  testing::internal::CaptureStderr();
  const CommandLine line = read_command_line(kProgram, 2, argv.data());
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "lineq-dump: unknown option '--tabel'; did you mean '--table'? (see lineq-dump "
            "--help)\n");
  EXPECT_EQ(line.exit_code, 1);
}

TEST(OptionsTest, HelpGoesToStdoutAndEndsWith0) {
  std::array<char*, 3> argv{const_cast<char*>("lineq-dump"), const_cast<char*>("-h"), nullptr};
  testing::internal::CaptureStdout();
  const CommandLine line = read_command_line(kProgram, 2, argv.data());
  EXPECT_EQ(testing::internal::GetCapturedStdout(), help_text(kProgram));
  EXPECT_EQ(line.exit_code, 0);
}

}  // namespace
}  // namespace lineq::cli
