#include "shm/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <sys/random.h>

#include "shm/intent.h"
#include "shm/seqlock.h"
#include "shm/snapshot_load.h"
#include "shm/writer_state.h"

namespace lineq::shm {
namespace {

constexpr u32 kNoOwner = 0xffffffff;  // of objects
constexpr u32 kNamesPassed = 256;     // that are taken, for one object
constexpr mode_t kModeWhileMoved = 0600;

// Text that readers copy word by word; cut to fit, padded with zeros.
template <std::size_t N>
void store_text(char (&to)[N], std::string_view text) {
  static_assert(N % 8 == 0);
  std::array<u64, N / 8> words{};
  std::memcpy(words.data(), text.data(), std::min(text.size(), N - 1));
  for (std::size_t i = 0; i < words.size(); ++i) {
    store_relaxed(reinterpret_cast<u64*>(to)[i], words[i]);
  }
}

std::string_view view_name(const char* from, std::size_t room) {
  return {from, ::strnlen(from, room)};
}

void read_boot_id(u64 (&id)[2]) {
  // For people only; the file is hidden where /proc/sys is.
  std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "re");
  if (file == nullptr) {
    return;
  }
  char text[37] = {};
  const std::size_t got = std::fread(text, 1, 36, file);
  (void)std::fclose(file);
  u32 digit = 0;
  for (std::size_t i = 0; i < got && digit < 32; ++i) {
    const char c = text[i];
    const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value >= 0) {
      id[digit / 16] = id[digit / 16] << 4 | static_cast<u64>(value);
      ++digit;
    }
  }
}

// A TableDefinition as the directory holds it.
TableDefinition definition_of(const TableDesc& desc) {
  TableDefinition d;
  d.name = std::string(view_name(desc.name, sizeof desc.name));
  d.key_type = static_cast<KeyType>(desc.key_type);
  d.key_bytes = desc.key_bytes;
  d.data_types = desc.data_types;
  d.expire_ms = desc.expire_ms;
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    d.elements[bit] = desc.elements[bit];
    d.period_ms[bit] = desc.period_ms[bit];
  }
  return d;
}

bool same_identity(const TableDesc& desc, const TableDefinition& d, TableRole role, u32 scope) {
  return desc.role == static_cast<u32>(role) && desc.scope_peer == scope &&
         desc.key_type == static_cast<u32>(d.key_type) && desc.key_bytes == d.key_bytes &&
         view_name(desc.name, sizeof desc.name) == d.name;
}

