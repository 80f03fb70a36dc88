// What the tests of the codec share: fixtures, a dictionary, a plain decoder of whole streams that
// encodes everything again, and an owner that writes down what a session tells it.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/peers/session.h"

namespace lineq::peers::test {

using Bytes = std::vector<u8>;

Bytes unhex(std::string_view hex);
std::string hex(std::span<const u8> bytes);
std::span<const u8> bytes_of(std::string_view text);
std::string text_of(std::span<const u8> bytes);

// A file below tests/fixtures, whole. Fails the test when it is missing.
Bytes fixture(const std::string& name);
std::vector<std::string> fixture_lines(const std::string& name);
// Names below tests/fixtures/captures that end so, in alphabetical order, with their folder.
std::vector<std::string> captures(std::string_view suffix);

// Strings with ids in the order of their appearance.
class StringTable : public Strings {
 public:
  u32 intern(std::string_view text) override;
  std::string_view text(u32 id) override;
  size_t size() const { return texts_.size(); }

 private:
  std::unordered_map<std::string, u32> ids_;
  std::vector<std::unique_ptr<std::string>> texts_;
};

// A key as HAProxy prints it; binary in hex.
std::string key_text(const shm::TableDefinition& table, std::span<const u8> key);

shm::TableDefinition table_of(std::string name, shm::KeyType key_type, u32 key_bytes, u64 types);

struct Decoded {
  Frame frame;
  Definition definition;  // of a definition; of an update: the table's
  RowShape shape;
  Ack ack;
  u64 switch_id = 0;
  Update update;
  std::vector<u64> cells;
  std::string text;            // of the dictionary value, if it has one
  SentStrings::Place place{};  // and its place on the wire
};

// One direction of a conversation, message by message, as it is on the wire.
class Replay {
 public:
  // `excerpt`: messages were left out, so the places of dictionary values are taken from the wire;
  // a whole stream must make them by itself, as the sender did.
  explicit Replay(bool excerpt = false) : excerpt_(excerpt) {}

  Decoded decode(const Frame& frame);
  // The same message from its decoded form.
  Bytes encode(const Decoded& message);

 private:
  struct Table {
    Definition definition;
    RowShape shape;
    u32 last_id = 0;
  };

  void follow(const ReceivedStrings& before);

  bool excerpt_;
  std::map<u64, Table> tables_;
  Table* selected_ = nullptr;
  ReceivedStrings received_;
  SentStrings sent_;
  StringTable strings_;
};

// Writes everything down, one line an event.
class Diary : public SessionEvents {
 public:
  explicit Diary(Strings& strings) : strings_(strings) {}

  HelloDecision on_hello(const Hello& hello) override;
  void on_established() override;
  bool on_definition(SessionTable& table) override;
  void on_updates(SessionTable& table, std::span<const Update> updates) override;
  void on_ack(u32 our_table, u32 update_id) override;
  void on_resync_request() override;
  void on_lesson_end(bool partial) override;
  void on_resync_confirmed() override;
  void on_problem(Problem problem, std::string_view sentence) override;

  // The last line, and how many contain `part`.
  std::string last() const { return lines.empty() ? std::string() : lines.back(); }
  size_t count(std::string_view part) const;

  HelloDecision decision;
  bool take_tables = true;
  std::vector<std::string> lines;
  std::vector<Problem> problems;
  size_t most_updates = 0;  // in one call

 private:
  Strings& strings_;
};

}  // namespace lineq::peers::test
