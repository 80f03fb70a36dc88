// The settings that are lists of objects: `listeners`, `peers`, `aggregate`, `routes`,
// `control_access`, `metrics_tables`. From what the file's parser found, as a small tree, to the
// structs of settings.h, and back for `lineqd -t`. Of settings.cc only.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <rapidjson/prettywriter.h>
#include <rapidjson/stringbuffer.h>

#include "tools/cli/settings.h"

namespace lineq::cli {

// A JSON value with its place in the file.
struct Node {
  enum class Kind : u8 { kScalar, kArray, kObject };

  Kind kind = Kind::kScalar;
  std::size_t offset = 0;
  std::string key;   // in an object
  std::string text;  // of a scalar, numbers and words as written
  std::vector<Node> children;
};

// What is deeper is wrong anyway.
inline constexpr u32 kDeepestNode = 8;

using JsonWriter = rapidjson::PrettyWriter<rapidjson::StringBuffer>;

inline constexpr std::string_view kListenersKey = "listeners";
inline constexpr std::string_view kMetricsTablesKey = "metrics_tables";  // lineq-web's own

struct NestedRow {
  std::string_view key;
  std::string_view allowed;  // completes "allowed: " when it is not even a list
  // `where` turns an offset into "file:line".
  Status (*read)(const Node& node, const std::function<std::string(std::size_t)>& where,
                 Settings& settings);
  void (*show)(const Settings& settings, JsonWriter& json);  // with its key; nothing when unset
};

std::span<const NestedRow> nested_rows();

// After file, environment and command line: fills in what follows from other settings.
void complete_nested(Settings& settings);

}  // namespace lineq::cli
