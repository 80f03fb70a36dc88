#include "tools/lineq_dump/format.h"

#include <algorithm>
#include <array>
#include <iterator>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/view/peer_tables.h"

namespace lineq::dump {
namespace {

using cli::printable;

constexpr std::string_view kCsvEnd = "\r\n";
constexpr std::string_view kUpperHex = "0123456789ABCDEF";
constexpr std::string_view kLowerHex = "0123456789abcdef";

// A string with Output's way to append.
struct Text {
  std::string text;
  void put(std::string_view more) { text += more; }
  void put(char c) { text += c; }
};

constexpr u8 byte(char c) {
  return static_cast<u8>(c);
}

template <typename Sink>
void put_unicode(Sink& out, u32 code) {
  const std::array<char, 6> unit{'\\',
                                 'u',
                                 kLowerHex[code >> 12 & 15],
                                 kLowerHex[code >> 8 & 15],
                                 kLowerHex[code >> 4 & 15],
                                 kLowerHex[code & 15]};
  out.put({unit.data(), unit.size()});
}

template <typename Sink>
void write_json(Sink& out, std::string_view text) {
  out.put('"');
  std::size_t plain = 0;  // begin of what can be copied as it is
  for (std::size_t i = 0; i < text.size();) {
    const u8 c = byte(text[i]);
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      ++i;
      continue;
    }
    out.put(text.substr(plain, i - plain));
    std::size_t length = 1;
    if (c == '"' || c == '\\') {
      out.put('\\');
      out.put(text[i]);
    } else {
      constexpr u32 kReplacement = 0xfffd;
      const cli::Utf8 decoded = cli::decode_utf8(text, i);
      length = std::max<std::size_t>(decoded.length, 1);
      const u32 code = decoded.length == 0 ? kReplacement : decoded.code;
      if (code < 0x10000) {
        put_unicode(out, code);
      } else {
        put_unicode(out, 0xd800 + ((code - 0x10000) >> 10));
        put_unicode(out, 0xdc00 + ((code - 0x10000) & 0x3ff));
      }
    }
    i += length;
    plain = i;
  }
  out.put(text.substr(plain));
  out.put('"');
}

std::string json_text(std::string_view text) {
  Text out;
  write_json(out, text);
  return std::move(out.text);
}

// Text of integer, ip, ipv6; `buffer` holds it.
using KeyBuffer = std::array<char, INET6_ADDRSTRLEN>;
std::string_view number_key(shm::KeyType type, std::span<const u8> key, KeyBuffer& buffer) {
  if (type == shm::KeyType::kInteger && key.size() >= 4) {
    const u32 n = u32{key[0]} << 24 | u32{key[1]} << 16 | u32{key[2]} << 8 | key[3];
    char* const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), n).ptr;
    return {buffer.data(), static_cast<std::size_t>(end - buffer.data())};
  }
  const bool v4 = type == shm::KeyType::kIp && key.size() >= 4;
  const bool v6 = type == shm::KeyType::kIpv6 && key.size() >= 16;
  if ((v4 || v6) && ::inet_ntop(v4 ? AF_INET : AF_INET6, key.data(), buffer.data(),
                                static_cast<socklen_t>(buffer.size())) != nullptr) {
    return buffer.data();
  }
  return {};
}

void put_hex(Output& out, std::span<const u8> bytes) {
  for (const u8 b : bytes) {
    out.put(kUpperHex[b >> 4]);
    out.put(kUpperHex[b & 15]);
  }
}

std::string_view lesson_name(u64 lesson) {
  constexpr std::array<std::string_view, 4> kNames{"-", "running", "complete", "partial"};
  return lesson < kNames.size() ? kNames[lesson] : "?";
}

std::string_view state_name(shm::PeerState state) {
  constexpr std::array<std::string_view, 4> kNames{"free", "connecting", "up", "down"};
  const auto i = static_cast<std::size_t>(state);
  return i < kNames.size() ? kNames[i] : "?";
}

}  // namespace

