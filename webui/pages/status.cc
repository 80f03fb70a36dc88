#include "webui/pages/status.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>

#include "tools/cli/text.h"
#include "tools/view/peer_tables.h"
#include "webui/pages/json.h"
#include "webui/pages/named_tables.h"
#include "webui/pages/room_status.h"

namespace lineq::pages {
namespace {

using shm::PeerCounter;
using shm::TableCounter;

constexpr u64 kPeerKey = u64{1} << 32;
constexpr u64 kTableKey = u64{2} << 32;
constexpr u64 kTotalKey = u64{3} << 32;

std::string_view peer_state(const shm::PeerInfo& peer, bool daemon_down) {
  if (daemon_down) {
    return "unknown";
  }
  switch (peer.state) {
    case shm::PeerState::kUp:
      return "up";
    case shm::PeerState::kConnecting:
      return "connecting";
    case shm::PeerState::kFree:
    case shm::PeerState::kDown:
      break;
  }
  return "down";
}

std::string_view lesson(u64 value) {
  constexpr std::array<std::string_view, 4> kWords{"none", "running", "complete", "partial"};
  return kWords.at(std::min<u64>(value, kWords.size() - 1));
}

std::optional<u64> age(SegmentMs at, SegmentMs now) {
  return at == 0 ? std::nullopt : std::optional(now > at ? now - at : 0);
}

// One table of one HAProxy; what is not said holds: a table that is fine has its name and ages
// only.
void peer_table(Json& json, const view::PeerTable& row, std::string_view name) {
  json.object();
  json.field("name", name);
  json.maybe("announced_ms", row.announced_ms);
  json.maybe("updated_ms", row.updated_ms);
  json.field("updates", row.updates);
  if (row.refused_values != 0) {
    json.field("refused_values", row.refused_values);
  }
  for (const auto& [word, holds] :
       {std::pair{"conflict", row.conflict}, std::pair{"missing", row.missing},
        std::pair{"silent", row.silent}}) {
    if (holds) {
      json.flag(word, true);
    }
  }
  json.end_object();
}

using TableNames = std::map<u16, std::string_view>;  // by number

void peer(Json& json, const shm::PeerInfo& p, std::string_view label,
          std::span<const view::PeerTable> tables, const TableNames& names,
          const live::Rates& rates, SegmentMs now, bool daemon_down) {
  const u64 key = kPeerKey | p.no;
  json.object();
  json.field("record", u64{p.no});
  json.field("label", label);
  json.field("name", cli::escaped(p.remote_name));
  json.field("calls_us", cli::escaped(p.local_name));
  json.field("address", cli::escaped(p.address));
  json.field("pid", p.remote_pid);
  json.field("direction", p.direction == shm::PeerDirection::kIncoming ? "in" : "out");
  json.field("protocol", "2." + std::to_string(p.protocol_minor));
  json.field("state", peer_state(p, daemon_down));
  json.maybe("since_ms", age(p.connected_ms, now));
  json.maybe("silent_ms", age(p.counter(PeerCounter::last_received_ms), now));
  json.decimal("in_per_s", rates.per_second(key, 0));
  json.decimal("out_per_s", rates.per_second(key, 1));
  json.field("updates_in", p.counter(PeerCounter::updates_in));
  json.field("updates_out", p.counter(PeerCounter::updates_out));
  json.field("lag", p.counter(PeerCounter::lag));
  json.field("pending_bytes", p.counter(PeerCounter::pending_bytes));
  json.field("taught_us", lesson(p.counter(PeerCounter::lesson_in)));
  json.field("we_taught", lesson(p.counter(PeerCounter::lesson_out)));
  json.field("resyncs_in", p.counter(PeerCounter::resyncs_in));
  json.field("resyncs_out", p.counter(PeerCounter::resyncs_out));
  json.field("sessions", p.counter(PeerCounter::sessions));
  json.field("protocol_errors", p.counter(PeerCounter::protocol_errors));
  json.key("tables");
  json.array();
  for (const view::PeerTable& row : tables) {
    if (const auto name = names.find(row.table->no); name != names.end()) {
      peer_table(json, row, name->second);
    }
  }
  json.end_array();
  json.end_object();
}

void table(Json& json, const NamedTable& named, const shm::Reader& reader,
           const live::Rates& rates) {
  const shm::TableDefinition& d = named.info->definition;
  const shm::TableStats stats = reader.stats(*named.info);
  json.object();
  json.field("name", named.name);
  json.field("type", shm::key_type_name(d.key_type));
  json.field("key_bytes", d.key_bytes);
  json.field("expire_ms", stats.expire_ms);
  json.field("entries", stats.live);
  json.field("slots", stats.slots);
  json.field("bytes", stats.bytes);
  json.decimal("per_s", rates.per_second(kTableKey | named.info->no, 0));
  json.maybe("updated_ms", age(stats.counter(TableCounter::last_update_ms), reader.now()));
  for (std::size_t i = 0; i < shm::kTableCounters.size(); ++i) {
    if (shm::kTableCounters.at(i).kind == shm::CounterKind::kCounter) {
      json.field(shm::kTableCounters.at(i).name, stats.counters.at(i));
    }
  }
  json.key("columns");
  json.array();
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!d.has(bit)) {
      continue;
    }
    std::string name(shm::data_type(bit).name);
    if (shm::data_type(bit).array) {
      name += "[" + std::to_string(d.elements[bit]) + "]";
    }
    if (shm::data_type(bit).kind == shm::ValueKind::kRate) {
      name += "(" + std::to_string(d.period_ms[bit]) + ")";
    }
    json.text(name);
  }
  json.end_array();
  json.end_object();
}

