// What is on the screen and what a key does to it: lines of text out of numbers, no terminal. The
// main loop asks for wishes, paints lines() and feeds key().
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/lineq_top/monitor.h"
#include "tools/lineq_top/top_keys.h"

namespace lineq::top {

enum class Page : u8 { kTables, kPeers, kKeys, kRooms };
inline constexpr std::array<std::string_view, 4> kPageNames{"tables", "peers", "keys", "rooms"};
std::optional<Page> page_by_name(std::string_view name);

// Keys that are no character; above all of Unicode.
enum Key : u32 {
  kKeyUp = 0x110000,
  kKeyDown,
  kKeyLeft,
  kKeyRight,
  kKeyPageUp,
  kKeyPageDown,
  kKeyHome,
  kKeyEnd,
  kKeyEnter,
  kKeyBackspace,
  kKeyBackTab,
  kKeyEscape,
};

enum class Style : u8 { kPlain, kBold, kHead, kSelected, kAlarm, kDim };
struct Line {
  std::string text;
  Style style = Style::kPlain;
};

inline constexpr double kShortestDelay = 0.1;
inline constexpr double kLongestDelay = 3600;
// Seconds, "0.5"; nothing when it is not a number within the two.
std::optional<double> delay_from(std::string_view text);

class Screen {
 public:
  struct Start {
    Page page = Page::kTables;
    std::string sort;   // a column; empty = the page's own
    std::string table;  // for the keys page
    std::string filter;
    double delay = 1;
    std::size_t limit = 100;
    bool utf8 = true;  // the terminal understands it
  };
  explicit Screen(const Start& start);

  void key(u32 key, const Picture& picture, const TopKeys& keys);
  // Exactly `height` lines of at most `width` columns.
  std::vector<Line> lines(const Picture& picture, const TopKeys& keys, std::size_t width,
                          std::size_t height);

  // What the keys typed ask of the main loop.
  bool quit() const { return quit_; }
  bool paused() const { return paused_; }
  double delay() const { return delay_; }
  // Whether the keys page is on show, and what it wants.
  bool wants_keys() const { return page_ == Page::kKeys && !help_; }
  TopKeys::Choice wanted(const Picture& picture) const;
  Page page() const { return page_; }

 private:
  enum class Prompt : u8 { kNone, kSort, kFilter, kTable, kDelay };
  // Of each page.
  struct Look {
    std::string sort;  // name of a column; empty = the default
    bool reverse = false;
    std::string filter;
    std::string selected;  // first cell of the row under the bar
    std::size_t row = 0;   // where it was
    std::size_t top = 0;   // first row on the screen
  };

  Look& look() { return looks_[static_cast<std::size_t>(page_)]; }
  const Look& look() const { return looks_[static_cast<std::size_t>(page_)]; }
  const Grid& grid(const Picture& picture, const TopKeys& keys) const;
  // The rows of the page, sorted and filtered.
  Grid shown(const Picture& picture, const TopKeys& keys) const;
  std::size_t sort_column(const Grid& grid, const TopKeys& keys) const;
  void go(Page page);
  void prompt_key(u32 key, const Picture& picture, const TopKeys& keys);
  void answer(const Picture& picture, const TopKeys& keys);
  void move_sort(int step, const Picture& picture, const TopKeys& keys);
  void move(i64 rows);

  void head(std::vector<Line>& out, const Overview& o, const TopKeys& keys, std::size_t width,
            std::size_t height) const;
  void body(std::vector<Line>& out, const Picture& picture, const TopKeys& keys, std::size_t width,
            std::size_t rows);
  std::string empty_text(const Picture& picture, const TopKeys& keys) const;
  Line foot(const TopKeys& keys) const;

  Page page_;
  std::array<Look, kPageNames.size()> looks_;
  std::string table_;  // of the keys page; empty = the busiest
  double delay_;
  std::size_t limit_;
  bool utf8_;
  bool quit_ = false;
  bool paused_ = false;
  bool help_ = false;
  Prompt prompt_ = Prompt::kNone;
  std::string typed_;
  std::string message_;  // until the next key
  std::size_t page_rows_ = 1;
};

}  // namespace lineq::top
