// Waiting rooms against everything at once: visitors who come, poll, shop, pause and leave;
// HAProxys that stall, lose their connection, die and are reloaded; lineqd that is killed; an
// operator.
//
// Checked after each step: nobody more holds a place than is allowed, by the segment and at the
// site; tickets are called in their order; positions are true and never grow. At the end, when all
// is well again: everybody who still wants to was served, no place is lost, the segment is sound.
#include <cstdlib>
#include <map>
#include <random>

#include <fmt/format.h>

#include "tests/engine/room_world.h"
#include "tests/support/sanitizer.h"

namespace lineq::test {
namespace {

using shm::RoomCounter;
using shm::Visitor;
using shm::VisitorState;

struct Plan {
  const char* name;
  u32 gates;
  bool accidents;
  bool operators;
  shm::QueueingMethod method = shm::QueueingMethod::kFifo;
  shm::Lapse lapse = shm::Lapse::kRequeueHead;
  u32 per_minute = 0;
  bool fixed_session = false;
};

void PrintTo(const Plan& plan, std::ostream* out) {
  *out << plan.name;
}

constexpr u64 kSessionMs = 20'000;
constexpr u64 kAllowanceMs = 2000;
constexpr u32 kCapacity = 4;

class Crowd {
 public:
  Crowd(const Plan& plan, u64 seed) : plan_(plan), random_(seed) {
    settings_ = a_room("shop", kCapacity);
    settings_.session_ms = kSessionMs;
    settings_.hold_ms = 40'000;
    settings_.grace_ms = 8000;
    settings_.method = plan.method;
    settings_.lapse = plan.lapse;
    settings_.new_per_minute = plan.per_minute;
    settings_.fixed_session = plan.fixed_session;
    world_.put(settings_);
    for (u32 i = 0; i < plan.gates; ++i) {
      Gate& gate = world_.gate(fmt::format("hap{}", i), 1);
      gate.operator_rules = seed % 2 == 0;
      stalled_until_.push_back(0);
      cut_until_.push_back(0);
    }
  }

  void step() {
    switch (random_() % 14) {
      case 0:
      case 1:
        if (visitors_.size() < 400) {
          visitors_.push_back({.key = fmt::format("v{}@shop", visitors_.size()),
                               .gate = random_() % plan_.gates,
                               .patience = static_cast<u32>(random_() % 30)});
          act(visitors_.back());
        }
        break;
      case 2:
      case 3:
        pass(random_() % 3000);
        break;
      case 4:
        if (plan_.accidents) {
          accident();
        }
        break;
      case 5:
        if (plan_.operators) {
          operate();
        }
        break;
      default:
        if (!visitors_.empty()) {
          act(visitors_[random_() % visitors_.size()]);
        }
        break;
    }
    world_.settle();
    check();
  }