std::optional<Format> format_by_name(std::string_view name) {
  constexpr std::array<std::string_view, 4> kNames{"text", "json", "jsonl", "csv"};
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  return found == kNames.end() ? std::nullopt
                               : std::optional(static_cast<Format>(found - kNames.begin()));
}

// ---- pieces ------------------------------------------------------------------------------------

void put_text(Output& out, std::string_view text) {
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c > ' ' && c < 0x7f && c != '\\' && c != '=') {
      continue;
    }
    out.put(text.substr(plain, i - plain));
    plain = i + 1;
    out.put('\\');
    switch (c) {
      case ' ':
      case '\\':
      case '=':
        out.put(c);
        break;
      case '\t':
        out.put('t');
        break;
      case '\n':
        out.put('n');
        break;
      case '\r':
        out.put('r');
        break;
      case '\x1b':
        out.put('e');
        break;
      default:
        out.put('x');
        out.put(kUpperHex[byte(c) >> 4]);
        out.put(kUpperHex[byte(c) & 15]);
    }
  }
  out.put(text.substr(plain));
}

std::string unescape_text(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      bytes += text[i];
      continue;
    }
    const char c = text[++i];
    u8 code = 0;
    if (c == 'x' && text.size() - i > 2 &&
        std::from_chars(&text[i + 1], &text[i] + 3, code, 16).ptr == &text[i] + 3) {
      bytes += static_cast<char>(code);
      i += 2;
      continue;
    }
    bytes += c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 'e' ? '\x1b' : c;
  }
  return bytes;
}

std::string duration_text(u64 ms) {
  const u64 s = ms / 1000;
  if (s < 60) {
    return fmt::format("{}s", s);
  }
  if (s < 3600) {
    return fmt::format("{}m{:02}s", s / 60, s % 60);
  }
  if (s < 86400) {
    return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  }
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

void put_json(Output& out, std::string_view text) {
  write_json(out, text);
}

bool valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = byte(text[i]) < 0x80 ? 1 : cli::decode_utf8(text, i).length;
    if (length == 0) {
      return false;
    }
    i += length;
  }
  return true;
}

void put_base64(Output& out, std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(bytes.size() - i, 3);
    const u32 b0 = byte(bytes[i]);
    const u32 b1 = n > 1 ? byte(bytes[i + 1]) : 0;
    const u32 b2 = n > 2 ? byte(bytes[i + 2]) : 0;
    const std::array<char, 4> digits{kDigits[b0 >> 2], kDigits[(b0 << 4 | b1 >> 4) & 63],
                                     n > 1 ? kDigits[(b1 << 2 | b2 >> 6) & 63] : '=',
                                     n > 2 ? kDigits[b2 & 63] : '='};
    out.put({digits.data(), digits.size()});
  }
}

void put_csv(Output& out, std::string_view text) {
  const bool quote = text.find_first_of(",\"\r\n") != std::string_view::npos ||
                     text.starts_with(' ') || text.ends_with(' ');
  if (!quote) {
    out.put(text);
    return;
  }
  out.put('"');
  for (const char c : text) {
    if (c == '"') {
      out.put('"');
    }
    out.put(c);
  }
  out.put('"');
}

void put_key_text(Output& out, const shm::EntryView& entry) {
  const shm::KeyType type = entry.definition().key_type;
  if (type == shm::KeyType::kString) {
    put_text(out, entry.key_chars());
  } else if (type == shm::KeyType::kBinary) {
    put_hex(out, entry.key());
  } else {
    KeyBuffer buffer;
    out.put(number_key(type, entry.key(), buffer));
  }
}

// ---- tables and entries ------------------------------------------------------------------------

