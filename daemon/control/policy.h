// Who may give which command over the control socket. The kernel says who somebody is.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/control/command.h"
#include "tools/cli/settings.h"

namespace lineq::control {

// At the other end of a connection, when it was made.
struct Caller {
  u32 uid = 0;
  std::vector<u32> groups;  // all of them
  std::string user;         // the uid's name, or its number
};

// A user named in control_access may do what stands there and nothing else. Everybody else:
// root and lineqd's own user all; the group lineq-admin all; groups of control_access what stands
// there; the group lineq may ask.
class Policy {
 public:
  struct Groups {
    std::optional<u32> admin;
    std::optional<u32> ask;
  };
  Policy(u32 own_uid, Groups groups, std::vector<cli::ControlAccess> access)
      : own_uid_(own_uid), groups_(groups), access_(std::move(access)) {}
  // lineq-admin and lineq, as this machine knows them.
  static Groups standard_groups();

  bool allows(const Caller& caller, CommandKind kind) const;
  // May do nothing at all.
  bool stranger(const Caller& caller) const;

 private:
  u32 own_uid_;
  Groups groups_;
  std::vector<cli::ControlAccess> access_;
};

}  // namespace lineq::control
