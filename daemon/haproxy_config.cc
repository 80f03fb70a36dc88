#include "daemon/haproxy_config.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <sys/stat.h>

#include "shm/hash.h"
#include "tools/cli/addresses.h"

namespace lineq::daemon {
namespace {

constexpr std::string_view kMark =
    "# haproxy.cfg by lineqd -c, which replaces it while unchanged: ";
constexpr std::size_t kSumDigits = 16;
constexpr u64 kLongestExpire = u64{24} * 24 * 3600;  // seconds; HAProxy's timers end there

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool only(std::string_view text, std::string_view beside_letters_and_digits) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return is_letter_or_digit(c) || beside_letters_and_digits.find(c) != std::string_view::npos;
  });
}

// What a message may show of a text from outside.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 100)) {
    const bool plain = c >= ' ' && c <= '~';
    out += plain ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<u8>(c));
  }
  return text.size() > 100 ? out + "..." : out;
}

Error refuse(std::string_view what, std::string_view value, std::string_view allowed) {
  return Error{ErrorCode::kInvalid, fmt::format("{} '{}' cannot be written into a HAProxy "
                                                "configuration; allowed: {}",
                                                what, shown(value), allowed)};
}

Status check_name(std::string_view what, std::string_view name, std::size_t longest) {
  if (name.empty() || name.size() > longest || !only(name, "_.-") || name.front() == '-') {
    return refuse(
        what, name,
        fmt::format("1 to {} letters, digits, '_', '.' and '-', which is not the first", longest));
  }
  return {};
}

Status check_host(const std::string& what, std::string_view host) {
  if (!only(host, ".-[]:") || host.size() > 253 || host.starts_with('-')) {
    return refuse(what, host, "up to 253 letters, digits, '.' and '-', without a port");
  }
  return {};
}

// A path is a word in single quotes there, and an attribute of a cookie.
Status check_path(const std::string& what, std::string_view path) {
  constexpr std::string_view kMarks = "/._~!&()*+=:@-";
  const bool fine = path.starts_with('/') && path.size() <= 255 &&
                    std::all_of(path.begin(), path.end(), [&](char c) {
                      return is_letter_or_digit(c) || static_cast<u8>(c) >= 0x80 ||
                             kMarks.find(c) != std::string_view::npos;
                    });
  if (!fine || path.find("/./") != std::string_view::npos ||
      path.find("/../") != std::string_view::npos || path.find("//") != std::string_view::npos) {
    return refuse(what, path,
                  "'/', letters, digits and ._~!&()*+=:@- up to 255 bytes, decoded (no '%'), "
                  "without '//' and dot segments");
  }
  return {};
}

Status check_words(std::string_view what, std::string_view words, std::string_view forbidden) {
  const bool fine = !words.empty() && std::all_of(words.begin(), words.end(), [&](char c) {
    return c >= ' ' && c <= '~' && forbidden.find(c) == std::string_view::npos;
  });
  return fine ? Status() : Status(refuse(what, words, "printable characters but no quotes or '#'"));
}

// "/shop" and "/shop/" are the same place: with a slash at the end.
std::string as_directory(std::string_view path) {
  return path.ends_with('/') ? std::string(path) : std::string(path) + "/";
}

std::string common_directory(const std::string& a, const std::string& b) {
  std::size_t common = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size() && a[i] == b[i]; ++i) {
    if (a[i] == '/') {
      common = i + 1;
    }
  }
  return a.substr(0, common);
}

// The Path of a cookie, as browsers compare it, in a log-format string of HAProxy.
std::string cookie_path(std::string_view directory) {
  if (directory.size() > 1) {
    directory.remove_suffix(1);
  }
  std::string out;
  for (const char c : directory) {
    out += static_cast<u8>(c) >= 0x80 ? fmt::format("%%{:02X}", static_cast<u8>(c))
                                      : std::string(1, c);
  }
  return out;
}

