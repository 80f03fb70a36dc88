#include "webui/pages/visitor_key.h"

#include <algorithm>

#include "shm/visitor.h"
#include "tools/cli/room_settings.h"
#include "webui/http/router.h"
#include "webui/pages/accept.h"

namespace lineq::pages {
namespace {

constexpr std::size_t kLongestSession = 256;

std::string_view without_port(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  return colon == std::string_view::npos || host.ends_with(']') ? host : host.substr(0, colon);
}

bool leads_to(const shm::RoomSettings& room, std::string_view host, std::string_view path) {
  if (!room.host.empty() && !same_word(room.host, host)) {
    return false;
  }
  std::string_view folder = room.path;
  if (folder.ends_with('/')) {
    folder.remove_suffix(1);
  }
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// A room with a host before one for any; then the longest path.
const shm::RoomInfo* routed(const shm::Reader& reader, std::string_view host,
                            std::string_view path) {
  const shm::RoomInfo* best = nullptr;
  const auto better = [&](const shm::RoomSettings& a, const shm::RoomSettings& b) {
    return a.host.empty() != b.host.empty() ? b.host.empty() : a.path.size() > b.path.size();
  };
  for (const shm::RoomInfo& room : reader.rooms()) {
    if (leads_to(room.settings, without_port(host), path) &&
        (best == nullptr || better(room.settings, best->settings))) {
      best = &room;
    }
  }
  return best;
}

const shm::RoomInfo* only_room(const shm::Reader& reader) {
  return reader.rooms().size() == 1 ? reader.rooms().data() : nullptr;
}

std::vector<std::string> keys_of(std::string_view session, std::string_view host,
                                 std::string_view path, const shm::Reader* reader) {
  std::vector<std::string> keys;
  if (session.empty()) {
    return keys;
  }
  const auto add = [&](std::string_view room) {
    std::string key(session.substr(0, kLongestSession));
    if (!room.empty()) {
      key.append("@").append(room.substr(0, kLongestKey - kLongestSession - 1));
    }
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      keys.push_back(std::move(key));
    }
  };
  const std::string_view bare = without_port(host);
  if (reader != nullptr) {
    if (const shm::RoomInfo* room = routed(*reader, host, path); room != nullptr) {
      add(room->settings.name);
    }
  }
  add(cli::room_name_of(bare, path));
  add(cli::room_name_of(bare, "/"));
  add(cli::room_name_of(host, "/"));
  if (reader != nullptr) {
    if (const shm::RoomInfo* room = only_room(*reader); room != nullptr) {
      add(room->settings.name);
      add({});
    }
  }
  return keys;
}

}  // namespace

std::string_view cookie(const http::Request& request, std::string_view name) {
  for (const http::Field& field : request.fields) {
    if (!same_word(field.name, "Cookie")) {
      continue;
    }
    std::string_view rest = field.value;
    while (!rest.empty()) {
      std::string_view pair = rest.substr(0, rest.find(';'));
      rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
      pair.remove_prefix(std::min(pair.find_first_not_of(" \t"), pair.size()));
      const std::size_t equal = pair.find('=');
      if (equal != std::string_view::npos && pair.substr(0, equal) == name) {
        std::string_view value = pair.substr(equal + 1);
        while (value.ends_with(' ') || value.ends_with('\t')) {
          value.remove_suffix(1);
        }
        return value;
      }
    }
  }
  return {};
}

std::vector<std::string> users_keys(const http::Request& request, const shm::Reader* reader) {
  if (const auto key = request.field("X-LineQ-Key"); key && !key->empty()) {
    return {std::string(key->substr(0, kLongestKey))};
  }
  return keys_of(cookie(request, "sessionid"), request.field("Host").value_or(""), request.path,
                 reader);
}

std::vector<std::string> original_users_keys(const http::Request& request,
                                             const shm::Reader* reader) {
  if (const auto key = request.field("X-LineQ-Key"); key && !key->empty()) {
    return {std::string(key->substr(0, kLongestKey))};
  }
  std::string info;
  std::string host(request.field("Host").value_or(""));
  std::string path = "/";
  for (auto& [name, value] : http::query_pairs(request.query)) {
    if (value.empty()) {
      continue;
    }
    if (name == "info") {
      info = std::move(value);
    } else if (name == "host") {
      host = std::move(value);
    } else if (name == "path") {
      path = std::move(value);
    }
  }
  const std::string_view session = cookie(request, "sessionid");
  std::vector<std::string> keys =
      keys_of(session.empty() ? std::string_view(info) : session, host, path, reader);
  if (session.empty() && info.find('@') != std::string::npos) {
    keys.insert(keys.begin(), info.substr(0, kLongestKey));  // a whole key
  }
  return keys;
}

const shm::RoomInfo* room_for(const http::Request& request, const std::vector<std::string>& keys,
                              const shm::Reader& reader) {
  for (const std::string& key : keys) {
    const std::string_view name = shm::split_users_key(key).room;
    if (const shm::RoomInfo* room = name.empty() ? nullptr : reader.find_room(name);
        room != nullptr) {
      return room;
    }
  }
  if (const shm::RoomInfo* room = routed(reader, request.field("Host").value_or(""), request.path);
      room != nullptr) {
    return room;
  }
  return only_room(reader);
}

}  // namespace lineq::pages
