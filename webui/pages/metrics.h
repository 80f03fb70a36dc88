// GET /metrics: Prometheus text format 0.0.4.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "webui/http/stats.h"
#include "webui/live/segment.h"

namespace lineq::pages {

// Builds the text: HELP and TYPE once per metric, label values escaped, valid UTF-8 whatever a
// HAProxy calls itself.
class Exposition {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  void metric(std::string_view name, std::string_view type, std::string_view help);
  // Of the metric begun last; `suffix` for the parts of a histogram.
  void sample(const Labels& labels, u64 value, std::string_view suffix = {});
  void sample(const Labels& labels, double value, std::string_view suffix = {});
  const std::string& text() const { return text_; }

 private:
  void series(const Labels& labels, std::string_view suffix);
  std::string name_;
  std::string text_;
};

class KeyExport;

// `keys`: null when no single entries are wanted.
std::string metrics_text(const live::Segment& segment, const http::Stats& stats,
                         u64 start_realtime_ms, const KeyExport* keys = nullptr);

}  // namespace lineq::pages