void Printer::begin(std::span<const shm::TableInfo* const> tables, bool with_entries) {
  with_entries_ = with_entries;
  first_table_ = true;
  if (format_ == Format::kJson) {
    out_.put(R"({"tables":[)");
  }
  if (format_ != Format::kCsv) {
    return;
  }
  if (!with_entries) {
    out_.put("table,type,key_bytes,expire_ms,size,used,store");
    out_.put(kCsvEnd);
    return;
  }
  csv_columns_.clear();
  for (const shm::TableInfo* table : tables) {
    for (Column& column : columns_of(table->definition)) {
      if (std::find(csv_columns_.begin(), csv_columns_.end(), column.label) == csv_columns_.end()) {
        csv_columns_.push_back(std::move(column.label));
      }
    }
  }
  out_.put("table,key,key_base64,expire_ms");
  for (const std::string& column : csv_columns_) {
    out_.put(',');
    out_.put(column);
  }
  out_.put(kCsvEnd);
}

void Printer::table(const shm::TableInfo& table) {
  table_ = &table;
  first_entry_ = true;
  fields_.clear();
  if (with_entries_) {
    for (Column& column : columns_of(table.definition)) {
      Field field;
      const shm::DataType& type = shm::data_type(column.bit);
      if (format_ == Format::kText) {
        field.before = fmt::format(" {}=", column.label);
      } else if (column.element != 0) {
        field.before.assign(1, ',');
      } else {
        field.before = fmt::format(R"({}"{}":{})", fields_.empty() ? "" : ",", type.name,
                                   type.array ? "[" : "");
      }
      field.array_ends = type.array && column.element + 1 == table.definition.elements[column.bit];
      field.column = std::move(column);
      fields_.push_back(std::move(field));
    }
  }
  switch (format_) {
    case Format::kText:
      table_text(table);
      break;
    case Format::kJson:
    case Format::kJsonLines:
      table_json(table);
      break;
    case Format::kCsv:
      table_csv(table);
      break;
  }
}

void Printer::entry(const shm::EntryView& entry, Tick now) {
  switch (format_) {
    case Format::kText:
      entry_text(entry, now);
      break;
    case Format::kJson:
    case Format::kJsonLines:
      entry_json(entry, now);
      break;
    case Format::kCsv:
      entry_csv(entry, now);
      break;
  }
}

void Printer::end() {
  if (format_ == Format::kJson) {
    out_.put(table_open_ ? "\n]}\n]}\n" : "\n]}\n");
    table_open_ = false;
  }
}

void Printer::address(const shm::TableInfo& table, u32 slot) {
  out_.put("0x");
  out_.hex((u64{table.no} + 1) << 32 | slot);
}

void Printer::value(const Field& field, const shm::EntryView& entry, Tick now) {
  const Column& column = field.column;
  switch (column.kind) {
    case shm::ValueKind::kS32:
      out_.signed_number(static_cast<i64>(entry.value(column.bit)));
      return;
    case shm::ValueKind::kRate:
      out_.number(entry.rate_now(column.bit, column.element, now));
      return;
    case shm::ValueKind::kDictionary: {
      const u64 id = entry.value(column.bit);
      const std::string_view text = reader_.dictionary_text(static_cast<u32>(id));
      if (format_ == Format::kText) {
        text.empty() ? out_.put('-') : put_text(out_, text);
      } else if (format_ == Format::kCsv) {
        put_csv(out_, printable(text));
      } else {
        text.empty() ? out_.put("null") : put_json(out_, text);
      }
      return;
    }
    case shm::ValueKind::kU32:
    case shm::ValueKind::kU64:
      break;
  }
  out_.number(entry.value(column.bit, column.element));
}

// The HAProxy whose part this is.
std::string Printer::owner(const shm::TableInfo& table) const {
  const std::vector<shm::PeerInfo> peers = reader_.peers();
  for (std::size_t i = 0; i < peers.size(); ++i) {
    if (peers[i].no == table.scope_peer) {
      return view::peer_labels(peers)[i];
    }
  }
  return "?";
}

