#include "daemon/peers/decoder.h"

#include "daemon/peers/varint.h"
#include "tests/peers/support.h"

namespace lineq::peers {
namespace {

using shm::KeyType;
using test::Bytes;
using test::hex;
using test::StringTable;
using test::table_of;
using test::unhex;

constexpr u64 bits(std::initializer_list<u32> list) {
  u64 sum = 0;
  for (const u32 bit : list) {
    sum |= u64{1} << bit;
  }
  return sum;
}

// --- frames ---

FrameStatus frame_of(std::string_view text, Frame& frame, u32 max_message = kMaxMessageOut) {
  static Bytes bytes;
  bytes = unhex(text);
  return read_frame(bytes, max_message, frame);
}

TEST(DecoderTest, ATypeBelow128IsTwoBytes) {
  Frame frame;
  EXPECT_EQ(frame_of("0004ffff", frame), FrameStatus::kWhole);
  EXPECT_EQ(frame.bytes, 2U);
  EXPECT_EQ(frame_of("4d7f", frame), FrameStatus::kWhole);
  EXPECT_TRUE(frame.payload.empty());
}

TEST(DecoderTest, ATypeFrom128HasALengthWhateverItsClass) {
  Frame frame;
  EXPECT_EQ(frame_of("4d80020102", frame), FrameStatus::kWhole);
  EXPECT_EQ(hex(frame.payload), "0102");
  EXPECT_EQ(frame.bytes, 5U);
}

TEST(DecoderTest, AnUnfinishedFrameSaysHowManyBytesItNeeds) {
  Frame frame;
  EXPECT_EQ(frame_of("", frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame.bytes, 2U);
  EXPECT_EQ(frame_of("0a", frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame.bytes, 2U);
  EXPECT_EQ(frame_of("0a80", frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame.bytes, 3U);
  EXPECT_EQ(frame_of("0a80f0", frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame.bytes, 4U);
  EXPECT_EQ(frame_of("0a80f001", frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame.bytes, 4U + 256U);
}

TEST(DecoderTest, Class255IsMalformed) {
  Frame frame;
  EXPECT_EQ(frame_of("ff00", frame), FrameStatus::kMalformed);
  EXPECT_EQ(frame_of("ff80", frame), FrameStatus::kMalformed);
}

TEST(DecoderTest, ALengthOfMoreThanFiveBytesIsMalformed) {
  Frame frame;
  EXPECT_EQ(frame_of("0a80f0808080", frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame_of("0a80f080808080", frame), FrameStatus::kMalformed);
}

void append_varint(Bytes& bytes, u64 value) {
  std::array<u8, kMaxVarint> buffer{};
  bytes.insert(bytes.end(), buffer.data(), encode_varint(value, buffer.data()));
}

TEST(DecoderTest, TheLimitCountsTheHeader) {
  const auto status_of = [](u64 payload, Frame& frame) {
    Bytes bytes = unhex("0a80");
    append_varint(bytes, payload);
    return read_frame(bytes, kMaxMessageOut, frame);
  };
  Frame frame;
  EXPECT_EQ(status_of(16379, frame), FrameStatus::kUnfinished);
  EXPECT_EQ(frame.bytes, 16384U);
  EXPECT_EQ(status_of(16380, frame), FrameStatus::kTooLarge);
  EXPECT_EQ(status_of(0xffffffff, frame), FrameStatus::kTooLarge);
  // HAProxy takes this one modulo 2^32 (2.3); nobody sends it.
  EXPECT_EQ(status_of(u64{1} << 32 | 1, frame), FrameStatus::kTooLarge);
}

// --- definitions ---

DefinitionVerdict definition_of(std::string_view text, Definition& definition, std::string& why) {
  why.clear();
  return decode_definition(unhex(text), definition, why);
}

Bytes definition_bytes(const Definition& definition) {
  OutputBuffer out;
  encode_definition(out, definition);
  Frame frame;
  EXPECT_EQ(read_frame(out.pending(), kMaxMessageOut, frame), FrameStatus::kWhole);
  return {frame.payload.begin(), frame.payload.end()};
}

TEST(DecoderTest, ADefinitionCutInItsFixedFieldsIsMalformed) {
  const Bytes whole = definition_bytes({7, table_of("/t", KeyType::kString, 33, bits({2, 17})), 0});
  // id, name length, name, key type, key length, types: 1 + 1 + 2 + 1 + 1 + 3
  for (size_t size = 0; size < 9; ++size) {
    Definition definition;
    std::string why;
    EXPECT_EQ(decode_definition(std::span(whole).first(size), definition, why),
              DefinitionVerdict::kMalformed)
        << size;
    EXPECT_FALSE(why.empty());
  }
}

TEST(DecoderTest, ADefinitionMayEndBeforeItsExpiryIfItHasNoArray) {
  const Bytes whole = definition_bytes({7, table_of("/t", KeyType::kIp, 4, bits({2, 10})), 0});
  Definition definition;
  std::string why;
  const size_t fixed = 1 + 1 + 2 + 1 + 1 + 2;
  EXPECT_EQ(decode_definition(std::span(whole).first(fixed), definition, why),
            DefinitionVerdict::kGood);
  EXPECT_EQ(definition.table.expire_ms, 0U);
  EXPECT_EQ(definition.table.period_ms[10], 0U);
  EXPECT_EQ(definition.table.cells(), 4U);
  EXPECT_EQ(definition_of("01012f04048080", definition, why), DefinitionVerdict::kGood) << why;

  const Bytes array = definition_bytes({7, table_of("/t", KeyType::kIp, 4, bits({23})), 0});
  EXPECT_EQ(decode_definition(std::span(array).first(1 + 1 + 2 + 1 + 1 + 4), definition, why),
            DefinitionVerdict::kUnusable);
  EXPECT_EQ(why, "table /t: the parameters of gpc are missing");
}

TEST(DecoderTest, ADefinitionWithoutItsParametersIsUnusable) {
  const Bytes whole = definition_bytes({7, table_of("/t", KeyType::kIp, 4, bits({10, 23, 24})), 0});
  Definition definition;
  std::string why;
  ASSERT_EQ(decode_definition(whole, definition, why), DefinitionVerdict::kGood);
  for (size_t size = whole.size() - 1; size > whole.size() - 10; --size) {
    EXPECT_EQ(decode_definition(std::span(whole).first(size), definition, why),
              DefinitionVerdict::kUnusable)
        << size;
    EXPECT_EQ(definition.table.name, "/t");
    EXPECT_EQ(definition.table_id, 7U);
  }
}

TEST(DecoderTest, AParameterOfAnotherTypeIsUnusable) {
  Bytes bytes = definition_bytes({7, table_of("/t", KeyType::kIp, 4, bits({10})), 0});
  bytes[bytes.size() - 4] = 11;
  Definition definition;
  std::string why;
  EXPECT_EQ(decode_definition(bytes, definition, why), DefinitionVerdict::kUnusable);
  EXPECT_EQ(why,
            "table /t: parameters of data type 11 where those of 10 (http_req_rate) should be");
}

TEST(DecoderTest, KeysMustHaveAKnownTypeAndItsLength) {
  const struct {
    u32 type;
    u32 bytes;
    bool good;
  } cases[] = {{2, 4, true},  {2, 5, false}, {4, 4, true},  {4, 16, false},
               {5, 16, true}, {5, 4, false}, {6, 2, true},  {6, 1, false},
               {6, 0, false}, {7, 1, true},  {7, 0, false}, {0, 4, false},
               {1, 4, false}, {3, 4, false}, {8, 4, false}, {6, 300, true}};
  for (const auto& c : cases) {
    Bytes bytes = unhex("01022f74");
    append_varint(bytes, c.type);
    append_varint(bytes, c.bytes);
    append_varint(bytes, 0);
    append_varint(bytes, 0);
    Definition definition;
    std::string why;
    EXPECT_EQ(decode_definition(bytes, definition, why),
              c.good ? DefinitionVerdict::kGood : DefinitionVerdict::kUnusable)
        << c.type << " " << c.bytes;
  }
}

TEST(DecoderTest, ArraysHave1To100Elements) {
  for (const u32 elements : {0U, 1U, 100U, 101U, 4000000000U}) {
    Bytes bytes = unhex("01022f740404");
    append_varint(bytes, bits({23}));
    append_varint(bytes, 1000);
    append_varint(bytes, 23);
    append_varint(bytes, elements);
    Definition definition;
    std::string why;
    EXPECT_EQ(decode_definition(bytes, definition, why), elements >= 1 && elements <= 100
                                                             ? DefinitionVerdict::kGood
                                                             : DefinitionVerdict::kUnusable)
        << elements;
  }
}

TEST(DecoderTest, UnknownDataTypesAreToldApartAndTheirParametersSkipped) {
  Bytes bytes = unhex("01022f740404");
  append_varint(bytes, bits({2, 27, 40, 63}));
  append_varint(bytes, 1000);
  bytes.insert(bytes.end(), {27, 5, 40, 9});
  Definition definition;
  std::string why;
  EXPECT_EQ(decode_definition(bytes, definition, why), DefinitionVerdict::kGood);
  EXPECT_EQ(definition.table.data_types, bits({2}));
  EXPECT_EQ(definition.unknown_types, bits({27, 40, 63}));
  EXPECT_EQ(definition.table.cells(), 1U);
}

TEST(DecoderTest, ALongNameIsUnusable) {
  Bytes bytes = unhex("01");
  append_varint(bytes, 256);
  bytes.insert(bytes.end(), 256, 'n');
  bytes.insert(bytes.end(), {4, 4, 0, 0});
  Definition definition;
  std::string why;
  EXPECT_EQ(decode_definition(bytes, definition, why), DefinitionVerdict::kUnusable);
  EXPECT_TRUE(definition.table.name.empty());
}

TEST(DecoderTest, LongTextsAreCutInReasons) {
  EXPECT_EQ(printable(std::string(200, 'x')), std::string(80, 'x') + "...");
  EXPECT_EQ(printable("plain \x80"), "plain \\x80");
}

TEST(DecoderTest, ReasonsArePrintable) {
  Definition definition;
  std::string why;
  EXPECT_EQ(definition_of("01030a1b220904", definition, why), DefinitionVerdict::kMalformed);
  EXPECT_EQ(why, "table \\x0a\\x1b\\x22: key type, key length or data types are missing");
}

// --- rows ---

struct Row {
  bool good = false;
  Update update;
  std::vector<u64> cells;
  RowTrouble trouble;
};

class RowTest : public testing::Test {
 protected:
  Row decode(const shm::TableDefinition& table, std::string_view payload, u8 type = kUpdate,
             u32 last_id = 0, Elapsed elapsed = Elapsed::kClean) {
    const RowShape shape(table);
    bytes_ = unhex(payload);
    Row row;
    row.cells.resize(shape.cells());
    row.good = decode_update(type, bytes_, last_id, table, shape, received_, strings_, elapsed,
                             row.update, row.cells.data(), row.trouble);
    return row;
  }

  Bytes bytes_;
  ReceivedStrings received_;
  StringTable strings_;
};

TEST_F(RowTest, IdsAndExpiryDependOnTheType) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({2}));
  Row row = decode(table, "00000007000000050b", kUpdate);
  EXPECT_TRUE(row.good);
  EXPECT_EQ(row.update.id, 7U);
  EXPECT_FALSE(row.update.timed);
  EXPECT_EQ(row.cells[0], 11U);

  row = decode(table, "000000050b", kIncremental, 0xffffffff);
  EXPECT_TRUE(row.good);
  EXPECT_EQ(row.update.id, 0U);

  row = decode(table, "8000000700000064000000050b", kTimedUpdate);
  EXPECT_TRUE(row.good);
  EXPECT_EQ(row.update.id, 0x80000007U);
  EXPECT_TRUE(row.update.learned);
  EXPECT_TRUE(row.update.timed);
  EXPECT_EQ(row.update.expire_ms, 100U);

  row = decode(table, "00000064000000050b", kTimedIncremental, 8);
  EXPECT_TRUE(row.good);
  EXPECT_EQ(row.update.id, 9U);
  EXPECT_FALSE(row.update.learned);
}

TEST_F(RowTest, StringKeysEndAtTheFirstNulAndAtTheirLength) {
  const shm::TableDefinition table = table_of("t", KeyType::kString, 5, bits({2}));
  EXPECT_EQ(test::text_of(decode(table, "00000001046162636409").update.key), "abcd");
  Row row = decode(table,
                   "0000000106616263646566"
                   "09");
  EXPECT_EQ(test::text_of(row.update.key), "abcd");
  EXPECT_EQ(row.cells[0], 9U) << "the rest of the key was not skipped";
  row = decode(table,
               "0000000104"
               "61006364"
               "09");
  EXPECT_EQ(test::text_of(row.update.key), "a");
  EXPECT_EQ(row.cells[0], 9U);
  row = decode(table,
               "0000000100"
               "09");
  EXPECT_TRUE(row.good);
  EXPECT_TRUE(row.update.key.empty());
}

TEST_F(RowTest, ARowCutAnywhereIsMalformed) {
  const shm::TableDefinition table = table_of("t", KeyType::kIpv6, 16, bits({0, 2, 3, 13, 19}));
  const std::string whole =
      "00000001"
      "20010db8000000000000000000000001"
      "fbf0fefefefefefefe0e"
      "f001"
      "f101f201f301"
      "f0f1fefefefefefefe06"
      "050103776562";
  ASSERT_TRUE(decode(table, whole).good);
  for (size_t size = 0; size < whole.size(); size += 2) {
    const Row row = decode(table, whole.substr(0, size));
    EXPECT_FALSE(row.good) << size;
    EXPECT_EQ(row.trouble.in_key, size < 40) << size;
  }
  const Row row = decode(table, whole.substr(0, whole.size() - 2));
  EXPECT_EQ(row.trouble.columns, 4U);
  EXPECT_EQ(row.trouble.of, 5U);
  EXPECT_EQ(row.trouble.left, 5U);
}

TEST_F(RowTest, BytesBehindTheLastColumnAreIgnored) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({2}));
  const Row row = decode(table, "00000007000000050bffffff");
  EXPECT_TRUE(row.good);
  EXPECT_EQ(row.cells, std::vector<u64>{11});
}

TEST_F(RowTest, WideValuesAreCutTo32BitsAsHaproxyDoes) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({0, 2, 3, 13}));
  const std::string max = "fff0fefefefefefefe0e";
  const Row row = decode(table, "0000000700000005" + max + max + "f0f1fefe7e" + max + max + max);
  ASSERT_TRUE(row.good);
  EXPECT_EQ(row.cells, (std::vector<u64>{0xffffffff, 0xffffffff, 0, 0xffffffff, 0xffffffff,
                                         0xffffffffffffffff}));
}

TEST_F(RowTest, ElapsedFromHalfOfTheClockOnIsZero) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({3}));
  const std::string head = "0000000700000005";
  const auto elapsed = [&](u64 value, Elapsed mode) {
    Bytes bytes;
    append_varint(bytes, value);
    const Row row = decode(table, head + hex(bytes) + "0102", kUpdate, 0, mode);
    EXPECT_TRUE(row.good);
    EXPECT_EQ(row.cells[1], 1U);
    EXPECT_EQ(row.cells[2], 2U);
    return row.cells[0];
  };
  EXPECT_EQ(elapsed(0x7fffffff, Elapsed::kClean), 0x7fffffffU);
  EXPECT_EQ(elapsed(0x80000000, Elapsed::kClean), 0U);
  EXPECT_EQ(elapsed(4294967289, Elapsed::kClean), 0U);
  EXPECT_EQ(elapsed(4294967289, Elapsed::kAsIs), 4294967289U);
}

