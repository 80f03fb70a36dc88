// Thousands of virtual visitors of a site with a waiting room, and the site itself, on one libuv
// loop in a thread of its own: with one clock for both sides it is known who was inside when.
//
// A visitor arrives, keeps the cookies, waits by asking again or on an event stream, follows
// redirects, makes some requests once inside, and leaves: by a word of the site
// (LineQ-Command: revoke), or silently. Loopback only.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "shm/support/ints.h"

namespace lineq::bench {

struct CrowdPlan {
  std::vector<u16> ports;  // of the HAProxys; visitors are spread over them
  std::string host = "shop.example";
  std::string path = "/";
  u32 visitors = 1;
  u32 span_ms = 1000;         // in which they arrive
  u32 poll_ms = 1000;         // between two questions of one who waits
  std::string stream;         // path of the event stream; empty = they poll
  u32 visit_ms = 200;         // from the first page to the last
  u32 request_every_ms = 50;  // between pages of one inside
  u32 silent_percent = 0;     // leave without a word: the site knows after `session_ms`
  u32 session_ms = 1000;
  u32 leaving_percent = 0;  // give up after a random part of `patience_ms`
  u32 patience_ms = 3000;
  u32 timeout_ms = 10000;  // of one answer
  bool roam = false;       // another HAProxy for each request
  u64 seed = 1;
};

struct CrowdNumbers {
  u32 arrived = 0;
  u32 waiting = 0;
  u32 inside = 0;
  u32 left = 0;  // were inside and are done
  u32 gave_up = 0;
  u32 errors = 0;  // answers that were no answer: refused, cut off, late, 5xx
  u32 finished() const { return left + gave_up; }
};

struct CrowdResult {
  CrowdNumbers numbers;
  std::map<std::string, u32> errors;  // by kind
  // As the site saw it.
  u32 most_inside = 0;
  u32 sessions = 0;
  u32 intruders = 0;  // requests of a session after the site had ended it
  // As visitors saw it.
  double wait_p50_ms = 0;
  double wait_p99_ms = 0;
  u32 positions_risen = 0;  // a visitor's position was higher than the one before
  u32 cookies_changed = 0;  // a visitor with a cookie got another
  // From the k-th word of leaving to the next entry that it made possible; only where the room was
  // full all the time.
  double refill_p50_ms = 0;
  double refill_p99_ms = 0;
  double seconds = 0;

  std::string json() const;
};

class Crowd {
 public:
  // The site listens at `site_port` from now on; 0 = visitors only, of a site elsewhere.
  explicit Crowd(u16 site_port);
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;
  ~Crowd();

  // Sends the visitors, after those of former plans.
  void send(const CrowdPlan& plan);
  CrowdNumbers numbers() const;
  // All who came are gone.
  bool wait_finished(std::chrono::milliseconds patience);
  // `capacity` > 0: with the refill times. Of everybody up to now.
  CrowdResult result(u32 capacity = 0);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::thread thread_;
};

}  // namespace lineq::bench
