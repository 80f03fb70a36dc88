// A private segment for one test, and small builders.
#pragma once

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "shm/reader.h"
#include "shm/verify.h"
#include "shm/writer.h"

namespace lineq::shm {

// Removes every object of the instance when the test ends, however it ends.
class TempInstance {
 public:
  TempInstance() {
    static std::atomic<int> count{0};
    name_ = fmt::format("t{}-{}", ::getpid(), ++count);
  }
  ~TempInstance() { remove(); }
  TempInstance(const TempInstance&) = delete;
  TempInstance& operator=(const TempInstance&) = delete;
  TempInstance(TempInstance&&) = delete;
  TempInstance& operator=(TempInstance&&) = delete;

  const std::string& name() const { return name_; }
  WriterOptions options() const {
    WriterOptions o;
    o.instance = name_;
    o.feed_log2 = 16;
    return o;
  }
  Source source() const {
    Source s;
    s.instance = name_;
    return s;
  }
  std::vector<std::filesystem::path> objects() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      if (entry.path().filename().string().starts_with("lineq." + name_ + ".")) {
        found.push_back(entry.path());
      }
    }
    return found;
  }
  void remove() const {
    for (const auto& path : objects()) {
      std::filesystem::remove(path);
    }
  }

 private:
  std::string name_;
};

inline std::unique_ptr<Writer> attach(const TempInstance& instance) {
  auto writer = Writer::attach(instance.options());
  EXPECT_TRUE(writer.ok()) << (writer.ok() ? "" : writer.error().what);
  return writer.take();
}

inline TableDefinition define(std::string name, KeyType type, u32 key_bytes,
                              std::initializer_list<u32> bits, u64 expire_ms = 60'000,
                              u16 elements = 1) {
  TableDefinition d;
  d.name = std::move(name);
  d.key_type = type;
  d.key_bytes = key_bytes;
  d.expire_ms = expire_ms;
  for (const u32 bit : bits) {
    d.data_types |= u64{1} << bit;
    d.elements[bit] = data_type(bit).array ? elements : 1;
    d.period_ms[bit] = data_type(bit).kind == ValueKind::kRate ? 10'000 : 0;
  }
  return d;
}

inline std::span<const u8> bytes(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

// One live update; what the table answered.
inline Applied set(Table& table, const TableDefinition& from, std::string_view key,
                   std::vector<u64> cells, SegmentMs now, PeerNo origin = kNoPeer,
                   Merge merge = Merge::kOverwrite, i64 expire_ms = -1) {
  const ColumnMap columns(from, table.info());
  Change change;
  change.key = bytes(key);
  change.cells = cells.data();
  change.merge = merge;
  change.timed = expire_ms >= 0;
  change.expire_ms = expire_ms >= 0 ? static_cast<u32>(expire_ms) : 0;
  Applied applied;
  table.apply(columns, {&change, 1}, origin, now, {&applied, 1});
  return applied;
}

// Empty when the segment keeps every invariant.
inline std::string findings(Reader& reader) {
  std::string text;
  for (const Finding& finding : verify(reader).findings) {
    text += fmt::format("{}: {}\n", finding.invariant, finding.what);
  }
  return text;
}
inline std::string findings(const TempInstance& instance) {
  auto reader = Reader::open(instance.source());
  return reader ? findings(*reader) : reader.error().what;
}

}  // namespace lineq::shm