TEST_F(RowTest, DictionaryValuesTravelInFullThenAsTheirId) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({19}));
  const std::string head = "0000000700000005";
  EXPECT_EQ(strings_.text(static_cast<u32>(decode(table, head + "050103776562").cells[0])), "web");
  EXPECT_EQ(strings_.text(static_cast<u32>(decode(table, head + "0101").cells[0])), "web");
  EXPECT_EQ(decode(table, head + "00").cells[0], 0U) << "no value";
  EXPECT_EQ(decode(table, head + "0102").cells[0], 0U) << "an id never told is no error";
  EXPECT_EQ(strings_.text(static_cast<u32>(decode(table, head + "0501036170"
                                                                "69")
                                               .cells[0])),
            "api");
  EXPECT_EQ(strings_.text(static_cast<u32>(decode(table, head + "0101").cells[0])), "api");
}

TEST_F(RowTest, DictionaryValuesEndAtANulAndEmptyOnesAreNone) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({19}));
  const std::string head = "0000000700000005";
  EXPECT_EQ(strings_.text(static_cast<u32>(decode(table, head + "050103610062").cells[0])), "a");
  EXPECT_EQ(decode(table, head + "020200").cells[0], 0U);
  EXPECT_EQ(strings_.size(), 1U);
}

TEST_F(RowTest, MalformedDictionaryValues) {
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({19}));
  const std::string head = "0000000700000005";
  for (const char* value : {
           "",                // nothing
           "05",              // length, then the end
           "0501037765",      // shorter than its length
           "0100",            // id 0
           "018100",          // id 129 alone is "01 81", the 00 is surplus
           "058103776562",    // id 129 with a value
           "020105",          // value longer than the entry
           "03010577656273",  // the same, though the payload is long enough
           "01f000",          // id does not end within the entry
           "0301f000",        // value length does not end within the entry
       }) {
    EXPECT_FALSE(decode(table, head + value).good) << value;
  }
}

