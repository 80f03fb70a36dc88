// What every program of LineQ means by its exit code.
#pragma once

namespace lineq::cli {

enum ExitCode : int {
  kExitFine = 0,
  kExitUsage = 1,     // usage or configuration
  kExitNotFound = 2,  // no such object, no segment, no daemon to talk to, or one already runs
  kExitDamaged = 3,   // verify failed, or a foreign layout
};

}  // namespace lineq::cli
