#include "webui/pages/text.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "shm/reader.h"
#include "tools/cli/text.h"
#include "webui/pages/bytes16.h"

namespace lineq::pages {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Two digits for every twelve bits.
constexpr auto kPairs = []() {
  std::array<std::array<char, 2>, 4096> pairs{};
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i] = {kBase64[i >> 6], kBase64[i & 63]};
  }
  return pairs;
}();

bool plain(std::string_view text) {
  std::size_t i = 0;
  for (; text.size() - i >= sizeof(Bytes16); i += sizeof(Bytes16)) {
    if (any(not_plain(load16(text.data() + i)))) {
      break;  // perhaps only a quote, which is plain here
    }
  }
  return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i), text.end(),
                     [](char c) { return c >= 0x20 && c < 0x7f && c != '\\'; });
}

bool needs_escape(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\';
}

// Where the next character is that JSON wants escaped.
std::size_t json_plain(std::string_view text) {
  std::size_t i = 0;
  for (; text.size() - i >= sizeof(Bytes16); i += sizeof(Bytes16)) {
    if (any(not_json(load16(text.data() + i)))) {
      break;
    }
  }
  while (i < text.size() && !needs_escape(text[i])) {
    ++i;
  }
  return i;
}

void append_escape(char c, std::string& out) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  out += '\\';
  switch (c) {
    case '"':
    case '\\':
      out += c;
      break;
    case '\b':
      out += 'b';
      break;
    case '\f':
      out += 'f';
      break;
    case '\n':
      out += 'n';
      break;
    case '\r':
      out += 'r';
      break;
    case '\t':
      out += 't';
      break;
    default:
      out += "u00";
      out += kDigits[static_cast<unsigned char>(c) >> 4];
      out += kDigits[static_cast<unsigned char>(c) & 15];
  }
}

}  // namespace

char* put_base64(std::span<const u8> bytes, char* to) {
  const u8* at = bytes.data();
  const u8* end = at + bytes.size();
  const auto pair = [&to](u64 bits) {
    std::memcpy(to, &kPairs[bits & 0xfff], 2);
    to += 2;
  };
  for (; end - at >= 8; at += 6) {  // reads eight, uses six
    u64 w = 0;
    for (int i = 0; i < 6; ++i) {
      w = w << 8 | at[i];
    }
    pair(w >> 36);
    pair(w >> 24);
    pair(w >> 12);
    pair(w);
  }
  for (; end - at >= 3; at += 3) {
    const u64 w = u64{at[0]} << 16 | u64{at[1]} << 8 | at[2];
    pair(w >> 12);
    pair(w);
  }
  if (at != end) {
    const bool two = end - at == 2;
    const u64 w = u64{at[0]} << 16 | (two ? u64{at[1]} << 8 : 0);
    pair(w >> 12);
    pair(w);
    to[-1] = '=';
    if (!two) {
      to[-2] = '=';
    }
  }
  return to;
}

void append_base64(std::span<const u8> bytes, std::string& out) {
  const std::size_t before = out.size();
  out.resize(before + base64_bytes(bytes.size()));
  put_base64(bytes, out.data() + before);
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

void append_json_string(std::string_view text, std::string& out) {
  out += '"';
  for (;;) {
    const std::size_t plain = json_plain(text);
    out.append(text.substr(0, plain));
    if (plain == text.size()) {
      break;
    }
    append_escape(text[plain], out);
    text.remove_prefix(plain + 1);
  }
  out += '"';
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
