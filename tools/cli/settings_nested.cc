#include "tools/cli/settings_nested.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/core.h>

#include "tools/cli/text.h"

namespace lineq::cli {
namespace {

constexpr std::size_t kLongestName = 95;  // what the segment's directory keeps of it
constexpr std::size_t kMostEntries = 1024;
constexpr std::string_view kName = "1 to 95 printable characters without blanks";
constexpr std::string_view kFile = "the path of a PEM file";

bool clean(std::string_view text, std::size_t longest) {
  return !text.empty() && text.size() <= longest &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) != 0x7f;
         });
}

// Turns nodes into values, and what is wrong with them into sentences.
class NodeReader {
 public:
  NodeReader(const std::function<std::string(std::size_t)>& where, Settings& settings)
      : where_(where), settings_(settings) {}

  using Handler = std::function<Status(const Node&, const std::string& path)>;
  struct Field {
    std::string_view key;
    Handler read;
  };

  Error wrong(const Node& node, const std::string& path, std::string_view allowed) const {
    constexpr std::size_t kShown = 100;
    const std::string_view text = node.kind == Node::Kind::kArray    ? "[...]"
                                  : node.kind == Node::Kind::kObject ? "{...}"
                                                                     : std::string_view(node.text);
    return {
        ErrorCode::kInvalid,
        fmt::format("{}: {}: '{}{}' is not allowed; allowed: {}", where_(node.offset), path,
                    escaped(text.substr(0, kShown)), text.size() > kShown ? "..." : "", allowed)};
  }
  Error missing(const Node& node, const std::string& path, std::string_view key,
                std::string_view why) const {
    return {ErrorCode::kInvalid,
            fmt::format("{}: {}.{}: is missing; {}", where_(node.offset), path, key, why)};
  }
  Error twice(const Node& node, const std::string& path, std::string_view what) const {
    return {ErrorCode::kInvalid,
            fmt::format("{}: {}: '{}' is given twice", where_(node.offset), path, escaped(what))};
  }

  std::string at(const Node& node) const { return where_(node.offset); }
  // What somebody else says about a field of `path`.
  Error in(const Node& node, const std::string& path, std::string_view what) const {
    return {ErrorCode::kInvalid, fmt::format("{}: {}.{}", at(node), path, what)};
  }
  void warn(const Node& node, const std::string& path, std::string_view what) const {
    settings_.warnings.push_back(fmt::format("{}: {}.{}", at(node), path, what));
  }

