#include "daemon/control/policy.h"

#include <gtest/gtest.h>

namespace lineq::control {
namespace {

constexpr u32 kOwn = 100, kAdmins = 200, kAsking = 201, kOps = 202;

Policy policy(std::vector<cli::ControlAccess> access = {}) {
  return {kOwn, {kAdmins, kAsking}, std::move(access)};
}

TEST(PolicyTest, RootTheDaemonsUserAndAdminsMayAll) {
  for (const Caller& caller :
       {Caller{0, {5}, "root"}, Caller{kOwn, {5}, "lineq"}, Caller{1000, {5, kAdmins}, "anna"}}) {
    EXPECT_TRUE(policy().allows(caller, CommandKind::kInfo));
    EXPECT_TRUE(policy().allows(caller, CommandKind::kPutRoom));
    EXPECT_TRUE(policy().allows(caller, CommandKind::kPresent));
    EXPECT_TRUE(policy().allows(caller, CommandKind::kClearTable));
    EXPECT_TRUE(policy().allows(caller, CommandKind::kShutdown));
  }
}

TEST(PolicyTest, TheGroupLineqMayAsk) {
  const Caller caller{1000, {5, kAsking}, "otto"};
  EXPECT_TRUE(policy().allows(caller, CommandKind::kInfo));
  EXPECT_TRUE(policy().allows(caller, CommandKind::kRoom));
  EXPECT_FALSE(policy().allows(caller, CommandKind::kAdmit));
  EXPECT_TRUE(policy().allows(caller, CommandKind::kTables));
  EXPECT_TRUE(policy().allows(caller, CommandKind::kPeers));
  EXPECT_FALSE(policy().allows(caller, CommandKind::kPresent));
  for (const CommandKind kind : {CommandKind::kSetEntry, CommandKind::kClearTable,
                                 CommandKind::kLogLevel, CommandKind::kShutdown}) {
    EXPECT_FALSE(policy().allows(caller, kind)) << command_name(kind);
  }
}

TEST(PolicyTest, StrangersMayNothing) {
  const Caller caller{1000, {5}, "eve"};
  EXPECT_FALSE(policy().allows(caller, CommandKind::kInfo));
  EXPECT_FALSE(Policy(kOwn, {}, {}).allows(caller, CommandKind::kInfo));
}

TEST(PolicyTest, WhoMayOneThingIsNoStranger) {
  const Policy p = policy({{"@ops", true, kOps, {"shutdown"}}, {"mute", false, 1003, {}}});
  EXPECT_TRUE(p.stranger({1000, {5}, "eve"}));
  EXPECT_TRUE(p.stranger({1003, {kAdmins}, "mute"}));
  EXPECT_FALSE(p.stranger({1000, {5, kOps}, "olga"}));
  EXPECT_FALSE(p.stranger({1000, {5, kAsking}, "otto"}));
  EXPECT_FALSE(p.stranger({0, {}, "root"}));
}

TEST(PolicyTest, ANamedUserMayWhatIsListedAndNothingElse) {
  const Policy p = policy({{"lineq-web", false, 1001, {"present", "ask", "set_entry"}}});
  const Caller web{1001, {kAdmins}, "lineq-web"};
  EXPECT_TRUE(p.allows(web, CommandKind::kPresent));
  EXPECT_TRUE(p.allows(web, CommandKind::kRooms));
  EXPECT_TRUE(p.allows(web, CommandKind::kSetEntry));
  EXPECT_FALSE(p.allows(web, CommandKind::kClearTable));
  EXPECT_FALSE(p.allows(web, CommandKind::kShutdown));
  EXPECT_FALSE(p.allows(web, CommandKind::kPutRoom));
  // Whose name nobody here has is nobody.
  EXPECT_FALSE(
      policy({{"gone", false, std::nullopt, {"all"}}}).allows({1002, {}, "x"}, CommandKind::kInfo));
}

TEST(PolicyTest, ANamedGroupMayWhatIsListed) {
  const Policy p = policy({{"@ops", true, kOps, {"admit", "change_room"}}});
  const Caller caller{1000, {5, kOps}, "olga"};
  EXPECT_TRUE(p.allows(caller, CommandKind::kAdmit));
  EXPECT_TRUE(p.allows(caller, CommandKind::kChangeRoom));
  EXPECT_FALSE(p.allows(caller, CommandKind::kRemoveRoom));
}

}  // namespace
}  // namespace lineq::control
