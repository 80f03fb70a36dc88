// A segment for pages to be looked at, moved from scene to scene by words on stdin, each answered
// by `ok`. Usage: scene INSTANCE
//
//   open      a daemon: a writer with a heartbeat
//   busy      HAProxys with traffic, tables with entries
//   trouble   one HAProxy is down, one silent and behind
//   wrong     tables that are missing or defined otherwise, and impossible values
//   rooms     waiting rooms, one busy, one paused, one with a hostile name
//   parts     what two HAProxys have of 10.0.0.7 of per_address, as in mode acc
//   many N    N HAProxys more, one in a hundred of them down, and 2 N tables
//   fill N    table `many` with N entries, of the values 1 to N
//   stall     the heartbeat stops
//   die       the daemon is gone, as after a kill
//   quit      and nothing is left behind
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "shm/visitor.h"
#include "tests/browser/play.h"
#include "tests/shm/segment.h"
#include "tests/support/acc_segment.h"

namespace lineq {
namespace {

using shm::define;
using shm::KeyType;
using shm::PeerCounter;

class Scene {
 public:
  explicit Scene(std::string instance) : instance_(std::move(instance)) {}

  bool obey(const std::string& line) {
    const std::size_t space = line.find(' ');
    const std::string word = line.substr(0, space);
    u32 n = 0;
    if (space != std::string::npos) {
      std::from_chars(line.data() + space + 1, line.data() + line.size(), n);
    }
    const std::map<std::string, std::function<void()>> words{
        {"open", [&] { open(); }},   {"busy", [&] { busy(); }},   {"trouble", [&] { trouble(); }},
        {"wrong", [&] { wrong(); }}, {"rooms", [&] { rooms(); }}, {"parts", [&] { parts(); }},
        {"fill", [&] { fill(n); }},  {"many", [&] { many(n); }},  {"stall", [&] { stall(); }},
        {"die", [&] { die(); }},
    };
    const auto found = words.find(word);
    if (found == words.end()) {
      return false;
    }
    found->second();
    return true;
  }

  // Every 100 ms.
  void tick() {
    if (writer_ == nullptr || !beating_) {
      return;
    }
    const SegmentMs now = writer_->now();
    writer_->heartbeat(now);
    if (!busy_) {
      return;
    }
    ++ticks_;
    move_rooms();
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (trouble_ && (i == 1 || i == 2)) {
        continue;
      }
      writer_->set_peer_counter(peers_[i], PeerCounter::last_received_ms, now);
      writer_->add_peer_counter(peers_[i], PeerCounter::updates_in, 120 + 37 * i + ticks_ % 9);
      writer_->add_peer_counter(peers_[i], PeerCounter::updates_out, 400 + ticks_ % 7);
    }
    writer_->add_counter(shm::DaemonCounter::updates_in, 700 + ticks_ % 30);
    writer_->add_counter(shm::DaemonCounter::updates_out, 1600 + ticks_ % 30);
    for (u32 i = 0; i < 20; ++i) {
      put(users_, fmt::format("{:08x}-5717-4562-b3fc-2c963f66afa6", i * 2654435761U), {ticks_});
    }
  }

 private:
  void open() {
    shm::WriterOptions options;
    options.instance = instance_;
    options.feed_log2 = 16;
    auto writer = shm::Writer::attach(options);
    if (!writer) {
      fmt::print(stderr, "scene: {}\n", writer.error().what);
      std::exit(1);
    }
    writer_ = writer.take();
    beating_ = true;
  }

  void busy() {
    peers_.clear();
    add_peer("hap-fra1", "10.20.0.11", 812);
    add_peer("hap-fra2", "10.20.0.12", 790);
    add_peer("hap-ams1", "10.30.0.11", 1204);
    // What somebody might call a HAProxy to see what happens.
    add_peer("<img src=x onerror=alert(1)>", "fd00::30:12", 77);
    for (const PeerNo peer : peers_) {
      writer_->set_peer_counter(peer, PeerCounter::lesson_in, 2);
      writer_->set_peer_counter(peer, PeerCounter::lesson_out, 2);
      writer_->add_peer_counter(peer, PeerCounter::resyncs_in);
      writer_->add_peer_counter(peer, PeerCounter::resyncs_out);
    }
    for (u32 i = 0; i < 1200; ++i) {
      put(users_, fmt::format("{:08x}-5717-4562-b3fc-2c963f66afa6", i * 2654435761U), {1});
    }
    for (u32 i = 0; i < 300; ++i) {
      put(addresses_, std::string{10, 0, static_cast<char>(i >> 8), static_cast<char>(i)},
          {u64{i} * 7, 0, i % 40, i % 50, u64{i} << 24});
    }
    for (const PeerNo peer : peers_) {
      for (const shm::TableDefinition* table : {&users_, &addresses_, &sticky_}) {
        tell(peer, *table);
      }
    }
    const u64 server = writer_->intern("shop/web-3");
    put(sticky_, "\"><script>alert(1)</script>", {server, 1, 2, 3});
    put(sticky_, "caf\xc3\xa9 \xff\xfe", {0, 4, 5, 6});
    busy_ = true;
  }