  Status object(const Node& node, const std::string& path, std::initializer_list<Field> fields,
                std::string_view allowed) {
    if (node.kind != Node::Kind::kObject) {
      return wrong(node, path, allowed);
    }
    std::vector<const Field*> seen;
    for (const Node& member : node.children) {
      const auto* field = std::find_if(fields.begin(), fields.end(), [&](const Field& f) {
        return equal_ignoring_case(f.key, member.key);
      });
      if (field == fields.end()) {
        std::vector<std::string_view> keys;
        std::transform(fields.begin(), fields.end(), std::back_inserter(keys),
                       [](const Field& f) { return f.key; });
        settings_.warnings.push_back(fmt::format(
            "{}: {}.{}: unknown key, ignored{}", where_(member.offset), path,
            escaped(std::string_view(member.key).substr(0, 100)), suggestion(member.key, keys)));
        continue;
      }
      const std::string inner = fmt::format("{}.{}", path, field->key);
      if (std::find(seen.begin(), seen.end(), field) != seen.end()) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("{}: {}: given twice", where_(member.offset), inner)};
      }
      seen.push_back(field);
      if (Status s = field->read(member, inner); !s) {
        return s;
      }
    }
    return {};
  }

  Status list(const Node& node, const std::string& path, std::string_view allowed,
              const Handler& read) const {
    if (node.kind != Node::Kind::kArray) {
      return wrong(node, path, allowed);
    }
    if (node.children.size() > kMostEntries) {
      return wrong(node, path, fmt::format("{}, at most {}", allowed, kMostEntries));
    }
    std::size_t i = 0;
    for (const Node& child : node.children) {
      if (Status s = read(child, fmt::format("{}[{}]", path, i++)); !s) {
        return s;
      }
    }
    return {};
  }

  // A scalar that `take` accepts.
  Handler scalar(std::string_view allowed, std::function<bool(std::string_view)> take) const {
    return [this, allowed, take = std::move(take)](const Node& node, const std::string& path) {
      return node.kind == Node::Kind::kScalar && take(node.text)
                 ? Status()
                 : Status(wrong(node, path, allowed));
    };
  }
  Handler name(std::string& out) const {
    return scalar(kName, [&out](std::string_view text) {
      out = text;
      return clean(text, kLongestName);
    });
  }
  Handler file(std::string& out) const {
    return scalar(kFile, [&out](std::string_view text) {
      out = text;
      return !text.empty() && text.size() < 4096 && text.find('\0') == std::string_view::npos;
    });
  }
  Handler address(PeerAddress& out, bool to_dial) const {
    const std::string_view allowed =
        to_dial ? "HOST:PORT, [IPV6]:PORT, unix@/PATH, abns@NAME or abnsz@NAME"
                : "HOST:PORT, *:PORT, [IPV6]:PORT, unix@/PATH, abns@NAME or abnsz@NAME";
    return scalar(allowed, [&out, to_dial](std::string_view text) {
      const auto parsed = PeerAddress::parse(text);
      if (!parsed || (to_dial && parsed->host == "*")) {
        return false;
      }
      out = *parsed;
      return true;
    });
  }
  Handler names(std::vector<std::string>& out, std::string_view allowed) const {
    return [this, &out, allowed](const Node& node, const std::string& path) {
      return list(node, path, fmt::format("a list of {}", allowed),
                  scalar(allowed, [&out](std::string_view text) {
                    out.emplace_back(text);
                    return clean(text, 255);
                  }));
    };
  }

 private:
  const std::function<std::string(std::size_t)>& where_;
  Settings& settings_;
};

const Node* member(const Node& node, std::string_view key) {
  const auto found = std::find_if(node.children.begin(), node.children.end(),
                                  [&](const Node& n) { return equal_ignoring_case(n.key, key); });
  return found == node.children.end() ? nullptr : &*found;
}

// ---- tls ---------------------------------------------------------------------------------------

using Verify = TlsSettings::Verify;

constexpr std::array<std::pair<std::string_view, Verify>, 3> kVerify{
    {{"required", Verify::kRequired}, {"optional", Verify::kOptional}, {"none", Verify::kNone}}};

template <typename T, std::size_t N>
bool one_of(const std::array<std::pair<std::string_view, T>, N>& words, std::string_view text,
            T& out) {
  const auto* found =
      std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.first == text; });
  if (found == words.end()) {
    return false;
  }
  out = found->second;
  return true;
}

template <typename T, std::size_t N>
std::string_view word_of(const std::array<std::pair<std::string_view, T>, N>& words, T value) {
  const auto* found =
      std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.second == value; });
  return found == words.end() ? "" : found->first;
}

Status read_listener_tls(NodeReader& reader, const Node& node, const std::string& path,
                         TlsSettings& tls) {
  Status s = reader.object(
      node, path,
      {{"certificate", reader.file(tls.certificate)},
       {"key", reader.file(tls.key)},
       {"ca", reader.file(tls.ca)},
       {"verify",
        reader.scalar("required, optional or none",
                      [&](std::string_view t) { return one_of(kVerify, t, tls.verify); })},
       {"allowed_names", reader.names(tls.allowed_names, "names in certificates")}},
      R"({"certificate": FILE, "key": FILE, "ca": FILE, "verify": WORD, "allowed_names": [...]})");
  if (!s) {
    return s;
  }
  if (tls.certificate.empty()) {
    return reader.missing(node, path, "certificate", "a TLS listener needs one");
  }
  const Node* verify = member(node, "verify");
  if (verify == nullptr) {
    tls.verify = tls.ca.empty() ? Verify::kNone : Verify::kRequired;
  } else if (tls.verify != Verify::kNone && tls.ca.empty()) {
    return reader.missing(node, path, "ca", "'verify' needs one");
  }
  if (!tls.allowed_names.empty() && tls.verify != Verify::kRequired) {
    return reader.wrong(*member(node, "allowed_names"), path + ".allowed_names",
                        R"(names together with a 'ca' and 'verify' "required")");
  }
  return {};
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): it loses sight of std::function
}

