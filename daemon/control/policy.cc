#include "daemon/control/policy.h"

#include <grp.h>

#include <algorithm>

namespace lineq::control {
namespace {

std::optional<u32> group_id(const char* name) {
  const group* found = ::getgrnam(name);
  return found == nullptr ? std::nullopt : std::optional<u32>(found->gr_gid);
}

bool lists(const cli::ControlAccess& access, CommandKind kind) {
  return std::any_of(access.commands.begin(), access.commands.end(), [&](const std::string& word) {
    return word == "all" || word == command_name(kind) || (word == "ask" && only_asks(kind));
  });
}

}  // namespace

Policy::Groups Policy::standard_groups() {
  return {group_id("lineq-admin"), group_id("lineq")};
}

bool Policy::allows(const Caller& caller, CommandKind kind) const {
  const auto in = [&](std::optional<u32> group) {
    return group &&
           std::find(caller.groups.begin(), caller.groups.end(), *group) != caller.groups.end();
  };
  if (caller.uid == 0) {
    return true;
  }
  bool named = false;
  for (const cli::ControlAccess& access : access_) {
    if (!access.group && access.id == caller.uid) {
      named = true;
      if (lists(access, kind)) {
        return true;
      }
    }
  }
  if (named) {
    return false;
  }
  if (caller.uid == own_uid_ || in(groups_.admin) || (only_asks(kind) && in(groups_.ask))) {
    return true;
  }
  return std::any_of(access_.begin(), access_.end(), [&](const cli::ControlAccess& access) {
    return access.group && in(access.id) && lists(access, kind);
  });
}

bool Policy::stranger(const Caller& caller) const {
  for (u32 kind = 0; kind <= static_cast<u32>(CommandKind::kShutdown); ++kind) {
    if (allows(caller, static_cast<CommandKind>(kind))) {
      return false;
    }
  }
  return true;
}

}  // namespace lineq::control
