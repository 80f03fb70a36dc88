// Every store of the writer in turn is the last one before death (build option crash_points).
// Afterwards every invariant holds and the state is that before or after the operation under way:
// all or nothing.
#include <functional>
#include <map>

#include <sys/mman.h>
#include <sys/wait.h>

#include "shm/intent.h"
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

const TableDefinition kTable = define("users", KeyType::kString, 37, {kGpc0, kGpc1});
const TableDefinition kWide = define("users", KeyType::kString, 37, {kGpc0, kGpc1, kConnCnt});

// Key -> (gpc0, gpc1)
using Model = std::map<std::string, std::pair<u64, u64>>;

struct Operation {
  std::function<void(Writer&)> on_writer;
  std::function<void(Model&)> on_model;
};

Table& users(Writer& writer) {
  return *writer.table(writer.tables().at(0));
}

Operation put(std::string key, u64 value) {
  return {[=](Writer& w) {
            set(users(w), kTable, key, {value, value + 1}, 10);
          },
          [=](Model& m) {
            m[key] = {value, value + 1};
          }};
}
Operation erase(std::string key) {
  return {[=](Writer& w) {
            if (const auto slot = users(w).find(bytes(key))) {
              users(w).erase(*slot, FeedKind::kErase, kNoPeer, 10);
            }
          },
          [=](Model& m) { m.erase(key); }};
}

struct Script {
  u32 prefill = 0;  // entries made before crashes begin
  std::vector<Operation> operations;
};

Script changes() {
  Script script;
  script.prefill = 40;
  for (u64 i = 0; i < 12; ++i) {
    script.operations.push_back(put(fmt::format("new{}", i), i));
    script.operations.push_back(put(fmt::format("key{}", i), 100 + i));
    script.operations.push_back(erase(fmt::format("key{}", 20 + i)));
  }
  script.operations.push_back({[](Writer& w) { (void)w.intern("server"); }, [](Model&) {}});
  script.operations.push_back({[](Writer& w) {
                                 (void)w.peer_up({"hap", "lineq", "127.0.0.1", 5}, 10);
                               },
                               [](Model&) {}});
  script.operations.push_back({[](Writer& w) { w.peer_down(PeerNo{0}, 10); }, [](Model&) {}});
  script.operations.push_back(
      {[](Writer& w) { (void)w.table_for(define("other", KeyType::kIp, 4, {kGpc0}), 10); },
       [](Model&) {}});
  return script;
}

// The index doubles: 2868 of 3584 places is the switch, then four buckets an insert.
Script growth() {
  Script script;
  script.prefill = 2864;
  for (u64 i = 0; i < 150; ++i) {
    script.operations.push_back(put(fmt::format("new{}", i), i));
    if (i % 5 == 0) {
      script.operations.push_back(erase(fmt::format("key{}", i)));
    }
  }
  return script;
}

Script widening() {
  Script script;
  script.prefill = 100;
  script.operations.push_back({[](Writer& w) { (void)w.table_for(kWide, 10); }, [](Model&) {}});
  script.operations.push_back(put("new", 1));
  return script;
}