Status read_dial_tls(NodeReader& reader, const Node& node, const std::string& path,
                     const PeerAddress& address, TlsSettings& tls) {
  tls.verify = Verify::kRequired;
  Status s = reader.object(
      node, path,
      {{"certificate", reader.file(tls.certificate)},
       {"key", reader.file(tls.key)},
       {"ca", reader.file(tls.ca)},
       {"verify", reader.scalar("required or none",
                                [&](std::string_view t) {
                                  return one_of(kVerify, t, tls.verify) &&
                                         tls.verify != Verify::kOptional;
                                })},
       {"server_name", reader.name(tls.server_name)}},
      R"({"ca": FILE, "certificate": FILE, "key": FILE, "verify": WORD, "server_name": NAME})");
  if (!s) {
    return s;
  }
  if (tls.verify == Verify::kRequired && tls.ca.empty()) {
    return reader.missing(node, path, "ca", R"(or "verify": "none")");
  }
  if (!tls.key.empty() && tls.certificate.empty()) {
    return reader.missing(node, path, "certificate", "the key is of no use alone");
  }
  if (tls.verify == Verify::kRequired && tls.server_name.empty() &&
      address.kind != PeerAddress::Kind::kTcp) {
    return reader.missing(node, path, "server_name",
                          "the address has no host name to check the certificate against");
  }
  return {};
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): it loses sight of std::function
}

void show_text(JsonWriter& json, std::string_view key, std::string_view text) {
  if (!text.empty()) {
    json.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
    json.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  }
}

template <typename List, typename Text>
void show_list(JsonWriter& json, std::string_view key, const List& list, Text text) {
  if (list.empty()) {
    return;
  }
  json.Key(key.data(), static_cast<rapidjson::SizeType>(key.size()));
  json.StartArray();
  for (const auto& each : list) {
    const std::string_view shown = text(each);
    json.String(shown.data(), static_cast<rapidjson::SizeType>(shown.size()));
  }
  json.EndArray();
}

std::string_view itself(const std::string& text) {
  return text;
}

void show_tls(JsonWriter& json, const std::optional<TlsSettings>& tls) {
  if (!tls) {
    return;
  }
  json.Key("tls");
  json.StartObject();
  show_text(json, "certificate", tls->certificate);
  show_text(json, "key", tls->key);
  show_text(json, "ca", tls->ca);
  show_text(json, "verify", word_of(kVerify, tls->verify));
  show_list(json, "allowed_names", tls->allowed_names, itself);
  show_text(json, "server_name", tls->server_name);
  json.EndObject();
}

// ---- listeners ---------------------------------------------------------------------------------

constexpr std::string_view kListener =
    R"({"address": "10.0.0.5:11111", "name": NAME, "tls": {...}, "allowed_addresses": [...], )"
    R"("allowed_peers": [...]})";
constexpr std::string_view kListeners = R"(a list with at least one {"address": ...})";
constexpr std::string_view kRange = "10.0.0.0/8, 10.0.0.7, 2001:db8::/32, ::1, unix";

