#include "webui/pages/cloudflare.h"

#include <optional>

#include "tools/cli/room_settings.h"
#include "webui/pages/json.h"

namespace lineq::pages {

std::string wait_json(const Wait& wait, const Language& language, u64 realtime_ms) {
  const bool rejected = wait.state == WaitState::kRejected;
  const Words words = words_of(wait, language);
  Json json;
  json.object();
  json.key("cfWaitingRoom");
  json.object();
  json.flag("inWaitingRoom", !rejected);
  json.flag("waitTimeKnown", wait.known);
  json.field("waitTime", minutes(wait.expected_s));
  json.field("waitTime25Percentile", wait.random() ? minutes(wait.quarter_s) : 0);
  json.field("waitTime50Percentile", wait.random() ? minutes(wait.expected_s) : 0);
  json.field("waitTime75Percentile", wait.random() ? minutes(wait.three_quarters_s) : 0);
  json.field("waitTimeFormatted", wait.known ? estimate_text(wait, language) : "unavailable");
  json.flag("queueIsFull", rejected);
  json.flag("queueAll", wait.has(&shm::RoomSettings::queue_all));
  json.field("lastUpdated", iso_time(realtime_ms));
  json.field("refreshIntervalSeconds", wait.refresh_s);
  json.field("queueingMethod", cli::queueing_method_name(wait.method()));
  json.flag("isFIFOQueue", wait.method() == shm::QueueingMethod::kFifo);
  json.flag("isRandomQueue", wait.random());
  json.flag("isPassthroughQueue", wait.method() == shm::QueueingMethod::kPassthrough);
  json.flag("isRejectQueue", wait.method() == shm::QueueingMethod::kReject);
  json.flag("isEventActive", false);
  json.flag("isEventPrequeueing", false);
  json.field("timeUntilEventStart", 0U);
  json.field("timeUntilEventStartFormatted", "");
  json.field("timeUntilEventEnd", 0U);
  json.field("timeUntilEventEndFormatted", "");
  json.flag("shuffleAtEventStart", false);
  json.end_object();
  json.key("lineq");
  json.object();
  const auto number = [&](std::string_view name, bool there, u64 n) {
    json.maybe(name, there ? std::optional(n) : std::nullopt);
  };
  const auto time = [&](std::string_view name, bool there) {
    json.key(name);
    if (there) {
      json.text(iso_time(realtime_ms + u64{wait.left_s} * 1000));
    } else {
      json.null();
    }
  };
  json.key("room");
  if (wait.room != nullptr) {
    json.text(valid_utf8(wait.room->settings.name));
  } else {
    json.null();
  }
  number("position", wait.position > 0, wait.position);
  number("ahead", wait.position > 0, wait.ahead());
  number("queued", wait.room != nullptr, wait.queued);
  number("waitSeconds", wait.known, wait.expected_s);
  number("waitSecondsLow", wait.known, wait.low_s);
  number("waitSecondsHigh", wait.known, wait.high_s);
  json.field("state", wait_state_name(wait.state));
  time("readyUntil", wait.state == WaitState::kReady || wait.state == WaitState::kCalled);
  time("placeKeptUntil", wait.state == WaitState::kWaiting);
  json.field("message", words.message);
  json.end_object();
  json.end_object();
  return json.take();
}

}  // namespace lineq::pages
