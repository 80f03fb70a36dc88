#include "webui/pages/metrics.h"

#include <functional>
#include <map>

#include <fmt/format.h>

#include "shm/reader.h"
#include "tools/view/peer_tables.h"
#include "webui/pages/key_export.h"
#include "webui/pages/named_tables.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

using shm::DaemonCounter;
using shm::PeerCounter;
using shm::TableCounter;

std::string counter_name(std::string_view scope, const shm::CounterInfo& info) {
  return fmt::format("lineq_{}_{}{}", scope, info.name,
                     info.kind == shm::CounterKind::kCounter ? "_total" : "");
}

std::string_view type_name(shm::CounterKind kind) {
  return kind == shm::CounterKind::kCounter ? "counter" : "gauge";
}

double seconds(u64 ms) {
  return static_cast<double>(ms) / 1000.0;
}

std::optional<u64> age_of(SegmentMs at, SegmentMs now) {
  return at == 0 ? std::nullopt : std::optional(now > at ? now - at : 0);
}

void web(Exposition& out, const http::Stats& stats, u64 start_realtime_ms) {
  out.metric("lineq_build_info", "gauge", "version of lineq-web and of the segment's layout");
  const std::string layout = std::to_string(shm::kLayoutVersion);
  const std::string abi = fmt::format("{:016x}", shm::abi_hash());
  out.sample({{"version", LINEQ_VERSION}, {"layout", layout}, {"abi", abi}}, u64{1});
  out.metric("lineq_web_start_time_seconds", "gauge", "when lineq-web was started, unix time");
  out.sample({}, seconds(start_realtime_ms));
  out.metric("lineq_web_connections", "gauge", "open connections");
  out.sample({}, stats.connections);
  out.metric("lineq_web_event_streams", "gauge", "open connections that are event streams");
  out.sample({}, stats.streams);
  out.metric("lineq_web_websockets", "gauge", "open connections that are WebSockets");
  out.sample({}, stats.websockets);
  out.metric("lineq_web_connections_accepted_total", "counter", "connections taken");
  out.sample({}, stats.accepted);
  out.metric("lineq_web_connections_refused_total", "counter",
             "connections closed at once: over a limit, or no descriptor left");
  out.sample({}, stats.refused);
  out.metric("lineq_web_requests_total", "counter", "whole requests received");
  out.sample({}, stats.requests);
  out.metric("lineq_web_request_errors_total", "counter",
             "requests refused as malformed, too large or too slow");
  out.sample({}, stats.errors);
}

void daemon(Exposition& out, const shm::Reader& reader) {
  out.metric("lineq_daemon_up", "gauge", "1 while lineqd lives and its heartbeat is fresh");
  out.sample({}, u64{reader.liveness() == shm::Liveness::kAlive ? 1U : 0U});
  out.metric("lineq_daemon_heartbeat_age_seconds", "gauge", "time since lineqd's last heartbeat");
  out.sample({}, seconds(reader.heartbeat_age_ms()));
  out.metric("lineq_segment_bytes", "gauge", "memory reserved for the shared segment");
  out.sample({}, reader.segment_bytes());
  for (std::size_t i = 0; i < shm::kDaemonCounters.size(); ++i) {
    const shm::CounterInfo& info = shm::kDaemonCounters.at(i);
    const u64 value = reader.counter(static_cast<DaemonCounter>(i));
    std::string name = counter_name("daemon", info);
    // Prometheus wants base units.
    if (constexpr std::string_view kMs = "_ms"; name.ends_with(kMs)) {
      name.replace(name.size() - kMs.size(), kMs.size(), "_seconds");
      out.metric(name, type_name(info.kind), info.help);
      out.sample({}, seconds(value));
      continue;
    }
    out.metric(name, type_name(info.kind), info.help);
    out.sample({}, value);
  }
}

