// A peer of lineqd that a test drives: the project's own Session over a socket, dialling as HAProxy
// does, but reconnecting when told to and able to misbehave.
//
// Nothing happens behind the test's back: bytes move only in pump() and in the calls that say so.
// One thread. For bytes no Session would send, net.h has plain sockets.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/peers/session.h"
#include "shm/geometry.h"
#include "shm/support/ints.h"
#include "tests/support/net.h"
#include "tests/support/process.h"

namespace lineq::test {

// The program's dictionary of a test.
class MemoryStrings : public peers::Strings {
 public:
  u32 intern(std::string_view text) override;
  std::string_view text(u32 id) override;

 private:
  std::vector<std::string> texts_{""};
  std::map<std::string, u32, std::less<>> ids_;
};

// What arrived last for one key.
struct ReceivedRow {
  std::vector<u64> cells;
  u32 expire_ms = 0;
  bool timed = false;
  u64 times = 0;    // updates for this key so far
  u64 arrival = 0;  // counts all updates received by the peer
};

struct FakePeerSetup {
  u16 port = 0;
  std::string name = "fake";
  std::string target = "lineq";
  u32 pid = 1;
  bool request_lesson = false;  // ask for everything at once, as a started HAProxy does
  bool keep_rows = true;        // false: only counts, for millions
  int receive_buffer = 0;       // bytes the system takes before pump() does; 0: as it likes
};

class FakePeer : private peers::SessionEvents {
 public:
  explicit FakePeer(FakePeerSetup setup);
  FakePeer(const FakePeer&) = delete;
  FakePeer& operator=(const FakePeer&) = delete;
  ~FakePeer() override;

  // A new connection and session, until it is established; false when refused or too slow.
  bool connect(Milliseconds patience = kPatience);
  bool connected() const;
  void disconnect();
  const std::string& why_ended() const { return why_ended_; }
  peers::Session* session() { return session_.get(); }

  // Our tables: a number of our own, 1 and up. Kept over reconnects.
  void define(u32 table, const shm::TableDefinition& definition);
  // Queues one update; returns its id, 0 when not connected. Bytes leave in pump().
  u32 update(u32 table, std::string_view key, std::span<const u64> cells);
  bool all_acked() const;
  std::size_t unsent_bytes() const;

  // Sends what is pending and takes what has arrived, for `how_long` (0: what is there now);
  // false when the connection is over.
  bool pump(Milliseconds how_long = Milliseconds(0));
  bool pump_until(const std::function<bool()>& condition, Milliseconds patience = kPatience);
  // Sends but never reads: a receiver that hangs.
  void pump_out_only();

  // What to answer to a resync request; without, "that was all" at once.
  std::function<void()> on_resync_request_do;
  // Sees every update before it is kept.
  std::function<void(const peers::SessionTable&, const peers::Update&)> on_update_do;

  // What has been received, by table name and key (key bytes as on the wire).
  using Rows = std::unordered_map<std::string, ReceivedRow>;
  const Rows& rows(const std::string& table) const;
  const ReceivedRow* row(const std::string& table, const std::string& key) const;
  const std::map<std::string, shm::TableDefinition>& definitions() const { return definitions_; }
  u64 updates_received() const { return updates_received_; }
  u64 lessons_finished() const { return lessons_finished_; }
  u64 resync_requests() const { return resync_requests_; }
  const std::vector<std::string>& problems() const { return problems_; }
  MemoryStrings& strings() { return strings_; }
  void forget_rows() { rows_.clear(); }

 private:
  peers::HelloDecision on_hello(const peers::Hello& hello) override;
  void on_established() override;
  bool on_definition(peers::SessionTable& table) override;
  void on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) override;
  void on_resync_request() override;
  void on_lesson_end(bool partial) override;
  void on_problem(peers::Problem problem, std::string_view sentence) override;

  bool write_pending();
  void lost(const std::string& why);

  FakePeerSetup setup_;
  MemoryStrings strings_;
  Fd fd_;
  std::unique_ptr<peers::Session> session_;
  std::string why_ended_;
  std::map<u32, shm::TableDefinition> own_;
  std::map<std::string, Rows> rows_;
  std::map<std::string, shm::TableDefinition> definitions_;
  u64 updates_received_ = 0;
  u64 lessons_finished_ = 0;
  u64 resync_requests_ = 0;
  std::vector<std::string> problems_;
};

// Definitions tests use again and again.
shm::TableDefinition string_table(std::string name, u32 length, u64 data_types,
                                  u64 expire_ms = 3600000);
shm::TableDefinition integer_table(std::string name, u64 data_types, u64 expire_ms = 3600000);
std::string integer_key(u32 value);  // as on the wire

}  // namespace lineq::test
