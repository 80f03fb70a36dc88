// What changes in the tables, for many who follow. No socket, no JSON.
//
//   every 50 ms:  changes.tick(now)       one look at the feed, for all
//   until true:   changes.step()          the rest of it, a slice at a time
//   position = changes.now(); ...         where somebody begins to listen
//   changes.walk(position, looks, tell)   ... and what has changed since
//
// The feed says what changed, the slot says what it is now: of an entry that changed many times
// only the last time is kept, and its value is read when it is told. Everybody walks the same list
// from a position of their own, so a slow reader costs nothing and holds up nobody. The list is
// bounded: kKept entries and kKeyBytes of keys of removed ones; the oldest fall off, and lost()
// tells whoever had not come so far. life() is another number when anything may have changed: the
// writer lapped us in the feed, lineqd attached anew, or the segment is another one. Who sees one
// of the two begins again.
//
// Nobody follows: nothing is read. Nobody follows every change (see Follower::every): nothing is
// kept, only when a table changed last. One thread.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "shm/reader.h"
#include "webui/live/segment.h"

namespace lineq::live {

class Changes {
 public:
  static constexpr std::size_t kKept = 65536;
  static constexpr std::size_t kKeyBytes = std::size_t{8} << 20;
  static constexpr std::size_t kStep = 8192;  // records of the feed in one slice
  static constexpr std::size_t kTables = 4096;

  struct Change {
    u64 at = 0;
    u32 slot = 0;
    u16 table = 0;  // TableInfo::no
    bool stale = false;
    std::unique_ptr<std::string> removed;  // its key, as stored; null: inserted or updated
  };

  // Somebody who listens: asked after each look at the feed, and while there is none.
  class Follower {
   public:
    Follower() = default;
    virtual ~Follower();
    Follower(const Follower&) = delete;
    Follower& operator=(const Follower&) = delete;
    Follower(Follower&&) = delete;
    Follower& operator=(Follower&&) = delete;

    // Must not end another follower.
    virtual void looked() = 0;

   private:
    friend class Changes;
    Changes* of_ = nullptr;
    Follower* before_ = nullptr;
    Follower* after_ = nullptr;
    bool every_ = false;
  };

  explicit Changes(Segment& segment) : segment_(segment) {}  // outlives this
  ~Changes();
  Changes(const Changes&) = delete;
  Changes& operator=(const Changes&) = delete;
  Changes(Changes&&) = delete;
  Changes& operator=(Changes&&) = delete;

  // `every`: it walks. Again with another `every` to change one's mind; its position is now() then.
  void add(Follower& follower, bool every);
  void remove(Follower& follower);
  std::size_t followers() const { return size_; }

  // False: there is more, call step() until it is true.
  bool tick(u64 now_ms);
  bool step();

  u64 now() const { return at_; }
  u64 ticks() const { return ticks_; }
  u64 life() const { return life_; }
  // Another number when tables came or went: TableInfo pointers are no longer good.
  u64 directory() const { return directory_; }
  u64 last_change(u16 table) const { return last_[table & (kTables - 1)]; }
  // Of this table, or of any: changes after `position` are kept no more.
  bool lost(u64 position, u16 table) const { return forgotten_[table & (kTables - 1)] > position; }
  bool lost(u64 position) const { return forgotten_any_ > position; }

  // Looks at most at so many changes after `position`, oldest first, and moves it on behind each
  // that `tell` took; `tell` returns false to stop before this one. True: all are told.
  bool walk(u64& position, u32 looks, const std::function<bool(const Change&)>& tell) const;

  std::size_t kept() const { return live_; }

 private:
  void begin();
  void restart(const shm::Reader& reader);
  void see_directory(const shm::Reader& reader);
  bool look();
  bool follow(shm::Reader& reader);
  void note(shm::Reader& reader, const shm::FeedRecord& record, u64 slice);
  std::unique_ptr<std::string> removed_key(shm::Reader& reader, const shm::FeedRecord& record);
  void push(Change change);
  void drop_oldest();
  void outdate(u64 at);
  void forget_all();
  void tell_followers();

  Segment& segment_;
  Follower* first_ = nullptr;
  Follower* next_ = nullptr;  // who is told next
  std::size_t size_ = 0;
  std::size_t every_ = 0;

  shm::FeedCursor cursor_;
  u64 target_ = 0;  // of the feed: as far as the directory at hand knows the tables
  u64 generation_ = 0;
  u64 epoch_ = 0;
  u64 signature_ = 0;
  u64 at_ = 0;
  u64 ticks_ = 0;
  u64 life_ = 1;
  u64 directory_ = 1;
  std::array<bool, kTables> visible_{};
  std::array<u64, kTables> last_{};
  std::array<u64, kTables> forgotten_{};
  u64 forgotten_any_ = 0;

  std::vector<Change> list_;  // in order of `at`
  std::size_t front_ = 0;     // before it nothing is kept
  std::size_t live_ = 0;      // not stale, from front_ on
  std::size_t key_bytes_ = 0;
  std::unordered_map<u64, u64> newest_;  // table and slot -> at
  std::vector<shm::FeedRecord> records_;
};

}  // namespace lineq::live
