#include "webui/live/presence.h"

#include <utility>

#include "webui/pages/json.h"

namespace lineq::live {

bool Presence::add(std::string_view key) {
  if (!send_ || in_flight_ >= kInFlight) {
    return false;
  }
  batch_.emplace_back(key);
  if (batch_.size() >= kBatch) {
    flush();
  }
  return true;
}

void Presence::flush() {
  if (batch_.empty()) {
    return;
  }
  pages::Json json;
  json.object();
  json.field("command", "present");
  json.key("keys");
  json.array();
  for (const std::string& key : batch_) {
    json.text(key);
  }
  json.end_array();
  json.field("by", "lineq-web");
  json.end_object();
  const std::size_t keys = batch_.size();
  batch_.clear();
  ++in_flight_;
  send_(json.take(), [this, keys](bool taken) {
    --in_flight_;
    reported_ += taken ? keys : 0;
  });
}

}  // namespace lineq::live
