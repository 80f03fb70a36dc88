#include "webui/pages/wait_values.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include <fmt/format.h>

#include "tools/cli/room_settings.h"
#include "tools/cli/text.h"
#include "tools/view/wait_estimate.h"
#include "webui/pages/json.h"

namespace lineq::pages {
namespace {

constexpr u32 kLeastPoll = 5;
constexpr u32 kMostPoll = 60;
constexpr u32 kShare = 20;  // of the wait, between two polls

constexpr std::array<std::string_view, static_cast<std::size_t>(Name::kCount)> kNames{
    "inWaitingRoom",
    "waitTimeKnown",
    "waitTime",
    "waitTime25Percentile",
    "waitTime50Percentile",
    "waitTime75Percentile",
    "waitTimeFormatted",
    "queueIsFull",
    "queueAll",
    "lastUpdated",
    "refreshIntervalSeconds",
    "queueingMethod",
    "isFIFOQueue",
    "isRandomQueue",
    "isPassthroughQueue",
    "isRejectQueue",
    "isEventActive",
    "isEventPrequeueing",
    "timeUntilEventStart",
    "timeUntilEventStartFormatted",
    "timeUntilEventEnd",
    "timeUntilEventEndFormatted",
    "shuffleAtEventStart",
    "room",
    "position",
    "ahead",
    "queued",
    "waitSeconds",
    "waitSecondsLow",
    "waitSecondsHigh",
    "state",
    "readyUntil",
    "placeKeptUntil",
    "message",
    "lang",
    "dir",
    "site",
    "title",
    "headline",
    "positionText",
    "aheadText",
    "waitText",
    "note",
    "placeLabel",
    "waitLabel",
    "progressLabel",
    "progress",
    "hasProgress",
    "advice",
    "kept",
    "reloads",
    "reloadSeconds",
    "enter",
    "tryAgain",
    "turn",
    "lost",
    "lostOver",
    "isWaiting",
    "isReady",
    "isRejected",
    "reload",
    "now",
    "method",
};

u32 seconds(double s) {
  return std::isfinite(s) && s > 0 ? static_cast<u32>(std::min(s, 1e8)) : 0;
}

WaitState state_of(const live::View& view) {
  switch (view.standing) {
    case live::Standing::kWaiting:
    case live::Standing::kFront:
      return WaitState::kWaiting;
    case live::Standing::kCalled:
      return WaitState::kCalled;
    case live::Standing::kReady:
    case live::Standing::kInside:
      return WaitState::kReady;
    default:
      return view.room != nullptr && view.room->settings.method == shm::QueueingMethod::kReject &&
                     !view.room->settings.queue_all && !view.room->settings.suspended
                 ? WaitState::kRejected
                 : WaitState::kRegistering;
  }
}

}  // namespace

std::string_view wait_state_name(WaitState state) {
  switch (state) {
    case WaitState::kWaiting:
      return "waiting";
    case WaitState::kCalled:
      return "called";
    case WaitState::kReady:
      return "ready";
    case WaitState::kRejected:
      return "rejected";
    default:
      return "registering";
  }
}

u32 minutes(u32 s) {
  return (s + 59) / 60;
}

std::string estimate_text(const Wait& wait, const Language& language) {
  return wait.known ? language.duration(wait.low_s, wait.high_s)
                    : std::string(language.phrase(Phrase::kUnknown));
}

std::string valid_utf8(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const cli::Utf8 c = cli::decode_utf8(text, at);
    if (c.length == 0) {
      out += "\xef\xbf\xbd";
      ++at;
    } else {
      out += text.substr(at, c.length);
      at += c.length;
    }
  }
  return out;
}

std::span<const std::string_view> wait_names() {
  return kNames;
}

std::string iso_time(u64 realtime_ms) {
  const auto s = static_cast<std::time_t>(realtime_ms / 1000);
  std::tm utc{};
  ::gmtime_r(&s, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     realtime_ms % 1000);
}