  // All is well again: everybody is served who wants to.
  void finish() {
    for (u32 i = 0; i < plan_.gates; ++i) {
      stalled_until_[i] = cut_until_[i] = world_.now();
    }
    recover();
    settings_.paused = settings_.queue_all = false;
    settings_.capacity = kCapacity;
    world_.put(settings_);
    for (int i = 0; i < 2000; ++i) {
      bool all = true;
      for (Guest& guest : visitors_) {
        if (!guest.gone && guest.requests_inside == 0) {
          all = false;
          act(guest);
        }
      }
      if (all) {
        break;
      }
      pass(1000);
      ASSERT_NO_FATAL_FAILURE(check());
    }
    for (const Guest& guest : visitors_) {
      EXPECT_TRUE(guest.gone || guest.requests_inside != 0)
          << guest.key << " was never served, state " << static_cast<int>(world_.state(guest.key))
          << " position " << world_.position(guest.key);
    }
    pass(kSessionMs + kAllowanceMs + settings_.hold_ms + 2 * settings_.grace_ms + 10'000);
    const shm::RoomNumbers n = world_.numbers();
    EXPECT_EQ(n.active, 0U);
    EXPECT_EQ(n.ready, 0U);
    EXPECT_EQ(n.waiting, 0U);
    EXPECT_EQ(n.front, 0U);
    EXPECT_EQ(n.counter(RoomCounter::fifo_inversions), 0U);
    EXPECT_EQ(n.counter(RoomCounter::join_refused), 0U);
    world_.check();
    // Not one place is lost: as many as are allowed come in at once.
    settings_.new_per_minute = 0;
    world_.put(settings_);
    for (u32 i = 0; i < kCapacity + 3; ++i) {
      gate(0).request(fmt::format("last{}@shop", i));
    }
    world_.settle();
    EXPECT_EQ(world_.holders(), kCapacity);
  }

 private:
  struct Guest {
    std::string key;
    u64 gate;
    u32 patience;
    bool gone = false;
    u32 requests_inside = 0;
    SegmentMs last_inside = 0;
    SegmentMs first_inside = 0;
    u64 position = 0;
    Ticket ticket{0};
    bool revoked = false;
    bool outside = false;  // has no place, as of the last look
    bool lost = false;     // came in while lineqd could not know, and the HAProxy has died
  };

  Gate& gate(u64 i) { return *world_.gates()[i]; }

  void pass(u64 ms) {
    while (ms > 0) {
      const u64 step = std::min<u64>(ms, 500);
      recover();
      world_.pass(step);
      ms -= step;
    }
    recover();
  }

  void recover() {
    for (u32 i = 0; i < plan_.gates; ++i) {
      if (gate(i).connected() && world_.now() >= stalled_until_[i]) {
        gate(i).stall(false);
      }
      if (!gate(i).connected() && world_.now() >= cut_until_[i]) {
        gate(i).connect();
      }
    }
    world_.settle();
  }

  void act(Guest& guest) {
    if (guest.gone) {
      return;
    }
    const bool done = guest.requests_inside > guest.patience;
    if (done || (random_() % 200 == 0)) {
      guest.gone = true;
      return;
    }
    // Elsewhere only if the HAProxy is known to lineqd: otherwise nobody can know of it in time.
    if (const u64 other = random_() % plan_.gates;
        random_() % 10 == 0 && gate(guest.gate).connected() && gate(other).connected()) {
      guest.gate = other;
    }
    world_.pass(25);  // a grant was on its way, and so is the visitor
    if (gate(guest.gate).request(guest.key)) {
      if (guest.requests_inside++ == 0 || guest.outside) {
        guest.first_inside = world_.now();
      }
      guest.outside = guest.lost = false;
      guest.last_inside = world_.now();
    }
  }

  void accident() {
    const u64 i = random_() % plan_.gates;
    switch (random_() % 5) {
      case 0:
        if (gate(i).connected()) {
          gate(i).stall(true);
          stalled_until_[i] = world_.now() + random_() % 2500;
        }
        break;
      case 1:
        gate(i).disconnect();
        cut_until_[i] = world_.now() + random_() % (kSessionMs / 2);
        break;
      case 2:
        for (Guest& guest : visitors_) {
          guest.lost |= guest.gate == i && !gate(i).connected();
        }
        gate(i).die();
        cut_until_[i] = world_.now() + random_() % 5000;
        break;
      case 3:
        gate(i).reload();
        cut_until_[i] = world_.now() + random_() % 1000;
        break;
      case 4:
        // The segment's own clock is another one here: it cannot tell who was gone before.
        for (u32 g = 0; g < plan_.gates; ++g) {
          if (!gate(g).connected()) {
            return;
          }
        }
        for (u32 g = 0; g < plan_.gates; ++g) {
          gate(g).look();
          cut_until_[g] = world_.now() + random_() % 8000;
        }
        world_.restart();
        break;
      default:
        break;
    }
  }

  void operate() {
    switch (random_() % 6) {
      case 0:
        settings_.capacity = 1 + static_cast<u32>(random_() % kCapacity);
        break;
      case 1:
        settings_.paused = !settings_.paused;
        break;
      case 2:
        settings_.queue_all = !settings_.queue_all;
        break;
      case 3:
        (void)world_.control().admit("shop", 1 + static_cast<u32>(random_() % 3), world_.now());
        return;
      case 4: {
        if (visitors_.empty()) {
          return;
        }
        Guest& guest = visitors_[random_() % visitors_.size()];
        const auto ended = world_.control().revoke("shop", guest.key, world_.now());
        guest.revoked |= ended.ok() && *ended != 0;
        return;
      }
      default: {
        std::vector<std::string_view> keys;
        for (const Guest& guest : visitors_) {
          keys.push_back(guest.key);
        }
        world_.control().present(keys, world_.now());
        return;
      }
    }
    world_.put(settings_);
  }

  void check() {
    const u64 holders = world_.holders();
    ASSERT_LE(holders, std::max<u64>(settings_.capacity, holders_before_));
    holders_before_ = holders;
    const shm::RoomNumbers n = world_.numbers();
    ASSERT_EQ(n.active + n.ready, holders);
    // At the site. Who was sent away may still have a request on its way.
    u64 inside = 0;
    for (Guest& guest : visitors_) {
      guest.outside |= !shm::holds_place(world_.state(guest.key));
      const SegmentMs from = plan_.fixed_session ? guest.first_inside : guest.last_inside;
      inside += guest.requests_inside != 0 && !guest.revoked && !guest.lost &&
                        world_.now() - from < kSessionMs
                    ? 1U
                    : 0U;
    }
    ASSERT_LE(inside, kCapacity) << who();
    positions();
  }

  // For people: all who were inside lately.
  std::string who() {
    std::string text = fmt::format("{} now\n", world_.now());
    for (const Guest& guest : visitors_) {
      if (guest.requests_inside != 0 && world_.now() - guest.last_inside < kSessionMs) {
        text += fmt::format("{} at {}: state {} gate {} revoked {}\n", guest.key, guest.last_inside,
                            static_cast<int>(world_.state(guest.key)), guest.gate, guest.revoked);
      }
    }
    return text;
  }

  void positions() {
    std::map<u64, Guest*> waiting;
    std::optional<Ticket> called;
    for (Guest& guest : visitors_) {
      const auto v = world_.visitor(guest.key);
      if (!v) {
        continue;
      }
      if (v->state == VisitorState::kWaiting) {
        waiting[v->ticket.value] = &guest;
      } else if (shm::called(v->state) && !v->again) {
        called = std::max(called.value_or(v->ticket), v->ticket);
      }
    }
    u64 rank = 0;
    for (const auto& [ticket, guest] : waiting) {
      const u64 position = world_.position(guest->key);
      ASSERT_EQ(position, ++rank);
      if (guest->ticket.value == ticket && guest->position != 0) {
        ASSERT_LE(position, guest->position) << guest->key;
      }
      guest->ticket = Ticket{ticket};
      guest->position = position;
    }
    ASSERT_EQ(world_.numbers().waiting, rank);
    // Who was let in beyond the limit and sent away waits before the line with a later ticket.
    if (plan_.method == shm::QueueingMethod::kFifo && called && !waiting.empty() &&
        world_.count(RoomCounter::over_limit) == 0) {
      ASSERT_GT(waiting.begin()->first, called->value);
    }
  }

  Plan plan_;
  std::mt19937_64 random_;
  RoomWorld world_;
  cli::RoomSettings settings_;
  std::vector<Guest> visitors_;
  std::vector<SegmentMs> stalled_until_;
  std::vector<SegmentMs> cut_until_;
  u64 holders_before_ = 0;
};

class RoomChaosTest : public ::testing::TestWithParam<Plan> {};

TEST_P(RoomChaosTest, NeverOneTooManyAndNobodyIsForgotten) {
  const char* const more = std::getenv("LINEQ_CHAOS_SEEDS");
  const char* const first = std::getenv("LINEQ_CHAOS_FIRST");
  const u64 begin = first == nullptr ? 1 : std::strtoull(first, nullptr, 10);
  const u64 seeds = more == nullptr ? (kSanitized ? 2 : 5) : std::strtoull(more, nullptr, 10);
  for (u64 seed = begin; seed < begin + seeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {} (LINEQ_CHAOS_FIRST)", seed));
    Crowd crowd(GetParam(), seed);
    for (int i = 0; i < 1500; ++i) {
      crowd.step();
      if (HasFatalFailure()) {
        FAIL() << "step " << i;
      }
    }
    crowd.finish();
    if (HasFailure()) {
      return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Plans, RoomChaosTest,
    ::testing::Values(Plan{"calm", 1, false, false}, Plan{"three", 3, false, false},
                      Plan{"accidents", 2, true, false}, Plan{"accidents3", 3, true, false},
                      Plan{"operators", 2, false, true}, Plan{"all", 3, true, true},
                      Plan{"random", 2, true, true, shm::QueueingMethod::kRandom},
                      Plan{"paced", 2, true, true, shm::QueueingMethod::kFifo,
                           shm::Lapse::kRequeueTail, 20},
                      Plan{"drop", 2, true, true, shm::QueueingMethod::kFifo, shm::Lapse::kDrop},
                      Plan{"fixed", 2, true, false, shm::QueueingMethod::kFifo,
                           shm::Lapse::kRequeueHead, 0, true}),
    [](const auto& plan) { return std::string(plan.param.name); });

}  // namespace
}  // namespace lineq::test
