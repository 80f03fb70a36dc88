// Arbitrary bytes into a session, as a stream cut at random places. Checked, besides the
// sanitizers:
//  - the events do not depend on where the stream is cut;
//  - every row that is told encodes and decodes to the same row;
//  - what the session sends is well-formed: another session takes it without complaint;
//  - the owner may send, ask and end in the midst of it.
//
// The recorded streams are inputs as they are. The last 8 bytes are control: how to cut, and
// whether the bytes are the stream itself or a list of (type, length, payload) to be framed
// properly, which gets a fuzzer much deeper than guessing lengths.

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/peers/session.h"
#include "daemon/peers/varint.h"
#include "shm/support/assert.h"

namespace lineq::peers {
namespace {

using Bytes = std::vector<u8>;

constexpr u64 kNow = 100000;
constexpr std::string_view kHello = "HAProxyS 2.1\nlineq\nhap1 1 1\n";

class Dictionary : public Strings {
 public:
  u32 intern(std::string_view text) override {
    LINEQ_ASSERT(!text.empty() && text.find('\0') == std::string_view::npos);
    if (texts_.size() >= 300) {
      return 0;  // full, as the real one may be
    }
    const auto [at, is_new] = ids_.try_emplace(std::string(text), 0);
    if (is_new) {
      texts_.push_back(std::make_unique<std::string>(text));
      at->second = static_cast<u32>(texts_.size());
    }
    return at->second;
  }
  std::string_view text(u32 id) override {
    return id == 0 || id > texts_.size() ? std::string_view() : *texts_[id - 1];
  }

 private:
  std::unordered_map<std::string, u32> ids_;
  std::vector<std::unique_ptr<std::string>> texts_;
};

// Digests the events and checks each row.
class Owner : public SessionEvents {
 public:
  explicit Owner(Strings& strings) : strings_(strings) {}

  HelloDecision on_hello(const Hello& hello) override {
    LINEQ_ASSERT(!hello.name.empty() && hello.minor <= 1);
    note("hello", {reinterpret_cast<const u8*>(hello.name.data()), hello.name.size()});
    return hello.name.size() > 40    ? HelloDecision::close()
           : hello.target == "other" ? HelloDecision::answer(kStatusTarget)
                                     : HelloDecision::accept();
  }
  void on_established() override { note("established", {}); }
  bool on_definition(SessionTable& table) override {
    note("definition",
         {reinterpret_cast<const u8*>(table.definition.name.data()), table.definition.name.size()});
    LINEQ_ASSERT(table.definition.cells() == table.shape.cells());
    LINEQ_ASSERT(table.shape.cells() <= kMaxRowCells);
    if (shm::geometry_of(table.definition).ok()) {
      session->define(table.index + 1, table.definition);
      return true;
    }
    return table.definition.key_bytes < 70000;
  }
  void on_updates(SessionTable& table, std::span<const Update> updates) override {
    LINEQ_ASSERT(!updates.empty() && updates.size() <= UpdateBatch::kUpdates);
    for (const Update& update : updates) {
      note("update", update.key);
      note("cells", {reinterpret_cast<const u8*>(update.cells), table.shape.cells() * sizeof(u64)});
      const std::array<u8, 4> flags{update.timed, update.learned, update.in_lesson, update.repeat};
      note("flags", flags);
      digest_ = digest_ * 31 + update.id + (u64{update.expire_ms} << 32);
      check(table, update);
    }
    if (answers && shm::geometry_of(table.definition).ok()) {
      const Update& first = updates.front();
      session->update(table.index + 1, first.key, {first.cells, table.shape.cells()},
                      first.timed ? std::optional(first.expire_ms) : std::nullopt);
    }
  }
  void on_ack(u32 our_table, u32 update_id) override {
    LINEQ_ASSERT(our_table != 0 && !id_after(update_id, session->last_sent(our_table)));
  }
  void on_resync_request() override {
    note("request", {});
    session->finish_lesson();
  }
  void on_lesson_end(bool partial) override {
    note(partial ? "partial" : "finished", {});
    if (partial) {
      session->request_lesson();
    }
  }
  void on_problem(Problem problem, std::string_view sentence) override {
    LINEQ_ASSERT(!sentence.empty() && sentence.size() < 2000);
    for (const char c : sentence) {
      LINEQ_ASSERT(c >= 0x20 && c < 0x7f);
    }
    last_problem = problem;
    problems += problem == Problem::kRemoteError || problem == Problem::kRowTooLarge ? 0 : 1;
  }

  u64 digest() const { return digest_; }

  Session* session = nullptr;
  bool answers = false;
  u32 problems = 0;
  Problem last_problem{};

 private:
  void note(const char* what, std::span<const u8> bytes) {
    for (const char* at = what; *at != '\0'; ++at) {
      digest_ = digest_ * 31 + static_cast<u8>(*at);
    }
    for (const u8 byte : bytes) {
      digest_ = digest_ * 1099511628211 + byte;
    }
  }

