// The world of the waiting room's end-to-end tests: lineqd in mode vwr, lineq-web, real HAProxys
// with the configuration that lineqd -c writes (or another), a crowd and its site.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/visitors/crowd.h"
#include "shm/room.h"
#include "tests/e2e/generated.h"
#include "tests/e2e/world.h"

namespace lineq::test {

using bench::Crowd;
using bench::CrowdNumbers;
using bench::CrowdPlan;
using bench::CrowdResult;

// How many visitors a long test sends: `usual`, or LINEQ_TEST_CROWD to try more by hand.
u32 crowd_of(u32 usual);

// Room "shop" on shop.example, of short sessions.
cli::RoomSettings shop(u32 capacity);
// The same where who is called and does not come is soon given up.
cli::RoomSettings crowd_room(u32 capacity);

// Looks at one room of a segment all the time, as any reader can.
class RoomWatch {
 public:
  RoomWatch(const Instance& instance, std::string room);
  RoomWatch(const RoomWatch&) = delete;
  RoomWatch& operator=(const RoomWatch&) = delete;
  ~RoomWatch();

  shm::RoomNumbers numbers() const;
  u64 most_places() const;  // highest active + ready ever seen
  // "" if nobody was seen waiting after somebody with a larger ticket had been called.
  std::string order_trouble() const;
  bool wait(const std::function<bool(const shm::RoomNumbers&)>& condition,
            Milliseconds patience = kPatience) const;

 private:
  void run();

  std::string instance_;
  std::string room_;
  mutable std::mutex mutex_;
  shm::RoomNumbers numbers_;
  u64 most_places_ = 0;
  u64 highest_called_ = 0;  // ticket
  std::string overtaken_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class RoomsWorld : public World {
 public:
  // `more`: further keys of the configuration, each with a comma behind it.
  explicit RoomsWorld(std::vector<cli::RoomSettings> rooms, std::string_view more = "");
  // With a file of settings as it is.
  explicit RoomsWorld(std::string_view settings);

  std::vector<cli::RoomSettings> rooms;
  u16 site_port = free_port();
  Crowd crowd{site_port};

  // lineqd, lineq-web and as many HAProxys, of 2.6 and 3.0 in turns, all with a session.
  bool start(std::size_t haproxys, bool master_worker = false);
  // With another configuration than the generated one.
  bool start_with(std::size_t haproxys, const std::string& config, bool master_worker = false);
  std::vector<u16> ports();
  CrowdPlan plan(u32 visitors);  // to all HAProxys, host and path of the first room
  std::unique_ptr<RoomWatch> watch(std::string_view room = "");

  // What visitor `id` of "shop.example" is shown: "shop", "wait" or a status.
  std::string asked(std::size_t haproxy, const std::string& id, std::string_view path = "/");
  // The same as a browser sees it, which follows the redirect of who may enter.
  bool inside(std::size_t haproxy, const std::string& id);
  // As a browser does, whose page may be shown for a moment: a free place is free within moments.
  bool enters(std::size_t haproxy, const std::string& id);

  // What must be true of every crowd that was let through a room of `capacity`; "" or sentences.
  // `haproxys_die`: a HAProxy that is killed may take with it that the site has just ended a
  // session, and the answer that said so: its visitor then asks once more and is still inside.
  std::string trouble_with(const CrowdResult& result, const RoomWatch& watch, u32 capacity,
                           u32 visitors, bool haproxys_die = false) const;
  // Nobody holds a place or waits, and the segment is sound; "" or what is left.
  std::string wait_empty(const RoomWatch& watch, Milliseconds patience = kPatience);
  // The same after a crowd, in a room of `crowd_room`. A ticket without a visitor (an answer was
  // lost with the cookie in it, a request ended after its session) gives its place back when it was
  // called twice in vain; there may be one for each lost answer, and one in a hundred besides.
  std::string wait_served(const RoomWatch& watch, u32 visitors);
};

}  // namespace lineq::test