Status read_listener(NodeReader& reader, const Node& node, const std::string& path,
                     Settings& settings) {
  ListenerSettings listener;
  const auto tls = [&](const Node& n, const std::string& p) {
    return read_listener_tls(reader, n, p, listener.tls.emplace());
  };
  const auto ranges = [&](const Node& n, const std::string& p) {
    return reader.list(n, p, fmt::format("a list of addresses and networks: {}", kRange),
                       reader.scalar(kRange, [&](std::string_view text) {
                         const auto range = AddressRange::parse(text);
                         if (range) {
                           listener.allowed_addresses.push_back(*range);
                         }
                         return range.has_value();
                       }));
  };
  if (Status s = reader.object(
          node, path,
          {{"address", reader.address(listener.address, false)},
           {"name", reader.name(listener.name)},
           {"tls", tls},
           {"allowed_addresses", ranges},
           {"allowed_peers", reader.names(listener.allowed_peers, "names of HAProxys")}},
          kListener);
      !s) {
    return s;
  }
  if (listener.address.text.empty()) {
    return reader.missing(node, path, "address", "where to listen");
  }
  for (const ListenerSettings& other : settings.listeners) {
    if (other.address.text == listener.address.text) {
      return reader.twice(node, path + ".address", other.address.text);
    }
  }
  settings.listeners.push_back(std::move(listener));
  return {};
}

Status read_listeners(const Node& node, const std::function<std::string(std::size_t)>& where,
                      Settings& settings) {
  NodeReader reader(where, settings);
  settings.listeners_given = true;
  if (Status s = reader.list(node, "listeners", kListeners,
                             [&](const Node& child, const std::string& path) {
                               return read_listener(reader, child, path, settings);
                             });
      !s) {
    return s;
  }
  return settings.listeners.empty() ? Status(reader.wrong(node, "listeners", kListeners))
                                    : Status();
}

void show_listeners(const Settings& settings, JsonWriter& json) {
  if (!settings.listeners_given) {
    return;
  }
  json.Key("listeners");
  json.StartArray();
  for (const ListenerSettings& listener : settings.listeners) {
    json.StartObject();
    show_text(json, "address", listener.address.text);
    show_text(json, "name", listener.name);
    show_tls(json, listener.tls);
    show_list(json, "allowed_addresses", listener.allowed_addresses,
              [](const AddressRange& range) -> std::string_view { return range.text(); });
    show_list(json, "allowed_peers", listener.allowed_peers, itself);
    json.EndObject();
  }
  json.EndArray();
}

// ---- peers -------------------------------------------------------------------------------------

constexpr std::string_view kPeer =
    R"({"name": NAME, "address": "10.0.0.7:10000", "own_name": NAME, "tls": {...}})";

Status read_peer(NodeReader& reader, const Node& node, const std::string& path,
                 Settings& settings) {
  DialSettings peer;
  const Node* tls = nullptr;
  const auto keep = [&](const Node& n, const std::string&) {
    tls = &n;  // read when the address is known
    return Status();
  };
  if (Status s = reader.object(node, path,
                               {{"name", reader.name(peer.name)},
                                {"address", reader.address(peer.address, true)},
                                {"own_name", reader.name(peer.own_name)},
                                {"tls", keep}},
                               kPeer);
      !s) {
    return s;
  }
  if (peer.name.empty()) {
    return reader.missing(node, path, "name", "how the HAProxy calls itself");
  }
  if (peer.address.text.empty()) {
    return reader.missing(node, path, "address", "where the HAProxy listens for peers");
  }
  if (tls != nullptr) {
    if (Status s = read_dial_tls(reader, *tls, path + ".tls", peer.address, peer.tls.emplace());
        !s) {
      return s;
    }
  }
  for (const DialSettings& other : settings.peers) {
    if (other.name == peer.name && other.own_name == peer.own_name) {
      return reader.twice(node, path + ".name", peer.name);
    }
  }
  settings.peers.push_back(std::move(peer));
  return {};
}

Status read_peers(const Node& node, const std::function<std::string(std::size_t)>& where,
                  Settings& settings) {
  NodeReader reader(where, settings);
  return reader.list(node, "peers", "a list of HAProxys to dial",
                     [&](const Node& child, const std::string& path) {
                       return read_peer(reader, child, path, settings);
                     });
}

