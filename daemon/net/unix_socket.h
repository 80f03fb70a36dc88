// Unix sockets by path and by abstract name, which libuv itself does not know here. A descriptor,
// or what the system said as libuv counts errors (below 0).
#pragma once

#include "tools/cli/addresses.h"

namespace lineq::net {

int connect_unix(const cli::PeerAddress& address);
// A path must not exist. Abstract names vanish with their last descriptor.
int bind_unix(const cli::PeerAddress& address);

}  // namespace lineq::net
