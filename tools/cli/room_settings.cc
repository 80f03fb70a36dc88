#include "tools/cli/room_settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <fmt/core.h>
#include <rapidjson/document.h>
#include <rapidjson/error/en.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "tools/cli/mdoc.h"
#include "tools/cli/text.h"

namespace lineq::cli {
namespace {

constexpr u32 kSecond = 1000;
constexpr u32 kMinute = 60 * kSecond;
constexpr u32 kDay = 24 * 60 * kMinute;

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

rapidjson::SizeType size_of(std::string_view text) {
  return static_cast<rapidjson::SizeType>(text.size());
}
void put(Writer& json, std::string_view text) {
  json.String(text.data(), size_of(text));
}

// ---- values ------------------------------------------------------------------------------------

bool number(std::string_view text, u32 least, u32 most, u32& out) {
  u32 n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < least || n > most) {
    return false;
  }
  out = n;
  return true;
}

bool seconds(std::string_view text, u32 least, u32 most, u32& ms) {
  u32 n = 0;
  if (!number(text, least, most, n)) {
    return false;
  }
  ms = n * kSecond;
  return true;
}

bool flag(std::string_view text, bool& out) {
  if (text == "true" || text == "on" || text == "1" || text == "yes") {
    out = true;
    return true;
  }
  out = false;
  return text == "false" || text == "off" || text == "0" || text == "no";
}

template <typename T, std::size_t N>
using Words = std::array<std::pair<std::string_view, T>, N>;

constexpr Words<shm::QueueingMethod, 4> kMethods{
    {{"fifo", shm::QueueingMethod::kFifo},
     {"random", shm::QueueingMethod::kRandom},
     {"passthrough", shm::QueueingMethod::kPassthrough},
     {"reject", shm::QueueingMethod::kReject}}};
constexpr Words<shm::Lapse, 3> kLapses{{{"requeue_head", shm::Lapse::kRequeueHead},
                                        {"requeue_tail", shm::Lapse::kRequeueTail},
                                        {"drop", shm::Lapse::kDrop}}};
constexpr Words<bool, 2> kAdmissions{{{"strict", false}, {"fast", true}}};

template <typename T, std::size_t N>
bool word(const Words<T, N>& words, std::string_view text, T& out) {
  const auto* found =
      std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.first == text; });
  if (found == words.end()) {
    return false;
  }
  out = found->second;
  return true;
}

template <typename T, std::size_t N>
std::string_view word_of(const Words<T, N>& words, T value) {
  const auto* found =
      std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.second == value; });
  return found == words.end() ? "" : found->first;
}

// Printable ASCII without blanks and without what would need quoting in a configuration or a page.
bool plain(std::string_view text, std::size_t longest, std::string_view except) {
  return text.size() <= longest && std::all_of(text.begin(), text.end(), [&](char c) {
           return c > 0x20 && c < 0x7f && except.find(c) == std::string_view::npos;
         });
}

constexpr std::string_view kQuoting = "\"'\\<>`";

bool room_name(std::string_view text) {
  return !text.empty() && text != "." && text != ".." && plain(text, 127, "\"'\\<>`@/?#");
}
bool host_name(std::string_view text) {
  return plain(text, 255, "\"'\\<>`@/?#%,;&(){}|");
}
bool url_path(std::string_view text) {
  return text.starts_with('/') && plain(text, 255, "\"'\\<>`?#");
}

// For people: valid UTF-8 without what steers a terminal.
bool prose(std::string_view text, std::size_t longest) {
  return text.size() <= longest && printable(text) == text;
}

constexpr std::string_view kPageEnds[] = {".html", ".htm", ".mustache"};

