#include "tools/cli/mdoc.h"

namespace lineq::cli {

std::string mdoc_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n')) {
      out += "\\&";
    }
    out += c == '\\' ? "\\e" : std::string(1, c);
  }
  return out;
}

}  // namespace lineq::cli
