// HAProxys that say anything: hellos, definitions, lessons, updates of every kind, nonsense,
// breaks, time that passes and lineqd that starts anew, operators who set and clear
// entries, in all modes. Checked, besides the sanitizers:
//  - every invariant of the segment holds afterwards;
//  - totals of mode acc never fall;
//  - tickets of a waiting room are called in their order.
//
// The segment lives on from input to input, as it does for a daemon.
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <fuzzer/FuzzedDataProvider.h>

#include "daemon/engine/engine.h"
#include "daemon/peers/encoder.h"
#include "shm/reader.h"
#include "shm/verify.h"

namespace lineq {
namespace {

class NoStrings final : public peers::Strings {
 public:
  u32 intern(std::string_view) override { return 0; }
  std::string_view text(u32 id) override { return id == 0 ? "" : "server"; }
};

struct Side {
  engine::Peer* peer = nullptr;
  shm::TableDefinition table;
};

class World {
 public:
  explicit World(engine::ModeKind mode)
      : name_(fmt::format("fuzz-{}-{}", ::getpid(), static_cast<int>(mode))) {
    cli::set_log_level(cli::LogLevel::kErr);
    options_.mode = mode;
    options_.accumulate.rules = {{"any", ".aggr", engine::Policy::kLatest}};
    options_.accumulate.interval_ms = 5;
    options_.waiting_room.users_table = "u";
    options_.waiting_room.room_table = "t";
    options_.session.dead_ms = 3'600'000;
    attach();
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() {
    engine_.reset();
    writer_.reset();
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
      if (file.path().filename().string().starts_with("lineq." + name_ + ".")) {
        std::filesystem::remove(file.path());
      }
    }
  }

  void run(FuzzedDataProvider& data) {
    while (data.remaining_bytes() > 0) {
      step(data);
    }
    for (Side& side : sides_) {
      close(side);
    }
    turn();
    check();
  }

 private:
  void attach() {
    engine_.reset();
    if (writer_ != nullptr) {
      writer_->heartbeat(0);
      writer_.reset();
    }
    auto attached =
        shm::Writer::attach({.instance = name_, .memory_limit = u64{40} << 20, .feed_log2 = 16});
    LINEQ_ASSERT(attached.ok());
    writer_ = attached.take();
    engine_ = std::make_unique<engine::Engine>(*writer_, options_, now_);
    sides_ = {};
    if (options_.mode == engine::ModeKind::kWaitingRoom && engine_->rooms()->rooms().empty()) {
      operate(0, 2);
      operate(1, 1);
    }
  }

  // An operator.
  void operate(u32 which, u32 how) {
    engine::RoomControl& rooms = *engine_->rooms();
    cli::RoomSettings room;
    room.name = which == 0 ? "a" : "bb";
    room.capacity = 1 + how % 3;
    room.session_ms = 1000;
    room.hold_ms = 20'000;
    room.grace_ms = 500;
    room.lapse = static_cast<shm::Lapse>(how / 3 % 3);
    room.method = how % 7 == 0 ? shm::QueueingMethod::kRandom : shm::QueueingMethod::kFifo;
    room.fast = how % 5 == 0;
    room.paused = how % 11 == 0;
    room.new_per_minute = how % 13 == 0 ? 30 : 0;
    switch (how / 16 % 8) {
      case 0:
        (void)rooms.revoke_all(room.name, now_);
        return;
      case 1:
        (void)rooms.admit(room.name, how, now_);
        return;
      case 2:
        (void)rooms.remove(room.name, now_);
        return;
      case 3:
        (void)rooms.revoke(room.name, "x", now_);
        return;
      case 4: {
        const std::array<std::string_view, 3> keys{"x@a", "y@bb", ""};
        rooms.present(keys, now_);
        return;
      }
      default:
        LINEQ_ASSERT(rooms.put(room, now_).ok());
        return;
    }
  }