void tables(Exposition& out, const shm::Reader& reader) {
  // One name with two key lengths is two tables, but it can be one series only.
  struct Sum {
    u64 slots = 0;
    u64 live = 0;
    u64 bytes = 0;
    std::optional<u64> age;
    std::array<u64, static_cast<std::size_t>(TableCounter::kCount)> counters{};
  };
  std::map<std::pair<std::string, std::string_view>, Sum> sums;
  for (const NamedTable& table : named_tables(reader.tables())) {
    std::string scratch;
    const shm::TableDefinition& d = table.info->definition;
    Sum& sum = sums[{std::string(escaped_view(d.name, scratch)), shm::key_type_name(d.key_type)}];
    const shm::TableStats stats = reader.stats(*table.info);
    sum.slots += stats.slots;
    sum.live += stats.live;
    sum.bytes += stats.bytes;
    for (std::size_t i = 0; i < sum.counters.size(); ++i) {
      sum.counters.at(i) += stats.counters.at(i);
    }
    if (const auto age = age_of(stats.counter(TableCounter::last_update_ms), reader.now())) {
      sum.age = std::min(*age, sum.age.value_or(*age));
    }
  }
  const auto all = [&](std::string_view name, std::string_view type, std::string_view help,
                       const std::function<u64(const Sum&)>& value) {
    out.metric(name, type, help);
    for (const auto& [key, sum] : sums) {
      out.sample({{"name", key.first}, {"type", key.second}}, value(sum));
    }
  };
  const auto updates = static_cast<std::size_t>(TableCounter::updates);
  all("haproxy_sticktable_size", "gauge", "entries the table has memory for at present",
      [](const Sum& s) { return s.slots; });
  all("haproxy_sticktable_used", "gauge", "entries in the table",
      [](const Sum& s) { return s.live; });
  all("haproxy_sticktable_local_updates", "gauge", "updates applied to the table",
      [&](const Sum& s) { return s.counters.at(updates); });
  all("lineq_table_bytes", "gauge", "memory reserved for the table and its index",
      [](const Sum& s) { return s.bytes; });
  for (std::size_t i = 0; i < shm::kTableCounters.size(); ++i) {
    const shm::CounterInfo& info = shm::kTableCounters.at(i);
    if (info.kind == shm::CounterKind::kCounter) {
      all(counter_name("table", info), "counter", info.help,
          [&](const Sum& s) { return s.counters.at(i); });
    }
  }
  out.metric("lineq_table_last_update_seconds", "gauge", "time since the table's last update");
  for (const auto& [key, sum] : sums) {
    if (sum.age) {
      out.sample({{"name", key.first}, {"type", key.second}}, seconds(*sum.age));
    }
  }
}

void peer_tables(Exposition& out, const shm::Reader& reader,
                 const std::vector<shm::PeerInfo>& peers,
                 const std::function<Exposition::Labels(std::size_t)>& labels) {
  std::map<u16, std::string> names;
  for (NamedTable& table : named_tables(reader.tables())) {
    names.emplace(table.info->no, std::move(table.name));
  }
  const std::vector<view::PeerTable> rows = view::peer_tables(reader, peers, reader.now());
  const auto series = [&](std::string_view name, std::string_view type, std::string_view help,
                          const auto& value) {
    out.metric(name, type, help);
    for (const view::PeerTable& row : rows) {
      const auto table = names.find(row.table->no);
      if (const auto v = value(row); v && table != names.end()) {
        Exposition::Labels with = labels(row.peer);
        with.emplace_back("table", table->second);
        out.sample(with, *v);
      }
    }
  };
  const auto number = [](u64 n) { return std::optional(n); };
  const auto flag = [](bool on) { return std::optional(u64{on ? 1U : 0U}); };
  series("lineq_peer_table_announced", "gauge", "1 when this HAProxy has the table",
         [&](const view::PeerTable& r) { return flag(r.announced_ms.has_value()); });
  series("lineq_peer_table_last_update_seconds", "gauge",
         "time since this HAProxy told about the table", [](const view::PeerTable& r) {
           return r.updated_ms ? std::optional(seconds(*r.updated_ms)) : std::nullopt;
         });
  series("lineq_peer_table_updates_total", "counter",
         "updates of the table received from this HAProxy",
         [&](const view::PeerTable& r) { return number(r.updates); });
  series("lineq_peer_table_refused_values_total", "counter",
         "impossible values of the table received from this HAProxy and not used",
         [&](const view::PeerTable& r) { return number(r.refused_values); });
  series("lineq_peer_table_conflict", "gauge", "1 when its definition differs from that of others",
         [&](const view::PeerTable& r) { return flag(r.conflict); });
  series("lineq_peer_table_missing", "gauge",
         "1 when this HAProxy is connected without a table that others have",
         [&](const view::PeerTable& r) { return flag(r.missing); });
  series("lineq_peer_table_silent", "gauge",
         "1 when only others have told about the table for five minutes",
         [&](const view::PeerTable& r) { return flag(r.silent); });
}

