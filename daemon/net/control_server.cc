#include "daemon/net/control_server.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/control/command.h"

namespace lineq::net {
namespace {

constexpr int kBacklog = 64;
constexpr const char* kGroup = "lineq-admin";

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

int unix_socket() {
  return ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

Error cannot(const std::string& path, std::string_view why, ErrorCode code = ErrorCode::kSystem) {
  return {code, fmt::format("control socket {}: {}", path, why)};
}

// Makes way for a new socket where an old one is left over.
Status clear(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    return {};  // bind() says what is wrong, if anything is
  }
  if (!S_ISSOCK(info.st_mode)) {
    return cannot(path, "something that is no socket stands there and is left alone");
  }
  const int fd = unix_socket();
  const sockaddr_un address = address_of(path);
  const bool refused =
      fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  if (fd >= 0) {
    ::close(fd);
  }
  if (!refused) {
    return cannot(path, "another lineqd listens there", ErrorCode::kBusy);
  }
  if (::unlink(path.c_str()) != 0) {
    return cannot(path, std::strerror(errno));
  }
  return {};
}

// Gives the file its group and mode. The group is the standard one if none was asked for: then it
// may be missing, or not ours to give, and the directory's or our own group stays.
Status hand_over(const std::string& path, const ControlOptions& options) {
  const std::string name = options.group.empty() ? std::string(kGroup) : options.group;
  std::optional<gid_t> id;
  if (const group* found = ::getgrnam(name.c_str()); found != nullptr) {
    id = found->gr_gid;
  } else if (gid_t number = 0;
             std::from_chars(name.data(), name.data() + name.size(), number).ptr ==
             name.data() + name.size()) {
    id = number;
  }
  if (!options.group.empty() && !id) {
    return cannot(path, fmt::format("there is no group {}", name));
  }
  if (id && ::lchown(path.c_str(), static_cast<uid_t>(-1), *id) != 0 && !options.group.empty()) {
    return cannot(path, fmt::format("cannot be given to group {}: {}", name, std::strerror(errno)));
  }
  if (::chmod(path.c_str(), options.mode) != 0) {
    return cannot(path, std::strerror(errno));
  }
  return {};
}

}  // namespace

control::Caller caller_of(int fd) {
  control::Caller caller;
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    caller.uid = ~u32{0};  // nobody
    caller.user = "unknown";
    return caller;
  }
  caller.uid = credentials.uid;
  caller.groups.push_back(credentials.gid);
  // The kernel tells how many there are if they do not fit.
  std::vector<gid_t> groups(64);
  for (int attempt = 0; attempt < 2; ++attempt) {
    length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0) {
      groups.resize(length / sizeof(gid_t));
      caller.groups.insert(caller.groups.end(), groups.begin(), groups.end());
      break;
    }
    if (errno != ERANGE) {
      break;
    }
    groups.resize(length / sizeof(gid_t));
  }
  const passwd* user = ::getpwuid(caller.uid);
  caller.user = user == nullptr ? std::to_string(caller.uid) : user->pw_name;
  return caller;
}

struct ControlServer::Client {
  uv_pipe_t pipe{};
  ControlServer* server = nullptr;
  u64 number = 0;
  control::Caller caller;
  bool stranger = false;
  std::string in;
  bool reading = false;
  bool waiting = false;  // for the reply to its last line
  bool ending = false;   // close when the last answer is out
  bool closing = false;
  SegmentMs stuck_since = 0;  // 0: it reads
  std::size_t unread = 0;     // at that time
};

struct ControlServer::Write {
  uv_write_t request{};
  std::string bytes;
};

ControlServer::ControlServer(Loop& loop, ControlOptions options, Answer answer)
    : loop_(loop), options_(std::move(options)), answer_(std::move(answer)) {}

ControlServer::~ControlServer() = default;

Result<std::unique_ptr<ControlServer>> ControlServer::listen(Loop& loop, ControlOptions options,
                                                             Answer answer) {
  std::unique_ptr<ControlServer> made(
      new ControlServer(loop, std::move(options), std::move(answer)));
  if (const Status s = made->open(); !s) {
    return s.error();
  }
  return made;
}

