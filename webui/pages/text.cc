#include "webui/pages/text.h"

#include <algorithm>
#include <array>

#include "shm/reader.h"
#include "tools/cli/text.h"

namespace lineq::pages {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= 0x20 && c < 0x7f && c != '\\'; });
}

}  // namespace

void append_base64(std::span<const u8> bytes, std::string& out) {
  const std::size_t whole = bytes.size() / 3 * 3;
  for (std::size_t i = 0; i < whole; i += 3) {
    const u32 w = u32{bytes[i]} << 16 | u32{bytes[i + 1]} << 8 | bytes[i + 2];
    const std::array<char, 4> four{kBase64[w >> 18], kBase64[w >> 12 & 63], kBase64[w >> 6 & 63],
                                   kBase64[w & 63]};
    out.append(four.data(), four.size());
  }
  const std::size_t rest = bytes.size() - whole;
  if (rest == 0) {
    return;
  }
  const u32 w = u32{bytes[whole]} << 16 | (rest == 2 ? u32{bytes[whole + 1]} << 8 : 0);
  out += kBase64[w >> 18];
  out += kBase64[w >> 12 & 63];
  out += rest == 2 ? kBase64[w >> 6 & 63] : '=';
  out += '=';
}

bool base64_decoded(std::string_view text, std::string& out) {
  while (text.ends_with('=')) {
    text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) {
    return false;
  }
  u32 bits = 0;
  u32 held = 0;
  for (const char c : text) {
    const std::size_t digit = kBase64.find(c);
    if (digit == std::string_view::npos) {
      return false;
    }
    bits = bits << 6 | static_cast<u32>(digit);
    held += 6;
    if (held >= 8) {
      held -= 8;
      out += static_cast<char>(bits >> held & 0xff);
    }
  }
  return true;
}

std::string_view escaped_view(std::string_view bytes, std::string& scratch) {
  if (plain(bytes)) {
    return bytes;
  }
  scratch = cli::escaped(bytes);
  return scratch;
}

std::string_view key_view(const shm::TableDefinition& definition, std::string_view key,
                          std::string& scratch) {
  if (definition.key_type == shm::KeyType::kString) {
    return escaped_view(key, scratch);
  }
  scratch = shm::key_text(definition, {reinterpret_cast<const u8*>(key.data()), key.size()});
  return scratch;
}

}  // namespace lineq::pages
