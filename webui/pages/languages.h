// The waiting page's words. A language is a row of sentences; plurals are forms separated by `|` in
// the order of the language's categories (Unicode CLDR: zero, one, two, few, many, other).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::pages {

enum class Phrase : u8 {
  kInLine,        // headline while waiting
  kAlmost,        // headline when called, but not everywhere yet
  kTurn,          // headline when it is one's turn
  kTurnText,      // what happens then
  kEnter,         // link for those without JavaScript
  kFull,          // headline when nobody is queued
  kFullText,      // ... and what to do
  kRegistering,   // headline while the place is not known yet
  kPlace,         // label of the position
  kWait,          // label of the estimate
  kNext,          // nobody is ahead
  kAhead,         // plural {n}: people ahead
  kWaiting,       // plural {n}: people waiting (random order)
  kDrawn,         // random order: how it goes
  kMinutes,       // plural {n}
  kMinutesRange,  // {a}, plural {n}
  kHours,         // plural {n}
  kHoursRange,    // {a}, plural {n}
  kUnderMinute,
  kUnknown,   // no estimate
  kKeepOpen,  // what to do
  kKept,      // {time}: a duration; how long the place is kept
  kPaused,    // nobody is let in now
  kLost,      // {time}: a time of day; connection lost
  kLostOver,  // connection lost, and so long that no promise holds
  kAway,      // the daemon is not there
  kProgress,  // label of the bar
  kReloads,   // plural {n}: without JavaScript, seconds
  kTryAgain,  // link on the page that does not reload
  kCount
};

struct Language {
  std::string_view tag;  // "pt-BR"
  bool right_to_left = false;
  std::string_view phrase(Phrase p) const { return phrases[static_cast<std::size_t>(p)]; }
  std::string_view plural(Phrase p, u64 n) const;
  // The number as people write it: grouped, in their digits.
  std::string number(u64 n) const;
  // With {n} and the right form.
  std::string counted(Phrase p, u64 n) const;
  // From `low` to `high` seconds, in minutes or hours, rounded to what such a guess is worth.
  std::string duration(u32 low_s, u32 high_s) const;

  std::string_view separator;  // of thousands
  u8 grouped_from = 4;         // digits
  u32 zero = '0';              // code point of the digit
  u8 rule = 0;                 // of plurals
  std::span<const std::string_view> phrases;
};

std::span<const Language> languages();
// By `Accept-Language` with its weights, otherwise `fallback` (a tag), otherwise English. An index.
u8 choose_language(std::string_view accept_language, std::string_view fallback);

// `text` with each {name} replaced.
std::string filled(std::string_view text, std::string_view name, std::string_view value);

}  // namespace lineq::pages
