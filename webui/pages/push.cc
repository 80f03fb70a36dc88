#include "webui/pages/push.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>

#include "webui/http/router.h"
#include "webui/http/websocket.h"
#include "webui/pages/entry_json.h"
#include "webui/pages/text.h"

namespace lineq::pages {
namespace {

// A message is ended when it has become so long.
constexpr std::size_t kMessageBytes = 32768;
// Changes looked at for one message, told or not.
constexpr u32 kLooks = 4096;
// Looks at an entry whose slot the writer is inside of.
constexpr int kPatience = 16;

struct Query {
  std::vector<std::string> tables;
  bool typed = false;
  bool initial = true;
};

Result<Query> parse(std::string_view text) {
  Query query;
  for (const auto& pair : http::query_pairs(text)) {
    const std::string& name = pair.first;
    const std::string& value = pair.second;
    std::string scratch;
    const auto wrong = [&scratch, &name = name, &value = value](std::string_view allowed) {
      return Error{ErrorCode::kInvalid, fmt::format("{}: '{}' is not allowed; allowed: {}", name,
                                                    escaped_view(value, scratch), allowed)};
    };
    if (name == "table") {
      if (query.tables.size() == Push::kMaxTables) {
        return Error{
            ErrorCode::kInvalid,
            fmt::format("table: at most {} may be named; none means all", Push::kMaxTables)};
      }
      query.tables.push_back(value);
    } else if (name == "format") {
      if (value != "v1" && value != "v2") {
        return wrong("v1, v2");
      }
      query.typed = value == "v2";
    } else if (name == "initial") {
      if (value != "0" && value != "1") {
        return wrong("0, 1");
      }
      query.initial = value == "1";
    } else {
      return Error{ErrorCode::kInvalid,
                   fmt::format("'{}' is not known here; known: table, format, initial",
                               escaped_view(name, scratch))};
    }
  }
  return query;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += fmt::format("%{:02X}", static_cast<u8>(c));
  }
  return out;
}

// Changes with every update, also when the values stay the same.
u64 digest_of(const shm::EntryView& entry) {
  u64 hash = 0xcbf29ce484222325;
  for (u32 i = 0; i < entry.geometry().used_bytes / 8; ++i) {
    hash = (hash ^ entry.words()[i]) * 0x100000001b3;
    hash ^= hash >> 29;
  }
  return hash | 1;
}

}  // namespace

class Push::Subscription final : public http::Messages, public live::Changes::Follower {
 public:
  Subscription(Push& push, Query query)
      : push_(push), query_(std::move(query)), snapshots_(query_.initial) {}

  void open(std::function<void()> wake) override {
    wake_ = std::move(wake);
    push_.changes_.add(*this, true);
    life_ = push_.changes_.life();
    gone_ = push_.gone_;
    position_ = push_.changes_.now();
    wake_();
  }

  void looked() override {
    if (watch_ != nullptr ? watch_due() : stream_ != nullptr || mirror_due()) {
      wake_();
    }
  }

  Next next(std::string& out) override {
    if (push_.segment_.reader() == nullptr) {
      return Next::kNothing;
    }
    push_.tables();
    if (stream_ != nullptr) {
      return stream(out);
    }
    if (watch_ != nullptr) {
      return tell_watched(out);
    }
    if (life_ != push_.changes_.life() || gone_ != push_.gone_ || lost()) {
      life_ = push_.changes_.life();
      gone_ = push_.gone_;
      resync_ = true;
    }
    if (resync_) {
      resync_ = false;
      position_ = push_.changes_.now();
      snapshots_ = query_.initial;
      snapshot_ = 0;
      out = R"({"mode":"resync"})";
      return Next::kWhole;
    }
    if (snapshots_) {
      return begin_stream(out);
    }
    return tell_changes(out);
  }

