// The state directory: what is kept, what a damaged file does, how the log of changes is bounded.
#include "daemon/control/state_dir.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/control/fake_rooms.h"
#include "tests/support/instance.h"

namespace lineq::control {
namespace {

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class StateDirTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<StateDir> opened = StateDir::open(dir_.file("state"));
    ASSERT_TRUE(opened.ok()) << opened.error().what;
    state_ = opened.take();
  }
  std::string file(std::string_view name) const { return dir_.file("state/") + std::string(name); }

  test::TempDir dir_;
  std::optional<StateDir> state_;
};

TEST_F(StateDirTest, RoomsAreKept) {
  EXPECT_TRUE(state_->load_rooms()->empty());
  cli::RoomSettings first = test::room_called("shop", 5);
  first.description = "the \"shop\"";
  first.additional_routes = {{"a.example", "/b"}};
  const cli::RoomSettings said = test::room_called("shop", 4);
  ASSERT_TRUE(state_->save_rooms({{first, said}, {test::room_called("other", 9), {}}}).ok());
  const Result<std::vector<KeptRoom>> rooms = state_->load_rooms();
  ASSERT_TRUE(rooms.ok()) << rooms.error().what;
  ASSERT_EQ(rooms->size(), 2U);
  EXPECT_EQ((*rooms)[0].room, first);
  EXPECT_EQ((*rooms)[0].configured, said);
  EXPECT_EQ((*rooms)[1].room.capacity, 9U);
  EXPECT_FALSE((*rooms)[1].configured);
  EXPECT_FALSE(std::filesystem::exists(file("rooms.json.new")));
}

TEST_F(StateDirTest, ADamagedFileIsSetAside) {
  for (const std::string& text : std::vector<std::string>{
           std::string("{"), std::string("[]"), std::string(R"({"format":2,"rooms":[]})"),
           std::string(R"({"format":1,"rooms":[5]})"),
           std::string(R"({"format":1,"rooms":[{"room":{"name":"a@b"}}]})"),
           std::string(R"({"format":1,"rooms":[{"room":{}}]})"), std::string(100000, '[')}) {
    std::ofstream(file("rooms.json")) << text;
    const Result<std::vector<KeptRoom>> rooms = state_->load_rooms();
    ASSERT_FALSE(rooms.ok()) << text;
    EXPECT_NE(rooms.error().what.find("it was set aside as " + file("rooms.json.damaged-")),
              std::string::npos)
        << rooms.error().what;
    EXPECT_FALSE(std::filesystem::exists(file("rooms.json")));
    EXPECT_TRUE(state_->load_rooms()->empty());
  }
}

TEST_F(StateDirTest, ALinkInTheWayIsNotWrittenThrough) {
  std::ofstream(dir_.file("precious")) << "precious";
  std::filesystem::create_symlink(dir_.file("precious"), file("rooms.json.new"));
  std::filesystem::create_symlink(dir_.file("precious"), file("events.jsonl"));
  EXPECT_TRUE(state_->save_rooms({}).ok());
  EXPECT_FALSE(state_->append_event("{}").ok());
  EXPECT_EQ(content(dir_.file("precious")), "precious");
}

TEST_F(StateDirTest, OthersThanItsGroupReadOnlyPages) {
  const mode_t before = ::umask(0);
  EXPECT_TRUE(state_->save_rooms({}).ok());
  EXPECT_TRUE(state_->append_event("{}").ok());
  EXPECT_TRUE(state_->save_page("shop", "<p>").ok());
  ::umask(before);
  const auto mode = [&](const char* name) {
    return static_cast<unsigned>(std::filesystem::status(file(name)).permissions());
  };
  EXPECT_EQ(mode("rooms.json"), 0640U);
  EXPECT_EQ(mode("events.jsonl"), 0640U);
  EXPECT_EQ(mode("pages"), 0755U);
  EXPECT_EQ(mode("pages/shop.html"), 0644U);
}

TEST_F(StateDirTest, PagesAreFiles) {
  const Result<std::string> path = state_->save_page("shop", "<p>");
  ASSERT_TRUE(path.ok()) << path.error().what;
  EXPECT_EQ(*path, file("pages/shop.html"));
  EXPECT_EQ(content(*path), "<p>");
  ASSERT_TRUE(state_->save_page("shop", "<b>").ok());
  EXPECT_EQ(content(*path), "<b>");
  EXPECT_FALSE(state_->save_page(std::string(250, 'a'), "").ok());
}

TEST_F(StateDirTest, TheLogOfChangesIsBounded) {
  const std::string line(1000, 'x');
  for (int i = 0; i < 2500; ++i) {
    ASSERT_TRUE(state_->append_event(line).ok());
  }
  EXPECT_LE(std::filesystem::file_size(file("events.jsonl")), StateDir::kMostEventBytes);
  EXPECT_LE(std::filesystem::file_size(file("events.jsonl.1")), StateDir::kMostEventBytes);
  EXPECT_GT(std::filesystem::file_size(file("events.jsonl.1")), StateDir::kMostEventBytes - 2000);
  EXPECT_EQ(content(file("events.jsonl")).substr(0, 1001), line + "\n");
}

TEST_F(StateDirTest, ADirectoryThatCannotBeUsedSaysWhy) {
  const Result<StateDir> missing = StateDir::open(dir_.file("a/b"));
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().what,
            "cannot make the directory " + dir_.file("a/b") + ": No such file or directory");
  std::ofstream(dir_.file("file")) << "";
  const Result<StateDir> file = StateDir::open(dir_.file("file"));
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().what,
            "cannot use the directory " + dir_.file("file") + ": Not a directory");
}

}  // namespace
}  // namespace lineq::control
