// Result<T>: a value, or an Error that a person can read. For failures that can happen at run time
// (files, memory, network, other people's input). Expected outcomes on the hot path use small
// enums.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "shm/support/assert.h"

namespace lineq {

enum class ErrorCode {
  kInvalid,    // a value is not what is allowed
  kNotFound,   // no such object, table, key, file
  kBusy,       // somebody else holds it
  kExhausted,  // memory, descriptors, a fixed directory is full
  kForeign,    // another layout or version
  kDamaged,    // contents contradict themselves
  kSystem,     // the system refused; `what` carries strerror
};

struct Error {
  ErrorCode code = ErrorCode::kInvalid;
  // One English sentence that names the object: "segment default: layout 3, this program knows 4".
  std::string what;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() {
    LINEQ_ASSERT(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const {
    LINEQ_ASSERT(ok());
    return *std::get_if<0>(&state_);
  }
  T take() { return std::move(value()); }
  const Error& error() const {
    LINEQ_ASSERT(!ok());
    return *std::get_if<1>(&state_);
  }

  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

// Success, or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    LINEQ_ASSERT(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

}  // namespace lineq
