// What may stand at an object's name in a directory that everybody may write to, and what a reader
// can make of the object it has opened.
#include "shm/object.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

// What `what` returns in a process of that user in that group; 127: it could not become it.
int as_nobody(gid_t group, const std::function<int()>& what) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool became =
        ::setgroups(0, nullptr) == 0 && ::setgid(group) == 0 && ::setuid(kNobody) == 0;
    ::_exit(became ? what() : 127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class ObjectTest : public testing::Test {
 protected:
  const TempInstance instance_;
  const std::string name_ = root_name(instance_.name());
  const std::string path_ = "/dev/shm/" + name_;
};

TEST_F(ObjectTest, WhatAReaderHasOpenedCannotBeMadeWritable) {
  ASSERT_TRUE(Object::create(name_, kPage).ok());
  const auto object = Object::open_read_only(instance_.source(), name_, kPage);
  ASSERT_TRUE(object.ok()) << object.error().what;
  // Root may open everything, but this was not opened for writing.
  EXPECT_EQ(::mprotect(object->data(), kPage, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, object->fd(), 0),
            MAP_FAILED);
  EXPECT_EQ(::pwrite(object->fd(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(object->fd(), 0), -1);
  EXPECT_EQ(::fcntl(object->fd(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST_F(ObjectTest, ItsGroupReadsItAndCannotOpenWhatItHasOpenedForWriting) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to be somebody else";
  }
  constexpr gid_t kGroup = 54321;
  ASSERT_TRUE(Object::create(name_, kPage).ok());
  ASSERT_EQ(::chown(path_.c_str(), 0, kGroup), 0);
  EXPECT_EQ(as_nobody(kGroup,
                      [&] {
                        const auto object =
                            Object::open_read_only(instance_.source(), name_, kPage);
                        const auto refused = [](int result, int number) {
                          return result < 0 && errno == number;
                        };
                        if (!object) {
                          return 1;
                        }
                        const std::string again = fmt::format("/proc/self/fd/{}", object->fd());
                        const bool all = refused(::open(again.c_str(), O_RDWR), EACCES) &&
                                         refused(::open(path_.c_str(), O_WRONLY), EACCES) &&
                                         refused(::truncate(path_.c_str(), 0), EACCES) &&
                                         refused(::fchmod(object->fd(), 0666), EPERM) &&
                                         refused(::unlink(path_.c_str()), EPERM);
                        return all ? 0 : 2;
                      }),
            0);
  EXPECT_EQ(
      as_nobody(kNobody,
                [&] { return ::open(path_.c_str(), O_RDONLY) < 0 && errno == EACCES ? 0 : 1; }),
      0)
      << "others read it";
}

// None of these is waited for, followed, or taken for memory.
TEST_F(ObjectTest, WhatIsNoFileIsRefusedByName) {
  const TempInstance other;
  ASSERT_TRUE(Object::create(root_name(other.name()), kPage).ok());
  struct Case {
    const char* kind;
    std::function<void()> make;
  };
  const std::vector<Case> cases{
      {"symbolic link", [&] { fs::create_symlink("/dev/shm/" + root_name(other.name()), path_); }},
      {"symbolic link", [&] { fs::create_symlink("/nowhere", path_); }},
      {"FIFO", [&] { ASSERT_EQ(::mkfifo(path_.c_str(), 0640), 0); }},
      {"directory", [&] { fs::create_directory(path_); }},
  };
  for (const Case& c : cases) {
    c.make();
    for (const bool writes : {true, false}) {
      const auto refused =
          writes ? Object::open_own(name_) : Object::open_read_only(instance_.source(), name_, 1);
      ASSERT_FALSE(refused.ok()) << c.kind;
      const Error& error = refused.error();
      EXPECT_EQ(error.code, ErrorCode::kForeign) << error.what;
      EXPECT_NE(error.what.find(name_ + ": "), std::string::npos) << error.what;
      EXPECT_NE(error.what.find(c.kind), std::string::npos) << error.what;
    }
    EXPECT_FALSE(Object::create(name_, kPage).ok());
    fs::remove(path_);
  }
}

TEST_F(ObjectTest, AFileThatLetsNobodyInIsNamedWithItsOwner) {
  if (::geteuid() != 0) {
    GTEST_SKIP() << "takes root, to be somebody else";
  }
  std::ofstream(path_) << "trap";
  ASSERT_EQ(::chmod(path_.c_str(), 0600), 0);
  EXPECT_EQ(as_nobody(kNobody,
                      [&] {
                        const auto own = Object::open_own(name_);
                        return !own && own.error().code == ErrorCode::kForeign &&
                                       own.error().what.find("owner 0 mode 600, not ours") !=
                                           std::string::npos
                                   ? 0
                                   : 1;
                      }),
            0);
}

TEST_F(ObjectTest, WhatIsHeldIsNotForReadersAndStays) {
  {
    const auto held = Object::hold(name_);
    ASSERT_TRUE(held.ok()) << held.error().what;
    EXPECT_EQ(static_cast<unsigned>(fs::status(path_).permissions()), 0600U);
    const auto second = Object::hold(name_);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  }
  EXPECT_TRUE(fs::exists(path_));
  EXPECT_TRUE(Object::hold(name_).ok());
  ASSERT_EQ(::chmod(path_.c_str(), 0640), 0);
  const auto loose = Object::hold(name_);
  ASSERT_FALSE(loose.ok());
  EXPECT_NE(loose.error().what.find("mode 640, not ours"), std::string::npos) << loose.error().what;
}

}  // namespace
}  // namespace lineq::shm