void peers(Exposition& out, const shm::Reader& reader) {
  const std::vector<shm::PeerInfo> all = reader.peers();
  // Several HAProxys may share a name, and even an address: `record` tells them apart, is stable
  // while a HAProxy comes and goes, and has few values.
  struct Names {
    std::string peer;
    std::string address;
    std::string record;
  };
  std::vector<Names> names;
  names.reserve(all.size());
  for (const shm::PeerInfo& peer : all) {
    std::string scratch;
    Names n;
    n.peer = escaped_view(peer.remote_name, scratch);
    n.address = escaped_view(peer.address, scratch);
    n.record = std::to_string(peer.no);
    names.push_back(std::move(n));
  }
  const auto labels = [&](std::size_t i) {
    return Exposition::Labels{{"peer", names.at(i).peer},
                              {"address", names.at(i).address},
                              {"record", names.at(i).record}};
  };
  const auto directed = [&](std::string_view name, std::string_view help, PeerCounter in,
                            PeerCounter out_counter) {
    out.metric(name, "counter", help);
    for (std::size_t i = 0; i < all.size(); ++i) {
      Exposition::Labels with = labels(i);
      with.emplace_back("direction", "in");
      out.sample(with, all.at(i).counter(in));
      with.back().second = "out";
      out.sample(with, all.at(i).counter(out_counter));
    }
  };
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help,
                          const std::function<u64(const shm::PeerInfo&)>& value) {
    out.metric(name, type, help);
    for (std::size_t i = 0; i < all.size(); ++i) {
      out.sample(labels(i), value(all.at(i)));
    }
  };
  // A session does not outlive the daemon.
  const bool down = reader.liveness() == shm::Liveness::kDown;
  single("lineq_peer_up", "gauge", "1 while the session with this HAProxy is established",
         [&](const shm::PeerInfo& p) {
           return u64{!down && p.state == shm::PeerState::kUp ? 1U : 0U};
         });
  out.metric("lineq_peer_last_message_seconds", "gauge",
             "time since the last byte from this HAProxy");
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (const auto age = age_of(all.at(i).counter(PeerCounter::last_received_ms), reader.now())) {
      out.sample(labels(i), seconds(*age));
    }
  }
  directed("lineq_peer_updates_total", "updates exchanged with this HAProxy",
           PeerCounter::updates_in, PeerCounter::updates_out);
  directed("lineq_peer_bytes_total", "bytes exchanged with this HAProxy", PeerCounter::bytes_in,
           PeerCounter::bytes_out);
  directed("lineq_peer_acks_total", "acks exchanged with this HAProxy", PeerCounter::acks_in,
           PeerCounter::acks_out);
  directed("lineq_peer_resyncs_total", "full resynchronisations with this HAProxy",
           PeerCounter::resyncs_in, PeerCounter::resyncs_out);
  const auto counter = [](PeerCounter c) {
    return [c](const shm::PeerInfo& p) { return p.counter(c); };
  };
  single(
      "lineq_peer_in_sync", "gauge", "1 when this HAProxy has taught us all it has",
      [](const shm::PeerInfo& p) { return u64{p.counter(PeerCounter::lesson_in) >= 2 ? 1U : 0U}; });
  single("lineq_peer_lag_updates", "gauge", "changes of others this HAProxy has not been sent yet",
         counter(PeerCounter::lag));
  single("lineq_peer_pending_bytes", "gauge", "bytes encoded and not yet taken by the network",
         counter(PeerCounter::pending_bytes));
  single("lineq_peer_sessions_total", "counter", "sessions established",
         counter(PeerCounter::sessions));
  single("lineq_peer_heartbeats_total", "counter", "heartbeats received",
         counter(PeerCounter::heartbeats_in));
  single("lineq_peer_protocol_errors_total", "counter", "malformed or oversized messages received",
         counter(PeerCounter::protocol_errors));
  peer_tables(out, reader, all, labels);
}

