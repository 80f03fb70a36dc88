// A HAProxy that takes what it is told: connects as a peer, may ask for everything at once,
// acknowledges, and counts. One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/load_peer.h"
#include "daemon/peers/session.h"

namespace lineq::bench {

class ReceivingPeer final : private peers::SessionEvents {
 public:
  // Of `whom`: port, names, stamped.
  explicit ReceivingPeer(Load whom);
  ReceivingPeer(const ReceivingPeer&) = delete;
  ReceivingPeer& operator=(const ReceivingPeer&) = delete;
  ~ReceivingPeer() override;

  // Until the session is established. `asks`: for a lesson, as a HAProxy does that has just
  // started.
  Status connect(bool asks);
  // Waits for at most wait_ms, takes what is there, writes what is due.
  Status exchange(int wait_ms);

  u64 rows() const { return rows_; }
  // The lesson that was asked for is over.
  bool taught() const { return taught_; }
  // Of the last row.
  u32 latest_stamp() const { return latest_stamp_; }
  // Microseconds from the making of an update to its arrival here, one for each of at most `most`
  // rows from now on.
  void note_ages(u64 most) {
    ages_us_.resize(most);  // in memory before it is measured
    ages_us_.clear();
    notes_ages_ = true;
  }
  const std::vector<u32>& ages_us() const { return ages_us_; }

 private:
  // The dictionary of a peer without server names.
  class NoStrings final : public peers::Strings {
   public:
    u32 intern(std::string_view) override { return 0; }
    std::string_view text(u32) override { return {}; }
  };

  peers::HelloDecision on_hello(const peers::Hello&) override {
    return peers::HelloDecision::close();
  }
  bool on_definition(peers::SessionTable&) override { return true; }
  void on_updates(peers::SessionTable& table, std::span<const peers::Update> updates) override;
  void on_resync_request() override { session_->finish_lesson(); }
  void on_lesson_end(bool) override { taught_ = true; }

  Load load_;
  NoStrings strings_;
  int fd_ = -1;
  std::unique_ptr<peers::Session> session_;
  std::vector<u8> chunk_;
  u64 rows_ = 0;
  bool taught_ = false;
  bool notes_ages_ = false;
  u32 latest_stamp_ = 0;
  std::vector<u32> ages_us_;
};

}  // namespace lineq::bench