bool page(RoomSettings& room, std::string_view text) {
  if (text.empty() || text.starts_with('/')) {
    const bool right_end =
        text.empty() || std::any_of(std::begin(kPageEnds), std::end(kPageEnds),
                                    [&](std::string_view end) { return text.ends_with(end); });
    if (!right_end || !plain(text, 255, kQuoting)) {
      return false;
    }
    room.template_path = text;
    room.page_html.clear();
    return true;
  }
  room.page_html = text;
  return text.size() <= kLongestPageHtml && text.find('\0') == std::string_view::npos;
}

bool language(std::string_view text) {
  return text.empty() || (text.size() >= 2 && text.size() <= 15 &&
                          std::all_of(text.begin(), text.end(), [](char c) {
                            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                   (c >= '0' && c <= '9') || c == '-';
                          }));
}

// ---- the fields --------------------------------------------------------------------------------

struct Field {
  std::string_view name;
  std::string_view allowed;  // completes "allowed: "
  bool (*set)(RoomSettings&, std::string_view);
  void (*show)(const RoomSettings&, Writer&);  // null: another field shows it
};

constexpr std::string_view kFlag = "true or false";

constexpr auto kFields = std::to_array<Field>({
    {"name", "1 to 127 printable ASCII characters without blanks, quotes and \\ < > @ / ? #",
     [](RoomSettings& r, std::string_view v) {
       r.name = v;
       return room_name(v);
     },
     [](const RoomSettings& r, Writer& j) { put(j, r.name); }},
    {"description", "text of at most 1000 bytes without control characters",
     [](RoomSettings& r, std::string_view v) {
       r.description = v;
       return prose(v, 1000);
     },
     [](const RoomSettings& r, Writer& j) { put(j, r.description); }},
    {"host", "a host name of at most 255 characters, or empty for any",
     [](RoomSettings& r, std::string_view v) {
       r.host = v;
       return host_name(v);
     },
     [](const RoomSettings& r, Writer& j) { put(j, r.host); }},
    {"path", "a path that begins with /, at most 255 characters, without ? and #",
     [](RoomSettings& r, std::string_view v) {
       r.path = v;
       return url_path(v);
     },
     [](const RoomSettings& r, Writer& j) { put(j, r.path); }},
    {"total_active_users", "1 to 100000000",
     [](RoomSettings& r, std::string_view v) { return number(v, 1, 100'000'000, r.capacity); },
     [](const RoomSettings& r, Writer& j) { j.Uint(r.capacity); }},
    {"new_users_per_minute", "0 (no limit) to 1000000",
     [](RoomSettings& r, std::string_view v) { return number(v, 0, 1'000'000, r.new_per_minute); },
     [](const RoomSettings& r, Writer& j) { j.Uint(r.new_per_minute); }},
    {"session_duration", "minutes, from a second (0.017) to a day (1440)",
     [](RoomSettings& r, std::string_view v) { return minutes(v, r.session_ms); },
     [](const RoomSettings& r, Writer& j) {
       const std::string text = minutes_text(r.session_ms);
       j.RawValue(text.data(), text.size(), rapidjson::kNumberType);
     }},
    {"session_seconds", "1 to 86400",
     [](RoomSettings& r, std::string_view v) { return seconds(v, 1, 86400, r.session_ms); },
     nullptr},
    {"disable_session_renewal", kFlag,
     [](RoomSettings& r, std::string_view v) { return flag(v, r.fixed_session); },
     [](const RoomSettings& r, Writer& j) { j.Bool(r.fixed_session); }},
    {"queueing_method", "fifo, random, passthrough or reject",
     [](RoomSettings& r, std::string_view v) { return word(kMethods, v, r.method); },
     [](const RoomSettings& r, Writer& j) { put(j, word_of(kMethods, r.method)); }},
    {"queue_all", kFlag, [](RoomSettings& r, std::string_view v) { return flag(v, r.queue_all); },
     [](const RoomSettings& r, Writer& j) { j.Bool(r.queue_all); }},
    {"suspended", kFlag, [](RoomSettings& r, std::string_view v) { return flag(v, r.suspended); },
     [](const RoomSettings& r, Writer& j) { j.Bool(r.suspended); }},
    {"paused", kFlag, [](RoomSettings& r, std::string_view v) { return flag(v, r.paused); },
     [](const RoomSettings& r, Writer& j) { j.Bool(r.paused); }},
    {"admission", "strict or fast",
     [](RoomSettings& r, std::string_view v) { return word(kAdmissions, v, r.fast); },
     [](const RoomSettings& r, Writer& j) { put(j, word_of(kAdmissions, r.fast)); }},
    {"queueing_status_code", "200, 202, 429 or 503",
     [](RoomSettings& r, std::string_view v) {
       return number(v, 200, 503, r.status_code) && (r.status_code == 200 || r.status_code == 202 ||
                                                     r.status_code == 429 || r.status_code == 503);
     },
     [](const RoomSettings& r, Writer& j) { j.Uint(r.status_code); }},
    {"refresh_interval", "1 to 3600 (seconds)",
     [](RoomSettings& r, std::string_view v) { return seconds(v, 1, 3600, r.refresh_ms); },
     [](const RoomSettings& r, Writer& j) { j.Uint(r.refresh_ms / kSecond); }},
    {"hold_seconds", "1 to 86400",
     [](RoomSettings& r, std::string_view v) { return seconds(v, 1, 86400, r.hold_ms); },
     [](const RoomSettings& r, Writer& j) { j.Uint(r.hold_ms / kSecond); }},
    {"grace_seconds", "0 (three refresh intervals, at least 60) to 3600",
     [](RoomSettings& r, std::string_view v) { return seconds(v, 0, 3600, r.grace_ms); },
     [](const RoomSettings& r, Writer& j) { j.Uint(r.grace_ms / kSecond); }},
    {"lapse", "requeue_head, requeue_tail or drop",
     [](RoomSettings& r, std::string_view v) { return word(kLapses, v, r.lapse); },
     [](const RoomSettings& r, Writer& j) { put(j, word_of(kLapses, r.lapse)); }},
    {"message", "text of at most 255 bytes without control characters",
     [](RoomSettings& r, std::string_view v) {
       r.message = v;
       return prose(v, 255);
     },
     [](const RoomSettings& r, Writer& j) { put(j, r.message); }},
    {"custom_page_html",
     "the page's HTML, at most 40960 bytes, or the absolute path of a file .html, .htm or "
     ".mustache, at most 255 bytes",
     page,
     [](const RoomSettings& r,
        Writer& j) { put(j, r.page_html.empty() ? r.template_path : r.page_html); }},
    {"default_template_language", "a language tag like en, de-DE or zh-CN",
     [](RoomSettings& r, std::string_view v) {
       r.language = v;
       return language(v);
     },
     [](const RoomSettings& r, Writer& j) { put(j, r.language); }},
});