struct Route {
  std::string host;       // lower case, empty = any
  std::string directory;  // with a slash at both ends
  std::string room;
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// In the order in which the rules try them: hosts before any host, longest path first.
Result<std::vector<Route>> routes_of(std::span<const cli::RoomSettings> rooms) {
  std::vector<Route> routes;
  std::map<std::pair<std::string, std::string>, std::string> taken;
  std::set<std::string> names;
  for (const cli::RoomSettings& room : rooms) {
    if (Status fine = check_name("room", room.name, kRoomKeyLength); !fine) {
      return fine.error();
    }
    if (!names.insert(room.name).second) {
      return Error{ErrorCode::kInvalid, fmt::format("room '{}' is there twice", room.name)};
    }
    std::vector<cli::RoomRoute> ways = room.additional_routes;
    ways.insert(ways.begin(), {room.host, room.path});
    for (const cli::RoomRoute& way : ways) {
      if (Status fine = check_host(fmt::format("room '{}': host", room.name), way.host); !fine) {
        return fine.error();
      }
      const std::string path = way.path.empty() ? "/" : way.path;
      if (Status fine = check_path(fmt::format("room '{}': path", room.name), path); !fine) {
        return fine.error();
      }
      Route route{lower(way.host), as_directory(path), room.name};
      const auto [other, is_new] = taken.try_emplace({route.host, route.directory}, room.name);
      if (!is_new && other->second != room.name) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("rooms '{}' and '{}' have the same host '{}' and path '{}'",
                                 other->second, room.name, route.host, path)};
      }
      if (is_new) {
        routes.push_back(std::move(route));
      }
    }
  }
  std::stable_sort(routes.begin(), routes.end(), [](const Route& a, const Route& b) {
    if (a.host != b.host) {
      return a.host > b.host;  // "" = any host: last
    }
    return a.directory.size() > b.directory.size();
  });
  return routes;
}

// A place to connect to, for one to listen at.
std::string reachable(std::string_view host) {
  if (host.empty() || host == "localhost" || host == "*" || host == "0.0.0.0") {
    return "127.0.0.1";
  }
  if (host == "::" || host == "[::]") {
    return "[::1]";
  }
  const bool bare_ipv6 = host.find(':') != std::string_view::npos && host.front() != '[';
  return bare_ipv6 ? fmt::format("[{}]", host) : std::string(host);
}

struct Peer {
  std::string us;       // our name in their peers section
  std::string address;  // where lineqd listens
  std::string local = "local";
};

Result<Peer> peer_of(const cli::Settings& settings) {
  Peer peer{settings.peer_name,
            cli::unix_path(settings.tcp_host)
                ? settings.tcp_host
                : fmt::format("{}:{}", reachable(settings.tcp_host), settings.tcp_port)};
  if (!settings.listeners.empty()) {
    const auto plain =
        std::find_if(settings.listeners.begin(), settings.listeners.end(),
                     [](const cli::ListenerSettings& listener) { return !listener.tls; });
    if (plain == settings.listeners.end()) {
      return Error{ErrorCode::kInvalid,
                   "every listener wants TLS, and which certificates HAProxy is to use is not "
                   "known here: add a listener without TLS, or generate with one and then write "
                   "'ssl crt FILE ca-file FILE verify required' behind its address"};
    }
    const cli::PeerAddress& at = plain->address;
    peer.us = plain->name;
    peer.address = at.kind == cli::PeerAddress::Kind::kTcp
                       ? fmt::format("{}:{}", reachable(at.host), at.port)
                       : at.text;
    if (!plain->allowed_peers.empty()) {
      peer.local = plain->allowed_peers.front();
    }
  }
  if (peer.us == peer.local) {
    peer.local += "-hap";
  }
  for (const auto& [what, name] :
       {std::pair("peer_name", peer.us), {"allowed_peers", peer.local}}) {
    if (Status fine = check_name(what, name, 255); !fine) {
      return fine.error();
    }
  }
  if (Status fine = check_words("address of lineqd", peer.address, " \"'\\#"); !fine) {
    return fine.error();
  }
  return peer;
}

u64 users_expire_seconds(std::span<const cli::RoomSettings> rooms) {
  u64 longest = 0;
  for (const cli::RoomSettings& room : rooms) {
    longest = std::max<u64>({longest, room.session_ms, room.grace()});
  }
  return std::min(longest / 1000 + 60, kLongestExpire);
}

