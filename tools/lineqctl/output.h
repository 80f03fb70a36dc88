// lineqd's answers as text for a person.
#pragma once

#include <string>

#include "daemon/control/command.h"

namespace lineq::ctl {

// With ends of lines. What cannot be understood is shown as the JSON it is.
std::string answer_text(const control::Command& command, const control::Answer& answer);

}  // namespace lineq::ctl
