#include "tools/lineq_top/terminal.h"

#include <curses.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <sys/ioctl.h>

#include "tools/cli/text.h"
#include "tools/lineq_top/width.h"

namespace lineq::top {
namespace {

constexpr int kEscapeDelayMs = 25;
constexpr short kHeadPair = 1;
constexpr short kAlarmPair = 2;

// For the handler of a crash, which may call next to nothing.
struct Rescue {
  bool armed = false;
  termios settings{};
  std::array<char, 128> text{};
  std::size_t bytes = 0;
};
Rescue rescue;

void remember(const char* sequence) {
  // Padding ("$<5>") is for terminals nobody has.
  if (sequence != nullptr && std::strchr(sequence, '$') == nullptr) {
    const std::size_t n = std::strlen(sequence);
    if (rescue.bytes + n <= rescue.text.size()) {
      std::memcpy(rescue.text.data() + rescue.bytes, sequence, n);
      rescue.bytes += n;
    }
  }
}

extern "C" void on_crash(int signal) {
  if (rescue.armed) {
    [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, rescue.text.data(), rescue.bytes);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &rescue.settings);
  }
  ::raise(signal);  // SA_RESETHAND: this time for good
}

void catch_crashes() {
  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) {
    ::sigaction(signal, &action, nullptr);
  }
}

attr_t attributes(Style style, bool colors) {
  switch (style) {
    case Style::kBold:
      return A_BOLD;
    case Style::kHead:
      return colors ? A_BOLD | COLOR_PAIR(kHeadPair) : A_BOLD | A_UNDERLINE;
    case Style::kSelected:
      return A_REVERSE;
    case Style::kAlarm:
      return colors ? A_BOLD | COLOR_PAIR(kAlarmPair) : A_BOLD | A_REVERSE;
    case Style::kDim:
    case Style::kPlain:
      break;
  }
  return A_NORMAL;
}

u32 key_of(wint_t code) {
  switch (code) {
    case KEY_UP:
      return kKeyUp;
    case KEY_DOWN:
      return kKeyDown;
    case KEY_LEFT:
      return kKeyLeft;
    case KEY_RIGHT:
      return kKeyRight;
    case KEY_PPAGE:
      return kKeyPageUp;
    case KEY_NPAGE:
      return kKeyPageDown;
    case KEY_HOME:
      return kKeyHome;
    case KEY_END:
      return kKeyEnd;
    case KEY_ENTER:
      return kKeyEnter;
    case KEY_BACKSPACE:
      return kKeyBackspace;
    case KEY_BTAB:
      return kKeyBackTab;
    default:
      return 0;
  }
}

}  // namespace

Result<std::unique_ptr<Terminal>> Terminal::open() {
  const auto cannot = [](std::string_view what) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("{}; -1 prints once, -j prints JSON for as long as you like", what)};
  };
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0) {
    return cannot("standard input and output have to be a terminal");
  }
  const char* name = std::getenv("TERM");
  const std::string terminal = cli::escaped(name == nullptr ? "" : name);
  ::tcgetattr(STDIN_FILENO, &rescue.settings);
  ::SCREEN* const screen = ::newterm(nullptr, stdout, stdin);
  if (screen == nullptr || ::tigetstr("cup") == nullptr) {
    if (screen != nullptr) {
      ::endwin();
    }
    return cannot(fmt::format("terminal '{}' (TERM) cannot place the cursor", terminal));
  }
  for (const char* capability : {"sgr0", "cnorm", "rmkx", "rmcup"}) {
    remember(::tigetstr(capability));
  }
  rescue.armed = true;
  catch_crashes();
  std::unique_ptr<Terminal> made(new Terminal());
  made->utf8_ = utf8_locale();
  ::cbreak();
  ::noecho();
  ::nonl();
  ::intrflush(stdscr, FALSE);
  ::keypad(stdscr, TRUE);
  ::nodelay(stdscr, TRUE);
  ::set_escdelay(kEscapeDelayMs);
  ::curs_set(0);
  if (::has_colors() && ::start_color() == OK && ::use_default_colors() == OK) {
    made->colors_ = ::init_pair(kHeadPair, COLOR_CYAN, -1) == OK &&
                    ::init_pair(kAlarmPair, COLOR_RED, -1) == OK;
  }
  return made;
}

Terminal::~Terminal() {
  ::endwin();
  rescue.armed = false;
}

std::size_t Terminal::width() const {
  return static_cast<std::size_t>(std::max(getmaxx(stdscr), 0));
}
std::size_t Terminal::height() const {
  return static_cast<std::size_t>(std::max(getmaxy(stdscr), 0));
}

void Terminal::resize() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
    ::resizeterm(size.ws_row, size.ws_col);
    ::clearok(stdscr, TRUE);
  }
}

void Terminal::paint(const std::vector<Line>& lines) {
  ::werase(stdscr);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const attr_t style = attributes(lines[i].style, colors_);
    const std::string text = cut(for_terminal(lines[i].text, utf8_), width());
    ::wattrset(stdscr, static_cast<int>(style));
    ::wmove(stdscr, static_cast<int>(i), 0);
    ::waddnstr(stdscr, text.c_str(), static_cast<int>(text.size()));
  }
  ::wattrset(stdscr, static_cast<int>(A_NORMAL));
  ::wrefresh(stdscr);
}

std::optional<u32> Terminal::key() {
  for (;;) {
    wint_t code = 0;
    const int kind = ::wget_wch(stdscr, &code);
    if (kind == ERR) {
      return std::nullopt;
    }
    if (kind == KEY_CODE_YES) {
      if (const u32 key = key_of(code); key != 0) {
        return key;
      }
      continue;  // one that means nothing here
    }
    return code == '\r' || code == '\n' ? u32{kKeyEnter} : u32{code};
  }
}

}  // namespace lineq::top