// The text grows by whole lines.
class Lines {
 public:
  template <typename... Args>
  void add(fmt::format_string<Args...> line, Args&&... args) {
    text_ += fmt::format(line, std::forward<Args>(args)...);
    text_ += '\n';
  }
  void add_text(std::string_view text) { text_ += text; }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

void write_tables(Lines& out, const Peer& peer, const HaproxyChoices& choices, u64 expire) {
  out.add_text(
      "# The same file on every HAProxy: LineQ tells HAProxys of one name apart.\n"
      "global\n");
  out.add("    localpeer {}", peer.local);
  out.add_text(R"(
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s

peers lineq
    bind 127.0.0.1:10000
)");
  out.add("    server {}", peer.local);
  out.add("    server {} {}", peer.us, peer.address);
  out.add_text("\n# Rooms: gpc0 = places that HAProxy may give away by itself (0: lineqd does).\n");
  out.add("backend {}", choices.room_table);
  out.add("    stick-table type string len {} size 2k expire 1d peers lineq store gpc0",
          kRoomKeyLength);
  out.add_text("\n# Visitors: gpc1 = 1 may enter; gpt0 = 1 the site has ended the session.\n");
  out.add("backend {}", choices.users_table);
  out.add("    stick-table type string len {} size 1m expire {}s peers lineq store gpc1,gpt0",
          kUsersKeyLength, expire);
}

// Which room a request belongs to: txn.lineq_room.
void write_rooms(Lines& out, std::span<const Route> routes) {
  const bool paths = std::any_of(routes.begin(), routes.end(),
                                 [](const Route& route) { return route.directory != "/"; });
  const bool hosts = std::any_of(routes.begin(), routes.end(),
                                 [](const Route& route) { return !route.host.empty(); });
  out.add_text("\n    # The room of this request.\n");
  if (hosts) {
    out.add_text(
        "    http-request set-var(txn.lineq_host) req.hdr(host),host_only,lower,rtrim(.)\n");
  }
  if (paths) {
    out.add_text(
        "    # However a path is spelt, it is the same place; what no browser sends is refused.\n"
        "    http-request set-var(txn.lineq_path) "
        "path,url_dec,regsub(;[^/]*,,g),regsub(//+,/,g),concat(/)\n"
        "    http-request deny deny_status 400 if { path -m found } !{ var(txn.lineq_path) -m "
        "found }\n"
        "    http-request deny deny_status 400 if { var(txn.lineq_path) -m reg /[.][.]?/ }\n");
  }
  for (const Route& route : routes) {
    std::string conditions;
    if (routes.size() > 1) {
      conditions += " !{ var(txn.lineq_room) -m found }";
    }
    if (!route.host.empty()) {
      conditions += fmt::format(" {{ var(txn.lineq_host) -m str '{}' }}", route.host);
    }
    if (route.directory != "/") {
      conditions += fmt::format(" {{ var(txn.lineq_path) -m beg '{}' }}", route.directory);
    }
    out.add("    http-request set-var(txn.lineq_room) str({}){}{}", route.room,
            conditions.empty() ? "" : " if", conditions);
  }
}

// Who it is: txn.lineq_id, from the room's cookie or new; txn.lineq_key for the users table.
void write_visitor(Lines& out, std::span<const cli::RoomSettings> rooms) {
  out.add_text("\n    # The visitor: a session id from the room's cookie, or a new one.\n");
  for (const cli::RoomSettings& room : rooms) {
    out.add(
        "    http-request set-var(txn.lineq_id) req.cook({0}) if {{ var(txn.lineq_room) -m str {1} "
        "}} {{ req.cook({0}) -m reg ^[A-Za-z0-9-]{{1,{2}}}$ }}",
        cookie_name(room.name), room.name, kSessionIdLength);
  }
  out.add_text(
      "    acl lineq_room var(txn.lineq_room) -m found\n"
      "    acl lineq_known var(txn.lineq_id) -m found\n"
      "    acl lineq_new var(txn.lineq_new) -m bool\n"
      "    http-request set-var(txn.lineq_new) bool(true) if lineq_room !lineq_known\n"
      "    http-request set-var(txn.lineq_id) uuid() if lineq_new\n"
      "    http-request set-var-fmt(txn.lineq_key) "
      "\"%[var(txn.lineq_id)]@%[var(txn.lineq_room)]\" if lineq_room\n"
      "    http-request set-var-fmt(txn.lineq_secure) \"; Secure\" if lineq_new { ssl_fc }\n");
}

void write_cookies(Lines& out, std::span<const cli::RoomSettings> rooms,
                   std::span<const Route> routes) {
  // One cookie for all of a room's paths on one host.
  for (const cli::RoomSettings& room : rooms) {
    std::map<std::string, std::string> directories;  // by host
    for (const Route& route : routes) {
      if (route.room == room.name) {
        const auto [at, is_new] = directories.try_emplace(route.host, route.directory);
        if (!is_new) {
          at->second = common_directory(at->second, route.directory);
        }
      }
    }
    for (auto it = directories.rbegin(); it != directories.rend(); ++it) {
      const auto& [host, directory] = *it;
      std::string only_there;
      if (directories.size() > 1) {
        if (!host.empty()) {
          only_there = fmt::format(" {{ var(txn.lineq_host) -m str '{}' }}", host);
        } else {
          for (const auto& [named, unused] : directories) {
            if (!named.empty()) {
              only_there += fmt::format(" !{{ var(txn.lineq_host) -m str '{}' }}", named);
            }
          }
        }
      }
      out.add(
          "    http-after-response add-header Set-Cookie \"{}=%[var(txn.lineq_id)]; Path={}; "
          "HttpOnly; SameSite=Lax%[var(txn.lineq_secure)]\" if lineq_new {{ var(txn.lineq_room) -m "
          "str {} }}{}",
          cookie_name(room.name), cookie_path(directory), room.name, only_there);
    }
  }
}

void write_frontend(Lines& out, std::span<const cli::RoomSettings> rooms,
                    std::span<const Route> routes, const HaproxyChoices& choices) {
  out.add_text("\nfrontend www\n");
  out.add("    bind {}", choices.bind);
  out.add_text("    http-request del-header X-LineQ- -m beg    # ours, not a visitor's\n");
  write_rooms(out, routes);
  write_visitor(out, rooms);
  out.add("    http-request track-sc0 var(txn.lineq_room) table {} if lineq_room",
          choices.room_table);
  out.add("    http-request track-sc1 var(txn.lineq_key) table {} if lineq_room",
          choices.users_table);
  out.add_text("    acl lineq_inside sc_get_gpc1(1) gt 0\n");
  for (const cli::RoomSettings& room : rooms) {
    if (room.fast) {
      out.add(
          "    http-request sc-inc-gpc1(1) if {{ var(txn.lineq_room) -m str {} }} {{ "
          "sc_get_gpc0(0) gt 0 }} !lineq_inside",
          room.name);
    }
  }
  write_cookies(out, rooms, routes);
  out.add_text(
      "\n    # The site ends a session with the header LineQ-Command: revoke in its answer.\n"
      "    http-response sc-set-gpt0(1) 1 if lineq_room { res.hdr(LineQ-Command) -m str -i revoke "
      "}\n"
      "    http-response sc-set-gpt0(1) 1 if lineq_room { res.hdr(Cf-Waiting-Room-Command) -m str "
      "-i revoke }\n"
      "    http-response del-header LineQ-Command\n"
      "    http-response del-header Cf-Waiting-Room-Command\n"
      "\n");
  out.add("    use_backend lineq_wait if lineq_room !lineq_inside{}",
          choices.fail_open ? " { nbsrv(lineq_wait) gt 0 }" : "");
  out.add_text("    default_backend lineq_site\n");
}

Status write_backends(Lines& out, const cli::Settings& settings, const HaproxyChoices& choices) {
  const std::string web =
      cli::unix_path(settings.web_host)
          ? settings.web_host
          : fmt::format("{}:{}", reachable(settings.web_host), settings.web_port);
  if (Status fine = check_words("address of lineq-web", web, " \"'\\#"); !fine) {
    return fine;
  }
  out.add_text(
      choices.fail_open
          ? "\n# lineq-web: the page of those who wait. While it is down, newcomers pass.\n"
          : "\n# lineq-web: the page of those who wait. While it is down, newcomers get "
            "the 503 below.\n");
  out.add_text(
      "backend lineq_wait\n"
      "    option forwardfor\n"
      "    option httpchk GET /healthz\n"
      "    http-reuse always\n"
      "    retry-on conn-failure empty-response    # when one lineq-web goes, another takes over\n"
      "    http-request set-header X-LineQ-Key %[var(txn.lineq_key)]\n"
      "    http-error status 503 content-type \"text/html; charset=utf-8\" string \"<!doctype "
      "html><html lang=en><meta charset=utf-8><meta name=viewport "
      "content='width=device-width'><meta http-equiv=refresh content=10><title>One moment, "
      "please</title><p>One moment, please. This page tries again by itself.</html>\" hdr "
      "Retry-After 10 hdr Cache-Control no-store\n");
  out.add("    server lineq-web {} check inter 1s fall 2 rise 1", web);

  out.add_text("\n# The site.\nbackend lineq_site\n");
  for (std::size_t i = 0; i < choices.origins.size(); ++i) {
    if (Status fine = check_words("origin", choices.origins[i], "\"'\\#"); !fine) {
      return fine;
    }
    out.add("    server site{} {}{}", i + 1, choices.origins[i],
            choices.origins.size() > 1 ? " check" : "");
  }
  return {};
}

std::string sum_of(std::string_view text) {
  const shm::SipHash13 hash(0, 0);
  return fmt::format("{:016x}", hash({reinterpret_cast<const u8*>(text.data()), text.size()}));
}

std::optional<std::string> read_whole(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) {
    return std::nullopt;
  }
  constexpr std::size_t kMost = std::size_t{16} << 20U;
  std::string text;
  std::string part(65536, '\0');
  for (std::size_t got = 1; got != 0 && text.size() < kMost;) {
    got = std::fread(part.data(), 1, part.size(), file);
    text.append(part, 0, got);
  }
  std::fclose(file);
  return text;
}

