// What the tests of lineq-dump share: a segment made by the test itself, and output in memory.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "shm/reader.h"
#include "shm/writer.h"
#include "tests/support/instance.h"
#include "tools/lineq_dump/output.h"

namespace lineq::dump {

// Output into a file in memory.
class Capture {
 public:
  Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture();
  Output& out() { return *out_; }
  // What has been written so far, also what still waits in the buffer.
  std::string text();
  std::string text_since_last();

 private:
  int fd_;
  std::size_t taken_ = 0;
  std::unique_ptr<Output> out_;
};

// A definition from HAProxy's words: "gpc0,http_req_rate(10000),gpc(4),gpc_rate(2,10000)".
shm::TableDefinition table_of(std::string name, shm::KeyType type, u32 key_bytes,
                              std::string_view store, u64 expire_ms = 3600000);

// A segment with its writer in this process.
class Segment {
 public:
  Segment();
  const std::string& name() const { return lineq.name(); }

  void attach();
  // The writer is gone, as after kill -9 or, with `clean`, after a stop.
  void drop(bool clean = false);

  shm::Table& table(const shm::TableDefinition& definition);
  // One entry; `cells` in the order of the definition, key bytes as stored.
  void put(const shm::TableDefinition& definition, std::string_view key, std::vector<u64> cells,
           std::optional<u32> expire_ms = std::nullopt);
  // The same with the key as text.
  void put_text(const shm::TableDefinition& definition, std::string_view key,
                std::vector<u64> cells);
  void erase(const shm::TableDefinition& definition, std::string_view key,
             shm::FeedKind kind = shm::FeedKind::kErase);
  void beat() { writer->heartbeat(writer->now()); }
  shm::Reader reader() const;

  // A writer that is there is alive, however long the test has taken so far.
  test::Finished dump(std::vector<std::string> options) {
    if (writer) {
      beat();
    }
    return lineq.dump(std::move(options));
  }
  test::Process start(std::vector<std::string> options, std::string_view output = "dump");

  test::Instance lineq;
  std::unique_ptr<shm::Writer> writer;
};

}  // namespace lineq::dump
