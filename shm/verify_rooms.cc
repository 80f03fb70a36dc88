#include "shm/verify_rooms.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include <fmt/format.h>

#include "shm/intent.h"
#include "shm/line_count.h"
#include "shm/visitor.h"

namespace lineq::shm {
namespace {

constexpr std::size_t kMostRemarks = 1000;
constexpr u32 kWords = kSegmentTickets / 64;
using Bits = std::vector<u64>;  // of one segment

class RoomsVerifier {
 public:
  RoomsVerifier(Reader& reader, const RoomsAccess& access, VerifyReport& report)
      : reader_(reader), a_(access), report_(report) {}

  void run() {
    for (const RoomInfo& info : reader_.rooms()) {
      rooms_.emplace(info.no.value, Room{info, {}, {}, {}, 0, 0, 0});
    }
    rules();
    for (auto& [no, room] : rooms_) {
      line(room);
    }
    for (const TableInfo& table : reader_.tables()) {
      if (table.role == TableRole::kUsers && newest(table)) {
        visitors(table);
      }
    }
    for (const auto& [no, room] : rooms_) {
      bits_without_visitor(room);
      numbers(room);
    }
  }

 private:
  struct Room {
    RoomInfo info;
    std::map<u64, Bits> before;   // by segment: who waited when the look at visitors began
    std::map<u64, Bits> visitor;  // ... and who is a visitor that waits
    std::set<u64> excused;
    u64 active;
    u64 called;
    u64 front;
  };

  std::string name(const Room& room) const { return "room " + room.info.settings.name; }
  void add(std::string_view invariant, std::string what) {
    a_.expect([] { return false; }, invariant, [&] { return std::move(what); });
  }
  void remark(std::string_view rule, std::string what) {
    if (report_.remarks.size() < kMostRemarks) {
      report_.remarks.push_back({std::string(rule), std::move(what)});
    }
  }

  // A kill while a table is being widened leaves both, each complete.
  bool newest(const TableInfo& table) const {
    const auto& all = reader_.tables();
    return std::none_of(all.begin(), all.end(), [&](const TableInfo& t) {
      return t.id > table.id && t.role == table.role &&
             t.definition.name == table.definition.name &&
             t.definition.key_type == table.definition.key_type &&
             t.definition.key_bytes == table.definition.key_bytes;
    });
  }

  // The change under way when the writer died will be redone.
  bool pending() const { return !a_.live && load_acquire(a_.layout.intent.op) == 1; }
  bool pending(const Room& room) const {
    const auto op = static_cast<LineOp>(a_.layout.intent.line_op);
    return pending() && (op == LineOp::kJoin || op == LineOp::kLeave) &&
           a_.layout.intent.room == room.info.no.value;
  }
  bool pending(const Room& room, u64 ticket) const {
    return pending(room) && a_.layout.intent.ticket == ticket;
  }

  void rules() {
    const u32 high = std::min(load_acquire(a_.layout.header.rooms_high), kMaxRooms);
    for (u32 no = 0; no < high; ++no) {
      const RoomDesc& desc = a_.layout.rooms[no];
      const bool redone = pending() && a_.layout.intent.room == no &&
                          a_.layout.intent.line_op == static_cast<u32>(LineOp::kRules);
      a_.expect([&] { return redone || (load_acquire(desc.seq) & 1) == 0; }, "room-sequence",
                [&] { return fmt::format("room number {}: sequence stays odd", no); });
    }
    std::set<std::string> names;
    for (const auto& [no, room] : rooms_) {
      if (!names.insert(room.info.settings.name).second) {
        add("room-unique", fmt::format("{} is there twice", name(room)));
      }
    }
  }

  // --- the line by itself

