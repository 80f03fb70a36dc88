#include "tools/lineq_dump/follow.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <ctime>

#include <fmt/format.h>

#include "tools/cli/text.h"

namespace lineq::dump {
namespace {

constexpr int kLookMs = 50;
constexpr std::size_t kBatch = 4096;
constexpr std::size_t kNoPick = ~std::size_t{0};
// The writer stamps entries with the time its loop turn began: look back a little further than our
// last look. Costs an entry printed twice at worst.
constexpr u32 kSlackMs = 1000;

std::string local_time(u64 realtime_ms) {
  const auto seconds = static_cast<std::time_t>(realtime_ms / 1000);
  std::tm parts{};
  std::array<char, 32> text{};
  ::localtime_r(&seconds, &parts);
  const std::size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return {text.data(), n};
}

std::pair<u32, u64> key_of(const shm::TableInfo& table) {
  return {table.id, table.generation};
}

}  // namespace

std::string liveness_sentence(const shm::Reader& reader) {
  const shm::Liveness liveness = reader.liveness();
  if (liveness == shm::Liveness::kAlive) {
    return {};
  }
  if (liveness == shm::Liveness::kRestarting) {
    return "lineqd is restarting";
  }
  const u64 age = reader.heartbeat_age_ms();
  const std::string since = fmt::format(
      "{} ({})", local_time(realtime_ms() - std::min(age, realtime_ms())), duration_text(age));
  return liveness == shm::Liveness::kStalled
             ? fmt::format("lineqd gives no sign of life since {}", since)
             : fmt::format("lineqd is down since {}", since);
}

Follower::Follower(shm::Reader& reader, Printer& printer, Output& out, const Selection& selection,
                   std::vector<Pick> picks, bool show_present, Note note)
    : reader_(reader),
      printer_(printer),
      out_(out),
      selection_(selection),
      note_(std::move(note)),
      picks_(std::move(picks)),
      cursor_(reader.feed_end()),
      last_look_(tick_of(reader.now())),
      liveness_(reader.liveness()),
      records_(kBatch) {
  look_again();
  if (show_present) {
    scan_all(std::nullopt);
  }
}

void Follower::run(const volatile std::sig_atomic_t* stop, int out_fd) {
  while (*stop == 0 && out_.flush()) {
    pollfd reader_left{out_fd, 0, 0};  // a pipe whose other end was closed says so unasked
    if (::poll(&reader_left, 1, kLookMs) > 0 && (reader_left.revents & POLLERR) != 0) {
      return;
    }
    turn();
  }
}

void Follower::turn() {
  const Tick look = tick_of(reader_.now());
  // The feed first, then the directory: the tables that these records name are there by then.
  shm::Followed followed = reader_.follow(cursor_, records_);
  const Result<shm::Refreshed> refreshed = reader_.refresh();
  if (!refreshed) {
    if (!gone_) {
      note_(fmt::format("{}; waiting for lineqd to come back", refreshed.error().what));
      gone_ = true;
    }
    return;
  }
  gone_ = false;
  if (const shm::Liveness now = reader_.liveness(); now != liveness_) {
    liveness_ = now;
    const std::string sentence = liveness_sentence(reader_);
    note_(sentence.empty() ? "lineqd is back" : sentence);
  }
  const Tick since = last_look_ - kSlackMs;
  last_look_ = look;
  if (refreshed->replaced) {
    note_("a new segment took the place of the old one; showing all of it");
    shown_.clear();
  }
  if (refreshed->replaced || refreshed->epoch) {
    cursor_ = reader_.feed_end();
    busy_.clear();
    look_again();
    scan_all(refreshed->replaced ? std::nullopt : std::optional(since));
    return;
  }
  if (refreshed->directory) {
    const auto known = shown_;
    look_again();
    std::vector<bool> fresh(std::size_t{1} << 12);  // a record can name more than there are
    for (const Pick& pick : picks_) {
      if (!known.contains(key_of(*pick.table))) {
        fresh[pick.table->no] = true;
        scan(pick, since);
      }
    }
    for (shm::FeedRecord& record : std::span(records_.data(), followed.records)) {
      if (fresh[record.table]) {
        record.kind = shm::FeedKind::kTable;  // the scan has seen it
      }
    }
  }
  while (!followed.overrun && !out_.failed()) {
    collect({records_.data(), followed.records});
    show_changes();
    if (followed.records < records_.size()) {
      return;
    }
    followed = reader_.follow(cursor_, records_);
  }
  if (followed.overrun) {
    note_("changes came faster than they could be shown; showing what changed meanwhile");
    scan_all(since);
  }
}

// The tables may have changed.
void Follower::look_again() {
  if (Result<std::vector<Pick>> picks = pick(selection_, reader_)) {
    picks_ = picks.take();
  } else {
    picks_.clear();  // not there now; it may come
  }
  head_ = nullptr;
  pick_of_table_.assign(shm::kMaxTables, kNoPick);
  decltype(shown_) shown;
  for (std::size_t i = 0; i < picks_.size(); ++i) {
    const shm::TableInfo& table = *picks_[i].table;
    pick_of_table_[table.no] = i;
    shown.emplace(key_of(table), std::move(shown_[key_of(table)]));
  }
  shown_ = std::move(shown);
}

void Follower::scan_all(std::optional<Tick> since) {
  for (const Pick& pick : picks_) {
    scan(pick, since);
  }
}

// Shows the entries that changed at or after `since`, and which ones are gone.
void Follower::scan(const Pick& pick, std::optional<Tick> since) {
  std::vector<bool> present(shown_[key_of(*pick.table)].size());
  const auto look = [&](const shm::EntryView& entry, Tick now) {
    const u32 slot = entry.slot();
    if (slot < present.size()) {
      present[slot] = true;
    }
    if (since && tick_diff(entry.updated_tick(), *since) < 0) {
      return true;
    }
    if (wanted(pick, entry, now)) {
      show(pick, entry, now);
    } else if (was_shown(pick, slot)) {
      show_gone(pick, slot, "no match");
    }
    return !out_.failed();
  };
  if (selection_.key) {
    shm::SlotCopy copy;
    shm::EntryView entry;
    for (const std::string& key : pick.keys) {
      if (patient_lookup(reader_, *pick.table, key, copy, entry) == shm::Lookup::kFound) {
        look(entry, tick_of(reader_.now()));
      }
    }
  } else {
    patient_scan(reader_, *pick.table, look);
  }
  for (std::size_t slot = 0; slot < present.size() && !out_.failed(); ++slot) {
    if (!present[slot] && was_shown(pick, static_cast<u32>(slot))) {
      show_gone(pick, static_cast<u32>(slot), "gone");
    }
  }
}

void Follower::collect(std::span<const shm::FeedRecord> records) {
  changes_.clear();
  change_of_slot_.clear();
  for (const shm::FeedRecord& record : busy_) {
    add(record.table, record.slot, shm::FeedKind::kUpdate);
  }
  busy_.clear();
  for (const shm::FeedRecord& record : records) {
    add(record.table, record.slot, record.kind);
  }
  // Table by table, so that a table's head is printed once a look.
  std::stable_sort(changes_.begin(), changes_.end(),
                   [](const Change& a, const Change& b) { return a.pick < b.pick; });
}

void Follower::add(u16 table, u32 slot, shm::FeedKind kind) {
  if (kind > shm::FeedKind::kExpire || table >= pick_of_table_.size() ||
      pick_of_table_[table] == kNoPick) {
    return;
  }
  const auto [at, fresh] = change_of_slot_.try_emplace(u64{table} << 32 | slot, changes_.size());
  if (fresh) {
    changes_.push_back({pick_of_table_[table], slot, {}, false});
  }
  Change& change = changes_[at->second];
  change.present = kind == shm::FeedKind::kUpdate || kind == shm::FeedKind::kInsert;
  if (!change.present) {
    change.ended = kind == shm::FeedKind::kExpire ? "expired" : "erased";
  }
}

void Follower::show_changes() {
  shm::SlotCopy copy;
  for (const Change& change : changes_) {
    show_change(change, copy);
    if (out_.failed()) {
      return;
    }
  }
}

void Follower::show_change(const Change& change, shm::SlotCopy& copy) {
  const Pick& pick = picks_[change.pick];
  if (!change.ended.empty() && was_shown(pick, change.slot)) {
    show_gone(pick, change.slot, change.ended);
  }
  if (!change.present) {
    return;
  }
  shm::EntryView entry;
  const shm::Lookup found = reader_.read_slot(*pick.table, change.slot, copy, entry);
  if (found == shm::Lookup::kBusy) {
    busy_.push_back({change.slot, pick.table->no, shm::FeedKind::kUpdate, 0});
    return;
  }
  if (found == shm::Lookup::kAbsent) {
    return;  // the record that says how it went is yet to come
  }
  const Tick now = tick_of(reader_.now());
  if (wanted(pick, entry, now)) {
    show(pick, entry, now);
  } else if (was_shown(pick, change.slot)) {
    show_gone(pick, change.slot, "no match");
  }
}

bool Follower::wanted(const Pick& pick, const shm::EntryView& entry, Tick now) const {
  const bool key_fits = !selection_.key || std::find(pick.keys.begin(), pick.keys.end(),
                                                     entry.key_chars()) != pick.keys.end();
  return key_fits && pick.filter.matches(entry, now, texts_of(reader_));
}

void Follower::show(const Pick& pick, const shm::EntryView& entry, Tick now) {
  head(pick);
  printer_.entry(entry, now);
  std::vector<bool>& shown = shown_[key_of(*pick.table)];
  if (entry.slot() >= shown.size()) {
    shown.resize(std::max<std::size_t>(entry.slot() + std::size_t{1}, shown.size() * 2));
  }
  shown[entry.slot()] = true;
}

void Follower::show_gone(const Pick& pick, u32 slot, std::string_view why) {
  head(pick);
  printer_.gone(*pick.table, slot, why);
  shown_[key_of(*pick.table)][slot] = false;
}

bool Follower::was_shown(const Pick& pick, u32 slot) {
  const std::vector<bool>& shown = shown_[key_of(*pick.table)];
  return slot < shown.size() && shown[slot];
}

void Follower::head(const Pick& pick) {
  if (head_ != pick.table) {
    printer_.table(*pick.table);
    head_ = pick.table;
  }
}

}  // namespace lineq::dump