// A change of two tables at once. A key of the model is in both, or in none.
Operation both(std::string key, u64 value) {
  return {[=](Writer& w) {
            Table& table = users(w);
            Table& totals =
                *w.table_for(define("users", KeyType::kString, 37, {kGpc0}), 10, TableRole::kLedger)
                     ->table;
            Together change(w);
            const u32 tag = table.tag_of(bytes(key));
            const auto old = table.find(tag, bytes(key));
            const auto old_total = totals.find(tag, bytes(key));
            u64* image =
                old ? change.update(table, *old, tag) : change.insert(table, bytes(key), tag, 10);
            u64* total = old_total ? change.update(totals, *old_total, tag)
                                   : change.insert(totals, bytes(key), tag, 10);
            const std::vector<u64> cells{value, value + 1};
            put_times(image, Tick{100'000}, Tick{10});
            put_cells(ColumnMap(kTable, table.info()), cells.data(), Tick{10}, image);
            put_times(total, std::nullopt, Tick{10});
            total[totals.info().geometry.offset[kGpc0] / 8] = value;
            change.land(kNoPeer, 10);
          },
          [=](Model& m) {
            m[key] = {value, value + 1};
            m["total of " + key] = {value, 0};
          }};
}

Script together() {
  Script script;
  script.prefill = 6;
  // The ledger is made before; its making has crash points enough elsewhere.
  script.operations.push_back({[](Writer& w) {
                                 (void)w.table_for(define("users", KeyType::kString, 37, {kGpc0}),
                                                   10, TableRole::kLedger);
                               },
                               [](Model&) {}});
  for (u64 i = 0; i < 4; ++i) {
    script.operations.push_back(both(fmt::format("new{}", i), i));
    script.operations.push_back(both(fmt::format("key{}", i), 100 + i));
    script.operations.push_back(both(fmt::format("key{}", i), 200 + i));
  }
  return script;
}

struct Progress {
  u32 operation;  // under way
};

// Runs the script; the k-th crash point ends it. False when it came to its end.
bool crash_at(const TempInstance& instance, const Script& script, u64 k, Progress& progress) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto attached = Writer::attach(instance.options());
    if (!attached) {
      ::_exit(1);
    }
    Writer& writer = **attached;
    (void)writer.table_for(kTable, 0);
    for (u32 i = 0; i < script.prefill; ++i) {
      set(users(writer), kTable, fmt::format("key{}", i), {i, i + 1}, 10);
    }
    crash_countdown = k;
    for (u32 i = 0; i < script.operations.size(); ++i) {
      progress.operation = i;
      script.operations[i].on_writer(writer);
    }
    crash_countdown = 0;
    progress.operation = static_cast<u32>(script.operations.size());
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_TRUE(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == kCrashExit) << WEXITSTATUS(status);
  return WEXITSTATUS(status) == kCrashExit;
}

Model read_all(Writer& writer) {
  Model model;
  for (const u16 no : writer.tables()) {
    Table& table = *writer.table(no);
    for (u32 slot = 0; slot < table.high_water() && table.info().definition.name == "users";
         ++slot) {
      const EntryView entry = table.at(slot);
      if (entry.live()) {
        const bool total = table.info().role == TableRole::kLedger;
        model[(total ? "total of " : "") + std::string(entry.key_chars())] = {
            entry.value(kGpc0), total ? 0 : entry.value(kGpc1)};
        EXPECT_EQ(table.find(entry.key()), slot);
      }
    }
  }
  return model;
}

void check(const TempInstance& instance, const Script& script, const Progress& progress) {
  ASSERT_EQ(findings(instance), "") << "before the repair";
  auto writer = attach(instance);
  ASSERT_EQ(writer->attached_as(), Attach::kRecovered) << writer->attach_note();
  Model before;
  for (u32 i = 0; i < script.prefill; ++i) {
    before[fmt::format("key{}", i)] = {i, i + 1};
  }
  for (u32 i = 0; i < progress.operation && i < script.operations.size(); ++i) {
    script.operations[i].on_model(before);
  }
  Model after = before;
  if (progress.operation < script.operations.size()) {
    script.operations[progress.operation].on_model(after);
  }
  const Model found = read_all(*writer);
  ASSERT_TRUE(found == before || found == after)
      << "in the middle of operation " << progress.operation;
  // And life goes on.
  set(users(*writer), kTable, "afterwards", {1, 2}, 20);
  while (!writer->work_some()) {
  }
  ASSERT_TRUE(users(*writer).find(bytes("afterwards")).has_value());
  writer->stop();
  writer.reset();
  ASSERT_EQ(findings(instance), "");
}

class CrashPointsTest : public testing::Test {
 protected:
  void SetUp() override {
    progress_ = static_cast<Progress*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(progress_, MAP_FAILED);
  }
  void TearDown() override { ::munmap(progress_, 4096); }

  // Every crash point, or every `stride`-th of a long script; returns how many.
  u64 enumerate(const Script& script, u64 stride) {
    u64 crashes = 0;
    for (u64 k = 1;; k += stride) {
      TempInstance instance;
      SCOPED_TRACE(fmt::format("crash point {}", k));
      const bool crashed = crash_at(instance, script, k, *progress_);
      check(instance, script, *progress_);
      if (!crashed || HasFatalFailure()) {
        return crashes;
      }
      ++crashes;
    }
  }

  Progress* progress_ = nullptr;
};

TEST_F(CrashPointsTest, EveryStoreOfEveryChange) {
  EXPECT_GT(enumerate(changes(), 1), 400U);
}

TEST_F(CrashPointsTest, TwoTablesAtOnce) {
  EXPECT_GT(enumerate(together(), 1), 200U);
}

TEST_F(CrashPointsTest, AGrowingIndex) {
  EXPECT_GT(enumerate(growth(), 5), 500U);
}

TEST_F(CrashPointsTest, AWidenedTable) {
  EXPECT_GT(enumerate(widening(), 1), 100U);
}

// Dying again while making whole what the first death left.
TEST_F(CrashPointsTest, ACrashDuringRecovery) {
  const Script script = changes();
  u64 crashes = 0;
  for (u64 k = 5; k < 400; k += 37) {
    for (u64 j = 1;; ++j) {
      TempInstance instance;
      SCOPED_TRACE(fmt::format("crash point {}, then {} of the recovery", k, j));
      ASSERT_TRUE(crash_at(instance, script, k, *progress_));
      const pid_t child = ::fork();
      if (child == 0) {
        crash_countdown = j;
        const auto writer = Writer::attach(instance.options());
        ::_exit(writer.ok() ? 0 : 1);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      ASSERT_TRUE(WIFEXITED(status));
      check(instance, script, *progress_);
      if (HasFatalFailure() || WEXITSTATUS(status) == 0) {
        break;
      }
      ++crashes;
    }
  }
  EXPECT_GT(crashes, 50U);
}

}  // namespace
}  // namespace lineq::shm
