#include "tools/lineqctl/output.h"

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tools/cli/text.h"

namespace lineq::ctl {
namespace {

using Value = rapidjson::Value;
using control::CommandKind;

std::string shown(const Value& value) {
  if (value.IsString()) {
    return cli::printable({value.GetString(), value.GetStringLength()});
  }
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> json(buffer);
  value.Accept(json);
  return cli::printable({buffer.GetString(), buffer.GetSize()});
}

const Value& at(const Value& object, const char* name) {
  static const Value none;
  return object.IsObject() && object.HasMember(name) ? object[name] : none;
}

u64 number(const Value& object, const char* name) {
  const Value& value = at(object, name);
  return value.IsUint64() ? value.GetUint64() : 0;
}
bool is_true(const Value& object, const char* name) {
  const Value& value = at(object, name);
  return value.IsBool() && value.GetBool();
}

std::string time_text(u64 seconds) {
  return seconds < 120    ? fmt::format("{}s", seconds)
         : seconds < 7200 ? fmt::format("{}m", seconds / 60)
                          : fmt::format("{}h", seconds / 3600);
}

// The strongest rule first, as it is applied.
std::string state_of(const Value& room) {
  return is_true(room, "suspended")   ? "suspended"
         : is_true(room, "queue_all") ? "queue all"
         : is_true(room, "paused")    ? "paused"
                                      : shown(at(room, "queueing_method"));
}

using Row = std::vector<std::string>;

// The first `left` columns and the last `last` stand left, those between right.
std::string table(const std::vector<Row>& rows, std::size_t left, std::size_t last = 0) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i < left || i >= row.size() - last ? fmt::format("{:<{}}  ", row[i], widths[i])
                                                 : fmt::format("{:>{}}  ", row[i], widths[i]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string rooms_text(const Value& rooms) {
  if (rooms.Empty()) {
    return "There is no room. Make one: lineqctl create shop host=shop.example C=100\n";
  }
  std::vector<Row> rows{
      {"ROOM", "STATE", "INSIDE", "LIMIT", "CALLED", "WAITING", "PER MIN", "OLDEST"}};
  for (const Value& room : rooms.GetArray()) {
    const Value& numbers = at(room, "numbers");
    const Value& rate = at(numbers, "admit_rate");
    const u64 waiting = number(numbers, "waiting") + number(numbers, "front");
    rows.push_back(
        {shown(at(room, "name")), state_of(room), std::to_string(number(numbers, "active")),
         shown(at(room, "total_active_users")), std::to_string(number(numbers, "ready")),
         std::to_string(waiting), fmt::format("{:.1f}", rate.IsNumber() ? rate.GetDouble() : 0.0),
         waiting == 0 ? "-" : time_text(number(numbers, "oldest_waiter_seconds"))});
  }
  return table(rows, 2);
}

std::string duration_text(u64 ms) {
  return ms < 10'000 ? fmt::format("{:.1f}s", static_cast<double>(ms) / 1000)
                     : time_text(ms / 1000);
}

std::string tables_text(const Value& tables) {
  if (tables.Empty()) {
    return "There is no table: no HAProxy has announced one yet.\n";
  }
  std::vector<Row> rows{{"TABLE", "TYPE", "EXPIRE", "USED", "PEERS", "DATA"}};
  for (const Value& each : tables.GetArray()) {
    const u64 expire = number(each, "expire_ms");
    std::string data;
    if (const Value& labels = at(each, "data"); labels.IsArray()) {
      for (const Value& label : labels.GetArray()) {
        data += (data.empty() ? "" : ",") + shown(label);
      }
    }
    const std::string type = shown(at(each, "type"));
    rows.push_back({shown(at(each, "table")),
                    type == "string" || type == "binary"
                        ? fmt::format("{} len {}", type, number(each, "length"))
                        : type,
                    expire == 0 ? "never" : duration_text(expire),
                    std::to_string(number(each, "used")), std::to_string(number(each, "peers")),
                    std::move(data)});
  }
  return table(rows, 2, 1);
}

std::string peers_text(const Value& peers) {
  if (peers.Empty()) {
    return "No HAProxy is connected.\n";
  }
  std::vector<Row> rows{{"PEER", "ADDRESS", "STATUS", "TAUGHT US", "LEARNED", "PID", "SINCE",
                         "SILENT", "IN", "OUT", "LAG", "TABLES"}};
  for (const Value& each : peers.GetArray()) {
    const std::string name = shown(at(each, "name"));
    const u64 pid = number(each, "pid");
    rows.push_back(
        {name.empty() ? "-" : name, shown(at(each, "address")), shown(at(each, "status")),
         shown(at(each, "lesson_in")), shown(at(each, "lesson_out")),
         pid == 0 ? "-" : std::to_string(pid), duration_text(number(each, "connected_ms")),
         duration_text(number(each, "silent_ms")), std::to_string(number(each, "updates_in")),
         std::to_string(number(each, "updates_out")), std::to_string(number(each, "lag")),
         std::to_string(number(each, "tables"))});
  }
  return table(rows, 5);
}

void lines(const Value& object, std::string_view indent, std::string& text) {
  for (rapidjson::SizeType i = 0; i < object.MemberCount(); ++i) {
    const auto& member = object.MemberBegin()[i];
    const std::string key = shown(member.name);
    if (member.value.IsObject()) {
      text += fmt::format("{}{}:\n", indent, key);
      lines(member.value, std::string(indent) + "  ", text);
    } else if (!member.value.IsString() || member.value.GetStringLength() != 0) {
      text += fmt::format("{}{}: {}\n", indent, key, shown(member.value));
    }
  }
}

}  // namespace

std::string answer_text(const control::Command& command, const control::Answer& answer) {
  rapidjson::Document result;
  result.Parse<rapidjson::kParseIterativeFlag>(answer.result.data(), answer.result.size());
  if (result.HasParseError()) {
    return answer.result + "\n";
  }
  std::string text;
  if (command.kind == CommandKind::kRooms && result.IsArray()) {
    return rooms_text(result);
  }
  if (command.kind == CommandKind::kTables && result.IsArray()) {
    return tables_text(result);
  }
  if (command.kind == CommandKind::kPeers && result.IsArray()) {
    return peers_text(result);
  }
  if (command.kind == CommandKind::kSetEntry) {
    return is_true(result, "created") ? "made\n" : "changed\n";
  }
  if (command.kind == CommandKind::kClearTable) {
    const u64 cleared = number(result, "cleared");
    return fmt::format("{} {} cleared\n", cleared, cleared == 1 ? "entry" : "entries");
  }
  if (command.kind == CommandKind::kLogLevel) {
    return shown(at(result, "level")) + "\n";
  }
  if (command.kind == CommandKind::kShutdown) {
    return "lineqd ends\n";
  }
  if ((command.kind == CommandKind::kRoom || command.kind == CommandKind::kInfo) &&
      result.IsObject()) {
    lines(result, "", text);
    return text;
  }
  if (command.kind == CommandKind::kAdmit) {
    return fmt::format("{} called\n", number(result, "admitted"));
  }
  if (command.kind == CommandKind::kRevoke) {
    return fmt::format("{} ended\n", number(result, "revoked"));
  }
  if (result.IsObject() && result.HasMember("name")) {
    return fmt::format("{}: {}, limit {}\n", shown(at(result, "name")), state_of(result),
                       shown(at(result, "total_active_users")));
  }
  return "done\n";
}

}  // namespace lineq::ctl