  void trouble() {
    writer_->peer_down(peers_[2], writer_->now());
    writer_->set_peer_counter(peers_[1], PeerCounter::lag, 52300);
    writer_->add_peer_counter(peers_[1], PeerCounter::protocol_errors, 3);
    writer_->set_peer_counter(peers_[0], PeerCounter::lesson_in, 1);
    writer_->add_counter(shm::DaemonCounter::handshake_errors, 2);
    trouble_ = true;
  }

  void wrong() {
    using shm::PeerTableCounter;
    const auto set = [&](std::size_t peer, const shm::TableDefinition& table, PeerTableCounter c,
                         u64 value) {
      writer_->set_peer_table_counter(record(peers_[peer], table), c, value);
    };
    set(2, sticky_, PeerTableCounter::announced_ms, 0);
    set(2, users_, PeerTableCounter::announced_ms, 0);
    set(1, sticky_, PeerTableCounter::conflict, 1);
    set(0, addresses_, PeerTableCounter::refused_values, 12);
  }

  void rooms() {
    shm::RoomSettings shop;
    shop.name = "shop_example_com_";
    shop.host = "shop.example.com";
    shop.capacity = 500;
    shop.new_per_minute = 120;
    shop.session_ms = 600'000;
    shop.message = "Tickets for the second night are sold out.";
    rooms_.push_back(*writer_->add_room(shop, writer_->now()));
    shm::RoomSettings paused;
    paused.name = "presale_example_com_";
    paused.host = "presale.example.com";
    paused.method = shm::QueueingMethod::kRandom;
    paused.paused = true;
    paused.capacity = 50;
    rooms_.push_back(*writer_->add_room(paused, writer_->now()));
    shm::RoomSettings hostile;
    hostile.name = "\"><img src=x onerror=alert(1)>";
    hostile.queue_all = true;
    rooms_.push_back(*writer_->add_room(hostile, writer_->now()));
    const auto made = writer_->table_for(visitors_, writer_->now(), shm::TableRole::kUsers);
    for (u32 i = 0; i < 1834; ++i) {
      queue(*made->table, fmt::format("{:08x}@shop_example_com_", i), rooms_[0]);
    }
    move_rooms();
  }

  void fill(u32 n) {
    shm::Table& table = *writer_->table_for(many_, writer_->now())->table;
    const shm::ColumnMap columns(many_, table.info());
    std::array<u64, shm::Table::kBatch> values{};
    std::array<std::string, shm::Table::kBatch> keys;
    std::array<shm::Change, shm::Table::kBatch> changes;
    std::array<shm::Applied, shm::Table::kBatch> applied;
    for (u32 i = 0; i < n;) {
      std::size_t batch = 0;
      for (; batch < keys.size() && i < n; ++batch, ++i) {
        keys.at(batch) = fmt::format("{:036}", i);
        changes.at(batch).key = shm::bytes(keys.at(batch));
        values.at(batch) = i + 1;
        changes.at(batch).cells = &values.at(batch);
      }
      table.apply(columns, std::span(changes).first(batch), kNoPeer, writer_->now(),
                  std::span(applied).first(batch));
      writer_->work_some();
      if (i % 65536 == 0) {
        writer_->heartbeat(writer_->now());
      }
    }
  }

  // What two HAProxys have of the entry 10.0.0.7, and their sum: mode acc.
  void parts() {
    const std::string key{10, 0, 0, 7};
    test::put_part(*writer_, addresses_, peers_[0], key, {40, 0, 12, 14, u64{3} << 20});
    test::put_part(*writer_, addresses_, peers_[1], key, {9, 0, 3, 4, u64{1} << 20});
    put(addresses_, key, {49, 0, 15, 18, u64{4} << 20});
  }