  // An operator's hand on entries.
  void edit(FuzzedDataProvider& data) {
    engine::Editor& editor = engine_->editor();
    const Result<shm::Table*> found = editor.find(data.PickValueInArray({"t", "/t", "u"}));
    if (!found) {
      LINEQ_ASSERT(!found.error().what.empty());
      return;
    }
    shm::Table& table = **found;
    const shm::TableDefinition& d = table.info().definition;
    const std::array<u8, 4> key{0, 0, 0, data.ConsumeIntegralInRange<u8>(0, 5)};
    const u64 number = data.ConsumeIntegralInRange<u64>(0, 100);
    switch (data.ConsumeIntegralInRange<int>(0, 2)) {
      case 0: {
        std::vector<engine::CellValue> values;
        for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
          if (d.has(bit) && data.ConsumeBool()) {
            const u32 element = data.ConsumeIntegralInRange<u32>(0, d.elements[bit] - 1U);
            const bool text = shm::data_type(bit).kind == shm::ValueKind::kDictionary;
            values.push_back({bit, element, text ? writer_->intern("s") : number});
          }
        }
        std::optional<u32> life;
        if (data.ConsumeBool()) {
          life = data.ConsumeIntegralInRange<u32>(1, 70'000);
        }
        if (editor.set(table, key, values, life, now_).ok()) {
          const std::optional<u32> slot = table.find(key);
          LINEQ_ASSERT(slot && !table.at(*slot).expired(tick_of(now_)));
        }
        return;
      }
      case 1:
        (void)editor.clear(table, key, now_);
        LINEQ_ASSERT(!table.find(key));
        return;
      default:
        editor.clear(
            table,
            [number](const shm::EntryView& entry, Tick) {
              return entry.key().empty() || entry.key().back() >= number % 6;
            },
            [](const Result<u64>&) {});
        return;
    }
  }

  void close(Side& side) {
    if (side.peer != nullptr) {
      engine_->close(*side.peer, "gone", now_);
      side.peer = nullptr;
    }
  }

