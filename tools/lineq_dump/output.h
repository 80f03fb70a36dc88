// Standard output through one buffer, with nothing lost silently: every failed write is remembered
// and ends the program. Formats numbers in place; no allocation.
#pragma once

#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string_view>

#include "shm/support/ints.h"

namespace lineq::dump {

class Output {
 public:
  // `stop`: set by a signal handler; ends a write that waits for a slow reader.
  explicit Output(int fd, const volatile std::sig_atomic_t* stop = nullptr)
      : fd_(fd), stop_(stop) {}
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() = default;

  void put(std::string_view text) {
    while (text.size() > buffer_.size() - used_)
      [[unlikely]] {
        const std::size_t part = buffer_.size() - used_;
        copy(text.substr(0, part));
        text.remove_prefix(part);
        flush();
      }
    copy(text);
  }
  void put(char c) { put(std::string_view(&c, 1)); }
  void number(u64 n) { convert(n); }
  void signed_number(i64 n) { convert(n); }
  void hex(u64 n) { convert(n, 16); }

  // False when anything could not be written, now or before. What comes after is dropped.
  bool flush();
  bool failed() const { return errno_ != 0; }
  int error_number() const { return errno_; }  // EPIPE: nobody reads any more; EINTR: stopped

 private:
  static constexpr std::size_t kBytes = std::size_t{1} << 16;
  static constexpr std::size_t kLongestNumber = 24;

  void copy(std::string_view text) {
    std::memcpy(buffer_.data() + used_, text.data(), text.size());
    used_ += text.size();
  }
  template <typename T>
  void convert(T n, int base = 10) {
    if (buffer_.size() - used_ < kLongestNumber) [[unlikely]] {
      flush();
    }
    char* const at = buffer_.data() + used_;
    used_ += static_cast<std::size_t>(std::to_chars(at, at + kLongestNumber, n, base).ptr - at);
  }

  int fd_;
  const volatile std::sig_atomic_t* stop_;
  int errno_ = 0;
  std::size_t used_ = 0;
  std::array<char, kBytes> buffer_;
};

}  // namespace lineq::dump
