#include "daemon/peers/decoder.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "daemon/peers/varint.h"

namespace lineq::peers {
namespace {

constexpr size_t kMaxLengthBytes = 5;  // of a message's length (2.3)
constexpr u64 kMax32 = std::numeric_limits<u32>::max();

u32 read_u32(const u8* at) {
  return u32{at[0]} << 24 | u32{at[1]} << 16 | u32{at[2]} << 8 | u32{at[3]};
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Takes the decimal digits at the front of `text`. A number that does not fit stays at the largest.
// False when there are none.
bool take_number(std::string_view& text, u32& number) {
  u64 sum = 0;
  size_t digits = 0;
  for (; digits < text.size() && is_digit(text[digits]); ++digits) {
    sum = std::min(sum * 10 + static_cast<u64>(text[digits] - '0'), kMax32);
  }
  text.remove_prefix(digits);
  number = static_cast<u32>(sum);
  return digits > 0;
}

std::string_view text_of(const u8* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The bytes before the first NUL.
size_t length_to_nul(const u8* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const void* nul = std::memchr(data, 0, size);
  return nul == nullptr ? size : static_cast<size_t>(static_cast<const u8*>(nul) - data);
}

// Empty when the key length goes with the key type (4.2).
std::string key_trouble(u64 type, u64 bytes) {
  if (!shm::known_key_type(type)) {
    return fmt::format("key type {} (2 integer, 4 ip, 5 ipv6, 6 string, 7 binary are known)", type);
  }
  const auto known = static_cast<shm::KeyType>(type);
  u64 least = 1;
  u64 most = kMax32;
  switch (known) {
    case shm::KeyType::kInteger:
    case shm::KeyType::kIp:
      least = most = 4;
      break;
    case shm::KeyType::kIpv6:
      least = most = 16;
      break;
    case shm::KeyType::kString:
      least = 2;  // one byte and the NUL that never travels
      break;
    case shm::KeyType::kBinary:
      break;
  }
  if (bytes < least || bytes > most) {
    return fmt::format("key length {} with key type {} ({} to {} are allowed)", bytes,
                       shm::key_type_name(known), least, most);
  }
  return {};
}

// The parameters behind the expiry (4.4). False when one is missing or not what it should be.
bool read_parameters(const u8* at, const u8* end, shm::TableDefinition& table, std::string& why) {
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!table.has(bit)) {
      continue;
    }
    const shm::DataType& type = shm::data_type(bit);
    const bool rate = type.kind == shm::ValueKind::kRate;
    table.elements[bit] = 1;
    if (!type.array && !rate) {
      continue;
    }
    u64 number = 0;
    u64 elements = 1;
    u64 period = 0;
    const bool whole = (at = decode_varint(at, end, number)) != nullptr &&
                       (!type.array || (at = decode_varint(at, end, elements)) != nullptr) &&
                       (!rate || (at = decode_varint(at, end, period)) != nullptr);
    if (!whole) {
      why = fmt::format("the parameters of {} are missing", type.name);
      return false;
    }
    if (number != bit) {
      why = fmt::format("parameters of data type {} where those of {} ({}) should be", number, bit,
                        type.name);
      return false;
    }
    if (elements < 1 || elements > shm::kMaxElements) {
      why = fmt::format("{} elements of {} (1 to {} are allowed)", elements, type.name,
                        shm::kMaxElements);
      return false;
    }
    table.elements[bit] = static_cast<u16>(elements);
    table.period_ms[bit] = static_cast<u32>(period);
  }
  return true;
}

// A definition that ends before its expiry: no parameters follow (4.1).
bool without_parameters(shm::TableDefinition& table, std::string& why) {
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!table.has(bit)) {
      continue;
    }
    if (shm::data_type(bit).array) {
      why = fmt::format("the parameters of {} are missing", shm::data_type(bit).name);
      return false;
    }
    table.elements[bit] = 1;
  }
  return true;
}

// The key at `at`; nullptr when it is cut off.
const u8* read_key(const u8* at, const u8* end, const shm::TableDefinition& table,
                   std::span<const u8>& key) {
  if (table.key_type != shm::KeyType::kString) {
    if (static_cast<size_t>(end - at) < table.key_bytes) {
      return nullptr;
    }
    key = {at, table.key_bytes};
    return at + table.key_bytes;
  }
  u64 length = 0;
  at = decode_varint(at, end, length);
  if (at == nullptr || length > static_cast<u64>(end - at)) {
    return nullptr;
  }
  // A longer key is cut and its rest skipped; the first NUL ends it (4.2).
  const u64 kept = std::min<u64>(length, table.key_bytes - 1);
  key = {at, length_to_nul(at, kept)};
  return at + length;
}

