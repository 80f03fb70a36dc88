#include "shm/line.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "shm/line_state.h"

namespace lineq::shm {
namespace {

constexpr u64 kRetryMs = 100;              // after the system refused memory
constexpr u64 kLastTicket = u64{1} << 48;  // a visitor's word has 48 bits for it
// One less than the ring holds: whoever sees tail in a segment of the ring's next round knows that
// head's segment has changed (count_ranks).
constexpr u64 kMostSegments = kLineSegments - 1;
constexpr u32 kWords = kSegmentTickets / 64;
constexpr u32 kWordsPer16k = 16384 / 64;
constexpr u32 kWordsPer1k = 1024 / 64;
constexpr u32 kGroup = 16;  // segments

// First waiting ticket of a segment at or behind `place`.
std::optional<u32> first_in(const LineSegment& s, u32 place) {
  u32 word = place / 64;
  u64 bits = s.bits[word] & ~u64{0} << place % 64;
  while (bits == 0) {
    ++word;
    for (;;) {
      if (word == kWords) {
        return std::nullopt;
      }
      if (word % kWordsPer16k == 0 && s.per16k[word / kWordsPer16k] == 0) {
        word += kWordsPer16k;
      } else if (word % kWordsPer1k == 0 && s.per1k[word / kWordsPer1k] == 0) {
        word += kWordsPer1k;
      } else {
        break;
      }
    }
    bits = s.bits[word];
  }
  return word * 64 + static_cast<u32>(std::countr_zero(bits));
}

// The k-th waiting ticket of a segment that has more than k.
u32 select_in(const LineSegment& s, u64 k) {
  u32 b16 = 0;
  while (k >= s.per16k[b16]) {
    k -= s.per16k[b16++];
  }
  u32 b1 = b16 * (kWordsPer16k / kWordsPer1k);
  while (k >= s.per1k[b1]) {
    k -= s.per1k[b1++];
  }
  u32 word = b1 * kWordsPer1k;
  while (k >= static_cast<u32>(std::popcount(s.bits[word]))) {
    k -= static_cast<u32>(std::popcount(s.bits[word++]));
  }
  u64 bits = s.bits[word];
  for (; k != 0; --k) {
    bits &= bits - 1;
  }
  return word * 64 + static_cast<u32>(std::countr_zero(bits));
}

}  // namespace

// --- memory
// --------------------------------------------------------------------------------------------------------

// A zeroed object that nobody refers to yet.
bool Line::Parts::make(Piece& piece, u64 bytes) {
  // Room numbers stand behind all tables', so that nobody takes it for a table's.
  const auto index = state.prepare_object(ObjectKind::kLine, kMaxTables + room.value, bytes);
  if (!index) {
    return false;
  }
  auto object = state.provisioner->create_now(state.name_of(*index), bytes, bytes);
  if (!object) {
    state.forget_object(*index);
    return false;
  }
  crash_point();
  state.publish_object(*index, bytes);
  crash_point();
  piece = {object.take(), *index};
  return true;
}

bool Line::Parts::make_directory() {
  if (!make(directory, sizeof(LineDir))) {
    return false;
  }
  segments.resize(kLineSegments);
  store_release(desc.line.object, state.layout->objects[directory.dir].number);
  crash_point();
  return true;
}

bool Line::Parts::make_segment(u64 no) {
  Piece& piece = segments[ring_of(no)];
  if (spare.object.mapped()) {
    piece = std::exchange(spare, Piece{});
  } else if (!make(piece, sizeof(LineSegment))) {
    return false;
  }
  // No bit was left in it, so it is zeroed: who ranks a ticket of its last life sees that head has
  // passed it before it sees the first new bit. Pairs with the observe_fence in count_ranks.
  publish_fence();
  store_release(dir()->segment[ring_of(no)].object, state.layout->objects[piece.dir].number);
  crash_point();
  return true;
}

void Line::Parts::leave_behind(u64 no) {
  Piece& piece = segments[ring_of(no)];
  if (!piece.object.mapped()) {
    return;
  }
  store_release(dir()->segment[ring_of(no)].object, 0);
  crash_point();
  if (spare.object.mapped()) {
    drop(piece);
  } else {
    spare = std::exchange(piece, Piece{});
  }
}

void Line::Parts::drop(Piece& piece) {
  if (!piece.object.mapped()) {
    return;
  }
  const u64 bytes = state.layout->objects[piece.dir].reserved_bytes;
  Object::unlink(state.name_of(piece.dir));
  crash_point();
  state.forget_object(piece.dir);
  crash_point();
  state.provisioner->discard(std::move(piece.object), bytes);
  piece = {};
}

void Line::Parts::drop_all() {
  store_release(desc.line.object, 0);
  crash_point();
  drop(directory);
  drop(spare);
  for (Piece& piece : segments) {
    drop(piece);
  }
}

// --- the line
// ------------------------------------------------------------------------------------------------------

Line::Line(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Line::~Line() = default;

std::optional<Ticket> Line::next_ticket(SegmentMs now) {
  Parts& p = *parts_;
  if (p.dir() == nullptr) {
    if (now < p.retry_ms) {
      return std::nullopt;
    }
    if (!p.make_directory()) {
      p.retry_ms = now + kRetryMs;
      return std::nullopt;
    }
  }
  const LineDir& dir = *p.dir();
  const u64 segment = segment_of(dir.tail);
  if (segment - segment_of(dir.head) >= kMostSegments || dir.tail >= kLastTicket) {
    return std::nullopt;
  }
  if (p.segment(segment) == nullptr) {
    if (now < p.retry_ms) {
      return std::nullopt;
    }
    if (!p.make_segment(segment)) {
      p.retry_ms = now + kRetryMs;
      return std::nullopt;
    }
  }
  return Ticket{dir.tail};
}

u64 Line::waiting() const {
  return parts_->desc.waiting;
}

bool Line::has(Ticket ticket) const {
  const Parts& p = *parts_;
  const LineDir* dir = p.dir();
  if (dir == nullptr || ticket.value < dir->head || ticket.value >= dir->tail) {
    return false;
  }
  const u32 place = place_of(ticket.value);
  const LineSegment* s = p.segment(segment_of(ticket.value));
  return s != nullptr && (s->bits[place / 64] >> place % 64 & 1) != 0;
}

std::optional<Ticket> Line::front() const {
  return waiting() == 0 ? std::nullopt : std::optional(Ticket{parts_->dir()->head});
}

std::optional<Ticket> Line::select(u64 k) const {
  const Parts& p = *parts_;
  if (k >= waiting()) {
    return std::nullopt;
  }
  const LineDir& dir = *p.dir();
  u64 s = segment_of(dir.head);
  const u64 last = segment_of(dir.tail - 1);
  for (;;) {
    LINEQ_ASSERT(s <= last);
    const u32 ring = ring_of(s);
    if (ring % kGroup == 0 && last - s >= kGroup && k >= dir.group[ring / kGroup]) {
      k -= dir.group[ring / kGroup];
      s += kGroup;
    } else if (k >= dir.count[ring]) {
      k -= dir.count[ring];
      ++s;
    } else {
      return Ticket{s * kSegmentTickets + select_in(*p.segment(s), k)};
    }
  }
}

std::optional<u64> Line::rank_of(Ticket ticket) const {
  const Parts& p = *parts_;
  if (p.dir() == nullptr) {
    return std::nullopt;
  }
  u64 rank = kNotWaiting;
  count_ranks(*p.dir(), [&](u64 no) { return p.segment(no); }, {&ticket, 1}, {&rank, 1});
  return rank == kNotWaiting ? std::nullopt : std::optional(rank);
}

void Line::join(Ticket ticket) {
  Parts& p = *parts_;
  LineDir& dir = *p.dir();
  LINEQ_ASSERT(ticket.value == dir.tail);
  count_in(dir, *p.segment(segment_of(ticket.value)), ticket.value);
  store_relaxed(p.desc.waiting, p.desc.waiting + 1);
  store_point();
  store_release(dir.tail, ticket.value + 1);  // pairs with load_acquire in count_ranks
  crash_point();
}

void Line::leave(Ticket ticket) {
  Parts& p = *parts_;
  LineDir& dir = *p.dir();
  LINEQ_ASSERT(has(ticket));
  count_out(dir, *p.segment(segment_of(ticket.value)), ticket.value);
  store_relaxed(p.desc.waiting, p.desc.waiting - 1);
  store_point();
  if (ticket.value == dir.head) {
    p.move_head();
  }
}

u64 Line::Parts::first_from(u64 ticket) const {
  const LineDir& d = *dir();
  if (desc.waiting == 0 || ticket >= d.tail) {
    return d.tail;
  }
  const u64 last = segment_of(d.tail - 1);
  u32 place = place_of(ticket);
  for (u64 s = segment_of(ticket); s <= last;) {
    const u32 ring = ring_of(s);
    if (d.count[ring] != 0) {
      if (const auto found = first_in(*segment(s), place)) {
        return s * kSegmentTickets + *found;
      }
    }
    place = 0;
    ++s;
    while (s % kGroup == 0 && s + kGroup <= last && d.group[ring_of(s) / kGroup] == 0) {
      s += kGroup;
    }
  }
  return d.tail;
}

// To the next one that waits; segments that lie before it are free to be used again.
void Line::Parts::move_head() {
  LineDir& d = *dir();
  const u64 old = segment_of(d.head);
  const u64 head = first_from(d.head);
  store_release(d.head, head);
  crash_point();
  for (u64 s = old; s < segment_of(head); ++s) {
    leave_behind(s);
  }
}

// --- recovery
// ------------------------------------------------------------------------------------------------------

Status Line::Parts::fill(std::span<const u64> tickets, u64 tail) {
  const u64 head = tickets.empty() ? tail : tickets.front();
  const auto ascends = [](u64 a, u64 b) { return a >= b; };
  if (tail > kLastTicket || (!tickets.empty() && tickets.back() >= tail) ||
      segment_of(tail) - segment_of(head) > kMostSegments ||
      std::adjacent_find(tickets.begin(), tickets.end(), ascends) != tickets.end()) {
    return Error{ErrorCode::kDamaged,
                 fmt::format("the line of room {} has impossible tickets", room.value)};
  }
  const Error full{ErrorCode::kExhausted,
                   fmt::format("no memory for the line of room {}", room.value)};
  if (tail == 0) {
    return {};
  }
  if (!make_directory()) {
    return full;
  }
  LineDir& d = *dir();
  store_relaxed(d.head, head);
  store_release(d.tail, tail);
  std::size_t next = 0;
  for (u64 no = segment_of(head); head < tail && no <= segment_of(tail - 1); ++no) {
    if (!make_segment(no)) {
      return full;
    }
    LineSegment& s = *segment(no);
    for (; next < tickets.size() && segment_of(tickets[next]) == no; ++next) {
      const u32 place = place_of(tickets[next]);
      s.bits[place / 64] |= u64{1} << place % 64;
    }
    recount(no);
  }
  return {};
}

Status Line::Parts::adopt() {
  const u32 number = desc.line.object;
  if (number == 0) {
    return {};
  }
  const auto open = [&](u32 object, u64 bytes, Piece& piece) -> Status {
    const auto index = state.object_index(object);
    if (!index) {
      return Error{ErrorCode::kDamaged,
                   fmt::format("line of room {}: object {:08x} is not in the directory", room.value,
                               object)};
    }
    auto opened = Object::open_own(state.name_of(*index));
    if (!opened) {
      return opened.error();
    }
    if (opened->bytes() < bytes) {
      return Error{ErrorCode::kDamaged,
                   fmt::format("line of room {}: object {:08x} is too short", room.value, object)};
    }
    piece = {opened.take(), *index};
    return {};
  };
  if (Status opened = open(number, sizeof(LineDir), directory); !opened) {
    return opened;
  }
  segments.resize(kLineSegments);
  LineDir& d = *dir();
  const u64 first = segment_of(d.head);
  const u64 last = segment_of(d.tail);
  if (d.head > d.tail || last - first > kMostSegments) {
    return Error{ErrorCode::kDamaged,
                 fmt::format("line of room {}: head {} and tail {}", room.value, d.head, d.tail)};
  }
  for (u32 ring = 0; ring < kLineSegments; ++ring) {
    if (d.segment[ring].object == 0) {
      continue;
    }
    if ((ring - ring_of(first)) % kLineSegments > last - first) {
      store_release(d.segment[ring].object, 0);  // left behind
      crash_point();
      continue;
    }
    if (Status opened = open(d.segment[ring].object, sizeof(LineSegment), segments[ring]);
        !opened) {
      return opened;
    }
  }
  for (u64 s = first; d.head < d.tail && s <= segment_of(d.tail - 1); ++s) {
    if (segment(s) == nullptr) {
      return Error{ErrorCode::kDamaged,
                   fmt::format("line of room {}: segment {} is missing", room.value, s)};
    }
  }
  return {};
}

void Line::Parts::recount(u64 no) {
  LineDir& d = *dir();
  LineSegment& s = *segment(no);
  u32 all = 0;
  for (u32 b16 = 0; b16 < std::size(s.per16k); ++b16) {
    u32 sum = 0;
    for (u32 b1 = b16 * kGroup; b1 < (b16 + 1) * kGroup; ++b1) {
      u32 bits = 0;
      for (u32 word = b1 * kWordsPer1k; word < (b1 + 1) * kWordsPer1k; ++word) {
        bits += static_cast<u32>(std::popcount(s.bits[word]));
      }
      store_relaxed(s.per1k[b1], static_cast<u16>(bits));
      sum += bits;
    }
    store_relaxed(s.per16k[b16], sum);
    all += sum;
  }
  store_relaxed(d.count[ring_of(no)], all);
  const u32 group = ring_of(no) / kGroup;
  u32 sum = 0;
  for (u32 i = group * kGroup; i < (group + 1) * kGroup; ++i) {
    sum += d.count[i];
  }
  store_relaxed(d.group[group], sum);
  u64 waiting = 0;
  for (const u32 in_group : d.group) {
    waiting += in_group;
  }
  store_relaxed(desc.waiting, waiting);
}

// A ticket that head has passed left completely: its counts are stored before head moves.
void Line::Parts::redo(LineOp op, u64 ticket) {
  LineDir* d = dir();
  if (d == nullptr || ticket < d->head || ticket > d->tail ||
      segment(segment_of(ticket)) == nullptr) {
    return;
  }
  LineSegment& s = *segment(segment_of(ticket));
  const u32 place = place_of(ticket);
  const u64 bit = u64{1} << place % 64;
  u64& word = s.bits[place / 64];
  store_relaxed(word, op == LineOp::kJoin ? word | bit : word & ~bit);
  crash_point();
  recount(segment_of(ticket));
  crash_point();
  if (op == LineOp::kJoin && d->tail <= ticket) {
    store_release(d->tail, ticket + 1);
    crash_point();
  }
  if (d->head < d->tail) {
    move_head();
  }
}

bool Line::Parts::uses(u32 index) const {
  const auto is = [&](const Piece& piece) { return piece.object.mapped() && piece.dir == index; };
  return is(directory) || is(spare) || std::any_of(segments.begin(), segments.end(), is);
}

}  // namespace lineq::shm
