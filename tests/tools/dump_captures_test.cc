// What lineq-dump prints for a recorded conversation is what HAProxy's own `show table` printed.
#include <gtest/gtest.h>

#include "daemon/peers/session.h"
#include "tests/support/haproxy.h"
#include "tests/tools/dump_support.h"

namespace lineq::dump {
namespace {

// The strings of the segment for the codec.
class SegmentStrings : public peers::Strings {
 public:
  explicit SegmentStrings(shm::Writer& writer) : writer_(writer) {}
  u32 intern(std::string_view text) override { return writer_.intern(text); }
  std::string_view text(u32 id) override { return writer_.dictionary_text(id); }

 private:
  shm::Writer& writer_;
};

// Stores everything a session tells.
class Store : public peers::SessionEvents {
 public:
  explicit Store(shm::Writer& writer) : writer_(writer) {}

  peers::HelloDecision on_hello(const peers::Hello&) override {
    return peers::HelloDecision::accept();
  }
  bool on_definition(peers::SessionTable& table) override {
    const auto made = writer_.table_for(table.definition, writer_.now());
    return made.ok();
  }
  void on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) override {
    auto made = writer_.table_for(table.definition, writer_.now());
    ASSERT_TRUE(made.ok());
    const shm::ColumnMap columns(table.definition, made->table->info());
    for (const peers::Update& update : updates) {
      shm::Change change;
      change.key = update.key;
      change.cells = update.cells;
      change.timed = update.timed;
      change.expire_ms = update.expire_ms;
      shm::Applied applied;
      made->table->apply(columns, {&change, 1}, kNoPeer, writer_.now(), {&applied, 1});
      ++updates_;
    }
  }
  void on_problem(peers::Problem, std::string_view sentence) override { ADD_FAILURE() << sentence; }
  u64 updates() const { return updates_; }

 private:
  shm::Writer& writer_;
  u64 updates_ = 0;
};

using Tables = std::map<std::string, std::map<std::string, test::TableRow>>;

// Rows by table and key. A rate keeps its column, not its value, which depends on the time; so does
// conn_cur if `taught`, as HAProxy does not learn it (peers-protocol 9.2).
Tables tables_in(const std::string& text, bool taught) {
  Tables tables;
  std::string name;
  std::string part;
  const auto take = [&] {
    for (auto& [key, row] : test::comparable(test::parse_show_table(part))) {
      for (auto& [column, value] : row) {
        if (column.ends_with(')') || (taught && column == "conn_cur")) {
          value.clear();
        }
      }
      tables[name][key] = row;
    }
    part.clear();
  };
  for (const std::string& line : test::lines_of(text)) {
    if (line.starts_with("# table: ")) {
      take();
      name = line.substr(9, line.find(',') - 9);
      name = name.starts_with("lq/") ? name.substr(2) : name;
      tables[name];
      part = line + "\n";
    } else if (!line.starts_with("#") && !line.empty()) {
      part += (line.starts_with("0x") ? line : "0x0: " + line) + "\n";
    }
  }
  take();
  return tables;
}

class DumpCapturesTest : public testing::TestWithParam<std::string> {
 protected:
  // Decodes `stream`, which a HAProxy or, `taught`, our side sent, and compares.
  void compare(const std::string& scenario, const std::string& stream, bool taught) {
    const std::string base = LINEQ_FIXTURES "/captures/" + GetParam() + "-" + scenario;
    const std::string bytes = test::read_file(base + stream);
    ASSERT_FALSE(bytes.empty()) << base << stream;
    SegmentStrings strings(*segment_.writer);
    Store store(*segment_.writer);
    const peers::Hello hello{1, "lineq", "hap1", 1};
    std::optional<peers::Session> session;
    if (taught) {
      session.emplace(peers::SessionConfig{}, hello, strings, store, 0);
    } else {
      session.emplace(peers::SessionConfig{}, strings, store, 0);
    }
    session->feed({reinterpret_cast<const u8*>(bytes.data()), bytes.size()}, 1);
    EXPECT_GT(store.updates(), 0U);

    const test::Finished dump = segment_.dump({"-a"});
    ASSERT_EQ(dump.exit_code, 0) << dump.err;
    const Tables ours = tables_in(dump.out, taught);
    const Tables haproxys = tables_in(test::read_file(base + ".showtable.txt"), taught);
    EXPECT_GT(haproxys.size(), 0U);
    for (const auto& [name, rows] : haproxys) {
      const auto found = ours.find(name);
      ASSERT_NE(found, ours.end()) << name;
      EXPECT_EQ(found->second, rows) << name;
    }
    EXPECT_EQ(segment_.dump({"--verify"}).exit_code, 0);
  }

  Segment segment_;
};

TEST_P(DumpCapturesTest, AllTypesLookAsInHaproxy) {
  compare("alltypes", ".h2p.bin", false);
}

TEST_P(DumpCapturesTest, ALoadedTableLooksAsInHaproxy) {
  compare("load", ".h2p.bin", false);
}

TEST_P(DumpCapturesTest, WhatHaproxyWasTaughtLooksAsInHaproxy) {
  compare("learn", ".p2h.bin", true);
}

INSTANTIATE_TEST_SUITE_P(Versions, DumpCapturesTest, testing::Values("2.6", "3.0", "3.5"),
                         [](const auto& version) {
                           return "V" + version.param.substr(0, 1) + "_" + version.param.substr(2);
                         });

}  // namespace
}  // namespace lineq::dump
