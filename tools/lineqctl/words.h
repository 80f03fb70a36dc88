// lineqctl's words -> a command for lineqd.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "daemon/control/command.h"
#include "shm/support/result.h"
#include "tools/cli/options.h"

namespace lineq::ctl {

using cli::Verb;
std::span<const Verb> verbs();

// {"pause", "shop"} -> change_room with paused. `all`: --all was given. An Error is one sentence,
// with what was probably meant.
Result<control::Command> command_of(std::span<const std::string> words, bool all);

}  // namespace lineq::ctl
