#include "tools/view/columns.h"

#include <gtest/gtest.h>

#include "tools/view/filter.h"

namespace lineq::view {
namespace {

shm::TableDefinition storing(std::initializer_list<std::pair<u32, u8>> columns) {
  shm::TableDefinition definition;
  for (const auto& [bit, elements] : columns) {
    definition.data_types |= u64{1} << bit;
    definition.elements[bit] = elements;
    definition.period_ms[bit] = shm::data_type(bit).kind == shm::ValueKind::kRate ? 10000 : 0;
  }
  return definition;
}

TEST(ColumnsTest, AColumnHasTheNamesPeopleWrite) {
  const auto columns = columns_of(storing({{shm::kGpc0, 1}, {shm::kGpcRate, 2}}));
  ASSERT_EQ(columns.size(), 3U);
  EXPECT_EQ(columns[0].name, "gpc0");
  EXPECT_EQ(columns[0].label, "gpc0");
  EXPECT_EQ(columns[0].indexed, "gpc0");
  EXPECT_EQ(columns[2].name, "gpc1_rate");
  EXPECT_EQ(columns[2].label, "gpc1_rate(10000)");
  EXPECT_EQ(columns[2].indexed, "gpc_rate[1]");
}

TEST(ColumnsTest, EverySpellingFindsTheColumn) {
  const shm::TableDefinition array = storing({{shm::kGpc, 3}, {shm::kGpcRate, 2}});
  const shm::TableDefinition single = storing({{shm::kGpc0, 1}, {shm::kGpc0Rate, 1}});
  for (const std::string_view text : {"gpc0", "gpc[0]", "gpc0_rate", "gpc_rate[0]"}) {
    const auto name = column_name(text);
    ASSERT_TRUE(name.ok()) << text;
    EXPECT_TRUE(find_column(array, *name)) << text;
    EXPECT_TRUE(find_column(single, *name)) << text;
  }
  EXPECT_EQ(find_column(array, column_name("gpc2").value())->element, 2U);
  EXPECT_EQ(find_column(array, column_name("gpc[2]").value())->element, 2U);
  EXPECT_FALSE(find_column(array, column_name("gpc3").value()));
  EXPECT_FALSE(find_column(single, column_name("gpc1").value()));
  EXPECT_EQ(column_name("server_name").value(), "server_key");
}

TEST(ColumnsTest, WhatNoTableHasIsNamed) {
  const auto mistake = [](std::string_view text) { return column_name(text).error().what; };
  EXPECT_EQ(mistake("gcp0"), "unknown data type 'gcp0'; did you mean 'gpc0'?");
  EXPECT_EQ(mistake("gpc"), "'gpc' is an array: say which element, as in 'gpc[0]'");
  EXPECT_EQ(mistake("gpc[100]"), "unknown data type 'gpc[100]'");
  EXPECT_EQ(mistake("gpc[x]"),
            "'gpc[x]' is not a data type; arrays are gpt[N], gpc[N] and gpc_rate[N]");
  EXPECT_EQ(mistake("conn_cnt[1]"),
            "'conn_cnt[1]' is not a data type; arrays are gpt[N], gpc[N] and gpc_rate[N]");
}

}  // namespace
}  // namespace lineq::view