Wait wait_of(const live::View& view, SegmentMs now) {
  Wait w;
  w.state = state_of(view);
  w.front = view.standing == live::Standing::kFront;
  w.room = view.room;
  w.position = w.state == WaitState::kWaiting ? view.position : 0;
  w.left_s = view.left_ms / 1000;
  w.away = view.daemon_away;
  if (view.room == nullptr || view.numbers == nullptr) {
    return w;
  }
  const shm::RoomSettings& settings = view.room->settings;
  w.queued = view.numbers->waiting + view.numbers->front;
  w.refresh_s = std::max(settings.refresh_ms / 1000, 1U);
  w.hold_s = settings.hold_ms / 1000;
  w.stopped = !settings.suspended && (settings.paused || settings.queue_all ||
                                      settings.method == shm::QueueingMethod::kReject);
  w.poll_s = w.refresh_s;
  if (w.state == WaitState::kWaiting && w.position > 0 && !w.stopped && !w.away) {
    const auto question = view::wait_question(settings, *view.numbers, w.position, now);
    if (question) {
      const view::WaitRange range = view::wait_range(*question);
      w.known = true;
      w.low_s = seconds(range.low_s);
      w.high_s = seconds(range.high_s);
      w.expected_s = seconds(range.expected_s);
      w.quarter_s = seconds(view::wait_quantile(*question, 0.25));
      w.three_quarters_s = seconds(view::wait_quantile(*question, 0.75));
      w.poll_s = std::clamp(w.expected_s / kShare, kLeastPoll, kMostPoll);
      const u64 waited = view.waited_ms / 1000;
      w.progress = static_cast<int>(waited * 100 / std::max<u64>(waited + w.expected_s, 1));
    }
  }
  if (w.state == WaitState::kRegistering || w.state == WaitState::kCalled) {
    w.poll_s = kLeastPoll;
  }
  return w;
}

Words words_of(const Wait& wait, const Language& language) {
  const auto phrase = [&](Phrase p) { return std::string(language.phrase(p)); };
  Words words;
  switch (wait.state) {
    case WaitState::kRejected:
      words.headline = phrase(Phrase::kFull);
      words.note = phrase(Phrase::kFullText);
      break;
    case WaitState::kReady:
      words.headline = phrase(Phrase::kTurn);
      words.note = phrase(Phrase::kTurnText);
      break;
    case WaitState::kCalled:
      words.headline = phrase(Phrase::kAlmost);
      break;
    case WaitState::kRegistering:
      words.headline = phrase(Phrase::kRegistering);
      break;
    case WaitState::kWaiting:
      words.headline = phrase(Phrase::kInLine);
      if (!wait.away && !wait.stopped) {
        words.wait = estimate_text(wait, language);
      }
      if (wait.position == 0) {
        break;
      }
      if (wait.random() && !wait.front) {
        words.ahead = language.counted(Phrase::kWaiting, wait.queued);
        words.note = phrase(Phrase::kDrawn);
      } else {
        words.position = language.number(wait.position);
        words.ahead = wait.position == 1 ? phrase(Phrase::kNext)
                                         : language.counted(Phrase::kAhead, wait.ahead());
      }
      break;
  }
  if (wait.state == WaitState::kWaiting || wait.state == WaitState::kRegistering) {
    if (wait.away) {
      words.note = phrase(Phrase::kAway);
    } else if (wait.stopped) {
      words.note = phrase(Phrase::kPaused);
    }
  }
  if (wait.room != nullptr && wait.state != WaitState::kReady) {
    words.message = valid_utf8(wait.room->settings.message);
  }
  words.title = words.position.empty() ? words.headline : words.position + " · " + words.headline;
  return words;
}

std::string page_json(const Wait& wait, const Language& language) {
  const Words words = words_of(wait, language);
  Json json;
  json.object();
  json.field("state", wait_state_name(wait.state));
  json.field("n", wait.position);
  json.field("headline", words.headline);
  json.field("position", words.position);
  json.field("ahead", words.ahead);
  json.field("wait", words.wait);
  json.field("note", words.note);
  json.field("message", words.message);
  json.field("title", words.title);
  json.key("progress");
  json.signed_number(wait.progress);
  json.field("poll", wait.poll_s);
  json.field("hold", wait.hold_s);
  json.end_object();
  return json.take();
}