Error file_error(const std::string& path, std::string_view what, int number) {
  return Error{ErrorCode::kSystem, fmt::format("{} {}: {}", what, path, std::strerror(number))};
}

}  // namespace

std::string cookie_name(std::string_view room) {
  return fmt::format("lineq_{}", room);
}

Result<std::string> haproxy_config(const cli::Settings& settings,
                                   std::span<const cli::RoomSettings> rooms,
                                   const HaproxyChoices& choices) {
  if (rooms.empty()) {
    return Error{ErrorCode::kNotFound,
                 "no waiting room is configured: service_mode vwr makes one, routes say which"};
  }
  for (const auto& [what, name] :
       {std::pair("room table", choices.room_table), {"users table", choices.users_table}}) {
    if (Status fine = check_name(what, name, 100); !fine) {
      return fine.error();
    }
    if (name == "lineq_wait" || name == "lineq_site") {
      return Error{ErrorCode::kInvalid,
                   fmt::format("{}: '{}' is the name of another section", what, name)};
    }
  }
  if (choices.room_table == choices.users_table) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("room table and users table are both '{}'", choices.room_table)};
  }
  if (Status fine = check_words("bind", choices.bind, "\"'\\#"); !fine) {
    return fine.error();
  }
  if (choices.origins.empty()) {
    return Error{ErrorCode::kInvalid, "the site has no server"};
  }
  Result<std::vector<Route>> routes = routes_of(rooms);
  if (!routes) {
    return routes.error();
  }
  const Result<Peer> peer = peer_of(settings);
  if (!peer) {
    return peer.error();
  }
  Lines out;
  write_tables(out, *peer, choices, users_expire_seconds(rooms));
  write_frontend(out, rooms, *routes, choices);
  if (Status fine = write_backends(out, settings, choices); !fine) {
    return fine.error();
  }
  const std::string text = out.take();
  return fmt::format("{}{}\n{}", kMark, sum_of(text), text);
}