void show_peers(const Settings& settings, JsonWriter& json) {
  if (settings.peers.empty()) {
    return;
  }
  json.Key("peers");
  json.StartArray();
  for (const DialSettings& peer : settings.peers) {
    json.StartObject();
    show_text(json, "name", peer.name);
    show_text(json, "address", peer.address.text);
    show_text(json, "own_name", peer.own_name);
    show_tls(json, peer.tls);
    json.EndObject();
  }
  json.EndArray();
}

// ---- aggregate ---------------------------------------------------------------------------------

using Policy = AggregateRule::Policy;

constexpr std::array<std::pair<std::string_view, Policy>, 3> kPolicies{
    {{"latest", Policy::kLatest}, {"max", Policy::kMax}, {"or", Policy::kOr}}};
constexpr std::string_view kRule = R"({"from": TABLE, "to": TABLE, "policy": WORD})";
constexpr std::string_view kAny = "any";
constexpr std::string_view kTable = "the name of a table, without blanks";

Status read_rule(NodeReader& reader, const Node& node, const std::string& path,
                 Settings& settings) {
  AggregateRule rule;
  const auto table = [&](std::string& out) {
    return reader.scalar(kTable, [&out](std::string_view text) {
      out = text;
      return clean(text, 255);
    });
  };
  if (Status s = reader.object(node, path,
                               {{"from", table(rule.from)},
                                {"to", table(rule.to)},
                                {"policy", reader.scalar("latest, max or or",
                                                         [&](std::string_view t) {
                                                           return one_of(kPolicies, t, rule.policy);
                                                         })}},
                               kRule);
      !s) {
    return s;
  }
  if (rule.from.empty()) {
    return reader.missing(node, path, "from", R"(the table to add up, or "any")");
  }
  if (rule.from == kAny && !rule.to.empty() && (rule.to.front() != '.' || rule.to.size() < 2)) {
    return reader.wrong(*member(node, "to"), path + ".to",
                        R"(for "from": "any" a suffix that begins with '.': ".aggr")");
  }
  if (rule.from == rule.to) {
    return reader.wrong(*member(node, "to"), path + ".to", "another table than the one added up");
  }
  for (const AggregateRule& other : settings.aggregate) {
    if (other.from == rule.from) {
      return reader.twice(node, path + ".from", rule.from);
    }
  }
  settings.aggregate.push_back(std::move(rule));
  return {};
}

Status read_aggregate(const Node& node, const std::function<std::string(std::size_t)>& where,
                      Settings& settings) {
  NodeReader reader(where, settings);
  return reader.list(node, "aggregate", R"(a list of {"from": TABLE, "to": TABLE})",
                     [&](const Node& child, const std::string& path) {
                       return read_rule(reader, child, path, settings);
                     });
}

void show_aggregate(const Settings& settings, JsonWriter& json) {
  if (settings.aggregate.empty()) {
    return;
  }
  json.Key("aggregate");
  json.StartArray();
  for (const AggregateRule& rule : settings.aggregate) {
    json.StartObject();
    show_text(json, "from", rule.from);
    show_text(json, "to", rule.to);
    show_text(json, "policy", word_of(kPolicies, rule.policy));
    json.EndObject();
  }
  json.EndArray();
}

// ---- rooms -------------------------------------------------------------------------------------

constexpr std::string_view kRoutes =
    R"(a list of rooms: [{"name": "shop", "host": "shop.example", "total_active_users": 100}])";
constexpr std::string_view kRoom = R"({"name": NAME, "host": HOST, "total_active_users": N, ...})";

