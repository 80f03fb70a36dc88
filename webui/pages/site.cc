#include "webui/pages/site.h"

#include <algorithm>
#include <array>

#include "shm/support/assert.h"
#include "shm/support/clock.h"
#include "webui/http/sse.h"
#include "webui/pages/assets.h"
#include "webui/pages/health.h"
#include "webui/pages/metrics.h"
#include "webui/pages/room_status.h"
#include "webui/pages/tables.h"

namespace lineq::pages {
namespace {

// Nothing inline, nothing from elsewhere, nobody's frame.
constexpr std::string_view kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// After a restart of lineq-web a browser comes back this soon.
constexpr u32 kRetryMs = 2000;

struct AssetPath {
  std::string_view path;
  std::string_view file;
  std::string_view type;
};
constexpr std::array<AssetPath, 15> kAssetPaths{
    {{"/status", "status.html", "text/html; charset=utf-8"},
     {"/status/status.css", "status.css", "text/css; charset=utf-8"},
     {"/status/page.js", "page.js", "text/javascript; charset=utf-8"},
     {"/status/lists.js", "lists.js", "text/javascript; charset=utf-8"},
     {"/status/admin.js", "admin.js", "text/javascript; charset=utf-8"},
     {"/status/charts.js", "charts.js", "text/javascript; charset=utf-8"},
     {"/status/peers.js", "peers.js", "text/javascript; charset=utf-8"},
     {"/status/tables.js", "tables.js", "text/javascript; charset=utf-8"},
     {"/status/entries.js", "entries.js", "text/javascript; charset=utf-8"},
     {"/status/rooms.js", "rooms.js", "text/javascript; charset=utf-8"},
     {"/status/status.js", "status.js", "text/javascript; charset=utf-8"},
     {"/status/dygraph.js", "dygraph.min.js", "text/javascript; charset=utf-8"},
     {"/status/dygraph.css", "dygraph.min.css", "text/css; charset=utf-8"},
     {"/status/icon.svg", "icon.svg", "image/svg+xml"},
     {"/openapi.json", "openapi.json", "application/json"}}};

const Asset& asset(std::string_view name) {
  const auto all = assets();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Asset& a) { return a.name == name; });
  LINEQ_ASSERT(found != all.end());
  return *found;
}

http::Reply asset_reply(const AssetPath& path, const http::Request& request) {
  const Asset& file = asset(path.file);
  http::Reply reply;
  reply.type = path.type;
  // Kept by the browser, but asked for each time: an upgrade is seen at once.
  reply.cache_control = "no-cache";
  reply.fields.emplace_back("ETag", file.etag);
  reply.fields.emplace_back("Content-Security-Policy", kContentSecurityPolicy);
  reply.fields.emplace_back("Referrer-Policy", "no-referrer");
  if (request.field("If-None-Match") == file.etag) {
    reply.status = 304;
  } else {
    reply.static_body = file.bytes;
  }
  return reply;
}

}  // namespace

Site::Site(live::Segment& segment, ConnectHint connect)
    : segment_(segment), connect_(std::move(connect)), start_realtime_ms_(realtime_ms()) {}

std::string Site::status_text() const {
  return status_json(segment_, rates_, *stats_, connect_, start_realtime_ms_);
}

std::string Site::status_event() const {
  return http::sse_event("status", {}, status_text());
}

void Site::sample(u64 now_ms) {
  sample_rates(segment_, rates_, now_ms);
  if (keys_) {
    keys_->step();
  }
  if (const shm::Reader* reader = segment_.reader(); reader != nullptr) {
    history_.sample(*reader, realtime_ms());
    traffic_.sample({reader->counter(shm::DaemonCounter::updates_in),
                     reader->counter(shm::DaemonCounter::updates_out)},
                    realtime_ms());
  }
}

void Site::add_health_to(http::Router& router) {
  router.add("/healthz", [](const http::Request&) { return health_reply(); });
  router.add("/readyz", [this](const http::Request&) { return ready_reply(segment_); });
}

void Site::add_to(http::Router& router) {
  router.add("/tables", [this](const http::Request& request) {
    return tables_reply(segment_, request, sorts_);
  });
  router.add("/acc", [this](const http::Request& request) {
    return totals_reply(segment_, request, sorts_);
  });
  add_health_to(router);
  router.add("/version", [this](const http::Request&) { return version_reply(segment_); });
  router.add("/metrics", [this](const http::Request&) {
    http::Reply reply;
    reply.type = "text/plain; version=0.0.4; charset=utf-8";
    reply.body = metrics_text(segment_, *stats_, start_realtime_ms_, keys_ ? &*keys_ : nullptr);
    return reply;
  });
  router.add("/status.json",
             [this](const http::Request&) { return http::json_reply(200, status_text()); });
  router.add("/status/history", [this](const http::Request& request) {
    return request.query.empty() ? traffic_reply(traffic_)
                                 : history_reply(segment_, history_, request);
  });
  router.add("/status/events", [this](const http::Request&) {
    http::Reply reply;
    reply.type = "text/event-stream";
    reply.fields.emplace_back("X-Accel-Buffering", "no");
    reply.channel = http::Channel::kStatus;
    reply.body = http::sse_retry(kRetryMs) + status_event();
    return reply;
  });
  for (const AssetPath& path : kAssetPaths) {
    router.add(path.path,
               [&path](const http::Request& request) { return asset_reply(path, request); });
  }
}

}  // namespace lineq::pages
