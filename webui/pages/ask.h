// Pages that are not answered from the segment but by lineqd, a little later.
#pragma once

#include <functional>
#include <string>

#include "daemon/control/command.h"
#include "shm/support/result.h"
#include "webui/http/response.h"

namespace lineq::pages {

// Sends a line to lineqd; `done` gets its answer's line or why there is none, now or later, once.
using Ask =
    std::function<void(std::string line, std::function<void(const Result<std::string>&)> done)>;

// What lineqd said; an Error: nothing, or nothing that can be understood.
using Answered = std::function<http::Reply(const Result<control::Answer>& answer)>;

// The reply that `make` makes of what lineqd says. `hurried`, if given, makes the one for the case
// that the server puts off too many answers already and cannot wait: the command is on its way.
http::Reply ask_lineqd(const Ask& ask, const control::Command& command, Answered make,
                       std::function<http::Reply()> hurried = nullptr);

}  // namespace lineq::pages
