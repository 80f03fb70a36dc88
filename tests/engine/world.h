// The smallest world an Engine lives in: a real segment under a private name, HAProxys that are
// sessions in memory, and a clock that the test moves.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/engine/engine.h"
#include "shm/reader.h"
#include "shm/writer.h"
#include "tests/support/fake_peer.h"
#include "tests/support/instance.h"

namespace lineq::test {

// A HAProxy as lineqd meets it. Bytes move only in World::settle().
class Hap : private peers::SessionEvents {
 public:
  struct Row {
    std::string table;
    std::string key;
    std::vector<u64> cells;
    bool timed = false;
    u32 expire_ms = 0;
    u64 data_types = 0;  // of the table as it was defined then
  };

  Hap(const peers::Hello& hello, std::string from, SegmentMs now);
  Hap(std::string at, SegmentMs now);  // is called
  Hap(const Hap&) = delete;
  Hap& operator=(const Hap&) = delete;
  ~Hap() override = default;

  void define(u32 table, const shm::TableDefinition& definition);
  void update(u32 table, std::string_view key, std::vector<u64> cells,
              std::optional<u32> expire_ms = {});
  // Ends the lesson lineqd asked for, if `teach` did not.
  void finish_lesson() { session->finish_lesson(); }

  // Called when lineqd asks for everything; without, "that was all".
  std::function<void()> teach;

  std::unique_ptr<peers::Session> session;
  engine::Peer* peer = nullptr;  // lineqd's side; null when lineqd is rid of it
  std::string address;
  bool reads = true;

  // What it was sent, in order.
  std::vector<Row> rows;
  std::map<std::string, shm::TableDefinition> definitions;
  u64 lessons_finished = 0;
  std::map<u32, u32> acked;  // by table

  u64 times(std::string_view key) const;
  const Row* last(std::string_view key) const;
  // Of all keys, as long as `rows` stays as it is: for those who look at thousands of them.
  std::unordered_map<std::string_view, const Row*> last_of_each() const;

 private:
  peers::HelloDecision on_hello(const peers::Hello& hello) override;
  bool on_definition(peers::SessionTable& table) override;
  void on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) override;
  void on_ack(u32 our_table, u32 update_id) override;
  void on_resync_request() override;
  void on_lesson_end(bool partial) override;

  MemoryStrings strings_;
};

class World {
 public:
  explicit World(const engine::EngineOptions& options = {}, shm::WriterOptions segment = {});

  // Connects and says hello; what it has defined and queued goes out in settle().
  Hap& connect(std::string_view name, u32 pid = 1, std::string_view address = "10.0.0.1",
               std::string_view target = "lineq");
  Hap& connect(std::string_view name, u32 pid, const engine::Endpoint& from,
               std::string_view target);
  // lineqd calls it.
  Hap& dial(std::string_view name, std::string_view address = "10.0.0.1",
            std::string_view own_name = "lineq");
  // One connection without a session of ours behind it.
  engine::Peer* stranger(std::string_view address = "10.0.0.9");
  // Its process dies.
  void disconnect(Hap& hap);
  // Lets bytes flow until nobody has anything to say.
  void settle();
  // Moves the clock in steps of a tick and settles after each.
  void pass(u64 ms);
  // Nobody runs for so long. What was on its way waits for settle().
  void stand_still(u64 ms);
  // A new Engine on a newly attached segment, as after a kill; all HAProxys are gone.
  void restart();

  shm::Writer& writer() { return *writer_; }
  engine::Engine& engine() { return *engine_; }
  SegmentMs now() const { return now_; }
  const std::string& instance() const { return instance_.name(); }
  shm::Table* table(std::string_view name);
  // The entry, or nothing when it is absent or expired.
  std::optional<shm::EntryView> entry(std::string_view name, std::string_view key);
  u64 counter(shm::DaemonCounter c);
  u64 table_counter(std::string_view name, shm::TableCounter c);

 private:
  bool exchange(Hap& hap);

  TempInstance instance_;
  engine::EngineOptions options_;
  shm::WriterOptions segment_;
  std::unique_ptr<shm::Writer> writer_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<std::unique_ptr<Hap>> haps_;
  SegmentMs now_ = 1'000'000;
};

// gpc0 and gpc1, string keys of at most 31 bytes.
shm::TableDefinition counters_table(std::string name = "t", u64 expire_ms = 60'000);
u64 bit(u32 data_type);

}  // namespace lineq::test
