// The process that is measured: who it is, and the CPU time it has spent.
#pragma once

#include <optional>

#include "shm/support/ints.h"

namespace lineq::bench {

// The youngest process that listens on 127.0.0.1:port: of HAProxy's master and worker the worker.
std::optional<long> pid_of_listener(u16 port);

// User and system time of all its threads, in steps of the system's clock tick (10 ms).
std::optional<double> cpu_seconds(long pid);

}  // namespace lineq::bench