// A dictionary value (5.4) into `id` of Strings; nullptr when malformed.
const u8* read_string(const u8* at, const u8* end, ReceivedStrings& received, Strings& strings,
                      u64& id) {
  id = 0;
  u64 length = 0;
  at = decode_varint(at, end, length);
  if (at == nullptr || length > static_cast<u64>(end - at)) {
    return nullptr;
  }
  if (length == 0) {
    return at;
  }
  const u8* const entry_end = at + length;
  u64 wire_id = 0;
  at = decode_varint(at, entry_end, wire_id);
  if (at == nullptr || !ReceivedStrings::valid(wire_id)) {
    return nullptr;
  }
  if (at == entry_end) {
    id = received.at(wire_id);
    return at;
  }
  u64 bytes = 0;
  at = decode_varint(at, entry_end, bytes);
  if (at == nullptr || bytes > static_cast<u64>(entry_end - at)) {
    return nullptr;
  }
  const std::string_view text = text_of(at, length_to_nul(at, bytes));
  const u32 interned = text.empty() ? 0 : strings.intern(text);
  received.put(wire_id, interned);
  id = interned;
  // Not entry_end: HAProxy reads a surplus as the next column, and so do we.
  return at + bytes;
}

}  // namespace

FrameStatus read_frame(std::span<const u8> in, u32 max_message, Frame& frame) {
  if (in.size() < 2) {
    frame.bytes = 2;
    return FrameStatus::kUnfinished;
  }
  frame.cls = in[0];
  frame.type = in[1];
  frame.payload = {};
  if (frame.cls == kClassReserved) {
    return FrameStatus::kMalformed;
  }
  if (frame.type < 128) {
    frame.bytes = 2;
    return FrameStatus::kWhole;
  }
  const u8* const at = in.data() + 2;
  const size_t most = std::min(in.size() - 2, kMaxLengthBytes);
  u64 length = 0;
  const u8* const payload = decode_varint(at, at + most, length);
  if (payload == nullptr) {
    frame.bytes = in.size() + 1;
    return most == kMaxLengthBytes ? FrameStatus::kMalformed : FrameStatus::kUnfinished;
  }
  const auto header = static_cast<size_t>(payload - in.data());
  if (header + length > max_message) {
    return FrameStatus::kTooLarge;
  }
  frame.bytes = header + length;
  if (in.size() < frame.bytes) {
    return FrameStatus::kUnfinished;
  }
  frame.payload = in.subspan(header, length);
  return FrameStatus::kWhole;
}

HelloError decode_hello_version(std::string_view line, u32& minor) {
  if (line.substr(0, kProtocolName.size()) != kProtocolName) {
    return HelloError::kProtocol;
  }
  line.remove_prefix(kProtocolName.size());
  if (line.empty() || line.front() != ' ') {
    return HelloError::kProtocol;
  }
  line.remove_prefix(1);
  u32 major = 0;
  if (!take_number(line, major) || line.empty() || line.front() != '.') {
    return HelloError::kVersion;
  }
  line.remove_prefix(1);
  if (!take_number(line, minor) || !line.empty() || major != 2 || minor > 1) {
    return HelloError::kVersion;
  }
  return HelloError::kNone;
}

HelloError decode_hello_names(std::string_view line, Hello& hello) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) {
    return HelloError::kProtocol;
  }
  hello.name = line.substr(0, space);
  line.remove_prefix(space + 1);
  take_number(line, hello.pid);
  return HelloError::kNone;
}

u32 decode_status(std::string_view line) {
  u32 status = 0;
  take_number(line, status);
  return status;
}