Status ControlServer::open() {
  const std::string& path = options_.path;
  if (Status s = clear(path); !s) {
    return s;
  }
  const int fd = unix_socket();
  if (fd < 0) {
    return cannot(path, std::strerror(errno));
  }
  // The file is made with the socket's mode, less what the umask forbids: never wider than meant.
  const sockaddr_un address = address_of(path);
  struct stat info {};
  // It listens at once: a file that refuses connections looks like one whose lineqd is gone.
  const bool bound = ::fchmod(fd, options_.mode) == 0 &&
                     ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                     ::listen(fd, kBacklog) == 0 && ::lstat(path.c_str(), &info) == 0;
  if (!bound) {
    const int number = errno;
    ::close(fd);
    return cannot(path, std::strerror(number),
                  number == EADDRINUSE ? ErrorCode::kBusy : ErrorCode::kSystem);
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
  if (Status s = hand_over(path, options_); !s) {
    ::close(fd);
    ::unlink(path.c_str());
    return s;
  }
  acceptor_.emplace(
      *loop_.uv(), fd, [this](int taken) { accept(taken); },
      [this](int taken, const std::string& why) { run_short(taken, why); });
  if (const int code = acceptor_->start(); code != 0) {
    close();
    return cannot(path, uv_strerror(code));
  }
  return {};
}

// Somebody may be here to look what is wrong: the last descriptor is for one at a time.
void ControlServer::run_short(int fd, const std::string& why) {
  if (const auto hidden = limit_.admit("descriptors", loop_.now())) {
    cli::log_err("control: {}; one caller at a time is answered ({} more before)", why, *hidden);
  }
  if (fd >= 0) {
    accept(fd);
  }
}

void ControlServer::accept(int fd) {
  auto made = std::make_unique<Client>();
  Client& client = *made;
  uv_pipe_init(loop_.uv(), &client.pipe, 0);
  client.pipe.data = &client;
  client.server = this;
  client.number = ++accepted_;
  clients_.push_back(std::move(made));
  if (uv_pipe_open(&client.pipe, fd) != 0) {
    ::close(fd);
    return end(client);
  }
  client.caller = caller_of(fd);
  client.stranger = options_.stranger && options_.stranger(client.caller);
  const auto strangers =
      std::count_if(clients_.begin(), clients_.end(), [](const auto& c) { return c->stranger; });
  if (clients_.size() > options_.max_clients ||
      (client.stranger && static_cast<std::size_t>(strangers) > options_.max_strangers)) {
    client.ending = true;
    return write(
        client,
        control::answer_json(
            {control::AnswerCode::kFailed, "too many connections to the control socket", {}, {}}));
  }
  watch(client);
}

// Lines are answered, and more are read, as long as answers are read.
void ControlServer::watch(Client& client) {
  const auto* stream = reinterpret_cast<const uv_stream_t*>(&client.pipe);
  const auto unread = [&] { return uv_stream_get_write_queue_size(stream); };
  std::size_t begin = 0;
  bool line_left = false;
  while (!client.closing && !client.ending && !client.waiting) {
    const std::size_t end_of_line = client.in.find('\n', begin);
    const bool whole = end_of_line != std::string::npos;
    std::string_view line(client.in);
    line = line.substr(begin, whole ? end_of_line - begin : std::string_view::npos);
    if (line.size() > control::kLongestLine) {
      client.ending = true;
      write(client, control::answer_json(
                        {control::AnswerCode::kInvalid,
                         fmt::format("a line of more than {} bytes", control::kLongestLine),
                         {},
                         {}}));
      break;
    }
    line_left = whole && unread() > options_.max_unread_bytes;
    if (!whole || line_left) {
      break;
    }
    begin = end_of_line + 1;
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (!line.empty()) {
      client.waiting = true;
      answer_(line, client.caller, [this, number = client.number](std::string answer) {
        reply(number, std::move(answer));
      });
    }
  }
  client.in.erase(0, begin);
  if (client.in.empty()) {
    client.in.shrink_to_fit();
  }
  if (client.closing) {
    return;
  }
  if (client.ending && unread() == 0) {
    return end(client);
  }
  const bool read = !client.ending && !line_left && !client.waiting;
  if (read == client.reading) {
    return;
  }
  client.reading = read;
  if (!read) {
    uv_read_stop(reinterpret_cast<uv_stream_t*>(&client.pipe));
    return;
  }
  uv_read_start(
      reinterpret_cast<uv_stream_t*>(&client.pipe),
      [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
        const auto bytes = static_cast<Client*>(handle->data)->server->loop_.read_buffer();
        *buffer = uv_buf_init(bytes.data(), static_cast<unsigned>(bytes.size()));
      },
      [](uv_stream_t* from, ssize_t n, const uv_buf_t*) {
        auto& c = *static_cast<Client*>(from->data);
        if (n < 0) {
          // Half closed is closed: whoever wants answers waits for them.
          return c.server->end(c);
        }
        c.in.append(c.server->loop_.read_buffer().data(), static_cast<std::size_t>(n));
        c.server->watch(c);
      });
}

// More lines are looked at when this one is out.
void ControlServer::reply(u64 number, std::string line) {
  const auto found = std::find_if(clients_.begin(), clients_.end(),
                                  [&](const auto& c) { return c->number == number; });
  if (found == clients_.end() || (*found)->closing) {
    return;
  }
  (*found)->waiting = false;
  write(**found, std::move(line));
}

void ControlServer::write(Client& client, std::string line) {
  auto write = std::make_unique<Write>();
  write->bytes = std::move(line);
  write->bytes += '\n';
  uv_buf_t buffer = uv_buf_init(write->bytes.data(), static_cast<unsigned>(write->bytes.size()));
  const int code = uv_write(&write->request, reinterpret_cast<uv_stream_t*>(&client.pipe), &buffer,
                            1, [](uv_write_t* request, int) {
                              auto& c = *static_cast<Client*>(request->handle->data);
                              // The request is the first member.
                              delete reinterpret_cast<Write*>(request);
                              c.server->watch(c);
                            });
  if (code != 0) {
    return end(client);
  }
  (void)write.release();  // the callback's
}

void ControlServer::tick() {
  const SegmentMs now = loop_.now();
  for (const auto& each : clients_) {
    Client& client = *each;
    const std::size_t unread =
        uv_stream_get_write_queue_size(reinterpret_cast<const uv_stream_t*>(&client.pipe));
    if (client.closing || unread == 0) {
      client.stuck_since = 0;
    } else if (client.stuck_since == 0 || unread < client.unread) {
      client.stuck_since = std::max<SegmentMs>(now, 1);
      client.unread = unread;
    } else if (now - client.stuck_since > options_.max_unread_ms) {
      cli::log_warning("control: {} (uid {}) does not read its answers, closing",
                       client.caller.user, client.caller.uid);
      end(client);
    }
  }
}

void ControlServer::end(Client& client) {
  if (client.closing) {
    return;
  }
  client.closing = true;
  uv_close(reinterpret_cast<uv_handle_t*>(&client.pipe), [](uv_handle_t* handle) {
    const auto* gone = static_cast<Client*>(handle->data);
    std::erase_if(gone->server->clients_, [&](const auto& c) { return c.get() == gone; });
  });
  if (!closed_) {
    acceptor_->keep_spare();
  }
}

void ControlServer::close() {
  if (closed_) {
    return;
  }
  closed_ = true;
  struct stat info {};
  if (::lstat(options_.path.c_str(), &info) == 0 && info.st_dev == device_ &&
      info.st_ino == inode_) {
    ::unlink(options_.path.c_str());
  }
  if (acceptor_) {
    acceptor_->close();
  }
  for (const auto& client : clients_) {
    end(*client);
  }
}

}  // namespace lineq::net