  void many(u32 n) {
    busy();
    for (u32 i = 0; i < n; ++i) {
      add_peer(fmt::format("edge-{:04}", i), fmt::format("10.9.{}.{}", i / 250, i % 250), i + 1);
      writer_->set_peer_counter(peers_.back(), PeerCounter::lesson_in, 2);
      writer_->set_peer_counter(peers_.back(), PeerCounter::lesson_out, 2);
    }
    for (u32 i = 0; i < 2 * n; ++i) {
      const auto table =
          define(fmt::format("limit_{:04}", i), KeyType::kIp, 4, {shm::kHttpReqRate}, 60'000);
      if (!writer_->table_for(table, writer_->now())) {
        fmt::print(stderr, "scene: no table {}\n", i);
        std::exit(1);
      }
    }
    for (u32 i = 50; i < n; i += 100) {
      writer_->peer_down(peers_[i + 4], writer_->now());
    }
  }

  void stall() { beating_ = false; }
  void die() {
    writer_.reset();
    rooms_.clear();
    busy_ = false;
    trouble_ = false;
  }

  // A new visitor at the end of the line.
  void queue(shm::Table& table, std::string_view key, RoomNo room) {
    const SegmentMs now = writer_->now();
    shm::Line& line = writer_->line(room);
    const auto ticket = line.next_ticket(now);
    shm::Together change(*writer_);
    u64* image = ticket ? change.insert(table, shm::bytes(key), table.tag_of(shm::bytes(key)), now)
                        : nullptr;
    if (image == nullptr) {
      fmt::print(stderr, "scene: no memory for a visitor\n");
      std::exit(1);
    }
    const Tick time = writer_->room_time(now);
    const shm::Visitor visitor{.state = shm::VisitorState::kWaiting,
                               .room = room,
                               .ticket = *ticket,
                               .deadline = time + 300'000,
                               .since = time};
    const u32 at = table.info().geometry.ext_offset / 8U;
    image[at] = visitor.word0();
    image[at + 1] = visitor.word1();
    shm::put_times(image, std::nullopt, tick_of(now));
    change.join(line);
    change.land_quietly(now);
  }
  void move_rooms() {
    if (rooms_.empty()) {
      return;
    }
    shm::RoomNumbers numbers = writer_->room_numbers(rooms_[0]);
    numbers.active = 480 + ticks_ % 17;
    numbers.ready = 3 + ticks_ % 4;
    numbers.admit_rate_milli = 118'400;
    numbers.arrive_rate_milli = 240'700;
    numbers.oldest_since = writer_->room_time(writer_->now()) - 912'000;
    numbers.last_admitted_ms = writer_->now();
    using C = shm::RoomCounter;
    for (const auto& [counter, value] :
         {std::pair{C::issued, 20'344 + ticks_}, std::pair{C::admitted, u64{17'020}},
          std::pair{C::abandoned, u64{1'012}}, std::pair{C::expired, u64{16'535}}}) {
      numbers.counters.at(static_cast<std::size_t>(counter)) = value;
    }
    writer_->set_room_numbers(rooms_[0], numbers);
  }
  void add_peer(std::string_view name, std::string_view address, u64 pid) {
    shm::PeerIdentity identity;
    identity.remote_name = name;
    identity.local_name = "lineq";
    identity.address = address;
    identity.remote_pid = pid;
    peers_.push_back(*writer_->peer_up(identity, writer_->now()));
    writer_->set_peer_counter(peers_.back(), PeerCounter::last_received_ms, writer_->now() + 1);
  }
  u32 record(PeerNo peer, const shm::TableDefinition& table) {
    return *writer_->peer_table(peer, writer_->table_for(table, writer_->now())->table->info());
  }
  void tell(PeerNo peer, const shm::TableDefinition& table) {
    using shm::PeerTableCounter;
    const u32 index = record(peer, table);
    for (const auto c : {PeerTableCounter::announced_ms, PeerTableCounter::last_update_ms}) {
      writer_->set_peer_table_counter(index, c, writer_->now() + 1);
    }
    writer_->set_peer_table_counter(index, PeerTableCounter::updates, 1200);
  }
  void put(const shm::TableDefinition& definition, std::string_view key, std::vector<u64> cells) {
    shm::set(*writer_->table_for(definition, writer_->now())->table, definition, key,
             std::move(cells), writer_->now());
  }

  const shm::TableDefinition users_ = define("users", KeyType::kString, 37, {shm::kGpc1}, 300'000);
  const shm::TableDefinition addresses_ =
      define("per_address", KeyType::kIp, 4, {shm::kConnCnt, shm::kHttpReqRate, shm::kBytesOutCnt},
             1'800'000);
  const shm::TableDefinition sticky_ =
      define("/section/sticky", KeyType::kString, 65, {shm::kServerKey, shm::kGpc}, 86'400'000, 3);
  const shm::TableDefinition visitors_ =
      define("visitors", KeyType::kString, 73, {shm::kGpc1}, 600'000);
  const shm::TableDefinition many_ = define("many", KeyType::kString, 37, {shm::kGpc1}, 3'600'000);

  std::string instance_;
  std::unique_ptr<shm::Writer> writer_;
  std::vector<PeerNo> peers_;
  std::vector<RoomNo> rooms_;
  bool beating_ = false;
  bool busy_ = false;
  bool trouble_ = false;
  u64 ticks_ = 0;
};

}  // namespace
}  // namespace lineq

int main(int argc, char** argv) {
  return lineq::test::play<lineq::Scene>(argc, argv);
}