DefinitionVerdict decode_definition(std::span<const u8> payload, Definition& out,
                                    std::string& why) {
  out = {};
  const u8* at = payload.data();
  const u8* const end = at + payload.size();
  u64 id = 0;
  u64 name_bytes = 0;
  if ((at = decode_varint(at, end, id)) == nullptr ||
      (at = decode_varint(at, end, name_bytes)) == nullptr || name_bytes == 0 ||
      name_bytes > static_cast<u64>(end - at)) {
    why = "its name is missing or cut off";
    return DefinitionVerdict::kMalformed;
  }
  const std::string_view name = text_of(at, name_bytes);
  at += name_bytes;
  u64 key_type = 0;
  u64 key_bytes = 0;
  u64 types = 0;
  if ((at = decode_varint(at, end, key_type)) == nullptr ||
      (at = decode_varint(at, end, key_bytes)) == nullptr ||
      (at = decode_varint(at, end, types)) == nullptr) {
    why = fmt::format("table {}: key type, key length or data types are missing", printable(name));
    return DefinitionVerdict::kMalformed;
  }
  // From here on the message is whole; what is wrong with it concerns this table only.
  if (id > kMax32 || name.size() > 255) {
    why = fmt::format("table {}: number {} with a name of {} bytes ({} and 255 are allowed)",
                      printable(name), id, name.size(), kMax32);
    return DefinitionVerdict::kUnusable;
  }
  shm::TableDefinition& table = out.table;
  out.table_id = static_cast<u32>(id);
  table.name = name;
  why = key_trouble(key_type, key_bytes);
  if (why.empty()) {
    table.key_type = static_cast<shm::KeyType>(key_type);
    table.key_bytes = static_cast<u32>(key_bytes);
    table.data_types = types & shm::kKnownDataTypes;
    out.unknown_types = types & ~shm::kKnownDataTypes;
    const u8* const parameters = decode_varint(at, end, table.expire_ms);
    if (parameters == nullptr ? without_parameters(table, why)
                              : read_parameters(parameters, end, table, why)) {
      return DefinitionVerdict::kGood;
    }
  }
  why = fmt::format("table {}: {}", printable(name), why);
  return DefinitionVerdict::kUnusable;
}

bool decode_switch(std::span<const u8> payload, u64& table_id) {
  return decode_varint(payload.data(), payload.data() + payload.size(), table_id) != nullptr;
}

bool decode_ack(std::span<const u8> payload, Ack& ack) {
  const u8* const end = payload.data() + payload.size();
  const u8* const at = decode_varint(payload.data(), end, ack.table_id);
  if (at == nullptr || end - at < 4) {
    return false;
  }
  ack.update_id = read_u32(at);
  return true;
}

bool decode_update(u8 type, std::span<const u8> payload, u32 last_id,
                   const shm::TableDefinition& table, const RowShape& shape,
                   ReceivedStrings& received, Strings& strings, Elapsed elapsed, Update& update,
                   u64* cells, RowTrouble& trouble) {
  const u8* at = payload.data();
  const u8* const end = at + payload.size();
  const bool has_id = !is_incremental(type);
  const bool timed = is_timed(type);
  trouble = {.columns = 0, .of = 0, .left = payload.size(), .in_key = true};
  if (payload.size() < (has_id ? 4U : 0U) + (timed ? 4U : 0U)) {
    return false;
  }
  update.id = last_id + 1;
  if (has_id) {
    update.id = read_u32(at);
    at += 4;
  }
  update.learned = update.id >> 31 != 0;
  update.timed = timed;
  update.expire_ms = 0;
  if (timed) {
    update.expire_ms = read_u32(at);
    at += 4;
  }
  at = read_key(at, end, table, update.key);
  if (at == nullptr) {
    return false;
  }
  update.cells = cells;

  const u64 most_elapsed = elapsed == Elapsed::kClean ? kMax32 >> 1 : kMax32;
  u32 columns = 0;
  const auto broke_off = [&](const u8* where) {
    trouble = {.columns = columns, .of = 0, .left = static_cast<size_t>(end - where)};
    for (const RowShape::Run& run : shape.runs()) {
      trouble.of += run.count;
    }
    return false;
  };
  for (const RowShape::Run& run : shape.runs()) {
    for (u32 i = 0; i < run.count; ++i, ++columns) {
      const u8* const start = at;
      u64 value = 0;
      switch (run.kind) {
        case shm::ValueKind::kS32:
        case shm::ValueKind::kU32:
          at = decode_varint(at, end, value);
          *cells++ = value & kMax32;
          break;
        case shm::ValueKind::kU64:
          at = decode_varint(at, end, value);
          *cells++ = value;
          break;
        case shm::ValueKind::kRate: {
          u64 curr = 0;
          u64 prev = 0;
          if ((at = decode_varint(at, end, value)) == nullptr ||
              (at = decode_varint(at, end, curr)) == nullptr) {
            return broke_off(start);
          }
          at = decode_varint(at, end, prev);
          value &= kMax32;
          *cells++ = value > most_elapsed ? 0 : value;
          *cells++ = curr & kMax32;
          *cells++ = prev & kMax32;
          break;
        }
        case shm::ValueKind::kDictionary:
          at = read_string(at, end, received, strings, value);
          *cells++ = value;
          break;
      }
      if (at == nullptr) [[unlikely]] {
        return broke_off(start);
      }
    }
  }
  return true;
}

}  // namespace lineq::peers