void rooms(Exposition& out, const shm::Reader& reader) {
  struct Room {
    std::string name;
    const shm::RoomInfo* info;
    shm::RoomNumbers numbers;
  };
  std::vector<Room> all;
  for (const shm::RoomInfo& info : reader.rooms()) {
    std::string scratch;
    all.push_back(
        {std::string(escaped_view(info.settings.name, scratch)), &info, reader.numbers(info)});
  }
  const auto series = [&](std::string_view name, std::string_view type, std::string_view help,
                          const auto& value) {
    out.metric(name, type, help);
    for (const Room& room : all) {
      out.sample({{"room", room.name}}, value(room));
    }
  };
  series("lineq_room_capacity", "gauge", "most visitors inside",
         [](const Room& r) { return u64{r.info->settings.capacity}; });
  series("lineq_room_active", "gauge", "visitors inside",
         [](const Room& r) { return r.numbers.active; });
  series("lineq_room_ready", "gauge", "visitors who were called and are not inside yet",
         [](const Room& r) { return r.numbers.ready; });
  series("lineq_room_queued", "gauge", "visitors who wait",
         [](const Room& r) { return r.numbers.waiting + r.numbers.front; });
  series("lineq_room_oldest_waiter_seconds", "gauge",
         "how long the visitor who has waited longest has waited; 0 when nobody waits",
         [&](const Room& r) {
           const i32 ms = tick_diff(reader.room_time(), static_cast<Tick>(r.numbers.oldest_since));
           const bool anybody = r.numbers.waiting + r.numbers.front != 0;
           return anybody && ms > 0 ? seconds(static_cast<u64>(ms)) : 0.0;
         });
  series(
      "lineq_room_admission_rate", "gauge",
      "visitors called per second, weighted mean; what the rules promise while fewer than 20 were",
      [](const Room& r) { return static_cast<double>(r.numbers.admit_rate_milli) / 60'000.0; });
  series("lineq_room_arrival_rate", "gauge", "visitors who came per second, weighted mean",
         [](const Room& r) { return static_cast<double>(r.numbers.arrive_rate_milli) / 60'000.0; });
  for (std::size_t i = 0; i < shm::kRoomCounters.size(); ++i) {
    const shm::CounterInfo& info = shm::kRoomCounters.at(i);
    series(counter_name("room", info), type_name(info.kind), info.help,
           [&](const Room& r) { return r.numbers.counters.at(i); });
  }
  const auto histogram = [&](std::string_view name, std::string_view help, const auto& of) {
    out.metric(name, "histogram", help);
    for (const Room& room : all) {
      const shm::RoomHistogram h = of(*room.info);
      u64 sum = 0;
      for (std::size_t i = 0; i < h.buckets.size(); ++i) {
        sum += h.buckets.at(i);
        const std::string bound = i < shm::kRoomHistogramBounds.size()
                                      ? std::to_string(shm::kRoomHistogramBounds.at(i))
                                      : "+Inf";
        out.sample({{"room", room.name}, {"le", bound}}, sum, "_bucket");
      }
      out.sample({{"room", room.name}}, seconds(h.sum_ms), "_sum");
      out.sample({{"room", room.name}}, sum, "_count");
    }
  };
  histogram("lineq_room_wait_seconds", "from a visitor's arrival to the call",
            [&](const shm::RoomInfo& r) { return reader.wait_histogram(r); });
  histogram("lineq_room_stay_seconds", "how long visitors were inside",
            [&](const shm::RoomInfo& r) { return reader.stay_histogram(r); });
}

}  // namespace

void Exposition::metric(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void Exposition::series(const Labels& labels, std::string_view suffix) {
  text_.append(name_).append(suffix);
  if (labels.empty()) {
    return;
  }
  char separator = '{';
  for (const auto& [label, value] : labels) {
    text_ += separator;
    separator = ',';
    text_.append(label).append("=\"");
    for (const char c : value) {
      if (c == '\\' || c == '"') {
        text_ += '\\';
      }
      if (c == '\n') {
        text_ += "\\n";
      } else {
        text_ += c;
      }
    }
    text_ += '"';
  }
  text_ += '}';
}

void Exposition::sample(const Labels& labels, u64 value, std::string_view suffix) {
  series(labels, suffix);
  fmt::format_to(std::back_inserter(text_), " {}\n", value);
}

void Exposition::sample(const Labels& labels, double value, std::string_view suffix) {
  series(labels, suffix);
  fmt::format_to(std::back_inserter(text_), " {:.3f}\n", value);
}

std::string metrics_text(const live::Segment& segment, const http::Stats& stats,
                         u64 start_realtime_ms, const KeyExport* keys) {
  Exposition out;
  web(out, stats, start_realtime_ms);
  const shm::Reader* reader = segment.reader();
  out.metric("lineq_segment_attached", "gauge", "1 when lineq-web has a segment to read");
  out.sample({}, u64{reader != nullptr ? 1U : 0U});
  if (reader != nullptr) {
    daemon(out, *reader);
    tables(out, *reader);
    peers(out, *reader);
    if (!reader->rooms().empty()) {
      rooms(out, *reader);
    }
    if (keys != nullptr) {
      keys->put(out);
    }
  }
  return out.text();
}

}  // namespace lineq::pages
