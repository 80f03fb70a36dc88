// One conversation with one peer over one connection: bytes and milliseconds in, events and bytes
// out. No socket, no table, no clock.
//
// The owner does, for each connection:
//   read       session.feed(bytes, now), then write, then look at ended()
//   timer      session.tick(now) now and then (see next_deadline()), then the same
//   write      session.pending() to the socket, session.consumed(n); or swap_output()
//   ended()    write what is pending, close, destroy
// Single-threaded. Events are called from inside feed() (and on_hello's followers); from there the
// owner may call every method of this session except feed() and tick(), and must not destroy it.
// Sending never blocks and never refuses for lack of space: the owner looks at pending().size() and
// holds back by itself.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/peers/decoder.h"
#include "daemon/peers/encoder.h"
#include "daemon/peers/message.h"
#include "daemon/peers/string_cache.h"

namespace lineq::peers {

struct SessionConfig {
  u32 max_message = kMaxMessageIn;  // accepted, header included
  u32 max_tables = 1024;            // definitions kept; more are ignored
  u32 handshake_ms = 5000;          // hello and status must be through by then
  u32 heartbeat_ms = 3000;          // silence of ours that a heartbeat ends
  u32 dead_ms = 10000;              // silence of theirs that ends the session
  // Listener: answer 501 and 502 to a malformed hello as HAProxy does. Off: close without a word,
  // because HAProxy never comes back after an error status (peers-protocol 1.4).
  bool answer_bad_hello = false;
  // Send a resync request as soon as the session is established (peers-protocol 0, rule 1).
  bool request_lesson = true;
  // Ages of rates from half of the clock on: 0 (peers-protocol 5.3), or as told, for owners that
  // look at them.
  Elapsed elapsed = Elapsed::kClean;
};

// A table as the remote side defined it. Lives as long as the session; one for each name.
struct SessionTable {
  u32 index = 0;      // 0, 1, 2, ... in order of appearance
  u32 remote_id = 0;  // the sender's number; may change with a later definition
  shm::TableDefinition definition;
  u64 unknown_types = 0;  // bits the sender has and we do not know; reported once
  bool usable = false;    // good definition, accepted by the owner; otherwise updates are ignored
  u32 last_id = 0;        // of the last update received
  u64 updates = 0;        // received
  void* owner = nullptr;  // for the owner; the session never touches it

  // The rest belongs to Session.
  RowShape shape;
  std::vector<u8> payload;  // of the definition, to know it again; empty if too long to keep
  u32 ack_id = 0;
  bool ack_due = false;
  u32 lesson_high = 0;  // highest id taught that is the sender's own, if has_lesson_high
  bool has_lesson_high = false;
};

enum class Problem {
  kBadHello,       // session over
  kRefused,        // connector: the status was not 200; session over
  kMalformed,      // session over, `01 00` sent
  kTooLarge,       // session over, `01 01` sent
  kSilent,         // a deadline passed; session over
  kBadDefinition,  // its updates are ignored
  kUnknownTypes,   // data types we do not know are ignored
  kUnknownTable,   // a switch to a table never defined
  kRemoteError,    // the other side sent an error message
  kRowTooLarge,    // a row of ours does not fit into a message and was not sent
};

// What the owner answers to a hello.
struct HelloDecision {
  enum class Kind { kAccept, kStatus, kClose } kind = Kind::kAccept;
  u32 status = kStatusOk;

  static HelloDecision accept() { return {}; }
  // Answers `status` and ends. After 300 and 5xx HAProxy does not come back by itself.
  static HelloDecision answer(u32 status) { return {Kind::kStatus, status}; }
  // Ends without an answer: HAProxy tries again after 5 s.
  static HelloDecision close() { return {Kind::kClose, 0}; }
};

// What a session tells its owner. One object for each session.
class SessionEvents {
 public:
  SessionEvents() = default;
  SessionEvents(const SessionEvents&) = delete;
  SessionEvents& operator=(const SessionEvents&) = delete;
  virtual ~SessionEvents() = default;

