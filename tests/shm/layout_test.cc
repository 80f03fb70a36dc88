#include "shm/layout.h"

#include <gtest/gtest.h>

namespace lineq::shm {
namespace {

// Whoever changes a shared struct changes kLayoutVersion and this number in the same commit:
// programs of different layouts then refuse each other instead of misreading.
TEST(LayoutTest, AbiHashIsTheOneOfThisLayoutVersion) {
  EXPECT_EQ(kLayoutVersion, 4U);
  EXPECT_EQ(abi_hash(), 0xacdde1e270de7077ULL);
}

TEST(LayoutTest, TheMagicReadsAsAName) {
  const u64 magic = kMagic;
  EXPECT_STREQ(reinterpret_cast<const char*>(&magic), "LINEQ");
}

TEST(LayoutTest, EveryCounterHasANameAndHelp) {
  for (const auto& list :
       {std::span<const CounterInfo>(kDaemonCounters), std::span<const CounterInfo>(kTableCounters),
        std::span<const CounterInfo>(kPeerCounters)}) {
    for (const CounterInfo& counter : list) {
      EXPECT_FALSE(counter.name.empty());
      EXPECT_FALSE(counter.help.empty()) << counter.name;
    }
  }
}

}  // namespace
}  // namespace lineq::shm