constexpr std::string_view kRoutes = "additional_routes";
constexpr std::string_view kRoutesAllowed =
    R"(a list of at most 64 {"host": "example.com", "path": "/"})";

constexpr auto kOtherNames = std::to_array<std::pair<std::string_view, std::string_view>>(
    {{"C", "total_active_users"},
     {"activeUsers", "total_active_users"},
     {"vwr_active_users", "total_active_users"},
     {"vwr_total_users", "total_active_users"},
     {"N", "new_users_per_minute"},
     {"S", "session_duration"},
     {"vwr_session_duration", "session_duration"},
     {"vwr_inactivity_duration", "session_duration"},
     {"vwr_users_path", "path"}});

// In a room as the API answers it, and no business of whoever sends it back.
constexpr std::array<std::string_view, 4> kReadOver{"id", "numbers", "created_on", "modified_on"};

Error wrong(std::string_view field, std::string_view value, std::string_view allowed) {
  constexpr std::size_t kShown = 100;
  return {ErrorCode::kInvalid, fmt::format("{}: '{}{}' is not allowed; allowed: {}", field,
                                           escaped(value.substr(0, kShown)),
                                           value.size() > kShown ? "..." : "", allowed)};
}

const Field* find_field(std::string_view name) {
  const auto* other = std::find_if(kOtherNames.begin(), kOtherNames.end(), [&](const auto& names) {
    return equal_ignoring_case(names.first, name);
  });
  const std::string_view own = other == kOtherNames.end() ? name : other->second;
  const auto* found = std::find_if(kFields.begin(), kFields.end(), [&](const Field& f) {
    return equal_ignoring_case(f.name, own);
  });
  return found == kFields.end() ? nullptr : found;
}

