// README and lineq(7) against what is really there.
#include <algorithm>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/instance.h"
#include "tests/support/process.h"

namespace lineq {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = LINEQ_SOURCE_DIR;

std::vector<std::string> all_matches(const std::string& text, const char* pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), expression), end; i != end; ++i) {
    found.push_back((*i)[1]);
  }
  return found;
}

std::string readme() {
  return test::read_file(kSource / "README.md");
}

// All that the programs may print, with literals that go over several lines in one piece.
std::string all_sources() {
  std::string text;
  for (const char* folder : {"shm", "daemon", "webui", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kSource / folder)) {
      const fs::path extension = entry.path().extension();
      if (extension == ".cc" || extension == ".h") {
        text += test::read_file(entry.path());
      }
    }
  }
  std::string joined;
  joined.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      const std::size_t next = text.find_first_not_of(" \n", i + 1);
      if (next != std::string::npos && next > i + 1 && text[next] == '"') {
        i = next;
        continue;
      }
    }
    joined += text[i];
  }
  return joined;
}

TEST(ReadmeTest, FilesItNamesAreThere) {
  const std::vector<std::string> paths = all_matches(
      readme(), "[` ]((?:packaging|tools|tests|bench|webui)/[a-z][a-z_./-]*[a-z])[` \n]");
  EXPECT_GE(paths.size(), 15U);
  for (const std::string& path : paths) {
    EXPECT_TRUE(fs::exists(kSource / path)) << path;
  }
}

TEST(ReadmeTest, SettingsAndVariablesItNamesAreThere) {
  const std::string page = test::read_file(test::manual_path("lineq.cfg.5"));
  const std::string text = readme();
  const std::string rows = text.substr(text.find("| key in the file"));
  const std::vector<std::string> variables = all_matches(text, "((?:LINEQ|SERVICE)_[A-Z_]+[A-Z])");
  EXPECT_GE(variables.size(), 10U);
  for (const std::string& variable : variables) {
    EXPECT_NE(page.find(variable), std::string::npos) << variable;
  }
  const std::vector<std::string> first =
      all_matches(rows.substr(0, rows.find("\n\n")), "\n\\| ([^|]*) \\|");
  EXPECT_GE(first.size(), 10U);
  for (const std::string& cell : first) {
    for (const std::string& key : all_matches(cell, "`([a-z_]+)`")) {
      EXPECT_NE(page.find("\n.It Cm " + key + "\n"), std::string::npos) << key;
    }
  }
}

// Items that begin with \& are what people see, or what others print.
TEST(ManualTest, LinesToBeLookedUpArePrinted) {
  const std::string page = test::read_file(test::manual_path("lineq.7"));
  const std::size_t from = page.find("\n.Sh TROUBLESHOOTING\n");
  ASSERT_NE(from, std::string::npos);
  const std::string sources = all_sources();
  const std::vector<std::string> lines = all_matches(
      page.substr(from, page.find("\n.Sh ", from + 1) - from), "\n\\.It ([^\\\\\n][^\n]*)");
  EXPECT_GE(lines.size(), 25U);
  const std::regex plain("[(]?[A-Za-z_]+[,;:)]*");  // no number, no name in quotes, no path
  for (const std::string& line : lines) {
    const std::vector<std::string> words = all_matches(line, "([^ ]+)");
    int known = 0;
    for (std::size_t i = 0; i + 3 <= words.size(); ++i) {
      if (std::all_of(words.begin() + static_cast<std::ptrdiff_t>(i),
                      words.begin() + static_cast<std::ptrdiff_t>(i) + 3,
                      [&](const std::string& word) { return std::regex_match(word, plain); }) &&
          sources.find(fmt::format("{} {} {}", words[i], words[i + 1], words[i + 2])) !=
              std::string::npos) {
        ++known;
      }
    }
    EXPECT_GE(known, 1) << "no program prints: " << line;
  }
}

}  // namespace
}  // namespace lineq