u32 expire_word(u64 expire_ms) {
  return static_cast<u32>(std::min<u64>(expire_ms, 0x7fff'0000));
}

}  // namespace

// --- object directory
// ----------------------------------------------------------------------------------------------

std::optional<u32> Writer::State::prepare_object(ObjectKind kind, u32 owner, u64 bytes) {
  RootHeader& h = header();
  u32 index = 0;
  while (index < h.objects_high &&
         layout->objects[index].state != static_cast<u16>(ObjectState::kFree)) {
    ++index;
  }
  if (index == kMaxObjects) {
    return std::nullopt;
  }
  ObjDesc& object = layout->objects[index];
  // The number is spent before it is used: it never comes back, whatever happens next. A name that
  // is taken, by somebody else or by what a lost root has left, is passed over.
  u32 number = h.next_object;
  for (u32 passed = 0;
       passed < kNamesPassed && Object::exists(object_name(options.instance, number)); ++passed) {
    ++number;
  }
  store_relaxed(h.next_object, number + 1);
  crash_point();
  store_relaxed(object.number, number);
  store_relaxed(object.kind, static_cast<u16>(kind));
  store_relaxed(object.bytes, bytes);
  store_relaxed(object.reserved_bytes, 0);
  store_relaxed(object.owner, owner);
  crash_point();
  store_release(object.state, static_cast<u16>(ObjectState::kPreparing));
  if (index == h.objects_high) {
    store_release(h.objects_high, index + 1);
  }
  crash_point();
  return index;
}

void Writer::State::publish_object(u32 index, u64 reserved) {
  ObjDesc& object = layout->objects[index];
  store_relaxed(object.reserved_bytes, reserved);
  crash_point();
  store_release(object.state, static_cast<u16>(ObjectState::kLive));
  crash_point();
  store_release(header().objects_generation, header().objects_generation + 1);
}

void Writer::State::forget_object(u32 index) {
  store_release(layout->objects[index].state, static_cast<u16>(ObjectState::kFree));
  store_release(header().objects_generation, header().objects_generation + 1);
}

std::optional<u32> Writer::State::object_index(u32 number) const {
  for (u32 i = 0; i < layout->header.objects_high && i < kMaxObjects; ++i) {
    const ObjDesc& object = layout->objects[i];
    if (object.state == static_cast<u16>(ObjectState::kLive) && object.number == number) {
      return i;
    }
  }
  return std::nullopt;
}

void Writer::State::bump_directory() {
  store_release(header().directory_generation, header().directory_generation + 1);
}

// --- attach
// --------------------------------------------------------------------------------------------------------

namespace {

// Whoever may read the root can lock it for reading, and would keep every lineqd out for as long as
// it likes. No lineqd runs then, and the root, as it is, becomes another file, where nobody holds
// anything. kNotFound: it is no longer the root, look again.
Result<Object> moved_root(const std::string& instance, const Object& held) {
  // One at a time; readers cannot open this.
  const auto gate = Object::hold("lineq." + instance + ".gate");
  if (!gate) {
    return gate.error();
  }
  // From here on nobody becomes the old file's writer; fails if somebody has, as the reader let go.
  if (const Status kept = held.lock_for_reading(); !kept) {
    return kept.error();
  }
  if (held.link_count() == 0) {
    return Error{ErrorCode::kNotFound, "the root has moved"};
  }
  const std::string name = root_name(instance);
  const std::string beside = name + ".new";
  Object::unlink(beside);  // of one who was killed in here
  auto fresh = Object::create(beside, held.bytes(), kModeWhileMoved);
  if (!fresh) {
    return Error{ErrorCode::kForeign, fresh.error().what};
  }
  Status done = held.reserve(0, held.bytes());
  if (done) {
    done = fresh->reserve(0, held.bytes());
  }
  if (done) {
    std::memcpy(fresh->data(), held.data(), held.bytes());
    done = fresh->lock();
  }
  if (done) {
    done = fresh->take_name(beside, name);
  }
  if (!done) {
    Object::unlink(beside);
    return done.error();
  }
  return fresh;
}

// Takes the root object and its lock; a root that vanished under us is tried again.
Result<Object> take_root(const std::string& instance, bool& moved) {
  const std::string name = root_name(instance);
  for (int attempt = 0; attempt < 100; ++attempt) {
    auto root = Object::open_own(name);
    if (!root && root.error().code == ErrorCode::kNotFound) {
      root = Object::create(name, kRootBytes);
      if (root) {
        if (Status reserved = root->reserve(0, kRootBytes); !reserved) {
          Object::unlink(name);
          return reserved.error();
        }
      }
    }
    if (!root &&
        (root.error().code == ErrorCode::kBusy || root.error().code == ErrorCode::kDamaged)) {
      // Somebody is just making it: sized a moment after it got its name.
      ::usleep(10'000);
      if (attempt == 50 && root.error().code == ErrorCode::kDamaged) {
        Object::unlink(name);  // its maker died in between
      }
      continue;
    }
    if (!root) {
      return root;
    }
    const Status locked = root->lock();
    if (!locked && locked.error().code == ErrorCode::kForeign) {
      auto fresh = moved_root(instance, *root);
      if (fresh || fresh.error().code != ErrorCode::kNotFound) {
        moved = fresh.ok();
        return fresh;
      }
      continue;
    }
    if (!locked) {
      return locked.error();
    }
    if (root->link_count() != 0) {
      // Its maker may have died between its name and its memory; what has memory keeps it.
      if (Status reserved = root->reserve(0, root->bytes()); !reserved) {
        return reserved.error();
      }
      return root;
    }
  }
  return Error{ErrorCode::kSystem, fmt::format("shared memory object {}: cannot be taken", name)};
}

// Why an existing root cannot be used; empty when it can.
std::string unusable(const Object& root) {
  if (root.bytes() < sizeof(RootLayout)) {
    return fmt::format("root of {} bytes, {} needed", root.bytes(), sizeof(RootLayout));
  }
  const RootHeader& h = reinterpret_cast<const RootLayout*>(root.data())->header;
  if (load_acquire(h.magic) != kMagic) {
    return "half-created";
  }
  if (h.layout_version != kLayoutVersion) {
    return fmt::format("layout {}, this program knows {}", h.layout_version, kLayoutVersion);
  }
  if (h.abi_hash != abi_hash()) {
    return fmt::format("ABI hash {:016x}, this program has {:016x}", h.abi_hash, abi_hash());
  }
  if (h.objects_high > kMaxObjects || h.tables_high > kMaxTables || h.peers_high > kMaxPeers ||
      h.peer_tables_high > kMaxPeerTables || h.feed_log2 < 16 || h.feed_log2 > 26 ||
      h.state == static_cast<u32>(SegmentState::kRetired)) {
    return "contradicts itself";
  }
  return {};
}

// The clock is behind the segment's last heartbeat: the machine, or its time namespace, is another
// one. Time goes on where it stood, so that lives and places are as long as they were. False: it is
// not. A segment made from a snapshot was created before this boot as well: differences, not
// values.
bool carry_clock_on(RootHeader& h) {
  constexpr u64 kReadAhead = 1000;  // by whom the heartbeat is newer than the clock that was read
  const u64 now = monotonic_ms();
  const u64 age = now - h.created_monotonic_ms;
  if (static_cast<i64>(age) >= 0 && h.heartbeat_ms <= age + kReadAhead) {
    return false;
  }
  store_relaxed(h.created_monotonic_ms, now - h.heartbeat_ms);
  return true;
}

bool blank(const Object& root) {
  return root.bytes() == kRootBytes &&
         reinterpret_cast<const RootLayout*>(root.data())->header.magic == 0 &&
         reinterpret_cast<const RootLayout*>(root.data())->header.objects_high == 0;
}

}  // namespace

u64 least_segment_bytes(u32 feed_log2) {
  return kRootBytes + (u64{8} << feed_log2) + kDictionaryStep;
}

// Makes a fresh segment in a zeroed root.
Status Writer::create() {
  State& s = *state_;
  RootHeader& h = s.header();
  store_release(h.state, static_cast<u32>(SegmentState::kCreating));
  h.layout_version = kLayoutVersion;
  h.header_bytes = sizeof(RootHeader);
  h.abi_hash = abi_hash();
  h.total_bytes = kRootBytes;
  read_boot_id(h.boot_id);
  h.created_realtime_ms = realtime_ms();
  h.created_monotonic_ms = monotonic_ms();
  if (::getrandom(h.hash_key, sizeof h.hash_key, 0) != sizeof h.hash_key) {
    return Error{ErrorCode::kSystem, "no random bytes for the hash key"};
  }
  h.next_object = 1;
  h.next_table_id = 1;
  h.feed_log2 = s.options.feed_log2;
  h.dictionary_used = 8;
  h.dictionary_bytes = kDictionaryStep;
  s.provisioner = std::make_unique<Provisioner>(s.options.memory_limit, kRootBytes);

  const u64 feed_bytes = u64{8} << h.feed_log2;
  const auto feed_dir = s.prepare_object(ObjectKind::kFeed, kNoOwner, feed_bytes);
  const auto dict_dir = s.prepare_object(ObjectKind::kDictionary, kNoOwner, kDictionaryBytes);
  auto feed = s.provisioner->create_now(s.name_of(*feed_dir), feed_bytes, feed_bytes);
  if (!feed) {
    return Error{feed.error().code,
                 fmt::format("change feed of {} bytes: {}", feed_bytes, feed.error().what)};
  }
  auto dict = s.provisioner->create_now(s.name_of(*dict_dir), kDictionaryBytes, kDictionaryStep);
  if (!dict) {
    return Error{dict.error().code, fmt::format("dictionary: {}", dict.error().what)};
  }
  s.publish_object(*feed_dir, feed_bytes);
  s.publish_object(*dict_dir, kDictionaryStep);
  h.feed.object = s.layout->objects[*feed_dir].number;
  h.dictionary.object = s.layout->objects[*dict_dir].number;
  s.feed_object = feed.take();
  s.dictionary = std::make_unique<Dictionary>(h, dict.take());
  s.feed = Feed(&h, reinterpret_cast<u64*>(s.feed_object.data()), h.feed_log2);
  h.epoch = 1;
  return {};
}

// Maps what an earlier process left and makes it whole.
Status Writer::adopt() {
  State& s = *state_;
  RootHeader& h = s.header();
  const bool clean = h.state == static_cast<u32>(SegmentState::kStopped);
  store_release(h.state, static_cast<u32>(SegmentState::kAttaching));
  store_release(h.epoch, h.epoch + 1);
  if (!clean) {
    store_relaxed(h.unclean_attaches, h.unclean_attaches + 1);
  }
  const auto open = [&](u32 number, u64 least) -> Result<Object> {
    auto object = Object::open_own(object_name(s.options.instance, number));
    if (object && object->bytes() < least) {
      return Error{ErrorCode::kDamaged, fmt::format("object {:08x} is too short", number)};
    }
    return object;
  };
  auto feed = open(h.feed.object, u64{8} << h.feed_log2);
  if (!feed) {
    return feed.error();
  }
  s.feed_object = feed.take();
  auto dict = open(h.dictionary.object, kDictionaryBytes);
  if (!dict) {
    return dict.error();
  }
  if (h.dictionary_used > h.dictionary_bytes || h.dictionary_bytes > kDictionaryBytes) {
    return Error{ErrorCode::kDamaged, "dictionary is longer than its object"};
  }
  s.dictionary = std::make_unique<Dictionary>(h, dict.take());

  u64 reserved = kRootBytes;
  for (u32 i = 0; i < h.objects_high; ++i) {
    ObjDesc& object = s.layout->objects[i];
    if (object.state == static_cast<u16>(ObjectState::kPreparing)) {
      Object::unlink(s.name_of(i));
      s.forget_object(i);
    } else if (object.state == static_cast<u16>(ObjectState::kLive)) {
      reserved += object.reserved_bytes;
    }
  }
  s.provisioner = std::make_unique<Provisioner>(s.options.memory_limit, reserved);

  s.tables.resize(h.tables_high);
  const auto tables_high = static_cast<u16>(h.tables_high);
  for (u16 no = 0; no < tables_high; ++no) {
    if (s.layout->tables[no].state != static_cast<u32>(TableState::kLive)) {
      continue;
    }
    auto table = open_table(no);
    if (!table) {
      return table.error();
    }
    s.tables[no] = table.take();
    if (Status adopted = s.tables[no]->adopt(); !adopted) {
      return adopted;
    }
    s.live_tables.push_back(no);
  }
  if (Status adopted = adopt_rooms(); !adopted) {
    return adopted;
  }
  const Intent& intent = s.layout->intent;
  if (intent.op == 1) {
    u32 at = 0;  // where the part's image is
    for (u32 i = 0; i < std::min(intent.parts, kIntentParts); ++i) {
      const IntentPart& part = intent.part[i];
      if (part.words > kIntentWords - at) {
        break;
      }
      if (part.table < s.tables.size() && s.tables[part.table] != nullptr) {
        s.tables[part.table]->redo(part, intent.image + at);
      }
      at += part.words;
    }
    redo_line();
    crash_point();
    s.layout->intent.line_op = static_cast<u32>(LineOp::kNone);
    crash_point();
    store_release(s.layout->intent.op, 0);
  }
  for (const u16 no : s.live_tables) {
    s.tables[no]->recount();
  }
  // Tables are widened by making the wider one live and then the old one free: a kill in between
  // leaves both.
  const std::vector<u16> numbers = s.live_tables;
  for (const u16 no : numbers) {
    for (const u16 other : numbers) {
      if (s.tables[no] != nullptr && s.tables[other] != nullptr &&
          s.layout->tables[no].id < s.layout->tables[other].id &&
          same_identity(s.layout->tables[no], s.tables[other]->info().definition,
                        s.tables[other]->info().role, s.tables[other]->info().scope_peer)) {
        free_table(no);
      }
    }
  }
  // Objects nobody refers to: of tables that never became live, of indexes that were replaced.
  for (u32 i = 0; i < h.objects_high; ++i) {
    if (s.layout->objects[i].state == static_cast<u16>(ObjectState::kLive) && !referenced(i)) {
      Object::unlink(s.name_of(i));
      s.forget_object(i);
    }
  }
  for (u32 i = 0; i < h.peers_high; ++i) {
    PeerDesc& peer = s.layout->peers[i];
    const bool was_up = peer.state == static_cast<u32>(PeerState::kUp);
    if (peer.state != static_cast<u32>(PeerState::kFree) || (peer.seq & 1) != 0) {
      seqlock_write(peer.seq, [&] {
        store_relaxed(peer.state, static_cast<u32>(PeerState::kDown));
        store_relaxed(peer.connected_ms, was_up ? now() : peer.connected_ms);
      });
      s.peers_before.push_back({PeerNo{static_cast<u16>(i)}, was_up, peer.connected_ms});
    }
  }
  store_release(h.feed_tail, h.feed_intent);
  stop_room_time(now());
  s.attached_as = clean ? Attach::kClean : Attach::kRecovered;
  return {};
}

bool Writer::referenced(u32 dir) const {
  const State& s = *state_;
  const RootHeader& h = s.layout->header;
  const ObjDesc& object = s.layout->objects[dir];
  if (object.number == h.feed.object || object.number == h.dictionary.object) {
    return true;
  }
  if (object.kind == static_cast<u16>(ObjectKind::kLine)) {
    return line_uses(dir);
  }
  if (object.owner >= s.tables.size() || s.tables[object.owner] == nullptr) {
    return false;
  }
  const TableDesc& desc = s.layout->tables[object.owner];
  return desc.cur.object == object.number || desc.next.object == object.number ||
         std::any_of(std::begin(desc.chunk), std::end(desc.chunk),
                     [&](const ObjRef& ref) { return ref.object == object.number; });
}

Result<std::unique_ptr<Writer>> Writer::attach(const WriterOptions& options) {
  if (!valid_instance(options.instance)) {
    return Error{
        ErrorCode::kInvalid,
        fmt::format("instance name \"{}\" (1 to 64 letters, digits, '_', '-', '.' are allowed)",
                    options.instance)};
  }
  if (options.feed_log2 < 16 || options.feed_log2 > 26) {
    return Error{
        ErrorCode::kInvalid,
        fmt::format("change feed of 2^{} records (2^16 to 2^26 are allowed)", options.feed_log2)};
  }
  const std::string name = root_name(options.instance);
  bool moved = false;
  auto root = take_root(options.instance, moved);
  if (!root) {
    return root.error();
  }
  auto state = std::make_unique<State>();
  state->options = options;
  std::unique_ptr<Writer> writer(new Writer(std::move(state)));
  State& s = *writer->state_;
  std::string why;
  if (!blank(*root)) {
    why = unusable(*root);
    if (why.empty()) {
      s.root = root.take();
      s.layout = reinterpret_cast<RootLayout*>(s.root.data());
      const bool carried_on = carry_clock_on(s.header());
      const Status adopted = writer->adopt();
      if (adopted) {
        s.attach_note = fmt::format(
            "segment {}: attached, {} tables, {}{}", options.instance, s.live_tables.size(),
            s.attached_as == Attach::kClean ? "left by a clean stop" : "recovered after a kill",
            carried_on ? "; the machine's clock began anew, lifetimes go on where they were" : "");
        s.root_moved = moved;
        writer->go_live();
        return writer;
      }
      if (adopted.error().code == ErrorCode::kExhausted ||
          adopted.error().code == ErrorCode::kSystem) {
        return adopted.error();  // the system's trouble, not the segment's: keep it
      }
      why = adopted.error().what;
      // Out with everything that was mapped, and in again with an empty root.
      Object old = std::move(s.root);
      auto fresh = std::make_unique<State>();
      fresh->options = options;
      writer->state_->tables.clear();
      writer->state_ = std::move(fresh);
      root = std::move(old);
    }
    auto replaced = retire(options.instance, *root);
    if (!replaced) {
      return replaced.error();
    }
    root = replaced.take();
  }
  const auto make = [&]() -> Status {
    State& f = *writer->state_;
    f.root = root.take();
    f.layout = reinterpret_cast<RootLayout*>(f.root.data());
    Status made = writer->create();
    if (!made) {
      remove_objects(options.instance, f.root);
      Object::unlink(name);
    }
    return made;
  };
  if (Status made = make(); !made) {
    return made.error();
  }
  Restored restored;
  for (const std::string& path : options.snapshots) {
    SnapshotLoader loader(*writer, restored);
    const Status loaded = loader.load(path);
    if (loaded) {
      break;
    }
    restored.rejected.push_back({path, loaded.error()});
    if (!loader.begun()) {
      continue;
    }
    // What was loaded of it goes.
    Object half = std::move(writer->state_->root);
    auto fresh = std::make_unique<State>();
    fresh->options = options;
    writer->state_->tables.clear();
    writer->state_ = std::move(fresh);
    root = retire(options.instance, half);
    if (!root) {
      return root.error();
    }
    if (Status made = make(); !made) {
      return made.error();
    }
  }
  State& f = *writer->state_;
  const bool filled = !restored.path.empty();
  f.restored = std::move(restored);
  f.attached_as = filled        ? f.restored.clean ? Attach::kClean : Attach::kRecovered
                  : why.empty() ? Attach::kCreated
                                : Attach::kReplaced;
  f.attach_note = fmt::format(
      "segment {}: {}{}", options.instance, why.empty() ? "created" : "replaced by a new one",
      why.empty() ? "" : fmt::format(", the old one was not usable: {}", why));
  f.root_moved = moved;
  crash_point();
  store_release(f.header().magic, kMagic);  // pairs with load_acquire in Reader: all above is there
  writer->go_live();
  return writer;
}

void Writer::go_live() {
  State& s = *state_;
  RootHeader& h = s.header();
  s.feed = Feed(&h, reinterpret_cast<u64*>(s.feed_object.data()), h.feed_log2);
  store_relaxed(h.writer_pid, static_cast<u32>(::getpid()));
  store_relaxed(h.writer_start_ms, now());
  s.feed.append({0, 0, FeedKind::kResync, kNoPeer.value});
  s.bump_directory();
  heartbeat(now());
  store_release(h.state, static_cast<u32>(SegmentState::kLive));
}

// Unlinks every object an old root names. Its directory may be nonsense: names are only made from
// numbers.
void Writer::remove_objects(const std::string& instance, const Object& root) {
  if (root.bytes() < sizeof(RootLayout)) {
    return;
  }
  const auto& layout = *reinterpret_cast<const RootLayout*>(root.data());
  for (const ObjDesc& object : layout.objects) {
    if (object.number != 0) {
      Object::unlink(object_name(instance, object.number));
    }
  }
}

// The old root says `retired` to its readers and loses its name; the new one is locked before the
// old lock goes.
Result<Object> Writer::retire(const std::string& instance, Object& old) {
  if (old.bytes() >= sizeof(RootHeader)) {
    store_release(reinterpret_cast<RootLayout*>(old.data())->header.state,
                  static_cast<u32>(SegmentState::kRetired));
  }
  remove_objects(instance, old);
  Object::unlink(root_name(instance));
  auto root = Object::create(root_name(instance), kRootBytes);
  if (!root) {
    return root;
  }
  if (Status reserved = root->reserve(0, kRootBytes); !reserved) {
    Object::unlink(root_name(instance));
    return reserved.error();
  }
  if (Status locked = root->lock(); !locked) {
    return locked.error();
  }
  return root;
}

Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}

Writer::~Writer() {
  // Tables wait for the provisioner's work on their objects before they go.
  state_->tables.clear();
  state_->lines.clear();
}

Attach Writer::attached_as() const {
  return state_->attached_as;
}
const std::string& Writer::attach_note() const {
  return state_->attach_note;
}
bool Writer::root_moved() const {
  return state_->root_moved;
}
const Restored& Writer::restored() const {
  return state_->restored;
}
SegmentMs Writer::now() const {
  return monotonic_ms() - state_->header().created_monotonic_ms;
}

void Writer::heartbeat(SegmentMs now) {
  RootHeader& h = state_->header();
  store_relaxed(h.loop_count, h.loop_count + 1);
  store_relaxed(h.heartbeat_ms, now);
  set_counter(DaemonCounter::objects_bytes, state_->provisioner->reserved());
}

void Writer::resume(SegmentMs now) {
  stop_room_time(now);
  heartbeat(now);
}

u32 Writer::mode() const {
  return state_->header().mode;
}
void Writer::set_mode(u32 mode) {
  store_relaxed(state_->header().mode, mode);
}

void Writer::stop() {
  RootHeader& h = state_->header();
  for (u32 i = 0; i < h.peers_high; ++i) {
    if (state_->layout->peers[i].state == static_cast<u32>(PeerState::kUp)) {
      peer_down(PeerNo{static_cast<u16>(i)}, now());
    }
  }
  heartbeat(now());
  store_release(h.state, static_cast<u32>(SegmentState::kStopped));
}

// --- tables
// --------------------------------------------------------------------------------------------------------

Table* Writer::table(u16 no) {
  return no < state_->tables.size() ? state_->tables[no].get() : nullptr;
}
const std::vector<u16>& Writer::tables() const {
  return state_->live_tables;
}

Result<std::unique_ptr<Table>> Writer::open_table(u16 no) {
  const TableDesc& desc = state_->layout->tables[no];
  TableDefinition definition = definition_of(desc);
  if (!known_key_type(desc.key_type) || desc.role > static_cast<u32>(TableRole::kLedger)) {
    return Error{ErrorCode::kDamaged, fmt::format("table {}: key type {}, role {}", definition.name,
                                                  desc.key_type, desc.role)};
  }
  auto geometry = geometry_of(definition, form_of(static_cast<TableRole>(desc.role)));
  if (!geometry || geometry->slot_bytes != desc.slot_bytes ||
      geometry->key_offset != desc.key_offset) {
    return Error{ErrorCode::kDamaged,
                 fmt::format("table {}: definition and slot layout differ", definition.name)};
  }
  std::unique_ptr<Table> table(new Table(*this, no));
  table->info_.id = desc.id;
  table->info_.generation = desc.generation;
  table->info_.scope_peer = desc.scope_peer;
  table->info_.role = static_cast<TableRole>(desc.role);
  table->info_.definition = std::move(definition);
  table->info_.geometry = *geometry;
  return table;
}

// A table that nobody sees yet: publish_table() makes it live.
Result<Table*> Writer::make_table(const TableDefinition& definition, TableRole role, u32 scope,
                                  u64 expected) {
  State& s = *state_;
  RootHeader& h = s.header();
  auto geometry = geometry_of(definition, form_of(role));
  if (!geometry) {
    return geometry.error();
  }
  // Numbers go round before one is used again, so that stale references meet another id, not
  // another meaning.
  u32 no = h.tables_high;
  if (no == kMaxTables) {
    no = 0;
    while (no < kMaxTables && s.tables[no] != nullptr) {
      ++no;
    }
    if (no == kMaxTables) {
      return Error{ErrorCode::kExhausted,
                   fmt::format("table {}: {} tables exist already", definition.name, kMaxTables)};
    }
  }
  TableDesc& desc = s.layout->tables[no];
  const u64 generation = desc.generation + 1;
  store_release(desc.state, static_cast<u32>(TableState::kFree));
  const u32 id = h.next_table_id;
  store_relaxed(h.next_table_id, id + 1);
  crash_point();
  // Words that a reader with an old TableInfo may still look at are stored one by one; the rest is
  // ours alone.
  store_relaxed(desc.id, id);
  store_relaxed(desc.generation, generation);
  store_relaxed(desc.high_water, 0);
  for (ObjRef& chunk : desc.chunk) {
    store_relaxed(chunk.object, 0);
  }
  store_relaxed(desc.cur.object, 0);
  store_relaxed(desc.next.object, 0);
  store_relaxed(desc.migrated, 0);
  store_relaxed(desc.live, 0);
  for (u64& counter : desc.counters) {
    store_relaxed(counter, 0);
  }
  store_relaxed(desc.scope_peer, scope);
  store_relaxed(desc.role, static_cast<u32>(role));
  store_relaxed(desc.key_type, static_cast<u32>(definition.key_type));
  store_relaxed(desc.key_bytes, definition.key_bytes);
  store_relaxed(desc.data_types, definition.data_types);
  store_relaxed(desc.expire_ms, expire_word(definition.expire_ms));
  store_relaxed(desc.slot_bytes, geometry->slot_bytes);
  store_relaxed(desc.ext_offset, geometry->ext_offset);
  store_relaxed(desc.key_offset, geometry->key_offset);
  store_relaxed(desc.used_bytes, static_cast<u16>(geometry->used_bytes));
  store_relaxed(desc.chunk0_log2, static_cast<u16>(kChunk0Log2));
  store_text(desc.name, definition.name);
  for (u32 bit = 0; bit < kDataTypes; ++bit) {
    const bool has = definition.has(bit);
    store_relaxed(desc.offset[bit], geometry->offset[bit]);
    store_relaxed(desc.elements[bit], has ? definition.elements[bit] : 0);
    store_relaxed(desc.period_ms[bit], has ? definition.period_ms[bit] : 0);
  }
  if (no == h.tables_high) {
    store_release(h.tables_high, no + 1);
    s.tables.resize(no + 1);
  }
  auto table = open_table(static_cast<u16>(no));
  if (!table) {
    return table.error();
  }
  if (Status made = table.value()->create_memory(expected); !made) {
    return made.error();
  }
  s.tables[no] = table.take();
  return s.tables[no].get();
}

void Writer::publish_table(u16 no) {
  State& s = *state_;
  crash_point();
  store_release(s.layout->tables[no].state,
                static_cast<u32>(TableState::kLive));  // pairs with load_acquire in Reader
  crash_point();
  s.live_tables.push_back(no);
  s.bump_directory();
  s.feed.append({0, no, FeedKind::kTable, kNoPeer.value});
}

void Writer::free_table(u16 no) {
  State& s = *state_;
  store_release(s.layout->tables[no].state, static_cast<u32>(TableState::kFree));
  crash_point();
  s.tables[no]->drop_memory();
  s.tables[no].reset();
  std::erase(s.live_tables, no);
  s.bump_directory();
}

void Writer::drop_table(u16 no) {
  free_table(no);
  state_->feed.append({0, no, FeedKind::kTable, kNoPeer.value});
}

Result<TableFor> Writer::table_for(const TableDefinition& definition, SegmentMs now, TableRole role,
                                   u32 scope) {
  State& s = *state_;
  TableFor answer;
  Table* known = nullptr;
  for (const u16 no : s.live_tables) {
    if (same_identity(s.layout->tables[no], definition, role, scope)) {
      known = s.tables[no].get();
    }
  }
  TableDefinition wanted = definition;
  if (known != nullptr) {
    TableDesc& desc = s.layout->tables[known->info_.no];
    const u32 told = expire_word(definition.expire_ms);
    if (desc.expire_ms != 0 && (told == 0 || told > desc.expire_ms)) {
      store_relaxed(desc.expire_ms,
                    told);  // an entry lives until the longest expiry told has passed
      known->info_.definition.expire_ms = told;
      s.bump_directory();
    }
    wanted = known->info_.definition;
    bool wider = false;
    for (u32 bit = 0; bit < kDataTypes; ++bit) {
      if (!definition.has(bit)) {
        continue;
      }
      if (!wanted.has(bit)) {
        wanted.data_types |= u64{1} << bit;
        wanted.period_ms[bit] = definition.period_ms[bit];
        wanted.elements[bit] = 0;
      }
      wider |= wanted.elements[bit] < definition.elements[bit];
      // A part is one HAProxy's alone: what it says now counts.
      if (role == TableRole::kPart && wanted.period_ms[bit] != definition.period_ms[bit]) {
        wanted.period_ms[bit] = definition.period_ms[bit];
        wider = true;
      }
      wanted.elements[bit] = std::max(wanted.elements[bit], definition.elements[bit]);
    }
    if (!wider) {
      answer.table = known;
      return answer;
    }
  }
  auto made = make_table(wanted, role, scope, known == nullptr ? 0 : known->live());
  if (!made) {
    return made.error();
  }
  Table* table = made.value();
  const u16 no = table->info_.no;
  if (known != nullptr) {
    const bool all = known->copy_entries_to(*table, now);
    if (!all && role == TableRole::kUsers) {
      // A visitor must not lose the place for a column's sake: the narrow table stays.
      s.tables[no]->drop_memory();
      s.tables[no].reset();
      return Error{ErrorCode::kExhausted,
                   fmt::format("table {}: no memory for all its visitors with more columns",
                               definition.name)};
    }
    for (u32 i = 0; i < static_cast<u32>(TableCounter::kCount); ++i) {
      const u64 carried = s.layout->tables[known->info_.no].counters[i];
      store_relaxed(s.layout->tables[no].counters[i], s.layout->tables[no].counters[i] + carried);
    }
  }
  publish_table(no);
  if (known != nullptr) {
    answer.replaced = true;
    answer.old_no = known->info_.no;
    move_peer_tables(answer.old_no, known->info_.id, table->info_);
    free_table(answer.old_no);
  }
  answer.created = known == nullptr;
  answer.table = table;
  return answer;
}

bool Writer::work_some() {
  bool idle = true;
  for (const u16 no : state_->live_tables) {
    idle &= state_->tables[no]->migrate_some(256);
  }
  return idle;
}

// --- peers, counters, dictionary
// -----------------------------------------------------------------------------------

Result<PeerNo> Writer::peer_up(const PeerIdentity& id, SegmentMs now) {
  State& s = *state_;
  RootHeader& h = s.header();
  // Best first: the same process again, the same HAProxy again, an unused record, the one that is
  // gone longest.
  enum Rank { kSameProcess, kSameName, kUnused, kGone, kNone };
  Rank best = kNone;
  u32 chosen = 0;
  for (u32 i = 0; i < kMaxPeers; ++i) {
    const PeerDesc& peer = s.layout->peers[i];
    if (i >= h.peers_high) {
      if (best > kUnused) {
        best = kUnused;
        chosen = i;
      }
      break;
    }
    if (peer.state == static_cast<u32>(PeerState::kUp)) {
      continue;
    }
    const bool name = view_name(peer.remote_name, sizeof peer.remote_name) ==
                          id.remote_name.substr(0, sizeof peer.remote_name - 1) &&
                      view_name(peer.local_name, sizeof peer.local_name) ==
                          id.local_name.substr(0, sizeof peer.local_name - 1) &&
                      view_name(peer.address, sizeof peer.address) ==
                          id.address.substr(0, sizeof peer.address - 1);
    const Rank rank = peer.state == static_cast<u32>(PeerState::kFree) ? kUnused
                      : name && peer.remote_pid == id.remote_pid       ? kSameProcess
                      : name                                           ? kSameName
                                                                       : kGone;
    const bool longer_gone =
        rank == kGone && best == kGone && peer.connected_ms < s.layout->peers[chosen].connected_ms;
    if (rank < best || longer_gone) {
      best = rank;
      chosen = i;
    }
  }
  // A record of somebody else is only taken when no unused one is left.
  if (best == kGone && h.peers_high < kMaxPeers) {
    best = kUnused;
    chosen = h.peers_high;
  }
  if (best == kNone) {
    return Error{ErrorCode::kExhausted, fmt::format("{} peers are connected already", kMaxPeers)};
  }
  PeerDesc& peer = s.layout->peers[chosen];
  const bool known = best == kSameProcess || best == kSameName;
  seqlock_write(peer.seq, [&] {
    store_relaxed(peer.state, static_cast<u32>(PeerState::kUp));
    store_relaxed(peer.connected_ms, now);
    store_relaxed(peer.direction, static_cast<u32>(id.direction));
    store_relaxed(peer.protocol_minor, id.protocol_minor);
    store_relaxed(peer.remote_pid, id.remote_pid);
    store_relaxed(peer.epoch, peer.epoch + 1);
    if (!known) {
      store_text(peer.remote_name, id.remote_name);
      store_text(peer.local_name, id.local_name);
      store_text(peer.address, id.address);
      store_relaxed(peer.process_pid, 0);
      store_relaxed(peer.process_epoch, 0);
      store_relaxed(peer.candidate_pid, 0);
      store_relaxed(peer.candidate_epoch, 0);
    }
  });
  if (!known) {
    for (u64& counter : peer.counters) {
      store_relaxed(counter, 0);
    }
  }
  for (const PeerCounter gauge : {PeerCounter::lesson_in, PeerCounter::lesson_out, PeerCounter::lag,
                                  PeerCounter::pending_bytes}) {
    store_relaxed(peer.counters[static_cast<u32>(gauge)], 0);
  }
  store_relaxed(peer.counters[static_cast<u32>(PeerCounter::last_received_ms)], now);
  if (chosen >= h.peers_high) {
    store_release(h.peers_high, chosen + 1);
  }
  const PeerNo no{static_cast<u16>(chosen)};
  add_peer_counter(no, PeerCounter::sessions);
  s.bump_directory();
  s.feed.append({0, 0, FeedKind::kPeer, no.value});
  return no;
}

void Writer::peer_down(PeerNo peer, SegmentMs now) {
  PeerDesc& desc = state_->layout->peers[peer.value];
  seqlock_write(desc.seq, [&] {
    store_relaxed(desc.state, static_cast<u32>(PeerState::kDown));
    store_relaxed(desc.connected_ms, now);
  });
  for (const PeerCounter gauge : {PeerCounter::lag, PeerCounter::pending_bytes}) {
    set_peer_counter(peer, gauge, 0);
  }
  state_->bump_directory();
  state_->feed.append({0, 0, FeedKind::kPeer, peer.value});
}

PeerProcess Writer::peer_process(PeerNo peer) const {
  const PeerDesc& desc = state_->layout->peers[peer.value];
  return {desc.process_pid, desc.process_epoch, desc.candidate_pid, desc.candidate_epoch};
}
void Writer::set_peer_process(PeerNo peer, PeerProcess process) {
  PeerDesc& desc = state_->layout->peers[peer.value];
  seqlock_write(desc.seq, [&] {
    store_relaxed(desc.process_pid, process.pid);
    store_relaxed(desc.process_epoch, process.epoch);
    store_relaxed(desc.candidate_pid, process.candidate_pid);
    store_relaxed(desc.candidate_epoch, process.candidate_epoch);
  });
}
const std::vector<PeerBefore>& Writer::peers_before() const {
  return state_->peers_before;
}

u64 Writer::peer_epoch(PeerNo peer) const {
  return state_->layout->peers[peer.value].epoch;
}

u64 Writer::peer_pid(PeerNo peer) const {
  return state_->layout->peers[peer.value].remote_pid;
}

std::optional<u32> Writer::find_peer_table(PeerNo peer, const TableInfo& table) const {
  const RootLayout& l = *state_->layout;
  for (u32 i = 0; i < l.header.peer_tables_high; ++i) {
    const PeerTableDesc& desc = l.peer_tables[i];
    if (desc.state == 1 && desc.peer == peer.value && desc.table == table.no &&
        desc.table_id == table.id) {
      return i;
    }
  }
  return std::nullopt;
}

std::optional<u32> Writer::peer_table(PeerNo peer, const TableInfo& table) {
  if (const auto known = find_peer_table(peer, table)) {
    return known;
  }
  State& s = *state_;
  RootHeader& h = s.header();
  std::optional<u32> unused;
  std::optional<u32> stale;  // of a table that is gone, or of a HAProxy that is
  for (u32 i = 0; i < h.peer_tables_high; ++i) {
    const PeerTableDesc& desc = s.layout->peer_tables[i];
    if (desc.state == 0) {
      unused = i;
      continue;
    }
    const Table* const of = desc.table < s.tables.size() ? s.tables[desc.table].get() : nullptr;
    const bool there = of != nullptr && of->info().id == desc.table_id;
    if (!there || s.layout->peers[desc.peer].state != static_cast<u32>(PeerState::kUp)) {
      stale = i;
    }
  }
  if (!unused && h.peer_tables_high < kMaxPeerTables) {
    unused = h.peer_tables_high;
  }
  const auto index = unused ? unused : stale;
  if (!index) {
    return std::nullopt;
  }
  PeerTableDesc& desc = s.layout->peer_tables[*index];
  store_release(desc.state, 0);
  for (u64& counter : desc.counters) {
    store_relaxed(counter, 0);
  }
  store_relaxed(desc.peer, peer.value);
  store_relaxed(desc.table, table.no);
  store_relaxed(desc.table_id, table.id);
  store_release(desc.state, 1);  // pairs with Reader::peer_tables
  if (*index == h.peer_tables_high) {
    store_release(h.peer_tables_high, *index + 1);
  }
  return index;
}
u64 Writer::peer_table_counter(u32 index, PeerTableCounter c) const {
  return state_->layout->peer_tables[index].counters[static_cast<u32>(c)];
}
void Writer::set_peer_table_counter(u32 index, PeerTableCounter c, u64 value) {
  store_relaxed(state_->layout->peer_tables[index].counters[static_cast<u32>(c)], value);
}
void Writer::move_peer_tables(u16 old_no, u32 old_id, const TableInfo& table) {
  State& s = *state_;
  for (u32 i = 0; i < s.header().peer_tables_high; ++i) {
    PeerTableDesc& desc = s.layout->peer_tables[i];
    if (desc.state == 1 && desc.table == old_no && desc.table_id == old_id) {
      store_release(desc.state, 0);
      store_relaxed(desc.table, table.no);
      store_relaxed(desc.table_id, table.id);
      store_release(desc.state, 1);
    }
  }
}

u64 Writer::peer_counter(PeerNo peer, PeerCounter c) const {
  return state_->layout->peers[peer.value].counters[static_cast<u32>(c)];
}
void Writer::set_peer_counter(PeerNo peer, PeerCounter c, u64 value) {
  store_relaxed(state_->layout->peers[peer.value].counters[static_cast<u32>(c)], value);
}
void Writer::add_peer_counter(PeerNo peer, PeerCounter c, u64 by) {
  set_peer_counter(peer, c, peer_counter(peer, c) + by);
}

void Writer::set_counter(DaemonCounter c, u64 value) {
  store_relaxed(state_->layout->counters[static_cast<u32>(c)], value);
}
void Writer::add_counter(DaemonCounter c, u64 by) {
  set_counter(c, state_->layout->counters[static_cast<u32>(c)] + by);
}
void Writer::add_table_counter(u16 table, TableCounter c, u64 by) {
  u64& cell = state_->layout->tables[table].counters[static_cast<u32>(c)];
  store_relaxed(cell, cell + by);
}

Feed& Writer::feed() {
  return state_->feed;
}

u32 Writer::intern(std::string_view text) {
  const u32 id = state_->dictionary->intern(text);
  if (id == 0 && !text.empty()) {
    add_counter(DaemonCounter::dictionary_full);
  }
  return id;
}
std::string_view Writer::dictionary_text(u32 id) const {
  return state_->dictionary->text(id);
}

}  // namespace lineq::shm
