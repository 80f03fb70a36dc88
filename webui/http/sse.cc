#include "webui/http/sse.h"

#include <fmt/core.h>

namespace lineq::http {

std::string sse_event(std::string_view name, std::string_view id, std::string_view data) {
  std::string out;
  out.reserve(data.size() + name.size() + id.size() + 64);
  if (!name.empty()) {
    out.append("event: ").append(name).append("\n");
  }
  if (!id.empty()) {
    out.append("id: ").append(id).append("\n");
  }
  for (;;) {
    const std::size_t end = data.find_first_of("\r\n");
    out.append("data: ").append(data.substr(0, end)).append("\n");
    if (end == std::string_view::npos) {
      break;
    }
    const bool crlf = data.substr(end, 2) == "\r\n";
    data.remove_prefix(end + (crlf ? 2 : 1));
  }
  out.append("\n");
  return out;
}

std::string sse_comment(std::string_view text) {
  return fmt::format(": {}\n\n", text);
}

std::string sse_retry(u32 ms) {
  return fmt::format("retry: {}\n\n", ms);
}

}  // namespace lineq::http
