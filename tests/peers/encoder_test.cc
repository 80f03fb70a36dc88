#include "daemon/peers/encoder.h"

#include <algorithm>
#include <random>

#include "tests/peers/support.h"

namespace lineq::peers {
namespace {

using shm::KeyType;
using shm::ValueKind;
using test::Bytes;
using test::hex;
using test::StringTable;
using test::table_of;

// --- the buffer ---

TEST(OutputBufferTest, HoldsWhatWasNotConsumedThroughAnyMixture) {
  std::mt19937_64 random(3);
  OutputBuffer out;
  Bytes model;
  for (int i = 0; i < 20000; ++i) {
    if (random() % 2 == 0) {
      const Bytes bytes(random() % 700, static_cast<u8>(random()));
      out.append(bytes);
      model.insert(model.end(), bytes.begin(), bytes.end());
    } else {
      const size_t gone = random() % (model.size() + 1);
      out.consumed(gone);
      model.erase(model.begin(), model.begin() + static_cast<std::ptrdiff_t>(gone));
    }
    ASSERT_TRUE(std::equal(model.begin(), model.end(), out.pending().begin(), out.pending().end()));
  }
}

TEST(OutputBufferTest, SwapAndMoveTakeTheBytesAlong) {
  OutputBuffer a;
  a.append("abc");
  OutputBuffer b;
  a.swap(b);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(test::text_of(b.pending()), "abc");
  a = std::move(b);
  EXPECT_EQ(test::text_of(a.pending()), "abc");
  a.clear();
  EXPECT_TRUE(a.empty());
}

// --- messages ---

class EncoderTest : public testing::Test {
 protected:
  // The hex of one update, or "" when it is refused.
  std::string update(const shm::TableDefinition& table, std::string_view key,
                     const std::vector<u64>& cells, u8 type = kUpdate, u32 id = 1,
                     u32 expire_ms = 0) {
    OutputBuffer out;
    const bool sent = encode_update(out, type, id, expire_ms, table, RowShape(table),
                                    test::bytes_of(key), cells, sent_, strings_);
    EXPECT_EQ(sent, !out.empty());
    return hex(out.pending());
  }