Status read_room_routes(const NodeReader& reader, const Node& node, const std::string& path,
                        RoomSettings& room) {
  if (node.children.size() > kMostRoutes) {
    return reader.wrong(node, path, fmt::format("a list of at most {} routes", kMostRoutes));
  }
  return reader.list(node, path, R"(a list of {"host": HOST, "path": PATH})",
                     [&](const Node& child, const std::string& at) {
                       if (child.kind != Node::Kind::kObject) {
                         return Status(reader.wrong(child, at, R"({"host": HOST, "path": PATH})"));
                       }
                       RoomSettings route;
                       for (const Node& field : child.children) {
                         const bool known = equal_ignoring_case(field.key, "host") ||
                                            equal_ignoring_case(field.key, "path");
                         if (!known || field.kind != Node::Kind::kScalar) {
                           return Status(reader.wrong(field, at + "." + escaped(field.key),
                                                      R"({"host": HOST, "path": PATH})"));
                         }
                         if (Status s = set_room_field(field.key, field.text, route); !s) {
                           return Status(reader.in(field, at, s.error().what));
                         }
                       }
                       room.additional_routes.push_back({route.host, route.path});
                       return Status();
                     });
}

Status read_room_node(NodeReader& reader, const Node& node, const std::string& path,
                      Settings& settings) {
  if (node.kind != Node::Kind::kObject) {
    return reader.wrong(node, path, kRoom);
  }
  RoomSettings room;
  room.name = node.key;  // where `routes` is an object, as the original has it
  room.capacity = 0;     // not given: filled in by complete_nested()
  room.session_ms = 0;
  if (!room.name.empty()) {
    if (Status s = set_room_field("name", node.key, room); !s) {
      return reader.in(node, path, s.error().what);
    }
  }
  std::vector<std::string> seen;
  for (const Node& field : node.children) {
    const auto same = [&](const std::string& key) { return equal_ignoring_case(key, field.key); };
    if (std::any_of(seen.begin(), seen.end(), same)) {
      return Error{ErrorCode::kInvalid, fmt::format("{}: {}.{}: given twice", reader.at(field),
                                                    path, escaped(field.key))};
    }
    seen.push_back(field.key);
    if (equal_ignoring_case(field.key, "additional_routes")) {
      if (Status s = read_room_routes(reader, field, path + ".additional_routes", room); !s) {
        return s;
      }
      continue;
    }
    const std::string_view text = field.kind == Node::Kind::kScalar  ? std::string_view(field.text)
                                  : field.kind == Node::Kind::kArray ? "[...]"
                                                                     : "{...}";
    const Status s = set_room_field(field.key, text, room);
    if (!s && s.error().code == ErrorCode::kNotFound) {
      reader.warn(field, path, s.error().what + "; ignored");
    } else if (!s) {
      return reader.in(field, path, s.error().what);
    }
  }
  if (room.name.empty()) {
    // What HAProxy's rules make of host and path.
    if (Status s = set_room_field("name", room_name_of(room.host, room.path), room);
        !s || room.host.empty()) {
      return reader.missing(node, path, "name", "or a host and a path to make it of");
    }
  }
  if (Status s = check_room(room); !s) {
    return reader.in(node, path, s.error().what);
  }
  for (const RoomSettings& other : settings.rooms) {
    if (other.name == room.name) {
      return reader.twice(node, path + ".name", room.name);
    }
  }
  settings.rooms.push_back(std::move(room));
  return {};
}

Status read_rooms(const Node& node, const std::function<std::string(std::size_t)>& where,
                  Settings& settings) {
  NodeReader reader(where, settings);
  settings.rooms_given = true;
  if (node.kind == Node::Kind::kObject && node.children.size() <= kMostEntries) {
    for (const Node& child : node.children) {
      if (Status s = read_room_node(reader, child, "routes." + escaped(child.key), settings); !s) {
        return s;
      }
    }
    return {};
  }
  return reader.list(node, "routes", kRoutes, [&](const Node& child, const std::string& path) {
    return read_room_node(reader, child, path, settings);
  });
}

void show_rooms(const Settings& settings, JsonWriter& json) {
  if (!settings.rooms_given) {
    return;
  }
  json.Key("routes");
  json.StartArray();
  for (const RoomSettings& room : settings.rooms) {
    const std::string text = room_json(room);
    json.RawValue(text.data(), text.size(), rapidjson::kObjectType);
  }
  json.EndArray();
}

