// The recorded messages of the two vector files: decoded they read as the file says, encoded again
// they are the same bytes.

#include <iterator>

#include <fmt/format.h>

#include "tests/peers/support.h"

namespace lineq::peers {
namespace {

using test::Bytes;
using test::Decoded;
using test::hex;
using test::Replay;
using test::unhex;

// The cells of a Markdown table row, without the blanks and backquotes around them.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> cells;
  size_t at = 1;
  while (at < line.size()) {
    size_t bar = line.find(" |", at);
    if (bar == std::string::npos) {
      break;
    }
    std::string cell = line.substr(at, bar - at);
    cell.erase(0, cell.find_first_not_of(' '));
    cells.push_back(cell);
    at = bar + 2;
  }
  return cells;
}

std::string without_quotes(const std::string& cell) {
  return cell.size() >= 2 && cell.front() == '`' && cell.back() == '`'
             ? cell.substr(1, cell.size() - 2)
             : cell;
}

std::string describe(const Definition& definition) {
  const shm::TableDefinition& table = definition.table;
  std::string text = fmt::format("id {} name `{}` key type {} len {} bits 0x{:x} expire {}",
                                 definition.table_id, table.name, static_cast<u32>(table.key_type),
                                 table.key_bytes, table.data_types, table.expire_ms);
  if (table.data_types == 0) {
    return text + "; no data";
  }
  char separator = ';';
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!table.has(bit)) {
      continue;
    }
    const shm::DataType& type = shm::data_type(bit);
    text += std::exchange(separator, '\0') == ';' ? ";" : "";
    fmt::format_to(std::back_inserter(text), " {}:{}", bit, type.name);
    if (type.array) {
      fmt::format_to(std::back_inserter(text), "[{}]", table.elements[bit]);
    }
    if (type.kind == shm::ValueKind::kRate) {
      fmt::format_to(std::back_inserter(text), "({})", table.period_ms[bit]);
    }
  }
  return text;
}

std::string describe_element(const Decoded& message, shm::ValueKind kind, const u64* cell) {
  switch (kind) {
    case shm::ValueKind::kS32:
      return std::to_string(static_cast<i32>(static_cast<u32>(*cell)));
    case shm::ValueKind::kU32:
    case shm::ValueKind::kU64:
      return std::to_string(*cell);
    case shm::ValueKind::kRate:
      return fmt::format("{}/{}/{}", cell[0], cell[1], cell[2]);
    case shm::ValueKind::kDictionary:
      return *cell == 0 ? "none"
             : message.place.known
                 ? fmt::format("id {}", message.place.wire_id)
                 : fmt::format("id {} = \"{}\"", message.place.wire_id, message.text);
  }
  return {};
}

std::string describe_update(const Decoded& message) {
  const shm::TableDefinition& table = message.definition.table;
  std::string text = is_incremental(message.frame.type)
                         ? fmt::format("`{}` (id {})", table.name, message.update.id)
                         : fmt::format("`{}` id {}", table.name, message.update.id);
  if (message.update.timed) {
    fmt::format_to(std::back_inserter(text), " exp {}", message.update.expire_ms);
  }
  fmt::format_to(std::back_inserter(text), " key {};", test::key_text(table, message.update.key));
  if (table.data_types == 0) {
    return text + " no data";
  }
  const u64* cell = message.cells.data();
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!table.has(bit)) {
      continue;
    }
    const shm::DataType& type = shm::data_type(bit);
    fmt::format_to(std::back_inserter(text), "{}{} {}", text.back() == ';' ? " " : ", ", type.name,
                   type.array ? "[" : "");
    for (u32 i = 0; i < table.elements[bit]; ++i) {
      text += (i == 0 ? "" : ", ") + describe_element(message, type.kind, cell);
      cell += shm::wire_cells(type.kind);
    }
    text += type.array ? "]" : "";
  }
  return text;
}

std::string describe(const Decoded& message) {
  if (message.frame.cls == kClassControl) {
    return message.frame.type == 0   ? "resync request"
           : message.frame.type == 1 ? "resync finished"
           : message.frame.type == 4 ? "heartbeat"
                                     : "?";
  }
  switch (message.frame.type) {
    case kDefinition:
      return describe(message.definition);
    case kSwitch:
      return fmt::format("table id {}", message.switch_id);
    case kAck:
      return fmt::format("ack, table id {}, update id {}", message.ack.table_id,
                         message.ack.update_id);
    default:
      return describe_update(message);
  }
}

// Every vector of a file; `all` is how many there are, so that none is lost to the parser.
void check_vectors(const std::string& file, int all) {
  auto replay = std::make_unique<Replay>(true);
  int seen = 0;
  for (const std::string& line : test::fixture_lines(file)) {
    if (line.find("Group ") != std::string::npos || line.find("**") != std::string::npos) {
      replay = std::make_unique<Replay>(true);
      continue;
    }
    const std::vector<std::string> cells = cells_of(line);
    if (cells.size() != 4 || cells[0].find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    ++seen;
    const Bytes bytes = unhex(without_quotes(cells[2]));
    const std::string& meaning = cells[3];
    if (meaning.starts_with("hello") || meaning.starts_with("status")) {
      continue;  // HandshakeVectors below
    }
    SCOPED_TRACE(line);
    Frame frame;
    ASSERT_EQ(read_frame(bytes, kMaxMessageOut, frame), FrameStatus::kWhole);
    ASSERT_EQ(frame.bytes, bytes.size());
    const Decoded message = replay->decode(frame);
    if (!meaning.starts_with("ack of") && !meaning.starts_with("ack by")) {
      // Remarks follow in parentheses, but so does the period of a rate.
      const std::string text = describe(message);
      EXPECT_EQ(meaning.substr(0, text.size()), text);
      EXPECT_TRUE(meaning.size() == text.size() || meaning.substr(text.size(), 2) == " (")
          << meaning.substr(text.size());
    }
    EXPECT_EQ(hex(replay->encode(message)), hex(bytes));
  }
  EXPECT_EQ(seen, all);
}

TEST(VectorsTest, CapturedMessagesReadAndEncodeAsRecorded) {
  check_vectors("captures/vectors.md", 64);
}

TEST(VectorsTest, VectorsOfTheReferenceReadAndEncodeAsRecorded) {
  check_vectors("peers-vectors.md", 52);
}

TEST(VectorsTest, HandshakeVectors) {
  Hello hello;
  EXPECT_EQ(decode_hello_version("HAProxyS 2.1", hello.minor), HelloError::kNone);
  hello.target = "lineq";
  EXPECT_EQ(decode_hello_names("hap1 17556 1", hello), HelloError::kNone);
  EXPECT_EQ(hello.minor, 1U);
  EXPECT_EQ(hello.name, "hap1");
  EXPECT_EQ(hello.pid, 17556U);
  OutputBuffer out;
  encode_hello(out, hello);
  EXPECT_EQ(hex(out.pending()), "484150726f78795320322e310a6c696e65710a6861703120313735353620310a");
  out.clear();
  encode_status(out, kStatusOk);
  EXPECT_EQ(hex(out.pending()), "3230300a");
}

TEST(VectorsTest, AcksKeepAllBitsOfTheId) {
  const auto ack_of = [](std::string_view payload) {
    Ack ack;
    EXPECT_TRUE(decode_ack(unhex(payload), ack));
    return ack;
  };
  EXPECT_EQ(ack_of("0280000001").update_id, 0x80000001U);
  EXPECT_EQ(ack_of("0280000001").table_id, 2U);
  EXPECT_EQ(ack_of("0105000001").update_id, 0x05000001U);
}

}  // namespace
}  // namespace lineq::peers