  std::optional<std::pair<u16, std::string>> hear(std::string_view text) override {
    const auto refuse = [](std::string reason) {
      return std::pair<u16, std::string>(http::kPolicyViolation, std::move(reason));
    };
    rapidjson::Document document;
    // Not by recursion: a stranger says how deep it is.
    document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
    if (document.HasParseError()) {
      return refuse(fmt::format("no JSON: {} at byte {}",
                                rapidjson::GetParseError_En(document.GetParseError()),
                                document.GetErrorOffset()));
    }
    if (!document.IsObject() || document.MemberCount() != 1 || !document.HasMember("watch")) {
      return refuse(R"(only {"watch":{"table":"name","ids":[base64,...]}} is understood)");
    }
    const rapidjson::Value& watch = document["watch"];
    if (watch.IsNull()) {
      watch_.reset();
      resync_ = true;
      push_.changes_.add(*this, true);
      wake_();
      return std::nullopt;
    }
    if (!watch.IsObject() || watch.MemberCount() != 2 || !watch.HasMember("table") ||
        !watch["table"].IsString() || !watch.HasMember("ids") || !watch["ids"].IsArray()) {
      return refuse("watch: an object with table, a text, and ids, a list of base64");
    }
    const rapidjson::Value& ids = watch["ids"];
    if (ids.Size() > kMaxWatched) {
      return refuse(fmt::format("watch: {} ids, at most {} are allowed", ids.Size(), kMaxWatched));
    }
    auto wanted = std::make_unique<Watch>();
    const std::string_view name(watch["table"].GetString(), watch["table"].GetStringLength());
    const NamedTable* table = find_table(push_.tables(), name);
    if (table == nullptr || !selected(table->info->no)) {
      std::string scratch;
      return refuse(fmt::format("watch: there is no table '{}' here", escaped_view(name, scratch)));
    }
    wanted->table = table->name;
    for (const rapidjson::Value& id : ids.GetArray()) {
      Watched one;
      if (!id.IsString() || !base64_decoded({id.GetString(), id.GetStringLength()}, one.key)) {
        return refuse(fmt::format("watch: id {} is not base64", wanted->entries.size()));
      }
      wanted->entries.push_back(std::move(one));
    }
    watch_ = std::move(wanted);
    stream_begun_ = stream_ != nullptr && stream_begun_;
    if (!stream_begun_) {
      stream_.reset();
    }
    snapshots_ = false;
    push_.changes_.add(*this, false);
    wake_();
    return std::nullopt;
  }

 private:
  struct Watched {
    std::string key;
    u64 told = kNothingTold;  // digest of what was told
  };
  static constexpr u64 kNothingTold = 0;
  static constexpr u64 kToldAbsent = 2;  // digests are odd
  struct Watch {
    std::string table;
    std::vector<Watched> entries;
    std::size_t at = 0;  // of the round under way
    bool round = true;   // one is under way
    bool again = false;  // an entry could not be read
    u64 position = 0;    // when it began
    u64 life = 0;
    u64 directory = 0;
    u64 tick = 0;
    std::vector<std::string> removed;
  };

  // ---- tables ----------------------------------------------------------------------------------

  const std::vector<u16>& selection() {
    const std::vector<NamedTable>& tables = push_.tables();
    if (selection_of_ != push_.made_) {
      selection_of_ = push_.made_;
      selection_.clear();
      for (const std::string& name : query_.tables) {
        if (const NamedTable* table = find_table(tables, name)) {
          selection_.push_back(table->info->no);
        }
      }
      std::sort(selection_.begin(), selection_.end());
    }
    return selection_;
  }
  bool selected(u16 table) {
    return query_.tables.empty() ||
           std::binary_search(selection().begin(), selection().end(), table);
  }

  bool mirror_due() {
    const live::Changes& changes = push_.changes_;
    if (resync_ || snapshots_ || life_ != changes.life() ||
        push_.directory_ != changes.directory()) {
      return true;
    }
    if (query_.tables.empty()) {
      return changes.now() > position_;
    }
    return std::any_of(selection().begin(), selection().end(),
                       [&](u16 table) { return changes.last_change(table) > position_; });
  }
  bool lost() {
    const live::Changes& changes = push_.changes_;
    if (query_.tables.empty()) {
      return changes.lost(position_);
    }
    return std::any_of(selection().begin(), selection().end(),
                       [&](u16 table) { return changes.lost(position_, table); });
  }

  // ---- {"mode":"tables"} -----------------------------------------------------------------------

  Next begin_stream(std::string& out) {
    const std::size_t all = query_.tables.empty() ? 1 : query_.tables.size();
    while (snapshot_ < all) {
      std::string query = query_.typed ? "format=v2" : "";
      if (!query_.tables.empty()) {
        query += "&table=" + percent_encoded(query_.tables[snapshot_]);
      }
      ++snapshot_;
      http::Request request;
      request.query = query;
      // Without a stream: the table went.
      stream_ = tables_reply(push_.segment_, request, push_.sorts_).stream;
      stream_begun_ = false;
      if (stream_ != nullptr) {
        return stream(out);
      }
    }
    snapshots_ = false;
    return tell_changes(out);
  }

  Next stream(std::string& out) {
    const http::Stream::Next next = stream_->next(out);
    switch (next) {
      case http::Stream::Next::kMore:
        stream_begun_ = stream_begun_ || !out.empty();
        return out.empty() ? Next::kLater : Next::kPart;
      case http::Stream::Next::kEnd:
        stream_.reset();
        return Next::kWhole;
      case http::Stream::Next::kAborted:
        break;
    }
    stream_.reset();
    if (stream_begun_) {
      return Next::kBroken;
    }
    out.clear();
    resync_ = true;
    return Next::kLater;
  }

