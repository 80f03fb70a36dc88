#include "webui/live/segment.h"

#include <utility>

#include "tools/cli/log.h"

namespace lineq::live {
namespace {

constexpr u64 kAttemptMs = 500;

}  // namespace

Segment::Segment(shm::Source source, std::function<u32()> owner)
    : source_(std::move(source)), owner_(std::move(owner)) {
  source_.patience_ms = 0;  // the loop must not wait
}

void Segment::tick(u64 now_ms) {
  if (reader_) {
    const Result<shm::Refreshed> refreshed = reader_->refresh();
    std::string trouble = refreshed ? std::string() : refreshed.error().what;
    if (trouble != trouble_) {
      if (trouble.empty()) {
        cli::log_notice("segment {}: back", source_.instance);
      } else {
        cli::log_warning("segment {}: {}; showing the last state", source_.instance, trouble);
      }
      trouble_ = std::move(trouble);
    }
    if (refreshed && refreshed->replaced) {
      ++generation_;
      cli::log_notice("segment {}: replaced by another", source_.instance);
    }
    return;
  }
  if (now_ms < next_attempt_ms_) {
    return;
  }
  next_attempt_ms_ = now_ms + kAttemptMs;
  if (owner_) {
    source_.owner_uid = i64{owner_()};
  }
  Result<shm::Reader> opened = shm::Reader::open(source_);
  if (!opened) {
    if (opened.error().what != trouble_) {
      trouble_ = opened.error().what;
      cli::log_notice("waiting for a segment: {}", trouble_);
    }
    return;
  }
  reader_.emplace(opened.take());
  trouble_.clear();
  ++generation_;
  cli::log_notice("segment {}: attached, {} tables", source_.instance, reader_->tables().size());
}

}  // namespace lineq::live
