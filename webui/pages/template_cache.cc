#include "webui/pages/template_cache.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <sys/stat.h>

#include "shm/support/clock.h"
#include "tools/cli/log.h"
#include "webui/pages/accept.h"
#include "webui/pages/csp_hash.h"
#include "webui/pages/wait_values.h"

namespace lineq::pages {
namespace {

std::size_t find_word(std::string_view text, std::string_view word, std::size_t from) {
  for (std::size_t at = from; at + word.size() <= text.size(); ++at) {
    if (same_word(text.substr(at, word.size()), word)) {
      return at;
    }
  }
  return std::string_view::npos;
}

Result<std::string> read_file(const std::string& path) {
  const auto failed = [&](int number) {
    return Error{ErrorCode::kSystem,
                 fmt::format("cannot read template {}: {}", path, std::strerror(number))};
  };
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) {
    return failed(errno);
  }
  std::string text;
  std::string block(65536, '\0');
  for (std::size_t got = 1; got != 0 && text.size() <= Template::kMaxBytes;) {
    got = std::fread(block.data(), 1, block.size(), file);
    text.append(block, 0, got);
  }
  const int number = std::ferror(file) != 0 ? errno : 0;
  std::fclose(file);
  if (number != 0) {
    return failed(number);
  }
  return text;
}

}  // namespace

std::string template_policy(std::string_view html) {
  std::string scripts;
  constexpr std::size_t kMostScripts = 32;
  std::size_t found = 0;
  for (std::size_t at = 0; found < kMostScripts;) {
    at = find_word(html, "<script", at);
    const std::size_t begin = at == std::string_view::npos ? at : html.find('>', at);
    if (begin == std::string_view::npos) {
      break;
    }
    const std::size_t end = find_word(html, "</script", begin);
    if (end == std::string_view::npos) {
      break;
    }
    if (end > begin + 1) {
      scripts += ' ';
      scripts += csp_hash(html.substr(begin + 1, end - begin - 1));
      ++found;
    }
    at = end;
  }
  return fmt::format(
      "default-src 'self' https:; img-src 'self' https: data:; font-src 'self' https: data:; "
      "style-src 'self' https: 'unsafe-inline'; script-src 'self' https:{}; object-src 'none'; "
      "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
      scripts);
}

Result<Dress> TemplateCache::load(const std::string& path) {
  // No FIFO or device: opening one would hold up everybody.
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return Error{ErrorCode::kSystem,
                 fmt::format("cannot read template {}: {}", path, std::strerror(errno))};
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kInvalid, fmt::format("template {}: not a file", path)};
  }
  Result<std::string> text = read_file(path);
  if (!text) {
    return text.error();
  }
  Result<Template> parsed = Template::parse(text.take(), wait_names());
  if (!parsed) {
    return Error{parsed.error().code, fmt::format("template {}: {}", path, parsed.error().what)};
  }
  const std::string& html = parsed->text();
  const bool reloads = find_word(html, "http-equiv=\"refresh\"", 0) != std::string::npos ||
                       find_word(html, "http-equiv=refresh", 0) != std::string::npos ||
                       html.find("EventSource") != std::string::npos;
  std::string policy = template_policy(html);
  return Dress{parsed.take(), std::move(policy), reloads};
}

void TemplateCache::refresh(File& file) {
  struct stat info {};
  const bool there = ::stat(file.path.c_str(), &info) == 0;
  const bool same = file.known && there && file.seconds == info.st_mtim.tv_sec &&
                    file.nanoseconds == info.st_mtim.tv_nsec && file.bytes == info.st_size &&
                    file.inode == info.st_ino;
  if (same) {
    return;
  }
  file.known = there;
  file.seconds = info.st_mtim.tv_sec;
  file.nanoseconds = info.st_mtim.tv_nsec;
  file.bytes = info.st_size;
  file.inode = info.st_ino;
  Result<Dress> loaded = load(file.path);
  if (loaded) {
    if (!file.error.empty()) {
      cli::log_notice("template {}: can be used now", file.path);
    }
    file.error.clear();
    file.dress = std::make_unique<Dress>(loaded.take());
    return;
  }
  if (file.error != loaded.error().what) {
    file.error = loaded.error().what;
    cli::log_warning("{}; visitors see LineQ's own page", file.error);
  }
  file.dress.reset();
}

const Dress* TemplateCache::get(const std::string& path, u64 now_ms) {
  error_.clear();
  auto at = files_.begin();
  while (at != files_.end() && at->path != path) {
    ++at;
  }
  if (at == files_.end()) {
    if (files_.size() >= kFiles) {
      files_.pop_back();
    }
    files_.emplace_front();
    files_.front().path = path;
  } else {
    files_.splice(files_.begin(), files_, at);
  }
  File& file = files_.front();
  if (file.looked_ms == 0 || now_ms - file.looked_ms >= kLookMs) {
    file.looked_ms = now_ms;
    refresh(file);
  }
  error_ = file.error;
  return file.dress.get();
}

}  // namespace lineq::pages