  // ---- update and remove -----------------------------------------------------------------------

  void begin_message(Json& json, EntryJson& write, std::string_view mode, const NamedTable& table) {
    json.object();
    json.field("mode", mode);
    if (query_.typed) {
      json.field("format", u64{2});
      json.field("table", table.name);
    } else {
      json.key(table.name);
      json.object();
    }
    if (mode == "remove") {
      json.key("ids");
    } else {
      if (!query_.typed) {
        json.field("expiry", push_.segment_.reader()->stats(*table.info).expire_ms);
        write.vtypes(table.info->definition, push_.columns(*table.info));
      }
      json.key("entries");
    }
    json.array();
  }
  Next end_message(Json& json, std::string& out) const {
    json.end_array();
    if (!query_.typed) {
      json.end_object();
    }
    json.end_object();
    json.take(out);
    return Next::kWhole;
  }
  void entry(Json& json, EntryJson& write, const NamedTable& table, const shm::EntryView& entry) {
    const shm::Reader& reader = *push_.segment_.reader();
    const Tick now = tick_of(reader.now());
    json.object();
    write.name(entry);
    if (query_.typed) {
      write.typed(reader, entry, push_.columns(*table.info), now);
    } else {
      write.value(reader, entry, push_.columns(*table.info), now);
    }
    json.end_object();
  }
  static void id(Json& json, std::string_view key, std::string& scratch) {
    scratch.clear();
    append_base64({reinterpret_cast<const u8*>(key.data()), key.size()}, scratch);
    json.text(scratch);
  }

  Next tell_changes(std::string& out) {
    shm::Reader& reader = *push_.segment_.reader();
    Json json;
    EntryJson write(json);
    const NamedTable* table = nullptr;  // of the message
    bool removing = false;
    bool stuck = false;
    std::string scratch;
    const auto fits = [&](const live::Changes::Change& change, const NamedTable& of) {
      if (table == nullptr) {
        table = &of;
        removing = change.removed != nullptr;
        begin_message(json, write, removing ? "remove" : "update", of);
        return true;
      }
      return table == &of && removing == (change.removed != nullptr) &&
             json.bytes() < kMessageBytes;
    };
    const bool all =
        push_.changes_.walk(position_, kLooks, [&](const live::Changes::Change& change) {
          const NamedTable* of = selected(change.table) ? push_.table(change.table) : nullptr;
          if (of == nullptr) {
            return true;
          }
          if (change.removed != nullptr) {
            if (!fits(change, *of)) {
              return false;
            }
            id(json, *change.removed, scratch);
            return true;
          }
          shm::SlotCopy copy;
          shm::EntryView now;
          shm::Lookup found = shm::Lookup::kBusy;
          for (int i = 0; i < kPatience && found == shm::Lookup::kBusy; ++i) {
            found = reader.read_slot(*of->info, change.slot, copy, now);
          }
          if (found != shm::Lookup::kFound) {
            // Gone: that is told by another change. Busy: the writer was interrupted there.
            stuck = found == shm::Lookup::kBusy;
            return !stuck;
          }
          if (!fits(change, *of)) {
            return false;
          }
          entry(json, write, *of, now);
          return true;
        });
    if (table != nullptr) {
      return end_message(json, out);
    }
    return all || stuck ? Next::kNothing : Next::kLater;
  }

  // ---- watching --------------------------------------------------------------------------------

  bool watch_due() {
    const live::Changes& changes = push_.changes_;
    Watch& w = *watch_;
    if (w.round || !w.removed.empty()) {
      return true;
    }
    if (changes.ticks() < w.tick + kWatchTicks) {
      return false;
    }
    if (w.again || w.life != changes.life() || w.directory != changes.directory()) {
      return true;
    }
    const NamedTable* table = find_table(push_.tables(), w.table);
    return table != nullptr && changes.last_change(table->info->no) > w.position;
  }

