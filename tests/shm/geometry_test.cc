#include "shm/geometry.h"

#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

TEST(GeometryTest, CommonTablesHaveTheStridesOfTheDesign) {
  EXPECT_EQ(geometry_of(define("t", KeyType::kIp, 4, {kGpc0}))->slot_bytes, 32U);
  EXPECT_EQ(geometry_of(define("t", KeyType::kString, 37, {kGpc1}))->slot_bytes, 64U);
  EXPECT_EQ(
      geometry_of(define("t", KeyType::kString, 73, {kGpc1}), SlotForm::kExtended)->slot_bytes,
      112U);
  EXPECT_EQ(geometry_of(define("t", KeyType::kIpv6, 16, {kHttpReqRate, kBytesOutCnt}))->slot_bytes,
            64U);
}

TEST(GeometryTest, ValuesAreAlignedAndDoNotOverlap) {
  TableDefinition all = define("t", KeyType::kString, 33, {}, 0);
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    all.data_types |= u64{1} << bit;
    all.elements[bit] = data_type(bit).array ? 7 : 1;
  }
  const Geometry g = *geometry_of(all);
  std::vector<bool> used(g.slot_bytes);
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    const bool wide = data_type(bit).kind == ValueKind::kU64;
    const u32 width = (wide ? 8 : 4 * wire_cells(data_type(bit).kind)) * all.elements[bit];
    EXPECT_EQ(g.offset[bit] % (wide ? 8 : 4), 0U);
    for (u32 at = g.offset[bit]; at < g.offset[bit] + width; ++at) {
      ASSERT_FALSE(used[at]) << data_type(bit).name;
      used[at] = true;
    }
  }
  EXPECT_LE(g.key_offset + g.key_capacity, g.used_bytes);
  EXPECT_LE(g.used_bytes, g.slot_bytes);
}

TEST(GeometryTest, DefinitionsThatCannotBeHeldSayWhy) {
  const auto why = [](TableDefinition d) {
    const auto g = geometry_of(d);
    return g.ok() ? std::string() : g.error().what;
  };
  EXPECT_NE(why(define("", KeyType::kIp, 4, {})).find("name"), std::string::npos);
  EXPECT_NE(why(define(std::string(256, 'n'), KeyType::kIp, 4, {})).find("256"), std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kIp, 5, {})).find("must be 4"), std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kIpv6, 4, {})).find("must be 16"), std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kString, 0, {})).find("key length 0"), std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kString, 1, {})).find("key length 1"), std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kString, 5000, {})).find("4096"), std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kIp, 4, {kGpt}, 0, 0)).find("0 elements of gpt"),
            std::string::npos);
  EXPECT_NE(why(define("t", KeyType::kIp, 4, {kGpt}, 0, 101)).find("1 to 100"), std::string::npos);
  EXPECT_EQ(why(define("t", KeyType::kBinary, 4000, {})), "");
}

}  // namespace
}  // namespace lineq::shm