TEST_F(RowTest, ADictionaryEntryLongerThanItsContentIsReadOnAsTheNextColumn) {
  // peers-protocol 5.4; glitch_cnt follows server_key.
  const shm::TableDefinition table = table_of("t", KeyType::kInteger, 4, bits({19, 25}));
  const Row row = decode(table,
                         "0000000700000005"
                         "0601037765620c"
                         "0d");
  ASSERT_TRUE(row.good);
  EXPECT_EQ(row.cells[1], 12U);
}

TEST(DecoderTest, TheWidestRowHasAsManyCellsAsPromised) {
  shm::TableDefinition table = table_of("t", KeyType::kIp, 4, shm::kKnownDataTypes);
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    table.elements[bit] = shm::data_type(bit).array ? u16{shm::kMaxElements} : u16{1};
  }
  EXPECT_EQ(RowShape(table).cells(), kMaxRowCells);
}

// --- handshake lines, switches, acks ---

TEST(DecoderTest, VersionsAreReadAsDecimalNumbers) {
  u32 minor = 9;
  EXPECT_EQ(decode_hello_version("HAProxyS 2.1", minor), HelloError::kNone);
  EXPECT_EQ(minor, 1U);
  EXPECT_EQ(decode_hello_version("HAProxyS 002.000", minor), HelloError::kNone);
  EXPECT_EQ(minor, 0U);
  for (const char* line :
       {"HAProxyS 2", "HAProxyS 2.", "HAProxyS 2.1 ", "HAProxyS 2.2", "HAProxyS 1.1",
        "HAProxyS  2.1", "HAProxyS ", "HAProxyS 2,1", "HAProxyS -2.1",
        "HAProxyS 18446744073709551618.1", "HAProxyS 2.4294967297"}) {
    EXPECT_EQ(decode_hello_version(line, minor), HelloError::kVersion) << line;
  }
  for (const char* line :
       {"", "HAProxyS", "HAProxyS2.1", "haproxys 2.1", " HAProxyS 2.1", "GET /"}) {
    EXPECT_EQ(decode_hello_version(line, minor), HelloError::kProtocol) << line;
  }
}

