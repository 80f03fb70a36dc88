#include "tools/lineq_dump/rooms.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "shm/visitor.h"
#include "tools/cli/room_settings.h"
#include "tools/cli/text.h"
#include "tools/lineq_dump/selection.h"

namespace lineq::dump {
namespace {

using shm::Visitor;
using shm::VisitorState;

constexpr std::string_view kCsvEnd = "\r\n";

// What the operator switched, in one word; fifo and the other methods unless there is more to say.
std::string_view mode_name(const shm::RoomSettings& settings) {
  return settings.suspended   ? "suspended"
         : settings.queue_all ? "queue_all"
         : settings.paused    ? "paused"
                              : cli::queueing_method_name(settings.method);
}

std::string_view state_name(VisitorState state) {
  switch (state) {
    case VisitorState::kWaiting:
      return "waiting";
    case VisitorState::kFront:
      return "front";
    case VisitorState::kGranted:
      return "granted";
    case VisitorState::kReady:
      return "ready";
    default:
      return "";
  }
}

u64 positive(i32 difference) {
  return difference > 0 ? static_cast<u64>(difference) : 0;
}

u64 oldest_ms(const shm::RoomNumbers& n, Tick now) {
  return n.waiting + n.front == 0 ? 0 : positive(tick_diff(now, static_cast<Tick>(n.oldest_since)));
}

using Members = std::vector<std::pair<std::string_view, u64>>;

Members numbers_of(const shm::RoomSettings& settings, const shm::RoomNumbers& n, Tick now) {
  Members members{
      {"total_active_users", settings.capacity},
      {"new_users_per_minute", settings.new_per_minute},
      {"active", n.active},
      {"ready", n.ready},
      {"front", n.front},
      {"waiting", n.waiting},
      {"admit_rate_milli", n.admit_rate_milli},
      {"arrive_rate_milli", n.arrive_rate_milli},
      {"oldest_waiter_ms", oldest_ms(n, now)},
  };
  for (std::size_t i = 0; i < shm::kRoomCounters.size(); ++i) {
    members.emplace_back(shm::kRoomCounters[i].name, n.counters[i]);
  }
  return members;
}

void put_room_json(Output& out, const shm::RoomInfo& room, const Members& members) {
  out.put(R"({"room":)");
  put_json(out, room.settings.name);
  out.put(R"(,"host":)");
  put_json(out, room.settings.host);
  out.put(R"(,"path":)");
  put_json(out, room.settings.path);
  out.put(R"(,"mode":)");
  put_json(out, mode_name(room.settings));
  for (const auto& [name, value] : members) {
    out.put(fmt::format(R"(,"{}":{})", name, value));
  }
}

// --- the line
// ------------------------------------------------------------------------------------------------------

// Enough of a visitor to sort millions; the key is looked at when it is printed.
struct Place {
  u64 order;  // called ones, front ones, then by ticket
  u32 slot;
  u16 table;  // index in Queue::tables
};

class Queue {
 public:
  Queue(shm::Reader& reader, const shm::RoomInfo& room) : reader_(reader), room_(room) {
    const auto& all = reader.tables();
    for (const shm::TableInfo& table : all) {
      // A kill while a table is being widened leaves both, each complete.
      const bool newest = std::none_of(all.begin(), all.end(), [&](const shm::TableInfo& t) {
        return t.id > table.id && t.role == table.role &&
               t.definition.name == table.definition.name;
      });
      if (table.role == shm::TableRole::kUsers && newest) {
        tables_.push_back(&table);
      }
    }
  }

  std::size_t collect() {
    std::size_t busy = 0;
    const auto count = static_cast<u16>(tables_.size());
    for (u16 i = 0; i < count; ++i) {
      busy += patient_scan(reader_, *tables_[i], [&](const shm::EntryView& entry, Tick) {
        const Visitor v = Visitor::of(entry);
        if (belongs(v)) {
          places_.push_back({order_of(v), entry.slot(), i});
        }
        return true;
      });
    }
    std::sort(places_.begin(), places_.end(),
              [](const Place& a, const Place& b) { return a.order < b.order; });
    return busy;
  }

