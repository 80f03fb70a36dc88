#include "webui/pages/keys.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <fmt/core.h>
#include <rapidjson/document.h>

#include "shm/support/clock.h"
#include "tools/cli/text.h"
#include "webui/pages/entry_json.h"
#include "webui/pages/envelope.h"
#include "webui/pages/json.h"
#include "webui/pages/named_tables.h"
#include "webui/pages/peer_parts.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

using control::Command;
using control::CommandKind;
using http::Method;
using rapidjson::Value;

constexpr std::string_view kTables = "/tables/";
constexpr std::string_view kKeys = "/keys/";
constexpr std::string_view kMethods = "GET, HEAD, PUT, DELETE";
constexpr std::size_t kMostShown = 200;

Error invalid(std::string what) {
  return {ErrorCode::kInvalid, std::move(what)};
}

std::string shown(std::string_view text) {
  return cli::escaped(text.substr(0, kMostShown));
}

// The entry a path names.
struct Target {
  std::vector<NamedTable> all;
  const NamedTable* table = nullptr;  // one of them
  std::string key;                    // bytes, as stored
};

Result<Target> target_of(const shm::Reader& reader, std::string_view path) {
  path.remove_prefix(kTables.size());
  const std::size_t end = path.find('/');
  const std::string name = http::percent_decoded(path.substr(0, end), false);
  const std::string text = http::percent_decoded(path.substr(end + kKeys.size()), false);
  Target target;
  target.all = named_tables(reader.tables());
  target.table = find_table(target.all, name);
  if (target.table == nullptr) {
    return Error{ErrorCode::kNotFound, fmt::format("there is no table '{}'", shown(name))};
  }
  const shm::TableDefinition& definition = target.table->info->definition;
  Result<std::string> key = shm::key_from_text(definition, unescaped(text));
  if (!key) {
    return invalid(fmt::format(
        "key: '{}' is not allowed; allowed: {}", shown(text),
        definition.key_type == shm::KeyType::kString
            ? fmt::format("at most {} bytes", definition.key_capacity())
            : fmt::format("the type {} of table {}", shm::key_type_name(definition.key_type),
                          target.table->name)));
  }
  target.key = key.take();
  return target;
}

Result<bool> peers_of(std::string_view query) {
  bool peers = false;
  for (const auto& [name, value] : http::query_pairs(query)) {
    if (name != "peers") {
      return invalid(fmt::format("unknown parameter '{}'; allowed: peers", shown(name)));
    }
    if (value != "0" && value != "1") {
      return invalid(fmt::format("peers: '{}' is not allowed; allowed: 0 or 1", shown(value)));
    }
    peers = value == "1";
  }
  return peers;
}

http::Reply get(shm::Reader& reader, const Target& target, std::string_view query) {
  const Result<bool> peers = peers_of(query);
  if (!peers) {
    return failure(400, peers.error().what);
  }
  const shm::TableInfo& table = *target.table->info;
  const std::span<const u8> key(reinterpret_cast<const u8*>(target.key.data()), target.key.size());
  shm::SlotCopy copy;
  shm::EntryView entry;
  switch (patient_lookup(reader, table, key, copy, entry)) {
    case shm::Lookup::kFound:
      break;
    case shm::Lookup::kAbsent:
      return failure(404, fmt::format("there is no such entry in table {}", target.table->name));
    case shm::Lookup::kBusy: {
      http::Reply reply = failure(503, "lineqd is changing this entry");
      reply.fields.emplace_back("Retry-After", "1");
      return reply;
    }
  }
  const Tick now = tick_of(reader.now());
  Json json;
  EntryJson write(json);
  json.object();
  json.field("table", target.table->name);
  json.field("type", shm::key_type_name(table.definition.key_type));
  write.name(entry);
  write.typed(reader, entry, view::columns_of(table.definition), now);
  if (*peers) {
    PeerParts parts;
    parts.find(reader, table);
    parts.put(json, write, reader, key, now);
  }
  json.end_object();
  http::Reply reply = http::json_reply(200, json.take());
  reply.fields.emplace_back("LineQ-Daemon", shm::liveness_name(reader.liveness()));
  return reply;
}

