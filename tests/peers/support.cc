#include "tests/peers/support.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include <arpa/inet.h>
#include <fmt/format.h>

#include "shm/support/assert.h"

namespace lineq::peers::test {
namespace {

const std::filesystem::path kFixtures = LINEQ_FIXTURES;

u8 digit(char c) {
  return static_cast<u8>(c <= '9' ? c - '0' : c - 'a' + 10);
}

}  // namespace

Bytes unhex(std::string_view hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<u8>(digit(hex[i]) << 4 | digit(hex[i + 1])));
  }
  return bytes;
}

std::string hex(std::span<const u8> bytes) {
  std::string text;
  for (const u8 byte : bytes) {
    fmt::format_to(std::back_inserter(text), "{:02x}", byte);
  }
  return text;
}

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

std::string text_of(std::span<const u8> bytes) {
  return {bytes.begin(), bytes.end()};
}

Bytes fixture(const std::string& name) {
  std::ifstream file(kFixtures / name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> fixture_lines(const std::string& name) {
  std::istringstream stream(text_of(fixture(name)));
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    lines.push_back(line);
  }
  EXPECT_FALSE(lines.empty()) << name;
  return lines;
}

std::vector<std::string> captures(std::string_view suffix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures / "captures")) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(suffix)) {
      names.push_back("captures/" + name);
    }
  }
  std::sort(names.begin(), names.end());
  EXPECT_FALSE(names.empty()) << suffix;
  return names;
}

u32 StringTable::intern(std::string_view text) {
  const auto [at, is_new] = ids_.try_emplace(std::string(text), 0);
  if (is_new) {
    texts_.push_back(std::make_unique<std::string>(text));
    at->second = static_cast<u32>(texts_.size());
  }
  return at->second;
}

std::string_view StringTable::text(u32 id) {
  return id == 0 || id > texts_.size() ? std::string_view() : *texts_[id - 1];
}

std::string key_text(const shm::TableDefinition& table, std::span<const u8> key) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  switch (table.key_type) {
    case shm::KeyType::kInteger:
      return std::to_string(u32{key[0]} << 24 | u32{key[1]} << 16 | u32{key[2]} << 8 | key[3]);
    case shm::KeyType::kIp:
      return ::inet_ntop(AF_INET, key.data(), text.data(), text.size());
    case shm::KeyType::kIpv6:
      return ::inet_ntop(AF_INET6, key.data(), text.data(), text.size());
    case shm::KeyType::kString:
      return text_of(key);
    case shm::KeyType::kBinary:
      return hex(key);
  }
  return {};
}

shm::TableDefinition table_of(std::string name, shm::KeyType key_type, u32 key_bytes, u64 types) {
  shm::TableDefinition table;
  table.name = std::move(name);
  table.key_type = key_type;
  table.key_bytes = key_bytes;
  table.data_types = types;
  table.expire_ms = 60000;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (table.has(bit)) {
      table.elements[bit] = 1;
      table.period_ms[bit] = shm::data_type(bit).kind == shm::ValueKind::kRate ? 10000 : 0;
    }
  }
  return table;
}

Decoded Replay::decode(const Frame& frame) {
  Decoded message;
  message.frame = frame;
  if (frame.cls != kClassTable) {
    return message;
  }
  switch (frame.type) {
    case kDefinition: {
      std::string why;
      EXPECT_EQ(decode_definition(frame.payload, message.definition, why), DefinitionVerdict::kGood)
          << why;
      Table& table = tables_[message.definition.table_id];
      table.definition = message.definition;
      table.shape = RowShape(message.definition.table);
      selected_ = &table;
      break;
    }
    case kSwitch:
      EXPECT_TRUE(decode_switch(frame.payload, message.switch_id));
      selected_ = &tables_.at(message.switch_id);
      break;
    case kAck:
      EXPECT_TRUE(decode_ack(frame.payload, message.ack));
      break;
    default: {
      LINEQ_ASSERT(selected_ != nullptr);
      message.definition = selected_->definition;
      message.shape = selected_->shape;
      message.cells.resize(message.shape.cells());
      RowTrouble trouble;
      const ReceivedStrings before = received_;
      EXPECT_TRUE(decode_update(frame.type, frame.payload, selected_->last_id,
                                message.definition.table, message.shape, received_, strings_,
                                Elapsed::kAsIs, message.update, message.cells.data(), trouble))
          << hex(frame.payload);
      selected_->last_id = message.update.id;
      follow(before);
      u32 cell = 0;
      for (const RowShape::Run& run : message.shape.runs()) {
        if (run.kind == shm::ValueKind::kDictionary) {
          const auto id = static_cast<u32>(message.cells[cell]);
          message.text = strings_.text(id);
          message.place = sent_.find(id);
        }
        cell += run.count * shm::wire_cells(run.kind);
      }
      break;
    }
  }
  return message;
}

