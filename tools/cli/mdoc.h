// For the manual pages that programs make of their own tables.
#pragma once

#include <string>
#include <string_view>

namespace lineq::cli {

// Text as mdoc: nothing in it is taken for a macro or an escape.
std::string mdoc_escaped(std::string_view text);

}  // namespace lineq::cli
