// The admin token: how it is compared, and who can get at its file.
#include "webui/pages/access.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <string>

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/instance.h"
#include "webui/pages/digest.h"

namespace lineq::pages {
namespace {

TEST(AccessTest, OnlyTheSameTextIsTheSameSecret) {
  EXPECT_TRUE(same_secret("abc", "abc"));
  EXPECT_FALSE(same_secret("abc", "abd"));
  EXPECT_FALSE(same_secret("abcabc", "abc"));
  EXPECT_FALSE(same_secret("ab", "abc"));
  EXPECT_FALSE(same_secret("", "abc"));
  EXPECT_FALSE(same_secret("abc", ""));
  EXPECT_FALSE(same_secret(std::string_view("abc\0", 4), "abc"));
}

using Compare = bool (*)(std::string_view, std::string_view);
using Text = std::array<char, 64>;

bool one_by_one(std::string_view a, std::string_view b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) {
      return false;
    }
  }
  return true;
}

// The instructions of one comparison, counted one after the other in a process of its own; 0: this
// machine does not let us.
u64 steps(Compare compare, const Text& given) {
  static const Text kept = [] {
    Text text;
    text.fill('k');
    return text;
  }();
  static Text here;  // at the same place each time
  const pid_t child = ::fork();
  if (child == 0) {
    here = given;
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
      ::_exit(1);
    }
    ::raise(SIGSTOP);
    const bool same = compare({here.data(), here.size()}, {kept.data(), kept.size()});
    ::raise(SIGSTOP);
    ::_exit(same ? 1 : 0);
  }
  int status = 0;
  u64 counted = 0;
  const auto stopped_by = [&](int signal) {
    return ::waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
           WSTOPSIG(status) == signal;
  };
  if (stopped_by(SIGSTOP)) {
    while (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0 && stopped_by(SIGTRAP)) {
      ++counted;
    }
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) {
      counted = 0;
    }
  }
  if (!WIFEXITED(status)) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
  }
  return counted;
}

TEST(AccessTest, AComparisonTakesTheSameInstructionsWhereverTheDifferenceIs) {
  Text first_is_wrong;
  first_is_wrong.fill('k');
  Text last_is_wrong = first_is_wrong;
  first_is_wrong.front() = 'x';
  last_is_wrong.back() = 'x';
  (void)same_secret("what is done once", "is done");
  const u64 taken = steps(same_secret, first_is_wrong);
  if (taken == 0) {
    GTEST_SKIP() << "no process may be traced here";
  }
  EXPECT_EQ(steps(same_secret, last_is_wrong), taken);
  // It would be seen.
  EXPECT_LT(steps(one_by_one, first_is_wrong), steps(one_by_one, last_is_wrong));
}

TEST(AccessTest, ATokenThatOthersCanGetAtIsNamed) {
  const test::TempDir dir;
  const std::string path = dir.file("token");
  EXPECT_EQ(loose_token_file(path), "");
  test::write_file(path, "s3cret");
  for (const mode_t mode : {0600U, 0640U, 0400U}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_EQ(loose_token_file(path), "") << mode;
  }
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(loose_token_file(path),
            "admin token " + path +
                ": mode 644, every user of this machine can read it (chmod 0640, group lineq-web)");
  ASSERT_EQ(::chmod(path.c_str(), 0660), 0);
  EXPECT_EQ(loose_token_file(path),
            "admin token " + path +
                ": mode 660, others than its owner can write it (chmod 0640, group lineq-web)");
}

}  // namespace
}  // namespace lineq::pages
