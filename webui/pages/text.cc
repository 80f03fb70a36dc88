#include "webui/pages/text.h"

#include <algorithm>
#include <array>
#include <cstring>
#ifdef __x86_64__
#include <tmmintrin.h>
#endif

#include "shm/reader.h"
#include "tools/cli/text.h"
#include "webui/pages/bytes16.h"

namespace lineq::pages {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// Two digits for every twelve bits.
constexpr auto kPairs = [] {
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

#ifdef __x86_64__
// The lower twelve bytes as sixteen digits, as W. Mula found out.
[[gnu::target("ssse3")]] inline __m128i digits_of(__m128i in) {
  in = _mm_shuffle_epi8(in, _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
  const __m128i high =
      _mm_mulhi_epu16(_mm_and_si128(in, _mm_set1_epi32(0x0fc0fc00)), _mm_set1_epi32(0x04000040));
  const __m128i low =
      _mm_mullo_epi16(_mm_and_si128(in, _mm_set1_epi32(0x003f03f0)), _mm_set1_epi32(0x01000010));
  const __m128i six = _mm_or_si128(high, low);
  // What to add: 0: small letters, 1 to 10: digits, 11 and 12: the signs, 13: capital letters.
  const __m128i kind =
      _mm_or_si128(_mm_subs_epu8(six, _mm_set1_epi8(51)),
                   _mm_and_si128(_mm_cmpgt_epi8(_mm_set1_epi8(26), six), _mm_set1_epi8(13)));
  constexpr char kNine = '0' - 52;
  const __m128i offsets = _mm_setr_epi8('a' - 26, kNine, kNine, kNine, kNine, kNine, kNine, kNine,
                                        kNine, kNine, kNine, '+' - 62, '/' - 63, 'A', 0, 0);
  return _mm_add_epi8(six, _mm_shuffle_epi8(offsets, kind));
}

// As many twelves as there are; how many bytes that was. `bytes` are sixteen or more.
[[gnu::target("ssse3")]] std::size_t put_twelves(std::span<const u8> bytes, char* to) {
  std::size_t at = 0;
  __m128i block;
  for (; bytes.size() - at >= sizeof block; at += 12, to += sizeof block) {
    std::memcpy(&block, bytes.data() + at, sizeof block);
    block = digits_of(block);
    std::memcpy(to, &block, sizeof block);
  }
  if (bytes.size() - at >= 12) {  // reads four bytes in front instead of behind
    std::memcpy(&block, bytes.data() + at - 4, sizeof block);
    block = digits_of(_mm_srli_si128(block, 4));
    std::memcpy(to, &block, sizeof block);
    at += 12;
  }
  return at;
}
#endif

char* put_base64(std::span<const u8> bytes, char* to) {
  const u8* at = bytes.data();
  const u8* end = at + bytes.size();
#ifdef __x86_64__
  if (bytes.size() >= 16 && __builtin_cpu_supports("ssse3") != 0) {
    const std::size_t done = put_twelves(bytes, to);
    at += done;
    to += done / 3 * 4;
  }
#endif
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
