// SHA-256 (FIPS 180-4), for the hashes in a Content-Security-Policy. Not for secrets: it is not
// hardened against anything.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::pages {

std::array<u8, 32> sha256(std::string_view bytes);
// 'sha256-<base64>'
std::string csp_hash(std::string_view inline_text);

}  // namespace lineq::pages
