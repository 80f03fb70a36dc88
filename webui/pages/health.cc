#include "webui/pages/health.h"

#include <algorithm>

#include <fmt/format.h>

#include "webui/pages/json.h"

namespace lineq::pages {
namespace {

bool in_sync(const shm::PeerInfo& peer) {
  // 3, partial: it knew not everything itself, but has told all it knew.
  return peer.state == shm::PeerState::kUp && peer.counter(shm::PeerCounter::lesson_in) >= 2;
}

// What is missing, for a person; empty: nothing.
std::string segment_trouble(const live::Segment& segment) {
  return segment.reader() == nullptr ? segment.trouble() : "";
}

std::string daemon_trouble(const live::Segment& segment) {
  const shm::Reader* reader = segment.reader();
  if (reader == nullptr) {
    return "unknown without a segment";
  }
  const shm::Liveness liveness = reader->liveness();
  return liveness == shm::Liveness::kAlive
             ? ""
             : fmt::format("lineqd is {}; its last heartbeat was {:.1f} s ago",
                           shm::liveness_name(liveness),
                           static_cast<double>(reader->heartbeat_age_ms()) / 1000.0);
}

std::string peer_trouble(const live::Segment& segment) {
  const shm::Reader* reader = segment.reader();
  if (reader == nullptr) {
    return "unknown without a segment";
  }
  if (reader->liveness() == shm::Liveness::kDown) {
    return "no HAProxy is connected while lineqd is down";
  }
  const std::vector<shm::PeerInfo> peers = reader->peers();
  if (std::any_of(peers.begin(), peers.end(), in_sync)) {
    return "";
  }
  const bool up = std::any_of(peers.begin(), peers.end(), [](const shm::PeerInfo& p) {
    return p.state == shm::PeerState::kUp;
  });
  return up ? "no connected HAProxy has finished its resynchronisation" : "no HAProxy is connected";
}

}  // namespace

http::Reply health_reply() {
  return http::json_reply(200, "{\"alive\":true}\n");
}

http::Reply ready_reply(const live::Segment& segment) {
  const std::array<std::pair<std::string_view, std::string>, 3> checks{
      {{"segment", segment_trouble(segment)},
       {"daemon", daemon_trouble(segment)},
       {"peer", peer_trouble(segment)}}};
  const bool ready = std::all_of(checks.begin(), checks.end(),
                                 [](const auto& check) { return check.second.empty(); });
  Json json;
  json.object();
  json.flag("ready", ready);
  json.key("missing");
  json.object();
  for (const auto& [name, trouble] : checks) {
    if (!trouble.empty()) {
      json.field(name, trouble);
    }
  }
  json.end_object();
  json.end_object();
  return http::json_reply(ready ? 200 : 503, json.take() + "\n");
}

http::Reply version_reply(const live::Segment& segment) {
  Json json;
  json.object();
  json.field("program", "lineq-web");
  json.field("version", LINEQ_VERSION);
  json.field("instance", segment.instance());
  json.field("layout", shm::kLayoutVersion);
  static const std::string abi = fmt::format("{:016x}", shm::abi_hash());
  json.field("abi", abi);
  json.field("compiler", __VERSION__);
  json.end_object();
  return http::json_reply(200, json.take() + "\n");
}

}  // namespace lineq::pages
