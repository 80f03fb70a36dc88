// Mustache, the part of it that a page needs: {{name}}, {{#name}}..{{/name}}, {{^name}}..{{/name}},
// {{! remark }}. Everything is HTML-escaped: {{{name}}} and {{&name}} are too, because values come
// from strangers. Names are known beforehand, so a mistyped one is an error with its line.
//
//   auto page = Template::parse(text, kNames);
//   page->render(values, out);                     // values[i] belongs to kNames[i]
//
// A section is shown when its value is neither false, 0 nor empty. Inside <script> and <style>
// nothing may be filled in: what is escaped for HTML is not escaped for them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shm/support/ints.h"
#include "shm/support/result.h"

namespace lineq::pages {

class Template {
 public:
  static constexpr std::size_t kMaxBytes = 1U << 20;
  static constexpr std::size_t kMaxDepth = 64;
  using Value = std::variant<bool, i64, std::string>;

  // The Error says which line and what is wrong there.
  static Result<Template> parse(std::string text, std::span<const std::string_view> names);

  void render(std::span<const Value> values, std::string& out) const;
  const std::string& text() const { return text_; }

 private:
  enum class Op : u8 { kText, kValue, kIf, kUnless };
  struct Step {
    Op op = Op::kText;
    u32 begin = 0;  // kText: in text_
    u32 end = 0;
    u32 name = 0;
    u32 jump = 0;  // kIf, kUnless: the step behind the section
  };

  std::string text_;
  std::vector<Step> steps_;
};

// & < > " ' and the back-tick.
void append_escaped(std::string_view text, std::string& out);

}  // namespace lineq::pages
