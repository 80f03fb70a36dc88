#include "webui/live/segment.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/shm/segment.h"
#include "tools/cli/log.h"

namespace lineq::live {
namespace {

// As with lineq-web, before lineqd made the directory whose owner owns the segment.
TEST(SegmentTest, WhoMustOwnItIsAskedAgain) {
  cli::set_log_level(cli::LogLevel::kErr);
  const shm::TempInstance instance;
  const auto writer = shm::attach(instance);
  u32 owner = ::geteuid() + 1;
  Segment segment(instance.source(), [&] { return owner; });
  segment.tick(1000);
  EXPECT_EQ(segment.reader(), nullptr);
  EXPECT_NE(segment.trouble().find("owner"), std::string::npos) << segment.trouble();
  owner = ::geteuid();
  segment.tick(10000);
  EXPECT_NE(segment.reader(), nullptr) << segment.trouble();
}

}  // namespace
}  // namespace lineq::live
