#include "webui/pages/template.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tools/cli/text.h"
#include "webui/pages/accept.h"

namespace lineq::pages {
namespace {

std::string_view trimmed(std::string_view s) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = s.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? std::string_view()
                                         : s.substr(begin, s.find_last_not_of(kBlank) - begin + 1);
}

bool truthy(const Template::Value& value) {
  if (const bool* b = std::get_if<bool>(&value)) {
    return *b;
  }
  if (const i64* n = std::get_if<i64>(&value)) {
    return *n != 0;
  }
  return !std::get_if<std::string>(&value)->empty();
}

// Walks over the text between the tags and knows whether it stands inside an element whose content
// is not HTML.
class RawElement {
 public:
  void see(std::string_view text) {
    while (!text.empty()) {
      const std::size_t at = text.find('<');
      if (at == std::string_view::npos) {
        return;
      }
      text.remove_prefix(at + 1);
      if (name_.empty()) {
        for (const std::string_view name : {"script", "style"}) {
          if (begins(text, name)) {
            name_ = name;
          }
        }
      } else if (text.starts_with('/') && begins(text.substr(1), name_)) {
        name_ = {};
      }
    }
  }
  std::string_view name() const { return name_; }

 private:
  static bool begins(std::string_view text, std::string_view name) {
    if (text.size() <= name.size()) {
      return same_word(text, name);  // a tag follows
    }
    constexpr std::string_view kEnds = " \t\r\n\f/>";
    return same_word(text.substr(0, name.size()), name) &&
           kEnds.find(text[name.size()]) != std::string_view::npos;
  }
  std::string_view name_;
};

}  // namespace

void append_escaped(std::string_view text, std::string& out) {
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '`':
        out += "&#96;";
        break;
      default:
        out += c;
    }
  }
}

Result<Template> Template::parse(std::string text, std::span<const std::string_view> names) {
  if (text.size() > kMaxBytes) {
    return Error{ErrorCode::kInvalid,
                 fmt::format("{} bytes; at most {} are allowed", text.size(), kMaxBytes)};
  }
  Template made;
  made.text_ = std::move(text);
  const std::string_view all = made.text_;
  const auto fail = [&](std::size_t at, const std::string& what) {
    const auto line =
        1 + std::count(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    return Error{ErrorCode::kInvalid, fmt::format("line {}: {}", line, what)};
  };
  struct Open {
    u32 step;
    std::size_t at;
    std::string_view raw;
  };
  std::vector<Open> open;
  RawElement raw;
  std::size_t at = 0;
  while (at < all.size()) {
    const std::size_t tag = std::min(all.find("{{", at), all.size());
    if (tag > at) {
      made.steps_.push_back({Op::kText, static_cast<u32>(at), static_cast<u32>(tag), 0, 0});
      raw.see(all.substr(at, tag - at));
    }
    if (tag == all.size()) {
      break;
    }
    const bool triple = all.substr(tag).starts_with("{{{");
    const std::string_view close = triple ? "}}}" : "}}";
    const std::size_t body = tag + close.size();
    const std::size_t end = all.find(close, body);
    if (end == std::string_view::npos) {
      return fail(tag, fmt::format("'{}' without '{}'", triple ? "{{{" : "{{", close));
    }
    at = end + close.size();
    std::string_view word = trimmed(all.substr(body, end - body));
    char kind = 0;
    constexpr std::string_view kKinds = "#^/!&>=";
    if (!triple && !word.empty() && kKinds.find(word[0]) != std::string_view::npos) {
      kind = word[0];
      word = trimmed(word.substr(1));
    }
    if (kind == '!') {
      continue;
    }
    if (kind == '>' || kind == '=') {
      return fail(tag, kind == '>' ? "other files cannot be included ('{{>')"
                                   : "the braces cannot be changed ('{{=')");
    }
    // Cloudflare's JSON has them below this name.
    constexpr std::string_view kPrefix = "cfWaitingRoom.";
    if (word.starts_with(kPrefix)) {
      word.remove_prefix(kPrefix.size());
    }
    const auto found = std::find(names.begin(), names.end(), word);
    if (found == names.end()) {
      return fail(tag,
                  fmt::format("there is no value named '{}'{}", cli::printable(word.substr(0, 64)),
                              cli::suggestion(word.substr(0, 64), names)));
    }
    const u32 name = static_cast<u32>(found - names.begin());
    if (kind == '/') {
      if (open.empty() || made.steps_[open.back().step].name != name) {
        return fail(tag, open.empty()
                             ? fmt::format("'{{{{/{}}}}}' closes nothing", word)
                             : fmt::format("'{{{{/{}}}}}' where '{{{{/{}}}}}' is expected", word,
                                           names[made.steps_[open.back().step].name]));
      }
      if (open.back().raw != raw.name()) {
        return fail(tag, "a section must not begin or end inside <script> or <style>");
      }
      made.steps_[open.back().step].jump = static_cast<u32>(made.steps_.size());
      open.pop_back();
      continue;
    }
    if (!raw.name().empty()) {
      return fail(tag, fmt::format("nothing can be filled in inside <{}>; use an attribute of an "
                                   "element, which the script can read",
                                   raw.name()));
    }
    if (kind == '#' || kind == '^') {
      if (open.size() == kMaxDepth) {
        return fail(tag, fmt::format("more than {} sections in one another", kMaxDepth));
      }
      open.push_back({static_cast<u32>(made.steps_.size()), tag, raw.name()});
      made.steps_.push_back({kind == '#' ? Op::kIf : Op::kUnless, 0, 0, name, 0});
    } else {
      made.steps_.push_back({Op::kValue, 0, 0, name, 0});
    }
  }
  if (!open.empty()) {
    return fail(open.back().at, fmt::format("section '{}' is not closed",
                                            names[made.steps_[open.back().step].name]));
  }
  return made;
}

void Template::render(std::span<const Value> values, std::string& out) const {
  const std::string_view all = text_;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    switch (step.op) {
      case Op::kText:
        out += all.substr(step.begin, step.end - step.begin);
        break;
      case Op::kValue: {
        const Value& value = values[step.name];
        if (const std::string* s = std::get_if<std::string>(&value)) {
          append_escaped(*s, out);
        } else if (const i64* n = std::get_if<i64>(&value)) {
          out += fmt::format_int(*n).c_str();
        } else {
          out += *std::get_if<bool>(&value) ? "true" : "false";
        }
        break;
      }
      case Op::kIf:
      case Op::kUnless:
        if (truthy(values[step.name]) != (step.op == Op::kIf)) {
          i = step.jump - 1;  // a jump is never to 0: it is behind this step
        }
        break;
    }
  }
}

}  // namespace lineq::pages