  Next tell_watched(std::string& out) {
    const live::Changes& changes = push_.changes_;
    Watch& w = *watch_;
    const NamedTable* table = find_table(push_.tables(), w.table);
    if (!w.removed.empty()) {
      return tell_removed(out, table);
    }
    if (!w.round && !watch_due()) {
      return Next::kNothing;
    }
    if (w.at == 0) {
      w.round = true;
      w.again = false;
      w.position = changes.now();
      w.life = changes.life();
      w.directory = changes.directory();
      w.tick = changes.ticks();
    }
    Json json;
    EntryJson write(json);
    bool begun = false;
    while (w.at < w.entries.size() && json.bytes() < kMessageBytes) {
      Watched& one = w.entries[w.at++];
      shm::SlotCopy copy;
      shm::EntryView now;
      const shm::Lookup found = look(table, one.key, copy, now);
      if (found == shm::Lookup::kBusy) {
        w.again = true;
        continue;
      }
      const u64 digest = found == shm::Lookup::kFound ? digest_of(now) : kToldAbsent;
      if (digest == one.told) {
        continue;
      }
      one.told = digest;
      if (found == shm::Lookup::kAbsent) {
        w.removed.push_back(one.key);
        continue;
      }
      if (!begun) {
        begun = true;
        begin_message(json, write, "update", *table);
      }
      entry(json, write, *table, now);
    }
    if (w.at == w.entries.size()) {
      w.at = 0;
      w.round = false;
    }
    if (begun) {
      return end_message(json, out);
    }
    return w.removed.empty() ? (w.round ? Next::kLater : Next::kNothing) : tell_removed(out, table);
  }

  shm::Lookup look(const NamedTable* table, std::string_view key, shm::SlotCopy& copy,
                   shm::EntryView& out) {
    shm::Lookup found = table == nullptr ? shm::Lookup::kAbsent : shm::Lookup::kBusy;
    for (int i = 0; i < kPatience && found == shm::Lookup::kBusy; ++i) {
      found = push_.segment_.reader()->lookup(
          *table->info, {reinterpret_cast<const u8*>(key.data()), key.size()}, copy, out);
    }
    return found;
  }

  Next tell_removed(std::string& out, const NamedTable* table) {
    Watch& w = *watch_;
    Json json;
    EntryJson write(json);
    const NamedTable gone{w.table, nullptr};
    begin_message(json, write, "remove", table == nullptr ? gone : *table);
    std::string scratch;
    for (const std::string& key : w.removed) {
      id(json, key, scratch);
    }
    w.removed.clear();
    return end_message(json, out);
  }

  Push& push_;
  Query query_;
  std::function<void()> wake_;
  u64 life_ = 0;
  u64 gone_ = 0;
  u64 position_ = 0;
  bool resync_ = false;
  bool snapshots_;  // of the tables are to be told
  bool stream_begun_ = false;
  std::size_t snapshot_ = 0;  // the next of them
  std::unique_ptr<http::Stream> stream_;
  std::unique_ptr<Watch> watch_;
  u64 selection_of_ = 0;
  std::vector<u16> selection_;
};

const std::vector<NamedTable>& Push::tables() {
  const shm::Reader* reader = segment_.reader();
  // They point into what the reader has, which may have moved before changes_ looked at it.
  if (reader == nullptr ||
      (directory_ == changes_.directory() && made_of_ == reader->tables().data())) {
    return tables_;
  }
  directory_ = changes_.directory();
  made_of_ = reader->tables().data();
  ++made_;
  tables_ = named_tables(reader->tables());
  columns_.clear();
  std::vector<std::pair<u16, u32>> now;
  for (const NamedTable& table : tables_) {
    now.emplace_back(table.info->no, table.info->id);
  }
  if (!std::includes(now.begin(), now.end(), known_.begin(), known_.end())) {
    ++gone_;
  }
  known_ = std::move(now);
  return tables_;
}

// In order of number, as Reader::tables().
const NamedTable* Push::table(u16 no) {
  const auto found =
      std::lower_bound(tables_.begin(), tables_.end(), no,
                       [](const NamedTable& t, u16 number) { return t.info->no < number; });
  return found == tables_.end() || found->info->no != no ? nullptr : &*found;
}

const std::vector<view::Column>& Push::columns(const shm::TableInfo& table) {
  const auto [found, fresh] = columns_.try_emplace(table.no);
  if (fresh) {
    found->second = view::columns_of(table.definition);
  }
  return found->second;
}

http::Reply Push::answer(const http::Request& request) {
  if (auto refused = http::refuse_websocket(request)) {
    return std::move(*refused);
  }
  Result<Query> query = parse(request.query);
  if (!query) {
    return http::text_reply(400, query.error().what);
  }
  const shm::Reader* reader = segment_.reader();
  if (reader == nullptr) {
    return http::text_reply(503, segment_.trouble());
  }
  if (!query->tables.empty()) {
    const std::vector<NamedTable> all = named_tables(reader->tables());
    for (const std::string& name : query->tables) {
      if (find_table(all, name) == nullptr) {
        std::string scratch;
        return http::text_reply(
            404, fmt::format("There is no table '{}'.", escaped_view(name, scratch)));
      }
    }
  }
  http::Reply reply;
  reply.status = 101;
  reply.body = http::upgrade_head(*request.field("Sec-WebSocket-Key"));
  reply.messages = std::make_unique<Subscription>(*this, query.take());
  return reply;
}

}  // namespace lineq::pages