  // Encoded and decoded again the row is the same, and so are the bytes of the second encoding.
  void check(const SessionTable& table, const Update& update) {
    const shm::TableDefinition& definition = table.definition;
    const RowShape& shape = table.shape;
    SentStrings sent;
    OutputBuffer out;
    const u8 type = update.timed ? kTimedUpdate : kUpdate;
    if (!encode_update(out, type, update.id, update.expire_ms, definition, shape, update.key,
                       {update.cells, shape.cells()}, sent, strings_)) {
      return;  // taken in, because our limit for input is higher
    }
    Frame frame;
    LINEQ_ASSERT(read_frame(out.pending(), kMaxMessageOut, frame) == FrameStatus::kWhole);
    LINEQ_ASSERT(frame.bytes == out.size());
    Update back;
    cells_.resize(kMaxRowCells);
    ReceivedStrings received;
    RowTrouble trouble;
    LINEQ_ASSERT(decode_update(type, frame.payload, 0, definition, shape, received, strings_,
                               Elapsed::kClean, back, cells_.data(), trouble));
    LINEQ_ASSERT(back.id == update.id && back.expire_ms == update.expire_ms);
    LINEQ_ASSERT(
        std::equal(back.key.begin(), back.key.end(), update.key.begin(), update.key.end()));
    LINEQ_ASSERT(std::equal(back.cells, back.cells + shape.cells(), update.cells) ||
                 strings_.intern("is it full?") == 0);
  }

  Strings& strings_;
  u64 digest_ = 0;
  std::vector<u64> cells_;
};

struct Run {
  u64 digest = 0;
  bool ended = false;
  u64 updates = 0;
};

// The stream through one session, cut by `random` or whole.
Run run(std::span<const u8> stream, std::mt19937* random, bool answers) {
  Dictionary dictionary;
  Owner owner(dictionary);
  owner.answers = answers;
  SessionConfig config;
  config.max_tables = 20;
  config.request_lesson = (stream.size() & 1) != 0;
  std::unique_ptr<Session> session;
  const bool connector = !stream.empty() && stream[0] == '2';
  if (connector) {
    session =
        std::make_unique<Session>(config, Hello{1, "hap1", "lineq", 1}, dictionary, owner, kNow);
  } else {
    session = std::make_unique<Session>(config, dictionary, owner, kNow);
  }
  owner.session = session.get();

  // The other side of the conversation gets all that is sent.
  Dictionary other_dictionary;
  Owner other_owner(other_dictionary);
  std::unique_ptr<Session> other;
  if (connector) {
    other = std::make_unique<Session>(config, other_dictionary, other_owner, kNow);
  } else {
    other = std::make_unique<Session>(config, Hello{1, "lineq", "hap1", 1}, other_dictionary,
                                      other_owner, kNow);
  }
  other_owner.session = other.get();
  OutputBuffer writing;
  u64 now = kNow;
  while (!stream.empty()) {
    const size_t most = random == nullptr ? 65536 : (*random)() % 4 == 0 ? 3000 : 20;
    const size_t size = std::min(stream.size(), random == nullptr ? most : (*random)() % most + 1);
    const Bytes piece(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(size));
    stream = stream.subspan(size);
    session->feed(piece, now);
    now += random != nullptr && (*random)() % 16 == 0 ? 1 : 0;  // far from any deadline
    session->tick(now);
    session->swap_output(writing);
    other->feed(writing.pending(), now);
    writing.clear();
    other->consumed(other->pending().size());
  }
  if (other_owner.problems != 0) {
    std::fprintf(stderr, "our own output: %s\n", other->end_reason().c_str());
    LINEQ_ASSERT(other_owner.last_problem == Problem::kRefused);
  }
  return {owner.digest(), session->ended(), session->counters().updates_in};
}

// (type, length, payload) to messages; a length byte of 255 takes all that is left.
Bytes framed(std::span<const u8> list) {
  Bytes stream(kHello.begin(), kHello.end());
  while (list.size() >= 2) {
    const u8 type = list[0];
    const size_t size =
        list[1] == 255 ? list.size() - 2 : std::min<size_t>(list[1], list.size() - 2);
    list = list.subspan(2);
    if (type < 8) {
      stream.insert(stream.end(), {0, type});
      continue;
    }
    // Mostly table messages that exist.
    const u8 known = type < 128 ? static_cast<u8>(128 + type % 8) : type;
    stream.insert(stream.end(), {kClassTable, known});
    std::array<u8, kMaxVarint> length{};
    stream.insert(stream.end(), length.data(), encode_varint(size, length.data()));
    stream.insert(stream.end(), list.begin(), list.begin() + static_cast<std::ptrdiff_t>(size));
    list = list.subspan(size);
  }
  return stream;
}

}  // namespace
}  // namespace lineq::peers

// The name libFuzzer wants. NOLINTNEXTLINE(readability-identifier-naming)
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  using namespace lineq::peers;
  lineq::u64 control = 0;
  std::memcpy(&control, data + size - std::min<size_t>(size, 8), std::min<size_t>(size, 8));
  std::span<const lineq::u8> input(data, size);
  // Recorded streams start with a handshake and are taken whole.
  const bool recorded =
      size > 4 && (std::memcmp(data, "HAPr", 4) == 0 || std::memcmp(data, "200\n", 4) == 0);
  Bytes list;
  if (!recorded && size >= 8) {
    input = input.first(size - 8);
    if ((control & 1) != 0) {
      list = framed(input);
      input = list;
    }
  }
  std::mt19937 random(static_cast<lineq::u32>(control >> 8));
  const bool answers = (control & 2) != 0;
  const Run whole = run(input, nullptr, answers);
  const Run cut = run(input, &random, answers);
  LINEQ_ASSERT(whole.digest == cut.digest);
  LINEQ_ASSERT(whole.ended == cut.ended);
  LINEQ_ASSERT(whole.updates == cut.updates);
  return 0;
}