  // visit(entry, visitor, position), position 0 = called.
  template <typename Visit>
  std::size_t each(Visit visit) {
    std::size_t busy = 0;
    u64 position = 0;
    shm::SlotCopy copy;
    shm::EntryView entry;
    for (const Place& place : places_) {
      const shm::Lookup found = reader_.read_slot(*tables_[place.table], place.slot, copy, entry);
      busy += found == shm::Lookup::kBusy ? 1U : 0U;
      if (found != shm::Lookup::kFound) {
        continue;
      }
      const Visitor v = Visitor::of(entry);
      if (belongs(v) && order_of(v) == place.order &&
          !visit(entry, v, shm::called(v.state) ? 0 : ++position)) {
        break;
      }
    }
    return busy;
  }

 private:
  bool belongs(const Visitor& v) const {
    return v.room == room_.no && (shm::waits(v.state) || shm::called(v.state));
  }
  // Called ones and those at the front by age, the line by ticket; tickets have 48 bits.
  static u64 order_of(const Visitor& v) {
    const u64 rank = shm::called(v.state) ? 0 : v.state == VisitorState::kFront ? 1 : 2;
    return rank << 62 | (rank == 2 ? v.ticket.value : v.since);
  }

  shm::Reader& reader_;
  const shm::RoomInfo& room_;
  std::vector<const shm::TableInfo*> tables_;
  std::vector<Place> places_;
};

struct Row {
  u64 position;
  const Visitor& visitor;
  u64 waiting_ms;
  u64 left_ms;
  const shm::EntryView& entry;
};

void put_text_row(Output& out, const Row& row) {
  const Visitor& v = row.visitor;
  out.put(fmt::format("{:>9}  {:>12}  {:<8}  {:>8}  {:>8}  ",
                      row.position == 0 ? std::string("-") : std::to_string(row.position),
                      v.ticket.value, state_name(v.state), duration_text(row.waiting_ms),
                      duration_text(row.left_ms)));
  put_key_text(out, row.entry);
  out.put('\n');
}

void put_json_row(Output& out, const Row& row, std::string_view room) {
  const Visitor& v = row.visitor;
  out.put('{');
  if (!room.empty()) {
    out.put(R"("room":)");
    put_json(out, room);
    out.put(',');
  }
  out.put(fmt::format(
      R"("position":{},"ticket":{},"state":"{}","again":{},"since_ms":{},"left_ms":{},"key":)",
      row.position == 0 ? std::string("null") : std::to_string(row.position), v.ticket.value,
      state_name(v.state), v.again, row.waiting_ms, row.left_ms));
  const std::string_view key = row.entry.key_chars();
  put_json(out, key);
  if (!valid_utf8(key)) {
    out.put(R"(,"key_base64":")");
    put_base64(out, key);
    out.put('"');
  }
  out.put('}');
}

void put_csv_row(Output& out, const Row& row, std::string_view room) {
  const Visitor& v = row.visitor;
  put_csv(out, cli::escaped(room));
  out.put(fmt::format(",{},{},{},{},{},{},",
                      row.position == 0 ? std::string() : std::to_string(row.position),
                      v.ticket.value, state_name(v.state), v.again, row.waiting_ms, row.left_ms));
  put_csv(out, cli::escaped(row.entry.key_chars()));
  out.put(kCsvEnd);
}

}  // namespace

void print_rooms(Format format, Output& out, const shm::Reader& reader) {
  const Tick now = reader.room_time();
  if (format == Format::kText) {
    out.put(fmt::format("{:<20}  {:<11}  {:>13}  {:>7}  {:>7}  {:>9}  {:>9}  {:>8}\n", "ROOM",
                        "MODE", "ACTIVE", "CALLED", "FRONT", "WAITING", "ADMIT/MIN", "OLDEST"));
  }
  out.put(format == Format::kJson ? R"({"rooms":[)" : "");
  bool first = true;
  for (const shm::RoomInfo& room : reader.rooms()) {
    const shm::RoomSettings& s = room.settings;
    const shm::RoomNumbers n = reader.numbers(room);
    const Members members = numbers_of(s, n, now);
    switch (format) {
      case Format::kText:
        out.put(fmt::format("{:<20}  {:<11}  {:>13}  {:>7}  {:>7}  {:>9}  {:>9}  {:>8}\n",
                            cli::escaped(s.name), mode_name(s),
                            fmt::format("{}/{}", n.active, s.capacity), n.ready, n.front, n.waiting,
                            n.admit_rate_milli / 1000,
                            n.waiting + n.front == 0 ? "-" : duration_text(oldest_ms(n, now))));
        break;
      case Format::kCsv:
        if (first) {
          out.put("room,host,path,mode");
          for (const auto& [name, value] : members) {
            out.put(',');
            out.put(name);
          }
          out.put(kCsvEnd);
        }
        put_csv(out, cli::escaped(s.name));
        out.put(',');
        put_csv(out, cli::escaped(s.host));
        out.put(',');
        put_csv(out, cli::escaped(s.path));
        out.put(',');
        out.put(mode_name(s));
        for (const auto& [name, value] : members) {
          out.put(',');
          out.number(value);
        }
        out.put(kCsvEnd);
        break;
      case Format::kJson:
        out.put(first ? "\n" : ",\n");
        put_room_json(out, room, members);
        out.put('}');
        break;
      case Format::kJsonLines:
        put_room_json(out, room, members);
        out.put("}\n");
        break;
    }
    first = false;
  }
  out.put(format == Format::kJson ? "\n]}\n" : "");
}

std::size_t print_queue(Format format, Output& out, shm::Reader& reader,
                        const shm::RoomInfo& room) {
  const std::string& name = room.settings.name;
  const shm::RoomNumbers n = reader.numbers(room);
  const Tick now = reader.room_time();
  Queue queue(reader, room);
  std::size_t busy = queue.collect();
  switch (format) {
    case Format::kText:
      out.put(fmt::format("# room: {}, mode: {}, active:{}/{}, called:{}, front:{}, waiting:{}\n",
                          cli::escaped(name), mode_name(room.settings), n.active,
                          room.settings.capacity, n.ready, n.front, n.waiting));
      out.put(fmt::format("{:>9}  {:>12}  {:<8}  {:>8}  {:>8}  {}\n", "POSITION", "TICKET", "STATE",
                          "SINCE", "LEFT", "KEY"));
      break;
    case Format::kCsv:
      out.put("room,position,ticket,state,again,since_ms,left_ms,key");
      out.put(kCsvEnd);
      break;
    case Format::kJson:
      put_room_json(out, room, numbers_of(room.settings, n, now));
      out.put(R"(,"visitors":[)");
      break;
    case Format::kJsonLines:
      break;
  }
  bool first = true;
  busy += queue.each([&](const shm::EntryView& entry, const Visitor& v, u64 position) {
    const Row row{position, v, positive(tick_diff(now, v.since)),
                  positive(tick_diff(v.deadline, now)), entry};
    switch (format) {
      case Format::kText:
        put_text_row(out, row);
        break;
      case Format::kCsv:
        put_csv_row(out, row, name);
        break;
      case Format::kJson:
        out.put(first ? "\n" : ",\n");
        put_json_row(out, row, {});
        break;
      case Format::kJsonLines:
        put_json_row(out, row, name);
        out.put('\n');
        break;
    }
    first = false;
    return !out.failed();
  });
  out.put(format == Format::kJson ? "\n]}\n" : "");
  return busy;
}

}  // namespace lineq::dump
