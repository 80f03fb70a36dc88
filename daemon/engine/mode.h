// What lineqd makes of what HAProxys tell it. One mode runs for the life of the daemon.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/engine/peer_book.h"

namespace lineq::engine {

class RoomControl;

// Origin of a change that only readers of the segment have to know of: HAProxys are not told.
inline constexpr PeerNo kReadersOnly{0xfffe};

class Mode {
 public:
  Mode() = default;
  Mode(const Mode&) = delete;
  Mode& operator=(const Mode&) = delete;
  virtual ~Mode() = default;

  // 1 to 32 updates of one table of one HAProxy, in order. When this returns they are in the
  // segment, or never will be: they are acknowledged next.
  virtual void on_updates(Peer& peer, PeerTable& table, std::span<const peers::Update> updates,
                          SegmentMs now) = 0;
  // The life of this entry is over. Erases it, or gives it a new one, or says when to look again.
  virtual std::optional<Tick> on_expired(shm::Table& table, u32 slot, SegmentMs now) = 0;

  // Name under which HAProxys are sent the entries of a plain table; empty: they are not.
  virtual std::string outlet(const shm::TableInfo& table) const = 0;
  // What a table of this definition is for. An error: it is not kept, its updates are ignored.
  virtual Result<shm::TableRole> role_of(const shm::TableDefinition& definition) const {
    static_cast<void>(definition);
    return shm::TableRole::kPlain;
  }
  // Of users tables: the columns that HAProxys are sent, and whether they are sent this entry.
  virtual u64 columns_out() const { return ~u64{0}; }
  virtual bool sends(const shm::EntryView& entry) const {
    static_cast<void>(entry);
    return true;
  }
  // An entry of a users table was sent to this HAProxy as update `id`; it has acknowledged all
  // updates of the table up to `id`.
  virtual void on_sent(Peer& peer, const shm::Table& table, u32 slot, u32 id) {
    static_cast<void>(peer), static_cast<void>(table), static_cast<void>(slot),
        static_cast<void>(id);
  }
  virtual void on_acked(Peer& peer, u16 table_no, u32 id, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(table_no), static_cast<void>(id),
        static_cast<void>(now);
  }
  // Whether operators may change entries of this table. An Error is one sentence with what to do
  // instead.
  virtual Status may_edit(const shm::TableInfo& table) const {
    static_cast<void>(table);
    return {};
  }
  // Null: this mode has no rooms.
  virtual RoomControl* room_control() { return nullptr; }

  // HAProxys have a table of this name only to be sent it: what they tell of it is an echo.
  virtual bool is_echo(std::string_view name) const {
    static_cast<void>(name);
    return false;
  }

  // A HAProxy has announced this table, for the first time or anew. An error: its updates are
  // ignored.
  virtual Status on_table(Peer& peer, const PeerTable& table, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(table), static_cast<void>(now);
    return {};
  }
  // Entries of the plain table `old_no` have moved to `table`.
  virtual void on_replaced(u16 old_no, const shm::Table& table, SegmentMs now) {
    static_cast<void>(old_no), static_cast<void>(table), static_cast<void>(now);
  }

  // The session of a HAProxy: established; it asks for everything; it has taught us all it has; its
  // repetitions after that are over too; it is gone.
  virtual void on_up(Peer& peer, SegmentMs now) { static_cast<void>(peer), static_cast<void>(now); }
  virtual void on_asked(Peer& peer, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(now);
  }
  // `partial`: it says that it is still to learn itself.
  virtual void on_taught(Peer& peer, bool partial, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(partial), static_cast<void>(now);
  }
  virtual void on_live(Peer& peer, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(now);
  }
  virtual void on_down(Peer& peer, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(now);
  }

  // Whether it has to be asked once more for all it has.
  virtual bool ask_again(Peer& peer, SegmentMs now) {
    static_cast<void>(peer), static_cast<void>(now);
    return false;
  }

  // lineqd itself stood still for so long, until now: nobody's deadline passed in that time.
  virtual void on_resume(u64 away_ms) { static_cast<void>(away_ms); }

  // A slice of what is left to do. True when nothing is.
  virtual bool turn(SegmentMs now) {
    static_cast<void>(now);
    return true;
  }
  // Every 100 ms.
  virtual void tick(SegmentMs now) { static_cast<void>(now); }
  // turn() has something to do in so many milliseconds.
  virtual std::optional<u64> next_ms(SegmentMs now) const {
    static_cast<void>(now);
    return std::nullopt;
  }
};

}  // namespace lineq::engine