  void line(Room& room) {
    const RoomDesc& desc = a_.layout.rooms[room.info.no.value];
    if (load_acquire(desc.line.object) == 0) {
      a_.expect([&] { return load_relaxed(desc.waiting) == 0 || desc.line.object != 0; },
                "line-there",
                [&] {
                  return fmt::format("{}: {} wait and there is no line", name(room), desc.waiting);
                });
      return;
    }
    const LineDir* dir = a_.line(room.info.no);
    a_.expect(
        [&] {
          (void)reader_.refresh();
          dir = a_.line(room.info.no);
          return dir != nullptr || load_acquire(desc.line.object) == 0;
        },
        "line-there", [&] { return fmt::format("{}: its line cannot be opened", name(room)); });
    if (dir == nullptr) {
      return;
    }
    const auto sound = [&] {
      const u64 head = load_acquire(dir->head);
      const u64 tail = load_acquire(dir->tail);
      return head <= tail && segment_of(tail) - segment_of(head) < kLineSegments;
    };
    a_.expect(sound, "line-bounds", [&] {
      return fmt::format("{}: head {} tail {}", name(room), load_acquire(dir->head),
                         load_acquire(dir->tail));
    });
    if (!sound()) {
      return;
    }
    const u64 head = load_acquire(dir->head);
    const u64 tail = load_acquire(dir->tail);
    u64 waiting = 0;
    for (u64 s = segment_of(head); s <= segment_of(tail); ++s) {
      const LineSegment* segment = a_.segment(*dir, s);
      if (segment == nullptr) {
        a_.expect(
            [&] {
              return s * kSegmentTickets >= tail || load_acquire(dir->head) > head ||
                     a_.segment(*dir, s) != nullptr;
            },
            "line-segment",
            [&] { return fmt::format("{}: segment {} cannot be opened", name(room), s); });
        continue;
      }
      Bits& bits = room.before[s];
      bits.resize(kWords);
      for (u32 i = 0; i < kWords; ++i) {
        bits[i] = load_relaxed(segment->bits[i]);
      }
      if (!a_.live) {
        waiting += counts(room, *dir, *segment, s);
      }
    }
    if (a_.live || pending(room)) {
      return;
    }
    outside(room, *dir, segment_of(head), segment_of(tail));
    u64 grouped = 0;
    for (u32 g = 0; g < std::size(dir->group); ++g) {
      u64 sum = 0;
      for (u32 i = g * 16; i < g * 16 + 16; ++i) {
        sum += dir->count[i];
      }
      grouped += sum;
      if (sum != dir->group[g]) {
        add("line-counts",
            fmt::format("{}: group {} says {}, has {}", name(room), g, dir->group[g], sum));
      }
    }
    if (desc.waiting != waiting || grouped != waiting) {
      add("line-counts", fmt::format("{}: says {} wait, counts {}, has {}", name(room),
                                     desc.waiting, grouped, waiting));
    }
    if (head < tail && (head_bit(room, head) == 0) != (waiting == 0)) {
      add("line-head", fmt::format("{}: nobody waits at head {}", name(room), head));
    }
  }

  static u64 head_bit(const Room& room, u64 ticket) {
    const auto at = room.before.find(segment_of(ticket));
    return at == room.before.end() ? 0 : at->second[place_of(ticket) / 64] >> ticket % 64 & 1;
  }

  // Of a dead segment: every count is that of its bits, and no bit lies outside [head, tail).
  u64 counts(const Room& room, const LineDir& dir, const LineSegment& segment, u64 s) {
    const Bits& bits = room.before.at(s);
    u64 sum = 0;
    bool right = true;
    bool inside = true;
    for (u32 b16 = 0; b16 < std::size(segment.per16k); ++b16) {
      u64 of_16k = 0;
      for (u32 b1 = b16 * 16; b1 < b16 * 16 + 16; ++b1) {
        u64 of_1k = 0;
        for (u32 w = b1 * 16; w < b1 * 16 + 16; ++w) {
          of_1k += static_cast<u64>(std::popcount(bits[w]));
          for (u64 rest = bits[w]; rest != 0; rest &= rest - 1) {
            const u64 ticket =
                s * kSegmentTickets + u64{w} * 64 + static_cast<u32>(std::countr_zero(rest));
            inside &= pending(room, ticket) || (ticket >= dir.head && ticket < dir.tail);
          }
        }
        right &= of_1k == segment.per1k[b1];
        of_16k += of_1k;
      }
      right &= of_16k == segment.per16k[b16];
      sum += of_16k;
    }
    const bool redone = pending(room) && segment_of(a_.layout.intent.ticket) == s;
    if (!redone && (!right || sum != dir.count[ring_of(s)])) {
      add("line-counts",
          fmt::format("{}: segment {} says {}, has {}", name(room), s, dir.count[ring_of(s)], sum));
    }
    if (!inside) {
      add("line-bounds", fmt::format("{}: segment {} has tickets outside head {} and tail {}",
                                     name(room), s, dir.head, dir.tail));
    }
    return sum;
  }

