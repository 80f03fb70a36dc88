// Single entries in /metrics: of the tables named in the settings, those with the highest values.
//
// Which entries these are is found out by walks over the tables, a slice a second, so that neither
// a scrape nor anybody else waits for a table of millions: about 100,000 slots a second for all
// tables together. What a scrape shows are the values of now, of the keys that led at the end of
// the last whole walk. Memory is bounded by the limits. One thread; no socket.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "shm/support/result.h"
#include "tools/cli/settings.h"
#include "webui/live/segment.h"
#include "webui/pages/metrics.h"
#include "webui/pages/ranking.h"

namespace lineq::pages {

class KeyExport {
 public:
  // kInvalid: one of `data` is no data type, or not a number.
  static Result<KeyExport> of(live::Segment& segment, std::vector<cli::MetricsTable> wanted);

  // Once a second.
  void step();
  void put(Exposition& out) const;

 private:
  struct Walk {
    explicit Walk(cli::MetricsTable settings) : wanted(std::move(settings)) {}

    cli::MetricsTable wanted;  // `data` as view::Column::name
    u64 segment = 0;           // what follows is of this segment and this table
    u32 table = 0;
    u64 generation = 0;
    shm::Scan scan;
    std::optional<Ranking> leaders;  // so far
    std::set<std::string> keys;      // of the last whole walk
  };

  KeyExport(live::Segment& segment, std::vector<cli::MetricsTable> wanted);
  void step(Walk& walk, shm::Reader& reader, const shm::TableInfo& table, u32 slots) const;
  // In the order of `data`, those that the table has.
  static std::vector<view::Column> columns(const Walk& walk, const shm::TableInfo& table);

  live::Segment* segment_;
  std::vector<Walk> walks_;
};

}  // namespace lineq::pages
