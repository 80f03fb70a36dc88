#include "daemon/control/state_dir.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include <fmt/core.h>
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>
#include <sys/stat.h>

#include "daemon/control/command.h"

namespace lineq::control {
namespace {

constexpr std::size_t kLongestRooms = std::size_t{64} << 20;
constexpr int kFormat = 1;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor(Descriptor&&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

Error system_error(std::string_view what, const std::string& path) {
  const int number = errno;
  return {number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kSystem,
          fmt::format("cannot {} {}: {}", what, path, std::strerror(number))};
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) {
    return system_error("sync", path);
  }
  return {};
}

Status replace_file(const std::string& path, std::string_view bytes, mode_t mode) {
  const std::string beside = path + ".new";
  // Whatever stands there, a link included, is not written through.
  ::unlink(beside.c_str());
  {
    const Descriptor file(
        ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!file) {
      return system_error("write", beside);
    }
    if (!write_all(file.get(), bytes) || ::fsync(file.get()) != 0) {
      Error error = system_error("write", beside);
      ::unlink(beside.c_str());
      return error;
    }
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    Error error = system_error("replace", path);
    ::unlink(beside.c_str());
    return error;
  }
  return sync_directory(directory_of(path));
}

Status read_whole(const std::string& path, std::string& bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) {
    return system_error("read", path);
  }
  std::array<char, 65536> chunk{};
  while (bytes.size() <= kLongestRooms) {
    const ssize_t n = ::read(file.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return system_error("read", path);
    }
    if (n == 0) {
      return {};
    }
    bytes.append(chunk.data(), static_cast<std::size_t>(n));
  }
  return Error{ErrorCode::kDamaged, fmt::format("larger than {} bytes", kLongestRooms)};
}

Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) {
    return system_error("make the directory", path);
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return system_error("use the directory", path);
  }
  if (!S_ISDIR(info.st_mode)) {
    errno = ENOTDIR;
    return system_error("use the directory", path);
  }
  return {};
}

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

std::string json_of(const rapidjson::Value& value) {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

Status read_kept(const rapidjson::Value& entry, KeptRoom& kept) {
  if (!entry.IsObject() || !entry.HasMember("room")) {
    return Error{ErrorCode::kDamaged, "an entry is no room"};
  }
  if (Status s = cli::read_room(json_of(entry["room"]), kept.room); !s) {
    return s;
  }
  if (entry.HasMember("configured")) {
    if (Status s = cli::read_room(json_of(entry["configured"]), kept.configured.emplace()); !s) {
      return s;
    }
  }
  return cli::check_room(kept.room);
}

Status read_rooms(const std::string& text, std::vector<KeptRoom>& rooms) {
  if (nested_too_deeply(text)) {
    return Error{ErrorCode::kDamaged, "nested too deeply"};
  }
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag | rapidjson::kParseValidateEncodingFlag>(
      text.data(), text.size());
  if (document.HasParseError()) {
    return Error{ErrorCode::kDamaged,
                 fmt::format("not JSON at byte {}: {}", document.GetErrorOffset() + 1,
                             rapidjson::GetParseError_En(document.GetParseError()))};
  }
  if (!document.IsObject() || !document.HasMember("format") || !document["format"].IsInt() ||
      document["format"].GetInt() != kFormat || !document.HasMember("rooms") ||
      !document["rooms"].IsArray()) {
    return Error{ErrorCode::kDamaged, "not a file of rooms of this version"};
  }
  for (const rapidjson::Value& entry : document["rooms"].GetArray()) {
    if (Status s = read_kept(entry, rooms.emplace_back()); !s) {
      return Error{ErrorCode::kDamaged, fmt::format("room {}: {}", rooms.size(), s.error().what)};
    }
  }
  return {};
}

}  // namespace

Result<StateDir> StateDir::open(std::string path) {
  if (Status s = make_directory(path); !s) {
    return s.error();
  }
  if (::access(path.c_str(), W_OK | X_OK) != 0) {
    return system_error("write to the directory", path);
  }
  return StateDir(std::move(path));
}

Result<std::vector<KeptRoom>> StateDir::load_rooms() const {
  const std::string path = path_ + "/rooms.json";
  std::string text;
  std::vector<KeptRoom> rooms;
  Status read = read_whole(path, text);
  if (!read && read.error().code == ErrorCode::kNotFound) {
    return rooms;
  }
  if (read) {
    read = read_rooms(text, rooms);
  }
  if (read) {
    return rooms;
  }
  const std::string aside = fmt::format("{}.damaged-{}", path, std::time(nullptr));
  const bool moved = ::rename(path.c_str(), aside.c_str()) == 0;
  return Error{ErrorCode::kDamaged,
               fmt::format("{}: {}; {} {}", path, read.error().what,
                           moved ? "it was set aside as" : "it could not be set aside as", aside)};
}

Status StateDir::save_rooms(const std::vector<KeptRoom>& rooms) const {
  std::string text = fmt::format(R"({{"format":{},"rooms":[)", kFormat);
  for (const KeptRoom& kept : rooms) {
    text += &kept == rooms.data() ? "\n" : ",\n";
    text += "{\"room\":" + cli::room_json(kept.room);
    if (kept.configured) {
      text += ",\"configured\":" + cli::room_json(*kept.configured);
    }
    text += '}';
  }
  text += "\n]}\n";
  return replace_file(path_ + "/rooms.json", text, 0640);
}

Result<std::string> StateDir::save_page(std::string_view room, std::string_view html) const {
  const std::string directory = path_ + "/pages";
  if (Status s = make_directory(directory); !s) {
    return s.error();
  }
  // A room's name has no slash and is not a dot.
  std::string path = fmt::format("{}/{}.html", directory, room);
  constexpr std::size_t kLongest = 255;  // what the segment keeps of it
  if (path.size() > kLongest) {
    return Error{
        ErrorCode::kInvalid,
        fmt::format("the page's file {} would have a path of more than {} bytes", path, kLongest)};
  }
  if (Status s = replace_file(path, html, 0644); !s) {
    return s.error();
  }
  return path;
}

Status StateDir::append_event(std::string_view line) const {
  const std::string path = path_ + "/events.jsonl";
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 &&
      static_cast<std::size_t>(info.st_size) + line.size() + 1 > kMostEventBytes &&
      ::rename(path.c_str(), (path + ".1").c_str()) != 0) {
    return system_error("rename", path);
  }
  const Descriptor file(::open(
      path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640));
  if (!file) {
    return system_error("write", path);
  }
  // A line is there whole or not at all.
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (!write_all(file.get(), std::string(line) + "\n")) {
    Error error = system_error("write", path);
    if (end >= 0 && ::ftruncate(file.get(), end) != 0) {
      error.what += "; a part of the line is in it";
    }
    return error;
  }
  return {};
}

}  // namespace lineq::control
