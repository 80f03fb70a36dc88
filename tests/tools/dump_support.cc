#include "tests/tools/dump_support.h"

#include <unistd.h>

#include <charconv>

#include <sys/mman.h>

namespace lineq::dump {
namespace {

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

u32 number(std::string_view text) {
  u32 n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

}  // namespace

Capture::Capture()
    : fd_(::memfd_create("dump", MFD_CLOEXEC)), out_(std::make_unique<Output>(fd_)) {}

Capture::~Capture() {
  ::close(fd_);
}

std::string Capture::text() {
  EXPECT_TRUE(out_->flush());
  std::string all(static_cast<std::size_t>(::lseek(fd_, 0, SEEK_END)), '\0');
  EXPECT_EQ(::pread(fd_, all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
  return all;
}

std::string Capture::text_since_last() {
  const std::string all = text();
  const std::size_t from = taken_;
  taken_ = all.size();
  return all.substr(from);
}

shm::TableDefinition table_of(std::string name, shm::KeyType type, u32 key_bytes,
                              std::string_view store, u64 expire_ms) {
  shm::TableDefinition table;
  table.name = std::move(name);
  table.key_type = type;
  table.key_bytes = key_bytes;
  table.expire_ms = expire_ms;
  while (!store.empty()) {
    const std::size_t word_end = store.find_first_of("(,");
    const std::string_view word = store.substr(0, word_end);
    const u32 bit = shm::data_type_by_name(word).value();
    const shm::DataType& data_type = shm::data_type(bit);
    table.data_types |= u64{1} << bit;
    table.elements[bit] = 1;
    store.remove_prefix(word.size());
    if (store.starts_with('(')) {
      const std::string_view arguments = store.substr(1, store.find(')') - 1);
      const std::string_view last = arguments.substr(arguments.find(',') + 1);
      if (data_type.array) {
        table.elements[bit] = static_cast<u16>(number(arguments));
      }
      if (data_type.kind == shm::ValueKind::kRate) {
        table.period_ms[bit] = number(last);
      }
      store.remove_prefix(arguments.size() + 2);
    }
    store.remove_prefix(store.starts_with(',') ? 1 : 0);
  }
  return table;
}

Segment::Segment() {
  attach();
}

void Segment::attach() {
  auto attached = shm::Writer::attach({.instance = name(), .feed_log2 = 16});
  if (!attached) {
    throw std::runtime_error(attached.error().what);
  }
  writer = attached.take();
  beat();
}

void Segment::drop(bool clean) {
  if (clean) {
    writer->stop();
  }
  writer.reset();
}

shm::Table& Segment::table(const shm::TableDefinition& definition) {
  auto made = writer->table_for(definition, writer->now());
  if (!made) {
    throw std::runtime_error(made.error().what);
  }
  return *made->table;
}

void Segment::put(const shm::TableDefinition& definition, std::string_view key,
                  std::vector<u64> cells, std::optional<u32> expire_ms) {
  shm::Table& to = table(definition);
  const shm::ColumnMap columns(definition, to.info());
  shm::Change change;
  change.key = bytes_of(key);
  ASSERT_EQ(cells.size(), definition.cells());
  change.cells = cells.data();
  change.timed = expire_ms.has_value();
  change.expire_ms = expire_ms.value_or(0);
  shm::Applied applied;
  to.apply(columns, {&change, 1}, kNoPeer, writer->now(), {&applied, 1});
  ASSERT_NE(applied.outcome, shm::Outcome::kRefused);
}

void Segment::put_text(const shm::TableDefinition& definition, std::string_view key,
                       std::vector<u64> cells) {
  const auto bytes = shm::key_from_text(definition, key);
  ASSERT_TRUE(bytes.ok()) << bytes.error().what;
  put(definition, *bytes, std::move(cells));
}

void Segment::erase(const shm::TableDefinition& definition, std::string_view key,
                    shm::FeedKind kind) {
  shm::Table& from = table(definition);
  const auto slot = from.find(bytes_of(key));
  ASSERT_TRUE(slot.has_value());
  from.erase(*slot, kind, kNoPeer, writer->now());
}

shm::Reader Segment::reader() const {
  shm::Source source;
  source.instance = name();
  auto opened = shm::Reader::open(source);
  if (!opened) {
    throw std::runtime_error(opened.error().what);
  }
  return opened.take();
}

test::Process Segment::start(std::vector<std::string> options, std::string_view output) {
  return test::Process(lineq.command(test::lineq_dump_path(), std::move(options), output));
}

}  // namespace lineq::dump