TEST(DecoderTest, TheThirdLineNeedsASpaceAndNothingElse) {
  Hello hello;
  EXPECT_EQ(decode_hello_names("lineq", hello), HelloError::kProtocol);
  EXPECT_EQ(decode_hello_names("lineq ", hello), HelloError::kNone);
  EXPECT_EQ(hello.name, "lineq");
  EXPECT_EQ(hello.pid, 0U);
  EXPECT_EQ(decode_hello_names("lineq 4711 1", hello), HelloError::kNone);
  EXPECT_EQ(hello.pid, 4711U);
  EXPECT_EQ(decode_hello_names("lineq a b c", hello), HelloError::kNone);
  EXPECT_EQ(hello.pid, 0U);
}

TEST(DecoderTest, OnlyTheLeadingNumberOfAStatusCounts) {
  EXPECT_EQ(decode_status("200"), 200U);
  EXPECT_EQ(decode_status("200 ok"), 200U);
  EXPECT_EQ(decode_status("503"), 503U);
  EXPECT_EQ(decode_status("ok 200"), 0U);
  EXPECT_EQ(decode_status(""), 0U);
  EXPECT_EQ(decode_status("99999999999999999999"), 4294967295U);
}

TEST(DecoderTest, ShortSwitchesAndAcksAreMalformed) {
  u64 id = 0;
  Ack ack;
  EXPECT_FALSE(decode_switch({}, id));
  EXPECT_FALSE(decode_switch(unhex("f0"), id));
  EXPECT_TRUE(decode_switch(unhex("05ffff"), id));
  EXPECT_EQ(id, 5U);
  EXPECT_FALSE(decode_ack({}, ack));
  EXPECT_FALSE(decode_ack(unhex("01000000"), ack));
  EXPECT_TRUE(decode_ack(unhex("0100000007ff"), ack));
  EXPECT_EQ(ack.update_id, 7U);
}

TEST(DecoderTest, ABatchIsFullAt32RowsOrWhenItsCellsAreUsedUp) {
  UpdateBatch batch;
  for (u32 i = 0; i < UpdateBatch::kUpdates; ++i) {
    ASSERT_TRUE(batch.fits(1));
    batch.add(1);
  }
  EXPECT_FALSE(batch.fits(0));
  batch.clear();
  EXPECT_TRUE(batch.empty());
  for (u32 i = 0; i < UpdateBatch::kCells / kMaxRowCells; ++i) {
    ASSERT_TRUE(batch.fits(kMaxRowCells));
    batch.add(kMaxRowCells);
  }
  EXPECT_FALSE(batch.fits(kMaxRowCells));
}

}  // namespace
}  // namespace lineq::peers
