// Waiting rooms, and who stands in line for one. Safe beside the daemon and without it.
#pragma once

#include <functional>
#include <string_view>

#include "shm/reader.h"
#include "tools/lineq_dump/format.h"
#include "tools/lineq_dump/output.h"

namespace lineq::dump {

// All rooms with their numbers.
void print_rooms(Format format, Output& out, const shm::Reader& reader);

// The visitors of one room in the order in which they get in: who was called and is on the way (no
// position), who was called once and waits before the line, the line. Who comes or goes meanwhile
// may or may not be there; positions are counted as they are printed.
// Returns how many entries were left half-written and are not shown.
std::size_t print_queue(Format format, Output& out, shm::Reader& reader, const shm::RoomInfo& room);

}  // namespace lineq::dump
