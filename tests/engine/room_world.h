// A World in mode vwr, and HAProxys that do what HAProxys with our or lineq-operator's rules do.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/peers/encoder.h"
#include "shm/visitor.h"
#include "tests/engine/world.h"

namespace lineq::test {

shm::TableDefinition users_table(u64 expire_ms = 300'000, std::string name = "user");
shm::TableDefinition rooms_table(std::string name = "room");
cli::RoomSettings a_room(std::string name = "shop", u32 capacity = 2);

class RoomWorld;

// Tables, cookies and rules of one HAProxy, process after process. What it learned from lineqd is
// marked as such in its lessons, what it touched itself comes twice (peers-protocol 3.4, 7.3).
class Gate {
 public:
  Gate(RoomWorld& world, std::string name, u32 pid, shm::TableDefinition users);

  bool connected() const { return hap_ != nullptr && hap_->peer != nullptr; }
  void connect();
  void disconnect();
  // A new process with an empty table; connect() it.
  void die();
  // A new process that has learned everything from the old one.
  void reload();
  // Messages to it wait.
  void stall(bool stalled) { hap_->reads = !stalled; }
  Hap& hap() { return *hap_; }

  // A request of this visitor. True: it goes to the site.
  bool request(std::string_view key);
  // What its tables say.
  bool may_enter(std::string_view key);
  u64 places(std::string_view room);
  // The site's answer ends the session.
  void end_session(std::string_view key);
  // Its table was too small.
  void purge(std::string_view key) { rows_.erase(std::string(key)); }
  // An update of the users table, whatever it means.
  void tell(std::string_view key, u64 gpt0, u64 gpc1);
  void tell_room(std::string_view key, u64 gpc0);
  // Takes over what it was sent since the last look.
  void look();

  // The rules of lineq-operator: lets in while the room table has places. Otherwise those of our
  // generated configuration: gpc1 alone.
  bool operator_rules = true;
  // Rows sent to it of this key.
  u64 times(std::string_view key) const { return hap_->times(key); }

 private:
  struct Row {
    u64 gpt0 = 0;
    u64 gpc1 = 0;
    SegmentMs touched = 0;
    bool learned = false;
    u32 id = 0;
  };

  Row& row_of(std::string_view key);
  void touch(std::string_view key, Row& row);
  void define(u32 table);
  void encode(u8 type, std::string_view key, const Row& row);
  void teach();
  void send();

  RoomWorld& world_;
  std::string name_;
  u32 pid_;
  shm::TableDefinition users_;
  Hap* hap_ = nullptr;
  std::size_t seen_ = 0;
  std::map<std::string, Row, std::less<>> rows_;
  std::map<std::string, u64, std::less<>> rooms_;
  u32 last_id_ = 0;
  peers::OutputBuffer out_;
};

class RoomWorld : public World {
 public:
  explicit RoomWorld(engine::WaitingRoomOptions rooms = {}, shm::WriterOptions segment = {});

  engine::RoomControl& control() { return *engine().rooms(); }
  void put(const cli::RoomSettings& room);
  // A HAProxy with the two tables, its lesson over.
  Gate& gate(std::string_view name = "local", u32 pid = 1,
             const shm::TableDefinition& users = users_table());
  // Not connected yet.
  Gate& new_gate(std::string_view name, u32 pid, const shm::TableDefinition& users = users_table());
  const std::vector<std::unique_ptr<Gate>>& gates() const { return gates_; }
  void pass(u64 ms);
  void settle();

  std::optional<shm::Visitor> visitor(std::string_view key);
  shm::VisitorState state(std::string_view key);
  shm::RoomNumbers numbers(std::string_view room = "shop") { return control().numbers(room); }
  u64 count(shm::RoomCounter c, std::string_view room = "shop") { return numbers(room).counter(c); }
  // As pages show it: 1 = next; 0: does not wait.
  u64 position(std::string_view key);
  // Every invariant of the segment, and what the rooms say against their visitors.
  void check(bool limit_too = true);
  // Those who hold a place, counted in the segment.
  u64 holders();

  static engine::EngineOptions options(engine::WaitingRoomOptions rooms);

 private:
  std::vector<std::unique_ptr<Gate>> gates_;
};

}  // namespace lineq::test
