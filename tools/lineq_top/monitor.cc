#include "tools/lineq_top/monitor.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "shm/words.h"
#include "tools/cli/room_settings.h"
#include "tools/cli/settings.h"
#include "tools/cli/text.h"
#include "tools/view/peer_tables.h"

namespace lineq::top {
namespace {

using shm::DaemonCounter;
using shm::PeerCounter;
using shm::RoomCounter;
using shm::TableCounter;

// Keys of rates: what counts, which one of it, which counter.
constexpr u64 rate_key(u64 kind, u64 no, u64 counter) {
  return kind << 56 | no << 8 | counter;
}
enum Kind : u64 { kDaemon, kTable, kPeer };

Cell cell(std::optional<double> value) {
  return value ? Cell(*value) : Cell();
}
Cell cell(std::optional<u64> value) {
  return value ? Cell(*value) : Cell();
}

std::optional<u64> age(u64 at_ms, SegmentMs now) {
  return at_ms == 0 ? std::nullopt : std::optional<u64>(now - std::min<u64>(at_ms, now));
}

std::string peer_state(const shm::PeerInfo& peer, bool daemon_down) {
  switch (peer.state) {
    case shm::PeerState::kUp:
      if (daemon_down) {
        return "was up";
      }
      // 1: under way.
      return peer.counter(PeerCounter::lesson_in) == 1    ? "teaches us"
             : peer.counter(PeerCounter::lesson_out) == 1 ? "learns"
                                                          : "up";
    case shm::PeerState::kConnecting:
      return "connecting";
    case shm::PeerState::kDown:
      return "down";
    case shm::PeerState::kFree:
      break;
  }
  return "?";
}

// The strongest rule first, as it is applied.
std::string room_state(const shm::RoomSettings& room) {
  return room.suspended   ? "suspended"
         : room.queue_all ? "queue all"
         : room.paused    ? "paused"
                          : std::string(cli::queueing_method_name(room.method));
}

}  // namespace

Monitor::Monitor(shm::Source source)
    : source_(std::move(source)),
      trouble_(Error{ErrorCode::kNotFound, fmt::format("no segment {}", source_.instance)}) {
  source_.patience_ms = 0;  // whoever looks at the screen must not wait
  picture_.overview.instance = source_.instance;
  picture_.tables.columns = {{"name", "TABLE", Unit::kText},
                             {"type", "TYPE", Unit::kText},
                             {"entries", "ENTRIES", Unit::kCount},
                             {"updates_per_second", "UPD/S", Unit::kRate},
                             {"inserts_per_second", "NEW/S", Unit::kRate},
                             {"expired_per_second", "EXPIRED/S", Unit::kRate},
                             {"silent_ms", "SILENT", Unit::kDuration},
                             {"expire_ms", "EXPIRE", Unit::kDuration},
                             {"bytes", "BYTES", Unit::kBytes},
                             {"evicted", "EVICTED", Unit::kCount},
                             {"refused", "REFUSED", Unit::kCount},
                             {"conflicts", "CONFLICTS", Unit::kCount}};
  picture_.peers.columns = {
      {"name", "HAPROXY", Unit::kText},           {"state", "STATE", Unit::kText},
      {"in_per_second", "IN/S", Unit::kRate},     {"out_per_second", "OUT/S", Unit::kRate},
      {"silent_ms", "SILENT", Unit::kDuration},   {"lag", "LAG", Unit::kCount},
      {"wrong_tables", "WRONG", Unit::kCount},    {"protocol_errors", "ERRORS", Unit::kCount},
      {"since_ms", "SINCE", Unit::kDuration},     {"sessions", "SESSIONS", Unit::kCount},
      {"pending_bytes", "PENDING", Unit::kBytes}, {"pid", "PID", Unit::kId},
      {"address", "ADDRESS", Unit::kText}};
  picture_.rooms.columns = {{"name", "ROOM", Unit::kText},
                            {"state", "STATE", Unit::kText},
                            {"active", "INSIDE", Unit::kCount},
                            {"total_active_users", "LIMIT", Unit::kCount},
                            {"called", "CALLED", Unit::kCount},
                            {"waiting", "WAITING", Unit::kCount},
                            {"admitted_per_minute", "IN/MIN", Unit::kRate},
                            {"arriving_per_minute", "NEW/MIN", Unit::kRate},
                            {"oldest_waiter_ms", "OLDEST", Unit::kDuration},
                            {"abandoned", "ABANDONED", Unit::kCount},
                            {"lapsed", "LAPSED", Unit::kCount}};
}

void Monitor::attach() {
  if (reader_) {
    const Result<shm::Refreshed> refreshed = reader_->refresh();
    trouble_ = refreshed ? std::nullopt : std::optional<Error>(refreshed.error());
    if (refreshed && refreshed->replaced) {
      ++generation_;
    }
    return;
  }
  Result<shm::Reader> opened = shm::Reader::open(source_);
  if (!opened) {
    trouble_ = opened.error();
    return;
  }
  reader_.emplace(opened.take());
  trouble_.reset();
  ++generation_;
}

const Picture& Monitor::look(u64 now_ms) {
  attach();
  rates_.begin(now_ms);
  picture_.overview = Overview{};
  picture_.overview.instance = source_.instance;
  picture_.overview.trouble = trouble_ ? cli::printable(trouble_->what) : std::string();
  picture_.tables.rows.clear();
  picture_.peers.rows.clear();
  picture_.rooms.rows.clear();
  if (reader_) {
    overview();
    tables();
    peers();
    rooms();
  }
  return picture_;
}

void Monitor::overview() {
  Overview& o = picture_.overview;
  const shm::RootHeader& header = reader_->header();
  o.state = shm::liveness_name(reader_->liveness());
  o.heartbeat_age_ms = reader_->heartbeat_age_ms();
  o.pid = shm::load_relaxed(header.writer_pid);
  const SegmentMs now = reader_->now();
  o.up_ms = now - std::min(now, shm::load_relaxed(header.writer_start_ms));
  const u32 mode = shm::load_relaxed(header.mode);
  o.mode = mode >= 1 && mode <= static_cast<u32>(cli::Mode::kWaitingRoom) + 1
               ? cli::mode_name(static_cast<cli::Mode>(mode - 1))
               : "";
  o.memory_bytes = reader_->segment_bytes();
  const auto rate = [&](DaemonCounter counter) {
    return rates_.of(rate_key(kDaemon, 0, static_cast<u64>(counter)), generation_,
                     reader_->counter(counter));
  };
  o.in_per_second = rate(DaemonCounter::updates_in);
  o.out_per_second = rate(DaemonCounter::updates_out);
}

void Monitor::tables() {
  const SegmentMs now = reader_->now();
  for (const shm::TableInfo& table : reader_->tables()) {
    const shm::TableStats stats = reader_->stats(table);
    const auto rate = [&](TableCounter counter) {
      return cell(rates_.of(rate_key(kTable, table.no, static_cast<u64>(counter)),
                            generation_ << 32 ^ table.id, stats.counter(counter)));
    };
    picture_.tables.rows.push_back(
        {cli::escaped(table.definition.name),
         std::string(shm::key_type_name(table.definition.key_type)), stats.live,
         rate(TableCounter::updates), rate(TableCounter::inserts), rate(TableCounter::expired),
         cell(age(stats.counter(TableCounter::last_update_ms), now)), u64{stats.expire_ms},
         stats.bytes, stats.counter(TableCounter::evicted), stats.counter(TableCounter::refused),
         stats.counter(TableCounter::conflicts)});
    ++picture_.overview.tables;
    picture_.overview.entries += stats.live;
  }
}

void Monitor::peers() {
  const SegmentMs now = reader_->now();
  const std::vector<shm::PeerInfo> peers = reader_->peers();
  const std::vector<std::string> labels = view::peer_labels(peers);
  std::vector<u64> wrong(peers.size());
  for (const view::PeerTable& row : view::peer_tables(*reader_, peers, now)) {
    wrong[row.peer] += row.wrong() ? 1U : 0U;
  }
  const bool down = reader_->liveness() == shm::Liveness::kDown;
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const shm::PeerInfo& peer = peers[i];
    const auto rate = [&](PeerCounter counter) {
      return cell(rates_.of(rate_key(kPeer, peer.no, static_cast<u64>(counter)), generation_,
                            peer.counter(counter)));
    };
    picture_.peers.rows.push_back(
        {labels[i], peer_state(peer, down), rate(PeerCounter::updates_in),
         rate(PeerCounter::updates_out),
         cell(age(peer.counter(PeerCounter::last_received_ms), now)),
         peer.counter(PeerCounter::lag), wrong[i], peer.counter(PeerCounter::protocol_errors),
         cell(age(peer.connected_ms, now)), peer.counter(PeerCounter::sessions),
         peer.counter(PeerCounter::pending_bytes),
         peer.remote_pid == 0 ? Cell() : Cell(peer.remote_pid), cli::escaped(peer.address)});
    ++picture_.overview.peers;
    picture_.overview.peers_up += !down && peer.state == shm::PeerState::kUp ? 1U : 0U;
  }
}

void Monitor::rooms() {
  constexpr double kMilli = 1000;
  const Tick now = reader_->room_time();
  for (const shm::RoomInfo& room : reader_->rooms()) {
    const shm::RoomNumbers n = reader_->numbers(room);
    const u64 waiting = n.waiting + n.front;
    const i32 oldest = tick_diff(now, static_cast<Tick>(n.oldest_since));
    picture_.rooms.rows.push_back(
        {cli::escaped(room.settings.name), room_state(room.settings), n.active,
         u64{room.settings.capacity}, n.ready, waiting,
         static_cast<double>(n.admit_rate_milli) / kMilli,
         static_cast<double>(n.arrive_rate_milli) / kMilli,
         waiting == 0 ? Cell() : Cell(static_cast<u64>(std::max(oldest, 0))),
         n.counter(RoomCounter::abandoned), n.counter(RoomCounter::lapsed)});
    ++picture_.overview.rooms;
    picture_.overview.waiting += waiting;
  }
}

}  // namespace lineq::top
