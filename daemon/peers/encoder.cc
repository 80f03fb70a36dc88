#include "daemon/peers/encoder.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "daemon/peers/varint.h"
#include "shm/support/assert.h"

namespace lineq::peers {
namespace {

// Class, type and a length of one byte; a longer length moves the payload, which is rare.
constexpr size_t kHeader = 3;
constexpr size_t kLongestHeader = 2 + kMaxVarint;

u8* write_u32(u32 value, u8* out) {
  *out++ = static_cast<u8>(value >> 24);
  *out++ = static_cast<u8>(value >> 16);
  *out++ = static_cast<u8>(value >> 8);
  *out++ = static_cast<u8>(value);
  return out;
}

u8* write_bytes(const void* data, size_t size, u8* out) {
  if (size != 0) {
    std::memcpy(out, data, size);
  }
  return out + size;
}

// One table message: room for its payload of at most `bound` bytes, then finish() with its end.
class TableMessageWriter {
 public:
  TableMessageWriter(OutputBuffer& out, u8 type, size_t bound)
      : out_(out), start_(out.room(kLongestHeader + bound)) {
    start_[0] = kClassTable;
    start_[1] = type;
  }

  u8* payload() const { return start_ + kHeader; }

  // False = longer than `most` in all, nothing is sent.
  bool finish(const u8* end, size_t most) {
    const auto bytes = static_cast<size_t>(end - payload());
    const size_t length_bytes = varint_size(bytes);
    const size_t total = 2 + length_bytes + bytes;
    if (total > most) {
      return false;
    }
    if (length_bytes > 1) {
      std::memmove(start_ + 2 + length_bytes, payload(), bytes);
    }
    encode_varint(bytes, start_ + 2);
    out_.commit(total);
    return true;
  }

 private:
  OutputBuffer& out_;
  u8* start_;
};

// Does `key` go with the table?
bool key_fits(const shm::TableDefinition& table, std::span<const u8> key) {
  if (table.key_bytes > kMaxMessageOut) {
    return false;
  }
  switch (table.key_type) {
    case shm::KeyType::kString:
      return key.size() < table.key_bytes;
    case shm::KeyType::kBinary:
      return key.size() <= table.key_bytes;
    case shm::KeyType::kInteger:
    case shm::KeyType::kIp:
    case shm::KeyType::kIpv6:
      return key.size() == table.key_bytes;
  }
  return false;
}

u8* write_key(const shm::TableDefinition& table, std::span<const u8> key, u8* at) {
  if (table.key_type == shm::KeyType::kString) {
    at = encode_varint(key.size(), at);
  }
  at = write_bytes(key.data(), key.size(), at);
  if (table.key_type == shm::KeyType::kBinary) {
    at = std::fill_n(at, table.key_bytes - key.size(), u8{0});
  }
  return at;
}

// server_id travels sign-extended (5.2).
u64 sign_extended(u64 cell) {
  return static_cast<u64>(i64{static_cast<i32>(static_cast<u32>(cell))});
}

u8* write_string(std::string_view text, SentStrings::Place place, u8* at) {
  if (place.known) {
    at = encode_varint(varint_size(place.wire_id), at);
    return encode_varint(place.wire_id, at);
  }
  // The length must be exact: HAProxy reads a surplus as the next column (5.4).
  at = encode_varint(varint_size(place.wire_id) + varint_size(text.size()) + text.size(), at);
  at = encode_varint(place.wire_id, at);
  at = encode_varint(text.size(), at);
  return write_bytes(text.data(), text.size(), at);
}

}  // namespace

void OutputBuffer::consumed(size_t bytes) {
  LINEQ_ASSERT(bytes <= size());
  begin_ += bytes;
  if (begin_ == end_) {
    begin_ = end_ = 0;
  }
}

void OutputBuffer::append(std::span<const u8> bytes) {
  write_bytes(bytes.data(), bytes.size(), room(bytes.size()));
  commit(bytes.size());
}

void OutputBuffer::append(std::string_view text) {
  write_bytes(text.data(), text.size(), room(text.size()));
  commit(text.size());
}

void OutputBuffer::grow(size_t bytes) {
  const size_t used = size();
  // Moving is worth it when it frees half; otherwise a slowly emptied buffer is moved all the time.
  if (used + bytes <= capacity_ && begin_ >= capacity_ / 2) {
    std::memmove(data_.get(), data_.get() + begin_, used);
  } else {
    constexpr size_t kSmallest = 4096;
    const size_t capacity = std::max({capacity_ * 2, used + bytes, kSmallest});
    auto data = std::make_unique_for_overwrite<u8[]>(capacity);
    write_bytes(data_.get() + begin_, used, data.get());
    data_ = std::move(data);
    capacity_ = capacity;
  }
  begin_ = 0;
  end_ = used;
}

void encode_hello(OutputBuffer& out, const Hello& hello) {
  out.append(fmt::format("{} 2.{}\n{}\n{} {} 1\n", kProtocolName, hello.minor, hello.target,
                         hello.name, hello.pid));
}

void encode_status(OutputBuffer& out, u32 code) {
  out.append(fmt::format("{}\n", code));
}

void encode_control(OutputBuffer& out, Control control) {
  u8* const at = out.room(2);
  at[0] = kClassControl;
  at[1] = static_cast<u8>(control);
  out.commit(2);
}

void encode_error(OutputBuffer& out, ProtocolError error) {
  u8* const at = out.room(2);
  at[0] = kClassError;
  at[1] = static_cast<u8>(error);
  out.commit(2);
}

void encode_definition(OutputBuffer& out, const Definition& definition) {
  const shm::TableDefinition& table = definition.table;
  const size_t bound = table.name.size() + kMaxVarint * (6 + 3 * shm::kDataTypes);
  TableMessageWriter message(out, kDefinition, bound);
  u8* at = message.payload();
  at = encode_varint(definition.table_id, at);
  at = encode_varint(table.name.size(), at);
  at = write_bytes(table.name.data(), table.name.size(), at);
  at = encode_varint(static_cast<u64>(table.key_type), at);
  at = encode_varint(table.key_bytes, at);
  at = encode_varint(table.data_types, at);
  at = encode_varint(table.expire_ms, at);
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    const shm::DataType& type = shm::data_type(bit);
    const bool rate = type.kind == shm::ValueKind::kRate;
    if (!table.has(bit) || (!type.array && !rate)) {
      continue;
    }
    at = encode_varint(bit, at);
    if (type.array) {
      at = encode_varint(table.elements[bit], at);
    }
    if (rate) {
      at = encode_varint(table.period_ms[bit], at);
    }
  }
  LINEQ_ASSERT(message.finish(at, kMaxMessageOut));  // names have at most 255 bytes
}

