// rapidjson's streaming Writer with our types. Nesting is remembered across take(): a document may
// be handed on in pieces.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "shm/support/ints.h"

namespace lineq::pages {

class Json {
 public:
  Json() : writer_(buffer_) { writer_.SetMaxDecimalPlaces(1); }
  Json(const Json&) = delete;
  Json& operator=(const Json&) = delete;
  Json(Json&&) = delete;
  Json& operator=(Json&&) = delete;
  ~Json() = default;

  void object() { writer_.StartObject(); }
  void end_object() { writer_.EndObject(); }
  void array() { writer_.StartArray(); }
  void end_array() { writer_.EndArray(); }
  void key(std::string_view name) { writer_.Key(data(name), size(name)); }

  // Valid UTF-8.
  void text(std::string_view s) { writer_.String(data(s), size(s)); }
  void number(u64 n) { writer_.Uint64(n); }
  void signed_number(i64 n) { writer_.Int64(n); }
  void boolean(bool b) { writer_.Bool(b); }
  void null() { writer_.Null(); }
  // One decimal place; the Writer would leave a hole for what is not finite.
  void decimal(std::optional<double> d) {
    if (d && std::isfinite(*d)) {
      writer_.Double(*d);
    } else {
      null();
    }
  }

  void field(std::string_view name, std::string_view s) {
    key(name);
    text(s);
  }
  void field(std::string_view name, u64 n) {
    key(name);
    number(n);
  }
  void flag(std::string_view name, bool b) {
    key(name);
    boolean(b);
  }
  void decimal(std::string_view name, std::optional<double> d) {
    key(name);
    decimal(d);
  }
  void maybe(std::string_view name, std::optional<u64> n) {
    key(name);
    if (n) {
      number(*n);
    } else {
      null();
    }
  }

  std::size_t bytes() const { return buffer_.GetSize(); }
  // Appends what was written since the last time.
  void take(std::string& out) {
    out.append(buffer_.GetString(), buffer_.GetSize());
    buffer_.Clear();
  }
  std::string take() {
    std::string out;
    take(out);
    return out;
  }

 private:
  // The Writer asserts on a null pointer, which an empty view may hold.
  static const char* data(std::string_view s) { return s.empty() ? "" : s.data(); }
  static rapidjson::SizeType size(std::string_view s) {
    return static_cast<rapidjson::SizeType>(s.size());
  }

  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> writer_;
};

}  // namespace lineq::pages
