// The hash by which a Content-Security-Policy allows one inline script or style.
#pragma once

#include <string>
#include <string_view>

namespace lineq::pages {

// 'sha256-<base64>', quotes included.
std::string csp_hash(std::string_view inline_text);

}  // namespace lineq::pages