bool is_unchanged_haproxy_config(std::string_view text) {
  const std::size_t first_line = kMark.size() + kSumDigits;
  return text.starts_with(kMark) && text.size() > first_line && text[first_line] == '\n' &&
         text.substr(kMark.size(), kSumDigits) == sum_of(text.substr(first_line + 1));
}

Status write_haproxy_config(const std::string& path, std::string_view text, bool force) {
  struct stat there {};
  if (!force && ::lstat(path.c_str(), &there) == 0) {
    const std::optional<std::string> old = S_ISREG(there.st_mode) ? read_whole(path) : std::nullopt;
    if (!old || !is_unchanged_haproxy_config(*old)) {
      return Error{ErrorCode::kInvalid,
                   fmt::format("{} is there and not as lineqd -c wrote it: left alone; --force "
                               "replaces it, --stdout only prints",
                               path)};
    }
  }
  const std::string beside = fmt::format("{}.{}", path, ::getpid());
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) {
    return file_error(beside, "cannot create", errno);
  }
  int failed = 0;
  for (std::size_t at = 0; at < text.size() && failed == 0;) {
    const ssize_t written = ::write(file, text.data() + at, text.size() - at);
    if (written < 0) {
      failed = errno;
    } else {
      at += static_cast<std::size_t>(written);
    }
  }
  if (::close(file) != 0 && failed == 0) {
    failed = errno;
  }
  if (failed == 0 && ::rename(beside.c_str(), path.c_str()) != 0) {
    failed = errno;
  }
  if (failed != 0) {
    ::unlink(beside.c_str());
    return file_error(path, "cannot write", failed);
  }
  return {};
}

}  // namespace lineq::daemon
