// What lineq-web's sockets have seen since the process began.
#pragma once

#include "shm/support/ints.h"

namespace lineq::http {

struct Stats {
  u64 connections = 0;  // open now
  u64 streams = 0;      // of these, event streams
  u64 websockets = 0;   // ... WebSockets
  u64 accepted = 0;
  u64 refused = 0;   // over a limit, or no descriptor left
  u64 requests = 0;  // whole ones
  u64 errors = 0;    // refused as malformed, too large or too slow
};

}  // namespace lineq::http
