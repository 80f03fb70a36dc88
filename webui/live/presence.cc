#include "webui/live/presence.h"

#include <utility>

#include "tools/cli/text.h"
#include "webui/pages/json.h"

namespace lineq::live {
namespace {

// lineqd refuses a line that is not, and with it everybody who is in it.
bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const cli::Utf8 c = cli::decode_utf8(text, at);
    if (c.length == 0) {
      return false;
    }
    at += c.length;
  }
  return true;
}

}  // namespace

bool Presence::add(std::string_view key) {
  if (!send_ || in_flight_ >= kInFlight) {
    return false;
  }
  if (!is_utf8(key)) {
    return true;  // no browser of ours makes one: this visitor counts by what it asks for
  }
  batch_.emplace_back(key);
  bytes_ += key.size() + 3;
  if (batch_.size() >= kBatch || bytes_ >= kBatchBytes) {
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
  bytes_ = 0;
  ++in_flight_;
  send_(json.take(), [this, keys](bool taken) {
    --in_flight_;
    reported_ += taken ? keys : 0;
  });
}

}  // namespace lineq::live