// ---- control_access ----------------------------------------------------------------------------

constexpr std::string_view kAccess =
    R"({"who": "lineq-web" or "@group", "commands": ["all", "ask", or names of commands]})";
constexpr auto kCommands = std::to_array<std::string_view>(
    {"all", "ask", "info", "rooms", "room", "put_room", "change_room", "remove_room", "admit",
     "revoke", "present", "tables", "peers", "set_entry", "clear_table", "log_level", "shutdown"});

void find_id(ControlAccess& access) {
  std::string_view name = access.who;
  access.group = name.starts_with('@');
  if (access.group) {
    name.remove_prefix(1);
  }
  u32 id = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
  if (error == std::errc() && end == name.data() + name.size()) {
    access.id = id;
  } else if (access.group) {
    const group* found = ::getgrnam(std::string(name).c_str());
    access.id = found == nullptr ? std::nullopt : std::optional<u32>(found->gr_gid);
  } else {
    const passwd* found = ::getpwnam(std::string(name).c_str());
    access.id = found == nullptr ? std::nullopt : std::optional<u32>(found->pw_uid);
  }
}

Status read_access(NodeReader& reader, const Node& node, const std::string& path,
                   Settings& settings) {
  ControlAccess access;
  const auto commands = [&](const Node& n, const std::string& p) {
    return reader.list(n, p, kAccess,
                       reader.scalar("all, ask or the name of a command", [&](std::string_view t) {
                         access.commands.emplace_back(t);
                         return std::find(kCommands.begin(), kCommands.end(), t) != kCommands.end();
                       }));
  };
  if (Status s = reader.object(node, path,
                               {{"who", reader.name(access.who)}, {"commands", commands}}, kAccess);
      !s) {
    return s;
  }
  if (access.who.empty()) {
    return reader.missing(node, path, "who", "a user, or @ and a group");
  }
  find_id(access);
  if (!access.id) {
    reader.warn(node, path + ".who", fmt::format("'{}' is nobody here", escaped(access.who)));
  }
  settings.control_access.push_back(std::move(access));
  return {};
  // NOLINTNEXTLINE(clang-analyzer-cplusplus.NewDeleteLeaks): it loses sight of std::function
}

Status read_control_access(const Node& node, const std::function<std::string(std::size_t)>& where,
                           Settings& settings) {
  NodeReader reader(where, settings);
  return reader.list(node, "control_access", kAccess,
                     [&](const Node& child, const std::string& path) {
                       return read_access(reader, child, path, settings);
                     });
}

void show_control_access(const Settings& settings, JsonWriter& json) {
  if (settings.control_access.empty()) {
    return;
  }
  json.Key("control_access");
  json.StartArray();
  for (const ControlAccess& access : settings.control_access) {
    json.StartObject();
    show_text(json, "who", access.who);
    show_list(json, "commands", access.commands, itself);
    json.EndObject();
  }
  json.EndArray();
}

// ---- metrics -----------------------------------------------------------------------------------

constexpr std::string_view kMetricsTable = R"({"table": TABLE, "limit": 100, "data": ["gpc0"]})";
constexpr std::size_t kMostMetricsTables = 16;
constexpr u32 kMostMetricsKeys = 1000;
constexpr std::size_t kMostMetricsData = 32;

Status read_metrics_table(NodeReader& reader, const Node& node, const std::string& path,
                          Settings& settings) {
  MetricsTable wanted;
  const auto limit = [&](std::string_view text) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted.limit);
    return error == std::errc() && end == text.data() + text.size() && wanted.limit >= 1 &&
           wanted.limit <= kMostMetricsKeys;
  };
  if (Status s = reader.object(node, path,
                               {{"table", reader.scalar(kTable,
                                                        [&](std::string_view text) {
                                                          wanted.table = text;
                                                          return clean(text, 255);
                                                        })},
                                {"limit", reader.scalar("1 to 1000 entries", limit)},
                                {"data", reader.names(wanted.data, "data types")}},
                               kMetricsTable);
      !s) {
    return s;
  }
  if (wanted.table.empty()) {
    return reader.missing(node, path, "table", "the table whose entries /metrics shows");
  }
  if (wanted.data.size() > kMostMetricsData) {
    return reader.wrong(*member(node, "data"), path + ".data", "at most 32 data types");
  }
  for (const MetricsTable& other : settings.metrics_tables) {
    if (other.table == wanted.table) {
      return reader.twice(node, path + ".table", wanted.table);
    }
  }
  settings.metrics_tables.push_back(std::move(wanted));
  return {};
}

