// Text from strangers on its way to a terminal or a log, and words that were meant otherwise.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::cli {

struct Utf8 {
  u32 code = 0;
  std::size_t length = 0;  // in bytes; 0: not UTF-8
};
// The well-formed UTF-8 sequence at `at` (RFC 3629: no overlong forms, no surrogates).
Utf8 decode_utf8(std::string_view text, std::size_t at);

// `text` with everything that could steer a terminal or fake a line written as \xHH: control
// characters (C0, DEL, C1), bytes that are not UTF-8, and the invisible characters that reorder
// what is read (bidirectional controls, line separators). Printable UTF-8 stays.
// A backslash stays too: for text that a person reads.
std::string printable(std::string_view text);

// The same with a backslash written as \\, so that the original bytes can be told from the result:
// for keys and values.
std::string escaped(std::string_view text);

// The bytes that were escaped: \\ and \xHH; any other backslash stands for itself.
std::string unescaped(std::string_view text);

// The candidate that `word` was probably meant to be, or "" when none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

// "; did you mean 'x'?" or "".
std::string suggestion(std::string_view word, std::span<const std::string_view> candidates);

bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace lineq::cli