void Printer::table_text(const shm::TableInfo& table) {
  const shm::TableStats stats = reader_.stats(table);
  out_.put("# table: ");
  put_text(out_, table.definition.name);
  out_.put(", type: ");
  out_.put(shm::key_type_name(table.definition.key_type));
  if (table.role == shm::TableRole::kLedger) {
    out_.put(", total");
  } else {
    if (table.role == shm::TableRole::kPart) {
      out_.put(", peer: ");
      out_.put(owner(table));
    }
    out_.put(", size:");
    out_.number(stats.slots);
  }
  out_.put(", used:");
  out_.number(stats.live);
  out_.put('\n');
}

void Printer::entry_text(const shm::EntryView& entry, Tick now) {
  address(*table_, entry.slot());
  out_.put(": key=");
  put_key_text(out_, entry);
  out_.put(" use=0 exp=");
  out_.number(entry.expire_left_ms(now));
  for (const Field& field : fields_) {
    out_.put(field.before);
    value(field, entry, now);
  }
  out_.put('\n');
}

void Printer::table_json(const shm::TableInfo& table) {
  const shm::TableDefinition& definition = table.definition;
  if (format_ == Format::kJsonLines && with_entries_) {
    table_json_ = fmt::format(R"("table":{},)", json_text(definition.name));
    return;
  }
  if (format_ == Format::kJson) {
    out_.put(table_open_ ? "\n]}" : "");
    out_.put(first_table_ ? "\n" : ",\n");
    first_table_ = false;
  }
  const shm::TableStats stats = reader_.stats(table);
  fmt::memory_buffer line;
  const auto to = std::back_inserter(line);
  fmt::format_to(
      to,
      R"({{"table":{},{}"type":"{}","key_bytes":{},"expire_ms":{},"size":{},)"
      R"("used":{},"store":[)",
      json_text(definition.name),
      table.role == shm::TableRole::kLedger ? R"("total":true,)"
      : table.role == shm::TableRole::kPart ? fmt::format(R"("peer":{},)", json_text(owner(table)))
                                            : std::string(),
      shm::key_type_name(definition.key_type), definition.key_bytes,
      stats.expire_ms == 0 ? "null" : std::to_string(stats.expire_ms), stats.slots, stats.live);
  bool first = true;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!definition.has(bit)) {
      continue;
    }
    const shm::DataType& type = shm::data_type(bit);
    fmt::format_to(to, R"({}{{"name":"{}")", first ? "" : ",", type.name);
    first = false;
    if (type.array) {
      fmt::format_to(to, R"(,"elements":{})", definition.elements[bit]);
    }
    if (type.kind == shm::ValueKind::kRate) {
      fmt::format_to(to, R"(,"period_ms":{})", definition.period_ms[bit]);
    }
    fmt::format_to(to, "}}");
  }
  out_.put({line.data(), line.size()});
  table_open_ = with_entries_;
  out_.put(with_entries_ ? R"(],"entries":[)" : "]}");
  if (format_ == Format::kJsonLines) {
    out_.put('\n');
  }
}

void Printer::entry_json(const shm::EntryView& entry, Tick now) {
  if (format_ == Format::kJson) {
    out_.put(first_entry_ ? "\n" : ",\n");
    first_entry_ = false;
  }
  out_.put('{');
  out_.put(format_ == Format::kJson ? "" : table_json_);
  out_.put(R"("id":")");
  address(*table_, entry.slot());
  out_.put(R"(","key":)");
  const shm::KeyType type = entry.definition().key_type;
  if (type == shm::KeyType::kString) {
    put_json(out_, entry.key_chars());
    if (!valid_utf8(entry.key_chars())) {
      out_.put(R"(,"key_base64":")");
      put_base64(out_, entry.key_chars());
      out_.put('"');
    }
  } else {
    out_.put('"');
    put_key_text(out_, entry);
    out_.put('"');
  }
  out_.put(R"(,"expire_ms":)");
  if (entry.never_expires()) {
    out_.put("null");
  } else {
    out_.number(entry.expire_left_ms(now));
  }
  out_.put(R"(,"data":{)");
  for (const Field& field : fields_) {
    out_.put(field.before);
    value(field, entry, now);
    if (field.array_ends) {
      out_.put(']');
    }
  }
  out_.put(format_ == Format::kJson ? "}}" : "}}\n");
}