  // Listener only: a well-formed hello of version 2.0 or 2.1 with a name that is not empty.
  virtual HelloDecision on_hello(const Hello& hello) = 0;
  // Status 200 is sent or received, the resync request and a heartbeat are queued.
  virtual void on_established() {}
  // A table is new, or its definition or remote id changed (not for mere repetitions). False =
  // ignore its updates until it is defined differently. `table.definition` has passed the checks of
  // peers-protocol 4, not those of shm::geometry_of().
  virtual bool on_definition(SessionTable& table) = 0;
  // 1 to 32 updates of one usable table in the order they came. They are acknowledged after this,
  // at the end of feed(), unless they belong to a lesson.
  virtual void on_updates(SessionTable& table, std::span<const Update> updates) = 0;
  // The other side has everything up to `update_id` of our table. Also called for what a confirmed
  // lesson contained, as HAProxy >= 3.3 acknowledges nothing in lessons.
  virtual void on_ack(u32 our_table, u32 update_id) {
    static_cast<void>(our_table), static_cast<void>(update_id);
  }
  // The other side wants all we have: send it, then call finish_lesson(). May come again at any
  // time, also before the last one was finished.
  virtual void on_resync_request() {}
  // The other side taught all it has; it is confirmed already. `partial`: it did not have
  // everything itself. Also comes unasked.
  virtual void on_lesson_end(bool partial) { static_cast<void>(partial); }
  // The other side confirmed the end of a lesson of ours.
  virtual void on_resync_confirmed() {}
  // Something worth a log line; counted. `sentence` says what and where, not who: "update of table
  // /t_ip: 3 bytes left after 2 of 5 columns".
  virtual void on_problem(Problem problem, std::string_view sentence) {
    static_cast<void>(problem), static_cast<void>(sentence);
  }
};

struct SessionCounters {
  u64 bytes_in = 0, bytes_out = 0;  // out: queued
  u64 messages_in = 0, messages_out = 0;
  u64 updates_in = 0, updates_out = 0;
  u64 definitions_in = 0, definitions_out = 0;  // repetitions included
  u64 acks_in = 0, acks_out = 0;
  u64 acks_dropped = 0;  // received, not between our last ack and our last id (6.3)
  u64 heartbeats_in = 0, heartbeats_out = 0;
  u64 lessons_in = 0, lessons_out = 0;  // finished
  u64 repeats = 0;                      // untimed second copies after a lesson
  u64 ignored = 0;                      // updates for no usable table
  u64 skipped = 0;                      // messages of unknown class or type
  u64 refused = 0;                      // rows of ours that could not be sent
  u64 problems = 0;
};

class Session {
 public:
  // Listener side: waits for a hello.
  Session(const SessionConfig& config, Strings& strings, SessionEvents& events, u64 now_ms);
  // Connector side: `own` is the hello to send; it is pending at once, to go out in one write.
  Session(const SessionConfig& config, const Hello& own, Strings& strings, SessionEvents& events,
          u64 now_ms);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  // --- bytes and time ---

  // Bytes from the connection, cut anywhere. Ignored once ended().
  void feed(std::span<const u8> bytes, u64 now_ms);
  // Deadlines and heartbeats.
  void tick(u64 now_ms);
  // For so long nobody here listened: no silence of the other side.
  void excuse(u64 ms);
  // When tick() has something to do at the latest.
  u64 next_deadline() const;

  std::span<const u8> pending() const { return out_.pending(); }
  void consumed(size_t bytes) { out_.consumed(bytes); }
  // For writes that take their time: gives all pending bytes to `empty` and goes on with its
  // memory.
  void swap_output(OutputBuffer& empty);

  // --- state ---

  bool established() const { return state_ == State::kEstablished; }
  // Over: nothing is read or sent any more. What is pending should still be written.
  bool ended() const { return state_ == State::kEnded; }
  // Why it is over, for the log: "silent for 10000 ms". Empty while it is not.
  const std::string& end_reason() const { return end_reason_; }
  // Connector: the status received, 0 before.
  u32 status() const { return status_; }
  // Listener: the hello received; connector: the hello sent.
  const Hello& hello() const { return hello_; }
  // A lesson we asked for is under way.
  bool learning() const { return learning_; }
  // The other side waits for finish_lesson().
  bool teaching() const { return teaching_; }
  u64 last_received_ms() const { return last_received_ms_; }
  const SessionCounters& counters() const { return counters_; }
  std::span<const std::unique_ptr<SessionTable>> tables() const { return tables_; }

  // The owner wants it over. Nothing is sent for it.
  void end(std::string reason);

  // --- sending; all of it needs established(), and does nothing once ended() ---