WaitValues wait_values(const Wait& wait, const Language& language, const Visit& visit) {
  const Words words = words_of(wait, language);
  const bool waiting = wait.state == WaitState::kWaiting;
  const bool called = wait.state == WaitState::kReady || wait.state == WaitState::kCalled;
  const bool rejected = wait.state == WaitState::kRejected;
  WaitValues values;
  values.fill(false);
  const auto put = [&](Name name, auto value) {
    Template::Value& to = values[static_cast<std::size_t>(name)];
    if constexpr (std::is_same_v<decltype(value), bool>) {
      to = value;
    } else if constexpr (std::is_integral_v<decltype(value)>) {
      to = static_cast<i64>(value);
    } else {
      to = std::string(value);
    }
  };
  const auto phrase = [&](Phrase p) { return language.phrase(p); };
  const auto until = [&](bool there) {
    return there ? iso_time(visit.realtime_ms + u64{wait.left_s} * 1000) : std::string();
  };
  put(Name::kInWaitingRoom, !rejected);
  put(Name::kWaitTimeKnown, wait.known);
  put(Name::kWaitTime, minutes(wait.expected_s));
  put(Name::kWaitTime25Percentile, wait.random() ? minutes(wait.quarter_s) : 0U);
  put(Name::kWaitTime50Percentile, wait.random() ? minutes(wait.expected_s) : 0U);
  put(Name::kWaitTime75Percentile, wait.random() ? minutes(wait.three_quarters_s) : 0U);
  put(Name::kWaitTimeFormatted, estimate_text(wait, language));
  put(Name::kQueueIsFull, rejected);
  put(Name::kQueueAll, wait.has(&shm::RoomSettings::queue_all));
  put(Name::kLastUpdated, iso_time(visit.realtime_ms));
  put(Name::kRefreshIntervalSeconds, wait.refresh_s);
  put(Name::kQueueingMethod, cli::queueing_method_name(wait.method()));
  put(Name::kIsFifoQueue, wait.method() == shm::QueueingMethod::kFifo);
  put(Name::kIsRandomQueue, wait.random());
  put(Name::kIsPassthroughQueue, wait.method() == shm::QueueingMethod::kPassthrough);
  put(Name::kIsRejectQueue, wait.method() == shm::QueueingMethod::kReject);
  put(Name::kTimeUntilEventStart, 0);
  put(Name::kTimeUntilEventStartFormatted, "");
  put(Name::kTimeUntilEventEnd, 0);
  put(Name::kTimeUntilEventEndFormatted, "");
  put(Name::kRoom, wait.room == nullptr ? "" : wait.room->settings.name);
  put(Name::kPosition, wait.position);
  put(Name::kAhead, wait.ahead());
  put(Name::kQueued, wait.queued);
  put(Name::kWaitSeconds, wait.expected_s);
  put(Name::kWaitSecondsLow, wait.low_s);
  put(Name::kWaitSecondsHigh, wait.high_s);
  put(Name::kState, wait_state_name(wait.state));
  put(Name::kReadyUntil, until(called));
  put(Name::kPlaceKeptUntil, until(waiting));
  put(Name::kMessage, words.message);
  put(Name::kLang, language.tag);
  put(Name::kDir, language.right_to_left ? "rtl" : "ltr");
  put(Name::kSite, visit.site);
  put(Name::kTitle,
      visit.site.empty() ? words.title : fmt::format("{} · {}", words.title, visit.site));
  put(Name::kHeadline, words.headline);
  put(Name::kPositionText, words.position);
  put(Name::kAheadText, words.ahead);
  put(Name::kWaitText, words.wait);
  put(Name::kNote, words.note);
  put(Name::kPlaceLabel, phrase(Phrase::kPlace));
  put(Name::kWaitLabel, phrase(Phrase::kWait));
  put(Name::kProgressLabel, phrase(Phrase::kProgress));
  put(Name::kProgress, std::max(wait.progress, 0));
  put(Name::kHasProgress, wait.progress >= 0);
  put(Name::kAdvice, phrase(Phrase::kKeepOpen));
  put(Name::kKept,
      filled(phrase(Phrase::kKept), "time", language.duration(wait.hold_s, wait.hold_s)));
  const u32 reload = called ? 2 : wait.refresh_s;
  put(Name::kReloads, language.counted(Phrase::kReloads, reload));
  put(Name::kReloadSeconds, reload);
  put(Name::kEnter, phrase(Phrase::kEnter));
  put(Name::kTryAgain, phrase(Phrase::kTryAgain));
  put(Name::kTurn, phrase(Phrase::kTurn));
  put(Name::kLost, phrase(Phrase::kLost));
  put(Name::kLostOver, phrase(Phrase::kLostOver));
  put(Name::kIsWaiting, waiting || wait.state == WaitState::kRegistering);
  put(Name::kIsReady, wait.state == WaitState::kReady);
  put(Name::kIsRejected, rejected);
  put(Name::kReload, !rejected);
  put(Name::kNow, page_json(wait, language));
  put(Name::kMethod, visit.method);
  return values;
}

}  // namespace lineq::pages