void Printer::table_csv(const shm::TableInfo& table) {
  const shm::TableDefinition& definition = table.definition;
  if (with_entries_) {
    csv_order_.assign(csv_columns_.size(), nullptr);
    for (const Field& field : fields_) {
      const auto at = std::find(csv_columns_.begin(), csv_columns_.end(), field.column.label);
      if (at != csv_columns_.end()) {
        csv_order_[static_cast<std::size_t>(at - csv_columns_.begin())] = &field;
      }
    }
    return;
  }
  const shm::TableStats stats = reader_.stats(table);
  put_csv(out_, printable(definition.name));
  out_.put(fmt::format(
      ",{},{},{},{},{},", shm::key_type_name(definition.key_type), definition.key_bytes,
      stats.expire_ms == 0 ? "" : std::to_string(stats.expire_ms), stats.slots, stats.live));
  std::string store;
  for (const Column& column : columns_of(definition)) {
    store += store.empty() ? "" : " ";
    store += column.label;
  }
  put_csv(out_, store);
  out_.put(kCsvEnd);
}

void Printer::entry_csv(const shm::EntryView& entry, Tick now) {
  put_csv(out_, printable(table_->definition.name));
  out_.put(',');
  const std::string_view key = entry.key_chars();
  const bool plain =
      std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c < 0x7f; });
  if (entry.definition().key_type != shm::KeyType::kString) {
    put_key_text(out_, entry);
    out_.put(',');
  } else if (plain || printable(key) == key) {
    put_csv(out_, key);
    out_.put(',');
  } else {
    put_csv(out_, printable(key));
    out_.put(',');
    put_base64(out_, key);
  }
  out_.put(',');
  if (!entry.never_expires()) {
    out_.number(entry.expire_left_ms(now));
  }
  for (const Field* field : csv_order_) {
    out_.put(',');
    if (field != nullptr) {
      value(*field, entry, now);
    }
  }
  out_.put(kCsvEnd);
}

void Printer::gone(const shm::TableInfo& table, u32 slot, std::string_view why) {
  if (format_ == Format::kText) {
    out_.put("# ");
    address(table, slot);
    out_.put(": ");
    out_.put(why);
    out_.put('\n');
  } else {
    out_.put(R"({"table":)");
    put_json(out_, table.definition.name);
    out_.put(R"(,"id":")");
    address(table, slot);
    out_.put(R"(","gone":")");
    out_.put(why);
    out_.put("\"}\n");
  }
}

// ---- HAProxys ----------------------------------------------------------------------------------

namespace {

using Row = std::vector<std::string>;

void print_aligned(Output& out, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      out.put(row[i]);
      out.put(std::string(i + 1 < row.size() ? widths[i] - row[i].size() + 2 : 0, ' '));
    }
    out.put('\n');
  }
}

u64 age(u64 since, u64 now) {
  return now > since ? now - since : 0;
}

void print_peers_text(Output& out, const std::vector<shm::PeerInfo>& peers, u64 now) {
  using shm::PeerCounter;
  std::vector<Row> rows{{"NAME", "CALLS-US", "ADDRESS", "PID", "STATE", "SINCE", "LAST",
                         "UPDATES-IN", "UPDATES-OUT", "LAG", "LEARNED", "TAUGHT", "ERRORS"}};
  for (const shm::PeerInfo& peer : peers) {
    const u64 last = peer.counter(PeerCounter::last_received_ms);
    rows.push_back({cli::escaped(peer.remote_name), cli::escaped(peer.local_name),
                    cli::escaped(peer.address), std::to_string(peer.remote_pid),
                    std::string(state_name(peer.state)), duration_text(age(peer.connected_ms, now)),
                    last == 0 ? "-" : duration_text(age(last, now)),
                    std::to_string(peer.counter(PeerCounter::updates_in)),
                    std::to_string(peer.counter(PeerCounter::updates_out)),
                    std::to_string(peer.counter(PeerCounter::lag)),
                    std::string(lesson_name(peer.counter(PeerCounter::lesson_in))),
                    std::string(lesson_name(peer.counter(PeerCounter::lesson_out))),
                    std::to_string(peer.counter(PeerCounter::protocol_errors))});
  }
  print_aligned(out, rows);
}

