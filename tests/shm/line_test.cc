// Rooms and their lines: against a naive list, beside readers, and across attaches.
#include <algorithm>
#include <filesystem>
#include <random>
#include <set>

#include "shm/dictionary.h"
#include "shm/line_count.h"
#include "shm/visitor.h"
#include "tests/shm/segment.h"

namespace lineq::shm {
namespace {

RoomSettings settings(std::string name) {
  RoomSettings s;
  s.name = std::move(name);
  return s;
}

Ticket join(Writer& writer, RoomNo room) {
  const auto ticket = writer.line(room).next_ticket(0);
  EXPECT_TRUE(ticket);
  Together change(writer);
  change.join(writer.line(room));
  change.land_quietly(0);
  return *ticket;
}
void leave(Writer& writer, RoomNo room, Ticket ticket) {
  Together change(writer);
  change.leave(writer.line(room), ticket);
  change.land_quietly(0);
}

// But for tickets without a visitor: most tests here have no visitors.
std::string findings_of_line(const TempInstance& instance) {
  auto reader = Reader::open(instance.source());
  std::string text;
  for (const Finding& finding : verify(*reader).findings) {
    if (finding.invariant != "line-bit") {
      text += fmt::format("{}: {}\n", finding.invariant, finding.what);
    }
  }
  return text;
}

struct World {
  TempInstance instance;
  std::unique_ptr<Writer> writer = attach(instance);
  RoomNo room = *writer->add_room(settings("shop"), 0);
  Line& line() { return writer->line(room); }
  Ticket join() { return shm::join(*writer, room); }
  void leave(Ticket ticket) { shm::leave(*writer, room, ticket); }
};

TEST(LineTest, NobodyWaitsInANewRoom) {
  World w;
  EXPECT_EQ(w.line().waiting(), 0U);
  EXPECT_FALSE(w.line().front());
  EXPECT_FALSE(w.line().select(0));
  EXPECT_FALSE(w.line().has(Ticket{0}));
  EXPECT_FALSE(w.line().rank_of(Ticket{0}));
}

TEST(LineTest, RankDropsByOneWhenSomeoneAheadLeaves) {
  World w;
  for (u64 i = 0; i < 5; ++i) {
    EXPECT_EQ(w.join(), Ticket{i});
  }
  EXPECT_EQ(w.line().rank_of(Ticket{3}), 3U);
  w.leave(Ticket{1});
  EXPECT_EQ(w.line().rank_of(Ticket{3}), 2U);
  w.leave(Ticket{4});
  EXPECT_EQ(w.line().rank_of(Ticket{3}), 2U);
  EXPECT_FALSE(w.line().rank_of(Ticket{1}));
  EXPECT_EQ(w.line().front(), Ticket{0});
  w.leave(Ticket{0});
  EXPECT_EQ(w.line().front(), Ticket{2});
  EXPECT_EQ(w.line().select(1), Ticket{3});
  EXPECT_EQ(w.line().waiting(), 2U);
}

TEST(LineTest, TicketsGoOnWhenTheLineWasEmpty) {
  World w;
  w.leave(w.join());
  EXPECT_FALSE(w.line().front());
  EXPECT_EQ(w.join(), Ticket{1});
  EXPECT_EQ(w.line().front(), Ticket{1});
}

// Any mix of joins and leaves, over several segments: the same answers as a sorted set gives.
TEST(LineTest, AgreesWithANaiveList) {
  World w;
  auto reader = Reader::open(w.instance.source());
  ASSERT_TRUE(reader.ok());
  std::set<u64> model;
  std::vector<u64> sorted;
  const u64 seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const auto check = [&](std::size_t looks) {
    sorted.assign(model.begin(), model.end());
    ASSERT_EQ(w.line().waiting(), sorted.size());
    ASSERT_EQ(w.line().front(),
              sorted.empty() ? std::nullopt : std::optional(Ticket{sorted.front()}));
    ASSERT_FALSE(w.line().select(sorted.size()));
    const RoomInfo& room = reader->rooms().at(0);
    ASSERT_EQ(reader->numbers(room).waiting, sorted.size());
    for (std::size_t i = 0; i < looks && !sorted.empty(); ++i) {
      const u64 k = random() % sorted.size();
      ASSERT_EQ(w.line().select(k), Ticket{sorted[k]});
      ASSERT_EQ(w.line().rank_of(Ticket{sorted[k]}), k);
      ASSERT_EQ(reader->rank_of(room, Ticket{sorted[k]}), k);
      const u64 other = random() % (sorted.back() + 10);
      ASSERT_EQ(w.line().has(Ticket{other}), model.contains(other));
      ASSERT_EQ(w.line().rank_of(Ticket{other}).has_value(), model.contains(other));
    }
    std::vector<Ticket> tickets;
    for (u64 t = sorted.empty() ? 0 : sorted.front() / 2;
         t < (sorted.empty() ? 5 : sorted.back() + 5); t += 1 + random() % 200) {
      tickets.emplace_back(t);
    }
    std::vector<u64> ranks(tickets.size());
    reader->ranks_of(room, tickets, ranks);
    for (std::size_t i = 0; i < tickets.size(); ++i) {
      const auto at = std::lower_bound(sorted.begin(), sorted.end(), tickets[i].value);
      const bool there = at != sorted.end() && *at == tickets[i].value;
      ASSERT_EQ(ranks[i], there ? static_cast<u64>(at - sorted.begin()) : Reader::kNoRank);
    }
  };
  for (int round = 0; round < 12; ++round) {
    const u64 joins = random() % 180'000;
    for (u64 i = 0; i < joins; ++i) {
      model.insert(w.join().value);
    }
    ASSERT_NO_FATAL_FAILURE(check(200));
    const u64 leaves = round % 3 == 2 ? model.size() : random() % (model.size() + 1);
    const u64 kind = random() % 3;
    for (u64 i = 0; i < leaves; ++i) {
      const Ticket out = kind == 0 ? *w.line().front() : *w.line().select(random() % model.size());
      w.leave(out);
      ASSERT_EQ(model.erase(out.value), 1U);
    }
    ASSERT_NO_FATAL_FAILURE(check(200));
  }
}

std::size_t objects_of_lines(const TempInstance& instance) {
  return static_cast<std::size_t>(std::ranges::count_if(instance.objects(), [](const auto& path) {
    const u64 bytes = std::filesystem::file_size(path);
    return bytes == sizeof(LineDir) || bytes == sizeof(LineSegment);
  }));
}

TEST(LineTest, SegmentsLeftBehindAreUsedAgain) {
  World w;
  auto reader = Reader::open(w.instance.source());
  ASSERT_TRUE(reader.ok());
  for (u64 i = 0; i < 3 * u64{kSegmentTickets}; ++i) {
    const Ticket t = w.join();
    if (i % 100'000 == 0) {
      ASSERT_EQ(reader->rank_of(reader->rooms().at(0), t), std::min<u64>(i, 10));
    }
    if (i >= 10) {
      w.leave(*w.line().front());
    }
  }
  EXPECT_EQ(w.line().waiting(), 10U);
  EXPECT_LE(objects_of_lines(w.instance), 3U);
  EXPECT_EQ(findings_of_line(w.instance), "");
}

TEST(LineTest, ManySegmentsAtOnceGoBackToTheSystem) {
  World w;
  for (u64 i = 0; i < 6 * u64{kSegmentTickets}; ++i) {
    w.join();
  }
  EXPECT_EQ(objects_of_lines(w.instance), 7U);
  const u64 last = 6 * u64{kSegmentTickets} - 1;
  EXPECT_EQ(w.line().rank_of(Ticket{last}), last);
  EXPECT_EQ(w.line().select(last), Ticket{last});
  while (w.line().waiting() != 1) {
    w.leave(*w.line().front());
  }
  EXPECT_EQ(w.line().front(), Ticket{last});
  EXPECT_LE(objects_of_lines(w.instance), 3U);
}

TEST(LineTest, AttachKeepsLineRulesNumbersAndRoomTime) {
  World w;
  RoomSettings rules = settings("shop");
  rules.host = "www.example.org";
  rules.message = std::string(300, 'm');
  rules.method = QueueingMethod::kRandom;
  rules.lapse = Lapse::kDrop;
  rules.paused = true;
  rules.capacity = 7;
  w.writer->set_room(w.room, rules);
  const RoomNo second = *w.writer->add_room(settings("second"), 0);
  const RoomNo third = *w.writer->add_room(settings("third"), 0);
  w.writer->drop_room(second);
  for (u32 i = 0; i < kSegmentTickets + 1000; ++i) {
    w.join();
  }
  for (u32 i = 0; i < kSegmentTickets + 10; ++i) {
    w.leave(*w.line().front());
  }
  join(*w.writer, third);
  w.writer->add_room_counter(w.room, RoomCounter::admitted, 3);
  w.writer->add_room_wait(w.room, 1500);
  w.writer->add_room_stay(w.room, 100'000'000);
  w.writer->set_room_pacing(w.room, 12345);
  const SegmentMs before = w.writer->now();
  w.writer->heartbeat(before);
  const Tick time = w.writer->room_time(before);
  w.writer.reset();
  w.writer = attach(w.instance);
  EXPECT_EQ(w.writer->attached_as(), Attach::kRecovered);
  const SegmentMs after = w.writer->now();
  EXPECT_LE(tick_diff(w.writer->room_time(after), time),
            tick_diff(tick_of(after), tick_of(before)));
  EXPECT_GE(tick_diff(w.writer->room_time(after), time), 0);
  ASSERT_EQ(w.writer->rooms(), (std::vector<RoomNo>{w.room, third}));
  rules.message.resize(255);
  EXPECT_EQ(w.writer->room_settings(w.room), rules);
  EXPECT_EQ(w.line().waiting(), 990U);
  EXPECT_EQ(w.line().front(), Ticket{kSegmentTickets + 10});
  EXPECT_EQ(w.line().rank_of(Ticket{kSegmentTickets + 999}), 989U);
  EXPECT_EQ(w.writer->line(third).waiting(), 1U);
  EXPECT_EQ(w.join(), Ticket{kSegmentTickets + 1000});
  EXPECT_EQ(w.writer->room_numbers(w.room).counter(RoomCounter::admitted), 3U);
  EXPECT_EQ(w.writer->room_wait(w.room).buckets[1], 1U);
  EXPECT_EQ(w.writer->room_stay(w.room).buckets.back(), 1U);
  EXPECT_EQ(w.writer->room_stay(w.room).sum_ms, 100'000'000U);
  EXPECT_EQ(w.writer->room_pacing(w.room), 12345U);
  EXPECT_EQ(findings_of_line(w.instance), "");
}

TEST(LineTest, RoomTimeStandsStillWhileNoDaemonRuns) {
  constexpr u64 kAwayMs = 150;
  TempInstance instance;
  Tick told = 0;
  u64 told_at = 0;
  for (int i = 0; i < 4; ++i) {
    auto writer = attach(instance);
    const SegmentMs now = writer->now();
    const Tick time = writer->room_time(now);
    if (i > 0) {
      EXPECT_LE(static_cast<u64>(tick_diff(time, told)), monotonic_ms() - told_at - kAwayMs);
    }
    writer->heartbeat(now);
    told = time;
    told_at = monotonic_ms();
    auto reader = Reader::open(instance.source());
    ASSERT_TRUE(reader.ok());
    EXPECT_GE(tick_diff(reader->room_time(), time), 0);
    writer.reset();
    while (monotonic_ms() < told_at + kAwayMs) {
    }
  }
}

TEST(LineTest, ReadersSeeRooms) {
  World w;
  auto reader = Reader::open(w.instance.source());
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(reader->rooms().size(), 1U);
  EXPECT_FALSE(reader->rank_of(reader->rooms()[0], Ticket{0}));
  RoomSettings rules = settings("a-room-with-a-name-that-is-longer-than-keys");
  rules.path = "/shop";
  rules.status_code = 503;
  rules.queue_all = true;
  const RoomNo no = *w.writer->add_room(rules, 0);
  EXPECT_FALSE(w.writer->add_room(rules, 0).ok()) << "there already";
  EXPECT_FALSE(w.writer->add_room(settings(""), 0).ok());
  EXPECT_FALSE(w.writer->add_room(settings(std::string(128, 'x')), 0).ok());
  join(*w.writer, no);
  join(*w.writer, no);
  RoomNumbers numbers = w.writer->room_numbers(no);
  EXPECT_EQ(numbers.waiting, 2U);
  numbers.active = 5;
  numbers.waiting = 99;  // the line's business
  w.writer->set_room_numbers(no, numbers);
  const auto refreshed = reader->refresh();
  ASSERT_TRUE(refreshed.ok() && refreshed->directory);
  const RoomInfo* room = reader->find_room("a-room-with-a-name-that-is-longe");
  ASSERT_NE(room, nullptr);
  EXPECT_EQ(room->settings, rules);
  EXPECT_EQ(room->no, no);
  EXPECT_EQ(reader->find_room("a-room"), nullptr) << "too short for a cut key";
  EXPECT_EQ(reader->numbers(*room).active, 5U);
  EXPECT_EQ(reader->numbers(*room).waiting, 2U);
  EXPECT_EQ(reader->rank_of(*room, Ticket{1}), 1U);
  const RoomInfo old = *room;
  w.writer->drop_room(no);
  EXPECT_FALSE(reader->rank_of(old, Ticket{1})) << "the room is gone";
  ASSERT_TRUE(reader->refresh().ok());
  EXPECT_EQ(reader->rooms().size(), 1U);
  EXPECT_EQ(findings(*reader), "");
}

TEST(LineTest, AVisitorIsInTheTableAndInTheLine) {
  World w;
  const TableDefinition users = define("users", KeyType::kString, 73, {kGpc1});
  Table* table = w.writer->table_for(users, 0, TableRole::kUsers)->table;
  const auto key = bytes("s-1@shop");
  const u32 tag = table->tag_of(key);
  const auto ticket = w.line().next_ticket(0);
  ASSERT_TRUE(ticket);
  const u64 tail = w.writer->feed().tail();
  {
    Together change(*w.writer);
    u64* image = change.insert(*table, key, tag, 0);
    ASSERT_NE(image, nullptr);
    put_times(image, std::nullopt, Tick{5});
    const Visitor v{.state = VisitorState::kWaiting,
                    .room = w.room,
                    .ticket = *ticket,
                    .deadline = 100,
                    .since = 5};
    image[table->info().geometry.ext_offset / 8] = v.word0();
    image[table->info().geometry.ext_offset / 8 + 1] = v.word1();
    change.join(w.line());
    change.land_quietly(5);
  }
  EXPECT_EQ(w.writer->feed().tail(), tail) << "nobody is told";
  // Another column: entries move to a wider table, the visitor with them.
  const auto wider = w.writer->table_for(define("users", KeyType::kString, 73, {kGpc1, kGpc0}), 0,
                                         TableRole::kUsers);
  ASSERT_TRUE(wider.ok() && wider->replaced);
  const auto slot = wider->table->find(key);
  ASSERT_TRUE(slot);
  const EntryView entry = wider->table->at(*slot);
  EXPECT_TRUE(entry.never_expires());
  const Visitor v = Visitor::of(entry);
  EXPECT_EQ(v.state, VisitorState::kWaiting);
  EXPECT_EQ(v.ticket, *ticket);
  EXPECT_EQ(v.room, w.room);
  EXPECT_EQ(v.deadline, 100U);
  EXPECT_TRUE(w.line().has(*ticket));
  EXPECT_EQ(findings(w.instance), "");
}

// What a reader meets may be anything: no answer is wrong enough to crash.
TEST(LineTest, ReadersSurviveADamagedLine) {
  World w;
  for (u32 i = 0; i < kSegmentTickets + 100; ++i) {
    w.join();
  }
  w.writer->stop();
  const std::filesystem::path copy =
      std::filesystem::temp_directory_path() / ("lineq-" + w.instance.name());
  std::mt19937_64 random(7);
  std::vector<Ticket> tickets;
  for (u64 t = 0; t < u64{2} * kSegmentTickets; t += 1000) {
    tickets.emplace_back(t);
  }
  tickets.emplace_back(~u64{0});
  std::vector<u64> ranks(tickets.size());
  for (int round = 0; round < 40; ++round) {
    std::filesystem::remove_all(copy);
    std::filesystem::create_directory(copy);
    for (const auto& path : w.instance.objects()) {
      const u64 size = std::filesystem::file_size(path);
      if (size > u64{1} << 24) {
        continue;
      }
      std::filesystem::copy(path, copy / path.filename());
      if (size != sizeof(LineDir) && size != sizeof(LineSegment)) {
        continue;
      }
      const std::string name = (copy / path.filename()).string();
      std::filesystem::permissions(name, std::filesystem::perms::owner_all);
      if (round % 10 == 9) {
        std::filesystem::resize_file(name, random() % size);
        continue;
      }
      std::FILE* file = std::fopen(name.c_str(), "r+b");
      ASSERT_NE(file, nullptr);
      for (u64 i = 0; i < (round % 2 == 0 ? 4 : size / 8); ++i) {
        const u64 at = round % 4 == 0 ? i * 64 : random() % (size / 8) * 8;
        const u64 value = random() >> random() % 64;
        (void)std::fseek(file, static_cast<long>(at % (size - 8)), SEEK_SET);
        (void)std::fwrite(&value, sizeof value, 1, file);
      }
      (void)std::fclose(file);
    }
    Source source = w.instance.source();
    source.directory = copy.string();
    auto reader = Reader::open(source);
    ASSERT_TRUE(reader.ok()) << reader.error().what;
    ASSERT_EQ(reader->rooms().size(), 1U);
    reader->ranks_of(reader->rooms()[0], tickets, ranks);
    for (const Ticket t : tickets) {
      (void)reader->rank_of(reader->rooms()[0], t);
    }
    (void)verify(*reader);
  }
  std::filesystem::remove_all(copy);
}

TEST(LineTest, WithoutMemoryNobodyCanJoin) {
  TempInstance instance;
  WriterOptions options = instance.options();
  options.memory_limit = kRootBytes + (u64{8} << 16) + kDictionaryStep + sizeof(LineDir) + 100;
  auto attached = Writer::attach(options);
  ASSERT_TRUE(attached.ok()) << attached.error().what;
  Writer& writer = **attached;
  const RoomNo room = *writer.add_room(settings("shop"), 0);
  EXPECT_FALSE(writer.line(room).next_ticket(0));
  EXPECT_FALSE(writer.line(room).next_ticket(1000));
  EXPECT_EQ(writer.line(room).waiting(), 0U);
  EXPECT_EQ(findings(instance), "");
}

}  // namespace
}  // namespace lineq::shm