// {"values":{...},"expire_ms":...} of a body.
Status read_values(const Value& body, Command& command) {
  static constexpr std::array<std::string_view, 2> kMembers{"values", "expire_ms"};
  for (const auto& member : body.GetObject()) {
    const std::string_view name(member.name.GetString(), member.name.GetStringLength());
    if (std::find(kMembers.begin(), kMembers.end(), name) == kMembers.end()) {
      return invalid(fmt::format("unknown member '{}'{}; allowed: values, expire_ms", shown(name),
                                 cli::suggestion(name, kMembers)));
    }
  }
  if (body.HasMember("expire_ms")) {
    if (!body["expire_ms"].IsUint()) {
      return invalid("expire_ms: allowed: whole milliseconds, 0 to 4294967295");
    }
    command.expire_ms = body["expire_ms"].GetUint();
  }
  if (!body.HasMember("values") || !body["values"].IsObject()) {
    return invalid(R"(values: allowed: an object of data types, as in {"values":{"gpc0":5}})");
  }
  for (const auto& member : body["values"].GetObject()) {
    std::string name(member.name.GetString(), member.name.GetStringLength());
    const Value& value = member.value;
    if (value.IsString()) {
      command.values.push_back(
          {std::move(name), std::string(value.GetString(), value.GetStringLength())});
    } else if (value.IsUint64()) {
      command.values.push_back({std::move(name), std::to_string(value.GetUint64())});
    } else if (value.IsInt64()) {
      command.values.push_back({std::move(name), std::to_string(value.GetInt64())});
    } else {
      return invalid(fmt::format("{}: allowed: a whole number, or a server's name", shown(name)));
    }
  }
  return {};
}

// A command about this entry. kBusy: lineqd cannot be told which table is meant.
Result<Command> command_of(CommandKind kind, const Target& target) {
  const shm::TableDefinition& definition = target.table->info->definition;
  if (std::count_if(target.all.begin(), target.all.end(), [&](const NamedTable& t) {
        return t.info->definition.name == definition.name;
      }) > 1) {
    return Error{ErrorCode::kBusy,
                 fmt::format("HAProxys disagree about the key of table {}: there are several of "
                             "that name, and it cannot be changed",
                             cli::escaped(definition.name))};
  }
  Command command;
  command.kind = kind;
  command.by = "the key API";
  command.table = definition.name;
  command.key = cli::escaped(shm::key_text(
      definition, {reinterpret_cast<const u8*>(target.key.data()), target.key.size()}));
  return command;
}

http::Reply put(const http::Request& request, const Target& target, const Ask& ask) {
  Result<Command> command = command_of(CommandKind::kSetEntry, target);
  if (!command) {
    return failure(409, command.error().what);
  }
  rapidjson::Document body;
  Status fine = read_object(request.body, body);
  if (fine) {
    fine = read_values(body, *command);
  }
  return fine ? ask_for(ask, *command, json_of) : failure(400, fine.error().what);
}

http::Reply clear(const Target& target, const Ask& ask) {
  const Result<Command> command = command_of(CommandKind::kClearTable, target);
  if (!command) {
    return failure(409, command.error().what);
  }
  return ask_lineqd(
      ask, *command, [name = target.table->name](const Result<control::Answer>& answer) {
        const bool none = answer && answer->code == control::AnswerCode::kFine &&
                          answer->result == R"({"cleared":0})";
        return none ? failure(404, fmt::format("there is no such entry in table {}", name))
                    : answered(answer, json_of);
      });
}

http::Reply keys_reply(live::Segment& segment, const http::Request& request,
                       const std::string& token_file, const Ask& ask) {
  const bool asks = request.method == Method::kGet || request.method == Method::kHead;
  if (!asks && request.method != Method::kPut && request.method != Method::kDelete) {
    return only(kMethods);
  }
  if (!asks) {
    if (std::optional<http::Reply> no = without_token(request, token_file)) {
      return std::move(*no);
    }
  }
  shm::Reader* reader = segment.reader();
  if (reader == nullptr) {
    return failure(503, segment.trouble());
  }
  const Result<Target> target = target_of(*reader, request.path);
  if (!target) {
    return failure(target.error().code == ErrorCode::kNotFound ? 404 : 400, target.error().what);
  }
  if (asks) {
    return get(*reader, *target, request.query);
  }
  return request.method == Method::kPut ? put(request, *target, ask) : clear(*target, ask);
}

}  // namespace

void add_keys(http::Router& router, live::Segment& segment, std::string token_file, Ask ask) {
  router.add_between(
      kTables, kKeys,
      [&segment, token_file = std::move(token_file), ask = std::move(ask)](
          const http::Request& request) { return keys_reply(segment, request, token_file, ask); });
}

}  // namespace lineq::pages
