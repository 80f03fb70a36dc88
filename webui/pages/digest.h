// SHA-256, and secrets that are compared by it.
#pragma once

#include <array>
#include <string_view>

namespace lineq::pages {

std::array<unsigned char, 32> sha256(std::string_view text);

// Takes as long whatever the two have in common: digests are compared, and those to the end.
bool same_secret(std::string_view a, std::string_view b);

}  // namespace lineq::pages
