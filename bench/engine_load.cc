#include "bench/engine_load.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

namespace lineq::bench {
namespace {

constexpr std::size_t kRead = 65536;  // what one read of a socket brings

class NoStrings final : public peers::Strings {
 public:
  u32 intern(std::string_view) override { return 0; }
  std::string_view text(u32) override { return {}; }
};

u64 mixed(u64 x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

shm::TableDefinition users() {
  shm::TableDefinition table;
  table.name = "users";
  table.key_type = shm::KeyType::kString;
  table.key_bytes = 37;
  table.data_types = u64{1} << shm::kGpc1;
  table.elements[shm::kGpc1] = 1;
  table.expire_ms = 3'600'000;
  return table;
}

std::span<const u8> bytes_of(std::string_view text) {
  return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

}  // namespace

EngineWorld::EngineWorld(engine::ModeKind mode, u32 peers)
    : instance_(fmt::format("engine-load-{}", ::getpid())) {
  cli::LogSetup quiet;
  quiet.level = cli::LogLevel::kErr;
  cli::log_setup(quiet);
  shm::WriterOptions options;
  options.instance = instance_;
  auto writer = shm::Writer::attach(options);
  if (!writer) {
    trouble_ = writer.error().what;
    return;
  }
  writer_ = std::move(*writer);
  now_ = writer_->now();
  engine::EngineOptions engine_options;
  engine_options.mode = mode;
  engine_ = std::make_unique<engine::Engine>(*writer_, engine_options, now_);
  for (u32 i = 0; i < peers; ++i) {
    peers_.push_back(
        engine_->open({0, fmt::format("10.0.0.{}", i), fmt::format("10.0.0.{}:1", i)}, now_));
    feed(i, bytes_of(fmt::format("HAProxyS 2.1\nlineq\nhap{} {} 1\n", i, i + 1)));
    feed(i, bytes_of(std::string_view("\0\1", 2)));  // nothing to teach
  }
}

EngineWorld::~EngineWorld() {
  engine_.reset();
  writer_.reset();
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    if (entry.path().filename().string().starts_with("lineq." + instance_ + ".")) {
      std::filesystem::remove(entry.path());
    }
  }
}

bool EngineWorld::turn() {
  engine_->turn(now_);
  for (engine::Peer* peer : peers_) {
    peer->session.consumed(peer->session.pending().size());
  }
  return engine_->busy();
}

void EngineWorld::settle() {
  for (bool more = true; more;) {
    more = turn();
    for (engine::Peer* peer : peers_) {
      for (u32 table = 1; table <= writer_->tables().size(); ++table) {
        const u32 sent = peer->session.last_sent(table);
        if (sent != peer->session.last_acked(table)) {
          peers::encode_ack(acks_, {table, sent});
        }
      }
      if (!acks_.empty()) {
        engine_->feed(*peer, acks_.pending(), now_);
        acks_.clear();
        more = true;
      }
    }
  }
}

u64 EngineWorld::entries() const {
  const shm::Table* table = writer_->table(0);
  return table == nullptr ? 0 : table->live();
}

std::string uuid(u64 n) {
  const u64 a = mixed(n);
  const u64 b = mixed(a);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xffff,
                     b >> 48, b & 0xffffffffffff);
}

void UpdateStream::add(std::string_view key, std::span<const u64> cells) {
  if (last_id_ == 0) {
    peers::Definition definition;
    definition.table_id = 1;
    definition.table = table_;
    peers::encode_definition(out_, definition);
  }
  NoStrings strings;
  peers::encode_update(out_, peers::kUpdate, ++last_id_, 0, table_, shape_, bytes_of(key), cells,
                       sent_, strings);
}

UuidStream::UuidStream() : UpdateStream(users()) {}

EngineLoad::EngineLoad(engine::ModeKind mode, u32 peers)
    : world_(mode, peers), all_send_(mode == engine::ModeKind::kAccumulate) {
  // In mode acc up and down again: each value is news.
  for (const u32 base : {0U, 1'000'000U}) {
    UuidStream stream;
    for (u32 i = 0; i < kKeys; ++i) {
      stream.add(i, base + i);
    }
    streams_.emplace_back(stream.bytes().begin(), stream.bytes().end());
    if (!all_send_) {
      break;
    }
  }
  if (trouble().empty()) {
    round();
  }
}

void EngineLoad::round() {
  const std::vector<u8>& bytes = streams_[rounds_++ % streams_.size()];
  if (all_send_) {
    world_.pass(1000);
  }
  for (std::size_t at = 0; at < bytes.size(); at += kRead) {
    for (std::size_t i = 0; i < (all_send_ ? world_.peers() : 1); ++i) {
      world_.feed(i, std::span(bytes).subspan(at, std::min(kRead, bytes.size() - at)));
    }
    while (world_.turn()) {
    }
  }
}

}  // namespace lineq::bench
