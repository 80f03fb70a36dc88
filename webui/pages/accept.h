// What a client would like best: `Accept` and `Accept-Language` with their weights (RFC 9110 12.5).
#pragma once

#include <string_view>
#include <vector>

#include "shm/support/ints.h"

namespace lineq::pages {

struct Weighted {
  std::string_view value;
  u32 weight = 1000;  // thousandths
};

// The members of a list, the best first, equal ones in their order; at most 64 of them.
std::vector<Weighted> weighted(std::string_view list);

enum class Wish : u8 { kHtml, kJson, kEvents };
// HTML unless something else is liked better. EventSource asks for text/event-stream alone.
Wish wish_of(std::string_view accept);

// Without regard to case.
bool same_word(std::string_view a, std::string_view b);

}  // namespace lineq::pages
