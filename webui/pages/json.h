// A streaming writer of JSON: what rapidjson's Writer makes, byte for byte, without its cost for
// each value. A document may be handed on in pieces: whether a comma is due is remembered across
// take(). That objects and arrays are ended in the right order, and that a key has a value, is the
// caller's business.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include <rapidjson/internal/dtoa.h>

#include "shm/support/ints.h"
#include "webui/pages/text.h"

namespace lineq::pages {

class Json {
 public:
  Json() = default;
  Json(const Json&) = delete;
  Json& operator=(const Json&) = delete;
  Json(Json&&) = delete;
  Json& operator=(Json&&) = delete;
  ~Json() = default;

  void object() { begin('{'); }
  void end_object() { end('}'); }
  void array() { begin('['); }
  void end_array() { end(']'); }
  void key(std::string_view name) {
    comma();
    append_json_string(name, out_);
    out_ += ':';
    comma_due_ = false;
  }

  // Valid UTF-8.
  void text(std::string_view s) {
    value();
    append_json_string(s, out_);
  }
  void number(u64 n) { digits(n); }
  void signed_number(i64 n) { digits(n); }
  void boolean(bool b) { word(b ? "true" : "false"); }
  void null() { word("null"); }
  // One decimal place; there is no number for what is not finite.
  void decimal(std::optional<double> d) {
    if (!d || !std::isfinite(*d)) {
      return null();
    }
    value();
    std::array<char, 32> buffer{};
    const char* stop = rapidjson::internal::dtoa(*d, buffer.data(), 1);
    out_.append(buffer.data(), static_cast<std::size_t>(stop - buffer.data()));
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
  // A value that is JSON already, behind a comma that is left out where none is due.
  void raw(std::string_view comma_and_json) {
    out_.append(comma_and_json.substr(comma_due_ ? 0 : 1));
    comma_due_ = true;
  }

  std::size_t bytes() const { return out_.size(); }
  // Appends what was written since the last time.
  void take(std::string& out) {
    if (out.empty()) {
      out.swap(out_);
    } else {
      out.append(out_);
    }
    out_.clear();
  }
  std::string take() {
    std::string out;
    take(out);
    return out;
  }

 private:
  void comma() {
    if (comma_due_) {
      out_ += ',';
    }
  }
  void value() {
    comma();
    comma_due_ = true;
  }
  void begin(char bracket) {
    comma();
    out_ += bracket;
    comma_due_ = false;
  }
  void end(char bracket) {
    out_ += bracket;
    comma_due_ = true;
  }
  void word(std::string_view w) {
    value();
    out_.append(w);
  }
  template <typename Number>
  void digits(Number n) {
    value();
    std::array<char, 24> buffer;
    const auto done = std::to_chars(buffer.data(), buffer.data() + buffer.size(), n);
    out_.append(buffer.data(), static_cast<std::size_t>(done.ptr - buffer.data()));
  }

  std::string out_;
  bool comma_due_ = false;
};

}  // namespace lineq::pages