  // Our definition of `our_table` (a number of our choice, 1 and up). Only the columns of which we
  // are the owner: an update overwrites all columns of the definition (9.2). May be called again
  // with another one. Goes out by itself before the next update of the table.
  void define(u32 our_table, const shm::TableDefinition& definition);
  // Sends the definition now, for a table without entries. The table must be defined.
  void announce(u32 our_table);
  // Sends one row of a defined table, preceded by its definition where necessary. `key` and `cells`
  // as in Update, for the definition given to define(). With `expire_ms` as a timed update, unless
  // the other side speaks 2.0. Returns the update's id, 1 and up; 0 = not sent (ended, key or row
  // does not fit into a message).
  u32 update(u32 our_table, std::span<const u8> key, std::span<const u64> cells,
             std::optional<u32> expire_ms);
  // The last id sent and the last one acknowledged; 0 = none.
  u32 last_sent(u32 our_table) const;
  u32 last_acked(u32 our_table) const;

  // Asks for everything the other side has. False when a lesson is under way already.
  bool request_lesson();
  // The answer to on_resync_request() is complete. `partial` only if a better teacher exists.
  void finish_lesson(bool partial = false);
  void heartbeat();

 private:
  enum class State { kHello, kStatus, kEstablished, kEnded };

  // A table of ours on this session.
  struct OwnTable {
    shm::TableDefinition definition;
    RowShape shape;
    bool announced = false;  // the other side knows exactly this definition
    u32 last_sent = 0;
    u32 last_acked = 0;
    u32 taught = 0;  // last_sent when the unconfirmed lesson was finished
  };

  // Input. step() handles the first whole line or message of `in` and returns its size; 0 = there
  // is none, and need_ bytes are worth another try.
  size_t step(std::span<const u8> in);
  size_t step_line(std::span<const u8> in);
  size_t missing(std::span<const u8> bytes) const;
  void flush();
  void send_acks();

  // Handshake.
  void on_hello_line(std::string_view line);
  void on_names(std::string_view line);
  void on_status(std::string_view line);
  void bad_hello(u32 status, std::string sentence);
  void establish();

  // Messages.
  void on_frame(const Frame& frame);
  void on_control(u8 type);
  void on_lesson_end(bool partial);
  void on_resync_confirmed();
  void on_definition(std::span<const u8> payload);
  SessionTable* place_of(u32 remote_id, const std::string& name);
  void on_switch(std::span<const u8> payload);
  void on_ack(std::span<const u8> payload);
  void on_update(const Frame& frame);
  void mark(SessionTable& table, Update& update);

  void problem(Problem problem, std::string_view sentence);
  void finish(Problem what, std::string sentence);
  void protocol_error(ProtocolError error, std::string sentence);

  // Output.
  template <typename Encode>
  void send(Encode&& encode);
  void send_control(Control control);
  void announce(u32 our_table, OwnTable& own);
  OwnTable* own_table(u32 our_table);

  SessionConfig config_;
  Strings& strings_;
  SessionEvents& events_;
  State state_;
  u64 now_ms_;
  u64 started_ms_;
  u64 last_received_ms_;
  u64 excused_ms_ = 0;  // of the time since then
  u64 last_sent_ms_;
  Hello hello_;
  u32 status_ = 0;
  u32 line_no_ = 0;
  std::string end_reason_;

  std::vector<u8> tail_;  // the unfinished line or message at the end of the last feed()
  size_t need_ = 0;       // size of tail_ that is worth another look
  OutputBuffer out_;
  UpdateBatch batch_;
  SessionTable* batch_table_ = nullptr;
  SessionCounters counters_;

  // Receiving.
  std::vector<std::unique_ptr<SessionTable>> tables_;
  std::unordered_map<std::string, SessionTable*> by_name_;
  std::unordered_map<u32, SessionTable*> by_id_;
  SessionTable* selected_ = nullptr;  // usable, or null
  std::vector<SessionTable*> acks_due_;
  ReceivedStrings received_;
  std::vector<u8> last_bad_definition_;
  bool learning_ = false;
  bool teaching_ = false;

  // Sending.
  std::unordered_map<u32, OwnTable> own_;
  u32 own_selected_ = 0;             // the table the other side takes our updates for
  OwnTable* own_current_ = nullptr;  // the same one
  SentStrings sent_strings_;
  u32 unconfirmed_ = 0;  // ends of lessons sent and not confirmed
};

}  // namespace lineq::peers