Status read_metrics_tables(const Node& node, const std::function<std::string(std::size_t)>& where,
                           Settings& settings) {
  NodeReader reader(where, settings);
  if (node.children.size() > kMostMetricsTables) {
    return reader.wrong(node, std::string(kMetricsTablesKey), "a list of at most 16 tables");
  }
  return reader.list(node, std::string(kMetricsTablesKey), R"(a list of {"table": TABLE})",
                     [&](const Node& child, const std::string& path) {
                       return read_metrics_table(reader, child, path, settings);
                     });
}

void show_metrics_tables(const Settings& settings, JsonWriter& json) {
  if (settings.metrics_tables.empty()) {
    return;
  }
  json.Key("metrics_tables");
  json.StartArray();
  for (const MetricsTable& wanted : settings.metrics_tables) {
    json.StartObject();
    show_text(json, "table", wanted.table);
    json.Key("limit");
    json.Uint(wanted.limit);
    show_list(json, "data", wanted.data, itself);
    json.EndObject();
  }
  json.EndArray();
}

constexpr std::array<NestedRow, 6> kNested{
    {{kListenersKey, kListeners, read_listeners, show_listeners},
     {"peers", "a list of HAProxys to dial", read_peers, show_peers},
     {"aggregate", R"(a list of {"from": TABLE, "to": TABLE})", read_aggregate, show_aggregate},
     {"routes", kRoutes, read_rooms, show_rooms},
     {"control_access", kAccess, read_control_access, show_control_access},
     {kMetricsTablesKey, R"(a list of {"table": TABLE})", read_metrics_tables,
      show_metrics_tables}}};

}  // namespace

std::span<const NestedRow> nested_rows() {
  return kNested;
}

void complete_nested(Settings& settings) {
  if (!settings.listeners_given) {
    ListenerSettings listener;
    PeerAddress& address = listener.address;
    if (const auto path = unix_path(settings.tcp_host)) {
      address = {PeerAddress::Kind::kUnix, settings.tcp_host, std::string(*path), 0};
    } else {
      const bool bare_ipv6 = settings.tcp_host.find(':') != std::string::npos;
      address = {PeerAddress::Kind::kTcp,
                 fmt::format(fmt::runtime(bare_ipv6 ? "[{}]:{}" : "{}:{}"), settings.tcp_host,
                             settings.tcp_port),
                 settings.tcp_host, settings.tcp_port};
    }
    settings.listeners.clear();
    settings.listeners.push_back(std::move(listener));
  }
  for (ListenerSettings& listener : settings.listeners) {
    if (listener.name.empty()) {
      listener.name = settings.peer_name;
    }
  }
  for (DialSettings& peer : settings.peers) {
    if (peer.own_name.empty()) {
      peer.own_name = settings.peer_name;
    }
  }
  for (RoomSettings& room : settings.rooms) {
    room.capacity = room.capacity == 0 ? settings.total_users : room.capacity;
    room.session_ms = room.session_ms == 0 ? settings.session_ms : room.session_ms;
  }
  if (settings.rooms.empty() && settings.mode == Mode::kWaitingRoom) {
    RoomSettings room;
    room.name = kDefaultRoom;
    room.capacity = settings.total_users;
    room.session_ms = settings.session_ms;
    settings.rooms.push_back(std::move(room));
  }
}

}  // namespace lineq::cli
