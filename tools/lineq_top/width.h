// How much room text takes on a terminal. `text` is printable UTF-8 (cli::escaped made it so); what
// this terminal cannot show, or what takes no room of its own, is written as \xHH by
// for_terminal().
#pragma once

#include <string>
#include <string_view>

namespace lineq::top {

// The locale's characters are UTF-8 (std::setlocale has been called).
bool utf8_locale();
// In columns.
std::size_t width_of(std::string_view text);
// The longest beginning that takes at most `columns`; '~' at its end when something was cut off.
std::string cut(std::string_view text, std::size_t columns);
// `utf8`: the terminal understands it. Afterwards every character takes one column or two.
std::string for_terminal(std::string_view text, bool utf8);

}  // namespace lineq::top