// ---- JSON --------------------------------------------------------------------------------------

std::string_view text_of(const rapidjson::Value& value) {
  return {value.GetString(), value.GetStringLength()};
}

// Numbers were kept as text by the parser, as strings.
bool scalar(const rapidjson::Value& value, std::string_view& text) {
  if (value.IsString()) {
    text = text_of(value);
    return true;
  }
  text = value.IsBool()     ? (value.GetBool() ? "true" : "false")
         : value.IsNull()   ? "null"
         : value.IsObject() ? "{...}"
                            : "[...]";
  return value.IsBool();
}

Status read_routes(const rapidjson::Value& value, RoomSettings& room) {
  if (value.IsNull()) {
    room.additional_routes.clear();
    return {};
  }
  if (!value.IsArray() || value.Size() > kMostRoutes) {
    std::string_view text;
    scalar(value, text);
    return wrong(kRoutes, text, kRoutesAllowed);
  }
  std::vector<RoomRoute> routes;
  for (rapidjson::SizeType i = 0; i < value.Size(); ++i) {
    const std::string path = fmt::format("{}[{}]", kRoutes, i);
    if (!value[i].IsObject()) {
      return wrong(path, "", kRoutesAllowed);
    }
    // A route is a room's host and path.
    RoomSettings route;
    for (rapidjson::SizeType m = 0; m < value[i].MemberCount(); ++m) {
      const auto& member = value[i].MemberBegin()[m];
      const std::string_view key = text_of(member.name);
      if (!equal_ignoring_case(key, "host") && !equal_ignoring_case(key, "path")) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("{}.{}: unknown field; a route has host and path", path,
                                 escaped(key.substr(0, 100)))};
      }
      std::string_view text;
      if (!scalar(member.value, text)) {
        return wrong(fmt::format("{}.{}", path, escaped(key)), text, find_field(key)->allowed);
      }
      if (Status s = set_room_field(key, text, route); !s) {
        return Error{s.error().code, fmt::format("{}.{}", path, s.error().what)};
      }
    }
    routes.push_back({route.host, route.path});
  }
  room.additional_routes = std::move(routes);
  return {};
}

}  // namespace

bool minutes(std::string_view text, u32& ms) {
  double n = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), n, std::chars_format::fixed);
  if (error != std::errc() || end != text.data() + text.size() || !(n > 0) || n > kDay) {
    return false;
  }
  const double rounded = std::round(n * kMinute);
  // 0.0166 and 0.017 are both meant as a second.
  if (rounded < 0.98 * kSecond || rounded > kDay) {
    return false;
  }
  ms = std::max(static_cast<u32>(rounded), kSecond);
  return true;
}

std::string minutes_text(u32 ms) {
  return ms % kMinute == 0 ? std::to_string(ms / kMinute)
                           : fmt::format("{}", double{1} * ms / kMinute);
}

std::string room_name_of(std::string_view host, std::string_view path) {
  std::string name(host);
  std::replace(name.begin(), name.end(), '.', '_');
  std::string rest(path);
  std::replace(rest.begin(), rest.end(), '/', '_');
  return name + rest;
}

