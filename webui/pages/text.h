// Bytes from strangers on their way into JSON and labels, and back.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "shm/entry_view.h"
#include "tools/cli/text.h"

namespace lineq::pages {

// RFC 4648, with padding.
void append_base64(std::span<const u8> bytes, std::string& out);
// The same to where there is room for base64_bytes() of them; the end.
char* put_base64(std::span<const u8> bytes, char* to);
constexpr std::size_t base64_bytes(std::size_t bytes) {
  return (bytes + 2) / 3 * 4;
}
// Without regard to missing padding; false when a character or the length is wrong.
bool base64_decoded(std::string_view text, std::string& out);

// With quotes; `text` is valid UTF-8.
void append_json_string(std::string_view text, std::string& out);

// cli::escaped, without a copy for plain text: valid UTF-8, and different bytes give different
// text. The result points into `bytes` or `scratch`.
std::string_view escaped_view(std::string_view bytes, std::string& scratch);
using cli::unescaped;

// The key as people know it (shm::key_text), escaped.
std::string_view key_view(const shm::TableDefinition& definition, std::string_view key,
                          std::string& scratch);

}  // namespace lineq::pages
