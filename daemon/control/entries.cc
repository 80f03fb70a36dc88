#include "daemon/control/entries.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "shm/reader.h"
#include "tools/cli/text.h"
#include "tools/view/columns.h"
#include "tools/view/filter.h"

namespace lineq::control {
namespace {

using shm::ValueKind;

Answer fine(std::string result) {
  return {AnswerCode::kFine, {}, std::move(result), {}};
}
Answer no(const Error& error) {
  const AnswerCode code = error.code == ErrorCode::kInvalid    ? AnswerCode::kInvalid
                          : error.code == ErrorCode::kNotFound ? AnswerCode::kNotFound
                                                               : AnswerCode::kFailed;
  return {code, cli::printable(error.what), {}, {}};
}
Error invalid(std::string what) {
  return {ErrorCode::kInvalid, std::move(what)};
}

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

// Names come from HAProxys: bytes that are no text are written as \xHH.
class Json {
 public:
  void text(std::string_view key, std::string_view value) {
    const std::string safe = cli::escaped(value);
    name(key);
    writer_.String(safe.data(), static_cast<rapidjson::SizeType>(safe.size()));
  }
  void number(std::string_view key, u64 value) {
    name(key);
    writer_.Uint64(value);
  }
  void name(std::string_view key) {
    writer_.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  }
  rapidjson::Writer<rapidjson::StringBuffer>& writer() { return writer_; }
  std::string take() const { return {buffer_.GetString(), buffer_.GetSize()}; }

