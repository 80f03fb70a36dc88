// One room's waiting line: a bit for each ticket, counts at five levels above them (shm-design 12).
// Truth is the visitor's slot; bits are derived from it, counts from bits.
//
//   join        next_ticket(); Together::join(line)           tail + 1
//   leave       Together::leave(line, ticket)                 abandoned, called, admitted
//   who is next front(), or select(k) with k uniform in [0, waiting())
//   rank_of     how many wait before this ticket
//
// Invariants:
//  L1  bit t set  <=>  ticket t waits; no bit below head or from tail on is set
//  L2  every count is the number of bits set in its range
//  L3  a segment of 2^18 tickets without a bit that lies before head is unpublished and reused
//
// Line: writer thread only. rank_of() and ranks_of() also run in readers, beside the writer,
// without a lock or a retry: each position before t is counted in exactly one word that is read,
// later tickets touch none of them, so the result was the true rank at some instant of the call;
// and as the true rank only falls, a later call never returns more.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "shm/layout.h"
#include "shm/support/clock.h"
#include "shm/support/result.h"
#include "shm/support/strong.h"

namespace lineq::shm {

class Writer;

class Line {
 public:
  // The ticket that Together::join() gives next. nullopt: the line spans 2^28 tickets, or there is
  // no memory for another segment; the visitor cannot be queued now (RoomCounter::join_refused).
  std::optional<Ticket> next_ticket(SegmentMs now);
  u64 waiting() const;
  bool has(Ticket ticket) const;
  std::optional<Ticket> front() const;              // the lowest that waits
  std::optional<Ticket> select(u64 k) const;        // the k-th that waits, from 0
  std::optional<u64> rank_of(Ticket ticket) const;  // 0 = next; nullopt: does not wait

  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  Line(Line&&) = delete;
  Line& operator=(Line&&) = delete;

 private:
  friend class SnapshotLoader;
  friend class Writer;
  friend class Together;
  struct Parts;
  explicit Line(std::unique_ptr<Parts> parts);
  void join(Ticket ticket);
  void leave(Ticket ticket);
  std::unique_ptr<Parts> parts_;
};

}  // namespace lineq::shm
