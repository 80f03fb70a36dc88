// Rooms' own templates, read from files as they change.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "webui/pages/template.h"

namespace lineq::pages {

// A template and what the browser may do on its page.
struct Dress {
  Template page;
  std::string policy;           // Content-Security-Policy
  bool reloads_itself = false;  // brings its own way to stay up to date
};

class TemplateCache {
 public:
  // Null: there is none that can be used; error() says why, and the log was told once.
  const Dress* get(const std::string& path, u64 now_ms);
  // Of the last get(), one sentence; empty: all is well.
  const std::string& error() const { return error_; }

  static Result<Dress> load(const std::string& path);

 private:
  static constexpr std::size_t kFiles = 64;
  static constexpr u64 kLookMs = 1000;  // between two looks at a file's time
  struct File {
    std::string path;
    u64 looked_ms = 0;
    bool known = false;
    i64 seconds = 0;  // when it was changed
    i64 nanoseconds = 0;
    i64 bytes = 0;
    u64 inode = 0;
    std::unique_ptr<Dress> dress;
    std::string error;
  };
  void refresh(File& file);

  std::list<File> files_;  // the last used in front
  std::string error_;
};

// Content-Security-Policy of a template: its own inline scripts by hash, pictures and the like from
// anywhere over https.
std::string template_policy(std::string_view html);

}  // namespace lineq::pages
