// Arbitrary bytes as the configuration file of lineqd, lineq-web and the tools. Checked, besides
// the sanitizers:
//  - what is wrong is said in one sentence;
//  - what is accepted is the same when it is written (`lineqd -t`) and read again.
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include <fmt/format.h>
#include <sys/mman.h>

#include "shm/support/assert.h"
#include "tools/cli/settings.h"

namespace {

using namespace lineq;
using namespace lineq::cli;

Result<Settings> load(Loader loader, std::string_view bytes) {
  static const int file = ::memfd_create("settings", 0);
  static const std::string path = fmt::format("/proc/self/fd/{}", file);
  LINEQ_ASSERT(::ftruncate(file, 0) == 0 &&
               ::pwrite(file, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  const std::vector<Option> options = setting_options(loader);
  const Program program{"fuzz", "", "", options, {}, false};
  std::string name = "fuzz";
  std::string option = "-f";
  std::string value = path;
  std::array<char*, 4> words{name.data(), option.data(), value.data(), nullptr};
  return load_settings(loader, read_command_line(program, 3, words.data()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const Loader loader : {Loader::kDaemon, Loader::kWeb}) {
    const Result<Settings> settings = load(loader, text);
    if (!settings) {
      LINEQ_ASSERT(!settings.error().what.empty() &&
                   settings.error().what.find('\n') == std::string::npos);
      continue;
    }
    const std::string written = settings_json(*settings);
    const Result<Settings> again = load(loader, written);
    if (!again || settings_json(*again) != written) {
      fmt::print(stderr, "{}\n{}\n{}\n", text, written,
                 again ? settings_json(*again) : again.error().what);
      std::abort();
    }
  }
  return 0;
}