// What is wrong with one table of one HAProxy, in words.
std::vector<std::string> wrong_words(const view::PeerTable& row) {
  std::vector<std::string> words;
  if (row.missing) {
    words.emplace_back("missing, others have it");
  }
  if (row.conflict) {
    words.emplace_back("its definition differs");
  }
  if (row.silent) {
    words.emplace_back("silent, others are not");
  }
  if (row.refused_values != 0) {
    words.push_back(
        fmt::format("{} value{} refused", row.refused_values, row.refused_values == 1 ? "" : "s"));
  }
  return words;
}

void print_peer_tables_text(Output& out, const std::vector<shm::PeerInfo>& peers,
                            const std::vector<view::PeerTable>& tables) {
  if (tables.empty()) {
    return;
  }
  const std::vector<std::string> labels = view::peer_labels(peers);
  const auto since = [](const std::optional<u64>& ms) {
    return ms ? duration_text(*ms) : std::string("-");
  };
  std::vector<Row> rows{{"HAPROXY", "TABLE", "ANNOUNCED", "LAST-UPDATE", "UPDATES", "WRONG"}};
  for (const view::PeerTable& row : tables) {
    const std::vector<std::string> wrong = wrong_words(row);
    rows.push_back({labels[row.peer], cli::escaped(row.table->definition.name),
                    since(row.announced_ms), since(row.updated_ms), std::to_string(row.updates),
                    wrong.empty() ? "-" : fmt::format("{}", fmt::join(wrong, "; "))});
  }
  out.put('\n');
  print_aligned(out, rows);
}

std::string peer_tables_json(std::span<const view::PeerTable> tables) {
  const auto since = [](const std::optional<u64>& ms) {
    return ms ? std::to_string(*ms) : std::string("null");
  };
  std::string text = "[";
  for (const view::PeerTable& row : tables) {
    std::string wrong;
    for (const std::string& words : wrong_words(row)) {
      wrong += (wrong.empty() ? "" : ",") + json_text(words);
    }
    text += fmt::format(
        R"({}{{"table":{},"announced_age_ms":{},"last_update_age_ms":{},"updates":{},)"
        R"("refused_values":{},"wrong":[{}]}})",
        text.size() == 1 ? "" : ",", json_text(row.table->definition.name), since(row.announced_ms),
        since(row.updated_ms), row.updates, row.refused_values, wrong);
  }
  return text + "]";
}

// Name and value; text already as JSON.
std::vector<std::pair<std::string_view, std::string>> peer_members(const shm::PeerInfo& peer,
                                                                   u64 now, bool json) {
  const auto text = [json](std::string_view t) { return json ? json_text(t) : cli::escaped(t); };
  std::vector<std::pair<std::string_view, std::string>> members{
      {"name", text(peer.remote_name)},
      {"calls_us", text(peer.local_name)},
      {"address", text(peer.address)},
      {"pid", std::to_string(peer.remote_pid)},
      {"state", text(state_name(peer.state))},
      {"direction",
       text(peer.direction == shm::PeerDirection::kOutgoing ? "outgoing" : "incoming")},
      {"protocol", text(fmt::format("2.{}", peer.protocol_minor))},
      {"state_age_ms", std::to_string(age(peer.connected_ms, now))},
  };
  const u64 last = peer.counter(shm::PeerCounter::last_received_ms);
  members.emplace_back("last_message_age_ms", last != 0 ? std::to_string(age(last, now))
                                              : json    ? "null"
                                                        : "");
  for (std::size_t i = 0; i < shm::kPeerCounters.size(); ++i) {
    if (i != static_cast<std::size_t>(shm::PeerCounter::last_received_ms)) {
      members.emplace_back(shm::kPeerCounters[i].name, std::to_string(peer.counters[i]));
    }
  }
  return members;
}

}  // namespace