void encode_switch(OutputBuffer& out, u32 table_id) {
  TableMessageWriter message(out, kSwitch, kMaxVarint);
  LINEQ_ASSERT(message.finish(encode_varint(table_id, message.payload()), kMaxMessageOut));
}

void encode_ack(OutputBuffer& out, const Ack& ack) {
  TableMessageWriter message(out, kAck, kMaxVarint + 4);
  u8* const at = encode_varint(ack.table_id, message.payload());
  LINEQ_ASSERT(message.finish(write_u32(ack.update_id, at), kMaxMessageOut));
}

bool encode_update(OutputBuffer& out, u8 type, u32 id, u32 expire_ms,
                   const shm::TableDefinition& table, const RowShape& shape,
                   std::span<const u8> key, std::span<const u64> cells, SentStrings& sent,
                   Strings& strings) {
  LINEQ_ASSERT(cells.size() == shape.cells());
  if (!key_fits(table, key)) {
    return false;
  }
  // Only one data type is a dictionary, and it is no array: one string a row at most.
  std::string_view text;
  u32 text_id = 0;
  SentStrings::Place place{};
  const u64* cell = cells.data();
  for (const RowShape::Run& run : shape.runs()) {
    if (run.kind == shm::ValueKind::kDictionary) {
      text = strings.text(static_cast<u32>(*cell));
      text_id = text.empty() ? 0 : static_cast<u32>(*cell);
      place = sent.find(text_id);
    }
    cell += size_t{run.count} * shm::wire_cells(run.kind);
  }

  const size_t bound =
      8 + kMaxVarint + table.key_bytes + kMaxVarint * (cells.size() + 2) + text.size();
  TableMessageWriter message(out, type, bound);
  u8* at = message.payload();
  if (!is_incremental(type)) {
    at = write_u32(id, at);
  }
  if (is_timed(type)) {
    at = write_u32(expire_ms, at);
  }
  at = write_key(table, key, at);
  cell = cells.data();
  for (const RowShape::Run& run : shape.runs()) {
    const u64* const end = cell + size_t{run.count} * shm::wire_cells(run.kind);
    switch (run.kind) {
      case shm::ValueKind::kS32:
        while (cell != end) {
          at = encode_varint(sign_extended(*cell++), at);
        }
        break;
      case shm::ValueKind::kU32:
      case shm::ValueKind::kRate:
        while (cell != end) {
          at = encode_varint(static_cast<u32>(*cell++), at);
        }
        break;
      case shm::ValueKind::kU64:
        while (cell != end) {
          at = encode_varint(*cell++, at);
        }
        break;
      case shm::ValueKind::kDictionary:
        at = text_id == 0 ? encode_varint(0, at) : write_string(text, place, at);
        cell = end;
        break;
    }
  }
  if (!message.finish(at, kMaxMessageOut)) {
    return false;
  }
  if (text_id != 0 && !place.known) {
    sent.put(place, text_id);
  }
  return true;
}

}  // namespace lineq::peers
