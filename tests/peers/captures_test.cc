// Every recorded stream, three ways: message by message against its decoded form and encoded again;
// through a session whole, byte by byte and cut at every place; and the recorded reactions of
// HAProxy to malformed input and to all kinds of hellos.

#include <functional>
#include <random>

#include <fmt/format.h>
#include <rapidjson/document.h>

#include "tests/peers/support.h"
#include "tests/support/sanitizer.h"

namespace lineq::peers {
namespace {

using rapidjson::Value;
using test::Bytes;
using test::Decoded;
using test::Diary;
using test::hex;
using test::Replay;
using test::StringTable;

constexpr u64 kNow = 1000000;

rapidjson::Document parse(const std::string& line) {
  rapidjson::Document document;
  document.Parse(line.c_str());
  EXPECT_FALSE(document.HasParseError()) << line;
  return document;
}

std::string string_of(const Value& object, const char* name) {
  return object.HasMember(name) ? object[name].GetString() : std::string();
}

struct Stream {
  std::string file;   // "captures/2.6-learn.p2h.bin"
  std::string jsonl;  // "captures/2.6-learn.jsonl"
  std::string dir;    // "p2h"
  Bytes bytes;
};

std::vector<Stream> streams() {
  std::vector<Stream> all;
  for (const std::string& file : test::captures(".bin")) {
    const std::string stem = file.substr(0, file.size() - 4);
    const size_t dot = stem.rfind('.');
    all.push_back(
        {file, stem.substr(0, dot) + ".jsonl", stem.substr(dot + 1), test::fixture(file)});
  }
  return all;
}

bool starts_with_hello(const Bytes& bytes) {
  return test::text_of(bytes).starts_with(kProtocolName);
}

size_t handshake_bytes(const Bytes& bytes) {
  const std::string text = test::text_of(bytes);
  size_t at = 0;
  for (int line = 0; line < (starts_with_hello(bytes) ? 3 : 1); ++line) {
    at = text.find('\n', at) + 1;
  }
  return at;
}

void compare_element(const Value& expected, shm::ValueKind kind, const u64* cell,
                     const Decoded& message) {
  switch (kind) {
    case shm::ValueKind::kS32:
      EXPECT_EQ(static_cast<i32>(static_cast<u32>(*cell)), expected.GetInt());
      break;
    case shm::ValueKind::kU32:
    case shm::ValueKind::kU64:
      EXPECT_EQ(*cell, expected.GetUint64());
      break;
    case shm::ValueKind::kRate:
      EXPECT_EQ(cell[0], expected["elapsed"].GetUint64());
      EXPECT_EQ(cell[1], expected["curr"].GetUint64());
      EXPECT_EQ(cell[2], expected["prev"].GetUint64());
      break;
    case shm::ValueKind::kDictionary:
      if (expected.IsNull()) {
        EXPECT_EQ(*cell, 0U);
      } else {
        EXPECT_EQ(message.text, expected["value"].GetString());
        EXPECT_EQ(message.place.wire_id, expected["id"].GetUint());
        EXPECT_EQ(message.place.known, expected.HasMember("cached"));
      }
      break;
  }
}

void compare_update(const Value& expected, const Decoded& message) {
  const shm::TableDefinition& table = message.definition.table;
  EXPECT_EQ(table.name, expected["table"].GetString());
  EXPECT_EQ(message.definition.table_id, expected["table_id"].GetUint());
  EXPECT_EQ(message.update.id, expected["update_id"].GetUint());
  EXPECT_EQ(message.update.learned, expected["update_id"].GetUint() >= 0x80000000);
  EXPECT_EQ(message.update.timed, expected.HasMember("expire"));
  if (expected.HasMember("expire")) {
    EXPECT_EQ(message.update.expire_ms, expected["expire"].GetUint());
  }
  const Value& key = expected["key"];
  EXPECT_EQ(test::key_text(table, message.update.key),
            key.IsString() ? key.GetString() : std::to_string(key.GetUint()));
  const Value& values = expected["values"];
  const u64* cell = message.cells.data();
  u32 columns = 0;
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (!table.has(bit)) {
      continue;
    }
    const shm::DataType& type = shm::data_type(bit);
    const std::string name(type.name);
    SCOPED_TRACE(name);
    ASSERT_TRUE(values.HasMember(name.c_str()));
    const Value& value = values[name.c_str()];
    ++columns;
    if (type.array) {
      ASSERT_EQ(value.Size(), table.elements[bit]);
    }
    for (u32 i = 0; i < table.elements[bit]; ++i) {
      compare_element(type.array ? value[i] : value, type.kind, cell, message);
      cell += shm::wire_cells(type.kind);
    }
  }
  EXPECT_EQ(values.MemberCount(), columns);
}

void compare_definition(const Value& expected, const Definition& definition) {
  const shm::TableDefinition& table = definition.table;
  EXPECT_EQ(definition.table_id, expected["table_id"].GetUint());
  EXPECT_EQ(table.name, expected["name"].GetString());
  EXPECT_EQ(static_cast<u32>(table.key_type), expected["key_type"].GetUint());
  EXPECT_EQ(table.key_bytes, expected["key_len"].GetUint());
  EXPECT_EQ(table.data_types, expected["bits"].GetUint64());
  EXPECT_EQ(definition.unknown_types, 0U);
  EXPECT_EQ(table.expire_ms, expected["expire"].GetUint64());
  u64 types = 0;
  for (const Value& type : expected["types"].GetArray()) {
    const u32 bit = type["type"].GetUint();
    types |= u64{1} << bit;
    EXPECT_EQ(shm::data_type(bit).name, type["name"].GetString());
    EXPECT_EQ(table.elements[bit], type.HasMember("nbelem") ? type["nbelem"].GetUint() : 1U);
    EXPECT_EQ(table.period_ms[bit], type.HasMember("period") ? type["period"].GetUint() : 0U);
  }
  EXPECT_EQ(table.data_types, types);
}

std::string message_name(const Frame& frame) {
  if (frame.cls == kClassControl) {
    constexpr std::array kNames{"resync_request", "resync_finished", "resync_partial",
                                "resync_confirm", "heartbeat"};
    return frame.type < kNames.size() ? kNames[frame.type] : "?";
  }
  constexpr std::array kNames{"update", "incupdate",    "definition",     "switch",
                              "ack",    "update_timed", "incupdate_timed"};
  return frame.cls == kClassTable && frame.type >= 128 && frame.type < 128 + kNames.size()
             ? kNames[frame.type - 128U]
             : "?";
}

void compare_message(const Value& expected, const Frame& frame, std::span<const u8> raw,
                     Replay& replay) {
  EXPECT_EQ(message_name(frame), expected["msg"].GetString());
  const Decoded message = replay.decode(frame);
  if (frame.cls == kClassTable) {
    switch (frame.type) {
      case kDefinition:
        compare_definition(expected, message.definition);
        break;
      case kSwitch:
        EXPECT_EQ(message.switch_id, expected["table_id"].GetUint());
        break;
      case kAck:
        EXPECT_EQ(message.ack.table_id, expected["table_id"].GetUint());
        EXPECT_EQ(message.ack.update_id, expected["update_id"].GetUint());
        break;
      default:
        compare_update(expected, message);
    }
  }
  EXPECT_EQ(hex(replay.encode(message)), hex(raw));
  if (expected.HasMember("raw")) {
    EXPECT_EQ(hex(raw), expected["raw"].GetString());
  }
}

TEST(CapturesTest, EveryMessageReadsAsRecordedAndEncodesToTheSameBytes) {
  size_t messages = 0;
  for (const Stream& stream : streams()) {
    SCOPED_TRACE(stream.file);
    std::vector<std::string> expected;
    for (const std::string& line : test::fixture_lines(stream.jsonl)) {
      const std::string name = string_of(parse(line), "msg");
      if (string_of(parse(line), "dir") == stream.dir && name != "hello" &&
          !name.starts_with("status")) {
        expected.push_back(line);
      }
    }
    Replay replay;
    std::span<const u8> rest(stream.bytes);
    rest = rest.subspan(handshake_bytes(stream.bytes));
    for (const std::string& line : expected) {
      SCOPED_TRACE(line);
      Frame frame;
      ASSERT_EQ(read_frame(rest, kMaxMessageOut, frame), FrameStatus::kWhole);
      compare_message(parse(line), frame, rest.first(frame.bytes), replay);
      rest = rest.subspan(frame.bytes);
      ++messages;
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_TRUE(rest.empty()) << rest.size() << " bytes more than recorded messages";
  }
  EXPECT_GT(messages, 5000U);
}

TEST(CapturesTest, HandshakesReadAndEncodeAsRecorded) {
  int hellos = 0;
  int statuses = 0;
  for (const Stream& stream : streams()) {
    SCOPED_TRACE(stream.file);
    const size_t size = handshake_bytes(stream.bytes);
    if (size == 0) {
      continue;
    }
    std::string text = test::text_of(std::span(stream.bytes).first(size));
    OutputBuffer out;
    if (starts_with_hello(stream.bytes)) {
      Hello hello;
      const size_t first = text.find('\n');
      const size_t second = text.find('\n', first + 1);
      EXPECT_EQ(decode_hello_version(text.substr(0, first), hello.minor), HelloError::kNone);
      hello.target = text.substr(first + 1, second - first - 1);
      EXPECT_EQ(decode_hello_names(text.substr(second + 1, text.size() - second - 2), hello),
                HelloError::kNone);
      encode_hello(out, hello);
      if (text.ends_with(" 0\n")) {
        text.replace(text.size() - 2, 1, "1");  // relative pid: 0 from the test peer, else always 1
      }
      ++hellos;
    } else {
      EXPECT_EQ(decode_status(text.substr(0, text.size() - 1)), kStatusOk);
      encode_status(out, kStatusOk);
      ++statuses;
    }
    EXPECT_EQ(test::text_of(out.pending()), text);
  }
  EXPECT_EQ(hellos, 36);
  EXPECT_EQ(statuses, 36);
}

// --- through a session ---

struct Outcome {
  std::vector<std::string> events;
  std::vector<std::string> sent;  // without acks; then the last ack of each table
  std::string end;
};

bool operator==(const Outcome& a, const Outcome& b) {
  return a.events == b.events && a.sent == b.sent && a.end == b.end;
}

// Feeds `bytes` in pieces of which `cut` tells the size.
Outcome run(const Bytes& bytes, const std::function<size_t(size_t at)>& cut) {
  StringTable strings;
  Diary diary(strings);
  const SessionConfig config;
  std::unique_ptr<Session> session;
  size_t handshake = 0;
  if (starts_with_hello(bytes)) {
    session = std::make_unique<Session>(config, strings, diary, kNow);
    handshake = 4;
  } else {
    session = std::make_unique<Session>(config, Hello{1, "hap1", "lineq", 1}, strings, diary, kNow);
    handshake = session->pending().size();
  }
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = std::min(cut(at), bytes.size() - at);
    // A copy of its own, so that a sanitizer sees anything kept beyond the call.
    const Bytes piece(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
    session->feed(piece, kNow);
    at += size;
  }
  Outcome outcome{diary.lines, {}, session->end_reason()};
  std::map<u64, u32> acks;
  std::span<const u8> out = session->pending().subspan(handshake);
  while (!out.empty()) {
    Frame frame;
    EXPECT_EQ(read_frame(out, kMaxMessageOut, frame), FrameStatus::kWhole);
    Ack ack;
    if (frame.cls == kClassTable && frame.type == kAck && decode_ack(frame.payload, ack)) {
      acks[ack.table_id] = ack.update_id;
    } else {
      outcome.sent.push_back(hex(out.first(frame.bytes)));
    }
    out = out.subspan(frame.bytes);
  }
  for (const auto& [table, id] : acks) {
    outcome.sent.push_back(fmt::format("ack {} {}", table, id));
  }
  return outcome;
}

// The recorded streams that hold a handshake, so that a session can take them from the start; those
// of reconnects without one get it.
std::vector<Stream> conversations() {
  std::vector<Stream> all = streams();
  std::erase_if(all, [](const Stream& stream) { return handshake_bytes(stream.bytes) == 0; });
  EXPECT_EQ(all.size(), 72U);
  return all;
}

TEST(CapturesTest, ASessionTellsEverythingThatWasRecorded) {
  for (const Stream& stream : conversations()) {
    SCOPED_TRACE(stream.file);
    std::map<std::string, size_t> recorded;
    for (const std::string& line : test::fixture_lines(stream.jsonl)) {
      const rapidjson::Document document = parse(line);
      if (string_of(document, "dir") == stream.dir) {
        const std::string name = string_of(document, "msg");
        ++recorded[name.find("update") != std::string::npos ? "update" : name];
      }
    }
    const Outcome whole = run(stream.bytes, [](size_t) { return size_t{65536}; });
    const auto events = [&](std::string_view part) {
      return static_cast<size_t>(
          std::count_if(whole.events.begin(), whole.events.end(),
                        [&](const std::string& line) { return line.starts_with(part); }));
    };
    EXPECT_EQ(whole.end, "");
    EXPECT_EQ(events("problem"), 0U);
    EXPECT_EQ(events("established"), 1U);
    EXPECT_EQ(events("update "), recorded["update"]);
    EXPECT_EQ(events("resync request"), recorded["resync_request"]);
    EXPECT_EQ(events("lesson end"), recorded["resync_finished"] + recorded["resync_partial"]);
  }
}

TEST(CapturesTest, AnySplitGivesTheSameResult) {
  std::mt19937_64 random(7);
  for (const Stream& stream : conversations()) {
    SCOPED_TRACE(stream.file);
    const Outcome whole = run(stream.bytes, [](size_t) { return size_t{65536}; });
    EXPECT_EQ(run(stream.bytes, [](size_t) { return size_t{1}; }), whole);
    EXPECT_EQ(run(stream.bytes, [](size_t) { return size_t{2}; }), whole);
    EXPECT_EQ(run(stream.bytes, [](size_t) { return size_t{1460}; }), whole);
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(run(stream.bytes, [&](size_t) { return random() % (i % 2 == 0 ? 9 : 300) + 1; }),
                whole);
    }
    // Every single place where a read may end; in large streams every 13th. Sanitizers have fewer.
    const size_t step =
        (stream.bytes.size() <= 3000 ? 1U : 13U) * (::lineq::test::kSanitized ? 7U : 1U);
    for (size_t cut = 1; cut < stream.bytes.size(); cut += step) {
      ASSERT_EQ(run(stream.bytes, [&](size_t at) { return at < cut ? cut - at : 65536; }), whole)
          << "cut at " << cut;
    }
  }
}

// --- recorded reactions ---

TEST(CapturesTest, MalformedInputGetsTheReactionOfHaproxy) {
  // /t_int, integer keys, gpc0, table id 1: what the recording peer had defined.
  const Bytes definition = test::unhex("0a820e01062f745f696e74020404f0971c");
  const Bytes valid = test::unhex("0a800900000007000000010b");
  for (const std::string& file : test::captures("-errors.jsonl")) {
    for (const std::string& line : test::fixture_lines(file)) {
      SCOPED_TRACE(line);
      const rapidjson::Document document = parse(line);
      const Bytes bad = test::unhex(document["hex"].GetString());
      const std::string sent = document["sent"].GetString();
      StringTable strings;
      Diary diary(strings);
      SessionConfig config;
      config.max_message = kMaxMessageOut;
      Session session(config, strings, diary, kNow);
      session.feed(test::bytes_of("HAProxyS 2.1\nlineq\nhap1 1 1\n"), kNow);
      session.feed(definition, kNow);
      // Out of the lesson, so that updates are acknowledged.
      session.feed(test::unhex("0001"), kNow);
      session.consumed(session.pending().size());
      session.feed(bad, kNow);
      session.feed(valid, kNow);
      EXPECT_EQ(session.ended(), document["closed"].GetBool());
      if (!session.ended()) {
        EXPECT_EQ(hex(session.pending()), document["answer"].GetString());
        continue;
      }
      // 3.5 closed so fast that its answer was lost; it is known from the others.
      const bool large = sent.find("16385") != std::string::npos;
      EXPECT_EQ(hex(session.pending()), large ? "0101" : "0100");
      if (document["answer"].GetStringLength() != 0) {
        EXPECT_EQ(hex(session.pending()), document["answer"].GetString());
      }
      ASSERT_EQ(diary.problems.size(), 1U);
      EXPECT_EQ(diary.problems[0], large ? Problem::kTooLarge : Problem::kMalformed);
      EXPECT_EQ(session.end_reason(), diary.last().substr(std::string("problem: ").size()));
    }
  }
}

// An owner that knows the names HAProxy knew in the recording.
class Concierge : public Diary {
 public:
  using Diary::Diary;
  HelloDecision on_hello(const Hello& hello) override {
    if (hello.target != "hap1") {
      return HelloDecision::answer(kStatusTarget);
    }
    return hello.name == "lineq" || hello.name == "hap1" ? HelloDecision::accept()
                                                         : HelloDecision::answer(kStatusUnknown);
  }
};

TEST(CapturesTest, HellosGetTheStatusOfHaproxyIfTheOwnerWantsThat) {
  for (const std::string& file : test::captures("-handshake.jsonl")) {
    for (const std::string& line : test::fixture_lines(file)) {
      SCOPED_TRACE(line);
      const rapidjson::Document document = parse(line);
      const std::string status = document["status"].GetString();
      for (const bool answer : {true, false}) {
        StringTable strings;
        Concierge owner(strings);
        SessionConfig config;
        config.answer_bad_hello = answer;
        Session session(config, strings, owner, kNow);
        session.feed(test::bytes_of(document["hello"].GetString()), kNow);
        EXPECT_EQ(session.established(), status == "200");
        EXPECT_EQ(session.ended(), status != "200");
        // Without the switch only what the owner decides gets a status, malformed hellos do not.
        const bool malformed = status == "501" || status == "502";
        EXPECT_EQ(test::text_of(session.pending()).substr(0, 4),
                  answer || !malformed ? status + "\n" : "");
      }
    }
  }
}

}  // namespace
}  // namespace lineq::peers