void print_peers(Format format, Output& out, const shm::Reader& reader) {
  const std::vector<shm::PeerInfo> peers = reader.peers();
  const u64 now = reader.now();
  const std::vector<view::PeerTable> tables = view::peer_tables(reader, peers, now);
  if (format == Format::kText) {
    print_peers_text(out, peers, now);
    print_peer_tables_text(out, peers, tables);
    return;
  }
  if (format == Format::kCsv) {
    const auto members = peer_members(shm::PeerInfo{}, now, false);
    for (std::size_t i = 0; i < members.size(); ++i) {
      out.put(i == 0 ? "" : ",");
      out.put(members[i].first);
    }
    out.put(kCsvEnd);
  }
  out.put(format == Format::kJson ? R"({"peers":[)" : "");
  bool first_peer = true;
  auto table = tables.begin();
  for (std::size_t peer_no = 0; peer_no < peers.size(); ++peer_no) {
    auto members = peer_members(peers[peer_no], now, format != Format::kCsv);
    if (format == Format::kCsv) {
      for (std::size_t i = 0; i < members.size(); ++i) {
        out.put(i == 0 ? "" : ",");
        put_csv(out, members[i].second);
      }
      out.put(kCsvEnd);
      continue;
    }
    const auto first_table = table;
    table = std::find_if(table, tables.end(),
                         [&](const view::PeerTable& row) { return row.peer != peer_no; });
    members.emplace_back("tables", peer_tables_json({first_table, table}));
    out.put(format != Format::kJson ? "" : first_peer ? "\n" : ",\n");
    first_peer = false;
    for (std::size_t i = 0; i < members.size(); ++i) {
      out.put(i == 0 ? R"({")" : R"(,")");
      out.put(members[i].first);
      out.put(R"(":)");
      out.put(members[i].second);
    }
    out.put(format == Format::kJson ? "}" : "}\n");
  }
  out.put(format == Format::kJson ? "\n]}\n" : "");
}

// ---- verification ------------------------------------------------------------------------------

void print_report(Format format, Output& out, const shm::VerifyReport& report) {
  if (format == Format::kCsv) {
    out.put("invariant,finding");
    out.put(kCsvEnd);
    for (const shm::Finding& finding : report.findings) {
      put_csv(out, printable(finding.invariant));
      out.put(',');
      put_csv(out, printable(finding.what));
      out.put(kCsvEnd);
    }
    return;
  }
  if (format == Format::kText) {
    for (const shm::Finding& finding : report.findings) {
      out.put(fmt::format("{}: {}\n", printable(finding.invariant), printable(finding.what)));
    }
    for (const shm::Finding& remark : report.remarks) {
      out.put(fmt::format("remark: {}: {}\n", printable(remark.invariant), printable(remark.what)));
    }
    const std::string found = report.clean() ? "no finding"
                                             : fmt::format("{} finding{}", report.findings.size(),
                                                           report.findings.size() == 1 ? "" : "s");
    out.put(fmt::format("{} entries in {} tables: {}\n", report.entries, report.tables, found));
    return;
  }
  out.put(fmt::format(R"({{"tables":{},"entries":{},"clean":{},"findings":[)", report.tables,
                      report.entries, report.clean()));
  const auto list = [&](const std::vector<shm::Finding>& findings) {
    bool first = true;
    for (const shm::Finding& finding : findings) {
      out.put(first ? R"({"invariant":)" : R"(,{"invariant":)");
      first = false;
      put_json(out, finding.invariant);
      out.put(R"(,"finding":)");
      put_json(out, finding.what);
      out.put('}');
    }
  };
  list(report.findings);
  out.put(R"(],"remarks":[)");
  list(report.remarks);
  out.put("]}\n");
}

}  // namespace lineq::dump
