// Updates that a HAProxy makes itself: `set table` on its stats socket, a hundred commands a line.
#pragma once

#include "bench/load_peer.h"

namespace lineq::bench {

// `updates` of /bench_uuid's keys in an order that looks random, load.rate a second; gpc1 is
// stamp_us() of when the command was made, `last_stamp` that of the last one. Until HAProxy has
// done all of them.
Result<Measured> set_table(const Load& load, u16 stats_port, u64 updates, u32& last_stamp);

}  // namespace lineq::bench
