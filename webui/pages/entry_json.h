// One entry of a table as JSON, the same wherever entries are told: members of an object that the
// caller begins and ends.
//
//   EntryJson write(json);
//   json.object(); write.name(entry); write.typed(reader, entry, columns, now); json.end_object();
//
// Keys and texts are escaped (cli::escaped), so the answer is UTF-8 whatever a stranger put into a
// cookie; `id` holds the bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shm/reader.h"
#include "tools/view/columns.h"
#include "webui/pages/json.h"

namespace lineq::pages {

class EntryJson {
 public:
  using Columns = std::vector<view::Column>;

  explicit EntryJson(Json& json) : json_(json) {}

  // "id": base64 of a key
  void id(std::span<const u8> key);
  // "key": as people know it
  void key(const shm::EntryView& entry);
  void name(const shm::EntryView& entry) {
    id(entry.key());
    key(entry);
  }

  // The original's: "type":"string","vtypes":"gpc1  " of the table, "value":"1\t" of an entry.
  void vtypes(const shm::TableDefinition& definition, const Columns& columns);
  void value(const shm::Reader& reader, const shm::EntryView& entry, const Columns& columns,
             Tick now);

  // format=v2: "expires_ms":1200,"age_ms":5,"values":{"gpc1":1}
  void typed(const shm::Reader& reader, const shm::EntryView& entry, const Columns& columns,
             Tick now);
  // ... what is in "values": a member for each data type.
  void values(const shm::Reader& reader, const shm::EntryView& entry, const Columns& columns,
              Tick now);

 private:
  std::string_view dictionary(const shm::Reader& reader, const shm::EntryView& entry,
                              const view::Column& c);
  void number(u64 n);
  void typed_value(const shm::Reader& reader, const shm::EntryView& entry, const view::Column& c,
                   Tick now);

  Json& json_;
  std::string scratch_;
  std::string text_;
};

}  // namespace lineq::pages