  void turn() {
    int turns = 0;
    do {
      engine_->turn(now_);
      for (Side& side : sides_) {
        if (side.peer != nullptr) {
          side.peer->session.consumed(side.peer->session.pending().size());
          if (side.peer->session.ended()) {
            close(side);
          }
        }
      }
      LINEQ_ASSERT(++turns < 100'000);
    } while (engine_->busy());
  }

  void feed(Side& side, const peers::OutputBuffer& bytes) {
    if (side.peer != nullptr) {
      engine_->feed(*side.peer, bytes.pending(), now_);
    }
  }

  static shm::TableDefinition definition(FuzzedDataProvider& data) {
    shm::TableDefinition d;
    d.name = data.PickValueInArray({"t", "/t", "t.aggr", "u"});
    d.key_type = data.ConsumeBool() ? shm::KeyType::kString : shm::KeyType::kInteger;
    d.key_bytes = d.key_type == shm::KeyType::kString ? 8 : 4;
    d.data_types = data.ConsumeIntegral<u32>() & shm::kKnownDataTypes;
    d.expire_ms = data.PickValueInArray<u64>({0, 1, 1000, 60'000});
    for (u32 bit = 0; bit < shm::kDataTypes; ++bit) {
      if (d.has(bit)) {
        d.elements[bit] =
            shm::data_type(bit).array ? data.ConsumeIntegralInRange<u16>(1, 4) : u16{1};
        d.period_ms[bit] = shm::data_type(bit).kind == shm::ValueKind::kRate
                               ? data.PickValueInArray<u32>({0, 1, 1000, 0xffff'ffff})
                               : 0;
      }
    }
    return d;
  }

  void step(FuzzedDataProvider& data) {
    Side& side = sides_[data.ConsumeIntegralInRange<std::size_t>(0, sides_.size() - 1)];
    peers::OutputBuffer out;
    switch (data.ConsumeIntegralInRange<int>(0, 13)) {
      case 13:
        edit(data);
        break;
      case 12:
        if (engine_->rooms() != nullptr) {
          operate(data.ConsumeIntegralInRange<u32>(0, 1), data.ConsumeIntegral<u8>());
        }
        break;
      case 0: {
        close(side);
        side.peer = engine_->open({0, "10.0.0.1", "10.0.0.1:1"}, now_);
        peers::encode_hello(out, {.minor = data.ConsumeIntegralInRange<u32>(0, 1),
                                  .target = "lineq",
                                  .name = data.PickValueInArray({"a", "b", "c"}),
                                  .pid = data.ConsumeIntegralInRange<u32>(0, 3)});
        break;
      }
      case 1:
        close(side);
        break;
      case 2:
        peers::encode_control(out,
                              static_cast<peers::Control>(data.ConsumeIntegralInRange<int>(0, 4)));
        break;
      case 3:
      case 4: {
        side.table = definition(data);
        peers::Definition d;
        d.table_id = data.ConsumeIntegralInRange<u32>(1, 2);
        d.table = side.table;
        peers::encode_definition(out, d);
        break;
      }
      case 5:
        now_ += data.ConsumeIntegralInRange<u32>(0, 100'000);
        engine_->tick(now_);
        break;
      case 6:
        if (data.ConsumeIntegralInRange<int>(0, 20) == 0) {
          attach();
        }
        break;
      case 7: {
        const auto bytes = data.ConsumeBytes<u8>(data.ConsumeIntegralInRange<std::size_t>(0, 40));
        if (side.peer != nullptr) {
          engine_->feed(*side.peer, bytes, now_);
        }
        break;
      }
      default:
        update(data, side, out);
        break;
    }
    feed(side, out);
    turn();
  }

  void update(FuzzedDataProvider& data, const Side& side, peers::OutputBuffer& out) {
    if (side.table.name.empty()) {
      return;
    }
    constexpr std::array<std::string_view, 8> kVisitors{"x@a",   "y@a", "z@bb", "x@bb",
                                                        "q@nix", "@",   "noat", "v@a"};
    const std::array<u8, 4> number{0, 0, 0, data.ConsumeIntegralInRange<u8>(0, 5)};
    std::span<const u8> key = number;
    if (options_.mode == engine::ModeKind::kWaitingRoom &&
        side.table.key_type == shm::KeyType::kString) {
      const std::string_view visitor = kVisitors.at(data.ConsumeIntegralInRange<std::size_t>(0, 7));
      key = {reinterpret_cast<const u8*>(visitor.data()), visitor.size()};
    }
    std::array<u64, peers::kMaxRowCells> cells{};
    for (u32 i = 0; i < side.table.cells(); ++i) {
      cells[i] = data.ConsumeBool() ? data.ConsumeIntegralInRange<u64>(0, 100)
                                    : data.ConsumeIntegral<u64>();
    }
    peers::SentStrings sent;
    NoStrings strings;
    const u8 type = data.PickValueInArray<u8>(
        {peers::kUpdate, peers::kIncremental, peers::kTimedUpdate, peers::kTimedIncremental});
    (void)peers::encode_update(out, type, data.ConsumeIntegral<u32>(), data.ConsumeIntegral<u32>(),
                               side.table, peers::RowShape(side.table), key,
                               {cells.data(), side.table.cells()}, sent, strings);
  }

  void check() {
    auto reader = shm::Reader::open({.instance = name_});
    LINEQ_ASSERT(reader.ok());
    const shm::VerifyReport report = shm::verify(*reader);
    for (const shm::Finding& finding : report.findings) {
      fmt::print(stderr, "{}: {}\n", finding.invariant, finding.what);
    }
    LINEQ_ASSERT(report.findings.empty());
    for (const RoomNo no : writer_->rooms()) {
      const u64 inversions = writer_->room_numbers(no).counter(shm::RoomCounter::fifo_inversions);
      LINEQ_ASSERT(inversions == 0);
    }
    for (const u16 no : writer_->tables()) {
      const shm::Table& table = *writer_->table(no);
      if (table.info().role != shm::TableRole::kLedger) {
        continue;
      }
      for (u32 slot = 0; slot < table.high_water(); ++slot) {
        const shm::EntryView entry = table.at(slot);
        for (u32 bit = 0; entry.live() && bit < shm::kDataTypes; ++bit) {
          for (u32 i = 0; entry.has(bit) && i < entry.definition().elements[bit]; ++i) {
            const std::string name = fmt::format("{} {} {} {} {}", table.info().definition.name,
                                                 table.info().definition.key_bytes,
                                                 std::string(entry.key_chars()), bit, i);
            u64& before = totals_[name];
            // 64 bits wrap only for who invents numbers: bytes of 2^64 and more.
            LINEQ_ASSERT(entry.value(bit, i) >= before ||
                         shm::data_type(bit).kind == shm::ValueKind::kU64);
            before = entry.value(bit, i);
          }
        }
      }
    }
  }

  std::string name_;
  engine::EngineOptions options_;
  std::unique_ptr<shm::Writer> writer_;
  std::unique_ptr<engine::Engine> engine_;
  std::array<Side, 3> sides_;
  SegmentMs now_ = 1'000'000;
  std::map<std::string, u64> totals_;
};

}  // namespace
}  // namespace lineq

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static lineq::World agg(lineq::engine::ModeKind::kAggregate);
  static lineq::World acc(lineq::engine::ModeKind::kAccumulate);
  FuzzedDataProvider data(bytes, size);
  static lineq::World vwr(lineq::engine::ModeKind::kWaitingRoom);
  switch (data.ConsumeIntegralInRange<int>(0, 3)) {
    case 0:
      agg.run(data);
      break;
    case 1:
      acc.run(data);
      break;
    default:
      vwr.run(data);
      break;
  }
  return 0;
}
