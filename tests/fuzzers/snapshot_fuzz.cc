// A snapshot as a stranger would write it, with checksums that are right: the input is the file,
// its records are numbered and summed anew. It is loaded or refused; the segment that comes of it
// is used like any other.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <sys/mman.h>

#include "shm/crc32c.h"
#include "shm/reader.h"
#include "shm/snapshot.h"
#include "shm/snapshot_format.h"
#include "shm/writer.h"

namespace {

using namespace lineq;
using namespace lineq::shm;

const std::string kInstance = fmt::format("fuzz-snapshot-{}", ::getpid());

void remove_objects() {
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().starts_with("lineq." + kInstance + ".")) {
      std::filesystem::remove(entry.path());
    }
  }
}

void add_block(std::string& file, u32 kind, std::string_view payload, u32 number) {
  BlockHead head{0, kind, static_cast<u32>(payload.size()), number};
  head.crc = crc32c(0, &head.kind, sizeof head - sizeof head.crc);
  head.crc = crc32c(head.crc, payload.data(), payload.size());
  file.append(reinterpret_cast<const char*>(&head), sizeof head);
  file.append(payload);
}

// What the loader would not look behind otherwise: heads, checksums, numbers, and the instance.
std::string mended(std::string_view bytes) {
  if (bytes.size() < sizeof(FileHead)) {
    return std::string(bytes);
  }
  FileHead head{kSnapshotMagic, kSnapshotVersion, 0};
  head.crc = crc32c(0, &head, offsetof(FileHead, crc));
  std::string file(reinterpret_cast<const char*>(&head), sizeof head);
  bytes.remove_prefix(sizeof head);
  for (u32 number = 0; bytes.size() >= sizeof(BlockHead); ++number) {
    BlockHead block{};
    std::memcpy(&block, bytes.data(), sizeof block);
    bytes.remove_prefix(sizeof block);
    const std::string_view payload =
        bytes.substr(0, std::min<std::size_t>(block.bytes % kSnapshotBlock, bytes.size()));
    bytes.remove_prefix(payload.size());
    if (number == 0) {
      constexpr std::size_t kBeforeInstance = 32;
      std::string own(payload.substr(0, kBeforeInstance));
      own.resize(kBeforeInstance);
      const auto length = static_cast<u16>(kInstance.size());
      own.append(reinterpret_cast<const char*>(&length), sizeof length);
      add_block(file, block.kind, own + kInstance, number);
    } else {
      add_block(file, block.kind, payload, number);
    }
  }
  return file.append(bytes);
}

void use(Writer& writer) {
  const SegmentMs now = writer.now();
  for (const u16 no : writer.tables()) {
    Table& table = *writer.table(no);
    for (u32 slot = 0; slot < table.high_water(); ++slot) {
      const EntryView entry = table.at(slot);
      if (entry.live() && slot % 3 == 0) {
        table.erase(slot, FeedKind::kErase, kNoPeer, now);
      }
    }
  }
  for (const RoomNo room : writer.rooms()) {
    (void)writer.line(room).next_ticket(now);
    (void)writer.line(room).front();
    (void)writer.line(room).select(writer.line(room).waiting() / 2);
  }
  const auto reader = Reader::open({.directory = "", .instance = kInstance});
  if (!reader) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool at_exit = [] { return std::atexit(remove_objects) == 0; }();
  static const int file = ::memfd_create("snapshot", 0);
  static const std::string path = fmt::format("/proc/self/fd/{}", file);
  if (!at_exit || file < 0) {
    std::abort();
  }
  const std::string bytes = mended({reinterpret_cast<const char*>(data), size});
  WriterOptions options;
  options.instance = kInstance;
  options.feed_log2 = 16;
  options.memory_limit = u64{48} << 20;
  options.snapshots = {path};
  if (::ftruncate(file, 0) != 0 ||
      ::pwrite(file, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    std::abort();
  }
  {
    const auto writer = Writer::attach(options);
    if (!writer) {
      std::abort();
    }
    if (!(*writer)->restored().path.empty()) {
      use(**writer);
    }
  }
  remove_objects();
  return 0;
}
