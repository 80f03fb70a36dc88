// HAProxys that agree on a table but for its columns, beside the simplest model of it: a map where
// the last who writes wins. Updates of several in one turn, processes that come and go, entries
// that expire, lineqd that starts anew. What is checked after every turn, besides the sanitizers:
//  - the segment has exactly what the model has, value by value, and nothing that has expired;
//  - so has every HAProxy, of all that was written since it came.
//
// All bytes go through our encoder and our decoder, both ways.
#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <fuzzer/FuzzedDataProvider.h>

#include "shm/support/assert.h"
#include "shm/verify.h"
#include "tests/engine/world.h"

namespace lineq::test {
namespace {

constexpr u64 kExpireMs = 20'000;
constexpr std::array<u32, 4> kColumns{shm::kGpt0, shm::kGpc0, shm::kGpc1, shm::kBytesInCnt};
using Cells = std::map<u32, u64>;  // by data type

u64 columns(u32 choice) {
  u64 set = bit(shm::kGpc0);
  for (std::size_t i = 0; i < kColumns.size(); ++i) {
    set |= (choice >> i & 1) != 0 ? bit(kColumns[i]) : 0;
  }
  return set;
}

std::vector<u32> bits_of(u64 data_types) {
  std::vector<u32> bits;
  for (u32 i = 0; i < shm::kDataTypes; ++i) {
    if ((data_types & bit(i)) != 0) {
      bits.push_back(i);
    }
  }
  return bits;
}

struct Entry {
  Cells cells;  // what nobody wrote is 0
  SegmentMs deadline = 0;
  u64 written = 0;  // the turn
};

struct Member {
  Hap* hap = nullptr;
  u64 data_types = 0;
  u64 since = 0;          // the turn it came in
  std::size_t heard = 0;  // rows of `hap` that are in `table`
  std::map<std::string, Cells> table;
  struct Write {
    std::string key;
    Cells cells;
    u64 life_ms;
  };
  std::vector<Write> on_its_way;
};

class Tables {
 public:
  void run(FuzzedDataProvider& data) {
    while (data.remaining_bytes() > 0) {
      step(data);
    }
    settle();
    check_segment();
  }

 private:
  void step(FuzzedDataProvider& data) {
    Member& member = members_[data.ConsumeIntegralInRange<std::size_t>(0, members_.size() - 1)];
    switch (data.ConsumeIntegralInRange<int>(0, 9)) {
      case 0:
        settle();
        leave(member);
        come(member, data.ConsumeIntegral<u8>());
        return;
      case 1:
        settle();
        return leave(member);
      case 2:
      case 3:
        return settle();
      case 4:
        settle();
        world_.pass(data.ConsumeIntegralInRange<u64>(0, 15'000));
        return settle();
      case 5:
        settle();
        for (Member& each : members_) {
          each.hap = nullptr;
        }
        world_.restart();
        return check_segment();
      default:
        return write(member, data);
    }
  }

  void come(Member& member, u32 choice) {
    member = {};
    member.hap = &world_.connect(std::string(1, static_cast<char>('a' + choice % 3)), ++processes_);
    member.data_types = columns(choice / 3);
    member.hap->define(1, string_table("t", 31, member.data_types, kExpireMs));
    member.since = turn_ + 1;
    settle();
  }

  void leave(Member& member) {
    if (member.hap != nullptr && member.hap->peer != nullptr) {
      world_.disconnect(*member.hap);
    }
    member.hap = nullptr;
  }

  void write(Member& member, FuzzedDataProvider& data) {
    if (member.hap == nullptr) {
      return;
    }
    constexpr std::array<std::string_view, 6> kKeys{
        "", "a", "b", "key", "another key", "thirty-one bytes long, not more"};
    Member::Write w;
    w.key = data.PickValueInArray(kKeys);
    std::vector<u64> row;
    for (const u32 type : bits_of(member.data_types)) {
      u64 value = data.ConsumeIntegral<u32>();
      if (shm::data_type(type).kind == shm::ValueKind::kU64) {
        value *= 4'294'967'311;
      }
      w.cells[type] = value;
      row.push_back(value);
    }
    std::optional<u32> life;
    if (data.ConsumeBool()) {
      life = data.ConsumeIntegralInRange<u32>(1, kExpireMs);
    }
    w.life_ms = life.value_or(kExpireMs);
    member.hap->update(1, w.key, row, life);
    member.on_its_way.push_back(std::move(w));
  }

  // Bytes arrive in the order of the members' connections, and each writer's all at once.
  void settle() {
    ++turn_;
    std::vector<Member*> order;
    for (Member& member : members_) {
      if (member.hap != nullptr) {
        order.push_back(&member);
      }
    }
    std::sort(order.begin(), order.end(),
              [](const Member* a, const Member* b) { return a->since < b->since; });
    for (Member* member : order) {
      for (const Member::Write& w : member->on_its_way) {
        Entry& entry = model_[w.key];
        if (entry.deadline <= world_.now()) {
          entry.cells.clear();
        }
        for (const auto& [type, value] : w.cells) {
          entry.cells[type] = value;
        }
        // The longest life told by anybody counts.
        entry.deadline = std::max(entry.deadline, world_.now() + w.life_ms);
        entry.written = turn_;
        member->table[w.key] = w.cells;
      }
      member->on_its_way.clear();
    }
    world_.settle();
    for (Member* member : order) {
      hear(*member);
      LINEQ_ASSERT(member->hap->peer != nullptr);
      for (const auto& [key, entry] : model_) {
        if (entry.written > member->since && entry.deadline > world_.now()) {
          agree(entry.cells, member->table[key]);
        }
      }
    }
    check_segment();
  }

  static void hear(Member& member) {
    for (; member.heard < member.hap->rows.size(); ++member.heard) {
      const Hap::Row& row = member.hap->rows[member.heard];
      Cells& cells = member.table[row.key];
      cells.clear();
      std::size_t i = 0;
      for (const u32 type : bits_of(row.data_types)) {
        cells[type] = row.cells.at(i++);
      }
    }
  }

  // In all columns somebody has.
  static void agree(const Cells& expected, const Cells& found) {
    for (const auto& [type, value] : found) {
      const auto at = expected.find(type);
      LINEQ_ASSERT(value == (at == expected.end() ? 0 : at->second));
    }
    LINEQ_ASSERT(found.contains(shm::kGpc0));
  }

  void check_segment() {
    for (const auto& [key, entry] : model_) {
      const std::optional<shm::EntryView> found = world_.entry("t", key);
      if (entry.deadline == world_.now()) {
        continue;  // on the very tick either is right
      }
      LINEQ_ASSERT(found.has_value() == (entry.deadline > world_.now()));
      if (found) {
        for (const u32 type : kColumns) {
          const auto at = entry.cells.find(type);
          const u64 expected = at == entry.cells.end() ? 0 : at->second;
          LINEQ_ASSERT((found->has(type) ? found->value(type) : 0) == expected);
        }
      }
    }
    auto reader = shm::Reader::open({.instance = world_.instance()});
    LINEQ_ASSERT(reader.ok() && shm::verify(*reader).clean());
  }

  World world_;
  std::array<Member, 3> members_;
  std::map<std::string, Entry> model_;
  u64 turn_ = 0;
  u32 processes_ = 0;
};

}  // namespace
}  // namespace lineq::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  lineq::test::Tables().run(data);
  return 0;
}
