// What a waiting page can say to one visitor, as values with names: for our own page, for templates
// and for JSON alike.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "webui/live/positions.h"
#include "webui/pages/languages.h"
#include "webui/pages/template.h"

namespace lineq::pages {

enum class WaitState : u8 { kRegistering, kWaiting, kCalled, kReady, kRejected };
std::string_view wait_state_name(WaitState state);

// Numbers, without words.
struct Wait {
  WaitState state = WaitState::kRegistering;
  bool front = false;
  const shm::RoomInfo* room = nullptr;  // null: not known
  u64 position = 0;                     // 1 = next; 0: not known
  u64 queued = 0;
  bool known = false;  // the estimate
  u32 low_s = 0;
  u32 high_s = 0;
  u32 expected_s = 0;
  u32 quarter_s = 0;  // a quarter waits less: random order
  u32 three_quarters_s = 0;
  u32 refresh_s = 20;
  u32 poll_s = 20;  // of a page that polls
  u32 hold_s = 300;
  u32 left_s = 0;        // of what its state gives: place kept, or time to come in
  int progress = -1;     // percent; -1: not known
  bool away = false;     // lineqd does not run
  bool stopped = false;  // nobody is let in for now

  u64 ahead() const { return position > 0 ? position - 1 : 0; }
  bool has(bool shm::RoomSettings::*flag) const { return room != nullptr && room->settings.*flag; }
  shm::QueueingMethod method() const {
    return room == nullptr ? shm::QueueingMethod::kFifo : room->settings.method;
  }
  bool random() const { return method() == shm::QueueingMethod::kRandom; }
};
Wait wait_of(const live::View& view, SegmentMs now);

// Words for it.
struct Words {
  std::string headline;
  std::string position;  // the number that is shown large; empty: none
  std::string ahead;
  std::string wait;
  std::string note;
  std::string message;
  std::string title;  // without the site
};
Words words_of(const Wait& wait, const Language& language);

// The data of `event: position`: words and what the page's script needs. Changes only when there is
// something else to show.
std::string page_json(const Wait& wait, const Language& language);

std::string estimate_text(const Wait& wait, const Language& language);
u32 minutes(u32 s);  // rounded up
// What is not UTF-8 replaced.
std::string valid_utf8(std::string_view text);

// Names for templates: those of cfWaitingRoom and lineq, and the page's own words.
enum class Name : u8 {
  kInWaitingRoom,
  kWaitTimeKnown,
  kWaitTime,
  kWaitTime25Percentile,
  kWaitTime50Percentile,
  kWaitTime75Percentile,
  kWaitTimeFormatted,
  kQueueIsFull,
  kQueueAll,
  kLastUpdated,
  kRefreshIntervalSeconds,
  kQueueingMethod,
  kIsFifoQueue,
  kIsRandomQueue,
  kIsPassthroughQueue,
  kIsRejectQueue,
  kIsEventActive,
  kIsEventPrequeueing,
  kTimeUntilEventStart,
  kTimeUntilEventStartFormatted,
  kTimeUntilEventEnd,
  kTimeUntilEventEndFormatted,
  kShuffleAtEventStart,
  kRoom,
  kPosition,
  kAhead,
  kQueued,
  kWaitSeconds,
  kWaitSecondsLow,
  kWaitSecondsHigh,
  kState,
  kReadyUntil,
  kPlaceKeptUntil,
  kMessage,
  // of the page
  kLang,
  kDir,
  kSite,
  kTitle,
  kHeadline,
  kPositionText,
  kAheadText,
  kWaitText,
  kNote,
  kPlaceLabel,
  kWaitLabel,
  kProgressLabel,
  kProgress,
  kHasProgress,
  kAdvice,
  kKept,
  kReloads,
  kReloadSeconds,
  kEnter,
  kTryAgain,
  kTurn,
  kLost,
  kLostOver,
  kIsWaiting,
  kIsReady,
  kIsRejected,
  kReload,
  kNow,
  kMethod,
  kCount
};
std::span<const std::string_view> wait_names();
using WaitValues = std::array<Template::Value, static_cast<std::size_t>(Name::kCount)>;
struct Visit {
  std::string_view site;  // what the visitor calls it
  std::string_view method = "GET";
  u64 realtime_ms = 0;
};
WaitValues wait_values(const Wait& wait, const Language& language, const Visit& visit);

// `2026-11-22T19:04:05.678Z`
std::string iso_time(u64 realtime_ms);

}  // namespace lineq::pages
