#include "tests/e2e/rooms_world.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "shm/reader.h"
#include "shm/visitor.h"

namespace lineq::test {

u32 crowd_of(u32 usual) {
  const char* const wanted = std::getenv("LINEQ_TEST_CROWD");
  const u64 n = wanted == nullptr ? 0 : std::strtoull(wanted, nullptr, 10);
  return n == 0 ? usual : static_cast<u32>(std::min<u64>(n, 15'000));
}

cli::RoomSettings shop(u32 capacity) {
  cli::RoomSettings room = a_room("shop", "shop.example");
  room.capacity = capacity;
  room.session_ms = 3000;
  room.hold_ms = 20'000;
  room.refresh_ms = 1000;
  return room;
}

cli::RoomSettings crowd_room(u32 capacity) {
  cli::RoomSettings room = shop(capacity);
  room.grace_ms = 5000;
  return room;
}

RoomWatch::RoomWatch(const Instance& instance, std::string room)
    : instance_(instance.name()), room_(std::move(room)), thread_([this] { run(); }) {}

RoomWatch::~RoomWatch() {
  stop_ = true;
  thread_.join();
}

void RoomWatch::run() {
  auto opened = shm::Reader::open({.directory = {}, .instance = instance_, .patience_ms = 10000});
  if (!opened) {
    fmt::print(stderr, "no segment: {}\n", opened.error().what);
    return;
  }
  shm::Reader reader = opened.take();
  shm::FeedCursor cursor;
  std::array<shm::FeedRecord, 512> records{};
  std::map<u64, shm::FeedRecord> waiting;  // by ticket, where
  // Who is there now, of this room.
  const auto visitor_at = [&](const shm::FeedRecord& record) -> std::optional<shm::Visitor> {
    const shm::RoomInfo* const room = reader.find_room(room_);
    const auto& tables = reader.tables();
    const auto table = std::find_if(tables.begin(), tables.end(), [&](const shm::TableInfo& t) {
      return t.no == record.table && t.role == shm::TableRole::kUsers;
    });
    shm::SlotCopy copy;
    shm::EntryView entry;
    if (room == nullptr || table == tables.end() ||
        reader.read_slot(*table, record.slot, copy, entry) != shm::Lookup::kFound) {
      return std::nullopt;
    }
    const shm::Visitor v = shm::Visitor::of(entry);
    return v.room == room->no ? std::optional(v) : std::nullopt;
  };
  while (!stop_) {
    (void)reader.refresh();
    const shm::Followed followed = reader.follow(cursor, records);
    u64 highest = 0;
    for (u32 i = 0; i < followed.records; ++i) {
      const std::optional<shm::Visitor> v = visitor_at(records[i]);
      if (!v) {
        continue;
      }
      if (v->state == shm::VisitorState::kWaiting) {
        waiting.emplace(v->ticket.value, records[i]);
      } else if (shm::holds_place(v->state) || v->state == shm::VisitorState::kExpired ||
                 v->state == shm::VisitorState::kRevoked ||
                 v->state == shm::VisitorState::kLapsed) {
        highest = std::max(highest, v->ticket.value);
      }
    }
    // A record tells that something happened, not in which order things did since: only who still
    // waits, when looked at after another one's call, was overtaken.
    std::string overtaken;
    for (auto at = waiting.begin(); at != waiting.end() && at->first < highest;
         at = waiting.erase(at)) {
      const std::optional<shm::Visitor> v = visitor_at(at->second);
      if (v && v->state == shm::VisitorState::kWaiting && v->ticket.value == at->first) {
        overtaken = fmt::format("ticket {} was called while {} waited", highest, at->first);
      }
    }
    if (const shm::RoomInfo* const room = reader.find_room(room_); room != nullptr) {
      const shm::RoomNumbers now = reader.numbers(*room);
      const std::lock_guard lock(mutex_);
      numbers_ = now;
      most_places_ = std::max(most_places_, now.active + now.ready);
      highest_called_ = std::max(highest_called_, highest);
      overtaken_ = overtaken.empty() ? overtaken_ : overtaken;
    }
    if (followed.records == 0) {
      std::this_thread::sleep_for(Milliseconds(2));
    }
  }
}

shm::RoomNumbers RoomWatch::numbers() const {
  const std::lock_guard lock(mutex_);
  return numbers_;
}

u64 RoomWatch::most_places() const {
  const std::lock_guard lock(mutex_);
  return most_places_;
}

std::string RoomWatch::order_trouble() const {
  const std::lock_guard lock(mutex_);
  return highest_called_ == 0 ? "nobody was seen to be called" : overtaken_;
}

bool RoomWatch::wait(const std::function<bool(const shm::RoomNumbers&)>& condition,
                     Milliseconds patience) const {
  return wait_until([&] { return condition(numbers()); }, patience);
}

RoomsWorld::RoomsWorld(std::vector<cli::RoomSettings> rooms_in, std::string_view more)
    : rooms(std::move(rooms_in)) {
  std::string routes;
  for (const cli::RoomSettings& room : rooms) {
    routes += (routes.empty() ? "" : ", ") + cli::room_json(room);
  }
  write_file(lineq.dir().file("lineq.cfg"),
             fmt::format("{{\"service_mode\": \"vwr\", \"vwr_users_table\": \"timestamps\", {}\n"
                         "\"routes\": [{}]}}\n",
                         more, routes));
}

RoomsWorld::RoomsWorld(std::string_view settings) {
  write_file(lineq.dir().file("lineq.cfg"), settings);
}

bool RoomsWorld::start(std::size_t haproxys, bool master_worker) {
  return start_with(haproxys, generated_config(rooms), master_worker);
}

bool RoomsWorld::start_with(std::size_t haproxys, const std::string& config, bool master_worker) {
  if (!start_daemon() || !start_web()) {
    return false;
  }
  for (std::size_t i = 0; i < haproxys; ++i) {
    if (add(i % 2 == 0 ? HaproxyVersion::k26 : HaproxyVersion::k30, fmt::format("h{}", i), config,
            master_worker,
            {{"web", std::to_string(lineq.web_port())}, {"backend", std::to_string(site_port)}}) ==
        nullptr) {
      return false;
    }
  }
  return wait_sessions();
}

std::vector<u16> RoomsWorld::ports() {
  std::vector<u16> all;
  for (std::size_t i = 0; i < count(); ++i) {
    all.push_back(at(i).http_port());
  }
  return all;
}

CrowdPlan RoomsWorld::plan(u32 visitors) {
  CrowdPlan plan;
  plan.ports = ports();
  plan.host = rooms.front().host.empty() ? "shop.example" : rooms.front().host;
  plan.path = rooms.front().path;
  plan.visitors = visitors;
  return plan;
}

std::unique_ptr<RoomWatch> RoomsWorld::watch(std::string_view room) {
  return std::make_unique<RoomWatch>(lineq, std::string(room.empty() ? rooms.front().name : room));
}

std::string RoomsWorld::asked(std::size_t haproxy, const std::string& id, std::string_view path) {
  const HttpAnswer answer =
      http_get(at(haproxy).http_port(), std::string(path),
               fmt::format("Host: shop.example\r\nCookie: lineq_shop={}\r\n", id));
  return answer.status == 200 && answer.body == "shop\n" ? "shop"
         : answer.status == 200                          ? "wait"
                                                         : std::to_string(answer.status);
}

bool RoomsWorld::inside(std::size_t haproxy, const std::string& id) {
  const std::string first = asked(haproxy, id);
  return first == "shop" || (first == "303" && asked(haproxy, id) == "shop");
}

bool RoomsWorld::enters(std::size_t haproxy, const std::string& id) {
  return wait_until([&] { return inside(haproxy, id); });
}

std::string RoomsWorld::trouble_with(const CrowdResult& result, const RoomWatch& watch,
                                     u32 capacity, u32 visitors, bool haproxys_die) const {
  std::string said;
  const auto want = [&](bool good, const std::string& sentence) {
    said += good ? "" : sentence + "\n";
  };
  want(result.numbers.finished() == visitors,
       fmt::format("{} of {} visitors are done", result.numbers.finished(), visitors));
  want(result.most_inside <= capacity,
       fmt::format("the site had {} at once, not {}", result.most_inside, capacity));
  want(watch.most_places() <= capacity,
       fmt::format("{} places were given at once", watch.most_places()));
  const u32 ends_lost = haproxys_die ? result.numbers.errors : 0;
  want(result.intruders <= ends_lost,
       fmt::format("{} requests of ended sessions", result.intruders));
  want(result.cookies_changed == 0, fmt::format("{} cookies changed", result.cookies_changed));
  want(result.positions_risen == 0, fmt::format("{} positions rose", result.positions_risen));
  const shm::RoomNumbers numbers = watch.numbers();
  want(numbers.counter(shm::RoomCounter::over_limit) == 0,
       fmt::format("over the limit: {}", numbers.counter(shm::RoomCounter::over_limit)));
  want(numbers.counter(shm::RoomCounter::fifo_inversions) == 0,
       fmt::format("inversions: {}", numbers.counter(shm::RoomCounter::fifo_inversions)));
  const std::string order = watch.order_trouble();
  want(order.empty(), order);
  return said.empty() ? "" : said + result.json() + story();
}

std::string RoomsWorld::wait_empty(const RoomWatch& watch, Milliseconds patience) {
  const bool empty = watch.wait(
      [](const shm::RoomNumbers& n) { return n.active + n.ready + n.waiting + n.front == 0; },
      patience);
  const shm::RoomNumbers n = watch.numbers();
  const auto c = [&](shm::RoomCounter counter) { return n.counter(counter); };
  return empty ? lineq.verify()
               : fmt::format(
                     "{} active, {} ready, {} waiting, {} in front are left; {} issued, {} "
                     "granted, {} admitted, {} adopted, {} lapsed, {} expired, {} revoked, {} "
                     "abandoned\n{}{}\n{}",
                     n.active, n.ready, n.waiting, n.front, c(shm::RoomCounter::issued),
                     c(shm::RoomCounter::granted), c(shm::RoomCounter::admitted),
                     c(shm::RoomCounter::adopted), c(shm::RoomCounter::lapsed),
                     c(shm::RoomCounter::expired), c(shm::RoomCounter::revoked),
                     c(shm::RoomCounter::abandoned), crowd.result().json(), story(),
                     run(lineq.command(lineq_dump_path(), {"--queue", rooms.front().name})).out);
}

std::string RoomsWorld::wait_served(const RoomWatch& watch, u32 visitors) {
  const std::string left = wait_empty(watch, std::chrono::seconds(60));
  const u64 issued = watch.numbers().counter(shm::RoomCounter::issued);
  const u64 lost = crowd.numbers().errors;
  if (issued > visitors) {
    fmt::print("{} tickets for {} visitors\n{}\n", issued, visitors, crowd.result().json());
  }
  if (left.empty() && issued > visitors + lost + visitors / 100) {
    return fmt::format("{} tickets for {} visitors, {} answers lost", issued, visitors, lost);
  }
  return left;
}

}  // namespace lineq::test
