// Prints the lists of lineq.cfg(5) out of the tables that the programs read their settings by. Run
// by the build only.
#include <cstdio>
#include <string_view>

#include "tools/cli/room_settings.h"
#include "tools/cli/settings.h"

int main(int argc, char** argv) {
  const std::string_view which = argc == 2 ? argv[1] : "";
  if (which != "settings" && which != "rooms") {
    std::fputs("usage: manual-lists settings|rooms\n", stderr);
    return 1;
  }
  const std::string text =
      which == "rooms" ? lineq::cli::room_manual() : lineq::cli::settings_manual();
  std::fputs(text.c_str(), stdout);
  return 0;
}
