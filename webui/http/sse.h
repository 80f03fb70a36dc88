// Server-Sent Events: text for a browser's EventSource.
#pragma once

#include <string>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::http {

// `event:`, `id:` and one `data:` line per line of `data` (which may end in CR, LF or both); an
// empty name or id is left out. Names and ids are ours and hold no line end.
std::string sse_event(std::string_view name, std::string_view id, std::string_view data);

// Ignored by browsers; keeps proxies from closing a quiet stream.
std::string sse_comment(std::string_view text);

// How long a browser waits before it connects again.
std::string sse_retry(u32 ms);

}  // namespace lineq::http
