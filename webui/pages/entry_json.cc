#include "webui/pages/entry_json.h"

#include <algorithm>

#include <fmt/format.h>

#include "webui/pages/text.h"

namespace lineq::pages {

using view::Column;

void EntryJson::id(std::span<const u8> key) {
  json_.key("id");
  text_.clear();
  append_base64(key, text_);
  json_.text(text_);
}

void EntryJson::key(const shm::EntryView& entry) {
  json_.field("key", key_view(entry.definition(), entry.key_chars(), scratch_));
}

void EntryJson::vtypes(const shm::TableDefinition& definition, const Columns& columns) {
  json_.field("type", shm::key_type_name(definition.key_type));
  text_.clear();
  for (const Column& column : columns) {
    text_.append(column.indexed).append("  ");
  }
  json_.field("vtypes", text_);
}

void EntryJson::value(const shm::Reader& reader, const shm::EntryView& entry,
                      const Columns& columns, Tick now) {
  text_.clear();
  for (const Column& c : columns) {
    switch (c.kind) {
      case shm::ValueKind::kRate:
        number(entry.rate_now(c.bit, c.element, now));
        break;
      case shm::ValueKind::kS32:
        if (const auto v = static_cast<i64>(entry.value(c.bit, c.element)); v < 0) {
          text_ += '-';
          number(static_cast<u64>(-v));
        } else {
          number(static_cast<u64>(v));
        }
        break;
      case shm::ValueKind::kDictionary:
        text_ += dictionary(reader, entry, c);
        break;
      case shm::ValueKind::kU32:
      case shm::ValueKind::kU64:
        number(entry.value(c.bit, c.element));
        break;
    }
    text_ += '\t';
  }
  json_.field("value", text_);
}

void EntryJson::number(u64 n) {
  const fmt::format_int digits(n);
  text_.append(digits.data(), digits.size());
}

std::string_view EntryJson::dictionary(const shm::Reader& reader, const shm::EntryView& entry,
                                       const Column& c) {
  return escaped_view(reader.dictionary_text(static_cast<u32>(entry.value(c.bit, c.element))),
                      scratch_);
}

void EntryJson::typed(const shm::Reader& reader, const shm::EntryView& entry,
                      const Columns& columns, Tick now) {
  json_.key("expires_ms");
  if (entry.never_expires()) {
    json_.null();
  } else {
    json_.number(entry.expire_left_ms(now));
  }
  json_.field("age_ms", static_cast<u32>(std::max(0, tick_diff(now, entry.updated_tick()))));
  json_.key("values");
  json_.object();
  values(reader, entry, columns, now);
  json_.end_object();
}

void EntryJson::values(const shm::Reader& reader, const shm::EntryView& entry,
                       const Columns& columns, Tick now) {
  for (const Column& c : columns) {
    const shm::DataType& type = shm::data_type(c.bit);
    if (c.element == 0) {
      json_.key(type.name);
      if (type.array) {
        json_.array();
      }
    }
    typed_value(reader, entry, c, now);
    if (type.array && c.element + 1 == entry.definition().elements[c.bit]) {
      json_.end_array();
    }
  }
}

void EntryJson::typed_value(const shm::Reader& reader, const shm::EntryView& entry, const Column& c,
                            Tick now) {
  switch (c.kind) {
    case shm::ValueKind::kRate:
      json_.number(entry.rate_now(c.bit, c.element, now));
      break;
    case shm::ValueKind::kS32:
      json_.signed_number(static_cast<i64>(entry.value(c.bit, c.element)));
      break;
    case shm::ValueKind::kDictionary:
      if (entry.value(c.bit, c.element) == 0) {
        json_.null();
      } else {
        json_.text(dictionary(reader, entry, c));
      }
      break;
    case shm::ValueKind::kU32:
    case shm::ValueKind::kU64:
      json_.number(entry.value(c.bit, c.element));
      break;
  }
}

}  // namespace lineq::pages