Status set_room_field(std::string_view field, std::string_view text, RoomSettings& room) {
  const Field* found = find_field(field);
  if (found == nullptr) {
    std::vector<std::string_view> names{kRoutes};
    for (const Field& f : kFields) {
      names.push_back(f.name);
    }
    return Error{ErrorCode::kNotFound,
                 fmt::format("{}: a room has no such field{}", escaped(field.substr(0, 100)),
                             suggestion(field, names))};
  }
  RoomSettings changed = room;
  if (!found->set(changed, text)) {
    return wrong(found->name, text, found->allowed);
  }
  room = std::move(changed);
  return {};
}

Status check_room(const RoomSettings& room) {
  if (room.name.empty()) {
    return Error{ErrorCode::kInvalid, "name: is missing; every room needs one"};
  }
  if (room.hold_ms <= room.refresh_ms) {
    return wrong("hold_seconds", std::to_string(room.hold_ms / kSecond),
                 fmt::format("more than refresh_interval, which is {}: between two looks at the "
                             "page nobody is seen",
                             room.refresh_ms / kSecond));
  }
  return {};
}

Status read_room(std::string_view json, RoomSettings& room) {
  constexpr unsigned kFlags = rapidjson::kParseIterativeFlag |
                              rapidjson::kParseNumbersAsStringsFlag |
                              rapidjson::kParseValidateEncodingFlag;
  rapidjson::Document document;
  document.Parse<kFlags>(json.data(), json.size());
  if (document.HasParseError()) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("not JSON at byte {}: {}", document.GetErrorOffset() + 1,
                             rapidjson::GetParseError_En(document.GetParseError()))};
  }
  if (!document.IsObject()) {
    return Error{ErrorCode::kInvalid,
                 R"(a room is one JSON object: {"name": "shop", "total_active_users": 100})"};
  }
  RoomSettings changed = room;
  std::vector<std::string_view> seen;
  // By number: clang finds the iterators' != ambiguous.
  for (rapidjson::SizeType m = 0; m < document.MemberCount(); ++m) {
    const auto& member = document.MemberBegin()[m];
    const std::string_view key = text_of(member.name);
    if (std::find(kReadOver.begin(), kReadOver.end(), key) != kReadOver.end()) {
      continue;
    }
    const bool routes = equal_ignoring_case(key, kRoutes);
    const Field* field = routes ? nullptr : find_field(key);
    const std::string_view own = routes ? kRoutes : field != nullptr ? field->name : "";
    if (!own.empty()) {
      if (std::find(seen.begin(), seen.end(), own) != seen.end()) {
        return Error{ErrorCode::kInvalid, fmt::format("{}: given twice", own)};
      }
      seen.push_back(own);
    }
    std::string_view text;
    if (field != nullptr && !scalar(member.value, text)) {
      return wrong(own, text, field->allowed);
    }
    if (Status s = routes ? read_routes(member.value, changed) : set_room_field(key, text, changed);
        !s) {
      return s.error().code == ErrorCode::kNotFound ? Error{ErrorCode::kInvalid, s.error().what}
                                                    : s;
    }
  }
  room = std::move(changed);
  return {};
}

std::string_view queueing_method_name(shm::QueueingMethod method) {
  return word_of(kMethods, method);
}

std::string room_json(const RoomSettings& room) {
  rapidjson::StringBuffer buffer;
  Writer json(buffer);
  json.StartObject();
  for (const Field& field : kFields) {
    if (field.show == nullptr) {
      continue;
    }
    json.Key(field.name.data(), size_of(field.name));
    field.show(room, json);
    if (field.name == "path") {
      json.Key(kRoutes.data(), size_of(kRoutes));
      json.StartArray();
      for (const RoomRoute& route : room.additional_routes) {
        json.StartObject();
        json.Key("host");
        put(json, route.host);
        json.Key("path");
        put(json, route.path);
        json.EndObject();
      }
      json.EndArray();
    }
  }
  json.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

std::string room_manual() {
  std::string out;
  for (const Field& field : kFields) {
    out += fmt::format(".It Cm {}\n{}.\n", field.name, mdoc_escaped(field.allowed));
  }
  return out;
}

}  // namespace lineq::cli
