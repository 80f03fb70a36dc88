#include "daemon/peers/message.h"

#include <iterator>

#include <fmt/format.h>

namespace lineq::peers {

RowShape::RowShape(const shm::TableDefinition& table) : cells_(table.cells()) {
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!table.has(bit)) {
      continue;
    }
    const shm::ValueKind kind = shm::data_type(bit).kind;
    if (runs_.empty() || runs_.back().kind != kind) {
      runs_.push_back({kind, 0});
    }
    runs_.back().count += table.elements[bit];
  }
}

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 80;
  std::string out;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<u8>(c);
    if (byte < 0x20 || byte > 0x7e || c == '"' || c == '\\') {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (text.size() > kLongest) {
    out += "...";
  }
  return out;
}

}  // namespace lineq::peers