 private:
  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> writer_{buffer_};
};

bool is_theirs(const shm::TableInfo& table) {
  return table.role != shm::TableRole::kPart && table.role != shm::TableRole::kLedger;
}

Result<std::string> key_of(const shm::TableDefinition& definition, const std::string& shown) {
  Result<std::string> key = shm::key_from_text(definition, cli::unescaped(shown));
  if (key && definition.key_type == shm::KeyType::kString && key->find('\0') != std::string::npos) {
    return invalid(fmt::format("key of table {}: a string has no NUL byte", definition.name));
  }
  return key;
}

}  // namespace

void Entries::run(const Command& command, SegmentMs now, const Done& done) {
  switch (command.kind) {
    case CommandKind::kTables:
      return done(tables());
    case CommandKind::kPeers:
      return done(peers(now));
    case CommandKind::kSetEntry:
      return done(set(command, now));
    case CommandKind::kClearTable:
      return clear(command, now, done);
    default:
      return done({AnswerCode::kUnsupported, "no command about entries", {}, {}});
  }
}

Answer Entries::tables() const {
  Json json;
  json.writer().StartArray();
  for (const u16 no : writer_.tables()) {
    const shm::Table& table = *writer_.table(no);
    if (!is_theirs(table.info())) {
      continue;
    }
    const shm::TableDefinition& definition = table.info().definition;
    json.writer().StartObject();
    json.text("table", definition.name);
    json.text("type", shm::key_type_name(definition.key_type));
    json.number("length", definition.key_capacity());
    json.number("used", table.live());
    json.number("expire_ms", table.expire_ms());
    json.name("data");
    json.writer().StartArray();
    for (const view::Column& column : view::columns_of(definition)) {
      json.writer().String(column.label.data(),
                           static_cast<rapidjson::SizeType>(column.label.size()));
    }
    json.writer().EndArray();
    const auto& all = engine_.book().all();
    json.number("peers", static_cast<u64>(std::count_if(all.begin(), all.end(), [&](const auto& p) {
                  return p->session.established() && p->table(no) != nullptr;
                })));
    json.writer().EndObject();
  }
  json.writer().EndArray();
  return fine(json.take());
}

Answer Entries::peers(SegmentMs now) const {
  constexpr std::string_view kLesson[]{"none", "running", "complete", "partial"};
  Json json;
  json.writer().StartArray();
  for (const auto& peer : engine_.book().all()) {
    const peers::Session& session = peer->session;
    const peers::SessionCounters& counters = session.counters();
    const bool known = peer->no != kNoPeer;
    const auto lesson = [&](shm::PeerCounter c) {
      return kLesson[known ? std::min<u64>(writer_.peer_counter(peer->no, c), 3) : 0];
    };
    json.writer().StartObject();
    json.text("name", peer->identity.remote_name);
    json.text("own_name", peer->identity.local_name);
    json.text("address", peer->endpoint.text);
    json.number("pid", peer->identity.pid);
    json.text("direction", peer->outgoing ? "out" : "in");
    json.text("status", session.established() ? "ESTA" : "CONN");  // as HAProxy's show peers
    json.number("connected_ms", now - std::min(now, peer->opened_ms));
    json.number("silent_ms", now - std::min<SegmentMs>(
                                       now, std::max(session.last_received_ms(), peer->opened_ms)));
    json.text("lesson_in", lesson(shm::PeerCounter::lesson_in));
    json.text("lesson_out", lesson(shm::PeerCounter::lesson_out));
    json.number("updates_in", counters.updates_in);
    json.number("updates_out", counters.updates_out);
    json.number("lag", session.established() ? engine_.relay().lag(*peer) : 0);
    json.number("pending_bytes", peer->pending_bytes());
    const auto tables = session.tables();
    json.number("tables", static_cast<u64>(std::count_if(tables.begin(), tables.end(),
                                                         [](const auto& t) { return t->usable; })));
    json.writer().EndObject();
  }
  json.writer().EndArray();
  return fine(json.take());
}

Result<engine::CellValue> Entries::value_of(const shm::TableDefinition& definition,
                                            const EntryValue& given) {
  constexpr std::string_view kPrefix = "data.";
  std::string_view told = given.name;
  told.remove_prefix(told.starts_with(kPrefix) ? kPrefix.size() : 0);
  const Result<std::string> name = view::column_name(told);
  if (!name) {
    return name.error();
  }
  const std::optional<view::Column> column = view::find_column(definition, *name);
  if (!column) {
    return invalid(fmt::format("table {} does not store {}", definition.name, *name));
  }
  engine::CellValue value{column->bit, column->element, 0};
  if (shm::data_type(column->bit).local) {
    return invalid(fmt::format("{}: HAProxy counts it itself and takes it from nobody", *name));
  }
  if (column->kind == ValueKind::kDictionary) {
    if (given.value.empty() || given.value == "-") {
      return invalid(fmt::format(
          "{}: allowed: a server's name; the peers protocol cannot take one away", *name));
    }
    value.value = writer_.intern(cli::unescaped(given.value));
    return value.value == 0 ? Result<engine::CellValue>(
                                  Error{ErrorCode::kExhausted,
                                        fmt::format("{}: there is no room for more names", *name)})
                            : value;
  }
  const std::optional<view::Number> number = view::parse_number(given.value);
  const bool is_signed = column->kind == ValueKind::kS32;
  const view::Number least =
      view::Number::of_signed(is_signed ? std::numeric_limits<i32>::min() : 0);
  const view::Number most = is_signed                         ? view::Number::of(0x7fff'ffff)
                            : column->kind == ValueKind::kU64 ? view::Number::of(~u64{0})
                                                              : view::Number::of(0xffff'ffff);
  if (!number || *number < least || *number > most) {
    return invalid(fmt::format("{}: '{}' is not allowed; allowed: a number from {} to {}", *name,
                               cli::escaped(given.value.substr(0, 100)),
                               static_cast<i64>(least.low), most.low));
  }
  value.value = number->low;
  return value;
}

Answer Entries::set(const Command& command, SegmentMs now) {
  engine::Editor& editor = engine_.editor();
  const Result<shm::Table*> table = editor.find(command.table);
  if (!table) {
    return no(table.error());
  }
  const shm::TableDefinition& definition = (*table)->info().definition;
  const Result<std::string> key = key_of(definition, command.key.value_or(""));
  if (!key) {
    return no(key.error());
  }
  std::vector<engine::CellValue> values;
  for (const EntryValue& given : command.values) {
    const Result<engine::CellValue> value = value_of(definition, given);
    if (!value) {
      return no(value.error());
    }
    values.push_back(*value);
  }
  const Result<bool> created = editor.set(**table, bytes_of(*key), values, command.expire_ms, now);
  return created ? fine(fmt::format(R"({{"created":{}}})", *created)) : no(created.error());
}

void Entries::clear(const Command& command, SegmentMs now, const Done& done) {
  engine::Editor& editor = engine_.editor();
  const Result<shm::Table*> table = editor.find(command.table);
  if (!table) {
    return done(no(table.error()));
  }
  const shm::TableDefinition& definition = (*table)->info().definition;
  const auto cleared = [](u64 n) { return fine(fmt::format(R"({{"cleared":{}}})", n)); };
  if (command.key) {
    const Result<std::string> key = key_of(definition, *command.key);
    return done(key ? cleared(editor.clear(**table, bytes_of(*key), now) ? 1 : 0)
                    : no(key.error()));
  }
  const Result<std::vector<view::Condition>> conditions = view::parse_filters(command.filters);
  if (!conditions) {
    return done(no(conditions.error()));
  }
  const Result<view::Filter> filter = view::Filter::bind(*conditions, definition);
  if (!filter) {
    return done(no(invalid(filter.error().what)));
  }
  engine::Editor::Matches matches;
  if (!filter->empty()) {
    matches = [filter = *filter, &writer = writer_](const shm::EntryView& entry, Tick tick) {
      return filter.matches(entry, tick, [&](u32 id) { return writer.dictionary_text(id); });
    };
  }
  editor.clear(**table, std::move(matches),
               [cleared, done](const Result<u64>& n) { done(n ? cleared(*n) : no(n.error())); });
}

}  // namespace lineq::control
