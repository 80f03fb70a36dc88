// Tables, entries, HAProxys and findings as text, JSON or CSV.
//
// Text is what HAProxy 2.6 prints for `show table` (with `total` in place of the size for totals,
// and the HAProxy in front of it for what one alone has); the address before an entry is made of
// table and slot and stays the same while the entry lives. Keys and server names come from
// strangers: in text they are escaped as HAProxy does it (control characters, blank, '=', '\' and
// bytes that are not ASCII), JSON is pure ASCII, and a key that is not UTF-8 is there in base64
// too.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"
#include "shm/verify.h"
#include "tools/lineq_dump/output.h"
#include "tools/view/columns.h"

namespace lineq::dump {

using view::Column;
using view::columns_of;

enum class Format : u8 { kText, kJson, kJsonLines, kCsv };

std::optional<Format> format_by_name(std::string_view name);

// As HAProxy writes a string key; unescape_text() gives the bytes back.
void put_text(Output& out, std::string_view text);
std::string unescape_text(std::string_view text);
// A JSON string with its quotes, ASCII only. Bytes that are not UTF-8 become U+FFFD.
void put_json(Output& out, std::string_view text);
bool valid_utf8(std::string_view text);
void put_base64(Output& out, std::string_view bytes);
// "12s", "3m20s", "2h05m", "4d02h"
std::string duration_text(u64 ms);
// One CSV field, quoted when it has to be (RFC 4180).
void put_csv(Output& out, std::string_view text);
// The key as `key=` prints it, without allocation.
void put_key_text(Output& out, const shm::EntryView& entry);

// Prints entries, table by table:
//   begin(tables); { table(t); entry(...)...; }...; end();
// or tables alone: begin(tables); table(t)...; end().
class Printer {
 public:
  Printer(Format format, Output& out, const shm::Reader& reader)
      : format_(format), out_(out), reader_(reader) {}

  // `with_entries`: entries follow, or might. CSV needs all tables of the run at once, as its first
  // line names every column.
  void begin(std::span<const shm::TableInfo* const> tables, bool with_entries);
  void table(const shm::TableInfo& table);
  void entry(const shm::EntryView& entry, Tick now);
  // An entry printed before is not there any more; `why` is a word of ours. Text and JSON lines.
  void gone(const shm::TableInfo& table, u32 slot, std::string_view why);
  void end();

 private:
  // A column, and what is written before its value.
  struct Field {
    Column column;
    std::string before;
    bool array_begins = false;
    bool array_ends = false;
    std::size_t csv = 0;  // column of the CSV line
  };

  std::string owner(const shm::TableInfo& table) const;
  void table_text(const shm::TableInfo& table);
  void table_json(const shm::TableInfo& table);
  void table_csv(const shm::TableInfo& table);
  void entry_text(const shm::EntryView& entry, Tick now);
  void entry_json(const shm::EntryView& entry, Tick now);
  void entry_csv(const shm::EntryView& entry, Tick now);
  void value(const Field& field, const shm::EntryView& entry, Tick now);
  void address(const shm::TableInfo& table, u32 slot);

  Format format_;
  Output& out_;
  const shm::Reader& reader_;
  bool with_entries_ = false;
  bool table_open_ = false;  // JSON: its list of entries is
  bool first_table_ = true;
  bool first_entry_ = true;
  const shm::TableInfo* table_ = nullptr;
  std::vector<Field> fields_;
  std::vector<std::string> csv_columns_;
  std::vector<const Field*> csv_order_;
  std::string table_json_;  // JSON lines: `"table":"t1",`
};

// The HAProxys, known or connected; in text and JSON with their tables and what is wrong with each.
void print_peers(Format format, Output& out, const shm::Reader& reader);

void print_report(Format format, Output& out, const shm::VerifyReport& report);

}  // namespace lineq::dump
