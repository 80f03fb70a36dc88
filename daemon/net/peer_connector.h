// Keeps a session with one HAProxy that is to be dialled: attempts, pauses between them, and the
// rule of collisions. One thread. The destructor runs the loop until everything is closed.
//
// Rules (peers-protocol 1.4 to 1.6, 8.1):
//   attempt refused or failed        the next one 5 s after its start, with jitter
//   session lost, or a collision     the next one after 50 to 2049 ms, random, as HAProxy does
//   answered with an error status    the next one after 30 s: somebody has to change a name
//   the HAProxy has called us        no attempt as long as that session lives
// A failure is logged once, again when it changes, and when it is over.
#pragma once

#include <uv.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "daemon/net/peer_connection.h"

namespace lineq::net {

class PeerConnector {
 public:
  PeerConnector(Loop& loop, engine::Engine& engine, cli::DialSettings settings,
                std::shared_ptr<TlsContext> tls);
  ~PeerConnector();
  PeerConnector(const PeerConnector&) = delete;
  PeerConnector& operator=(const PeerConnector&) = delete;

  const cli::DialSettings& settings() const { return settings_; }
  // For attempts from now on.
  void set_tls(std::shared_ptr<TlsContext> tls) { tls_ = std::move(tls); }

  void flush();  // end of a turn
  void tick();
  // Ends its session and tries no more. The loop has to run until closed().
  void close(std::string_view why);
  bool closed() const;

  // What the engine has to know about it, to see that it is the same HAProxy when it calls us.
  static engine::Identity identity_of(const cli::DialSettings& settings);

 private:
  void start();
  void resolved(int status, const addrinfo* found);
  void next_address();
  void over(const ConnectionOutcome& outcome);
  void fail(const std::string& why, bool error_status = false);
  void pause(SegmentMs until);
  u64 random_ms(u64 least, u64 most);
  std::string advice(u32 status) const;

  Loop& loop_;
  engine::Engine& engine_;
  const cli::DialSettings settings_;
  const std::string who_;
  std::shared_ptr<TlsContext> tls_;  // shared with connections; null = plain

  bool stopping_ = false;
  bool trying_ = false;  // an attempt or a session is under way
  SegmentMs started_ms_ = 0;
  SegmentMs next_ms_ = 0;  // of the next attempt, unless trying_
  uv_getaddrinfo_t resolve_{};
  bool resolving_ = false;                   // libuv has resolve_, maybe of an attempt given up
  std::vector<sockaddr_storage> addresses_;  // still to be tried
  std::string problems_;                     // with those tried
  std::unique_ptr<PeerConnection> current_;
  std::vector<std::unique_ptr<PeerConnection>> closing_;
  bool established_ = false;
  std::string last_failure_;
  u64 failures_ = 0;
  std::minstd_rand random_;
};

}  // namespace lineq::net
