#include "tools/cli/text.h"

#include <algorithm>
#include <vector>

#include "shm/support/ints.h"

namespace lineq::cli {
namespace {

constexpr u8 byte_at(std::string_view text, std::size_t i) {
  return static_cast<u8>(text[i]);
}

constexpr bool harmless(u32 code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
    return false;
  }
  if (code == 0x61c || code == 0xfeff) {
    return false;
  }
  return (code < 0x200b || code > 0x200f) && (code < 0x2028 || code > 0x202e) &&
         (code < 0x2060 || code > 0x206f);
}

void append_hex(std::string& out, u8 byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out += "\\x";
  out += kDigits[byte >> 4];
  out += kDigits[byte & 15U];
}

std::string escape(std::string_view text, bool backslash) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Utf8 decoded = decode_utf8(text, i);
    const std::size_t length = std::max<std::size_t>(decoded.length, 1);
    if (decoded.length == 0 || !harmless(decoded.code)) {
      for (std::size_t j = 0; j < length; ++j) {
        append_hex(out, byte_at(text, i + j));
      }
    } else if (backslash && decoded.code == '\\') {
      out += "\\\\";
    } else {
      out.append(text.substr(i, length));
    }
    i += length;
  }
  return out;
}

constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Edit distance with exchange of neighbours, without regard to case.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    last[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
          lower(a[i - 2]) == lower(b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

Utf8 decode_utf8(std::string_view text, std::size_t at) {
  const u8 first = byte_at(text, at);
  if (first < 0x80) {
    return {first, 1};
  }
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() - at < length) {
    return {};
  }
  u32 code = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const u8 next = byte_at(text, at + i);
    if ((next & 0xc0) != 0x80) {
      return {};
    }
    code = (code << 6) | (next & 0x3fU);
  }
  const u32 least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
    return {};
  }
  return {code, length};
}

std::string printable(std::string_view text) {
  return escape(text, false);
}

std::string escaped(std::string_view text) {
  return escape(text, true);
}

std::string unescaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      if (text[i + 1] == '\\') {
        out += '\\';
        ++i;
        continue;
      }
      const int high = text[i + 1] == 'x' && i + 3 < text.size() ? hex_digit(text[i + 2]) : -1;
      const int low = high >= 0 ? hex_digit(text[i + 3]) : -1;
      if (low >= 0) {
        out += static_cast<char>(high << 4 | low);
        i += 3;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  constexpr std::size_t kLongestWord = 64;
  if (word.empty() || word.size() > kLongestWord) {
    return {};
  }
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(word.size() / 3, 1) + 1;
  for (const std::string_view candidate : candidates) {
    const std::size_t d = distance(word, candidate);
    if (d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string_view meant = nearest(word, candidates);
  return meant.empty() ? std::string() : "; did you mean '" + std::string(meant) + "'?";
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace lineq::cli
