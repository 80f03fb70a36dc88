// The commands about tables, entries and HAProxys, on the engine: text in, JSON out. One thread.
#pragma once

#include <functional>

#include "daemon/control/command.h"
#include "daemon/engine/engine.h"

namespace lineq::control {

class Entries {
 public:
  // Both outlive it, and the engine's turns.
  Entries(engine::Engine& engine, shm::Writer& writer) : engine_(engine), writer_(writer) {}

  // tables, peers, set_entry, clear_table. Calls `done` once: clear_table with filters, or of a
  // whole table, in a later turn.
  using Done = std::function<void(Answer answer)>;
  void run(const Command& command, SegmentMs now, const Done& done);

 private:
  Answer tables() const;
  Answer peers(SegmentMs now) const;
  Answer set(const Command& command, SegmentMs now);
  void clear(const Command& command, SegmentMs now, const Done& done);
  Result<engine::CellValue> value_of(const shm::TableDefinition& definition,
                                     const EntryValue& given);

  engine::Engine& engine_;
  shm::Writer& writer_;
};

}  // namespace lineq::control
