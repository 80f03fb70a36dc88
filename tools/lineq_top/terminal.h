// The terminal, by ncurses. It is left as it was found however the program ends: by the destructor,
// and, when it crashes, from the signal handler.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "shm/support/result.h"
#include "tools/lineq_top/screen.h"

namespace lineq::top {

class Terminal {
 public:
  // kInvalid: standard input or output is no terminal, or one that cannot do it.
  static Result<std::unique_ptr<Terminal>> open();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal();

  std::size_t width() const;
  std::size_t height() const;
  // The window has another size.
  void resize();
  void paint(const std::vector<Line>& lines);
  // What was typed, if anything was; see Key.
  std::optional<u32> key();

 private:
  Terminal() = default;
  bool utf8_ = false;
  bool colors_ = false;
};

}  // namespace lineq::top