// In an excerpt: puts the ring where the sender had it when it sent a new value.
void Replay::follow(const ReceivedStrings& before) {
  for (u32 wire_id = 1; excerpt_ && wire_id <= kCachedStrings; ++wire_id) {
    if (received_.at(wire_id) != before.at(wire_id)) {
      const u32 left_out = strings_.intern("left out " + std::to_string(strings_.size()));
      if (sent_.find(left_out).wire_id != wire_id) {
        sent_.put({(wire_id + kCachedStrings - 2) % kCachedStrings + 1, false}, left_out);
      }
    }
  }
}

Bytes Replay::encode(const Decoded& message) {
  OutputBuffer out;
  switch (message.frame.cls) {
    case kClassControl:
      encode_control(out, static_cast<Control>(message.frame.type));
      break;
    case kClassError:
      encode_error(out, static_cast<ProtocolError>(message.frame.type));
      break;
    default:
      switch (message.frame.type) {
        case kDefinition:
          encode_definition(out, message.definition);
          break;
        case kSwitch:
          encode_switch(out, static_cast<u32>(message.switch_id));
          break;
        case kAck:
          encode_ack(out, message.ack);
          break;
        default:
          EXPECT_TRUE(encode_update(out, message.frame.type, message.update.id,
                                    message.update.expire_ms, message.definition.table,
                                    message.shape, message.update.key, message.cells, sent_,
                                    strings_));
          break;
      }
  }
  return {out.pending().begin(), out.pending().end()};
}

HelloDecision Diary::on_hello(const Hello& hello) {
  lines.push_back(fmt::format("hello 2.{} to {} from {} pid {}", hello.minor, hello.target,
                              hello.name, hello.pid));
  return decision;
}

void Diary::on_established() {
  lines.emplace_back("established");
}

bool Diary::on_definition(SessionTable& table) {
  const shm::TableDefinition& d = table.definition;
  lines.push_back(fmt::format("definition {} {} key {}/{} types {:x}+{:x} expire {} cells {}",
                              table.remote_id, d.name, static_cast<u32>(d.key_type), d.key_bytes,
                              d.data_types, table.unknown_types, d.expire_ms, d.cells()));
  return take_tables;
}

void Diary::on_updates(SessionTable& table, std::span<const Update> updates) {
  most_updates = std::max(most_updates, updates.size());
  for (const Update& update : updates) {
    std::string line = fmt::format("update {} {} {}", table.definition.name, update.id,
                                   printable(key_text(table.definition, update.key)));
    if (update.timed) {
      fmt::format_to(std::back_inserter(line), " expire {}", update.expire_ms);
    }
    line += update.learned ? " learned" : "";
    line += update.in_lesson ? " lesson" : "";
    line += update.repeat ? " repeat" : "";
    line += ":";
    const u64* cell = update.cells;
    for (const RowShape::Run& run : table.shape.runs()) {
      for (u32 i = 0; i < run.count * shm::wire_cells(run.kind); ++i, ++cell) {
        line += run.kind == shm::ValueKind::kDictionary
                    ? fmt::format(" \"{}\"", strings_.text(static_cast<u32>(*cell)))
                    : fmt::format(" {}", *cell);
      }
    }
    lines.push_back(line);
  }
}

void Diary::on_ack(u32 our_table, u32 update_id) {
  lines.push_back(fmt::format("ack {} {}", our_table, update_id));
}

void Diary::on_resync_request() {
  lines.emplace_back("resync request");
}

void Diary::on_lesson_end(bool partial) {
  lines.emplace_back(partial ? "lesson end partial" : "lesson end");
}

void Diary::on_resync_confirmed() {
  lines.emplace_back("confirmed");
}

void Diary::on_problem(Problem problem, std::string_view sentence) {
  problems.push_back(problem);
  lines.push_back(fmt::format("problem: {}", sentence));
}

size_t Diary::count(std::string_view part) const {
  return static_cast<size_t>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
    return line.find(part) != std::string::npos;
  }));
}

}  // namespace lineq::peers::test
