// Files compiled into the program (webui/assets), written by the generator embed.cc at build time.
#pragma once

#include <span>
#include <string_view>

namespace lineq::pages {

struct Asset {
  std::string_view name;  // "status.css"
  std::string_view bytes;
  std::string_view etag;  // with quotes; another content has another one
};

std::span<const Asset> assets();

}  // namespace lineq::pages
