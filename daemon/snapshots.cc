#include "daemon/snapshots.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "tools/cli/log.h"

namespace lineq::daemon {
namespace {

constexpr u64 kTellAgainMs = 3'600'000;  // the same failure
constexpr auto kAlive = std::chrono::milliseconds(200);

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
    }
    json += static_cast<u8>(c) < 0x20 ? '?' : c;
  }
  return json + '"';
}

}  // namespace

std::vector<std::string> snapshots_to_load(const SnapshotOptions& options) {
  if (options.seconds == 0) {
    return {};
  }
  return {shm::snapshot_path(options.directory), shm::previous_snapshot_path(options.directory)};
}

void tell_restored(const shm::Restored& restored) {
  for (const shm::Restored::Rejected& each : restored.rejected) {
    switch (each.error.code) {
      case ErrorCode::kNotFound:
        break;
      case ErrorCode::kSystem:
        cli::log_err("snapshot not loaded: {}", each.error.what);
        break;
      default: {
        const bool damaged = each.error.code == ErrorCode::kDamaged;
        const std::string name =
            shm::set_snapshot_aside(each.path, damaged                                  ? "damaged"
                                               : each.error.code == ErrorCode::kForeign ? "foreign"
                                                                                        : "unused");
        cli::log_err("snapshot not loaded: {}; {}", each.error.what,
                     name.empty() ? "it cannot be renamed" : "the file is now " + name);
      }
    }
  }
  if (restored.path.empty()) {
    return;
  }
  cli::log_notice(
      "snapshot {} loaded: {} entries of {} tables and {} rooms, made {:.1f} s ago at {}, in {} "
      "ms; the life of {} more entries was over by now",
      restored.path, restored.entries, restored.tables, restored.rooms,
      static_cast<double>(restored.age_ms) / 1000,
      restored.clean ? "a clean stop" : "work, so what came later is only known to HAProxys",
      restored.took_ms, restored.expired);
  if (restored.made_ms > realtime_ms()) {
    cli::log_warning(
        "snapshot {} is {} s from the future: the clock was set back, and lifetimes begin where "
        "they were",
        restored.path, (restored.made_ms - realtime_ms()) / 1000);
  }
  if (restored.refused != 0) {
    const std::string name = shm::set_snapshot_aside(restored.path, "unused");
    cli::log_err(
        "snapshot {}: no memory for {} of its entries (memory_limit, or /dev/shm is too small); "
        "the file is kept as {}",
        restored.path, restored.refused, name);
  }
}

Snapshots::Snapshots(shm::Writer& writer, SnapshotOptions options)
    : writer_(writer), options_(std::move(options)) {
  if (options_.seconds == 0) {
    cli::log_info("no snapshots are written: snapshot_seconds is 0");
    return;
  }
  // Not the one above it: that is made by whoever installs LineQ.
  if (::mkdir(options_.directory.c_str(), 0750) != 0 && errno == ENOENT &&
      !options_.directory_given) {
    cli::log_info("no snapshots are written: there is no directory {} (setting state_dir)",
                  options_.directory);
    options_.seconds = 0;
    return;
  }
  thread_ = std::thread([this] { run(); });
}

Snapshots::~Snapshots() {
  if (thread_.joinable()) {
    cancel_ = true;
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
}

void Snapshots::run() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::seconds(options_.seconds), [&] { return stop_; })) {
    lock.unlock();
    Outcome outcome = write(false);
    lock.lock();
    if (!stop_) {
      outcome_ = std::move(outcome);
    }
  }
}

Snapshots::Outcome Snapshots::write(bool clean) const {
  Result<shm::Reader> reader = shm::Reader::open({.directory = "",
                                                  .instance = options_.instance,
                                                  .patience_ms = 1000,
                                                  .owner_uid = i64{::geteuid()}});
  if (!reader) {
    return reader.error();
  }
  return shm::write_snapshot(
      *reader, options_.directory,
      {.clean = clean, .cancel = clean ? nullptr : &cancel_, .progress = {}});
}

void Snapshots::tick() {
  std::optional<Outcome> outcome;
  {
    // The thread holds it for moments only.
    const std::lock_guard lock(mutex_);
    outcome = std::exchange(outcome_, std::nullopt);
  }
  if (outcome) {
    take(*outcome, false);
  }
}

void Snapshots::take(const Outcome& outcome, bool last) {
  using shm::DaemonCounter;
  if (!outcome) {
    writer_.set_counter(DaemonCounter::snapshots_failed, ++failed_);
    const bool same = error_ == outcome.error().what;
    error_ = outcome.error().what;
    if (const u64 now = monotonic_ms(); !same || now - told_ms_ >= kTellAgainMs) {
      told_ms_ = now;
      cli::log_err("snapshot: {}; the one before is kept{}", error_,
                   last ? "" : fmt::format(", tried again every {} s", options_.seconds));
    }
    return;
  }
  if (!error_.empty()) {
    cli::log_notice("snapshot: written again");
    error_.clear();
  }
  written_at_ms_ = realtime_ms();
  writer_.set_counter(DaemonCounter::snapshots_written, ++written_);
  writer_.set_counter(DaemonCounter::snapshot_unixtime, written_at_ms_ / 1000);
  writer_.set_counter(DaemonCounter::snapshot_bytes, outcome->bytes);
  writer_.set_counter(DaemonCounter::snapshot_took_ms, outcome->took_ms);
  cli::log_line(last ? cli::LogLevel::kNotice : cli::LogLevel::kDebug,
                "snapshot written: {} entries of {} tables and {} rooms, {} bytes in {} ms",
                fmt::make_format_args(outcome->entries, outcome->tables, outcome->rooms,
                                      outcome->bytes, outcome->took_ms));
}

void Snapshots::stop(const std::function<void()>& alive) {
  if (options_.seconds == 0 || !thread_.joinable()) {
    return;
  }
  cancel_ = true;
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  outcome_.reset();
  // A disk that takes its time must not look like a daemon that hangs.
  std::thread last([this] {
    Outcome outcome = write(true);
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
    wake_.notify_all();
  });
  {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kAlive, [&] { return outcome_.has_value(); })) {
      alive();
    }
  }
  last.join();
  take(*outcome_, true);
}

std::string Snapshots::info() const {
  return fmt::format(
      R"({{"seconds":{},"path":{},"written":{},"failed":{},"last_unixtime":{},"error":{}}})",
      options_.seconds,
      options_.seconds == 0 ? "null" : quoted(shm::snapshot_path(options_.directory)), written_,
      failed_, written_at_ms_ / 1000, error_.empty() ? "null" : quoted(error_));
}

}  // namespace lineq::daemon
