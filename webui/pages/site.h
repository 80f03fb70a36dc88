// All paths of lineq-web and what stands behind them.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "webui/http/router.h"
#include "webui/http/stats.h"
#include "webui/live/rates.h"
#include "webui/live/room_history.h"
#include "webui/live/segment.h"
#include "webui/live/traffic.h"
#include "webui/pages/key_export.h"
#include "webui/pages/status.h"
#include "webui/pages/tables.h"

namespace lineq::pages {

class Site {
 public:
  // Both outlive the site; the site outlives the router it was added to.
  Site(live::Segment& segment, ConnectHint connect);

  void add_to(http::Router& router);
  // /healthz and /readyz only, which load balancers ask for: for a router of visitors alone.
  void add_health_to(http::Router& router);
  void set_connect(ConnectHint connect) { connect_ = std::move(connect); }
  // Where the numbers of the sockets come from; until then they are zero. Outlives the site.
  void set_stats(const http::Stats& stats) { stats_ = &stats; }

  void set_key_export(KeyExport keys) { keys_ = std::move(keys); }

  // Once a second.
  void sample(u64 now_ms);
  // One event for the open status pages.
  std::string status_event() const;

 private:
  std::string status_text() const;

  live::Segment& segment_;
  ConnectHint connect_;
  live::Rates rates_;
  live::RoomHistory history_;
  live::Traffic traffic_;
  Sorts sorts_;
  http::Stats none_;
  const http::Stats* stats_ = &none_;
  std::optional<KeyExport> keys_;
  u64 start_realtime_ms_;
};

}  // namespace lineq::pages