void segment_part(Json& json, const live::Segment& segment, const shm::Reader* reader) {
  json.key("segment");
  json.object();
  json.flag("attached", reader != nullptr);
  json.field("trouble", cli::printable(segment.trouble()));
  json.field("bytes", reader == nullptr ? u64{0} : reader->segment_bytes());
  json.end_object();
}

void daemon_part(Json& json, const shm::Reader& reader) {
  const shm::RootHeader& header = reader.header();
  const shm::Liveness liveness = reader.liveness();
  const u64 heartbeat_age = reader.heartbeat_age_ms();
  json.key("daemon");
  json.object();
  json.field("state", shm::liveness_name(liveness));
  json.field("heartbeat_age_ms", heartbeat_age);
  json.field("pid", u64{shm::load_relaxed(header.writer_pid)});
  const SegmentMs now = reader.now();
  json.field("started_ms", now - std::min(now, shm::load_relaxed(header.writer_start_ms)));
  json.field("unclean_attaches", shm::load_relaxed(header.unclean_attaches));
  json.end_object();
  // All ages are as of the time the reader shows, which stands still while the daemon is away.
  const bool stands_still = liveness == shm::Liveness::kDown || liveness == shm::Liveness::kStalled;
  json.field("data_age_ms", stands_still && heartbeat_age > shm::kStallMs
                                ? heartbeat_age - shm::kStallMs
                                : u64{0});
}

}  // namespace

void sample_rates(const live::Segment& segment, live::Rates& rates, u64 now_ms) {
  rates.begin(now_ms);
  if (const shm::Reader* reader = segment.reader(); reader != nullptr) {
    const u64 generation = segment.generation() << 32;
    for (const shm::PeerInfo& p : reader->peers()) {
      rates.add(kPeerKey | p.no, generation,
                {p.counter(PeerCounter::updates_in), p.counter(PeerCounter::updates_out)});
    }
    for (const shm::TableInfo& t : reader->tables()) {
      rates.add(kTableKey | t.no, generation ^ t.generation ^ t.id,
                {reader->stats(t).counter(TableCounter::updates), 0});
    }
    rates.add(kTotalKey, generation,
              {reader->counter(shm::DaemonCounter::updates_in),
               reader->counter(shm::DaemonCounter::updates_out)});
  }
  rates.end();
}

std::string status_json(const live::Segment& segment, const live::Rates& rates,
                        const http::Stats& stats, const ConnectHint& connect,
                        u64 start_realtime_ms) {
  const shm::Reader* reader = segment.reader();
  const u64 time_ms = realtime_ms();
  Json json;
  json.object();
  json.field("version", LINEQ_VERSION);
  json.field("instance", segment.instance());
  json.field("time_ms", time_ms);
  json.key("web");
  json.object();
  json.field("pid", static_cast<u64>(::getpid()));
  json.field("started_ms", time_ms - std::min(time_ms, start_realtime_ms));
  json.field("connections", stats.connections);
  json.field("streams", stats.streams);
  json.field("refused", stats.refused);
  json.end_object();
  json.key("connect");
  json.object();
  json.field("name", cli::escaped(connect.name));
  json.field("host", cli::escaped(connect.host));
  json.field("port", u64{connect.port});
  json.end_object();
  segment_part(json, segment, reader);
  if (reader != nullptr) {
    daemon_part(json, *reader);
    json.decimal("in_per_s", rates.per_second(kTotalKey, 0));
    json.decimal("out_per_s", rates.per_second(kTotalKey, 1));
    const bool down = reader->liveness() == shm::Liveness::kDown;
    const std::vector<NamedTable> tables = named_tables(reader->tables());
    TableNames names;
    for (const NamedTable& t : tables) {
      names.emplace(t.info->no, t.name);
    }
    const std::vector<shm::PeerInfo> peers = reader->peers();
    const std::vector<std::string> labels = view::peer_labels(peers);
    const std::vector<view::PeerTable> rows = view::peer_tables(*reader, peers, reader->now());
    json.key("peers");
    json.array();
    auto row = rows.begin();
    for (std::size_t i = 0; i < peers.size(); ++i) {
      const auto first = row;
      row = std::find_if(first, rows.end(), [i](const view::PeerTable& r) { return r.peer != i; });
      peer(json, peers[i], labels[i], {first, row}, names, rates, reader->now(), down);
    }
    json.end_array();
    json.key("tables");
    json.array();
    for (const NamedTable& t : tables) {
      table(json, t, *reader, rates);
    }
    json.end_array();
    rooms_part(json, *reader);
    json.key("counters");
    json.object();
    for (std::size_t i = 0; i < shm::kDaemonCounters.size(); ++i) {
      json.field(shm::kDaemonCounters.at(i).name,
                 reader->counter(static_cast<shm::DaemonCounter>(i)));
    }
    json.end_object();
  }
  json.end_object();
  return json.take();
}

http::Reply traffic_reply(const live::Traffic& traffic) {
  Json json;
  json.object();
  json.field("step_ms", live::Traffic::kStepMs);
  json.key("points");
  json.array();
  for (const live::Traffic::Point& point : traffic.points()) {
    json.array();
    json.number(point.realtime_ms);
    json.number(static_cast<u64>(std::lround(point.in_per_s)));
    json.number(static_cast<u64>(std::lround(point.out_per_s)));
    json.end_array();
  }
  json.end_array();
  json.end_object();
  return http::json_reply(200, json.take());
}

}  // namespace lineq::pages