  // Rings that belong to no segment of the line are empty.
  void outside(const Room& room, const LineDir& dir, u64 first, u64 last) {
    for (u32 ring = 0; ring < kLineSegments; ++ring) {
      if ((ring - ring_of(first)) % kLineSegments > last - first &&
          (dir.count[ring] != 0 || dir.segment[ring].object != 0)) {
        add("line-segment",
            fmt::format("{}: ring {} is in use outside head {} and tail {}: {} tickets, object "
                        "{:08x}",
                        name(room), ring, dir.head, dir.tail, dir.count[ring],
                        dir.segment[ring].object));
      }
    }
  }

  // --- the line and its visitors

  // What the change under way makes of a slot; nullopt: it is not part of it.
  std::optional<SlotCopy> redone(const TableInfo& table, u32 slot) const {
    if (!pending()) {
      return std::nullopt;
    }
    const Intent& intent = a_.layout.intent;
    u32 at = 0;
    for (u32 i = 0; i < std::min(intent.parts, kIntentParts); ++i) {
      const IntentPart& part = intent.part[i];
      if (part.words > kIntentWords - at) {
        break;
      }
      if (part.table == table.no && part.slot == slot) {
        SlotCopy copy{};
        std::copy_n(intent.image + at, std::min<std::size_t>(part.words, copy.size()),
                    copy.begin());
        return copy;
      }
      at += part.words;
    }
    return std::nullopt;
  }

  void visitors(const TableInfo& table) {
    SlotCopy copy;
    const auto look = [&](u32 slot) {
      const EntryView entry(&table.definition, &table.geometry, copy.data(), slot);
      if (entry.live()) {
        visitor(table, slot, Visitor::of(entry));
      }
    };
    const u64 high = a_.high_water(table);
    for (u32 slot = 0; slot < high; ++slot) {
      if (const auto image = redone(table, slot)) {
        copy = *image;
        look(slot);
      } else if (a_.copy_slot(table, slot, copy) == Lookup::kFound) {
        look(slot);
      }
    }
    // An entry that was being inserted may lie just behind.
    if (const auto image = redone(table, static_cast<u32>(high))) {
      copy = *image;
      look(static_cast<u32>(high));
    }
  }

  void visitor(const TableInfo& table, u32 slot, const Visitor& v) {
    const auto where = [&] { return fmt::format("table {} slot {}", table.definition.name, slot); };
    if (v.state > VisitorState::kRevoked) {
      add("visitor-state", fmt::format("{}: state {}", where(), static_cast<u32>(v.state)));
      return;
    }
    if (v.state == VisitorState::kNone || is_over(v.state)) {
      return;
    }
    const auto at = rooms_.find(v.room.value);
    if (at == rooms_.end()) {
      remark("visitor-room",
             fmt::format("{}: its room, number {}, is gone", where(), v.room.value));
      return;
    }
    Room& room = at->second;
    room.active += v.state == VisitorState::kActive ? 1U : 0U;
    room.called += called(v.state) ? 1U : 0U;
    room.front += v.state == VisitorState::kFront ? 1U : 0U;
    if (v.state != VisitorState::kWaiting) {
      return;
    }
    const u64 ticket = v.ticket.value;
    if (!pending(room, ticket)) {
      a_.expect([&] { return waits_now(room, ticket) || !same(table, slot, v); }, "line-visitor",
                [&] {
                  return fmt::format("{}: waits with ticket {}, which {} does not know", where(),
                                     ticket, name(room));
                });
    }
    if (!room.before.contains(segment_of(ticket))) {
      return;
    }
    Bits& bits = room.visitor[segment_of(ticket)];
    bits.resize(kWords);
    u64& word = bits[place_of(ticket) / 64];
    const u64 bit = u64{1} << ticket % 64;
    if ((word & bit) != 0) {
      a_.expect([&] { return a_.live && !same(table, slot, v); }, "ticket-unique",
                [&] {
                  return fmt::format("{}: ticket {} of {} is somebody else's as well", where(),
                                     ticket, name(room));
                });
    }
    word |= bit;
  }