  SentStrings sent_;
  StringTable strings_;
};

TEST_F(EncoderTest, ControlAndErrorMessages) {
  OutputBuffer out;
  encode_control(out, Control::kResyncRequest);
  encode_control(out, Control::kHeartbeat);
  encode_error(out, ProtocolError::kProtocol);
  encode_error(out, ProtocolError::kSizeLimit);
  encode_switch(out, 300);
  encode_ack(out, {5, 7});
  EXPECT_EQ(hex(out.pending()), "00000004010001010a8302fc030a84050500000007");
}

TEST_F(EncoderTest, BinaryKeysAreFilledWithZeros) {
  const shm::TableDefinition table = table_of("t", KeyType::kBinary, 4, 1U << shm::kGpc0);
  EXPECT_EQ(update(table, "ab", {5}),
            "0a800900000001616200"
            "0005");
  EXPECT_EQ(update(table, "abcd", {5}), "0a8009000000016162636405");
  EXPECT_EQ(update(table, "abcde", {5}), "");
}

TEST_F(EncoderTest, KeysThatDoNotGoWithTheTableAreRefused) {
  EXPECT_EQ(update(table_of("t", KeyType::kIp, 4, 0), "abc", {}), "");
  EXPECT_EQ(update(table_of("t", KeyType::kIpv6, 16, 0), "abcd", {}), "");
  EXPECT_EQ(update(table_of("t", KeyType::kString, 4, 0), "abcd", {}), "");
  EXPECT_NE(update(table_of("t", KeyType::kString, 4, 0), "abc", {}), "");
  EXPECT_NE(update(table_of("t", KeyType::kString, 4, 0), "", {}), "");
}

TEST_F(EncoderTest, ServerIdIsSignExtended) {
  const shm::TableDefinition table = table_of("t", KeyType::kIp, 4, 1U << shm::kServerId);
  EXPECT_EQ(update(table, "abcd", {0xfffffffb}), "0a80120000000161626364fbf0fefefefefefefe0e");
  EXPECT_EQ(update(table, "abcd", {5}),
            "0a80090000000161626364"
            "05");
}

TEST_F(EncoderTest, AMessageOf16384BytesGoesAndOneMoreDoesNot) {
  // Header 5, id 4, key length 3, one byte of data.
  const shm::TableDefinition table = table_of("t", KeyType::kString, 16384, 1U << shm::kGpc0);
  const std::string largest(16384 - 5 - 4 - 3 - 1, 'k');
  EXPECT_EQ(update(table, largest, {1}).size(), 2U * 16384);
  EXPECT_EQ(update(table, largest + 'k', {1}), "");
  EXPECT_EQ(update(table, largest, {240}), "");
}

TEST_F(EncoderTest, ARefusedRowLeavesTheStringRingAlone) {
  const shm::TableDefinition table = table_of("t", KeyType::kString, 16384, 1U << shm::kServerKey);
  const u32 id = strings_.intern("web");
  EXPECT_EQ(update(table, std::string(16370, 'k'), {id}), "");
  EXPECT_EQ(update(table, "k", {id}), "0a800c00000001016b050103776562");
  EXPECT_EQ(update(table, "k", {id}), "0a800800000001016b0101");
}

TEST_F(EncoderTest, AStringIdNobodyKnowsGoesOutAsNone) {
  const shm::TableDefinition table = table_of("t", KeyType::kString, 9, 1U << shm::kServerKey);
  EXPECT_EQ(update(table, "k", {77}), "0a800700000001016b00");
  EXPECT_EQ(update(table, "k", {0}), "0a800700000001016b00");
}

TEST_F(EncoderTest, TheRingOf128StringsWrapsAsInHaproxy) {
  const shm::TableDefinition table = table_of("be", KeyType::kString, 17, 1U << shm::kServerKey);
  for (u32 i = 0; i < 131; ++i) {
    update(table, "k", {strings_.intern("s" + std::to_string(i))});
  }
  // s128 took id 1, s129 id 2, s130 id 3: s3 is the oldest left, s0 has to go in full again.
  EXPECT_EQ(update(table, "k", {strings_.intern("s130")}), "0a800800000001016b0103");
  EXPECT_EQ(update(table, "k", {strings_.intern("s3")}), "0a800800000001016b0104");
  EXPECT_EQ(update(table, "k", {strings_.intern("s127")}), "0a800800000001016b0180");
  EXPECT_EQ(update(table, "k", {strings_.intern("s0")}), "0a800b00000001016b0404027330");
  EXPECT_EQ(update(table, "k", {strings_.intern("s3")}), "0a800b00000001016b0405027333");
}

// --- random round trips ---

struct Random {
  std::mt19937_64 engine;
  explicit Random(u64 seed) : engine(seed) {}
  u64 below(u64 n) { return engine() % n; }
  // All magnitudes alike.
  u64 value() { return engine() >> below(64); }
};

shm::TableDefinition random_table(Random& random) {
  constexpr std::array kKeys{KeyType::kInteger, KeyType::kIp, KeyType::kIpv6, KeyType::kString,
                             KeyType::kBinary};
  const KeyType key = kKeys[random.below(kKeys.size())];
  const u32 key_bytes = key == KeyType::kIpv6     ? 16
                        : key == KeyType::kString ? static_cast<u32>(random.below(300) + 2)
                        : key == KeyType::kBinary ? static_cast<u32>(random.below(300) + 1)
                                                  : 4;
  u64 sparse = random.engine();
  sparse &= random.engine();
  shm::TableDefinition table =
      table_of(std::string(random.below(255) + 1, static_cast<char>('a' + random.below(26))), key,
               key_bytes, sparse & shm::kKnownDataTypes);
  table.expire_ms = random.value();
  for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
    if (table.has(bit) && shm::data_type(bit).array) {
      table.elements[bit] = static_cast<u16>(random.below(shm::kMaxElements) + 1);
    }
    if (table.has(bit) && shm::data_type(bit).kind == ValueKind::kRate) {
      table.period_ms[bit] = static_cast<u32>(random.value());
    }
  }
  return table;
}

Bytes random_key(Random& random, const shm::TableDefinition& table) {
  size_t size = table.key_bytes;
  if (table.key_type == KeyType::kString) {
    size = random.below(table.key_bytes);
  }
  Bytes key(size);
  for (u8& byte : key) {
    byte = static_cast<u8>(random.below(255) + (table.key_type == KeyType::kString ? 1 : 0));
  }
  return key;
}

std::vector<u64> random_cells(Random& random, const RowShape& shape, StringTable& strings) {
  std::vector<u64> cells;
  for (const RowShape::Run& run : shape.runs()) {
    for (u32 i = 0; i < run.count * shm::wire_cells(run.kind); ++i) {
      const u64 value = random.value();
      cells.push_back(run.kind == ValueKind::kU64 ? value
                      : run.kind == ValueKind::kDictionary
                          ? strings.intern("server" + std::to_string(random.below(200)))
                          : value & 0xffffffff);
    }
  }
  return cells;
}

TEST(CodecPropertyTest, WhatIsEncodedDecodesToTheSame) {
  for (u64 seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    StringTable strings;
    SentStrings sent;
    ReceivedStrings received;
    for (int tables = 0; tables < 5; ++tables) {
      const Definition definition{static_cast<u32>(random.value()), random_table(random), 0};
      OutputBuffer out;
      encode_definition(out, definition);
      Frame frame;
      ASSERT_EQ(read_frame(out.pending(), kMaxMessageOut, frame), FrameStatus::kWhole);
      ASSERT_EQ(frame.bytes, out.size());
      Definition back;
      std::string why;
      ASSERT_EQ(decode_definition(frame.payload, back, why), DefinitionVerdict::kGood) << why;
      EXPECT_EQ(back.table_id, definition.table_id);
      EXPECT_EQ(back.table.name, definition.table.name);
      EXPECT_EQ(back.table.key_type, definition.table.key_type);
      EXPECT_EQ(back.table.key_bytes, definition.table.key_bytes);
      EXPECT_EQ(back.table.data_types, definition.table.data_types);
      EXPECT_EQ(back.table.expire_ms, definition.table.expire_ms);
      EXPECT_EQ(back.table.elements, definition.table.elements);
      EXPECT_EQ(back.table.period_ms, definition.table.period_ms);

      const RowShape shape(back.table);
      for (int rows = 0; rows < 20; ++rows) {
        constexpr std::array kTypes{kUpdate, kIncremental, kTimedUpdate, kTimedIncremental};
        const u8 type = kTypes[random.below(kTypes.size())];
        const auto id = static_cast<u32>(random.engine());
        const auto expire_ms = static_cast<u32>(random.engine());
        const Bytes key = random_key(random, back.table);
        const std::vector<u64> cells = random_cells(random, shape, strings);
        out.clear();
        ASSERT_TRUE(
            encode_update(out, type, id, expire_ms, back.table, shape, key, cells, sent, strings));
        ASSERT_EQ(read_frame(out.pending(), kMaxMessageOut, frame), FrameStatus::kWhole);
        ASSERT_EQ(frame.bytes, out.size());
        ASSERT_EQ(frame.type, type);
        Update update;
        std::vector<u64> cells_back(shape.cells());
        RowTrouble trouble;
        ASSERT_TRUE(decode_update(type, frame.payload, id - 1, back.table, shape, received, strings,
                                  Elapsed::kAsIs, update, cells_back.data(), trouble));
        EXPECT_EQ(update.id, id);
        EXPECT_EQ(update.timed, is_timed(type));
        EXPECT_EQ(update.expire_ms, is_timed(type) ? expire_ms : 0);
        EXPECT_TRUE(std::equal(key.begin(), key.end(), update.key.begin(), update.key.end()));
        ASSERT_EQ(cells_back, cells);
      }
    }
  }
}

}  // namespace
}  // namespace lineq::peers
