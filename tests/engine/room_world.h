// A World in mode vwr, and HAProxys that do what HAProxys with our or lineq-operator's rules do.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "shm/visitor.h"
#include "tests/engine/world.h"

namespace lineq::test {

shm::TableDefinition users_table(u64 expire_ms = 300'000, std::string name = "user");
shm::TableDefinition rooms_table(std::string name = "room");
cli::RoomSettings a_room(std::string name = "shop", u32 capacity = 2);

// Tables, cookies and rules of one HAProxy.
class Gate {
 public:
  Gate(World& world, Hap& hap) : world_(&world), hap_(&hap) {}

  Hap& hap() { return *hap_; }
  // A request of this visitor. True: it goes to the site. The entry is told to lineqd.
  bool request(std::string_view key);
  // What its table says.
  bool may_enter(std::string_view key);
  u64 places(std::string_view room);
  // Its table has lost the entry.
  void purge(std::string_view key);
  // The site's answer ends the session.
  void end_session(std::string_view key);
  // Teaches all it has, as an answer to lineqd's request.
  void teach();
  // The rules of lineq-operator: lets in while the room table has places.
  bool operator_rules = true;

  static constexpr u32 kRooms = 1;
  static constexpr u32 kUsers = 2;

  struct Row {
    u64 gpt0 = 0;
    u64 gpc1 = 0;
    SegmentMs touched = 0;
    bool learned = false;
  };
  std::map<std::string, Row, std::less<>> users;
  std::map<std::string, u64, std::less<>> rooms;

  // Takes over what it was sent since the last look.
  void look();

 private:
  void tell(const std::string& key, const Row& row);

  World* world_;
  Hap* hap_;
  std::size_t seen_ = 0;
};

class RoomWorld : public World {
 public:
  explicit RoomWorld(engine::WaitingRoomOptions rooms = {}, shm::WriterOptions segment = {});

  engine::RoomControl& control() { return *engine().rooms(); }
  void put(const cli::RoomSettings& room);
  // A HAProxy with the two tables, its lesson over.
  Gate gate(std::string_view name = "local", u32 pid = 1,
            const shm::TableDefinition& users = users_table());

  std::optional<shm::Visitor> visitor(std::string_view key);
  shm::VisitorState state(std::string_view key);
  shm::RoomNumbers numbers(std::string_view room = "shop") { return control().numbers(room); }
  u64 count(shm::RoomCounter c, std::string_view room = "shop") { return numbers(room).counter(c); }
  // Of those who wait: 1 = next; 0: does not wait.
  u64 position(std::string_view key);
  // Every invariant of the segment, and that the rooms' numbers are those of their visitors.
  void check();
  // Those who hold a place, counted in the segment.
  u64 holders();

  static engine::EngineOptions options(engine::WaitingRoomOptions rooms);
};

}  // namespace lineq::test