  bool waits_now(const Room& room, u64 ticket) const {
    const LineDir* dir = a_.line(room.info.no);
    if (dir == nullptr || ticket < load_acquire(dir->head) || ticket >= load_acquire(dir->tail)) {
      return false;
    }
    const LineSegment* segment = a_.segment(*dir, segment_of(ticket));
    return segment != nullptr &&
           (load_relaxed(segment->bits[place_of(ticket) / 64]) >> ticket % 64 & 1) != 0;
  }
  // Whether the slot still says what it said.
  bool same(const TableInfo& table, u32 slot, const Visitor& v) const {
    SlotCopy copy;
    if (a_.copy_slot(table, slot, copy) != Lookup::kFound) {
      return true;
    }
    const EntryView entry(&table.definition, &table.geometry, copy.data(), slot);
    return entry.live() && Visitor::of(entry).word0() == v.word0();
  }

  // Who waited before the look at visitors and still does was among them.
  void bits_without_visitor(const Room& room) {
    for (const auto& [s, bits] : room.before) {
      const auto known = room.visitor.find(s);
      for (u32 i = 0; i < kWords; ++i) {
        u64 rest = bits[i] & ~(known == room.visitor.end() ? 0 : known->second[i]);
        for (; rest != 0; rest &= rest - 1) {
          const u64 ticket =
              s * kSegmentTickets + u64{i} * 64 + static_cast<u32>(std::countr_zero(rest));
          if (!pending(room, ticket)) {
            a_.expect([&] { return a_.live && !waits_now(room, ticket); }, "line-bit",
                      [&, t = ticket] {
                        return fmt::format("{}: ticket {} waits and is no visitor's", name(room),
                                           t);
                      });
          }
        }
      }
    }
  }

  // Rules that the daemon keeps: an operator may lower a limit below what is there, and a kill
  // leaves numbers that the next attach counts anew. So these are remarks, not damage.
  void numbers(const Room& room) {
    const u32 capacity = room.info.settings.capacity;
    if (room.active + room.called > capacity && !room.info.settings.suspended &&
        room.info.settings.method != QueueingMethod::kPassthrough) {
      remark("over_limit", fmt::format("{}: {} inside and {} called, {} are allowed", name(room),
                                       room.active, room.called, capacity));
    }
    const RoomNumbers n = reader_.numbers(room.info);
    if (load_acquire(a_.layout.header.state) == static_cast<u32>(SegmentState::kStopped) &&
        (n.active != room.active || n.ready != room.called || n.front != room.front)) {
      remark(
          "room-numbers",
          fmt::format("{}: says {} inside, {} called, {} at the front; has {}, {}, {}", name(room),
                      n.active, n.ready, n.front, room.active, room.called, room.front));
    }
  }

  Reader& reader_;
  const RoomsAccess& a_;
  VerifyReport& report_;
  std::map<u16, Room> rooms_;
};

}  // namespace

void verify_rooms(Reader& reader, const RoomsAccess& access, VerifyReport& report) {
  RoomsVerifier(reader, access, report).run();
}

}  // namespace lineq::shm
